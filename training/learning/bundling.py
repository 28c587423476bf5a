"""`python -m training bundle`: trained networks and the shape models, as a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.bundle.files import write_bundle
from DualFaceReconLib.bundle.manifest import Manifest
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.subject import POPULATION_OBJECT_DISTANCE
from DualFaceReconLib.framing import NOMINAL_OBJECT_DISTANCE_MM, NORMALISATION
from training.learning.finished import read_finished

UNMEASURED = MappingProxyType({"hip": 0.0, "femur": 0.0})
LICENCE = "CC BY 4.0 and MPL-2.0, as the bones that it learnt from"
RESEARCH_USE = "For research only; not for clinical use."
TRAINED_ON = (
    "Simulated films of virtual patients, mixed from bones of rhan40 (Han et al., Phys Med Biol 2019, from TCIA CT "
    "Lymph Nodes, CC BY 4.0) and llp26 (Zhang et al., J Biomech 49:3875, 2016, MPL-2.0)."
)
NO_OTHERS = "No clinical picture."
OWN_CASES = "The {task} network learnt on from {count} cases of the maker's own."
OWN_START = "The {task} network began with {id} {version}, of which its maker says: {trained_on}"
OWN_FILMS = "An encoder first learnt, without truth, from a folder of films of the maker's own."


def bundle(
    runs: Mapping[str, Path],
    shape_models: Path,
    out: Path,
    id: str,
    version: str,
    measured: str,
    surface_error_mm: Mapping[str, float] = UNMEASURED,
    bits: int = 8,
    femora_lean_mm: float = 0.0,
) -> Manifest:
    """Writes a bundle of finished runs, "depth" and "segmentation": folders of `train`.

    `surface_error_mm`: what `certainty` says that completed bones of "hip" and "femur" lack. `bits`: of large tensors'
    weights, 8 or 16; see `DualFaceReconLib.bundle.precision`. `femora_lean_mm`: what `map_errors` says of depth maps.
    """
    finished = {task: _finished(run, task) for task, run in runs.items()}
    metadata = {task: run for task, (run, _) in finished.items()}
    films = [run["recipe"]["films"] for run in metadata.values()]
    if len({(knobs["size_px"], knobs["mm_per_pixel"]) for knobs in films}) > 1:
        raise Refusal("The networks learnt from films of unlike sizes: a bundle's networks see the same picture.")
    files = {kind: shape_models / f"{kind}.ssm.npz" for kind in ("hip", "femur")}
    for file in files.values():
        if not file.exists():
            raise Refusal(f"There is no {file.name} in {shape_models}: make it with `training anatomy models`.")
    networks = {
        task: {"settings": run["settings"], "file": f"{task}.safetensors", **({"bits": 8} if bits == 8 else {})}
        for task, run in metadata.items()
    }
    own = " ".join(_own_material(metadata)) or NO_OTHERS
    counted = ", ".join(_films_of(task, run) for task, run in metadata.items())
    manifest = Manifest(
        id=id,
        version=version,
        licence=LICENCE,
        research_use=RESEARCH_USE,
        trained_on=f"{TRAINED_ON} {own} {counted}.",
        measured=measured,
        bones=BONES,
        faces=("front", "back")[: metadata["depth"]["settings"]["faces"]],
        input_px=(films[0]["size_px"],) * 2,
        mm_per_pixel=films[0]["mm_per_pixel"],
        nominal_object_distance_mm=NOMINAL_OBJECT_DISTANCE_MM,
        object_distance_spread_mm=POPULATION_OBJECT_DISTANCE.spread,
        object_distance_source=POPULATION_OBJECT_DISTANCE.source,
        surface_error_mm=dict(surface_error_mm),
        femora_lean_mm=femora_lean_mm,
        normalisation=NORMALISATION,
        networks=networks,
        shape_models={kind: f"{kind}.ssm.npz" for kind in ("hip", "femur")},
    )
    return write_bundle(out, manifest, {task: weights for task, (_, weights) in finished.items()}, files)


def _finished(run: Path, task: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a finished run's network is, and its weights; Refusal where there are none, or those of another task."""
    metadata, weights = read_finished(run)
    if metadata["recipe"]["task"] != task:
        raise Refusal(f"{run.name} holds a network for {metadata['recipe']['task']}, not for {task}.")
    if not all(value.isfinite().all() for value in weights.values()):
        raise Refusal(f"{run.name} holds weights that are not numbers: train that network anew.")
    return metadata, weights


def _origin(run: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a network learnt from beside its recipe's films."""
    return run.get("besides", {})


def _with_earlier(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A run, the one whose weights it began with, and so on."""
    runs = [run]
    while "weights" in _origin(runs[-1]):
        runs.append(_origin(runs[-1])["weights"])
    return runs


def _own_material(metadata: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence each of what networks by task learnt from that is the maker's own."""
    origins = [(task, _origin(run)) for task, last in metadata.items() for run in _with_earlier(last)]
    sentences = [
        OWN_CASES.format(task=task, count=origin["cases"]["count"]) for task, origin in origins if "cases" in origin
    ]
    sentences += [
        OWN_START.format(task=task, **origin["start"])
        for task, origin in origins
        if "start" in origin and NO_OTHERS not in origin["start"].get("trained_on", NO_OTHERS)
    ]
    return sentences + [OWN_FILMS] * any(map(_from_own_films, metadata.values()))


def _films_of(task: str, run: Mapping[str, Any]) -> str:
    """How many films a network learnt from, and after which."""
    runs = _with_earlier(run)
    start = _origin(runs[-1]).get("start")
    before = f" after those of {start['id']} {start['version']}" if start else ""
    counts = [str(earlier["films"]) for earlier in runs if "films" in earlier]  # checkpoints by epochs have none
    return f"{task}: {' films after '.join(counts)} films{before}"


def _from_own_films(run: Mapping[str, Any]) -> bool:
    """Whether a network started from an encoder that saw a folder of films, or from one that did."""
    origins = [_origin(earlier) for earlier in _with_earlier(run)]
    own = any(origin.get("films") not in (None, "simulated") for origin in origins)
    return own or any("encoder" in origin and _from_own_films(origin["encoder"]) for origin in origins)
