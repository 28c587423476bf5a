"""A reconstruction in a Slicer scene, on the real thing: slicer-core."""

import math
import os
import subprocess
import sys
import types
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion
from support.limits import no_file_beyond
from support.reconstructions import made_reconstruction
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonCore import reference
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.cli import main
from DualFaceReconLib.disk.meshfiles import write_stl
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.measurements import Measurement
from DualFaceReconLib.meshes import arrays
from DualFaceReconLib.outcome import Reconstruction
from DualFaceReconLib.pictures.bones import BONE_COLOURS, UNSURE_MM
from DualFaceReconLib.pictures.drawing import DEPTH_COLOURS
from DualFaceReconLib.pictures.wording import measured
from DualFaceReconLib.results import load_reconstruction, save

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
if not hasattr(slicer, "vtkMRMLScene"):
    pytest.skip("slicer is not slicer-core", allow_module_level=True)


from host import Host  # noqa: E402
from support.scenes import are_seen  # noqa: E402

from DualFaceReconLib.scene import (  # noqa: E402
    add_to_scene,
    new_scene,
    remove_from_scene,
    runs_in,
    save_scene,
    show,
)
from DualFaceReconLib.scene.run import below, nodes_in  # noqa: E402
from DualFaceReconLib.scene.scene import SLICE_COLOUR, save_new_scene  # noqa: E402

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def reconstruction():
    """Four completed bones with landmarks and what is measured between them."""
    made = made_reconstruction(doubted=("femur_left",))
    bones = {}
    for name, bone in made.bones.items():
        vertices = arrays(bone.completed)[0]
        centre = tuple(float(c) for c in vertices.mean(axis=0))
        names = ("acetabular_centre", "asis") if name.startswith("hip") else ("femoral_head_centre", "medial_condyle")
        far = (centre[0], centre[1], centre[2] + (60.0 if name.startswith("hip") else -900.0))
        bones[name] = replace(bone, landmarks=dict(zip(names, (centre, far), strict=True)))
    apart = math.dist(*(bones[f"hip_{side}"].landmarks["acetabular_centre"] for side in ("left", "right")))
    return replace(made, bones=bones, measurements={"distance_of_hip_centres": Measurement(apart, "mm", 7.1)})


@pytest.fixture(scope="module")
def host():
    with Host() as slicer_host:
        yield slicer_host


@pytest.fixture
def scene(host):
    """The host's, as it was before."""
    before = [host.scene.GetNthNode(i) for i in range(host.scene.GetNumberOfNodes())]
    yield host.scene
    for run in runs_in(host.scene):
        remove_from_scene(run)
    assert [host.scene.GetNthNode(i) for i in range(host.scene.GetNumberOfNodes())] == before


@pytest.fixture
def run(scene, reconstruction):
    return add_to_scene(reconstruction, scene)


def pixels(volume):
    """(rows, cols) of a volume of one slice."""
    cols, rows, slices = volume.GetImageData().GetDimensions()
    assert slices == 1
    return vtk_to_numpy(volume.GetImageData().GetPointData().GetScalars()).reshape(rows, cols)


def ijk_to_ras(volume):
    matrix = vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])


def masks(run, shape):
    """By bone (rows, cols) bool, and how many layers the segmentation has."""
    segmentation = run.node("segmentation").GetSegmentation()
    by_bone = {}
    for index in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(index)
        labels = segment.GetRepresentation("Binary labelmap")
        first_col, last_col, first_row, last_row, _, _ = labels.GetExtent()
        values = vtk_to_numpy(labels.GetPointData().GetScalars())
        mask = np.zeros(shape, bool)
        mask[first_row : last_row + 1, first_col : last_col + 1] = (
            values.reshape(last_row - first_row + 1, -1) == segment.GetLabelValue()
        )
        by_bone[segmentation.GetNthSegmentID(index)] = mask
    return by_bone, segmentation.GetNumberOfLayers("Binary labelmap")


def points(markups):
    return np.array([markups.GetNthControlPointPositionVector(i) for i in range(markups.GetNumberOfControlPoints())])


