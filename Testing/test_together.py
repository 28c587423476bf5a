"""Training by time and of several networks on one stream, films on their way, and weights from another place."""

import json
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import count

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.bones import made_population
from support.numbered import Numbered, broken
from support.recipes import DEPTH, SEGMENTATION, by_time, run, silent

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.networks.weights import weights_of
from training.__main__ import EXIT_REFUSED, main
from training.learning import by_time as learning_by_time
from training.learning.compact import STEP_MM, compact, restored, stacked
from training.learning.data import FilmStream
from training.learning.films import simulated
from training.learning.finished import read_finished
from training.learning.layout import faster_with_channels_last, laid_out, laid_out_film
from training.learning.learner import Plan
from training.learning.ring import Ring
from training.learning.run import Run
from training.learning.schedule import WARM_UP, rate_after
from training.learning.start import take_weights
from training.learning.streaming import Arrivals, Epochs
from training.learning.tasks import network_of, task_of
from training.learning.train import train_together
from training.simulate import Series, one_thread

pytestmark = pytest.mark.usefixtures("patients_taken_once", "curves_undrawn")


@pytest.fixture(scope="module")
def population():
    return made_population()


@pytest.fixture(scope="module")
def films(population):
    return list(FilmStream(population, Series(seed=5, size_px=None, mm_per_pixel=6.0), projections=4, size_px=64))


def together(recipes, population, out, **limits):
    """A run of networks by recipes on the same films, each in a folder of its task."""
    plans = [Plan(recipe=recipe, out=out / recipe.task) for recipe in recipes]
    source = simulated(recipes[0], population, lambda: population)
    with one_thread():
        return train_together(plans, source, Run(out, say=silent, **limits))


# Films on their way


def test_a_compact_film_comes_back_within_a_hundredth_of_a_millimetre(films):
    batch, again = stacked(films), restored(stacked([compact(film) for film in films]))
    assert again.keys() == batch.keys()
    for name in batch.keys() - {"film", "depth"}:
        assert torch.equal(again[name], batch[name]), name
    assert again["film"].dtype == again["depth"].dtype == torch.float32
    assert torch.equal(again["film"], batch["film"].half().float())
    assert torch.equal(again["depth"] > 0, batch["depth"] > 0)
    assert float((again["depth"] - batch["depth"]).abs().max()) <= STEP_MM / 2 + 1e-4  # a float's own step at 1 m
    small = sum(value.numel() * value.element_size() for value in compact(films[0]).values())
    whole = sum(value.numel() * value.element_size() for value in films[0].values())
    assert small < 0.5 * whole


def test_a_film_without_a_bone_and_one_too_deep():
    film = {"film": torch.zeros(1, 4, 4), "mask": torch.zeros(2, 4, 4).bool(), "depth": torch.zeros(2, 2, 4, 4)}
    assert not restored(stacked([compact(film)]))["depth"].any()
    film["depth"][0, 0, 0, :2] = torch.tensor([300.0, 1000.0])
    with pytest.raises(ValueError, match="655 mm apart"):
        compact(film)


def test_batches_of_every_epoch_come_in_the_same_order_whatever_was_before():
    films = Epochs(Numbered, range(3, 5), 2, workers=2, device="cpu")
    for epoch in (3, 4):
        numbers = [(batch["film"][:, 0, 0, 0] - 10 * epoch).tolist() for batch in films.of(epoch)]
        assert numbers == [[0, 2], [1, 3], [4, 6]]  # of either process in turn; the 5 is too few for a batch


def test_films_arrive_by_handfuls_whoever_makes_them():
    with Arrivals(Numbered, first=4, workers=0, device="cpu") as arrivals:
        assert arrivals.take(wait=False) is None
        assert arrivals.take(wait=True)["film"][:, 0, 0, 0].tolist() == [40, 41, 42, 43, 44, 45, 46]
    with Arrivals(Numbered, first=1, workers=1, device="cpu") as arrivals:
        came: Counter[int] = Counter()
        while sum(came.values()) < 14:
            films = arrivals.take(wait=True)
            came.update([] if films is None else films["film"][:, 0, 0, 0].int().tolist())
        assert came == Counter([*range(10, 17), *range(20, 27)])
        assert arrivals.epoch == 2
    with Arrivals(broken, first=0, workers=1, device="cpu") as arrivals:
        taken = partial(arrivals.take, wait=True)
        with pytest.raises(ValueError, match="no film in 0"):
            all(taken() is None for _ in count())


