"""`python -m training ship`: finished networks, as they came back from where they learnt, to a bundle and its tables.

    RUNS/depth/ RUNS/segmentation/   network.json and network.safetensors, whole or in parts
    FILMS/wide/ choosing/ varied/    the frozen sets; with `report` also reported/ supine/ unseen/
    BESIDE/wide/ ...                 tables of another bundle by `evaluate` on the same films, for paired differences

    OUT/bundle/          the bundle
    OUT/rounding.json    how far it is from the networks as they learnt
    OUT/certainty.json   what the certainty of its completed bones lacks, which is in its manifest
    OUT/lean.json        the lean of femora in its depth maps, likewise
    OUT/wide/ ...        table.md and the like of every set
    OUT/tables.md        what the page of the networks says of all

A run that was cut goes on with the same command: what was measured of a case is not measured again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from DualFaceReconLib.bundle.manifest import load_manifest
from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.radiograph import read_radiograph
from DualFaceReconLib.inference import ARCHITECTURES, Networks, load_networks, predict
from DualFaceReconLib.networks.settings import settings_from
from DualFaceReconLib.networks.settled import settled
from DualFaceReconLib.networks.weights import give_weights
from DualFaceReconLib.prediction import LEAST_PROBABILITY
from training.cases import cases_in
from training.judging.certainty import certainty
from training.judging.evaluate import evaluate
from training.judging.map_errors import femora_lean_mm
from training.judging.paired import paired_tables
from training.judging.scores import Evaluation
from training.judging.summary import in_words, summary_table
from training.judging.tables import read_evaluation, write_tables
from training.learning.bundling import UNMEASURED, bundle
from training.learning.finished import read_finished

CHOOSING, REPORTED = ("wide", "choosing", "varied"), ("reported", "supine", "unseen")  # sets of films
PIXELS = 256  # along the longer side of the maps that are measured
ROUNDED_FILMS, CERTAIN_FILMS = 12, 14  # of `choosing` for both, and of `varied` for the second
MOST_ROUNDED_MM, LEAST_ROUNDED_DICE = 0.05, 0.999  # between a bundle and the networks as they learnt
LEANING = ("wide", "choosing")  # sets in whose films femora lean: of healthy people
NOT_YET = "Not measured yet, and on simulated films alone."


@dataclass(frozen=True, kw_only=True)
class Shipment:
    """What is shipped, and by what it is measured."""

    runs: Path
    films: Path
    out: Path
    models: Path  # a folder of the shape models
    id: str
    version: str
    bits: int  # of large tensors' weights
    most: int  # films of a set
    report: bool  # whether the sets that are read once, at the end, are read now
    beside: Path | None
    jobs: int


def ship(shipment: Shipment, say: Callable[[str], None] = print) -> tuple[str, list[str]]:
    """All steps; gives the tables for the page, and sentences on what is not as it should be."""
    sets = (*CHOOSING, *REPORTED) if shipment.report else CHOOSING
    folders = {name: _some(cases_in(shipment.films / name), shipment.most) for name in sets}
    if empty := [name for name in sets if not folders[name]]:
        raise Refusal(f"There are no films in {shipment.films / empty[0]}: make them with `training simulate`.")
    _bundled(shipment, NOT_YET)
    rounding = _rounding(shipment, _some(folders["choosing"], ROUNDED_FILMS), say)
    certain = [*_some(folders["choosing"], CERTAIN_FILMS), *_some(folders["varied"], CERTAIN_FILMS)]
    _certainty(shipment, certain, say)
    _lean(shipment, [folder for name in LEANING for folder in _some(folders[name], CERTAIN_FILMS)], say)
    made = _bundled(shipment, NOT_YET)
    title = f"{made.id} {made.version}"

    evaluations: dict[str, Evaluation] = {}
    for name in sets:
        say(f"{name}: {len(folders[name])} films")
        out = shipment.out / name
        networks = shipment.out / "bundle"
        evaluations[name] = evaluate(
            folders[name], (PIXELS,), shipment.jobs, networks, say, emd=False, kept=out / "measured"
        )
        write_tables(evaluations[name], f"{title}, {name}", folders[name], networks, out)
    _bundled(shipment, in_words(evaluations))

    text = f"{summary_table(evaluations)}\n{_rounding_in_words(rounding)}\n"
    if shipment.beside is not None:
        others = {name: read_evaluation(shipment.beside / name) for name in sets}
        text += "\n" + paired_tables(evaluations, {name: other for name, other in others.items() if other.maps})
    write_text(shipment.out / "tables.md", text)
    within = rounding["depth_mm"] <= MOST_ROUNDED_MM and rounding["dice"] >= LEAST_ROUNDED_DICE
    return text, [] if within else [f"the bundle's weights are rounded too much: {_rounding_in_words(rounding)}"]


def _some(folders: Sequence[Path], most: int) -> list[Path]:
    """Not more than about so many, evenly."""
    return list(folders[:: max(1, len(folders) // most)])


def _bundled(shipment: Shipment, measured: str) -> Any:
    """Writes the bundle, with certainty and lean as far as they are known of these very weights; its manifest."""
    runs = {task: shipment.runs / task for task in ("depth", "segmentation")}
    names = shipment.id, shipment.version, measured
    folder = shipment.out / "bundle"
    made = bundle(runs, shipment.models, folder, *names, UNMEASURED, shipment.bits)
    errors, lean = (_of_these_weights(shipment.out / f"{step}.json", folder) for step in ("certainty", "lean"))
    if errors is None and lean is None:
        return made
    lacks_mm = UNMEASURED if errors is None else errors["lacks_mm"]
    lean_mm = 0.0 if lean is None else lean["femora_lean_mm"]
    return bundle(runs, shipment.models, folder, *names, lacks_mm, shipment.bits, lean_mm)


def _seals(folder: Path) -> dict[str, str]:
    """By what a bundle's weights and shape models are known again."""
    return {name: seal.sha256 for name, seal in load_manifest(folder).files.items()}


