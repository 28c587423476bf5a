"""The ruler: how far reconstructed bones and depths are from the truth. Millimetres throughout.

A mesh is (vertices (V, 3) float mm, triangles (T, 3) int). Both sides of a comparison are sampled uniformly by area,
so that no figure depends on how finely a surface happens to be meshed; distances go from sample to triangle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

Mesh = tuple[np.ndarray, np.ndarray]
Seed = int | np.random.SeedSequence

GROUP = 16  # triangles to a bounding box, and boxes to the next larger one
PAIRS_AT_ONCE = 100_000  # pairs of point and box in work at a time, some 300 bytes each
SURFACE_SAMPLES = 100_000  # the sampling error of a mean distance is below 0.01 mm
EMD_SAMPLES = 2048  # an exact plan needs time with the cube of it and memory with its square


# Surfaces


def sample_surface(vertices: np.ndarray, triangles: np.ndarray, count: int, seed: Seed = 0) -> np.ndarray:
    """`count` points (count, 3) mm, uniform by area over the triangles."""
    corners = _corners(vertices, triangles)
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    if not area.sum() > 0:
        raise ValueError("a surface without area cannot be sampled")
    rng = np.random.default_rng(seed)
    chosen = corners[rng.choice(len(area), size=count, p=area / area.sum())]
    root, along = np.sqrt(rng.random((count, 1))), rng.random((count, 1))
    return chosen[:, 0] * (1 - root) + chosen[:, 1] * (root * (1 - along)) + chosen[:, 2] * (root * along)


def area_mm2(vertices: np.ndarray, triangles: np.ndarray) -> float:
    """Area of a mesh, mm^2; 0 without triangles."""
    first, second, third = (np.asarray(vertices)[np.asarray(triangles)[:, k]] for k in range(3))
    return float(np.linalg.norm(np.cross(second - first, third - first), axis=1).sum() / 2)


def volume_mm3(vertices: np.ndarray, triangles: np.ndarray) -> float:
    """Volume of a closed mesh; negative where its triangles look inwards."""
    first, second, third = ((vertices - vertices.mean(axis=0))[triangles[:, k]] for k in range(3))
    return float((first * np.cross(second, third)).sum() / 6)


def distances_to_surface(points: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Exact distance (N,) mm from points (N, 3) to the nearest point of any triangle; the surface may be open.

    The triangle with the nearest centroid gives a first distance. From then on only triangles are computed whose
    bounding box, and those of the groups that they belong to, come closer than the best distance so far.
    """
    points, corners = _points(points), _corners(vertices, triangles)
    tree = cKDTree(corners.mean(axis=1))
    best = _distances_to_own(points, corners[tree.query(points, workers=-1)[1]])
    corners = corners[tree.indices]  # neighbours in space become neighbours in memory
    levels = _box_levels(corners)
    top = np.arange(len(levels[-1].half))
    tasks = [(len(levels) - 1, np.repeat(np.arange(len(points)), len(top)), np.tile(top, len(points)))]
    while tasks:
        level, point, box = tasks.pop()
        if len(point) > PAIRS_AT_ONCE:
            half = len(point) // 2
            tasks += [(level, point[half:], box[half:]), (level, point[:half], box[:half])]
            continue
        near = np.flatnonzero(levels[level].squared_distances(points[point], box) < best[point] ** 2)
        point, box = point[near], box[near]
        if level == 0:
            np.minimum.at(best, point, _distances_to_own(points[point], corners[box]))
        else:
            members = (box[:, None] * GROUP + np.arange(GROUP)).ravel()
            real = np.flatnonzero(members < len(levels[level - 1].half))
            tasks.append((level - 1, np.repeat(point, GROUP)[real], members[real]))
    return best


def distances_to_points(points: np.ndarray, cloud: np.ndarray) -> np.ndarray:
    """Distance (N,) mm from points (N, 3) to the nearest point of a cloud (M, 3).

    Against a sampled surface it is never below `distances_to_surface`, and above it by up to the samples' gaps.
    """
    return cKDTree(_points(cloud)).query(_points(points), workers=-1)[0]


