"""Lengths in materials on every ray of a film, on which its grey values depend, and the truth that goes with them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from DualFaceReconLib.bonemaps import BONES, BoneMaps
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import Mesh
from training.patients.flesh import Flesh
from training.patients.shadows import Shadow
from training.patients.virtual import Part
from training.raycast import Matter, cast, union_path_mm
from training.xray.fleshcast import cast_flesh
from training.xray.shadowcast import cast_shadows
from training.xray.smoothing import blurred

GRAIN_MM = (0.35, 0.7, 1.4)  # of the texture of trabecular bone, whose trabeculae are about 0.6 to 1 mm apart
UPRIGHT = 1.8  # how much longer the texture is along the body than across it, as the lines of load are
TRABECULA_MM = 0.12  # thickness; a ray meets dense bone in such steps


@dataclass(frozen=True, kw_only=True)
class Texture:
    """How the grain of trabecular bone differs from the usual, as factors."""

    coarse: float = 1.0
    strength: float = 1.0


def draw_texture(rng: np.random.Generator) -> Texture:
    """The grain of one patient's bones in the wide variety; ours."""
    return Texture(coarse=float(np.exp(rng.uniform(-0.2, 0.6))), strength=float(np.exp(rng.uniform(-0.7, 0.5))))


@dataclass(frozen=True, kw_only=True)
class Projection:
    """A film before it is exposed."""

    geometry: ProjectionGeometry
    maps: BoneMaps  # of the scored bones
    lengths_mm: dict[str, torch.Tensor]  # material -> (rows, cols) float32, on every pixel's ray; one device


def project(
    bones: Mapping[str, Mesh],
    matter: Mapping[str, Matter],
    flesh: Flesh,
    parts: Mapping[str, Part],
    geometry: ProjectionGeometry,
    seed: int,
    device: str = "cpu",
    texture: Texture | None = None,
    shadows: Sequence[Shadow] = (),
) -> Projection:
    """The projection of bones, the flesh around them and metal `parts`, all in the film's frame.

    Bone displaces flesh, and metal displaces bone. `seed` is that of the grain of trabecular bone.
    `shadows` lie before all of them but metal.
    """
    cast_bones = cast(bones, geometry, device, matter)
    whole, cortical, trabecular = (
        torch.as_tensor(path.sum(axis=0), device=device)
        for path in (cast_bones.path_mm, cast_bones.cortical_mm, cast_bones.trabecular_mm)
    )
    lengths = cast_flesh(flesh, geometry, device)
    grain = _grain(trabecular, geometry.pixel_pitch_mm[0], seed, texture or Texture())
    trabecular = torch.minimum((trabecular + grain).clamp(min=0), whole - cortical)
    marrow = whole - cortical - trabecular
    from_muscle = torch.minimum(whole, lengths["muscle"])
    lengths["muscle"] = lengths["muscle"] - from_muscle
    lengths["fat"] = (lengths["fat"] - (whole - from_muscle)).clamp(min=0) + marrow
    lengths["bone"] = cortical + trabecular
    cast_shadows(shadows, lengths, geometry)
    if parts:
        _add_parts(lengths, parts, geometry, device)
    return Projection(geometry=geometry, maps=cast_bones.maps.of(BONES), lengths_mm=lengths)


def _add_parts(
    lengths: dict[str, torch.Tensor], parts: Mapping[str, Part], geometry: ProjectionGeometry, device: str
) -> None:
    """Puts metal and other parts in the place of tissue; parts of one implant overlap where they are joined."""
    foreign = torch.zeros_like(lengths["bone"])
    for material in {part.material: None for part in parts.values()}:
        meshes = {name: part.mesh for name, part in parts.items() if part.material == material}
        path = torch.as_tensor(union_path_mm(meshes, geometry, device), device=device)
        lengths[material] = path
        foreign += path
    for material in ("fat", "muscle", "bone"):  # marrow first: cortex stays
        given = torch.minimum(lengths[material], foreign)
        lengths[material] = lengths[material] - given
        foreign = foreign - given


def _grain(trabecular: torch.Tensor, pitch_mm: float, seed: int, texture: Texture) -> torch.Tensor:
    """Lengths (rows, cols), mm, by which a pixel's rays meet more or less dense bone than its neighbours' rays."""
    generator = torch.Generator(trabecular.device).manual_seed(seed)
    grain = torch.zeros_like(trabecular)
    for fine in GRAIN_MM:
        size = fine * texture.coarse
        sigma = size / pitch_mm
        noise = torch.randn(grain.shape, generator=generator, device=grain.device)
        noise = blurred(noise, sigma, UPRIGHT * sigma)
        averaged = 1 / math.hypot(1, pitch_mm / (2 * size))  # over a pixel
        grain += noise * (averaged / noise.std())
    return texture.strength * grain * torch.sqrt(trabecular * TRABECULA_MM / len(GRAIN_MM))
