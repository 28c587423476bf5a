"""Implants lie where a surgeon puts them, replaced bone is gone from the truth, clothing lies in front of the skin."""

import json
from collections import Counter

import numpy as np
import pytest
from support.bones import made_population

from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import MIRROR, volume_mm3
from DualFaceReconLib.shape.repair import crossing_triangles
from training.anatomy.remeshing import open_edges
from training.patients.arthroplasty import BALLS_MM, LINER_MM, SHELL_MM
from training.patients.clothing import CLOTHING, body_of, dressed
from training.patients.disease import diseased
from training.patients.femur_frame import femur_frame
from training.patients.implants import FIXATIONS, PELVIC, RESECTED, implanted, operated
from training.patients.solids import ball, lofted, perpendicular, revolved, rod, sheet, strip, swept
from training.patients.virtual import sample_patient
from training.raycast import cast, penetration_mm

MATERIALS = {"titanium", "cobalt_chrome", "steel", "cement", "lead"}
REPLACEMENTS = ("total hip", "hemiarthroplasty")


@pytest.fixture(scope="module")
def patients():
    population = made_population()
    return [sample_patient(population, seed) for seed in range(6)]


@pytest.fixture(scope="module")
def treated(patients):
    """kind -> (before, after, side, entry of the metadata) for many draws in which the implant fits."""
    fitting = {}
    for kind in (*REPLACEMENTS, *FIXATIONS, *PELVIC):
        draws = [(patients[k % 6], "left" if k % 4 < 2 else "right", k) for k in range(12)]
        after = [(p, *implanted(p, kind, side, np.random.default_rng(k)), side) for p, side, k in draws]
        fitting[kind] = [(p, q, side, entries[0]) for p, q, entries, side in after if entries]
    return fitting


def alike_turned(triangles):
    """Whether neighbours look to the same side: no edge is passed twice in one direction."""
    edges = np.concatenate([triangles[:, [k, (k + 1) % 3]] for k in range(3)])
    return len(np.unique(edges, axis=0)) == len(edges)


# Solids


def test_solids_have_the_volumes_of_their_formulas():
    start, axis = np.array([10.0, -20, 30]), np.array([1.0, 2, -1])
    round_share = 24 / (2 * np.pi) * np.sin(2 * np.pi / 24)  # of a circle that 24 chords hold
    assert volume_mm3(*rod(start, start + 50 * axis / np.sqrt(6), 4)) == pytest.approx(800 * np.pi * round_share)
    cone = revolved([(0, 6), (30, 0)], start, axis)
    assert volume_mm3(*cone) == pytest.approx(np.pi * 36 * 10 * round_share)
    assert volume_mm3(*ball(start, 14)) == pytest.approx(4 / 3 * np.pi * 14**3, rel=0.03)
    cup = revolved([(-20, 0), (0, 20), (0, 16), (-16, 0)], start, axis)  # a hollow cone
    assert volume_mm3(*cup) == pytest.approx(np.pi / 3 * (20**3 - 16**3) * round_share)
    path = np.stack([np.zeros(20), np.zeros(20), np.linspace(0, 100, 20)], axis=1)
    assert volume_mm3(*swept(path, np.full(20, 5.0))) == pytest.approx(2500 * np.pi * round_share)
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1.0]])
    assert volume_mm3(*sheet(square * 10, start, *perpendicular(axis), 2.0)) == pytest.approx(800)
    out = np.tile([0, 1.0, 0], (20, 1))
    assert 0.85 < volume_mm3(*strip(path, out, 16, 5)) / 8000 < 1
    for mesh in (cone, cup, ball(start, 3), strip(path, out, 16, 5)):
        assert open_edges(mesh[1]) == 0
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    middle = np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=1)
    rings = 20 * middle[:, None] + 2 * (
        np.cos(turn)[:, None] * middle[:, None] + np.sin(turn)[:, None] * np.array([0, 0, 1.0])
    )
    ring = lofted(rings, closed=True)
    assert open_edges(ring[1]) == 0
    assert volume_mm3(*ring) == pytest.approx(2 * np.pi**2 * 20 * 4, rel=0.02)


@pytest.mark.parametrize("seed", [28, 235, 391, 658])
def test_a_flat_plate_is_sound_wherever_it_lies(seed):
    """Its triangles lie in common planes: here rounding puts one on both sides of its neighbour."""
    rng = np.random.default_rng(seed)
    right, out = np.linalg.qr(rng.normal(size=(3, 3)))[0][:2]
    path = rng.normal(0, 100, 3) + np.linspace(-30, 30, 15)[:, None] * right
    assert len(crossing_triangles(*strip(path, np.tile(out, (len(path), 1)), 10.0, 3.4))) == 0


