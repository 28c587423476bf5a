"""`python -m training evaluate`: the ruler on cases, for what needs no network and for a bundle's networks.

evaluation = evaluate(cases_in(folder), (256,), bundle=Path("Resources/Models"))
evaluation.surfaces, evaluation.maps

The rows are in `baselines.py` and `predictions.py`; `tables.py` makes tables and figures of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from DualFaceReconLib.bonemaps import BONES, kind_and_side
from DualFaceReconLib.bundle.files import read_shape_model
from DualFaceReconLib.bundle.manifest import load_manifest
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.inference import Networks, load_networks
from DualFaceReconLib.measurements import envelope_mm3
from DualFaceReconLib.meshes import Mesh, area_mm2, clip_to_planes
from DualFaceReconLib.metrics import (
    compare_surfaces,
    depth_mae,
    depth_rmse,
    dice,
    emd_floor,
    emd_of_surfaces,
)
from DualFaceReconLib.parallel.processes import InProcesses
from DualFaceReconLib.parallel.roads import done_all
from DualFaceReconLib.parallel.work import Road
from DualFaceReconLib.shape.shapemodel import ShapeModel, load_shape_models, model_of
from training.cases import Case, read_case
from training.judging.baselines import (
    MEAN_AT_POSE,
    MEAN_BY_MASK,
    NO_ALIGNMENT,
    Surfaces,
    completed_bones,
    exact_surfaces,
    mean_at_true_pose,
)
from training.judging.nearness import quick_distances
from training.judging.placing import placed_by_mask
from training.judging.poses import TruePose
from training.judging.predictions import Aligned, align, predicted_maps
from training.judging.scores import (
    ALL,
    CUT_OFF,
    DISEASED,
    GROUPS,
    HEALTHY,
    METAL,
    ONE_HIP,
    Evaluation,
    MapsScored,
    Scored,
    read_scores,
    write_scores,
)
from training.judging.stumps import Stump, is_sawn, left_of, stump_of
from training.raycast import cast
from training.simulate import one_thread

SAMPLES = 8_000  # a side; more hardly change the mean over cases, and most of the time is spent here
EMD_POINTS = 1024  # a side; twice as many take longer than all other figures together
RESOLUTIONS = (256, 512, 1024)  # pixels along the film's longer side
LEAST_SEEN_MM2 = 2000.0  # of a bone's surface on the film; less is not scored
MODELS = Path(__file__).parents[2] / "Resources" / "Models"


@dataclass(frozen=True, kw_only=True)
class Work:
    """How cases are measured."""

    resolutions: tuple[int, ...]  # pixels along the film's longer side
    bundle: Path | None  # whose networks are measured, too
    shape_models: Path  # a folder of them, for rows without a bundle, which has its own
    emd: bool
    kept: Path | None  # a folder for what was measured of each case, so that a run that was cut goes on

    def with_whole_paths(self) -> Work:
        """The same for a process that stands elsewhere."""
        here = {
            name: path and path.resolve()
            for name, path in (("bundle", self.bundle), ("shape_models", self.shape_models), ("kept", self.kept))
        }
        return replace(self, **here)

    def key(self, folder: Path) -> dict[str, Any]:
        """What a case's scores hang on, but for the code."""
        seals = {} if self.bundle is None else load_manifest(self.bundle).files
        models = str(self.shape_models) if self.bundle is None else ""
        return {
            "case": str(folder.resolve()),
            "pixels": list(self.resolutions),
            "bundle": {name: seal.sha256 for name, seal in seals.items()},
            "shape_models": models,
            "emd": self.emd,
        }


def evaluate(
    folders: Sequence[Path],
    resolutions: Sequence[int] = RESOLUTIONS,
    jobs: int = 1,
    bundle: Path | None = None,
    say: Callable[[str], None] = print,
    shape_models: Path = MODELS,
    emd: bool = True,
    kept: Path | None = None,
    road: Road | None = None,
) -> Evaluation:
    """Every row for every bone of every case at every resolution; of networks where there is a bundle.

    In `jobs` processes, or by another road. The other arguments are those of `Work`.
    """
    work = Work(resolutions=tuple(resolutions), bundle=bundle, shape_models=shape_models, emd=emd, kept=kept)
    if road is None and jobs == 1:
        return _gathered((_of_case(work, folder) for folder in folders), len(folders), say)
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
    whole = CaseWork(work.with_whole_paths())
    places = [folder.resolve() for folder in folders]
    seen = places[0] if kept is None else kept.resolve()
    return _joined(done_all(road or InProcesses(jobs, math.inf), whole, places, seen, say))


