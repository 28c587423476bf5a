"""Studies that are kept for many networks, and the tables of the EAR paper that are made of them."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from support.learning import curves_undrawn
from support.recipes import EAR as SMALL
from support.recipes import by_time
from support.vertebrae import made_group

from DualFaceReconLib.errors import Refusal
from training.learning.recipe import read_recipe
from training.learning.tasks import network_of
from training.vertebrae import films, judging, keeping, kept, tables
from training.vertebrae.arms import ANGLES, EAR, ORDER, TABLES, VolumeArm
from training.vertebrae.films import Errors
from training.vertebrae.keeping import keep_studies
from training.vertebrae.kept import OTHER, KeptSeries, read_series, read_study, room_of, study_files
from training.vertebrae.source import kept_vertebrae

WITHOUT = ("vhm/male",)
SERIES = KeptSeries(side=16, voxel_mm=7.0, seed=0, count=4, watched=2, without=WITHOUT)
BASE = by_time(replace(SMALL, films=replace(SMALL.films, without=WITHOUT, in_situ=0.5)))


@pytest.fixture(scope="module", autouse=True)
def coarse_bones():
    """Bone in voxels of 3.5 mm, and few vertebrae to choose a threshold by: nobody looks at these films."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(films, "MODEL_MM", 3.5)
        patch.setattr(judging, "SAMPLES", 500)
        patch.setattr(judging, "CHOOSING", 1)
        yield


@pytest.fixture(scope="module")
def groups():
    return {"lumbar": made_group()}


@pytest.fixture(scope="module")
def folder(groups, tmp_path_factory):
    path = tmp_path_factory.mktemp("studies")
    keep_studies(groups, SERIES, path, say=lambda words: None)
    return path


@pytest.fixture(scope="module")
def studies(folder):
    return [read_study(file) for file in study_files(folder, read_series(folder))[0]]


# ---- Studies


def test_studies_are_of_others_than_those_who_are_watched(folder):
    learnt, watched = study_files(folder, read_series(folder))
    for files, people in ((learnt, {"clouthier/mean"}), (watched, set(WITHOUT))):
        for file in files:
            mixed = read_study(file).metadata["vertebra"]["mixed"]
            assert {part["person"] for part in mixed} == people


def test_every_other_vertebra_stands_in_situ_and_angles_take_turns(studies):
    assert [study.metadata["in_situ"] for study in studies] == [False, True, False, True]
    assert [abs(study.angles_degrees[OTHER]) for study in studies] == [60, 60, 80, 80]
    assert all(abs(study.angles_degrees[1]) == 90 for study in studies)


@pytest.mark.parametrize("second", [kept.LATERAL, kept.OTHER])
@pytest.mark.parametrize("click_mm", [0.0, 20.0])
def test_bone_lies_where_both_films_are_bright(studies, second, click_mm):
    """Whatever was clicked: the truth and the films move together in the cube."""
    study = studies[0]  # alone
    for seed in range(3):
        cubes, truth_hu = study.sample(Errors(click_mm=click_mm), np.random.default_rng(seed), second)
        assert cubes.shape == (2, 16, 16, 16)
        dark = cubes.amin(0).numpy()  # of the two films
        assert dark[truth_hu > 50].mean() > dark[truth_hu == 0].mean() + 1
        assert (dark[truth_hu > 100] > np.median(dark)).all()


