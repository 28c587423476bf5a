"""A radiograph as the console user meets it, its sides through every way of storing it, and its collimation."""

from dataclasses import replace

import numpy as np
import pytest
from support.films import COLS, GEOMETRY, ROWS, dataset, film, save

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.collimation import field_of_exposure
from DualFaceReconLib.film.radiograph import Radiograph, read_radiograph
from DualFaceReconLib.film.subject import POPULATION_OBJECT_DISTANCE
from DualFaceReconLib.geometry import ProjectionGeometry
from training.xray.analytic import Sphere, render
from training.xray.dicom_film import write_dx


def test_an_array_and_a_geometry_make_a_radiograph():
    radiograph = Radiograph(film().astype(np.float64), GEOMETRY)
    assert radiograph.pixels.dtype == np.float32
    assert radiograph.provenance()["sdd_mm"].kind == "user"
    assert radiograph.provenance()["polarity"].kind == "user"
    assert "sdd_mm=1150" in repr(radiograph)
    assert len(repr(radiograph)) < 1000


def test_an_array_without_a_distance_gets_the_populations_and_its_warning():
    unknown = replace(GEOMETRY, object_distance_mm=None)
    radiograph = Radiograph(film(), unknown)
    assert radiograph.geometry.object_distance_mm == 180
    assert radiograph.provenance()["object_distance_mm"] == POPULATION_OBJECT_DISTANCE
    (warning,) = radiograph.warnings
    assert warning.code == "object_distance_mm-assumed"
    assert "3.6 %" in warning.text  # 35 of 1150 - 180 mm
    assert replace(radiograph, geometry=unknown).warnings == radiograph.warnings
    given = radiograph.at_object_distance(150)
    assert (given.geometry.object_distance_mm, given.warnings) == (150, ())
    with pytest.raises(Refusal, match="source-detector distance of 200 mm"):
        Radiograph(film(), replace(unknown, sdd_mm=200))


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.zeros((ROWS, COLS)), "one grey"),
        (np.full((ROWS, COLS), np.nan), "not numbers"),
        (np.where(film() > 0.8, np.inf, film()), "not numbers"),
        (np.ones((3, 4)), "geometry says"),
    ],
)
def test_impossible_arrays_are_refused(pixels, reason):
    with pytest.raises(Refusal, match=reason):
        Radiograph(pixels, GEOMETRY)


def test_the_hash_names_the_film_and_not_the_patient(tmp_path):
    radiograph = read_radiograph(save(dataset(), tmp_path / "a"))
    same = read_radiograph(save(dataset(PatientName="Somebody^Else"), tmp_path / "b"))
    other = read_radiograph(save(dataset(), tmp_path / "c"), invert=True)
    assert radiograph.pixel_hash == same.pixel_hash != other.pixel_hash


@pytest.mark.parametrize("view", ["AP", "PA"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("orientation", ["L\\F", "R\\F"])
def test_a_marked_object_keeps_its_side(tmp_path, view, photometric, orientation):
    """A ball on the patient's right and front: solid -> film -> DICOM -> reading -> back-projection."""
    geometry = ProjectionGeometry(
        1100, (1.0, 1.0), (320, 300), principal_point_px=(170, 130), view=view, object_distance_mm=180
    )
    facing = 1 if view == "AP" else -1
    centre = np.array([45.0, facing * 180 + 25, 30.0])  # right, 25 mm in front of the bones' centre, above
    ball = Sphere(centre, radius=22.0)
    maps, length = render({"hip_right": ball}, geometry)
    attenuation = length[0] + np.linspace(0, 3, 300)
    write_dx(tmp_path / "film.dcm", attenuation, geometry, photometric=photometric, orientation=orientation)

    radiograph = read_radiograph(tmp_path / "film.dcm")
    assert radiograph.geometry.principal_point_px == pytest.approx(geometry.principal_point_px, abs=1e-6)
    bright = radiograph.pixels > 0.5 * radiograph.pixels.max()
    seen_at = np.argwhere(bright).mean(axis=0)
    assert seen_at[1] < geometry.principal_point_px[1]  # the patient's right is on the left of the picture
    assert np.array_equal(bright, attenuation - attenuation.min() > 0.5 * np.ptp(attenuation))
    _, depth = geometry.project(centre)
    centre_found = radiograph.geometry.back_project(seen_at, float(depth))
    assert centre_found == pytest.approx(centre, abs=0.6)
    assert maps.mask[0][bright].all()


# Collimation


def collimated(top, bottom, left, right, border, rows=900, cols=800):
    picture = 0.3 + 0.4 * film(rows, cols, seed=3)
    noise = np.random.default_rng(4).normal(0, 0.003, (rows, cols))
    inside = np.zeros((rows, cols), bool)
    inside[top : rows - bottom, left : cols - right] = True
    return np.where(inside, picture, border + noise).astype(np.float32)


@pytest.mark.parametrize("border", [1.1, 0.0])
@pytest.mark.parametrize("sides", [(60, 0, 0, 0), (0, 45, 30, 0), (80, 70, 60, 50), (0, 0, 120, 200)])
def test_collimated_borders_are_found(border, sides):
    top, bottom, left, right = sides
    field = field_of_exposure(collimated(*sides, border))
    assert field.corners_px is None
    assert field.box_px == pytest.approx((top, 900 - bottom - 1, left, 800 - right - 1), abs=4)


def test_an_open_field_has_no_borders():
    assert field_of_exposure(collimated(0, 0, 0, 0, 1.0)) is None
    assert field_of_exposure(film(600, 500)) is None


def test_borders_of_a_file_are_reported_as_derived(tmp_path):
    ds = dataset()
    stored = np.frombuffer(ds.PixelData, np.uint16).reshape(ROWS, COLS).copy()
    stored[:20] = 4095
    ds.PixelData = stored.tobytes()
    radiograph = read_radiograph(save(ds, tmp_path / "film"))
    assert radiograph.collimation_px.value == pytest.approx((20, ROWS - 1, 0, COLS - 1), abs=1)
    assert radiograph.collimation_px.provenance.kind == "derived"
    assert radiograph.geometry.size_px == (ROWS, COLS)