def assert_is(run, reconstruction):
    """Everything that a scene tells of a reconstruction, compared with it."""
    geometry, maps = reconstruction.radiograph.geometry, reconstruction.maps
    film = run.node("film")
    np.testing.assert_array_equal(pixels(film), reconstruction.radiograph.pixels.astype(np.float32))
    np.testing.assert_allclose(ijk_to_ras(film), geometry.ijk_to_ras(), atol=1e-9)
    by_bone, layers = masks(run, maps.mask.shape[1:])
    seen = [bone for bone, mask in zip(maps.bones, maps.mask, strict=True) if mask.any()]
    assert list(by_bone) == seen
    assert layers >= (2 if (maps.mask.sum(axis=0) > 1).any() else 1)  # as few as can hold them when they were stored
    for bone in seen:
        np.testing.assert_array_equal(by_bone[bone], maps.mask[maps.bones.index(bone)], err_msg=bone)
    for face, depth in (("front", maps.front), ("back", maps.back)):
        volume = run.node(f"depth_{face}")
        depths = pixels(volume)
        single = maps.mask.sum(axis=0) == 1
        np.testing.assert_array_equal(depths[single], depth.sum(axis=0)[single])
        assert not depths[~maps.mask.any(axis=0)].any()
        np.testing.assert_allclose(ijk_to_ras(volume), geometry.ijk_to_ras(), atol=1e-9)
        assert volume.GetVoxelValueUnits().GetCodeValue() == "mm"
        colours, first = volume.GetDisplayNode().GetColorNode(), [0.0] * 4
        assert colours.GetColor(0, first)
        assert first == pytest.approx([c / 255 for c in (*DEPTH_COLOURS[0], 255)], abs=0.003)
        assert colours.GetNumberOfColors() == 256
    for name, bone in reconstruction.bones.items():
        for role, mesh in (("observed", bone.observed), ("completed", bone.completed)):
            model = run.node(role, name)
            if mesh is None:
                assert model is None
                continue
            np.testing.assert_allclose(
                vtk_to_numpy(model.GetPolyData().GetPoints().GetData()),
                vtk_to_numpy(mesh.GetPoints().GetData()),
                atol=1e-4,
            )
            assert model.GetPolyData().GetNumberOfPolys() == mesh.GetNumberOfPolys()
            for array in ("seen", "std_mm") if role == "completed" else ("face",):
                np.testing.assert_allclose(
                    vtk_to_numpy(model.GetPolyData().GetPointData().GetArray(array)),
                    vtk_to_numpy(mesh.GetPointData().GetArray(array)),
                    rtol=1e-6,
                )
            assert model.GetDisplayNode().GetColor() == pytest.approx([c / 255 for c in BONE_COLOURS[name]], abs=1e-6)
        np.testing.assert_allclose(points(run.node("landmarks", name)), list(bone.landmarks.values()), atol=1e-4)
    sides = run.node("sides")
    assert [sides.GetNthControlPointLabel(index) for index in range(2)] == ["R", "L"]
    right, left = points(sides)
    assert left[0] < 0 < right[0]
    assert geometry.sees(np.array([right, left])).all()
    assert right[1] == left[1] == 0  # on the film
    np.testing.assert_allclose(points_of(run.node("source")), [geometry.source], atol=1e-4)
    np.testing.assert_allclose(points_of(run.node("central_ray")), [geometry.source, [0, 0, 0]], atol=1e-4)
    np.testing.assert_allclose(points_of(run.node("frustum"))[1:], geometry.detector_corners, atol=1e-3)
    np.testing.assert_allclose(run.node("camera").GetPosition(), geometry.source, atol=1e-4)
    [length] = [measurement.value for measurement in reconstruction.measurements.values()]
    line = run.node("measurement", "distance_of_hip_centres")
    assert line.GetLineLengthWorld() == pytest.approx(length, abs=1e-3)
    assert line.GetAttribute("DualFaceRecon.measured") == measured(
        reconstruction.measurements["distance_of_hip_centres"]
    )
    table = run.node("table").GetTable()
    measurements = [pair for bone in reconstruction.bones.values() for pair in bone.measurements.items()]
    measurements += reconstruction.measurements.items()
    assert table.GetNumberOfRows() == len(measurements)
    for row, (name, measurement) in enumerate(measurements):
        assert table.GetValueByName(row, "measurement").ToString() == name.replace("_", " ")
        assert table.GetValueByName(row, "value").ToDouble() == pytest.approx(measurement.value)
        std = table.GetValueByName(row, "standard deviation").ToDouble()
        assert math.isnan(std) if measurement.std is None else std == pytest.approx(measurement.std)
    assert {table.GetValueByName(row, "unit").ToString() for row in range(len(measurements))} == {"mm", "cm³", "%"}


