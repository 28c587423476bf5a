"""Flesh and matter: closed forms, what they displace, and who the people are."""

import numpy as np
import pytest
import torch
from support.bones import made_population
from support.solids import ball

from DualFaceReconLib.geometry import ProjectionGeometry
from training.patients.flesh import STEP_MM, Blob, Flesh, Fold, Sections, draw_flesh
from training.patients.matter import matter_of
from training.patients.virtual import Part, sample_patient
from training.raycast import Matter, cast
from training.simulate import Series, take
from training.xray.analytic import Ellipsoid, Sphere, render
from training.xray.fleshcast import cast_flesh
from training.xray.projection import project
from training.xray.rig import draw_rig

GEOMETRY = ProjectionGeometry(1100, (2.0, 2.0), (150, 180), (70.2, 88.1), "AP", 150.0)


@pytest.fixture(scope="module")
def population():
    return made_population()


def pillar(half_width, ahead, behind=None, middle=(0.0, 150.0), square=0.0) -> Sections:
    """Everywhere the same section, half an ellipse in front of the middle and half one behind it."""
    row = [middle[0], half_width, middle[1], ahead, ahead if behind is None else behind]
    return Sections(-400.0, np.tile(np.float32(row), (round(800 / STEP_MM), 1)), square)


def flesh_of(skin, lean=None, table_mm=-1000.0, facing=1.0, folds=(), bladder=(), gas=()) -> Flesh:
    return Flesh(
        skin=(skin,),
        lean=(lean or skin,),
        folds=folds,
        bladder=bladder,
        gas=gas,
        scrotum=(),
        table_mm=table_mm,
        facing=facing,
        marbling=np.zeros((0, 4)),
        metadata={"fat_in_muscle": 0.0},
    )


def elliptic_cylinder(geometry, half_width, half_depth, centre):
    """Exact length of the rays in an elliptic cylinder along S."""
    ends = geometry.back_project(geometry.pixel_centres(), np.full(geometry.size_px, geometry.sdd_mm))
    rays = ends - geometry.source
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    start = (geometry.source[:2] - centre) / (half_width, half_depth)
    along = rays[..., :2] / (half_width, half_depth)
    speed = (along**2).sum(axis=-1)
    inside = (along @ start) ** 2 - speed * (start @ start - 1)
    return 2 * np.sqrt(np.maximum(inside, 0)) / speed


@pytest.mark.parametrize("view", ["AP", "PA"])
def test_a_pillar_of_flesh_is_an_elliptic_cylinder(view):
    geometry = ProjectionGeometry(1100, (2.0, 2.0), (150, 180), (70.2, 88.1), view, 150.0)
    middle = 150.0 if view == "AP" else -150.0
    facing = 1.0 if view == "AP" else -1.0
    skin = pillar(100, 80, middle=(10.0, middle))
    muscle = cast_flesh(flesh_of(skin, table_mm=-1e3 * facing, facing=facing), geometry)["muscle"].numpy()
    exact = elliptic_cylinder(geometry, 100, 80, np.array([10.0, middle]))
    thick = exact > 60
    assert np.abs(muscle - exact)[thick].max() < 3
    assert np.abs(muscle - exact)[thick].mean() < 0.5
    assert muscle[exact == 0].max() < 8  # the outline is rounded by a few pixels at most


def test_fat_lies_over_muscle_and_the_table_presses_flat():
    skin, lean = pillar(120, 90), pillar(100, 70)
    free = cast_flesh(flesh_of(skin, lean), GEOMETRY)
    middle = (70, 88)
    assert float(free["muscle"][middle]) == pytest.approx(140, abs=0.5)
    assert float(free["fat"][middle]) == pytest.approx(40, abs=0.5)
    lying = cast_flesh(flesh_of(skin, lean, table_mm=75.0), GEOMETRY)  # the skin would reach down to A = 60
    assert float(lying["fat"][middle]) == pytest.approx(25, abs=0.5)


