"""`python -m training simulate`: virtual patients on films, as cases.

Every film has its own seed: film i of a series is the same whatever is made beside it, in however many processes.

    taken = take(population, series, number=3)  # a patient on a detector, before the exposure
    film = taken.film(series)
    write(taken, film, folder)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.meshes import Mesh
from DualFaceReconLib.parallel.processes import InProcesses
from DualFaceReconLib.parallel.roads import done_all
from DualFaceReconLib.parallel.work import Road
from training.patients.axial import axial_shadows
from training.patients.bowel import soft_shadows
from training.patients.cartilage import with_cartilage
from training.patients.clothing import dressed
from training.patients.disease import diseased
from training.patients.flesh import Skeleton, draw_flesh
from training.patients.folds import draw_heaviness, more_folds
from training.patients.implants import operated
from training.patients.matter import matter_of
from training.patients.population import Population
from training.patients.posture import body_turn, may_be_prone
from training.patients.reposing import reposed
from training.patients.variety import is_wide
from training.patients.virtual import VirtualPatient, sample_patient
from training.xray.film import Film, filmed
from training.xray.projection import Projection, draw_texture, project
from training.xray.rig import PA_SHARE, USUAL, Distances, Rig, draw_rig

AP = "ap"  # the view in which a series' posture is seen
MIRRORED_SHARE = 0.5  # so that nothing is learnt from the side on which people differ
ROLL_DEGREES = (2.5, 8.0)  # in the film's plane: standard deviation, most
OUTLINES = ((250, 190, 90), (250, 120, 90), (110, 190, 250), (110, 130, 250))  # of the scored bones


@dataclass(frozen=True, kw_only=True)
class Series:
    """What films that are made together have in common."""

    seed: int
    size_px: int | None = 1024  # along the longer side; None: a pitch of 0.1 to 0.2 mm
    world: str = "seen"  # whose physics and makers; see `training.xray.exposure.WORLDS`
    plain: bool = False  # nobody ill, operated on, dressed or askew, no room made for cartilage, the whole film lit
    mm_per_pixel: float | None = None  # in place of `size_px`: at the nominal bone plane, as networks see films
    distances: Distances = USUAL
    posture: str = "usual"  # one of `training.patients.posture.POSTURES`
    postures: int = 1  # films in a row that are of one person, each lying or standing in another way
    views: tuple[str, ...] = (AP,)  # of these films in turn: AP, in the posture above, or another posture
    variety: str = "usual"  # or "wide"; see `training.patients.variety`
    shapes: str = "usual"  # one of `training.patients.shape_variety.SHAPES`

    def posture_of(self, number: int) -> str:
        """The posture of a film."""
        view = self.views[number % self.postures % len(self.views)]
        return self.posture if view == AP else view


@dataclass(frozen=True)
class Person:
    """Somebody with disease and implants, before clothing and the film."""

    patient: VirtualPatient
    rng: np.random.Generator  # that the first posture is drawn on with


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A patient on a detector, before the exposure."""

    bones: dict[str, Mesh]  # in the film's frame
    rig: Rig
    projection: Projection
    seed: tuple[int, ...]
    metadata: dict  # how it came about, for case.json; plain values

    def film(self, series: Series, again: int = 0, device: str = "cpu") -> Film:
        """The film; `again` 1, 2, ... are other films of the same projection."""
        rng = np.random.default_rng([*self.seed, 2, *([again] if again else [])])
        return filmed(self.projection, rng, series.world, not series.plain, device, series.variety)


