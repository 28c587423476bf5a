"""A bundle's network learns on from somebody's own cases."""

import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.bones import MODELS, made_population
from support.recipes import DEPTH, SEGMENTATION, run, run_on, silent

from DualFaceReconLib.bundle.files import read_weights
from DualFaceReconLib.bundle.manifest import load_manifest
from DualFaceReconLib.errors import Refusal
from training.__main__ import EXIT_REFUSED, main
from training.cases import cases_in
from training.learning import finetune as finetuning
from training.learning.bundling import bundle
from training.learning.data import FilmStream
from training.learning.finetune import CaseFilms, case_sample, own_cases
from training.simulate import Series, simulate_case

pytestmark = pytest.mark.usefixtures("curves_undrawn", "patients_taken_once")
RECIPES = Path(__file__).parent.parent / "training" / "recipes"


def tune(recipe, cases, start, out, **limits):
    """A run of `finetune` on cases, from a bundle."""
    return run_on(own_cases(recipe, cases, silent), recipe, out, bundle=start, **limits)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Three films of three patients."""
    folder = tmp_path_factory.mktemp("Fälle")
    for number in range(3):
        simulate_case(made_population(), Series(seed=5, size_px=400), number, folder / f"case {number}")
    return cases_in(folder)


@pytest.fixture(scope="module", autouse=True)
def every_case_is_read_once():
    """Where the tests learn from their three cases epoch by epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetuning, "case_sample", cache(case_sample))
        yield


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A bundle of networks that learnt for an epoch."""
    folder = tmp_path_factory.mktemp("runs")
    runs = {"depth": DEPTH, "segmentation": SEGMENTATION}
    for name, recipe in runs.items():
        short = replace(recipe, learning=replace(recipe.learning, epochs=1))
        run(short, made_population(), folder / name)
    bundle({name: folder / name for name in runs}, MODELS, folder / "bundle", "start", "1.0.0", "not")
    return folder / "bundle"


def test_a_case_is_seen_as_its_film_was_in_training(cases):
    """The same patient on the same rig: from the stream at the network's pixels, and from a finer film's folder."""
    streamed = next(
        iter(FilmStream(made_population(), Series(seed=5, size_px=None, mm_per_pixel=6.0), projections=1, size_px=64))
    )
    read = case_sample(cases[0], 64, 6.0)
    assert read.keys() == streamed.keys()
    for name, value in streamed.items():
        assert (read[name].shape, read[name].dtype) == (value.shape, value.dtype), name
    assert read["principal_point_px"] == pytest.approx(streamed["principal_point_px"], abs=1.0)  # borders are rounded
    assert read["pixel_pitch_mm"] == pytest.approx(streamed["pixel_pitch_mm"], rel=1e-3)
    areas, depths = ([], [])
    for film in (read, streamed):
        areas.append(film["mask"].sum(dim=(1, 2)).float())
        depths.append(film["depth"].sum(dim=(1, 2, 3)) / (film["depth"] > 0).sum(dim=(1, 2, 3)))
    assert areas[0] == pytest.approx(areas[1], rel=0.06)
    assert depths[0] == pytest.approx(depths[1], abs=1.0)


@pytest.mark.parametrize("recipe", [DEPTH, SEGMENTATION], ids=["depth", "segmentation"])
def test_a_network_starts_where_the_bundle_stands_and_moves(cases, start, recipe, tmp_path):
    assert tune(recipe, cases, start, tmp_path / "cut", minutes=0.0) is None
    made = tune(recipe, cases, start, tmp_path / "cut")
    whole = tune(recipe, cases, start, tmp_path / "whole")
    before = read_weights(start, load_manifest(start), recipe.task)
    after, again = load_file(made), load_file(whole)
    assert all(torch.equal(after[name], again[name]) for name in after)  # cut in two or in one piece
    moved = sum(float((after[name].float() - before[name]).square().sum()) for name in after)
    assert 0 < moved < 0.05 * sum(float(value.square().sum()) for value in before.values())
    origin = json.loads(made.with_suffix(".json").read_text(encoding="utf-8"))["besides"]
    assert origin["start"]["id"] == "start"
    assert origin["cases"]["count"] == 2


def test_training_on_new_patients_starts_where_the_bundle_stands(start, tmp_path):
    still = replace(DEPTH, learning=replace(DEPTH.learning, epochs=1, learning_rate=1e-9))
    made = run(still, made_population(), tmp_path / "depth", bundle=start)
    before, after = read_weights(start, load_manifest(start), "depth"), load_file(made)
    for name, value in before.items():
        assert after[name].float() == pytest.approx(value, abs=1e-3), name
    short = replace(SEGMENTATION, learning=replace(SEGMENTATION.learning, epochs=1))
    run(short, made_population(), tmp_path / "segmentation")
    runs = {name: tmp_path / name for name in ("depth", "segmentation")}
    trained_on = bundle(runs, MODELS, tmp_path / "bundle", "on", "1.1.0", "not").trained_on
    assert "depth: 8 films after those of start 1.0.0" in trained_on
    assert "No clinical picture" in trained_on
    run(still, made_population(), tmp_path / "later", weights=made)
    runs["depth"] = tmp_path / "later"
    trained_on = bundle(runs, MODELS, tmp_path / "later bundle", "later", "1.2.0", "not").trained_on
    assert "depth: 8 films after 8 films after those of start 1.0.0" in trained_on
    other = replace(DEPTH, network={**DEPTH.network, "width": 64})
    with pytest.raises(Refusal, match="not that of bundle start"):
        run(other, made_population(), tmp_path / "other", bundle=start)


def test_a_bundle_tells_of_the_cases(cases, start, tmp_path):
    runs = {}
    for name, recipe in (("depth", DEPTH), ("segmentation", SEGMENTATION)):
        short = replace(recipe, learning=replace(recipe.learning, epochs=1))
        runs[name] = tmp_path / name
        tune(short, cases, start, runs[name])
    trained_on = bundle(runs, MODELS, tmp_path / "bundle", "tuned", "1.0.0", "not").trained_on
    assert "The depth network learnt on from 2 cases of the maker's own." in trained_on
    assert "No clinical picture" not in trained_on
    still = replace(DEPTH, learning=replace(DEPTH.learning, epochs=1))
    runs = {"depth": tmp_path / "on", "segmentation": tmp_path / "untuned"}
    run(still, made_population(), runs["depth"], bundle=tmp_path / "bundle")
    plain = replace(SEGMENTATION, learning=replace(SEGMENTATION.learning, epochs=1))
    run(plain, made_population(), runs["segmentation"])
    trained_on = bundle(runs, MODELS, tmp_path / "again", "again", "1.0.0", "not").trained_on
    assert "began with tuned 1.0.0" in trained_on
    assert "2 cases of the maker's own" in trained_on
    assert "No clinical picture" not in trained_on


def test_runs_and_models_that_are_none_are_refused(start, tmp_path):
    runs = {name: start.parent / name for name in ("depth", "segmentation")}
    out = tmp_path / "bundle"
    with pytest.raises(Refusal, match=r"no hip\.ssm\.npz"):
        bundle(runs, tmp_path, out, "none", "1.0.0", "not")
    with pytest.raises(Refusal, match="holds a network for segmentation, not for depth"):
        bundle({"depth": runs["segmentation"], "segmentation": runs["depth"]}, MODELS, out, "none", "1.0.0", "not")
    shutil.copytree(runs["depth"], tmp_path / "depth")
    file = tmp_path / "depth" / "network.safetensors"
    save_file({name: torch.full_like(value, torch.nan) for name, value in load_file(file).items()}, file)
    with pytest.raises(Refusal, match="weights that are not numbers"):
        bundle({**runs, "depth": tmp_path / "depth"}, MODELS, out, "none", "1.0.0", "not")
    file.unlink()
    with pytest.raises(Refusal, match="depth holds no finished network"):
        bundle({**runs, "depth": tmp_path / "depth"}, MODELS, out, "none", "1.0.0", "not")
    assert not out.exists()


def test_every_case_comes_as_often_in_an_order_of_its_own(cases):
    recipe = replace(DEPTH, films=replace(DEPTH.films, projections=3, reuse=4))
    orders = []
    for epoch in (0, 1):
        films = [float(film["sdd_mm"]) for film in CaseFilms(cases, recipe, epoch)]
        assert sorted(films) == sorted(4 * films[:3])
        orders.append(films)
    assert orders[0] != orders[1]


def test_cases_need_no_sets_of_bones(cases, tmp_path, capsys):
    arguments = ["finetune", str(RECIPES / "small_depth.toml"), "--cases", str(cases[0].parent), "--out", str(tmp_path)]
    with pytest.raises(SystemExit):
        main([*arguments, "--bones", "anywhere"])
    assert "unrecognized arguments: --bones" in capsys.readouterr().err
    assert main([*arguments, "--device", "abacus"]) == EXIT_REFUSED
    assert "'abacus' does not work on this machine" in capsys.readouterr().err


def test_another_network_than_the_bundle_s_is_refused(cases, start, tmp_path):
    wider = replace(DEPTH, network={**DEPTH.network, "width": 40})
    with pytest.raises(Refusal, match="take the recipe by which it was trained"):
        tune(wider, cases, start, tmp_path)
