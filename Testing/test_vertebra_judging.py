"""How vertebrae are judged: figures of volumes and their surfaces, rows without a network, tables by people."""

import json

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from support.recipes import EAR
from support.solids import ball
from support.spine_films import Hull
from support.vertebrae import made_group

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.meshes import volume_mm3
from DualFaceReconLib.metrics import compare_surfaces
from DualFaceReconLib.networks.weights import weights_of
from DualFaceReconLib.vertebra.fitting import fitted_to_surface
from training.__main__ import main
from training.judging.volumes import ZScale
from training.learning.finished import write_finished
from training.learning.learner import plain
from training.learning.recipe import recipe_of
from training.learning.tasks import network_of
from training.vertebrae import correspondence, films, judging
from training.vertebrae.films import Errors, Grid, film_vertebra
from training.vertebrae.judging import (
    VolumeScore,
    as_markdown,
    choosing_studies,
    chosen_threshold,
    figures_of,
    judge,
    real_vertebrae,
    surface_of,
)
from training.vertebrae.rows import (
    COMPLETED,
    EXACT,
    FITTED,
    MEAN,
    OUTLINED,
    USUAL,
    TrainedNetwork,
    exact_volume,
    mean_vertebra,
    trained_network,
    usual_vertebra,
)
from training.vertebrae.silhouettes import fitted_vertices
from training.vertebrae.virtual import Stock

GRID, SCALE = Grid(side=32, voxel_mm=3.5), ZScale(mean_hu=11, deviation_hu=74)


@pytest.fixture(scope="module", autouse=True)
def coarse_bones():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(films, "MODEL_MM", 3.5)
        patch.setattr(judging, "SAMPLES", 1000)
        yield


@pytest.fixture(scope="module")
def groups():
    return {"lumbar": made_group()}


@pytest.fixture(scope="module")
def stock(groups):
    return Stock.of(groups, ["vhm/male"])


@pytest.fixture(scope="module")
def study(groups, stock):
    _, vertebra = next(iter(real_vertebrae(groups, ["vhm/male"])))
    return film_vertebra(vertebra, stock, 3, GRID)


def test_the_surface_of_a_ball():
    places = np.stack(np.meshgrid(*[np.arange(32) - 15.5] * 3, indexing="ij"), axis=-1) * 2.0
    away = np.linalg.norm(places - (5.0, -3.0, 8.0), axis=-1)
    vertices, triangles = surface_of(1000 - 40 * away, 200.0, Grid(side=32, voxel_mm=2.0))  # a radius of 20 mm
    assert np.linalg.norm(vertices - (5, -3, 8), axis=1) == pytest.approx(np.full(len(vertices), 20), abs=0.1)
    assert abs(volume_mm3(vertices, triangles)) == pytest.approx(4 / 3 * np.pi * 8000, rel=0.01)
    assert surface_of(np.zeros((4, 4, 4)), 200.0, Grid(side=4, voxel_mm=1.0)) is None


def test_marrow_belongs_to_the_bone_around_it_and_a_canal_does_not():
    hu = np.zeros((16, 16, 16))
    hu[2:14, 2:14, 2:14] = 600
    hu[4:12, 4:12, 3:7] = 60  # enclosed
    hu[6:9, 6:9, 9:] = 0  # open above
    bone = judging.solid(hu, 150)
    assert bone[5, 5, 5]
    assert not bone[7, 7, 12]
    grid = Grid(side=16, voxel_mm=1.0)
    assert len(surface_of(hu, 150, grid)[0]) == len(surface_of(np.where(bone, 600, 0), 150, grid)[0])


def test_a_surface_is_closed_where_the_cube_ends():
    vertices, _ = surface_of(np.full((4, 4, 4), 400.0), 200.0, Grid(side=4, voxel_mm=1.0))
    assert np.abs(vertices).max() == pytest.approx(2.0)


def test_figures_of_the_truth_itself(study):
    figures = figures_of(exact_volume(study), study, judging.USUAL_BONE_HU, GRID, SCALE)
    assert figures["mse"] == 0
    assert 0.5 < figures["dice"] < 1  # of what lies in the mesh: a threshold takes in voxels that hold a little bone
    assert figures["ssim"] == pytest.approx(1)
    assert figures["psnr_hu_db"] is figures["frequency"] is None  # infinite
    assert figures["assd_mm"] < 1.5  # of voxels of 3.5 mm
    assert json.loads(json.dumps(figures)) == figures
    assert list(figures) == list(judging.FIGURES)


def test_figures_of_nothing(study):
    figures = figures_of(np.zeros_like(study.truth_hu), study, judging.USUAL_BONE_HU, GRID, SCALE)
    assert figures["dice"] == 0
    assert figures["assd_mm"] is None
    assert figures["mse"] == pytest.approx(np.square(study.truth_hu / 74).mean(), rel=1e-5)


