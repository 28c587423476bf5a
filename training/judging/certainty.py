"""`python -m training certainty`: whether the uncertainty that completed bones state is right, on cases.

    lines, missing = certainty(cases_in(folder), Path("Resources/Models"))

A vertex of a bone that was completed alone has a standard deviation of its place. Here it is compared with the
vertex's distance from the true surface, on films with the true distance of their bones; and the one with the
distance's share with what it is where the same bones stand at the distance that the film's header tells. Vertices
count that the product keeps: not a femur's beyond the film. What it lacks is the error that networks make smoothly
over a bone, which a shape model fits well; that goes into a bundle's manifest as `surface_error_mm`. It is such that
68 % of the seen vertices lie within one standard deviation: a few bones that are quite wrong do not make others look
unsure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from DualFaceReconLib.certainty import with_distance
from DualFaceReconLib.evidence import evidence_of
from DualFaceReconLib.film.radiograph import read_radiograph
from DualFaceReconLib.geometry import ProjectionGeometry, Provenance
from DualFaceReconLib.prediction import seen_on
from DualFaceReconLib.reconstruction import Reconstructor
from DualFaceReconLib.verdicts import is_doubted, verdict_of
from training.cases import read_case
from training.judging.nearness import quick_distances

KINDS = ("hip", "femur")
COVERED = 0.683  # of a normal distribution within one standard deviation
TRUE = Provenance("user", "the truth of this case")
KINDS_AND_SEEN = tuple((kind, seen) for kind in KINDS for seen in (True, False))


@dataclass(frozen=True, kw_only=True)
class VertexErrors:
    """Some vertices of a bone."""

    away: np.ndarray  # (N,) mm from the true surface
    std_mm: np.ndarray  # (N,) as it is stated
    good: bool  # what the bone's verdict is


# By kind of bone, and whether the vertices were seen
Errors = dict[tuple[str, bool], list[VertexErrors]]


def certainty(
    folders: Sequence[Path], bundle: Path, say: Callable[[str], None] = print
) -> tuple[list[str], dict[str, float]]:
    """Lines of a table, and by kind of bone the error in mm that the bundle's `surface_error_mm` lacks."""
    reconstructor = Reconstructor(bundle)
    errors: Errors = {key: [] for key in KINDS_AND_SEEN}
    total: Errors = {key: [] for key in KINDS_AND_SEEN}
    for number, folder in enumerate(folders, 1):
        case = read_case(folder)
        unscored = case.metadata.get("unscored", ())
        radiograph = read_radiograph(case.radiograph)
        distance = case.geometry.object_distance_mm
        assert distance is not None  # geometry.json has it
        by_header = radiograph.geometry
        radiograph = radiograph.at_object_distance(distance, TRUE)
        prediction = reconstructor.predict(radiograph)
        maps = reconstructor.bone_maps(radiograph, prediction)
        observed = reconstructor.surfaces(radiograph, maps)
        completed = reconstructor.complete(radiograph, observed, prediction, together=False)
        searched = seen_on(reconstructor.networks.manifest, radiograph)
        evidence = evidence_of(completed, maps, radiograph.geometry, searched, prediction)
        for bone, completion in completed.items():
            if bone not in case.meshes or bone in unscored:
                continue
            kept = case.geometry.sees(completion.vertices) | (completion.bone == "hip")
            there = moved_to(completion.vertices, radiograph.geometry, by_header)
            std_mm = with_distance(there, completion.triangles, completion.std_mm, by_header)
            good = not is_doubted(verdict_of(bone, evidence[bone]))
            for kept_errors, vertices, stated in (
                (errors, completion.vertices, completion.std_mm),
                (total, there, std_mm),
            ):
                away = quick_distances(vertices, *case.meshes[bone])
                for seen in (True, False):
                    which = kept & (completion.seen == seen)
                    kept_errors[completion.bone, seen].append(
                        VertexErrors(away=away[which], std_mm=stated[which], good=good)
                    )
        say(f"{number} of {len(folders)} cases")
    missing = {kind: lacking_mm(errors[kind, True]) for kind in KINDS}
    lines = [
        "| vertices | n | distance, rms mm | stated, rms mm | lacks, mm | with it within 1 std, % | 2 std, % |",
        "|---|---|---|---|---|---|---|",
    ]
    for title, kept_errors in (("", errors), ("with the distance, ", total)):
        for only_good in (False, True):
            lines += rows_of(kept_errors, missing, title + "of good bones, " * only_good)
    return lines, missing


def moved_to(vertices: np.ndarray, stands: ProjectionGeometry, there: ProjectionGeometry) -> np.ndarray:
    """Vertices (V, 3) where the maps that they were completed from are moved to another distance."""
    assert stands.object_distance_mm is not None
    assert there.object_distance_mm is not None
    pixels, depth = stands.project(vertices)
    return there.back_project(pixels, depth + stands.object_distance_mm - there.object_distance_mm)


def rows_of(errors: Errors, missing: Mapping[str, float], title: str) -> list[str]:
    """A row for seen and for inferred vertices of every kind of bone, and one for all; of good bones, if it says so."""
    rows, every = [], []
    for (kind, seen), bones in errors.items():
        some = [bone for bone in bones if bone.good or "good" not in title]
        if not some:
            continue
        away, std = (np.concatenate([getattr(bone, name) for bone in some]) for name in ("away", "std_mm"))
        every.append((away, np.hypot(std, missing[kind])))
        name = f"{title}{kind}, {'seen' if seen else 'inferred'}"
        figures = f"{_rms(away):.2f} | {_rms(std):.2f} | {missing[kind]:.2f}"
        rows.append(f"| {name} | {len(some)} | {figures} | {_within(*every[-1])} |")
    if every:
        away, whole = (np.concatenate([pair[k] for pair in every]) for k in (0, 1))
        rows.append(f"| {title}all | | {_rms(away):.2f} | {_rms(whole):.2f} | | {_within(away, whole)} |")
    return rows


def _within(away: np.ndarray, std: np.ndarray) -> str:
    return " | ".join(f"{100 * np.mean(away <= times * std):.0f}" for times in (1, 2))


def lacking_mm(bones: Sequence[VertexErrors]) -> float:
    """What the standard deviations of some vertices lack for COVERED of them, mm; 0 where they are large enough."""
    if not bones:
        return 0.0
    away, std = (np.concatenate([getattr(bone, name) for bone in bones]) for name in ("away", "std_mm"))
    return float(np.sqrt(max(np.quantile(away**2 - std**2, COVERED), 0)))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
