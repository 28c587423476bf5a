"""The ruler on networks: exact stand-ins find what they must, missed bones are named, groups hold whom they say."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.bones import MODELS
from support.bundles import weights
from support.cases import judged_by
from support.networks import EXACT, MANIFEST, radiograph_of
from support.networks import GEOMETRIES as FILMS

from DualFaceReconLib.bonemaps import BONES, BoneMaps
from DualFaceReconLib.bundle.files import write_bundle
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import sample_surface
from DualFaceReconLib.metrics import compare_surfaces, emd_floor
from DualFaceReconLib.prediction import Disagreement
from DualFaceReconLib.proximity import distances_to_surface
from DualFaceReconLib.shape.shapemodel import load_shape_model, load_shape_models
from DualFaceReconLib.surfaces import observed_surface, observed_triangles
from training.__main__ import EXIT_REFUSED, main
from training.cases import Case, read_case, write_case
from training.judging.baselines import MEAN_AT_POSE, MEAN_BY_MASK, NO_ALIGNMENT
from training.judging.evaluate import evaluate, groups_of, on_film
from training.judging.nearness import quick_distances
from training.judging.placing import placed_by_mask
from training.judging.predictions import (
    BY_BONE,
    BY_PICTURE,
    COMPLETED,
    DEPTHS_ALONE,
    MASKS_ALONE,
    OBSERVED,
    UNALIGNED,
    PredictedMaps,
    align,
    predicted_maps,
)
from training.judging.scores import ALL, CUT_OFF, DISEASED, HEALTHY, METAL, ONE_HIP, Evaluation, Scored
from training.judging.tables import MOSTLY_FLOOR, as_markdown, cases_to_see, read_evaluation
from training.raycast import cast

GEOMETRY = ProjectionGeometry(1100, (1.2, 1.2), (300, 280), None, "AP", 180.0)
OFF_MM = 12.0
SAMPLES = 1500  # of a surface; each costs as much as the others, and figures here need no more


def true_bones():
    """A left hip and a left femur, the latter cut by the film."""
    models = load_shape_models(MODELS)
    hip, femur = models["hip"].mean, models["femur"].mean
    return {
        "hip_left": (hip - hip.mean(axis=0) + (-40, 190, 40), models["hip"].triangles),
        "femur_left": (
            femur - (femur[:, 0].max(), femur[:, 1].mean(), femur[:, 2].max()) + (-30, 190, 20),
            models["femur"].triangles,
        ),
    }


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    meshes = true_bones()
    projected = cast(meshes, GEOMETRY)
    folder = tmp_path_factory.mktemp("cases") / "one"
    write_case(folder, projected.path_mm.sum(axis=0), GEOMETRY, projected.maps, meshes, {"person": "nobody"})
    return read_case(folder)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    write_bundle(folder, MANIFEST, weights(0), {kind: MODELS / f"{kind}.ssm.npz" for kind in ("hip", "femur")})
    return folder


def off(case, geometry, without=()):
    """True maps of all bones, 12 mm too far away, and nothing of some bones."""
    true = cast(case.meshes, geometry).maps.shifted(OFF_MM)
    rows = {bone: number for number, bone in enumerate(true.bones) if bone not in without}
    kept = [np.zeros((len(BONES), *geometry.size_px), image.dtype) for image in (true.mask, true.front, true.back)]
    for bone, number in rows.items():
        for all_bones, image in zip(kept, (true.mask, true.front, true.back), strict=True):
            all_bones[BONES.index(bone)] = image[number]
    mask, front, back = kept
    return BoneMaps(bones=BONES, mask=mask, front=front, back=back)


@pytest.fixture
def stand_ins(case, monkeypatch):
    """Networks that say the truth, 12 mm off; gives a set of bones that they shall miss."""
    missed = set()
    monkeypatch.setattr("training.judging.evaluate.SAMPLES", SAMPLES)
    monkeypatch.setattr("training.judging.evaluate.loaded_networks", lambda bundle: EXACT)
    monkeypatch.setattr("training.judging.tables.loaded_networks", lambda bundle: EXACT)
    monkeypatch.setattr("training.judging.evaluate.EMD_POINTS", 200)
    apart = dict.fromkeys(BONES, Disagreement(depth_mm=1.5, dice=0.9))
    prediction = SimpleNamespace(bones=BONES, disagreement=apart)
    monkeypatch.setattr("training.judging.predictions.predict", lambda networks, film, **_: prediction)
    monkeypatch.setattr(
        "training.judging.predictions.maps_of", lambda prediction, film, mask=None: off(case, film.geometry, missed)
    )
    return missed


def by_row(evaluation, bone, value="assd_mm"):
    return {(score.row, score.alignment): getattr(score, value) for score in evaluation.surfaces if score.bone == bone}


def test_true_maps_that_stand_too_far_away_are_exact_once_aligned(case, bundle, stand_ins):
    evaluation = evaluate([case.folder], (300,), bundle=bundle, say=lambda _: None)
    for bone in case.meshes:
        assd = by_row(evaluation, bone)
        assert None not in assd.values()
        exact = assd["exact maps", NO_ALIGNMENT]
        for row in (OBSERVED, DEPTHS_ALONE, MASKS_ALONE):
            assert assd[row, BY_PICTURE] == pytest.approx(exact, abs=1e-3)
        assert assd[COMPLETED, BY_PICTURE] == pytest.approx(assd["exact maps, completed", NO_ALIGNMENT], abs=0.02)
        further = observed_triangles(observed_surface(cast(case.meshes, GEOMETRY).maps.shifted(OFF_MM), GEOMETRY, bone))
        moved = compare_surfaces(on_film(further, GEOMETRY), on_film(case.meshes[bone], GEOMETRY), SAMPLES).assd_mm
        assert assd[OBSERVED, UNALIGNED] == pytest.approx(moved, abs=1e-3)
        assert assd[OBSERVED, UNALIGNED] > exact + 3
        grown = OFF_MM / (GEOMETRY.sdd_mm - GEOMETRY.object_distance_mm)  # what moves away before back-projection grows
        assert exact < assd[OBSERVED, BY_BONE] < exact + grown * 100
        assert assd[COMPLETED, BY_BONE] < assd[COMPLETED, UNALIGNED] / 2
        assert assd[MEAN_AT_POSE, NO_ALIGNMENT] < 0.1  # these bones are the mean
        assert assd[MEAN_BY_MASK, NO_ALIGNMENT] < 6
        floor = emd_floor(on_film(case.meshes[bone], GEOMETRY), 200)
        assert set(by_row(evaluation, bone, "emd_floor_mm").values()) == {floor}
        emd = by_row(evaluation, bone, "emd_mm")
        assert emd[MEAN_AT_POSE, NO_ALIGNMENT] < 1.5 * floor  # nothing but the drawing of points
        assert emd[OBSERVED, UNALIGNED] > max(emd[OBSERVED, BY_PICTURE], OFF_MM / 2)
    for error in ("flexion_error_deg", "rotation_error_deg"):
        assert set(by_row(evaluation, "hip_left", error).values()) == {None}
        degrees = by_row(evaluation, "femur_left", error)
        assert None not in degrees.values()
        assert abs(degrees[MEAN_AT_POSE, NO_ALIGNMENT]) < 0.1
        for row in ((OBSERVED, BY_PICTURE), (COMPLETED, BY_PICTURE), ("exact maps", NO_ALIGNMENT), (OBSERVED, BY_BONE)):
            assert abs(degrees[row]) < 1.5
    for score in evaluation.maps:
        assert score.found
        assert score.dice == 1
        assert (score.mirror_depth_mm, score.mirror_dice) == (1.5, 0.9)
        assert max(score.front_mae_mm, score.front_rmse_mm, score.back_mae_mm, score.back_rmse_mm) < 1e-3


def test_what_was_measured_of_a_case_is_kept_for_the_same_bundle_and_way(case, bundle, stand_ins, tmp_path):
    way = {"jobs": 1, "bundle": bundle, "say": lambda _: None, "kept": tmp_path}
    first = evaluate([case.folder], (40,), emd=False, **way)
    assert {score.emd_mm for score in first.surfaces} == {None}
    assert "EMD is" not in as_markdown(first, "A test")
    stand_ins.add("hip_left")  # what would be measured now is something else
    assert evaluate([case.folder], (40,), emd=False, **way) == first
    again = evaluate([case.folder], (41,), emd=False, **way)
    assert by_row(again, "hip_left")[OBSERVED, BY_PICTURE] is None
    assert by_row(first, "hip_left")[OBSERVED, BY_PICTURE] is not None


def test_quick_distances_are_the_exact_ones():
    meshes = true_bones()
    points = sample_surface(*meshes["hip_left"], 400, 0)
    for moved in (points, points + np.array([3, 2, 1]), points + 150):
        exact = distances_to_surface(moved, *meshes["femur_left"])
        assert quick_distances(moved, *meshes["femur_left"]) == pytest.approx(exact, abs=1e-3)


def test_a_missed_bone_is_counted_and_named(case, bundle, stand_ins):
    stand_ins.add("hip_left")
    evaluation = evaluate([case.folder], (150,), bundle=bundle, say=lambda _: None)
    assd = by_row(evaluation, "hip_left")
    assert assd[OBSERVED, BY_PICTURE] is None
    assert assd[COMPLETED, UNALIGNED] is None
    assert assd["exact maps", NO_ALIGNMENT] is not None
    assert by_row(evaluation, "femur_left")[OBSERVED, BY_PICTURE] < 1
    maps = {score.bone: score for score in evaluation.maps}
    assert (maps["hip_left"].found, maps["hip_left"].dice, maps["hip_left"].front_mae_mm) == (False, 0, None)
    text = as_markdown(evaluation, "A test")
    assert f"| hip | {OBSERVED} | {BY_PICTURE} | 150 | 0 | 1 | | | | | | |" in text
    assert "| hip | 150 | 1 | 0 | 0.000 |  |  |  |  | 1.50 | 0.900 |" in text
    assert f"- {OBSERVED}, {BY_PICTURE}: one hip_left (150)" in text


def test_the_command_writes_tables_and_pictures(case, bundle, stand_ins, tmp_path, capsys):
    judged_by(case.folder, ("hip_left",), tmp_path / "cases")
    out = tmp_path / "out"
    arguments = ["evaluate", tmp_path / "cases", "--bundle", bundle, "--out", out, "--pixels", "100", "--jobs", "1"]
    assert main([str(argument) for argument in arguments]) == 0
    assert f"# {MANIFEST.id} {MANIFEST.version}" in capsys.readouterr().out
    names = {path.name for path in out.iterdir()}
    assert names == {"table.md", "rows.jsonl", "maps.jsonl", "assd.png", "outlines.png", "measured"}
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {(row["row"], row["alignment"]) for row in rows} >= {(OBSERVED, how) for how in (BY_PICTURE, UNALIGNED)}


def test_what_is_no_bundle_or_no_case_is_refused(case, tmp_path, capsys):
    arguments = ["evaluate", str(case.folder.parent), "--out", str(tmp_path / "out"), "--jobs", "1"]
    assert main([*arguments, "--bundle", str(tmp_path / "none")]) == EXIT_REFUSED
    (tmp_path / "cases" / "broken").mkdir(parents=True)
    (tmp_path / "cases" / "broken" / "geometry.json").write_text("{}", encoding="utf-8")
    assert main(["evaluate", str(tmp_path / "cases"), "--out", str(tmp_path / "out"), "--jobs", "1"]) == EXIT_REFUSED
    assert "broken is no case" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# Alignment by hand


def test_one_shift_a_picture_is_the_mean_over_what_both_have():
    """Two bones on three pixels; front and back; 100 stands where only one of both has the bone."""
    mask = np.array([[[1, 1, 0]], [[1, 0, 0]]], dtype=bool)
    near, far = (np.where(mask, depth, 0).astype(np.float32) for depth in (900, 940))
    true = BoneMaps(bones=("a", "b"), mask=mask, front=near, back=far)
    predicted_mask = np.array([[[1, 0, 1]], [[1, 0, 0]]], dtype=bool)
    front = np.array([[[890, 0, 100]], [[897, 0, 0]]], dtype=np.float32)  # 10 and 3 too near
    back = np.array([[[932, 0, 100]], [[941, 0, 0]]], dtype=np.float32)  # 8 too near, 1 too far
    near, far = (np.full(mask.shape, depth, np.float32) for depth in (880, 930))
    everywhere = BoneMaps(bones=("a", "b"), mask=np.ones_like(mask), front=near, back=far)
    geometry = ProjectionGeometry(1000, (1, 1), (1, 3))
    maps = BoneMaps(bones=("a", "b"), mask=predicted_mask, front=front, back=back)
    aligned = align(
        PredictedMaps(maps=maps, everywhere=everywhere, geometry=geometry, searched=geometry, mirrored={}), true
    )
    assert aligned.valid.tolist() == [[[True, False, False]], [[True, False, False]]]
    shift = (10 + 3 + 8 - 1) / 4
    assert aligned.maps.front[predicted_mask].tolist() == [890 + shift, 100 + shift, 897 + shift]
    assert aligned.shifts_mm == {"a": 9.0, "b": 1.0}
    assert np.array_equal(aligned.depths_alone.mask, mask)
    assert aligned.depths_alone.front[mask] == pytest.approx(880 + 15)  # 20 and 10 too near
    assert (aligned.detected("a"), aligned.detected("b")) == (True, True)


def test_nothing_in_common_is_nothing_detected():
    mask = np.array([[[1, 0]]], dtype=bool)
    true, beside = (
        BoneMaps(bones=("a",), mask=pixels, front=pixels * np.float32(900), back=pixels * np.float32(940))
        for pixels in (mask, ~mask)
    )
    geometry = ProjectionGeometry(1000, (1, 1), (1, 2))
    aligned = align(
        PredictedMaps(maps=beside, everywhere=beside, geometry=geometry, searched=geometry, mirrored={}), true
    )
    assert not aligned.detected("a")
    assert aligned.depths_alone is None
    assert np.isnan(aligned.shifts_mm["a"])
    assert set(aligned.surfaces("a", {}, {}).values()) == {None}


def test_depths_of_the_same_network_are_known_beyond_its_masks(monkeypatch):
    film = radiograph_of(FILMS[1])
    monkeypatch.setattr("training.judging.predictions.read_radiograph", lambda path: film)
    predicted = predicted_maps(EXACT, Path("film.dcm"))
    assert predicted.everywhere.mask.sum() > 3 * predicted.maps.mask.sum()
    offset = (predicted.everywhere.front - predicted.maps.front)[predicted.maps.mask]
    assert offset == pytest.approx(offset[0], abs=1e-2)  # one constant, which alignment takes away
    fewer = predicted.at((100, 120), BONES[:1])
    assert fewer.maps.mask.mean() == pytest.approx(predicted.maps.mask[0].mean(), rel=0.05)
    slope = fewer.maps.back - fewer.maps.front
    assert slope[fewer.maps.mask] == pytest.approx(30, abs=1e-3)
    assert not slope[~fewer.maps.mask].any()


# The earth mover's distance and what it is worth


def score(case, assd_mm):
    """Of the left hip of a case by the headline's row."""
    return Scored(
        case=case,
        person=case,
        bone="hip_left",
        groups=(ALL,),
        row=OBSERVED,
        alignment=BY_PICTURE,
        pixels=256,
        assd_mm=assd_mm,
    )


