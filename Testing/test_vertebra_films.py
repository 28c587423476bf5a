"""Two films of a virtual vertebra: that both show it where it is, alone and among its neighbours."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from support.solids import ball, write_ply
from support.vertebrae import made_group

from DualFaceReconLib.backprojection import back_projected
from DualFaceReconLib.biplanar import FilmPair, placed
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import rigid_fit, volume_mm3
from training.__main__ import main
from training.anatomy.remeshing import open_edges
from training.vertebrae import correspondence, films, pelvis, spine
from training.vertebrae.films import CORTICAL_HU, USUAL_ERRORS, Errors, Grid, bone_mm, filmed_vertebra
from training.vertebrae.spine import Trunk, chords, draw_trunk, flesh_mm, neighbours, ribs, tube
from training.vertebrae.virtual import Stock, sample_vertebra
from training.xray.materials import attenuation
from training.xray.volume import Volume

GRID = Grid(side=28, voxel_mm=4.0)
FILM = placed(ProjectionGeometry(1000, (4.0, 4.0), (61, 61), object_distance_mm=200))


@pytest.fixture(scope="module")
def stock():
    return Stock.of({"lumbar": made_group()})


# ---- What stands around a vertebra


def test_a_tube_is_closed_and_as_large_as_it_should_be():
    path = np.stack([np.linspace(0, 50, 30), np.zeros(30), np.zeros(30)], axis=1)
    vertices, triangles = tube(path, 5.0)
    assert open_edges(triangles) == 0
    polygon = spine.RIB_SIDES / 2 * np.sin(2 * np.pi / spine.RIB_SIDES)  # of radius 1, beside pi
    assert volume_mm3(vertices, triangles) == pytest.approx(polygon * 25 * 50)


def test_chords_of_a_cylinder():
    """The central ray goes through the middle; a ray beside it is longer by its obliquity."""
    lengths = chords(FILM, (0.0, 0.0, 60.0, 40.0))
    assert lengths[30, 30] == pytest.approx(80)
    oblique = np.hypot(1000, 4.0 * 20) / 1000  # twenty rows up
    assert lengths[10, 30] == pytest.approx(80 * oblique)
    assert lengths[30, 0] == 0  # 120 mm at the detector are 96 at the axis
    assert lengths[30, 40] == lengths[30, 20]
    lateral = chords(placed(FILM.geometry, 90), (0.0, 0.0, 60.0, 40.0))
    assert lateral[30, 30] == pytest.approx(120)


def test_flesh_is_fat_muscle_and_lungs():
    trunk = Trunk(skin=(0, 30, 100, 80), lean=(0, 30, 90, 70), lungs=((0, 40, 30, 30),))
    lengths = flesh_mm(FILM, trunk)
    assert lengths["fat"][30, 30] == pytest.approx(20)
    assert lengths["muscle"][30, 30] == pytest.approx(140 - 0.8 * 60)
    assert min(mm.min() for mm in lengths.values()) >= 0


@pytest.mark.parametrize("level", ["T4", "L3"])
def test_trunks_hold_a_vertebra(level):
    rng = np.random.default_rng(0)
    for _ in range(50):
        trunk = draw_trunk(level, rng)
        right, anterior, wide, deep = trunk.lean
        assert ((right / wide) ** 2 + (anterior / deep) ** 2) < 1
        assert trunk.skin[3] > trunk.lean[3] > 0
        assert len(trunk.lungs) == (2 if level == "T4" else 0)


def test_neighbours_stand_above_and_below(stock):
    vertebra = sample_vertebra(stock, 1, level="L3")
    upper, lower = neighbours(vertebra, stock, np.random.default_rng(0))  # nobody has L1 or L5, and L3 has no ribs
    own = vertebra.mesh[0][vertebra.parts.body]
    above, below = (mesh[0][vertebra.parts.body] for mesh in (upper, lower))
    assert above[:, 2].mean() - own[:, 2].mean() > 20
    assert own[:, 2].mean() - below[:, 2].mean() > 20
    for gap in (above[:, 2].min() - own[:, 2].max(), own[:, 2].min() - below[:, 2].max()):
        assert -6 < gap < 14  # a disc, and what rims stand out
    for bodies in (above, below):
        assert np.abs(bodies[:, :2].mean(axis=0) - own[:, :2].mean(axis=0)).max() < 12
        assert np.ptp(bodies[:, 0]) == pytest.approx(np.ptp(own[:, 0]), rel=0.25)


def test_ribs_belong_to_the_thorax():
    mesh = ball((0, 0, 0), 25.0)
    assert ribs("L1", mesh, np.random.default_rng(0)) == []
    left, right = ribs("T8", mesh, np.random.default_rng(0))
    assert left[0][:, 0].max() < 0 < right[0][:, 0].min()
    assert volume_mm3(*left) > 0
    assert volume_mm3(*right) > 0


# ---- The pelvis and gas, where a stock has pelves


def block(half, degrees, middle):
    """A closed block whose upper face looks so far forward, with its middle at a place."""
    corners = np.array([[x, y, z] for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)]) * half - (0, 0, half[2])
    quads = ((0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5))
    triangles = np.array([part for a, b, c, d in quads for part in ((a, b, c), (a, c, d))])
    turn = Rotation.from_euler("x", -degrees, degrees=True)
    return turn.apply(corners) + middle, triangles


@pytest.fixture
def pelves(tmp_path):
    """Of one person, a sacrum that is a block and hips that are balls, read from files."""
    folder = tmp_path / "bones" / "llp26" / "s01"
    folder.mkdir(parents=True)
    bones = block((20.0, 15.0, 50.0), 35, (3.0, 8.0, 11.0)), ball((-70, 20, 0), 40), ball((70, 20, 0), 40)
    for name, mesh in zip(("sacrum", "hip_left", "hip_right"), bones, strict=True):
        write_ply(mesh, folder / f"{name}.ply")
    return pelvis.read_pelves(tmp_path / "bones")


def test_a_pelvis_stands_on_its_endplate(pelves, tmp_path):
    middle, normal = pelvis.endplate(block((20.0, 15.0, 50.0), 35, (3.0, 8.0, 11.0)))
    assert np.allclose(middle, (3.0, 8.0, 11.0), atol=0.1)
    assert np.degrees(np.arctan2(normal[1], normal[2])) == pytest.approx(35, abs=0.1)
    [standing] = pelves
    assert standing.meshes[0][0][:, 2].max() == pytest.approx(0, abs=0.1)
    assert np.allclose(standing.meshes[0][0].min(axis=0), (-20, -15, -100), atol=0.1)
    pelvis.save_pelves(pelves * 2, tmp_path / pelvis.PACKED)
    first, _ = pelvis.read_pelves(tmp_path)  # as on a machine that has no set
    for (vertices, triangles), (known, same) in zip(first.meshes, standing.meshes, strict=True):
        assert np.allclose(vertices, known, atol=1e-4)
        assert np.array_equal(triangles, same)
    (tmp_path / pelvis.PACKED).unlink()
    with pytest.raises(Refusal, match="no pelvis"):
        pelvis.read_pelves(tmp_path)


def test_a_pelvis_stands_below_l5_and_nothing_else_moves(stock, pelves):
    on_pelvis = replace(stock, pelves=pelves)
    for level, more in (("L3", 0), ("L5", 3)):  # nobody has L5 but as the vertebra itself
        vertebra = replace(sample_vertebra(stock, 1, level="L3"), level=level)
        plain, among = (neighbours(vertebra, of, np.random.default_rng(0)) for of in (stock, on_pelvis))
        assert len(among) == len(plain) + more
        assert all(np.array_equal(a[0], b[0]) for a, b in zip(plain, among, strict=False))
    sacrum = among[-3][0]
    assert -14 < sacrum[:, 2].max() - vertebra.mesh[0][vertebra.parts.lower][:, 2].mean() < 5  # a disc, bent
    assert all(volume_mm3(*mesh) > 0 for mesh in among[-3:])


def test_gas_takes_the_place_of_muscle_on_both_films():
    rng = np.random.default_rng(1)
    plain = draw_trunk("L4", np.random.default_rng(1))
    gassy = [draw_trunk("L4", rng, bowel=True) for rng in (rng, *map(np.random.default_rng, range(2, 30)))]
    assert replace(gassy[0], gas=()) == plain
    assert draw_trunk("T4", rng, bowel=True).gas == ()
    blobs = np.array([blob for trunk in gassy for loop in trunk.gas for blob in loop])
    assert blobs[:, 1].min() >= spine.BOWEL_FROM_MM  # in front of the spine
    ball_of_gas = Trunk(skin=(0, 30, 100, 80), lean=(0, 30, 90, 70), lungs=(), gas=(((0, 30, 0, 20, 20, 20),) * 2,))
    for film in (FILM, placed(FILM.geometry, 90)):
        without, gas = flesh_mm(film, replace(ball_of_gas, gas=())), flesh_mm(film, ball_of_gas)
        assert (without["muscle"] - gas["muscle"]).max() == pytest.approx(40, abs=0.5)  # a loop's blobs are one
        assert np.array_equal(without["fat"], gas["fat"])


def test_a_film_in_situ_shows_them_and_the_truth_stays(stock, pelves):
    plain, among = (filmed_vertebra(of, 10, GRID, in_situ=True) for of in (stock, replace(stock, pelves=pelves)))
    assert not np.array_equal(plain.films[0], among.films[0])
    assert np.array_equal(plain.truth_hu, among.truth_hu)
    alone = [filmed_vertebra(of, 10, GRID).films[0] for of in (stock, replace(stock, pelves=pelves))]
    assert np.array_equal(*alone)


# ---- Rays through bone


def test_a_block_of_bone_is_as_long_as_its_rays():
    values = np.zeros((40, 40, 40), np.float32)
    values[10:30, 10:30, 10:30] = CORTICAL_HU / 2
    matrix = np.diag([2.0, 2.0, 2.0, 1.0])
    matrix[:3, 3] = -39.0
    for angle in (0, 90):
        lengths = bone_mm(Volume(values, matrix), placed(FILM.geometry, angle))
        assert lengths[30, 30] == pytest.approx(20, rel=0.02)  # 40 mm of half the density
        assert lengths[0, 0] == 0


def test_pure_bone_is_as_dense_as_nist_has_it():
    bone, water = (attenuation(name, [70.0])[0] for name in ("bone", "water"))
    assert pytest.approx(1000 * (bone / water - 1), abs=0.1) == CORTICAL_HU


# ---- Films


@pytest.mark.parametrize("errors", [None, Errors(click_mm=5.0)])
def test_both_films_show_the_vertebra_where_the_truth_has_it(stock, errors):
    """Also where the clicks are wrong: then it lies beside the cube's middle, on both films and in truth."""
    study = filmed_vertebra(stock, 5, GRID, errors=errors)
    bone = study.truth_hu > 100
    places = (np.argwhere(bone) - (GRID.side - 1) / 2) * GRID.voxel_mm
    for end in (np.min, np.max):
        assert end(places, axis=0) == pytest.approx(end(study.mesh[0], axis=0), abs=1.3 * GRID.voxel_mm)
    for film, place in zip(study.films, (study.believed.first, study.believed.second), strict=True):
        shadow = (film - np.median(film) > 0.1 * (film.max() - np.median(film))).astype(float)
        lit = back_projected(shadow, place, study.believed_cube).numpy()
        assert lit[bone].mean() > 0.9
        assert lit.mean() < 0.6
    own = study.vertebra.mesh[0]
    beside_middle = rigid_fit(own - (own.min(axis=0) + own.max(axis=0)) / 2, study.mesh[0])[1]
    assert (np.linalg.norm(beside_middle) > 2) == (errors is not None)


