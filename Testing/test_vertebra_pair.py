"""Two films of one spine: how they lie to each other, by their headers and the user; a ball comes back where it is."""

import json

import numpy as np
import pytest
from support.spine_films import CENTRE, FRONTAL, LATERAL, clicks_on, pair_of, spine_pair

from DualFaceReconLib.biplanar import FilmPair, placed
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.acquisition import Overrides
from DualFaceReconLib.vertebra.films import read_spine_films
from DualFaceReconLib.vertebra.scale import read_films_of
from DualFaceReconLib.vertebra.sizes import published_mm
from DualFaceReconLib.vertebra.targets import VertebraTarget, check_target, met, read_targets

SEEN_AS = {  # how a lateral film is stored: ViewPosition, PatientOrientation -> the second film's place and view
    ("LL", "A"): (-90.0, "AP"),
    ("RL", "P"): (90.0, "AP"),
    ("LL", "P"): (90.0, "PA"),
    ("RL", "A"): (-90.0, "PA"),
}


def codes(films):
    return {warning.code for warning in films.warnings}


def corners_around(centre, height_px, width_px):
    row, col = centre
    return tuple((row + r * height_px / 2, col + c * width_px / 2) for r in (1, -1) for c in (-1, 1))


def corners_on(clicks, heights):
    names = ("corners_ap_px", "corners_lateral_px")
    return {name: corners_around(*pair, 50) for name, *pair in zip(names, clicks, heights, strict=True)}


def heights_px(height_mm):
    """How many rows a height at the axis is on both films."""
    return [
        height_mm / geometry.pixel_size_at(geometry.sdd_mm - geometry.object_distance_mm)[0]
        for geometry in (FRONTAL, LATERAL)
    ]


def target_at(clicks, level="L3", **corners):
    return VertebraTarget(level=level, centre_ap_px=clicks[0], centre_lateral_px=clicks[1], **corners)


@pytest.mark.parametrize("stored", SEEN_AS, ids=" ".join)
def test_a_lateral_has_its_place_by_the_tube_s_side_and_where_the_patient_looks(tmp_path, stored):
    angle, view = SEEN_AS[stored]
    geometry = LATERAL.from_dict({**LATERAL.to_dict(), "view": view})
    true = FilmPair(placed(FRONTAL), placed(geometry, angle))
    tags = {"ViewPosition": stored[0], "PatientOrientation": [stored[1], "F"]}
    films = read_spine_films(*spine_pair(tmp_path, true, lateral=tags))
    assert films.lateral.geometry.view == view
    assert films.angle.value == 90.0
    assert films.angle.provenance.kind == "header"
    meeting = films.pair.meeting(*clicks_on(true))
    assert np.allclose(meeting.point, CENTRE, atol=0.01)
    assert meeting.gap_mm < 0.01
    assert codes(films) == set()


def test_what_a_header_does_not_say_is_assumed_and_warned_of(tmp_path):
    films = read_spine_films(*spine_pair(tmp_path, lateral={"ViewPosition": None, "PatientOrientation": None}))
    assert codes(films) == {"orientation-assumed", "lateral-side-assumed", "angle_degrees-assumed"}
    assert films.angle.value == 90.0
    assert films.angle.provenance.kind == "assumed"
    named = read_spine_films(
        *spine_pair(tmp_path, lateral={"ViewPosition": "LATERAL", "PatientOrientation": None}), lateral_faces="right"
    )
    assert codes(named) == {"lateral-side-assumed"}
    assert named.angle.provenance.kind == "derived"
    assert np.allclose(named.pair.meeting(*clicks_on(pair_of())).point, CENTRE, atol=0.01)


def test_a_c_arm_tells_its_angles(tmp_path):
    """Its detector is in front at 0 degrees, and at the patient's left at 90."""
    tags = {"Modality": "XA", "ViewPosition": None, "DistanceSourceToPatient": 850}
    frontal = {**tags, "PositionerPrimaryAngle": 10, "PatientOrientation": None}
    lateral = {**tags, "PositionerPrimaryAngle": 85, "PatientOrientation": None}
    films = read_spine_films(*spine_pair(tmp_path, frontal=frontal, lateral=lateral))
    assert [angle.value for angle in films.source_angles] == [-170.0, -95.0]
    assert films.angle.value == pytest.approx(75.0)
    assert films.pair.angle_degrees == pytest.approx(75.0)
    assert films.angle.provenance.kind == "derived"
    given = read_spine_films(*spine_pair(tmp_path, frontal=frontal, lateral=lateral), angle_degrees=80)
    assert given.source_angles[1].value == pytest.approx(-90.0)
    assert given.angle.provenance.kind == "user"


