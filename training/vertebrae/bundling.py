"""`python -m training vertebrae bundle`: a finished run's network as a bundle, with how good it was judged to be."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from DualFaceReconLib.bundle.files import write_bundle
from DualFaceReconLib.bundle.sealed import SHAPES
from DualFaceReconLib.bundle.vertebra_manifest import ALONE, IN_SITU, NETWORK, VertebraManifest
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.levels import GROUPS, LEVELS
from DualFaceReconLib.shape.shapemodel import ShapeModel
from DualFaceReconLib.vertebra.fitting import MODES
from training.anatomy.people import LLP26
from training.learning.finished import read_finished
from training.learning.recipe import Recipe, VertebraFilms, recipe_of
from training.vertebrae import judging
from training.vertebrae.films import MARGIN
from training.vertebrae.kept import OBLIQUE_DEGREES
from training.vertebrae.people import SETS
from training.vertebrae.rows import COMPLETED, FITTED, MEAN

ROOT_OF_MEAN = 1.25  # root mean square over mean, of distances to either side that are normally distributed
FURTHER_DEGREES = 3.0  # deviations of the believed angle, within which films were learnt
SIMPLE_ROWS = {"mean vertebra at its true place and size": MEAN, "shape model on true outlines": FITTED}
LICENCE = "CC BY 4.0, MIT, BSD-3-Clause and Apache-2.0, as the vertebrae that it learnt from"
LICENCE_WITH_PELVES = "CC BY 4.0, MIT, BSD-3-Clause, Apache-2.0 and MPL-2.0, as the bones that it learnt from"
RESEARCH_USE = "For research only; not for clinical use."
LEARNT_LEVELS = LEVELS[1:]  # nobody has a T1


def bundle_vertebrae(
    run: Path,
    judged: Path,
    threshold_hu: float,
    out: Path,
    id: str,
    version: str,
    bits: int = 8,
    models: Mapping[str, ShapeModel] | None = None,
) -> VertebraManifest:
    """Writes a bundle of a run of EAR. `judged` is the folder of `evaluate` on this very network: levels are in the
    bundle whose group was measured there. `threshold_hu`: where its surface is. `models`: shape models by group, of
    people whom the network learnt from, which are brought onto its surfaces."""
    metadata, weights = read_finished(run)
    recipe = recipe_of(metadata["recipe"])
    if recipe.task != "ear":
        raise Refusal(f"{run.name} holds a network of {recipe.task}: bundles of vertebrae have EAR alone.")
    films: VertebraFilms = recipe.films
    scores = _scores(judged, metadata["sha256"])
    condition = "in situ, usual errors" if films.in_situ else "alone, usual errors"
    of_groups = {
        group: [score for score in scores if score.condition == condition and score.level in levels]
        for group, levels in GROUPS.items()
    }
    row = COMPLETED if models else judging.NETWORK
    measured = {group: _assd(of_group, row) for group, of_group in of_groups.items()}
    known = {group: assd for group, assd in measured.items() if assd is not None}
    if not known:
        raise Refusal(f"{judged.name} has no vertebra on films {condition}: let `evaluate` judge these, too.")
    sets = SETS if "pelves" not in metadata.get("besides", {}) else (*SETS, LLP26)  # of films that stood on them
    network = {"settings": metadata["settings"], "file": f"{NETWORK}.safetensors"}
    manifest = VertebraManifest(
        id=id,
        version=version,
        licence=LICENCE if sets is SETS else LICENCE_WITH_PELVES,
        research_use=RESEARCH_USE,
        attributions=tuple(f"{known_set.source}: {known_set.licence}" for known_set in sets),
        trained_on=_trained_on(recipe, metadata),
        measured=_measured(of_groups, known, condition, row),
        levels=tuple(level for level in LEARNT_LEVELS if any(level in GROUPS[group] for group in known)),
        films=IN_SITU if films.in_situ else ALONE,
        angle_degrees=_angles(films),
        side=films.side,
        voxel_mm=films.voxel_mm,
        field_share=MARGIN,
        mean_hu=films.mean_hu,
        deviation_hu=films.deviation_hu,
        threshold_hu=threshold_hu,
        surface_error_mm={group: round(ROOT_OF_MEAN * assd, 3) for group, assd in known.items()},
        networks={NETWORK: {**network, **({"bits": 8} if bits == 8 else {})}},
        shape_models={group: f"{group}{SHAPES}" for group in known if models},
    )
    floats = {name: value for name, value in weights.items() if value.is_floating_point()}  # no counters
    with tempfile.TemporaryDirectory() as folder:
        files = {group: Path(folder) / name for group, name in manifest.shape_models.items()}
        for group, file in files.items():
            model = models[group]
            replace(model, modes=model.modes[:, :, :MODES], variances=model.variances[:MODES]).save(file)
        return write_bundle(out, manifest, {NETWORK: floats}, files)


def _scores(judged: Path, sha256: str) -> list[judging.VolumeScore]:
    """Of this network, and of the rows beside it."""
    try:
        lines = (judged / "scores.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise Refusal(f"{judged} holds no scores: let `training vertebrae evaluate` judge the run first.") from error
    scores = [judging.VolumeScore(**json.loads(line)) for line in lines]
    own = [score for score in scores if score.row not in (judging.NETWORK, COMPLETED) or score.seal == sha256]
    if not any(score.row == judging.NETWORK for score in own):
        raise Refusal(f"{judged.name} was judged on another network: let `training vertebrae evaluate` judge this one.")
    return own


def _assd(scores: Sequence[judging.VolumeScore], row: str) -> float | None:
    """Mean over people of means over their vertebrae; None without any surface."""
    by_person: dict[str, list[float]] = {}
    for score in scores:
        if score.row == row and score.figures["assd_mm"] is not None:
            by_person.setdefault(score.person, []).append(score.figures["assd_mm"])
    return float(np.mean([np.mean(values) for values in by_person.values()])) if by_person else None


def _measured(
    of_groups: Mapping[str, Sequence[judging.VolumeScore]], known: Mapping[str, float], condition: str, row: str
) -> str:
    """By group of levels beside the rows that need no network, and on how few; `row`: whose surfaces are the result."""
    parts = []
    for group, assd in known.items():
        own = [score for score in of_groups[group] if score.row == row]
        people = len({score.person for score in own})
        beside = [
            f"{words} {simple:.1f}"
            for words, row in SIMPLE_ROWS.items()
            if (simple := _assd(of_groups[group], row)) is not None
        ]
        parts.append(
            f"{group.replace('_', ' ')} {assd:.1f} mm ({len(own)} vertebrae of {people} people; {', '.join(beside)})"
        )
    return (
        f"Mean surface distance (ASSD) on simulated films at right angles, {condition}, of real vertebrae of people "
        f"whom it did not learn from: {'; '.join(parts)}. So few people allow no claim. It has seen no clinical film."
    )


def _trained_on(recipe: Recipe, metadata: Mapping[str, object]) -> str:
    films: VertebraFilms = recipe.films
    share = f"{100 * films.in_situ:.0f} % of them among their neighbours and in flesh"
    without = films.without if isinstance(films.without, str) else ", ".join(films.without)
    count = f"; {metadata['films']} pairs of films" if "films" in metadata else ""
    return f"Simulated films of virtual vertebrae, {share}, mixed from the sets named, without {without}{count}."


def _angles(films: VertebraFilms) -> tuple[float, float]:
    """Between the films of a pair, as they are believed to be."""
    learnt = (films.apart_degrees, *(OBLIQUE_DEGREES if films.oblique else ()))
    around = FURTHER_DEGREES * films.angle_degrees
    return max(min(learnt) - around, 0.0), min(max(learnt) + around, 180.0)
