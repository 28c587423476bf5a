"""First entry and last exit of meshes, against a sphere and against layers."""

import numpy as np
import pytest
from support.solids import ball

from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import joined, unit_normals
from DualFaceReconLib.shape.visibility import entry_and_exit_depths, entry_and_exit_vertices
from training.xray.analytic import Sphere, render

GEOMETRY = ProjectionGeometry(1000, (1.0, 1.0), (160, 200))


@pytest.mark.parametrize("view", ["AP", "PA"])
def test_depths_of_a_sphere_are_the_exact_ones(view):
    geometry = ProjectionGeometry(1000, (1.0, 1.0), (160, 200), view=view)
    centre = (20, 150 if view == "AP" else -150, -10)
    front, back = entry_and_exit_depths(*ball(centre, 40, 120), geometry)
    truth, _ = render({"ball": Sphere(centre, 40)}, geometry)
    both_hit = truth.mask[0] & (front > 0)
    assert np.count_nonzero(truth.mask[0] ^ (front > 0)) < 0.02 * np.count_nonzero(truth.mask[0])
    inner = both_hit & (truth.back[0] - truth.front[0] > 20)  # a facetted rim is not a sphere's
    assert np.abs(front - truth.front[0])[inner].max() < 0.15
    assert np.abs(back - truth.back[0])[inner].max() < 0.15
    assert (back[front > 0] >= front[front > 0]).all()
    assert back[front == 0].max(initial=0) == 0


def test_a_plane_tilted_in_depth_is_exact_at_every_pixel():
    corners = np.array([[-60.0, 100, -60], [60, 100, -60], [60, 300, 60], [-60, 300, 60]])
    front, back = entry_and_exit_depths(corners, np.array([[0, 1, 2], [0, 2, 3]]), GEOMETRY)
    rows, cols = np.nonzero(front)
    points = GEOMETRY.back_project(np.stack([rows, cols], axis=1), front[rows, cols])
    assert len(points) > 5000
    # the plane A = 200 + S / 0.6
    assert points[:, 1] == pytest.approx(200 + points[:, 2] / 0.6, abs=1e-6)
    assert front == pytest.approx(back, abs=1e-9)


def test_a_sphere_shows_its_near_half_first_and_its_far_half_last():
    vertices, triangles = ball((0, 150, 0), 40)
    first, last = entry_and_exit_vertices(vertices, triangles, GEOMETRY)
    rays = vertices - GEOMETRY.source
    looks = (unit_normals(vertices, triangles) * rays).sum(axis=1)
    assert np.array_equal(first, looks < 0)
    assert np.array_equal(last, looks > 0)


def test_what_lies_between_two_layers_is_hidden():
    near, far = ball((0, 300, 0), 30), ball((0, 150, 0), 25)
    vertices, triangles = joined([near, far])
    first, last = entry_and_exit_vertices(vertices, triangles, GEOMETRY)
    of_far = np.arange(len(vertices)) >= len(near[0])
    assert first[~of_far].mean() == pytest.approx(0.5, abs=0.05)
    assert not first[of_far].any()
    assert last[of_far].mean() == pytest.approx(0.5, abs=0.05)
    pixels = GEOMETRY.project(vertices)[0]
    shadow = np.linalg.norm(pixels - GEOMETRY.project(np.array([0.0, 150, 0]))[0], axis=1) < 25  # pixels, well inside
    assert not last[~of_far & shadow].any()
    rim = ~of_far & ~shadow & (np.linalg.norm(pixels - GEOMETRY.project(np.array([0.0, 300, 0]))[0], axis=1) > 33)
    assert last[rim].any()  # beside the far sphere the near one's back is the last exit


def test_what_the_picture_cuts_off_is_not_seen():
    vertices, triangles = ball((0, 150, 62), 40)
    first, last = entry_and_exit_vertices(vertices, triangles, GEOMETRY)
    inside = GEOMETRY.sees(vertices)
    assert 0.2 < inside.mean() < 0.8
    assert not (first | last)[~inside].any()
    assert (first | last)[inside].mean() > 0.98
    away = vertices + np.array([1000, 0, 0])
    assert not np.any(entry_and_exit_vertices(away, triangles, GEOMETRY))
    behind = vertices + np.array([0, 2000, 0])
    assert not np.any(entry_and_exit_depths(behind, triangles, GEOMETRY))