def points_of(model):
    return vtk_to_numpy(model.GetPolyData().GetPoints().GetData())


def test_the_scene_tells_what_the_reconstruction_tells(run, reconstruction):
    assert_is(run, reconstruction)


def test_every_bone_tells_how_far_it_can_be_relied_on(scene, run, reconstruction):
    for role in ("observed", "completed"):
        node = run.node(role, "femur_left")
        assert node.GetAttribute("DualFaceRecon.verdict") == "doubtful"
        assert node.GetAttribute("DualFaceRecon.reasons").splitlines() == [
            "no shape comes near it",
            "its shape is unusual",
        ]
        assert node.GetDescription() == "doubtful: no shape comes near it; its shape is unusual"
        assert run.node(role, "hip_left").GetAttribute("DualFaceRecon.verdict") == "good"
    older = replace(
        reconstruction, bones={name: replace(bone, verdict=None) for name, bone in reconstruction.bones.items()}
    )
    add_to_scene(older, scene, replacing=run)
    assert run.node("completed", "femur_left").GetAttribute("DualFaceRecon.verdict") is None
    assert run.node("completed", "femur_left").GetDescription() == ""


def test_bones_have_their_codes_and_stand_in_one_folder(host, run, reconstruction):
    segmentation = run.node("segmentation").GetSegmentation()
    for bone in BONES:
        codes, of_segment = run.node("completed", bone).GetAttribute("TerminologyEntry"), reference("")
        assert segmentation.GetSegment(bone).GetTag("TerminologyEntry", of_segment)
        assert codes == str(of_segment)
        assert ("Femur" in codes, "Left" in codes) == (bone.startswith("femur"), bone.endswith("left"))
    for node in run.nodes.values():
        if not node.IsA("vtkMRMLColorNode"):
            item = host.scene.GetSubjectHierarchyNode().GetItemByDataNode(node)
            while item not in (run.folder, host.scene.GetSubjectHierarchyNode().GetSceneItemID()):
                item = host.scene.GetSubjectHierarchyNode().GetItemParent(item)
            assert item == run.folder, node.GetName()
    assert run.name == f"film {reconstruction.radiograph.pixel_hash}"


def test_how_it_is_shown_at_first(run, reconstruction):
    film, completed = run.node("film").GetDisplayNode(), run.node("completed", "hip_left").GetDisplayNode()
    assert (film.GetWindowLevelMin(), film.GetWindowLevelMax()) == pytest.approx(
        reconstruction.radiograph.display_window
    )
    assert not completed.GetScalarVisibility()
    assert (completed.GetActiveScalarName(), completed.GetScalarRange()) == ("std_mm", (0, UNSURE_MM))
    assert not run.node("observed", "hip_left").GetDisplayNode().GetVisibility()
    outlines = run.node("segmentation").GetDisplayNode()
    assert (outlines.GetVisibility2DOutline(), outlines.GetVisibility2DFill(), outlines.GetVisibility3D()) == (1, 0, 0)
    femur, colour = run.node("landmarks", "femur_left"), [c / 255 for c in BONE_COLOURS["femur_left"]]
    assert femur.GetDisplayNode().GetSelectedColor() == pytest.approx(colour, abs=1e-6)
    assert not femur.GetDisplayNode().GetPointLabelsVisibility()
    assert run.node("measurement", "distance_of_hip_centres").GetDisplayNode().GetPropertiesLabelVisibility()
    assert [femur.GetNthControlPointVisibility(i) for i in range(2)] == [True, False]  # the knee is not on the film


