"""Time observed surfaces, and point-to-surface distances beside trimesh's: python Testing/bench/surfaces_and_metrics.py

Four bones, here ellipsoids and tori of a bone's size, fill a 1024 x 1024 picture. Surfaces take the best of three runs.
"""

from __future__ import annotations

import cProfile
import pstats
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

sys.path.insert(0, str(Path(__file__).parents[2]))

from DualFaceReconLib import meshes, surfaces
from DualFaceReconLib.bonemaps import BoneMaps
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import sample_surface
from DualFaceReconLib.proximity import distances_to_surface
from training.xray.analytic import Ellipsoid, Torus, render

GEOMETRY = ProjectionGeometry(1000, (0.4, 0.4), (1024, 1024))
SOLIDS = {
    "hip_left": Torus((-75, 200, 45), (0.5, 1, 0.3), 55, 20),
    "hip_right": Torus((75, 200, 45), (-0.5, 1, 0.3), 55, 20),
    "femur_left": Ellipsoid((-90, 200, -80), (25, 30, 95)),
    "femur_right": Ellipsoid((90, 200, -80), (25, 30, 95)),
}
STAGES = ("_crop", "_triangulate", "_split_pinches", "unit_normals", "_polydata")
POINTS = 100_000  # as compare_surfaces takes them
PEER_POINTS = 10_000  # trimesh takes long enough


def best_of(runs: int, job: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the fastest run, and what it gave."""
    fastest, result = np.inf, None
    for _ in range(runs):
        start = time.perf_counter()
        result = job()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest, result


def stage_times(maps: BoneMaps) -> dict[str, float]:
    """Seconds spent in each stage of one run over all bones, by the profiler."""
    profile = cProfile.Profile()
    profile.runcall(surfaces.observed_surfaces, maps, GEOMETRY)
    spent = dict.fromkeys(STAGES, 0.0)
    for (file, _, name), (*_, cumulative, _) in pstats.Stats(profile).stats.items():
        if name in spent and file in (surfaces.__file__, meshes.__file__):
            spent[name] += cumulative
    return spent


def peer_distances(points: np.ndarray, mesh: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """trimesh's distances (N,) mm from points to a mesh."""
    return trimesh.proximity.closest_point(trimesh.Trimesh(*mesh, process=False), points)[1]


def main() -> None:
    """Print the two tables."""
    seconds, (maps, _) = best_of(1, lambda: render(SOLIDS, GEOMETRY))
    print(f"render, 4 solids at 1024 x 1024         {seconds:7.3f} s   {maps.mask.sum():,} pixels")
    seconds, observed = best_of(3, lambda: surfaces.observed_surfaces(maps, GEOMETRY))
    cells = sum(surface.GetNumberOfCells() for surface in observed.values())
    print(f"observed surfaces, 4 bones              {seconds:7.3f} s   {cells:,} triangles")
    stages = stage_times(maps)
    for name, spent in stages.items():
        print(f"    {name.strip('_'):<36}{spent:7.3f} s   {spent / sum(stages.values()):4.0%} of the stages")

    mesh = surfaces.observed_triangles(observed["femur_left"])
    samples = sample_surface(*mesh, POINTS)
    print(f"\ndistances to {len(mesh[1]):,} triangles in s, one run each, both building their index of the mesh anew")
    header = ("ours, 100,000", "ours, 10,000", "trimesh, 10,000", "ratio", "difference, mm")
    print("{:>8}{:>15}{:>15}{:>17}{:>8}{:>25}".format("mm off", *header))
    for away in (0.0, 1.0, 5.0, 20.0):
        outwards = samples - SOLIDS["femur_left"].centre
        points = samples + away * outwards / np.linalg.norm(outwards, axis=1, keepdims=True)
        few = points[:PEER_POINTS]
        all_of_them, _ = best_of(1, lambda points=points: distances_to_surface(points, *mesh))
        ours, distances = best_of(1, lambda few=few: distances_to_surface(few, *mesh))
        theirs, expected = best_of(1, lambda few=few: peer_distances(few, mesh))
        difference = np.abs(distances - expected).max()
        print(f"{away:8.0f}{all_of_them:15.2f}{ours:15.2f}{theirs:17.2f}{theirs / ours:8.1f}{difference:25.1e}")


if __name__ == "__main__":
    main()