@dataclass(frozen=True)
class SurfaceDistances:
    """The two directed sets of distances between a predicted and a true surface, mm."""

    predicted_to_truth: np.ndarray  # (N,) from samples of the prediction: what was invented
    truth_to_predicted: np.ndarray  # (M,) from samples of the truth: what was missed

    def __post_init__(self) -> None:
        for name in ("predicted_to_truth", "truth_to_predicted"):
            distances = np.asarray(getattr(self, name), dtype=np.float64)
            if distances.ndim != 1 or distances.size == 0 or not np.isfinite(distances).all():
                raise ValueError(f"{name} must be a non-empty row of finite distances")
            object.__setattr__(self, name, distances)

    @property
    def predicted_to_truth_mm(self) -> float:
        """mean(d(p, T)) over predicted samples p. Alone it rewards reconstructing less; it is no ASSD."""
        return float(self.predicted_to_truth.mean())

    @property
    def truth_to_predicted_mm(self) -> float:
        """mean(d(t, P)) over true samples t. Alone it rewards reconstructing too much; it is no ASSD."""
        return float(self.truth_to_predicted.mean())

    @property
    def assd_mm(self) -> float:
        """ASSD = (mean d(p, T) + mean d(t, P)) / 2, mm.

        Tables also give under this name the two means' sum (twice this; often called L1-Chamfer), the mean over both
        sets pooled (another weight where their sizes differ), and voxels for millimetres.
        """
        return (self.predicted_to_truth_mm + self.truth_to_predicted_mm) / 2

    @property
    def hd95_mm(self) -> float:
        """HD95 = 95th percentile of {d(p, T)} and {d(t, P)} pooled, mm.

        Not the larger of the two percentiles (`hd95_max_mm`), which is at least this for sets of one size, and not
        the Hausdorff distance, the maximum itself.
        """
        return float(np.percentile(np.concatenate([self.predicted_to_truth, self.truth_to_predicted]), 95))

    @property
    def hd95_max_mm(self) -> float:
        """The larger of the 95th percentiles of {d(p, T)} and {d(t, P)}, mm: what MONAI and many tables call HD95."""
        return float(max(np.percentile(self.predicted_to_truth, 95), np.percentile(self.truth_to_predicted, 95)))

    @property
    def cd_l2_mm2(self) -> float:
        """CD_l2 = mean d(p, T)^2 + mean d(t, P)^2, mm^2: a sum of squares.

        Tables also give half of it, its square root, the sum of unsquared means (L1-Chamfer), or all of these in
        a unit cube instead of millimetres.
        """
        return float(np.mean(self.predicted_to_truth**2) + np.mean(self.truth_to_predicted**2))


def compare_surfaces(predicted: Mesh, truth: Mesh, count: int = SURFACE_SAMPLES, seed: int = 0) -> SurfaceDistances:
    """Distances between two meshes, each sampled `count` times uniformly by area, from sample to triangle."""
    for_predicted, for_truth = np.random.SeedSequence(seed).spawn(2)
    return SurfaceDistances(
        predicted_to_truth=distances_to_surface(sample_surface(*predicted, count, for_predicted), *truth),
        truth_to_predicted=distances_to_surface(sample_surface(*truth, count, for_truth), *predicted),
    )


def clip_to_planes(
    vertices: np.ndarray, triangles: np.ndarray, plane_points: np.ndarray, plane_normals: np.ndarray
) -> Mesh:
    """The part of a mesh on the inner side of every plane, left open where it was cut.

    Planes are points (P, 3) mm and inward normals (P, 3). Truth is clipped to the viewing frustum
    (`ProjectionGeometry.frustum_planes`): what the picture cannot show is not an error.
    """
    vertices, triangles = np.asarray(vertices, dtype=np.float64), np.asarray(triangles)
    for point, normal in zip(plane_points, plane_normals, strict=True):
        vertices, triangles = _clip_to_plane(vertices, triangles, (vertices - point) @ np.asarray(normal))
    used, triangles = np.unique(triangles, return_inverse=True)
    return vertices[used], triangles.reshape(-1, 3)


