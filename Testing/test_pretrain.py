"""Pretraining: what is hidden and what counts, the user's own films, cut runs, the encoder that train starts from."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support import films
from support.bones import made_population
from support.learning import curves_drawn_at_the_end, curves_undrawn
from support.recipes import DEPTH, PRETRAIN, SEGMENTATION, run, run_on, silent

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.networks.weights import weights_of
from training.__main__ import main
from training.learning.masking import LEAST_SPREAD, covered, filled_in, filled_in_loss, hidden_patches
from training.learning.pretrain import OwnFilms, own_films, read_films
from training.learning.recipe import read_recipe
from training.learning.start import take_encoder
from training.learning.tasks import network_of

RECIPE = Path(__file__).parent.parent / "training" / "recipes" / "small_pretrain.toml"
NAME = "Doe^Jane"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five films of unlike patients, and a file that is none; all with a patient's name."""
    folder = tmp_path_factory.mktemp("own")
    for number in range(5):
        dataset = films.dataset(PatientName=NAME)
        dataset.PixelData = np.roll(dataset.pixel_array, 15 * number, axis=1).tobytes()
        films.save(dataset, folder / f"Jane_{number}.dcm")
    (folder / "Jane_2a.dcm").write_bytes(b"no film")
    return folder


def run_own(recipe, out, folder, say=silent, **limits):
    """A run on the films of a folder."""
    return run_on(own_films(recipe, folder, say), recipe, out, say=say, **limits)


# Masks and what counts


def test_masks_are_whole_patches_of_the_asked_share():
    hidden = hidden_patches(5, 64, 8, 0.6, np.random.default_rng(0))
    patches = hidden.reshape(5, 8, 8, 8, 8).permute(0, 1, 3, 2, 4).flatten(3)
    assert torch.equal(patches.all(dim=-1), patches.any(dim=-1))
    assert patches[..., 0].flatten(1).sum(dim=1).tolist() == [38] * 5  # of 64
    assert len({tuple(film.flatten().tolist()) for film in patches[..., 0]}) == 5
    assert torch.equal(hidden, hidden_patches(5, 64, 8, 0.6, np.random.default_rng(0)))


def test_every_patch_is_hidden_as_often():
    hidden = hidden_patches(2000, 32, 8, 0.5, np.random.default_rng(1)).float().mean(dim=(0, 1))
    assert float((hidden - 0.5).abs().max()) < 5 * np.sqrt(0.25 / 2000)  # five standard errors


def test_only_hidden_patches_count_and_only_visible_ones_are_seen():
    rng = torch.Generator().manual_seed(0)
    film, predicted = torch.randn(2, 1, 64, 64, generator=rng), torch.randn(2, 1, 64, 64, generator=rng)
    hidden = hidden_patches(2, 64, 8, 0.6, np.random.default_rng(0))
    loss = filled_in_loss(predicted, film, hidden, 8)
    assert torch.equal(filled_in_loss(torch.where(hidden, predicted, 99.0), film, hidden, 8), loss)
    other = torch.where(hidden, film, -(film**2))
    assert torch.equal(filled_in_loss(predicted, other, hidden, 8), loss)
    assert filled_in_loss(torch.where(hidden, predicted + 1, predicted), film, hidden, 8) != loss
    seen = covered(film, hidden)
    assert torch.equal(covered(torch.where(hidden, 5.0, film), hidden), seen)
    assert torch.equal(seen[~hidden], film[~hidden])


def test_the_loss_of_known_patches():
    """Two grey values a patch: 1 and -1 of its spread, at any brightness and contrast; a flat patch is 0."""
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2 * 2.0 - 1
    film = torch.cat([0.5 + 0.2 * board, torch.full((16, 16), 0.3)], dim=1)[None, None]
    hidden = torch.ones_like(film, dtype=torch.bool)
    shrunk = 0.2 / np.hypot(0.2, LEAST_SPREAD)
    flat = float(filled_in_loss(torch.zeros_like(film), film, hidden, 8))
    assert flat == pytest.approx(shrunk**2 / 2, rel=1e-5)
    truth = torch.cat([shrunk * board, torch.zeros(16, 16)], dim=1)[None, None]
    assert float(filled_in_loss(truth, film, hidden, 8)) == pytest.approx(0, abs=1e-10)
    assert torch.allclose(filled_in(truth, film, hidden, 8), film, atol=1e-6)


# Runs


def test_a_cut_run_on_own_films_ends_as_the_run_in_one_piece(folder, tmp_path):
    with curves_drawn_at_the_end():
        whole = run_own(PRETRAIN, tmp_path / "whole", folder)
    with curves_undrawn():
        assert run_own(PRETRAIN, tmp_path / "cut", folder, minutes=0.0) is None
        assert json.loads((tmp_path / "cut/checkpoint/state.json").read_text())["epoch"] == 1
        weights, again = load_file(whole), load_file(run_own(PRETRAIN, tmp_path / "cut", folder))
    assert weights.keys() == again.keys()
    assert all(torch.equal(value, again[name]) for name, value in weights.items())
    for name in ("curves.csv", "curves.png", "masked.png"):
        assert (tmp_path / "whole" / name).stat().st_size > 100
    metadata = json.loads((tmp_path / "whole/encoder.json").read_text())
    assert (metadata["besides"]["count"], metadata["films"]) == (5, 3 * 8)
    with pytest.raises(Refusal, match="other films"):
        run(PRETRAIN, made_population(2), tmp_path / "cut")
    with pytest.raises(Refusal, match="another recipe"):
        run_own(replace(PRETRAIN, seed=4), tmp_path / "cut", folder)


