"""The ruler against cases whose answer is known exactly, or to a stated bound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkFiltersSources import vtkSphereSource

from DualFaceReconLib import metrics, proximity
from DualFaceReconLib.bonemaps import BoneMaps
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import area_mm2, clip_to_planes, sample_surface
from DualFaceReconLib.metrics import SurfaceDistances, compare_surfaces
from DualFaceReconLib.proximity import distances_to_surface

SAMPLING = 0.01  # mm: three standard errors of a mean over 100,000 samples that spread by 1 mm


def sphere(radius, resolution=160):
    source = vtkSphereSource()
    source.SetRadius(radius)
    source.SetThetaResolution(resolution)
    source.SetPhiResolution(resolution)
    source.SetOutputPointsPrecision(1)
    source.Update()
    mesh = source.GetOutput()
    triangles = vtk_to_numpy(mesh.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    return vtk_to_numpy(mesh.GetPoints().GetData()).astype(float), triangles


def sagitta(mesh, radius):
    """How far inside its sphere an inscribed mesh lies at most: no face plane is nearer to the centre."""
    corners = mesh[0][mesh[1]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return radius - np.abs(np.sum(normals * corners[:, 0], axis=1)).min()


def square(height, side=100.0, cells=1, offset=0.0):
    line = np.linspace(0, side, cells + 1)
    x, y = np.meshgrid(line, line, indexing="ij")
    vertices = np.stack([x.ravel() + offset, y.ravel(), np.full(x.size, height)], axis=1)
    first = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).ravel()
    a, b, c, d = first, first + 1, first + cells + 1, first + cells + 2
    return vertices, np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])


def joined(*meshes):
    starts = np.cumsum([0] + [len(vertices) for vertices, _ in meshes])
    return (
        np.concatenate([vertices for vertices, _ in meshes]),
        np.concatenate([triangles + start for (_, triangles), start in zip(meshes, starts, strict=False)]),
    )


def area(vertices, triangles):
    corners = vertices[triangles]
    return 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum()


def brute_force(points, vertices, triangles):
    """Point to triangle by the regions of its plane (Ericson, Real-Time Collision Detection), one at a time."""

    def nearest(p, a, b, c):
        ab, ac, ap = b - a, c - a, p - a
        d1, d2 = ab @ ap, ac @ ap
        if d1 <= 0 and d2 <= 0:
            return a
        d3, d4 = ab @ (p - b), ac @ (p - b)
        if d3 >= 0 and d4 <= d3:
            return b
        vc = d1 * d4 - d3 * d2
        if vc <= 0 <= d1 and d3 <= 0:
            return a + d1 / (d1 - d3) * ab
        d5, d6 = ab @ (p - c), ac @ (p - c)
        if d6 >= 0 and d5 <= d6:
            return c
        vb = d5 * d2 - d1 * d6
        if vb <= 0 <= d2 and d6 <= 0:
            return a + d2 / (d2 - d6) * ac
        va = d3 * d6 - d5 * d4
        if va <= 0 and d4 >= d3 and d5 >= d6:
            return b + (d4 - d3) / (d4 - d3 + d5 - d6) * (c - b)
        return a + (vb * ab + vc * ac) / (va + vb + vc)

    return np.array([min(np.linalg.norm(p - nearest(p, *vertices[t])) for t in triangles) for p in points])


# Surfaces


def test_two_parallel_planes_are_exactly_their_gap_apart():
    distances = compare_surfaces(square(0), square(3), count=5000)
    for value in (distances.assd_mm, distances.hd95_mm, distances.hd95_max_mm, distances.truth_to_predicted_mm):
        assert value == pytest.approx(3, abs=1e-12)
    assert distances.cd_l2_mm2 == pytest.approx(2 * 9, abs=1e-10)


def test_two_concentric_spheres_are_their_radii_apart():
    inner, outer = sphere(50), sphere(52)
    low, high = 2 - sagitta(outer, 52), 2 + sagitta(inner, 50)
    assert high - low < 0.05
    distances = compare_surfaces(inner, outer, count=10_000)
    for value in (distances.assd_mm, distances.hd95_mm, distances.hd95_max_mm):
        assert low <= value <= high
    assert 2 * low**2 <= distances.cd_l2_mm2 <= 2 * high**2


def test_a_moved_sphere():
    """|r u + s| - r, averaged over the sphere's directions, by its closed form in cos(u, s), uniform in -1 .. 1."""
    radius, offset = 40.0, 5.0
    mesh = sphere(radius)
    distances = compare_surfaces((mesh[0] + [offset, 0, 0], mesh[1]), mesh, count=20_000)
    cosine = np.linspace(-1, 1, 200_001)
    exact = np.abs(np.sqrt(radius**2 + offset**2 + 2 * radius * offset * cosine) - radius)
    tolerance = 2 * sagitta(mesh, radius) + 2 * SAMPLING
    assert distances.assd_mm == pytest.approx(np.mean(exact), abs=tolerance)
    assert distances.hd95_mm == pytest.approx(np.percentile(exact, 95), abs=tolerance)
    assert distances.cd_l2_mm2 == pytest.approx(2 * np.mean(exact**2), abs=4 * offset * tolerance)