def _clip_to_plane(vertices: np.ndarray, triangles: np.ndarray, height: np.ndarray) -> Mesh:
    """Keep where `height` (V,) above the plane is not negative; cut edges get one shared vertex each."""
    inside = height >= 0
    kept = inside[triangles].sum(axis=1)
    cut = triangles[(kept == 1) | (kept == 2)]
    lone_is_inside = inside[cut].sum(axis=1) == 1
    lone = np.argmax(inside[cut] == lone_is_inside[:, None], axis=1)  # the corner alone on its side comes first
    first, second, third = (cut[np.arange(len(cut)), (lone + k) % 3] for k in range(3))

    edges = np.sort(np.concatenate([np.stack([first, second], 1), np.stack([first, third], 1)]), axis=1)
    edges, which = np.unique(edges, axis=0, return_inverse=True)
    near, far = edges.T
    share = (height[near] / (height[near] - height[far]))[:, None]
    on_second, on_third = (which.reshape(2, -1) + len(vertices)).astype(triangles.dtype)
    one, two = lone_is_inside, ~lone_is_inside
    pieces = [
        triangles[kept == 3],
        np.stack([first, on_second, on_third], axis=1)[one],
        np.stack([on_second, second, third], axis=1)[two],
        np.stack([on_second, third, on_third], axis=1)[two],
    ]
    return np.concatenate([vertices, vertices[near] * (1 - share) + vertices[far] * share]), np.concatenate(pieces)


# Clouds


@dataclass(frozen=True)
class EarthMovers:
    """An EMD and what it is worth: drawn samples alone already cost `floor_mm`."""

    emd_mm: float
    samples: int  # N a side
    floor_mm: float  # EMD of the truth to a second sample of the truth

    @property
    def comparable(self) -> bool:
        """Whether it may be set beside published values: the floor is under a third of it."""
        return self.floor_mm < self.emd_mm / 3


def emd(first: np.ndarray, second: np.ndarray) -> float:
    """EMD = min over transport plans of sum(plan_ij |a_i - b_j|), mm, exact, for clouds (N, 3) and (M, 3).

    Every cloud weighs 1 in all, so this is a mean distance. Tables also give the sum over N points, squared
    distances (Wasserstein-2), or an approximation (Sinkhorn, auction). Its value depends on N: name it.
    """
    import ot  # of the training extra

    first, second = _points(first), _points(second)
    costs = np.linalg.norm(first[:, None] - second[None], axis=2)
    weights = [np.full(len(cloud), 1 / len(cloud)) for cloud in (first, second)]
    return float(ot.emd2(*weights, costs, numItermax=10_000_000))


def emd_with_floor(predicted: Mesh, truth: Mesh, count: int = EMD_SAMPLES, seed: int = 0) -> EarthMovers:
    """EMD between `count` area-uniform samples of two meshes, beside that between two samples of the truth."""
    return EarthMovers(emd_of_surfaces(predicted, truth, count, seed), count, emd_floor(truth, count, seed))


def emd_of_surfaces(predicted: Mesh, truth: Mesh, count: int = EMD_SAMPLES, seed: int = 0) -> float:
    """EMD between `count` area-uniform samples of each of two meshes, mm."""
    of_predicted, of_truth, _ = np.random.SeedSequence(seed).spawn(3)
    return emd(sample_surface(*predicted, count, of_predicted), sample_surface(*truth, count, of_truth))


def emd_floor(truth: Mesh, count: int = EMD_SAMPLES, seed: int = 0) -> float:
    """EMD between two samples of the same mesh, mm: the same for whatever is compared with it."""
    _, first, second = np.random.SeedSequence(seed).spawn(3)
    return emd(sample_surface(*truth, count, second), sample_surface(*truth, count, first))


