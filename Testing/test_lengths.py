"""A scale bar or a ruler in the picture: what it tells at the detector and at the bones, alone and beside a ball."""

import math

import numpy as np
import pytest
from support.films import film, save_image

from DualFaceReconLib import cli
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.lengths import Length
from DualFaceReconLib.film.markers import SPREAD_MM, Marker, with_marker
from DualFaceReconLib.film.radiograph import read_radiograph

SDD, DEPTH, PITCH = 1000.0, 800.0, 0.5


def length(mm: float = 100.0, px: float = 250.0, at: str = "bones") -> Length:
    """Of 100 mm at a depth of 800 mm: 125 mm at the detector, 250 pixels of 0.5 mm."""
    return Length(first_row=20, first_col=10, last_row=20, last_col=10 + px, length_mm=mm, at=at)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A film without a pitch."""
    return save_image(tmp_path_factory.mktemp("films") / "film.png", 8)


def test_at_the_detector_it_is_the_pitch(path):
    geometry = read_radiograph(path, sdd_mm=SDD, length=length(125.0, at="detector")).geometry
    assert geometry.pixel_pitch_mm == pytest.approx((PITCH, PITCH))
    assert geometry.provenance["pixel_pitch_mm"].kind == "user"
    assert not geometry.lengths_are_calibrated


def test_at_the_bones_it_is_the_pitch_where_the_distance_is_known(path):
    geometry = read_radiograph(path, sdd_mm=SDD, object_distance_mm=SDD - DEPTH, length=length()).geometry
    assert geometry.pixel_pitch_mm == pytest.approx((PITCH, PITCH))
    assert geometry.lengths_are_calibrated  # lengths at the bones stay when the distance changes
    moved = geometry.at_object_distance(300.0, geometry.provenance["object_distance_mm"])
    assert moved.pixel_size_at(700.0) == pytest.approx(geometry.pixel_size_at(800.0))


def test_at_the_bones_it_calibrates_where_neither_is_known(path):
    radiograph = read_radiograph(path, sdd_mm=SDD, length=length())
    assert radiograph.geometry.pixel_size_at(SDD - 180.0)[1] == pytest.approx(100 / 250)
    (warning,) = [warning for warning in radiograph.warnings if warning.code == "object_distance_mm-assumed"]
    assert "follow the calibration" in warning.text


def test_at_the_bones_it_is_the_distance_where_the_pitch_is_known(path):
    radiograph = read_radiograph(path, sdd_mm=SDD, pixel_pitch_mm=PITCH, length=length())
    geometry = radiograph.geometry
    assert geometry.object_distance_mm == pytest.approx(SDD - DEPTH)
    came_from = geometry.provenance["object_distance_mm"]
    assert came_from.kind == "derived"
    assert came_from.spread == pytest.approx(math.hypot(15.0, DEPTH * 1.5 * math.sqrt(2) / 250))
    assert not any(warning.code.startswith("object_distance_mm") for warning in radiograph.warnings)


def ball(distance_mm: float) -> Marker:
    """Of 30 mm, at the central ray."""
    rows, cols = film().shape
    half = math.asin(15 / (SDD - distance_mm))  # of the cone's angle
    diameter = 2 * SDD * math.tan(half) / PITCH
    return Marker(row=(rows - 1) / 2, col=(cols - 1) / 2, diameter_px=diameter, diameter_mm=30)


def test_a_ball_and_a_length_are_weighed(path):
    by_length = read_radiograph(path, sdd_mm=SDD, pixel_pitch_mm=PITCH, length=length())
    both = with_marker(by_length, ball(220.0)).geometry
    spread = by_length.geometry.provenance["object_distance_mm"].spread
    weights = np.array([1 / SPREAD_MM**2, 1 / spread**2])
    assert both.object_distance_mm == pytest.approx(float(weights @ (220.0, 200.0) / weights.sum()), abs=0.1)
    assert both.provenance["object_distance_mm"].spread == pytest.approx(float(weights.sum() ** -0.5))
    assert both.provenance["object_distance_mm"].spread < min(SPREAD_MM, spread)
    with pytest.raises(Refusal, match="check their sizes") as refused:
        with_marker(by_length, ball(290.0))
    assert refused.value.code == "marks-contradict"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"length": length(at="detector"), "pixel_pitch_mm": PITCH}, "leave one of them out"),
        ({"length": length(), "pixel_pitch_mm": PITCH, "object_distance_mm": 200}, "leave one of them out"),
        ({"length": length(px=2500.0), "pixel_pitch_mm": PITCH}, "not in the picture"),
        ({"length": length(mm=20.0), "pixel_pitch_mm": PITCH}, "at the bones or at the detector"),
    ],
)
def test_what_cannot_be_is_refused(path, options, words):
    with pytest.raises(Refusal, match=words):
        read_radiograph(path, sdd_mm=SDD, **options)


@pytest.mark.parametrize("wrong", [{"mm": 2.0}, {"px": 5.0}, {"at": "table"}, {"mm": math.nan}])
def test_impossible_lengths_are_refused(wrong):
    with pytest.raises(Refusal) as refused:
        length(**wrong)
    assert refused.value.code == "length-impossible"


def test_the_terminal_takes_it(path, capsys):
    film_options = ["inspect", str(path), "--sdd", "1000", "--length", "20", "10", "20", "260", "125"]
    assert cli.main([*film_options, "--length-at", "detector"]) == 0
    assert "0.5 x 0.5 mm" in capsys.readouterr().out
    assert cli.main(film_options) == 2
    assert "--length-at" in capsys.readouterr().err