def test_running_again_updates_in_place(scene, run, reconstruction):
    ids = {key: node.GetID() for key, node in run.nodes.items()}
    run.node("completed", "hip_left").GetDisplayNode().SetOpacity(0.3)
    fewer = made_reconstruction(bones=("hip_left", "femur_left"), not_completed=("femur_left",))
    again = add_to_scene(fewer, replacing=run)
    assert again == run
    assert len(runs_in(scene)) == 1
    left = {key: node.GetID() for key, node in run.nodes.items()}
    assert left.items() <= ids.items()
    assert {bone for role, bone in left if role in ("observed", "completed")} == {"hip_left", "femur_left"}
    assert run.node("completed", "femur_left") is None
    assert run.node("completed", "hip_left").GetDisplayNode().GetOpacity() == pytest.approx(0.3)
    assert list(masks(run, fewer.maps.mask.shape[1:])[0]) == ["hip_left", "femur_left"]
    add_to_scene(reconstruction, replacing=run)
    assert_is(run, reconstruction)


def test_running_again_adds_and_each_is_removed_alone(host, scene, run, reconstruction):
    nodes, items = scene.GetNumberOfNodes(), host.scene.GetSubjectHierarchyNode().GetNumberOfItems()
    other = add_to_scene(made_reconstruction(), scene, "second")
    assert [other_run.name for other_run in runs_in(scene)] == [run.name, "second"]
    remove_from_scene(other)
    assert (scene.GetNumberOfNodes(), host.scene.GetSubjectHierarchyNode().GetNumberOfItems()) == (nodes, items)
    assert other.nodes == {}
    assert other.folder == 0
    assert_is(run, reconstruction)
    with pytest.raises(Refusal, match="no longer in the scene"):
        show(other)


def test_of_several_runs_one_is_seen(scene, run):
    other = add_to_scene(made_reconstruction(), scene, "second")
    run.node("completed", "femur_left").SetDisplayVisibility(False)
    assert are_seen(run, other) == [True, True]
    show(other)
    assert are_seen(run, other) == [False, True]
    assert [each.name for each in runs_in(scene)] == [run.name, "second"]
    show(run)
    assert are_seen(run, other) == [True, False]
    visible = {bone: bool(run.node("completed", bone).GetDisplayVisibility()) for bone in BONES}
    assert visible == {bone: bone != "femur_left" for bone in BONES}  # as it was
    hierarchy_of(scene).GetItemDataNode(other.folder).SetVisibility(True)  # what the Data module's eye does
    assert are_seen(run, other) == [True, True]
    remove_from_scene(run)
    assert [each.name for each in runs_in(scene)] == ["second"]


def test_a_measurement_is_called_what_it_is_in_every_run(scene, run, reconstruction):
    other = add_to_scene(reconstruction, scene, "second")
    lines = [each.node("measurement", "distance_of_hip_centres") for each in (run, other)]
    assert [line.GetName() for line in lines] == ["hip centres", "hip centres"]  # a line's name is drawn


def test_the_run_that_is_seen_is_so_in_an_opened_scene(tmp_path):
    def fill(scene):
        first = add_to_scene(made_reconstruction(), scene, "first")
        show(add_to_scene(made_reconstruction(), scene, "second"))
        show(first)

    save_new_scene(tmp_path / "two.mrb", fill)
    with Host() as host:
        assert host.load_mrb(tmp_path / "two.mrb")
        first, second = runs_in(host.scene)
        assert (first.name, second.name) == ("first", "second")
        assert are_seen(first, second) == [True, False]
        show(second)
        assert are_seen(first, second) == [False, True]
        for run in (first, second):
            remove_from_scene(run)
        assert nodes_in(host.scene, "vtkMRMLFolderDisplayNode") == []


def hierarchy_of(scene):
    return scene.GetSubjectHierarchyNode()


