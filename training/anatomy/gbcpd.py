"""Geodesic-based Bayesian coherent point drift (Hirose, IEEE TPAMI 45:5816, 2023): a bone's mesh drawn onto another's.

    result = register(source, target, triangles)
    result.points        # the source's vertices, moved onto the target

The source's vertices y_m move to s R (y_m + v_m) + t, a similarity and a smooth displacement v; the target's points are
drawn from Gaussians around them or from a uniform outlier density. Variational Bayes alternates between which points
belong together and where everything lies. A kernel over the source mesh keeps the displacement smooth; it blends
distances through space with distances along the surface, so that the two sides of a thin wing need not move together.
With `tau` 0 it is plain BCPD (Hirose, IEEE TPAMI 43:2269, 2021).

The accelerated mode ("++", Hirose, IEEE TPAMI 43:2858, 2021) registers thinned points and lets the kernel carry the
displacement to all vertices, which are then refined against the target's near neighbours alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

Progress = Callable[[int, float], None]  # step, sigma in the target's unit


@dataclass(frozen=True)
class RegistrationSettings:
    """The method's knobs; distances in the kernel are in units of the target's spread."""

    outliers: float = 0.05  # omega: the share of target points that belong to no vertex
    stiffness: float = 20.0  # lambda: how reluctantly the source deforms
    reach: float = 1.2  # beta: how far the kernel ties neighbours together
    tau: float = 0.5  # share of geodesic distance in the kernel; 0 is BCPD
    first_sigma: float = 10.0  # gamma: the first sigma, in units of the mean distance between the clouds
    rank: int = 200  # of the kernel (Nystroem)
    steps: int = 300  # at most
    tolerance: float = 1e-6  # of sigma's relative change, where it stops
    pose_first: bool = True  # similarity alone until it stands still, and only then the displacement
    accelerated: bool = False
    thinned_source: int = 500  # points in the accelerated mode's first part
    thinned_target: int = 1000
    neighbours: int = 12  # a target point's, in its second part
    refining_steps: int = 40


@dataclass(frozen=True, kw_only=True)
class Registration:
    """A source brought onto a target, in the target's unit and frame."""

    points: np.ndarray  # (M, 3) the source's vertices, moved
    scale: float
    rotation: np.ndarray  # (3, 3)
    translation: np.ndarray  # (3,)
    displacement: np.ndarray  # (M, 3) v, in the source's frame: points = scale * rotation @ (source + v) + translation
    sigma: float  # what is left between the two
    steps: int
    converged: bool  # sigma stood still before the steps ran out
    matched: np.ndarray  # (M,) how many target points belong to each vertex