@dataclass(frozen=True)
class CaseWork:
    """The work of measuring cases; networks and models are loaded once a process."""

    work: Work

    def __call__(self) -> Callable[[Path], Evaluation]:
        return partial(_of_case, self.work)


def _gathered(results: Iterable[Evaluation], count: int, say: Callable[[str], None]) -> Evaluation:
    gathered = []
    for done, of_case in enumerate(results, 1):
        gathered.append(of_case)
        say(f"{done} of {count} cases")
    return _joined(gathered)


def _joined(evaluations: Iterable[Evaluation]) -> Evaluation:
    joined = Evaluation(surfaces=[], maps=[])
    for of_case in evaluations:
        joined.surfaces.extend(of_case.surfaces)
        joined.maps.extend(of_case.maps)
    return joined


@cache
def loaded_networks(bundle: Path) -> Networks:
    """A bundle's networks, once a process."""
    networks = load_networks(bundle)
    if missing := set(BONES) - set(networks.manifest.bones):
        raise Refusal(f"Bundle {networks.manifest.id} knows no {', '.join(sorted(missing))}: take one of all bones.")
    return networks


@cache
def _models(bundle: Path | None, folder: Path) -> dict[str, ShapeModel]:
    """The left "hip" and "femur": the bundle's own, or those in a folder."""
    if bundle is None:
        return load_shape_models(folder)
    manifest = load_manifest(bundle)
    return {kind: read_shape_model(bundle, manifest, kind) for kind in ("hip", "femur")}


def _of_case(work: Work, folder: Path) -> Evaluation:
    """What is measured of a case, or was before."""
    if work.kept is None:
        return _measured(work, folder)
    path, key = work.kept / f"{folder.name}.json", work.key(folder)
    before = read_scores(path, key)
    if before is not None:
        return before
    measured = _measured(work, folder)
    write_scores(measured, path, key)
    return measured


def _measured(work: Work, folder: Path) -> Evaluation:
    bundle, resolutions, case = work.bundle, work.resolutions, read_case(folder)
    judged = tuple(bone for bone in case.meshes if bone not in case.metadata.get("unscored", ()))
    truths = {bone: on_film(case.meshes[bone], case.geometry) for bone in judged}
    truths = {bone: truth for bone, truth in truths.items() if area_mm2(*truth) >= LEAST_SEEN_MM2}
    floors = {bone: emd_floor(truth, EMD_POINTS) if work.emd else None for bone, truth in truths.items()}
    models = _models(bundle, work.shape_models)
    means = {
        bone: mean_at_true_pose(model_of(bone, models), case.meshes[bone]) for bone in truths if _whole(case, bone)
    }
    poses = {
        bone: TruePose.of(model_of(bone, models), mean, case.meshes[bone], kind_and_side(bone)[1])
        for bone, mean in means.items()
        if bone.startswith("femur")
    }
    stumps = {bone: stump_of(case, bone, models) for bone in truths}
    predicted = None
    if bundle is not None:
        with one_thread():
            predicted = predicted_maps(loaded_networks(bundle), case.radiograph)
        if predicted.geometry.size_px != case.geometry.size_px:
            raise Refusal(f"The film and the truth of {folder.name} differ in their pixels: make the case again.")
    measured = Evaluation(surfaces=[], maps=[])
    for pixels in resolutions:
        geometry = case.geometry.resized_to(pixels)
        true = cast({bone: case.meshes[bone] for bone in judged}, geometry).maps
        aligned = None if predicted is None else align(predicted.at(geometry.size_px, judged), true)
        completed = completed_bones(true, geometry, geometry, models)
        if aligned is not None:
            by_picture, unaligned = (
                completed_bones(maps, geometry, predicted.searched, models)
                for maps in (aligned.maps, aligned.predicted.maps)
            )
        for bone, truth in truths.items():
            model = model_of(bone, models)
            surfaces: Surfaces = exact_surfaces(true, geometry, bone, completed)
            if pixels == min(resolutions) and bone in means:  # they hardly depend on pixels
                mask = true.mask[true.bones.index(bone)]
                surfaces[MEAN_AT_POSE, NO_ALIGNMENT] = means[bone]
                surfaces[MEAN_BY_MASK, NO_ALIGNMENT] = placed_by_mask(model, mask, geometry, true.mean_depth_mm())
            if aligned is not None:
                surfaces |= aligned.surfaces(bone, by_picture, unaligned)
                measured.maps.append(maps_scored(case, bone, pixels, aligned))
            for row, surface in surfaces.items():
                scored = surface_scored(
                    case, bone, row, pixels, surface, truth, floors[bone], poses.get(bone), stumps[bone]
                )
                measured.surfaces.append(scored)
    return measured


