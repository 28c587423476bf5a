"""What a vertebra is made of: a volume of HU with cortex, endplates and trabecular bone, as a CT of 1 mm would show it.

    values = density(vertebra.mesh, vertebra.parts, draw_composition(rng), cube, seed=7)    # [R, A, S] of the cube

What is no bone is 0 HU. The numbers are ours, set by what three CTs show: within 3 mm of a body's surface 300 to 390 HU
on average, deep in it 40 to 110, in arches 350 to 690 with peaks of 800 to 1250 (subject s0328, and two CTs that are
looked at alone; all are of adults who were ill, so younger bone is drawn, too).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from DualFaceReconLib.backprojection import Cube
from DualFaceReconLib.meshes import Mesh
from training.vertebrae.inwards import squared_depths
from training.vertebrae.parts import VertebraParts
from training.vertebrae.voxels import inside_on_grid

FINER = 2  # voxels of the model along one of the cube's
SHELL_MM = 4.0  # so far from the surface bone is denser than deep inside
BLUR_MM = 0.45  # standard deviation of the scanner's point spread
GRAIN_MM, GRAIN = 1.5, 0.18  # size of the irregularities of trabecular bone, and their deviation as a share


@dataclass(frozen=True, kw_only=True)
class Composition:
    """What one person's vertebrae are made of."""

    trabecular_hu: float  # deep in the body
    subcortical_hu: float  # more than that just below the cortex, dying away over SHELL_MM
    arch_hu: float  # within the arch's cortex
    cortical_hu: float
    side_mm: float  # the cortex's thickness at the body's sides
    endplate_mm: float
    arch_mm: float


MIDDLING = Composition(
    trabecular_hu=130, subcortical_hu=140, arch_hu=260, cortical_hu=1000, side_mm=0.6, endplate_mm=0.7, arch_mm=1.4
)


def draw_composition(rng: np.random.Generator) -> Composition:
    """From osteoporotic to young."""
    dense = float(rng.normal())
    return Composition(
        trabecular_hu=float(np.clip(130 + 55 * dense, 30, 280)),
        subcortical_hu=float(rng.uniform(80, 200)),
        arch_hu=float(np.clip(260 + 80 * dense + rng.normal(0, 40), 80, 550)),
        cortical_hu=float(np.clip(1000 + 130 * dense, 650, 1400)),
        side_mm=float(rng.uniform(0.35, 0.8)),
        endplate_mm=float(rng.uniform(0.45, 1.0)),
        arch_mm=float(rng.uniform(0.9, 2.0)),
    )


def density(mesh: Mesh, parts: VertebraParts, bone: Composition, cube: Cube, seed: int) -> np.ndarray:
    """(n, n, n) float32 HU of a closed mesh in the cube's frame; what reaches beyond the cube is cut off."""
    fine_mm = cube.voxel_mm / FINER
    corner = np.array([axis[0] - (cube.voxel_mm - fine_mm) / 2 for axis in cube.axes()])
    low = np.floor((mesh[0].min(axis=0) - corner) / cube.voxel_mm).astype(int) - 2
    high = np.ceil((mesh[0].max(axis=0) - corner) / cube.voxel_mm).astype(int) + 2
    low, high = np.clip(low, 0, cube.side), np.clip(high, 0, cube.side)
    values = np.zeros((cube.side,) * 3, np.float32)
    if (high <= low).any():
        return values
    first, count = corner + low * cube.voxel_mm, (high - low) * FINER
    inside = inside_on_grid(mesh, first, count, fine_mm)
    hu = _hu(inside, mesh[0], parts, bone, first, fine_mm, seed)
    hu = gaussian_filter(hu, BLUR_MM / fine_mm, truncate=3)
    coarse = hu.reshape(*np.stack([high - low, np.full(3, FINER)], axis=1).ravel()).mean(axis=(1, 3, 5))
    values[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = coarse
    return values


def _hu(
    inside: np.ndarray,
    vertices: np.ndarray,
    parts: VertebraParts,
    bone: Composition,
    first: np.ndarray,
    fine_mm: float,
    seed: int,
) -> np.ndarray:
    """HU before a scanner blurs them."""
    deep = (np.sqrt(squared_depths(inside)) - 0.5) * fine_mm
    in_arch, thickness = (values[inside] for values in _of_surface(inside, first, fine_mm, vertices, parts, bone))
    rng = np.random.default_rng([seed, 21])
    grain = gaussian_filter(rng.normal(size=inside.shape).astype(np.float32), GRAIN_MM / fine_mm / 2, truncate=2)
    grain = 1 + GRAIN * (grain / max(float(grain.std()), 1e-6))[inside]
    within = bone.trabecular_hu + bone.subcortical_hu * np.exp(-deep / (SHELL_MM / 2))
    within = np.where(in_arch, bone.arch_hu, within) * np.clip(grain, 0.3, 1.7)
    cortex = np.clip((thickness - deep) / fine_mm + 0.5, 0, 1)  # a voxel's share of it
    hu = np.zeros(inside.shape, np.float32)
    hu[inside] = cortex * bone.cortical_hu + (1 - cortex) * within
    return hu


def _of_surface(
    inside: np.ndarray,
    first: np.ndarray,
    fine_mm: float,
    vertices: np.ndarray,
    parts: VertebraParts,
    bone: Composition,
) -> tuple[np.ndarray, np.ndarray]:
    """Whether voxels belong to the arch, and the thickness in mm of the cortex near them; by blocks of FINER^3."""
    arch, thick = np.ones(len(vertices), bool), np.full(len(vertices), bone.arch_mm)
    arch[parts.body] = False
    thick[parts.body] = bone.side_mm
    thick[np.concatenate([parts.upper, parts.lower])] = bone.endplate_mm
    blocks = inside.reshape(*np.stack([np.array(inside.shape) // FINER, np.full(3, FINER)], axis=1).ravel())
    some = blocks.any(axis=(1, 3, 5))
    middles = first + (np.argwhere(some) * FINER + (FINER - 1) / 2) * fine_mm
    nearest = cKDTree(vertices).query(middles)[1]
    wide = []
    for values in (arch, thick):
        of_blocks = np.zeros(some.shape, values.dtype)
        of_blocks[some] = values[nearest]
        for axis in range(3):
            of_blocks = of_blocks.repeat(FINER, axis)
        wide.append(of_blocks)
    return wide[0], wide[1]
