"""The page of the paper's claims, RESULTS.md, and its picture."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

from training.judging.arms import Arms, Trial
from training.judging.claim_verdicts import (
    CANNOT_BE_TOLD,
    FAILS,
    FIGURES,
    HOLDS,
    NOT_RUN,
    ComparedFigure,
    means_of,
    together,
)
from training.judging.paper import CLAIMS, COMPLETED_ASSD, KINDS, RMSE, VOLUME, Claim
from training.judging.scores import Evaluation

matplotlib.use("Agg")  # no display

from matplotlib import pyplot as plt

COMMAND = "python -m training claims --minutes 60 --out out/claims"
COLOURS = {HOLDS: "tab:green", FAILS: "tab:red", CANNOT_BE_TOLD: "0.45"}
PAPER_FILMS, PAPER_PEOPLE, PAPER_EPOCHS = 2651, 600, 630
HEAD = """\
# The paper's claims, put to the test

`{command}` wrote this page, by
`training/recipes/claims.toml`; the same command goes on from where it stopped, with more minutes, and writes it anew.
**Everything here is on virtual patients and simulated films: not one radiograph of a real person was seen.** What holds
here need not hold there, nor the other way round.

{budget}

- An arm is a row of the 3DDX paper's Table 1: `single` (front maps alone, SI loss), `dual SI independent`,
  `SI dependent`, `CASI independent`, `CASI dependent`, and `pretrained` (`CASI independent`, whose encoder first filled
  in hidden patches of the same films).
- All trials have the same films in the same order and, in the same cycle of the learning rate, the same number of
  steps: films are equal, not minutes. Trials take turns, a cycle each, and are compared where the rate is 0. What
  pretraining takes comes on top, as in the paper. Trials of one seed see the same augmentation.
- They are judged on {judged} AP films of virtual people who are mixed of kept-out bones (the frozen set `wide`): a
  network of the front alone has nothing for PA films. Masks are those of one segmentation network that all share, the
  shipped one; the paper's surfaces come of predicted masks, too. Depths get one shift a picture before they are
  measured. Surfaces are the whole true bone on the film, point to triangle. EMD is left out: from as few points as it
  can be computed of, it measures the points.
- In brackets are 95 % intervals of the mean paired difference, whole people drawn with replacement. They do not hold
  how much a network's figures change with its seed. A claim *holds* where the interval lies on the paper's side of 0,
  *fails* where it lies on the other, and otherwise *cannot be told*. Of several seeds all must agree; what one alone
  says, another may not. Seeds stand one after the other; the second is up to two cycles behind, and after one cycle a
  network has hardly learnt: the tables of each claim say after how many its arms were compared.
- The paper has no comparison of amounts of data, and none is made here. Nobody on these films is ill, so its diseased
  bones have no counterpart.
