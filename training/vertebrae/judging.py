"""How good volumes are: real vertebrae of people who were kept out, each on films alone and in situ.

    judge(groups, ["totalseg/s0328"], trained_network(Path("out/ear")), Path("out/ear/judged"))

The truth is the real vertebra as its group's template lies on it, of bone that is drawn for its person. A run that was
cut goes on: what was measured of the same network stays in `scores.jsonl`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from DualFaceReconLib.backprojection import Cube
from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.errors import Refusal, meant
from DualFaceReconLib.levels import GROUPS, group_of
from DualFaceReconLib.metrics import compare_surfaces, dice
from training.judging import volumes
from training.vertebrae.correspondence import VertebraGroup
from training.vertebrae.films import LATERAL_DEGREES, USUAL_ERRORS, Errors, Grid, Study, film_vertebra, filmed_vertebra
from training.vertebrae.parts import in_own_frame
from training.vertebrae.pelvis import Pelvis
from training.vertebrae.people import MEAN_OF_MANY
from training.vertebrae.rows import (
    COMPLETED,
    EXACT,
    FITTED,
    MEAN,
    OUTLINED,
    USUAL,
    Row,
    TrainedNetwork,
    completed_network,
    exact_volume,
    fitted_model,
    mean_vertebra,
    remembered,
    usual_vertebra,
)
from training.vertebrae.surface_sheet import ShownVertebra, surface_sheet
from training.vertebrae.surfaces import solid, surface_of
from training.vertebrae.virtual import Stock, VirtualVertebra
from training.vertebrae.voxels import inside_on_grid

NETWORK = "network"
# The surface of rows that need no network. Of exact volumes it is 0.7 mm from the truth at 1.75 mm and 0.5 at 1 mm:
# less than at 150 HU (0.9, 0.6), where surfaces lie too far out, and without the holes that thin cortex has at 300.
USUAL_BONE_HU = 200.0
THRESHOLDS_HU = tuple(range(50, 401, 25))
CHOOSING = 8  # virtual vertebrae of people who were learnt from, by which a network's threshold is chosen
CHOOSING_SEED = 70_001
SHOWN = 8  # vertebrae in a picture
SAMPLES = 10_000  # a side, of distances between surfaces
# How films are taken, and what is believed of them; the last three have one of the usual errors alone
CONDITIONS = {
    "alone": (False, Errors()),
    "alone, usual errors": (False, USUAL_ERRORS),
    "in situ": (True, Errors()),
    "in situ, usual errors": (True, USUAL_ERRORS),
    "in situ, clicks off": (True, Errors(click_mm=USUAL_ERRORS.click_mm)),
    "in situ, angle off": (True, Errors(angle_degrees=USUAL_ERRORS.angle_degrees)),
    "in situ, distances off": (True, Errors(distance_mm=USUAL_ERRORS.distance_mm)),
}
FIGURES = {
    "mse": "MSE",
    "mae": "MAE",
    "dice": "Dice",
    "psnr_range_db": "PSNR, own range",
    "psnr_hu_db": "PSNR, 4095 HU",
    "ssim": "SSIM",
    "frequency": "FD",
    "frequency_in_limits": "FD, 0 to 1",
    "assd_mm": "ASSD mm",
    "hd95_mm": "HD95 mm",
}
LEAST_PEOPLE = 8  # for an interval to say anything


@dataclass(frozen=True, kw_only=True)
class VolumeScore:
    """One row's volume of one vertebra on one pair of films."""

    seal: str  # of the row, see JudgedRow
    person: str
    level: str
    condition: str
    row: str
    figures: dict[str, float | None]  # None where it has no surface