def _whole(case: Case, bone: str) -> bool:
    """Whether the true bone is whole, so that a mean shape can be compared: not cut by a CT's end, not sawn."""
    return bone not in case.metadata.get("ct", {}).get("cut", {}) and not is_sawn(case, bone)


def groups_of(case: Case, bone: str) -> tuple[str, ...]:
    """The groups that a case's bone belongs to. A case without its patient's record is neither healthy nor diseased."""
    patient = case.metadata.get("patient")
    ill, metal = (bool(patient and patient.get(name)) for name in ("disease", "hardware"))
    kept = {
        ALL: True,
        HEALTHY: patient is not None and not ill and not metal,
        DISEASED: ill,
        METAL: metal,
        CUT_OFF: not case.geometry.sees(case.meshes[bone][0]).all(),
        ONE_HIP: case.metadata.get("rig", {}).get("kind") == "one hip",
    }
    return tuple(group for group in GROUPS if kept[group])


def on_film(mesh: Mesh, geometry: ProjectionGeometry) -> Mesh:
    """The part of a mesh inside the viewing frustum."""
    return clip_to_planes(*mesh, *geometry.frustum_planes())


def surface_scored(
    case: Case,
    bone: str,
    row: tuple[str, str],
    pixels: int,
    predicted: Mesh | None,
    truth: Mesh,
    floor_mm: float | None,
    pose: TruePose | None,
    stump: Stump | None = None,
) -> Scored:
    missed = Scored(**_about(case, bone), row=row[0], alignment=row[1], pixels=pixels)
    visible = None if predicted is None else left_of(on_film(predicted, case.geometry), stump)
    if visible is None or len(visible[1]) == 0:
        return missed
    compared = compare_surfaces(visible, truth, SAMPLES, distances=quick_distances)
    return replace(
        missed,
        assd_mm=compared.assd_mm,
        hd95_mm=compared.hd95_mm,
        hd95_max_mm=compared.hd95_max_mm,
        cd_l2_mm2=compared.cd_l2_mm2,
        emd_mm=None if floor_mm is None else emd_of_surfaces(visible, truth, EMD_POINTS),
        emd_floor_mm=floor_mm,
        **({} if pose is None else _turned(pose, visible)),
    )


def _turned(pose: TruePose, visible: Mesh) -> dict[str, float]:
    flexion, rotation = pose.errors_deg(visible)
    return {"true_flexion_deg": pose.flexion_deg, "flexion_error_deg": flexion, "rotation_error_deg": rotation}


def maps_scored(case: Case, bone: str, pixels: int, aligned: Aligned) -> MapsScored:
    number, mirror = aligned.true.bones.index(bone), aligned.predicted.mirrored[bone]
    overlap = dice(aligned.predicted.maps.mask[number], aligned.true.mask[number])
    detected = aligned.detected(bone)
    apart = {"mirror_depth_mm": mirror.depth_mm, "mirror_dice": mirror.dice}
    known = {name: value for name, value in apart.items() if np.isfinite(value)}
    masks = MapsScored(**_about(case, bone), pixels=pixels, found=detected, dice=overlap, **known)
    if not detected:
        return masks
    volumes = {} if aligned.maps.back is None else _envelopes(aligned, bone)
    errors = {
        f"{face}_{name}_mm": measure(predicted[number], true[number], aligned.valid[number])
        for face, predicted, true in zip(("front", "back"), aligned.maps.depths(), aligned.true.depths(), strict=False)
        for name, measure in (("mae", depth_mae), ("rmse", depth_rmse))
    }
    return replace(masks, **errors, **volumes)


def _envelopes(aligned: Aligned, bone: str) -> dict[str, float]:
    """Between both faces of a bone, as the maps have it and in truth."""
    geometry = aligned.predicted.geometry
    maps = {"envelope_cm3": aligned.maps, "true_envelope_cm3": aligned.true}
    return {name: envelope_mm3(of_all, bone, geometry) / 1000 for name, of_all in maps.items()}


def _about(case: Case, bone: str) -> dict[str, Any]:
    """What every score says of its bone."""
    person = str(case.metadata.get("person", case.folder.name))
    return {"case": case.folder.name, "person": person, "bone": bone, "groups": groups_of(case, bone)}
