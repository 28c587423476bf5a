"""Virtual patients: varied, seated, posed, the same for the same seed; rigs over the clinical range."""

from dataclasses import replace

import numpy as np
import pytest
from support.bones import SHARED, made_people, made_population

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.meshes import MIRROR, sphere_through
from DualFaceReconLib.shape.repair import crossing_triangles
from training.anatomy.lumbar import NAMES
from training.anatomy.people import load_corresponded, save_corresponded
from training.anatomy.remeshing import open_edges
from training.patients.plausibility import PUBLISHED, measures, table
from training.patients.population import load_population
from training.patients.posture import leg_turn
from training.patients.shape_variety import bent_femur
from training.patients.virtual import LEAST_SPACE_MM, sample_patient
from training.raycast import cast, penetration_mm
from training.xray.rig import KINDS, UNUSUAL, USUAL, draw_rig


@pytest.fixture(scope="module")
def population():
    return made_population()


@pytest.fixture(scope="module")
def patients(population):
    return [sample_patient(population, seed) for seed in range(6)]


def volume(mesh):
    corners = mesh[0][mesh[1]]
    return np.einsum("ti,ti->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6


def test_the_same_seed_is_the_same_patient_and_another_is_not(population, patients):
    again = sample_patient(population, 3)
    for bone, (vertices, _) in patients[3].bones.items():
        assert np.array_equal(again.bones[bone][0], vertices)
    assert np.abs(again.bones["hip_left"][0] - patients[4].bones["hip_left"][0]).max() > 2


def test_every_bone_is_closed_outward_and_where_it_belongs(patients):
    for patient in patients:
        assert list(patient.bones) == [*BONES, "sacrum", *NAMES]
        for bone, mesh in patient.bones.items():
            assert open_edges(mesh[1]) == 0 or bone == "sacrum", bone
            assert volume(mesh) > 1000, bone  # outward, in mm^3
        for bone in BONES:
            middle = patient.bones[bone][0].mean(axis=0)
            assert (middle[0] < 0) == bone.endswith("left"), bone  # RAS: the patient's left is negative
        assert patient.bones["femur_left"][0][:, 2].min() < -300
        levels = [patient.bones[name][0][:, 2].mean() for name in ("sacrum", *NAMES)]
        assert levels == sorted(levels)


@pytest.fixture(scope="module")
def of_one_size(population):
    return [sample_patient(population, seed, "wide", shapes="one-size") for seed in range(6)]


@pytest.fixture(scope="module")
def of_wide_shapes(population):
    return [sample_patient(population, seed, "wide", shapes="wide") for seed in range(4)]


def test_wide_shapes_are_other_femora_of_the_same_people(of_wide_shapes, of_one_size):
    for wide, usual in zip(of_wide_shapes, of_one_size, strict=False):
        assert wide.metadata["femora"].keys() == usual.metadata["femora"].keys()
        apart = wide.bones["femur_left"][0] - usual.bones["femur_left"][0]
        assert np.linalg.norm(apart, axis=1).mean() > 1


def test_heads_sit_in_their_sockets_and_pass_through_nothing(population, patients, of_one_size, of_wide_shapes):
    for patient in (*patients, *of_one_size, *of_wide_shapes):
        for side in ("left", "right"):
            hip, femur = patient.bones[f"hip_{side}"], patient.bones[f"femur_{side}"]
            near = femur[0][np.linalg.norm(femur[0] - femur[0][femur[0][:, 2].argmax()], axis=1) < 110]
            assert penetration_mm(near, hip).min() >= LEAST_SPACE_MM - 0.01
            assert penetration_mm(hip[0], femur).min() > 0
            marks = patient.landmarks[f"femur_{side}"], patient.landmarks[f"hip_{side}"]
            away = np.linalg.norm(marks[0]["femoral_head_centre"] - marks[1]["acetabular_centre"])
            assert away < 6
            head = femur[0][population.femur_landmarks["femoral_head_centre"].vertices]
            assert 17 < sphere_through(head)[1] < 29
            assert len(crossing_triangles(*hip)) == 0


def test_femora_of_one_size_are_as_long_as_each_other_where_else_each_has_its_sockets_size(patients, of_one_size):
    """Shapes of the two sides still differ, as people's do."""

    def sizes(patient):
        return [patient.metadata[f"leg_{side}"]["size"] for side in ("left", "right")]

    def lengths(patient):
        head_to_knee = (patient.landmarks[f"femur_{side}"] for side in ("left", "right"))
        return [np.linalg.norm(m["femoral_head_centre"] - m["medial_condyle_distal"]) for m in head_to_knee]

    for patient in of_one_size:
        assert sizes(patient)[0] == sizes(patient)[1]
        assert 0 < abs(np.diff(lengths(patient)).item()) < 0.02 * lengths(patient)[0]
    assert all(sizes(patient)[0] != sizes(patient)[1] for patient in patients)


def test_sides_differ_a_little_and_postures_more(patients):
    for patient in patients:
        left, right = patient.bones["hip_left"][0], patient.bones["hip_right"][0] * MIRROR
        shape = np.linalg.norm(left - left.mean(0), axis=1) - np.linalg.norm(right - right.mean(0), axis=1)
        assert 0.05 < np.abs(shape).mean() < 4
    turns = np.array([p.metadata["leg_left"]["inward"] for p in patients])
    assert np.ptp(turns) > 5
    assert all(0 <= p.metadata["leg_left"]["flexion"] <= 25 for p in patients)
    assert np.ptp([p.metadata["pelvis_degrees"]["tilt"] for p in patients]) > 3


def test_the_wide_posture_has_extended_legs_and_keeps_its_ends_and_its_spread(population):
    """Of 60 patients: what touches is drawn again without pulling flexion to the middle; nothing passes through."""
    wide = [sample_patient(population, seed, "wide") for seed in range(60)]
    flexion = np.array([[p.metadata[f"leg_{side}"]["flexion"] for side in ("left", "right")] for p in wide])
    assert flexion.mean() == pytest.approx(4, abs=2)
    assert flexion.std() == pytest.approx(7, abs=1.5)
    assert flexion.min() < -6
    assert -12 <= flexion.min() <= flexion.max() <= 28
    assert len(np.unique(flexion)) == flexion.size  # nothing piles up at the ends
    assert abs(np.corrcoef(flexion.T)[0, 1]) < 0.4
    tilt = [p.metadata["pelvis_degrees"]["tilt"] for p in wide]
    assert abs(np.corrcoef(flexion[:, 0], tilt)[0, 1]) < 0.4
    standing = [p for p in wide if p.standing]
    assert 3 < len(standing) < 24
    assert all(p.metadata["posture"] == "wide" and p.metadata["standing"] == p.standing for p in wide)
    assert standing[0].mirrored().standing
    assert standing[0].translated(np.ones(3)).standing
    for patient in [wide[number] for number in np.argsort(flexion.min(axis=1))[:4]]:
        for side in ("left", "right"):
            hip, femur = patient.bones[f"hip_{side}"], patient.bones[f"femur_{side}"]
            near = femur[0][femur[0][:, 2] > femur[0][:, 2].max() - 110]
            assert penetration_mm(near, hip).min() >= LEAST_SPACE_MM - 0.01


def test_an_unknown_posture_is_refused(population):
    with pytest.raises(Refusal, match=r"posture 'wid' is unknown: did you mean 'wide'\?"):
        sample_patient(population, 1, "wid")


def test_who_stands_is_further_from_the_detector_and_often_from_the_source(patients):
    rng = np.random.default_rng(3)
    lying, standing = (
        [draw_rig(patients[0].bones, rng, 256, standing=way)[0] for _ in range(80)] for way in (False, True)
    )
    assert np.mean([r.behind_bones_mm for r in standing]) - np.mean([r.behind_bones_mm for r in lying]) > 15
    assert np.mean([r.geometry.sdd_mm >= 1500 for r in standing]) == pytest.approx(0.4, abs=0.2)


def test_posture_turns_the_way_its_name_says(population):
    """Inward rotation brings the toes' side of the knee to the midline; abduction the knee away from it."""
    knee, toes = np.array([0.0, 0, -400]), np.array([0.0, 50, -400])
    assert (toes @ leg_turn(20, 0, 0).T)[0] > 10  # of a left leg, in left form: towards R, the midline
    assert (knee @ leg_turn(0, 10, 0).T)[0] < -50
    assert (knee @ leg_turn(0, 0, 10).T)[1] > 50


def test_a_mirrored_patient_has_its_left_on_the_right(patients):
    patient = patients[0]
    mirrored = patient.mirrored()
    assert mirrored.bones["femur_right"][0] == pytest.approx(patient.bones["femur_left"][0] * MIRROR)
    assert volume(mirrored.bones["hip_left"]) == pytest.approx(volume(patient.bones["hip_right"]))
    asis = patient.landmarks["hip_left"]["asis"]
    assert mirrored.landmarks["hip_right"]["asis"] == pytest.approx(asis * MIRROR)


def test_corresponded_bones_are_kept_and_restored(tmp_path):
    from training.anatomy.people import RHAN40, Corresponded

    shapes = np.random.default_rng(0).normal(size=(4, 5, 3))
    people = ("rhan40/a", "rhan40/b", "rhan40/a", "rhan40/b")
    bones = Corresponded(bone="hip", triangles=np.array([[0, 1, 2]]), shapes=shapes, people=people, sets=(RHAN40,))
    save_corresponded(bones, tmp_path / "hip.npz")
    again = load_corresponded(tmp_path / "hip.npz")
    assert again.shapes == pytest.approx(shapes, abs=1e-6)
    assert replace(again, shapes=shapes, triangles=bones.triangles).people == bones.people
    assert again.sets == (RHAN40,)


def test_the_obturator_foramen_stays_open(patients):
    """Rays pass the hole that the hip's outline encloses."""
    patient = patients[2]
    bones = {"hip_left": patient.bones["hip_left"]}
    rig, translation = draw_rig(patient.bones, np.random.default_rng(0), 512)
    moved = {bone: (v + translation, t) for bone, (v, t) in bones.items()}
    mask = cast(moved, replace(rig.geometry, view="AP")).maps.mask[0]
    filled = mask.copy()
    outside = np.zeros_like(mask)
    outside[0] = outside[-1] = outside[:, 0] = outside[:, -1] = True
    outside &= ~mask
    for _ in range(mask.size):
        grown = outside.copy()
        grown[1:] |= outside[:-1]
        grown[:-1] |= outside[1:]
        grown[:, 1:] |= outside[:, :-1]
        grown[:, :-1] |= outside[:, 1:]
        grown &= ~mask
        if grown.sum() == outside.sum():
            break
        outside = grown
    filled = ~outside
    size = rig.geometry.pixel_size_at(900)
    hole_mm2 = (filled & ~mask).sum() * size[0] * size[1]
    assert 150 < hole_mm2 < 2500


# Rigs


def test_rigs_cover_the_clinical_range(patients):
    rng = np.random.default_rng(1)
    rigs = [draw_rig(patients[i % len(patients)].bones, rng) for i in range(300)]
    drawn = [rig for rig, _ in rigs]
    sdd = np.array([rig.geometry.sdd_mm for rig in drawn])
    assert ((sdd >= 1000) & (sdd <= 1200) | (sdd >= 1500) & (sdd <= 1800)).all()
    assert 0.005 < (sdd > 1300).mean() < 0.12
    pitch = np.array([rig.geometry.pixel_pitch_mm[0] for rig in drawn])
    assert pitch.min() >= 0.1
    assert pitch.max() <= 0.2
    distance = np.array([rig.geometry.object_distance_mm for rig in drawn])
    assert np.percentile(distance, 1) > 80
    assert np.percentile(distance, 99) < 310
    assert {rig.kind for rig in drawn} == set(KINDS)
    assert {rig.geometry.view for rig in drawn} == {"AP", "PA"}
    sizes = {tuple(np.rint(np.array(r.geometry.size_px) * r.geometry.pixel_pitch_mm[0]).astype(int)) for r in drawn}
    assert {(350, 430), (430, 430)} <= sizes
    off = [np.array(r.geometry.principal_point_px) - (np.array(r.geometry.size_px) - 1) / 2 for r in drawn]
    assert np.std(np.array(off) * pitch[:, None]) == pytest.approx(15, abs=3)


def test_unusual_distances_differ_and_the_patient_lies_as_before(patients):
    bones = patients[0].bones
    rigs = [[draw_rig(bones, np.random.default_rng(seed), 256, None, way)[0] for seed in range(60)]
            for way in (USUAL, UNUSUAL)]  # fmt: skip
    usual, unusual = ([rig.geometry.object_distance_mm for rig in drawn] for drawn in rigs)
    assert np.mean(unusual) > np.mean(usual) + 30
    assert np.std(unusual) > 1.4 * np.std(usual)
    for before, after in zip(*rigs, strict=True):
        assert (before.kind, before.behind_bones_mm) == (after.kind, after.behind_bones_mm)


def test_nothing_lies_behind_the_skin_or_the_table(patients):
    rng = np.random.default_rng(2)
    for patient in patients:
        for _ in range(10):
            rig, translation = draw_rig(patient.bones, rng, 256)
            height = 1 if rig.geometry.view == "AP" else -1
            lowest = min(((v + translation)[:, 1] * height).min() for v, _ in patient.bones.values())
            assert lowest >= rig.table_gap_mm + 9.9  # the skin
            assert rig.geometry.sees(patient.bones["hip_left"][0] + translation).any() or rig.side == "right"


# The real people


def test_unknown_people_and_nobody_are_refused(monkeypatch, tmp_path):
    people = made_people()
    monkeypatch.setattr("training.patients.population.load_everybody", lambda *_: people)
    for names in ({"people": ["made/s01", "made/s77"]}, {"without": ["made/s77"]}):
        with pytest.raises(Refusal, match="Nobody is called made/s77"):
            load_population(tmp_path, tmp_path, **names)
    with pytest.raises(Refusal, match="No pelvis, no femur or no sacrum is left"):
        load_population(tmp_path, tmp_path, without=people.people)


@pytest.mark.parametrize(("turned", "lifted"), [(8, 0), (0, -6), (-10, 5)])
def test_a_femur_is_turned_and_bent_by_the_angles_that_are_asked_for(population, patients, turned, lifted):
    """By what the page measures; the head keeps its shape, and condyles their place."""
    marks, femur = population.femur_landmarks, population.femora[0]
    bent = bent_femur(femur, marks, turned, lifted)

    def angles(vertices):
        places = {name: mark.place(vertices) for name, mark in marks.items()}
        bones = {**patients[0].bones, "femur_left": (vertices, population.femur_triangles)}
        patient = replace(patients[0], bones=bones, landmarks={**patients[0].landmarks, "femur_left": places})
        measured = measures(patient, marks["femoral_head_centre"].vertices)
        return measured["anteversion, degrees"], measured["neck-shaft angle, degrees"], measured["head diameter, mm"]

    before, after = angles(femur), angles(bent)
    assert after[0] - before[0] == pytest.approx(turned, abs=1.5)
    assert after[1] - before[1] == pytest.approx(lifted, abs=1.5)
    assert after[2] == pytest.approx(before[2], rel=0.01)
    assert bent[femur[:, 2] < -300] == pytest.approx(femur[femur[:, 2] < -300])


def test_measures_are_those_of_a_made_femur(population, patients):
    """A mirror image of a mirror image has the same angles."""
    head = population.femur_landmarks["femoral_head_centre"].vertices
    measured = measures(patients[0], head)
    assert 100 < measured["neck-shaft angle, degrees"] < 150
    assert measured["mechanical length of the femur, mm"] > 300
    twice_mirrored = patients[0].mirrored().mirrored()
    assert measures(twice_mirrored, head)["anteversion, degrees"] == pytest.approx(measured["anteversion, degrees"])
    text = table(population, 3, "wide", say=lambda _: None)
    assert text.count("|") > 50
    assert "Noble" in text


@pytest.mark.slow
def test_patients_of_the_real_people_look_like_published_adults(tmp_path):
    if not (SHARED / "bones").exists():
        pytest.skip("no bones at hand: CONTRIBUTING.md says where they come from")
    population = load_population(SHARED / "bones", tmp_path, say=lambda _: None)
    head = population.femur_landmarks["femoral_head_centre"].vertices
    rows = [measures(sample_patient(population, seed), head) for seed in range(100)]
    for name, (mean, deviation, _) in PUBLISHED.items():
        if mean is not None:
            ours = np.mean([row[name] for row in rows])
            assert ours == pytest.approx(mean, abs=deviation or 0.1 * abs(mean) + 1), name
