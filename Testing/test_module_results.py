"""What the panel does with bones: shown, looked at, corrected, compared, exported, filed in the film's study."""

import numpy as np
import pytest
from support.panels import made_result, mask_of

slicer = pytest.importorskip("slicer")

from support.scenes import are_seen  # noqa: E402

from DualFaceReconLib.scene import hide_others  # noqa: E402

BONES = ("hip_left", "hip_right", "femur_left", "femur_right")


def scalars(run, bone):
    """What a bone is coloured by; None for its own colour."""
    display = run.node("completed", bone).GetDisplayNode()
    return display.GetActiveScalarName() if display.GetScalarVisibility() else None


def test_bones_are_listed_by_colour_with_the_share_that_was_seen(panel):
    from DualFaceReconLib.pictures.bones import BONE_COLOURS

    panel.choose(panel.film())
    run, ui = panel.reconstructed(), panel.ui
    assert ui.resultsSection.visible
    table = ui.bonesTable
    assert [table.item(row, 0).text() for row in range(4)] == [
        *("left hemipelvis", "right hemipelvis", "left femur", "right femur"),
    ]
    for row, bone in enumerate(BONES):
        colour = table.item(row, 0).icon().pixmap(12, 12).toImage().pixelColor(6, 6)
        assert (colour.red(), colour.green(), colour.blue()) == BONE_COLOURS[bone]
        assert table.item(row, 1).text().endswith(" %")
        assert table.item(row, 2).text() == ("doubtful" if bone == "femur_left" else "good")
        assert run.node("completed", bone) is not None
    assert "no shape comes near it\n- its shape is unusual" in table.item(2, 2).toolTip()
    assert table.item(2, 0).foreground().color() != table.item(3, 0).foreground().color()
    qt = panel.desktop.qt
    table.item(0, 0).setCheckState(qt.Qt.Unchecked)
    assert not run.node("completed", "hip_left").GetDisplayVisibility()
    assert run.node("completed", "hip_right").GetDisplayVisibility()


def test_bones_are_coloured_by_what_was_seen_and_by_certainty(panel):
    panel.choose(panel.film())
    run, ui = panel.reconstructed(), panel.ui
    for index, name in ((1, "seen"), (2, "std_mm"), (0, None)):
        ui.colouringChooser.currentIndex = index
        assert [scalars(run, bone) for bone in BONES] == [name] * 4


def test_warnings_and_measurements_are_shown(panel):
    panel.choose(panel.film())
    panel.reconstructed()
    ui = panel.ui
    assert "The pelvis is tilted." in ui.resultWarnings.text
    table = ui.measurementsTable
    rows = {table.item(row, 0).text(): table.item(row, 1) for row in range(table.rowCount)}
    assert rows["left hemipelvis acetabular diameter"].text() == "52.3 ± 2.2 mm"
    [between] = [item for name, item in rows.items() if name.endswith("distance of hip centres")]
    assert between.text() == "181.4 ± 7.1 mm"
    assert "sphere" in rows["left hemipelvis acetabular diameter"].toolTip()
    assert ui.reportButton.enabled


def test_views_from_the_source_the_front_and_the_side(panel):
    panel.desktop.add_views()
    panel.choose(panel.film())
    run, ui = panel.reconstructed(), panel.ui
    cameras = [slicer.mrmlScene.GetNthNodeByClass(i, "vtkMRMLCameraNode") for i in range(2)]
    camera = next(node for node in cameras if node.GetLayoutName() == "1")
    at_source = run.node("camera")
    assert camera.GetPosition() == at_source.GetPosition()
    ui.fromFrontButton.click()
    eye = np.subtract(camera.GetPosition(), camera.GetFocalPoint())
    assert eye[1] > 0
    assert abs(eye[1]) > 10 * abs(eye[0])
    ui.fromSideButton.click()
    eye = np.subtract(camera.GetPosition(), camera.GetFocalPoint())
    assert abs(eye[0]) > 10 * abs(eye[1])
    ui.fromSourceButton.click()
    assert camera.GetPosition() == at_source.GetPosition()
    red = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSliceNode")
    assert red.GetSliceVisible()
    ui.filmIn3D.checked = False
    assert not red.GetSliceVisible()