def test_what_somebody_chose_stays(run, reconstruction):
    outlines, depth = run.node("segmentation").GetDisplayNode(), run.node("depth_front").GetDisplayNode()
    landmarks, film = run.node("landmarks", "hip_left"), run.node("film").GetDisplayNode()
    outlines.SetSegmentVisibility("hip_left", False)
    outlines.SetSegmentOpacity2DOutline("hip_right", 0.2)
    run.node("segmentation").GetSegmentation().GetSegment("hip_right").SetColor(1, 0, 0)
    depth.SetWindowLevelMinMax(800, 900)
    depth.SetApplyThreshold(False)
    landmarks.SetLocked(False)
    landmarks.SetNthControlPointVisibility(0, False)
    film.SetWindowLevelMinMax(0.25, 0.75)
    add_to_scene(reconstruction, replacing=run)
    assert_is(run, reconstruction)
    assert not outlines.GetSegmentVisibility("hip_left")
    assert outlines.GetSegmentOpacity2DOutline("hip_right") == pytest.approx(0.2)
    assert run.node("segmentation").GetSegmentation().GetSegment("hip_right").GetColor() == (1, 0, 0)
    assert (depth.GetWindowLevelMin(), depth.GetWindowLevelMax(), depth.GetApplyThreshold()) == (800, 900, 0)
    assert (landmarks.GetLocked(), landmarks.GetNthControlPointVisibility(0)) == (0, False)
    assert (film.GetWindowLevelMin(), film.GetWindowLevelMax()) == (0.25, 0.75)


def test_another_film_has_its_own_name_and_window(scene, run, reconstruction):
    other = replace(
        reconstruction.radiograph, pixels=reconstruction.radiograph.pixels * 4000, display_window=(400.0, 3900.0)
    )
    run.node("film").GetDisplayNode().SetWindowLevelMinMax(0.25, 0.75)
    add_to_scene(replace(reconstruction, radiograph=other), replacing=run)
    display = run.node("film").GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == pytest.approx((400, 3900))
    assert run.name == f"film {other.pixel_hash}" != f"film {reconstruction.radiograph.pixel_hash}"
    add_to_scene(reconstruction, replacing=run, name="Before the operation")
    add_to_scene(replace(reconstruction, radiograph=other), replacing=run)
    assert run.name == "Before the operation"
    second = add_to_scene(reconstruction, scene)
    add_to_scene(reconstruction, replacing=second, name="Before the operation")
    assert second.name not in ("", run.name)
    add_to_scene(reconstruction, replacing=second, name="Before")
    assert second.name == "Before"
    third = add_to_scene(reconstruction, scene)
    fourth = add_to_scene(reconstruction, scene)
    name_before = fourth.name
    add_to_scene(reconstruction, replacing=fourth)
    assert fourth.name == name_before != third.name


def test_things_of_other_people_survive_a_run(scene, run, reconstruction):
    """A markup in its folder, and a copy of a bone as the Data module makes it."""
    hierarchy = hierarchy_of(scene)
    items = hierarchy.GetNumberOfItems()
    mine = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "mine")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(mine), run.folder)
    bone = run.node("completed", "hip_left")
    copy = hierarchy.GetItemDataNode(
        slicer.vtkSlicerSubjectHierarchyModuleLogic.CloneSubjectHierarchyItem(
            hierarchy, hierarchy.GetItemByDataNode(bone), "copy"
        )
    )
    assert run.node("completed", "hip_left") is bone
    points = copy.GetPolyData()
    add_to_scene(made_reconstruction(bones=("hip_left",)), replacing=run)
    assert copy.GetPolyData() is points
    remove_from_scene(run)
    assert run.nodes == {}
    for node in (mine, copy):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == hierarchy.GetSceneItemID()
    assert hierarchy.GetNumberOfItems() == 2 < items
    for node in (mine, copy.GetDisplayNode(), copy.GetStorageNode(), copy, mine.GetDisplayNode()):
        if node is not None:
            scene.RemoveNode(node)
    hierarchy.RemoveAllItems()


def test_no_items_are_left_of_what_went(reconstruction):
    """Without desktop Slicer's Data module, which takes items away with their nodes."""
    scene = new_scene()
    run = add_to_scene(reconstruction, scene)
    add_to_scene(made_reconstruction(bones=("hip_left",)), replacing=run)
    hierarchy = hierarchy_of(scene)
    items = below(hierarchy, hierarchy.GetSceneItemID())
    assert all(hierarchy.GetItemDataNode(item) or hierarchy.GetNumberOfItemChildren(item) for item in items)
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(run.node("table")), hierarchy.GetSceneItemID())
    add_to_scene(reconstruction, replacing=run)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(run.node("table"))) == hierarchy.GetSceneItemID()
    remove_from_scene(run)
    assert hierarchy.GetNumberOfItems() == 0
    scene.Clear(True)


