"""All bones of a film at once: four bones of one person, who know of each other.

    completions = complete_together(observed, outlines, models, geometry, BodyPrior())

One objective: minus twice the logarithm of the probability of all poses, shapes and errors of the depth maps, given
the film. `evidence.py` has what the film says, `relations.py` what the bones say of each other, `body_prior.py` the
variances. Each step pairs anew and solves re-weighted least squares; at the end the inverse of the same matrix says how
sure every vertex is (Laplace). A bone alone gets along without the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from vtkmodules.vtkCommonDataModel import vtkPolyData

from DualFaceReconLib.bonemaps import SIDES, kind_and_side
from DualFaceReconLib.errors import Cancelled, Refusal
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import area_mm2, unit_normals
from DualFaceReconLib.shape.body_prior import ERRORS, BodyPrior
from DualFaceReconLib.shape.completion import (
    JOINT_LANDMARK,
    UNSEEN_ERROR_MM,
    Completion,
    completion_of,
    initial_fit,
    observed_target,
    threads,
)
from DualFaceReconLib.shape.evidence import (
    POSE,
    Block,
    SeenBone,
    outline_block,
    outline_pairs,
    point_pairs,
    points_block,
)
from DualFaceReconLib.shape.fitting import Fit, Target
from DualFaceReconLib.shape.outlines import Outline
from DualFaceReconLib.shape.relations import relations
from DualFaceReconLib.shape.shapemodel import ShapeModel, model_of
from DualFaceReconLib.surfaces import observed_triangles

POINTS = 2000  # of a bone's surface that are paired
STEPS = 8  # more change no vertex by a tenth of what is not known of it
LEAST_VARIANCE_MM2 = 1e-6  # of depth errors that a prior does without


@dataclass(frozen=True, kw_only=True)
class BodyFit:
    """Bones that were fitted together."""

    fits: dict[str, Fit]
    errors: dict[str, np.ndarray]  # by bone (4,) mm: what ERRORS the depth maps have
    covariance: np.ndarray  # of all parameters
    columns: dict[str, np.ndarray]  # by bone, of its turn, move and coefficients
    deviance: dict[str, float]  # sum of weighted squares, by term


def complete_together(
    observed: Mapping[str, vtkPolyData],
    outlines: Mapping[str, Outline],
    models: Mapping[str, ShapeModel],
    geometry: ProjectionGeometry,
    prior: BodyPrior,
    *,
    on_refusal: Callable[[str, Refusal], None] | None = None,
    progress: Callable[[float], None] = lambda share: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> dict[str, Completion]:
    """As `completion.complete_all`, of bones that were fitted together; bones without an outline do without."""
    targets, starts = _starts(observed, models, geometry, on_refusal, cancelled)
    progress(0.5)
    areas = {bone: area_mm2(*observed_triangles(observed[bone])) for bone in starts}
    fitted = fit_together(targets, areas, outlines, models, prior, starts, cancelled)
    progress(0.9)
    return {bone: _completion(bone, fitted, model_of(bone, models), targets[bone]) for bone in fitted.fits}


def _starts(
    observed: Mapping[str, vtkPolyData],
    models: Mapping[str, ShapeModel],
    geometry: ProjectionGeometry,
    on_refusal: Callable[[str, Refusal], None] | None,
    cancelled: Callable[[], bool],
) -> tuple[dict[str, Target], dict[str, Fit]]:
    """What was seen of every bone, and a fit near it; both sides at a time, and of each the hip first."""
    refusals: dict[str, Refusal] = {}

    def of_side(side: str) -> dict[str, tuple[Target, Fit]]:
        near, joint = {}, None
        for bone in (f"hip_{side}", f"femur_{side}"):
            if bone not in observed:
                continue
            model = model_of(bone, models)
            try:
                target = observed_target(observed[bone], geometry)
            except Refusal as refusal:
                refusals[bone] = refusal
                continue
            start = initial_fit(model, target, joint, cancelled)
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
    kept = [bone for bone in observed if bone in near]
    return {bone: near[bone][0] for bone in kept}, {bone: near[bone][1] for bone in kept}


def fit_together(
    targets: Mapping[str, Target],
    areas_mm2: Mapping[str, float],
    outlines: Mapping[str, Outline],
    models: Mapping[str, ShapeModel],
    prior: BodyPrior,
    starts: Mapping[str, Fit],
    cancelled: Callable[[], bool] = lambda: False,
) -> BodyFit:
    """The most probable bones, from starts that need only be near."""
    body = BonesSought(targets, areas_mm2, outlines, models, prior, starts)
    for _ in range(STEPS):
        if cancelled():
            raise Cancelled
        body.step()
    matrix, _, deviance = body.normal_equations()
    return BodyFit(
        fits={name: bone.fit for name, bone in body.bones.items()},
        errors={name: body.errors[body.own_errors(name)] for name in body.bones},
        covariance=cho_solve(cho_factor(matrix), np.eye(len(matrix))),
        columns={name: bone.columns for name, bone in body.bones.items()},
        deviance=deviance,
    )


class BonesSought:
    """Bones of a film, as they stand during the search."""

    def __init__(
        self,
        targets: Mapping[str, Target],
        areas_mm2: Mapping[str, float],
        outlines: Mapping[str, Outline],
        models: Mapping[str, ShapeModel],
        prior: BodyPrior,
        starts: Mapping[str, Fit],
    ) -> None:
        self.prior, self.bones, first = prior, {}, 0
        for name, target in targets.items():
            few = target.thinned(POINTS)
            bone = SeenBone(name, model_of(name, models), few, areas_mm2[name], outlines.get(name), first)
            first += POSE + bone.count
            known = starts[name].coefficients
            bone.place(replace(starts[name], coefficients=np.r_[known, np.zeros(bone.count - len(known))]))
            self.bones[name] = bone
        self.first_error = first
        self.errors = np.zeros(len(ERRORS) * len(self.bones))
        covariance = prior.errors.covariance(tuple(self.bones)) + LEAST_VARIANCE_MM2 * np.eye(len(self.errors))
        self.whitening = np.linalg.inv(np.linalg.cholesky(covariance))

    def own_errors(self, bone: str) -> np.ndarray:
        """Numbers (4,) of a bone's ERRORS among all errors."""
        return len(ERRORS) * list(self.bones).index(bone) + np.arange(len(ERRORS))

    def blocks(self) -> list[Block]:
        """All residuals where the bones stand, newly paired."""
        maps = self.prior.errors
        blocks = list(relations(self.bones, self.prior))
        for name, bone in self.bones.items():
            own = self.own_errors(name)
            pairs = point_pairs(bone, self.errors[own], maps)
            blocks.append(points_block(bone, self.errors[own], pairs, self.first_error + int(own[0])))
            if self.prior.outlines and (beside := outline_pairs(bone, maps)) is not None:
                blocks.append(outline_block(bone, beside, maps))
        blocks.append(
            Block(
                name="errors",
                columns=self.first_error + np.arange(len(self.errors)),
                rows=self.whitening,
                residuals=self.whitening @ self.errors,
                weights=np.ones(len(self.errors)),
            )
        )
        return blocks

    def normal_equations(self) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
        """Half the second and first derivatives of the objective, and its terms."""
        size = self.first_error + len(self.errors)
        matrix, gradient, terms = np.zeros((size, size)), np.zeros(size), {}
        for block in self.blocks():
            heavy = block.rows * block.weights[:, None]
            matrix[np.ix_(block.columns, block.columns)] += heavy.T @ block.rows
            gradient[block.columns] += heavy.T @ block.residuals
            terms[block.name] = terms.get(block.name, 0.0) + float(block.weights @ block.residuals**2)
        matrix[np.diag_indices(size)] += 1e-9
        return matrix, gradient, terms

    def step(self) -> None:
        """Of Gauss and Newton."""
        matrix, gradient, _ = self.normal_equations()
        self.move(-cho_solve(cho_factor(matrix), gradient))

    def move(self, step: np.ndarray) -> None:
        """Changes all parameters."""
        for bone in self.bones.values():
            bone.place(bone.fit.moved(step[bone.columns], bone.about))
        self.errors = self.errors + step[self.first_error :]


def _completion(bone: str, fitted: BodyFit, model: ShapeModel, target: Target) -> Completion:
    """What the fit tells of a bone; how sure it is, with all that the other bones say."""
    alone = completion_of(fitted.fits[bone], model, target)
    normals = unit_normals(alone.vertices, model.triangles).astype(np.float32)
    columns = fitted.columns[bone]
    rows = np.empty((len(normals), len(columns)), dtype=np.float32)
    vertices = alone.fit.vertices(model)
    rows[:, :3], rows[:, 3:POSE] = np.cross(vertices - vertices.mean(axis=0), normals), normals
    turned = (normals @ alone.fit.rotation).astype(np.float32)
    rows[:, POSE:] = np.einsum("vx,vxk->vk", turned, (model.modes * np.sqrt(model.variances)).astype(np.float32))
    factor = np.linalg.cholesky(fitted.covariance[np.ix_(columns, columns)])
    posterior = np.linalg.norm(rows @ factor.astype(np.float32), axis=1)
    return replace(alone, std_mm=np.hypot(posterior, UNSEEN_ERROR_MM))
