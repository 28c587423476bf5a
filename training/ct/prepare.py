"""`python -m training prepare-ct`: a CT with labelled bones on a film, as a case.

prepare(Path("ct.nii.gz"), Path("segmentations"), Path("out/cases"), seed=1)

The patient lies on the table as in the scanner, and the film shows only what the CT covers. A case is named by a digest
of the CT's voxels: no name of a patient, a file or a folder goes into it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.limits import SIDE_LIMITS_PX
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import Mesh
from training.cases import write_case
from training.ct.checks import body, check_bones, check_field, check_sides, check_values
from training.ct.files import FILES, LABELS, Scan, read_scan
from training.ct.truth import bone_voxels, cut_ends, surface, truth_maps
from training.xray.film import filmed
from training.xray.materials import attenuation
from training.xray.projection import Projection
from training.xray.rig import Rig, draw_rig
from training.xray.volume import Volume, line_integrals, planes_through

STEP_MM = 0.5  # between samples along a ray
SHORTEST_FILM_MM = 150.0  # at the detector; ours: less shows no hip with its surroundings
OUTSIDE_HU = -1000

CT_KEV = 70.0  # near the mean of a CT's 120 kVp
NOTHING_HU = -900.0  # air with its noise, and lung, counts nothing; ours
METAL_HU = (3000.0, 3071.0)  # most scanners' values end at 3071 (12 bits); denser than any bone, so taken for titanium


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A CT that has passed every check."""

    volume: Volume  # HU of the patient alone
    meshes: dict[str, Mesh]  # the scored bones, RAS mm where the CT has them
    skin_mm: tuple[float, float]  # the rearmost and the foremost of the body, A
    metadata: dict  # for case.json: what the CT is, and where it cuts bones


def prepare(
    ct: Path, labels: Path, out: Path, seed: int, size_px: int | None = 1024, numbers: Mapping[str, int] = LABELS
) -> Path:
    """Writes the case of a CT into a folder of `out` and gives that; Refusal where the CT cannot be used."""
    scan = read_scan(ct, labels, numbers)
    digest = hashlib.sha256(np.ascontiguousarray(scan.volume.values)).hexdigest()
    subject = checked(scan)
    folder = out / f"ct_{digest[:12]}_{seed:03d}"
    film_ct(subject, [seed, int(digest[:8], 16)], folder, size_px, {"person": f"ct/{digest[:12]}"})
    return folder


def prepare_all(
    folder: Path,
    out: Path,
    seed: int,
    size_px: int | None = 1024,
    numbers: Mapping[str, int] = LABELS,
    say: Callable[[str], None] = print,
) -> tuple[list[Path], list[dict]]:
    """Cases of a folder's subfolders, each with `ct` and `labels` or `segmentations`, a file or a folder.

    Also gives what was refused, by its number in the order of names, and writes that to `rejected.json`.
    """
    people = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not people:
        raise Refusal("The folder of CTs holds no subfolders: give each CT one, with ct and labels in it.")
    cases, rejected = [], []
    for number, person in enumerate(people, 1):
        try:
            cases.append(
                prepare(_only(person, "ct"), _only(person, "labels", "segmentations"), out, seed, size_px, numbers)
            )
            say(f"{number} of {len(people)}: {cases[-1].name}")
        except Refusal as refusal:
            rejected.append({"number": number, "reason": str(refusal)})
            say(f"{number} of {len(people)} REJECTED {refusal}")
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "rejected.json", json.dumps(rejected, indent=1))
    return cases, rejected


def _only(folder: Path, *names: str) -> Path:
    """The file or folder that has one of these names, with any ending."""
    candidates = [folder / f"{name}{ending}" for name in names for ending in ("", *FILES)]
    paths = [path for path in candidates if path.exists()]
    if len(paths) != 1:
        raise Refusal(f"A CT's folder holds {len(paths)} things called {' or '.join(names)}: there must be one.")
    return paths[0]


