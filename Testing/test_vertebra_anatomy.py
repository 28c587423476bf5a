"""Real vertebrae to one template, where what is on them, how large they are; on vertebrae of known size."""

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation
from support.solids import ball
from support.vertebrae import (
    DEPTH_MM,
    HEIGHT_MM,
    WIDTH_MM,
    made_group,
    made_mask,
    made_mesh,
    made_vertebrae,
    mask_image,
)
from vtkmodules.vtkFiltersCore import vtkTriangleFilter
from vtkmodules.vtkFiltersSources import vtkCubeSource

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.levels import GROUPS, LEVELS, group_of
from DualFaceReconLib.meshes import arrays, triangle_normals, volume_mm3
from DualFaceReconLib.metrics import compare_surfaces
from DualFaceReconLib.shape.shapemodel import load_shape_model
from DualFaceReconLib.vertebra.sizes import PUBLISHED_MM, published_mm
from training.__main__ import main
from training.vertebrae import anatomy, correspondence
from training.vertebrae.correspondence import load_groups
from training.vertebrae.masks import mask_surface
from training.vertebrae.parts import dimensions, in_own_frame, parts_of
from training.vertebrae.sizes import drawn_scales, measured_size, published_size
from training.vertebrae.voxels import inside_of, inside_on_grid


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    return made_mesh(tmp_path_factory.mktemp("vertebra"))


@pytest.fixture(scope="module")
def vertebrae():
    return made_vertebrae()


@pytest.fixture(scope="module")
def lumbar():
    """The vertebrae on a coarse template."""
    return made_group()


# ---- Levels and sizes


def test_every_level_is_in_one_group():
    assert [level for levels in GROUPS.values() for level in levels] == list(LEVELS)
    assert (group_of("T6"), group_of("T7"), group_of("L1")) == ("upper_thoracic", "lower_thoracic", "lumbar")
    with pytest.raises(ValueError, match="no level"):
        group_of("C7")


def test_published_sizes():
    assert {len(values) for values in PUBLISHED_MM.values()} == {17}
    assert published_mm("upper_endplate_width_mm", "L3") == 44.1
    assert published_size("L5") == pytest.approx([np.sqrt(47.3 * 49.4), np.sqrt(34.7 * 33.2), 22.9])


def test_people_differ_as_published():
    """Standard errors of twelve spines are 6 to 9 % of the mean as standard deviations."""
    rng = np.random.default_rng(0)
    scales = np.array([drawn_scales(rng) for _ in range(4000)])
    assert np.log(scales).std(axis=0) == pytest.approx([0.077] * 3, abs=0.006)
    assert np.corrcoef(np.log(scales).T)[0, 1] > 0.7
    assert np.abs(np.log(scales)).max() < 0.27


# ---- Masks


@pytest.mark.parametrize("spacing", [1.0, 2.0])
def test_a_surface_has_its_mask_s_volume_and_place(tmp_path, spacing):
    mask = made_mask(spacing_mm=spacing)
    mask[0, 0, :2] = 1  # a speck
    sitk.WriteImage(mask_image(mask, spacing), str(tmp_path / "mask.nii.gz"))
    vertices, triangles = mask_surface(tmp_path / "mask.nii.gz")
    assert volume_mm3(vertices, triangles) == pytest.approx((mask.sum() - 2) * spacing**3, rel=0.02)
    assert vertices[:, 1].max() == pytest.approx(DEPTH_MM, abs=0.8 * spacing)  # the body looks forward
    wide = (np.ptp(np.flatnonzero(mask[1:].any(axis=(1, 2)))) + 1) * spacing
    assert np.ptp(vertices[:, 0]) == pytest.approx(wide, abs=spacing)


def test_an_image_that_is_stored_another_way_round_has_the_same_surface(tmp_path, mesh):
    image = sitk.DICOMOrient(mask_image(made_mask()), "SRA")
    sitk.WriteImage(image * 5, str(tmp_path / "mask.nii.gz"))
    other = mask_surface(tmp_path / "mask.nii.gz", value=5)
    assert compare_surfaces(other, mesh, 2000).assd_mm < 0.05
    assert volume_mm3(*other) == pytest.approx(volume_mm3(*mesh), rel=1e-3)


def test_what_is_no_mask_is_refused(tmp_path):
    with pytest.raises(Refusal, match="There is no"):
        mask_surface(tmp_path / "nothing.nii.gz")
    sitk.WriteImage(mask_image(made_mask()), str(tmp_path / "mask.nii.gz"))
    with pytest.raises(Refusal, match="no voxel of value 7"):
        mask_surface(tmp_path / "mask.nii.gz", value=7)


