"""How far a bone can be relied on: numbers become grades and reasons, and are kept with the result."""

from dataclasses import replace

import numpy as np
import pytest
from support.bones import MODELS
from support.reconstructions import PELVIS, made_reconstruction, skeleton

from DualFaceReconLib.batch.record import MAP_COLUMNS, SUMMARY_COLUMNS, read_record, summary_of
from DualFaceReconLib.bonemaps import BONES, BoneMaps
from DualFaceReconLib.document import as_dict
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.evidence import beyond_mask_mm, evidence_of
from DualFaceReconLib.prediction import Disagreement, Prediction
from DualFaceReconLib.results import load_reconstruction, save
from DualFaceReconLib.shape.completion import HEAD_WITHIN_MM, JOINT_LANDMARK, Completion
from DualFaceReconLib.shape.fitting import Fit
from DualFaceReconLib.shape.shapemodel import load_shape_models, model_of
from DualFaceReconLib.verdicts import GRADES, LIMITS, TEXTS, Verdict, verdict_of


def completion_of(bone, coefficients=(0.5, -0.5), distance_mm=0.5, moved_mm=(0, 0, 0)):
    """The true bone, moved, of a shape and a distance from what was seen that are made up; its joint is its socket."""
    vertices, triangles = skeleton()[bone]
    vertices = vertices + np.array(moved_mm, float)
    kind, side = bone.split("_")
    hip = model_of(f"hip_{side}", load_shape_models(MODELS))
    socket = hip.landmark_points(skeleton()[f"hip_{side}"][0])["acetabular_centre"]
    return Completion(
        bone=kind,
        side=side,
        vertices=vertices,
        triangles=triangles,
        seen=np.ones(len(vertices), bool),
        distance_mm=np.full(len(vertices), float(distance_mm)),
        std_mm=np.ones(len(vertices)),
        landmarks={JOINT_LANDMARK[kind]: socket + moved_mm},
        radii_mm={},
        fit=Fit(rotation=np.eye(3), translation=np.zeros(3), coefficients=np.array(coefficients, float)),
        observed_mm2=10_000.0,
        refined_mm=None,
    )


class Sure(Prediction):
    """Of networks that are sure of everything, and see every bone 2 mm elsewhere in the mirrored film."""

    def __init__(self):
        object.__setattr__(self, "disagreement", {bone: Disagreement(depth_mm=2.0, dice=0.99) for bone in BONES})

    def unsure(self, bone):
        return 0.07


@pytest.fixture(scope="module")
def maps():
    return made_reconstruction().maps


def evidence(maps, completed, **more):
    return evidence_of(completed, maps, PELVIS, PELVIS, Sure(), **more)


# Grades


def test_a_bone_of_which_nothing_is_unusual_is_good():
    usual = {code: limit.doubtful for code, limit in LIMITS["hip"].items()}
    assert verdict_of("hip_left", usual) == Verdict(grade="good", evidence=usual)
    assert str(verdict_of("hip_left", {})) == "good"


@pytest.mark.parametrize("kind", LIMITS)
def test_every_number_alone_makes_a_bone_doubtful_and_then_not_usable(kind):
    for code, limit in LIMITS[kind].items():
        assert limit.doubtful < limit.unusable
        for value, grade in ((limit.doubtful + 1e-6, "doubtful"), (1.01 * limit.unusable, "not usable")):
            if not np.isfinite(value):
                continue  # it never does so alone
            verdict = verdict_of(f"{kind}_right", {code: value})
            assert verdict.grade == grade
            [reason] = verdict.reasons
            assert (reason.code, reason.value, reason.unit) == (code, value, TEXTS[code][0])
            assert "{" not in reason.text
            assert str(verdict) == f"{grade}: {reason.text}"


def test_the_worst_reason_comes_first():
    limits = LIMITS["femur"]
    verdict = verdict_of("femur_left", {"joint": 1.1 * limits["joint"].doubtful, "range": 5 * limits["range"].doubtful})
    assert [reason.code for reason in verdict.reasons] == ["range", "joint"]
    assert verdict.grade == GRADES[2]


# Evidence


def test_all_that_is_judged_is_measured(maps):
    completed = {bone: completion_of(bone) for bone in BONES}
    measured = evidence(maps, completed)
    assert set(measured) == set(BONES)
    assert set().union(*measured.values()) == set(TEXTS) == set(LIMITS["femur"]) == {"head", *LIMITS["hip"]}
    assert measured["hip_left"]["unsure"] == pytest.approx(7)
    assert measured["hip_left"]["mirrored"] == 2
    assert measured["hip_left"]["misfit"] == 0.5
    assert measured["hip_left"]["range"] == pytest.approx(0.5)
    assert measured["hip_left"]["beyond"] < 4
    assert all(verdict_of(bone, numbers).grade == "good" for bone, numbers in measured.items())


def test_of_a_bone_without_completion_networks_alone_speak(maps):
    assert set(evidence(maps, {})["femur_left"]) == {"unsure", "mirrored"}


def test_who_gives_masks_has_looked(maps):
    assert set(evidence(maps, {}, masks_given=True)["femur_left"]) == {"mirrored"}