# Pictures


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Dice = 2 |A and B| / (|A| + |B|), 0 to 1, of two masks; not intersection over union, which is lower."""
    first, second = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if first.shape != second.shape:
        raise ValueError(f"the masks differ in shape: {first.shape} and {second.shape}")
    total = np.count_nonzero(first) + np.count_nonzero(second)
    if total == 0:
        raise ValueError("Dice of two empty masks is not defined")
    return 2 * np.count_nonzero(first & second) / total


def depth_mae(predicted: np.ndarray, true: np.ndarray, valid: np.ndarray) -> float:
    """MAE = mean |predicted - true| over the pixels valid in both, mm.

    `valid` broadcasts to the depths. One mean over all pixels, not a mean over bones or pictures of their means.
    """
    return float(np.abs(_depth_errors(predicted, true, valid)).mean())


def depth_rmse(predicted: np.ndarray, true: np.ndarray, valid: np.ndarray) -> float:
    """RMSE = sqrt(mean (predicted - true)^2) over the pixels valid in both, mm; never below the MAE.

    `valid` broadcasts to the depths. The root is taken once over all pixels; the mean of roots by picture is lower.
    """
    return float(np.sqrt(np.mean(_depth_errors(predicted, true, valid) ** 2)))


def pearson(first: np.ndarray, second: np.ndarray) -> float:
    """PCC = cov(a, b) / (std(a) std(b)), -1 to 1, of paired numbers; r, not r^2, and blind to scale and offset."""
    first, second = (np.asarray(values, dtype=np.float64).ravel() for values in (first, second))
    if first.shape != second.shape or first.size < 2:
        raise ValueError(f"a correlation needs two or more pairs, not {first.size} and {second.size} values")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("a correlation needs finite numbers")
    first, second = first - first.mean(), second - second.mean()
    scale = np.linalg.norm(first) * np.linalg.norm(second)
    if scale == 0:
        raise ValueError("a correlation with a constant is not defined")
    return float(first @ second / scale)


# Alignment


def picture_shift_mm(predicted: np.ndarray, true: np.ndarray, valid: np.ndarray) -> float:
    """mean(true - predicted) over the pixels valid in both, all bones and faces: the `aligned` headline's one shift.

    Added to the predicted depth maps before back-projection, so that what moves away also grows. `valid`
    (bones, rows, cols) broadcasts to depths (faces, bones, rows, cols), mm.
    """
    return float(-_depth_errors(predicted, true, valid).mean())


def bone_shifts_mm(predicted: np.ndarray, true: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """mean(true - predicted) of every bone, (bones,) mm; NaN for a bone without a pixel that is valid in both.

    The paper's wording: each bone is moved after back-projection, along the detector's normal away from the source,
    which leaves its size. Arguments as for `picture_shift_mm`.
    """
    predicted, true = np.asarray(predicted), np.asarray(true)
    valid = np.broadcast_to(valid, predicted.shape)
    return np.array(
        [
            picture_shift_mm(predicted[:, bone], true[:, bone], valid[:, bone]) if valid[:, bone].any() else np.nan
            for bone in range(predicted.shape[1])
        ]
    )


# Points and triangles


@dataclass(frozen=True)
class _Boxes:
    """Oriented boxes that enclose groups of triangles; a surface is flat from near, and so are they."""

    axes: np.ndarray  # (B, 3, 3), unit rows: along the surface's normal, along the group's length, across both
    centre: np.ndarray  # (B, 3) mm along these axes
    half: np.ndarray  # (B, 3) mm, half the extents

    def squared_distances(self, points: np.ndarray, box: np.ndarray) -> np.ndarray:
        """Squared distance (N,) from each point (N, 3) to its own box, 0 inside."""
        outside = np.matmul(self.axes[box], points[:, :, None])[:, :, 0]
        outside -= self.centre[box]
        np.abs(outside, out=outside)
        outside -= self.half[box]
        np.maximum(outside, 0, out=outside)
        return _dot(outside, outside)


def _box_levels(corners: np.ndarray) -> list[_Boxes]:
    """Boxes of single triangles, then of groups of GROUP, GROUP^2, ... until few are left; corners are (T, 3, 3)."""
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    levels, size = [], 1
    while not levels or len(levels[-1].half) > GROUP:
        member = np.minimum(np.arange(-(-len(corners) // size) * size), len(corners) - 1).reshape(-1, size)
        enclosed = corners[member].reshape(len(member), -1, 3)
        normal = _unit(area[member].sum(axis=1), np.array([0.0, 0.0, 1.0]))
        to = enclosed - enclosed.mean(axis=1, keepdims=True)
        to -= np.einsum("bck,bk->bc", to, normal)[..., None] * normal[:, None]
        farthest = to[np.arange(len(to)), np.einsum("bck,bck->bc", to, to).argmax(axis=1)]
        across = _unit(np.cross(normal, farthest), np.cross(normal, np.eye(3)[np.abs(normal).argmin(axis=1)]))
        axes = np.stack([normal, np.cross(across, normal), across], axis=1)
        local = np.matmul(enclosed, axes.transpose(0, 2, 1))
        low, high = local.min(axis=1), local.max(axis=1)
        levels.append(_Boxes(axes, (low + high) / 2, (high - low) / 2))
        size *= GROUP
    return levels


def _unit(vectors: np.ndarray, fallback: np.ndarray) -> np.ndarray:
    """Vectors (N, 3) at length 1; those too short to have a direction beyond rounding are replaced first."""
    vectors = np.where(_dot(vectors, vectors)[:, None] > 1e-16, vectors, fallback)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _distances_to_own(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Distance (N,) mm from each point (N, 3) to its own triangle (N, 3, 3).

    Every candidate is the distance to a point on the triangle: slivers and rounding can only lengthen the result,
    by no more than the sliver's width.
    """
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    ab, ac, to = b - a, c - a, points - a
    ab_ab, ab_ac, ac_ac, to_ab, to_ac = _dot(ab, ab), _dot(ab, ac), _dot(ac, ac), _dot(to, ab), _dot(to, ac)
    squared = np.minimum.reduce(
        [_squared_to_segment(to, ab), _squared_to_segment(to, ac), _squared_to_segment(points - b, c - b)]
    )
    determinant = ab_ab * ac_ac - ab_ac**2
    v, w = ac_ac * to_ab - ab_ac * to_ac, ab_ab * to_ac - ab_ac * to_ab
    above = np.flatnonzero((determinant > 0) & (v > 0) & (w > 0) & (v + w < determinant))
    v, w = ((part[above] / determinant[above])[:, None] for part in (v, w))
    off = to[above] - v * ab[above] - w * ac[above]
    squared[above] = np.minimum(squared[above], _dot(off, off))
    return np.sqrt(squared)


