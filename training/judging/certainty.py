"""`python -m training certainty`: whether the uncertainty that completed bones state is right, on cases.

    lines, missing = certainty(cases_in(folder), Path("Resources/Models"))

A completed vertex has a standard deviation of its place. Here it is compared with the vertex's distance from the true
surface, on films with the true distance of their bones; and the one with the distance's share with what it is where the
same bones stand at the distance that the film's header tells. Vertices count that the product keeps: not a femur's
beyond the film. What it lacks is the error that networks make smoothly over a
bone, which a shape model fits well; that goes into a bundle's manifest as `surface_error_mm`. It is such that 68 % of
the seen vertices lie within one standard deviation: a few bones that are quite wrong do not make others look unsure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from DualFaceReconLib.certainty import with_distance
from DualFaceReconLib.film.radiograph import read_radiograph
from DualFaceReconLib.geometry import ProjectionGeometry, Provenance
from DualFaceReconLib.reconstruction import Reconstructor
from training.cases import read_case
from training.judging.nearness import quick_distances

KINDS = ("hip", "femur")
COVERED = 0.683  # of a normal distribution within one standard deviation
TRUE = Provenance("user", "the truth of this case")
# kind of bone, and whether the vertices were seen -> their distances from the truth and standard deviations, mm
Errors = dict[tuple[str, bool], list[tuple[np.ndarray, np.ndarray]]]
KINDS_AND_SEEN = tuple((kind, seen) for kind in KINDS for seen in (True, False))


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
        observed = reconstructor.surfaces(radiograph, reconstructor.bone_maps(radiograph, prediction))
        for bone, completion in reconstructor.complete(radiograph, observed, prediction).items():
            if bone not in case.meshes or bone in unscored:
                continue
            kept = case.geometry.sees(completion.vertices) | (completion.bone == "hip")
            there = moved_to(completion.vertices, radiograph.geometry, by_header)
            std_mm = with_distance(there, completion.triangles, completion.std_mm, by_header)
            for pairs, vertices, stated in (
                (errors, completion.vertices, completion.std_mm),
                (total, there, std_mm),
            ):
                away = quick_distances(vertices, *case.meshes[bone])
                for seen in (True, False):
                    which = kept & (completion.seen == seen)
                    pairs[completion.bone, seen].append((away[which], stated[which]))
        say(f"{number} of {len(folders)} cases")
    missing = {kind: _missing(errors[kind, True]) for kind in KINDS}
    return _table(errors, missing) + _table(total, missing, "with the distance, ")[2:], missing


def moved_to(vertices: np.ndarray, stands: ProjectionGeometry, there: ProjectionGeometry) -> np.ndarray:
    """Vertices (V, 3) where the maps that they were completed from are moved to another distance."""
    assert stands.object_distance_mm is not None
    assert there.object_distance_mm is not None
    pixels, depth = stands.project(vertices)
    return there.back_project(pixels, depth + stands.object_distance_mm - there.object_distance_mm)


def _table(errors: Errors, missing: Mapping[str, float], title: str = "") -> list[str]:
    lines = [
        "| bones | vertices | n | distance, rms mm | stated, rms mm | lacks, mm | with it within 1 std, % | 2 std, % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (kind, seen), pairs in errors.items():
        if not pairs:
            continue
        away, std = (np.concatenate([pair[k] for pair in pairs]) for k in (0, 1))
        whole = np.hypot(std, missing[kind])
        shares = [100 * np.mean(away <= times * whole) for times in (1, 2)]
        lines.append(
            f"| {title}{kind} | {'seen' if seen else 'inferred'} | {len(pairs)} | {_rms(away):.2f} | {_rms(std):.2f} | "
            f"{missing[kind]:.2f} | {shares[0]:.0f} | {shares[1]:.0f} |"
        )
    return lines


def _missing(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """What the standard deviations of some vertices lack for COVERED of them, mm; 0 where they are large enough."""
    if not pairs:
        return 0.0
    away, std = (np.concatenate([pair[k] for pair in pairs]) for k in (0, 1))
    return float(np.sqrt(max(np.quantile(away**2 - std**2, COVERED), 0)))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
