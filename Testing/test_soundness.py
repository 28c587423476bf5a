"""Crossing and turned triangles are found, and mended without touching the rest."""

import numpy as np
import pytest
from support.solids import ball

from DualFaceReconLib.meshes import joined
from DualFaceReconLib.shape.repair import crossing, mended, turned_over


def test_a_sphere_is_sound():
    vertices, triangles = ball((5, 6, 7), 30)
    assert len(crossing(vertices, triangles)) == 0
    assert len(turned_over(vertices * 1.3, triangles, vertices)) == 0


def test_spheres_that_overlap_cross_along_a_circle():
    first, second = ball((0, 0, 0), 30, 40), ball((0, 0, 35), 30, 40)
    vertices, triangles = joined([first, second])
    pairs = crossing(vertices, triangles)
    of_first = pairs < len(first[1])
    assert (of_first.sum(axis=1) == 1).all()  # always one of each
    middle = vertices[triangles[pairs.ravel()]].mean(axis=1)
    assert middle[:, 2] == pytest.approx(17.5, abs=5)
    assert len(np.unique(pairs)) > 60  # all the way round
    apart = joined([first, ball((0, 0, 61), 30, 40)])
    assert len(crossing(*apart)) == 0


def test_two_triangles_cross_only_where_an_edge_passes_through():
    flat = np.array([[0.0, 0, 0], [10, 0, 0], [0, 10, 0]])
    through = np.array([[2.0, 2, -5], [2, 2, 5], [3, 9, 5]])
    beside = through + np.array([8, 8, 0])
    triangles = np.array([[0, 1, 2], [3, 4, 5]])
    assert crossing(np.vstack([flat, through]), triangles).tolist() == [[0, 1]]
    assert len(crossing(np.vstack([flat, beside]), triangles)) == 0


def test_a_vertex_pushed_through_the_bone_is_drawn_back_and_others_stay():
    vertices, triangles = ball((0, 0, 0), 30)
    broken = vertices * (1.0, 1.1, 0.9)
    pushed = int(vertices[:, 0].argmax())
    broken[pushed] = (-45, 0, 0)
    assert len(crossing(broken, triangles)) > 0
    whole = mended(broken, triangles, vertices)
    assert len(crossing(whole, triangles)) == 0
    assert len(turned_over(whole, triangles, vertices)) == 0
    assert whole[pushed] == pytest.approx(vertices[pushed] * (1, 1.1, 0.9), abs=1)
    assert np.count_nonzero((whole != broken).any(axis=1)) < 150  # of 3482
    assert np.array_equal(mended(vertices, triangles, vertices), vertices)


def test_a_stray_vertex_is_replaced_even_where_nothing_crosses():
    vertices, triangles = ball((0, 0, 0), 30)
    stray = int(vertices[:, 1].argmax())
    broken = vertices.copy()
    broken[stray] = vertices[stray] * 1.5
    assert len(crossing(broken, triangles)) == 0
    assert mended(broken, triangles, vertices, np.array([stray]))[stray] == pytest.approx(vertices[stray], abs=0.1)


def test_what_cannot_be_mended_becomes_the_reference():
    vertices, triangles = ball((0, 0, 0), 30, 20)
    inside_out = vertices * (-1, 1, 1)
    assert np.array_equal(mended(inside_out, triangles, vertices), vertices)
