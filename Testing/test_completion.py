"""Completion: known shapes come back from clipped, noisy and partly wrong surfaces of both faces or one."""

from dataclasses import replace

import numpy as np
import pytest
from support.bones import FILM, MODELS, SHARED, apart, film_of, load_bone, made_model, on_film
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonDataModel import vtkPolyData

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.meshes import MIRROR, mirrored, unit_normals
from DualFaceReconLib.proximity import distances_to_surface
from DualFaceReconLib.shape.completion import complete, complete_all, completion_of, initial_fit, observed_target
from DualFaceReconLib.shape.fitting import (
    DEFAULT_SETTINGS,
    GONE_WEIGHT,
    Fit,
    FitSettings,
    Gone,
    Objective,
    Target,
    fit,
)
from DualFaceReconLib.shape.repair import crossing_triangles, flipped_triangles
from DualFaceReconLib.shape.shapemodel import ShapeModel, load_shape_models, model_of
from DualFaceReconLib.shape.visibility import rays_to
from training.anatomy.people import corresponded_femora, corresponded_hips
from training.anatomy.shapes import shape_model
from training.judging.quasi_newton import fit_by_lbfgs
from training.patients.posture import leg_turn

PLACE = (-70, 180, 30)


@pytest.fixture(scope="module")
def model() -> ShapeModel:
    return made_model()


def person(model, seed, turn=(0, 0, 0), place=PLACE):
    """A shape of the model on the film: mesh and coefficients."""
    coefficients = model.sample(np.random.default_rng(seed), limit=2.0)
    return (on_film(model.shape(coefficients), place, turn), model.triangles), coefficients


def standing(place, coefficients):
    """An upright fit."""
    return Fit(rotation=np.eye(3), translation=np.array(place, float), coefficients=np.array(coefficients))


# The objective


def test_the_gradient_is_that_of_the_objective(model):
    """Against finite differences, pairs held: turn, move and coefficients, plain and robust."""
    mesh, _ = person(model, 1)
    target = observed_target(film_of(mesh), FILM)
    start = standing((-68, 178, 33), [0.5, -0.3, 0.2, 0.1])
    for robust in (False, True):
        objective = Objective(model, target, FitSettings(robust=robust, regularisation=0.3))
        known = objective.at(objective.placed(start))
        about = known.fixed.about
        step = 1e-4
        numeric = []
        for k in range(6 + 4):
            values = []
            for sign in (1, -1):
                moved = start.moved(np.eye(10)[k] * sign * step, about)
                placed = objective.placed(moved)
                values.append(objective.value(placed, known.fixed))
                assert objective.at(placed, known.fixed).value == pytest.approx(values[-1], rel=1e-12)
            numeric.append((values[0] - values[1]) / (2 * step))
        scale = np.abs(known.gradient).max()
        # the objective takes heights above tangent planes, whose own turn the gradient leaves out
        assert known.gradient == pytest.approx(numeric, abs=0.12 * scale)
        assert known.gradient @ numeric > 0.99 * np.linalg.norm(known.gradient) * np.linalg.norm(numeric)