def _squared_to_segment(to: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Squared distance (N,) from points, given from a segment's start, to the segment `along` (N, 3)."""
    length = _dot(along, along)
    share = np.clip(_dot(to, along) / np.where(length > 0, length, 1), 0, 1)
    off = to - share[:, None] * along
    return _dot(off, off)


def _dot(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", first, second)


# Checks


def _points(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) == 0:
        raise ValueError(f"points must be (N, 3) with N > 0, not {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("points must be finite, but some are NaN or infinite")
    return points


def _corners(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The triangles' corners (T, 3, 3)."""
    triangles = np.asarray(triangles)
    if triangles.ndim != 2 or triangles.shape[1] != 3 or len(triangles) == 0:
        raise ValueError(f"triangles must be (T, 3) with T > 0, not {triangles.shape}")
    return _points(np.asarray(vertices)[triangles].reshape(-1, 3)).reshape(-1, 3, 3)


def _depth_errors(predicted: np.ndarray, true: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """predicted - true (pixels,) in float64 where `valid`."""
    predicted, true = np.asarray(predicted), np.asarray(true)
    if predicted.shape != true.shape:
        raise ValueError(f"the depths differ in shape: {predicted.shape} and {true.shape}")
    valid = np.broadcast_to(np.asarray(valid, dtype=bool), predicted.shape)
    errors = predicted[valid].astype(np.float64) - true[valid]
    if errors.size == 0:
        raise ValueError("no pixel is valid in both")
    if not np.isfinite(errors).all():
        raise ValueError("some depths at valid pixels are NaN or infinite")
    return errors