def test_a_view_that_is_narrower_than_high_sees_the_whole_film_and_all_bones(panel):
    """From the source, as soon as the layout has its size, from the front and from the side."""
    from DualFaceReconLib.geometry import ProjectionGeometry

    view = panel.desktop.view3d("1", (500, 300))
    panel.choose(panel.film())
    run, ui = panel.reconstructed(), panel.ui
    geometry = ProjectionGeometry.from_dict(made_result()[1]["geometry"])
    assert _reach(view, geometry.detector_corners) == pytest.approx(1 / 1.04, abs=0.03)
    view.window.SetSize(200, 500)  # the user moves the splitter
    assert _reach(view, geometry.detector_corners) > 1
    ui.fromSourceButton.click()
    assert _reach(view, geometry.detector_corners) == pytest.approx(1 / 1.04, abs=0.03)
    bones = [run.node("completed", bone).GetPolyData() for bone in BONES]
    for button in (ui.fromFrontButton, ui.fromSideButton):
        button.click()
        assert 0.6 < max(_reach(view, _points(bone)) for bone in bones) < 1


def _points(polydata):
    from vtkmodules.util.numpy_support import vtk_to_numpy

    return vtk_to_numpy(polydata.GetPoints().GetData())


def _reach(view, points):
    """How far from the view's middle the outermost of points (N, 3) is seen; 1 is its border."""
    from host.rendering import array

    cols, rows = view.window.GetSize()
    camera = array(view.renderer.GetActiveCamera().GetCompositeProjectionTransformMatrix(cols / rows, -1, 1))
    seen = np.c_[points, np.ones(len(points))] @ camera.T
    return np.abs(seen[:, :2] / seen[:, 3:]).max()


def test_the_layout_is_entered_left_and_offered_in_the_menu(panel):
    node, ours = panel.desktop.layout_node, panel.panel.layout
    [action] = panel.desktop.layout_menu.actions()
    assert "DualFaceRecon" in action.text
    node.SetViewArrangement(node.SlicerLayoutFourUpView)
    panel.choose(panel.film())
    panel.reconstructed()
    assert node.GetViewArrangement() == action.data()
    assert node.IsLayoutDescription(action.data())
    ours.leave()
    assert node.GetViewArrangement() == node.SlicerLayoutFourUpView
    action.trigger()
    assert node.GetViewArrangement() == action.data()
    node.SetViewArrangement(node.SlicerLayoutOneUp3DView)  # somebody chose another: it stays
    ours.leave()
    assert node.GetViewArrangement() == node.SlicerLayoutOneUp3DView
    panel.reconstructed()
    for _ in range(2):
        assert node.GetViewArrangement() == action.data()
        panel.ui.removeRunButton.click()  # with the last result it goes
    panel.wait(lambda: node.GetViewArrangement() == node.SlicerLayoutOneUp3DView)
    panel.reconstructed()
    slicer.mrmlScene.Clear()
    assert node.GetViewArrangement() == node.SlicerLayoutOneUp3DView


def test_another_film_or_distance_makes_a_result_stale_until_it_is_as_before(panel):
    ui = panel.ui
    panel.choose(panel.film())
    panel.reconstructed()
    assert not ui.staleLabel.visible
    ui.objectDistance.value = 150.0
    panel.wait(lambda: ui.staleLabel.visible)
    assert "other values" in ui.staleLabel.text
    ui.objectDistance.value = 0.0
    panel.wait(lambda: not ui.staleLabel.visible)
    ui.swapSides.checked = True
    panel.wait(lambda: ui.staleLabel.visible)
    panel.choose(panel.film("second.dcm"))
    panel.wait(lambda: ui.staleLabel.visible)
    panel.reconstructed()
    assert not ui.staleLabel.visible
    assert ui.runChooser.count == 2


def test_of_several_results_one_is_chosen_shown_and_removed(panel):
    ui = panel.ui
    panel.choose(panel.film())
    first = panel.reconstructed()
    panel.choose(panel.film("second.dcm"))
    second = panel.reconstructed()
    assert ui.runChooser.currentIndex == 1
    assert are_seen(first, second) == [False, True]
    ui.runChooser.currentIndex = 0
    assert panel.panel.results.run() == first
    assert are_seen(first, second) == [True, False]
    hide_others(second)  # as a vertebra does that is made meanwhile
    ui.fromSideButton.click()
    assert are_seen(first, second) == [True, False]
    assert ui.staleLabel.visible  # it is of the other film
    ui.removeRunButton.click()
    panel.wait(lambda: ui.runChooser.count == 1)
    assert first.node("film") is None
    assert panel.panel.results.run() == second
    assert are_seen(second) == [True]
    panel.desktop.answer = False
    ui.removeRunButton.click()
    assert second.node("film") is not None


