"""How an estimated distance is judged: beside constants whose errors are known, and the command from end to end."""

import json
import re

import numpy as np
import pytest
from support.bones import made_population

from training import actions
from training.__main__ import main
from training.actions import EXIT_FLAGGED
from training.judging import distance
from training.judging.distance import (
    FILM_PX,
    OWN_MEAN,
    POPULATION_MEAN,
    USUAL_MEAN,
    JudgedDistances,
    beats_population_mean,
    compared,
    gain,
    judge,
)
from training.patients import population
from training.simulate import take

PEOPLE = tuple("abcdef" * 20)
NAME = "a guess"


def judged(estimate, spread=20.0, middle=240.0):
    """Films around a middle, whose true distances become estimates by a function."""
    true = middle + np.random.default_rng(0).normal(0, 50, len(PEOPLE))
    return JudgedDistances(true=true, estimated=estimate(true), spread=np.full_like(true, spread), people=PEOPLE)


def test_rows_are_errors_of_constants_and_of_the_estimate():
    usual = judged(lambda true: true, middle=170.0)
    rows = compared(NAME, judged(lambda true: true + 12.0, spread=11.0), usual)
    true = judged(lambda true: true).true
    assert rows[NAME]["mae_mm"] == pytest.approx(12)
    assert rows[NAME]["bias_mm"] == pytest.approx(12)
    assert rows[NAME]["within"] == 0
    assert rows[POPULATION_MEAN]["mae_mm"] == pytest.approx(np.abs(true - 180).mean())
    assert rows[USUAL_MEAN]["bias_mm"] == pytest.approx(-70)
    assert rows[OWN_MEAN]["bias_mm"] == pytest.approx(0, abs=1e-9)
    assert 0.6 < rows[OWN_MEAN]["within"] < 0.75
    for row in rows.values():
        low, high = row["interval_mm"]
        assert low <= row["mae_mm"] <= high


def test_an_estimate_is_of_use_where_it_beats_the_population_mean_beyond_chance():
    assert beats_population_mean(judged(lambda true: 180 + 0.3 * (true - 180)))
    assert not beats_population_mean(judged(lambda true: np.full_like(true, 175.0)))
    rng = np.random.default_rng(1)
    assert not beats_population_mean(judged(lambda true: 180 + rng.normal(0, 1, len(true))))
    low, high = gain(judged(lambda true: true), 180)
    assert 40 < low < high < 90


PATIENTS = {}


@pytest.fixture
def people(monkeypatch):
    """Made-up people, whose patients are made once for all tests."""

    def remembered(population, series, number):
        if (series, number) not in PATIENTS:
            PATIENTS[series, number] = take(population, series, number)
        return PATIENTS[series, number]

    monkeypatch.setattr(distance, "take", remembered)
    return made_population(3)


def test_an_estimator_sees_the_film_of_every_patient_at_both_distances(people, tmp_path):
    """One that always says 250 mm: what is wrong with it is what is far from there."""
    films = []

    def says_250(radiograph):
        films.append(radiograph)
        return 250.0, 30.0

    text, useful = judge(says_250, "always 250", people, 2, tmp_path)
    written = json.loads((tmp_path / "distance.json").read_text(encoding="utf-8"))
    assert [max(film.geometry.size_px) for film in films] == [FILM_PX] * 4
    true = np.array([written[which]["true_mm"] for which in ("usual distances", "unusual distances")])
    assert (true[1] > true[0]).all()  # the same patients, on deeper tables
    for which, distances in zip(("usual distances", "unusual distances"), true, strict=True):
        row = written[which]["rows"]["always 250"]
        assert row["mae_mm"] == pytest.approx(np.abs(250 - distances).mean(), abs=0.01)
        assert row["spread_mm"] == 30.0
    assert text.count("| always 250 |") == 2
    assert useful is written["useful"] is False  # one of the unusual films lies nearer to 180 mm


def test_the_command_judges_what_the_header_says(people, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(population, "load_population", lambda *_, **__: people)
    exit_code = main(["distance", "--out", str(tmp_path), "--count", "2"])
    text = (tmp_path / "distance.md").read_text(encoding="utf-8")
    assert text.strip() == capsys.readouterr().out.strip()
    assert text.count(f"| {actions.FROM_HEADER} |") == 2
    useful = json.loads((tmp_path / "distance.json").read_text(encoding="utf-8"))["useful"]
    verdict = re.search(r"\*\*The estimate (is of (?:no )?use)\*\*", text).group(1)
    assert (exit_code, verdict) == ((0, "is of use") if useful else (EXIT_FLAGGED, "is of no use"))
    assert (tmp_path / "distance.png").stat().st_size > 10_000
