"""Verdicts held against the truth: what is spoilt on purpose, how limits are chosen and stated; a run that goes on."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from support.reconstructions import made_reconstruction

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.film.acquisition import Known
from DualFaceReconLib.geometry import Provenance
from DualFaceReconLib.verdicts import LIMITS
from training.__main__ import main
from training.judging import doubts
from training.judging.doubts import (
    SEED,
    JudgedBone,
    aligned,
    as_markdown,
    chosen_by,
    judge,
    kinds_of,
    limits_by,
    person_of,
)
from training.judging.spoiling import AS_IT_IS, OF_FILMS, SPOILT, spoilt_film, spoilt_masks
from training.patients.kept_out import kept_out_people

HEADER = Provenance("header", "made up")


@pytest.fixture(scope="module")
def made():
    return made_reconstruction()


@pytest.fixture(scope="module")
def radiograph(made):
    return replace(made.radiograph, collimation_px=Known((0, 210, 0, 260), HEADER))


# What is spoilt


@pytest.mark.parametrize("kind", OF_FILMS)
def test_a_film_is_spoilt_where_it_shows_bone_and_by_its_seed_alone(kind, made, radiograph):
    bones = made.maps.mask.any(axis=0)
    spoilt, again, other = (spoilt_film(kind, radiograph, bones, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(spoilt.radiograph.pixels, again.radiograph.pixels)
    assert not np.array_equal(spoilt.radiograph.pixels, other.radiograph.pixels)
    was = radiograph.pixels[spoilt.window]
    assert spoilt.radiograph.pixels.shape == was.shape
    changed = np.abs(spoilt.radiograph.pixels - was) > 1e-3
    if kind == "cropped":
        assert not changed.any()
        assert bones[spoilt.window].any()
        assert bones[spoilt.window].sum() < bones.sum()
    else:
        assert 0.01 < (changed & bones).sum() / bones.sum() < 0.95
    if kind in ("cropped", "bars taken for film"):
        assert spoilt.radiograph.collimation_px is None


def test_what_is_left_of_a_cropped_film_is_where_it_was(made, radiograph):
    spoilt = spoilt_film("cropped", radiograph, made.maps.mask.any(axis=0), np.random.default_rng(3))
    rows, cols = spoilt.window
    place = np.array([30.0, 180.0, -20.0])
    own, whole = spoilt.radiograph.geometry.project(place)[0], radiograph.geometry.project(place)[0]
    assert own == pytest.approx(whole - (rows.start, cols.start))


def test_half_a_mask_is_about_half_of_a_hip_s_and_of_the_other_side_s_femur(made):
    for seed in range(4):
        masks = spoilt_masks("half masks", made.maps, np.random.default_rng(seed))
        assert not (masks & ~made.maps.mask).any()
        kept = dict(zip(BONES, masks.sum(axis=(1, 2)) / made.maps.mask.sum(axis=(1, 2)), strict=True))
        spoilt = {bone for bone, share in kept.items() if share < 1}
        assert spoilt in ({"hip_left", "femur_right"}, {"hip_right", "femur_left"})
        assert all(0.3 < kept[bone] < 0.7 for bone in spoilt)


def test_a_mask_of_two_bones_has_a_part_of_its_neighbour_s(made):
    masks = spoilt_masks("masks of two bones", made.maps, np.random.default_rng(0))
    assert (masks | ~made.maps.mask).all()
    more = {bone: new & ~old for bone, new, old in zip(BONES, masks, made.maps.mask, strict=True) if (new & ~old).any()}
    assert len(more) == 2
    for bone, added in more.items():
        neighbour = bone.replace("hip", "femur") if bone.startswith("hip") else bone.replace("femur", "hip")
        assert not (added & ~made.maps.mask[BONES.index(neighbour)]).any()


def test_every_way_of_spoiling_comes_as_often_as_the_others():
    kinds = [kinds_of(number) for number in range(len(SPOILT))]
    assert all(some[0] == AS_IT_IS and len(set(some)) == 3 for some in kinds)
    counts = [sum(kind in some for some in kinds) for kind in SPOILT]
    assert counts == [2] * len(SPOILT)


# The ruler


def test_films_are_shifted_as_the_ruler_does_it(made):
    true, was = made.maps, made.radiograph
    radiograph, maps = aligned(was, true.shifted(-12.0), true)
    assert maps.front[true.mask] == pytest.approx(true.front[true.mask], abs=1e-3)
    assert radiograph.geometry.object_distance_mm == pytest.approx(was.geometry.object_distance_mm - 12)
    far = aligned(was, true.shifted(-400.0), true)[0]
    assert far.geometry.object_distance_mm == 0
    nothing = replace(true, mask=np.zeros_like(true.mask))
    assert aligned(was, nothing, true)[0] is was


def test_a_bone_is_the_person_s_whose_it_mostly_is():
    shares = {"pelvis": {"rhan40/s05": 0.3, "llp26/s10": 0.7}, "femora": {"llp26/s20": 1.0}}
    case = SimpleNamespace(metadata={"patient": shares}, folder=SimpleNamespace(name="case_1"))
    assert person_of(case, "hip_left") == "llp26/s10"
    assert person_of(case, "femur_left") == "llp26/s20"
    assert person_of(SimpleNamespace(metadata={}, folder=SimpleNamespace(name="case_1")), "hip_left") == "case_1"


# Chosen and stated


def test_limits_are_chosen_by_half_of_the_people_who_are_kept_out():
    chosen, everybody = chosen_by(), set(kept_out_people("choosing"))
    assert set(chosen) < everybody
    assert chosen == ["llp26/s05", "llp26/s15", "rhan40/s25", "rhan40/s36"]  # as the pages say: SEED stays
    assert SEED == 18


def bone_of(assd, person="llp26/s05", kind=AS_IT_IS, bone="hip_left", **evidence):
    return JudgedBone(case="case_1", kind=kind, bone=bone, person=person, assd_mm=assd, evidence=evidence)


def test_the_rule_doubts_one_right_bone_in_a_hundred_and_calls_unusable_what_is_mostly_wrong():
    right = [bone_of(1.0, misfit=value / 100) for value in range(201)]
    wrong = [bone_of(9.0, misfit=value) for value in (1.0, 2.5, 3.0, 4.0, 5.0)]
    doubtful, unusable = limits_by([*right, *wrong])["hip"]["misfit"]
    assert doubtful == pytest.approx(1.98)
    assert unusable == 2.5  # beyond it all are wrong; beyond 1 no more than one in twenty
    assert limits_by(right)["hip"]["misfit"] == (pytest.approx(1.98), np.inf)
    assert limits_by(wrong)["femur"]["misfit"] == (np.inf, np.inf)


def test_the_tables_count_each_half_of_the_people_apart():
    limit = LIMITS["hip"]["misfit"]
    much, little = 1.01 * limit.unusable, 0.5 * limit.doubtful
    judged = [
        *(bone_of(9.0, misfit=much) for _ in range(3)),
        bone_of(9.0, misfit=little),
        *(bone_of(9.0, person="llp26/s10", misfit=little) for _ in range(2)),
        *(bone_of(1.0, person="llp26/s10", kind="folded", misfit=little) for _ in range(3)),
        bone_of(1.0, person="llp26/s10", kind="folded", misfit=much),
        bone_of(4.0, person="llp26/s10", kind="folded", misfit=1.01 * limit.doubtful),
    ]
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in as_markdown(judged).splitlines() if "|" in line
    ]
    by_name = {row[0]: row[1:] for row in rows}
    assert by_name["**chosen by**, hip"] == ["4", "75", "75", "0", "", "0", "", ""]
    assert by_name["**stated by**"] == ["2", "0", "0", "1", "100", "4", "25", "25"]
    assert by_name["stated by, folded"] == ["0", "", "", "1", "100", "4", "25", "25"]
    assert by_name["`range` alone"] == ["2", "0", "0", "1", "0", "4", "0", "0"]
    assert by_name["all limits times 0.5"][1] == "0"  # what is at the limit is not beyond it
    assert by_name["all limits times 3"][6] == ("25" if much > 3 * limit.doubtful else "0")
    assert by_name["all limits times 3"][7] == "0"


# A run goes on


def test_what_was_measured_of_a_case_is_not_measured_again(tmp_path, monkeypatch):
    asked = []

    def measured(case, kinds, number, reconstructor):
        asked.append(case)
        return [bone_of(2.0, misfit=0.5)]

    monkeypatch.setattr(doubts, "_of_case", measured)
    monkeypatch.setattr(doubts, "read_case", lambda folder: folder.name)
    monkeypatch.setattr(doubts, "Reconstructor", lambda bundle: None)
    seals = {"depth.safetensors": SimpleNamespace(sha256="aa")}
    monkeypatch.setattr(doubts, "load_manifest", lambda bundle: SimpleNamespace(files=seals))
    folders = [tmp_path / f"case_{number}" for number in range(3)]
    first = judge(folders, tmp_path, tmp_path / "out", every=2, say=lambda words: None)
    assert asked == ["case_0", "case_2"]
    assert first == [bone_of(2.0, misfit=0.5)] * 2
    assert judge(folders, tmp_path, tmp_path / "out", say=lambda words: None) == [bone_of(2.0, misfit=0.5)] * 3
    assert asked == ["case_0", "case_2", "case_1"]
    seals["depth.safetensors"].sha256 = "bb"  # by other networks everything is
    judge(folders, tmp_path, tmp_path / "out", say=lambda words: None)
    assert len(asked) == 6


def test_a_folder_without_cases_and_a_number_beyond_them_are_refused(tmp_path, capsys):
    arguments = ["verdicts", str(tmp_path), "--bundle", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "no cases" in capsys.readouterr().err
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "geometry.json").touch()
    assert main([*arguments, "--sheet", "1"]) == 2
    assert "give 0 to 0" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
