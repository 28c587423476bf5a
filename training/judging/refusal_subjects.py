"""What the refusal of pictures that are no hips is judged by: hips of every state, and everything else.

Hips are the frozen films of people kept out of training, as they are, cropped tightly around a joint, and with broken
femora; others are films and pictures of anything else, and films of hips upside down, lying or with bone dark.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from DualFaceReconLib.film.acquisition import Overrides
from DualFaceReconLib.film.radiograph import Radiograph, radiograph_of, read_radiograph
from training.cases import cases_in, read_case
from training.judging.drawn_pictures import PICTURES, drawn_picture
from training.judging.other_films import SCENES, other_film
from training.judging.spoiling import spoilt_film
from training.patients.implants import ARTHROPLASTIES
from training.patients.population import Population
from training.patients.virtual import VirtualPatient
from training.simulate import Series, draw_person, one_thread, take

HIPS, OTHERS = "hips", "others"
BROKEN_SEED = 318
PITCH_FACTORS = (1.0, 0.7, 1.4)  # others have no true pitch; in turn
DRAWN_MM = 400.0  # a drawn picture's longer side, times the factor
CROP_MM = (60.0, 95.0)  # half of a crop's side, at the detector
LEAST_MASK_PX = 1000  # of a bone, for a crop around it
WITH_METAL = "with metal"
FOLDED = "folded"  # over, which hides a part of the bones
WRONG_PITCHES = (0.75, 1.25, 1.33)
TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "hips upside down": lambda pixels: pixels[::-1],
    "hips lying": np.rot90,
    "hips with bone dark": lambda pixels: float(pixels.max()) - pixels,
}


@dataclass(frozen=True, kw_only=True)
class PictureToJudge:
    """One picture."""

    group: str  # HIPS or OTHERS
    kind: str
    name: str
    open: Callable[[], Radiograph]


def subjects(films: Path, population: Population, hips_a_kind: int, others_a_kind: int) -> Iterator[PictureToJudge]:
    """All of them, about so many of a kind; `films` has the frozen sets varied, wide and choosing."""
    varied, wide, choosing = (cases_in(films / name) for name in ("varied", "wide", "choosing"))
    by_state: dict[str, list[Path]] = {}
    for folder in varied:
        by_state.setdefault(_state(folder), []).append(folder)
    for state, folders in {"plain": choosing, "wide posture": wide, **by_state}.items():
        for folder in _evenly(folders, hips_a_kind):
            yield _hip(state, folder.name, partial(read_radiograph, folder / "radiograph.dcm"))
    for factor in WRONG_PITCHES:
        for folder in _evenly([*choosing, *wide, *varied], hips_a_kind):
            yield _hip(f"pitch times {factor:g}", folder.name, partial(_at_pitch, folder, factor))
    for kind, folders in (("implant cropped", by_state.get(WITH_METAL, [])), ("joint cropped", wide[1::2])):
        crops = [(folder, crop) for folder in folders if (crop := _crop(folder)) is not None]
        for folder, crop in crops[:hips_a_kind]:
            yield _hip(kind, folder.name, partial(_cropped, folder, crop))
    for folder in _evenly(varied[3:], hips_a_kind):
        yield _hip(FOLDED, folder.name, partial(_folded, folder))
    for number in range(hips_a_kind):
        yield _hip("femur broken", f"broken_{number:03d}", partial(_broken, population, number))
    for kind, turned in TURNS.items():
        for folder in _evenly(choosing[2:], others_a_kind):
            yield _other(kind, folder.name, partial(_turned, folder, turned))
    for kind in SCENES:
        for number in range(others_a_kind):
            yield _other(kind, f"{number:03d}", partial(_filmed, kind, population, number))
    for kind in PICTURES:
        for number in range(others_a_kind):
            yield _other(kind, f"{number:03d}", partial(_drawn, kind, number))


def _hip(kind: str, name: str, opened: Callable[[], Radiograph]) -> PictureToJudge:
    return PictureToJudge(group=HIPS, kind=kind, name=name, open=opened)


def _other(kind: str, name: str, opened: Callable[[], Radiograph]) -> PictureToJudge:
    return PictureToJudge(group=OTHERS, kind=kind, name=name, open=opened)


def _evenly(folders: list[Path], count: int) -> list[Path]:
    return folders[:: max(1, len(folders) // max(count, 1))][:count]


def _patient(folder: Path) -> dict:
    return json.loads((folder / "case.json").read_text(encoding="utf-8"))["patient"]


def _state(folder: Path) -> str:
    """What is unusual of a case of the varied set."""
    patient = _patient(folder)
    if any(entry.get("side") in ("left", "right") for entry in patient.get("hardware") or []):
        return WITH_METAL
    return "ill" if patient.get("disease") else "askew or cut"


def _as_read(pixels: np.ndarray, pitch_mm: float, sdd_mm: float) -> Radiograph:
    return radiograph_of(np.ascontiguousarray(pixels), Overrides(pixel_pitch_mm=pitch_mm, sdd_mm=sdd_mm))


def _at_pitch(folder: Path, factor: float) -> Radiograph:
    """A film whose pixels are said to be larger or smaller than they are."""
    film = folder / "radiograph.dcm"
    true = read_radiograph(film).geometry.pixel_pitch_mm
    return read_radiograph(film, pixel_pitch_mm=(factor * true[0], factor * true[1]))


def _crop(folder: Path) -> tuple[int, int, int, int] | None:
    """First and last row and column of a square around a joint, the replaced one if there is one, as on the web.

    None where the joint lies too near to the film's edge.
    """
    case = read_case(folder)
    entries = [entry for entry in _patient(folder).get("hardware") or [] if entry.get("side") in ("left", "right")]
    entries.sort(key=lambda entry: entry["what"] not in ARTHROPLASTIES)
    rng = np.random.default_rng(int(folder.name.split("_")[-1]))
    side = entries[0]["side"] if entries else str(rng.choice(["left", "right"]))
    masks = dict(zip(case.maps.bones, case.maps.mask, strict=True))
    hip, femur = (np.argwhere(masks[f"{bone}_{side}"]) for bone in ("hip", "femur"))
    if min(len(hip), len(femur)) < LEAST_MASK_PX:
        return None
    low, top = hip[hip[:, 0] > np.quantile(hip[:, 0], 0.5)], femur[femur[:, 0] < np.quantile(femur[:, 0], 0.25)]
    pitch = case.geometry.pixel_pitch_mm[0]
    middle = (low.mean(axis=0) + top.mean(axis=0)) / 2 + rng.normal(0, 8, 2) / pitch
    half = max(rng.uniform(*CROP_MM) / pitch, 130)
    first, last = np.rint(middle - half).astype(int), np.rint(middle + half).astype(int)
    size = np.array(case.geometry.size_px)
    if (first < -0.2 * half).any() or (last > size + 0.2 * half).any():
        return None
    first, last = np.maximum(first, 0), np.minimum(last, size)
    return (int(first[0]), int(last[0]), int(first[1]), int(last[1])) if (last - first).min() > 256 else None


def _folded(folder: Path) -> Radiograph:
    case = read_case(folder)
    rng = np.random.default_rng(int(folder.name.split("_")[-1]))
    return spoilt_film(FOLDED, read_radiograph(case.radiograph), case.maps.mask.any(axis=0), rng).radiograph


def _cropped(folder: Path, crop: tuple[int, int, int, int]) -> Radiograph:
    film = read_radiograph(folder / "radiograph.dcm")
    pixels = film.pixels[crop[0] : crop[1], crop[2] : crop[3]]
    return _as_read(pixels, film.geometry.pixel_pitch_mm[0], film.geometry.sdd_mm)


def _broken(population: Population, number: int) -> Radiograph:
    """A patient whose femur is broken at the neck, between or below the trochanters, its lower part displaced."""
    series = Series(seed=BROKEN_SEED, size_px=640, plain=True, posture="wide")
    rng = np.random.default_rng([BROKEN_SEED, number])
    with one_thread():
        person = draw_person(population, series, number)
        taken = take(population, series, number, person=replace(person, patient=broken(person.patient, rng)))
        film = taken.film(series)
    geometry = taken.rig.geometry
    return _as_read(film.pixels, geometry.pixel_pitch_mm[0], geometry.sdd_mm)


def broken(patient: VirtualPatient, rng: np.random.Generator) -> VirtualPatient:
    """With one femur in two parts, the lower one drawn up, sideways and turned."""
    bone = f"femur_{rng.choice(['left', 'right'])}"
    vertices, triangles = patient.bones[bone]
    marks = patient.landmarks[bone]
    head, lesser = marks["femoral_head_centre"], marks["lesser_trochanter"]
    place = head + rng.choice([0.45, 0.8, 1.5]) * (lesser - head)
    along = (lesser - head) / np.linalg.norm(lesser - head)
    below = (vertices - place) @ along > 0
    turn = Rotation.from_euler("yz", rng.normal(0, (14, 18)), degrees=True).as_matrix()
    moved = (vertices - place) @ turn.T + place + (rng.normal(0, 7), rng.normal(0, 5), rng.uniform(6, 26))
    return replace(patient, bones={**patient.bones, bone: (np.where(below[:, None], moved, vertices), triangles)})


def _turned(folder: Path, turned: Callable[[np.ndarray], np.ndarray]) -> Radiograph:
    film = read_radiograph(folder / "radiograph.dcm")
    return _as_read(turned(film.pixels), film.geometry.pixel_pitch_mm[0], film.geometry.sdd_mm)


def _filmed(kind: str, population: Population, number: int) -> Radiograph:
    film = other_film(kind, population, number)
    factor = PITCH_FACTORS[number % len(PITCH_FACTORS)]
    return _as_read(film.pixels, factor * film.geometry.pixel_pitch_mm[0], film.geometry.sdd_mm)


def _drawn(kind: str, number: int) -> Radiograph:
    pixels = drawn_picture(kind, number)
    factor = PITCH_FACTORS[number % len(PITCH_FACTORS)]
    return _as_read(pixels, factor * DRAWN_MM / max(pixels.shape), 1100.0)
