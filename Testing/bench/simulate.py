"""Films a second at 256 x 256 with their truth, made while a network learns: python Testing/bench/simulate.py

New films, everything on (disease, implants, flesh, physics, makers), in worker processes; the stream of a recipe; a
pool of projections filmed anew; what reuse and postures save; and where the time goes. Patients come from the shipped
shape models, so that no bones are needed. VTK's ray caster is the peer, on one bone. Where there is a GPU, rays and
physics are timed on it as well. `stream` alone: python Testing/bench/simulate.py stream
"""

from __future__ import annotations

import cProfile
import os
import pstats
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader
from vtkmodules.vtkCommonCore import vtkIdList, vtkPoints
from vtkmodules.vtkFiltersGeneral import vtkOBBTree

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))

from support.bones import made_population

from DualFaceReconLib.meshes import polydata
from training.learning.data import FilmStream, sample
from training.learning.films import stream_of
from training.learning.recipe import read_recipe
from training.patients.virtual import sample_patient
from training.raycast import cast
from training.simulate import Series, draw_person, take
from training.xray.rig import draw_rig

WARM, FILMS, POOL, AGAIN = 8, 96, 8, 240
REUSES = (1, 2, 3, 4, 8, 16)
RECIPES = Path(__file__).parents[2] / "training" / "recipes"
SERIES = Series(seed=11, size_px=256)
STAGES = {  # function -> what it is
    "sample_patient": "patients: shapes, posture",
    "diseased": "disease",
    "operated": "implants",
    "dressed": "clothing",
    "matter_of": "cortex and marrow",
    "cast": "rays through bones and metal",
    "cast_flesh": "rays through flesh",
    "filmed": "exposure, postprocessing, marks",
}


def new_films(workers: int) -> float:
    """A second, of a stream in some worker processes; their start is not counted."""
    stream = FilmStream(made_population(), SERIES, pool=4, projections=WARM * workers + FILMS)
    loader = DataLoader(stream, batch_size=None, num_workers=workers, multiprocessing_context="spawn")
    films = iter(loader)
    for _ in range(WARM * workers):
        next(films)
    begin = time.perf_counter()
    made = sum(1 for _ in films)
    return made / (time.perf_counter() - begin)


def recipe_films(first: int) -> float:
    """A second of a processor's time, in one process, of the stream of `gpu_depth`."""
    torch.set_num_threads(1)
    recipe = read_recipe(RECIPES / "gpu_depth.toml")
    stream = stream_of(recipe, made_population())
    stream.first, stream.projections = first, 1
    next(iter(stream))
    begin = time.process_time()
    stream.first, stream.projections = first + stream.pool, stream.pool
    made = sum(1 for _ in stream)
    return made / (time.process_time() - begin)


def costs(count: int = 16) -> dict[str, float]:
    """Seconds of a processor's time for a person, a projection in one posture and an exposure, of the wide films."""
    torch.set_num_threads(1)
    population = made_population()
    series = Series(seed=5, size_px=None, mm_per_pixel=1.5, posture="wide", variety="wide", postures=2)
    take(population, series, 0).film(series)
    spent = dict.fromkeys(("person", "projection", "film"), 0.0)
    for number in range(count):
        marks = [time.process_time()]
        person = draw_person(population, series, number)
        marks.append(time.process_time())
        taken = take(population, series, 2 * number + 1, person=person)
        marks.append(time.process_time())
        film = taken.film(series)
        sample(film.pixels, film.maps, taken.rig.geometry, 256)
        marks.append(time.process_time())
        for name, begin, end in zip(spent, marks[:-1], marks[1:], strict=True):
            spent[name] += (end - begin) / count
    return spent


def films_anew(first: int) -> float:
    """A second, in one process, of a pool of projections."""
    torch.set_num_threads(1)
    population = made_population()
    pool = [take(population, SERIES, first + number) for number in range(POOL)]
    for taken in pool:
        taken.film(SERIES)
    begin = time.perf_counter()
    for again in range(AGAIN):
        pool[again % POOL].film(SERIES, again=again + 1)
    return AGAIN / (time.perf_counter() - begin)