def test_the_mean_vertebra_is_nearly_there(study, stock):
    """People differ little here: what is left is the tilt, and grey values."""
    figures = figures_of(mean_vertebra(stock, GRID)(study), study, judging.USUAL_BONE_HU, GRID, SCALE)
    assert figures["dice"] > 0.4
    assert figures["assd_mm"] < 4
    worst = figures_of(np.roll(study.truth_hu, 6, axis=0), study, judging.USUAL_BONE_HU, GRID, SCALE)
    assert figures["mse"] < worst["mse"]


def test_what_one_knows_without_a_network_is_a_mean_vertebra_where_it_was_clicked(groups, stock):
    _, vertebra = next(iter(real_vertebrae(groups, ["vhm/male"])))
    clicked, missed = (film_vertebra(vertebra, stock, 5, GRID, errors=Errors(click_mm=mm)) for mm in (0.0, 8.0))
    row = usual_vertebra(stock, GRID)
    np.testing.assert_array_equal(row(clicked), row(missed))  # in the cube around the click
    right, wrong = (figures_of(row(study), study, judging.USUAL_BONE_HU, GRID, SCALE) for study in (clicked, missed))
    assert right["assd_mm"] < 4 < wrong["assd_mm"]


def test_a_network_is_asked_of_the_mirror_image_too(study):
    network = Hull()
    recipe = recipe_of(plain(EAR))
    trained = TrainedNetwork(recipe=recipe, network=network, sha256="")
    np.testing.assert_allclose(trained.mirrored_too(study), trained(study), atol=1e-4)  # a hull has no sides
    network.forward = lambda projections: projections[:, :1] + torch.arange(32.0)[:, None, None]
    ramp = (trained.mirrored_too(study) - trained(study)) / recipe.films.deviation_hu
    np.testing.assert_allclose(ramp.mean(axis=(1, 2)), 15.5 - np.arange(32), atol=1e-3)


def test_a_shape_model_finds_where_a_vertebra_lies_and_how_it_is_turned(groups):
    """Of people whom it knows, so that shape is no excuse: what it starts from is upright, in the middle and a mean."""
    stock = Stock.of(groups)
    _, vertebra = next(iter(real_vertebrae(groups, ["vhm/male"])))
    study = film_vertebra(vertebra, stock, 5, GRID, errors=Errors(click_mm=5.0))
    group = stock.groups["lumbar"]
    start = group.model.mean - (group.model.mean.min(axis=0) + group.model.mean.max(axis=0)) / 2
    before, after = (
        compare_surfaces((vertices, group.triangles), study.mesh, 2000).assd_mm
        for vertices in (start, fitted_vertices(study, stock))
    )
    assert after < 1.0
    assert after < before / 2
    by_network = fitted_vertices(study, stock, study.mesh)  # of one that makes no mistake
    assert compare_surfaces((by_network, group.triangles), study.mesh, 2000).assd_mm == pytest.approx(after, abs=0.3)


def test_a_shape_model_is_brought_onto_a_surface_with_specks(groups):
    group = Stock.of(groups).groups["lumbar"]
    turn = Rotation.from_euler("xyz", (6, -8, 4), degrees=True)
    true = turn.apply(group.model.mean) * 1.05 + (4.0, -3.0, 6.0)
    away = ball((60.0, 0.0, 0.0), 4.0)
    both = np.concatenate([true, away[0]]), np.concatenate([group.triangles, away[1] + len(true)])
    found = fitted_to_surface(group.model, both)
    assert compare_surfaces((found, group.triangles), (true, group.triangles), 2000).assd_mm < 0.8
    assert np.linalg.norm(found - true, axis=1).mean() < 1.5


def test_real_vertebrae_are_those_of_the_people_named(groups):
    found = list(real_vertebrae(groups, ["vhm/male"]))
    assert [(person, vertebra.level) for person, vertebra in found] == [("vhm/male", f"L{n}") for n in (2, 3, 4)]
    for _, vertebra in found:
        assert volume_mm3(*vertebra.mesh) > 0
        assert np.abs(vertebra.mesh[0][vertebra.parts.upper].mean(axis=0)[:2]).max() < 6


def test_a_threshold_is_chosen_on_people_who_were_learnt_from(stock, monkeypatch):
    monkeypatch.setattr(judging, "CHOOSING", 2)

    class Bright:
        def __call__(self, study):
            assert {part["person"] for part in study.vertebra.metadata["mixed"]} == {"clouthier/mean"}
            return np.where(judging.true_bone(study, GRID), 260.0, 240.0)

    assert chosen_threshold(Bright(), choosing_studies(stock, GRID), GRID) == 250


# ---- Tables


def score(person, level, dice, row=MEAN, condition="alone", assd=1.0):
    figures = {**dict.fromkeys(judging.FIGURES, 0.5), "dice": dice, "assd_mm": assd}
    return VolumeScore(seal="", person=person, level=level, condition=condition, row=row, figures=figures)