def test_a_block_has_the_voxels_whose_centres_it_holds():
    cube = vtkCubeSource()
    cube.SetBounds(0.5, 4.5, -1.0, 2.0, 0.25, 1.5)
    triangles = vtkTriangleFilter()
    triangles.SetInputConnection(cube.GetOutputPort())
    triangles.Update()
    inside = inside_on_grid(arrays(triangles.GetOutput()), np.array([0.0, -2.0, 0.0]), np.array([6, 6, 4]), 1.0)
    expected = np.zeros((6, 6, 4), bool)
    expected[1:5, 1:4, 1] = True  # A from -1 on, where a centre lies on the wall and a little inside
    assert np.array_equal(inside[:, 1:4], expected[:, 1:4])
    assert not inside[:, [0, 5]].any()
    cut = inside_on_grid(arrays(triangles.GetOutput()), np.array([2.0, 0.0, 1.0]), np.array([2, 2, 5]), 1.0)
    assert cut[:, :, 0].all()  # a grid that begins within
    assert not cut[:, :, 1:].any()


def test_voxels_in_a_ball():
    inside, first = inside_of(ball((3.0, -2.0, 5.0), 10.0), 0.5)
    places = first + np.argwhere(inside) * 0.5
    assert places.mean(axis=0) == pytest.approx([3, -2, 5], abs=0.05)
    assert inside.sum() / 8 == pytest.approx(4 / 3 * np.pi * 1000, rel=0.02)
    assert np.linalg.norm(places - (3, -2, 5), axis=1).max() <= 10


# ---- Parts


def test_the_parts_of_a_vertebra(mesh):
    parts = parts_of(mesh)
    upright = in_own_frame(mesh[0], parts)
    assert upright[parts.upper, 2].mean() == pytest.approx(HEIGHT_MM / 2, abs=0.5)
    assert upright[parts.lower, 2].mean() == pytest.approx(-HEIGHT_MM / 2, abs=0.5)
    assert upright[parts.arch, 1].max() < upright[parts.body, 1].mean()
    assert upright[:, 1].min() < -50  # the spinous process
    assert upright[parts.upper_patches[0], 1].mean() - upright[parts.upper_patches[2], 1].mean() > 0.6 * DEPTH_MM


def test_what_is_measured(mesh):
    sizes = dimensions(in_own_frame(mesh[0], parts := parts_of(mesh)), parts)
    assert sizes["upper_endplate_width_mm"] == pytest.approx(WIDTH_MM, abs=1.5)
    assert sizes["lower_endplate_depth_mm"] == pytest.approx(DEPTH_MM, abs=2.5)  # less what the canal takes
    for place in ("anterior", "middle", "posterior"):
        assert sizes[f"body_height_{place}_mm"] == pytest.approx(HEIGHT_MM, abs=0.6)
    assert sizes["wedge_degrees"] == pytest.approx(0, abs=0.5)
    assert sizes["width_mm"] == pytest.approx(64, abs=1)
    assert measured_size(sizes) == pytest.approx([WIDTH_MM, DEPTH_MM, HEIGHT_MM], abs=2.5)


def test_the_own_frame_is_the_same_wherever_a_vertebra_lies(mesh):
    parts = parts_of(mesh)
    moved = Rotation.from_euler("zxy", [170, 40, -20], degrees=True).apply(mesh[0]) + np.array([500, -80, 33])
    assert in_own_frame(moved, parts) == pytest.approx(in_own_frame(mesh[0], parts), abs=1e-8)


def test_a_wedge_is_measured_in_degrees(mesh):
    parts = parts_of(mesh)
    upright = in_own_frame(mesh[0], parts)
    wedged = upright.copy()
    along = (upright[:, 1] - upright[parts.body, 1].mean()) / DEPTH_MM
    wedged[parts.body, 2] *= (1 - 0.2 * (along + 0.5))[parts.body]
    lost = 0.2 * HEIGHT_MM  # from the back to the front, in DEPTH_MM
    assert dimensions(wedged, parts)["wedge_degrees"] == pytest.approx(np.degrees(np.arctan2(lost, DEPTH_MM)), abs=1)


def test_what_has_no_canal_is_no_vertebra():
    with pytest.raises(ValueError, match="no slice"):
        parts_of(ball((0, 0, 0), 20.0))


# ---- Correspondence


