"""`python -m training joint FILMS --measure`: what networks get wrong of whole bones, and how alike both hips are.

These are the numbers of `DualFaceReconLib/shape/body_prior.py`. Films are of people who do not judge; depths are those
after one shift a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from DualFaceReconLib.bonemaps import BONES, SIDES, kind_and_side
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.inference import Networks
from DualFaceReconLib.meshes import rigid_fit
from DualFaceReconLib.shape.body_prior import ERRORS, TILT_OVER_MM
from DualFaceReconLib.shape.shapemodel import ShapeModel
from training.anatomy.people import Corresponded
from training.cases import read_case
from training.judging.evaluate import loaded_networks
from training.judging.predictions import Aligned, align, predicted_maps
from training.raycast import cast
from training.simulate import one_thread

PIXELS = 256  # of the maps' longer side
FEWEST_PX = 300  # of a bone; fewer tell of no tilt
ROBUST_WIDTH, ROUNDS = 3.0, 4
LEAST_MM = 0.1
MEASURED = ERRORS[:4]  # with relief, which a tilted bone has too, the others are not told apart
ALONG = ERRORS.index("along")
MODES_SHOWN = 40


def femora_lean_mm(folders: Sequence[Path], bundle: Path) -> float:
    """By how much femora lean forwards in depth maps over 100 mm upwards, the mean of some films'; 0 without femora."""
    networks = loaded_networks(bundle)
    of_films = (_errors_in(folder, networks) for folder in folders)
    along = [
        own[ALONG] for errors in of_films for bone, (own, _) in errors.items() if kind_and_side(bone)[0] == "femur"
    ]
    return float(np.mean(along)) if along else 0.0


def measure(folders: Sequence[Path], bundle: Path, say: Callable[[str], None] = print) -> str:
    """Markdown: spreads of MEASURED by kind, their correlations, and what is left."""
    networks = loaded_networks(bundle)
    errors: dict[str, list[np.ndarray]] = {"hip": [], "femur": []}
    left: dict[str, list[float]] = {"hip": [], "femur": []}
    whole = []
    for number, folder in enumerate(folders, 1):
        of_film = _errors_in(folder, networks)
        for bone, (own, residual_mm) in of_film.items():
            errors[kind_and_side(bone)[0]].append(own)
            left[kind_and_side(bone)[0]].append(residual_mm)
        if set(of_film) == set(BONES):  # and the mirrored film
            for sides in (SIDES, SIDES[::-1]):
                whole.append(np.concatenate([of_film[f"{kind}_{side}"][0] for side in sides for kind in errors]))
        say(f"{number} of {len(folders)} films")
    lines = [f"| bones | n | {' | '.join(MEASURED)} | left, mm |", "|---" * (3 + len(MEASURED)) + "|"]
    for kind, values in errors.items():
        spread = " | ".join(f"{mean:+.1f} ± {std:.1f}" for mean, std in zip(*_moments(values), strict=True))
        lines.append(f"| {kind} | {len(values)} | {spread} | {np.mean(left[kind]):.1f} |")
    if len(whole) > 2:
        table = np.corrcoef(np.array(whole).T)
        half = len(table) // 2
        for title, part in (("a side's hip and femur", table[:half, :half]), ("other side's", table[:half, half:])):
            lines += ["", f"Correlations, {title}:", "", "```"]
            lines += [" ".join(f"{value:+.1f}" for value in row) for row in (part + part.T) / 2] + ["```"]
    return "\n".join(lines) + "\n"


def _errors_in(folder: Path, networks: Networks) -> dict[str, tuple[np.ndarray, float]]:
    """What `errors_of` has of a case."""
    case = read_case(folder)
    geometry = case.geometry.resized_to(PIXELS)
    with one_thread():
        predicted = predicted_maps(networks, case.radiograph)
    true = cast(case.meshes, geometry).maps
    return errors_of(align(predicted.at(geometry.size_px, tuple(case.meshes)), true), geometry)


def errors_of(aligned: Aligned, geometry: ProjectionGeometry) -> dict[str, tuple[np.ndarray, float]]:
    """By bone its MEASURED (4,) mm, predicted less true, in left form, and the robust deviation of what is left, mm."""
    found = {}
    for number, bone in enumerate(aligned.true.bones):
        valid = aligned.valid[number]
        if np.count_nonzero(valid) < FEWEST_PX:
            continue
        depths = aligned.true.depths()[:, number][:, valid]
        off = aligned.maps.depths()[:, number][:, valid] - depths
        places = geometry.back_project(np.argwhere(valid), depths.mean(axis=0))[:, [0, 2]]
        places = (places - places.mean(axis=0)) / TILT_OVER_MM * (1 if kind_and_side(bone)[1] == "left" else -1, 1)
        rows, middle = np.hstack([np.ones((len(places), 1)), places]), off.mean(axis=0)
        weight = np.ones(len(middle))
        for _ in range(ROUNDS):
            plane = np.linalg.lstsq(rows * weight[:, None], middle * weight, rcond=None)[0]
            rest = np.abs(middle - rows @ plane)
            spread = 1.4826 * float(np.median(rest))
            weight = 1 / (1 + (rest / max(ROBUST_WIDTH * spread, LEAST_MM)) ** 2)
        found[bone] = np.r_[plane, np.median((off[-1] - off[0]) / 2)], spread
    return found


def hips_alike(hips: Corresponded, model: ShapeModel) -> str:
    """Correlations of both sides' coefficients by mode, over the people who have both."""
    pairs = []
    for person in dict.fromkeys(hips.people):
        sides = [shape for shape, name in zip(hips.shapes, hips.people, strict=True) if name == person]
        if len(sides) == 2:
            pairs.append([_coefficients(model, shape) for shape in sides])
    left, right = np.array(pairs).transpose(1, 0, 2)
    alike = (left * right).sum(axis=0) / ((left**2 + right**2) / 2).sum(axis=0)
    return f"Hips of {len(pairs)} people, by mode: " + " ".join(f"{value:.2f}" for value in alike[:MODES_SHOWN])


def _coefficients(model: ShapeModel, vertices: np.ndarray) -> np.ndarray:
    """Of the shape that comes closest, wherever it stands."""
    shape = model.mean
    for _ in range(6):
        rotation, translation = rigid_fit(vertices, shape)
        coefficients = model.coefficients(vertices @ rotation.T + translation)
        shape = model.shape(coefficients)
    return coefficients


def _moments(values: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return np.mean(values, axis=0), np.std(values, axis=0)