def test_blobs_are_ellipsoids_and_displace_muscle():
    blob = Blob(centre=(20.0, 160.0, 30.0), half=(30.0, 20.0, 25.0))
    lengths = cast_flesh(flesh_of(pillar(150, 100), bladder=(blob,)), GEOMETRY)
    _, exact = render({"it": Ellipsoid(blob.centre, blob.half)}, GEOMETRY)
    assert np.abs(lengths["water"].numpy() - exact[0]).max() < 4.0  # the chord along A, not along the ray
    assert np.abs(lengths["water"].numpy() - exact[0]).mean() < 0.1
    whole = cast_flesh(flesh_of(pillar(150, 100)), GEOMETRY)["muscle"]
    assert torch.allclose(lengths["water"] + lengths["muscle"], whole, atol=1e-3)
    gas = cast_flesh(flesh_of(pillar(150, 100), gas=((blob, blob),)), GEOMETRY)["muscle"]
    assert float((whole - gas).max()) == pytest.approx(40, rel=0.05)
    assert float((whole - gas).min()) == 0


def test_a_fold_hangs_over_with_a_sharp_lower_edge():
    fold = Fold(middle=(0.0, 20.0), half_width_mm=100.0, sag_mm=0.0, thickness_mm=30.0, reach_mm=80.0)
    column = cast_flesh(flesh_of(pillar(120, 90), folds=(fold,)), GEOMETRY)["fat"].numpy()[:, 88]
    edge = int(np.argmax(column < 5))  # rows grow downwards
    assert column[edge - 8] > 20
    assert column[edge + 3 :].max() < 3


# The cortex


@pytest.mark.parametrize("thickness", [1.0, 3.0, 8.0])
def test_the_cortex_of_a_ball_is_exact(thickness):
    geometry = ProjectionGeometry(1100, (0.5, 0.5), (160, 160))
    vertices, triangles = ball((0, 150, 0), 30, 120)
    vertices = (vertices - (0, 150, 0)) / np.linalg.norm(vertices - (0, 150, 0), axis=1)[:, None] * 30 + (0, 150, 0)
    matter = {"it": Matter(cortex_mm=np.full(len(vertices), thickness), density=np.full(len(vertices), 0.25))}
    projected = cast({"it": (vertices, triangles)}, geometry, matter=matter)
    _, whole = render({"it": Sphere((0, 150, 0), 30.0)}, geometry)
    _, core = render({"it": Sphere((0, 150, 0), 30.0 - thickness)}, geometry)
    exact = whole[0] - core[0]
    inside = whole[0] > 15  # grazing rays see the triangles
    assert np.abs(projected.cortical_mm[0] - exact)[inside].mean() < 0.06
    assert np.abs(projected.trabecular_mm[0] - 0.25 * core[0])[inside].mean() < 0.06
    sum_of_parts = projected.cortical_mm[0] + projected.trabecular_mm[0] / 0.25
    assert sum_of_parts == pytest.approx(projected.path_mm[0], abs=0.01)
    assert cast({"it": (vertices, triangles)}, geometry).cortical_mm.max() == 0


def test_a_wall_thinner_than_two_cortices_is_all_cortex():
    geometry = ProjectionGeometry(1100, (1.0, 1.0), (60, 60))
    vertices, triangles = ball((0, 150, 0), 1, 80)
    plate = (vertices - (0, 150, 0)) * (40, 1.5, 40) + (0, 150, 0)
    projected = cast(
        {"it": (plate, triangles)},
        geometry,
        matter={"it": Matter(cortex_mm=np.full(len(plate), 2.0), density=np.ones(len(plate)))},
    )
    assert projected.cortical_mm[0] == pytest.approx(projected.path_mm[0], abs=1e-3)


