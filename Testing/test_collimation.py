"""The exposed field of films that went through other hands, and what is seen within it."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from support.spoilt import barred, dotted, framed, shuttered

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.acquisition import Overrides
from DualFaceReconLib.film.collimation import Field, checked_field, field_of_exposure
from DualFaceReconLib.film.radiograph import radiograph_of, read_radiograph
from DualFaceReconLib.geometry import ProjectionGeometry, within_corners
from DualFaceReconLib.pictures import inspection

SAMPLES = Path(__file__).parents[1] / "Resources" / "Samples"


@cache
def sample(name: str) -> np.ndarray:
    return read_radiograph(SAMPLES / f"{name}.dcm").pixels


def area(field: Field | None, size_px: tuple[int, int]) -> np.ndarray:
    """(rows, cols) bool of a field; everything where none is found."""
    inside = np.ones(size_px, bool)
    if field is not None:
        first_row, last_row, first_col, last_col = field.box_px
        inside[:] = False
        inside[first_row : last_row + 1, first_col : last_col + 1] = True
        if field.corners_px is not None:
            inside &= within_corners(field.corners_px, *np.ogrid[: size_px[0], : size_px[1]])
    return inside


@pytest.mark.parametrize("name", ["pelvis_1", "one_hip_1"])
def test_a_film_without_borders_has_no_field(name):
    assert field_of_exposure(sample(name)) is None


def test_a_frame_or_a_dotted_line_does_not_hide_the_field():
    film = sample("pelvis_3")
    plain = field_of_exposure(film)
    assert plain.box_px[0] == pytest.approx(66, abs=4)
    for spoilt in (framed(film, 1), framed(film, 6, 0.0), framed(film, 4), dotted(film)):
        field = field_of_exposure(spoilt)
        assert field.box_px[:2] == pytest.approx(plain.box_px[:2], abs=4)
        assert area(plain, film.shape)[area(field, film.shape)].mean() > 0.99


def test_a_frame_alone_is_taken_off():
    first_row, last_row, first_col, last_col = field_of_exposure(framed(sample("pelvis_1"), 6)).box_px
    assert (first_row, first_col) == (6, 6)
    assert (last_row, last_col) == (1017, 1017)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("text", [False, True])
def test_bars_are_found_with_words_in_them(share, text):
    film = sample("pelvis_1")
    spoilt, truth = barred(film, (60, 40, 80, 100), share, text)
    field = field_of_exposure(spoilt)
    assert field.box_px == pytest.approx((60, 983, 80, 923), abs=4)
    again = field_of_exposure(framed(spoilt, 2))
    assert again.box_px == pytest.approx(field.box_px, abs=4)
    assert area(field, film.shape)[truth].mean() > 0.995


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize(("corner", "turned"), [(400.0, 0.0), (0.0, 4.0), (80.0, 0.0)])
def test_rounded_and_turned_shutters_are_found(share, corner, turned):
    """Black ones as far as there is something beside black air to see them by."""
    film = sample("pelvis_1")
    spoilt, truth = shuttered(film, share, corner, turned)
    field = field_of_exposure(spoilt)
    inside = area(field, film.shape)
    assert inside[truth].mean() > 0.985
    body = (spoilt > np.percentile(film, 40)) if share == 0.0 else np.ones(film.shape, bool)
    assert not (inside & ~truth & body).mean() > 0.006
    assert share == 0.0 or field.corners_px is not None


def test_only_what_is_in_the_opening_is_seen():
    geometry = ProjectionGeometry(sdd_mm=1000.0, pixel_pitch_mm=(1.0, 1.0), size_px=(101, 201))
    opened = ProjectionGeometry(
        sdd_mm=1000.0,
        pixel_pitch_mm=(1.0, 1.0),
        size_px=(101, 201),
        opening_px=((0, 100), (50, 200), (100, 100), (50, 0)),
    )
    places = np.array([[50.0, 100.0], [5.0, 100.0], [5.0, 20.0], [50.0, 5.0], [95.0, 180.0]])
    points = geometry.back_project(places, np.full(5, 900.0))
    assert geometry.sees(points).all()
    assert opened.sees(points).tolist() == [True, True, False, True, False]
    for moved in (opened.resized((303, 402)), opened.cropped((-10, -20), (150, 260)), opened):
        assert moved.sees(points).tolist() == [True, True, False, True, False]
        assert moved.flipped(rows=True, cols=True).flipped(rows=True, cols=True) == moved
        assert moved.transposed().transposed() == moved
    assert opened.flipped(cols=True).sees(points * (-1, 1, 1)).tolist() == [True, True, False, True, False]
    assert "opening_px" not in geometry.to_dict()
    assert ProjectionGeometry.from_dict(opened.to_dict()) == opened


def test_the_user_says_the_field():
    film = sample("pelvis_3")
    radiograph = radiograph_of(film, Overrides(pixel_pitch_mm=0.4, field_px=(80, 1000, 10, 900)))
    assert radiograph.collimation_px.value == (80, 1000, 10, 900)
    assert radiograph.collimation_px.provenance.kind == "user"
    for wrong in ((80, 80, 0, 10), (0, 1024, 0, 10), (-1, 5, 0, 10), (5, 9, 20, 10)):
        with pytest.raises(Refusal, match="no field of a picture of 1024 x 1024"):
            checked_field(wrong, film.shape)


def test_the_absence_of_a_border_is_said():
    radiograph = radiograph_of(sample("pelvis_1"), Overrides(pixel_pitch_mm=0.4))
    (finding,) = [finding for finding in inspection.findings(radiograph) if finding.name == "collimation_px"]
    assert finding.value is None
    assert finding.text == "all of the picture"
    spoilt, _ = shuttered(sample("pelvis_1"), 1.0, 400.0)
    round_field = radiograph_of(spoilt, Overrides(pixel_pitch_mm=0.4))
    (finding,) = [finding for finding in inspection.findings(round_field) if finding.name == "collimation_px"]
    assert f"within {len(round_field.field_corners_px)} edges" in finding.text
