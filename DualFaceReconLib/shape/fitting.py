"""A shape model's pose and shape for points on a surface: equation 5 of the 3DDX paper, and its search.

The objective is the mean squared distance from the target to the model, and for a target with two faces also from the
model to the target, plus `regularisation` times the mean square of the coefficients, which are in standard deviations.
Of the model only those vertices count that the X-ray could see: first entry or last exit along their ray, inside the
viewing frustum. Pose and shape are searched together by steps of Gauss and Newton, before each of which it is found
out anew which vertices are visible and which points they are paired with; a step that gains nothing is shortened. The
paper's L-BFGS comes to the same minimum in three times the time.

Several bones are fitted in as many threads. Products with the modes go through einsum, not BLAS: they are bound by
memory, and BLAS threads that wait for one another cost twice the time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from DualFaceReconLib.errors import Cancelled
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import unit_normals
from DualFaceReconLib.shape.shapemodel import Landmark, ShapeModel, mode_offsets
from DualFaceReconLib.shape.visibility import entry_and_exit_vertices, rays_to

# A point and a vertex are paired by place and by the way their surfaces face, as a thin wall has two sides: a right
# angle between them counts as this distance.
RIGHT_ANGLE_MM = 15.0
ROBUST_WIDTH = 3.0  # robust standard deviations beyond which a distance loses its influence
ROBUST_FLOOR_MM = 0.5
STEP_SHARES = (1.0, 0.5, 0.25, 0.1, 0.03)  # of a step of Gauss and Newton, tried until the objective falls
REACH_POINTS = 1000  # that tell how far the next one is
LEAST_CURVATURE = 1e-6  # so that what no point holds stays where it is
# Beside the mean of squares: what 6 mm between a landmark and where it is about weigh, as much as a standard deviation
# does where points are worth fifteen (completion.INDEPENDENT_POINTS) and 0.7 mm off
GONE_WEIGHT = 2 * 0.7**2 / (15 * 6.0**2)


@dataclass(frozen=True)
class FitSettings:
    """How a model is fitted."""

    # The paper's lambda, beside mm^2. The paper has 0.01 for its models; with the many local modes of ours 0.1 leaves
    # less error on people who are not in them, above all where nothing was seen.
    regularisation: float = 0.1
    robust: bool = True  # outliers lose their influence; False is the paper's plain mean of squares
    modes: int | None = None  # None: all of the model's
    steps: int = 12  # at most
    settled: float = 0.02  # a step that gains less than this share of the objective is the last
    vertex_stride: int = 1  # with 6, every sixth vertex is paired; that is enough to find the pose


DEFAULT_SETTINGS = FitSettings()


@dataclass(frozen=True, kw_only=True)
class Gone:
    """A part of the model of which the person has no bone, as metal took its place."""

    vertices: np.ndarray  # (V,) bool
    landmark: Landmark  # of that part
    place: np.ndarray  # (3,) RAS mm, where the landmark was, give or take 6 mm


@dataclass(frozen=True, kw_only=True)
class Target:
    """Points of a surface, evenly spread by area, and the directions in which it faces."""

    points: np.ndarray  # (N, 3) RAS mm
    outward: np.ndarray  # (N, 3) unit normals; of an observed surface its rays, on the front towards the source
    geometry: ProjectionGeometry | None = None  # of an observed surface; None: a whole bone, nothing of it hidden
    dual: bool = True  # both faces were observed
    both_ways: bool = True  # distances from the model's visible vertices to the target count, too
    area_mm2: float = np.nan  # of an observed surface
    gone: Gone | None = None

    @cached_property
    def reach_mm(self) -> float:
        """How far a place on the surface may be from the nearest point."""
        some = self.points[:: max(len(self.points) // REACH_POINTS, 1)]
        tree = cKDTree(self.points, balanced_tree=False, compact_nodes=False)
        return 2 * float(np.median(tree.query(some, k=2)[0][:, 1]))

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

    def visible_vertices(
        self, vertices: np.ndarray, triangles: np.ndarray, normals: np.ndarray | None = None
    ) -> np.ndarray:
        """Which vertices (V,) of a bone this target's X-ray would have seen; `normals` (V, 3) where they are known."""
        if self.geometry is None:
            visible = np.ones(len(vertices), dtype=bool)
        else:
            first, last = entry_and_exit_vertices(vertices, triangles, self.geometry, normals)
            visible = first | last if self.dual else first
        return visible if self.gone is None else visible & ~self.gone.vertices


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
    objective = Objective(model, target, settings, cancelled)
    known = start.coefficients[: objective.count]
    coefficients = np.r_[known, np.zeros(objective.count - len(known))]
    placed = objective.placed(replace(start, coefficients=coefficients, objective=np.inf))
    for _ in range(settings.steps):
        state = objective.at(placed)
        step, value = objective.step(state), state.value
        for share in STEP_SHARES:
            tried = objective.placed(placed.fit.moved(step * share, state.fixed.about))
            if (reached := objective.value(tried, state.fixed)) < value:
                placed, value = tried, reached
                break
        placed = replace(placed, fit=replace(placed.fit, objective=value))
        if state.value - value < settings.settled * value:
            break
    return placed.fit