def stages(count: int = 32) -> dict[str, float]:
    """Seconds a film in each stage, by the profiler; "other" is the rest."""
    torch.set_num_threads(1)
    population = made_population()
    take(population, SERIES, 0).film(SERIES)
    profile = cProfile.Profile()
    begin = time.perf_counter()
    profile.runcall(lambda: [take(population, SERIES, number).film(SERIES) for number in range(1, count + 1)])
    whole = (time.perf_counter() - begin) / count
    spent = dict.fromkeys(STAGES, 0.0)
    for (_, _, name), (_, _, _, cumulative, _) in pstats.Stats(profile).stats.items():
        if name in spent:
            spent[name] += cumulative / count
    return {**{STAGES[name]: seconds for name, seconds in spent.items()}, "other": whole - sum(spent.values())}


def on_gpu(count: int = 64) -> tuple[float, float]:
    """New projections and films anew a second on the GPU, from patients that are there already."""
    population = made_population()
    taken = [take(population, SERIES, number, "cuda") for number in range(4)]
    for projection in taken:
        projection.film(SERIES, device="cuda")
    begin = time.perf_counter()
    for number in range(count):
        taken[number % 4] = take(population, SERIES, number, "cuda")
    projections = count / (time.perf_counter() - begin)
    begin = time.perf_counter()
    for again in range(10 * count):
        taken[again % 4].film(SERIES, again=again + 1, device="cuda")
    return projections, 10 * count / (time.perf_counter() - begin)


def beside_vtk() -> tuple[float, float]:
    """Seconds for the rays of one hip at 256 x 256, ours and vtkOBBTree's (a tenth of them, times ten)."""
    patient = sample_patient(made_population(), 0)
    rig, translation = draw_rig(patient.bones, np.random.default_rng(0), 256)
    vertices, triangles = patient.bones["hip_left"]
    mesh = {"hip_left": (vertices + translation, triangles)}
    cast(mesh, rig.geometry)
    begin = time.perf_counter()
    projected = cast(mesh, rig.geometry)
    ours = time.perf_counter() - begin
    tree = vtkOBBTree()
    tree.SetDataSet(polydata(*mesh["hip_left"]))
    tree.BuildLocator()
    rows, cols = np.nonzero(projected.maps.mask[0])
    window = np.argwhere(np.ones((np.ptp(rows) + 1, np.ptp(cols) + 1)))[::10] + np.array([rows.min(), cols.min()])
    ends = rig.geometry.back_project(window, np.full(len(window), rig.geometry.sdd_mm))
    source = rig.geometry.source
    begin = time.perf_counter()
    for end in ends:
        tree.IntersectWithLine(source, end, vtkPoints(), vtkIdList())
    return ours, 10 * (time.perf_counter() - begin)


def stream() -> None:
    """Prints what the stream that a network learns from costs."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        made = sum(processes.map(recipe_films, (0, 320)))
    print(f"films a second of two processors, of gpu_depth's stream: {made:.1f}")
    cost = costs()
    print("ms of a processor for " + ", ".join(f"a {name} {1000 * seconds:.0f}" for name, seconds in cost.items()))
    for postures in (1, 4):
        shared = [cost["film"] + (cost["projection"] + cost["person"] / postures) / reuse for reuse in REUSES]
        print(f"    ms a film, {postures} posture(s), reuse {REUSES}: " + ", ".join(f"{1000 * s:.0f}" for s in shared))


def main() -> None:
    for workers in (1, 2):
        print(f"new films a second at 256 x 256, {workers} worker(s): {new_films(workers):.1f}")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        print(f"films anew a second, 2 processes: {sum(processes.map(films_anew, (0, 100))):.0f}")
    stream()
    spent = stages()
    for name, seconds in spent.items():
        print(f"    {name:<30}{1000 * seconds:7.1f} ms a film   {seconds / sum(spent.values()):4.0%}")
    if torch.cuda.is_available():
        projections, anew = on_gpu()
        print(f"on the GPU: {projections:.1f} new projections and {anew:.0f} films anew a second")
    ours, theirs = beside_vtk()
    print(
        f"rays of one hip: {1000 * ours:.0f} ms, vtkOBBTree {1000 * theirs:.0f} ms: {theirs / ours:.0f} times as fast"
    )


if __name__ == "__main__":
    if "OPENBLAS_NUM_THREADS" in os.environ:
        stream() if "stream" in sys.argv else main()
    else:
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, *sys.argv], env=environment, check=True)