def test_what_somebody_deleted_is_made_again(scene, run, reconstruction):
    for node in (run.node("depth_front").GetDisplayNode(), run.node("completed", "hip_left").GetDisplayNode()):
        scene.RemoveNode(node)
    for node in (run.node("depth_colours"), run.node("table")):
        scene.RemoveNode(node)
    add_to_scene(reconstruction, replacing=run)
    assert_is(run, reconstruction)
    assert run.node("completed", "hip_left").GetDisplayNode().GetColorNode() is run.node("certainty_colours")


def test_views_that_come_later_leave_a_run_its_camera(reconstruction):
    with Host() as host:
        host.view3d("1")
        run = add_to_scene(reconstruction, host.scene)
        host.view3d("2")
        host.view3d("3")
        assert run.node("camera").GetLayoutName() is None
        show(run)
        cameras = {camera.GetLayoutName(): camera for camera in nodes_in(host.scene, "vtkMRMLCameraNode")}
        assert cameras["1"].GetPosition() == pytest.approx(run.node("camera").GetPosition())
        assert cameras["2"].GetPosition() != pytest.approx(run.node("camera").GetPosition())
        host.scene.Clear(False)  # as a user closes a scene
        assert run.nodes == {}


def test_meshes_of_the_scene_are_its_own(run, reconstruction):
    """What somebody does to a model does not reach the reconstruction."""
    model = run.node("completed", "hip_left").GetPolyData()
    before = reconstruction.bones["hip_left"].completed.GetPoint(0)
    model.GetPoints().SetPoint(0, 0, 0, 0)
    assert reconstruction.bones["hip_left"].completed.GetPoint(0) == before


def test_without_a_scene_there_is_a_sentence(reconstruction, run):
    with pytest.raises(Refusal, match="give one"):
        add_to_scene(reconstruction)
    other = new_scene()
    with pytest.raises(Refusal, match="another scene"):
        add_to_scene(reconstruction, other, replacing=run)
    other.Clear(True)


def test_a_bundle_reads_back_equal(tmp_path, reconstruction):
    """Written without views, logics or display; opened where there are some; and then updated and removed."""
    path = tmp_path / "Ärzte & Co.mrb"
    save_scene(reconstruction, str(path))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    with Host() as host:
        nodes = host.scene.GetNumberOfNodes()
        assert host.load_mrb(path)
        [run] = runs_in(host.scene)
        assert_is(run, reconstruction)
        assert hierarchy_of(host.scene).GetNumberOfItems() == len(run.nodes) - 2 + 4  # no colours; folders
        red = host.scene.GetNodeByID("vtkMRMLSliceNodeRed")
        assert (red.GetLayoutLabel(), red.GetLayoutColor()) == ("R", pytest.approx(SLICE_COLOUR))
        assert red.GetNumberOfSliceOrientationPresets() == 3
        [composite] = [c for c in nodes_in(host.scene, "vtkMRMLSliceCompositeNode") if c.GetLayoutName() == "Red"]
        assert composite.GetBackgroundVolumeID() == run.node("film").GetID()
        [view_camera] = [c for c in nodes_in(host.scene, "vtkMRMLCameraNode") if c.GetLayoutName() == "1"]
        assert view_camera.GetPosition() == pytest.approx(reconstruction.radiograph.geometry.source)
        assert run.node("depth_front").GetDisplayNode().GetColorNode() is run.node("depth_colours")
        display = run.node("completed", "hip_left").GetDisplayNode()
        assert (display.GetActiveScalarName(), display.GetScalarVisibility()) == ("std_mm", 0)
        before = host.scene.GetNumberOfNodes()
        add_to_scene(reconstruction, replacing=run)
        assert host.scene.GetNumberOfNodes() == before
        remove_from_scene(run)
        assert run.nodes == {}
        assert not nodes_in(host.scene, "vtkMRMLModelDisplayNode")
        assert not nodes_in(host.scene, "vtkMRMLModelStorageNode")
        assert hierarchy_of(host.scene).GetNumberOfItems() == 0
        assert host.scene.GetNumberOfNodes() <= nodes + 3  # a slice view's, a camera


