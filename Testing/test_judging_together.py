"""How bones that are completed together are judged: tables with paired differences, and what depth maps get wrong."""

from types import SimpleNamespace

import numpy as np
import pytest
from support.bones import made_model

from DualFaceReconLib.bonemaps import BoneMaps
from DualFaceReconLib.geometry import ProjectionGeometry
from training.judging.map_errors import errors_of
from training.judging.together import EXACT, JOINTLY, NETWORKS, SEPARATELY, tables
from training.judging.worst import COLOURS, FROM_THE_FRONT, GREY, PX_PER_MM, _panel

FILM = ProjectionGeometry(1000, (2.0, 2.0), (100, 120))


def score(case, row, assd_mm, **more):
    about = {"maps": NETWORKS, "alignment": "one shift a picture", "seconds": 1.5, "person": case, "bone": "femur_left"}
    return {**about, "case": case, "row": row, "assd_mm": assd_mm, **more}


def test_a_row_is_compared_on_the_bones_that_both_ways_completed():
    scores = [
        score("a", SEPARATELY, 2.0, flexion_deg=-3.0),
        score("b", SEPARATELY, 4.0, flexion_deg=1.0),
        score("c", SEPARATELY, 9.0),
        score("a", JOINTLY, 1.0, flexion_deg=2.0, seen_within_1=0.7),
        score("b", JOINTLY, 3.5, seen_within_1=0.6),
        {**score("a", JOINTLY, 0.4), "maps": EXACT, "alignment": ""},
    ]
    lines = tables(scores).splitlines()
    of_rows = lines[: lines.index("")]
    means = {line.split(" | ")[3]: line.split(" | ")[4:] for line in of_rows if line.startswith(f"| {NETWORKS}")}
    assert means[SEPARATELY][:4] == ["3", "5.00", "", "2.00"]
    assert means[JOINTLY][0] == "2"
    assert "65" in means[JOINTLY]  # per cent within a standard deviation
    paired = [line for line in lines if "[" in line]
    assert len(paired) == 1  # of exact maps nothing stands beside
    assert "| 2 | 3.00 | 2.25 | -0.75 [-1.00, -0.50] | -25 |" in paired[0]
    assert "separately 1.5 s, together 1.5 s" in lines[-1]


@pytest.mark.parametrize("bone", ["femur_left", "femur_right"])
def test_a_shift_tilts_and_a_thickness_are_told_apart_in_left_form(bone):
    mask = np.zeros((1, *FILM.size_px), bool)
    mask[0, 20:80, 30:90] = True
    front, back = np.where(mask, 850.0, 0), np.where(mask, 880.0, 0)
    places = FILM.back_project(np.argwhere(mask[0]), np.full(mask.sum(), 865.0))
    across, along = (places - places.mean(axis=0))[:, [0, 2]].T / 100
    plane = 1.5 + 4.0 * across * (1 if bone == "femur_left" else -1) - 3.0 * along
    wrong = [face.copy() for face in (front, back)]
    wrong[0][mask] += plane - 0.7
    wrong[1][mask] += plane + 0.7
    true, maps = (BoneMaps(bones=(bone,), mask=mask, front=one, back=two) for one, two in ((front, back), wrong))
    found = errors_of(SimpleNamespace(true=true, maps=maps, valid=mask), FILM)
    errors, left = found[bone]
    assert errors == pytest.approx([1.5, 4.0, -3.0, 0.7], abs=1e-6)
    assert left < 1e-6


def test_edges_of_what_was_made_of_a_bone_are_drawn_over_the_true_one():
    vertices, triangles = made_model().mean, made_model().triangles
    shown = {
        SEPARATELY: (vertices + np.array([20.0, 0, 0]), triangles),
        JOINTLY: (vertices + np.array([0, 0, 10.0]), triangles),
    }
    panel = _panel((vertices, triangles), shown, FROM_THE_FRONT)
    lefts = [np.flatnonzero((panel == colour).all(axis=2).any(axis=0)).min() for colour in (GREY, *COLOURS.values())]
    tops = [np.flatnonzero((panel == colour).all(axis=2).any(axis=1)).min() for colour in (GREY, *COLOURS.values())]
    assert np.subtract(lefts, lefts[2]) == pytest.approx([0, -20 * PX_PER_MM, 0], abs=3)  # R is to the left
    assert np.subtract(tops, tops[1]) == pytest.approx([0, 0, -10 * PX_PER_MM], abs=3)
