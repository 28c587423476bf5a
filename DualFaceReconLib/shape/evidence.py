"""What a film says of its bones, as residuals of their poses, shapes and the errors of their depth maps.

Pairs of the model with what was seen are looked up anew for every step; a step sees them as they are, and many points
share a vertex and its derivatives. A pair's residual is along the model's normal, so that depths count where a surface
faces the source, and outlines across the ray. What is measured in pixels is as much surer, in mm, as it is nearer to
the source: else bones would shrink towards it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from DualFaceReconLib.bonemaps import kind_and_side
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import sphere_through, unit_normals, unit_rows
from DualFaceReconLib.shape.body_prior import ERRORS, TILT_OVER_MM, MapErrors
from DualFaceReconLib.shape.equations import Block, SharedBlock
from DualFaceReconLib.shape.fitting import Fit, Target, pairing_features, without_sampling_gap
from DualFaceReconLib.shape.outlines import Outline
from DualFaceReconLib.shape.shapemodel import ShapeModel
from DualFaceReconLib.shape.visibility import rays_to

VERTEX_STRIDE = 3  # every third of all vertices is paired where it is visible
VISIBLE_WITHIN_MM = 2.0  # less far moved, the same vertices are visible
ROBUST_WIDTH = 3.0  # standard deviations beyond which a residual loses its influence
RIGHT_ANGLE_MM = 15.0  # as `fitting.py` has it, of outlines
POSE = 6  # turn (3) and move (3) come before a bone's coefficients


def error_patterns(target: Target, left_form: float) -> tuple[np.ndarray, np.ndarray]:
    """How points (N, 3) move along their rays for a mm of depth, and by how many (N, 5) for one of each of ERRORS.

    `left_form` is -1 for a right bone.
    """
    assert target.geometry is not None
    depth = target.geometry.depth(target.points)
    along_ray = (target.points - target.geometry.source) / depth[:, None]
    middle = target.points.mean(axis=0)
    side, up = (target.points - middle)[:, [0, 2]].T / TILT_OVER_MM
    face = np.sign(np.einsum("nx,nx->n", target.outward, along_ray))  # the back's is 1
    relief = (depth - depth.mean()) / TILT_OVER_MM
    return along_ray, np.stack([np.ones(len(depth)), side * left_form, up, face, relief], axis=1)


class SeenBone:
    """A bone of a film: its model, what was seen of it, and how it stands now.

    What was seen is compared with `mesh`: the model on a few of its vertices, and after `refine` on all.
    """

    def __init__(
        self,
        bone: str,
        model: ShapeModel,
        coarse: ShapeModel,
        target: Target,
        area_mm2: float,
        outline: Outline | None,
        columns: np.ndarray,
    ) -> None:
        """`area_mm2` is of the observed surface; `columns` (6 + K,) are the numbers of the bone's parameters."""
        assert target.geometry is not None
        self.bone, self.model, self.target, self.area_mm2, self.outline = bone, model, target, area_mm2, outline
        self.mesh, self.vertex_stride = coarse, 1
        self.kind, self.side = kind_and_side(bone)
        self.left_form = 1.0 if self.side == "left" else -1.0
        self.geometry: ProjectionGeometry = target.geometry
        self.count = len(model.variances)
        self.columns = columns
        self.along_ray, self.patterns = error_patterns(target, self.left_form)
        self.rays = unit_rows(self.along_ray)
        self.depth_mm = float(self.geometry.depth(target.points).mean())
        self._visible: tuple[np.ndarray, np.ndarray] | None = None  # where vertices stood, and which were visible there

    @property
    def reach_mm(self) -> float:
        """How far a place on the mesh may be from its nearest vertex."""
        return 0.6 * self.mesh.side_mm

    def refine(self) -> None:
        """Goes on with all vertices of the model."""
        self.mesh, self.vertex_stride, self._visible = self.model, VERTEX_STRIDE, None
        self.place(self.fit)

    def place(self, fit: Fit) -> None:
        """Puts the mesh where a fit has it."""
        self.fit = fit
        offsets = self.mesh.scaled_modes @ fit.coefficients.astype(np.float32)
        self.vertices = (self.mesh.mean + offsets.reshape(-1, 3)) @ fit.rotation.T + fit.translation
        self.normals = unit_normals(self.vertices, self.mesh.triangles)
        self.about = fit.translation  # the middle of its mean shape: what turns is counted from

    def visible(self) -> np.ndarray:
        """(V,) bool, which vertices the film sees."""
        if self._visible is None or np.abs(self.vertices - self._visible[0]).max() > VISIBLE_WITHIN_MM:
            seen = self.target.visible_vertices(self.vertices, self.mesh.triangles, self.normals)
            self._visible = self.vertices, seen
        return self._visible[1]

    def derivatives(self, vertices: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """(m, 6 + K) float32 of some vertices (m,) along directions (m, 3)."""
        rows = np.empty((len(vertices), POSE + self.count), dtype=np.float32)
        rows[:, :3] = np.cross(self.vertices[vertices] - self.about, directions)
        rows[:, 3:POSE] = directions
        turned = (directions @ self.fit.rotation).astype(np.float32)
        rows[:, POSE:] = np.einsum("mx,mxk->mk", turned, self.mesh.modes_by_vertex[vertices])
        return rows

    def corrected_points(self, errors: np.ndarray) -> np.ndarray:
        """The target's points (N, 3) without errors (5,) of the depth maps."""
        return self.target.points - self.along_ray * (self.patterns @ errors)[:, None]

    def sphere(self, landmark: str) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
        """Centre (3,), its derivatives (3, 6 + K), radius and its derivatives (6 + K,) of a landmark's sphere."""
        numbers = self.model.landmarks[landmark].vertices
        modes = self.model.modes_by_vertex[numbers]
        offsets = modes @ self.fit.coefficients.astype(np.float32)
        points = (self.model.mean[numbers] + offsets) @ self.fit.rotation.T + self.fit.translation
        centre, radius = sphere_through(points)
        # of the least squares 2 c p + k = p^2, by every coordinate of the points
        system = np.hstack([2 * points, np.ones((len(points), 1))])
        left = (points**2).sum(axis=1) - system @ np.r_[centre, radius**2 - centre @ centre]
        pulls = system.T[:, :, None] * (points - centre)
        pulls[:3] += left[:, None] * np.eye(3)[:, None]
        change = np.linalg.solve(system.T @ system, 2 * pulls.reshape(4, -1)).reshape(pulls.shape) @ self.fit.rotation
        shaped = change.reshape(4, -1).astype(np.float32) @ modes.reshape(-1, self.count)
        turned = np.cross(np.eye(3), centre - self.about).T
        grows = (shaped[3] + 2 * centre @ shaped[:3]) / (2 * radius)
        return centre, np.hstack([turned, np.eye(3), shaped[:3]]), radius, np.concatenate([np.zeros(POSE), grows])


@dataclass(frozen=True, kw_only=True)
class PointPairs:
    """Vertices, target points and the normals between which distances are measured."""

    vertex: np.ndarray  # (M,)
    point: np.ndarray  # (M,)
    normal: np.ndarray  # (M, 3), of the vertices
    spread_mm: np.ndarray  # (M,)
    depth_mm: np.ndarray  # (M,) of the points, where the spread is that
    wider: np.ndarray  # (M,) share by which it grows for a mm of depth, as far as it is of pixels
    weight: np.ndarray  # (M,)


def point_pairs(bone: SeenBone, errors: np.ndarray, maps: MapErrors, every: int = 1) -> PointPairs:
    """Each target point, or `every` so many of them, with a vertex, and visible vertices with one of these points."""
    target, vertices, normals = bone.target, bone.vertices, bone.normals
    points = bone.corrected_points(errors)
    own = pairing_features(vertices, target.outward_of(vertices, normals))
    seen = pairing_features(points[::every], target.outward[::every])
    visible = np.flatnonzero(bone.visible()[:: bone.vertex_stride]) * bone.vertex_stride
    nearest = cKDTree(own, balanced_tree=False).query(seen)[1]
    back = cKDTree(seen, balanced_tree=False).query(own[visible])[1]
    count = len(seen)
    vertex, point = np.concatenate([nearest, visible]), every * np.concatenate([np.arange(count), back])
    reach_mm = np.repeat([bone.reach_mm, target.reach_mm], [count, len(back)])
    share = np.repeat([0.5 / count, 0.5 / max(len(back), 1)], [count, len(back)])
    normal = normals[vertex]
    away = without_sampling_gap(vertices[vertex] - points[point], normal, reach_mm[:, None])
    facing = np.einsum("mx,mx->m", normal, bone.rays[point]) ** 2
    variance = facing * maps.residual_mm[bone.kind] ** 2 + (1 - facing) * maps.across_mm**2
    spread = np.sqrt(variance)
    apart, height = np.sqrt(np.einsum("mx,mx->m", away, away)) / spread, np.einsum("mx,mx->m", away, normal) / spread
    weight = share * bone.area_mm2 / maps.independent_mm2 * _influence(apart, height)
    depth = bone.geometry.depth(points)[point]
    wider = (1 - facing) * maps.across_mm**2 / variance / depth
    of_spread = {"spread_mm": spread, "depth_mm": depth, "wider": wider}
    return PointPairs(vertex=vertex, point=point, normal=normal, weight=weight, **of_spread)


def points_block(bone: SeenBone, errors: np.ndarray, pairs: PointPairs, first_error: int) -> SharedBlock:
    """Distances along normals; `first_error` is the number of the first of the bone's ERRORS among the parameters."""
    points = bone.corrected_points(errors)[pairs.point]
    height = np.einsum("mx,mx->m", bone.vertices[pairs.vertex] - points, pairs.normal)
    steps = np.einsum("mx,mx->m", bone.along_ray[pairs.point], pairs.normal)
    wider = 1 + pairs.wider * (bone.geometry.depth(points) - pairs.depth_mm)
    of_errors = (steps + height * pairs.wider / wider)[:, None] * bone.patterns[pairs.point]
    spread = pairs.spread_mm * wider
    vertices = np.flatnonzero(np.bincount(pairs.vertex))
    group = np.searchsorted(vertices, pairs.vertex)
    normals = np.empty((len(vertices), 3))
    normals[group] = pairs.normal
    return SharedBlock(
        name="points",
        columns=np.concatenate([bone.columns, first_error + np.arange(len(ERRORS))]),
        shared=bone.derivatives(vertices, normals),
        group=group,
        own=of_errors,
        spread=spread,
        residuals=height / spread,
        weights=pairs.weight,
    )


@dataclass(frozen=True, kw_only=True)
class OutlinePairs:
    """Points between two vertices each, where the model's surface turns away from the source, and rays beside them."""

    edge: np.ndarray  # (M, 2) vertices
    share: np.ndarray  # (M,) of the second
    normal: np.ndarray  # (M, 3), square to the ray
    ray: np.ndarray  # (M, 3) for a mm of depth
    depth_mm: np.ndarray  # (M,) of the contour, where the spread is that of the maps; farther away it is wider
    weight: np.ndarray  # (M,)


def outline_pairs(bone: SeenBone, maps: MapErrors) -> OutlinePairs | None:
    """Each point of the outline with the model's contour; None where either has none."""
    outline, vertices, normals = bone.outline, bone.vertices, bone.normals
    if outline is None or len(outline) == 0:
        return None
    facing = np.einsum("vx,vx->v", normals, rays_to(vertices, bone.geometry))
    edges = bone.mesh.edges
    turning = facing[edges[:, 0]] * facing[edges[:, 1]] < 0
    if not turning.any():
        return None
    edge = edges[turning]
    at = facing[edge]
    share = at[:, 0] / (at[:, 0] - at[:, 1])
    contour, normal = (
        (1 - share)[:, None] * values[edge[:, 0]] + share[:, None] * values[edge[:, 1]]
        for values in (vertices, normals)
    )
    normal /= np.linalg.norm(normal, axis=1)[:, None]
    depth = bone.geometry.depth(contour)
    middle = float(np.median(depth))  # distances are compared as if all were there
    across = normal[:, [0, 2]] / np.linalg.norm(normal[:, [0, 2]], axis=1)[:, None]
    places = (contour - bone.geometry.source)[:, [0, 2]] * (middle / depth)[:, None]
    apart, nearest = cKDTree(pairing_features(places, across)).query(
        pairing_features(outline.rays[:, [0, 2]] * middle, outline.normals[:, [0, 2]])
    )
    ray = outline.rays / np.linalg.norm(outline.rays, axis=1)[:, None]
    beside = contour[nearest] - bone.geometry.source - outline.rays * depth[nearest, None]
    height = np.einsum("mx,mx->m", beside, normal[nearest]) / maps.outline_mm
    square = normal[nearest] - np.einsum("mx,mx->m", normal[nearest], ray)[:, None] * ray
    return OutlinePairs(
        edge=edge[nearest],
        share=share[nearest],
        normal=square / np.linalg.norm(square, axis=1)[:, None],
        ray=outline.rays,
        depth_mm=depth[nearest],
        weight=_influence(apart / maps.outline_mm, height) * outline.spacing_mm / maps.independent_mm[bone.kind],
    )


def outline_block(bone: SeenBone, pairs: OutlinePairs, maps: MapErrors) -> Block:
    """Distances of the contour to the outline's rays."""
    first, second = pairs.edge.T
    rest = 1 - pairs.share
    contour = rest[:, None] * bone.vertices[first] + pairs.share[:, None] * bone.vertices[second]
    depth = bone.geometry.depth(contour)
    beside = contour - bone.geometry.source - pairs.ray * depth[:, None]
    height = np.einsum("mx,mx->m", beside, pairs.normal)
    deeper = -bone.geometry.source / bone.geometry.sdd_mm
    moves = pairs.normal - (height / depth)[:, None] * deeper
    rows = rest[:, None] * bone.derivatives(first, moves)
    rows += pairs.share[:, None] * bone.derivatives(second, moves)
    spread = maps.outline_mm * depth / pairs.depth_mm
    return Block(
        name="outlines",
        columns=bone.columns,
        rows=rows / spread[:, None],
        residuals=height / spread,
        weights=pairs.weight,
    )


def _influence(apart: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Of pairs so far apart, and so far along the normal, in standard deviations: Geman and McClure's, re-weighted."""
    typical = max(1.0, 1.4826 * float(np.median(np.abs(height))))  # where no shape of the model fits, all count less
    return (1 + (apart / (ROBUST_WIDTH * typical)) ** 2) ** -2 / typical**2