"""


@dataclass(frozen=True)
class Learnt:
    """What a trial has come to."""

    cycle: int
    metadata: Mapping[str, Any]  # of its network


@dataclass(frozen=True, kw_only=True)
class Results:
    """All that the page says."""

    arms: Arms
    learnt: Mapping[Trial, Learnt | None]
    evaluations: Mapping[tuple[Trial, int], Evaluation]  # by trial and cycle
    lines: Mapping[
        tuple[str, int], tuple[int, list[ComparedFigure]]
    ]  # by a claim's title and the seed: the cycle, and figures
    judged: int  # films


def page(results: Results, picture: str) -> str:
    """The page; `picture` is its picture's path from there."""
    parts = [
        HEAD.format(command=COMMAND, budget=_budget(results), judged=results.judged),
        "## Verdicts\n",
        "\n".join(_verdict_lines(results)),
        f"\n![Paired differences of the first figure of every claim, ours and the paper's]({picture})\n",
        "## What was learnt\n",
        "\n".join(_learnt_lines(results)),
        "\n## Every arm\n\nMeans over bones; completed bones where a claim asks for them.\n",
        "\n".join(_arm_lines(results)),
        "\n## Every claim\n",
        "\n".join(line for claim in CLAIMS for line in _claim_lines(results, claim)),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _budget(results: Results) -> str:
    """What was run, and how little that is."""
    films = results.arms.base.films
    learnt = [trial for trial in results.learnt.values() if trial is not None]
    machines = sorted({trial.metadata["machine"] for trial in learnt})
    minutes = sum(trial.metadata["minutes"] for trial in learnt)
    epochs = max((results.arms.ends[trial.cycle - 1] for trial in learnt), default=0)
    kept = min(results.arms.comparing.kept_epochs, epochs)
    people = kept * films.projections // films.postures
    text = (
        f"Run on {' and on '.join(machines) or 'no machine yet'}: {len(learnt)} of {len(results.learnt)} trials have "
        f"begun, {minutes:.0f} minutes of learning in all, {epochs} epochs at most of "
        f"{films.projections * films.reuse} films, of {people} virtual patients in all, a small encoder "
        f"(`{results.arms.base.network['encoder']}`). That is far below the paper's budget of {PAPER_EPOCHS} epochs of "
        f"{PAPER_FILMS} films of {PAPER_PEOPLE} patients (three quarters of them in each fold), with an encoder twenty "
        "times as large. Networks that have learnt so little differ for other reasons than those that have learnt all "
        "they can: a verdict here is on this budget."
    )
    return textwrap.fill(text, 120)


def _verdict_lines(results: Results) -> Iterator[str]:
    yield "| claim | the paper: pelvis | femur | here: pelvis | femur | verdict: pelvis | femur | seeds |"
    yield "|---|---|---|---|---|---|---|---|"
    for claim in CLAIMS:
        first, reported = next(iter(claim.figures.items()))
        of_seeds = {kind: [_line(results, claim, seed, first, kind) for seed in results.arms.seeds] for kind in KINDS}
        papers = [_arrow(reported.get(kind), first) for kind in KINDS]
        ours = ["; ".join(_difference(line) for line in of_seeds[kind] if line and line.count) for kind in KINDS]
        verdicts = [together([line.verdict for line in of_seeds[kind] if line]) for kind in KINDS]
        run = sum(line is not None and line.verdict != NOT_RUN for line in of_seeds["hip"])
        if not any(of_seeds["femur"]):
            verdicts[1] = "not claimed"
        seeds = f"{run} of {len(results.arms.seeds)}"
        yield f"| {claim.title} ({first}) | {' | '.join([*papers, *ours, *verdicts, seeds])} |"


def _line(results: Results, claim: Claim, seed: int, figure: str, kind: str) -> ComparedFigure | None:
    _, lines = results.lines[claim.title, seed]
    return next((line for line in lines if (line.figure, line.kind) == (figure, kind)), None)


def _arrow(pair: tuple[float | None, float | None] | None, figure: str) -> str:
    """The worse side's figure, and the better one's."""
    digits = 3 if figure == VOLUME else 2
    return "" if pair is None or None in pair else f"{pair[0]:.{digits}f} → {pair[1]:.{digits}f}"


def _difference(line: ComparedFigure) -> str:
    digits = 3 if line.figure == VOLUME else 2
    if line.difference is None:
        return ""
    return f"{line.difference:+.{digits}f} [{line.low:+.{digits}f}, {line.high:+.{digits}f}]"


def _learnt_lines(results: Results) -> Iterator[str]:
    learning = "cycles | epochs | steps | films | before, pretraining | minutes"
    yield f"| row | pixels | seed | {learning} | watched, mm | a plane, mm |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for trial, learnt in results.learnt.items():
        head = f"| {trial.arm.name} | {trial.size_px} | {trial.seed} |"
        if learnt is None:
            yield f"{head} not run | | | | | | | |"
            continue
        metadata = learnt.metadata
        before = metadata["pretraining_films"] or ""
        yield (
            f"{head} {learnt.cycle} | {results.arms.ends[learnt.cycle - 1]} | {metadata['steps']} | "
            f"{metadata['films']} | {before} | {metadata['minutes']:.1f} | {metadata['last']['depth_mm']:.2f} | "
            f"{metadata['plane_mm']:.2f} |"
        )
    yield ""
    yield textwrap.fill(
        "Minutes are those of the clock, beside whatever else the machine did. `watched`: the mean depth error on "
        f"{results.arms.base.films.watched} films of kept-out people, other ones than those below; `a plane`: that of "
        "a network that says one depth of all bones.",
        120,
    )


def _arm_lines(results: Results) -> Iterator[str]:
    figures = [*FIGURES, VOLUME]
    yield f"| row | pixels | seed | cycles | bones | {' | '.join(figures)} |"
    yield "|---" * (5 + len(figures)) + "|"
    for (trial, cycle), evaluation in sorted(results.evaluations.items(), key=lambda item: _place(results, *item[0])):
        for kind in KINDS:
            means = ((figure, means_of(evaluation, figure, kind)) for figure in figures)
            cells = ["" if mean is None else f"{mean:.{3 if figure == VOLUME else 2}f}" for figure, mean in means]
            yield (f"| {trial.arm.name} | {trial.size_px} | {trial.seed} | {cycle} | {kind} | {' | '.join(cells)} |")
    if not results.evaluations:
        yield f"| {NOT_RUN} |{' |' * (4 + len(figures))}"


def _place(results: Results, trial: Trial, cycle: int) -> tuple[int, int]:
    return list(results.learnt).index(trial), cycle


def _claim_lines(results: Results, claim: Claim) -> Iterator[str]:
    sides = [side.arm + (", finer" if side.finer else "") for side in (claim.better, claim.worse)]
    yield f"### {claim.title}\n"
    yield textwrap.fill(claim.words, 120, initial_indent="> ", subsequent_indent="> ") + f"\n>\n> {claim.where}\n"
    yield f"`{sides[0]}` less `{sides[1]}`.\n"
    yield "| figure | bones | the paper | its difference | seed | cycles | n | here | difference | verdict |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for seed in results.arms.seeds:
        cycle, lines = results.lines[claim.title, seed]
        for line in lines:
            digits = 3 if line.figure == VOLUME else 2
            its = "" if line.paper is None else f"{line.paper[1] - line.paper[0]:+.{digits}f}"
            yield (
                f"| {line.figure} | {line.kind} | {_arrow(line.paper, line.figure)} | {its} | {seed} | {cycle or ''} | "
                f"{line.count or ''} | {_arrow((line.worse, line.better), line.figure)} | {_difference(line)} | "
                f"{line.verdict} |"
            )
    yield ""


# Picture


def chart(results: Results, path: Path) -> None:
    """Ours and the paper's difference of the first figure of every claim, by kind of bone; left of 0 as claimed."""
    claims = [claim for claim in CLAIMS if next(iter(claim.figures)) != VOLUME][::-1]
    drawn, axes = plt.subplots(1, len(KINDS), figsize=(10, 4), sharey=True, layout="constrained")
    for axis, kind in zip(axes, KINDS, strict=True):
        for place, claim in enumerate(claims):
            figure = next(iter(claim.figures))
            for number, seed in enumerate(results.arms.seeds):
                line = _line(results, claim, seed, figure, kind)
                if line is None or line.difference is None:
                    continue
                height = place - 0.16 * number
                axis.plot([line.low, line.high], [height] * 2, color=COLOURS[line.verdict], linewidth=2)
                axis.plot(line.difference, height, "o", color=COLOURS[line.verdict], markersize=5)
            if (pair := claim.figures[figure].get(kind)) is not None:
                axis.plot(pair[1] - pair[0], place + 0.2, "D", color="black", fillstyle="none", markersize=5)
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_xscale("symlog", linthresh=0.5)
        left, right = axis.get_xlim()
        axis.set_xticks([-20, -10, -5, -2, -1, -0.5, -0.2, 0, 0.2, 0.5, 1, 2, 5, 10], minor=False)
        axis.set_xlim(min(1.15 * left, -5), max(1.15 * right, 1))
        axis.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        axis.tick_params(labelsize=7)
        axis.grid(axis="x", alpha=0.3)
        axis.set_title({"hip": "pelvis", "femur": "femur"}[kind], fontsize=10)
        axis.set_xlabel("better arm less worse arm, mm; left of 0 as claimed", fontsize=8)
    short = {RMSE: "depth RMSE", COMPLETED_ASSD: "completed ASSD"}
    names = [f"{claim.title}\n({short.get(next(iter(claim.figures)), 'ASSD')})" for claim in claims]
    axes[0].set_yticks(range(len(claims)), names, fontsize=7)
    axes[0].set_ylim(-0.6, len(claims) - 0.4)
    legend = "green holds, red fails, grey cannot be told; diamonds: the paper's"
    drawn.suptitle(f"Virtual patients: differences with their 95 % intervals over people; {legend}", fontsize=9)
    drawn.savefig(path, dpi=90)
    plt.close(drawn)