@pytest.mark.parametrize(
    ("frontal", "lateral", "words"),
    [
        ({}, {"ViewPosition": "AP"}, "lateral film: This is not a lateral film"),
        ({}, {"PatientOrientation": ["L", "F"]}, "not a lateral film"),
        ({"ViewPosition": "LL"}, {}, "AP film: This is not a frontal film"),
        ({}, {"PatientID": "two"}, "different Patient IDs"),
        ({"Modality": "CT"}, {}, "AP film: This is a CT image"),
        ({}, {"BodyPartExamined": "KNEE"}, "shows the knee, and only vertebrae"),
        ({"ImagerPixelSpacing": None}, {}, "pixel pitch"),
    ],
)
def test_what_is_no_such_pair_is_refused(tmp_path, frontal, lateral, words):
    with pytest.raises(Refusal, match=words):
        read_spine_films(*spine_pair(tmp_path, frontal=frontal, lateral=lateral))


def test_the_same_film_twice_is_refused(tmp_path):
    ap, _ = spine_pair(tmp_path, lateral={"ViewPosition": None, "PatientOrientation": None})
    again = tmp_path / "again.dcm"
    again.write_bytes(ap.read_bytes().replace(b"LSPINE", b"TSPINE"))
    with pytest.raises(Refusal, match="not a lateral film"):
        read_spine_films(ap, again)
    (folder := tmp_path / "unnamed").mkdir()
    ap, _ = spine_pair(folder, frontal={"ViewPosition": None, "PatientOrientation": None})
    with pytest.raises(Refusal, match="same picture"):
        read_spine_films(ap, ap)


def test_other_patients_are_believed_to_be_one_where_somebody_says_so(tmp_path):
    paths = spine_pair(tmp_path, lateral={"PatientID": "two"})
    assert read_spine_films(*paths, same_patient=True).angle.value == 90.0


def test_what_the_user_says_wins(tmp_path):
    own = Overrides(sdd_mm=1000.0), Overrides(object_distance_mm=280.0)
    films = read_spine_films(*spine_pair(tmp_path), overrides=own)
    assert films.frontal.geometry.sdd_mm == 1000.0
    assert films.lateral.geometry.object_distance_mm == 280.0
    with pytest.raises(Refusal, match="0 to 180"):
        read_spine_films(*spine_pair(tmp_path), angle_degrees=200)


# Clicks


def test_clicks_that_miss_each_other_are_warned_of_and_refused(tmp_path):
    films = read_spine_films(*spine_pair(tmp_path))
    first, (row, col) = clicks_on(pair_of())
    per_px = LATERAL.pixel_size_at(900.0)[0]
    for gap, warned in ((1.0, set()), (6.0, {"clicks-apart"})):
        meeting, warnings = met(target_at((first, (row + gap / per_px, col))), films)
        assert meeting.gap_mm == pytest.approx(gap, rel=0.02)
        assert {warning.code for warning in warnings} == warned
    with pytest.raises(Refusal, match=r"miss each other by 19\.\d mm"):
        met(target_at((first, (row + 20 / per_px, col))), films)


def test_the_first_click_s_ray_on_the_second_film_runs_through_the_second(tmp_path):
    clicks = clicks_on(pair_of())
    ends = pair_of().line_on_second(clicks[0])
    way, to = ends[1] - ends[0], clicks[1] - ends[0]
    assert abs(way[0] * to[1] - way[1] * to[0]) / np.linalg.norm(way) < 1e-6
    assert 0 < way @ to < way @ way


@pytest.mark.parametrize(
    ("centre", "words"),
    [((400.0, 10.0), "not on the AP film"), ((10.0, -1.0), "not on the AP film"), ((np.nan, 1.0), "not on the AP")],
)
def test_clicks_beside_the_film_are_refused(tmp_path, centre, words):
    with pytest.raises(Refusal, match=words):
        check_target(target_at((centre, (10.0, 10.0))), read_spine_films(*spine_pair(tmp_path)))


