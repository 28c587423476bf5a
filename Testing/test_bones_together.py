"""Bones of one person together: derivatives, outlines, and that what one bone lacks comes from the others."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from support.bones import FILM, MODELS, apart, film_of

from DualFaceReconLib.errors import Cancelled, Refusal
from DualFaceReconLib.meshes import MIRROR, area_mm2, sphere_through
from DualFaceReconLib.proximity import distances_to_surface
from DualFaceReconLib.shape.body_prior import EXACT_MAPS, NETWORK_MAPS, BodyPrior
from DualFaceReconLib.shape.completion import complete, complete_all, observed_target
from DualFaceReconLib.shape.evidence import outline_block, outline_pairs, point_pairs, points_block
from DualFaceReconLib.shape.fitting import Fit
from DualFaceReconLib.shape.outlines import outline_of
from DualFaceReconLib.shape.person_fit import STEPS, FilmEvidence, PersonSought, distances_sought, fit_person
from DualFaceReconLib.shape.relations import HEAD, SOCKET, relations, shapes
from DualFaceReconLib.shape.repair import crossing_triangles, flipped_triangles
from DualFaceReconLib.shape.shapemodel import load_shape_models, model_of
from DualFaceReconLib.shape.together import SeenFilm, certain, complete_together, completions_of, fit_films
from DualFaceReconLib.shape.visibility import entry_and_exit_depths

EXACT = BodyPrior(errors=EXACT_MAPS)


@pytest.fixture(scope="module")
def models():
    """The shipped models with few modes: the rest is no other code."""
    return {
        kind: replace(model, modes=model.modes[:, :, :8], variances=model.variances[:8])
        for kind, model in load_shape_models(MODELS).items()
    }


@pytest.fixture(scope="module")
def person(models):
    """The meshes of four bones of a person on FILM, heads in their sockets, legs turned."""
    rng = np.random.default_rng(4)
    shapes = {kind: models[kind].sample(rng, limit=1.5) for kind in models}
    meshes = {}
    for side, place, turn in (("left", (-80, 180, 60), (6, 4, -10)), ("right", (80, 182, 61), (-3, -2, 14))):
        hip, femur = (model_of(f"{kind}_{side}", models) for kind in ("hip", "femur"))
        bone = hip.shape(shapes["hip"]) + place
        socket = sphere_through(bone[hip.landmarks[SOCKET].vertices])[0]
        leg = femur.shape(shapes["femur"])
        head = sphere_through(leg[femur.landmarks[HEAD].vertices])[0]
        usual = np.array(BodyPrior().head_mm) * (MIRROR if side == "right" else 1)
        leg = (leg - head) @ Rotation.from_euler("xyz", turn, degrees=True).as_matrix().T + socket + usual
        meshes[f"hip_{side}"], meshes[f"femur_{side}"] = (bone, hip.triangles), (leg, femur.triangles)
    return meshes


@pytest.fixture(scope="module")
def film(person):
    """What exact maps show of the person, and the outlines of the masks."""
    observed = {bone: film_of(mesh) for bone, mesh in person.items()}
    outlines = {
        bone: outline_of(entry_and_exit_depths(*mesh, FILM)[0] > 0, FILM, FILM) for bone, mesh in person.items()
    }
    return observed, outlines


def place_of(vertices, model, landmark):
    return sphere_through(vertices[model.landmarks[landmark].vertices])[0]


# Outlines


def test_an_outline_lies_between_pixels_and_ends_where_the_film_does():
    rows, cols = np.mgrid[:350, :430]
    centre, radius = (30.3, 210.7), 40.0
    probability = 1 / (1 + np.exp(np.hypot(rows - centre[0], cols - centre[1]) - radius))
    outline = outline_of(probability, FILM, FILM)
    pixels = FILM.project(FILM.source + outline.rays * 1100)[0]
    away = pixels - centre
    assert np.linalg.norm(away, axis=1) == pytest.approx(radius, abs=0.05)
    out = np.stack([-outline.normals[:, 2], -outline.normals[:, 0]], axis=1)  # rows run down, columns to the left
    assert (out * away).sum(axis=1) == pytest.approx(radius, rel=0.01)
    assert pixels[:, 0].min() >= 5  # and not along the film's first row, which cuts the ball
    arc = 2 * np.pi * radius * np.mean(centre[0] + radius * np.sin(np.linspace(0, 2 * np.pi, 999)) > 5.5)
    assert len(outline) * outline.spacing_mm == pytest.approx(arc, rel=0.05)


def test_a_mask_has_an_outline_too_and_an_unsure_or_empty_one_has_none():
    rows, cols = np.mgrid[:350, :430]
    away = np.hypot(rows - 170, cols - 200)
    outline = outline_of(away < 60, FILM, FILM)
    pixels = FILM.project(FILM.source + outline.rays * 1100)[0]
    assert np.linalg.norm(pixels - (170, 200), axis=1).mean() == pytest.approx(59.5, abs=0.5)
    assert len(outline_of(1 / (1 + np.exp((away - 60) / 30)), FILM, FILM)) == 0
    assert len(outline_of(np.zeros((350, 430), bool), FILM, FILM)) == 0


# The objective


def test_a_search_goes_on_while_a_bone_moves(person, film, models, monkeypatch):
    """A femur that is turned by 50 degrees from where it is looked for needs more steps than all others."""
    observed, outlines = film
    starts = {
        bone: Fit(rotation=np.eye(3), translation=mesh[0].mean(axis=0), coefficients=np.zeros(8))
        for bone, mesh in person.items()
    }
    turn = Rotation.from_euler("x", 50, degrees=True).as_matrix()
    starts["femur_left"] = replace(starts["femur_left"], rotation=turn)
    targets = {bone: observed_target(surface, FILM, 300) for bone, surface in observed.items()}
    areas = {bone: area_mm2(*mesh) / 2 for bone, mesh in person.items()}
    evidence = FilmEvidence(targets=targets, areas_mm2=areas, outlines=outlines, starts=starts)
    femur = models["femur"]

    def off_mm():
        fitted = fit_person([evidence], models, EXACT).fits[0]["femur_left"]
        return apart(fitted.vertices(femur), femur.triangles, person["femur_left"])

    assert off_mm() < 0.6
    monkeypatch.setattr("DualFaceReconLib.shape.person_fit.MOST_STEPS", STEPS)
    assert off_mm() > 2


def test_all_rows_are_the_derivatives_of_their_residuals(person, film, models):
    """Against finite differences along random directions, pairs held."""
    observed, outlines = film
    starts = {
        bone: Fit(rotation=np.eye(3), translation=mesh[0].mean(axis=0), coefficients=np.full(8, 0.3))
        for bone, mesh in person.items()
    }
    targets = {bone: observed_target(surface, FILM, 300) for bone, surface in observed.items()}
    areas = {bone: area_mm2(*mesh) / 2 for bone, mesh in person.items()}

    def body_at(step):
        evidence = FilmEvidence(targets=targets, areas_mm2=areas, outlines=outlines, starts=starts)
        person = PersonSought([evidence], models, BodyPrior())
        person.films[0].errors += np.linspace(-2, 2, len(person.errors))
        if step is not None:
            person.move(step)
        return person

    def blocks(person, pairs):
        film = person.films[0]
        yield from shapes(person.bones, person.prior)
        yield from relations(film.bones, person.prior)
        for (name, bone), (points, beside) in zip(film.bones.items(), pairs, strict=True):
            own = film.own_errors(name)
            yield points_block(bone, film.errors[own], points, int(film.error_columns[own[0]]))
            yield outline_block(bone, beside, NETWORK_MAPS)

    body = body_at(None)
    film = body.films[0]
    pairs = [
        (point_pairs(bone, film.errors[film.own_errors(name)], NETWORK_MAPS), outline_pairs(bone, NETWORK_MAPS))
        for name, bone in film.bones.items()
    ]
    known = list(blocks(body, pairs))
    assert {block.name for block in known} == {"points", "outlines", "shape", "joint", "radii", "posture"}
    rng = np.random.default_rng(0)
    for _ in range(2):
        way = rng.normal(size=body.size)
        for bone in film.bones.values():
            way[bone.columns[:3]] *= 0.01
        step = 1e-3
        after, before = (list(blocks(body_at(sign * step * way), pairs)) for sign in (1, -1))
        for block, high, low in zip(known, after, before, strict=True):
            numeric = (high.residuals - low.residuals) / (2 * step)
            exact = block.rows @ way[block.columns]
            assert exact == pytest.approx(numeric, rel=1e-3, abs=1e-3 * np.abs(numeric).max() + 1e-6), block.name


# Bones


def test_exact_maps_give_the_bones(person, film, models):
    completions = complete_together(*film, models, FILM, EXACT)
    assert list(completions) == list(person)
    for bone, (vertices, triangles) in person.items():
        completion = completions[bone]
        assert apart(completion.vertices, triangles, (vertices, triangles)) < 0.5, bone
        assert completion.seen.any()
        assert not completion.seen.all()
        assert len(flipped_triangles(completion.vertices, triangles, model_of(bone, models).mean)) == 0
        assert len(crossing_triangles(completion.vertices, triangles)) == 0
        away = np.abs(distances_to_surface(completion.vertices, vertices, triangles))
        assert np.mean(away[completion.seen] < 2 * completion.std_mm[completion.seen]) > 0.9


def test_a_femur_whose_depths_are_shifted_is_held_by_its_socket(person, film, models):
    """Depths of a femur that are 8 mm too large: alone it follows them, in its socket it does not."""
    observed, outlines = film
    vertices, triangles = person["femur_left"]
    shifted = {**observed, "femur_left": film_of((vertices - (0, 8.0, 0), triangles))}
    model = model_of("femur_left", models)
    true = place_of(vertices, model, HEAD)
    heads = {
        "alone": complete_all(shifted, models, FILM)["femur_left"].landmarks[HEAD],
        "together": complete_together(shifted, outlines, models, FILM, BodyPrior())["femur_left"].landmarks[HEAD],
        "without joints": complete_together(shifted, outlines, models, FILM, BodyPrior(joints=False))[
            "femur_left"
        ].landmarks[HEAD],
    }
    off = {name: abs(head[1] - true[1]) for name, head in heads.items()}
    assert off["alone"] > 6
    assert off["together"] < 0.5 * off["alone"]
    assert off["without joints"] > off["together"] + 1


def test_networks_maps_are_trusted_less_than_exact_ones(film, models):
    stds = [complete_together(*film, models, FILM, prior)["femur_left"].std_mm.mean() for prior in (EXACT, BodyPrior())]
    assert stds[1] > 1.5 * stds[0]


def test_bones_do_without_those_that_are_not_there(person, film, models):
    """One femur, without an outline; and a hip of which too little was seen."""
    observed, _ = film
    alone = complete_together({"femur_right": observed["femur_right"]}, {}, models, FILM, EXACT)
    assert apart(alone["femur_right"].vertices, person["femur_right"][1], person["femur_right"]) < 0.7
    small = {**observed, "hip_left": film_of((person["hip_left"][0] + (60, 0, 230), person["hip_left"][1]))}
    why = []
    rest = complete_together(small, {}, models, FILM, EXACT, on_refusal=lambda bone, refusal: why.append(bone))
    assert why == ["hip_left"]
    assert set(rest) == set(observed) - {"hip_left"}
    with pytest.raises(Refusal, match="too little"):
        complete_together(small, {}, models, FILM, EXACT)


def test_a_femur_without_a_head_is_completed_as_without_the_others(person, film, models):
    vertices, triangles = person["femur_left"]
    head, radius = sphere_through(vertices[model_of("femur_left", models).landmarks[HEAD].vertices])
    kept = np.linalg.norm(vertices[triangles].mean(axis=1) - head, axis=1) > radius + 20
    sawn = {"femur_left": film_of((vertices, triangles[kept])), "hip_left": film[0]["hip_left"]}
    together = complete_together(sawn, film[1], models, FILM, EXACT, alone_error_mm={"femur": 3.0})
    joint = together["hip_left"].landmarks[SOCKET]
    alone = complete(sawn["femur_left"], model_of("femur_left", models), FILM, joint=joint)
    assert list(together) == list(sawn)
    assert together["femur_left"].vertices == pytest.approx(alone.vertices)
    assert together["femur_left"].std_mm == pytest.approx(np.hypot(alone.std_mm, 3.0))
    assert together["hip_left"].vertices != pytest.approx(complete_all(sawn, models, FILM)["hip_left"].vertices)


def test_a_head_of_which_nothing_is_seen_is_inferred_and_speaks_neither_for_a_shape_nor_against_it(
    person, film, models
):
    vertices, triangles = person["femur_left"]
    model = model_of("femur_left", models)
    head, radius = sphere_through(vertices[model.landmarks[HEAD].vertices])
    middles = np.linalg.norm(vertices[triangles].mean(axis=1) - head, axis=1)
    sawn = film_of((vertices, triangles[middles > radius + 20]))
    done = complete(sawn, model, FILM, joint=head + np.array([3.0, 2.0, -6.0]))  # a socket that lies elsewhere by that
    assert done.headless
    assert np.linalg.norm(done.landmarks[HEAD] - head) < 6
    assert np.abs(done.fit.coefficients).max() < 3
    assert distances_to_surface(vertices[::5], done.vertices, done.triangles).mean() < 1
    assert not done.seen[np.linalg.norm(done.vertices - head, axis=1) < radius].any()
    for away in (0.0, 30.0):  # a joint that is elsewhere takes no head away
        whole = complete(film[0]["femur_left"], model, FILM, joint=head + np.array([away, 0.0, 0.0]))
        assert not whole.headless
        assert whole.seen[np.linalg.norm(whole.vertices - head, axis=1) < radius].any()
        assert np.linalg.norm(whole.landmarks[HEAD] - head) < 1


def test_a_lean_that_networks_usually_have_is_taken_off(person, models):
    """Depths that grow by 5 mm over 100 mm of height: the femur stands straighter where they are known to."""
    vertices, triangles = person["femur_left"]
    lean = (vertices[:, 2] - vertices[:, 2].mean()) * 0.05
    leaning = {"femur_left": film_of((vertices - np.outer(lean, (0, 1, 0)), triangles))}
    off = []
    for lean_mm in (0.0, 5.0):
        prior = replace(BodyPrior.of_networks(lean_mm), posture=None)
        stands = complete_together(leaning, {}, models, FILM, prior)["femur_left"].vertices
        off.append(np.polyfit(vertices[:, 2], stands[:, 1] - vertices[:, 1], 1)[0])
    assert off[0] < -0.02  # a part of it would take another shape
    assert abs(off[1]) < 0.3 * abs(off[0])


# Several films


@pytest.fixture(scope="module")
def two_films(person, film):
    """The film, and another where the person lies turned by 8 degrees; its depths are 25 mm too large."""
    turn = Rotation.from_euler("z", 8, degrees=True).as_matrix().T
    other = {bone: (vertices @ turn, triangles) for bone, (vertices, triangles) in person.items()}
    observed, rays = {}, {}
    for bone, (vertices, triangles) in other.items():
        rays[bone] = outline_of(entry_and_exit_depths(vertices, triangles, FILM)[0] > 0, FILM, FILM)
        depth = FILM.project(vertices)[1][:, None]
        farther = FILM.source + (vertices - FILM.source) * (1 + 25 / depth)
        observed[bone] = film_of((farther, triangles))
    first = SeenFilm(observed=film[0], outlines=film[1], geometry=FILM, distance_spread_mm=35.0)
    return first, SeenFilm(observed=observed, outlines=rays, geometry=FILM, distance_spread_mm=35.0)


def test_a_bone_has_one_shape_in_two_films_whose_distances_follow(two_films, models):
    fitted = fit_films(two_films, models, EXACT)
    for bone, fit in fitted.fits[0].items():
        assert fitted.fits[1][bone].coefficients == pytest.approx(fit.coefficients)
    (first, first_spread), (second, second_spread) = fitted.certainty.shifts_mm
    assert (first, second) == pytest.approx((-12.5, 12.5), abs=1)
    assert (first_spread, second_spread) == pytest.approx((35, 35), rel=0.05)


def test_the_distance_of_one_film_tells_that_of_another():
    sought, left = distances_sought((35.0, 0.0), (900.0, 900.0), size_tells=False)
    assert (sought.tolist(), left.tolist()) == ([[35.0**2, 0], [0, 0]], [0, 0])
    sought, left = distances_sought((20.0,), (900.0,), size_tells=False)
    assert (sought.tolist(), left.tolist()) == ([[0]], [400])  # a size alone tells nothing
    sought, left = distances_sought((30.0, 40.0), (900.0, 900.0), size_tells=False)
    assert left == pytest.approx([1152, 1152])  # between 30 and 40: both are off alike
    sought, left = distances_sought((30.0, 40.0), (800.0, 1600.0), size_tells=False)
    assert np.array([800 / 900, 1600 / 1600]) @ sought == pytest.approx([0, 0])  # the mean size is not sought
    assert left[1] == pytest.approx(4 * left[0])
    assert distances_sought((30.0, 40.0), (800.0, 1600.0), size_tells=True)[0].tolist() == [[900, 0], [0, 1600]]


def test_what_a_film_says_makes_the_bones_of_another_surer(two_films, models):
    fitted = fit_films(two_films, models, BodyPrior())
    completions = completions_of(fitted, 0, two_films[0], models)
    alone, without_other = (
        certain(completions, fitted, 0, covariance)
        for covariance in (fitted.certainty.alone[0], fitted.certainty.without[1])
    )
    for bone, done in completions.items():
        assert np.all(done.std_mm <= alone[bone].std_mm + 1e-3)
        assert done.std_mm.mean() < 0.95 * alone[bone].std_mm.mean()
        assert without_other[bone].std_mm == pytest.approx(alone[bone].std_mm, rel=1e-3)


def test_a_bone_that_one_film_does_not_show_is_placed_in_the_other_alone(two_films, models):
    one_hip = replace(two_films[1], observed={"hip_left": two_films[1].observed["hip_left"]})
    fitted = fit_films([two_films[0], one_hip], models, EXACT)
    assert list(fitted.fits[1]) == ["hip_left"]
    assert set(fitted.fits[0]) == set(two_films[0].observed)


def test_whoever_wants_no_more_is_heard(film, models):
    with pytest.raises(Cancelled):
        complete_together(*film, models, FILM, EXACT, cancelled=lambda: True)
