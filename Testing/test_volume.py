"""Line integrals through volumes: against sampling in NumPy at the same places, and against closed forms."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from DualFaceReconLib.geometry import ProjectionGeometry
from training.xray.analytic import Ellipsoid, render
from training.xray.volume import Planes, Volume, line_integrals, planes_through

GEOMETRY = ProjectionGeometry(1000, (3.0, 2.5), (70, 90), (30.2, 47.9))


def posed(values, spacing, centre, turn_degrees=(0, 0, 0)):
    """A volume about a centre in RAS, its axes turned."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", turn_degrees, degrees=True).as_matrix() * np.array(spacing)
    middle = (np.array(values.shape[::-1]) - 1) / 2
    matrix[:3, 3] = np.array(centre) - matrix[:3, :3] @ middle
    return Volume(values, matrix)


def sampled(volume, geometry, planes, knots, heights):
    """The same integrals, slowly."""
    ends = geometry.back_project(geometry.pixel_centres(), geometry.sdd_mm)
    rays = (ends - geometry.source) / geometry.sdd_mm
    depth = planes.first_mm + planes.step_mm * np.arange(planes.count)
    places = volume.to_ijk(geometry.source + depth[:, None, None, None] * rays)
    coordinates = [places[..., axis] + 1 for axis in (2, 1, 0)]
    padded = np.pad(volume.values.astype(float), 1, constant_values=knots[0])
    values = map_coordinates(padded, coordinates, order=1, mode="constant", cval=knots[0])
    lengths = np.linalg.norm(rays, axis=-1) * planes.step_mm
    return np.stack([np.interp(values, knots, f).sum(axis=0) * lengths for f in heights])


@pytest.mark.parametrize("turn", [(0, 0, 0), (0, 0, 90), (12, -25, 40), (180, 0, 3)])
@pytest.mark.parametrize("view", ["AP", "PA"])
def test_specks_anywhere_are_as_sampled_one_by_one(view, turn):
    """Most cells are empty, some specks lie at the edges; nothing that a ray meets may be passed over."""
    rng = np.random.default_rng(5)
    values = np.full((30, 41, 52), -1000, np.int16)
    values[rng.random(values.shape) < 0.002] = 700
    values[0, :, 3], values[:, -1, 17], values[11, 20, :] = 300, 2000, 1600
    volume = posed(values, (2.1, 1.7, 2.9), (5, 180 if view == "AP" else -180, -4), turn)
    geometry = ProjectionGeometry(1000, (3.0, 2.5), (70, 90), (30.2, 47.9), view=view)
    planes = planes_through(volume, geometry, 1.3)
    knots, heights = (-1000, -80, 45, 1600), ((0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1))
    integrals = line_integrals(volume, geometry, planes, knots, heights, device="cpu")
    truth = sampled(volume, geometry, planes, knots, heights)
    assert integrals.shape == (3, 70, 90)
    assert integrals.dtype == np.float32
    assert truth.max(axis=(1, 2)).min() > 0.5
    assert np.abs(integrals - truth).max() < 0.02  # mm, of up to 80; places in single precision


def test_an_ellipsoid_s_lengths_are_the_closed_form_s():
    """Whole voxels blur an edge by half of one, so chords are compared where they are long."""
    centre, semi_axes = np.array([6.0, 190, -3]), np.array([50.0, 32, 41])
    volume = posed(np.zeros((120, 110, 130), np.float32), (1.0, 1.0, 1.0), centre, (10, 20, 30))
    places = np.stack(np.meshgrid(*(np.arange(n) for n in volume.values.shape), indexing="ij"), axis=-1)[..., ::-1]
    inside = (((volume.to_ras(places.astype(float)) - centre) / semi_axes) ** 2).sum(axis=-1) < 1
    volume = Volume(inside.astype(np.float32), volume.ijk_to_ras)
    integrals = line_integrals(volume, GEOMETRY, planes_through(volume, GEOMETRY, 0.5), (0, 1), ((0, 1),))[0]
    path = render({"it": Ellipsoid(tuple(centre), tuple(semi_axes))}, GEOMETRY)[1][0]
    assert np.abs(integrals - path)[path > 20].max() < 1.5
    assert abs((integrals - path)[path > 20].mean()) < 0.03
    assert integrals.sum() == pytest.approx(path.sum(), rel=2e-3)


def test_a_box_of_one_value_counts_its_length_and_clamps():
    """A curve is level beyond its last knot, and an air of every depth counts nothing."""
    values = np.full((60, 60, 60), 5000.0, np.float32)
    values[:, 30:] = -3000
    volume = posed(values, (2.0, 2.0, 2.0), (0, 200, 0))
    geometry = ProjectionGeometry(1000, (1.0, 1.0), (21, 21))
    knots, heights = (-1000, 50, 1600), ((0, 1, 0), (0, 0, 1.5))
    integrals = line_integrals(volume, geometry, planes_through(volume, geometry, 0.25), knots, heights)
    middle = integrals[:, 10, 10]
    # Of the edge between -3000 and 5000 a quarter voxel has values below -1000, and 2.6 / 8 are over 1600.
    assert middle[1] == pytest.approx(1.5 * 60, rel=0.02)
    assert middle[0] < 1.0
    corner = integrals[1, 0, 0] / integrals[1, 10, 10]
    assert corner == pytest.approx(np.sqrt(1 + 2 * 0.01**2), rel=1e-4)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.float64])
def test_every_kind_of_number_gives_the_same(kind):
    rng = np.random.default_rng(1)
    values = rng.integers(0, 200, (12, 14, 16))
    planes = Planes(760.0, 1.0, 80)
    integer = line_integrals(posed(values.astype(kind), (3, 3, 3), (0, 200, 0)), GEOMETRY, planes, (0, 200), ((0, 1),))
    real = sampled(posed(values, (3, 3, 3), (0, 200, 0)), GEOMETRY, planes, (0, 200), ((0, 1),))
    assert real.max() > 10
    assert np.abs(integer - real).max() < 1e-3


def test_the_planes_cover_the_volume_and_nothing_else():
    volume = posed(np.ones((20, 20, 20), np.float32), (2.0, 3.0, 4.0), (0, 150, 0))
    planes = planes_through(volume, GEOMETRY, 0.5)
    last = planes.first_mm + planes.step_mm * (planes.count - 1)
    assert planes.first_mm == pytest.approx(850 - 31.5 + 0.25)
    assert last == pytest.approx(850 + 31.5 - 0.25, abs=0.5)
    with pytest.raises(ValueError, match="behind the X-ray source"):
        planes_through(volume.translated(np.array([0, 840.0, 0])), GEOMETRY, 0.5)


def test_what_cannot_be_integrated_is_refused():
    volume = posed(np.ones((4, 4, 4), np.float32), (2.0, 2.0, 2.0), (0, 150, 0))
    planes = planes_through(volume, GEOMETRY, 1.0)
    with pytest.raises(ValueError, match="0 at the first"):
        line_integrals(volume, GEOMETRY, planes, (0, 1), ((1, 1),))
    with pytest.raises(ValueError, match="ascending"):
        line_integrals(volume, GEOMETRY, planes, (1, 0), ((0, 1),))
    with pytest.raises(ValueError, match="two or more a side"):
        line_integrals(Volume(np.ones((1, 4, 4)), np.eye(4)), GEOMETRY, planes, (0, 1), ((0, 1),))
