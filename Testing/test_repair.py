"""Crossing and flipped triangles are found, and repaired without touching the rest."""

import numpy as np
import pytest
from support.solids import ball

from DualFaceReconLib.meshes import joined
from DualFaceReconLib.shape.repair import crossing_triangles, flipped_triangles, repaired_vertices


def test_a_sphere_has_no_faults():
    vertices, triangles = ball((5, 6, 7), 30)
    assert len(crossing_triangles(vertices, triangles)) == 0
    assert len(flipped_triangles(vertices * 1.3, triangles, vertices)) == 0


def test_spheres_that_overlap_cross_along_a_circle():
    first, second = ball((0, 0, 0), 30, 40), ball((0, 0, 35), 30, 40)
    vertices, triangles = joined([first, second])
    pairs = crossing_triangles(vertices, triangles)
    of_first = pairs < len(first[1])
    assert (of_first.sum(axis=1) == 1).all()  # always one of each
    middle = vertices[triangles[pairs.ravel()]].mean(axis=1)
    assert middle[:, 2] == pytest.approx(17.5, abs=5)
    assert len(np.unique(pairs)) > 60  # all the way round
    apart = joined([first, ball((0, 0, 61), 30, 40)])
    assert len(crossing_triangles(*apart)) == 0


def test_two_triangles_cross_only_where_an_edge_passes_through():
    flat = np.array([[0.0, 0, 0], [10, 0, 0], [0, 10, 0]])
    through = np.array([[2.0, 2, -5], [2, 2, 5], [3, 9, 5]])
    aside = through + np.array([8, 8, 0])
    triangles = np.array([[0, 1, 2], [3, 4, 5]])
    assert crossing_triangles(np.vstack([flat, through]), triangles).tolist() == [[0, 1]]
    assert len(crossing_triangles(np.vstack([flat, aside]), triangles)) == 0


def test_a_vertex_pushed_through_the_bone_is_drawn_back_and_others_stay():
    vertices, triangles = ball((0, 0, 0), 30)
    broken = vertices * (1.0, 1.1, 0.9)
    pushed = int(vertices[:, 0].argmax())
    broken[pushed] = (-45, 0, 0)
    assert len(crossing_triangles(broken, triangles)) > 0
    mesh = repaired_vertices(broken, triangles, vertices)
    assert len(crossing_triangles(mesh, triangles)) == 0
    assert len(flipped_triangles(mesh, triangles, vertices)) == 0
    assert mesh[pushed] == pytest.approx(vertices[pushed] * (1, 1.1, 0.9), abs=1)
    assert np.count_nonzero((mesh != broken).any(axis=1)) < 150  # of 3482
    assert np.array_equal(repaired_vertices(vertices, triangles, vertices), vertices)


def test_a_stray_vertex_is_replaced_even_where_nothing_crosses():
    vertices, triangles = ball((0, 0, 0), 30)
    stray = int(vertices[:, 1].argmax())
    broken = vertices.copy()
    broken[stray] = vertices[stray] * 1.5
    assert len(crossing_triangles(broken, triangles)) == 0
    assert repaired_vertices(broken, triangles, vertices, np.array([stray]))[stray] == pytest.approx(
        vertices[stray], abs=0.1
    )


def test_what_cannot_be_repaired_becomes_the_reference():
    vertices, triangles = ball((0, 0, 0), 30, 20)
    inside_out = vertices * (-1, 1, 1)
    assert np.array_equal(repaired_vertices(inside_out, triangles, vertices), vertices)
