"""A page's table of all sets of films, and one sentence of it for a bundle's manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from DualFaceReconLib.metrics import pearson
from training.judging.baselines import MEAN_BY_MASK, NO_ALIGNMENT
from training.judging.predictions import BY_BONE, BY_PICTURE, COMPLETED, UNALIGNED
from training.judging.scores import Evaluation, MapsScored, Scored
from training.judging.tables import interval

KINDS = ("hip", "femur")
HEAD = (
    "| films | n | bones | missed | Dice | depth, mm | mirrored, mm | ASSD, one shift a picture | a bone | unaligned | "
    "mean shape by mask | flexion, degrees | r | rotation, degrees |"
)


def summary_table(evaluations: Mapping[str, Evaluation]) -> str:
    """Of completed bones, and of maps after one shift a picture; in brackets 95 % of means over resampled people."""
    lines = [HEAD, "|---" * HEAD.count(" | ") + "|---|"]
    for name, evaluation in evaluations.items():
        for kind in KINDS:
            maps = [score for score in evaluation.maps if score.bone.startswith(kind)]
            rows = {
                (row, alignment): [
                    score
                    for score in evaluation.surfaces
                    if score.bone.startswith(kind) and (score.row, score.alignment) == (row, alignment)
                ]
                for row, alignment in (
                    *((COMPLETED, alignment) for alignment in (BY_PICTURE, BY_BONE, UNALIGNED)),
                    (MEAN_BY_MASK, NO_ALIGNMENT),
                )
            }
            headline = rows[COMPLETED, BY_PICTURE]
            missed = sum(score.assd_mm is None for score in headline)
            cells = [name, str(len({score.case for score in maps})), kind, str(missed), *_map_cells(maps)]
            cells += [_assd(some, row == (COMPLETED, BY_PICTURE)) for row, some in rows.items()]
            lines.append(f"| {' | '.join([*cells, *_pose_cells(rows[COMPLETED, BY_PICTURE])])} |")
    return "\n".join(lines) + "\n"


def depth_mm(score: MapsScored) -> float | None:
    """The mean error of both faces, or of the one that there is."""
    errors = [error for error in (score.front_mae_mm, score.back_mae_mm) if error is not None]
    return float(np.mean(errors)) if errors else None


def in_words(evaluations: Mapping[str, Evaluation]) -> str:
    """What is known of a bundle, for its manifest: of the set that networks are chosen by."""
    evaluation = evaluations["wide"]
    films, people = ({getattr(score, name) for score in evaluation.maps} for name in ("case", "person"))
    depths = []
    for kind in KINDS:
        errors = [depth_mm(score) for score in evaluation.maps if score.bone.startswith(kind) and score.found]
        depths.append(f"{np.mean([error for error in errors if error is not None]):.1f} mm ({kind})")
    dice = np.mean([score.dice for score in evaluation.maps])
    return (
        f"On {len(films)} simulated films of {len(people)} virtual people who were kept out: mean depth error "
        f"{' and '.join(depths)} after one shift a picture, Dice {dice:.3f}. Never on a radiograph of a real person."
    )


def _map_cells(maps: Sequence[MapsScored]) -> list[str]:
    depths = [(depth_mm(score), score.person) for score in maps if depth_mm(score) is not None]
    mirrored = [score.mirror_depth_mm for score in maps if score.mirror_depth_mm is not None]
    return [f"{np.mean([score.dice for score in maps]):.3f}", _with_interval(depths), _mean(mirrored)]


def _assd(scored: Sequence[Scored], between: bool) -> str:
    known = [(score.assd_mm, score.person) for score in scored if score.assd_mm is not None]
    return _with_interval(known) if between else _mean([value for value, _ in known])


def _pose_cells(scored: Sequence[Scored]) -> list[str]:
    """Of whole femora; mean absolute errors of flexion and rotation, and the correlation of flexion with the truth."""
    posed = [score for score in scored if score.flexion_error_deg is not None]
    if len(posed) < 3:
        return ["", "", ""]
    true, error, turned = (
        np.array([getattr(score, name) for score in posed])
        for name in ("true_flexion_deg", "flexion_error_deg", "rotation_error_deg")
    )
    return [f"{np.abs(error).mean():.1f}", f"{pearson(true, true + error):.2f}", f"{np.abs(turned).mean():.1f}"]


def _with_interval(values: Sequence[tuple[float, str]]) -> str:
    if not values:
        return ""
    numbers, people = zip(*values, strict=True)
    low, high = interval(numbers, people)
    return f"{np.mean(numbers):.2f} [{low:.2f}, {high:.2f}]"


def _mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2f}" if values else ""