def simulate(
    population: Population,
    count: int,
    series: Series,
    out: Path,
    jobs: int = 1,
    say: Callable[[str], None] = print,
    road: Road | None = None,
) -> list[Path]:
    """Writes the first `count` cases of a series; those that are there already stay.

    In `jobs` processes, or by another road; a case whose process ends twice is a Refusal once the others are there.
    """
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    folders = [out / f"case_{series.seed:03d}_{i:05d}" for i in range(count)]
    missing = [i for i, folder in enumerate(folders) if not (folder / "geometry.json").exists()]
    if len(missing) < count:
        say(f"{count - len(missing)} cases were there before")
    if road is None and (jobs == 1 or len(missing) <= 1):
        for done, i in enumerate(missing, 1):
            simulate_case(population, series, i, folders[i])
            say(f"{done} of {len(missing)} cases")
        return folders
    items = [(series, i, folders[i]) for i in missing]
    done_all(road or InProcesses(jobs, math.inf), FilmsOf(population), items, out, say)
    return folders


@dataclass(frozen=True)
class FilmsOf:
    """The work of making cases of a population, which every process gets once."""

    population: Population

    def __call__(self) -> Callable[[tuple[Series, int, Path]], None]:
        return lambda item: simulate_case(self.population, *item)


def simulate_case(population: Population, series: Series, number: int, folder: Path) -> None:
    """One case of a series."""
    with one_thread():
        taken = take(population, series, number)
        write(taken, taken.film(series), folder)


def draw_person(population: Population, series: Series, number: int) -> Person:
    """A person of a series, whom `series.postures` films show; the first one as drawn."""
    seed = (series.seed, number)
    rng = np.random.default_rng(seed)
    patient = sample_patient(population, int(rng.integers(2**31)), series.posture_of(0), series.shapes)
    if rng.random() < MIRRORED_SHARE:
        patient = patient.mirrored()
    rng = np.random.default_rng([*seed, 4])
    if not series.plain:
        patient = operated(diseased(with_cartilage(patient, np.random.default_rng([*seed, 5])), rng), rng)
    return Person(patient, rng)


def take(
    population: Population, series: Series, number: int, device: str = "cpu", person: Person | None = None
) -> Taken:
    """Film `number` of a series before the exposure; `person` is that of `number // series.postures` if at hand."""
    seed = (series.seed, number)
    person_number, nth = divmod(number, series.postures)
    posture = series.posture_of(number)
    person = person or draw_person(population, series, person_number)
    patient, rng = person.patient, deepcopy(person.rng)
    if nth > 0:
        rng = np.random.default_rng([*seed, 8])
        patient = reposed(patient, posture, rng)
    if not series.plain:
        patient = dressed(patient, rng)
    if turn := body_turn(posture, np.random.default_rng([*seed, 11])):
        patient = patient.turned(Rotation.from_euler("z", turn, degrees=True).as_matrix())
        patient = replace(patient, metadata={**patient.metadata, "body_turn_degrees": turn})
    if not series.plain:
        roll = float(np.clip(rng.normal(0, ROLL_DEGREES[0]), -ROLL_DEGREES[1], ROLL_DEGREES[1]))
        patient = patient.turned(Rotation.from_euler("y", roll, degrees=True).as_matrix())
        patient = replace(patient, metadata={**patient.metadata, "roll_degrees": roll})
    return take_patient(patient, seed, series, {"seed": list(seed)}, device)


