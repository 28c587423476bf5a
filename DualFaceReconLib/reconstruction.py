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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from vtkmodules.vtkCommonDataModel import vtkPolyData

from DualFaceReconLib.bonemaps import BoneMaps, kind_and_side
from DualFaceReconLib.bundle.files import read_shape_model
from DualFaceReconLib.bundle.store import bundle_folder
from DualFaceReconLib.certainty import with_distance, with_mirrored
from DualFaceReconLib.errors import Cancelled, Refusal
from DualFaceReconLib.evidence import evidence_of
from DualFaceReconLib.film.acquisition import RadiographWarning
from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.film.sides import letters_against_bones, sides_are_contradicted
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.measurements import of_bone, of_pelvis, relative_spread
from DualFaceReconLib.meshes import add_point_data
from DualFaceReconLib.metal import warnings_of_bones_not_whole
from DualFaceReconLib.outcome import MASKS_BY_NETWORK, MASKS_BY_USER, Bone, BundleName, Reconstruction
from DualFaceReconLib.patient import (
    DOUBTED_FILM,
    PatientReconstruction,
    at_distance_by_size,
    certainties_alone,
    certainties_of,
    mostly_doubted,
    naming_film,
    refuse_no_films_of_a_patient,
    unknown_distance_mm,
)
from DualFaceReconLib.pictures.wording import bone_words
from DualFaceReconLib.plausibility import bone_warnings, refuse_other_pictures, refuse_other_shapes, with_likely_pitch
from DualFaceReconLib.prediction import Prediction, Progress, maps_of, prediction_outlines, seen_on
from DualFaceReconLib.scale import scale_warnings, sizes_of
from DualFaceReconLib.shape.body_prior import BodyPrior
from DualFaceReconLib.shape.completion import Completion, complete_all
from DualFaceReconLib.shape.outlines import Outline, outline_of
from DualFaceReconLib.shape.shapemodel import ShapeModel
from DualFaceReconLib.shape.together import SeenFilm, complete_together, completions_of, fit_films, prepare_together
from DualFaceReconLib.shape.trimming import without_unseen_shaft
from DualFaceReconLib.surfaces import observed_surface
from DualFaceReconLib.verdicts import NOT_COMPLETED, verdict_of

if TYPE_CHECKING:
    from DualFaceReconLib.inference import Networks
    from DualFaceReconLib.networks_apart import NetworksApart

SURFACE_SIDE_PX = 512  # of the film's longer side, on which surfaces are made: networks see fewer than films have
SHARES = {"networks": 0.0, "surfaces": 0.25, "completion": 0.35}  # of the whole, where a stage begins
SEEN_SHARE, JOINED_SHARE = 0.5, 0.8  # of several films, until all are seen, and until they were completed together


@dataclass(kw_only=True)
class RunClock:
    """How far a run is, whether it is still wanted, and how long its stages took."""

    progress: Progress
    cancelled: Callable[[], bool]
    timings_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        if self.cancelled():
            raise Cancelled
        self.progress(name, SHARES[name])
        begun = time.perf_counter()
        yield
        self.timings_s[name] = self.timings_s.get(name, 0.0) + time.perf_counter() - begun


@dataclass(frozen=True, kw_only=True)
class SeenBones:
    """What networks and depths show of a film's bones."""

    radiograph: Radiograph
    prediction: Prediction
    maps: BoneMaps
    observed: Mapping[str, vtkPolyData]
    masks_given: bool  # by somebody, instead of the networks
    warnings: list[RadiographWarning]

    def not_completed(self, bone: str, why: Refusal) -> None:
        """Warns of a bone of which too little was seen."""
        text = f"Of the {bone_words(bone)} {why.text}."
        self.warnings.append(RadiographWarning("bone-not-completed", text))


