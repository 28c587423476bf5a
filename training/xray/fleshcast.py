"""Rays through flesh: lengths in muscle, fat and water, in PyTorch on any device.

cast_flesh(flesh, geometry)  # {"muscle": (rows, cols) tensor, "fat": ..., "water": ...}, bones not yet taken out
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn.functional import embedding

from DualFaceReconLib.geometry import ProjectionGeometry
from training.patients.flesh import STEP_MM, Blob, Flesh, Fold, Sections

NOWHERE_MM = 1e4  # depth of a face where a part has none
REACH_MM = 600.0  # no flesh lies farther from the detector
SOFT_MM = 40.0  # creases between parts are rounded over this distance
ROUNDS = 2  # of looking for the place where a ray meets a face
MOST_FAT, MOST_GAS = 0.6, 0.6  # shares of muscle's length that may be either


def cast_flesh(flesh: Flesh, geometry: ProjectionGeometry, device: str = "cpu") -> dict[str, torch.Tensor]:
    """Length in every material along every pixel's ray, each (rows, cols) float32, mm."""
    rays = _Rays(geometry, device)
    middle = float(np.mean([part.table[:, 2].mean() for part in flesh.skin]))
    guess = torch.full((1, 1), middle, device=device)
    faces = [_face(flesh.skin, rays, guess, outwards, ROUNDS) for outwards in (1.0, -1.0)]
    lean_faces = [_face(flesh.lean, rays, face, side, 1) for face, side in zip(faces, (1.0, -1.0), strict=True)]
    for fold in flesh.folds:
        faces[0] = faces[0] + _hanging(fold, *rays.at(faces[0]))
    skin = _between(*faces, flesh, rays)
    lean = torch.minimum(_between(*lean_faces, flesh, rays), skin)
    share = flesh.metadata["fat_in_muscle"] + _marbling(flesh, rays, geometry)
    share = share.clamp(0, MOST_FAT)
    muscle, fat = lean * (1 - share), skin - lean + lean * share
    for blob in flesh.scrotum:  # without the sharp outline of an ellipsoid
        muscle = muscle + _chord(blob, rays) ** 2 / (2 * blob.half[1])
    water = torch.zeros_like(muscle)
    for blob in flesh.bladder:
        water = torch.maximum(water, _chord(blob, rays))
    water = torch.minimum(water, muscle)
    muscle = muscle - water
    if flesh.gas:
        gas = torch.stack([_merged_chord(loop, rays) for loop in flesh.gas]).amax(dim=0)
        muscle = muscle - torch.minimum(gas, MOST_GAS * muscle)
    return {"muscle": muscle, "fat": fat, "water": water}


def _marbling(flesh: Flesh, rays: _Rays, geometry: ProjectionGeometry) -> torch.Tensor:
    """(rows, cols) share of muscle that is fat, above or below its mean: waves over the plane of the bones."""
    right, up = rays.at(flesh.facing * (geometry.object_distance_mm or 150.0))
    across, along, phase, strength = torch.as_tensor(flesh.marbling, device=right.device).float().T
    over_cols, over_rows = right[0, :, None] * across + phase, up[:, 0, None] * along
    # the cosine of a sum, as products: right depends on the column alone, up on the row
    return (torch.cos(over_rows) * strength) @ torch.cos(over_cols).T - (torch.sin(over_rows) * strength) @ torch.sin(
        over_cols
    ).T


class _Rays:
    """Where every pixel's ray is at a given A."""

    def __init__(self, geometry: ProjectionGeometry, device: str) -> None:
        rows, cols = (
            (np.arange(size) - centre) * pitch / geometry.sdd_mm
            for size, centre, pitch in zip(
                geometry.size_px, geometry.principal_point_px, geometry.pixel_pitch_mm, strict=True
            )
        )
        first_row, first_col = (np.array(geometry.pixel_centres()[place]) for place in (0, (slice(None), 0)))
        ends = [geometry.back_project(line, np.full(len(line), geometry.sdd_mm)) for line in (first_row, first_col)]
        self.source = geometry.source.tolist()
        # R depends on the column alone, S on the row: (1, cols) and (rows, 1)
        self.right = torch.as_tensor(ends[0][None, :, 0], device=device).float() - self.source[0]
        self.up = torch.as_tensor(ends[1][:, None, 2], device=device).float() - self.source[2]
        slant = np.sqrt(1 + rows[:, None] ** 2 + cols[None] ** 2)
        self.slant = torch.as_tensor(slant, device=device).float()

    def at(self, anterior: torch.Tensor | float) -> tuple[torch.Tensor, torch.Tensor]:
        """R and S, to be broadcast: (1, cols) and (rows, 1), or (rows, cols) where A is."""
        share = 1 - anterior / self.source[1]
        return self.right * share + self.source[0], self.up * share + self.source[2]