def test_without_errors_what_is_believed_is_so(stock):
    study = filmed_vertebra(stock, 6, GRID)
    assert study.believed.first.geometry == study.pair.first.geometry
    assert study.believed.angle_degrees == pytest.approx(study.pair.angle_degrees) == pytest.approx(90)
    assert study.metadata["gap_mm"] == pytest.approx(0, abs=1e-6)


def test_what_is_believed_is_as_wrong_as_it_should_be():
    rng, pair = np.random.default_rng(0), (FILM, placed(FILM.geometry, 90))
    believed = [films.believed_films(pair, (0, 90), USUAL_ERRORS, rng) for _ in range(500)]
    turned = [FilmPair(*both).angle_degrees - 90 for both in believed]
    assert np.std(turned) == pytest.approx(2, rel=0.1)
    for number in range(2):
        geometries = [both[number].geometry for both in believed]
        for name, mean in (("sdd_mm", 1000), ("object_distance_mm", 200)):
            values = [getattr(geometry, name) for geometry in geometries]
            assert np.mean(values) == pytest.approx(mean, abs=4)
            assert np.std(values) == pytest.approx(20, rel=0.1)


def test_any_angle(stock):
    study = filmed_vertebra(stock, 7, GRID, angles_degrees=(-30.0, 90.0))
    assert study.pair.angle_degrees == pytest.approx(120)
    assert study.metadata["angles_degrees"] == [-30.0, 90.0]


