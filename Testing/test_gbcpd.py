"""Coherent point drift: known maps come back, the kernel follows the surface, and the author's results are matched."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from support.bones import GOLDEN_CASES, load_bone, load_golden

from training.anatomy import gbcpd
from training.anatomy.gbcpd import RegistrationSettings, register

FAST = RegistrationSettings(accelerated=True)


def grid(rows, cols):
    """A flat mesh of unit squares: points (N, 3) and triangles."""
    row, col = np.mgrid[:rows, :cols]
    points = np.stack([row.ravel(), col.ravel(), np.zeros(rows * cols)], axis=1).astype(float)
    number = np.arange(rows * cols).reshape(rows, cols)
    a, b, c, d = (n.ravel() for n in (number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]))
    return points, np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])


def knuckle(count=40):
    """A closed surface with three horns and no symmetry: points and triangles."""
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, count, endpoint=False), np.linspace(0.05, 0.95, count) * np.pi)
    ball = np.stack([np.cos(u) * np.sin(v), np.sin(u) * np.sin(v), np.cos(v)], axis=-1).reshape(-1, 3)
    horns = [((0.6, 0.2, 0.75), 1.0), ((-0.7, 0.6, -0.4), 0.7), ((0.1, -0.95, -0.3), 0.5)]
    size = 1 + sum(height * np.exp(-9 * ((ball - at) ** 2).sum(axis=1)) for at, height in horns)
    points = ball * (30, 24, 50) * size[:, None]
    number = np.arange(count * count).reshape(count, count)
    a, b = number[:-1], np.roll(number[:-1], -1, axis=1)
    c, d = number[1:], np.roll(number[1:], -1, axis=1)
    a, b, c, d = (n.ravel() for n in (a, b, c, d))
    return points, np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])


def along_the_rows(points):
    """How far the knuckle's points are from one another: what coherent point drift can slide unnoticed."""
    return np.linalg.norm(np.diff(points, axis=0), axis=1).mean()


def bent(points):
    """A smooth displacement of a few millimetres."""
    return np.stack([4 * np.sin(points[:, 2] / 30), 3 * np.cos(points[:, 0] / 25), 0.05 * points[:, 0]], axis=1)


def both_ways(points, target):
    """Mean distance to the nearest target vertex, back, and the worst uncovered target point."""
    there, back = cKDTree(target).query(points)[0], cKDTree(points).query(target)[0]
    return there.mean(), back.mean(), back.max()


STIFF = RegistrationSettings(stiffness=500, steps=100)  # a smooth body gives little hold against sliding along itself


@pytest.mark.parametrize("settings", [STIFF, replace(STIFF, accelerated=True)], ids=["plain", "accelerated"])
def test_a_known_map_comes_back(settings):
    source, triangles = knuckle(28)
    turn = Rotation.from_euler("xyz", (20, -15, 30), degrees=True).as_matrix()
    target = 1.2 * (source + bent(source)) @ turn.T + (15, -40, 8)
    shuffled = np.random.default_rng(0).permutation(target)
    result = register(source, shuffled, triangles, settings)
    assert np.linalg.norm(result.points - target, axis=1).mean() < 1.2 * along_the_rows(target)
    assert result.scale == pytest.approx(1.2, rel=0.08)
    assert np.degrees(Rotation.from_matrix(result.rotation @ turn.T).magnitude()) < 8


def test_the_parts_of_the_result_make_its_points():
    source, triangles = knuckle(20)
    result = register(source, source * 1.1 + (5, 0, -3), triangles, RegistrationSettings(steps=30))
    made = result.scale * (source + result.displacement) @ result.rotation.T + result.translation
    assert made == pytest.approx(result.points, abs=1e-9)
    assert np.linalg.det(result.rotation) == pytest.approx(1)
    assert result.matched.sum() == pytest.approx(len(source), rel=0.05)
    assert result.points.dtype == np.float64


def test_the_same_seed_gives_the_same_result_and_progress_is_reported():
    source, triangles = knuckle(16)
    settings = replace(FAST, thinned_source=150, thinned_target=150)
    progress = []
    first = register(source, source + bent(source), triangles, settings, seed=3, progress=lambda *s: progress.append(s))
    second = register(source, source + bent(source), triangles, settings, seed=3)
    assert np.array_equal(first.points, second.points)
    steps, sigmas = zip(*progress, strict=True)
    assert steps == tuple(range(1, first.steps + 1))
    assert sigmas[-1] == pytest.approx(first.sigma)
    assert sigmas[-1] < 0.1 * sigmas[0]


def test_outliers_do_not_draw_the_source_away():
    source, triangles = knuckle(30)
    rng = np.random.default_rng(1)
    stray = rng.uniform(source.min(axis=0) - 15, source.max(axis=0) + 15, (180, 3))
    target = source + bent(source)
    result = register(source, np.concatenate([target, stray]), triangles, replace(STIFF, outliers=0.2))
    assert np.linalg.norm(result.points - target, axis=1).mean() < 1.2 * along_the_rows(target)


