"""Header semantics: each value from the tag that means it, with its provenance, or assumed with a warning."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    EnhancedXAImageStorage,
    UltrasoundImageStorage,
)
from support.films import COLS, GEOMETRY, ROWS, dataset, film, save

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.orientation import turn_for
from DualFaceReconLib.film.radiograph import read_radiograph
from DualFaceReconLib.geometry import ProjectionGeometry


@pytest.fixture
def read(tmp_path):
    def read(stored=None, overrides=None, **tags):
        return read_radiograph(save(stored or dataset(**tags), tmp_path / "film.dcm"), **(overrides or {}))

    return read


def coded(value, meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def codes(radiograph):
    return {warning.code for warning in radiograph.warnings}


def kind(radiograph, name):
    return radiograph.provenance()[name].kind


def test_a_complete_header_assumes_nothing(read):
    radiograph = read()
    assert radiograph.geometry.sdd_mm == GEOMETRY.sdd_mm
    assert radiograph.geometry.pixel_pitch_mm == GEOMETRY.pixel_pitch_mm
    assert radiograph.geometry.principal_point_px == pytest.approx(GEOMETRY.principal_point_px, abs=1e-6)
    assert radiograph.geometry.object_distance_mm == pytest.approx(GEOMETRY.object_distance_mm)
    assert {p.kind for p in radiograph.provenance().values()} == {"header", "derived"}
    assert radiograph.warnings == ()


def test_every_assumption_is_a_warning_of_its_name(read):
    nothing = dict.fromkeys(
        (
            "DistanceSourceToDetector",
            "DistanceSourceToPatient",
            "ImagerPixelSpacing",
            "FieldOfViewOrigin",
            "ViewPosition",
            "PatientOrientation",
        )
    )
    radiograph = read(PixelSpacing=[1.2, 1.25], **nothing)
    assumed = {name for name, provenance in radiograph.provenance().items() if provenance.kind == "assumed"}
    assert assumed == {
        "sdd_mm",
        "pixel_pitch_mm",
        "principal_point_px",
        "view",
        "orientation",
        "object_distance_mm",
    }
    assert {f"{name}-assumed" for name in assumed} <= codes(radiograph)


# Pitch


def test_imager_pixel_spacing_is_the_pitch_even_beside_another_pixel_spacing(read):
    radiograph = read(PixelSpacing=[1.0, 1.04])
    assert radiograph.geometry.pixel_pitch_mm == (1.2, 1.25)
    assert "ImagerPixelSpacing (0018,1164)" in radiograph.geometry.provenance["pixel_pitch_mm"].source
    assert "pixel-spacing-differs" in codes(radiograph)
    assert "pixel-spacing-differs" not in codes(read(PixelSpacing=[1.2, 1.25]))


def test_scanned_film_has_its_own_tag(read):
    assert read(NominalScannedPixelSpacing=[1.1, 1.1]).geometry.pixel_pitch_mm == (
        1.2,
        1.25,
    )  # the detector's own leads
    radiograph = read(ImagerPixelSpacing=None, NominalScannedPixelSpacing=[1.1, 1.1], FieldOfViewOrigin=None)
    assert radiograph.geometry.pixel_pitch_mm == (1.1, 1.1)
    assert kind(radiograph, "pixel_pitch_mm") == "header"


def test_pixel_spacing_alone_is_an_assumption(read):
    radiograph = read(ImagerPixelSpacing=None, PixelSpacing=[1.2, 1.2])
    assert radiograph.geometry.pixel_pitch_mm == (1.2, 1.2)
    assert kind(radiograph, "pixel_pitch_mm") == "assumed"


@pytest.mark.parametrize("calibration", ["FIDUCIAL", "GEOMETRY"])
def test_pixel_spacing_calibrated_to_the_patient_is_brought_to_the_detector(read, calibration):
    radiograph = read(
        ImagerPixelSpacing=None,
        PixelSpacing=[1.0, 1.0],
        PixelSpacingCalibrationType=calibration,
        DistanceSourceToPatient=None,
        overrides={"object_distance_mm": 150},
    )
    assert radiograph.geometry.pixel_pitch_mm == pytest.approx((1150 / 1000, 1150 / 1000))
    assert radiograph.geometry.pixel_size_at(1000) == pytest.approx((1, 1))  # as it was calibrated
    assert kind(radiograph, "pixel_pitch_mm") == "derived"
    assert "pixel_pitch_mm-calibrated" in codes(radiograph)


def test_no_pitch_is_refused_until_the_user_gives_one(read):
    with pytest.raises(Refusal, match="pixel_pitch_mm="):
        read(ImagerPixelSpacing=None)
    radiograph = read(ImagerPixelSpacing=None, overrides={"pixel_pitch_mm": 1.3})
    assert radiograph.geometry.pixel_pitch_mm == (1.3, 1.3)
    assert kind(radiograph, "pixel_pitch_mm") == "user"


@pytest.mark.parametrize("pitch", [[0, 0], [-0.1, 0.1], [0.0001, 0.0001], [30, 30], [0.1, 0.5]])
def test_an_absurd_pitch_is_refused(read, pitch):
    with pytest.raises(Refusal, match="pixel pitch"):
        read(ImagerPixelSpacing=pitch)


def test_a_picture_scaled_down_without_a_new_pitch_is_refused(read):
    with pytest.raises(Refusal, match="scaled after it was taken"):
        read(ImagerPixelSpacing=[0.143, 0.143])


# Distances


@pytest.mark.parametrize("distance", [0, -1150, 115, 1e9])
def test_an_absurd_distance_is_refused(read, distance):
    with pytest.raises(Refusal, match="sdd_mm="):
        read(DistanceSourceToDetector=distance)


def test_the_user_s_distance_wins(read):
    radiograph = read(overrides={"sdd_mm": 1000})
    assert radiograph.geometry.sdd_mm == 1000
    assert kind(radiograph, "sdd_mm") == "user"


def test_a_fiducial_gives_the_depth(read):
    depth = 950.0
    radiograph = read(PixelSpacing=[1.2 * depth / 1150, 1.25 * depth / 1150], PixelSpacingCalibrationType="FIDUCIAL")
    assert radiograph.geometry.object_distance_mm == pytest.approx(1150 - depth)
    assert "FIDUCIAL" in radiograph.geometry.provenance["object_distance_mm"].source


def test_the_table_side_is_not_the_bones(read):
    radiograph = read(DistanceSourceToPatient=1050)
    assert radiograph.geometry.object_distance_mm == pytest.approx(1150 - 1050 + 100)
    assert radiograph.geometry.provenance["object_distance_mm"].spread == 20


@pytest.mark.parametrize("modality", ["XA", "RF"])
def test_in_fluoroscopy_the_distance_is_the_isocentre_s(read, modality):
    radiograph = read(Modality=modality, DistanceSourceToPatient=950)
    assert radiograph.geometry.object_distance_mm == pytest.approx(200)
    assert radiograph.geometry.provenance["object_distance_mm"].spread == 40
    assert "object_distance_mm-isocentre" in codes(radiograph)


@pytest.mark.parametrize("to_patient", [1500, 1240, 600, 400])
def test_an_impossible_object_distance_is_warned_of_and_not_used(read, to_patient):
    radiograph = read(DistanceSourceToPatient=to_patient)
    assert kind(radiograph, "object_distance_mm") == "assumed"
    assert radiograph.geometry.object_distance_mm == 180
    assert radiograph.geometry.provenance["object_distance_mm"].spread == 35
    assert "object_distance_mm-implausible" in codes(radiograph)


def test_a_fiducial_of_equal_pitches_is_no_calibration(read):
    radiograph = read(PixelSpacing=[1.2, 1.25], PixelSpacingCalibrationType="FIDUCIAL", DistanceSourceToPatient=None)
    assert kind(radiograph, "object_distance_mm") == "assumed"


def test_a_fiducial_that_contradicts_itself_is_warned_of_and_not_used(read):
    radiograph = read(PixelSpacing=[1.0, 1.25], PixelSpacingCalibrationType="FIDUCIAL", DistanceSourceToPatient=None)
    assert kind(radiograph, "object_distance_mm") == "assumed"
    assert "calibration-unreadable" in codes(radiograph)


@pytest.mark.parametrize("in_header", [1150, None])
def test_the_header_s_depth_follows_the_user_s_distance(read, in_header):
    user = {"sdd_mm": 1000}
    fiducial = {"PixelSpacing": [1.0, 1.25 / 1.2], "PixelSpacingCalibrationType": "FIDUCIAL"}
    calibrated = read(DistanceSourceToDetector=in_header, overrides=user, **fiducial)
    assert calibrated.geometry.object_distance_mm == pytest.approx(1000 * (1 - 1 / 1.2))
    table = read(DistanceSourceToDetector=in_header, DistanceSourceToPatient=920, overrides=user)
    assert table.geometry.object_distance_mm == pytest.approx(1000 - 920 + 100)


def test_a_distance_nobody_knows_is_assumed(read):
    radiograph = read(DistanceSourceToDetector=None)
    assert radiograph.geometry.sdd_mm == 1100
    assert radiograph.geometry.provenance["sdd_mm"].spread == 60


def test_lengths_of_a_calibrated_picture_do_not_hang_on_the_depth(read):
    tags = {"ImagerPixelSpacing": None, "PixelSpacing": [1.0, 1.0], "PixelSpacingCalibrationType": "GEOMETRY"}
    radiograph = read(DistanceSourceToPatient=None, **tags)
    (warning,) = [w for w in radiograph.warnings if w.code == "object_distance_mm-assumed"]
    assert "every length" not in warning.text
    assert "calibration" in warning.text


def test_the_user_s_object_distance_wins_and_absurd_ones_are_refused(read):
    assert read(overrides={"object_distance_mm": 210}).geometry.object_distance_mm == 210
    with pytest.raises(Refusal, match="object distance"):
        read(overrides={"object_distance_mm": 1100})


# Principal point


def test_without_field_of_view_tags_it_is_the_picture_s_centre(read):
    radiograph = read(DetectorActiveDimensions=None)
    assert radiograph.geometry.principal_point_px == ((ROWS - 1) / 2, (COLS - 1) / 2)
    assert kind(radiograph, "principal_point_px") == "assumed"


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", ["NO", "YES"])
def test_rotation_and_flip_locate_the_centre_and_turn_no_pixels(read, rotation, flip):
    """A detector of 900 x 800 elements of 0.6 mm, a field of view cut from it, binned 2 x 2, turned by the machine."""
    field_origin, field_size = np.array([40, 80]), np.array([ROWS, COLS]) * 2
    if rotation in (90, 270):
        field_size = field_size[::-1]
    number = np.full((900, 800), -1.0)
    number[450, 400] = number[449, 399] = number[449, 400] = number[450, 399] = 1  # the four around the centre
    cut = number[field_origin[0] :, field_origin[1] :][: field_size[0], : field_size[1]]
    binned = cut.reshape(field_size[0] // 2, 2, field_size[1] // 2, 2).mean(axis=(1, 3))
    turned = np.rot90(binned, -rotation // 90)
    turned = turned[:, ::-1] if flip == "YES" else turned
    assert turned.shape == (ROWS, COLS)
    weight = turned + 1
    expected = [(np.arange(n) * weight.sum(axis=1 - axis)).sum() / weight.sum() for axis, n in enumerate(turned.shape)]

    ds = dataset(
        ImagerPixelSpacing=[1.2, 1.2],
        DetectorElementSpacing=[0.6, 0.6],
        DetectorActiveDimensions=[540, 480],
        DetectorActiveOrigin=[0, 0],
        FieldOfViewOrigin=field_origin.tolist(),
        FieldOfViewRotation=rotation,
        FieldOfViewHorizontalFlip=flip,
    )
    radiograph = read(ds)
    assert radiograph.geometry.principal_point_px == pytest.approx(expected, abs=1e-6)
    assert np.array_equal(radiograph.pixels, read().pixels)


def test_the_active_area_s_origin_counts(read):
    moved = read(DetectorActiveOrigin=[10, 4]).geometry.principal_point_px
    assert moved == pytest.approx((GEOMETRY.principal_point_px[0] + 10, GEOMETRY.principal_point_px[1] + 4))


@pytest.mark.parametrize("tag", ["PixelSpacing", "NominalScannedPixelSpacing"])
def test_only_the_detector_s_own_pitch_locates_its_centre(read, tag):
    assert kind(read(ImagerPixelSpacing=None, **{tag: [1.2, 1.25]}), "principal_point_px") == "assumed"


def test_another_field_of_view_than_the_picture_s_locates_nothing(read):
    assert kind(read(FieldOfViewDimensions=[360, 350]), "principal_point_px") == "derived"
    radiograph = read(FieldOfViewDimensions=[430, 430])
    assert kind(radiograph, "principal_point_px") == "assumed"
    assert "field-of-view-differs" in codes(radiograph)


def test_a_centre_far_outside_is_not_believed(read):
    radiograph = read(FieldOfViewOrigin=[90000, 0])
    assert kind(radiograph, "principal_point_px") == "assumed"
    assert "principal_point_px-implausible" in codes(radiograph)


# Orientation


@pytest.mark.parametrize("orientation", ["L\\F", "R\\F", "L\\H", "R\\H", "F\\L", "F\\R", "H\\L", "H\\R"])
def test_every_turn_is_undone(read, orientation):
    """The stored picture is made by looking up, for each stored pixel, where the displayed film has it."""
    upright = film()
    directions = {"L": (0, 1), "R": (0, -1), "F": (1, 0), "H": (-1, 0)}
    cols_to, rows_to = (np.array(directions[letter]) for letter in orientation.split("\\"))
    size = (ROWS, COLS) if cols_to[0] == 0 else (COLS, ROWS)
    row, col = np.mgrid[: size[0], : size[1]]
    at = row[..., None] * rows_to + col[..., None] * cols_to
    at -= np.minimum(at.min(axis=(0, 1)), 0)
    stored = np.rint(upright[at[..., 0], at[..., 1]] * 4095).astype(np.uint16)
    ds = dataset(PatientOrientation=orientation.split("\\"), FieldOfViewOrigin=None)
    ds.Rows, ds.Columns, ds.PixelData = *stored.shape, stored.tobytes()
    if cols_to[0] != 0:
        ds.ImagerPixelSpacing = [1.25, 1.2]
    radiograph = read(ds)
    assert np.array_equal(radiograph.pixels, np.rint(upright * 4095))
    assert radiograph.geometry.pixel_pitch_mm == (1.2, 1.25)
    assert ("orientation-turned" in codes(radiograph)) == (orientation != "L\\F")


def test_compound_directions_are_read_by_their_first_letter(read):
    assert read(PatientOrientation=["LF", "FR"]).orientation.value == "L\\F"


@pytest.mark.parametrize("orientation", [["L", "R"], ["X", "F"], ["F", "F"]])
def test_nonsense_is_warned_of_and_not_used(read, orientation):
    radiograph = read(PatientOrientation=orientation)
    assert kind(radiograph, "orientation") == "assumed"
    assert "orientation-unreadable" in codes(radiograph)


def test_swapping_sides_mirrors_picture_and_principal_point(read):
    plain, swapped = read(), read(overrides={"swap_sides": True})
    assert np.array_equal(swapped.pixels, plain.pixels[:, ::-1])
    assert swapped.geometry == plain.geometry.flipped(cols=True)
    assert kind(swapped, "orientation") == "user"
    assert "orientation-assumed" not in codes(read(PatientOrientation=None, overrides={"swap_sides": True}))


# View


@pytest.mark.parametrize(("position", "view"), [("AP", "AP"), ("PA", "PA"), ("AP PELVIS", "AP")])
def test_view_position(read, position, view):
    assert read(ViewPosition=position).geometry.view == view


@pytest.mark.parametrize(("code", "view"), [("399348003", "AP"), ("R-10206", "AP"), ("272479007", "PA")])
def test_view_code(read, code, view):
    radiograph = read(ViewPosition=None, ViewCodeSequence=[coded(code, "frontal of some kind")])
    assert radiograph.geometry.view == view
    assert "ViewCodeSequence (0054,0220)" in radiograph.geometry.provenance["view"].source


LATERAL = [coded("399067008", "lateral projection")]


@pytest.mark.parametrize(
    "tags",
    [
        *(
            {"ViewPosition": p}
            for p in ("LL", "RL", "LATERAL", "X-TABLE LAT", "XTABLE", "AP/LAT", "LAT_HIP", "LATL", "ML")
        ),
        *({"ViewPosition": p} for p in ("RPO", "LAO", "AP OBL", "OBLIQUE", "JUDET")),
        {"ViewPosition": None, "ViewCodeSequence": [coded("399173006", "Left lateral")]},
        {"ViewPosition": "AP", "ViewCodeSequence": LATERAL},
        {"PatientOrientation": ["A", "F"]},
        {"PatientOrientation": ["P", "F"]},
        {"Modality": "XA", "ViewPosition": None, "PositionerPrimaryAngle": 90},
        {"Modality": "RF", "ViewPosition": None, "PositionerPrimaryAngle": -80},
    ],
)
def test_lateral_and_oblique_views_are_refused(read, tags):
    with pytest.raises(Refusal, match="not a frontal film"):
        read(**tags)


@pytest.mark.parametrize(("angle", "view"), [(0, "PA"), (-20, "PA"), (180, "AP"), (-170, "AP")])
def test_a_c_arm_s_angle_tells_the_view(read, angle, view):
    radiograph = read(Modality="XA", ViewPosition=None, PositionerPrimaryAngle=angle)
    assert radiograph.geometry.view == view
    assert kind(radiograph, "view") == "derived"


def test_a_view_s_code_counts_more_than_letters_in_its_name(read):
    radiograph = read(ViewPosition=None, ViewCodeSequence=[coded("399348003", "Bilateral antero-posterior")])
    assert radiograph.geometry.view == "AP"
    assert kind(radiograph, "view") == "header"


def test_a_header_with_two_views_is_warned_of(read):
    assert "view-conflict" in codes(read(ViewPosition="AP", ViewCodeSequence=[coded("272479007", "postero-anterior")]))


@pytest.mark.parametrize(
    "tags",
    [
        {"ViewPosition": "AP AXIAL"},
        {"ViewPosition": "INLET AP"},
        {"ViewModifierCodeSequence": [coded("0", "outlet")]},
    ],
)
def test_inlet_and_outlet_films_are_warned_of(read, tags):
    assert "angulation" in codes(read(**tags))


def test_an_unknown_view_position_is_warned_of(read):
    radiograph = read(ViewPosition="FROG")
    assert kind(radiograph, "view") == "assumed"
    assert "view-unreadable" in codes(radiograph)


@pytest.mark.parametrize(
    ("tag", "angle", "warned"),
    [
        ("ColumnAngulation", 35, True),
        ("PositionerSecondaryAngle", -25, True),
        ("PositionerPrimaryAngle", 180, False),
        ("PositionerSecondaryAngle", 0.5, False),
        ("DetectorPrimaryAngle", 12, True),
    ],
)
def test_angulation_is_warned_of(read, tag, angle, warned):
    assert ("angulation" in codes(read(**{tag: angle}))) == warned


# What is refused, and what is warned of


@pytest.mark.parametrize(
    "tags",
    [
        {"Modality": "CT"},
        {"Modality": "MR"},
        {"Modality": "US"},
        {"SOPClassUID": CTImageStorage},
        {"SOPClassUID": UltrasoundImageStorage, "Modality": "OT"},
        {"SOPClassUID": DigitalMammographyXRayImageStorageForPresentation},
        {"SOPClassUID": EnhancedXAImageStorage, "Modality": "XA"},
    ],
)
def test_other_modalities_are_refused(read, tags):
    with pytest.raises(Refusal, match="not a radiograph"):
        read(**tags)


@pytest.mark.parametrize("modality", ["CR", "DX", "RF", "XA", "OT"])
def test_radiograph_modalities_are_read(read, modality):
    assert read(Modality=modality).pixels.shape == (ROWS, COLS)


@pytest.mark.parametrize("part", ["CHEST", "SKULL", "LEFT KNEE"])
def test_another_body_part_is_refused(read, part):
    with pytest.raises(Refusal, match="only hips"):
        read(BodyPartExamined=part)
    with pytest.raises(Refusal, match="only hips"):
        read(BodyPartExamined=None, AnatomicRegionSequence=[coded("0", part)])


@pytest.mark.parametrize("part", ["HEAD OF FEMUR", "Neck of femur", "HIP, KNEE AND ANKLE"])
def test_parts_of_the_hip_are_no_other_body_part(read, part):
    radiograph = read(BodyPartExamined=None, AnatomicRegionSequence=[coded("0", part)])
    assert "body-part-unknown" not in codes(radiograph)


def test_an_unknown_body_part_is_warned_of(read):
    assert "body-part-unknown" in codes(read(BodyPartExamined=None))
    assert "body-part-unknown" not in codes(read(BodyPartExamined="HIP"))


def test_several_frames_are_refused(read):
    ds = dataset(NumberOfFrames=2)
    ds.PixelData = ds.PixelData * 2
    with pytest.raises(Refusal, match="2 pictures"):
        read(ds)
    assert read(NumberOfFrames=1).pixels.shape == (ROWS, COLS)


def test_burned_in_annotation_is_warned_of(read):
    assert "burned-in-annotation" in codes(read(BurnedInAnnotation="YES"))


def test_the_collimator_s_edges_are_reported_and_nothing_is_cropped(read):
    edges = {"CollimatorUpperHorizontalEdge": 11, "CollimatorLowerHorizontalEdge": 290}
    edges |= {"CollimatorLeftVerticalEdge": 21, "CollimatorRightVerticalEdge": 261}
    radiograph = read(CollimatorShape="RECTANGULAR", **edges)
    assert radiograph.collimation_px.value == (10, 289, 20, 260)
    assert radiograph.collimation_px.provenance.kind == "header"
    shutter = {keyword.replace("Collimator", "Shutter"): value for keyword, value in edges.items()}
    assert read(ShutterShape="RECTANGULAR", **shutter).collimation_px.value == (10, 289, 20, 260)
    assert radiograph.pixels.shape == (ROWS, COLS)
    ds = dataset(CollimatorShape="RECTANGULAR", PatientOrientation=["R", "F"], **edges)
    assert read(ds).collimation_px.value == (10, 289, COLS - 1 - 260, COLS - 1 - 20)


@pytest.mark.parametrize("orientation", ["L\\F", "R\\F", "H\\R", "F\\L"])
def test_a_turned_box_holds_the_turned_pixels(orientation):
    stored = np.zeros((6, 9))
    stored[1:4, 2:8] = 1
    turn = turn_for(orientation)
    turned = turn.pixels(stored)
    first_row, last_row, first_col, last_col = turn.box((1, 3, 2, 7), turned.shape)
    assert turned[first_row : last_row + 1, first_col : last_col + 1].all()
    assert turned.sum() == (last_row - first_row + 1) * (last_col - first_col + 1)
    assert isinstance(turn.geometry(ProjectionGeometry(1000, (1, 1), (6, 9))), ProjectionGeometry)
