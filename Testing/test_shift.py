"""The verdict on a shift head: by constants and heads whose errors are known, and the command from end to end."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from safetensors.torch import save_file
from support.bones import made_population
from support.recipes import DEPTH, SHIFT

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.networks.weights import weights_of
from training.__main__ import EXIT_REFUSED, main
from training.actions import EXIT_FLAGGED
from training.judging import distance as shift
from training.judging.distance import (
    HEAD,
    OWN_MEAN,
    POPULATION_MEAN,
    TRAINING_MEAN,
    Judged,
    compared,
    gain,
    ships,
)
from training.learning.train import built

PEOPLE = tuple("abcdef" * 20)


def judged(says, spread=20.0, middle=240.0):
    """A head that says `says` of true distances around a middle."""
    true = middle + np.random.default_rng(0).normal(0, 50, len(PEOPLE))
    return Judged(np.stack([true, says(true), np.full_like(true, spread)], axis=1), PEOPLE)


def test_rows_are_errors_of_constants_and_of_the_head():
    usual = judged(lambda true: true, middle=170.0)
    rows = compared(judged(lambda true: true + 12.0, spread=11.0), usual)
    true = judged(lambda true: true).found[:, 0]
    assert rows[HEAD]["mae_mm"] == pytest.approx(12)
    assert rows[HEAD]["bias_mm"] == pytest.approx(12)
    assert rows[HEAD]["within"] == 0
    assert rows[POPULATION_MEAN]["mae_mm"] == pytest.approx(np.abs(true - 180).mean())
    assert rows[TRAINING_MEAN]["bias_mm"] == pytest.approx(-70)
    assert rows[OWN_MEAN]["bias_mm"] == pytest.approx(0, abs=1e-9)
    assert 0.6 < rows[OWN_MEAN]["within"] < 0.75
    for row in rows.values():
        low, high = row["interval_mm"]
        assert low <= row["mae_mm"] <= high


def test_a_head_ships_where_it_beats_the_population_mean_beyond_chance():
    assert ships(judged(lambda true: 180 + 0.3 * (true - 180)))
    assert not ships(judged(lambda true: np.full_like(true, 175.0)))
    rng = np.random.default_rng(1)
    assert not ships(judged(lambda true: 180 + rng.normal(0, 1, len(true))))
    low, high = gain(judged(lambda true: true), 180)
    assert 40 < low < high < 90


def run_of(recipe, folder):
    """A run's folder, as if it had ended before it began."""
    folder.mkdir()
    save_file(weights_of(built(recipe)), folder / "network.safetensors")
    (folder / "network.json").write_text(json.dumps({"recipe": asdict(recipe)}), encoding="utf-8")
    return folder


def test_the_command_writes_a_table_and_a_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shift, "load_population", lambda *_, **__: made_population())
    arguments = ["shift", str(run_of(SHIFT, tmp_path / "run")), "--out", str(tmp_path), "--count", "2"]
    assert main(arguments) in (0, EXIT_FLAGGED)
    text = (tmp_path / "shift.md").read_text(encoding="utf-8")
    assert text.strip() == capsys.readouterr().out.strip()
    assert text.count("| shift head |") == 2
    assert "**The head" in text
    assert (tmp_path / "shift.png").stat().st_size > 10_000
    assert json.loads((tmp_path / "shift.json").read_text(encoding="utf-8"))["ships"] in (True, False)


def test_only_finished_runs_of_shift_heads_are_judged(tmp_path):
    with pytest.raises(Refusal, match="for depth, not for shift"):
        shift.finished(run_of(DEPTH, tmp_path / "depth"))
    assert main(["shift", str(tmp_path), "--out", str(tmp_path)]) == EXIT_REFUSED
    with pytest.raises(Refusal, match="no finished network"):
        shift.finished(tmp_path)