def test_a_click_moves_the_vertebra_by_whole_voxels(studies):
    study, side = studies[0], SERIES.side
    truths = [study.sample(Errors(click_mm=15.0), np.random.default_rng(seed))[1] for seed in range(4)]
    starts = list(product(range(2 * room_of(SERIES.grid) + 1), repeat=3))
    windows = [study.truth_hu[tuple(slice(start, start + side) for start in place)] for place in starts]
    places = [[np.array_equal(truth, window) for window in windows].index(True) for truth in truths]
    assert len(set(places)) > 1
    middle = study.sample(Errors(), np.random.default_rng(0))[1]
    np.testing.assert_array_equal(middle, windows[len(windows) // 2])


def test_what_is_believed_changes_the_films_alone(studies):
    right, wrong = (
        studies[0].sample(errors, np.random.default_rng(5)) for errors in (Errors(), Errors(distance_mm=60.0))
    )
    assert not torch.equal(right[0], wrong[0])
    np.testing.assert_array_equal(right[1], wrong[1])


def test_what_is_there_is_not_made_again_and_other_knobs_are_refused(groups, folder, monkeypatch):
    def never(*given):
        raise AssertionError("made again")

    monkeypatch.setattr(keeping, "sample_vertebra", never)
    keep_studies(groups, SERIES, folder)
    with pytest.raises(Refusal, match="other knobs"):
        keep_studies(groups, replace(SERIES, voxel_mm=3.5), folder)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_as_many_stand_in_situ_as_a_series_says(share):
    series = replace(SERIES, in_situ=share)
    plans = [series.planned(seed) for seed in range(40)]
    assert [sum(in_situ for in_situ, _ in plans[start : start + 4]) for start in range(0, 40, 4)] == [4 * share] * 10
    assert {degrees for _, degrees in plans} == set(kept.OBLIQUE_DEGREES)
    assert ("in_situ" in series.as_json()) == (share != 0.5)
    assert "abdomen" not in series.as_json()
    assert replace(series, abdomen=True).as_json()["abdomen"]


def test_many_processes_make_the_same_studies(groups, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "ProcessPoolExecutor", _Threads)
    keep_studies(groups, SERIES, tmp_path, workers=2)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert len(files) == 7
    assert all((tmp_path / name).read_bytes() == (folder / name).read_bytes() for name in files)


class _Threads(ThreadPoolExecutor):
    """In the place of processes, which would not know of coarse bones."""

    def __init__(self, workers, mp_context, initializer, initargs):
        super().__init__(1, initializer=initializer, initargs=pickle.loads(pickle.dumps(initargs)))


def test_when_the_minutes_are_over_a_series_is_as_long_as_it_came(groups, tmp_path):
    unwatched = replace(SERIES, without=())
    made = keep_studies(groups, unwatched, tmp_path / "some", minutes=0)
    assert (made.count, len(list((tmp_path / "some").rglob("*.safetensors")))) == (1, 1)
    assert read_series(tmp_path / "some") == made
    with pytest.raises(Refusal, match="studies to watch"):
        keep_studies(groups, SERIES, tmp_path / "none", minutes=0)


# ---- What networks learn from them


def test_an_epoch_of_kept_studies_is_always_the_same(folder):
    source = kept_vertebrae(BASE, folder)
    first, again, later = (list(source.epoch(number)) for number in (0, 0, 1))
    assert len(first) == BASE.films.projections * BASE.films.reuse
    assert all(torch.equal(one["film"], two["film"]) for one, two in zip(first, again, strict=True))
    assert not any(torch.equal(one["film"], two["film"]) for one, two in zip(first, later, strict=True))
    assert len(source.watched()) == BASE.films.watched


def test_a_run_knows_whose_pelves_stood_below_what_it_learnt_from(folder, monkeypatch):
    assert "pelves" not in kept_vertebrae(BASE, folder).origin
    on_pelves = replace(kept.read_series(folder), abdomen=True)
    monkeypatch.setattr("training.vertebrae.source.read_series", lambda folder: on_pelves)
    assert kept_vertebrae(BASE, folder).origin["pelves"] == "llp26"


def test_a_recipe_says_which_studies_it_takes(folder, monkeypatch):
    taken = []

    def sampled(self, errors, rng, second):
        taken.append((self.metadata["in_situ"], abs(self.angles_degrees[second])))
        return torch.zeros(2, 16, 16, 16), np.zeros((16, 16, 16), np.float32)

    monkeypatch.setattr(kept.KeptStudy, "sample", sampled)
    for knobs, expected in (
        ({"in_situ": 0.0}, {(False, 90)}),
        ({"in_situ": 1.0, "apart_degrees": 80.0}, {(True, 80)}),
        ({"in_situ": 1.0, "oblique": 1.0}, {(True, 60), (True, 80)}),
    ):
        taken.clear()
        list(kept_vertebrae(replace(BASE, films=replace(BASE.films, **knobs)), folder).epoch(0))
        assert set(taken) == expected


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"voxel_mm": 3.5}, "other cubes"),
        ({"without": ("clouthier/mean",)}, "other people"),
        ({"apart_degrees": 75.0}, "no studies whose films are 75 degrees apart"),
        ({"watched": 3}, "2 studies to watch"),
    ],
)
def test_studies_that_do_not_fit_a_recipe_are_refused(folder, knobs, words):
    with pytest.raises(Refusal, match=words):
        kept_vertebrae(replace(BASE, films=replace(BASE.films, **knobs)), folder)


# ---- Tables


def test_every_arm_has_a_network_of_its_own_and_is_run():
    base = read_recipe(tables.RECIPE)
    named = {arm.name for arms in TABLES.values() for arm in arms}
    assert named == {arm.name for arm in ORDER}
    recipes = [arm.recipe(base) for arm in ORDER]
    assert len({arm.folder for arm in ORDER}) == len({json.dumps(repr(recipe)) for recipe in recipes}) == len(ORDER)
    sizes = {}
    with torch.device("meta"):
        for arm, recipe in zip(ORDER, recipes, strict=True):
            sizes[arm.name] = sum(values.numel() for values in network_of(recipe).parameters())
    assert sizes["Baseline"] < sizes["Baseline + ABS"] < sizes["Baseline + ABS + FEM"] < sizes["EAR"]
    assert sizes["EAR"] == sizes["With edge loss"] == sizes["EAR at 60 degrees"]


def test_tables_are_learnt_judged_and_gone_on_with(groups, folder, tmp_path, monkeypatch):
    rival = VolumeArm(name="BX2S", task="rival", network={"name": "bx2s", "widths": [4, 4, 4, 4, 4]})
    arms = (EAR, rival, ANGLES[60])
    monkeypatch.setattr(tables, "ORDER", arms[:1])
    with curves_undrawn():
        tables.make_tables(BASE, groups, folder, 0.04, tmp_path, say=lambda words: None)
    scores = (tmp_path / "scores.jsonl").read_text(encoding="utf-8")
    weights = (tmp_path / "ear" / "network.safetensors").read_bytes()
    monkeypatch.setattr(tables, "ORDER", arms)
    with curves_undrawn():
        text = tables.make_tables(BASE, groups, folder, 0.04, tmp_path, say=lambda words: None)
    assert (tmp_path / "scores.jsonl").read_text(encoding="utf-8").startswith(scores)
    assert (tmp_path / "ear" / "network.safetensors").read_bytes() == weights
    rows = {line.split(" | ")[0]: line for line in text.splitlines() if line.startswith("| ")}
    assert "not run" in rows["| PSR"]
    assert "not run" in rows["| EAR at 80 degrees"]
    assert not any("not run" in rows[name] for name in ("| BX2S", "| EAR at 60 degrees"))
    assert "0.2532" in rows["| EAR, the paper"]
    assert text == (tmp_path / "tables.md").read_text(encoding="utf-8")
    with pytest.raises(Refusal, match="other minutes"):
        tables.make_tables(BASE, groups, folder, 0.06, tmp_path)