def test_a_level_that_is_none_and_a_vertebra_without_clicks_are_refused():
    with pytest.raises(Refusal, match=r"no level 'L6'"):
        VertebraTarget(level="L6", centre_ap_px=(1, 1), centre_lateral_px=(1, 1))
    with pytest.raises(Refusal, match="Nothing was clicked on the lateral film"):
        VertebraTarget(level="L3", centre_ap_px=(1, 1))


def test_corners_tell_the_centre_and_whether_both_films_have_one_scale(tmp_path):
    films = read_spine_films(*spine_pair(tmp_path))
    clicks = clicks_on(pair_of())
    heights = heights_px(25.0)
    ap = corners_around(clicks[0], heights[0], 50)
    back = corners_around((clicks[1][0], clicks[1][1] + 20), heights[1], 40)  # the patient looks to the right
    target = VertebraTarget(level="L3", corners_ap_px=ap, corners_lateral_px=back)
    check_target(target, films)
    meeting, _ = met(target, films)
    assert np.allclose(meeting.point, CENTRE, atol=0.01)
    low = corners_around(clicks[1], heights[1] / 2, 40)
    with pytest.raises(Refusal, match=r"25 mm high on the AP film and 1\d mm on the lateral"):
        check_target(VertebraTarget(level="L3", corners_ap_px=ap, corners_lateral_px=low), films)


def test_points_of_many_vertebrae_are_read_from_a_file(tmp_path):
    path = tmp_path / "points.json"
    items = [
        {"level": "L3", "centre_ap": [10, 20], "centre_lateral": [11, 21.5]},
        {"level": "L4", "corners_ap": [[1, 1], [1, 9], [9, 1], [9, 9]], "centre_lateral": [30, 31]},
    ]
    path.write_text(json.dumps(items))
    first, second = read_targets(path)
    assert first == VertebraTarget(level="L3", centre_ap_px=(10.0, 20.0), centre_lateral_px=(11.0, 21.5))
    assert second.centres(faces_right=True) == ((5.0, 5.0), (30.0, 31.0))
    for spoilt, words in (
        ("[", "no JSON"),
        ("{}", "no list"),
        ('[{"level": 3}]', "without a level"),
        ('[{"level": "L3", "centre_ab": [1, 2]}]', "did you mean 'centre_ap'"),
        ('[{"level": "L3", "centre_ap": [1]}]', r"not \[row, col\]"),
        (json.dumps([items[0], items[0]]), "L3 twice"),
    ):
        path.write_text(spoilt)
        with pytest.raises(Refusal, match=words):
            read_targets(path)


# Without a scale


def test_without_any_pitch_corners_give_a_shape_without_millimetres(tmp_path):
    paths = spine_pair(tmp_path, frontal={"ImagerPixelSpacing": None}, lateral={"ImagerPixelSpacing": None})
    clicks = clicks_on(pair_of())
    corners = corners_on(clicks, (40, 44))
    with pytest.raises(Refusal, match="comes without millimetres"):
        read_films_of(*paths, [target_at(clicks)])
    films = read_films_of(*paths, [target_at(clicks, **corners)])
    assert not films.in_millimetres
    assert "no-millimetres" in codes(films)
    for film, height_px in zip(films.radiographs, (40, 44), strict=True):
        geometry = film.geometry
        at_bone = geometry.pixel_size_at(geometry.sdd_mm - geometry.object_distance_mm)[0]
        assert height_px * at_bone == pytest.approx(published_mm("body_height_posterior_mm", "L3"))
        assert geometry.provenance["pixel_pitch_mm"].kind == "assumed"


def test_one_film_s_pitch_gives_the_other_s(tmp_path):
    paths = spine_pair(tmp_path, lateral={"ImagerPixelSpacing": None})
    clicks = clicks_on(pair_of())
    heights = heights_px(25.0)
    corners = corners_on(clicks, heights)
    films = read_films_of(*paths, [target_at(clicks, **corners)])
    assert films.in_millimetres
    assert films.lateral.geometry.pixel_pitch_mm[0] == pytest.approx(LATERAL.pixel_pitch_mm[0])
    assert films.lateral.geometry.provenance["pixel_pitch_mm"].kind == "derived"
    assert "pixel_pitch_mm-derived" in codes(films)