@pytest.mark.parametrize("in_situ", [False, True])
def test_a_seed_is_a_study(stock, in_situ):
    first, again = (filmed_vertebra(stock, 9, GRID, in_situ=in_situ, errors=USUAL_ERRORS) for _ in range(2))
    for one, two in zip(first.films, again.films, strict=True):
        assert np.array_equal(one, two)
        assert one.dtype == np.float32
        assert np.isfinite(one).all()
        assert one.std() > 0.01
    assert np.array_equal(first.truth_hu, again.truth_hu)
    assert json.loads(json.dumps(first.metadata)) == again.metadata
    cubes = first.projections()
    assert cubes.shape == (2, 28, 28, 28)
    assert cubes.dtype == torch.float32


def test_in_situ_the_truth_is_still_the_vertebra_alone(stock):
    alone, among = (filmed_vertebra(stock, 10, GRID, in_situ=in_situ) for in_situ in (False, True))
    assert np.array_equal(alone.truth_hu, among.truth_hu)
    assert 0 <= among.films[0].min() < among.films[0].max() <= 1


def test_the_command_shows_films(stock, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(correspondence, "load_groups", lambda folder, cache: None)
    monkeypatch.setattr(films, "PITCH", 1.5)
    monkeypatch.setattr(Stock, "of", lambda groups, without: stock)
    asked = ["vertebrae", "films", "--count", "1", "--seed", "3", "--side", "16", "--voxel-mm", "7"]
    assert main([*asked, "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "alone" in lines[0]
    assert "in situ" in lines[1]
    assert [about["in_situ"] for about in json.loads((tmp_path / "films.json").read_text())] == [False, True]
    assert (tmp_path / "films.png").stat().st_size > 5000