def _between(front: torch.Tensor, back: torch.Tensor, flesh: Flesh, rays: _Rays) -> torch.Tensor:
    """Length of the rays between two faces, which the table presses flat."""
    if flesh.facing > 0:
        back = back.clamp(min=flesh.table_mm)
    else:
        front = front.clamp(max=flesh.table_mm)
    return (front - back).clamp(min=0) * rays.slant


def _face(parts: tuple[Sections, ...], rays: _Rays, guess: torch.Tensor, outwards: float, rounds: int) -> torch.Tensor:
    """A (rows, cols) at which the rays meet the foremost face of the parts, or the rearmost (`outwards` -1).

    `guess` (rows, cols), or (1, 1), is A of the first guess.
    """
    for _ in range(rounds):
        right, up = rays.at(guess.clamp(-REACH_MM, REACH_MM))
        height = torch.full(rays.slant.shape, -NOWHERE_MM, device=up.device)
        low, high = up.amin(dim=1), up.amax(dim=1)
        for part in parts:
            rows = _rows((high >= part.lowest_mm) & (low <= part.highest_mm))
            of_part = _height(part, right if len(right) == 1 else right[rows], up[rows], outwards)
            height[rows] = _union(height[rows], of_part)
        guess = outwards * height
    return guess


def _rows(wanted: torch.Tensor) -> slice:
    """From the first to the last of the rows (rows,) that are wanted."""
    numbers = torch.nonzero(wanted)[:, 0]
    return slice(int(numbers[0]), int(numbers[-1]) + 1) if len(numbers) else slice(0, 0)


def _height(part: Sections, right: torch.Tensor, up: torch.Tensor, outwards: float) -> torch.Tensor:
    """How far out a part's face lies at (R, S). Beside the part the face sinks on, so that front is behind back."""
    table = torch.as_tensor(part.table, device=right.device)
    level = ((up - part.lowest_mm) / STEP_MM).clamp(0, len(table) - 1.001)
    low = level.to(torch.int64)
    share = level - low
    wanted = table[:, [0, 1, 2, 3 if outwards > 0 else 4]]
    middle, half_width, depth, reach = torch.lerp(
        embedding(low, wanted), embedding(low + 1, wanted), share[..., None]
    ).unbind(-1)
    squared = (((right - middle) / half_width) ** 2).clamp(max=4)
    rise = torch.sqrt(torch.abs((1 - squared) * (1 + part.square * squared)))
    rise = rise * torch.where(squared < 1, reach, -reach.abs().clamp(min=SOFT_MM))
    beyond = (up < part.lowest_mm) | (up > part.highest_mm)
    return torch.where(beyond, -NOWHERE_MM, outwards * depth + rise)


def _union(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The outer of two faces, rounded where they meet."""
    near = (SOFT_MM - (first - second).abs()).clamp(min=0)
    return torch.maximum(first, second) + near * near / (4 * SOFT_MM)


def _hanging(fold: Fold, right: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """By how much a fold thickens the skin at (R, S), mm."""
    across = (right - fold.middle[0]) / fold.half_width_mm
    above = up - fold.middle[1] - fold.sag_mm * across**2
    fade = torch.exp(-above.clamp(min=0) / fold.reach_mm) * (1.5 - across.abs()).clamp(0, 1)
    return fold.thickness_mm * fade * torch.sigmoid(above / 2.0)


def _from_middle(blob: Blob, rays: _Rays) -> torch.Tensor:
    """(rows, cols) squared distance of the rays from a blob's middle, in its half axes: 1 on its outline."""
    right, up = rays.at(blob.centre[1])
    cosine, sine = math.cos(blob.turn), math.sin(blob.turn)
    across, along = right - blob.centre[0], up - blob.centre[2]
    return ((across * cosine + along * sine) / blob.half[0]) ** 2 + (
        (along * cosine - across * sine) / blob.half[2]
    ) ** 2


def _chord(blob: Blob, rays: _Rays) -> torch.Tensor:
    """Length of the rays in a blob, taken along A."""
    return 2 * blob.half[1] * torch.sqrt((1 - _from_middle(blob, rays)).clamp(min=0)) * rays.slant


def _merged_chord(loop: tuple[Blob, ...], rays: _Rays) -> torch.Tensor:
    """Length of the rays in a chain of blobs that run into each other."""
    edge = math.exp(-2.0)
    filled = torch.stack([torch.exp(-2 * _from_middle(blob, rays).clamp(max=9)) for blob in loop]).sum(dim=0)
    share = ((filled - edge) / (1 - edge)).clamp(0, 1)
    return 2 * float(np.mean([blob.half[1] for blob in loop])) * torch.sqrt(share) * rays.slant
