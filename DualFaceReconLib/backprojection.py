"""A film laid back into space: every voxel of a cube has the grey value of the pixel that its ray meets.

    cube = Cube(centre=(0, 0, 0), side=112, voxel_mm=1.0)
    projections = torch.stack([back_projected(pixels, film, cube) for pixels, film in zip(grey, films)])  # (2, n, n, n)

Along true rays, from the source: a film is neither replicated along an axis nor turned, whatever its angle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from DualFaceReconLib.biplanar import PlacedFilm
from DualFaceReconLib.geometry import ProjectionGeometry

OUTSIDE = -5.0  # a place along a film from -1 to 1 that is none of it


@dataclass(frozen=True)
class Cube:
    """Voxels in the patient's frame. A volume is indexed [R, A, S], each growing that way; an integer is a centre."""

    centre: tuple[float, float, float]  # RAS mm
    side: int  # voxels
    voxel_mm: float

    def __post_init__(self) -> None:
        if self.side < 1 or not self.voxel_mm > 0:
            raise ValueError(f"a cube has one voxel or more of a positive size, not {self.side} of {self.voxel_mm} mm")

    def axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The voxels' R, A and S, each (side,) mm."""
        offsets = (np.arange(self.side) - (self.side - 1) / 2) * self.voxel_mm
        right, anterior, superior = (middle + offsets for middle in self.centre)
        return right, anterior, superior

    def points(self) -> np.ndarray:
        """Every voxel's centre, (side, side, side, 3) RAS mm."""
        return np.stack(np.meshgrid(*self.axes(), indexing="ij"), axis=-1)

    def indices(self, points: np.ndarray) -> np.ndarray:
        """RAS mm (..., 3) -> [R, A, S] voxels (..., 3), with parts."""
        return (np.asarray(points, dtype=np.float64) - self.centre) / self.voxel_mm + (self.side - 1) / 2


def back_projected(pixels: np.ndarray, film: PlacedFilm, cube: Cube) -> Tensor:
    """(side, side, side) float32 of a film (rows, cols); 0 where it does not reach.

    Pixels finer than a voxel is at the cube's middle are averaged first; between pixels values go along straight lines.
    """
    picture, geometry = _no_finer_than(pixels, film, cube)
    flat = _places(PlacedFilm(geometry, film.rotation, film.translation), cube).reshape(1, cube.side, cube.side**2, 2)
    sampled = grid_sample(picture, flat, mode="bilinear", padding_mode="zeros", align_corners=True)
    return sampled.reshape(cube.side, cube.side, cube.side)


def _places(film: PlacedFilm, cube: Cube) -> Tensor:
    """Where the voxels lie on a film, (side, side, side, 2) from -1 to 1 along columns and along rows.

    A pixel times its depth is straight along every axis of the cube, as depth is: four points say where all others are.
    """
    middle_mm = float(film.project(np.array(cube.centre))[1])
    step_mm = middle_mm / 2  # none of the four lies behind the source
    pixels, depth = film.project(np.array(cube.centre) + step_mm * np.eye(4, 3, -1))
    ends = np.maximum(np.array(film.geometry.size_px) - 1, 1)
    straight = np.column_stack([(2 * pixels / ends - 1)[:, ::-1] * depth[:, None], depth])
    slopes = torch.as_tensor((straight[1:] - straight[0]) / step_mm)
    offsets = torch.arange(cube.side, dtype=torch.float64).sub((cube.side - 1) / 2).mul(cube.voxel_mm)
    along = (offsets[:, None] * slopes[:, None]).float()  # (3 axes, side, 3)
    across = along[0][:, None] + along[1] + torch.as_tensor(straight[0]).float()
    columns, rows, deep = (across[..., None, number] + along[2][:, number] for number in range(3))
    lit = deep > 0  # what is at the source or behind it is not lit: beyond the film
    return torch.stack([torch.where(lit, values / deep, OUTSIDE) for values in (columns, rows)], dim=-1)


def _no_finer_than(pixels: np.ndarray, film: PlacedFilm, cube: Cube) -> tuple[Tensor, ProjectionGeometry]:
    """The film (1, 1, rows, cols) with pixels that are no finer than the cube's voxels, and its geometry."""
    geometry = film.geometry
    if pixels.shape != geometry.size_px:
        raise ValueError(f"the film has {pixels.shape} pixels, its geometry {geometry.size_px}")
    picture = torch.as_tensor(np.ascontiguousarray(pixels, dtype=np.float32))[None, None]
    middle_mm = float(film.project(np.array(cube.centre))[1])
    if middle_mm <= 0:
        raise ValueError("the cube lies behind the X-ray source")
    fine_mm = geometry.pixel_size_at(middle_mm)
    size = [max(1, round(n * min(mm / cube.voxel_mm, 1))) for n, mm in zip(geometry.size_px, fine_mm, strict=True)]
    if tuple(size) == geometry.size_px:
        return picture, geometry
    coarser = interpolate(picture, size=size, mode="bilinear", antialias=True, align_corners=False)
    return coarser, geometry.resized(size)