def test_one_surface_at_two_resolutions_has_one_assd():
    truth, coarse, fine = sphere(52), sphere(50, 60), sphere(50, 240)
    figures = [compare_surfaces(mesh, truth, count=10_000).assd_mm for mesh in (coarse, fine)]  # they hardly spread
    assert abs(figures[0] - figures[1]) < sagitta(coarse, 50) + SAMPLING
    # Half of the surface is 1 mm off and fine, the other 3 mm off and coarse: by area the mean is 2, by vertex 1.0.
    predicted = joined(square(0, cells=60), square(0, offset=1000))
    assd = compare_surfaces(predicted, joined(square(1), square(3, offset=1000)), count=40_000).assd_mm
    assert assd == pytest.approx(2, abs=SAMPLING)


def test_pooled_and_maximum_hd95_and_the_sums_by_hand():
    distances = SurfaceDistances(predicted_to_truth=np.zeros(100), truth_to_predicted=np.linspace(1, 100, 100))
    assert distances.hd95_mm == pytest.approx(np.percentile(np.r_[np.zeros(100), 1:101], 95))
    assert distances.hd95_mm < 91
    assert distances.hd95_max_mm == pytest.approx(95.05)
    assert distances.predicted_to_truth_mm == 0
    assert distances.truth_to_predicted_mm == pytest.approx(50.5)
    assert distances.assd_mm == pytest.approx(25.25)
    assert distances.cd_l2_mm2 == pytest.approx(3383.5)


coordinates = st.floats(-100, 100, width=32)


@settings(max_examples=100, deadline=None)
@given(arrays(float, (8, 3), elements=coordinates), arrays(int, (12, 3), elements=st.integers(0, 7)), st.integers(0, 9))
def test_distances_are_exact_for_any_triangles(vertices, triangles, seed):
    """Those without area have their own test: brute force by regions divides by it."""
    triangles = triangles[[area(vertices, triangle[None]) > 1e-3 for triangle in triangles]]
    if len(triangles) == 0:
        return
    points = np.random.default_rng(seed).uniform(-120, 120, size=(10, 3))
    expected = brute_force(points, vertices, triangles)
    np.testing.assert_allclose(distances_to_surface(points, vertices, triangles), expected, atol=1e-6)


def test_long_thin_triangles_are_exact():
    rng = np.random.default_rng(4)
    start, along = rng.uniform(-50, 50, (300, 1, 3)), rng.normal(size=(300, 1, 3))
    along *= rng.uniform(10, 300, (300, 1, 1)) / np.linalg.norm(along, axis=2, keepdims=True)
    strips = start + np.concatenate([0 * along, along, 0.5 * along + rng.normal(size=(300, 1, 3)) * 0.01], axis=1)
    vertices, triangles = strips.reshape(-1, 3), np.arange(900).reshape(-1, 3)
    points = rng.uniform(-200, 200, (40, 3))
    distances = distances_to_surface(points, vertices, triangles)
    np.testing.assert_allclose(distances, brute_force(points, vertices, triangles), atol=1e-9)


