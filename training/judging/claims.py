"""`python -m training claims --minutes M`: the 3DDX paper's comparisons, anew on virtual patients.

    OUT/claims.json             the recipe by which the trials here are made
    OUT/films/256px/            the films that all trials of a size learn from, made once
    OUT/<trial>/                its run, as `train` leaves it; encoder/ where that was pretrained
    OUT/<trial>/cycle_2/        its network as it stood after a cycle, and judged/ what was measured of it
    PAGE, CHART                 RESULTS.md and its picture

Trials take turns until the minutes are over, see `arms.py`; then what they have come to is judged, and the page is
written. A run that was cut, or whose minutes are over, goes on with the same command.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.networks.settings import settings_from
from training.judging.arms import Arms, Trial
from training.judging.page import Learnt, Results, chart, page
from training.judging.paper import CLAIMS, COMPLETED_ARMS, Claim, Compared
from training.judging.scores import Evaluation
from training.judging.trials import Judging, judge
from training.judging.verdicts import lines_of
from training.learning.checkpoint import STATE
from training.learning.films import Source
from training.learning.finished import described, read_finished, write_finished
from training.learning.kept import KeptFilms
from training.learning.learner import Plan, plain
from training.learning.monitoring import measure_depth
from training.learning.pretrain import unlabelled
from training.learning.recipe import SETTINGS, Recipe
from training.learning.run import Run
from training.learning.train import train_together


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is compared, and where."""

    arms: Arms
    cases: Sequence[Path]  # frozen films, of which some are judged
    bundle: Path  # whose segmentation network and shape models all trials share
    source_of: Callable[[Recipe], Source]  # new films by a recipe
    run: Run


def compare(comparison: Comparison, page_file: Path, chart_file: Path) -> str:
    """Learns as long as the minutes last, judges, and writes the page; gives it."""
    _check_same(comparison)
    done = _learn(comparison)
    comparison.run.say("everything is learnt" if done else "the minutes are over: the same command goes on from here")
    results = _judged(comparison)
    chart_file.parent.mkdir(parents=True, exist_ok=True)
    chart(results, chart_file)
    text = page(results, os.path.relpath(chart_file, page_file.parent).replace(os.sep, "/"))
    write_text(page_file, text)
    return text


def _check_same(comparison: Comparison) -> None:
    """Keeps the recipe; Refusal where trials by another one were begun there."""
    out = comparison.run.out
    text, kept = json.dumps(comparison.arms.plain(), indent=1), out / "claims.json"
    if kept.exists() and kept.read_text(encoding="utf-8") != text:
        raise Refusal(f"{out.name} holds trials by another recipe: give another folder.")
    out.mkdir(parents=True, exist_ok=True)
    write_text(kept, text)


# Learning


def _learn(comparison: Comparison) -> bool:
    """All turns, one after the other; False where the minutes are over before."""
    arms, run = comparison.arms, comparison.run
    simulated: dict[int, Source] = {}
    for trial, cycle in arms.turns():
        if _cycle(run.out, trial, cycle).exists():
            continue
        if _minutes_left(run) == 0:
            return False
        films = arms.films_of(trial.size_px)
        if trial.size_px not in simulated:
            simulated[trial.size_px] = comparison.source_of(films)
        kept = _kept_films(run.out, arms, trial.size_px)
        epochs = max(arms.ends[cycle - 1], arms.comparing.pretraining_epochs if trial.arm.pretrained else 0)
        source = kept.source(simulated[trial.size_px], epochs, run.machine.workers, run.say)
        run.say(f"{trial.arm.name}, {trial.size_px} px, seed {trial.seed}: cycle {cycle}")
        if not _learn_cycle(arms, trial, cycle, source, run):
            return False
    return True


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
        "settings": _settings(recipe),
        "films": films,
        "pretraining_films": 0 if encoder is None else described(encoder)["films"],
        "steps": films // recipe.learning.batch,
        "minutes": sum(films / end / row["films_a_second"] / 60 for row in rows),
        "last": rows[-1],
        "machine": machine_in_words(run.machine.device),
    }
    file = _cycle(run.out, trial, cycle)
    file.parent.mkdir(exist_ok=True)
    write_finished(load_file(out / "checkpoint" / "average.safetensors"), metadata, file.with_suffix(".safetensors"))
    return True


