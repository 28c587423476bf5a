"""The ruler: how far reconstructed bones and depths are from the truth. Millimetres throughout.

Both sides of a comparison are sampled uniformly by area, so that no figure depends on how finely a surface is meshed;
distances go from sample to triangle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from DualFaceReconLib.meshes import Mesh, checked_points, sample_surface
from DualFaceReconLib.proximity import distances_to_surface

SURFACE_SAMPLES = 100_000  # the sampling error of a mean distance is below 0.01 mm


# Surfaces


@dataclass(frozen=True, kw_only=True)
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


def compare_surfaces(
    predicted: Mesh,
    truth: Mesh,
    count: int = SURFACE_SAMPLES,
    seed: int = 0,
    distances: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] = distances_to_surface,
) -> SurfaceDistances:
    """Distances between two meshes, each sampled `count` times uniformly by area, from sample to triangle.

    `distances`: of points (N, 3) to vertices and triangles, where a faster machine is at hand.
    """
    for_predicted, for_truth = np.random.SeedSequence(seed).spawn(2)
    return SurfaceDistances(
        predicted_to_truth=distances(sample_surface(*predicted, count, for_predicted), *truth),
        truth_to_predicted=distances(sample_surface(*truth, count, for_truth), *predicted),
    )


# Clouds


@dataclass(frozen=True, kw_only=True)
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

    first, second = checked_points(first), checked_points(second)
    costs = np.linalg.norm(first[:, None] - second[None], axis=2)
    weights = [np.full(len(cloud), 1 / len(cloud)) for cloud in (first, second)]
    return float(ot.emd2(*weights, costs, numItermax=10_000_000))


def emd_of_surfaces(predicted: Mesh, truth: Mesh, count: int, seed: int = 0) -> float:
    """EMD between `count` area-uniform samples of each of two meshes, mm.

    An exact plan needs time with the cube of `count` and memory with its square.
    """
    of_predicted, of_truth, _ = np.random.SeedSequence(seed).spawn(3)
    return emd(sample_surface(*predicted, count, of_predicted), sample_surface(*truth, count, of_truth))


def emd_floor(truth: Mesh, count: int, seed: int = 0) -> float:
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
    """PCC = cov(a, b) / (std(a) std(b)), -1 to 1, of paired numbers; r, not r^2, and blind to scale and offset.

    For the flexion of femora: degrees estimated, film by film, beside the true ones.
    """
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


# Checks


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