def test_a_mask_that_ends_inside_the_film_is_short_by_what_the_bone_goes_on(maps):
    """Half of a femur's mask is gone: the bone goes on for some 100 mm, and no farther than the film."""
    mask = maps.mask[BONES.index("femur_left")].copy()
    rows = np.flatnonzero(mask.any(axis=1))
    middle = round(rows.mean())
    mask[middle:] = False
    bone = completion_of("femur_left")
    pixel_mm = PELVIS.pixel_size_at(PELVIS.sdd_mm - PELVIS.object_distance_mm)[0]
    whole = (PELVIS.size_px[0] - middle) * pixel_mm
    assert beyond_mask_mm(bone, mask, PELVIS, PELVIS) == pytest.approx(whole, rel=0.1)
    shut = PELVIS.cropped((0, 0), (middle, PELVIS.size_px[1]))  # a collimator shut there says nothing of the bone
    assert beyond_mask_mm(bone, mask, PELVIS, shut) < 4
    above = ((-1.0, -1.0), (-1.0, 300.0), (float(middle), 300.0), (float(middle), -1.0))
    assert beyond_mask_mm(bone, mask, PELVIS, replace(PELVIS, opening_px=above)) < 4


def test_where_two_bones_do_not_go_together_the_less_likely_is_blamed(maps):
    completed = {bone: completion_of(bone) for bone in BONES}
    completed["hip_left"] = completion_of("hip_left", coefficients=(4.5, -0.5))
    completed["femur_right"] = completion_of("femur_right", distance_mm=2.0, moved_mm=(0, 30, 40))
    measured = evidence(maps, completed)
    assert measured["hip_left"]["sides"] == pytest.approx(4 / 2**0.5)
    assert "sides" not in measured["hip_right"]
    assert measured["femur_right"]["joint"] == pytest.approx(50)
    assert "joint" not in measured["hip_right"]
    inferred = completion_of("femur_right", distance_mm=0.1, moved_mm=(0, 30, 40))  # fits better than its hip
    assert evidence(maps, completed | {"femur_right": inferred})["hip_right"]["joint"] == pytest.approx(50)
    measured = evidence(maps, completed | {"femur_right": replace(inferred, headless=True)})
    assert measured["femur_right"]["joint"] == pytest.approx(50)
    assert "joint" not in measured["hip_right"]


def test_a_femur_of_which_nothing_is_seen_at_its_joint_is_doubted_for_its_head(maps):
    completed = {bone: completion_of(bone) for bone in BONES}
    place, depth = (values[0] for values in PELVIS.project(completed["hip_left"].landmarks["acetabular_centre"][None]))
    pixel_mm = PELVIS.pixel_size_at(float(depth))[0]
    rows, cols = np.indices(PELVIS.size_px)
    mask = maps.mask.copy()
    mask[BONES.index("femur_left")] &= np.hypot(rows - place[0], cols - place[1]) * pixel_mm > 40
    measured = evidence(replace(maps, mask=mask), completed)
    assert measured["femur_left"]["head"] == pytest.approx(40, abs=2)
    verdict = verdict_of("femur_left", measured["femur_left"])
    assert (verdict.grade, verdict.reasons[0].code) == ("doubtful", "head")
    assert "nothing of it is seen within" in str(verdict)
    assert LIMITS["femur"]["head"].doubtful == HEAD_WITHIN_MM  # what is completed as a stump is doubted
    assert measured["femur_right"]["head"] < 2
    assert "head" not in evidence(maps, {"femur_left": completed["femur_left"]})["femur_left"]


def test_a_bone_without_pixels_has_no_verdict(maps):
    mask = maps.mask.copy()
    mask[0] = False
    assert set(evidence(replace(maps, mask=mask), {})) == set(BONES[1:])
    nothing = BoneMaps(bones=BONES, mask=np.zeros_like(mask), front=maps.front, back=maps.back)
    assert evidence(nothing, {}) == {}


# With the result


@pytest.mark.usefixtures("pictures_undrawn")
def test_verdicts_are_kept_with_the_result(tmp_path):
    made = made_reconstruction(doubted=("femur_left",))
    save(made, tmp_path / "out")
    loaded = load_reconstruction(tmp_path / "out")
    assert loaded.verdicts == made.verdicts
    assert loaded.verdicts["femur_left"].evidence == made.verdicts["femur_left"].evidence
    kept = as_dict(made)["bones"]["femur_left"]["verdict"]
    assert kept["grade"] == "doubtful"
    assert kept["reasons"][0] == {"code": "misfit", "value": 3.4, "unit": "mm", "text": "no shape comes near it"}


@pytest.mark.usefixtures("pictures_undrawn")
def test_a_grade_that_nobody_knows_is_damage(tmp_path):
    save(made_reconstruction(doubted=("femur_left",)), tmp_path / "out")
    document = tmp_path / "out" / "reconstruction.json"
    document.write_text(document.read_text(encoding="utf-8").replace('"doubtful"', '"fine"'), encoding="utf-8")
    with pytest.raises(Refusal, match="damaged"):
        load_reconstruction(tmp_path / "out")


def test_a_batch_s_table_has_every_bone_s_verdict_and_the_reasons_of_those_that_are_not_good():
    row = summary_of(made_reconstruction(bones=("hip_left", "femur_left"), doubted=("femur_left",)))
    assert [row.get(f"{bone}_verdict") for bone in BONES] == ["good", None, "doubtful", None]
    assert row["reasons"] == "left femur: no shape comes near it; left femur: its shape is unusual"
    assert {"hip_left_verdict", "reasons"} <= set(SUMMARY_COLUMNS)


def test_a_batch_s_table_of_older_code_has_no_verdicts_and_is_read(tmp_path):
    columns = [column for column in SUMMARY_COLUMNS if column != "reasons" and not column.endswith("_verdict")]
    (tmp_path / "summary.csv").write_text(f"{','.join(columns)}\n1{',x' * (len(columns) - 1)}\n", encoding="utf-8-sig")
    (tmp_path / "map.csv").write_text(f"{','.join(MAP_COLUMNS)}\n1,x,x,x\n", encoding="utf-8-sig")
    row = read_record(tmp_path).row(1)
    assert (row["hip_left"], row["hip_left_verdict"], row["reasons"]) == ("x", "", "")
