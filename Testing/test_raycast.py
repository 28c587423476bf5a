"""Rays through meshes: against closed forms, against VTK on real bones, at edges and through holes."""

import numpy as np
import pytest
from support.bones import load_bone, on_film
from support.solids import ball
from vtkmodules.vtkCommonCore import vtkIdList, vtkPoints
from vtkmodules.vtkCommonDataModel import vtkPolyData
from vtkmodules.vtkFiltersGeneral import vtkOBBTree

from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import joined, polydata
from DualFaceReconLib.shape.repair import crossing_triangles
from DualFaceReconLib.shape.visibility import entry_and_exit_depths
from training import raycast
from training.raycast import cast, meeting_triangles, penetration_mm, recognise, union_path_mm
from training.xray.analytic import Ellipsoid, Sphere, Torus, render

STEEPEST = np.cos(np.radians(75))  # of the angle between a normal and its ray that the promise holds for


def subdivided(mesh, onto, times):
    """Every triangle in four, its new corners put on the true surface."""
    vertices, triangles = mesh
    for _ in range(times):
        edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
        unique, which = np.unique(edges, axis=0, return_inverse=True)
        middle = (which.reshape(3, -1) + len(vertices)).T
        vertices = onto(np.concatenate([vertices, vertices[unique].mean(axis=1)]))
        a, b, c = triangles.T
        ab, bc, ca = middle.T
        parts = ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
        triangles = np.concatenate([np.stack(part, axis=1) for part in parts])
    return vertices, triangles


def fine_ellipsoid(centre, semi_axes):
    unit, triangles = ball((0, 0, 0), 1, 40)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)

    def normed(v):
        return v / np.linalg.norm(v, axis=1, keepdims=True)

    fine, triangles = subdivided((unit, triangles), normed, 4)
    return fine * semi_axes + centre, triangles


@pytest.mark.parametrize("view", ["AP", "PA"])
@pytest.mark.parametrize("semi_axes", [(30, 30, 30), (50, 18, 34)])
def test_ellipsoids_are_exact_to_a_hundredth_of_a_millimetre(view, semi_axes):
    geometry = ProjectionGeometry(1100, (0.8, 0.9), (200, 180), (90.3, 101.7), view=view)
    centre = np.array([8.0, 180 if view == "AP" else -180, -5])
    projected = cast({"it": fine_ellipsoid(centre, semi_axes)}, geometry)
    truth, path = render({"it": Ellipsoid(tuple(centre), semi_axes)}, geometry)
    both_hit = truth.mask[0] & projected.maps.mask[0]
    for mine, exact in ((projected.maps.front[0], truth.front[0]), (projected.maps.back[0], truth.back[0])):
        points = geometry.back_project(np.argwhere(both_hit), exact[both_hit].astype(float))
        normals = (points - centre) / np.square(semi_axes)
        rays = points - geometry.source
        cosine = np.abs((normals * rays).sum(axis=1) / np.linalg.norm(normals, axis=1) / np.linalg.norm(rays, axis=1))
        error = np.abs(mine[both_hit] - exact[both_hit])
        assert error[cosine > STEEPEST].max() < 0.01
    thick = truth.back[0] - truth.front[0] > 20
    assert np.abs(projected.path_mm[0] - path[0])[thick].max() < 0.02
    wrong = truth.mask[0] ^ projected.maps.mask[0]
    assert wrong.sum() < 0.01 * truth.mask.sum()  # a silhouette to half a pixel: not one pixel in a hundred


def test_paths_leave_out_the_gap_and_the_hole():
    geometry = ProjectionGeometry(1000, (1.0, 1.0), (200, 200))
    near, far = ball((0, 300, 0), 20, 80), ball((0, 150, 0), 25, 80)
    projected = cast({"two": joined([near, far])}, geometry)
    middle = (100, 100)
    assert projected.maps.front[0][middle] == pytest.approx(680, abs=0.1)
    assert projected.maps.back[0][middle] == pytest.approx(875, abs=0.1)
    assert projected.path_mm[0][middle] == pytest.approx(90, abs=0.3)
    torus, _ = render({"ring": Torus((0, 200, 0), (0, 1, 0), 40, 12)}, geometry)
    assert not torus.mask[0][middle]  # as through the obturator foramen


