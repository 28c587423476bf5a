"""`python -m training vertebrae tables --minutes M`: the EAR paper's tables and angle study, anew on kept studies.

OUT/tables.json      the recipe and the minutes by which the arms here are made
OUT/<arm>/           an arm's run, as `train` leaves it
OUT/scores.jsonl     what was measured of every arm and of the rows that need no network
OUT/tables.md        the page, written anew after every arm

An arm learns for so many minutes of one core's own time, whatever else the machine does, and all of them from the same
studies. What is there is neither learnt nor measured again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.errors import Refusal
from training.judging.turns import machine_in_words
from training.judging.volumes import ZScale
from training.learning.finished import read_finished
from training.learning.learner import plain
from training.learning.recipe import Recipe, TimeLearning
from training.learning.run import Run
from training.learning.train import train
from training.vertebrae.arms import ORDER, VolumeArm
from training.vertebrae.correspondence import VertebraGroup
from training.vertebrae.films import LATERAL_DEGREES, Grid, Study
from training.vertebrae.judging import (
    JudgedRow,
    JudgedVertebra,
    VolumeScore,
    choosing_studies,
    chosen_threshold,
    judged_subjects,
    measure,
    simple_rows,
)
from training.vertebrae.rows import trained_network
from training.vertebrae.source import kept_vertebrae, people_of
from training.vertebrae.table_page import LearntArm, page
from training.vertebrae.virtual import Stock

CONDITIONS = ("alone", "in situ, usual errors")
RECIPE = Path(__file__).parent.parent / "recipes" / "ear_tables.toml"
AT_ANGLES = ("alone",)  # the paper's angle study

Say = Callable[[str], None]


def make_tables(
    base: Recipe,
    groups: Mapping[str, VertebraGroup],
    studies: Path,
    minutes: float,
    out: Path,
    say: Say = print,
) -> str:
    """Every arm in ORDER: learnt, judged, and put on the page; gives the page."""
    if base.task != "ear" or not isinstance(base.learning, TimeLearning):
        raise Refusal("The tables take a recipe of EAR that learns by time: training/recipes/ear_tables.toml.")
    _check_same(base, minutes, out)
    judge = _Judge(base, groups, out, say)
    scores, learnt = judge.simple(), {}
    text = ""
    for arm in ORDER:
        folder = out / arm.folder
        if not (folder / "network.json").exists():
            say(f"{arm.name}: {minutes:g} minutes")
            run = Run(folder, minutes=minutes, say=say, started=time.process_time(), clock=time.process_time)
            recipe = arm.recipe(base)
            train(recipe, kept_vertebrae(recipe, studies), run)
        metadata = read_finished(folder)[0]
        threshold, of_arm = judge.network(arm, folder)
        scores += of_arm
        learnt[arm.name] = LearntArm(films=metadata["films"], threshold_hu=threshold)
        text = page(scores, learnt, people_of(base.films), minutes, machine_in_words("cpu"))
        write_text(out / "tables.md", text)
    return text


class _Judge:
    """Judges arms on real vertebrae of the people who are kept out, each on the films that it learnt to read."""

    def __init__(self, base: Recipe, groups: Mapping[str, VertebraGroup], out: Path, say: Say) -> None:
        films = base.films
        self.groups, self.people, self.say = groups, people_of(films), say
        self.grid = Grid(side=films.side, voxel_mm=films.voxel_mm)
        self.scale = ZScale(mean_hu=films.mean_hu, deviation_hu=films.deviation_hu)
        self.file, self.stock = out / "scores.jsonl", Stock.of(groups, self.people)
        self.subjects, self.choosing = cache(self._subjects), cache(self._choosing)

    def simple(self) -> list[VolumeScore]:
        """The rows that need no network."""
        return self._measured(simple_rows(self.stock, self.grid), LATERAL_DEGREES)

    def network(self, arm: VolumeArm, folder: Path) -> tuple[float, list[VolumeScore]]:
        """The threshold of an arm's network, and its scores."""
        trained = trained_network(folder)
        kept = folder / "threshold.json"
        threshold = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
        if threshold.get("network") != trained.sha256:
            chosen = chosen_threshold(trained, self.choosing(arm.apart_degrees), self.grid)
            threshold = {"network": trained.sha256, "threshold_hu": chosen}
            write_text(kept, json.dumps(threshold))
        row = JudgedRow(volume=trained, threshold_hu=threshold["threshold_hu"], seal=trained.sha256)
        return row.threshold_hu, self._measured({arm.name: row}, arm.apart_degrees)

    def _measured(self, rows: Mapping[str, JudgedRow], apart_degrees: float) -> list[VolumeScore]:
        return measure(rows, self.subjects(apart_degrees), self.grid, self.scale, self.file, self.say)

    def _subjects(self, apart_degrees: float) -> list[JudgedVertebra]:
        conditions = CONDITIONS if apart_degrees == LATERAL_DEGREES else AT_ANGLES
        return judged_subjects(self.groups, self.people, self.stock, conditions, self.grid, apart_degrees)

    def _choosing(self, apart_degrees: float) -> list[Study]:
        return choosing_studies(self.stock, self.grid, apart_degrees)


def _check_same(base: Recipe, minutes: float, out: Path) -> None:
    """Keeps the recipe; Refusal where arms by another one, or of other minutes, were begun there."""
    text, kept = json.dumps({"recipe": plain(base), "minutes": minutes}, indent=1), out / "tables.json"
    if kept.exists() and kept.read_text(encoding="utf-8") != text:
        raise Refusal(f"{out.name} holds arms by another recipe or of other minutes: give another folder.")
    out.mkdir(parents=True, exist_ok=True)
    write_text(kept, text)
