"""A radiograph becomes bones: the pipeline, stage by stage.

    reconstructor = Reconstructor()                             # the bundle that ships, the best device here
    reconstruction = reconstructor.run(read_radiograph("film.dcm"))
    reconstruction.bones["hip_left"].completed                  # vtkPolyData, RAS mm

What was computed once is not computed again: `run(radiograph, prediction=reconstruction.prediction, mask=corrected)`
takes a mask that somebody corrected, and `run(radiograph.at_object_distance(150), prediction=...)` another distance,
without the networks. `results.py` writes a reconstruction to its folder and reads it back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from vtkmodules.vtkCommonDataModel import vtkPolyData

from DualFaceReconLib.bonemaps import BoneMaps
from DualFaceReconLib.bundle.files import read_shape_model
from DualFaceReconLib.bundle.store import bundle_folder
from DualFaceReconLib.errors import Cancelled, Refusal
from DualFaceReconLib.film.acquisition import RadiographWarning
from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.inference import (
    Networks,
    Prediction,
    Progress,
    load_networks,
    maps_of,
    predict,
    seen_on,
)
from DualFaceReconLib.measurements import of_bone, of_pelvis, relative_spread
from DualFaceReconLib.outcome import MASKS_BY_NETWORK, MASKS_BY_USER, Bone, BundleName, Reconstruction
from DualFaceReconLib.pictures.wording import bone_words
from DualFaceReconLib.shape.completion import Completion, complete_all
from DualFaceReconLib.shape.shapemodel import ShapeModel
from DualFaceReconLib.shape.trimming import without_unseen_shaft
from DualFaceReconLib.surfaces import observed_surface

SURFACE_SIDE_PX = 512  # of the film's longer side, on which surfaces are made: networks see fewer than films have
LEAST_SEEN_SHARE = 0.15  # of a bone's vertices; below, what is shown is mostly the shape model's
# Chosen on simulated films of people kept out of training, pictures of anything but hips, and hips upside down
DOUBTED_OVER_MM = 3.0  # mean distance from what was seen of a bone to the whole one; usually 1
DOUBTED_UNSURE = 0.3  # as `Prediction.unsure` has it; usually 0.1
LEAST_UNSURE = 0.2  # of the bone that networks are surest of: at most 0.1 in hips, 0.16 to 0.5 in other pictures
LEAST_UNSURE_ALONE = 0.15  # where no bone is completed, which would tell more
SHARES = {"networks": 0.0, "surfaces": 0.25, "completion": 0.35}  # of the whole, where a stage begins
NO_HIP = (
    "What was found in this picture does not look like hip bones: give a frontal film of a pelvis or a hip "
    "with its true pixel pitch, neither upside down nor with bone dark."
)


class Reconstructor:
    """A bundle's networks and shape models, loaded once and used for many radiographs."""

    def __init__(self, bundle: str | Path | None = None, device: str | None = None) -> None:
        """`bundle`: an id, a folder, or None for the one that ships; `device`: "cuda", "mps", "cpu" or the best."""
        folder = bundle_folder(bundle)
        self.networks: Networks = load_networks(folder, device)
        self.models: dict[str, ShapeModel] = {
            kind: read_shape_model(folder, self.networks.manifest, kind) for kind in self.networks.manifest.shape_models
        }

    def __repr__(self) -> str:
        told = self.networks.manifest
        return f"Reconstructor({told.id} {told.version} on {self.networks.device}: {', '.join(told.bones)})"

    def run(
        self,
        radiograph: Radiograph,
        *,
        prediction: Prediction | None = None,
        mask: np.ndarray | None = None,
        completion: bool = True,
        whole_femurs: bool = False,
        flipped_too: bool = False,
        progress: Progress = lambda stage, share: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Reconstruction:
        """All stages, one after the other; Refusal where no bone is found, Cancelled where the caller wants no more.

        `prediction`: of an earlier run on these pixels, instead of the networks. `mask` (bones, rows, cols) bool: where
        the bones are, instead of where the networks see them. `whole_femurs` keeps the shaft beyond what was seen.
        """
        timings: dict[str, float] = {}

        @contextmanager
        def stage(name: str) -> Iterator[None]:
            if cancelled():
                raise Cancelled
            progress(name, SHARES[name])
            begun = time.perf_counter()
            yield
            timings[name] = time.perf_counter() - begun

        with stage("networks"):
            if prediction is None or not prediction.fits(radiograph):
                prediction = self.predict(
                    radiograph,
                    flipped_too=flipped_too,
                    progress=lambda network, share: progress("networks", SHARES["surfaces"] * share),
                    cancelled=cancelled,
                )
            maps = self.bone_maps(radiograph, prediction, mask, cancelled=cancelled)
        warnings = list(radiograph.warnings)
        with stage("surfaces"):
            observed = self.surfaces(radiograph, maps, cancelled=cancelled)
            limit = LEAST_UNSURE if completion else LEAST_UNSURE_ALONE
            if mask is None and min(map(prediction.unsure, observed)) > limit:
                raise Refusal(NO_HIP)
        completed: dict[str, Completion] = {}
        if completion:
            with stage("completion"):
                completed = self.complete(
                    radiograph,
                    observed,
                    refused=lambda bone, why: warnings.append(
                        RadiographWarning("bone-not-completed", f"Of the {bone_words(bone)} {why}.")
                    ),
                    progress=lambda share: progress(
                        "completion", SHARES["completion"] + (1 - SHARES["completion"]) * share
                    ),
                    cancelled=cancelled,
                )
        if cancelled():
            raise Cancelled
        doubted = _doubted(observed, completed, prediction if mask is None else None)
        if mask is None and len(doubted) == len(observed):
            raise Refusal(NO_HIP)
        shown = [bone for bone in doubted if bone in completed or not completion]  # the others are told of already
        warnings += _about_bones(self.networks.manifest.bones, maps, completed, shown)
        spread = relative_spread(radiograph.geometry)
        bones = {
            bone: Bone(
                observed=surface,
                completed=_shown(bone, found, whole_femurs) if (found := completed.get(bone)) else None,
                landmarks={name: tuple(place.tolist()) for name, place in found.landmarks.items()} if found else {},
                measurements=of_bone(bone, maps, radiograph.geometry, surface, found, spread),
            )
            for bone, surface in observed.items()
        }
        told = self.networks.manifest
        progress("done", 1.0)
        return Reconstruction(
            radiograph=radiograph,
            maps=maps,
            bones=bones,
            measurements=of_pelvis({bone: one.landmarks for bone, one in bones.items()}, completed, spread),
            bundle=BundleName(id=told.id, version=told.version, sha256=told.sha256),
            device=self.networks.device,
            timings_s=timings,
            warnings=tuple(warnings),
            masks=MASKS_BY_NETWORK if mask is None else MASKS_BY_USER,
            prediction=prediction,
        )

    # The stages; each takes what the one before it gave

    def predict(
        self,
        radiograph: Radiograph,
        *,
        flipped_too: bool = False,
        progress: Progress = lambda stage, share: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Prediction:
        """What the networks see in a radiograph."""
        return predict(self.networks, radiograph, flipped_too=flipped_too, progress=progress, cancelled=cancelled)

    def bone_maps(
        self,
        radiograph: Radiograph,
        prediction: Prediction,
        mask: np.ndarray | None = None,
        *,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> BoneMaps:
        """Masks and depths at the radiograph's own resolution; `mask` as `run` takes it."""
        return maps_of(prediction, radiograph, mask, cancelled)

    def surfaces(
        self, radiograph: Radiograph, maps: BoneMaps, *, cancelled: Callable[[], bool] = lambda: False
    ) -> dict[str, vtkPolyData]:
        """The observed surface of every bone that is there; Refusal where none is."""
        geometry = radiograph.geometry
        longer = max(geometry.size_px)
        if longer > SURFACE_SIDE_PX:
            geometry = geometry.resized([max(round(n * SURFACE_SIDE_PX / longer), 1) for n in geometry.size_px])
            maps = maps.resized(geometry.size_px)
        found = {}
        for bone, mask in zip(maps.bones, maps.mask, strict=True):
            if cancelled():
                raise Cancelled
            if mask.any() and (surface := observed_surface(maps, geometry, bone)).GetNumberOfCells() > 0:
                found[bone] = surface
        if not found:
            raise Refusal("No hip bone was found in this picture: give a frontal film of a pelvis or a hip.")
        return found

    def complete(
        self,
        radiograph: Radiograph,
        observed: Mapping[str, vtkPolyData],
        *,
        refused: Callable[[str, Refusal], None] = lambda bone, why: None,
        progress: Callable[[float], None] = lambda share: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> dict[str, Completion]:
        """The whole bones; `refused` is told those of which too little was seen."""
        found = complete_all(
            observed,
            self.models,
            seen_on(self.networks, radiograph),
            on_refusal=refused,
            progress=progress,
            cancelled=cancelled,
        )
        # What a network gets wrong smoothly does not show in how well a shape fits it
        error_mm = self.networks.manifest.surface_error_mm
        return {bone: replace(one, std_mm=np.hypot(one.std_mm, error_mm[one.bone])) for bone, one in found.items()}


def _shown(bone: str, completion: Completion, whole_femurs: bool) -> vtkPolyData:
    mesh = completion.polydata()
    return mesh if whole_femurs or not bone.startswith("femur") else without_unseen_shaft(mesh)


def _doubted(
    observed: Mapping[str, vtkPolyData], completed: Mapping[str, Completion], prediction: Prediction | None
) -> list[str]:
    """Bones that hardly can be: the networks were unsure of them, or no shape of the model fits what was seen."""

    def misfit_mm(bone: str) -> float:
        one = completed.get(bone)
        return float(one.distance_mm[one.seen].mean()) if one is not None and one.seen.any() else 0.0

    return [
        bone
        for bone in observed
        if misfit_mm(bone) > DOUBTED_OVER_MM or (prediction is not None and prediction.unsure(bone) > DOUBTED_UNSURE)
    ]


def _about_bones(
    wanted: tuple[str, ...], maps: BoneMaps, completed: Mapping[str, Completion], doubted: Sequence[str]
) -> list[RadiographWarning]:
    """What a reader has to know of the bones."""
    warnings = []
    missing = [bone for bone in wanted if not maps.mask[maps.bones.index(bone)].any()]
    if missing:
        names = ", ".join(bone_words(bone) for bone in missing)
        warnings.append(RadiographWarning("bone-not-found", f"Not found in this picture: {names}."))
    if doubted:
        names = ", ".join(bone_words(bone) for bone in doubted)
        text = f"Do not rely on these, which hardly fit what was seen of them: {names}."
        warnings.append(RadiographWarning("bone-doubtful", text))
    mostly_inferred = [bone for bone, one in completed.items() if one.seen.mean() < LEAST_SEEN_SHARE]
    if mostly_inferred:
        names = ", ".join(bone_words(bone) for bone in mostly_inferred)
        warnings.append(
            RadiographWarning("bone-mostly-inferred", f"Mostly inferred, as little of it was seen: {names}.")
        )
    return warnings
