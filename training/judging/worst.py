"""A picture of the worst femora of some films, true and completed, from the side and from the front.

worst_femora(folders, bundle, models, out)      # as `together.judge`, after it
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import binary_erosion

from DualFaceReconLib.bonemaps import kind_and_side
from DualFaceReconLib.meshes import Mesh
from DualFaceReconLib.pictures import drawing
from DualFaceReconLib.pictures.bones import Surface, from_afar
from DualFaceReconLib.pictures.drawing import Colour
from DualFaceReconLib.shape.completion import Completion, complete_all
from DualFaceReconLib.shape.shapemodel import ShapeModel
from DualFaceReconLib.shape.together import complete_together
from DualFaceReconLib.surfaces import observed_surfaces
from training.cases import read_case
from training.judging.evaluate import loaded_networks, on_film
from training.judging.predictions import BY_PICTURE
from training.judging.together import JOINTLY, SEPARATELY, Scores, prepared, prior_of

COUNT = 3
PANEL_PX, PX_PER_MM = (400, 240), 1.7
LINE_PX = 2
COLOURS: Mapping[str, Colour] = {SEPARATELY: drawing.AMBER, JOINTLY: drawing.CYAN}
GREY: Colour = (120, 120, 120)
FROM_THE_SIDE, FROM_THE_FRONT = drawing.AROUND[1], drawing.AROUND[0]
LETTERS_PX, HEAD_PX = 15, 72


def worst_femora(folders: Sequence[Path], bundle: Path, models: Mapping[str, ShapeModel], out: Path) -> np.ndarray:
    """(rows, cols, 3) uint8: of femora that alone are farthest off, those parts that the film shows."""
    kept = [json.loads((out / f"{folder.name}.json").read_text(encoding="utf-8")) for folder in folders]
    scores: Scores = [score for film in kept for score in film["scores"]]
    alone = [s for s in scores if (s["row"], s["alignment"]) == (SEPARATELY, BY_PICTURE) and "femur" in s["bone"]]
    worst = sorted(alone, key=lambda score: -score["assd_mm"])[:COUNT]
    prior = prior_of(bundle)
    by_name = {folder.name: folder for folder in folders}
    panels = []
    for score in worst:
        case = read_case(by_name[score["case"]])
        film = prepared(case, loaded_networks(bundle))
        observed = observed_surfaces(film.aligned.maps, film.geometry)
        how = {"on_refusal": lambda bone, why: None}
        ways = {
            SEPARATELY: complete_all(observed, models, film.searched, **how),
            JOINTLY: complete_together(observed, film.outlines, models, film.searched, prior, **how),
        }
        bone = score["bone"]
        shown = {way: on_film(_mesh(completed[bone]), case.geometry) for way, completed in ways.items()}
        off = {s["row"]: s["assd_mm"] for s in scores if _same(s, score)}
        words = f"{score['case']}, {kind_and_side(bone)[1]} femur:"
        lines = [(f"{way} {off[way]:.1f} mm off", COLOURS[way]) for way in COLOURS]
        truth = on_film(case.meshes[bone], case.geometry)
        views = [_panel(truth, shown, eye) for eye in (FROM_THE_SIDE, FROM_THE_FRONT)]
        head = np.zeros((HEAD_PX, 2 * PANEL_PX[1], 3), np.uint8)
        for number, (line, colour) in enumerate([(words, drawing.WHITE), *lines]):
            drawing.write(head, line, (4 + 22 * number, 8), LETTERS_PX, colour, in_line=True)
        panels.append(np.concatenate([head, np.concatenate(views, axis=1)]))
    return np.concatenate(panels, axis=1)


def _mesh(completion: Completion) -> Mesh:
    return completion.vertices, completion.triangles


def _same(score: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(score[key] == other[key] for key in ("case", "bone", "maps", "alignment"))


def _panel(truth: Mesh, shown: Mapping[str, Mesh], eye: tuple) -> np.ndarray:
    """The true bone grey, and the edges of what was made of it."""
    middle = (truth[0].min(axis=0) + truth[0].max(axis=0)) / 2
    panel = np.zeros((*PANEL_PX, 3), np.uint8)
    panel[_shadow(truth, eye, middle)] = GREY
    for way, mesh in shown.items():
        shadow = _shadow(mesh, eye, middle)
        panel[shadow & ~binary_erosion(shadow, iterations=LINE_PX)] = COLOURS[way]
    return panel


def _shadow(mesh: Mesh, eye: tuple, middle: np.ndarray) -> np.ndarray:
    """(rows, cols) bool."""
    vertices, triangles = mesh
    surface = Surface(
        vertices=vertices,
        triangles=triangles,
        closed=False,
        colour=GREY,
        certainty=np.zeros((len(vertices), 3)),
        inferred=np.zeros(len(vertices)),
    )
    return from_afar([surface], eye, middle, PX_PER_MM, PANEL_PX).share[..., 0] > 0.5