def test_a_table_has_means_over_people_and_every_person_s_own():
    scores = [score("a/1", "L1", 0.8), score("a/1", "L2", 0.6), score("b/2", "L3", 0.9), score("b/2", "T9", 0.5)]
    text = as_markdown(scores, GRID)
    (lumbar,) = (line for line in text.splitlines() if line.startswith("| lumbar"))
    assert lumbar.startswith(f"| lumbar | 2 | 3 | {MEAN} |")
    assert "0.800 [0.700, 0.900]" in lumbar  # of 0.7 and 0.9
    assert "| lower thoracic | 1 | 1 |" in text
    assert "no verdict" in text


def test_what_has_no_surface_is_counted():
    text = as_markdown([score("a/1", "L1", 0.8, assd=2.0), score("a/1", "L2", 0.0, assd=None)], GRID)
    assert "2.000, 1 without" in text


def test_judging_goes_on_where_it_was_cut(groups, tmp_path, monkeypatch):
    said = []
    text = judge(groups, ["vhm/male"], None, GRID, SCALE, tmp_path, ["alone"], said.append)
    assert said == ["vhm/male L2 alone", "vhm/male L3 alone", "vhm/male L4 alone"]
    assert text == (tmp_path / "table.md").read_text(encoding="utf-8")
    assert f"| lumbar | 1 | 3 | {EXACT} | 0.000 |" in text
    lines = (tmp_path / "scores.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 3 * 4
    (tmp_path / "scores.jsonl").write_text("\n".join(lines[:8]) + "\n", encoding="utf-8")
    filmed = []
    monkeypatch.setattr(judging, "film_vertebra", lambda *given: filmed.append(given) or film_vertebra(*given))
    assert judge(groups, ["vhm/male"], None, GRID, SCALE, tmp_path, ["alone"], said.append) == text
    assert len(filmed) == 1


def test_without_a_network_each_person_is_left_out_in_turn(groups, tmp_path, monkeypatch):
    """Of the others alone each one's rows are made: a row's seal is here whom it knows."""
    known = []

    def rows(stock, grid):
        known.append(set(stock.groups["lumbar"].people))
        return {MEAN: judging.JudgedRow(volume=lambda study: None, threshold_hu=0, seal=str(known[-1]))}

    monkeypatch.setattr(judging, "MEAN_OF_MANY", "nobody")  # as if the mean were a person
    monkeypatch.setattr(judging, "simple_rows", rows)
    monkeypatch.setattr(judging, "usual_vertebra", lambda stock, grid: lambda study: None)
    monkeypatch.setattr(judging, "_study", lambda *given: None)
    monkeypatch.setattr(judging, "figures_of", lambda *given: dict.fromkeys(judging.FIGURES, 1.0))
    people = ["vhm/male", "clouthier/mean"]
    text = judge(groups, people, None, GRID, SCALE, tmp_path, ["alone"], say=lambda words: None)
    assert known == [{"clouthier/mean"}, {"vhm/male"}]
    scores = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {score["person"] for score in scores} == set(people)
    assert all(score["person"] not in score["seal"] for score in scores)
    assert f"| lumbar | 2 | 5 | {MEAN} |" in text


def test_a_run_s_network_is_judged_on_whom_it_kept_out(groups, tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    network = network_of(EAR)
    recipe = plain(EAR)
    recipe["films"]["without"] = ["vhm/male"]
    recipe["films"]["voxel_mm"] = 7.0
    (tmp_path / "run").mkdir()
    write_finished(weights_of(network), {"recipe": recipe}, tmp_path / "run" / "network.safetensors")
    trained = trained_network(tmp_path / "run")
    assert trained.recipe.films.without == ("vhm/male",)
    monkeypatch.setattr(judging, "CHOOSING", 1)
    monkeypatch.setattr(correspondence, "load_groups", lambda folder, cache: groups)
    out = tmp_path / "judged"
    assert main(["vertebrae", "evaluate", str(tmp_path / "run"), "--out", str(out), "--conditions", "alone"]) == 0
    assert "| network |" in capsys.readouterr().out
    assert (out / "surfaces.png").stat().st_size > 1000
    rows = [json.loads(line) for line in (out / "scores.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["row"] for row in rows} == {EXACT, MEAN, USUAL, FITTED, "network", COMPLETED, OUTLINED}
    assert {row["seal"] for row in rows if row["row"] in (judging.NETWORK, COMPLETED, OUTLINED)} == {trained.sha256}


def test_what_cannot_be_judged(groups, tmp_path, monkeypatch, capsys):
    with pytest.raises(Refusal, match="nobody"):
        judge(groups, ["clouthier/mean"], None, GRID, SCALE, tmp_path)
    with pytest.raises(Refusal, match="no films taken"):
        judge(groups, ["vhm/male"], None, GRID, SCALE, tmp_path, ["upside down"])
    monkeypatch.setattr(correspondence, "load_groups", lambda folder, cache: groups)
    assert main(["vertebrae", "evaluate", "--out", str(tmp_path)]) == 2
    assert "--people" in capsys.readouterr().err
    assert main(["vertebrae", "evaluate", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "no finished network" in capsys.readouterr().err
