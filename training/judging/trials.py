"""How a trial's network does on frozen films, with the masks of one segmentation network that all trials share.

    evaluation = judge(Judging(network=folder, bundle=MODELS, ...), cases, jobs=1)

The paper does so, too: surfaces come of predicted depths on predicted masks. Films are AP, as the paper's: a network of
the front alone has nothing for a PA film, where the film's front is the bones' back.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from DualFaceReconLib.bundle.manifest import load_manifest
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.inference import Networks
from DualFaceReconLib.meshes import area_mm2
from DualFaceReconLib.networks.depth import DepthNetwork, DepthSettings
from DualFaceReconLib.networks.settings import settings_from
from DualFaceReconLib.networks.weights import give_weights
from DualFaceReconLib.shape.shapemodel import ShapeModel, load_shape_models
from training.cases import read_case
from training.judging.baselines import completed_bones, observed_mesh
from training.judging.evaluate import LEAST_SEEN_MM2, loaded_networks, maps_scored, on_film, surface_scored
from training.judging.predictions import BY_PICTURE, COMPLETED, OBSERVED, align, predicted_maps
from training.judging.scores import Evaluation, read_scores, write_scores
from training.learning.finished import read_finished
from training.raycast import cast
from training.simulate import one_thread


@dataclass(frozen=True, kw_only=True)
class Judging:
    """A trial's network as it stood after a cycle, and how it is judged."""

    network: Path  # a folder that `finished.write_finished` wrote
    bundle: Path  # whose segmentation network and shape models all trials share
    kept: Path  # a folder for what was measured of each case, so that a run that was cut goes on
    completed: bool  # whether shape models are fitted, too, which takes longer than all else

    def key(self, folder: Path, weights: str) -> dict[str, Any]:
        """What a case's scores hang on, but for the code."""
        seals = load_manifest(self.bundle).files
        return {
            "case": str(folder.resolve()),
            "network": weights,
            "bundle": {name: seal.sha256 for name, seal in seals.items() if "depth" not in name},
            "completed": self.completed,
        }


def judge(judging: Judging, folders: Sequence[Path], jobs: int, say: Callable[[str], None] = print) -> Evaluation:
    """Scores of observed and, if asked, of completed bones after one shift a picture, and of the maps."""
    of_all = Evaluation(surfaces=[], maps=[])
    weights = read_finished(judging.network)[0]["sha256"]
    work = partial(_of_case, judging, weights)
    if jobs == 1:
        results = map(work, folders)
        _gather(of_all, results, len(folders), say)
        return of_all
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        _gather(of_all, pool.map(work, folders), len(folders), say)
    return of_all


def _gather(of_all: Evaluation, results: Any, count: int, say: Callable[[str], None]) -> None:
    for of_case in results:
        of_all.surfaces.extend(of_case.surfaces)
        of_all.maps.extend(of_case.maps)
    say(f"  judged on {count} films")


def _of_case(judging: Judging, weights: str, folder: Path) -> Evaluation:
    """What is measured of a case, or was before."""
    path, key = judging.kept / f"{folder.name}.json", judging.key(folder, weights)
    before = read_scores(path, key)
    if before is not None:
        return before
    with one_thread():
        measured = _measured(judging, folder)
    write_scores(measured, path, key)
    return measured


def _measured(judging: Judging, folder: Path) -> Evaluation:
    networks, case = networks_of(judging.network, judging.bundle), read_case(folder)
    judged = tuple(bone for bone in case.meshes if bone not in case.metadata.get("unscored", ()))
    truths = {bone: on_film(case.meshes[bone], case.geometry) for bone in judged}
    pixels = networks.manifest.input_px[0]
    geometry = case.geometry.resized_to(pixels)
    predicted = predicted_maps(networks, case.radiograph)
    true = cast({bone: case.meshes[bone] for bone in judged}, geometry).maps
    aligned = align(predicted.at(geometry.size_px, judged), true)
    completed = {}
    if judging.completed:
        completed = completed_bones(aligned.maps, geometry, predicted.searched, _shape_models(judging.bundle))
    measured = Evaluation(surfaces=[], maps=[])
    for bone, truth in truths.items():
        if area_mm2(*truth) < LEAST_SEEN_MM2:
            continue
        observed = observed_mesh(aligned.maps, geometry, bone) if aligned.detected(bone) else None
        rows = {OBSERVED: observed} | ({COMPLETED: completed.get(bone)} if judging.completed else {})
        for row, surface in rows.items():
            scored = surface_scored(case, bone, (row, BY_PICTURE), pixels, surface, truth, None, None)
            measured.surfaces.append(scored)
        measured.maps.append(maps_scored(case, bone, pixels, aligned))
    return measured


@cache
def _shape_models(bundle: Path) -> dict[str, ShapeModel]:
    """The left "hip" and "femur", once a process."""
    return load_shape_models(bundle)


@cache
def networks_of(network: Path, bundle: Path) -> Networks:
    """A trial's depth network beside the bundle's segmentation network, once a process."""
    metadata, weights = read_finished(network)
    depth = DepthNetwork(settings_from(DepthSettings, metadata["settings"]))
    give_weights(depth, weights)
    shared, films = loaded_networks(bundle), metadata["recipe"]["films"]
    own_px, own_mm = shared.manifest.input_px[0], shared.manifest.mm_per_pixel
    if abs(films["size_px"] * films["mm_per_pixel"] - own_px * own_mm) > 1e-6:
        raise Refusal(f"Bundle {shared.manifest.id} sees another part of a film than the trials: take another bundle.")
    manifest = replace(
        shared.manifest,
        input_px=(films["size_px"],) * 2,
        mm_per_pixel=films["mm_per_pixel"],
        faces=("front", "back")[: depth.settings.faces],
    )
    return replace(
        shared,
        manifest=manifest,
        depth=depth.eval().to(shared.device),
        segmentation=AtSize(shared.segmentation, own_px),
    )


class AtSize(nn.Module):
    """A segmentation network that is given films of any size, and sees them at the one that it learnt at."""

    def __init__(self, network: nn.Module, size_px: int) -> None:
        super().__init__()
        self.network, self.size_px = network, size_px

    def forward(self, film: Tensor) -> Tensor:
        """(B, 1, n, n) -> (B, bones, n, n) logits."""
        size = film.shape[-2:]
        if size == torch.Size((self.size_px, self.size_px)):
            return self.network(film)
        known = functional.interpolate(film, (self.size_px, self.size_px), mode="bilinear", antialias=True)
        return functional.interpolate(self.network(known), size, mode="bilinear", align_corners=False)
