"""Studies that are made once and kept, so that many networks learn from the very same films.

    keep_studies(groups, KeptSeries(side=64, voxel_mm=1.75, seed=1, count=9, watched=2, without=()), folder)
    study = read_study(study_files(folder, read_series(folder))[0][0])
    study.sample(USUAL_ERRORS, rng)

Every other vertebra stands in situ. Of each there are three films: from in front, from the side, and one that is as far
from the first as one of OBLIQUE_DEGREES. Where the centre was clicked and what is believed of angle and distances is
drawn whenever a study is learnt from: the truth reaches beyond the cube, and a click moves it by whole voxels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from DualFaceReconLib.backprojection import Cube, back_projected
from DualFaceReconLib.biplanar import FilmPair, placed
from DualFaceReconLib.disk.files import write_file, write_text
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.geometry import ProjectionGeometry
from training.vertebrae.correspondence import VertebraGroup
from training.vertebrae.films import (
    LATERAL_DEGREES,
    Errors,
    Grid,
    arrange,
    believed_films,
    draw_pose,
    placed_film,
    standardised,
    truth_of,
)
from training.vertebrae.virtual import Stock, only, sample_vertebra

LEARNT, WATCHED = "learnt", "watched"  # folders: of everybody but some people, and of these alone
KNOBS = "studies.json"
OBLIQUE_DEGREES = (60.0, 80.0, 110.0, 120.0, 140.0)  # those of the paper's Figure 11, beside 90
ROOM_MM = 14.0  # by which the truth reaches beyond the cube on every side
WATCHED_SEED = 9001  # of the studies of people who are not learnt from
FRONTAL, LATERAL, OTHER = range(3)  # a study's films
GEOMETRY = ("sdd_mm", "pixel_pitch_mm", "size_px", "principal_point_px", "object_distance_mm")

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class KeptSeries:
    """Which studies there are."""

    side: int
    voxel_mm: float
    seed: int
    count: int
    watched: int
    without: tuple[str, ...]  # people of whose vertebrae nothing is learnt, and on whom networks are watched

    @property
    def grid(self) -> Grid:
        """The cube's."""
        return Grid(side=self.side, voxel_mm=self.voxel_mm)


@dataclass(frozen=True, kw_only=True)
class KeptStudy:
    """Three films of a vertebra with its truth."""

    grid: Grid
    films: tuple[np.ndarray, np.ndarray, np.ndarray]  # each by its own mean and spread
    geometries: tuple[ProjectionGeometry, ...]
    angles_degrees: tuple[float, ...]
    middle: np.ndarray  # (3,) mm of the truth in the patient's frame
    truth_hu: np.ndarray  # (side + 2 room, ...) around the middle
    metadata: dict[str, Any]  # plain values

    def sample(
        self, errors: Errors, rng: np.random.Generator, second: int = LATERAL
    ) -> tuple[torch.Tensor, np.ndarray]:
        """Two films laid back, (2, side, side, side), and the true HU, by clicks and beliefs that are drawn.

        `second`: which film there is beside the first, LATERAL or OTHER.
        """
        numbers = (FRONTAL, second)
        angles = [self.angles_degrees[number] for number in numbers]
        true = [placed(self.geometries[number], angle) for number, angle in zip(numbers, angles, strict=True)]
        clicks = []
        for film in true:
            pixel, depth = film.project(self.middle)
            clicks.append(pixel + errors.click_mm * rng.normal(size=2) / film.geometry.pixel_size_at(depth))
        believed = FilmPair(*believed_films(true, angles, errors, rng))
        off = (FilmPair(*true).meeting(*clicks).point - self.middle) / self.grid.voxel_mm
        room = room_of(self.grid)
        steps = np.clip(np.rint(off), -room, room).astype(int)
        centre = believed.meeting(*clicks).point + (steps - off) * self.grid.voxel_mm
        cube = Cube(tuple(map(float, centre)), self.grid.side, self.grid.voxel_mm)
        laid = [
            back_projected(self.films[number].astype(np.float32), film, cube)
            for number, film in zip(numbers, (believed.first, believed.second), strict=True)
        ]
        inner = tuple(slice(room + step, room + step + self.grid.side) for step in steps)
        return torch.stack(laid), self.truth_hu[inner]