def test_an_emd_that_is_mostly_floor_is_marked():
    def line(*floors):
        scored = [
            replace(score(f"c{n}", 1.0), hd95_mm=2.0, hd95_max_mm=3.0, cd_l2_mm2=4.0, emd_mm=9.0, emd_floor_mm=floor)
            for n, floor in enumerate(floors)
        ]
        text = as_markdown(Evaluation(surfaces=scored, maps=[]), "A test")
        assert "1,024 points" in text
        return next(row for row in text.splitlines() if row.startswith(f"| hip | {OBSERVED}"))

    assert line(2.0, 3.8).endswith("| 9.00 | 2.90 |")
    assert line(2.0, 4.2).endswith(f"| 9.00 {MOSTLY_FLOOR} | 3.10 |")


# Femora's poses


def test_a_retreat_to_the_mean_is_seen_in_the_table():
    """Of 30 femora flexed by -8 to 21 degrees: one that follows by half, five degrees too far, turned inwards by 2."""
    true = np.arange(-8.0, 22.0)
    scored = [
        replace(
            score(f"c{number}", 1.0),
            bone="femur_left",
            hd95_mm=2.0,
            hd95_max_mm=3.0,
            cd_l2_mm2=4.0,
            emd_mm=9.0,
            emd_floor_mm=2.0,
            true_flexion_deg=flexion,
            flexion_error_deg=5 - flexion / 2,
            rotation_error_deg=2.0,
        )
        for number, flexion in enumerate(true)
    ]
    text = as_markdown(Evaluation(surfaces=scored, maps=[]), "A test")
    assert "| r | under 0 | 0 to 10 | over 10 |" in text
    mean, far = (5 - true / 2).mean(), np.abs(5 - true / 2).mean()
    row = f"| {OBSERVED} | {BY_PICTURE} | 256 | 30 | {far:.1f} | {mean:.1f} | 2.0 | 2.0 | 1.00 |"
    assert f"{row} -4.5: 2.8 | 4.5: 7.2 | 15.5: 12.8 |" in text
    few = as_markdown(Evaluation(surfaces=scored[:2], maps=[]), "A test")
    assert "| 2.0 | 2.0 |  | -7.5: 1.2 |  |  |" in few