def judge(
    groups: Mapping[str, VertebraGroup],
    people: Sequence[str],
    trained: TrainedNetwork | None,
    grid: Grid,
    scale: volumes.ZScale,
    out: Path,
    conditions: Sequence[str] = tuple(CONDITIONS),
    say: Callable[[str], None] = print,
    judged: Mapping[str, VertebraGroup] | None = None,
    apart_degrees: float = LATERAL_DEGREES,
    pelves: tuple[Pelvis, ...] = (),
) -> str:
    """Measures all real vertebrae of some people by rows that know none of them; writes and gives `table.md`,
    and draws what a network makes of some of them.

    A network did without all of them. Without one, each is left out in turn, and the rows know the others.
    `judged`: all vertebrae of these instead, none of which are in `groups`. `pelves`: on which those in situ stand.
    """
    if MEAN_OF_MANY in people:
        raise Refusal(f"{MEAN_OF_MANY} is the mean of many and nobody: name others with --people.")
    if strange := [name for name in conditions if name not in CONDITIONS]:
        raise Refusal(f"There are no films taken {strange[0]!r}: {meant(strange[0], CONDITIONS)}")
    together = trained is not None or judged is not None
    scores: list[VolumeScore] = []
    for without in [people] if together else [[person] for person in people]:
        stock = Stock.of(groups, without)
        rows = simple_rows(stock, grid)
        rows[USUAL] = replace(rows[MEAN], volume=usual_vertebra(stock, grid))
        if trained is not None:
            rows |= _network_rows(trained, stock, grid, apart_degrees, say)
        subjects_of = without if judged is None else _people(judged)
        filmed = replace(stock, pelves=pelves)
        subjects = judged_subjects(judged or groups, subjects_of, filmed, conditions, grid, apart_degrees)
        scores += measure(rows, subjects, grid, scale, out / "scores.jsonl", say)
    text = as_markdown(scores, grid)
    write_text(out / "table.md", text)
    if trained is not None:
        surface_sheet(list(_shown(rows, subjects, grid)), out / "surfaces.png")
    return text


def _network_rows(
    trained: TrainedNetwork, stock: Stock, grid: Grid, apart_degrees: float, say: Callable[[str], None]
) -> dict[str, JudgedRow]:
    """A network's volumes, and the shape model on what it makes."""
    asked = remembered(trained.mirrored_too)
    threshold = chosen_threshold(asked, choosing_studies(stock, grid, apart_degrees), grid)
    say(f"the network's surface is at {threshold:.0f} HU")
    rows = {NETWORK: JudgedRow(volume=asked, threshold_hu=threshold, seal=trained.sha256)}
    for name, silhouettes in ((COMPLETED, False), (OUTLINED, True)):
        completed = completed_network(asked, threshold, stock, grid, silhouettes)
        rows[name] = JudgedRow(volume=completed, threshold_hu=USUAL_BONE_HU, seal=trained.sha256)
    return rows


def _people(groups: Mapping[str, VertebraGroup]) -> list[str]:
    return list(dict.fromkeys(person for group in groups.values() for person in group.bones.people))


@dataclass(frozen=True, kw_only=True)
class JudgedRow:
    """What volumes are judged of, and where their surface is."""

    volume: Row
    threshold_hu: float
    seal: str  # a sha256 of all that its volumes hang on: the network's, or the stock's


@dataclass(frozen=True, kw_only=True)
class JudgedVertebra:
    """A real vertebra and its films, taken in one way."""

    person: str
    level: str
    condition: str
    study: Callable[[], Study]


def _shown(rows: Mapping[str, JudgedRow], subjects: Sequence[JudgedVertebra], grid: Grid) -> Iterator[ShownVertebra]:
    """Some vertebrae with the surfaces that the network's two rows make of them."""
    step = len(subjects) // SHOWN // 2 * 2 + 1  # odd, as two conditions take turns
    for subject in subjects[::step][:SHOWN]:
        study = subject.study()
        surfaces = [
            surface_of(rows[name].volume(study), rows[name].threshold_hu, grid) for name in (NETWORK, COMPLETED)
        ]
        title = f"{subject.person} {subject.level}, {subject.condition}"
        yield ShownVertebra(title=title, true=study.mesh, found=surfaces)


def simple_rows(stock: Stock, grid: Grid) -> dict[str, JudgedRow]:
    """The rows that need no network, by their names."""
    volumes_of = {EXACT: exact_volume, MEAN: mean_vertebra(stock, grid), FITTED: fitted_model(stock, grid)}
    seal = hashlib.sha256(repr(grid).encode())
    for group in stock.groups.values():
        seal.update(group.shapes.tobytes() + group.sizes.tobytes())
    return {
        name: JudgedRow(volume=volume, threshold_hu=USUAL_BONE_HU, seal=seal.hexdigest())
        for name, volume in volumes_of.items()
    }


