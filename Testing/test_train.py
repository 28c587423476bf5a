"""Training: it learns, a run cut in two ends as the run in one piece; schedule, augmentation, checkpoints."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.bones import made_population
from support.learning import curves_drawn_at_the_end, curves_undrawn
from support.recipes import BFLOAT16, DEPTH, SEGMENTATION, run

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.networks.weights import give_weights, weights_of
from training.learning import checkpoint
from training.learning.augment import GREY_CHANGES, augmented
from training.learning.data import FilmStream
from training.learning.schedule import rate_at
from training.learning.tasks import network_of, task_of
from training.simulate import Series

pytestmark = pytest.mark.usefixtures("patients_taken_once")
RNG = np.random.default_rng(0)  # of what pretraining alone draws


@pytest.fixture(scope="module")
def population():
    return made_population()


@pytest.fixture(scope="module")
def batch(population):
    films = list(FilmStream(population, Series(seed=5, size_px=None, mm_per_pixel=6.0), projections=4, size_px=64))
    return {name: torch.stack([film[name] for film in films]) for name in films[0]}


RECIPES_TRIED = {"depth": DEPTH, "segmentation": SEGMENTATION, "depth in bfloat16": BFLOAT16}


@pytest.mark.parametrize("recipe", RECIPES_TRIED.values(), ids=RECIPES_TRIED)
def test_a_run_cut_in_two_ends_as_the_run_in_one_piece(recipe, population, tmp_path):
    recipe = replace(
        recipe, films=replace(recipe.films, projections=2, watched=1), learning=replace(recipe.learning, epochs=2)
    )
    with curves_drawn_at_the_end():
        whole = run(recipe, population, tmp_path / "whole")
    with curves_undrawn():
        assert run(recipe, population, tmp_path / "cut", minutes=0.0) is None  # after the first epoch
        assert json.loads((tmp_path / "cut/checkpoint/state.json").read_text())["epoch"] == 1
        cut = run(recipe, population, tmp_path / "cut")
    weights, again = load_file(whole), load_file(cut)
    assert weights.keys() == again.keys()
    for name, value in weights.items():
        assert torch.equal(value, again[name]), name
    for name in ("curves.csv", "curves.png", "sheet.png", "network.json"):
        assert (tmp_path / "whole" / name).stat().st_size > 100
    metadata = json.loads((tmp_path / "whole/network.json").read_text())
    assert metadata["films"] == 2 * 2 * 2
    give_weights(network_of(recipe), weights)
    with pytest.raises(Refusal, match="another recipe"):
        run(replace(recipe, seed=4), population, tmp_path / "cut")


def test_a_run_that_is_ended_early_comes_to_rest_and_says_so(population, tmp_path):
    with curves_undrawn():
        assert run(DEPTH, population, tmp_path, minutes=0.0) is None
        with pytest.raises(Refusal, match="stands at epoch 1 of 4"):
            run(DEPTH, population, tmp_path, last=1)
        assert run(DEPTH, population, tmp_path, minutes=0.0, last=3) is None  # cut again: it still knows where to end
        assert run(DEPTH, population, tmp_path) is not None
    metadata = json.loads((tmp_path / "network.json").read_text())
    assert (metadata["ending"], metadata["last"]["epoch"], metadata["films"]) == ([1, 3], 3, 3 * 4 * 2)
    rates = [float(line.split(",")[2]) for line in (tmp_path / "curves.csv").read_text().splitlines()[1:]]
    from_here = rate_at(DEPTH, 1)
    assert rates == pytest.approx([1e-3, from_here, from_here / 2])
    assert rate_at(DEPTH, 3, (1, 3)) == pytest.approx(0)


@pytest.mark.parametrize(("recipe", "steps"), [(DEPTH, 40), (SEGMENTATION, 80)], ids=["depth", "segmentation"])
def test_a_network_learns_a_batch_by_heart(recipe, steps, batch):
    torch.manual_seed(0)
    task, network = task_of(recipe), network_of(recipe).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(steps):
        loss = task.loss(network, batch, RNG)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-3:]) < 0.65 * np.mean(losses[:2])


def test_the_loss_takes_no_notice_of_where_the_bones_stand(batch):
    """What a network cannot know is not asked of it: all distances by 20 mm more, and the loss hardly moves."""
    torch.manual_seed(0)
    task, network = task_of(DEPTH), network_of(DEPTH).eval()
    with torch.no_grad():
        near = float(task.loss(network, batch, RNG))
        moved = {**batch, "depth": torch.where(batch["depth"] > 0, batch["depth"] + 20, batch["depth"])}
        assert float(task.loss(network, moved, RNG)) == pytest.approx(near, rel=0.05)
        shape = {**batch, "depth": batch["depth"].clone()}
        shape["depth"][:, :, 1] = torch.where(batch["depth"][:, :, 1] > 0, batch["depth"][:, :, 1] + 40, 0)
        assert abs(float(task.loss(network, shape, RNG)) / near - 1) > 0.05


# Schedule


def test_cycles_start_anew_and_grow():
    recipe = replace(DEPTH, learning=replace(DEPTH.learning, learning_rate=2e-4))
    assert rate_at(recipe, 0) == 2e-4
    assert rate_at(recipe, 5) == pytest.approx(1e-4)
    for end in (10, 30, 70, 150, 310, 630):
        assert rate_at(recipe, end - 1e-6) == pytest.approx(0, abs=1e-9)
        assert rate_at(recipe, end) == 2e-4


# Augmentation


def test_a_mirror_exchanges_the_sides(batch, monkeypatch):
    monkeypatch.setattr("training.learning.augment.MIRRORED_SHARE", 1.1)
    monkeypatch.setattr("training.learning.augment._move", lambda *_: None)
    changed = augmented(batch, BONES, 1e-9, 0, np.random.default_rng(0))
    assert torch.equal(changed["mask"][:, 0], batch["mask"][:, 1].flip(-1))
    assert torch.equal(changed["depth"][:, 3], batch["depth"][:, 2].flip(-1))
    assert torch.equal(changed["film"], batch["film"].flip(-1))
    assert torch.allclose(changed["principal_point_px"][:, 1], 63 - batch["principal_point_px"][:, 1])


def test_grey_changes_of_a_batch_are_those_of_its_films_alone():
    films = torch.rand(5, 1, 32, 32) * 2 - 1
    amounts = torch.linspace(-0.9, 0.8, 5)[:, None, None, None]
    for change in GREY_CHANGES:
        together = change(films, amounts)
        alone = [change(films[i : i + 1], amounts[i : i + 1]) for i in range(5)]
        torch.testing.assert_close(together, torch.cat(alone))
        assert not torch.allclose(together, films)


def test_every_film_of_a_batch_gets_as_many_changes(batch, monkeypatch):
    """Each change leaves its own digit, so that they can be counted."""
    marks = tuple(lambda films, _, digit=digit: films + 0.01 * 2**digit for digit in range(6))
    monkeypatch.setattr("training.learning.augment.GREY_CHANGES", marks)
    monkeypatch.setattr("training.learning.augment._move", lambda *_: None)
    monkeypatch.setattr("training.learning.augment.MIRRORED_SHARE", -1.0)
    flat = {**batch, "film": torch.zeros_like(batch["film"])}
    for seed in range(20):
        film = augmented(flat, BONES, 0.5, 2, np.random.default_rng(seed))["film"]
        digits = (film[:, 0, 0, 0] * 100).round().int().tolist()
        assert [value.bit_count() for value in digits] == [2] * len(digits)


def test_truth_moves_with_the_film(batch):
    """A film that is its own depth map: both are moved alike, and the principal point with them."""
    batch = dict(batch)
    batch["mask"] = torch.zeros_like(batch["mask"])
    batch["mask"][:, :, 20:40, 24:36] = True
    batch["film"] = batch["mask"][:, :1].float() * 2 - 1
    batch["depth"] = batch["mask"][:, :, None].float().expand(-1, -1, 2, -1, -1) * 900
    changed = augmented(batch, BONES, 1.0, 0, np.random.default_rng(1))
    bright = changed["film"][:, 0] > 0
    assert (bright == changed["mask"][:, 0]).float().mean() > 0.98
    assert torch.equal(changed["depth"][:, :, 0] > 0, changed["mask"])
    assert set(changed["depth"].unique().tolist()) == {0.0, 900.0}
    assert not torch.equal(changed["mask"], batch["mask"])
    assert not torch.allclose(changed["principal_point_px"], batch["principal_point_px"])
    same = augmented(batch, BONES, 1.0, 2, np.random.default_rng(1))
    assert torch.equal(augmented(batch, BONES, 1.0, 2, np.random.default_rng(1))["film"], same["film"])
    assert augmented(batch, BONES, 0.0, 2, np.random.default_rng(1)) is batch


def test_a_zoomed_film_has_other_millimetres_a_pixel(batch):
    zoomed = augmented(batch, BONES, 1.0, 0, np.random.default_rng(3))
    assert not torch.allclose(zoomed["pixel_pitch_mm"], batch["pixel_pitch_mm"])


def test_grey_changes_keep_films_films(batch):
    for seed in range(8):
        film = augmented(batch, BONES, 1.0, 3, np.random.default_rng(seed))["film"]
        assert torch.isfinite(film).all()
        assert float(film.min()) >= -1.5
        assert float(film.max()) <= 1.5
        assert float(film.std()) > 0.05


# Checkpoints


def test_a_checkpoint_survives_being_cut_short(tmp_path, monkeypatch):
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    folder = tmp_path / "check ü"
    checkpoint.save(folder, {"network": weights_of(network)}, optimizer, {"epoch": 1})
    before = {name: value.clone() for name, value in network.state_dict().items()}

    def full(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(Refusal, match=r"No space left.*make room"):
        checkpoint.save(folder, {"network": weights_of(network)}, optimizer, {"epoch": 2})
    monkeypatch.undo()
    folder.replace(folder.with_name(f".{folder.name}.old"))  # cut between the two renames
    assert checkpoint.exists(folder)
    other = torch.optim.AdamW(network.parameters())
    tensors, state = checkpoint.load(folder, other)
    assert state["epoch"] == 1
    assert all(torch.equal(tensors["network"][name], value) for name, value in before.items())
    for number, moments in optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            assert torch.equal(other.state_dict()["state"][number][name], value)
    assert other.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    assert not checkpoint.exists(tmp_path / "none")