def _of_these_weights(path: Path, folder: Path) -> dict[str, Any] | None:
    """What a step wrote of a bundle's weights; None where it was of others, or not yet."""
    if not path.exists():
        return None
    values = json.loads(path.read_text(encoding="utf-8"))
    return values if values["bundle"] == _seals(folder) else None


def _rounding(shipment: Shipment, folders: Sequence[Path], say: Callable[[str], None]) -> dict[str, Any]:
    """What rounding does to what the product sees, on some films, averaged with the mirrored ones."""
    path, folder = shipment.out / "rounding.json", shipment.out / "bundle"
    before = _of_these_weights(path, folder)
    if before is not None:
        return before
    networks = load_networks(folder, "cpu")
    values = {"bundle": _seals(folder), "films": len(folders)}
    values |= rounding(networks, as_learnt(networks, shipment.runs), folders)
    write_text(path, json.dumps(values, indent=1))
    say(_rounding_in_words(values))
    return values


def as_learnt(networks: Networks, runs: Path) -> Networks:
    """A bundle's networks with the weights of the runs that it was made of."""
    own = {}
    for task, (architecture, settings_type) in ARCHITECTURES.items():
        metadata, weights = read_finished(runs / task)
        network = architecture(settings_from(settings_type, metadata["settings"]))
        give_weights(network, weights)
        own[task] = settled(network, networks.device)
    return replace(networks, **own)


def rounding(networks: Networks, exact: Networks, folders: Sequence[Path]) -> dict[str, float]:
    """Mean absolute difference of depths, where a bone is, and Dice of masks, between two sets of networks."""
    apart, shared, both = [], 0, 0
    for folder in folders:
        film = read_radiograph(folder / "radiograph.dcm")
        rounded, true = predict(networks, film), predict(exact, film)
        masks = [prediction.probability > LEAST_PROBABILITY for prediction in (rounded, true)]
        apart.append(np.abs(np.moveaxis(rounded.depth - true.depth, 1, -1)[masks[1]]).ravel())
        shared += int((masks[0] & masks[1]).sum())
        both += int(masks[0].sum() + masks[1].sum())
    return {"depth_mm": float(np.concatenate(apart).mean(dtype=np.float64)), "dice": 2 * shared / max(both, 1)}


def _rounding_in_words(rounding: dict[str, Any]) -> str:
    return (
        f"The bundle's depths are {rounding['depth_mm']:.3f} mm from those of the networks as they learnt (mean "
        f"absolute, {rounding['films']} films), its masks have a Dice of {rounding['dice']:.4f} with theirs."
    )


def _certainty(shipment: Shipment, folders: Sequence[Path], say: Callable[[str], None]) -> None:
    """Measures what the bundle's certainty lacks, where that is not known of these weights."""
    path, folder = shipment.out / "certainty.json", shipment.out / "bundle"
    if _of_these_weights(path, folder) is not None:
        return
    lines, lacking = certainty(folders, folder, say)
    rounded = {kind: round(float(np.ceil(error * 10) / 10), 1) for kind, error in lacking.items()}
    write_text(path, json.dumps({"bundle": _seals(folder), "lacks_mm": rounded, "table": lines}, indent=1))
    say("\n".join(lines))


def _lean(shipment: Shipment, folders: Sequence[Path], say: Callable[[str], None]) -> None:
    """Measures how femora lean in the bundle's depth maps, where that is not known of these weights."""
    path, folder = shipment.out / "lean.json", shipment.out / "bundle"
    if _of_these_weights(path, folder) is not None:
        return
    lean_mm = round(femora_lean_mm(folders, folder), 1)
    values = {"bundle": _seals(folder), "films": len(folders), "femora_lean_mm": lean_mm}
    write_text(path, json.dumps(values, indent=1))
    say(f"femora lean forwards by {lean_mm:.1f} mm over 100 mm")
