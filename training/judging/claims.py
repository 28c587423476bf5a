"""`python -m training claims --minutes M`: the 3DDX paper's comparisons, anew on virtual patients.

    text = judge_claims(arms, Judged(out=out, cases=cases_in(folder), bundle=MODELS, jobs=1), page_file, chart_file)

    OUT/ ...                         what `turns.py` leaves of the trials, which learn by turns
    OUT/<trial>/cycle_2/judged/      what was measured of a trial's network as it stood after a cycle, case by case
    PAGE, CHART                      RESULTS.md and its picture

What was measured is not measured again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.errors import Refusal
from training.judging.arms import Arms, Trial
from training.judging.claim_verdicts import lines_of
from training.judging.page import Learnt, Results, chart, page
from training.judging.paper import CLAIMS, COMPLETED_ARMS, Claim, Compared
from training.judging.scores import Evaluation
from training.judging.trials import Judging, judge
from training.judging.turns import cycle_folder, cycles_learnt
from training.learning.finished import read_finished


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What is judged, and by what."""

    out: Path  # where trials have learnt
    cases: Sequence[Path]  # frozen films, of which some are taken
    bundle: Path  # whose segmentation network and shape models all trials share
    jobs: int = 1  # processes that measure
    say: Callable[[str], None] = print


def judge_claims(arms: Arms, judged: Judged, page_file: Path, chart_file: Path) -> str:
    """Judges what trials have come to, and writes the page; gives it."""
    results = _results(arms, judged)
    chart_file.parent.mkdir(parents=True, exist_ok=True)
    chart(results, chart_file)
    text = page(results, os.path.relpath(chart_file, page_file.parent).replace(os.sep, "/"))
    write_text(page_file, text)
    return text


def judged_cases(cases: Sequence[Path], most: int) -> list[Path]:
    """About so many AP films, evenly; Refusal where there are none."""
    views = [json.loads((case / "geometry.json").read_text(encoding="utf-8"))["view"] for case in cases]
    frontal = [case for case, view in zip(cases, views, strict=True) if view == "AP"]
    if not frontal:
        raise Refusal("There are no AP films among the cases: make some with `training simulate --judging wide`.")
    return frontal[:: max(1, len(frontal) // most)]


def _results(arms: Arms, judged: Judged) -> Results:
    """Every claim by every seed, each on the last cycle that both of its sides have learnt."""
    out, cases = judged.out, judged_cases(judged.cases, arms.comparing.judged)
    evaluations: dict[tuple[Trial, int], Evaluation] = {}
    lines, learnt = {}, {}
    for seed in arms.seeds:
        for claim in CLAIMS:
            sides = _sides(arms, claim, seed)
            cycle = min(cycles_learnt(out, arms, trial) for trial in sides)
            keys = [(trial, cycle) for trial in sides] if cycle else []
            for key in keys:
                if key not in evaluations:
                    evaluations[key] = _evaluated(judged, *key, cases)
            lines[claim.title, seed] = cycle, lines_of(claim, *(evaluations.get((trial, cycle)) for trial in sides))
        for trial in arms.trials(seed):
            cycle = cycles_learnt(out, arms, trial)
            learnt[trial] = Learnt(cycle, read_finished(cycle_folder(out, trial, cycle))[0]) if cycle else None
    return Results(arms=arms, learnt=learnt, evaluations=evaluations, lines=lines, judged=len(cases))


def _sides(arms: Arms, claim: Claim, seed: int) -> tuple[Trial, Trial]:
    """The trials that a claim compares: the better, the worse."""
    trials = {(trial.arm.name, trial.size_px): trial for trial in arms.trials(seed)}

    def trial_of(side: Compared) -> Trial:
        return trials[side.arm, arms.sizes_px[side.finer]]

    return trial_of(claim.better), trial_of(claim.worse)


def _evaluated(judged: Judged, trial: Trial, cycle: int, cases: Sequence[Path]) -> Evaluation:
    folder = cycle_folder(judged.out, trial, cycle)
    judged.say(f"{trial.in_words}: judged after cycle {cycle}")
    judging = Judging(
        network=folder,
        bundle=judged.bundle,
        kept=folder / "judged",
        completed=trial.arm.name in COMPLETED_ARMS,
    )
    return judge(judging, cases, judged.jobs, judged.say)
