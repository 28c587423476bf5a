"""The page of the EAR paper's tables: rows of arms beside the paper's own, people apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from DualFaceReconLib.levels import GROUPS, group_of
from training.vertebrae.arms import FIGURES, TABLES, VolumeArm
from training.vertebrae.films import LATERAL_DEGREES
from training.vertebrae.judging import FIGURES as ALL_FIGURES
from training.vertebrae.judging import VolumeScore, at_angle, means_by_person
from training.vertebrae.rows import EXACT, FITTED, MEAN

NOT_RUN = "not run"
COLUMNS = (*FIGURES, "assd_mm", "hd95_mm")
SIMPLE = (EXACT, MEAN, FITTED)
HEAD = """\
# The EAR paper's tables, anew

`python -m training vertebrae tables --minutes {minutes:g}` wrote this page, by `training/recipes/ear_tables.toml`; the
same command goes on from where it stopped. For research; not for clinical use.

- Every arm learnt for {minutes:g} minutes of one core ({machine}), from the same kept studies in the same order, half
  of them in situ, none of them of {people}. A quicker network saw more: the cubes that each saw stand in the last
  table. That is a thousandth of the paper's training, and what an arm is here it need not be after a hundred epochs.
- They are judged on the {vertebrae} real vertebrae of {people}: alone, on films whose geometry is known, as the paper
  has it; and in situ, with the usual errors. Figures are means over people of means over their vertebrae, in brackets
  every person's. Fewer than 8 people have no interval that says anything, and no verdict hangs on these tables. An arm
  was learnt once: by how much another seed would change it is not known. "Without" counts vertebrae without a surface;
  50 HU is the lowest surface that is tried.
- Beside the paper: its cubes are tight crops of 128 voxels, split by vertebra and not by person, from 5838 vertebrae;
  ours are of 112 mm, most of it no bone. So its MSE, MAE, PSNR and SSIM, which count what is empty, are not comparable
  with ours, nor is FD, whose limits it does not give; Dice is nearest to being so. What can be set side by side is
  which row of a table is better. Of its Tables 1 and 2 our copy has the row of EAR alone.
"""


@dataclass(frozen=True, kw_only=True)
class LearntArm:
    """What an arm came to."""

    films: int  # cubes that it saw
    threshold_hu: float


def page(
    scores: Sequence[VolumeScore], learnt: Mapping[str, LearntArm], people: Sequence[str], minutes: float, machine: str
) -> str:
    """All tables."""
    vertebrae = len({(score.person, score.level) for score in scores})
    lines = [HEAD.format(minutes=minutes, machine=machine, people=" and ".join(people), vertebrae=vertebrae)]
    for title, arms in TABLES.items():
        at_angles = title.startswith("Angles")
        simple = SIMPLE if title.startswith("Table 1") else ()
        lines += [f"## {title}", ""]
        if at_angles:
            lines += [
                "The frontal film stays and the other one goes round; the paper's lateral stays. Arms but EAR have a "
                "fifth of the studies, the ones with such films.",
                "",
            ]
        for condition in ("alone",) if at_angles else ("alone", "in situ, usual errors"):
            lines += [f"{condition.capitalize()}:", "", *_table(scores, arms, simple, condition, people), ""]
    lines += ["## By levels: ASSD mm", "", *_by_levels(scores, people), ""]
    lines += ["## What they saw", "", "| row | cubes | surface at HU |", "|---|---|---|"]
    lines += [f"| {name} | {arm.films} | {arm.threshold_hu:.0f} |" for name, arm in learnt.items()]
    return "\n".join(lines) + "\n"


def _table(
    scores: Sequence[VolumeScore],
    arms: Sequence[VolumeArm],
    simple: Sequence[str],
    condition: str,
    people: Sequence[str],
) -> Iterator[str]:
    yield f"| row | {' | '.join(ALL_FIGURES[name] for name in COLUMNS)} |"
    yield "|---" * (len(COLUMNS) + 1) + "|"
    angles = dict.fromkeys(simple, LATERAL_DEGREES) | {arm.name: arm.apart_degrees for arm in arms}
    for name, degrees in angles.items():
        here = name, at_angle(condition, degrees)
        of_row = [score for score in scores if (score.row, score.condition) == here]
        cells = [means_in_words(of_row, figure, people) for figure in COLUMNS] if of_row else [NOT_RUN] * len(COLUMNS)
        yield f"| {name} | {' | '.join(cells)} |"
    if condition == "alone":
        for arm in arms:
            if arm.published is not None:
                cells = [f"{value:.4f}" for value in arm.published] + [""] * (len(COLUMNS) - len(FIGURES))
                yield f"| {arm.name}, the paper | {' | '.join(cells)} |"


def _by_levels(scores: Sequence[VolumeScore], people: Sequence[str]) -> Iterator[str]:
    """Each row's distances by group of levels, alone and in situ."""
    columns = [(group, condition) for group in GROUPS for condition in ("alone", "in situ, usual errors")]
    words = [f"{group.replace('_', ' ')}, {condition.split(',')[0]}" for group, condition in columns]
    yield f"| row | {' | '.join(words)} |"
    yield "|---" * (len(columns) + 1) + "|"
    for name in dict.fromkeys(score.row for score in scores if score.condition == columns[0][1]):
        cells = []
        for group, condition in columns:
            here = [
                score
                for score in scores
                if (score.row, score.condition) == (name, condition) and group_of(score.level) == group
            ]
            cells.append(means_in_words(here, "assd_mm", people))
        yield f"| {name} | {' | '.join(cells)} |"


def means_in_words(scores: Sequence[VolumeScore], figure: str, people: Sequence[str]) -> str:
    """The mean over people of a figure, and each person's; how many vertebrae have none, as without a surface."""
    of_people, missing = means_by_person(scores, figure, people)
    means = [mean for mean in of_people if np.isfinite(mean)]
    if not means:
        return f"{missing} without" if missing and figure.endswith("_mm") else ""  # a perfect volume has no PSNR either
    words = f"{np.mean(means):.3f}"
    if len(means) > 1:
        words += f" [{', '.join(f'{value:.3f}' for value in means)}]"
    return words if not missing else f"{words}, {missing} without"