def test_a_table_of_before_poses_were_measured_is_read(tmp_path):
    row = asdict(score("a", 1.0))
    old = {name: value for name, value in row.items() if not name.endswith("_deg")}
    assert len(old) == len(row) - 3
    (tmp_path / "rows.jsonl").write_text(json.dumps(old) + "\n", encoding="utf-8")
    assert read_evaluation(tmp_path).surfaces == [score("a", 1.0)]


# Rows, groups and cases to look at


def test_a_mean_shape_is_found_by_its_mask():
    model = load_shape_model(MODELS / "hip.ssm.npz")
    turn = np.deg2rad(8)
    spun = model.mean @ np.array([[np.cos(turn), 0, -np.sin(turn)], [0, 1, 0], [np.sin(turn), 0, np.cos(turn)]]).T
    for move, limit in (((-40, 190, 40), 2.0), ((-40, 190, 110), 3.0)):  # whole, and cut by the film's upper border
        mesh = spun - spun.mean(axis=0) + move, model.triangles
        maps = cast({"hip_left": mesh}, GEOMETRY).maps
        depth = GEOMETRY.sdd_mm - float(mesh[0][:, 1].mean())
        placed = placed_by_mask(model, maps.mask[0], GEOMETRY, depth)
        upright = model.mean - model.mean.mean(axis=0) + move, model.triangles
        assd = [
            compare_surfaces(on_film(shape, GEOMETRY), on_film(mesh, GEOMETRY), SAMPLES).assd_mm
            for shape in (placed, upright)
        ]
        assert assd[0] < limit
        assert assd[0] < 0.7 * assd[1]


def test_groups_hold_whom_they_say(case):
    def groups(**values):
        return groups_of(replace(case, metadata=values), "hip_left")

    assert groups() == (ALL,)
    assert groups(patient={}) == (ALL, HEALTHY)
    assert groups(patient={"disease": [], "hardware": []}) == (ALL, HEALTHY)
    assert groups(patient={"disease": [{"what": "narrowing"}]}) == (ALL, DISEASED)
    assert groups(patient={"disease": [{}], "hardware": [{}]}, rig={"kind": "one hip"}) == (
        ALL,
        DISEASED,
        METAL,
        ONE_HIP,
    )
    assert groups_of(Case(case.folder, GEOMETRY, case.meshes, {}), "femur_left") == (ALL, CUT_OFF)


def test_the_median_and_the_worst_case_are_chosen():
    scores = {"a": (1.0, 3.0), "b": (9.0, None), "c": (5.0, 5.0)}
    scored = [score(name, value) for name, values in scores.items() for value in values]
    assert cases_to_see(scored) == {"c": "median: ASSD 5.0 mm", "b": "worst: a bone was missed"}
    assert cases_to_see(scored[:2]) == {"a": "median: ASSD 2.0 mm, worst: ASSD 2.0 mm"}