def test_a_bundle_that_is_added_twice_is_two_runs(tmp_path, reconstruction):
    """And so is a scene of the user's, whatever its name."""
    save_scene(reconstruction, tmp_path / "scene.mrb")
    with Host() as host:
        for _ in range(2):
            assert host.scene.ReadFromMRB(str(tmp_path / "scene.mrb"), False)
        first, second = runs_in(host.scene)
        assert runs_in(host.scene) == [first, second]
        assert not {n.GetID() for n in first.nodes.values()} & {n.GetID() for n in second.nodes.values()}
        remove_from_scene(first)
        assert_is(second, reconstruction)
        assert host.scene.WriteToMRB(str(tmp_path / "A & B.mrb"), None)
        assert host.load_mrb(tmp_path / "A & B.mrb")
        [only] = runs_in(host.scene)
        assert_is(only, reconstruction)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, reconstruction):
    place = tmp_path_factory.mktemp("results") / "film"
    save(reconstruction, place, scene=True)
    return place


def test_every_mesh_file_lands_where_the_scene_has_it(folder, run):
    """Loaded plainly, by the storage node that Slicer's drag and drop uses."""
    files = sorted([*folder.glob("*.vtp"), *folder.glob("*.stl")])
    assert len(files) == 12
    for path in files:
        bone, role = (path.stem.removesuffix("_observed"), "observed" if "_observed" in path.stem else "completed")
        storage, model = slicer.vtkMRMLModelStorageNode(), slicer.vtkMRMLModelNode()
        storage.SetFileName(str(path))
        assert storage.ReadData(model), path.name
        loaded, in_scene = [0.0] * 6, [0.0] * 6
        model.GetRASBounds(loaded)
        run.node(role, bone).GetRASBounds(in_scene)
        np.testing.assert_allclose(loaded, in_scene, atol=1e-3, err_msg=path.name)


def test_a_mesh_that_says_nothing_would_land_elsewhere(tmp_path, run):
    """That the test above can fail: Slicer takes it for LPS."""
    path = tmp_path / "hip_left.stl"
    write_stl(run.node("completed", "hip_left").GetPolyData(), path, "")
    path.write_bytes(b" " * 80 + path.read_bytes()[80:])
    storage, model = slicer.vtkMRMLModelStorageNode(), slicer.vtkMRMLModelNode()
    storage.SetFileName(str(path))
    assert storage.ReadData(model)
    loaded, in_scene = [0.0] * 6, [0.0] * 6
    model.GetRASBounds(loaded)
    run.node("completed", "hip_left").GetRASBounds(in_scene)
    np.testing.assert_allclose(loaded[:2], [-in_scene[1], -in_scene[0]], atol=1e-3)


def test_a_result_has_its_scene_beside_the_other_files(folder, reconstruction):
    assert load_reconstruction(folder).bones.keys() == reconstruction.bones.keys()
    with Host() as host:
        assert host.load_mrb(folder / "scene.mrb")
        assert_is(runs_in(host.scene)[0], reconstruction)


def test_a_scene_says_nothing_of_machine_or_person(folder):
    with zipfile.ZipFile(folder / "scene.mrb") as bundle:
        [scene] = [name for name in bundle.namelist() if name.endswith(".mrml")]
        content = bundle.read(scene).decode()
    assert str(folder.parent) not in content
    assert os.environ.get("USER", "no such user") not in content.replace("user", "")


PATHS = os.pathsep.join([str(ROOT / "Testing"), str(ROOT)])
QUIETLY = {"capture_output": True, "text": True, "check": False, "cwd": ROOT}
SAMPLE = ROOT / "Resources" / "Samples" / "pelvis_1.dcm"


class Ready:
    """Stands in for the networks."""

    made: Reconstruction

    def __init__(self, *_):
        pass

    def run(self, *_, **__):
        return self.made


