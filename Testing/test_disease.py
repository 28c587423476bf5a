"""Disease: bones bend without crossing or touching, the metadata says what was done, and most people stay well."""

import json
from collections import Counter

import numpy as np
import pytest
from support.bones import made_population

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.shape.repair import crossing_triangles
from training.patients.arthritis import CAM_MM, GROWTH_MM, SIGNS, cam, collapse, irregular
from training.patients.cartilage import with_cartilage
from training.patients.disease import UNLIKE_RANGE_MM, diseased
from training.patients.joints import joint_of
from training.patients.virtual import sample_patient
from training.raycast import penetration_mm

KINDS = {"narrowing", "ridge", "rim", "floor", "collapse", "cam", "longer leg"}


@pytest.fixture(scope="module")
def patients():
    population = made_population()
    return [sample_patient(population, seed) for seed in range(6)]


@pytest.fixture(scope="module")
def ill(patients):
    """(patient before, after) for many draws."""
    return [
        (patients[k % len(patients)], diseased(patients[k % len(patients)], np.random.default_rng(k)))
        for k in range(120)
    ]


def named(patient, what):
    return [entry for entry in patient.metadata["disease"] if entry["what"] == what]


def moved(before, after, bone):
    return np.linalg.norm(after.bones[bone][0] - before.bones[bone][0], axis=1)


def test_the_patient_that_was_given_stays_as_it_was_and_the_same_seed_repeats(patients):
    kept = {bone: vertices.copy() for bone, (vertices, _) in patients[0].bones.items()}
    once, again = (diseased(patients[0], np.random.default_rng(11)) for _ in range(2))
    assert once.metadata == again.metadata
    for bone, vertices in kept.items():
        assert np.array_equal(patients[0].bones[bone][0], vertices)
        assert np.array_equal(once.bones[bone][0], again.bones[bone][0])
    assert "disease" not in patients[0].metadata


def test_bones_stay_sound_in_correspondence_and_apart(ill):
    changed = 0
    for before, after in ill:
        if not [e for e in after.metadata["disease"] if e["what"] != "longer leg"]:
            continue
        for bone in BONES:
            assert after.bones[bone][1] is before.bones[bone][1]
            if np.ptp(moved(before, after, bone)) > 0.1:
                changed += 1
                assert len(crossing_triangles(*after.bones[bone])) == 0, (bone, after.metadata["disease"])
        for side in ("left", "right"):
            centre = after.landmarks[f"femur_{side}"]["femoral_head_centre"]
            upper = after.bones[f"femur_{side}"][0]
            upper = upper[np.linalg.norm(upper - centre, axis=1) < 100]
            assert penetration_mm(upper, after.bones[f"hip_{side}"]).min() > 0
    assert changed > 20


def test_the_share_of_the_ill_is_as_documented(patients):
    counted = Counter()
    for seed in range(240):
        entries = diseased(patients[seed % 6], np.random.default_rng(1000 + seed)).metadata["disease"]
        assert {entry["what"] for entry in entries} <= KINDS
        counted["arthritic"] += any(entry["what"] in SIGNS for entry in entries)
        counted["unlike"] += any(entry["what"] == "longer leg" for entry in entries)
        counted["cam"] += any(entry["what"] == "cam" for entry in entries)
        sides = {entry["side"] for entry in entries if entry["what"] in SIGNS}
        counted["both"] += len(sides) == 2
        json.dumps(entries)
    assert 0.22 < counted["arthritic"] / 240 < 0.38
    assert 0.1 < counted["both"] / counted["arthritic"] < 0.45
    assert 0.19 < counted["unlike"] / 240 < 0.31
    assert 0.05 < counted["cam"] / 240 < 0.18


def test_an_arthritic_hip_is_narrower_than_it_was(patients):
    joint = joint_of(patients[1], "left")
    kinds, narrower = set(), []
    for seed in range(12):
        narrowed, entry = SIGNS["narrowing"](joint, 0.9, np.random.default_rng(seed))
        if not entry:
            continue
        kinds.add(entry["kind"])
        narrower.append(entry["space_before_mm"] - entry["space_after_mm"])
        assert entry["space_after_mm"] > 0
        translation = narrowed.centre - joint.centre
        assert np.linalg.norm(translation) == pytest.approx(entry["travel_mm"])
        moved_as_a_whole = np.broadcast_to(translation, joint.femur.shape)
        assert narrowed.femur - joint.femur == pytest.approx(moved_as_a_whole)
        if entry["kind"] == "superolateral":
            assert translation[2] > 0
            assert translation[0] < 0.5  # the left femur goes to the patient's left, -R, or hardly inwards
    assert len(narrower) > 8
    assert np.mean(narrower) > 0.1
    assert len(kinds) > 1


@pytest.mark.parametrize("sign", ["ridge", "rim", "floor"])
def test_osteophytes_grow_outwards_near_the_joint_and_not_everywhere_alike(patients, sign):
    joint = joint_of(patients[2], "right")
    grown, entry = SIGNS[sign](joint, 0.9, np.random.default_rng(4))
    bone = "femur" if sign == "ridge" else "hip"
    offsets = getattr(grown, bone) - getattr(joint, bone)
    height = np.linalg.norm(offsets, axis=1)
    assert entry["height_mm"] == pytest.approx(height.max())
    assert 1.0 < height.max() < GROWTH_MM[1] * 1.3
    touched = getattr(joint, bone)[height > 0.1]
    assert len(touched) > 15
    assert np.linalg.norm(touched - joint.centre, axis=1).max() < 1.9 * joint.radius
    other = "hip" if bone == "femur" else "femur"
    assert np.array_equal(getattr(grown, other), getattr(joint, other))