def test_where_a_part_was_that_is_gone_counts_in_value_gradient_and_matrix(model):
    """Against finite differences, beside the same without it; no vertex is hidden here."""
    mesh, _ = person(model, 1)
    without = observed_target(film_of(mesh), FILM)
    start = standing((-68, 178, 33), [0.5, -0.3, 0.2, 0.1])
    landmark = model.landmarks["tip"]
    place = landmark.place(start.vertices(model)) + np.array([4, -9, 7])
    gone = Gone(vertices=np.zeros(len(model.mean), bool), landmark=landmark, place=place)
    with_it, plain = (
        Objective(model, target, FitSettings(regularisation=0.3)) for target in (replace(without, gone=gone), without)
    )
    known, other = (objective.at(objective.placed(start)) for objective in (with_it, plain))
    assert known.value - other.value == pytest.approx(GONE_WEIGHT * (4**2 + 9**2 + 7**2), rel=1e-3)

    def landmark_at(step):
        return landmark.place(start.moved(step, known.fixed.about).vertices(model))

    moves = np.transpose([(landmark_at(step) - landmark_at(-step)) / 2e-3 for step in 1e-3 * np.eye(10)])
    away = landmark_at(np.zeros(10)) - place
    largest = np.abs(away @ moves).max()
    assert known.gradient - other.gradient == pytest.approx(
        2 * GONE_WEIGHT * away @ moves, abs=0.02 * 2 * GONE_WEIGHT * largest
    )
    matrices = [
        objective.hessian(state, objective.rows(state, slice(None)), slice(None))
        for objective, state in ((with_it, known), (plain, other))
    ]
    expected = 2 * GONE_WEIGHT * moves.T @ moves
    assert matrices[0] - matrices[1] == pytest.approx(expected, abs=0.02 * np.abs(expected).max())


def test_the_rows_are_how_the_vertices_move(model):
    """Against finite differences; and the matrix is their products', weighted as pairs are."""
    mesh, _ = person(model, 1)
    objective = Objective(model, observed_target(film_of(mesh), FILM), FitSettings(regularisation=0.3))
    state = objective.at(objective.placed(standing((-68, 178, 33), [0.5, -0.3, 0.2, 0.1])))
    rows = objective.rows(state, slice(None))
    numeric = np.empty(rows.shape)
    for k in range(10):
        step = 1e-3 * np.eye(10)[k]
        ahead, behind = (state.placed.fit.moved(sign * step, state.fixed.about).vertices(model) for sign in (1, -1))
        numeric[:, k] = ((ahead - behind) * state.placed.normals).sum(axis=1) / 2e-3
    assert rows == pytest.approx(numeric, rel=1e-3, abs=1e-3 * np.abs(numeric).max())

    regular = np.diag(np.r_[np.zeros(6), np.full(4, 2 * 0.3 / 4)])
    expected = 2 * numeric.T @ (numeric * state.influence[:, None]) + regular
    paired = np.flatnonzero(state.influence)
    for some in (slice(None), paired):
        matrix = objective.hessian(state, objective.rows(state, some), some)
        assert matrix == pytest.approx(expected, abs=1e-3 * expected.max())
    assert expected @ objective.step(state) == pytest.approx(-state.gradient, abs=1e-3 * np.abs(state.gradient).max())


def test_the_minimum_is_that_of_lbfgs(model):
    """The paper's search, and no other place: what it reaches with patience is reached here without."""
    for seed in (3, 4, 5):
        mesh, _ = person(model, seed, turn=(12, -8, 15))
        target = observed_target(film_of(mesh, noise_mm=0.5, seed=seed), FILM)
        start = initial_fit(model, target)
        theirs = fit_by_lbfgs(model, target, start, rounds=20, settled=1e-4)
        ours = fit(model, target, start)
        objective = Objective(model, target, DEFAULT_SETTINGS)
        reached, least = (objective.at(objective.placed(fitted)).value for fitted in (ours, theirs))
        assert reached < 1.01 * least
        assert np.linalg.norm(ours.vertices(model) - theirs.vertices(model), axis=1).max() < 0.3


def test_regularisation_counts_squared_standard_deviations(model):
    mesh, _ = person(model, 1)
    target = observed_target(film_of(mesh), FILM)
    at = standing(PLACE, [1.0, -2.0, 0.0, 1.0])
    objectives = [Objective(model, target, FitSettings(regularisation=weight)) for weight in (0, 0.01)]
    values = [objective.at(objective.placed(at)).value for objective in objectives]
    assert values[1] - values[0] == pytest.approx(0.01 / 4 * 6)