# Everything


def test_every_part_is_a_closed_solid_that_does_not_cross_itself(treated):
    for kind, cases in treated.items():
        assert len(cases) >= 6, kind
        for _, after, _, entry in cases:
            json.dumps(entry)
            for name, part in after.parts.items():
                assert part.material in MATERIALS
                assert open_edges(part.mesh[1]) == 0, name
                assert alike_turned(part.mesh[1]), name
                assert volume_mm3(*part.mesh) > 5, name
                assert len(crossing_triangles(*part.mesh)) == 0, name


def test_bones_stay_closed_and_sound_and_the_other_side_stays(treated):
    for kind, cases in treated.items():
        for before, after, side, _ in cases:
            for bone, mesh in after.bones.items():
                if mesh is before.bones[bone]:
                    continue
                assert kind in REPLACEMENTS
                assert bone.endswith(side)
                assert open_edges(mesh[1]) == 0
                assert alike_turned(mesh[1])
                assert volume_mm3(*mesh) > 0
                assert len(crossing_triangles(*mesh)) == 0
                assert kind == "total hip" or bone.startswith("femur")


# Replacements


def test_head_and_neck_are_gone_and_the_trochanters_stay(treated):
    for kind in REPLACEMENTS:
        for before, after, side, entry in treated[kind]:
            bone = f"femur_{side}"
            marks, femur = before.landmarks[bone], after.bones[bone]
            head = marks["femoral_head_centre"]
            assert np.linalg.norm(femur[0] - head, axis=1).min() > 15
            assert penetration_mm(marks["femoral_neck_centre"][None], femur)[0] > -0.5
            for kept in ("lesser_trochanter", "medial_epicondyle"):
                assert np.linalg.norm(femur[0] - marks[kept], axis=1).min() < 0.1, kept
            assert np.linalg.norm(femur[0] - marks["greater_trochanter"], axis=1).min() < 6
            lost = 1 - volume_mm3(*femur) / volume_mm3(*before.bones[bone])
            assert 0.03 < lost < 0.3
            assert not set(RESECTED) & set(after.landmarks[bone])
            assert 10 <= entry["calcar_mm"] <= 15


def test_a_stem_lies_in_the_canal_and_its_neck_leads_to_the_ball(treated):
    for kind in REPLACEMENTS:
        for before, after, side, entry in treated[kind]:
            frame = femur_frame(before, side)
            stem = after.parts[f"stem_{side}"].mesh[0]
            below = (stem - frame.lesser) @ frame.up < -15
            assert below.sum() > 150
            assert penetration_mm(stem[below], after.bones[f"femur_{side}"]).max() < -1.0  # within the cortex
            lower = stem[below]
            middle = lower.mean(axis=0)
            axis = np.linalg.svd(lower - middle)[2][0]
            assert np.degrees(np.arccos(min(abs(axis @ frame.up), 1))) < 6
            ball_mesh = after.parts[f"ball_{side}"].mesh
            centre = ball_mesh[0].mean(axis=0)
            nearest = np.linalg.norm(stem - centre, axis=1).min()
            assert entry["ball_mm"] / 2 - 3 < nearest < entry["ball_mm"] / 2 + 0.5  # it touches and does not fill it
            assert 115 < entry["neck_shaft_degrees"] < 150


def test_cement_surrounds_the_stem_within_the_bone(treated):
    cemented = 0
    for kind in REPLACEMENTS:
        for _, after, side, entry in treated[kind]:
            assert (f"cement_{side}" in after.parts) == ("mantle_mm" in entry)
            if "mantle_mm" not in entry:
                assert entry["stem"] == "titanium"
                continue
            cemented += 1
            cement = after.parts[f"cement_{side}"].mesh
            assert penetration_mm(cement[0], after.bones[f"femur_{side}"]).max() < 2.5
            assert volume_mm3(*cement) > 3000
            assert entry["stem"] in ("cobalt_chrome", "steel")
    assert cemented >= 2