def data_precision(
    fitted: Fit, model: ShapeModel, target: Target, settings: FitSettings
) -> tuple[np.ndarray, np.ndarray]:
    """How firmly the target holds turn, translation and coefficients, and how these move the vertices.

    The first is (6 + K, 6 + K): products of the paired distances' derivatives, averaged over the pairs. The second is
    (V, 6 + K): the derivatives of all vertices along their normals.
    """
    objective = Objective(model, target, replace(settings, regularisation=0.0))
    state = objective.at(objective.placed(fitted))
    rows = objective.rows(state, slice(None))
    return objective.hessian(state, rows, slice(None)) / (4 if target.both_ways else 2), rows


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A fit's vertices, and which of them every target point is paired with."""

    fit: Fit
    vertices: np.ndarray  # (V, 3) RAS mm
    normals: np.ndarray  # (V, 3)
    features: np.ndarray  # (V, 6) in which partners are near
    nearest: np.ndarray  # (N,) int
    away: np.ndarray  # (N, 3) mm, to the vertex from the target


@dataclass(frozen=True, kw_only=True)
class Held:
    """What stays as it is during a step."""

    about: np.ndarray  # (3,) mm, the turn's centre
    seen: np.ndarray  # (V,) bool
    width: float  # mm, where distances begin to lose their influence


@dataclass(frozen=True, kw_only=True)
class Pairs:
    vertex: np.ndarray  # (M,) int
    away: np.ndarray  # (M, 3) mm, to the vertex from the target
    weight: np.ndarray  # (M,) in the mean


@dataclass(frozen=True, kw_only=True)
class State:
    """The objective at a fit, and how it changes."""

    placed: Placed
    fixed: Held
    value: float
    gradient: np.ndarray  # (6 + K,)
    influence: np.ndarray  # (V,) of each vertex' pairs


