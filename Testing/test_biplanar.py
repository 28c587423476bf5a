"""Two films in one frame, and films laid back into a cube, against cases done by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from DualFaceReconLib.backprojection import Cube, back_projected
from DualFaceReconLib.biplanar import FilmPair, placed
from DualFaceReconLib.geometry import ProjectionGeometry

LITERAL = ProjectionGeometry(1000, (0.2, 0.2), (1001, 1001), object_distance_mm=200)
COARSE = ProjectionGeometry(1000, (2.0, 2.0), (201, 201), object_distance_mm=200)
CUBE = Cube(centre=(10.0, -5.0, 20.0), side=9, voxel_mm=1.5)  # finer than the pixels, everywhere


# ---- One frame


def test_in_front_of_the_patient_the_literal_case():
    pixel, depth = placed(LITERAL).project(np.array([-40.0, 0, 40]))
    assert pixel == pytest.approx([250, 750])
    assert depth == pytest.approx(800)


@pytest.mark.parametrize(
    ("angle", "source", "forwards"),
    [(0, (0, 800, 0), None), (90, (-800, 0, 0), -1), (-90, (800, 0, 0), 1), (180, (0, -800, 0), None)],
)
def test_where_the_source_stands_and_which_way_forwards_is(angle, source, forwards):
    """As seen from the patient's right, the front is on the right of the picture; rows go to the feet in both."""
    film = placed(LITERAL, angle)
    assert film.source == pytest.approx(source, abs=1e-9)
    if forwards is not None:
        pixel, depth = film.project(np.array([0.0, 40, 40]))
        assert pixel == pytest.approx([250, 500 + forwards * 250])
        assert depth == pytest.approx(800)


def test_a_pa_film_has_its_source_behind_and_the_patient_s_left_on_the_right():
    film = placed(ProjectionGeometry(1000, (0.2, 0.2), (1001, 1001), view="PA", object_distance_mm=200))
    assert film.source == pytest.approx((0, -800, 0))
    assert film.project(np.array([-40.0, 0, 40]))[0] == pytest.approx([250, 750])
    assert film.project(np.array([0.0, 100, 0]))[1] == pytest.approx(900)  # the front is far from the source


angles = st.floats(-180, 180)
places = st.tuples(*[st.floats(-150, 150)] * 3)


@given(angles, places, st.sampled_from(["AP", "PA"]))
def test_to_the_film_and_back(angle, place, view):
    film = placed(ProjectionGeometry(1100, (0.3, 0.2), (900, 700), (300, 410), view, object_distance_mm=250), angle)
    pixel, depth = film.project(np.array(place))
    assert film.back_project(pixel, depth) == pytest.approx(place, abs=1e-8)
    ray = np.cross(film.direction(pixel), np.array(place) - film.source)
    assert np.linalg.norm(ray) == pytest.approx(0, abs=1e-8)


def test_without_a_distance_there_is_no_place():
    with pytest.raises(ValueError, match="object_distance_mm"):
        placed(ProjectionGeometry(1000, (0.2, 0.2), (1001, 1001)))


# ---- Where rays meet


@given(places, st.floats(30, 150), st.sampled_from([1, -1]))
def test_the_rays_of_one_point_meet_in_it(place, angle, side):
    pair = FilmPair(placed(LITERAL), placed(COARSE, side * angle))
    pixels = [film.project(np.array(place))[0] for film in (pair.first, pair.second)]
    meeting = pair.meeting(*pixels)
    assert meeting.point == pytest.approx(place, abs=1e-6)
    assert meeting.gap_mm == pytest.approx(0, abs=1e-6)
    assert pair.angle_degrees == pytest.approx(angle)


def test_central_rays_that_pass_each_other():
    """One row of 0.2 mm lower at the second detector is 0.16 mm lower at the axis."""
    meeting = FilmPair(placed(LITERAL), placed(LITERAL, 90)).meeting([500, 500], [501, 500])
    assert meeting.gap_mm == pytest.approx(0.16, rel=1e-6)
    assert meeting.point == pytest.approx([0, 0, -0.08], abs=1e-4)