def test_a_single_face_pulls_in_one_direction_alone(model):
    mesh, _ = person(model, 2)
    dual, single = (observed_target(film_of(mesh, dual=both), FILM) for both in (True, False))
    assert dual.both_ways
    assert not single.both_ways
    at = standing(PLACE, np.zeros(4))
    for target, expected in ((dual, True), (single, False)):
        objective = Objective(model, target, DEFAULT_SETTINGS)
        placed = objective.placed(at)
        vertices = placed.vertices
        seen = target.visible_vertices(vertices, model.triangles)
        assert (len(objective.paired(placed, seen).vertex) > len(target.points)) == expected
        looks = (unit_normals(vertices, model.triangles) * rays_to(vertices, FILM)).sum(axis=1)
        assert (looks[seen] > 0).any() == expected  # the back counts only where it was observed


# Known shapes


@pytest.mark.parametrize("dual", [True, False])
@pytest.mark.parametrize("seed", [3, 4, 5])
def test_a_sampled_shape_comes_back_from_a_noisy_surface(model, seed, dual):
    mesh, coefficients = person(model, seed, turn=(12, -8, 15))
    completion = complete(film_of(mesh, dual=dual, noise_mm=0.5, seed=seed), model, FILM)
    assert apart(completion.vertices, completion.triangles, mesh) < (0.3 if dual else 0.9)
    if dual:
        assert completion.fit.coefficients == pytest.approx(coefficients, abs=0.4)
    assert completion.seen.mean() > (0.8 if dual else 0.35)
    assert np.median(completion.distance_mm[completion.seen]) < 0.6
    assert completion.landmarks["tip"] == pytest.approx(mesh[0][model.mean[:, 2].argmax()], abs=1.5)


def test_a_bone_cut_by_the_picture_is_completed_beyond_it(model):
    mesh, _ = person(model, 6, place=(-70, 180, 160))
    inside = FILM.sees(mesh[0])
    assert 0.3 < inside.mean() < 0.7
    completion = complete(film_of(mesh), model, FILM)
    assert apart(completion.vertices, completion.triangles, mesh) < 0.4
    assert not completion.seen[~FILM.sees(completion.vertices)].any()
    away = np.linalg.norm(completion.vertices - mesh[0], axis=1)
    assert away.mean() < 4
    assert completion.std_mm[~inside].mean() > 2 * completion.std_mm[inside].mean()


@pytest.mark.parametrize("place", [(160, 180, 20), (-160, 180, -20), (150, 180, -130)])
def test_a_bone_cut_at_the_side_is_found_by_its_other_end(model, place):
    mesh, _ = person(model, 9, place=place)
    assert 0.2 < FILM.sees(mesh[0]).mean() < 0.8
    completion = complete(film_of(mesh), model, FILM)
    assert apart(completion.vertices, completion.triangles, mesh) < 0.5
    assert np.linalg.norm(completion.vertices.mean(axis=0) - mesh[0].mean(axis=0)) < 5


@pytest.mark.parametrize("turn", [(30, 0, 0), (0, -30, 0), (0, 0, 30), (-20, 20, -20)])
def test_no_alignment_by_hand_is_needed(model, turn):
    mesh, _ = person(model, 7, turn=turn, place=(60, 120, -60))
    completion = complete(film_of(mesh), model, FILM)
    assert apart(completion.vertices, completion.triangles, mesh) < 0.4


def test_a_start_like_nobody_begins_again_as_the_mean(model, monkeypatch):
    target = observed_target(film_of(person(model, 1)[0]), FILM)
    assert initial_fit(model, target).coefficients.any()
    monkeypatch.setattr("DualFaceReconLib.shape.completion.START_RANGE", 0.0)
    assert not initial_fit(model, target).coefficients.any()


