"""Virtual vertebrae: mixed, sized, ill, and what they are made of; on vertebrae of known size."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, gaussian_filter
from support.vertebrae import DEPTH_MM, HEIGHT_MM, made_group

from DualFaceReconLib.backprojection import Cube
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.meshes import volume_mm3
from DualFaceReconLib.shape.repair import crossing_triangles
from training.__main__ import main
from training.vertebrae import anatomy, correspondence, disease, gallery, virtual
from training.vertebrae.density import Composition, density, draw_composition
from training.vertebrae.disease import Fracture, Spur, draw_fracture, draw_spurs, fractured, with_spur
from training.vertebrae.inwards import squared_depths
from training.vertebrae.parts import dimensions, in_own_frame
from training.vertebrae.sizes import measured_size, published_size
from training.vertebrae.virtual import Stock, sample_vertebra

PLAIN = Composition(
    trabecular_hu=100, subcortical_hu=0, arch_hu=300, cortical_hu=1000, side_mm=2.0, endplate_mm=2.0, arch_mm=2.0
)


@pytest.fixture(scope="module")
def group():
    return made_group()


@pytest.fixture(scope="module")
def upright(group):
    return in_own_frame(group.bones.shapes[1], group.parts)


@pytest.fixture(scope="module")
def stock(group):
    return Stock.of({"lumbar": group})


# ---- Disease


def heights(upright, group):
    sizes = dimensions(upright, group.parts)
    return [sizes[f"body_height_{place}_mm"] for place in ("anterior", "middle", "posterior")]


@pytest.mark.parametrize(
    ("kind", "shares"), [("wedge", (0.89, 0.5, 0.05)), ("biconcave", (0.2, 1.0, 0.1)), ("crush", (1.0, 1.0, 0.4))]
)
def test_a_fracture_takes_height_where_its_kind_has_it(group, upright, kind, shares):
    fracture = Fracture(kind=kind, grade="moderate", loss=0.3, upper_share=0.5)
    left = np.array(heights(fractured(upright, group.parts, fracture), group)) / heights(upright, group)
    assert left == pytest.approx(1 - 0.3 * np.array(shares), abs=0.06)


@pytest.mark.parametrize("kind", ["wedge", "biconcave", "crush"])
def test_the_worst_fracture_tears_nothing_and_leaves_the_arch(group, upright, kind):
    fracture = Fracture(kind=kind, grade="severe", loss=0.55, upper_share=0.65)
    compressed = fractured(upright, group.parts, fracture)
    behind = upright[:, 1] < upright[group.parts.body, 1].min()
    assert behind.sum() > 50
    assert np.array_equal(compressed[behind], upright[behind])
    assert len(crossing_triangles(compressed, group.bones.triangles)) == len(
        crossing_triangles(upright, group.bones.triangles)
    )
    assert volume_mm3(compressed, group.bones.triangles) < volume_mm3(upright, group.bones.triangles)


@pytest.mark.parametrize("upper", [True, False])
def test_an_osteophyte_stands_out_where_it_should(group, upright, upper):
    spur = Spur(upper=upper, angle_degrees=90, length_mm=5, width_mm=4)
    moved = with_spur(upright, group.parts, spur) - upright
    most = np.linalg.norm(moved, axis=1).argmax()
    assert 3 < moved[most, 0] <= 5  # to the right
    assert upright[most, 0] > 0.8 * upright[group.parts.body, 0].max()
    assert (upright[most, 2] > 0) == upper
    assert not moved[group.parts.arch].any()


def test_how_often_they_are_ill():
    rng = np.random.default_rng(0)
    fractures, spurs = zip(*[(draw_fracture(rng), draw_spurs(rng)) for _ in range(2000)], strict=True)
    drawn = [fracture for fracture in fractures if fracture]
    assert len(drawn) / 2000 == pytest.approx(disease.FRACTURE_SHARE, abs=0.03)
    assert np.mean([bool(some) for some in spurs]) == pytest.approx(disease.OSTEOPHYTE_SHARE, abs=0.04)
    for fracture in drawn:
        low, high = disease.GRADES[fracture.grade][0]
        assert low <= fracture.loss <= high
    assert {fracture.kind for fracture in drawn} == set(disease.KINDS)


# ---- Mixtures


def test_a_seed_is_a_vertebra(stock):
    first, again, other = (sample_vertebra(stock, seed) for seed in (3, 3, 4))
    assert np.array_equal(first.mesh[0], again.mesh[0])
    assert first.metadata == again.metadata == json.loads(json.dumps(first.metadata))
    assert not np.array_equal(first.mesh[0], other.mesh[0])
    assert volume_mm3(*first.mesh) > 0
    assert volume_mm3(*other.mesh) > 0


def test_a_level_can_be_asked_for(stock):
    assert sample_vertebra(stock, 5, level="L4").level == "L4"
    assert {sample_vertebra(stock, seed).level for seed in range(12)} == {"L2", "L3", "L4"}


def test_a_mixture_without_spread_lies_between_those_that_were_mixed(stock, monkeypatch):
    for name, value in (("MODES_SPREAD", 0.0), ("BEND_MM", 0.0), ("BEYOND", 0.0)):
        monkeypatch.setattr(virtual, name, value)
    monkeypatch.setattr(disease, "FRACTURE_SHARE", 0.0)
    monkeypatch.setattr(disease, "OSTEOPHYTE_SHARE", 0.0)
    group = stock.groups["lumbar"]
    vertebra = sample_vertebra(stock, 8)
    mixed = vertebra.metadata["mixed"]
    assert sum(part["share"] for part in mixed) == pytest.approx(1, abs=0.002)
    names = list(zip(group.people, group.levels, strict=True))
    numbers = [names.index((part["person"], part["level"])) for part in mixed]
    vertices = vertebra.mesh[0] * ((-1, 1, 1) if vertebra.metadata["mirrored"] else (1, 1, 1))
    unit = vertices / vertebra.metadata["size_mm"]
    low, high = group.shapes[numbers].min(axis=0), group.shapes[numbers].max(axis=0)
    assert (unit > low - 0.01).all()
    assert (unit < high + 0.01).all()


def test_sizes_lie_around_the_real_ones_and_the_published(stock, monkeypatch):
    monkeypatch.setattr(disease, "FRACTURE_SHARE", 0.0)
    monkeypatch.setattr(disease, "OSTEOPHYTE_SHARE", 0.0)
    group = stock.groups["lumbar"]
    drawn = [sample_vertebra(stock, seed, level="L3") for seed in range(40)]
    sizes = np.array([measured_size(dimensions(vertebra.mesh[0], group.parts)) for vertebra in drawn])
    ends = np.sort([published_size("L3"), group.sizes.mean(axis=0)], axis=0)
    assert (np.median(sizes, axis=0) > 0.9 * ends[0]).all()
    assert (np.median(sizes, axis=0) < 1.1 * ends[1]).all()
    assert np.log(sizes).std(axis=0).min() > 0.04


def test_who_is_left_out_is_in_no_vertebra(group):
    rest = Stock.of({"lumbar": group}, without=["vhm/male"])
    mixed = {part["person"] for seed in range(10) for part in sample_vertebra(rest, seed).metadata["mixed"]}
    assert mixed == {"clouthier/mean"}
    assert rest.groups["lumbar"].model.people == ("clouthier/mean",)


def test_people_who_cannot_be_left_out(group):
    with pytest.raises(Refusal, match="Nobody is called"):
        Stock.of({"lumbar": group}, without=["somebody"])
    with pytest.raises(Refusal, match="fewer than two"):
        Stock.of({"lumbar": replace(group.only([0, 3]), levels=("L3", "L3"))}, without=["vhm/male"])


# ---- Density


@pytest.fixture(scope="module")
def volume(group, upright):
    """HU of the usual made vertebra, and its cube."""
    cube = Cube(centre=(0.0, -10.0, 0.0), side=48, voxel_mm=2.0)
    return density((upright, group.bones.triangles), group.parts, PLAIN, cube, seed=1), cube


def at(volume, point):
    values, cube = volume
    return float(values[tuple(np.rint(cube.indices(np.array(point))).astype(int))])


def test_bone_is_where_the_mesh_is(volume, upright, group):
    _, cube = volume
    solid = replace(PLAIN, side_mm=50, endplate_mm=50, arch_mm=50)  # cortex throughout
    values = density((upright, group.bones.triangles), group.parts, solid, cube, seed=1)
    assert values.shape == (48, 48, 48)
    assert values.sum() * 8 / 1000 == pytest.approx(volume_mm3(upright, group.bones.triangles), rel=0.02)
    bone = cube.points()[values > 50]
    assert bone.min(axis=0) == pytest.approx(upright.min(axis=0), abs=2.5)
    assert bone.max(axis=0) == pytest.approx(upright.max(axis=0), abs=2.5)


def test_cortex_marrow_arch_and_canal(volume):
    assert at(volume, (0, 0, 0)) == pytest.approx(100, rel=0.5)  # deep in the body
    assert at(volume, (0, 0, HEIGHT_MM / 2 - 1)) > 500  # the endplate
    assert at(volume, (0, -DEPTH_MM / 2 - 9, 0)) == pytest.approx(0, abs=30)  # the canal
    assert at(volume, (0, -50, -4)) > 300  # the spinous process
    assert at(volume, (0, 30, 0)) == 0


def test_a_finer_cube_has_the_same_bone(volume, upright, group):
    values, cube = volume
    half = Cube(cube.centre, 2 * cube.side, cube.voxel_mm / 2)
    finer = density((upright, group.bones.triangles), group.parts, PLAIN, half, seed=1)
    assert finer.sum() / 8 == pytest.approx(values.sum(), rel=0.1)
    coarse = finer.reshape(48, 2, 48, 2, 48, 2).mean(axis=(1, 3, 5))
    assert np.corrcoef(coarse.ravel(), values.ravel())[0, 1] > 0.95


def test_a_cube_cuts_what_reaches_beyond_it(volume, upright, group):
    values, cube = volume
    small = Cube(cube.centre, 24, cube.voxel_mm)
    cut = density((upright, group.bones.triangles), group.parts, PLAIN, small, seed=1)
    inner = values[12:36, 12:36, 12:36]
    assert np.corrcoef(cut[1:-1, 1:-1, 1:-1].ravel(), inner[1:-1, 1:-1, 1:-1].ravel())[0, 1] > 0.97
    far = Cube((500.0, 0.0, 0.0), 8, 2.0)
    assert not density((upright, group.bones.triangles), group.parts, PLAIN, far, seed=1).any()


def test_bone_of_people_of_all_ages():
    rng = np.random.default_rng(0)
    drawn = [draw_composition(rng) for _ in range(300)]
    marrow, cortex = (np.array([getattr(some, name) for some in drawn]) for name in ("trabecular_hu", "cortical_hu"))
    assert marrow.min() >= 30
    assert np.percentile(marrow, [10, 90]) == pytest.approx([60, 200], abs=15)
    assert np.corrcoef(marrow, cortex)[0, 1] > 0.8


def test_the_command_shows_them(group, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(correspondence, "load_groups", lambda folder, cache: {"lumbar": group})
    for name, value in (("SIDE", 32), ("VOXEL_MM", 3.5), ("SLICED", 2)):
        monkeypatch.setattr(gallery, name, value)
    monkeypatch.setattr(anatomy, "POINTS", 1000)
    assert main(["vertebrae", "virtual", "--count", "5", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "sizes.md").read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
    counts = [int(line.split("|")[2]) for line in text.splitlines() if line.startswith("| L")]
    assert sum(counts) == 5
    assert {path.name for path in tmp_path.iterdir()} == {"sizes.md", "surfaces.png", "slices.png"}
    assert main(["vertebrae", "virtual", "--without", "nobody", "--out", str(tmp_path)]) == 2


@pytest.mark.parametrize("threshold", [-0.3, 0.0, 0.4])
def test_depths_in_a_solid_are_exact(threshold):
    """Against SciPy's; a solid may reach the edge, beyond which nothing is known to be outside."""
    noise = np.random.default_rng(0).normal(size=(9, 12, 10))
    inside = gaussian_filter(noise, 1.5) / gaussian_filter(noise, 1.5).std() > threshold
    np.testing.assert_array_equal(squared_depths(inside), np.rint(distance_transform_edt(inside)[inside] ** 2))
