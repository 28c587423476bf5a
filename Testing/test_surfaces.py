"""Observed surfaces: solids come back within the sampling bound, closed, oriented, with their walls named."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkFiltersCore import vtkFeatureEdges, vtkMassProperties

from DualFaceReconLib.bonemaps import BoneMaps
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import sample_surface
from DualFaceReconLib.proximity import distances_to_surface
from DualFaceReconLib.surfaces import (
    BACK,
    DISCONTINUITY,
    FRONT,
    NO_WALL,
    PICTURE_EDGE,
    ROUNDEST_RADIUS_MM,
    SILHOUETTE,
    observed_surface,
    observed_surfaces,
    observed_triangles,
)
from training.xray.analytic import Ellipsoid, Sphere, Torus, render

TILT = Rotation.from_euler("xyz", (20, 35, -50), degrees=True).as_matrix()


def picture(view="AP", size_px=(200, 240), pitch=(0.9, 0.75)):
    return ProjectionGeometry(1000, pitch, size_px, view=view)


def centre(view, right=-20.0, superior=15.0):
    return (right, 200.0 if view == "AP" else -200.0, superior)


def on_sphere(solid, points):
    return np.abs(np.linalg.norm(points - np.array(solid.centre), axis=1) - solid.radius)


def on_ellipsoid(solid, points):
    """|F| / |grad F|: the distance to first order."""
    local = (points - np.array(solid.centre)) @ solid.rotation
    value = np.sum((local / solid.semi_axes) ** 2, axis=1) - 1
    return np.abs(value) / np.linalg.norm(2 * local / np.array(solid.semi_axes) ** 2, axis=1)


def on_torus(solid, points):
    offset = points - np.array(solid.centre)
    return np.abs(
        np.hypot(np.hypot(offset[:, 0], offset[:, 2]) - solid.major_radius, offset[:, 1]) - solid.minor_radius
    )


# solid at a centre, distance to it, its largest and smallest radius of curvature in mm, its volume
SOLIDS = {
    "sphere": (lambda at: Sphere(at, 25.0), on_sphere, 25, 25, 4 / 3 * np.pi * 25**3),
    "ellipsoid": (
        lambda at: Ellipsoid(at, (30.0, 24.0, 20.0), TILT),
        on_ellipsoid,
        30**2 / 20,
        20**2 / 30,
        4 / 3 * np.pi * 30 * 24 * 20,
    ),
    "torus": (lambda at: Torus(at, (0, 1, 0), 30.0, 10.0), on_torus, 10, 10, 2 * np.pi**2 * 30 * 10**2),
}


def flat_maps(mask, front, back=None):
    front, back = (
        None if depth is None else np.where(mask, np.float32(depth), 0).astype(np.float32)[None]
        for depth in (front, back)
    )
    return BoneMaps(bones=("hip_left",), mask=mask[None], front=front, back=back)


def parts(surface):
    """Points, triangles, face and wall as arrays."""
    return (
        vtk_to_numpy(surface.GetPoints().GetData()),
        vtk_to_numpy(surface.GetPolys().GetConnectivityArray()).reshape(-1, 3),
        vtk_to_numpy(surface.GetPointData().GetArray("face")),
        vtk_to_numpy(surface.GetCellData().GetArray("wall")),
    )


def signed_volume(surface):
    points, triangles, *_ = parts(surface)
    points = points.astype(float) - points.mean(axis=0)
    first, second, third = points[triangles].transpose(1, 0, 2)
    return float(np.sum(first * np.cross(second, third)) / 6)


def assert_closed_and_oriented(surface):
    """Every directed edge occurs once, and so does its reverse."""
    _, triangles, *_ = parts(surface)
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]).astype(np.int64)
    forward = np.sort(edges[:, 0] << 32 | edges[:, 1])
    np.testing.assert_array_equal(forward, np.sort(edges[:, 1] << 32 | edges[:, 0]))
    assert np.all(np.diff(forward) > 0)


def count_edges(surface, kind):
    edges = vtkFeatureEdges()
    edges.SetInputData(surface)
    for name in ("BoundaryEdges", "NonManifoldEdges", "FeatureEdges", "ManifoldEdges"):
        getattr(edges, f"Set{name}")(name == kind)
    edges.Update()
    return edges.GetOutput().GetNumberOfCells()


@pytest.mark.parametrize("view", ["AP", "PA"])
@pytest.mark.parametrize("name", SOLIDS)
def test_solids_come_back_within_the_sampling_bound(name, view):
    make, distance, widest, tightest, volume = SOLIDS[name]
    geometry, solid = picture(view), make(centre(view))
    surface = observed_surface(render({"hip_left": solid}, geometry)[0], geometry, "hip_left")

    points, _, face, _ = parts(surface)
    assert distance(solid, points).max() < 1e-4  # float32 depths and coordinates

    # Two vertices l mm apart across the rays differ by at most sqrt(2 r l) in depth, r the widest curvature, and
    # a triangle with longest edge L and its corners on curvature r strays by at most L^2 / 6 r from it.
    step = np.hypot(*geometry.pixel_size_at(850.0))
    bound = (step**2 + 2 * widest * step) / (6 * tightest)
    vertices, triangles = observed_triangles(surface)
    strays = distance(solid, sample_surface(vertices, triangles, 30_000))
    assert strays.max() < bound
    assert strays.mean() < 0.1 * step

    assert_closed_and_oriented(surface)
    assert count_edges(surface, "BoundaryEdges") == 0
    assert count_edges(surface, "NonManifoldEdges") == 0
    # The rim loses up to one pixel; its band of width s holds about 2 sqrt(2 r s) of depth: 2 % here.
    assert 0.97 * volume < signed_volume(surface) < volume
    mass = vtkMassProperties()
    mass.SetInputData(surface)
    assert mass.GetVolume() == pytest.approx(signed_volume(surface), rel=1e-3)
    assert np.count_nonzero(face == FRONT) == np.count_nonzero(face == BACK)


@pytest.mark.parametrize("view", ["AP", "PA"])
def test_the_closed_surface_leaves_no_part_of_a_sphere_far_away(view):
    geometry, solid = picture(view), Sphere(centre(view), 25.0)
    surface = observed_surface(render({"hip_left": solid}, geometry)[0], geometry, "hip_left")
    rays = np.random.default_rng(0).normal(size=(20_000, 3))
    truth = np.array(solid.centre) + 25 * rays / np.linalg.norm(rays, axis=1, keepdims=True)
    points, triangles, *_ = parts(surface)
    assert distances_to_surface(truth, points, triangles).max() < np.hypot(*geometry.pixel_size_at(825.0))


@pytest.mark.parametrize("view", ["AP", "PA"])
def test_normals_are_unit_and_look_out_of_the_bone(view):
    geometry, solid = picture(view), Sphere(centre(view), 25.0)
    surface = observed_surface(render({"hip_left": solid}, geometry)[0], geometry, "hip_left")
    points, _, face, _ = parts(surface)
    normals = vtk_to_numpy(surface.GetPointData().GetNormals())
    assert normals.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    outwards = (points - np.array(solid.centre)) / 25
    cosine = np.sum(normals * outwards, axis=1)
    assert cosine.min() > 0.7  # beside the silhouette a vertex has triangles on one side only
    assert np.mean(cosine > np.cos(np.radians(3))) > 0.9
    towards_source = np.sum(normals * (geometry.source - points), axis=1) > 0
    np.testing.assert_array_equal(towards_source, face == FRONT)


def test_walls_close_the_silhouette_and_the_picture_edge():
    geometry = picture(size_px=(60, 240))
    solid = Sphere(centre("AP", superior=20.0), 25.0)
    surface = observed_surface(render({"hip_left": solid}, geometry)[0], geometry, "hip_left")
    points, triangles, face, wall = parts(surface)
    assert_closed_and_oriented(surface)
    assert set(np.unique(wall)) == {NO_WALL, SILHOUETTE, PICTURE_EDGE}
    rows = geometry.project(points)[0][:, 0]
    np.testing.assert_allclose(rows[triangles[wall == PICTURE_EDGE]], 0, atol=1e-4)
    assert np.all(np.ptp(rows[triangles[wall == SILHOUETTE]], axis=1) <= 1.001)
    between = face[triangles[wall >= SILHOUETTE]]
    assert np.all((between.min(axis=1) == FRONT) & (between.max(axis=1) == BACK))
    assert np.all(np.ptp(face[triangles[wall < SILHOUETTE]], axis=1) == 0)


@pytest.mark.parametrize("border", ["first row", "last row", "first column", "last column"])
def test_every_border_is_a_picture_edge(border):
    mask = np.zeros((8, 9), dtype=bool)
    mask[2:6, 2:6] = True
    cut = {"first row": (0, 2), "last row": (7, 2), "first column": (2, 0), "last column": (2, 8)}[border]
    mask[min(cut[0], 2) : max(cut[0] + 1, 6), min(cut[1], 2) : max(cut[1] + 1, 6)] = True
    surface = observed_surface(flat_maps(mask, 700, 720), picture(size_px=(8, 9)), "hip_left")
    assert np.count_nonzero(parts(surface)[3] == PICTURE_EDGE) == 2 * 3


@pytest.mark.parametrize(("face", "steps"), [(FRONT, 1), (BACK, 1), (FRONT, -1)])
def test_a_depth_discontinuity_is_kept_and_marked_on_its_face(face, steps):
    geometry = picture(size_px=(12, 14))
    mask = np.zeros((12, 14), dtype=bool)
    mask[2:10, 3:12] = True
    limit = np.sqrt(2 * ROUNDEST_RADIUS_MM * geometry.pixel_size_at(700.0)[1])

    def surface_with(jump):
        depths = [np.full(mask.shape, 700.0), np.full(mask.shape, 760.0)]
        depths[face][:, 7:] += jump * steps
        return observed_surface(flat_maps(mask, *depths), geometry, "hip_left")

    _, triangles, faces, wall = parts(surface := surface_with(1.2 * limit))
    assert np.count_nonzero(wall == DISCONTINUITY) == 2 * 7
    assert np.all(faces[triangles[wall == DISCONTINUITY]] == face)
    assert_closed_and_oriented(surface)
    assert not np.any(parts(surface_with(0.8 * limit))[3] == DISCONTINUITY)


def test_a_lone_corner_costs_one_triangle_not_two():
    mask = np.ones((2, 2), dtype=bool)
    front = np.array([[740.0, 700.0], [700.0, 700.0]])
    wall = parts(observed_surface(flat_maps(mask, front, 800), picture(size_px=(2, 2)), "hip_left"))[3]
    assert wall[:2].tolist() == [DISCONTINUITY, NO_WALL]
    flipped = parts(observed_surface(flat_maps(mask, front[:, ::-1], 800), picture(size_px=(2, 2)), "hip_left"))[3]
    assert sorted(flipped[:2].tolist()) == [NO_WALL, DISCONTINUITY]


def test_a_spike_without_a_surface_looks_along_its_ray():
    mask = np.ones((5, 5), dtype=bool)
    front, back = np.full((5, 5), 700.0), np.full((5, 5), 760.0)
    front[2, 2], back[2, 2] = 640.0, 820.0
    geometry = picture(size_px=(5, 5))
    surface = observed_surface(flat_maps(mask, front, back), geometry, "hip_left")
    points, *_ = parts(surface)
    normals = vtk_to_numpy(surface.GetPointData().GetNormals())
    for spike, outwards in ((12, 1), (25 + 12, -1)):
        ray = outwards * (geometry.source - points[spike])
        np.testing.assert_allclose(normals[spike], ray / np.linalg.norm(ray), atol=1e-5)


def test_fans_that_touch_at_a_corner_get_their_own_vertices():
    mask = np.zeros((9, 9), dtype=bool)
    mask[[3, 3, 4, 5, 5], [3, 4, 4, 4, 5]] = True  # two triangles that share pixel (4, 4)
    surface = observed_surface(flat_maps(mask, 700, 720), picture(size_px=(9, 9)), "hip_left")
    assert surface.GetNumberOfPoints() == 2 * (5 + 1)
    assert count_edges(surface, "NonManifoldEdges") == 0
    assert_closed_and_oriented(surface)


@settings(max_examples=150, deadline=None)
@given(
    arrays(bool, (9, 11), elements=st.sampled_from([True, True, False])),
    arrays(np.float32, (2, 9, 11), elements=st.sampled_from([700.0, 701.0, 703.0, 712.0, 730.0])),
    st.sampled_from(["AP", "PA"]),
)
def test_any_maps_give_a_closed_surface_that_never_turns_inside_out(mask, depths, view):
    surface = observed_surface(flat_maps(mask, *depths), picture(view, size_px=(9, 11)), "hip_left")
    points, triangles, face, wall = parts(surface)
    assert_closed_and_oriented(surface)
    assert count_edges(surface, "NonManifoldEdges") == 0
    assert np.array_equal(np.unique(triangles), np.arange(len(points)))
    assert surface.GetNumberOfCells() == 0 or signed_volume(surface) > -1e-3
    assert len(observed_triangles(surface)[1]) == np.count_nonzero(wall == NO_WALL)
    seen = observed_triangles(surface)[1]
    assert np.all(np.ptp(face[seen], axis=1) == 0)  # no wall between front and back

    geometry = picture(view, size_px=(9, 11))
    pixels, depth = geometry.project(points)
    ends = np.stack([triangles, np.roll(triangles, -1, axis=1)])
    step = np.linalg.norm((pixels[ends[0]] - pixels[ends[1]]) * geometry.pixel_size_at(1.0), axis=-1)
    jump = np.abs(depth[ends[0]] - depth[ends[1]])
    steep = (jump**2 > 2 * ROUNDEST_RADIUS_MM * step * depth[ends].min(axis=0)).any(axis=1)
    flat = wall < SILHOUETTE
    np.testing.assert_array_equal(wall[flat] == DISCONTINUITY, steep[flat])


def test_back_before_front_becomes_their_mean():
    mask = np.ones((6, 6), dtype=bool)
    geometry = picture(size_px=(6, 6))
    points, _, face, _ = parts(observed_surface(flat_maps(mask, 710, 700), geometry, "hip_left"))
    np.testing.assert_allclose(geometry.project(points)[1], 705, atol=1e-3)
    assert np.count_nonzero(face == BACK) == 36


def test_a_single_face_is_an_open_front_sheet():
    geometry, solid = picture(), Sphere(centre("AP"), 25.0)
    maps, _ = render({"hip_left": solid}, geometry)
    both = parts(observed_surface(maps, geometry, "hip_left"))
    sheet = observed_surface(BoneMaps(bones=maps.bones, mask=maps.mask, front=maps.front), geometry, "hip_left")
    points, triangles, face, wall = parts(sheet)
    assert np.all(face == FRONT)
    assert set(np.unique(wall)) <= {NO_WALL, DISCONTINUITY}
    assert count_edges(sheet, "BoundaryEdges") > 50
    np.testing.assert_array_equal(points, both[0][: len(points)])
    assert len(triangles) == np.count_nonzero(np.all(both[2][both[1]] == FRONT, axis=1))
    normals = vtk_to_numpy(sheet.GetPointData().GetNormals())
    assert np.all(np.sum(normals * (geometry.source - points), axis=1) > 0)


def test_a_bone_that_is_not_there_is_empty_with_its_arrays():
    mask = np.zeros((2, 6, 6), dtype=bool)
    mask[1, 3, 3] = True  # a pixel without neighbours carries no surface
    maps = BoneMaps(
        bones=("hip_left", "hip_right"), mask=mask, front=np.where(mask, 700, 0), back=np.where(mask, 720, 0)
    )
    surfaces = observed_surfaces(maps, picture(size_px=(6, 6)))
    assert list(surfaces) == ["hip_left", "hip_right"]
    for surface in surfaces.values():
        points, triangles, face, wall = parts(surface)
        assert len(points) == len(triangles) == len(face) == len(wall) == 0
        assert surface.GetPointData().GetNormals().GetNumberOfComponents() == 3
        vertices, seen = observed_triangles(surface)
        assert vertices.shape == seen.shape == (0, 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0, -5.0])
@pytest.mark.parametrize("face", [FRONT, BACK])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_depths_that_are_none_drop_their_pixel(bad, face, dtype):
    mask = np.ones((7, 8), dtype=bool)
    depths = np.stack([np.full(mask.shape, 700.0), np.full(mask.shape, 730.0)]).astype(dtype)
    depths[face, 3, 4] = bad
    without = mask.copy()
    without[3, 4] = False
    geometry = picture(size_px=(7, 8))
    maps = BoneMaps(bones=("hip_left",), mask=mask[None], front=depths[:1], back=depths[1:])
    dropped = parts(observed_surface(maps, geometry, "hip_left"))
    expected = parts(observed_surface(flat_maps(without, 700, 730), geometry, "hip_left"))
    for part, expected_part in zip(dropped, expected, strict=True):
        np.testing.assert_array_equal(part, expected_part)


def test_wrong_requests_say_what_is_wrong():
    maps = flat_maps(np.ones((4, 4), dtype=bool), 700, 710)
    with pytest.raises(ValueError, match="no bone 'skull'"):
        observed_surface(maps, picture(size_px=(4, 4)), "skull")
    with pytest.raises(ValueError, match=r"\(4, 4\) pixels, the geometry \(4, 5\)"):
        observed_surface(maps, picture(size_px=(4, 5)), "hip_left")
