"""The arms' trials learn by turns, for so many minutes: the half of `claims` that needs no more than training does.

OUT/claims.json             the recipe by which the trials here are made
OUT/films/256px/            the films that all trials of a size learn from, made once
OUT/<trial>/                its run, as `train` leaves it; encoder/ where that was pretrained
OUT/<trial>/cycle_2/        its network as it stood after a cycle, and what it is
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.networks.settings import settings_from
from training.judging.arms import Arms, Trial
from training.learning.checkpoint import STATE
from training.learning.films import Source
from training.learning.finished import described, write_finished
from training.learning.kept import KeptFilms
from training.learning.learner import Plan, plain
from training.learning.monitoring import measure_depth
from training.learning.pretrain import unlabelled
from training.learning.recipe import SETTINGS, Recipe
from training.learning.run import Run
from training.learning.train import train_together


def learn_by_turns(arms: Arms, source_of: Callable[[Recipe], Source], run: Run) -> bool:
    """All turns, one after the other; False where the minutes are over before.

    `source_of`: new films by a recipe. Refusal where trials by another recipe were begun in the run's folder.
    """
    _check_same(arms, run.out)
    simulated: dict[int, Source] = {}
    for trial, cycle in arms.turns():
        if _learnt(run.out, trial, cycle):
            continue
        if _minutes_left(run) == 0:
            return False
        films = arms.films_of(trial.size_px)
        if trial.size_px not in simulated:
            simulated[trial.size_px] = source_of(films)
        kept = KeptFilms(films, run.out / "films" / f"{trial.size_px}px", arms.comparing.kept_epochs)
        epochs = max(arms.ends[cycle - 1], arms.comparing.pretraining_epochs if trial.arm.pretrained else 0)
        source = kept.source(simulated[trial.size_px], epochs, run.machine.workers, run.say)
        run.say(f"{trial.in_words}: cycle {cycle}")
        if not _learn_cycle(arms, trial, cycle, source, run):
            return False
    return True


def cycle_folder(out: Path, trial: Trial, cycle: int) -> Path:
    """Where a trial's network lies as it stood after a cycle."""
    return out / trial.folder / f"cycle_{cycle}"


def cycles_learnt(out: Path, arms: Arms, trial: Trial) -> int:
    """How many cycles a trial has come to."""
    return sum(_learnt(out, trial, cycle) for cycle in range(1, len(arms.ends) + 1))


def _learnt(out: Path, trial: Trial, cycle: int) -> bool:
    return (cycle_folder(out, trial, cycle) / "network.json").exists()


def _check_same(arms: Arms, out: Path) -> None:
    """Keeps the recipe; Refusal where trials by another one were begun there."""
    text, kept = json.dumps(arms.plain(), indent=1), out / "claims.json"
    if kept.exists() and kept.read_text(encoding="utf-8") != text:
        raise Refusal(f"{out.name} holds trials by another recipe: give another folder.")
    out.mkdir(parents=True, exist_ok=True)
    write_text(kept, text)


def _learn_cycle(arms: Arms, trial: Trial, cycle: int, source: Source, run: Run) -> bool:
    """A trial to the end of a cycle, and its network kept; False where the minutes are over before."""
    out, end, encoder = run.out / trial.folder, arms.ends[cycle - 1], None
    if trial.arm.pretrained:
        encoder = out / "encoder" / "encoder.safetensors"
        plan = Plan(recipe=arms.pretraining_of(trial), out=encoder.parent)
        if not encoder.with_suffix(".json").exists():
            train_together([plan], unlabelled(source), replace(run, out=plan.out, minutes=_minutes_left(run)))
        if not encoder.with_suffix(".json").exists():
            return False
    recipe = arms.recipe_of(trial)
    plan = Plan(recipe=recipe, out=out, encoder=encoder)
    train_together([plan], source, replace(run, out=out, minutes=_minutes_left(run), until=end))
    state = json.loads((out / "checkpoint" / STATE).read_text(encoding="utf-8"))
    if state["epoch"] < end:
        return False
    rows = state["rows"][:end]
    films = end * (recipe.films.projections * recipe.films.reuse // recipe.learning.batch * recipe.learning.batch)
    metadata = {
        "recipe": plain(recipe),
        "settings": asdict(settings_from(SETTINGS[recipe.task], recipe.network)),
        "films": films,
        "pretraining_films": 0 if encoder is None else described(encoder)["films"],
        "steps": films // recipe.learning.batch,
        "minutes": sum(films / end / row["films_a_second"] / 60 for row in rows),
        "last": rows[-1],
        "plane_mm": measure_depth(Plane(trial.arm.faces), source.watched(), "cpu")["depth_mm"],
        "machine": machine_in_words(run.machine.device),
    }
    folder = cycle_folder(run.out, trial, cycle)
    folder.mkdir(exist_ok=True)
    write_finished(load_file(out / "checkpoint" / "average.safetensors"), metadata, folder / "network.safetensors")
    return True


class Plane(nn.Module):
    """What a network says that has learnt nothing: all bones lie in one plane."""

    def __init__(self, faces: int) -> None:
        super().__init__()
        self.faces = faces

    def forward(self, film: torch.Tensor) -> torch.Tensor:
        return film.new_zeros(len(film), len(BONES), self.faces, *film.shape[-2:])


def _minutes_left(run: Run) -> float | None:
    """Of the run; None where there is no end."""
    return None if run.minutes is None else max(run.minutes - (time.monotonic() - run.started) / 60, 0.0)


def machine_in_words(device: str) -> str:
    """What networks learn on."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    names = [line for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")]
    name = names[0].split(":", 1)[1].strip() if names else platform.machine()
    return f"{torch.get_num_threads()} thread of {os.cpu_count()} cores ({name})"


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []
