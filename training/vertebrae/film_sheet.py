"""Pairs of films to look at: both films, both laid back into the cube with the truth's outline, and the truth.

`films.json` says how every pair came about.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.pictures import drawing
from training.vertebrae.films import USUAL_ERRORS, Grid, Study, filmed_vertebra
from training.vertebrae.virtual import Stock

PANEL_PX = 224
BONE_HU = 100.0  # the outline's
WINDOW_HU = (0.0, 900.0)
OUTLINE = (255, 70, 60)


def show_films(stock: Stock, count: int, seed: int, grid: Grid, out: Path) -> str:
    """Writes `films.png` and `films.json` of `count` vertebrae, each alone and in situ; gives a line for each pair."""
    out.mkdir(parents=True, exist_ok=True)
    studies = [
        filmed_vertebra(stock, number, grid, in_situ=in_situ, errors=USUAL_ERRORS if in_situ else None)
        for number in range(seed, seed + count)
        for in_situ in (False, True)
    ]
    drawing.save_png(np.vstack([_row(study) for study in studies]), out / "films.png")
    write_text(out / "films.json", json.dumps([study.metadata for study in studies], indent=1))
    return "\n".join(_words(study) for study in studies)


def _words(study: Study) -> str:
    about = study.metadata
    where = "in situ" if about["in_situ"] else "alone"
    angles = " and ".join(f"{angle:.0f}" for angle in about["angles_degrees"])
    return f"{about['seed']}: {study.vertebra.level} {where}, {angles} degrees, rays {about['gap_mm']:.1f} mm apart"


def _row(study: Study) -> np.ndarray:
    """Films; sections of their cubes through the middle, the first seen from in front, the second from the right."""
    cubes = study.projections().numpy()
    bone = study.truth_hu > BONE_HU
    middle = bone.shape[0] // 2
    panels = [_panel(film, *np.percentile(film, [1, 99.5])) for film in study.films]
    for cube, section in zip(cubes, (np.s_[::-1, middle], np.s_[middle]), strict=True):
        panel = _panel(cube[section].T[::-1], *np.percentile(cube, [1, 99.5]))
        inside = _panel(bone[section].T[::-1].astype(float), 0, 1)[..., 0] > 127
        panel[(inside ^ np.roll(inside, 1, 0)) | (inside ^ np.roll(inside, 1, 1))] = OUTLINE
        panels.append(panel)
    panels += [
        _panel(study.truth_hu.max(1)[::-1].T[::-1], *WINDOW_HU),
        _panel(study.truth_hu.max(0).T[::-1], *WINDOW_HU),
    ]
    row = np.hstack(panels)
    drawing.write(row, _words(study), (4, 4), 12)
    return row


def _panel(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """(PANEL_PX, PANEL_PX, 3) of a square of grey values."""
    nearest = (np.arange(PANEL_PX) * len(values) / PANEL_PX).astype(int)
    return drawing.grey_picture(np.asarray(values, dtype=float)[nearest][:, nearest], (low, high))