def test_a_cup_faces_as_its_metadata_says_and_fills_its_socket(treated):
    inclinations, anteversions = [], []
    for before, after, side, entry in treated["total hip"]:
        cup = after.parts[f"cup_{side}"].mesh
        ball_mesh = after.parts[f"ball_{side}"].mesh
        radius = entry["cup_mm"] / 2
        # of a hemisphere the rim's plane is the one whose points are all farthest from the dome
        centre = np.linalg.lstsq(
            np.column_stack([2 * cup[0], np.ones(len(cup[0]))]), (cup[0] ** 2).sum(axis=1), rcond=None
        )[0][:3]
        mouth = centre - cup[0].mean(axis=0)
        mouth /= np.linalg.norm(mouth)
        lateral = mouth[0] * (1 if side == "right" else -1)
        assert np.degrees(np.arctan2(lateral, -mouth[2])) == pytest.approx(entry["inclination_degrees"], abs=3)
        assert np.degrees(np.arcsin(mouth[1])) == pytest.approx(entry["anteversion_degrees"], abs=3)
        inclinations.append(entry["inclination_degrees"])
        anteversions.append(entry["anteversion_degrees"])
        assert entry["ball_mm"] in BALLS_MM
        assert radius - SHELL_MM - entry["ball_mm"] / 2 >= LINER_MM - 1e-9
        assert penetration_mm(ball_mesh[0], cup).min() > 0.5  # liner between them
        assert np.linalg.norm(ball_mesh[0].mean(axis=0) - before.landmarks[f"femur_{side}"]["femoral_head_centre"]) < 8
        hip = after.bones[f"hip_{side}"]
        outer = cup[0][np.abs(np.linalg.norm(cup[0] - cup[0].mean(axis=0), axis=1)) > 0]
        assert penetration_mm(outer, hip).min() > -1.5  # the socket is reamed to it
        touching = penetration_mm(outer, hip) < 2.0
        assert touching.mean() > 0.1
        moved = np.linalg.norm(hip[0] - before.bones[f"hip_{side}"][0], axis=1)
        assert moved.max() == pytest.approx(entry["reamed_mm"])
    assert np.min(inclinations) > 25
    assert np.max(inclinations) < 55
    assert 0 < np.mean(anteversions) < 30


def test_the_ball_of_a_hemiarthroplasty_fits_the_socket_that_was_left(treated):
    for before, after, side, entry in treated["hemiarthroplasty"]:
        assert f"cup_{side}" not in after.parts
        assert after.bones[f"hip_{side}"] is before.bones[f"hip_{side}"]
        assert 36 < entry["ball_mm"] < 60
        assert penetration_mm(after.parts[f"ball_{side}"].mesh[0], after.bones[f"hip_{side}"]).min() > 0


def test_depth_maps_hold_nothing_where_the_head_was(treated):
    before, after, side, _ = treated["total hip"][0]
    geometry = ProjectionGeometry(1100, (2.0, 2.0), (240, 240))
    translation = np.array([0, 200.0, 0])
    bone = f"femur_{side}"
    maps = [
        cast({bone: (p.bones[bone][0] + translation, p.bones[bone][1])}, geometry).maps.mask[0] for p in (before, after)
    ]
    head = before.landmarks[bone]["femoral_head_centre"] + translation
    row, col = np.rint(geometry.project(head)[0]).astype(int)
    assert maps[0][row - 5 : row + 6, col - 5 : col + 6].all()
    assert not maps[1][row - 5 : row + 6, col - 5 : col + 6].any()
    assert 0.05 < 1 - maps[1].sum() / maps[0].sum() < 0.4


# Fixation


def test_screws_end_in_the_head_and_nowhere_in_the_joint(treated):
    for kind, name in (("hip screw", "lag_screw"), ("nail", "lag_screw"), ("cannulated screws", "screws")):
        for before, after, side, entry in treated[kind]:
            frame = femur_frame(before, side)
            screw = after.parts[f"{name}_{side}"].mesh[0]
            assert penetration_mm(screw, before.bones[f"hip_{side}"]).min() > 1
            along = (screw - frame.head) @ frame.axis
            tip = screw[along > along.max() - 2]
            assert np.linalg.norm(tip - frame.head, axis=1).max() < frame.radius
            inner = screw[np.linalg.norm(screw - frame.head, axis=1) < 45]
            assert penetration_mm(inner, frame.mesh).max() < 0.5  # in head and neck
            if "tip_apex_mm" in entry:
                assert 5 < entry["tip_apex_mm"] < 45


def test_a_nail_starts_at_the_trochanter_and_stays_in_the_shaft(treated):
    lengths = []
    for before, after, side, entry in treated["nail"]:
        frame = femur_frame(before, side)
        shape = after.parts[f"nail_{side}"].mesh[0]
        height = (shape - frame.lesser) @ frame.up
        top = shape[height > height.max() - 3].mean(axis=0)
        assert np.linalg.norm(top - frame.greater) < 40
        assert abs(height.max() - frame.height(frame.greater)) < 25
        assert penetration_mm(shape[height < frame.height(frame.greater) - 30], frame.mesh).max() < 0
        assert height.max() - height.min() == pytest.approx(entry["length_mm"], rel=0.05)
        lengths.append((entry["long"], entry["length_mm"]))
    assert all(length > 230 if long else length < 215 for long, length in lengths)


