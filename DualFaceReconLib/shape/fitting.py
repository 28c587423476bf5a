"""A shape model's pose and shape for points on a surface: equation 5 of the 3DDX paper, and its search.

The objective is the mean squared distance from the target to the model, and for a target with two faces also from the
model to the target, plus `regularisation` times the mean square of the coefficients, which are in standard deviations.
Of the model only those vertices count that the X-ray could see: first entry or last exit along their ray, inside the
viewing frustum. L-BFGS searches pose and shape together, in coordinates in which the Gauss-Newton matrix is the
identity; every evaluation pairs points and vertices anew.

Several bones are fitted in as many threads. Products with the modes go through einsum, not BLAS: they are bound by
memory, and BLAS threads that wait for one another cost twice the time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import minimize
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from DualFaceReconLib.errors import Cancelled
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import unit_normals
from DualFaceReconLib.shape.shapemodel import ShapeModel
from DualFaceReconLib.shape.visibility import entry_and_exit_vertices, rays_to

# A point and a vertex are paired by place and by the way their surfaces face, as a thin wall has two sides: a right
# angle between them counts as this distance.
RIGHT_ANGLE_MM = 15.0
ROBUST_WIDTH = 3.0  # robust standard deviations beyond which a distance loses its influence
ROBUST_FLOOR_MM = 0.5


@dataclass(frozen=True)
class FitSettings:
    """How a model is fitted."""

    # The paper's lambda, beside mm^2. The paper has 0.01 for its models; with the many local modes of ours 0.1 leaves
    # less error on people who are not in them, above all where nothing was seen.
    regularisation: float = 0.1
    robust: bool = True  # outliers lose their influence; False is the paper's plain mean of squares
    modes: int | None = None  # None: all of the model's
    rounds: int = 8  # at most; each begins with finding out anew which vertices are visible
    settled: float = 0.1  # a round that gains less than this share of the objective is the last
    evaluations: int = 4  # about so many in a round
    vertex_stride: int = 1  # with 6, every sixth vertex is paired; that is enough to find the pose


DEFAULT_SETTINGS = FitSettings()


@dataclass(frozen=True, kw_only=True)
class Target:
    """Points of a surface, evenly spread by area, and the directions in which it faces."""

    points: np.ndarray  # (N, 3) RAS mm
    outward: np.ndarray  # (N, 3) unit normals; of an observed surface its rays, on the front towards the source
    geometry: ProjectionGeometry | None = None  # of an observed surface; None: a whole bone, nothing of it hidden
    dual: bool = True  # both faces were observed
    both_ways: bool = True  # distances from the model's visible vertices to the target count, too

    @cached_property
    def reach_mm(self) -> float:
        """How far a place on the surface may be from the nearest point."""
        return 2 * float(np.median(cKDTree(self.points).query(self.points, k=2)[0][:, 1]))

    def thinned(self, count: int, seed: int = 0) -> Target:
        """At most `count` of the points."""
        if len(self.points) <= count:
            return self
        kept = np.random.default_rng(seed).choice(len(self.points), count, replace=False)
        return replace(self, points=self.points[kept], outward=self.outward[kept])

    def outward_of(self, vertices: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Directions (V, 3) at a model's vertices (V, 3), to be compared with the target's `outward`."""
        if self.geometry is None:
            return normals
        rays = rays_to(vertices, self.geometry)
        return rays * np.sign(np.einsum("vx,vx->v", normals, rays))[:, None]

    def visible_vertices(self, vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
        """Which vertices (V,) of a bone this target's X-ray would have seen."""
        if self.geometry is None:
            return np.ones(len(vertices), dtype=bool)
        first, last = entry_and_exit_vertices(vertices, triangles, self.geometry)
        return first | last if self.dual else first


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A shape of a model and where it stands."""

    rotation: np.ndarray  # (3, 3)
    translation: np.ndarray  # (3,) mm
    coefficients: np.ndarray  # (k,) standard deviations
    objective: float = np.inf  # mm^2

    def vertices(self, model: ShapeModel) -> np.ndarray:
        """(V, 3) RAS mm."""
        return model.shape(self.coefficients) @ self.rotation.T + self.translation

    def moved(self, step: np.ndarray, about: np.ndarray) -> Fit:
        """Turned by step[:3] about a point, moved by step[3:6], with coefficients changed by the rest."""
        turn = Rotation.from_rotvec(step[:3]).as_matrix()
        translation = turn @ (self.translation - about) + about + step[3:6]
        coefficients = self.coefficients + step[6:]
        return Fit(rotation=turn @ self.rotation, translation=translation, coefficients=coefficients)


def fit(
    model: ShapeModel,
    target: Target,
    start: Fit,
    settings: FitSettings = DEFAULT_SETTINGS,
    cancelled: Callable[[], bool] = lambda: False,
) -> Fit:
    """The shape of `model` that lies on `target`, from a start that need only be near.

    `cancelled` is asked before every evaluation; Cancelled is raised where it says so.
    """
    objective = _Objective(model, target, settings, cancelled)
    known = start.coefficients[: objective.count]
    current = replace(start, coefficients=np.r_[known, np.zeros(objective.count - len(known))], objective=np.inf)
    for _ in range(settings.rounds):
        before, current = current, objective.minimised_from(current)
        if before.objective - current.objective < settings.settled * current.objective:
            break
    return current


def data_precision(
    fitted: Fit, model: ShapeModel, target: Target, settings: FitSettings
) -> tuple[np.ndarray, np.ndarray]:
    """How firmly the target holds turn, translation and coefficients, and how these move the vertices.

    The first is (6 + K, 6 + K): products of the paired distances' derivatives, averaged over the pairs. The second is
    (V, 6 + K): the derivatives of all vertices along their normals.
    """
    at_fit = _Objective(model, target, replace(settings, regularisation=0.0)).linearised(fitted)
    return at_fit.hessian / (4 if target.both_ways else 2), at_fit.rows


@dataclass(frozen=True, kw_only=True)
class _Fixed:
    """What stays as it is during a round."""

    about: np.ndarray  # (3,) mm, the turn's centre
    seen: np.ndarray  # (V,) bool
    width: float  # mm, where distances begin to lose their influence


@dataclass(frozen=True, kw_only=True)
class _Pairs:
    vertex: np.ndarray  # (M,) int
    away: np.ndarray  # (M, 3) mm, to the vertex from the target
    weight: np.ndarray  # (M,) in the mean
    normals: np.ndarray  # (V, 3) of all vertices


@dataclass(frozen=True, kw_only=True)
class _Linearised:
    fixed: _Fixed
    value: float
    gradient: np.ndarray  # (6 + K,)
    rows: np.ndarray  # (V, 6 + K) how the parameters move the vertices along their normals
    hessian: np.ndarray  # (6 + K, 6 + K), Gauss-Newton


class _Objective:
    """Equation 5 for a model and a target; parameters are turn (3), translation (3) and coefficients (K)."""

    def __init__(
        self,
        model: ShapeModel,
        target: Target,
        settings: FitSettings,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self.model, self.target, self.settings, self.cancelled = model, target, settings, cancelled
        self.count = len(model.variances) if settings.modes is None else min(settings.modes, len(model.variances))
        # in float32, half the memory to read: the search corrects its steps
        self.modes = np.ascontiguousarray(model.scaled_modes[:, : self.count])
        edges = model.mean[model.triangles[:, 0]] - model.mean[model.triangles[:, 1]]
        self.reach_mm = 0.6 * float(np.linalg.norm(edges, axis=1).mean()) * np.sqrt(settings.vertex_stride)
        self.target_tree = cKDTree(pairing_features(target.points, target.outward))

    def minimised_from(self, start: Fit) -> Fit:
        """One round of L-BFGS."""
        at_start = self.linearised(start)
        fixed = at_start.fixed
        factor = np.linalg.cholesky(at_start.hessian + 1e-6 * np.eye(6 + self.count)).T
        steepest = solve_triangular(factor, at_start.gradient, trans="T")
        scale = np.linalg.norm(steepest)  # so the first step is Gauss and Newton's
        if scale < 1e-9:
            return start

        def fit_at(place: np.ndarray) -> Fit:
            return start.moved(solve_triangular(factor, place * scale), fixed.about)

        def scaled(place: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = at_start.value, at_start.gradient
            if place.any():
                fit = fit_at(place)
                vertices = self.vertices(fit)
                value, gradient, _ = self.evaluated(fit, vertices, fixed, self.paired(vertices, fixed.seen))
            return value / scale**2, solve_triangular(factor, gradient, trans="T") / scale

        limit = {"maxfun": self.settings.evaluations, "maxiter": self.settings.evaluations}
        least = minimize(scaled, np.zeros(len(steepest)), jac=True, method="L-BFGS-B", options=limit)
        return replace(fit_at(least.x), objective=float(least.fun) * scale**2)

    def vertices(self, fit: Fit) -> np.ndarray:
        """(V, 3) RAS mm."""
        offsets = np.einsum("ck,k->c", self.modes, fit.coefficients.astype(np.float32))
        return (self.model.mean + offsets.reshape(-1, 3)) @ fit.rotation.T + fit.translation

    def linearised(self, fit: Fit) -> _Linearised:
        """Value, gradient and Gauss-Newton matrix, with what stays fixed during a round."""
        vertices = self.vertices(fit)
        seen = self.target.visible_vertices(vertices, self.model.triangles)
        pairs = self.paired(vertices, seen)
        width = np.inf
        if self.settings.robust:
            away = np.linalg.norm(pairs.away, axis=1)
            width = ROBUST_WIDTH * max(1.4826 * float(np.median(away)), ROBUST_FLOOR_MM)
        fixed = _Fixed(about=vertices.mean(axis=0), seen=seen, width=width)
        value, gradient, influence = self.evaluated(fit, vertices, fixed, pairs)
        rows = np.empty((len(vertices), 6 + self.count), dtype=np.float32)
        rows[:, :3] = np.cross(vertices - fixed.about, pairs.normals)
        rows[:, 3:6] = pairs.normals
        modes = self.modes.reshape(len(vertices), 3, self.count)
        rows[:, 6:] = np.einsum("vx,vxk->vk", (pairs.normals @ fit.rotation).astype(np.float32), modes)
        heavy = rows * np.sqrt(2 * influence).astype(np.float32)[:, None]
        hessian = (heavy.T @ heavy).astype(np.float64)
        shapes = np.arange(6, len(hessian))
        hessian[shapes, shapes] += 2 * self.settings.regularisation / max(self.count, 1)
        return _Linearised(fixed=fixed, value=value, gradient=gradient, rows=rows, hessian=hessian)

    def evaluated(
        self, fit: Fit, vertices: np.ndarray, fixed: _Fixed, pairs: _Pairs
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Objective, its gradient (6 + K,), and the influence of each vertex' pairs (V,)."""
        squared = np.einsum("mx,mx->m", pairs.away, pairs.away)
        softened = 1 + squared / fixed.width**2  # Geman and McClure's
        influence = pairs.weight / softened**2
        pull = 2 * influence[:, None] * pairs.away
        force = np.stack([np.bincount(pairs.vertex, part, minlength=len(vertices)) for part in pull.T], axis=1)
        regular = self.settings.regularisation / max(self.count, 1)
        bent = np.einsum("ck,c->k", self.modes, (force @ fit.rotation).ravel().astype(np.float32))
        gradient = np.concatenate(
            [
                np.cross(vertices - fixed.about, force).sum(axis=0),
                force.sum(axis=0),
                bent + 2 * regular * fit.coefficients,
            ]
        )
        value = float((pairs.weight * squared / softened).sum() + regular * fit.coefficients @ fit.coefficients)
        return value, gradient, np.bincount(pairs.vertex, influence, minlength=len(vertices))

    def paired(self, vertices: np.ndarray, seen: np.ndarray) -> _Pairs:
        """Each target point with a vertex; both ways, each visible vertex with a target point, too."""
        if self.cancelled():
            raise Cancelled
        target = self.target
        normals = unit_normals(vertices, self.model.triangles)
        features = pairing_features(vertices, target.outward_of(vertices, normals))
        stride = self.settings.vertex_stride
        nearest = cKDTree(features[::stride], balanced_tree=False).query(self.target_tree.data)[1] * stride
        away = without_sampling_gap(vertices[nearest] - target.points, normals[nearest], self.reach_mm)
        weight = np.full(len(nearest), 1 / len(nearest))
        own = np.flatnonzero(seen)[::stride] if target.both_ways else np.empty(0, dtype=np.int64)
        if len(own) == 0:
            return _Pairs(vertex=nearest, away=away, weight=weight, normals=normals)
        back = target.points[self.target_tree.query(features[own])[1]]
        own_away = without_sampling_gap(vertices[own] - back, normals[own], target.reach_mm)
        return _Pairs(
            vertex=np.concatenate([nearest, own]),
            away=np.concatenate([away, own_away]),
            weight=np.concatenate([weight, np.full(len(own), 1 / len(own))]),
            normals=normals,
        )


def pairing_features(points: np.ndarray, outward: np.ndarray) -> np.ndarray:
    """(N, 6) mm: places and directions in one space, in which the nearest is the partner."""
    return np.hstack([points, outward * (RIGHT_ANGLE_MM / np.sqrt(2))])


def without_sampling_gap(away: np.ndarray, normals: np.ndarray, reach_mm: float) -> np.ndarray:
    """Distance vectors (M, 3) to a surface that is known only at points.

    What they have along the surface is shortened by `reach_mm`, how far the next point may be: such gaps are no error.
    """
    height = np.einsum("mx,mx->m", away, normals)[:, None] * normals
    along = away - height
    length = np.sqrt(np.einsum("mx,mx->m", along, along))[:, None]
    return height + along * np.maximum(1 - reach_mm / np.maximum(length, 1e-12), 0)