def keep_studies(groups: Mapping[str, VertebraGroup], series: KeptSeries, folder: Path, say: Say = print) -> None:
    """Makes what is not there yet; Refusal where the folder holds studies by other knobs, but for their number."""
    folder.mkdir(parents=True, exist_ok=True)
    knobs = folder / KNOBS
    if knobs.exists():
        there = json.loads(knobs.read_text(encoding="utf-8"))
        if {**there, "count": 0} != json.loads(json.dumps({**asdict(series), "count": 0})):
            raise Refusal(f"{folder.name} holds studies by other knobs: give another folder.")
    write_text(knobs, json.dumps(asdict(series), indent=1))
    for name, seeds in _seeds(series).items():
        stock = only(groups, series.without) if name == WATCHED and seeds else Stock.of(groups, series.without)
        (folder / name).mkdir(exist_ok=True)
        missing = [seed for seed in seeds if not _file(folder / name, seed).exists()]
        for number, seed in enumerate(missing, 1):
            _keep(stock, seed, series.grid, _file(folder / name, seed))
            if number % 20 == 0 or number == len(missing):
                say(f"{name}: {len(seeds) - len(missing) + number} of {len(seeds)} studies")


def read_series(folder: Path) -> KeptSeries:
    """What a folder of studies holds; Refusal where it is none."""
    try:
        knobs = json.loads((folder / KNOBS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Refusal(f"{folder} holds no studies: make some with `training vertebrae studies`.") from error
    return KeptSeries(**{**knobs, "without": tuple(knobs["without"])})


def read_study(file: Path) -> KeptStudy:
    """A study of a file."""
    with safe_open(file, "np") as kept:
        about = json.loads(kept.metadata()["study"])
        tensors = {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118
    grid = Grid(**about["grid"])
    truth = np.zeros((grid.side + 2 * room_of(grid),) * 3, np.float32)
    box = tuple(slice(first, first + n) for first, n in zip(about["first"], tensors["truth"].shape, strict=True))
    truth[box] = tensors["truth"]
    return KeptStudy(
        grid=grid,
        films=tuple(tensors[f"film_{number}"] for number in range(3)),
        geometries=tuple(ProjectionGeometry(**knobs) for knobs in about["geometries"]),
        angles_degrees=tuple(about["angles_degrees"]),
        middle=np.array(about["middle"]),
        truth_hu=truth,
        metadata=about["metadata"],
    )


def room_of(grid: Grid) -> int:
    """ROOM_MM in voxels."""
    return round(ROOM_MM / grid.voxel_mm)


def planned(seed: int) -> tuple[bool, float]:
    """Whether a seed's vertebra stands in situ, and how far its third film is from the first, in degrees."""
    return seed % 2 == 1, OBLIQUE_DEGREES[seed // 2 % len(OBLIQUE_DEGREES)]


def study_files(folder: Path, series: KeptSeries) -> tuple[list[Path], list[Path]]:
    """Those to learn from and those to watch; Refusal where some are not made yet."""
    learnt, watched = ([_file(folder / name, seed) for seed in seeds] for name, seeds in _seeds(series).items())
    if missing := [file for file in (*learnt, *watched) if not file.exists()]:
        raise Refusal(f"{folder.name} lacks {len(missing)} studies: `training vertebrae studies` goes on with them.")
    return learnt, watched


def _seeds(series: KeptSeries) -> dict[str, range]:
    watched = series.watched if series.without else 0
    return {
        LEARNT: range(series.seed, series.seed + series.count),
        WATCHED: range(WATCHED_SEED, WATCHED_SEED + watched),
    }


def _keep(stock: Stock, seed: int, grid: Grid, file: Path) -> None:
    """Makes a study and writes it."""
    rng = np.random.default_rng([seed, 29])
    vertebra = sample_vertebra(stock, seed)
    side, turn, middle = draw_pose(rng)
    in_situ, oblique = planned(seed)
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


def _file(folder: Path, seed: int) -> Path:
    return folder / f"{seed:06d}.safetensors"