# Films that are learnt from again


def numbered(first, count):
    return {"film": torch.arange(first, first + count).float()[:, None]}


def test_every_film_is_seen_once_where_one_view_is_asked_for():
    ring, rng, seen = Ring(32, "cpu"), np.random.default_rng(0), Counter()
    for first in range(0, 96, 8):
        ring.add(numbered(first, 8))
        while ring.ready(4, views=1):
            seen.update(ring.draw(4, 1, rng)["film"][:, 0].int().tolist())
    assert seen == Counter(range(96))


def test_films_are_seen_again_as_they_grow_old():
    ring, rng, seen, first_seen = Ring(32, "cpu"), np.random.default_rng(0), Counter(), []
    for first in range(0, 320, 8):
        ring.add(numbered(first, 8))
        while ring.ready(4, views=3):
            drawn = ring.draw(4, 3, rng)["film"][:, 0].int().tolist()
            assert len(set(drawn)) == 4
            first_seen += [ring.came - number for number in drawn if number not in seen]
            seen.update(drawn)
    assert sum(seen.values()) == 3 * 320
    settled = [seen[number] for number in range(32, 288)]
    assert set(settled) <= {2, 3, 4}
    assert np.mean(settled) == pytest.approx(3, abs=0.1)
    assert max(first_seen) <= 16  # soon after it came


# By time


def test_a_rate_by_time_rises_for_a_moment_and_falls_to_nothing():
    rates = [rate_after(DEPTH, share) for share in (0, WARM_UP, 0.5, 1, 1.1)]
    assert rates == pytest.approx([0, 1e-3, 5e-4, 0, 0], abs=2e-6)


@pytest.fixture
def ticking(monkeypatch):
    """A clock by which whatever a run by time does takes as long: it goes on by 50 ms whenever it is looked at."""
    ticks = count()
    monkeypatch.setattr(learning_by_time, "ROWS", 3)
    return lambda: 0.05 * next(ticks)


def test_a_run_by_time_is_finished_when_its_minutes_are_over(population, tmp_path, ticking):
    recipe = by_time(replace(DEPTH, films=replace(DEPTH.films, projections=2, watched=1)))
    assert run(recipe, population, tmp_path, minutes=0.06, started=ticking(), clock=ticking).exists()
    state = json.loads((tmp_path / "checkpoint/state.json").read_text())
    minutes = [row["minutes"] for row in state["rows"]]
    assert len(minutes) == 3
    assert np.diff(minutes) == pytest.approx(0.06 / 3, rel=0.35)
    assert minutes[-1] == pytest.approx(0.06, rel=0.1)
    assert state["rows"][-1]["rate"] < 0.01 * DEPTH.learning.learning_rate
    assert (tmp_path / "curves.csv").read_text().startswith("minutes,loss,rate,films_a_second,new_films_a_second")
    metadata = json.loads((tmp_path / "network.json").read_text())
    assert metadata["films"] == state["films"] > 0
    before = (tmp_path / "network.safetensors").read_bytes()
    over = run(
        recipe, population, tmp_path, minutes=0.06, started=ticking(), clock=ticking
    )  # nothing is left of its time
    assert over.read_bytes() == before
    assert run(recipe, population, tmp_path, minutes=0.08, started=ticking(), clock=ticking).read_bytes() != before
    again = json.loads((tmp_path / "checkpoint/state.json").read_text())
    assert again["films"] > state["films"]
    assert again["rows"][:3] == state["rows"]
    assert again["rows"][-1]["minutes"] == pytest.approx(0.08, rel=0.1)
    with pytest.raises(Refusal, match="say for how long with --minutes"):
        run(recipe, population, tmp_path)


@pytest.mark.parametrize("recipe", [DEPTH, SEGMENTATION], ids=["depth", "segmentation"])
def test_a_network_says_the_same_in_either_layout(recipe, films):
    torch.manual_seed(0)
    batch, task, network = stacked(films), task_of(recipe), network_of(recipe)
    losses, layouts = [], []
    for channels_last in (False, True):
        network = laid_out(network, channels_last)
        convolution = next(layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d))
        hook = convolution.register_forward_hook(
            lambda *taken: layouts.append(taken[2].is_contiguous(memory_format=torch.channels_last))
        )
        film = laid_out_film(batch["film"], channels_last)
        assert torch.equal(film, batch["film"])
        losses.append(float(task.loss(network, {**batch, "film": film}, np.random.default_rng(0)).detach()))
        hook.remove()
    assert layouts == [False, True]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert isinstance(faster_with_channels_last(network, task, recipe), bool)