def test_the_union_of_overlapping_solids_counts_once():
    geometry = ProjectionGeometry(1000, (1.0, 1.0), (120, 120))
    balls = {"first": ball((0, 200, 0), 20, 60), "other": ball((5, 215, 0), 20, 60), "within": ball((0, 200, 0), 8, 40)}
    path_mm = union_path_mm(balls, geometry)
    assert path_mm[59:61, 59:61].mean() == pytest.approx(54.4, abs=0.4)  # A from 180 to 215 + sqrt(20^2 - 5^2)
    apart = union_path_mm({"first": ball((0, 200, 0), 20, 60), "far": ball((0, 300, 0), 10, 60)}, geometry)
    assert apart[59:61, 59:61].mean() == pytest.approx(60, abs=0.4)


def test_a_ray_through_an_edge_or_a_corner_goes_through_once():
    """A cube whose edges and corners lie exactly on pixels' rays; twelve triangles, shared edges everywhere."""
    geometry = ProjectionGeometry(1000, (1.0, 1.0), (101, 101))
    corners = np.array([[x, y, z] for x in (-16.0, 16) for y in (184.0, 216) for z in (-16.0, 16)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    triangles = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])
    projected = cast({"cube": (corners, triangles)}, geometry)
    mask = projected.maps.mask[0]
    assert mask[50 - 19 : 50 + 20, 50 - 19 : 50 + 20].all()  # no pinholes along the diagonals
    assert projected.maps.front[0][50, 50] == pytest.approx(784, abs=1e-3)
    assert projected.maps.back[0][50, 50] == pytest.approx(816, abs=1e-3)
    inner = projected.path_mm[0][50 - 15 : 50 + 16, 50 - 15 : 50 + 16]
    assert inner.min() == pytest.approx(32, abs=0.01)
    assert inner.max() < 32 / np.cos(np.arctan(22 / 800)) + 0.01


def test_beside_the_film_and_behind_the_source():
    geometry = ProjectionGeometry(1000, (1.0, 1.0), (100, 100))
    away = cast({"it": ball((500, 200, 0), 20)}, geometry)
    assert not away.maps.mask.any()
    with pytest.raises(ValueError, match="behind the X-ray source"):
        cast({"it": ball((0, 995, 0), 20)}, geometry)
    cut = cast({"it": ball((43, 200, 0), 20)}, geometry).maps.mask[0]
    assert cut[:, 0].any()
    assert not cut[:, -1].any()


def test_the_z_buffer_of_the_engine_and_the_rays_agree():
    geometry = ProjectionGeometry(1100, (1.0, 1.0), (160, 160))
    mesh = joined([ball((10, 180, 5), 40, 50), ball((-20, 240, -10), 15, 30)])
    front, back = entry_and_exit_depths(*mesh, geometry)
    maps = cast({"it": mesh}, geometry).maps
    hit = (front > 0) & maps.mask[0]
    assert np.count_nonzero((front > 0) ^ maps.mask[0]) <= 2
    assert np.abs(front - maps.front[0])[hit].max() < 0.01
    assert np.abs(back - maps.back[0])[hit].max() < 0.01


def test_real_bones_as_vtk_casts_them():
    vertices, triangles = load_bone("llp26", "s05", "femur_left")
    upper = on_film(vertices, (-60, 180, -120))
    geometry = ProjectionGeometry(1100, (1.0, 1.0), (250, 250))
    maps = cast({"femur": (upper, triangles)}, geometry).maps
    tree = vtkOBBTree()
    tree.SetDataSet(polydata(upper, triangles))
    tree.BuildLocator()
    pixels = np.argwhere(maps.mask[0])
    chosen = pixels[np.random.default_rng(0).choice(len(pixels), 400, replace=False)]
    for row, col in chosen:
        end = geometry.back_project(np.array([row, col]), 1099.0)
        points, cells = vtkPoints(), vtkIdList()
        tree.IntersectWithLine(geometry.source, end, points, cells)
        depths = [geometry.project(np.array(points.GetPoint(i)))[1] for i in range(points.GetNumberOfPoints())]
        if not depths:  # it grazes, and VTK has its tolerance
            assert maps.back[0][row, col] - maps.front[0][row, col] < 2
            continue
        assert maps.front[0][row, col] == pytest.approx(min(depths), abs=0.02)
        assert maps.back[0][row, col] == pytest.approx(max(depths), abs=0.02)
    assert isinstance(tree.GetDataSet(), vtkPolyData)