class Objective:
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
        self.regular = settings.regularisation / max(self.count, 1)
        # in float32, half the memory to read: the search corrects its steps
        self.modes = np.ascontiguousarray(model.scaled_modes[:, : self.count])
        self.reach_mm = 0.6 * model.side_mm * np.sqrt(settings.vertex_stride)
        self.target_tree = cKDTree(pairing_features(target.points, target.outward), balanced_tree=False)
        self.gone_offset = np.zeros(3)  # mm on the mean bone, from the middle of the landmark's vertices to it
        if target.gone is not None:
            landmark = target.gone.landmark
            self.gone_offset = landmark.place(model.mean) - model.mean[landmark.vertices].mean(axis=0)

    def placed(self, fit: Fit) -> Placed:
        """The model where a fit has it; each target point with a vertex."""
        if self.cancelled():
            raise Cancelled
        offsets = mode_offsets(self.modes, fit.coefficients.astype(np.float32))
        vertices = (self.model.mean + offsets.reshape(-1, 3)) @ fit.rotation.T + fit.translation
        normals = unit_normals(vertices, self.model.triangles)
        features = pairing_features(vertices, self.target.outward_of(vertices, normals))
        stride = self.settings.vertex_stride
        nearest = cKDTree(features[::stride], balanced_tree=False).query(self.target_tree.data)[1] * stride
        away = without_sampling_gap(vertices[nearest] - self.target.points, normals[nearest], self.reach_mm)
        return Placed(fit=fit, vertices=vertices, normals=normals, features=features, nearest=nearest, away=away)

    def paired(self, placed: Placed, seen: np.ndarray) -> Pairs:
        """Each target point with a vertex; both ways, each visible vertex with a target point, too."""
        count = len(placed.nearest)
        weight = np.full(count, 1 / count)
        own = np.flatnonzero(seen)[:: self.settings.vertex_stride] if self.target.both_ways else np.empty(0, np.int64)
        if len(own) == 0:
            return Pairs(vertex=placed.nearest, away=placed.away, weight=weight)
        back = self.target.points[self.target_tree.query(placed.features[own])[1]]
        own_away = without_sampling_gap(placed.vertices[own] - back, placed.normals[own], self.target.reach_mm)
        return Pairs(
            vertex=np.concatenate([placed.nearest, own]),
            away=np.concatenate([placed.away, own_away]),
            weight=np.concatenate([weight, np.full(len(own), 1 / len(own))]),
        )

    def at(self, placed: Placed, fixed: Held | None = None) -> State:
        """The objective and its gradient; None: with what is visible there and the distances that are typical there."""
        if fixed is None:
            seen = self.target.visible_vertices(placed.vertices, self.model.triangles, placed.normals)
            pairs = self.paired(placed, seen)
            fixed = Held(about=placed.vertices.mean(axis=0), seen=seen, width=self._width(pairs))
        else:
            pairs = self.paired(placed, fixed.seen)
        squared, softened = self._distances(pairs, fixed)
        influence = pairs.weight / softened**2
        pull = 2 * influence[:, None] * pairs.away
        force = np.stack([np.bincount(pairs.vertex, part, minlength=len(placed.vertices)) for part in pull.T], axis=1)
        bent = np.einsum("ck,c->k", self.modes, (force @ placed.fit.rotation).ravel().astype(np.float32))
        turned = np.cross(placed.vertices - fixed.about, force).sum(axis=0)
        shaped = bent + 2 * self.regular * placed.fit.coefficients
        gradient = np.concatenate([turned, force.sum(axis=0), shaped])
        if self.target.gone is not None:
            away = self._gone_at(placed) - self.target.gone.place
            gradient += 2 * GONE_WEIGHT * away @ self._gone_rows(placed, fixed)
        return State(
            placed=placed,
            fixed=fixed,
            value=float((pairs.weight * squared / softened).sum()) + self._penalty(placed),
            gradient=gradient,
            influence=np.bincount(pairs.vertex, influence, minlength=len(placed.vertices)),
        )

    def value(self, placed: Placed, fixed: Held) -> float:
        """The objective elsewhere, in mm^2, newly paired but with what is fixed."""
        pairs = self.paired(placed, fixed.seen)
        squared, softened = self._distances(pairs, fixed)
        return float((pairs.weight * squared / softened).sum()) + self._penalty(placed)

    def step(self, state: State) -> np.ndarray:
        """Gauss and Newton's (6 + K,): to the minimum, were pairs and tangent planes to stay as they are."""
        paired = np.flatnonzero(state.influence)
        matrix = self.hessian(state, self.rows(state, paired), paired)
        return -cho_solve(cho_factor(matrix + LEAST_CURVATURE * np.eye(len(matrix))), state.gradient)

    def rows(self, state: State, vertices: slice | np.ndarray) -> np.ndarray:
        """(v, 6 + K) float32: how the parameters move some vertices along their normals."""
        normals = state.placed.normals[vertices]
        rows = np.empty((len(normals), 6 + self.count), dtype=np.float32)
        rows[:, :3] = np.cross(state.placed.vertices[vertices] - state.fixed.about, normals)
        rows[:, 3:6] = normals
        modes = self.modes.reshape(len(state.placed.vertices), 3, self.count)[vertices]
        rows[:, 6:] = np.einsum("vx,vxk->vk", (normals @ state.placed.fit.rotation).astype(np.float32), modes)
        return rows

    def hessian(self, state: State, rows: np.ndarray, vertices: slice | np.ndarray) -> np.ndarray:
        """(6 + K, 6 + K), Gauss and Newton's, of the rows of some vertices that hold all that are paired."""
        heavy = rows * np.sqrt(2 * state.influence[vertices]).astype(np.float32)[:, None]
        hessian = (heavy.T @ heavy).astype(np.float64)
        shapes = np.arange(6, len(hessian))
        hessian[shapes, shapes] += 2 * self.regular
        if self.target.gone is not None:
            moved = self._gone_rows(state.placed, state.fixed)
            hessian += 2 * GONE_WEIGHT * moved.T @ moved
        return hessian

    def _width(self, pairs: Pairs) -> float:
        """mm, as Held has it."""
        if not self.settings.robust:
            return np.inf
        away = np.sqrt(np.einsum("mx,mx->m", pairs.away, pairs.away))
        return ROBUST_WIDTH * max(1.4826 * float(np.median(away)), ROBUST_FLOOR_MM)

    def _distances(self, pairs: Pairs, fixed: Held) -> tuple[np.ndarray, np.ndarray]:
        """(M,) mm^2, and by what each is softened: Geman and McClure's."""
        squared = np.einsum("mx,mx->m", pairs.away, pairs.away)
        return squared, 1 + squared / fixed.width**2

    def _penalty(self, placed: Placed) -> float:
        penalty = self.regular * placed.fit.coefficients @ placed.fit.coefficients
        if self.target.gone is not None:
            away = self._gone_at(placed) - self.target.gone.place
            penalty += GONE_WEIGHT * away @ away
        return float(penalty)

    def _gone_at(self, placed: Placed) -> np.ndarray:
        """(3,) RAS mm, where a fit has the landmark of what is gone: from its vertices' middle as on the mean bone."""
        assert self.target.gone is not None
        middle = placed.vertices[self.target.gone.landmark.vertices].mean(axis=0)
        return middle + placed.fit.rotation @ self.gone_offset

    def _gone_rows(self, placed: Placed, fixed: Held) -> np.ndarray:
        """(3, 6 + K): how the parameters move it."""
        assert self.target.gone is not None
        own = self.target.gone.landmark.vertices
        arm = self._gone_at(placed) - fixed.about
        modes = self.modes.reshape(len(placed.vertices), 3, self.count)[own].mean(axis=0)
        return np.hstack([np.cross(np.eye(3), arm).T, np.eye(3), placed.fit.rotation @ modes])


def pairing_features(points: np.ndarray, outward: np.ndarray) -> np.ndarray:
    """(N, 6) mm: places and directions in one space, in which the nearest is the partner."""
    return np.hstack([points, outward * (RIGHT_ANGLE_MM / np.sqrt(2))])


def without_sampling_gap(away: np.ndarray, normals: np.ndarray, reach_mm: float | np.ndarray) -> np.ndarray:
    """Distance vectors (M, 3) to a surface that is known only at points.

    What they have along the surface is shortened by `reach_mm`, how far the next point may be: such gaps are no error.
    """
    height = np.einsum("mx,mx->m", away, normals)[:, None] * normals
    along = away - height
    length = np.sqrt(np.einsum("mx,mx->m", along, along))[:, None]
    return height + along * np.maximum(1 - reach_mm / np.maximum(length, 1e-12), 0)
