"""A sheet of one film as it is and spoilt in every way: outlines, bones, how far off they are, and their verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import arrays
from DualFaceReconLib.outcome import Reconstruction
from DualFaceReconLib.pictures import drawing, overview
from DualFaceReconLib.pictures.bones import surface_of
from DualFaceReconLib.pictures.drawing import Colour
from DualFaceReconLib.pictures.film import caption
from DualFaceReconLib.pictures.wording import bone_words
from DualFaceReconLib.prediction import maps_of
from DualFaceReconLib.reconstruction import Reconstructor
from DualFaceReconLib.shape.shapemodel import ShapeModel
from DualFaceReconLib.verdicts import is_doubted
from training.cases import Case, read_case
from training.judging.doubts import aligned, assd_mm, taken
from training.judging.evaluate import on_film
from training.judging.spoiling import KINDS
from training.judging.stumps import left_of, stump_of

WIDE_PX = 620  # of one way's part of the sheet


def spoilt_sheet(folder: Path, number: int, bundle: Path) -> np.ndarray:
    """(rows, cols, 3) uint8: a case's film in all ways, two beside each other; `number` is the case's."""
    case, reconstructor = read_case(folder), Reconstructor(bundle)
    parts = [_part(case, kind, number, reconstructor) for kind in KINDS]
    high = max(part.shape[0] for part in parts)
    parts = [np.pad(part, ((0, high - part.shape[0]), (0, 0), (0, 0))) for part in parts]
    parts += [np.zeros_like(parts[0])] * (len(parts) % 2)
    return np.concatenate([np.concatenate(parts[i : i + 2], axis=1) for i in range(0, len(parts), 2)])


def _part(case: Case, kind: str, number: int, reconstructor: Reconstructor) -> np.ndarray:
    film = taken(case, kind, number, reconstructor)
    radiograph, prediction = film.radiograph, film.prediction
    maps = maps_of(prediction, radiograph, film.masks)
    radiograph, _ = aligned(radiograph, maps, film.true.of(maps.bones))
    try:
        reconstruction = reconstructor.run(radiograph, prediction=prediction, mask=film.masks)
    except Refusal as refusal:
        return caption([(f"{kind}: {refusal.text}", drawing.AMBER)], WIDE_PX)
    films = overview.films(reconstruction, [surface_of(*pair) for pair in reconstruction.bones.items()])
    rows = round(films.shape[0] * WIDE_PX / films.shape[1])
    small = np.stack([drawing.resized_grey(films[..., i].astype(np.float32), (rows, WIDE_PX)) for i in range(3)], -1)
    lines = _lines(case, film.shown, reconstruction, reconstructor.models)
    words = caption([(f"{kind[0].upper()}{kind[1:]}", drawing.WHITE), *lines], WIDE_PX)
    return np.concatenate([words, small.clip(0, 255).astype(np.uint8)])


def _lines(
    case: Case, shown: ProjectionGeometry, reconstruction: Reconstruction, models: Mapping[str, ShapeModel]
) -> Sequence[tuple[str, Colour]]:
    """How far every completed bone is off, and its verdict."""
    lines = []
    for name, bone in reconstruction.bones.items():
        truth = on_film(case.meshes[name], shown)
        off = "not completed"
        if bone.completed is not None and len(truth[1]):
            compared = left_of(on_film(arrays(bone.completed), shown), stump_of(case, name, models))
            off = f"{assd_mm(compared, truth):.1f} mm off"
        colour = drawing.AMBER if is_doubted(bone.verdict) else drawing.WHITE
        reasons = ", ".join(reason.code for reason in bone.verdict.reasons)
        lines.append((f"{bone_words(name)}: {off}, {bone.verdict.grade}{f' ({reasons})' if reasons else ''}", colour))
    return lines