def take_patient(
    patient: VirtualPatient, seed: Sequence[int], series: Series, metadata: dict, device: str = "cpu"
) -> Taken:
    """A given patient on the detector; the truth does not depend on flesh or on how grey values come about."""
    wide = is_wide(series.variety)
    rng = np.random.default_rng([*seed, 1])
    rig, translation = draw_rig(
        patient.bones,
        rng,
        series.size_px,
        series.mm_per_pixel,
        series.distances,
        patient.standing,
        np.random.default_rng([*seed, 7]) if wide else None,
        PA_SHARE if may_be_prone(patient.metadata.get("posture", "")) else 0.0,
    )
    rng = np.random.default_rng([*seed, 3])
    matter = matter_of(patient, rng, np.random.default_rng([*seed, 10]) if wide else None)
    placed = patient.translated(translation)
    facing = 1.0 if rig.geometry.view == "AP" else -1.0
    wide_rng = np.random.default_rng([*seed, 9])
    heaviness = draw_heaviness(wide_rng) if wide else 1.0
    flesh = draw_flesh(placed.bones, facing * rig.table_gap_mm, facing, rng, heaviness)
    shadows, texture = [], None
    if wide:
        skeleton = Skeleton(placed.bones)
        folds = more_folds(skeleton, flesh.metadata["adiposity"], wide_rng)
        soft, entry = soft_shadows(skeleton, wide_rng)
        flesh = replace(flesh, folds=flesh.folds + folds, metadata={**flesh.metadata, "folds": len(folds), **entry})
        shadows, texture = soft + axial_shadows(placed.bones, wide_rng), draw_texture(wide_rng)
    grain = int(rng.integers(2**31))
    projection = project(placed.bones, matter, flesh, placed.parts, rig.geometry, grain, device, texture, shadows)
    left_out = ("geometry",) if wide else ("geometry", "crop")
    rigged = {name: value for name, value in asdict(rig).items() if name not in left_out}
    return Taken(
        bones=placed.bones,
        rig=rig,
        projection=projection,
        seed=tuple(seed),
        metadata={**metadata, "patient": patient.metadata, "rig": rigged, "flesh": flesh.metadata},
    )


def write(taken: Taken, film: Film, folder: Path) -> None:
    """A film with its truth, as a case."""
    from training.cases import write_case  # with SimpleITK and VTK, which learning from films does without

    scored = {bone: taken.bones[bone] for bone in BONES}
    metadata = {**taken.metadata, "film": film.metadata}
    write_case(folder, film.pixels, taken.rig.geometry, film.maps, scored, metadata, **film.stored_from(taken.rig))


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: more would change last digits, and would be in each other's way in parallel processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def contact_sheet(
    folders: Sequence[Path], path: Path, columns: int = 6, cell_px: int = 320, outlined: bool = True
) -> None:
    """Films side by side, as the reader shows them, with the outlines of the true bones unless they hide too much.

    What the reader refuses, as a crop of few pixels, has a cell that says so.
    """
    from DualFaceReconLib.film.radiograph import read_radiograph
    from DualFaceReconLib.pictures import drawing
    from training.cases import read_case

    cells = []
    for folder in folders:
        case = read_case(folder)
        cell = np.zeros((cell_px, cell_px, 3), np.uint8)
        try:
            film = read_radiograph(case.radiograph)
        except Refusal as refusal:
            drawing.write(cell, f"not read: {refusal.code}", (8, 8), 13)
        else:
            rows, cols = (max(round(n * cell_px / max(film.pixels.shape)), 1) for n in film.pixels.shape)
            window = float(film.pixels.min()), float(film.pixels.max())
            cell[:rows, :cols] = drawing.grey_picture(drawing.resized_grey(film.pixels, (rows, cols)), window)
            for mask, colour in zip(case.maps.mask if outlined else (), OUTLINES if outlined else (), strict=True):
                _outline(cell[:rows, :cols], mask, colour)
        drawing.write(cell, f"{case.metadata['rig']['kind']} {case.geometry.view}", (cell_px - 20, 8), 13)
        cells.append(cell)
    cells += [np.zeros_like(cells[0])] * (-len(cells) % columns)
    drawing.save_png(np.vstack([np.hstack(cells[i : i + columns]) for i in range(0, len(cells), columns)]), path)


def _outline(picture: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Draws a mask's (H, W) outline into a picture (rows, cols, 3) of another size."""
    from DualFaceReconLib.pictures import drawing

    share = drawing.resized_grey(mask.astype(np.float32), picture.shape[:2]) > 0.5
    inner = share[1:-1, 1:-1] & share[:-2, 1:-1] & share[2:, 1:-1] & share[1:-1, :-2] & share[1:-1, 2:]
    edge = share.copy()
    edge[1:-1, 1:-1] &= ~inner
    picture[edge] = colour