def test_without_slicer_core_it_is_refused_at_once(tmp_path, monkeypatch, capsys):
    """PyPI's `slicer` is another package."""
    monkeypatch.setitem(sys.modules, "slicer", types.ModuleType("slicer"))
    for name in ("DualFaceReconLib.scene", "DualFaceReconLib.scene.scene"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("DualFaceReconLib.reconstruction.Reconstructor", lambda *_: pytest.fail("networks were loaded"))
    assert main(["reconstruct", str(SAMPLE), "-o", str(tmp_path / "out"), "--scene"]) == 2
    assert "pip install slicer-core" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("asked", [["--scene"], []])
def test_the_command_writes_a_scene_when_asked(tmp_path, monkeypatch, reconstruction, asked):
    Ready.made = reconstruction
    monkeypatch.setattr("DualFaceReconLib.reconstruction.Reconstructor", Ready)
    assert main(["reconstruct", str(SAMPLE), "-o", str(tmp_path / "out"), *asked]) == 0
    assert (tmp_path / "out" / "scene.mrb").exists() == bool(asked)


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_full_disk_leaves_nothing(tmp_path):
    """A limit on the size of files stands for it: first a mesh, then the archive cannot be written."""
    for limit in (100_000, 1_000_000):
        with no_file_beyond(limit), pytest.raises(Refusal, match="is there room"):
            save_scene(made_reconstruction(), tmp_path / "scene.mrb")
    assert list(tmp_path.iterdir()) == []


# What Slicer draws


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The pictures of host/rendering.py."""
    folder = tmp_path_factory.mktemp("drawn")
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "host.rendering", str(folder)],
        **QUIETLY,
        env={**os.environ, "PYTHONPATH": PATHS, "VTK_DEFAULT_OPENGL_WINDOW": "vtkEGLRenderWindow"},
    )
    if "EGL" in done.stderr and not list(folder.iterdir()):
        pytest.skip("EGL does not render here")
    assert (done.returncode, done.stdout.strip()) == (0, "closed"), done.stderr[-3000:]
    return {path.stem: np.load(path) for path in folder.iterdir()}


@pytest.mark.parametrize("film", ["AP", "PA", "cropped"])
def test_from_the_source_bones_cover_their_shadows(drawn, film):
    """But for the pixels that a bone's rim cuts."""
    covered, mask = drawn[film]["drawn"], drawn[film]["mask"]
    assert mask.mean() > 0.2
    assert not (covered & ~binary_dilation(mask)).any()
    assert not (~covered & binary_erosion(mask)).any()
    assert (covered ^ mask).mean() < 0.005


def test_the_slice_view_shows_the_whole_film_with_outlines(drawn):
    """Where the view says that a pixel lies, the film has it; colour is at the masks' borders alone."""
    made = made_reconstruction()
    geometry, picture, matrix = (
        made.radiograph.geometry,
        drawn["slice"]["picture"].astype(int),
        drawn["slice"]["xy_to_ras"],
    )
    rows, cols = picture.shape[:2]
    col, row = np.meshgrid(np.arange(cols), np.arange(rows - 1, -1, -1))
    places = np.stack([col, row, 0 * col, 0 * col + 1], axis=-1) @ matrix.T
    np.testing.assert_allclose(places[..., 1], 0, atol=1e-6)
    pixel = np.rint(geometry.project(places[..., :3])[0]).astype(int)
    inside = ((pixel >= 1) & (pixel < np.array(geometry.size_px) - 1)).all(axis=-1)
    assert inside.mean() > 0.97
    at = tuple(np.moveaxis(np.clip(pixel, 0, np.array(geometry.size_px) - 1), -1, 0))
    low, high = made.radiograph.display_window
    grey = np.clip((made.radiograph.pixels[at] - low) / (high - low), 0, 1) * 255
    coloured = np.ptp(picture, axis=-1) > 30
    rim = np.any(
        [binary_dilation(mask, iterations=2) & ~binary_erosion(mask, iterations=2) for mask in made.maps.mask], 0
    )
    assert not (coloured & ~rim[at] & inside).any()
    assert coloured.sum() > 1000
    plain = inside & ~rim[at]
    assert np.median(np.abs(picture.mean(axis=-1) - grey)[plain]) < 4