@pytest.mark.parametrize("turn", [(-65, 55, 36), (-65, 55, 50), (-45, 55, 50), (-45, 43, 36)])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_femur_is_found_as_it_lies_on_a_frog_leg_film(side, turn):
    femur = model_of(f"femur_{side}", load_shape_models(MODELS))
    head, joint = femur.landmarks["femoral_head_centre"].place(femur.mean), np.array([-60.0, 180, 20])
    turned = leg_turn(*turn)
    if side == "right":
        joint, turned = joint * MIRROR, turned * np.outer(MIRROR, MIRROR)
    vertices = (femur.mean - head) @ turned.T + joint
    target = observed_target(film_of((vertices, femur.triangles)), FILM)
    start = initial_fit(femur, target, joint, coarse=femur.coarse)
    assert np.linalg.norm(start.vertices(femur) - vertices, axis=1).mean() < 2
    without = initial_fit(femur.with_landmarks({}), target, joint, coarse=femur.coarse)  # which nothing can put there
    assert np.isfinite(without.vertices(femur)).all()


def test_the_right_bone_is_the_mirror_of_the_left(model):
    mesh, _ = person(model, 8)
    right = mirrored(mesh)
    surfaces = {"hip_left": film_of(mesh), "hip_right": film_of(right)}
    completions = complete_all(surfaces, {"hip": model}, FILM)
    assert completions["hip_right"].side == "right"
    assert apart(completions["hip_right"].vertices, completions["hip_right"].triangles, right) < 0.3
    assert completions["hip_right"].vertices * MIRROR == pytest.approx(completions["hip_left"].vertices, abs=0.3)
    again = complete(surfaces["hip_left"], model, FILM)
    assert np.array_equal(again.vertices, completions["hip_left"].vertices)  # the same again, threads or not


def with_wrong_depths(target: Target, share: float, seed: int) -> Target:
    """Some of the points moved 10 to 40 mm along the detector's normal, as wrong depths move them: along their rays."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(target.points)) < share
    rays = rays_to(target.points, FILM)
    offset = rng.uniform(10, 40, len(rays)) * rng.choice([-1, 1], len(rays))
    points = target.points + np.where(wrong, offset, 0)[:, None] * rays / np.abs(rays[:, 1:2])
    return replace(target, points=points)


@pytest.mark.parametrize("dual", [True, False])
def test_a_third_of_wrong_depths_hardly_matters(model, dual):
    clean, spoilt, plain = [], [], []
    for seed in range(4):
        mesh, _ = person(model, 10 + seed)
        target = observed_target(film_of(mesh, dual=dual, noise_mm=0.5), FILM)
        wrong = with_wrong_depths(target, 0.3, seed)
        for errors, observed, settings in (
            (clean, target, DEFAULT_SETTINGS),
            (spoilt, wrong, DEFAULT_SETTINGS),
            (plain, wrong, replace(DEFAULT_SETTINGS, robust=False)),
        ):
            fitted = fit(model, observed, initial_fit(model, observed), settings)
            completion = completion_of(fitted, model, observed, settings)
            errors.append(apart(completion.vertices, completion.triangles, mesh))
            assert len(crossing_triangles(completion.vertices, completion.triangles)) == 0
    assert np.mean(spoilt) <= 1.5 * np.mean(clean)
    assert np.mean(plain) > 3 * np.mean(clean)  # so the wrong depths are wrong enough


# What it tells


def test_unseen_places_are_less_sure_and_the_file_says_so(model):
    mesh, _ = person(model, 20)
    completion = complete(film_of(mesh, dual=False), model, FILM)
    assert completion.std_mm[~completion.seen].mean() > 1.3 * completion.std_mm[completion.seen].mean()
    data = completion.polydata().GetPointData()
    assert np.array_equal(vtk_to_numpy(data.GetArray("seen")) > 0, completion.seen)
    assert vtk_to_numpy(data.GetArray("std_mm")) == pytest.approx(completion.std_mm, rel=1e-5)
    assert vtk_to_numpy(data.GetArray("distance_mm")) == pytest.approx(completion.distance_mm, abs=1e-4)
    assert completion.polydata().GetNumberOfPolys() == len(model.triangles)


def test_refinement_moves_what_was_seen_smoothly_and_within_bounds(model):
    mesh, _ = person(model, 21)
    bump = 2.5 * np.exp(-(((mesh[0] - mesh[0][mesh[0][:, 1].argmax()]) / 15) ** 2).sum(axis=1))
    normals = unit_normals(*mesh)
    bumped = mesh[0] + bump[:, None] * normals, mesh[1]
    held = replace(model, modes=model.modes[:, :, :1], variances=model.variances[:1])  # cannot follow it
    plain, refined = (complete(film_of(bumped), held, FILM, refine=refine) for refine in (False, True))
    assert plain.refined_mm is None
    assert 0.5 < refined.refined_mm < 3.01
    errors = [
        distances_to_surface(completion.vertices[completion.seen], *bumped).mean() for completion in (plain, refined)
    ]
    assert errors[1] < 0.5 * errors[0]
    assert len(crossing_triangles(refined.vertices, refined.triangles)) == 0


@pytest.mark.parametrize("what", ["nothing", "speck", "not finite"])
def test_too_little_to_complete_is_refused(model, what):
    vertices, triangles = person(model, 22)[0]
    if what == "nothing":
        observed = film_of((vertices + np.array([1000, 0, 0]), triangles))
    else:
        noise = np.nan if what == "not finite" else 0
        observed = film_of(((vertices - PLACE) * 0.08 + PLACE, triangles), noise_mm=noise)
    assert isinstance(observed, vtkPolyData)
    with pytest.raises(Refusal, match="too little of the bone"):
        complete(observed, model, FILM)


# Real bones


def held_out(bones, people, place, modes):
    """A model of the others, and the held-out people's left bones on the film."""
    others = shape_model(bones.without(set(people)), modes=modes)
    shapes = [bones.shapes[bones.people.index(person)] for person in people]
    return others, [(on_film(shape, place), bones.triangles) for shape in shapes]


