"""A plain film from path lengths: bone with a cortical shell, one flesh profile, noise, and a side marker."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.metrics import Mesh
from DualFaceReconLib.visibility import unit_normals
from training.xray.raycast import cast

# Linear attenuation per mm near 60 keV: NIST XCOM mass coefficients times ICRU 46 densities, rounded.
FLESH, SPONGY, CORTICAL, METAL = 0.0205, 0.026, 0.056, 0.45
SHELL_MM = 2.0  # the cortex of pelvis and proximal femur, 1 to 5 mm where it is measured
FLESH_BESIDE_MM = (25.0, 60.0)  # at both sides of the trochanters
FLESH_IN_FRONT_MM = (30.0, 110.0)
PHOTONS = (2e3, 3e4)  # a pixel, through nothing; fewer leave more noise
MARKER_MM = 14.0
MARKER_STRENGTH = 1.6  # like 3 mm of lead: brighter than bone

LETTERS = {
    "R": ("1110", "1001", "1001", "1110", "1010", "1001", "1001"),
    "L": ("1000", "1000", "1000", "1000", "1000", "1000", "1111"),
}


def plain_film(
    bones: Mapping[str, Mesh],
    path_mm: np.ndarray,
    geometry: ProjectionGeometry,
    rng: np.random.Generator,
    metal: Mapping[str, Mesh] | None = None,
    marker: str = "R",
) -> np.ndarray:
    """(rows, cols) float32 as displayed, bone bright: the logarithm of what the bodies on the ray took away.

    `path_mm` (bones, rows, cols) is what `raycast.cast` says of the bones.
    """
    whole = path_mm.sum(axis=0, dtype=np.float64)
    spongy = cast({name: _inner(mesh) for name, mesh in bones.items()}, geometry).path_mm.sum(axis=0, dtype=np.float64)
    spongy = np.minimum(spongy, whole)
    flesh = np.maximum(_flesh(bones, geometry, rng) - whole, 0)
    taken = FLESH * flesh + SPONGY * spongy + CORTICAL * (whole - spongy)
    if metal:
        taken = taken + (METAL - FLESH) * cast(metal, geometry).path_mm.sum(axis=0, dtype=np.float64)
    _stamp(taken, marker, geometry, rng)
    photons = np.exp(rng.uniform(*np.log(PHOTONS)))
    arrived = rng.poisson(photons * np.exp(-taken)) + 0.5
    return (-np.log(arrived / photons)).astype(np.float32)


def _inner(mesh: Mesh) -> Mesh:
    """The mesh a cortex deeper."""
    vertices, triangles = mesh
    return vertices - SHELL_MM * unit_normals(vertices, triangles), triangles


def _flesh(bones: Mapping[str, Mesh], geometry: ProjectionGeometry, rng: np.random.Generator) -> np.ndarray:
    """Length (rows, cols) of the rays in an elliptic cylinder along the body's axis that holds the bones."""
    points = np.concatenate([v for name, (v, _) in bones.items() if not name.startswith("femur")])
    low, high = points.min(axis=0), points.max(axis=0)
    heads = np.concatenate([v[v[:, 2] > v[:, 2].max() - 60] for name, (v, _) in bones.items() if "femur" in name])
    half_width = np.abs(heads[:, 0] - (low[0] + high[0]) / 2).max() + rng.uniform(*FLESH_BESIDE_MM)
    half_depth = (high[1] - low[1] + rng.uniform(*FLESH_IN_FRONT_MM)) / 2
    centre = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2])

    grid = geometry.pixel_centres()
    rays = geometry.back_project(grid, np.full(grid.shape[:2], geometry.sdd_mm)) - geometry.source
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    start = (geometry.source[:2] - centre) / (half_width, half_depth)
    along = rays[..., :2] / (half_width, half_depth)
    speed = (along**2).sum(axis=-1)
    inside = (along @ start) ** 2 - speed * (start @ start - 1)
    return 2 * np.sqrt(np.maximum(inside, 0)) / speed


def _stamp(taken: np.ndarray, letter: str, geometry: ProjectionGeometry, rng: np.random.Generator) -> None:
    """A lead letter on the side it names: the patient's right is on the left of the picture."""
    shape = np.array([[int(dot) for dot in row] for row in LETTERS[letter]], dtype=float)
    dot = max(round(MARKER_MM / geometry.pixel_pitch_mm[0] / len(shape)), 1)
    stamp = np.kron(shape, np.ones((dot, dot)))
    rows, cols = taken.shape
    height, width = stamp.shape
    if height * 3 > rows or width * 4 > cols:
        return
    top = int(rng.uniform(0.04, 0.2) * rows)
    edge = int(rng.uniform(0.03, 0.08) * cols)
    left = edge if letter == "R" else cols - edge - width
    taken[top : top + height, left : left + width] += MARKER_STRENGTH * stamp
