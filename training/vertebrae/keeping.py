"""`python -m training vertebrae studies`: makes the studies of `kept.py`, in one process or in many.

    keep_studies(groups, KeptSeries(side=64, voxel_mm=1.75, seed=1, count=9, watched=2, without=()), folder)

A seed's study is the same bytes whoever makes it. Those to watch come first; where the minutes are over, the series is
as long as it came, and a longer one goes on with it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from DualFaceReconLib.disk.files import write_file, write_text
from DualFaceReconLib.errors import Refusal
from training.vertebrae.correspondence import VertebraGroup
from training.vertebrae.films import (
    LATERAL_DEGREES,
    Grid,
    arrange,
    draw_pose,
    placed_film,
    standardised,
    truth_of,
)
from training.vertebrae.kept import KNOBS, LEARNT, WATCHED, KeptSeries, room_of, study_file
from training.vertebrae.pelvis import Pelvis
from training.vertebrae.virtual import Stock, only, sample_vertebra

GEOMETRY = ("sdd_mm", "pixel_pitch_mm", "size_px", "principal_point_px", "object_distance_mm")
SPOKEN_EVERY = 20  # studies

Say = Callable[[str], None]
Job = tuple[str, int]  # the folder within the series' and a seed


def keep_studies(
    groups: Mapping[str, VertebraGroup],
    series: KeptSeries,
    folder: Path,
    say: Say = print,
    workers: int = 0,
    minutes: float | None = None,
    pelves: tuple[Pelvis, ...] = (),
) -> KeptSeries:
    """Makes what is not there yet, within so many minutes; gives the series that is there then.

    `workers`: processes, 0 for this one. `pelves`: those of a series with an abdomen.
    Refusal where the folder holds studies by other knobs, but for their number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    knobs, began = folder / KNOBS, time.monotonic()
    if knobs.exists():
        there = json.loads(knobs.read_text(encoding="utf-8"))
        if {**there, "count": 0} != {**series.as_json(), "count": 0}:
            raise Refusal(f"{folder.name} holds studies by other knobs: give another folder.")
    jobs = [(name, seed) for name, seeds in series.seeds().items() for seed in seeds]
    missing = [job for job in jobs if not study_file(folder, *job).exists()]
    _say_what_is_there(series, folder)
    with ExitStack() as ended:
        for number, _ in enumerate(_made(_Maker(groups, series, folder, pelves), missing, workers, ended), 1):
            if number % SPOKEN_EVERY == 0 or number == len(missing):
                _say_what_is_there(series, folder)
                say(f"{len(jobs) - len(missing) + number} of {len(jobs)} studies")
            if minutes is not None and time.monotonic() - began > 60 * minutes:
                break
    if any(not study_file(folder, WATCHED, seed).exists() for seed in series.seeds()[WATCHED]):
        raise Refusal("The minutes were over before the studies to watch were made: give more of them.")
    return _say_what_is_there(series, folder)


def _say_what_is_there(series: KeptSeries, folder: Path) -> KeptSeries:
    """Writes the series as long as it is made, for networks that learn meanwhile."""
    there = [study_file(folder, LEARNT, seed).exists() for seed in series.seeds()[LEARNT]]
    series = replace(series, count=(*there, False).index(False))
    write_text(folder / KNOBS, json.dumps(series.as_json(), indent=1))
    return series


class _Maker:
    """Makes a series' studies; each process that does so has one."""

    def __init__(
        self, groups: Mapping[str, VertebraGroup], series: KeptSeries, folder: Path, pelves: tuple[Pelvis, ...]
    ) -> None:
        self.groups, self.series, self.folder, self.pelves = groups, series, folder, pelves
        self.stock = cache(self._stock)

    def _stock(self, name: str) -> Stock:
        without = self.series.without
        stock = only(self.groups, without) if name == WATCHED else Stock.of(self.groups, without)
        return replace(stock, pelves=self.pelves)

    def make(self, job: Job) -> None:
        torch.set_num_threads(1)  # its sums are small: more threads wait for each other
        name, seed = job
        file = study_file(self.folder, name, seed)
        file.parent.mkdir(exist_ok=True)
        _keep(self.stock(name), seed, self.series, file)

    def __reduce__(self) -> tuple:
        return _Maker, (self.groups, self.series, self.folder, self.pelves)


_maker: _Maker | None = None  # this process's, where it is one of many


def _made(maker: _Maker, missing: Sequence[Job], workers: int, ended: ExitStack) -> Iterator[None]:
    """Makes studies in their order, or nearly; says after each that it is there."""
    if workers < 2 or len(missing) < 2:
        yield from map(maker.make, missing)
        return
    yield maker.make(missing[0])  # here, as kernels are compiled once
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(maker,))
    ended.callback(partial(pool.shutdown, cancel_futures=True))
    yield from pool.map(_make, missing[1:])


def _begin(maker: _Maker) -> None:
    global _maker
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # warp would open every GPU in every process
    _maker = maker


def _make(job: Job) -> None:
    _maker.make(job)


def _keep(stock: Stock, seed: int, series: KeptSeries, file: Path) -> None:
    """Makes a study and writes it."""
    rng, grid = np.random.default_rng([seed, 29]), series.grid
    vertebra = sample_vertebra(stock, seed)
    side, turn, middle = draw_pose(rng)
    in_situ, oblique = series.planned(seed)
    angles = (0.0, side * LATERAL_DEGREES, side * oblique)
    films = [placed_film(middle, angle, grid, rng) for angle in angles]
    scene = arrange(vertebra, stock, seed, grid, turn, np.zeros(3), in_situ, rng)
    tensors = {
        f"film_{number}": standardised(scene.picture(film, middle, number)).astype(np.float16)
        for number, film in enumerate(films)
    }
    truth = truth_of(scene.model, Grid(side=grid.side + 2 * room_of(grid), voxel_mm=grid.voxel_mm))
    places = np.argwhere(truth != 0)
    first, last = (places.min(axis=0), places.max(axis=0) + 1) if len(places) else (np.zeros(3, int), np.ones(3, int))
    tensors["truth"] = np.rint(truth[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]).astype(np.int16)
    about = {
        "grid": asdict(grid),
        "angles_degrees": angles,
        "geometries": [{name: getattr(film.geometry, name) for name in GEOMETRY} for film in films],
        "middle": middle.tolist(),
        "first": first.tolist(),
        "metadata": {"seed": seed, "in_situ": in_situ, "vertebra": vertebra.metadata},
    }
    write_file(file, lambda beside: save_file(tensors, beside, {"study": json.dumps(about)}))
