"""Films a second at 256 x 256 with their truth, and where the time goes: python Testing/bench/simulate.py

Patients come from the shipped shape models, so that no bones are needed. VTK's ray caster is the peer, on one bone.
"""

from __future__ import annotations

import cProfile
import os
import pstats
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from vtkmodules.vtkCommonCore import vtkIdList, vtkPoints
from vtkmodules.vtkFiltersGeneral import vtkOBBTree

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))

from bones import made_population

from DualFaceReconLib.meshfiles import polydata
from training.patients import sample_patient
from training.simulate import simulate, simulate_one
from training.xray.raycast import cast
from training.xray.rig import draw_rig

FILMS = 24
STAGES = ("sample_patient", "draw_rig", "cast", "plain_film", "write_case")


def films_a_second(jobs: int, folder: Path) -> float:
    """Of whole cases, patient to files; what starting the processes costs is taken out by two lengths of work."""
    population = made_population()
    times = []
    for count in (4, 4 + FILMS):
        begin = time.perf_counter()
        simulate(population, count, count, folder / f"{jobs}_{count}", 256, jobs, say=lambda _: None)
        times.append(time.perf_counter() - begin)
    return FILMS / (times[1] - times[0])


def stages(folder: Path) -> dict[str, float]:
    """Seconds a film in each stage, by the profiler; rays within the film's own count as `cast`."""
    population = made_population()
    profile = cProfile.Profile()
    for number in range(8):
        profile.runcall(simulate_one, population, 2, number, folder / f"case{number}", 256)
    spent = dict.fromkeys(STAGES, 0.0)
    for (_, _, name), (_, _, _, cumulative, callers) in pstats.Stats(profile).stats.items():
        if name in spent:
            spent[name] += cumulative / 8
            if name == "cast":
                inner = sum(t[3] for (_, _, caller), t in callers.items() if caller == "plain_film")
                spent["plain_film"] -= inner / 8
    return spent


def beside_vtk() -> tuple[float, float]:
    """Seconds for the rays of one hip at 256 x 256, ours and vtkOBBTree's (a tenth of them, times ten)."""
    patient = sample_patient(made_population(), 0)
    rig, shift = draw_rig(patient.bones, np.random.default_rng(0), 256)
    vertices, triangles = patient.bones["hip_left"]
    mesh = {"hip_left": (vertices + shift, triangles)}
    cast(mesh, rig.geometry)
    begin = time.perf_counter()
    found = cast(mesh, rig.geometry)
    ours = time.perf_counter() - begin
    tree = vtkOBBTree()
    tree.SetDataSet(polydata(*mesh["hip_left"]))
    tree.BuildLocator()
    rows, cols = np.nonzero(found.maps.mask[0])
    window = np.argwhere(np.ones((np.ptp(rows) + 1, np.ptp(cols) + 1)))[::10] + np.array([rows.min(), cols.min()])
    ends = rig.geometry.back_project(window, np.full(len(window), rig.geometry.sdd_mm))
    source = rig.geometry.source
    begin = time.perf_counter()
    for end in ends:
        tree.IntersectWithLine(source, end, vtkPoints(), vtkIdList())
    return ours, 10 * (time.perf_counter() - begin)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for jobs in (1, 2):
            print(f"films a second at 256 x 256, {jobs} process(es): {films_a_second(jobs, Path(folder)):.1f}")
        spent = stages(Path(folder))
        for name, seconds in spent.items():
            print(f"    {name:<20}{1000 * seconds:7.0f} ms a film   {seconds / sum(spent.values()):4.0%}")
    ours, theirs = beside_vtk()
    print(
        f"rays of one hip: {1000 * ours:.0f} ms, vtkOBBTree {1000 * theirs:.0f} ms: {theirs / ours:.0f} times as fast"
    )


if __name__ == "__main__":
    if "OPENBLAS_NUM_THREADS" in os.environ:
        main()
    else:
        subprocess.run([sys.executable, __file__], env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}, check=True)
