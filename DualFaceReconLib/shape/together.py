"""All bones of a film at once: four bones of one person, who know of each other; and those of several films.

    completions = complete_together(observed, outlines, models, geometry, BodyPrior())

    fitted = fit_films([SeenFilm(observed=observed, outlines=outlines, geometry=geometry), ...], models, BodyPrior())
    completions = completions_of(fitted, 0, films[0], models)

One objective: minus twice the logarithm of the probability of all poses, shapes and errors of the depth maps, given
the films. `evidence.py` has what a film says, `relations.py` what the bones say of each other, `body_prior.py` the
variances, `person_fit.py` the search. At its end the inverse of the matrix of its last step says how sure every vertex
is (Laplace). A bone alone gets along without the others. A femur without a head, as where metal replaced it, is
completed as without the others: neither its socket nor the other side holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from vtkmodules.vtkCommonDataModel import vtkPolyData

from DualFaceReconLib.bonemaps import SIDES, kind_and_side
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import unit_normals
from DualFaceReconLib.shape.body_prior import BodyPrior
from DualFaceReconLib.shape.completion import (
    FEWEST_MM2,
    HEAD_WITHIN_MM,
    JOINT_LANDMARK,
    UNSEEN_ERROR_MM,
    Completion,
    complete,
    completion_of,
    initial_fit,
    observed_target,
    seen_beside_mm,
    threads,
)
from DualFaceReconLib.shape.evidence import POSE, error_patterns
from DualFaceReconLib.shape.fitting import Fit, Target
from DualFaceReconLib.shape.outlines import Outline
from DualFaceReconLib.shape.person_fit import FilmEvidence, PersonFit, fit_person
from DualFaceReconLib.shape.shapemodel import ShapeModel, coarse_models, model_of


@dataclass(frozen=True, kw_only=True)
class SeenFilm:
    """What one film of a person shows."""

    observed: Mapping[str, vtkPolyData]
    outlines: Mapping[str, Outline]  # bones without one do without
    geometry: ProjectionGeometry  # of the pixels on which bones could be seen
    distance_spread_mm: float = 0.0  # how unsure it is how far the bones were from the detector; 0: that is known
    alone_error_mm: Mapping[str, float] = field(default_factory=dict)  # by kind, of maps; of bones completed alone
    _targets: dict[str, Target] = field(default_factory=dict, init=False, repr=False, compare=False)

    def target(self, bone: str, fewest_mm2: float = FEWEST_MM2) -> Target:
        """Points of what was seen of a bone, drawn once; Refusal as `completion.observed_target` has it."""
        if bone not in self._targets:
            self._targets[bone] = observed_target(self.observed[bone], self.geometry, fewest_mm2=fewest_mm2)
        return self._targets[bone]


def complete_together(
    observed: Mapping[str, vtkPolyData],
    outlines: Mapping[str, Outline],
    models: Mapping[str, ShapeModel],
    geometry: ProjectionGeometry,
    prior: BodyPrior,
    *,
    alone_error_mm: Mapping[str, float] | None = None,
    on_refusal: Callable[[str, Refusal], None] | None = None,
    progress: Callable[[float], None] = lambda share: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> dict[str, Completion]:
    """As `completion.complete_all`, of bones that were fitted together; bones without an outline do without."""
    film = SeenFilm(observed=observed, outlines=outlines, geometry=geometry, alone_error_mm=alone_error_mm or {})
    refused = None if on_refusal is None else lambda number, bone, refusal: on_refusal(bone, refusal)
    fitted = fit_films([film], models, prior, on_refusal=refused, progress=progress, cancelled=cancelled)
    return completions_of(fitted, 0, film, models)


def prepare_together(models: Mapping[str, ShapeModel], prior: BodyPrior) -> None:
    """Lets models of the left bones, and their mirror images, compute what they keep for all films."""
    fitted = _fitted(models, prior)
    for used in (fitted, coarse_models(fitted)):
        for model in used.values():
            for side in (model, model.mirrored()):
                for keeps in ("scaled_modes", "edges"):
                    getattr(side, keeps)


def fit_films(
    films: Sequence[SeenFilm],
    models: Mapping[str, ShapeModel],
    prior: BodyPrior,
    *,
    on_refusal: Callable[[int, str, Refusal], None] | None = None,
    progress: Callable[[float], None] = lambda share: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> PersonFit:
    """All bones of the films of one person; `on_refusal` gets a film's number and a bone of which it shows too little.

    Without it their Refusal is raised. Bones that some film does not show are not placed in it.
    """
    fitted_models = _fitted(models, prior)
    evidence, left_out = [], []
    for number, film in enumerate(films):
        refused = None if on_refusal is None else partial(on_refusal, number)
        targets, starts = _starts(film, models, coarse_models(fitted_models), refused, cancelled)
        left_out.append(_without_head(targets, starts, models))
        for bone in left_out[-1]:
            del targets[bone], starts[bone]
        areas = {bone: target.area_mm2 for bone, target in targets.items()}
        how = {"outlines": film.outlines, "distance_spread_mm": film.distance_spread_mm}
        evidence.append(FilmEvidence(targets=targets, areas_mm2=areas, starts=starts, **how))
        progress(0.5 * (number + 1) / len(films))
    fitted = fit_person(evidence, fitted_models, prior, cancelled)
    progress(0.9)
    return replace(fitted, left_out=tuple(left_out))


def completions_of(
    fitted: PersonFit, number: int, film: SeenFilm, models: Mapping[str, ShapeModel], moved_mm: float = 0.0
) -> dict[str, Completion]:
    """What the fit tells of a film's bones, beside what was seen of them without what was found wrong in whole maps.

    How sure it is, it is with all that other bones and films say. By `moved_mm` depths are smaller than in the fit.
    """
    completions = {}
    for bone, fit in fitted.fits[number].items():
        model = model_of(bone, fitted.models)
        target = film.target(bone, fewest_mm2=0.0)  # enough it was before the fit
        along_ray, patterns = error_patterns(target, 1.0 if model.side == "left" else -1.0)
        wrong_mm = patterns @ fitted.errors[number][bone] - moved_mm
        completions[bone] = completion_of(
            fit, model, replace(target, points=target.points - along_ray * wrong_mm[:, None]), with_std=False
        )
        people = len(model_of(bone, models).variances)  # how unusual a shape is, those modes tell
        completions[bone] = replace(completions[bone], fit=replace(fit, coefficients=fit.coefficients[:people]))
    for bone in fitted.left_out[number]:
        joint = completions[bone.replace("femur", "hip")].landmarks[JOINT_LANDMARK["hip"]]
        alone = complete(film.observed[bone], model_of(bone, models), film.geometry, joint=joint)
        completions[bone] = replace(alone, std_mm=np.hypot(alone.std_mm, film.alone_error_mm.get(alone.bone, 0.0)))
    sure = certain(completions, fitted, number, fitted.certainty.covariance)
    return {bone: sure[bone] for bone in film.observed if bone in sure}


def certain(
    completions: Mapping[str, Completion],
    fitted: PersonFit,
    number: int,
    covariance: np.ndarray,
) -> dict[str, Completion]:
    """A film's completions as sure as one of the fit's covariances says; those of bones completed alone as they are."""
    sure = dict(completions)
    for bone in fitted.fits[number].keys() & completions.keys():
        done = completions[bone]
        std_mm = _std_mm(done, model_of(bone, fitted.models), fitted.columns[number][bone], covariance)
        sure[bone] = replace(done, std_mm=std_mm * np.where(done.seen, *fitted.too_sure))
    return sure


def _starts(
    film: SeenFilm,
    models: Mapping[str, ShapeModel],
    coarse: Mapping[str, ShapeModel],
    on_refusal: Callable[[str, Refusal], None] | None,
    cancelled: Callable[[], bool],
) -> tuple[dict[str, Target], dict[str, Fit]]:
    """What was seen of every bone, and a fit near it; both sides at a time, and of each the hip first."""
    refusals: dict[str, Refusal] = {}

    def of_side(side: str) -> dict[str, tuple[Target, Fit]]:
        near, joint = {}, None
        for bone in (f"hip_{side}", f"femur_{side}"):
            if bone not in film.observed:
                continue
            model = model_of(bone, models)
            try:
                target = film.target(bone)
            except Refusal as refusal:
                refusals[bone] = refusal
                continue
            start = initial_fit(model, target, joint, cancelled, model_of(bone, coarse))
            near[bone] = target, start
            if kind_and_side(bone)[0] == "hip" and (mark := model.landmarks.get(JOINT_LANDMARK["hip"])) is not None:
                joint = mark.place(start.vertices(model))
        return near

    with ThreadPoolExecutor(threads()) as pool:
        near = {bone: both for side in pool.map(of_side, SIDES) for bone, both in side.items()}
    for bone, refusal in refusals.items():
        if on_refusal is None:
            raise refusal
        on_refusal(bone, refusal)
    kept = [bone for bone in film.observed if bone in near]
    return {bone: near[bone][0] for bone in kept}, {bone: near[bone][1] for bone in kept}


def _without_head(
    targets: Mapping[str, Target], starts: Mapping[str, Fit], models: Mapping[str, ShapeModel]
) -> tuple[str, ...]:
    """Femora of which nothing was seen where their sockets are."""
    lacking = []
    for side in SIDES:
        hip, femur = f"hip_{side}", f"femur_{side}"
        socket = models["hip"].landmarks.get(JOINT_LANDMARK["hip"]) if hip in starts and femur in starts else None
        if socket is None:
            continue
        centre = socket.place(starts[hip].vertices(model_of(hip, models)))
        if seen_beside_mm(targets[femur], centre) > HEAD_WITHIN_MM:
            lacking.append(femur)
    return tuple(lacking)


def _fitted(models: Mapping[str, ShapeModel], prior: BodyPrior) -> dict[str, ShapeModel]:
    """The models that are fitted: that of femora, of which there are few, with more than its people show."""
    wider = prior.wider_femora
    return {kind: model.with_smooth_modes if kind == "femur" and wider else model for kind, model in models.items()}


def _std_mm(completion: Completion, model: ShapeModel, columns: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """(V,) of the surface's place along its normals; `columns` of the covariance are the bone's."""
    normals = unit_normals(completion.vertices, model.triangles).astype(np.float32)
    rows = np.empty((len(normals), len(columns)), dtype=np.float32)
    away = completion.fit.vertices(model) - completion.fit.translation
    rows[:, :3], rows[:, 3:POSE] = np.cross(away, normals), normals
    turned = (normals @ completion.fit.rotation).astype(np.float32)
    rows[:, POSE:] = np.einsum("vx,vxk->vk", turned, model.modes_by_vertex)
    factor = np.linalg.cholesky(covariance[np.ix_(columns, columns)])
    posterior = np.linalg.norm(rows @ factor.astype(np.float32), axis=1)
    return np.hypot(posterior, UNSEEN_ERROR_MM)