def checked(scan: Scan) -> Subject:
    """What films are made of; Refusal where the scan cannot be used."""
    check_values(scan)
    boxes = ndimage.find_objects(scan.labels, max_label=len(BONES))
    masks = {
        bone: (bone_voxels(scan.labels, place, box), box)
        for place, (bone, box) in enumerate(zip(BONES, boxes, strict=True), 1)
        if box is not None
    }
    check_bones(scan, masks)
    patient, steps = body(scan)
    check_field(scan, patient, steps)
    meshes = {bone: surface(mask, box, scan.volume) for bone, (mask, box) in masks.items()}
    check_sides(meshes)

    shape = scan.volume.values.shape
    places = np.argwhere(patient) * steps
    skin = scan.volume.to_ras(places[:, ::-1].astype(float))[:, 1]
    metadata = {
        "spacing_mm": [round(float(mm), 4) for mm in scan.volume.spacing_mm],
        "voxels": list(shape[::-1]),
        "position": scan.position,
        "cut": {bone: ends for bone, (mask, box) in masks.items() if (ends := cut_ends(mask, box, shape))},
    }
    return Subject(
        volume=_alone(scan, patient, steps),
        meshes=meshes,
        skin_mm=(float(skin.min()), float(skin.max())),
        metadata=metadata,
    )


def film_ct(
    subject: Subject, seed: list[int], folder: Path, size_px: int | None, metadata: Mapping[str, object]
) -> None:
    """A film of a CT with its truth, as a case."""
    rig, translation, left_out = covered_rig(subject, np.random.default_rng([*seed, 1]), size_px)
    meshes = {bone: (vertices + translation, triangles) for bone, (vertices, triangles) in subject.meshes.items()}
    volume = subject.volume.translated(translation)
    maps = truth_maps(meshes, rig.geometry, volume)
    if not maps.mask.any():
        raise Refusal("No bone lies on the part of the film that the CT covers: take a longer CT.")
    lengths = {name: torch.from_numpy(length) for name, length in lengths_mm(volume, rig.geometry).items()}
    film = filmed(Projection(geometry=rig.geometry, maps=maps, lengths_mm=lengths), np.random.default_rng([*seed, 2]))
    taken = {name: value for name, value in asdict(rig).items() if name not in ("geometry", "crop")}
    whole = {
        **metadata,
        "seed": seed,
        "ct": subject.metadata,
        "rig": {**taken, "rows_left_out": left_out},
        "film": film.metadata,
    }
    write_case(folder, film.pixels, rig.geometry, film.maps, meshes, whole, **film.stored_from(rig))


def lengths_mm(volume: Volume, geometry: ProjectionGeometry) -> dict[str, np.ndarray]:
    """Tissue -> (rows, cols) float32: mm of it at its own density on every pixel's ray."""
    planes = planes_through(volume, geometry, STEP_MM)
    knots, tissues = mixtures()
    return dict(zip(tissues, line_integrals(volume, geometry, planes, knots, list(tissues.values())), strict=True))


@lru_cache(maxsize=1)
def mixtures() -> tuple[tuple[float, ...], dict[str, tuple[float, ...]]]:
    """HU of pure tissues, and mm of each tissue in a mm of CT at those HU; linear between, as attenuation is."""
    water = attenuation("water", [CT_KEV])[0]
    fat, muscle, bone = (1000 * (attenuation(name, [CT_KEV])[0] / water - 1) for name in ("fat", "muscle", "bone"))
    densest = (METAL_HU[0] + 1000) / (bone + 1000)  # mm of cortical bone in a mm, just below metal
    return (NOTHING_HU, fat, muscle, bone, *METAL_HU), {
        "fat": (0, 1, 0, 0, 0, 0),
        "muscle": (0, 0, 1, 0, 0, 0),
        "bone": (0, 0, 0, 1, densest, 0),
        "titanium": (0, 0, 0, 0, 0, 1),
    }


