"""What lies on every ray of a film: all that its grey values depend on, and the truth that goes with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from DualFaceReconLib.bonemaps import BONES, BoneMaps
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.metrics import Mesh
from training.flesh import Flesh
from training.xray.raycast import Matter, cast

GRAIN_MM = (0.35, 0.7, 1.4)  # sizes of what trabecular bone's texture is made of: they stand about 0.6 to 1 mm apart
UPRIGHT = 1.8  # longer along the body than across it, as the lines of load
TRABECULA_MM = 0.12  # a ray meets dense bone in steps of about this


@dataclass(frozen=True)
class Projection:
    """A film before it is exposed."""

    geometry: ProjectionGeometry
    maps: BoneMaps  # of the scored bones
    lengths_mm: dict[str, np.ndarray]  # material -> (rows, cols) float32, on every pixel's ray


def project(
    bones: Mapping[str, Mesh],
    matter: Mapping[str, Matter],
    flesh: Flesh,
    parts: Mapping[str, tuple[str, Mesh]],
    geometry: ProjectionGeometry,
    rng: np.random.Generator,
    device: str | None = None,
) -> Projection:
    """The projection of bones, the flesh around them, and `parts`: name -> material and mesh; all in the film's frame.

    Bone displaces flesh, and metal displaces bone. `rng` draws the grain of trabecular bone.
    """
    cast_bones = cast(bones, geometry, device, matter)
    whole = cast_bones.path_mm.sum(axis=0)
    cortical, trabecular = cast_bones.cortical_mm.sum(axis=0), cast_bones.trabecular_mm.sum(axis=0)
    lengths = flesh.lengths_mm(geometry)
    trabecular = np.clip(trabecular + _grain(trabecular, geometry.pixel_pitch_mm[0], rng), 0, whole - cortical)
    bone, marrow = cortical + trabecular, np.maximum(whole - cortical - trabecular, 0)
    taken = np.minimum(whole, lengths["muscle"])
    lengths["fat"] = np.maximum(lengths["fat"] - (whole - taken), 0) + marrow
    lengths["muscle"] = lengths["muscle"] - taken
    lengths["bone"] = bone

    if parts:
        cast_parts = cast({name: mesh for name, (_, mesh) in parts.items()}, geometry, device).path_mm
        for path, (material, _) in zip(cast_parts, parts.values(), strict=True):
            lengths[material] = lengths.get(material, 0) + path
        foreign = cast_parts.sum(axis=0)
        for material in ("fat", "muscle", "bone"):  # marrow first: cortex stays
            given = np.minimum(lengths[material], foreign)
            lengths[material] = lengths[material] - given
            foreign = foreign - given
    return Projection(geometry, cast_bones.maps.of(BONES), lengths)


def _grain(trabecular: np.ndarray, pitch_mm: float, rng: np.random.Generator) -> np.ndarray:
    """Lengths (rows, cols) by which a pixel's rays meet more or less dense bone than their neighbours'."""
    grain = np.zeros_like(trabecular)
    for size in GRAIN_MM:
        sigma = size / pitch_mm
        noise = gaussian_filter(rng.standard_normal(grain.shape, dtype=np.float32), (UPRIGHT * sigma, sigma))
        averaged = 1 / np.hypot(1, pitch_mm / (2 * size))  # over a pixel
        grain += noise * (averaged / max(float(noise.std()), 1e-6))
    return grain * np.sqrt(trabecular * TRABECULA_MM / len(GRAIN_MM))
