"""Several postures of one person: the same bones and implants, turned at the joints; films of them in a stream."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.bones import made_population

from DualFaceReconLib.bonemaps import BONES, SIDES
from DualFaceReconLib.meshes import rigid_fit
from training.learning.data import FilmStream
from training.patients.flesh import Skeleton
from training.patients.implants import implanted
from training.patients.posture import leg_turn
from training.patients.reposing import LEAST_MM, reposed
from training.patients.virtual import sample_patient
from training.raycast import penetration_mm
from training.simulate import Series, draw_person, take

SERIES = Series(seed=4, size_px=96, posture="wide", postures=2)


@pytest.fixture(scope="module")
def population():
    return made_population()


@pytest.fixture(scope="module")
def patient(population):
    """With a nail in the left femur, and on the right a hip that was replaced."""
    patient = sample_patient(population, 2, "wide").mirrored()
    patient, nailed = implanted(patient, "nail", "left", np.random.default_rng(1))
    patient, replaced = implanted(patient, "total hip", "right", np.random.default_rng(1))
    assert nailed
    assert replaced
    return patient


def turn_of(before, after):
    """The rotation between two places of a thing, which must be of the same shape."""
    rotation, translation = rigid_fit(before, after)
    assert before @ rotation.T + translation == pytest.approx(after, abs=1e-6)
    return rotation


def degrees(rotation):
    return float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))


def test_every_bone_of_another_posture_is_congruent_and_turned_on_its_own(patient):
    other = reposed(patient, "wide", np.random.default_rng(3))
    turns = {bone: turn_of(patient.bones[bone][0], other.bones[bone][0]) for bone in patient.bones}
    pelvis = turns["hip_left"]
    assert 2 < degrees(pelvis) < 60
    for bone in ("hip_right", "sacrum", "lumbar_5", "lumbar_3"):
        assert turns[bone] == pytest.approx(pelvis, abs=1e-6)
    legs = [turns["femur_left"], turns["femur_right"]]
    assert min(degrees(leg @ pelvis.T) for leg in legs) > 2
    assert degrees(legs[0] @ legs[1].T) > 2
    for side in SIDES:
        head = [p.landmarks[f"hip_{side}"]["acetabular_centre"] for p in (patient, other)]
        assert pelvis @ head[0] == pytest.approx(head[1], abs=1e-6)
        gap = penetration_mm(other.bones[f"femur_{side}"][0], other.bones[f"hip_{side}"]).min()
        assert gap >= LEAST_MM - 1e-3
    for bone in BONES:
        for name, place in patient.landmarks[bone].items():
            moved = other.landmarks[bone][name]
            away = [np.linalg.norm(p.bones[bone][0] - q, axis=1) for p, q in ((patient, place), (other, moved))]
            assert away[0] == pytest.approx(away[1], abs=1e-6)


def test_implants_go_with_the_bone_that_they_are_in(patient):
    other = reposed(patient, "wide", np.random.default_rng(3))
    goes_with = {"nail_left": "femur_left", "stem_right": "femur_right", "cup_right": "hip_right"}
    for part, bone in goes_with.items():
        turn = turn_of(patient.bones[bone][0], other.bones[bone][0])
        assert turn_of(patient.parts[part].mesh[0], other.parts[part].mesh[0]) == pytest.approx(turn, abs=1e-6)
    balls = [p.parts["ball_right"].mesh[0].mean(axis=0) for p in (patient, other)]
    cups = [p.parts["cup_right"].mesh[0] for p in (patient, other)]
    before, after = (np.linalg.norm(cup - ball, axis=1) for cup, ball in zip(cups, balls, strict=True))
    assert before == pytest.approx(after, abs=1e-3)  # the ball stays in its cup


def test_the_angles_are_those_that_the_patient_was_turned_to(population):
    """Of a patient as drawn and of its mirror image, whose left leg was the right one."""
    patient = sample_patient(population, 3, "wide")
    for lying, leg in ((patient, "leg_left"), (patient.mirrored(), "leg_right")):
        other = reposed(lying, "wide", np.random.default_rng(5))
        before, after = (
            leg_turn(**{name: p.metadata[leg][name] for name in ("inward", "abduction", "flexion")})
            for p in (lying, other)
        )
        turn = turn_of(lying.bones["femur_left"][0], other.bones["femur_left"][0])
        assert turn == pytest.approx(after @ before.T, abs=1e-6)
        assert lying.metadata[leg]["size"] == other.metadata[leg]["size"]


def test_postures_spread_as_those_of_new_patients_do(population):
    patient = draw_person(population, SERIES, 3).patient
    others = [reposed(patient, "wide", np.random.default_rng(seed)) for seed in range(60)]
    flexion = np.array([[p.metadata[f"leg_{side}"]["flexion"] for side in SIDES] for p in others])
    assert flexion.mean() == pytest.approx(4, abs=2)
    assert flexion.std() == pytest.approx(7, abs=1.5)
    assert 3 < sum(p.standing for p in others) < 24


def test_a_frog_leg_view_spreads_and_bends_both_legs_and_no_bone_meets_another(population):
    for seed in range(4):
        patient = sample_patient(population, seed, "wide", shapes="one-size")
        frog = reposed(patient, "frog-leg", np.random.default_rng(seed))
        assert frog.metadata["posture"] == "frog-leg"
        for side in SIDES:
            angles = frog.metadata[f"leg_{side}"]
            assert 28 <= angles["abduction"] <= 55
            assert 22 <= angles["flexion"] <= 50
            assert -65 <= angles["inward"] <= -25
            hip, femur = frog.bones[f"hip_{side}"], frog.bones[f"femur_{side}"][0]
            head, socket = frog.landmarks[f"femur_{side}"], frog.landmarks[f"hip_{side}"]
            knee = head["medial_condyle_distal"] - head["femoral_head_centre"]
            assert knee[0] * (1 if side == "right" else -1) > 150  # outwards
            assert knee[1] > 80  # and forwards
            assert np.linalg.norm(head["femoral_head_centre"] - socket["acetabular_centre"]) < 8
            assert penetration_mm(femur, hip).min() >= LEAST_MM - 1e-3
        skeleton = Skeleton(frog.bones)
        assert all(np.isfinite(place).all() and (skeleton.slant[side] > 1).all() for side, (place, _) in
                   skeleton.shaft.items())  # fmt: skip


def test_the_films_of_a_person_are_of_the_views_in_turn_and_an_oblique_one_raises_a_side(population):
    series = replace(SERIES, postures=3, views=("ap", "oblique", "frog-leg"), plain=True)
    films = [take(population, series, number) for number in range(3, 6)]
    assert [film.metadata["patient"]["posture"] for film in films] == ["wide", "oblique", "frog-leg"]
    turn = films[1].metadata["patient"]["body_turn_degrees"]
    assert 30 <= abs(turn) <= 45
    raised, other = ("right", "left") if turn > 0 else ("left", "right")
    heights = {side: films[1].bones[f"hip_{side}"][0][:, 1].mean() for side in SIDES}
    assert heights[raised] > heights[other] + 50
    assert all(film.rig.geometry.view == "AP" for film in films[1:])
    for film in films[1:]:
        turn_of(films[0].bones["hip_left"][0], film.bones["hip_left"][0])
        mask = film.film(series).maps.mask
        assert (mask.sum(axis=(1, 2)) > 0).sum() >= 2
    again = take(population, replace(series, views=("ap",)), 3)
    assert np.array_equal(again.bones["femur_left"][0], films[0].bones["femur_left"][0])


def test_a_stream_shows_each_person_in_several_postures_by_the_number_alone(population):
    whole = list(FilmStream(population, SERIES, pool=2, projections=4))
    shared = [f for n in (0, 1) for f in FilmStream(population, SERIES, pool=2, projections=4, share=(n, 2))]
    assert all(torch.equal(film["film"], again["film"]) for film, again in zip(whole, shared, strict=True))
    alone, at_hand = (take(population, SERIES, 3, person=p) for p in (None, draw_person(population, SERIES, 1)))
    assert np.array_equal(alone.film(SERIES).pixels, at_hand.film(SERIES).pixels)

    first, second, stranger = (take(population, SERIES, number) for number in (0, 1, 2))
    turn_of(first.bones["femur_left"][0], second.bones["femur_left"][0])
    assert first.rig.geometry != second.rig.geometry
    assert np.abs(first.bones["hip_left"][0].std(axis=0) - stranger.bones["hip_left"][0].std(axis=0)).max() > 0.1
    exposures = [taken.film(SERIES).metadata["exposure"]["dose_ugy"] for taken in (first, second)]
    assert exposures[0] != exposures[1]
    usual = take(population, replace(SERIES, postures=1), 0)
    assert np.array_equal(first.bones["hip_left"][0], usual.bones["hip_left"][0])