def _kept_films(out: Path, arms: Arms, size_px: int) -> KeptFilms:
    return KeptFilms(arms.films_of(size_px), out / "films" / f"{size_px}px", arms.comparing.kept_epochs)


def _settings(recipe: Recipe) -> dict[str, Any]:
    return asdict(settings_from(SETTINGS[recipe.task], recipe.network))


def _cycle(out: Path, trial: Trial, cycle: int) -> Path:
    """The file that says that a trial has learnt a cycle."""
    return out / trial.folder / f"cycle_{cycle}" / "network.json"


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


# Judging


def _judged(comparison: Comparison) -> Results:
    """Every claim by every seed, each on the last cycle that both of its sides have learnt."""
    arms, out = comparison.arms, comparison.run.out
    cases = judged_cases(comparison.cases, arms.comparing.judged)
    evaluations: dict[tuple[Trial, int], Evaluation] = {}
    lines, learnt = {}, {}
    for seed in arms.seeds:
        for claim in CLAIMS:
            sides = _sides(arms, claim, seed)
            cycle = min(_learnt(out, arms, trial) for trial in sides)
            keys = [(trial, cycle) for trial in sides] if cycle else []
            for key in keys:
                if key not in evaluations:
                    evaluations[key] = _evaluated(comparison, *key, cases)
            lines[claim.title, seed] = cycle, lines_of(claim, *(evaluations.get((trial, cycle)) for trial in sides))
        for trial in arms.trials(seed):
            cycle = _learnt(out, arms, trial)
            if not cycle:
                learnt[trial] = None
                continue
            metadata, _ = read_finished(_cycle(out, trial, cycle).parent)
            watched = _kept_films(out, arms, trial.size_px).watched()
            plane = measure_depth(Plane(trial.arm.faces), watched, "cpu")["depth_mm"]
            learnt[trial] = Learnt(cycle=cycle, metadata=metadata, plane_mm=plane)
    return Results(arms=arms, learnt=learnt, evaluations=evaluations, lines=lines, judged=len(cases))


def _sides(arms: Arms, claim: Claim, seed: int) -> tuple[Trial, Trial]:
    """The trials that a claim compares: the better, the worse."""
    trials = {(trial.arm.name, trial.size_px): trial for trial in arms.trials(seed)}

    def trial_of(side: Compared) -> Trial:
        return trials[side.arm, arms.sizes_px[side.finer]]

    return trial_of(claim.better), trial_of(claim.worse)


def _learnt(out: Path, arms: Arms, trial: Trial) -> int:
    """How many cycles a trial has learnt."""
    return sum(_cycle(out, trial, cycle).exists() for cycle in range(1, len(arms.ends) + 1))


class Plane(nn.Module):
    """What a network says that has learnt nothing: all bones lie in one plane."""

    def __init__(self, faces: int) -> None:
        super().__init__()
        self.faces = faces

    def forward(self, film: torch.Tensor) -> torch.Tensor:
        return film.new_zeros(len(film), len(BONES), self.faces, *film.shape[-2:])


def _evaluated(comparison: Comparison, trial: Trial, cycle: int, cases: Sequence[Path]) -> Evaluation:
    run, folder = comparison.run, _cycle(comparison.run.out, trial, cycle).parent
    run.say(f"{trial.arm.name}, {trial.size_px} px, seed {trial.seed}, cycle {cycle}")
    judging = Judging(
        network=folder,
        bundle=comparison.bundle,
        kept=folder / "judged",
        completed=trial.arm.name in COMPLETED_ARMS,
    )
    return judge(judging, cases, run.machine.jobs, run.say)


def judged_cases(cases: Sequence[Path], most: int) -> list[Path]:
    """About so many AP films, evenly; Refusal where there are none."""
    frontal = [
        case for case in cases if json.loads((case / "geometry.json").read_text(encoding="utf-8"))["view"] == "AP"
    ]
    if not frontal:
        raise Refusal("There are no AP films among the cases: make some with `training simulate --judging wide`.")
    return frontal[:: max(1, len(frontal) // most)]