def covered_rig(subject: Subject, rng: np.random.Generator, size_px: int | None) -> tuple[Rig, np.ndarray, list[int]]:
    """A rig whose film the CT covers, the translation (3,) mm into its frame, and the rows left out above and below.

    How far the bones are from the table is taken from the CT, not drawn.
    """
    rig, translation = draw_rig(subject.meshes, rng, size_px)
    facing = 1.0 if rig.geometry.view == "AP" else -1.0
    skin = np.array(subject.skin_mm) * facing
    rearmost = min((vertices[:, 1] * facing).min() for vertices, _ in subject.meshes.values())
    behind = float(rearmost - skin.min())
    translation = translation + np.array([0, facing * (behind - rig.behind_bones_mm), 0])

    depths = rig.geometry.sdd_mm - (skin + facing * translation[1])
    rows = _covered_rows(subject.volume.translated(translation), rig.geometry, depths)
    covered = (rows[-1] - rows[0] + 1) * rig.geometry.pixel_pitch_mm[0] if len(rows) else 0.0
    if covered < SHORTEST_FILM_MM:
        raise Refusal(f"The CT covers only {covered:.0f} mm of the film: take a CT that reaches further up and down.")
    total, columns = rig.geometry.size_px
    if min(len(rows), columns) < SIDE_LIMITS_PX[0]:
        raise Refusal(f"The film would be only {len(rows)} x {columns} pixels: ask for more of them with --size.")
    geometry = rig.geometry.cropped((rows[0], 0), (len(rows), columns))
    scored = np.concatenate([vertices for vertices, _ in subject.meshes.values()]) + translation
    seen = scored[geometry.sees(scored)]
    if len(seen) == 0:
        raise Refusal("No bone lies on the part of the film that the CT covers: take a longer CT.")
    geometry = replace(geometry, object_distance_mm=float(np.mean(facing * seen[:, 1])))
    left_out = [int(rows[0]), int(total - 1 - rows[-1])]
    return replace(rig, geometry=geometry, behind_bones_mm=behind), translation, left_out


def _covered_rows(volume: Volume, geometry: ProjectionGeometry, depths: np.ndarray) -> np.ndarray:
    """The longest run of rows whose rays do not leave the scanned length between two depths, where the body lies."""
    grid = geometry.pixel_centres()
    inside = np.ones(geometry.size_px, dtype=bool)
    for depth in depths:
        slices = volume.to_ijk(geometry.back_project(grid, np.full(geometry.size_px, depth)))[..., 2]
        inside &= (slices >= 0) & (slices <= len(volume.values) - 1)
    runs, count = ndimage.label(inside.all(axis=1))
    return np.flatnonzero(runs == np.bincount(runs)[1:].argmax() + 1) if count else np.array([], dtype=int)


def _alone(scan: Scan, patient: np.ndarray, steps: np.ndarray) -> Volume:
    """The patient's box of a scan, with air where the table and other things were."""
    patient = ndimage.binary_dilation(patient, np.ones((3, 3, 3)), iterations=2)  # what opening took off, and the skin
    box = ndimage.find_objects(patient.astype(np.uint8))[0]
    box = (slice(0, len(patient)), *box[1:])  # all slices: a film ends where the scan does
    patient = patient[box]
    for axis, step in enumerate(steps):
        patient = np.repeat(patient, step, axis)
    first = np.array([part.start * step for part, step in zip(box, steps, strict=True)])
    values = scan.volume.values[tuple(slice(start, start + n) for start, n in zip(first, patient.shape, strict=True))]
    patient = patient[tuple(slice(n) for n in values.shape)]
    matrix = scan.volume.ijk_to_ras.copy()
    matrix[:3, 3] = scan.volume.to_ras(first[::-1].astype(float))
    return Volume(np.where(patient, values, values.dtype.type(OUTSIDE_HU)), matrix)