def test_it_learns_to_fill_in(folder, tmp_path):
    learning = replace(PRETRAIN.learning, epochs=20, first_cycle=20, strength=0.0)
    with curves_undrawn():
        run_own(replace(PRETRAIN, learning=learning), tmp_path, folder)
    rows = json.loads((tmp_path / "checkpoint/state.json").read_text())["rows"]
    losses = [row["loss"] for row in rows]
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:2])
    assert rows[-1]["explained"] > rows[0]["explained"] + 0.05


def test_train_starts_from_the_encoder_of_simulated_films(tmp_path):
    population = made_population(2)
    few = replace(DEPTH.films, projections=2, watched=1)
    recipe = replace(PRETRAIN, films=few, learning=replace(PRETRAIN.learning, epochs=1))
    encoder = run(recipe, population, tmp_path / "pretrained")
    assert json.loads(encoder.with_suffix(".json").read_text())["besides"] == {"films": "simulated"}
    torch.manual_seed(0)
    fresh = weights_of(network_of(PRETRAIN).encoder)
    written = load_file(encoder)
    assert fresh.keys() == written.keys()
    assert any(not torch.equal(fresh[name], written[name]) for name in fresh)

    still = replace(DEPTH, films=few, learning=replace(DEPTH.learning, epochs=1, learning_rate=0.0))
    network = run(still, population, tmp_path / "run", encoder=encoder)
    with pytest.raises(Refusal, match="another encoder"):
        run(still, population, tmp_path / "run")
    tensors = load_file(tmp_path / "run/checkpoint/network.safetensors")
    for name, value in written.items():
        assert torch.equal(tensors[f"encoder.{name}"], value), name
    origin = json.loads(network.with_suffix(".json").read_text())["besides"]["encoder"]
    assert origin["besides"] == {"films": "simulated"}
    assert len(origin["sha256"]) == 64

    with pytest.raises(Refusal, match="stages"):
        take_encoder(network_of(replace(DEPTH, network={**DEPTH.network, "stages": 2})), encoder)
    with pytest.raises(Refusal, match="depth network"):
        take_encoder(network_of(SEGMENTATION), encoder)
    encoder.with_suffix(".json").unlink()
    with pytest.raises(Refusal, match="no encoder of"):
        take_encoder(network_of(DEPTH), encoder)


# The user's own films


def test_a_bad_file_is_left_out_and_named_by_number_alone(folder, tmp_path):
    sentences = []
    read = read_films(folder, 64, 6.0, sentences.append)
    assert read.shape == (5, 1, 64, 64)
    assert len(sentences) == 1
    assert "1 of 6 files are left out, as they cannot be read: 4 " in sentences[0]  # Jane_0, _1, _2, _2a
    run_own(PRETRAIN, tmp_path, folder, say=sentences.append)
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    for private in ("Jane", "Doe", str(folder)):
        assert not any(private in sentence for sentence in sentences)
        assert not any(private.encode() in content for content in written)


def test_a_folder_without_a_film_is_refused(tmp_path, capsys):
    (tmp_path / "Jane.txt").write_text("no film")
    assert main(["pretrain", str(RECIPE), "--films", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    refusal = capsys.readouterr().err
    assert "None of the 1 files" in refusal
    assert "Jane" not in refusal
    assert not (tmp_path / "out").exists()


def test_processes_share_own_films_and_every_epoch_has_its_order(monkeypatch):
    own = torch.arange(5.0)[:, None, None, None].expand(5, 1, 8, 8).half()

    def order(epoch):
        return [int(sample["film"][0, 0, 0]) for sample in OwnFilms(own, PRETRAIN, epoch)]

    whole = order(0)
    assert sorted(whole[:5]) == list(range(5))
    assert len(whole) == 8
    assert any(order(epoch) != whole for epoch in (1, 2))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert order(0) == whole[1::2]


# Recipes


def test_recipes_of_the_other_command_are_refused(tmp_path, capsys):
    assert main(["train", str(RECIPE), "--out", str(tmp_path / "out")]) == 2
    assert "training pretrain" in capsys.readouterr().err
    depth = RECIPE.with_name("small_depth.toml")
    assert main(["pretrain", str(depth), "--out", str(tmp_path / "out")]) == 2
    assert "training train" in capsys.readouterr().err
    shared = {name: read_recipe(RECIPE).network[name] for name in ("encoder", "stages")}
    assert shared.items() <= read_recipe(depth).network.items()  # the one starts from the other
