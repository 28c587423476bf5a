"""Two bundles on the same films: differences bone by bone, and whether they can be told from chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from training.judging.predictions import BY_BONE, BY_PICTURE, COMPLETED
from training.judging.scores import Evaluation, MapsScored, Scored
from training.judging.summary import KINDS, depth_mm
from training.judging.tables import interval

SMALL_IS_GOOD = -1  # the sign of what is better
HEAD = "| films | bones | figure | n | other | this | difference | verdict |"


def paired_tables(evaluations: Mapping[str, Evaluation], others: Mapping[str, Evaluation]) -> str:
    """This bundle less another one, on bones that both have; in brackets 95 % of means over resampled people.

    A verdict stands where the interval leaves out 0.
    """
    lines = [HEAD, "|---" * 8 + "|"]
    for name, other in others.items():
        for kind in KINDS:
            for figure, (values_of, good, digits) in FIGURES.items():
                own, before = values_of(evaluations[name], kind), values_of(other, kind)
                if both := sorted(own.keys() & before.keys()):
                    lines.append(f"| {name} | {kind} | {figure} | {_cells(own, before, both, good, digits)} |")
    return "\n".join(lines) + "\n"


# A case's bone and its person -> a figure of it
Values = dict[tuple[str, str, str], float]


def _cells(own: Values, before: Values, both: list[tuple[str, str, str]], good: int, digits: int) -> str:
    differences = [own[bone] - before[bone] for bone in both]
    low, high = interval(differences, [person for _, _, person in both])
    mean = float(np.mean(differences))
    certain = low > 0 or high < 0
    verdict = ("better" if mean * good > 0 else "worse") if certain else "cannot be told"
    means = [f"{np.mean([values[bone] for bone in both]):.{digits}f}" for values in (before, own)]
    difference = f"{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"
    return f"{len(both)} | {' | '.join(means)} | {difference} | {verdict}"


def of_maps(value: Callable[[MapsScored], float | None]) -> Callable[[Evaluation, str], Values]:
    """A figure of maps."""
    return lambda evaluation, kind: _values(evaluation.maps, kind, value)


def of_surfaces(
    value: Callable[[Scored], float | None], row: str, alignment: str
) -> Callable[[Evaluation, str], Values]:
    """A figure of the surfaces in a row of the tables."""

    def values(evaluation: Evaluation, kind: str) -> Values:
        rows = [score for score in evaluation.surfaces if (score.row, score.alignment) == (row, alignment)]
        return _values(rows, kind, value)

    return values


def _values(scored: list[Any], kind: str, value: Callable[[Any], float | None]) -> Values:
    known = {(score.case, score.bone, score.person): value(score) for score in scored if score.bone.startswith(kind)}
    return {bone: number for bone, number in known.items() if number is not None}


def _flexion(score: Scored) -> float | None:
    return None if score.flexion_error_deg is None else abs(score.flexion_error_deg)


FIGURES: dict[str, tuple[Callable[[Evaluation, str], Values], int, int]] = {
    "depth, mm": (of_maps(depth_mm), SMALL_IS_GOOD, 2),
    "Dice": (of_maps(lambda score: score.dice), -SMALL_IS_GOOD, 4),
    "mirrored, mm": (of_maps(lambda score: score.mirror_depth_mm), SMALL_IS_GOOD, 2),
    "ASSD, one shift a picture, mm": (
        of_surfaces(lambda score: score.assd_mm, COMPLETED, BY_PICTURE),
        SMALL_IS_GOOD,
        2,
    ),
    "ASSD, one shift a bone, mm": (of_surfaces(lambda score: score.assd_mm, COMPLETED, BY_BONE), SMALL_IS_GOOD, 2),
    "flexion, degrees": (of_surfaces(_flexion, COMPLETED, BY_PICTURE), SMALL_IS_GOOD, 1),
}