def test_triangles_without_area_are_segments_and_points():
    vertices = np.array([[0, 0, 0], [10, 0, 0], [5, 0, 0], [0, 40, 0]], dtype=float)
    points = np.array([[2, 3, 0], [-3, 4, 0], [0, 40, 7]], dtype=float)
    distances = distances_to_surface(points, vertices, np.array([[0, 1, 2], [3, 3, 3]]))
    np.testing.assert_allclose(distances, [3, 5, 7], atol=1e-12)


def test_many_points_against_many_triangles_match_the_closed_form(monkeypatch):
    """Every level of boxes and every split of the work, against a surface whose distances are known."""
    monkeypatch.setattr(proximity, "PAIRS_AT_ONCE", 500)
    vertices, triangles = square(0, side=60, cells=60)
    rng = np.random.default_rng(5)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    points = rng.uniform(-40, 100, (2000, 3))
    outside = np.maximum(np.maximum(-points, points - [60, 60, 0]), 0)
    expected = np.linalg.norm(np.c_[outside[:, :2], np.abs(points[:, 2])], axis=1)
    np.testing.assert_allclose(distances_to_surface(points @ turn, vertices @ turn, triangles), expected, atol=1e-9)


def test_samples_are_uniform_by_area_and_seeded():
    mesh = joined(square(0, cells=30), square(5, side=200.0, offset=500))
    points = sample_surface(*mesh, 50_000, seed=3)
    small = points[points[:, 2] < 1]
    assert np.abs(points[:, 2] - np.where(points[:, 2] < 1, 0, 5)).max() < 1e-12
    deviation = np.sqrt(0.2 * 0.8 / 50_000)
    assert len(small) / 50_000 == pytest.approx(0.2, abs=4 * deviation)
    for part, middle, side in ((small, [50, 50], 100), (points[points[:, 2] > 1], [600, 100], 200)):
        spread = side / np.sqrt(12)
        np.testing.assert_allclose(part[:, :2].mean(axis=0), middle, atol=4 * spread / np.sqrt(len(part)))
        np.testing.assert_allclose(part[:, :2].std(axis=0), spread, rtol=0.02)
    np.testing.assert_array_equal(points, sample_surface(*mesh, 50_000, seed=3))
    assert not np.array_equal(points, sample_surface(*mesh, 50_000, seed=4))


# Clipping


def box(low, high):
    corner = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    triangles = [t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))]
    return np.array(low) + corner * (np.array(high) - low), np.array(triangles)


@pytest.mark.parametrize("view", ["AP", "PA"])
def test_a_box_wider_than_the_frustum_keeps_its_analytic_area(view):
    geometry = ProjectionGeometry(1000, (1.0, 0.5), (300, 400), view=view)  # 300 x 200 mm at the detector
    towards_source = np.sign(geometry.source[1])
    near, far = 300 * towards_source, 100 * towards_source  # depths 700 and 900: 140 and 180 mm wide
    mesh = box((-500, min(near, far), -20), (500, max(near, far), 30))
    vertices, triangles = clip_to_planes(*mesh, *geometry.frustum_planes())
    front_and_back, top_and_bottom = 50 * (140 + 180), 2 * 200 * (140 + 180) / 2
    assert area(vertices, triangles) == pytest.approx(front_and_back + top_and_bottom)
    depth = geometry.project(vertices)[1]
    assert np.all(np.abs(vertices[:, 0]) <= 100 * depth / 1000 + 1e-9)
    assert np.abs(vertices[:, 0]).max() == pytest.approx(90)