def judged_subjects(
    groups: Mapping[str, VertebraGroup],
    people: Sequence[str],
    stock: Stock,
    conditions: Sequence[str],
    grid: Grid,
    apart_degrees: float = LATERAL_DEGREES,
) -> list[JudgedVertebra]:
    """All real vertebrae of some people under all conditions, on films so far apart; films are made when looked at."""
    return [
        JudgedVertebra(
            person=person,
            level=vertebra.level,
            condition=at_angle(_on_pelvis(condition, stock), apart_degrees),
            study=cache(partial(_study, person, vertebra, stock, condition, grid, apart_degrees)),
        )
        for person, vertebra in real_vertebrae(groups, people)
        for condition in conditions
    ]


def at_angle(condition: str, apart_degrees: float) -> str:
    """The name of a condition on films so far apart."""
    return condition if apart_degrees == LATERAL_DEGREES else f"{condition}, {apart_degrees:g} degrees apart"


def _on_pelvis(condition: str, stock: Stock) -> str:
    """The name of a condition where vertebrae stand on the pelves of a stock."""
    return f"{condition}, with pelvis and bowel" if stock.pelves and CONDITIONS[condition][0] else condition


def measure(
    rows: Mapping[str, JudgedRow],
    subjects: Sequence[JudgedVertebra],
    grid: Grid,
    scale: volumes.ZScale,
    file: Path,
    say: Callable[[str], None] = print,
) -> list[VolumeScore]:
    """The figures of every row on every subject, in that order; what the file has is not measured again."""
    file.parent.mkdir(parents=True, exist_ok=True)
    known = {(score.seal, score.row, score.person, score.level, score.condition): score for score in _read(file)}
    wanted = []
    for subject in subjects:
        here = subject.person, subject.level, subject.condition
        missing = [name for name, row in rows.items() if (row.seal, name, *here) not in known]
        for name in missing:
            row, study = rows[name], subject.study()
            known[row.seal, name, *here] = VolumeScore(
                seal=row.seal,
                person=subject.person,
                level=subject.level,
                condition=subject.condition,
                row=name,
                figures=figures_of(row.volume(study), study, row.threshold_hu, grid, scale),
            )
        if missing:
            write_text(file, "".join(json.dumps(asdict(score)) + "\n" for score in known.values()))
            say(f"{subject.person} {subject.level} {subject.condition}")
        wanted += [known[row.seal, name, *here] for name, row in rows.items()]
    return wanted


def real_vertebrae(groups: Mapping[str, VertebraGroup], people: Sequence[str]) -> Iterator[tuple[str, VirtualVertebra]]:
    """Every vertebra of some people, in its own frame."""
    for group in groups.values():
        for person, level, shape in zip(group.bones.people, group.levels, group.bones.shapes, strict=True):
            if person in people:
                yield (
                    person,
                    VirtualVertebra(
                        level=level,
                        mesh=(in_own_frame(shape, group.parts), group.bones.triangles),
                        parts=group.parts,
                        metadata={"person": person, "level": level},
                    ),
                )


def figures_of(
    predicted_hu: np.ndarray, study: Study, threshold_hu: float, grid: Grid, scale: volumes.ZScale
) -> dict[str, float | None]:
    """All FIGURES of a volume in the cube of a pair of films."""
    truth_hu = study.truth_hu
    z, true_z = scale.z(predicted_hu), scale.z(truth_hu)
    surface = surface_of(predicted_hu, threshold_hu, grid)
    distances = None if surface is None else compare_surfaces(surface, study.mesh, SAMPLES)
    return {
        "mse": volumes.mse(z, true_z),
        "mae": volumes.mae(z, true_z),
        "dice": dice(solid(predicted_hu, threshold_hu), true_bone(study, grid)),
        "psnr_range_db": _finite(volumes.psnr_of_range(z, true_z)),
        "psnr_hu_db": _finite(volumes.psnr_of_hu(predicted_hu, truth_hu)),
        "ssim": volumes.ssim(z, true_z),
        "frequency": _finite(volumes.frequency_distance(z, true_z)),
        "frequency_in_limits": volumes.frequency_distance_in_limits(z, true_z),
        "assd_mm": None if distances is None else distances.assd_mm,
        "hd95_mm": None if distances is None else distances.hd95_mm,
    }


def true_bone(study: Study, grid: Grid) -> np.ndarray:
    """Which voxels' centres lie in the true vertebra."""
    first = np.array([axis[0] for axis in Cube((0.0, 0.0, 0.0), grid.side, grid.voxel_mm).axes()])
    return inside_on_grid(study.mesh, first, np.full(3, grid.side), grid.voxel_mm)