def test_geodesic_distances_follow_the_surface():
    points, triangles = grid(11, 21)
    folded = points.copy()  # a U: two wings of ten, one unit apart
    wing = points[:, 1] > 10
    folded[wing, 1], folded[wing, 2] = 21 - points[wing, 1], 1.0
    ways = gbcpd.geodesic_distances(folded, triangles, np.array([0]))[0]
    tip_above = np.flatnonzero((points[:, 0] == 0) & (points[:, 1] == 20))[0]
    assert np.linalg.norm(folded[tip_above] - folded[0]) < 1.5
    assert ways[tip_above] == pytest.approx(20, abs=0.6)


def test_parts_that_are_not_joined_are_as_far_as_through_space():
    points, triangles = grid(3, 3)
    two = np.concatenate([points, points + np.array([0, 0, 7])])
    ways = gbcpd.geodesic_distances(two, np.concatenate([triangles, triangles + 9]), np.array([0]))[0]
    assert ways[9] == pytest.approx(7)
    assert ways[2] == pytest.approx(2)


@pytest.mark.parametrize("tau", [0.0, 0.5])
def test_the_basis_is_a_root_of_the_kernel(tau):
    points, triangles = grid(8, 8)
    points = points / np.std(points[:, :2])
    settings = RegistrationSettings(tau=tau, reach=0.8)
    basis = gbcpd.kernel_basis(points, triangles, settings, np.random.default_rng(0))
    width = -1 / (2 * 0.8**2)
    straight = np.exp(width * ((points[:, None] - points) ** 2).sum(axis=2))
    along = np.exp(width * gbcpd.geodesic_distances(points, triangles, np.arange(64)) ** 2)
    kernel = (1 - tau) * straight + tau * along
    assert np.abs(basis @ basis.T - kernel).max() < (1e-4 if tau == 0 else 0.1)  # negative directions are left out


def test_near_convergence_the_neighbours_are_enough():
    rng = np.random.default_rng(2)
    moved = torch.from_numpy(rng.normal(size=(400, 3)))
    x = moved[rng.integers(400, size=900)] + 0.01 * torch.from_numpy(rng.normal(size=(900, 3)))
    prior = torch.from_numpy(rng.uniform(0.5, 1.5, 400))
    every = gbcpd._belonging(x, moved, prior, 0.02**2, 0.05)
    nearest = gbcpd._belonging_of_neighbours(x, moved, prior, 0.02**2, 0.05, 12)
    for full, near in zip(every, nearest, strict=True):
        assert near.numpy() == pytest.approx(full.numpy(), rel=1e-6, abs=1e-9)


def test_bcpd_needs_no_triangles_and_impossible_input_is_named():
    source, triangles = knuckle(20)
    register(source, source, settings=RegistrationSettings(tau=0, steps=5))
    with pytest.raises(ValueError, match="triangles"):
        register(source, source)
    for wrong in (source[:3], source[:, :2], np.where(source > 20, np.nan, source)):
        with pytest.raises(ValueError, match="target"):
            register(source, wrong, triangles)


# Beside the author's program


def compare(case, settings):
    golden = load_golden(case)
    result = register(golden["source"], golden["target"], golden["triangles"], settings)
    ours, theirs = both_ways(result.points, golden["target"]), both_ways(golden["gbcpd_y"], golden["target"])
    assert ours[0] <= 1.03 * theirs[0]
    assert ours[1] <= 1.03 * theirs[1]
    assert ours[2] <= 1.5 * theirs[2]  # nothing uncovered: where the author's accelerated run fails it is 4.5


@pytest.mark.parametrize(
    "case", ["femur", *(pytest.param(case, marks=pytest.mark.slow) for case in ("femur_other", "hip"))]
)
def test_the_accelerated_mode_is_as_close_as_the_author_s_plain_run(case):
    compare(case, FAST)


@pytest.mark.slow
@pytest.mark.parametrize("case", GOLDEN_CASES)
def test_the_plain_mode_is_as_close_as_the_author_s_plain_run(case):
    compare(case, RegistrationSettings())


@pytest.mark.parametrize(
    ("people", "bone", "first", "second", "most_mm"),
    [
        pytest.param("llp26", "femur_left", "s01", "s09", 4.0, marks=pytest.mark.slow),
        ("rhan40", "hip_left", "s25", "s51", 4.5),
    ],
)
def test_correspondence_is_right_where_it_is_known(people, bone, first, second, most_mm):
    """Two people of one set share a mesh; the target is shuffled, and every seventh vertex of it is left out."""
    source, triangles = load_bone(people, first, bone)
    truth, _ = load_bone(people, second, bone)
    few = np.random.default_rng(0).permutation(len(truth))[: len(truth) * 6 // 7]
    result = register(source, truth[few], triangles, FAST)
    before = np.linalg.norm(source - source.mean(axis=0) - truth + truth.mean(axis=0), axis=1).mean()
    after = np.linalg.norm(result.points - truth, axis=1).mean()
    assert after < most_mm < before