def test_plates_lie_on_the_lateral_cortex_and_screws_hold_both(treated):
    for kind in ("hip screw", "shaft plate"):
        for before, after, side, _ in treated[kind]:
            frame = femur_frame(before, side)
            plate = after.parts[f"plate_{side}"].mesh[0]
            away = penetration_mm(plate, frame.mesh)
            assert away.min() > -2.5
            assert away.max() < 16
            heights = (plate - frame.lesser) @ frame.up
            assert ((plate - frame.middle(heights)) @ frame.medial < 0).all()
            screws = after.parts[f"shaft_screws_{side}"].mesh[0]
            through = penetration_mm(screws, frame.mesh)
            lateral = (screws - frame.middle((screws - frame.lesser) @ frame.up)) @ frame.medial < 0
            assert through[lateral].min() > 0  # heads are out of the bone, tips out or in the lesser trochanter
            assert through.min() > -8
            assert through.max() < 8
            middles = screws.reshape(-1, 50, 3).mean(axis=1)  # a rod is two rings of 24 and two middles
            assert len(middles) >= 2
            assert penetration_mm(middles, frame.mesh).max() < -5


# The mix


def test_the_share_of_operated_hips_is_as_documented(patients):
    kinds, hips, both = Counter(), 0, 0
    for seed in range(400):
        entries = operated(patients[seed % 6], np.random.default_rng(seed)).metadata["hardware"]
        on_hips = [e for e in entries if e["what"] not in PELVIC]
        hips += len(on_hips)
        both += len(on_hips) == 2
        kinds.update(e["what"] for e in entries)
    assert 0.09 < hips / 800 < 0.17
    assert 0 < both < 60
    assert kinds["total hip"] > 0.3 * sum(kinds.values())
    assert len(kinds) >= 6


def test_the_argument_is_left_alone_and_the_same_seed_repeats(patients):
    for seed in range(40):
        rngs = [np.random.default_rng(seed) for _ in range(2)]
        once, again = (dressed(operated(patients[1], rng), rng) for rng in rngs)
        assert once.metadata == again.metadata
        assert once.parts.keys() == again.parts.keys()
    assert patients[1].parts == {}
    assert "hardware" not in patients[1].metadata


def test_clothing_lies_in_front_of_the_skin_and_most_have_none(patients):
    rng = np.random.default_rng(0)
    front = max(vertices[:, 1].max() for vertices, _ in patients[0].bones.values())
    for make in CLOTHING.values():
        for _ in range(10):
            body = body_of(patients[0], rng)
            assert 20 <= body.skin - front <= 60
            parts, entry = make(body, rng)
            json.dumps(entry)
            for name, part in parts.items():
                assert open_edges(part.mesh[1]) == 0, name
                assert volume_mm3(*part.mesh) > 5, name
                assert part.mesh[0][:, 1].min() > front - 5, name
    clothing = [dressed(patients[0], np.random.default_rng(seed)).metadata["worn"] for seed in range(500)]
    assert 0.02 < np.mean([bool(entries) for entries in clothing]) < 0.12


def test_a_shield_is_of_thin_lead_near_the_midline_and_often_misplaced(patients):
    rng = np.random.default_rng(3)
    misplaced, off = [], []
    for _ in range(200):
        body = body_of(patients[2], rng)
        parts, entry = CLOTHING["shield"](body, rng)
        assert parts["shield"].material == "lead"
        assert np.ptp(parts["shield"].mesh[0][:, 1]) == pytest.approx(entry["lead_mm"])
        misplaced.append(entry["misplaced"])
        off.append(parts["shield"].mesh[0][:, 0].mean() - body.middle)
    assert 0.7 < np.mean(misplaced) < 0.87  # of both sexes
    assert 10 < np.std(off) < 35


def test_a_patient_with_parts_is_mirrored(treated):
    _, patient, side, _ = treated["total hip"][0]
    other = "right" if side == "left" else "left"
    mirrored = patient.mirrored()
    assert mirrored.parts[f"cup_{other}"].mesh[0] == pytest.approx(patient.parts[f"cup_{side}"].mesh[0] * MIRROR)
    assert volume_mm3(*mirrored.parts[f"stem_{other}"].mesh) == pytest.approx(
        volume_mm3(*patient.parts[f"stem_{side}"].mesh)
    )


def test_the_ill_are_operated_too(patients):
    for seed in range(60):
        rng = np.random.default_rng([seed, 5])
        patient = operated(diseased(patients[seed % 6], rng), rng)
        assert {"disease", "hardware"} <= patient.metadata.keys()
        for mesh in patient.bones.values():
            assert np.isfinite(mesh[0]).all()