def test_every_vertebra_comes_to_the_template(lumbar, vertebrae):
    assert lumbar.bones.people == ("vhm/male",) * 3 + ("clouthier/mean",) * 2
    assert lumbar.levels == ("L2", "L3", "L4", "L2", "L4")
    assert [bone_set.name for bone_set in lumbar.bones.sets] == ["vhm", "clouthier"]
    for shape, vertebra in zip(lumbar.bones.shapes, vertebrae, strict=True):
        distances = compare_surfaces((shape, lumbar.bones.triangles), vertebra.mesh, 2000)
        assert distances.assd_mm < 0.5
        assert distances.hd95_mm < 1.5


def test_the_same_vertex_is_the_same_place(lumbar):
    """So the parts of the template are those of all others."""
    heights = [dimensions(in_own_frame(shape, lumbar.parts), lumbar.parts) for shape in lumbar.bones.shapes]
    assert [sizes["body_height_middle_mm"] for sizes in heights] == pytest.approx([25, 25, 25, 28.75, 28.75], abs=0.8)
    reference = in_own_frame(lumbar.bones.shapes[1], lumbar.parts)
    for shape in lumbar.bones.shapes:
        upright = in_own_frame(shape, lumbar.parts)
        both = triangle_normals(upright, lumbar.bones.triangles) * triangle_normals(reference, lumbar.bones.triangles)
        assert np.mean(both.sum(axis=1) < 0) < 0.01


def test_a_group_without_somebody(lumbar):
    rest = lumbar.without(["vhm/male"])
    assert rest.levels == ("L2", "L4")
    assert np.array_equal(rest.bones.shapes, lumbar.bones.shapes[3:])
    assert rest.parts is lumbar.parts


def test_groups_are_kept(tmp_path, monkeypatch, lumbar):
    made = []

    def corresponded_groups(vertebrae, say):
        made.append(vertebrae)
        return {name: replace(lumbar, name=name) for name in GROUPS}

    monkeypatch.setattr(correspondence, "training_vertebrae", lambda folder: iter(()))
    monkeypatch.setattr(correspondence, "corresponded_groups", corresponded_groups)
    monkeypatch.setattr(correspondence, "TEMPLATES", dict.fromkeys(GROUPS, ("vhm/male", "L3")))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "L3.ply").write_bytes(b"one")
    first, again = (load_groups(tmp_path / "set", tmp_path / "cache") for _ in range(2))
    assert len(made) == 1
    assert first.keys() == again.keys() == GROUPS.keys()
    assert again["lumbar"].bones.shapes == pytest.approx(lumbar.bones.shapes, abs=1e-4)
    assert again["lumbar"].levels == lumbar.levels
    assert again["lumbar"].bones.sets == lumbar.bones.sets
    template = again["lumbar"].bones.shapes[1], lumbar.bones.triangles
    assert np.array_equal(again["lumbar"].parts.upper, parts_of(template).upper)
    (tmp_path / "set" / "L3.ply").write_bytes(b"another")
    load_groups(tmp_path / "set", tmp_path / "cache")
    assert len(made) == 2
    correspondence.save_groups(first, tmp_path / "cache" / correspondence.PACKED)
    packed = load_groups(tmp_path / "nowhere", tmp_path / "cache")
    assert packed["lumbar"].bones.people == lumbar.bones.people


def test_the_command_writes_models_tables_and_pictures(tmp_path, monkeypatch, capsys, lumbar, vertebrae):
    monkeypatch.setattr(anatomy, "load_groups", lambda folder, cache, say: {"lumbar": lumbar})
    monkeypatch.setattr(anatomy, "training_vertebrae", lambda folder: iter(vertebrae))
    monkeypatch.setattr(anatomy, "POINTS", 2000)
    monkeypatch.setattr(anatomy, "SAMPLES", 1000)
    assert main(["vertebrae", "anatomy", "--out", str(tmp_path), "--vertebrae", str(tmp_path)]) == 0
    text = (tmp_path / "anatomy.md").read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
    assert "| vhm/male L3 |" in text
    assert "Clouthier et al." in text
    figures = json.loads((tmp_path / "anatomy.json").read_text(encoding="utf-8"))
    assert figures["fits"]["lumbar"][0]["assd_mm"] < 0.5
    assert list(figures["models"]["lumbar"][0]["left_out_mm"]) == ["vhm/male"]  # a mean of many is nobody
    model = load_shape_model(tmp_path / "lumbar.ssm.npz")
    assert model.bone == "lumbar"
    assert (tmp_path / "lumbar_fits.png").stat().st_size > 1000
    assert (tmp_path / "lumbar.png").stat().st_size > 1000


def test_a_folder_without_vertebrae_is_refused(tmp_path, capsys):
    assert main(["vertebrae", "anatomy", "--vertebrae", str(tmp_path), "--cache", str(tmp_path), "--out", "x"]) == 2
    assert "There is no" in capsys.readouterr().err