def test_matter_is_that_of_adults(population):
    shafts, heads, fronts = [], [], []
    for seed in range(6):
        patient = sample_patient(population, seed)
        matter = matter_of(patient, np.random.default_rng(seed))
        assert list(matter) == list(patient.bones)
        for bone, made_of in matter.items():
            assert made_of.cortex_mm.shape == (len(patient.bones[bone][0]),)
            assert made_of.cortex_mm.min() > 0.1
            assert made_of.cortex_mm.max() < 16
            assert made_of.density.min() >= 0
            assert made_of.density.max() <= 0.6
        for side in ("left", "right"):
            vertices = patient.bones[f"femur_{side}"][0]
            marks = patient.landmarks[f"femur_{side}"]
            away = np.linalg.norm(vertices - marks["femoral_head_centre"], axis=1)
            level = vertices[:, 2] - marks["femoral_head_centre"][2]
            made_of = matter[f"femur_{side}"]
            shafts.append(made_of.cortex_mm[(level < -150) & (level > -220)].mean())
            heads.append(made_of.cortex_mm[away < 22].mean())
            fronts.append(made_of.density[away < 22].mean() - made_of.density[(level < -150) & (level > -220)].mean())
    assert 3.5 < np.mean(shafts) < 8
    assert np.std(shafts) > 0.3
    assert 0.8 < np.mean(heads) < 2.5
    assert min(fronts) > 0.1  # marrow in the shaft, trabeculae in the head


# People


def test_people_are_slim_and_obese_and_as_thick_as_people(population):
    patient = sample_patient(population, 1)
    rig, translation = draw_rig(patient.bones, np.random.default_rng(0), 128)
    bones = patient.translated(translation).bones
    facing = 1.0 if rig.geometry.view == "AP" else -1.0
    thickness, adiposity = [], []
    for seed in range(60):
        flesh = draw_flesh(bones, facing * rig.table_gap_mm, facing, np.random.default_rng(seed))
        lengths = cast_flesh(flesh, rig.geometry)
        assert all(bool(torch.isfinite(length).all()) and float(length.min()) >= 0 for length in lengths.values())
        whole = (lengths["muscle"] + lengths["fat"]).numpy()
        thickness.append(np.percentile(whole, 95))
        adiposity.append(flesh.metadata["adiposity"])
    assert 150 < min(thickness) < 200
    assert 240 < max(thickness) < 420
    assert 0.7 < np.median(adiposity) < 1.4
    assert np.corrcoef(thickness, adiposity)[0, 1] > 0.7
    assert max(adiposity) > 2


def test_bones_lie_in_flesh_and_displace_it(population):
    for number in range(4):
        taken = take(population, Series(seed=5, size_px=160, plain=True), number)
        lengths = taken.projection.lengths_mm
        mask = taken.projection.maps.mask.any(axis=0)
        around = (lengths["muscle"] + lengths["fat"]).numpy()
        assert np.mean(around[mask] > 40) > 0.98
        assert float(lengths["bone"].min()) >= 0
        assert np.mean(lengths["bone"].numpy()[mask] > 0.5) > 0.97


def test_metal_displaces_what_it_lies_in():
    geometry = ProjectionGeometry(1100, (1.0, 1.0), (120, 120), None, "AP", 150.0)
    bones = {
        bone: ball((x, 150, 0), 12, 30)
        for bone, x in zip(("hip_left", "hip_right", "femur_left", "femur_right"), (-40, -14, 14, 40), strict=True)
    }
    matter = {
        bone: Matter(cortex_mm=np.full(len(v), 2.0), density=np.full(len(v), 0.2)) for bone, (v, _) in bones.items()
    }
    flesh = flesh_of(pillar(150, 100))
    bare = project(bones, matter, flesh, {}, geometry, 0)
    shot = project(bones, matter, flesh, {"shot": Part("titanium", ball((14, 150, 0), 5, 30))}, geometry, 0)
    row, col = (round(n) for n in geometry.project(np.array([14.0, 150, 0]))[0])
    assert float(shot.lengths_mm["titanium"][row, col]) == pytest.approx(10, abs=0.3)
    sums = [sum(length[row, col] for length in p.lengths_mm.values()) for p in (bare, shot)]
    assert float(sums[0]) == pytest.approx(float(sums[1]), abs=1e-3)
    assert "titanium" not in bare.lengths_mm
    assert torch.equal(shot.lengths_mm["titanium"] > 0, shot.lengths_mm["titanium"] != 0)
    assert np.array_equal(bare.maps.mask, shot.maps.mask)
