"""Folds by person: dealt fairly, nobody measured by models that saw them, and a run that was cut goes on."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.bones import made_people
from support.recipes import DEPTH, SEGMENTATION, silent

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.shape.shapemodel import load_shape_model
from training.__main__ import EXIT_REFUSED, main
from training.cases import read_case
from training.judging import folds
from training.judging.baselines import NO_ALIGNMENT
from training.judging.folds import Measuring, dealt, films_of, judge_in_folds
from training.judging.scores import ALL, Evaluation, Scored
from training.learning.run import Run
from training.patients.virtual import sample_patient

pytestmark = pytest.mark.usefixtures("curves_undrawn", "patients_taken_once")
PEOPLE = [*(f"rhan40/s{i:02d}" for i in range(40)), *(f"llp26/s{i:02d}" for i in range(26))]
MEASURING = Measuring(films=1, size_px=160, resolutions=(80,))
RECIPES = [
    replace(
        recipe,
        films=replace(recipe.films, projections=2, watched=1),
        learning=replace(recipe.learning, epochs=2, first_cycle=2),
    )
    for recipe in (DEPTH, SEGMENTATION)
]


@pytest.fixture(scope="module")
def everybody():
    return made_people(4)


@pytest.fixture(scope="module")
def without_some_femora(everybody):
    """The first of the four has no femora in the sets."""
    return replace(everybody, femora=everybody.femora.without({"made/s00"}))


def people_of(model):
    return {kind: set(load_shape_model(Path(model) / f"{kind}.ssm.npz").people) for kind in ("hip", "femur")}


@pytest.mark.parametrize("count", [2, 4, 5])
def test_everybody_is_dealt_to_one_fold(count):
    dealt_folds = dealt(PEOPLE, count)
    assert len(dealt_folds) == count
    assert sorted(person for fold in dealt_folds for person in fold) == sorted(PEOPLE)
    for name in ("rhan40/", "llp26/", ""):
        sizes = [sum(person.startswith(name) for person in fold) for fold in dealt_folds]
        assert max(sizes) - min(sizes) <= 1
    assert dealt(PEOPLE[::-1], count) == dealt_folds
    assert dealt(PEOPLE, count, seed=1) != dealt_folds


@pytest.mark.parametrize("count", [0, 1, 14])
def test_a_number_of_folds_that_cannot_be_is_refused(count):
    with pytest.raises(Refusal, match="2 to 13 folds"):
        dealt(PEOPLE, count)


def test_a_person_alone_is_no_mixture(without_some_femora):
    population = without_some_femora.without(["made/s03"])
    alone = population.alone("made/s01")
    patient = sample_patient(alone, 0)
    assert patient.metadata["pelvis"] == patient.metadata["femora"] == {"made/s01": 1.0}
    other = sample_patient(population.alone("made/s00"), 0)
    assert other.metadata["pelvis"] == {"made/s00": 1.0}
    assert set(other.metadata["femora"]) == {"made/s01", "made/s02"}
    own = population.pelves[population.pelvis_people.index("made/s01")]
    assert np.array_equal(alone.pelves[0], own)
    assert np.array_equal(alone.sacrum_hips[0], own)


def test_a_person_s_films_show_that_person(without_some_femora, tmp_path):
    fold = ("made/s00", "made/s02", "made/s03")
    folders = films_of(without_some_femora, fold, MEASURING, tmp_path, say=silent)
    assert [folder.name for folder in folders] == ["made_s00_00", "made_s02_00", "made_s03_00"]
    metadata = [read_case(folder).metadata for folder in folders]
    assert [case["person"] for case in metadata] == list(fold)
    assert [case["unscored"] for case in metadata] == [["femur_left", "femur_right"], [], []]
    assert [set(case["patient"]["pelvis"]) for case in metadata] == [{person} for person in fold]
    assert [set(case["patient"]["femora"]) for case in metadata] == [set(fold[1:]), {fold[1]}, {fold[2]}]
    before = [(folder / "geometry.json").stat().st_mtime_ns for folder in folders]
    films_of(without_some_femora, fold, MEASURING, tmp_path, say=silent)
    assert [(folder / "geometry.json").stat().st_mtime_ns for folder in folders] == before


@pytest.fixture
def measured(monkeypatch):
    """What was measured and by which models; figures are made up, as others test how they are measured."""
    calls = []

    def evaluate(folders, resolutions, jobs, bundle, say, shape_models):
        metadata = [read_case(folder).metadata for folder in folders]
        models = people_of(shape_models if bundle is None else bundle)
        calls.append({"people": {case["person"] for case in metadata}, "bundle": bundle, "models": models})
        rows = [
            Scored(
                case=folder.name,
                person=case["person"],
                bone="hip_left",
                groups=(ALL,),
                row="exact maps",
                alignment=NO_ALIGNMENT,
                pixels=80,
                assd_mm=1.5,
                hd95_mm=2,
                hd95_max_mm=2,
                cd_l2_mm2=3,
                emd_mm=9,
                emd_floor_mm=8,
            )
            for folder, case in zip(folders, metadata, strict=True)
        ]
        return Evaluation(surfaces=rows, maps=[])

    monkeypatch.setattr(folds, "evaluate", evaluate)
    return calls


def judged(everybody, out, recipes=(), minutes=None, measuring=MEASURING):
    return judge_in_folds(everybody, recipes, 2, measuring, Run(out, minutes=minutes, say=silent))


def test_nobody_is_measured_by_a_model_of_themselves(everybody, measured, tmp_path):
    text = judged(everybody, tmp_path)
    assert len(measured) == 2
    assert measured[0]["people"] | measured[1]["people"] == set(everybody.people)
    for fold in measured:
        assert fold["bundle"] is None
        assert fold["models"]["hip"] == set(everybody.people) - fold["people"]
        assert fold["models"]["femur"] == set(everybody.femora.people) - fold["people"]
    assert "4 films of 4 people" in text
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == text
    rows = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(row)["person"] for row in rows} == set(everybody.people)
    assert judged(everybody, tmp_path) == text
    assert len(measured) == 2  # what is done stays done
    with pytest.raises(Refusal, match="other people, recipes or films"):
        judged(everybody, tmp_path, measuring=replace(MEASURING, films=2))


def test_networks_of_a_fold_learn_from_the_others_and_go_on_where_they_were_cut(
    everybody, measured, monkeypatch, tmp_path
):
    learnt_from, outs = [], []
    simulated, train = folds.simulated, folds.train

    def recorded_people(recipe, population, kept_out):
        learnt_from.append(set(population.pelvis_people) | set(population.femur_people))
        assert set(kept_out().pelvis_people).isdisjoint(learnt_from[-1])
        return simulated(recipe, population, kept_out)

    def recorded_run(recipe, source, run):
        outs.append(run.out)
        return train(recipe, source, run)

    monkeypatch.setattr(folds, "simulated", recorded_people)
    monkeypatch.setattr(folds, "train", recorded_run)
    assert judged(everybody, tmp_path, RECIPES, minutes=0.0) is None
    assert json.loads((tmp_path / "fold_1/depth/checkpoint/state.json").read_text(encoding="utf-8"))["epoch"] == 1
    assert not measured
    assert "4 films" in judged(everybody, tmp_path, RECIPES)
    runs = [tmp_path / f"fold_{n}" / task for n in (1, 2) for task in ("depth", "segmentation")]
    assert outs == [runs[0], *runs]
    for number, fold in enumerate(measured, 1):
        assert fold["bundle"] == tmp_path / f"fold_{number}" / "bundle"
        for out, people in zip(outs, learnt_from, strict=True):
            if out.parent == fold["bundle"].parent:
                assert people == set(everybody.people) - fold["people"]
                recipe = json.loads((out / "network.json").read_text(encoding="utf-8"))["recipe"]
                assert recipe["films"]["without"] == sorted(fold["people"])


def test_recipes_must_be_of_both_networks(tmp_path, capsys):
    depth = Path(folds.__file__).parents[1] / "recipes" / "small_depth.toml"
    assert main(["folds", str(depth), "--out", str(tmp_path / "out")]) == EXIT_REFUSED
    assert "depth and one for a segmentation" in capsys.readouterr().err
    by_time = [str(depth.with_name(f"gpu_{task}.toml")) for task in ("depth", "segmentation")]
    assert main(["folds", *by_time, "--out", str(tmp_path / "out")]) == EXIT_REFUSED
    assert "Folds take recipes by epochs" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_folds_from_end_to_end(everybody, monkeypatch, tmp_path):
    monkeypatch.setattr("training.judging.evaluate.SAMPLES", 2000)
    monkeypatch.setattr("training.judging.evaluate.EMD_POINTS", 100)
    text = judged(everybody, tmp_path, RECIPES, measuring=replace(MEASURING, size_px=400))  # as readers demand
    assert "networks, completed" in text
    assert "exact maps" in text
    for name in ("fold_1/outlines.png", "fold_2/table.md", "maps.jsonl", "assd.png"):
        assert (tmp_path / name).exists()
    whole = folds.read_evaluation(tmp_path)
    both = [folds.read_evaluation(tmp_path / f"fold_{n}") for n in (1, 2)]
    assert whole.surfaces == both[0].surfaces + both[1].surfaces
    assert whole.maps == both[0].maps + both[1].maps
    assert {scored.person for scored in whole.surfaces} == set(everybody.people)