def test_penetration_is_negative_inside_and_a_distance_outside():
    mesh = ball((100, -50, 20), 30, 120)
    inside = penetration_mm(np.array([[100.0, -50, 20], [100, -50, 45]]), mesh)
    assert inside == pytest.approx([-30, -5], abs=0.05)
    assert penetration_mm(np.array([[100.0, -50, 60]]), mesh) == pytest.approx([10], abs=0.05)


def test_a_sphere_s_maps_are_the_engine_s_bone_maps():
    geometry = ProjectionGeometry(1000, (2.0, 2.0), (60, 60))
    projected = cast({"a": ball((0, 200, 0), 30), "b": ball((30, 180, 0), 20)}, geometry, device="cpu")
    assert projected.maps.bones == ("a", "b")
    assert projected.maps.front.dtype == np.float32
    assert projected.maps.mean_depth_mm() == pytest.approx(810, abs=8)
    truth, _ = render({"a": Sphere((0, 200, 0), 30), "b": Sphere((30, 180, 0), 20)}, geometry)
    assert np.count_nonzero(truth.mask ^ projected.maps.mask) <= 4


def test_a_recognised_mesh_gives_the_same_whatever_shape_its_tree_was_built_of(monkeypatch):
    """Also where another shape of the same triangles was asked in between."""
    monkeypatch.setattr(raycast, "_trees", {})
    vertices, triangles = ball((10, 150, -20), 40)
    other = (vertices - (10, 150, -20)) * (1.4, 0.6, 1.1) + (0, 170, 30)
    points = np.random.default_rng(0).normal((10, 150, -20), 30, (200, 3))
    geometry = ProjectionGeometry(1100, (2.0, 2.0), (120, 130))
    before = cast({"ball": (other, triangles)}, geometry), penetration_mm(points, (other, triangles))
    recognise(vertices * (1, 1.2, 0.8), triangles)
    cast({"ball": (vertices, triangles)}, geometry)
    after = cast({"ball": (other, triangles)}, geometry), penetration_mm(points, (other, triangles))
    assert len(raycast._trees) == 1
    for name in ("front", "back"):
        assert getattr(after[0].maps, name) == pytest.approx(getattr(before[0].maps, name), abs=1e-4)
    assert after[0].path_mm == pytest.approx(before[0].path_mm, abs=1e-4)
    assert after[1] == pytest.approx(before[1], abs=1e-4)


def test_what_is_out_of_reach_gets_the_reach():
    mesh = ball((0, 0, 0), 30)
    points = np.array([[0, 0, 33.0], [0, 0, 27], [0, 0, 50], [0, 0, 0]])
    assert penetration_mm(points, mesh) == pytest.approx([3, -3, 20, -30], abs=0.1)
    assert penetration_mm(points, mesh, 8.0) == pytest.approx([3, -3, 8, 8], abs=0.1)


def test_triangles_cross_where_their_boxes_meet():
    """More pairs than there was room for at first are all found."""
    vertices, triangles = joined([ball((0, 0, 0), 30, 24), ball((0, 0, 35), 30, 24)])
    vertices = vertices + np.random.default_rng(0).normal(0, 4, vertices.shape)
    pairs = crossing_triangles(vertices, triangles)
    assert len(meeting_triangles(vertices, triangles)[0]) > 4 * len(triangles)
    again = crossing_triangles(vertices, triangles, meeting_triangles)
    assert {frozenset(pair) for pair in again.tolist()} == {frozenset(pair) for pair in pairs.tolist()}
    assert len(again) == len(pairs) > 300