class Reconstructor:
    """A bundle's networks and shape models, loaded once and used for many radiographs."""

    def __init__(
        self,
        bundle: str | Path | None = None,
        device: str | None = None,
        networks: Networks | NetworksApart | None = None,
    ) -> None:
        """`bundle`: an id, a folder, or None for the one that ships; `device`: "cuda", "mps", "cpu" or the best.

        `networks`: of this bundle, where they are loaded already.
        """
        folder = bundle_folder(bundle)
        if networks is None:
            from DualFaceReconLib.inference import load_networks  # with torch, a second

            networks = load_networks(folder, device)
        self.networks: Networks | NetworksApart = networks
        self.models: dict[str, ShapeModel] = {
            kind: read_shape_model(folder, self.networks.manifest, kind) for kind in self.networks.manifest.shape_models
        }
        self.prior = BodyPrior.of_networks(self.networks.manifest.femora_lean_mm)

    def __repr__(self) -> str:
        manifest = self.networks.manifest
        return f"Reconstructor({manifest.id} {manifest.version} on {self.networks.device}: {', '.join(manifest.bones)})"

    def prepare(self) -> None:
        """Computes what all films share of bones that are completed together, or the first film does it."""
        prepare_together(self.models, BodyPrior())

    def run(
        self,
        radiograph: Radiograph,
        *,
        prediction: Prediction | None = None,
        mask: np.ndarray | None = None,
        completion: bool = True,
        whole_femurs: bool = False,
        flipped_too: bool = True,
        together: bool = True,
        progress: Progress = lambda stage, share: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Reconstruction:
        """All stages, one after the other; Refusal where no bone is found, Cancelled where the caller wants no more.

        `prediction`: of an earlier run on these pixels, instead of the networks. `mask` (bones, rows, cols) bool: where
        the bones are, instead of where the networks see them. `whole_femurs` keeps the shaft beyond what was seen;
        `flipped_too` averages with what the networks see in the mirrored film. Without `together` each bone is
        completed alone.
        """
        clock = RunClock(progress=progress, cancelled=cancelled)
        seen = self.see(radiograph, prediction=prediction, mask=mask, flipped_too=flipped_too, clock=clock)
        completed: dict[str, Completion] | None = None
        if completion:
            with clock.stage("completion"):
                completed = self.complete(
                    radiograph,
                    seen.observed,
                    seen.prediction,
                    mask=mask,
                    together=together,
                    refused=seen.not_completed,
                    progress=lambda share: progress(
                        "completion", SHARES["completion"] + (1 - SHARES["completion"]) * share
                    ),
                    cancelled=cancelled,
                )
        if cancelled():
            raise Cancelled
        reconstruction = self.outcome(seen, completed, whole_femurs=whole_femurs, timings_s=clock.timings_s)
        progress("done", 1.0)
        return reconstruction

    def run_patient(
        self,
        radiographs: Sequence[Radiograph],
        *,
        predictions: Sequence[Prediction | None] | None = None,
        whole_femurs: bool = False,
        flipped_too: bool = True,
        progress: Progress = lambda stage, share: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> PatientReconstruction:
        """Several films of one patient, whose bones have one shape in all of them; Refusal says which film it is of.

        Postures, sides, distances and what depth maps get wrong are each film's own; where a film does not know its
        distance, the bones' size in all films tells it better. A film whose bones are mostly doubted, and not those of
        another, is completed by itself and does not spoil others. `predictions`: of earlier runs on these pixels. That
        films are of one patient is the caller's to know: `film.patients.refuse_different_patients` asks their files.
        """
        refuse_no_films_of_a_patient(radiographs)
        count = len(radiographs)
        before = [None] * count if predictions is None else predictions

        def of_part(first: float, last: float) -> Progress:
            return lambda stage, share: progress(stage, first + (last - first) * share)

        seen = []
        for number, (radiograph, prediction) in enumerate(zip(radiographs, before, strict=True)):
            part = of_part(*(SEEN_SHARE * n / count for n in (number, number + 1)))
            clock = RunClock(progress=part, cancelled=cancelled)
            with naming_film(number + 1):
                seen.append(self.see(radiograph, prediction=prediction, flipped_too=flipped_too, clock=clock))
        clock = RunClock(progress=of_part(SEEN_SHARE, JOINED_SHARE), cancelled=cancelled)
        patient = self._of_one_person(seen, {}, whole_femurs=whole_femurs, clock=clock)
        clock = replace(clock, progress=of_part(JOINED_SHARE, 1.0))
        doubted = [number for number, film in enumerate(patient.films) if mostly_doubted(film)]
        if len(doubted) < count and (alone := self._doubted_alone_too(seen, doubted, clock)):
            patient = self._of_one_person(seen, alone, whole_femurs=whole_femurs, clock=clock)
        progress("done", 1.0)
        return patient

    def _doubted_alone_too(
        self, seen: Sequence[SeenBones], doubted: Sequence[int], clock: RunClock
    ) -> dict[int, dict[str, Completion]]:
        """By number the bones of those films that are doubted by themselves, too, and not because of another film."""
        alone = {}
        for number in doubted:
            film = seen[number]
            with clock.stage("completion"), naming_film(number + 1):
                completed = self.complete(
                    film.radiograph, film.observed, film.prediction, together=True, cancelled=clock.cancelled
                )
                if mostly_doubted(self.outcome(film, completed, timings_s={})):
                    alone[number] = completed
        return alone

    def _of_one_person(
        self,
        seen: Sequence[SeenBones],
        alone: Mapping[int, Mapping[str, Completion]],
        *,
        whole_femurs: bool,
        clock: RunClock,
    ) -> PatientReconstruction:
        """Films whose bones have one shape, but for those that were completed `alone`."""
        joined, begun = [number for number in range(len(seen)) if number not in alone], SHARES["completion"]

        def refused(place: int, bone: str, why: Refusal) -> None:
            if not alone:  # else it was said when all were joined
                seen[joined[place]].not_completed(bone, why)

        with clock.stage("completion"):
            fitted = fit_films(
                [
                    SeenFilm(
                        observed=seen[number].observed,
                        outlines=self.outlines(seen[number].radiograph, seen[number].prediction),
                        geometry=seen_on(self.networks.manifest, seen[number].radiograph),
                        distance_spread_mm=unknown_distance_mm(seen[number].radiograph.geometry),
                    )
                    for number in joined
                ],
                self.models,
                self.prior,
                on_refusal=refused,
                progress=lambda share: clock.progress("completion", begun + (1 - begun) * share),
                cancelled=clock.cancelled,
            )
        films, certainties = [], []
        for number, film in enumerate(seen):
            with naming_film(number + 1):
                if number in alone:
                    there = replace(film, warnings=[*film.warnings, DOUBTED_FILM])
                    sure = alone[number]
                    certainties += certainties_alone(number, sure, film.radiograph.geometry)
                else:
                    place = joined.index(number)
                    shift_mm = fitted.certainty.shifts_mm[place]
                    there = self._moved(film, shift_mm, len(joined), clock.cancelled) if len(joined) > 1 else film
                    shown = SeenFilm(
                        observed=there.observed,
                        outlines={},
                        geometry=seen_on(self.networks.manifest, there.radiograph),
                        alone_error_mm=self.networks.manifest.surface_error_mm,
                    )
                    moved_mm = 0.0 if there is film else shift_mm[0]
                    completed = completions_of(fitted, place, shown, self.models, moved_mm)
                    geometries = film.radiograph.geometry, there.radiograph.geometry
                    certainties += certainties_of(fitted, joined, number, completed, geometries)
                    sure = as_sure_as_mirrored(completed, there.prediction)
                films.append(self.outcome(there, sure, whole_femurs=whole_femurs, timings_s=clock.timings_s))
        return PatientReconstruction(films=tuple(films), certainties=tuple(certainties))

    def _moved(
        self, seen: SeenBones, shift_mm: tuple[float, float], films: int, cancelled: Callable[[], bool]
    ) -> SeenBones:
        """What a film shows, where the bones' size in all films puts it."""
        radiograph = at_distance_by_size(seen.radiograph, shift_mm, films)
        if radiograph is seen.radiograph:
            return seen
        maps = self.bone_maps(radiograph, seen.prediction, cancelled=cancelled)
        observed = self.surfaces(radiograph, maps, cancelled=cancelled)
        own = seen.warnings[len(seen.radiograph.warnings) :]
        return replace(seen, radiograph=radiograph, maps=maps, observed=observed, warnings=[*radiograph.warnings, *own])

    # What a run consists of

    def see(
        self,
        radiograph: Radiograph,
        *,
        prediction: Prediction | None = None,
        mask: np.ndarray | None = None,
        flipped_too: bool = True,
        clock: RunClock,
    ) -> SeenBones:
        """Masks, depths and observed surfaces of a film; arguments are those of `run`."""
        progress, cancelled = clock.progress, clock.cancelled
        with clock.stage("networks"):
            if prediction is None or not prediction.fits(radiograph):
                prediction = self.predict(
                    radiograph,
                    flipped_too=flipped_too,
                    progress=lambda network, share: progress("networks", SHARES["surfaces"] * share),
                    cancelled=cancelled,
                )
            maps = self.bone_maps(radiograph, prediction, mask, cancelled=cancelled)
        warnings = [*radiograph.warnings, *_sides_doubted(radiograph, maps)]
        with clock.stage("surfaces"):
            try:
                observed = self.surfaces(radiograph, maps, cancelled=cancelled)
                if mask is None:
                    refuse_other_pictures(prediction, observed)
            except Refusal as refusal:
                if mask is not None:
                    raise
                raise with_likely_pitch(refusal, radiograph, self.unsure_at_pitch) from None
        return SeenBones(
            radiograph=radiograph,
            prediction=prediction,
            maps=maps,
            observed=observed,
            masks_given=mask is not None,
            warnings=warnings,
        )

    def outcome(
        self,
        seen: SeenBones,
        completed: Mapping[str, Completion] | None,
        *,
        whole_femurs: bool = False,
        timings_s: Mapping[str, float],
    ) -> Reconstruction:
        """Verdicts, measurements and warnings of what was seen and completed; None: nothing was to be completed."""
        radiograph, maps, prediction = seen.radiograph, seen.maps, seen.prediction
        whole = {} if completed is None else completed
        if not seen.masks_given:
            refuse_other_shapes(seen.observed, whole)
        manifest = self.networks.manifest
        searched = seen_on(self.networks.manifest, radiograph)
        evidence = evidence_of(whole, maps, radiograph.geometry, searched, prediction, masks_given=seen.masks_given)
        verdicts = {
            bone: NOT_COMPLETED if completed is not None and bone not in whole else verdict_of(bone, evidence[bone])
            for bone in seen.observed
        }
        warnings = [
            *seen.warnings,
            *bone_warnings(manifest.bones, maps, whole, verdicts),
            *warnings_of_bones_not_whole(radiograph, maps),
            *scale_warnings(radiograph, sizes_of(radiograph, maps, whole, self.models)),
        ]
        bones = {
            bone: replace(
                _measured_bone(bone, maps, radiograph.geometry, surface, whole.get(bone), whole_femurs),
                verdict=verdicts[bone],
            )
            for bone, surface in seen.observed.items()
        }
        landmarks = {name: bone.landmarks for name, bone in bones.items()}
        return Reconstruction(
            radiograph=radiograph,
            maps=maps,
            bones=bones,
            measurements=of_pelvis(landmarks, whole, relative_spread(radiograph.geometry)),
            bundle=BundleName(id=manifest.id, version=manifest.version, sha256=manifest.sha256),
            device=self.networks.device,
            timings_s=timings_s,
            warnings=tuple(warnings),
            masks=MASKS_BY_USER if seen.masks_given else MASKS_BY_NETWORK,
            prediction=prediction,
        )

    # The stages; each takes what the one before it gave

    def predict(
        self,
        radiograph: Radiograph,
        *,
        flipped_too: bool = True,
        progress: Progress = lambda stage, share: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Prediction:
        """What the networks see in a radiograph."""
        return self.networks.predict(radiograph, flipped_too=flipped_too, progress=progress, cancelled=cancelled)

    def unsure_at_pitch(self, radiograph: Radiograph, factor: float) -> float:
        """How unsure the networks are of what they see, were pixels so many times as large; 1 where that is nothing."""
        return self.networks.unsure_at_pitch(radiograph, factor)

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
        if max(geometry.size_px) > SURFACE_SIDE_PX:
            geometry = geometry.resized(_surface_size(geometry))
            maps = maps.resized(geometry.size_px)
        surfaces = {}
        for bone, mask in zip(maps.bones, maps.mask, strict=True):
            if cancelled():
                raise Cancelled
            if mask.any() and (surface := observed_surface(maps, geometry, bone)).GetNumberOfCells() > 0:
                surfaces[bone] = surface
        if not surfaces:
            raise Refusal("No hip bone was found in this picture: give a frontal film of a pelvis or a hip.")
        return surfaces

    def complete(
        self,
        radiograph: Radiograph,
        observed: Mapping[str, vtkPolyData],
        prediction: Prediction | None = None,
        *,
        mask: np.ndarray | None = None,
        together: bool = True,
        refused: Callable[[str, Refusal], None] = lambda bone, why: None,
        progress: Callable[[float], None] = lambda share: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> dict[str, Completion]:
        """The whole bones; `refused` is called with those of which too little was seen, and why.

        Where `prediction` has the mirrored film, too, a bone is less sure where that shows it elsewhere. `together`
        takes the outlines of `prediction`, or of `mask` where there is one, and knows of the networks' errors itself.
        """
        searched = seen_on(self.networks.manifest, radiograph)
        how = {"on_refusal": refused, "progress": progress, "cancelled": cancelled}
        if together:
            outlines = self.outlines(radiograph, prediction, mask)
            how["alone_error_mm"] = self.networks.manifest.surface_error_mm
            completed = complete_together(observed, outlines, self.models, searched, self.prior, **how)
        else:
            completed = complete_all(observed, self.models, searched, **how)
        # What a network gets wrong smoothly does not show in how well a shape fits it
        error_mm = {} if together else self.networks.manifest.surface_error_mm
        completed = {
            name: replace(one, std_mm=np.hypot(one.std_mm, error_mm.get(one.bone, 0.0)))
            for name, one in completed.items()
        }
        return completed if prediction is None else as_sure_as_mirrored(completed, prediction)

    def outlines(
        self, radiograph: Radiograph, prediction: Prediction | None, mask: np.ndarray | None = None
    ) -> dict[str, Outline]:
        """The bones' outlines: of a mask that somebody gave, or as the networks see them."""
        searched = seen_on(self.networks.manifest, radiograph)
        if mask is not None:
            bones = self.networks.manifest.bones
            size = _surface_size(radiograph.geometry)
            whole = np.asarray(mask).astype(bool)
            maps = BoneMaps(bones=bones, mask=whole, front=np.zeros(whole.shape, np.float32)).resized(size)
            smaller = radiograph.geometry.resized(size)
            return {bone: outline_of(own, smaller, searched) for bone, own in zip(bones, maps.mask, strict=True)}
        return {} if prediction is None else prediction_outlines(prediction, searched)


def as_sure_as_mirrored(completed: Mapping[str, Completion], prediction: Prediction) -> dict[str, Completion]:
    """Bones, less sure where the mirrored film shows them elsewhere."""
    apart = prediction.disagreement
    if apart is None:
        return dict(completed)
    return {
        name: replace(one, std_mm=with_mirrored(one.std_mm, apart[name].depth_mm)) for name, one in completed.items()
    }


def _surface_size(geometry: ProjectionGeometry) -> tuple[int, int]:
    """Pixels [rows, cols] on which surfaces are made."""
    rows, cols = (max(round(n * min(1.0, SURFACE_SIDE_PX / max(geometry.size_px))), 1) for n in geometry.size_px)
    return rows, cols


def _sides_doubted(radiograph: Radiograph, maps: BoneMaps) -> list[RadiographWarning]:
    """What the letters in a film say against the sides of its bones, where nothing was said of them before."""
    if sides_are_contradicted(radiograph.warnings):
        return []
    middles: dict[str, list[float]] = {"left": [], "right": []}
    for bone, mask in zip(maps.bones, maps.mask, strict=True):
        if mask.any():
            middles[kind_and_side(bone)[1]].append(float(np.flatnonzero(mask.any(axis=0)).mean()))
    return letters_against_bones(radiograph.side_letters, middles["left"], middles["right"])


def _measured_bone(
    bone: str,
    maps: BoneMaps,
    geometry: ProjectionGeometry,
    observed: vtkPolyData,
    completion: Completion | None,
    whole_femurs: bool,
) -> Bone:
    """A bone as it goes into the result; a femur is cut where the film stops showing it, unless `whole_femurs`."""
    kept = None if completion is None else _kept(bone, completion, geometry, whole_femurs)
    measurements = of_bone(bone, maps, geometry, observed, completion, kept, relative_spread(geometry))
    if completion is None or kept is None:
        return Bone(observed=observed, measurements=measurements)
    landmarks = {name: tuple(place.tolist()) for name, place in completion.landmarks.items()}
    return Bone(observed=observed, completed=kept, landmarks=landmarks, measurements=measurements)


def _kept(bone: str, completion: Completion, geometry: ProjectionGeometry, whole_femurs: bool) -> vtkPolyData:
    """The completed bone's mesh, of a femur as much as goes into the result."""
    mesh = completion.polydata()
    total_mm = with_distance(completion.vertices, completion.triangles, completion.std_mm, geometry)
    add_point_data(mesh, "total_std_mm", total_mm.astype(np.float32))
    return mesh if whole_femurs or kind_and_side(bone)[0] != "femur" else without_unseen_shaft(mesh)
