"""Bones to one template, and models of them: on bones made here, and on the real ones where they are at hand."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from support.processes import started_at_once
from vtkmodules.vtkFiltersCore import vtkTriangleFilter
from vtkmodules.vtkFiltersSources import vtkCubeSource, vtkSphereSource
from vtkmodules.vtkIOPLY import vtkPLYWriter

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.meshes import arrays, polydata, unit_normals
from DualFaceReconLib.metrics import compare_surfaces
from DualFaceReconLib.shape.shapemodel import Landmark, load_shape_model
from training.__main__ import EXIT_REFUSED, main
from training.actions import EXIT_FLAGGED
from training.anatomy import folder, generalisation, people, remeshing, report
from training.anatomy.folder import RegistrationJob
from training.anatomy.people import LLP26, RHAN40, Corresponded, corresponded_femora, procrustes
from training.anatomy.shapes import compactness, generalisation_errors, shape_model, specificity, windows


def ball(resolution=40):
    sphere = vtkSphereSource()
    sphere.SetRadius(30)
    sphere.SetThetaResolution(resolution)
    sphere.SetPhiResolution(resolution)
    sphere.Update()
    return arrays(sphere.GetOutput())


def slab(thickness, count=25):
    """A flat box whose two sides lie close together, like an iliac wing."""
    grid = np.mgrid[:count, :count].reshape(2, -1).T * 2.0
    number = np.arange(count * count).reshape(count, count)
    a, b, c, d = (n.ravel() for n in (number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]))
    below = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])
    above = below[:, ::-1] + count * count
    points = np.concatenate([np.column_stack([grid, np.full(len(grid), z)]) for z in (0.0, thickness)])
    return points, np.concatenate([below, above])


def test_open_edges_are_closed_and_normals_point_outward():
    vertices, triangles = ball()
    holed = triangles[~np.isin(np.arange(len(triangles)), [5, 6, 200])]
    assert remeshing.open_edges(holed) > 0
    mesh = remeshing.closed((vertices, holed[:, ::-1]))
    assert remeshing.open_edges(mesh[1]) == 0
    normals = unit_normals(*mesh)
    assert (np.sum(normals * mesh[0], axis=1) > 0).all()


def test_a_template_is_even_closed_and_on_the_surface():
    template = remeshing.even_template(ball(), 500)
    vertices, triangles = template
    assert len(vertices) == pytest.approx(500, abs=5)
    assert remeshing.open_edges(triangles) == 0
    edges = np.linalg.norm(vertices[triangles[:, 0]] - vertices[triangles[:, 1]], axis=1)
    assert edges.max() < 2.2 * edges.min()
    assert np.abs(np.linalg.norm(vertices, axis=1) - 30).max() < 0.5


def test_points_are_carried_to_another_shape_of_the_mesh():
    vertices, triangles = ball()
    points = remeshing.even_template((vertices, triangles), 300)
    anchor = remeshing.anchors(points[0], unit_normals(*points), (vertices, triangles))
    assert anchor[1].sum(axis=1) == pytest.approx(np.ones(len(points[0])))
    assert anchor[1].min() >= 0
    assert remeshing.carried(triangles, anchor, vertices) == pytest.approx(points[0], abs=0.4)
    stretched = remeshing.carried(triangles, anchor, vertices * (1, 2, 3))
    assert stretched == pytest.approx(remeshing.carried(triangles, anchor, vertices) * (1, 2, 3))


def test_a_thin_wing_s_other_side_catches_nothing():
    wing = slab(1.0)
    points = np.column_stack([np.random.default_rng(0).uniform(5, 43, (200, 2)), np.full(200, 0.8)])  # nearer to z = 1
    downward = np.tile([0.0, 0.0, -1.0], (200, 1))
    anchor = remeshing.anchors(points, downward, wing)
    assert remeshing.carried(wing[1], anchor, wing[0])[:, 2] == pytest.approx(np.zeros(200))
    assert remeshing.carried(wing[1], remeshing.anchors(points, -downward, wing), wing[0])[:, 2] == pytest.approx(
        np.ones(200)
    )


# People


def write_people(folder, file, shapes, triangles):
    for number, shape in enumerate(shapes):
        person = folder / f"s{number:02d}"
        person.mkdir(parents=True, exist_ok=True)
        writer = vtkPLYWriter()
        writer.SetInputData(polydata(shape, triangles))
        writer.SetFileName(str(person / f"{file}.ply"))
        writer.Write()


def made_people(count=8, seed=0):
    """Balls stretched in three ways, turned and moved: shapes (N, V, 3) and triangles."""
    vertices, triangles = ball(24)
    rng = np.random.default_rng(seed)
    stretch = 1 + np.array([0.20, 0.12, 0.06]) * rng.normal(size=(count, 3))
    return vertices * (1.0, 1.3, 1.7) * stretch[:, None], triangles


def test_every_person_of_a_set_comes_to_the_template(tmp_path):
    shapes, triangles = made_people()
    write_people(tmp_path / "llp26", "femur_left", shapes + 7, triangles)
    lines = []
    bones = corresponded_femora(tmp_path, vertices=300, say=lines.append)
    assert bones.shapes.shape == (8, 300, 3)
    assert bones.people[0] == "llp26/s00"
    assert "8 people" in lines[0]
    assert "repaired" in lines[-1]
    for made, shape in zip(shapes, bones.shapes, strict=True):
        distances = compare_surfaces((shape, bones.triangles), (made + 7, triangles), count=3000)
        assert distances.assd_mm < 0.4


def test_right_bones_are_mirrored_to_the_left(tmp_path):
    vertices, triangles = ball(24)
    lopsided = vertices * np.where(vertices[:, :1] > 0, 1.6, 1.0)  # longer towards the right
    write_people(tmp_path, "hip_right", [lopsided], triangles)
    _, stack, mirrored = people._read_set(tmp_path, "hip_right")
    assert stack[0] == pytest.approx(lopsided * (-1, 1, 1), abs=1e-4)
    assert (np.sum(unit_normals(stack[0], mirrored) * stack[0], axis=1) > 0).all()


def test_missing_bones_and_other_meshes_are_named(tmp_path):
    with pytest.raises(Refusal, match="CONTRIBUTING"):
        corresponded_femora(tmp_path)
    shapes, triangles = made_people(2)
    write_people(tmp_path / "llp26", "femur_left", shapes, triangles)
    write_people(tmp_path / "llp26", "femur_left", shapes[:1], triangles[::-1])
    with pytest.raises(Refusal, match="do not share a mesh"):
        corresponded_femora(tmp_path)


# Models


@pytest.fixture
def bones():
    shapes, triangles = made_people(12)
    people = tuple(f"rhan40/s{i // 2:02d}" for i in range(12))
    return Corresponded(bone="hip", triangles=triangles, shapes=shapes, people=people, sets=(RHAN40,))


def test_procrustes_takes_pose_away_and_leaves_size(bones):
    aligned, mean = procrustes(bones.shapes)
    assert mean.mean(axis=0) == pytest.approx(np.zeros(3), abs=1e-9)
    sizes = [np.linalg.norm(s - s.mean(axis=0)) for s in (*bones.shapes, *aligned)]
    assert sizes[:12] == pytest.approx(sizes[12:])


def test_three_ways_to_differ_are_three_modes(bones):
    model = shape_model(bones, modes=8, local=0)
    assert compactness(model)[2] > 0.999
    assert len(model.people) == 6
    assert model.licences == ("CC BY 4.0",)
    assert model.project(bones.shapes[4]) == pytest.approx(bones.shapes[4], abs=0.05)
    assert len(shape_model(bones, modes=2, local=0).variances) == 2


def test_local_variation_lets_parts_differ_and_keeps_each_vertex_variance(bones):
    plain, local = shape_model(bones, modes=20, local=0), shape_model(bones, modes=4000, local=0.3)
    for_vertex = [(model.modes**2 @ model.variances).sum(axis=1) for model in (plain, local)]
    assert for_vertex[1] == pytest.approx(for_vertex[0], rel=0.05)
    bent = plain.mean * np.where(plain.mean[:, 2:] > 0, 1.1, 0.95)  # one end large, the other small: nobody is so
    errors = [np.linalg.norm(model.project(bent) - bent, axis=1).mean() for model in (plain, local)]
    assert errors[1] < 0.5 * errors[0]


def test_windows_cover_the_bone_and_fade_with_distance(bones):
    shares = windows(bones.shapes[0], 8)
    assert (shares**2).sum(axis=1) == pytest.approx(np.ones(len(shares)))
    shared = shares @ shares.T
    apart = np.linalg.norm(bones.shapes[0][:, None] - bones.shapes[0], axis=2)
    assert shared[apart < 5].min() > 0.85
    assert shared[apart > 0.9 * apart.max()].max() < 0.5


def test_stray_vertices_and_crossings_are_repaired_and_the_rest_stays(bones):
    shapes = bones.shapes.copy()
    shapes[3, 100] += (0, 60, 0)
    repaired, moved = people.repaired_shapes(shapes, bones.triangles)
    assert np.flatnonzero(moved).tolist() == [3]
    assert repaired[3, 100] == pytest.approx(bones.shapes[3, 100], abs=1.5)
    assert np.linalg.norm(repaired[3] - shapes[3], axis=1)[100] > 50
    assert np.count_nonzero(np.linalg.norm(repaired[3] - shapes[3], axis=1) > 1e-6) < 60  # of 530
    assert repaired[0] == pytest.approx(shapes[0])


def test_people_are_left_out_with_both_their_sides(bones):
    rest = bones.without({"rhan40/s03"})
    assert len(rest.shapes) == 10
    assert "rhan40/s03" not in shape_model(rest, modes=5).people
    with pytest.raises(ValueError, match="nobody"):
        bones.without({"rhan40/s99"})
    assert len(bones.one_sided().shapes) == 6


def test_generalisation_falls_with_modes_and_specificity_is_within_the_spread(bones):
    errors = generalisation_errors(bones, [1, 3], local=0)
    assert errors.shape == (6, 2)
    assert errors[:, 1].mean() < 0.15 * errors[:, 0].mean()
    aligned, mean = procrustes(bones.shapes)
    spread = np.linalg.norm(aligned - mean, axis=2).mean()
    away = specificity(bones, shape_model(bones, modes=3), [1, 3], samples=30)
    assert (away > 0).all()
    assert (away < 2 * spread).all()


def test_models_are_built_and_judged_in_one_go(bones, tmp_path, monkeypatch, capsys):
    femora = replace(bones, bone="femur", people=tuple(f"llp26/s{i:02d}" for i in range(12)), sets=(LLP26,))
    monkeypatch.setattr(report, "corresponded_hips", lambda folder, say: bones)
    monkeypatch.setattr(report, "corresponded_femora", lambda folder, say: femora)
    monkeypatch.setattr(report, "LANDMARKS", dict.fromkeys(("hip", "femur"), made_landmarks))
    monkeypatch.setattr(generalisation, "SAMPLES", 4000)
    for module in (report, generalisation):  # pictures of a hundredth of the points, which is most of the time
        monkeypatch.setattr(module, "dense_points", few_points)
    write_person_from_elsewhere(tmp_path / "vsd_dev", bones)
    out, pictures = tmp_path / "models", tmp_path / "report"
    assert main(["anatomy", "models", "--bones", str(tmp_path), "--out", str(out), "--report", str(pictures)]) == 0
    figures = json.loads((pictures / "models.json").read_text(encoding="utf-8"))
    assert figures["hip"]["people"] == 6
    assert figures["femur"]["people"] == 12
    by_modes = figures["hip"]["by_modes"]
    assert by_modes[0]["generalisation_mm"] > by_modes[-1]["generalisation_mm"]
    printed = capsys.readouterr().out
    assert "6 people" in printed
    distance = re.search(r"\| asis \| ([\d.]+) \| 2.5 \| 2 \|", printed)  # picked 1 mm beside, on both sides
    assert 0.5 < float(distance[1]) < 2
    assert load_shape_model(out / "femur.ssm.npz").bone == "femur"
    assert sorted(p.name for p in out.iterdir()) == ["MODELS.md", "femur.ssm.npz", "hip.ssm.npz"]
    of_bones = [f"{bone}_{what}.png" for bone in ("femur", "hip") for what in ("landmarks", "modes", "worst")]
    assert sorted(p.name for p in pictures.iterdir()) == sorted(["curves.png", "models.json", *of_bones])


def few_points(mesh, values, count=15_000, seed=0):
    return remeshing.dense_points(mesh, values, min(count, 15_000), seed)


def made_landmarks(mean, triangles):
    return {"asis": Landmark(vertices=np.array([int(mean[:, 2].argmax())]), weights=np.ones(1))}


def write_person_from_elsewhere(folder, bones):
    """One whole person whose landmark the raters picked 1 mm off, with a spread of 2.5 mm."""
    shape = bones.shapes[5]
    picks = []
    for side, sign in (("left", 1), ("right", -1)):
        placed = (shape + np.array([-90, 5, 7])) * (sign, 1, 1)
        triangles = bones.triangles[:, ::sign]
        for kind in ("hip", "femur"):
            write_people(folder, f"{kind}_{side}", [placed], triangles)
        place = placed[shape[:, 2].argmax()] + (0, 1, 0)
        row = {"part": "pelvis", "side": None, "name": f"{side.capitalize()} ASIS", "mean_ras_mm": place.tolist()}
        picks.append({**row, "rater_sd_mm": 2.5, "picks": 20})
    (folder / "s00" / "landmarks.json").write_text(json.dumps(picks), encoding="utf-8")


def test_models_without_bones_are_refused(tmp_path, capsys):
    arguments = ["anatomy", "models", "--bones", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--report", str(tmp_path / "report")]) == EXIT_REFUSED
    assert "CONTRIBUTING" in capsys.readouterr().err


# The command


def test_a_folder_of_bones_is_registered_once_and_failures_are_flagged(tmp_path, capsys, monkeypatch):
    shapes, triangles = made_people(2)
    write_people(tmp_path / "bones", "femur_left", shapes, triangles)
    stray = arrays(cube())
    write_people(tmp_path / "bones" / "other", "femur_left", [stray[0] * (30, 1, 30) + 5], stray[1])
    template = remeshing.even_template((shapes[0], triangles), 300)
    write_people(tmp_path, "template", [template[0]], template[1])
    arguments = ["anatomy", "register", str(tmp_path / "bones"), "--template", str(tmp_path / "s00" / "template.ply")]
    arguments += ["--out", str(tmp_path / "out ü")]

    with started_at_once():
        assert main([*arguments, "--jobs", "2"]) == EXIT_FLAGGED
    printed = capsys.readouterr()
    assert "FLAGGED other/s00/femur_left" in printed.out
    assert "3 bones" in printed.out
    table = (tmp_path / "out ü" / "table.md").read_text(encoding="utf-8")
    assert table.count("femur_left") == 3
    assert table.count("**") == 2  # one flag
    for person in ("s00", "s01"):
        result = remeshing.read_ply(tmp_path / "out ü" / person / "femur_left.ply")
        assert np.array_equal(result[1], template[1])
        bone = remeshing.read_ply(tmp_path / "bones" / person / "femur_left.ply")
        assert compare_surfaces(result, bone, count=3000).assd_mm < 0.5
        assert (tmp_path / "out ü" / person / "femur_left.png").stat().st_size > 5000

    before = (tmp_path / "out ü" / "s01" / "femur_left.ply").stat().st_mtime_ns
    (tmp_path / "out ü" / "s00" / "femur_left.json").unlink()
    as_they_are = SimpleNamespace(points=template[0])
    monkeypatch.setattr(folder, "register", lambda *_, **__: as_they_are)  # how well is no matter now
    assert main([*arguments, "--jobs", "1"]) == EXIT_FLAGGED
    assert "2 bones were done before" in capsys.readouterr().err
    assert (tmp_path / "out ü" / "s01" / "femur_left.ply").stat().st_mtime_ns == before


def test_a_result_of_another_bone_template_or_seed_is_not_reused(tmp_path):
    for name in ("bone", "template", "other"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    job = RegistrationJob(name="bone", bone=tmp_path / "bone", template=tmp_path / "template", out=tmp_path, seed=0)
    others = [replace(job, seed=1), replace(job, bone=tmp_path / "other"), replace(job, template=tmp_path / "other")]
    assert len({j.fingerprint() for j in (job, *others)}) == 4
    assert replace(job, out=tmp_path / "elsewhere").fingerprint() == job.fingerprint()


def cube():
    source, triangles = vtkCubeSource(), vtkTriangleFilter()
    triangles.SetInputConnection(source.GetOutputPort())
    triangles.Update()
    return triangles.GetOutput()


def test_nothing_to_register_is_refused(tmp_path, capsys):
    (tmp_path / "bones").mkdir()
    arguments = ["anatomy", "register", str(tmp_path / "bones"), "--template", str(tmp_path / "t.ply")]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == EXIT_REFUSED
    assert "no .ply bones" in capsys.readouterr().err
    shapes, triangles = made_people(1)
    write_people(tmp_path / "bones", "hip_left", shapes, triangles)
    assert main([*arguments, "--out", str(tmp_path / "out")]) == EXIT_REFUSED
    assert "no template" in capsys.readouterr().err
