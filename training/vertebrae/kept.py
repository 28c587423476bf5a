"""Studies that are made once and kept, so that many networks learn from the very same films.

    study = read_study(study_files(folder, read_series(folder))[0][0])
    study.sample(USUAL_ERRORS, rng)

Every other vertebra stands in situ, or as many as a series says. Of each there are three films: from in front, from the
side, and one that is as far from the first as one of OBLIQUE_DEGREES. Where the centre was clicked and what is believed
of angle and distances is drawn whenever a study is learnt from: the truth reaches beyond the cube, and a click moves it
by whole voxels. `keeping.py` makes studies.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from DualFaceReconLib.backprojection import Cube, back_projected
from DualFaceReconLib.biplanar import FilmPair, placed
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.geometry import ProjectionGeometry
from training.vertebrae.films import Errors, Grid, believed_films

LEARNT, WATCHED = "learnt", "watched"  # folders: of everybody but some people, and of these alone
KNOBS = "studies.json"
OBLIQUE_DEGREES = (60.0, 80.0, 110.0, 120.0, 140.0)  # those of the paper's Figure 11, beside 90
ROOM_MM = 14.0  # by which the truth reaches beyond the cube on every side
WATCHED_SEED = 9001  # of the studies of people who are not learnt from
AS_ALWAYS = (("in_situ", 0.5), ("abdomen", False))  # knobs that older series do not have
FRONTAL, LATERAL, OTHER = range(3)  # a study's films


@dataclass(frozen=True, kw_only=True)
class KeptSeries:
    """Which studies there are."""

    side: int
    voxel_mm: float
    seed: int
    count: int
    watched: int
    without: tuple[str, ...]  # people of whose vertebrae nothing is learnt, and on whom networks are watched
    in_situ: float = 0.5  # share of vertebrae among their neighbours, in flesh
    abdomen: bool = False  # these with a pelvis below L5, and gas in the bowel

    @property
    def grid(self) -> Grid:
        """The cube's."""
        return Grid(side=self.side, voxel_mm=self.voxel_mm)

    def planned(self, seed: int) -> tuple[bool, float]:
        """Whether a seed's vertebra stands in situ, and how far its third film is from the first, in degrees."""
        in_situ = math.floor((seed + 1) * self.in_situ) > math.floor(seed * self.in_situ)
        return in_situ, OBLIQUE_DEGREES[seed // 2 % len(OBLIQUE_DEGREES)]

    def seeds(self) -> dict[str, range]:
        """Of the studies in each folder; those to watch come first."""
        watched = self.watched if self.without else 0
        return {
            WATCHED: range(WATCHED_SEED, WATCHED_SEED + watched),
            LEARNT: range(self.seed, self.seed + self.count),
        }

    def as_json(self) -> dict[str, Any]:
        """Plain values; what is as it always was is not named."""
        values = json.loads(json.dumps(asdict(self)))
        return {name: value for name, value in values.items() if (name, value) not in AS_ALWAYS}


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


def study_files(folder: Path, series: KeptSeries) -> tuple[list[Path], list[Path]]:
    """Those to learn from and those to watch; Refusal where some are not made yet."""
    files = {name: [study_file(folder, name, seed) for seed in seeds] for name, seeds in series.seeds().items()}
    if missing := [file for of_kind in files.values() for file in of_kind if not file.exists()]:
        raise Refusal(f"{folder.name} lacks {len(missing)} studies: `training vertebrae studies` goes on with them.")
    return files[LEARNT], files[WATCHED]


def study_file(folder: Path, name: str, seed: int) -> Path:
    """Of a seed; `name`: LEARNT or WATCHED."""
    return folder / name / f"{seed:06d}.safetensors"