def test_rays_of_the_same_film_twice_meet_nowhere():
    with pytest.raises(ValueError, match="parallel"):
        FilmPair(placed(LITERAL), placed(LITERAL)).meeting([500, 500], [500, 500])


# ---- Back-projection


def test_voxels_stand_where_the_cube_says():
    points = CUBE.points()
    assert points[4, 4, 4].tolist() == [10, -5, 20]
    assert points[0, 4, 8].tolist() == [10 - 6, -5, 20 + 6]
    assert CUBE.indices(points[1, 2, 3]).tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="positive size"):
        Cube(centre=(0, 0, 0), side=4, voxel_mm=0)


@pytest.mark.parametrize("angle", [0, -90, 37])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_ramp_s_voxels_have_their_own_row_or_column(axis, angle):
    """Straight lines between pixels leave a ramp what it is: this is the perspective itself."""
    ramp = COARSE.pixel_centres()[..., axis]
    film = placed(COARSE, angle)
    volume = back_projected(ramp, film, CUBE)
    assert volume.shape == (9, 9, 9)
    assert volume.numpy() == pytest.approx(film.project(CUBE.points())[0][..., axis], abs=1e-3)


def test_a_point_lights_the_voxels_of_its_ray_and_no_others():
    film = placed(COARSE, -90)
    point = CUBE.points()[4, 6, 3]
    pixel = np.rint(film.project(point)[0]).astype(int)
    picture = np.zeros(COARSE.size_px)
    picture[tuple(pixel)] = 1
    lit = back_projected(picture, film, CUBE).numpy()
    apart = np.abs(film.project(CUBE.points())[0] - pixel)  # pixels from that one
    expected = np.clip(1 - apart, 0, None).prod(axis=-1)
    assert lit == pytest.approx(expected, abs=1e-4)
    assert (lit > 0).any(axis=(1, 2)).all()  # from one side of the patient to the other


@pytest.mark.parametrize("angle", [60, 90, -140])
def test_two_films_of_a_point_meet_in_its_voxel(angle):
    cube = Cube(centre=(0, 0, 0), side=21, voxel_mm=2.0)
    films, place = (placed(COARSE), placed(COARSE, angle)), (14, 5, 9)
    volumes = []
    for film in films:
        spot = np.linalg.norm(COARSE.pixel_centres() - film.project(cube.points()[place])[0], axis=-1)
        volumes.append(back_projected(np.exp(-(spot**2) / 2), film, cube).numpy())
    both = volumes[0] * volumes[1]
    assert np.unravel_index(both.argmax(), both.shape) == place


def test_beyond_the_film_there_is_nothing():
    small = ProjectionGeometry(1000, (2.0, 2.0), (11, 11), object_distance_mm=200)
    lit = back_projected(np.ones((11, 11)), placed(small), Cube(centre=(0, 0, 0), side=41, voxel_mm=1.0)).numpy()
    pixels = placed(small).project(Cube(centre=(0, 0, 0), side=41, voxel_mm=1.0).points())[0]
    assert lit[((pixels >= 0) & (pixels <= 10)).all(axis=-1)] == pytest.approx(1, abs=1e-5)
    assert not lit[((pixels < -1) | (pixels > 11)).any(axis=-1)].any()


def test_fine_pixels_are_averaged_before_they_are_sampled():
    """Or a voxel would have the grain of whichever pixel its centre meets."""
    fine = ProjectionGeometry(1000, (0.1, 0.1), (800, 800), object_distance_mm=200)
    stripes = np.tile([0.0, 1.0], (800, 400))
    volume = back_projected(stripes, placed(fine), Cube(centre=(0, 0, 0), side=8, voxel_mm=2.0))
    assert volume.numpy() == pytest.approx(0.5, abs=0.02)


def test_what_cannot_be_laid_back_is_an_error():
    with pytest.raises(ValueError, match="its geometry"):
        back_projected(np.zeros((4, 4)), placed(COARSE), CUBE)
    with pytest.raises(ValueError, match="behind the X-ray source"):
        back_projected(np.zeros(COARSE.size_px), placed(COARSE), Cube(centre=(0, 900, 0), side=4, voxel_mm=1))
