"""Vertebrae for tests: a body, a ring around a canal, and processes, of a size that is known exactly."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import SimpleITK as sitk

from DualFaceReconLib.meshes import Mesh
from training.vertebrae import correspondence
from training.vertebrae.correspondence import VertebraGroup, corresponded
from training.vertebrae.masks import mask_surface
from training.vertebrae.people import Vertebra

WIDTH_MM, DEPTH_MM, HEIGHT_MM = 40.0, 30.0, 25.0  # of the body
CANAL_MM = 9.0  # radius of the canal, whose middle is at A = -CANAL_MM, behind the body
GRID_MM = (100, 100, 60)  # R, A, S
MIDDLE = np.array([50.0, 60.0, 30.0])  # of that grid: where the canal's front wall meets the midline


def made_mask(scale: tuple[float, float, float] = (1, 1, 1), spacing_mm: float = 1.0) -> np.ndarray:
    """(R, A, S) uint8 of a vertebra that is so much wider, deeper and higher than the usual one."""
    axes = [np.arange(0, extent, spacing_mm) - middle for extent, middle in zip(GRID_MM, MIDDLE, strict=True)]
    right, anterior, superior = (part / by for part, by in zip(np.meshgrid(*axes, indexing="ij"), scale, strict=True))
    body = (2 * right / WIDTH_MM) ** 2 + ((anterior - DEPTH_MM / 2) / (DEPTH_MM / 2)) ** 2 < 1
    body &= np.abs(superior) < HEIGHT_MM / 2
    apart = np.hypot(right, anterior + CANAL_MM)
    ring = (apart > CANAL_MM) & (apart < CANAL_MM + 5) & (np.abs(superior) < 6)
    transverse = (np.abs(right) < 32) & (np.abs(right) > 12) & (np.abs(anterior + 14) < 4) & (np.abs(superior) < 4)
    spinous = (np.abs(right) < 3) & (anterior < -21) & (anterior > -45) & (np.abs(superior + 4) < 6)
    body &= apart > CANAL_MM
    return (body | ring | transverse | spinous).astype(np.uint8)


def mask_image(mask: np.ndarray, spacing_mm: float = 1.0) -> sitk.Image:
    """A mask (R, A, S) as an image in LPS, as scanners have it: columns to the left, rows to the back."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask[::-1, ::-1].transpose(2, 1, 0)))
    image.SetSpacing([spacing_mm] * 3)
    last = (np.array(mask.shape) - 1) * spacing_mm - MIDDLE  # R, A, S of the first voxel's column, row and slice
    image.SetOrigin([-last[0], -last[1], -MIDDLE[2]])
    return image


def made_mesh(folder: Path, scale: tuple[float, float, float] = (1, 1, 1)) -> Mesh:
    """The surface of such a vertebra, RAS mm around MIDDLE."""
    path = folder / "vertebra.nii.gz"
    sitk.WriteImage(mask_image(made_mask(scale)), str(path))
    return mask_surface(path)


@cache
def made_vertebrae() -> tuple[Vertebra, ...]:
    """Three lumbar levels of the template's person, and two of somebody taller."""
    scales = {"L2": (0.95, 0.95, 1.0), "L3": (1.0, 1.0, 1.0), "L4": (1.05, 1.0, 1.0)}
    people = (("vhm/male", (1, 1, 1), tuple(scales)), ("clouthier/mean", (1.1, 1.0, 1.15), ("L2", "L4")))
    with TemporaryDirectory() as folder:
        return tuple(
            Vertebra(person=person, level=level, mesh=made_mesh(Path(folder), tuple(np.array(scales[level]) * size)))
            for person, size, levels in people
            for level in levels
        )


@cache
def made_group() -> VertebraGroup:
    """Made vertebrae on a coarse template, found in seconds; the same one for all tests of a process."""
    quick = replace(
        correspondence.NEARLY_THERE, rank=80, thinned_source=300, thinned_target=600, steps=40, refining_steps=20
    )
    with patch.multiple(correspondence, VERTICES=500, TARGET_POINTS=1500, NEARLY_THERE=quick):
        return corresponded(made_vertebrae(), "lumbar", say=lambda words: None)