# Several networks on the same films


def test_networks_that_learn_together_end_as_each_would_alone(population, tmp_path):
    recipes = [
        replace(
            recipe, films=replace(recipe.films, projections=2, watched=1), learning=replace(recipe.learning, epochs=2)
        )
        for recipe in (DEPTH, SEGMENTATION)
    ]
    assert together(recipes, population, tmp_path, minutes=0.0) is None
    files = together(recipes, population, tmp_path)
    assert [file.parent.name for file in files] == ["depth", "segmentation"]
    for recipe, file in zip(recipes, files, strict=True):
        alone = load_file(run(recipe, population, tmp_path / "alone" / recipe.task))
        weights = load_file(file)
        assert all(torch.equal(weights[name], value) for name, value in alone.items())
        assert json.loads(file.with_suffix(".json").read_text())["films"] == 2 * 2 * 2


def test_recipes_of_other_films_do_not_learn_together(population, tmp_path, capsys):
    other = replace(SEGMENTATION, learning=replace(SEGMENTATION.learning, batch=8, learning_rate=1.0), seed=4)
    with pytest.raises(Refusal, match=r"differ in seed, \[learning\] batch\."):
        together([DEPTH, other], population, tmp_path)
    with pytest.raises(Refusal, match=r"\[learning\] epochs, .*schedule, .*views"):
        together([DEPTH, by_time(SEGMENTATION)], population, tmp_path)
    recipe = "training/recipes/small_depth.toml"
    assert main(["train", recipe, recipe, "--out", str(tmp_path / "out")]) == EXIT_REFUSED
    assert "not depth and depth" in capsys.readouterr().err
    assert main(["train", recipe, "--start", "a", "b", "--out", str(tmp_path / "out")]) == EXIT_REFUSED
    assert "a file for each recipe" in capsys.readouterr().err


# Weights from another place


def test_a_run_starts_with_the_weights_that_another_left_in_parts(population, tmp_path):
    few = replace(DEPTH.films, projections=2, watched=1)
    still = replace(DEPTH, films=few, learning=replace(DEPTH.learning, epochs=1, learning_rate=1e-12))
    made = run(replace(still, seed=5), population, tmp_path / "there", parts_mb=0.1)
    whole, metadata = load_file(made), json.loads((tmp_path / "there/network.json").read_text())
    assert len(metadata["parts"]) == -(-made.stat().st_size // 100_000) > 1
    made.unlink()
    described, weights = read_finished(tmp_path / "there")
    assert described == metadata
    assert all(torch.equal(weights[name], value) for name, value in whole.items())
    on = run(still, population, tmp_path / "here", weights=tmp_path / "there/network.safetensors.000")
    origin = json.loads(on.with_suffix(".json").read_text())["besides"]["weights"]
    assert origin == {"sha256": metadata["sha256"], "films": 2 * 2, "besides": {}}
    after = load_file(on)
    for name, value in whole.items():
        torch.testing.assert_close(after[name], value, atol=1e-3, rtol=1e-2)

    torch.manual_seed(0)
    network = network_of(DEPTH)
    take_weights(network, tmp_path / "here/checkpoint/network.safetensors")
    kept = load_file(tmp_path / "here/checkpoint/network.safetensors")
    assert all(torch.equal(value, kept[name]) for name, value in weights_of(network).items())
    with pytest.raises(Refusal, match=r"does not fit the recipe's \[network\]"):
        take_weights(network_of(SEGMENTATION), tmp_path / "there/network.safetensors")
    with pytest.raises(Refusal, match="holds no network's weights"):
        take_weights(network, tmp_path / "nowhere.safetensors")
    part = tmp_path / "there/network.safetensors.001"
    part.write_bytes(part.read_bytes()[::-1])
    with pytest.raises(Refusal, match=r"network\.safetensors\.001 is damaged"):
        read_finished(tmp_path / "there")
    part.unlink()
    with pytest.raises(Refusal, match="is not whole"):
        read_finished(tmp_path / "there")