def test_what_lies_inside_is_kept_and_what_lies_outside_goes():
    geometry = ProjectionGeometry(1000, (1.0, 1.0), (300, 300))
    mesh = box((-10, 100, -20), (20, 150, 30))
    vertices, triangles = clip_to_planes(*mesh, *geometry.frustum_planes())
    np.testing.assert_array_equal(vertices[triangles], mesh[0][mesh[1]])
    vertices, triangles = clip_to_planes(mesh[0] + [500, 0, 0], mesh[1], *geometry.frustum_planes())
    assert vertices.shape == triangles.shape == (0, 3)


@given(arrays(float, 3, elements=st.floats(-1, 1)).filter(lambda n: np.linalg.norm(n) > 0.1), st.floats(-30, 30))
def test_a_plane_parts_a_mesh_without_loss(normal, offset):
    vertices, triangles = sphere(20, 12)
    point, normal = offset * normal, normal / np.linalg.norm(normal)
    halves = [clip_to_planes(vertices, triangles, [point], [side * normal]) for side in (1, -1)]
    assert sum(area(*half) for half in halves) == pytest.approx(area(vertices, triangles))
    assert all(np.all((half[0] - point) @ normal * side > -1e-9) for half, side in zip(halves, (1, -1), strict=True))


# Clouds


def test_emd_of_a_moved_cloud_is_the_way_it_moved():
    cloud = np.random.default_rng(6).normal(size=(200, 3)) * 30
    assert metrics.emd(cloud, cloud[::-1] + np.array([3, 4, 12])) == pytest.approx(13)
    assert metrics.emd(cloud, cloud) == pytest.approx(0, abs=1e-12)


def test_emd_weighs_clouds_of_any_size_alike():
    assert metrics.emd(np.zeros((3, 3)), np.array([[1.0, 0, 0], [0, 3, 0]])) == pytest.approx(2)


def test_emd_is_comparable_only_well_above_its_floor():
    truth = square(0)
    floor = metrics.emd_floor(truth, 200)
    assert 0 < floor < 20
    far, near = (
        metrics.EarthMovers(emd_mm=metrics.emd_of_surfaces(square(away), truth, 200), samples=200, floor_mm=floor)
        for away in (60, 1)
    )
    assert far.emd_mm >= 60
    assert far.comparable
    assert not near.comparable


# Pictures


def test_dice_by_hand():
    first, second = np.zeros((4, 4), dtype=bool), np.zeros((4, 4), dtype=bool)
    first[0] = True
    second[0, 1:], second[1, :3] = True, True
    assert metrics.dice(first, second) == pytest.approx(2 * 3 / (4 + 6))
    assert metrics.dice(first, first) == 1
    assert metrics.dice(first, ~first) == 0


def test_depth_errors_by_hand():
    true = np.array([[700.0, 710, 720, np.nan]])
    predicted = np.array([[703.0, 706, 720, 1e9]])
    valid = np.array([[True, True, False, False]])
    assert metrics.depth_mae(predicted, true, valid) == pytest.approx(3.5)
    assert metrics.depth_rmse(predicted, true, valid) == pytest.approx(np.sqrt(12.5))


@given(arrays(float, 20, elements=st.integers(-100, 100), unique=True), st.floats(0.1, 10), st.floats(-50, 50))
def test_pearson_is_blind_to_scale_and_offset(values, scale, offset):
    assert metrics.pearson(values, scale * values + offset) == pytest.approx(1)
    assert metrics.pearson(values, -scale * values) == pytest.approx(-1)
    other = np.arange(20.0)
    assert metrics.pearson(values, other) == pytest.approx(np.corrcoef(values, other)[0, 1], abs=1e-12)


# Alignment