def test_a_result_stands_in_the_film_s_own_study(panel):
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "patient")
    study = hierarchy.CreateStudyItem(patient, "study")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "pelvis ap")
    slicer.util.updateVolumeFromArray(node, np.ones((1, 20, 30), np.float32))
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), study)
    panel.ui.filmSelector.setCurrentNode(node)
    panel.wait(lambda: panel.ui.reconstructButton.enabled)
    run = panel.reconstructed()
    assert hierarchy.GetItemParent(run.folder) == study
    assert run.name == "pelvis ap, bones"
    assert panel.reconstructed().folder != run.folder


def test_results_of_a_scene_that_is_opened_are_listed(panel):
    from DualFaceReconLib.results import load_reconstruction
    from DualFaceReconLib.scene import add_to_scene

    add_to_scene(load_reconstruction(made_result()[0]), name="of last week")
    assert panel.ui.runChooser.count == 0
    slicer.mrmlScene.InvokeEvent(slicer.vtkMRMLScene.EndImportEvent)
    assert panel.ui.runChooser.count == 1
    assert panel.panel.results.run().name == "of last week"
    assert not panel.ui.reportButton.enabled  # which lay in a folder of that session
    assert panel.ui.measurementsTable.rowCount > 0


# Masks that somebody corrects


def test_masks_go_to_the_segment_editor_and_only_what_follows_is_computed(panel):
    """Slicer's own editor paints, by its own node and logic: a bone beneath keeps its pixels."""
    ui, editor = panel.ui, panel.desktop.editor
    panel.choose(panel.film())
    run = panel.reconstructed()
    assert not ui.recomputeButton.visible
    ui.editMasksButton.click()
    assert panel.desktop.selected == ["SegmentEditor"]
    segmentation, film = run.node("segmentation"), run.node("film")
    node = editor.mrmlSegmentEditorNode()
    assert (node.GetSegmentationNode(), node.GetSourceVolumeNode()) == (segmentation, film)

    before = {bone: mask_of(segmentation, bone, film) for bone in BONES}
    assert (before["hip_left"] & before["femur_left"]).any()  # head and socket
    rows, cols = np.nonzero(before["femur_left"] & ~before["hip_left"])
    stroke = np.zeros_like(before["hip_left"])
    stroke[rows[0] : rows[0] + 30, cols[0] - 10 : cols[0] + 10] = True  # where the femur is
    editor._stroke("hip_left", stroke)
    wider = before["hip_left"] | stroke
    assert (stroke & before["femur_left"]).any()
    panel.widget.exit()
    panel.widget.enter()  # the user comes back
    assert ui.recomputeButton.visible
    ui.recomputeButton.click()
    panel.wait(lambda: not panel.panel.computing)
    assert not ui.statusLabel.text
    request = panel.asked("reconstruct")[-1]
    handed = np.load(request["mask"])
    np.testing.assert_array_equal(handed[0] > 0, wider)
    for index, bone in enumerate(BONES[1:], 1):
        np.testing.assert_array_equal(handed[index] > 0, before[bone])  # overlapping bones have survived
    assert ui.runChooser.count == 1  # in the same nodes
    assert panel.panel.results.run() == run
    assert not ui.recomputeButton.visible


def test_a_segment_that_was_deleted_is_an_empty_mask(panel):
    panel.choose(panel.film())
    run = panel.reconstructed()
    run.node("segmentation").GetSegmentation().RemoveSegment("femur_right")
    panel.widget.enter()
    panel.ui.recomputeButton.click()
    panel.wait(lambda: not panel.panel.computing)
    handed = np.load(panel.asked("reconstruct")[-1]["mask"])
    assert not handed[3].any()
    assert handed[:3].any(axis=(1, 2)).all()


def test_masks_of_another_film_are_not_used_for_this_one(panel):
    panel.choose(panel.film())
    run = panel.reconstructed()
    panel.choose(panel.film("second.dcm"))
    panel.panel.recompute(run)
    assert "another film" in panel.ui.statusLabel.text
    assert len(panel.asked("reconstruct")) == 1


# Leaving