def test_a_collapsed_head_is_flat_above_and_keeps_its_neck(patients):
    joint = joint_of(patients[3], "left")
    to = joint.femur - joint.centre
    cap = (to[:, 2] > 0.85 * joint.radius) & (np.linalg.norm(to, axis=1) < 1.1 * joint.radius)
    below = to @ joint.axis < -1.3 * joint.radius
    widenings = []
    for seed in range(8):
        flat, entry = collapse(joint, np.random.default_rng(seed))
        widenings.append(entry["widening"])
        lower = (joint.femur - flat.femur)[cap, 2]
        if entry["widening"] == 0:
            assert 0.3 * entry["depth_mm"] < np.median(lower)
            assert lower.max() <= entry["depth_mm"] + 1e-9
        assert np.array_equal(flat.femur[below], joint.femur[below])
    assert min(widenings) == 0 < max(widenings)


def test_a_cam_lies_in_front_and_above(patients):
    joint = joint_of(patients[0], "left")
    grown, entry = cam(joint, np.random.default_rng(0))
    height = np.linalg.norm(grown.femur - joint.femur, axis=1)
    assert 0.4 * CAM_MM[0] < entry["height_mm"] < CAM_MM[1]
    bump = (joint.femur * height[:, None]).sum(axis=0) / height.sum() - joint.centre
    across = bump - (bump @ joint.axis) * joint.axis
    assert across[1] + across[2] > 0.3 * joint.radius


def test_a_longer_leg_is_as_much_longer_and_its_hip_is_higher(ill):
    longer_legs = 0
    for before, after in ill:
        for entry in named(after, "longer leg"):
            if len(after.metadata["disease"]) > 1:
                continue
            longer_legs += 1
            assert UNLIKE_RANGE_MM[0] <= entry["longer_mm"] <= UNLIKE_RANGE_MM[1]
            other = "right" if entry["side"] == "left" else "left"

            def length(patient, side):
                marks = patient.landmarks[f"femur_{side}"]
                knee = (marks["medial_epicondyle"] + marks["lateral_epicondyle"]) / 2
                return np.linalg.norm(marks["lesser_trochanter"] - knee)

            longer = length(after, entry["side"]) - length(before, entry["side"])
            assert longer == pytest.approx(entry["longer_mm"], rel=0.05)
            assert length(after, other) == pytest.approx(length(before, other))

            def tilt(patient, entry=entry, other=other):
                centres = [patient.landmarks[f"hip_{s}"]["acetabular_centre"][2] for s in (entry["side"], other)]
                return centres[0] - centres[1]

            assert tilt(after) >= tilt(before) - 1e-9
    assert longer_legs > 8


def test_landmarks_stay_on_their_bones(ill):
    for before, after in ill[:40]:
        for bone, marks in before.landmarks.items():
            for name, place in marks.items():
                away = np.linalg.norm(before.bones[bone][0] - place, axis=1)
                if away.min() < 0.01:
                    nearest = away.argmin()
                    assert after.landmarks[bone][name] == pytest.approx(after.bones[bone][0][nearest], abs=0.02)


def test_irregular_heights_close_around_a_circle_and_leave_gaps():
    rng = np.random.default_rng(0)
    around = np.linspace(-np.pi, np.pi, 721)
    rows = np.array([irregular(around, rng) for _ in range(60)])
    assert rows[:, 0] == pytest.approx(rows[:, -1], abs=1e-9)
    assert rows.min() == 0
    assert rows.max() == pytest.approx(1, abs=0.02)
    assert 0.03 < (rows == 0).mean() < 0.6
    assert rows.std(axis=0).mean() > 0.2  # no two alike


# Cartilage


def test_sockets_get_the_room_of_healthy_joints(patients):
    made = []
    for seed, patient in enumerate(patients):
        roomy = with_cartilage(patient, np.random.default_rng(seed))
        for side in ("left", "right"):
            room = roomy.metadata["cartilage_mm"][side]
            made.append(room)
            before, after = (p.bones[f"hip_{side}"][0] for p in (patient, roomy))
            joint = joint_of(patient, side)
            centre = patient.landmarks[f"hip_{side}"]["acetabular_centre"]
            away = np.linalg.norm(before - centre, axis=1)
            socket, far = away < joint.radius + 2, away > joint.radius + 24
            grown = np.linalg.norm(after - centre, axis=1) - away
            assert grown[socket] == pytest.approx(room, abs=1e-6)
            assert np.array_equal(after[far], before[far])
            order = np.argsort(away)
            assert (np.diff(away[order] + grown[order]) > -1e-9).all()  # nothing overtakes what lies before it
            assert len(crossing_triangles(after, roomy.bones[f"hip_{side}"][1])) == 0
            assert roomy.bones[f"femur_{side}"] is patient.bones[f"femur_{side}"]
            femur = patient.bones[f"femur_{side}"][0]
            near = femur[np.linalg.norm(femur - joint.centre, axis=1) < 2 * joint.radius]
            gaps = [penetration_mm(near, p.bones[f"hip_{side}"]).min() for p in (patient, roomy)]
            assert gaps[1] > gaps[0] - 0.3  # beside the neck a rim may come no nearer than it was
    assert 1.2 < np.mean(made) < 3
    assert np.std(made) > 0.2