def check_held_out(model, meshes, limits):
    within = {True: [], False: []}
    for mesh in meshes:
        for dual, limit in limits.items():
            completion = complete(film_of(mesh, dual=dual, noise_mm=0.5), model, FILM)
            assert apart(completion.vertices, completion.triangles, mesh) < limit
            assert len(crossing_triangles(completion.vertices, completion.triangles)) == 0
            upright = (completion.vertices - completion.fit.translation) @ completion.fit.rotation
            assert len(flipped_triangles(upright, completion.triangles, model.mean)) == 0
            deviations = distances_to_surface(completion.vertices, *mesh) / completion.std_mm
            for seen in (True, False):
                part = deviations[completion.seen == seen]
                within[seen].append(((part < 1).mean(), (part < 2).mean()))
    return {seen: np.mean(shares, axis=0) for seen, shares in within.items()}


@pytest.mark.parametrize("few", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["three", "six"])
def test_femora_of_people_who_are_not_in_the_model(few):
    load_bone("llp26", "s01", "femur_left")
    bones = corresponded_femora(SHARED / "bones", say=lambda _: None)
    people = [f"llp26/s{i:02d}" for i in ((2, 12, 22) if few else (2, 7, 12, 17, 22, 26))]
    shares = check_held_out(*held_out(bones, people, (-95, 180, -130), 60), {True: 0.6, False: 1.2})
    assert 0.6 < shares[True][0] < 0.85
    assert shares[True][1] > 0.9
    assert 0.55 < shares[False][0] < 0.85
    assert shares[False][1] > 0.85


@pytest.mark.slow
def test_hips_of_people_who_are_not_in_the_model():
    load_bone("rhan40", "s02", "hip_left")
    bones = corresponded_hips(SHARED / "bones", say=lambda _: None)
    people = ["rhan40/s02", "rhan40/s08", "rhan40/s14", "rhan40/s22", "llp26/s03", "llp26/s11"]
    shares = check_held_out(*held_out(bones, people, (-75, 180, 20), 100), {True: 0.8, False: 1.6})
    assert 0.6 < shares[True][0] < 0.76
    assert 0.9 < shares[True][1] < 0.98
    assert 0.6 < shares[False][0] < 0.76
    assert 0.9 < shares[False][1] <= 0.98