def choosing_studies(stock: Stock, grid: Grid, apart_degrees: float = LATERAL_DEGREES) -> list[Study]:
    """Virtual vertebrae of people who were learnt from, by which a network's threshold is chosen; half in situ."""
    return [
        filmed_vertebra(
            stock, CHOOSING_SEED + number, grid, in_situ=number % 2 == 1, angles_degrees=(0.0, apart_degrees)
        )
        for number in range(CHOOSING)
    ]


def chosen_threshold(network: Row, studies: Sequence[Study], grid: Grid) -> float:
    """HU at which a network's volumes have the highest Dice on some studies."""
    totals = np.zeros(len(THRESHOLDS_HU))
    for study in studies:
        predicted, truth = network(study), true_bone(study, grid)
        totals += [dice(solid(predicted, threshold), truth) for threshold in THRESHOLDS_HU]
    return float(THRESHOLDS_HU[int(totals.argmax())])


def as_markdown(scores: Sequence[VolumeScore], grid: Grid) -> str:
    """A table for each way of taking films: by group and row the mean over people, and every person's own."""
    lines = [
        "# Vertebrae",
        "",
        f"Real vertebrae of people who were kept out, cubes of {grid.side} voxels of {grid.voxel_mm:g} mm. MSE, MAE, "
        "SSIM and FD in z-scores; FD is log10 of the distance. Means over people of means over their vertebrae. Fewer "
        f"than {LEAST_PEOPLE} people have no interval that says anything, and no verdict hangs on these figures.",
    ]
    for condition in dict.fromkeys(score.condition for score in scores):
        lines += ["", f"## {condition}", ""]
        lines += [f"| levels | people | vertebrae | row | {' | '.join(FIGURES.values())} |"]
        lines += ["|---" * (len(FIGURES) + 4) + "|"]
        here = [score for score in scores if score.condition == condition]
        for group in GROUPS:
            of_group = [score for score in here if group_of(score.level) == group]
            people = list(dict.fromkeys(score.person for score in of_group))
            for row in dict.fromkeys(score.row for score in of_group):
                of_row = [score for score in of_group if score.row == row]
                cells = [_cell(of_row, figure, people) for figure in FIGURES]
                name = group.replace("_", " ")
                lines.append(f"| {name} | {len(people)} | {len(of_row)} | {row} | {' | '.join(cells)} |")
    people = list(dict.fromkeys(score.person for score in scores))
    lines += ["", f"In brackets, where there are several: {', '.join(people)}, as far as they have the levels."]
    return "\n".join(lines) + "\n"


def _cell(scores: Sequence[VolumeScore], figure: str, people: Sequence[str]) -> str:
    """The mean over people, and each person's; how many vertebrae have none."""
    means, missing = means_by_person(scores, figure, people)
    known_means = [value for value in means if np.isfinite(value)]
    if not known_means:
        return ""
    words = f"{np.mean(known_means):.3f}"
    if len(people) > 1:
        words += f" [{', '.join(f'{value:.3f}' for value in means)}]"
    return words if not missing else f"{words}, {missing} without"


def means_by_person(scores: Sequence[VolumeScore], figure: str, people: Sequence[str]) -> tuple[list[float], int]:
    """A figure's mean of every person, NaN where no vertebra of it has one; how many vertebrae have none."""
    means, missing = [], 0
    for person in people:
        values = [score.figures[figure] for score in scores if score.person == person]
        known = [value for value in values if value is not None]
        missing += len(values) - len(known)
        means.append(float(np.mean(known)) if known else np.nan)
    return means, missing


def _study(
    person: str, vertebra: VirtualVertebra, stock: Stock, condition: str, grid: Grid, apart_degrees: float
) -> Study:
    """The films of a vertebra: the same in every run, and under all conditions but for what these are about."""
    in_situ, errors = CONDITIONS[condition]
    digest = hashlib.sha256(f"{person} {vertebra.level}".encode()).digest()
    seed = int.from_bytes(digest[:4], "big") // 2
    lateral = apart_degrees == LATERAL_DEGREES
    angles = None if lateral else (0.0, apart_degrees * (-1) ** (seed % 2))
    return film_vertebra(vertebra, stock, seed, grid, in_situ, errors, angles)


def _read(file: Path) -> list[VolumeScore]:
    if not file.exists():
        return []
    return [VolumeScore(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def _finite(value: float) -> float | None:
    """JSON has no infinity; the exact volume's figures have."""
    return value if np.isfinite(value) else None
