"""What networks see: fixed millimetres, no stretching, and the way back."""

import numpy as np
import pytest
import torch

from DualFaceReconLib.framing import NOMINAL_OBJECT_DISTANCE_MM, frame_of, framed_pitch_mm, normalised
from DualFaceReconLib.geometry import ProjectionGeometry


def disc(geometry, point, radius_mm=30.0):
    """A film with a bright disc around a point at the nominal plane."""
    depth = geometry.sdd_mm - NOMINAL_OBJECT_DISTANCE_MM
    centres = geometry.back_project(geometry.pixel_centres(), np.full(geometry.size_px, depth))
    away = np.linalg.norm(centres[..., [0, 2]] - np.array(point), axis=-1)
    return (away < radius_mm).astype(np.float32)


GEOMETRIES = [
    ProjectionGeometry(1000, (0.2, 0.2), (1500, 1750), (700.0, 900.0), "AP", 150.0),
    ProjectionGeometry(1750, (0.143, 0.143), (2400, 2800), None, "PA", 210.0),
    ProjectionGeometry(1100, (0.4, 0.5), (700, 860), None, "AP", 150.0),
    ProjectionGeometry(1100, (2.5, 2.5), (170, 140), None, "AP", 150.0),
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=range(4))
def test_a_patient_looks_alike_at_any_pitch_and_distance(geometry):
    frame = frame_of(geometry, 256, 1.5)
    assert frame.framed.pixel_pitch_mm == pytest.approx((framed_pitch_mm(geometry.sdd_mm, 1.5),) * 2)
    assert frame.framed.pixel_size_at(geometry.sdd_mm - NOMINAL_OBJECT_DISTANCE_MM) == pytest.approx((1.5, 1.5))
    picture = frame.picture(disc(geometry, (20.0, -35.0))).numpy()
    assert picture.shape == (256, 256)
    bright = picture > 0
    depth = geometry.sdd_mm - NOMINAL_OBJECT_DISTANCE_MM
    rows, cols = np.argwhere(bright).mean(axis=0)
    expected = frame.framed.project(np.array([20.0, geometry_a(geometry, depth), -35.0]))[0]
    assert (rows, cols) == pytest.approx(tuple(expected), abs=0.3)
    assert np.sqrt(bright.sum() * 1.5**2 / np.pi) == pytest.approx(30.0, abs=0.5)


def geometry_a(geometry, depth):
    return geometry.sdd_mm - depth if geometry.view == "AP" else depth - geometry.sdd_mm


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=range(4))
def test_maps_come_back_where_they_were(geometry):
    frame = frame_of(geometry, 256, 1.5)
    ramp = np.indices((256, 256), dtype=np.float32)
    back = frame.undone(ramp)
    assert back.shape == (2, *geometry.size_px)
    middle = tuple(n // 2 for n in geometry.size_px)
    depth = 900.0
    point = geometry.back_project(np.array(middle, float), depth)
    seen = frame.framed.project(point)[0]
    assert back[:, *middle] == pytest.approx(seen, abs=1e-2)


@pytest.mark.parametrize("geometry", GEOMETRIES[2:], ids=(2, 3))
@pytest.mark.parametrize(
    ("first", "size"), [((100, 90), (30, 41)), ((0, 0), (256, 256)), ((0, 120), (1, 3)), ((7, 7), (0, 0))]
)
def test_a_window_of_the_square_brings_back_all_of_it_and_little_else(geometry, first, size):
    frame = frame_of(geometry, 256, 1.5)
    window = tuple(slice(f, f + n) for f, n in zip(first, size, strict=True))
    square = np.zeros((1, 256, 256), np.float32)
    square[0, *window] = np.random.default_rng(0).random(size) + 0.5
    whole = frame.undone(square)[0]
    on_film = frame.window_on_film(window)
    part = frame.undone(square, on_film)[0]
    assert part == pytest.approx(whole[on_film], abs=1e-5)
    outside = whole.copy()
    outside[on_film] = 0
    assert not outside.any()
    assert all(m <= (n + 2) / s + 2 for m, n, s in zip(part.shape, size, frame.scale, strict=True))


def test_a_film_at_the_networks_own_pitch_is_only_padded():
    pitch = framed_pitch_mm(1100, 1.5)
    geometry = ProjectionGeometry(1100, (pitch, pitch), (200, 244), None, "AP", 150.0)
    film = np.random.default_rng(0).random((200, 244)).astype(np.float32)
    frame = frame_of(geometry, 256, 1.5)
    picture = frame.picture(film)
    assert torch.equal(picture[28:228, 6:250], normalised(torch.from_numpy(film)))
    assert float(picture[:28].max()) == float(picture[:, :6].max()) == -1
    assert frame.framed.principal_point_px == pytest.approx((99.5 + 28, 121.5 + 6))
    large = frame_of(ProjectionGeometry(1100, (pitch, pitch), (300, 400), None, "AP", 150.0), 256, 1.5)
    values = torch.arange(300.0 * 400).reshape(300, 400)
    assert torch.equal(large.square(values), values[22:278, 72:328])
    back = large.undone(large.square(values)[None].numpy())[0]
    assert back[30:270, 80:320] == pytest.approx(values[30:270, 80:320].numpy(), abs=0.1)


def test_grey_values_do_not_depend_on_their_scale():
    film = torch.rand(100, 120) ** 2
    assert torch.allclose(normalised(film), normalised(4000 * film + 7), atol=1e-4)
    assert float(normalised(film).quantile(0.5)) < 0
    assert float(normalised(torch.cat([film, torch.full((1, 120), 50.0)])).max()) == 1.5  # a lead letter
    assert torch.isfinite(normalised(torch.ones(10, 10))).all()
    with pytest.raises(ValueError, match="nothing is left"):
        frame_of(ProjectionGeometry(1100, (0.1, 0.1), (4, 4), None, "AP", 150.0), 256, 1.5)