def test_shifts_take_the_mean_error_away():
    rng = np.random.default_rng(7)
    mask = rng.random((3, 20, 20)) < 0.5
    mask[2] = False
    true = rng.uniform(700, 800, (2, 3, 20, 20)).astype(np.float32)
    offsets = np.array([7.0, -3.0, 0.0])[:, None, None]
    predicted = np.where(mask, true - offsets, np.nan)
    pixels = mask[:2].sum(axis=(1, 2))
    expected = (7 * pixels[0] - 3 * pixels[1]) / pixels.sum()
    assert metrics.picture_shift_mm(predicted, true, mask) == pytest.approx(expected, abs=1e-4)
    np.testing.assert_allclose(metrics.bone_shifts_mm(predicted, true, mask), [7, -3, np.nan], atol=1e-4)


def test_the_picture_shift_is_what_bone_maps_take():
    mask = np.ones((1, 5, 5), dtype=bool)
    true = BoneMaps(
        bones=("hip_left",),
        mask=mask,
        front=np.full(mask.shape, 740, np.float32),
        back=np.full(mask.shape, 790, np.float32),
    )
    predicted = true.shifted(-12)
    moved = predicted.shifted(metrics.picture_shift_mm(predicted.depths(), true.depths(), mask))
    assert metrics.depth_mae(moved.depths(), true.depths(), mask) == 0


# What has no answer


NOTHING, NO_TRIANGLES = np.zeros((0, 3)), np.zeros((0, 3), dtype=int)
POINT, TRIANGLE, NAN_POINT = np.zeros((1, 3)), (np.eye(3), np.array([[0, 1, 2]])), np.full((1, 3), np.nan)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sample_surface(POINT, NO_TRIANGLES, 10), "triangles must be"),
        (lambda: sample_surface(np.zeros((3, 3)), TRIANGLE[1], 10), "without area"),
        (lambda: sample_surface(*TRIANGLE, 0), "count"),
        (lambda: distances_to_surface(NOTHING, *TRIANGLE), "points must be"),
        (lambda: distances_to_surface(NAN_POINT, *TRIANGLE), "NaN"),
        (lambda: distances_to_surface(POINT, np.full((3, 3), np.inf), TRIANGLE[1]), "infinite"),
        (
            lambda: SurfaceDistances(predicted_to_truth=np.zeros(0), truth_to_predicted=np.zeros(3)),
            "predicted_to_truth",
        ),
        (
            lambda: SurfaceDistances(predicted_to_truth=np.zeros(3), truth_to_predicted=NAN_POINT[0]),
            "truth_to_predicted",
        ),
        (lambda: metrics.emd(POINT, NAN_POINT), "NaN"),
        (lambda: metrics.dice(np.zeros(3), np.zeros(3)), "empty masks"),
        (lambda: metrics.dice(np.zeros(3), np.zeros(4)), "shape"),
        (lambda: metrics.depth_mae(np.ones(3), np.ones(3), np.zeros(3, dtype=bool)), "no pixel"),
        (lambda: metrics.depth_rmse(np.array([np.nan]), np.ones(1), np.ones(1, dtype=bool)), "NaN"),
        (lambda: metrics.depth_mae(np.ones(3), np.ones(4), np.ones(3, dtype=bool)), "shape"),
        (lambda: metrics.pearson(np.ones(3), np.arange(3)), "constant"),
        (lambda: metrics.pearson(np.arange(1), np.arange(1)), "two or more"),
        (lambda: metrics.pearson(np.array([1, np.nan]), np.arange(2)), "finite"),
        (
            lambda: metrics.picture_shift_mm(np.ones((2, 1, 3, 3)), np.ones((2, 1, 3, 3)), np.zeros((1, 3, 3))),
            "no pixel",
        ),
    ],
)
def test_what_cannot_be_measured_says_why(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_an_area_is_that_of_its_triangles():
    square = np.array([[0.0, 0, 5], [4, 0, 5], [4, 3, 5], [0, 3, 5]])
    assert area_mm2(square, np.array([[0, 1, 2], [0, 2, 3]])) == pytest.approx(12)
    assert area_mm2(square, np.empty((0, 3), dtype=int)) == 0