def test_bones_are_exported_with_their_axes_and_nothing_is_overwritten(panel, tmp_path, monkeypatch):
    from DualFaceReconLib.disk.meshfiles import read_vtp

    panel.choose(panel.film())
    panel.reconstructed()
    folder = tmp_path / "exported"
    folder.mkdir()
    dialog = panel.desktop.qt.QFileDialog
    monkeypatch.setattr(dialog, "getExistingDirectory", lambda *_: str(folder))
    panel.ui.exportButton.click()
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{bone}.{ending}" for bone in BONES for ending in ("stl", "vtp")
    )
    assert read_vtp(folder / "hip_left.vtp").GetNumberOfPoints() > 1000
    assert b"SPACE=RAS" in (folder / "hip_left.stl").read_bytes()[:80]
    before = (folder / "hip_left.vtp").read_bytes()
    panel.ui.exportButton.click()
    assert "choose an empty folder" in panel.desktop.messages[-1]
    assert (folder / "hip_left.vtp").read_bytes() == before
    panel.ui.exportChooser.currentIndex = 1
    panel.ui.exportButton.click()
    assert (folder / "hip_left_observed.vtp").is_file()


def test_the_report_is_opened(panel, monkeypatch):
    opened = []
    panel.choose(panel.film())
    panel.reconstructed()
    monkeypatch.setattr(panel.desktop.qt.QDesktopServices, "openUrl", opened.append)
    panel.ui.reportButton.click()
    assert opened[0].toLocalFile() == str(made_result()[0] / "report.html")


def test_a_length_is_marked_on_the_film_where_it_is_seen(panel):
    """The film stands in the slice view; a line between two of its pixels reaches the engine as those pixels."""
    panel.desktop.add_views()
    panel.choose(panel.film())
    ui = panel.ui
    ui.markButton.click()
    assert "diameter" in panel.desktop.messages[-1]
    ui.markedLength.value = 25.0
    panel.wait(lambda: len(panel.asked("open")) == 2)
    ui.markButton.click()
    film = slicer.mrmlScene.GetFirstNodeByName("film to be marked")
    red = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
    assert red.GetBackgroundVolumeID() == film.GetID()
    np.testing.assert_array_equal(
        slicer.util.arrayFromVolume(film)[0], np.load(made_result()[0] / "pixels.npy").astype(np.float32)
    )
    line = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLMarkupsLineNode")
    to_ras = slicer.util.arrayFromVTKMatrix(_ijk_to_ras(film))
    for row, col in ((40, 50), (40, 66)):
        line.AddControlPointWorld(*(to_ras @ [col, row, 0, 1])[:3])
    panel.wait(lambda: panel.asked("open")[-1]["marker"] is not None)
    assert panel.asked("open")[-1]["marker"] == pytest.approx(
        {"row": 40, "col": 58, "diameter_px": 16, "diameter_mm": 25.0}, abs=1e-3
    )
    ui.markedChooser.currentIndex = 2
    panel.wait(lambda: panel.asked("open")[-1]["overrides"].get("length") is not None)
    assert panel.asked("open")[-1]["marker"] is None
    length = panel.asked("open")[-1]["overrides"]["length"]
    assert length.pop("at") == "detector"
    ends = {"first_row": 40, "first_col": 50, "last_row": 40, "last_col": 66}
    assert length == pytest.approx({**ends, "length_mm": 25.0}, abs=1e-3)
    ui.clearMarkButton.click()
    panel.wait(lambda: panel.asked("open")[-1]["overrides"].get("length") is None)
    assert slicer.mrmlScene.GetFirstNodeByName("film to be marked") is None
    assert slicer.mrmlScene.GetFirstNodeByName("marked length") is None


def test_the_exposed_field_is_given(panel):
    panel.choose(panel.film())
    field = panel.ui.exposedField
    field.text = "66 1023 0 851"
    field.editingFinished.emit()
    panel.wait(lambda: panel.asked("open")[-1]["overrides"]["field_px"] == [66, 1023, 0, 851])
    field.text = "66 to 1023"
    field.editingFinished.emit()
    panel.wait(lambda: "four whole numbers" in panel.ui.filmWarnings.text)
    panel.choose(panel.film("other.dcm"))
    assert not field.text  # it belonged to the film before


def _ijk_to_ras(volume):
    from vtkmodules.vtkCommonMath import vtkMatrix4x4

    matrix = vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix
