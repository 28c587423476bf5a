"""Closed-form solids: against their implicit equations, against marching along the ray, and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from DualFaceReconLib.geometry import ProjectionGeometry
from training.xray.analytic import Ellipsoid, Sphere, Torus, render

CENTRE = (-20.0, 210.0, 15.0)
TILT = Rotation.from_euler("xyz", (20, 35, -50), degrees=True).as_matrix()
SPHERE = Sphere(CENTRE, 25.0)
ELLIPSOID = Ellipsoid(CENTRE, (40.0, 25.0, 15.0), TILT)
TORUS = Torus(CENTRE, (0.4, 1.0, -0.3), 30.0, 10.0)


def inside(solid, points):
    """The implicit equation, written without rays: negative inside, about mm near the surface."""
    offset = points - np.array(solid.centre)
    if isinstance(solid, Sphere):
        return np.linalg.norm(offset, axis=-1) - solid.radius
    if isinstance(solid, Ellipsoid):
        rotation = np.eye(3) if solid.rotation is None else solid.rotation
        return (np.linalg.norm(offset @ rotation / solid.semi_axes, axis=-1) - 1) * min(solid.semi_axes)
    height = offset @ (np.array(solid.axis) / np.linalg.norm(solid.axis))
    ring = np.sqrt(np.maximum(np.sum(offset**2, axis=-1) - height**2, 0))
    return np.hypot(ring - solid.major_radius, height) - solid.minor_radius


def rays_at(solid, count, spread, seed):
    """Unit rays from a point about 800 mm off, aimed to within `spread` mm of the solid's centre."""
    rng = np.random.default_rng(seed)
    origin = np.array(solid.centre) + rng.normal(size=3) * 10 + [0, 800, 0]
    directions = np.array(solid.centre) + rng.uniform(-spread, spread, size=(count, 3)) - origin
    return origin, directions / np.linalg.norm(directions, axis=1, keepdims=True)


@pytest.mark.parametrize("solid", [SPHERE, ELLIPSOID, TORUS])
def test_entry_and_exit_satisfy_the_implicit_equation_and_nothing_lies_beyond(solid):
    origin, directions = rays_at(solid, 3000, 50, seed=1)
    entry, leave, path = solid.crossings(origin, directions)
    met = np.isfinite(entry)
    assert 300 < met.sum() < 3000
    for distance in (entry, leave):
        assert np.abs(inside(solid, origin + distance[met, None] * directions[met])).max() < 1e-9
    distance = np.arange(700, 900, 0.25)
    within = inside(solid, origin + distance[:, None] * directions[:, None]) < 0
    assert not np.any(within[~met])
    beyond = (distance < entry[met, None]) | (distance > leave[met, None])
    assert not np.any(within[met] & beyond)
    # Marching counts each of at most four borders to within one step.
    assert np.abs(within.sum(axis=1) * 0.25 - path).max() < 4 * 0.25
    assert np.abs((within.sum(axis=1) * 0.25 - path)[met].mean()) < 0.02


def test_path_through_a_sphere_is_its_chord():
    origin, directions = rays_at(SPHERE, 500, 30, seed=2)
    miss = np.linalg.norm(np.cross(np.array(CENTRE) - origin, directions), axis=1)
    chord = 2 * np.sqrt(np.maximum(SPHERE.radius**2 - miss**2, 0))
    np.testing.assert_allclose(SPHERE.crossings(origin, directions).path, chord, atol=1e-5)


def test_path_through_a_torus_has_two_segments_and_its_hole_none():
    torus = Torus((0, 0, 0), (0, 0, 5), 30, 10)
    origin = np.array([0.0, 500.0, 0.0])
    entry, leave, path = torus.crossings(origin, np.array([[0.0, -1.0, 0.0]]))
    np.testing.assert_allclose([entry[0], leave[0], path[0]], [460, 540, 40], atol=1e-9)
    through_tube = np.array([[30.0, -500.0, 0.0]]) / np.hypot(30, 500)
    assert torus.crossings(origin, through_tube).path[0] > 40

    above = np.array([5.0, -3.0, 400.0])
    entry, leave, path = torus.crossings(above, np.array([[0.0, 0.0, -1.0]]))
    assert np.isnan(entry[0])
    assert np.isnan(leave[0])
    assert path[0] == 0
    entry, leave, path = torus.crossings(np.array([30.0, 0.0, 400.0]), np.array([[0.0, 0.0, -1.0]]))
    np.testing.assert_allclose([entry[0], leave[0], path[0]], [390, 410, 20], atol=1e-9)


@given(
    st.floats(0.05, 0.95),
    st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1),
    st.integers(0, 99),
)
def test_any_torus_is_met_where_marching_meets_it(ratio, axis, seed):
    torus = Torus(CENTRE, axis, 30, 30 * ratio)
    origin, directions = rays_at(torus, 20, 45, seed)
    entry, leave, path = torus.crossings(origin, directions)
    met = np.isfinite(entry)
    distance = np.linspace(700, 900, 1001)
    depth_inside = -inside(torus, origin + distance[:, None] * directions[:, None])
    assert not np.any((depth_inside > 1e-6).any(axis=1) & ~met)
    assert np.all(path[met] <= (leave - entry)[met] + 1e-9)
    assert np.all(path[met] > 0)
    for end in (entry, leave):
        assert np.abs(inside(torus, origin + end[met, None] * directions[met])).max(initial=0) < 1e-6
    steps = (depth_inside > 0).sum(axis=1) * 0.2
    assert np.abs(steps - path).max() < 4 * 0.2


@pytest.mark.parametrize(("view", "front_of_detector"), [("AP", 200.0), ("PA", -200.0)])
def test_central_ray_and_silhouette_of_a_sphere(view, front_of_detector):
    geometry = ProjectionGeometry(1000, (0.5, 0.4), (121, 161), view=view)
    solid = Sphere((0, front_of_detector, 0), 20)
    maps, path = render({"femur_left": solid}, geometry)
    assert maps.bones == ("femur_left",)
    assert maps.front.dtype == maps.back.dtype == np.float32
    assert maps.front[0, 60, 80] == pytest.approx(780)
    assert maps.back[0, 60, 80] == pytest.approx(820)
    assert path[0, 60, 80] == pytest.approx(40)
    # A ray at an angle t to the central one misses the centre by 800 sin t.
    row, col = np.mgrid[:121, :161]
    off_axis = np.hypot((row - 60) * 0.5, (col - 80) * 0.4)
    np.testing.assert_array_equal(maps.mask[0], 800 * off_axis / np.hypot(off_axis, 1000) < 20)
    assert np.all(maps.front[~maps.mask] == 0)
    assert np.all(path[~maps.mask] == 0)


@pytest.mark.parametrize("view", ["AP", "PA"])
@pytest.mark.parametrize("solid", [SPHERE, ELLIPSOID, TORUS])
def test_depths_back_project_onto_the_solid(solid, view):
    geometry = ProjectionGeometry(1000, (1.0, 0.8), (160, 200), view=view)
    maps, path = render({"hip_left": solid}, geometry)
    pixels = np.argwhere(maps.mask[0])
    for depth in (maps.front[0], maps.back[0]):
        points = geometry.back_project(pixels, depth[maps.mask[0]])
        assert np.abs(inside(solid, points)).max() < 2e-4  # depths are float32: half a step is 3e-5 mm at 800 mm
    assert np.all(maps.front[maps.mask] <= maps.back[maps.mask])
    assert path[maps.mask].min() > 0


def test_impossible_solids_are_refused():
    with pytest.raises(ValueError, match="minor_radius"):
        Torus(CENTRE, (0, 1, 0), 10, 10)
    geometry = ProjectionGeometry(1000, (1.0, 1.0), (20, 20))
    with pytest.raises(ValueError, match="hip_left does not lie wholly before the source"):
        render({"hip_left": Sphere((0, 1000, 0), 5)}, geometry)
