"""EAR learns by the same loop as the hip's networks: its recipes, its cubes, and runs of seconds on made vertebrae."""

import csv
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.learning import curves_drawn_at_the_end, curves_undrawn
from support.recipes import EAR, by_time, run_on
from support.vertebrae import made_group

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.networks.weights import give_weights
from training.__main__ import main
from training.learning.compact import compact, restored, stacked
from training.learning.cubes import augmented_cubes, edge_scale, measure_cubes
from training.learning.recipe import TimeLearning, read_recipe
from training.learning.schedule import rate_after, rate_at
from training.learning.tasks import network_of, task_of
from training.learning.volume_losses import VOLUME_LOSSES, volume_loss
from training.vertebrae import films, source
from training.vertebrae.source import VertebraCubes, only, sourced
from training.vertebrae.virtual import Stock

RECIPES = Path(__file__).parent.parent / "training" / "recipes"


@pytest.fixture(scope="module", autouse=True)
def coarse_bones():
    """Bone that is filmed in voxels of 3.5 mm: nobody looks at these films."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(films, "MODEL_MM", 3.5)
        yield


@pytest.fixture(scope="module")
def groups():
    return {"lumbar": made_group()}


@pytest.fixture(scope="module")
def cubes(groups):
    """Where the cubes of a recipe come from."""
    stock = Stock.of(groups, EAR.films.without)
    return lambda recipe: sourced(recipe, lambda: stock, lambda: only(groups, recipe.films.without))


@pytest.fixture(scope="module")
def batch(cubes):
    return stacked(list(cubes(EAR).epoch(0))[:2])


# ---- Recipes


@pytest.mark.parametrize("path", sorted(RECIPES.glob("ear_*.toml")), ids=lambda path: path.stem)
def test_every_recipe_of_ear_is_whole(path):
    recipe = read_recipe(path)
    by_time = isinstance(recipe.learning, TimeLearning)
    end = rate_after(recipe, 1.0) if by_time else rate_at(recipe, recipe.learning.epochs - 1e-6)
    assert end == pytest.approx(0, abs=1e-9)
    assert recipe.films.side * recipe.films.voxel_mm == 112
    if recipe.task == "ear":
        assert recipe.network["widths"] == [8, 16, 32, 64, 128]
    else:
        small = read_recipe(RECIPES / "ear_small.toml")
        assert (recipe.films, recipe.seed) == (small.films, small.seed)
        assert replace(recipe.learning, loss="ear") == small.learning
    assert recipe.films.projections % recipe.films.pool == 0 or "paper" in path.stem


def test_what_is_wrong_in_a_recipe_of_ear_is_refused(tmp_path):
    text = (RECIPES / "ear_small.toml").read_text(encoding="utf-8")
    for before, after, words in (
        ("side = 64", "size_px = 64", "size_px"),
        ('loss = "ear"', 'loss = "casi_independent"', "none for ear"),
        ("click_mm = 5.0", "click_mm = -1.0", "0 or more"),
        ("widths = [8, 16, 32, 64, 128]", "widths = [8, 16]", "4 levels"),
    ):
        (tmp_path / "x.toml").write_text(text.replace(before, after), encoding="utf-8")
        with pytest.raises(Refusal, match=words):
            read_recipe(tmp_path / "x.toml")
    (tmp_path / "x.toml").write_text(text.replace("side = 64", "side = 60"), encoding="utf-8")
    with pytest.raises(Refusal, match="side must be a multiple of 16"):
        network_of(read_recipe(tmp_path / "x.toml"))


# ---- Cubes


def test_an_epoch_shows_every_pair_so_often_and_the_next_has_others(cubes):
    first, again, later = (list(cubes(EAR).epoch(number)) for number in (0, 0, 1))
    assert len(first) == 4 * 2
    assert all(torch.equal(one["film"], two["film"]) for one, two in zip(first, again, strict=True))
    kinds = {tuple(sample["volume"].flatten()[::97].tolist()) for sample in first}
    others = {tuple(sample["volume"].flatten()[::97].tolist()) for sample in later}
    assert len(kinds) == len(others) == 4
    assert not kinds & others
    assert first[0]["film"].shape == (2, 16, 16, 16)
    assert first[0]["volume"].shape == (1, 16, 16, 16)


def test_who_is_kept_out_is_watched_and_nobody_else(groups, cubes, monkeypatch):
    drawn = []

    def watching(stock, *given, **named):
        drawn.append({person for group in stock.groups.values() for person in group.people})
        return films.filmed_vertebra(stock, *given, **named)

    monkeypatch.setattr(source, "filmed_vertebra", watching)
    list(cubes(EAR).epoch(0))
    assert {frozenset(people) for people in drawn} == {frozenset({"vhm/male"})}
    drawn.clear()
    assert len(cubes(EAR).watched()) == 2
    assert {frozenset(people) for people in drawn} == {frozenset({"clouthier/mean"})}


def test_cubes_travel_in_half_precision(batch):
    sample = {name: values[0] for name, values in batch.items()}
    small = compact(sample)
    assert all(values.dtype == torch.float16 for values in small.values())
    again = restored(stacked([small]))
    for name, values in sample.items():
        assert again[name].dtype == torch.float32
        torch.testing.assert_close(again[name][0], values, rtol=1e-3, atol=1e-3)


def test_a_mirror_turns_films_and_truth_over_together(batch, monkeypatch):
    monkeypatch.setattr("training.learning.cubes.MIRRORED_SHARE", 1.1)
    changed = augmented_cubes(batch, 1e-9, 0, np.random.default_rng(0))
    for name in ("film", "volume"):
        assert torch.equal(changed[name], batch[name].flip(2))
    assert augmented_cubes(batch, 0.0, 3, np.random.default_rng(0)) is batch


@pytest.mark.parametrize("changes", [0, 1, 2, 3])
def test_grey_values_change_by_films_and_the_truth_does_not(batch, changes, monkeypatch):
    monkeypatch.setattr("training.learning.cubes.MIRRORED_SHARE", -1.0)
    changed = augmented_cubes(batch, 1.0, changes, np.random.default_rng(0))
    assert torch.equal(changed["volume"], batch["volume"])
    assert torch.equal(changed["film"], batch["film"]) == (changes == 0)
    if changes in (1, 2):  # straight lines
        for new, old in zip(changed["film"].flatten(0, 1), batch["film"].flatten(0, 1), strict=True):
            gain, offset = np.polyfit(old.flatten().numpy(), new.flatten().numpy(), 1)
            assert 0.7 < gain < 1.3
            assert abs(offset) < (1e-4 if changes == 1 else 0.31)
            torch.testing.assert_close(new, gain * old + offset, rtol=1e-3, atol=1e-3)


def test_figures_of_watched_cubes():
    truth = torch.full((1, 4, 4, 4), -1.0)
    truth[0, :2] = 3.0  # 12 + 3 * 68 = 216 HU
    samples = [{"film": torch.zeros(2, 4, 4, 4), "volume": truth}]
    shifted = torch.roll(truth, 1, dims=1)
    network = torch.nn.Module()
    network.forward = lambda cubes: shifted[None]
    figures = measure_cubes(EAR.films, network, samples, "cpu")
    assert figures == pytest.approx({"mse": 8.0, "mae": 2.0, "dice": 0.5})


def test_edges_are_looked_for_where_bone_begins():
    assert edge_scale(EAR.films).middle == pytest.approx((150 - 12) / 68)


@pytest.mark.parametrize("loss", VOLUME_LOSSES)
def test_losses_by_the_names_of_recipes(loss, batch):
    recipe = replace(EAR, learning=replace(EAR.learning, loss=loss))
    torch.manual_seed(0)
    network = network_of(recipe).eval()
    value = task_of(recipe).loss(network, batch, np.random.default_rng(0))
    named = VOLUME_LOSSES[loss]
    predicted = network(batch["film"])
    expected = volume_loss(predicted, batch["volume"], edge_scale(EAR.films), named.weights, named.euclidean)
    assert value.item() == pytest.approx(expected.item())


def test_the_names_of_losses_are_different_losses(batch):
    predicted = batch["volume"] + 0.3 * torch.randn(batch["volume"].shape, generator=torch.Generator().manual_seed(0))
    values = [
        volume_loss(predicted, batch["volume"], edge_scale(EAR.films), named.weights, named.euclidean).item()
        for named in VOLUME_LOSSES.values()
    ]
    assert len({round(value, 4) for value in values}) == len(VOLUME_LOSSES)


# ---- Runs


def test_a_network_learns_a_batch_by_heart(batch):
    torch.manual_seed(0)
    task, network = task_of(EAR), network_of(EAR).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = task.loss(network, batch, np.random.default_rng(0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-3:]) < 0.75 * np.mean(losses[:2])


def test_a_run_cut_in_two_ends_as_the_run_in_one_piece(cubes, tmp_path):
    with curves_drawn_at_the_end():
        whole = run_on(cubes(EAR), EAR, tmp_path / "whole")
    with curves_undrawn():
        assert run_on(cubes(EAR), EAR, tmp_path / "cut", minutes=0.0) is None
        cut = run_on(cubes(EAR), EAR, tmp_path / "cut")
    weights, again = load_file(whole), load_file(cut)
    for name, value in weights.items():
        assert torch.equal(value, again[name]), name
    give_weights(network_of(EAR), weights)
    for name in ("curves.png", "sheet.png"):
        assert (tmp_path / "whole" / name).stat().st_size > 1000
    metadata = json.loads((tmp_path / "whole/network.json").read_text())
    assert metadata["settings"]["widths"] == [2, 4, 4, 6, 8]
    assert metadata["films"] == 2 * 4 * 2
    rows = list(csv.DictReader((tmp_path / "whole/curves.csv").read_text().splitlines()))
    assert {"mse", "mae", "dice"} <= rows[0].keys()


def test_a_run_by_time_ends_with_its_minutes(cubes, tmp_path):
    recipe = by_time(EAR)
    with curves_undrawn():
        assert run_on(cubes(recipe), recipe, tmp_path, minutes=0.1).name == "network.safetensors"
    assert json.loads((tmp_path / "network.json").read_text())["films"] > 0


def test_the_command_trains(groups, tmp_path, monkeypatch, capsys):
    stock = Stock.of(groups, EAR.films.without)
    text = (RECIPES / "ear_small.toml").read_text(encoding="utf-8")
    for before, after in (
        ("side = 64", "side = 16"),
        ("voxel_mm = 1.75", "voxel_mm = 7.0"),
        ("widths = [8, 16, 32, 64, 128]", "widths = [2, 4, 4, 6, 8]"),
        ("projections = 96", "projections = 2"),
        ("pool = 16", "pool = 2"),
        ("reuse = 4", "reuse = 1"),
        ("watched = 8", "watched = 1"),
        ("epochs = 20", "epochs = 1"),
        ("first_cycle = 20", "first_cycle = 1"),
        ('"totalseg/s0328"', '"clouthier/mean"'),
    ):
        assert before in text
        text = text.replace(before, after)
    (tmp_path / "ear.toml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(source, "load_groups", lambda folder, cache, say: groups)
    monkeypatch.setattr(source, "_stock_without", lambda folder, cache, without: stock)
    asked = ["vertebrae", "train", str(tmp_path / "ear.toml"), "--out", str(tmp_path / "out"), "--workers", "0"]
    with curves_undrawn():
        assert main(asked) == 0
    assert "done: " in capsys.readouterr().out
    assert (tmp_path / "out/network.safetensors").exists()
    assert main(["train", str(tmp_path / "ear.toml"), "--out", str(tmp_path / "x")]) == 2
    assert "vertebrae train" in capsys.readouterr().err
    assert main(["vertebrae", "train", str(RECIPES / "small_depth.toml"), "--out", str(tmp_path / "x")]) == 2
    assert "recipe of hips" in capsys.readouterr().err


def test_processes_take_the_films_along(groups):
    """As they do where several make films: what they are given must be plain."""
    import pickle

    given = VertebraCubes(EAR, partial(source._stock_without, Path("a"), Path("b"), ("c",)), 2)
    again = pickle.loads(pickle.dumps(given))
    assert again.epoch == 2
    assert again.recipe == EAR
