"""Whether a claim of the paper holds: paired differences over people, their intervals, and a verdict each.

lines = lines_of(claim, better, worse)  # of two evaluations on the same films
lines[0].difference, lines[0].low, lines[0].high, lines[0].verdict
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from DualFaceReconLib.metrics import pearson
from training.judging.paired import Values, of_maps, of_surfaces
from training.judging.paper import (
    ASSD,
    CD,
    COMPLETED_ASSD,
    COMPLETED_CD,
    COMPLETED_HD95,
    HD95,
    KINDS,
    LARGE_IS_GOOD,
    RMSE,
    VOLUME,
    Claim,
)
from training.judging.predictions import BY_PICTURE, COMPLETED, OBSERVED
from training.judging.scores import Evaluation, MapsScored
from training.judging.tables import RESAMPLED, interval

HOLDS, FAILS, CANNOT_BE_TOLD, NOT_RUN = "holds", "fails", "cannot be told", "not run"


@dataclass(frozen=True, kw_only=True)
class ComparedFigure:
    """A figure of one kind of bone on both sides of a claim, over the bones that both have."""

    figure: str
    kind: str
    paper: tuple[float, float] | None  # its own of (worse, better)
    count: int = 0  # bones
    people: int = 0
    worse: float | None = None
    better: float | None = None
    difference: float | None = None  # better minus worse
    low: float | None = None  # 95 % of differences over resampled people
    high: float | None = None
    verdict: str = NOT_RUN


def verdict(figure: str, low: float, high: float) -> str:
    """Whether a difference's interval lies on the claimed side of 0, on the other, or on both."""
    if figure in LARGE_IS_GOOD:
        low, high = -high, -low
    return HOLDS if high < 0 else FAILS if low > 0 else CANNOT_BE_TOLD


def together(verdicts: Sequence[str]) -> str:
    """Of trials by several seeds: what all of them say; it cannot be told where they do not agree."""
    run = {each for each in verdicts if each != NOT_RUN}
    return NOT_RUN if not run else run.pop() if len(run) == 1 else CANNOT_BE_TOLD


def lines_of(claim: Claim, better: Evaluation | None, worse: Evaluation | None) -> list[ComparedFigure]:
    """Every figure of a claim by kind of bone; without numbers where a side was not run."""
    lines = []
    for figure, reported in claim.figures.items():
        for kind in KINDS if figure != VOLUME else reported:
            empty = ComparedFigure(figure=figure, kind=kind, paper=reported.get(kind))
            both = better is not None and worse is not None
            lines.append(_line(empty, better, worse) if both else empty)
    return lines


def _line(empty: ComparedFigure, better: Evaluation, worse: Evaluation) -> ComparedFigure:
    """A line with its numbers; empty where no bone has the figure on both sides."""
    of_side = FIGURES.get(empty.figure)
    own, other = (
        _volumes(side, empty.kind) if of_side is None else of_side(side, empty.kind) for side in (better, worse)
    )
    bones = sorted(own.keys() & other.keys())
    people = [person for _, _, person in bones]
    if len(set(people)) < 2:
        return empty
    values = [np.array([side[bone] for bone in bones]) for side in (other, own)]
    if of_side is None:
        means = [pearson(*pairs.T) for pairs in values]
        low, high = correlation_interval(values[0], values[1], people)
    else:
        means = [float(of_bones.mean()) for of_bones in values]
        low, high = interval((values[1] - values[0]).tolist(), people)
    return ComparedFigure(
        figure=empty.figure,
        kind=empty.kind,
        paper=empty.paper,
        count=len(bones),
        people=len(set(people)),
        worse=means[0],
        better=means[1],
        difference=means[1] - means[0],
        low=low,
        high=high,
        verdict=verdict(empty.figure, low, high),
    )


def means_of(evaluation: Evaluation, figure: str, kind: str) -> float | None:
    """A figure's mean over bones, or the correlation of volumes; None where there are too few."""
    if figure == VOLUME:
        pairs = np.array(list(_volumes(evaluation, kind).values()))
        return pearson(*pairs.T) if len(pairs) > 2 else None
    values = FIGURES[figure](evaluation, kind)
    return float(np.mean(list(values.values()))) if values else None


def correlation_interval(
    worse: np.ndarray, better: np.ndarray, people: Sequence[str], seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of a difference of correlations, whole people drawn with replacement.

    `worse` and `better` are (bones, 2): predicted and true.
    """
    places = {name: np.flatnonzero(np.array(people) == name) for name in sorted(set(people))}
    names, rng = list(places), np.random.default_rng(seed)
    differences = []
    for drawn in rng.integers(len(names), size=(RESAMPLED, len(names))):
        if len(set(drawn.tolist())) < 2:
            continue  # nothing correlates in one person
        chosen = np.concatenate([places[names[number]] for number in drawn])
        differences.append(pearson(*better[chosen].T) - pearson(*worse[chosen].T))
    return float(np.percentile(differences, 2.5)), float(np.percentile(differences, 97.5))


def _volumes(evaluation: Evaluation, kind: str) -> dict[tuple[str, str, str], tuple[float, float]]:
    """By a case's bone and person: its envelope's volume as predicted and in truth, cm3."""
    return {
        (score.case, score.bone, score.person): (score.envelope_cm3, score.true_envelope_cm3)
        for score in evaluation.maps
        if score.bone.startswith(kind) and score.envelope_cm3 is not None and score.true_envelope_cm3 is not None
    }


def _rmse(score: MapsScored) -> float | None:
    """Over the pixels of both faces."""
    errors = [error for error in (score.front_rmse_mm, score.back_rmse_mm) if error is not None]
    return float(np.sqrt(np.mean(np.square(errors)))) if errors else None


FIGURES: dict[str, Callable[[Evaluation, str], Values]] = {
    ASSD: of_surfaces(lambda score: score.assd_mm, OBSERVED, BY_PICTURE),
    HD95: of_surfaces(lambda score: score.hd95_mm, OBSERVED, BY_PICTURE),
    CD: of_surfaces(lambda score: score.cd_l2_mm2, OBSERVED, BY_PICTURE),
    RMSE: of_maps(_rmse),
    COMPLETED_ASSD: of_surfaces(lambda score: score.assd_mm, COMPLETED, BY_PICTURE),
    COMPLETED_HD95: of_surfaces(lambda score: score.hd95_mm, COMPLETED, BY_PICTURE),
    COMPLETED_CD: of_surfaces(lambda score: score.cd_l2_mm2, COMPLETED, BY_PICTURE),
}
