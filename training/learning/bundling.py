"""`python -m training bundle`: trained networks and the shape models, as a bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from safetensors.torch import load_file

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.bundle.files import write_bundle
from DualFaceReconLib.bundle.manifest import Manifest
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.object_distance import POPULATION_OBJECT_DISTANCE
from DualFaceReconLib.framing import NOMINAL_OBJECT_DISTANCE_MM, NORMALISATION

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
    runs: dict[str, Path],
    shape_models: Path,
    out: Path,
    id: str,
    version: str,
    measured: str,
    surface_error_mm: Mapping[str, float] = UNMEASURED,
) -> Manifest:
    """Writes a bundle of finished runs, "depth" and "segmentation": folders of `train`.

    `surface_error_mm`: what `certainty` says that completed bones of "hip" and "femur" lack.
    """
    told, weights = {}, {}
    for task, run in runs.items():
        try:
            told[task] = json.loads((run / "network.json").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise Refusal(f"{run.name} holds no finished network: let `training train` end there first.") from error
        if told[task]["recipe"]["task"] != task:
            raise Refusal(f"{run.name} holds a network for {told[task]['recipe']['task']}, not for {task}.")
        weights[task] = load_file(run / "network.safetensors")
    films = [told[task]["recipe"]["films"] for task in runs]
    if len({(one["size_px"], one["mm_per_pixel"]) for one in films}) > 1:
        raise Refusal("The networks learnt from films of unlike sizes: a bundle's networks see the same picture.")
    networks = {task: {"settings": told[task]["settings"], "file": f"{task}.safetensors"} for task in runs}
    own = [
        OWN_CASES.format(task=task, count=one["besides"]["cases"]["count"])
        for task, one in told.items()
        if "cases" in one.get("besides", {})
    ]
    starts = {task: one["besides"]["start"] for task, one in told.items() if "start" in one.get("besides", {})}
    own += [
        OWN_START.format(task=task, **start)
        for task, start in starts.items()
        if NO_OTHERS not in start.get("trained_on", NO_OTHERS)
    ]
    own += [OWN_FILMS] * any(map(_from_own_films, told.values()))
    counted = ", ".join(_films_of(task, one) for task, one in told.items())
    manifest = Manifest(
        id=id,
        version=version,
        licence=LICENCE,
        research_use=RESEARCH_USE,
        trained_on=f"{TRAINED_ON} {' '.join(own) or NO_OTHERS} {counted}.",
        measured=measured,
        bones=BONES,
        faces=("front", "back")[: told["depth"]["settings"]["faces"]],
        input_px=(films[0]["size_px"],) * 2,
        mm_per_pixel=films[0]["mm_per_pixel"],
        nominal_object_distance_mm=NOMINAL_OBJECT_DISTANCE_MM,
        object_distance_spread_mm=POPULATION_OBJECT_DISTANCE.spread,
        object_distance_source=POPULATION_OBJECT_DISTANCE.source,
        surface_error_mm=dict(surface_error_mm),
        normalisation=NORMALISATION,
        networks=networks,
        shape_models={kind: f"{kind}.ssm.npz" for kind in ("hip", "femur")},
    )
    return write_bundle(out, manifest, weights, {kind: shape_models / f"{kind}.ssm.npz" for kind in ("hip", "femur")})


def _films_of(task: str, run: dict) -> str:
    start = run.get("besides", {}).get("start")
    before = f" after those of {start['id']} {start['version']}" if start else ""
    return f"{task}: {run['films']} films{before}"


def _from_own_films(run: dict) -> bool:
    """Whether a network started from an encoder that saw a folder of films, or from one that did."""
    besides = run.get("besides", {})
    return besides.get("films") not in (None, "simulated") or (
        "encoder" in besides and _from_own_films(besides["encoder"])
    )