def register(
    source: np.ndarray,
    target: np.ndarray,
    triangles: np.ndarray | None = None,
    settings: RegistrationSettings | None = None,
    *,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Registration:
    """Draws `source` (M, 3) onto `target` (N, 3); `triangles` (T, 3) of the source are needed where tau > 0.

    Deterministic for a seed. float64 on every device.
    """
    settings = settings or RegistrationSettings()
    source, target = _cloud(source, "source"), _cloud(target, "target")
    if settings.tau > 0 and triangles is None:
        raise ValueError("a geodesic kernel needs the source's triangles; without them set tau to 0")
    middle = target.mean(axis=0)
    spread = float(np.sqrt(((target - middle) ** 2).mean()))
    y, x = (source - middle) / spread, (target - middle) / spread
    basis = kernel_basis(y, triangles, settings, np.random.default_rng(seed))

    def report(step: int, sigma: float) -> None:
        if progress is not None:
            progress(step, sigma * spread)

    state = _first_state(x, y, basis.shape[1], settings)
    few_y, few_x = _thinned(y, settings.thinned_source, seed), _thinned(x, settings.thinned_target, seed)
    if settings.pose_first:
        still = np.zeros((len(few_y), basis.shape[1]))
        pose = _drift(x[few_x], y[few_y], still, state, replace(settings, tolerance=1e-4), device, report)
        state = replace(pose, spreads=None, converged=False)
    if settings.accelerated:
        # a thinned target point stands for several, so the source has to be as much softer
        thinned = replace(settings, stiffness=settings.stiffness * len(few_x) / len(x))
        state = _drift(x[few_x], y[few_y], basis[few_y], state, thinned, device, report)
        refining = replace(settings, steps=state.step + settings.refining_steps)
        state = _drift(x, y, basis, replace(state, spreads=None), refining, device, report, settings.neighbours)
    else:
        state = _drift(x, y, basis, state, settings, device, report)

    moved = (y + basis @ state.weights) * state.scale @ state.rotation.T + state.translation
    # from the target's normalised frame back to its own, for all parts of the map
    translation = middle + spread * state.translation - state.scale * state.rotation @ middle
    return Registration(
        points=middle + spread * moved,
        scale=state.scale,
        rotation=state.rotation,
        translation=translation,
        displacement=spread * (basis @ state.weights),
        sigma=spread * state.sigma,
        steps=state.step,
        converged=state.converged,
        matched=state.matched,
    )


def kernel_basis(
    points: np.ndarray, triangles: np.ndarray | None, settings: RegistrationSettings, rng: np.random.Generator
) -> np.ndarray:
    """B (M, rank) with B B^T close to the kernel of (M, 3) points: Nystroem's over points spread far apart.

    The geodesic part is not a positive kernel by itself; directions of negative weight are left out.
    """
    rank = min(settings.rank, len(points))
    landmarks = _far_apart(points, rank, int(rng.integers(len(points))))
    width = -1 / (2 * settings.reach**2)
    kernel = (1 - settings.tau) * np.exp(width * _squared(points, points[landmarks]))
    if settings.tau > 0:
        kernel += settings.tau * np.exp(width * geodesic_distances(points, triangles, landmarks).T ** 2)
    values, vectors = np.linalg.eigh((kernel[landmarks] + kernel[landmarks].T) / 2)
    kept = values > 1e-6 * values[-1]
    return kernel @ (vectors[:, kept] / np.sqrt(values[kept]))


def geodesic_distances(points: np.ndarray, triangles: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(starts, M): lengths of the shortest ways along mesh edges; where there is none, distances through space."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    lengths = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    graph = csr_array(coo_array((np.maximum(lengths, 1e-12), tuple(edges.T)), shape=(len(points),) * 2))
    ways = dijkstra(graph, directed=False, indices=starts)
    through_space = np.sqrt(_squared(points[starts], points))
    return np.where(np.isfinite(ways), ways, through_space)


# The drift


@dataclass(frozen=True, kw_only=True)
class _State:
    """Where the source stands, in the target's normalised frame."""

    weights: np.ndarray  # (rank, 3): displacement = basis @ weights
    scale: float
    rotation: np.ndarray
    translation: np.ndarray
    sigma: float
    spreads: np.ndarray | None = None  # (M,) variance of each vertex's displacement; None: not known yet
    matched: np.ndarray | None = None  # (M,)
    step: int = 0
    converged: bool = False


def _first_state(x: np.ndarray, y: np.ndarray, rank: int, settings: RegistrationSettings) -> _State:
    """The source where it is, and a sigma so wide that everything belongs to everything."""
    mean_squared = (x**2).sum(axis=1).mean() + (y**2).sum(axis=1).mean() - 2 * x.mean(axis=0) @ y.mean(axis=0)
    return _State(
        weights=np.zeros((rank, 3)),
        scale=1.0,
        rotation=np.eye(3),
        translation=np.zeros(3),
        sigma=settings.first_sigma * np.sqrt(mean_squared / 3),
    )


def _drift(
    x: np.ndarray,
    y: np.ndarray,
    basis: np.ndarray,
    state: _State,
    settings: RegistrationSettings,
    device: str,
    report: Progress,
    neighbours: int | None = None,
) -> _State:
    """Expectation and maximisation until sigma stands still; against `neighbours` alone where a number is given."""
    x, y, basis = (torch.as_tensor(part, dtype=torch.float64, device=device) for part in (x, y, basis))
    weights, rotation, translation = (
        torch.as_tensor(part, device=device) for part in (state.weights, state.rotation, state.translation)
    )
    scale, sigma2, step = state.scale, state.sigma**2, state.step
    spreads = torch.zeros(len(y), dtype=x.dtype, device=device)
    if state.spreads is not None:
        spreads = torch.as_tensor(state.spreads, device=device)
    box = (x.max(dim=0).values - x.min(dim=0).values).prod().item()
    outlier_density = settings.outliers / max(box, 1e-12)
    identity = torch.eye(basis.shape[1], dtype=x.dtype, device=device)
    displaced = y + basis @ weights
    moved = scale * displaced @ rotation.T + translation
    converged, matched = False, None
    while step < settings.steps and not converged:
        # which target points belong to which vertices
        prior = (1 - settings.outliers) / len(y) * torch.exp(-1.5 * scale**2 / sigma2 * spreads)
        prior = prior / (2 * torch.pi * sigma2) ** 1.5
        if neighbours is None:
            matched, drawn, claimed = _belonging(x, moved, prior, sigma2, outlier_density)
        else:
            matched, drawn, claimed = _belonging_of_neighbours(x, moved, prior, sigma2, outlier_density, neighbours)
        total = matched.sum()

        # how the source deforms: `drawn` are the target points each vertex is drawn to, weighted by `matched`
        ratio = scale**2 / sigma2
        pulled = (drawn - matched[:, None] * translation) @ rotation / scale - matched[:, None] * y
        precision = settings.stiffness * identity + ratio * basis.T @ (matched[:, None] * basis)
        covariance = torch.linalg.inv(precision)
        weights = ratio * covariance @ (basis.T @ pulled)
        spreads = ((basis @ covariance) * basis).sum(dim=1)
        displaced = y + basis @ weights

        # how it turns, grows and moves
        middle_x, middle_u = drawn.sum(dim=0) / total, (matched @ displaced) / total
        mean_spread = (matched @ spreads) / total
        offset = displaced - middle_u
        cross = (drawn - matched[:, None] * middle_x).T @ offset / total
        left, _, right = torch.linalg.svd(cross)
        signs = torch.ones(3, dtype=x.dtype, device=device)
        signs[2] = torch.sign(torch.linalg.det(left) * torch.linalg.det(right))
        rotation = left @ (signs[:, None] * right)
        size = (matched @ (offset**2).sum(dim=1)) / total + 3 * mean_spread
        scale = ((rotation * cross).sum() / size).item()
        translation = middle_x - scale * rotation @ middle_u
        moved = scale * displaced @ rotation.T + translation

        # what is left between them
        left_over = claimed @ (x**2).sum(dim=1) - 2 * (drawn * moved).sum() + matched @ (moved**2).sum(dim=1)
        new_sigma2 = max((left_over / (3 * total) + scale**2 * mean_spread).item(), 1e-10)
        converged = abs(new_sigma2 - sigma2) < settings.tolerance * sigma2
        sigma2, step = new_sigma2, step + 1
        report(step, sigma2**0.5)
    return _State(
        weights=weights.cpu().numpy(),
        scale=scale,
        rotation=rotation.cpu().numpy(),
        translation=translation.cpu().numpy(),
        sigma=sigma2**0.5,
        spreads=spreads.cpu().numpy(),
        matched=None if matched is None else matched.cpu().numpy(),
        step=step,
        converged=converged,
    )


Belonging = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def _belonging(
    x: torch.Tensor, moved: torch.Tensor, prior: torch.Tensor, sigma2: float, outlier_density: float
) -> Belonging:
    """How many target points belong to each vertex (M,), their weighted sum (M, 3), and how much each belongs (N,)."""
    squared = torch.cdist(moved, x, compute_mode="use_mm_for_euclid_dist").square_()
    density = squared.mul_(-0.5 / sigma2).exp_()
    mixture = prior @ density
    share = 1 / (mixture + outlier_density)
    both = density @ torch.cat([share[:, None], share[:, None] * x], dim=1) * prior[:, None]
    return both[:, 0], both[:, 1:], mixture * share


def _belonging_of_neighbours(
    x: torch.Tensor, moved: torch.Tensor, prior: torch.Tensor, sigma2: float, outlier_density: float, neighbours: int
) -> Belonging:
    """The same with each target point's nearest vertices alone: near convergence the others weigh nothing."""
    distance, vertex = cKDTree(moved.cpu().numpy()).query(x.cpu().numpy(), k=min(neighbours, len(moved)))
    vertex = torch.as_tensor(vertex, device=x.device)
    density = torch.exp(torch.as_tensor(distance, device=x.device) ** 2 * (-0.5 / sigma2)) * prior[vertex]
    mixture = density.sum(dim=1)
    share = density / (mixture + outlier_density)[:, None]
    both = torch.zeros(len(moved), 4, dtype=x.dtype, device=x.device)
    pulls = torch.cat([share[..., None], share[..., None] * x[:, None]], dim=2)
    both.index_add_(0, vertex.reshape(-1), pulls.reshape(-1, 4))
    return both[:, 0], both[:, 1:], share.sum(dim=1)


# Points


def _cloud(points: np.ndarray, name: str) -> np.ndarray:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) < 4 or not np.isfinite(points).all():
        raise ValueError(f"{name} must be (4 or more, 3) finite numbers, not {points.shape}")
    return points


def _squared(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    squared = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * first @ second.T
    return np.maximum(squared, 0)


def _far_apart(points: np.ndarray, count: int, first: int) -> np.ndarray:
    """Numbers of `count` points, each as far as can be from those before it."""
    chosen = np.empty(count, dtype=int)
    chosen[0] = first
    nearest = ((points - points[first]) ** 2).sum(axis=1)
    for i in range(1, count):
        chosen[i] = nearest.argmax()
        nearest = np.minimum(nearest, ((points - points[chosen[i]]) ** 2).sum(axis=1))
    return chosen


def _thinned(points: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Numbers of at most `count` points, evenly spread."""
    if len(points) <= count:
        return np.arange(len(points))
    return np.sort(_far_apart(points, count, seed % len(points)))
