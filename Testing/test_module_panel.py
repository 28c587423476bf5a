"""The panel from film to bones, in the module's unchanged file: chosen, pressed, cancelled, closed and broken."""

import copy
import importlib
import os
import shutil
import signal
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.panels import WORDS, opened_panel

from DualFaceReconLib.film.sides import CONTRADICTING, MIRRORED

slicer = pytest.importorskip("slicer")


def volume(pixels, name="film", kind="vtkMRMLScalarVolumeNode"):
    """A volume of one slice: (rows, cols), or (rows, cols, 3) for a vector volume."""
    from slicer.util import updateVolumeFromArray

    node = slicer.mrmlScene.AddNewNodeByClass(kind, name)
    updateVolumeFromArray(node, pixels[None])
    return node


def overrides(panel):
    """Of the last film that was asked for."""
    return panel.asked("open")[-1]["overrides"]


# Films


def test_a_film_is_opened_and_what_is_assumed_is_amber(panel):
    ui = panel.ui
    assert not ui.reconstructButton.enabled
    panel.choose(panel.film())
    rows = {ui.geometryTable.item(row, 0).text(): row for row in range(ui.geometryTable.rowCount)}
    assert {"Pixel pitch", "Source to detector", "Detector to bones", "Sides"} <= rows.keys()
    assumed = ui.geometryTable.item(rows["Sides"], 2)
    assert assumed.text() == "assumed"
    assert assumed.foreground().color().name() in ("#9a5b00", "#ffb347")
    assert "affects" in assumed.toolTip()
    assert (ui.leftOfPicture.text, ui.rightOfPicture.text) == ("R?", "L?")
    assert ui.sidesLabel.text.startswith("Assumed")
    assert "The pelvis is tilted." in ui.filmWarnings.text
    panel.wait(lambda: ui.deviceLabel.text == "CPU: no CUDA found")


def test_a_letter_that_contradicts_the_sides_makes_them_ask(panel):
    ui = panel.ui
    panel.choose(panel.film())
    opened = panel.panel.opened
    answer = copy.deepcopy(dict(opened.answer))
    answer["values"]["orientation"]["kind"] = "header"
    panel.panel.film.show(replace(opened, answer=answer))
    assert (ui.leftOfPicture.text, ui.rightOfPicture.text) == ("R", "L")
    for code in (MIRRORED, CONTRADICTING):
        answer["warnings"] = [{"code": code, "text": "The film itself says R.", "values": {}}]
        panel.panel.film.show(replace(opened, answer=answer))
        assert (ui.leftOfPicture.text, ui.rightOfPicture.text) == ("R?", "L?")
        assert "are right and left exchanged?" in ui.sidesLabel.text
        assert "The film itself says R." in ui.filmWarnings.text


def test_a_refused_film_is_explained_and_nothing_can_be_pressed(panel):
    panel.behave(refuse="This is no radiograph: choose one.")
    panel.ui.filmPath.currentPath = str(panel.film("letter.txt"))
    panel.wait(lambda: "This is no radiograph" in panel.ui.filmWarnings.text)
    assert not panel.ui.reconstructButton.enabled
    assert panel.ui.geometryTable.rowCount == 0


def test_the_file_of_a_volume_is_found_through_its_instance_uid(panel):
    """Slicer's own spacing is not asked."""
    path = panel.film()
    instances = {"1.2.3": str(path)}
    slicer.dicomDatabase = types.SimpleNamespace(isOpen=True, fileForInstance=lambda uid: instances.get(uid, ""))
    try:
        node = volume(np.zeros((20, 30), np.float32))
        node.SetSpacing(7, 7, 7)
        node.SetAttribute("DICOM.instanceUIDs", "1.2.3")
        panel.ui.filmSelector.setCurrentNode(node)
        panel.wait(lambda: panel.ui.reconstructButton.enabled)
    finally:
        del slicer.dicomDatabase
    assert panel.asked("open")[-1]["path"] == str(path)
    assert overrides(panel)["pixel_pitch_mm"] is None


def test_the_file_of_a_volume_is_found_through_its_storage_node(panel):
    path, node = panel.film(), volume(np.zeros((20, 30), np.float32))
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    node.SetAndObserveStorageNodeID(storage.GetID())
    panel.ui.filmSelector.setCurrentNode(node)
    panel.wait(lambda: panel.ui.reconstructButton.enabled)
    assert panel.asked("open")[-1]["path"] == str(path)


def test_pixels_without_a_file_are_handed_over_as_they_are(panel):
    pixels = np.arange(600, dtype=np.float32).reshape(20, 30)
    panel.ui.filmSelector.setCurrentNode(volume(pixels))
    panel.wait(lambda: panel.ui.reconstructButton.enabled)
    np.testing.assert_array_equal(np.load(panel.asked("open")[-1]["path"]), pixels)


def test_a_colour_picture_becomes_its_luminance(panel):
    colours = np.zeros((20, 30, 3), np.uint8)
    colours[:, :10, 0], colours[:, 10:20, 1], colours[:, 20:] = 100, 100, 100
    panel.ui.filmSelector.setCurrentNode(volume(colours, kind="vtkMRMLVectorVolumeNode"))
    panel.wait(lambda: panel.ui.reconstructButton.enabled)
    grey = np.load(panel.asked("open")[-1]["path"])
    np.testing.assert_allclose(grey[0, [0, 15, 25]], [29.9, 58.7, 100], atol=1e-4)


def test_the_frame_of_a_sequence_is_taken_not_its_file(panel):
    """The proxy of a fluoroscopy's sequence may have a storage node with the whole sequence's file."""
    from slicer.util import updateVolumeFromArray

    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "run")
    for grey in (3, 5):
        frame = slicer.vtkMRMLScalarVolumeNode()
        updateVolumeFromArray(frame, np.full((1, 20, 30), grey, np.float32))
        sequence.SetDataNodeAtValue(frame, str(grey))
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.AddSynchronizedSequenceNode(sequence)
    browser.SetSelectedItemNumber(1)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    proxy = browser.GetProxyNode(sequence)
    proxy.GetStorageNode().SetFileName(str(panel.film("run.dcm")))
    panel.ui.filmSelector.setCurrentNode(proxy)
    panel.wait(lambda: panel.ui.reconstructButton.enabled)
    np.testing.assert_array_equal(np.load(panel.asked("open")[-1]["path"]), np.full((20, 30), 5))


def test_a_volume_of_many_slices_is_refused_in_words(panel):
    from slicer.util import updateVolumeFromArray

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "ct")
    updateVolumeFromArray(node, np.zeros((5, 20, 30), np.float32))
    panel.ui.filmSelector.setCurrentNode(node)
    panel.wait(lambda: "more than one slice" in panel.ui.filmWarnings.text)
    assert not panel.asked("open")


def test_what_the_user_knows_better_reaches_the_engine(panel):
    panel.choose(panel.film())
    ui = panel.ui
    ui.pixelPitch.value, ui.sourceDistance.value, ui.objectDistance.value = 0.143, 1200.0, 190.0
    ui.viewChooser.currentIndex = 2
    ui.swapSides.checked = ui.invert.checked = True
    panel.wait(lambda: overrides(panel)["invert"])
    assert overrides(panel) == {
        "pixel_pitch_mm": 0.143,
        "sdd_mm": 1200.0,
        "object_distance_mm": 190.0,
        "view": "PA",
        "swap_sides": True,
        "invert": True,
        "length": None,
        "field_px": None,
    }
    assert panel.widget._parameters.pixelPitch == pytest.approx(0.143)
    assert panel.widget._parameters.swapSides


def test_what_was_given_for_a_film_does_not_go_over_to_the_next_patient_s(panel):
    panel.ui.objectDistance.value = 190.0  # given before any film was chosen, it is for the first
    panel.choose(panel.film())
    assert overrides(panel)["object_distance_mm"] == 190.0
    panel.ui.swapSides.checked = True
    panel.choose(panel.film("other.dcm"))
    panel.wait(lambda: overrides(panel)["object_distance_mm"] is None)
    assert not overrides(panel)["swap_sides"]
    assert any("reset" in message for message in panel.desktop.messages)


def test_a_node_that_leaves_the_scene_takes_its_film_along(panel):
    node = volume(np.ones((20, 30), np.float32))
    panel.ui.filmSelector.setCurrentNode(node)
    panel.wait(lambda: panel.ui.reconstructButton.enabled)
    panel.behave(seconds=60)
    panel.press()
    panel.wait(lambda: WORDS in panel.ui.progressBar.format)
    slicer.mrmlScene.RemoveNode(node)
    panel.wait(lambda: panel.ui.geometryTable.rowCount == 0)
    assert not panel.panel.computing
    assert not panel.ui.reconstructButton.enabled
    assert not panel.panel.results._runs


# The button


def test_progress_is_told_and_the_button_cancels(panel):
    panel.choose(panel.film())
    panel.behave(seconds=60)
    ui = panel.ui
    panel.press()
    assert ui.reconstructButton.text == "Cancel"
    assert ui.progressBar.visible
    panel.wait(lambda: WORDS in ui.progressBar.format)
    panel.press()
    assert ui.reconstructButton.text == "Reconstruct"
    assert not ui.progressBar.visible
    panel.wait(lambda: not panel.panel.engine._waiting)  # the engine has answered
    assert not ui.statusLabel.text
    panel.behave()
    assert panel.reconstructed() is not None


def test_another_film_stops_what_is_computed_of_the_last(panel):
    panel.choose(panel.film())
    panel.behave(seconds=60)
    panel.press()
    panel.wait(lambda: WORDS in panel.ui.progressBar.format)
    panel.choose(panel.film("second.dcm"))
    assert not panel.panel.computing
    assert not panel.panel.results._runs


def test_an_engine_that_dies_is_told_of_and_the_next_press_starts_another(panel):
    panel.choose(panel.film())
    panel.behave(die=True, print=["Fatal: torch"])
    panel.press()
    panel.wait(lambda: not panel.panel.computing)
    assert "The engine stopped in the middle of its work" in panel.ui.statusLabel.text
    panel.ui.copyButton.click()
    assert "Fatal: torch" in panel.desktop.clipboard_text()
    panel.behave()
    opened = len(panel.asked("open"))
    panel.press()
    panel.wait(lambda: panel.panel.results.run() is not None)
    assert len(panel.asked("open")) == opened + 1  # as the new one does not have the film
    assert not panel.ui.statusLabel.text


def test_an_engine_that_is_killed_by_somebody_is_the_same(panel):
    panel.choose(panel.film())
    panel.behave(seconds=60)
    panel.press()
    panel.wait(lambda: WORDS in panel.ui.progressBar.format)
    os.kill(next(iter(panel.panel.engine._pids)), signal.SIGKILL)
    panel.wait(lambda: not panel.panel.computing)
    assert panel.ui.reconstructButton.text == "Reconstruct"
    assert "stopped" in panel.ui.statusLabel.text


def test_details_name_neither_a_patient_nor_a_folder(panel):
    film = panel.film("Muster^Erika_1961.dcm")
    panel.choose(film)
    panel.behave(print=[f"cannot read {film} of Muster^Erika_1961", "torch 2.2"])
    panel.reconstructed()
    panel.wait(lambda: "torch 2.2" in panel.panel.engine.log_tail())
    panel.ui.copyButton.click()
    text = panel.desktop.clipboard_text()
    assert "bundle made-up 1.0" in text
    assert "CPU: no CUDA found" in text
    assert "torch 2.2" in text
    assert "Slicer 5.12.0" in text
    for private in ("Muster", "Erika", str(panel.folder), os.sep + "tmp"):
        assert private not in text
    names = [slicer.mrmlScene.GetNthNode(i).GetName() or "" for i in range(slicer.mrmlScene.GetNumberOfNodes())]
    assert not any("Muster" in name for name in names)


# Scene and module


def test_closing_the_scene_while_it_computes_leaves_a_fresh_panel(panel):
    panel.choose(panel.film())
    panel.ui.swapSides.checked = True
    panel.wait(lambda: panel.ui.reconstructButton.enabled)
    panel.behave(seconds=60)
    panel.press()
    panel.wait(lambda: WORDS in panel.ui.progressBar.format)
    slicer.mrmlScene.Clear()
    panel.wait(lambda: not panel.panel.engine._waiting)
    assert not panel.panel.computing
    panel.wait(lambda: panel.panel.settled)
    assert panel.ui.geometryTable.rowCount == 0
    assert not panel.ui.filmPath.currentPath
    assert not panel.ui.swapSides.checked
    assert not panel.ui.reconstructButton.enabled
    assert panel.widget._parameters is not None
    panel.behave()
    panel.choose(panel.film())
    assert panel.reconstructed() is not None


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_closing_the_module_while_it_computes_ends_the_engine(tmp_path):
    pytest.importorskip("PySide6")
    with opened_panel(tmp_path) as panel:
        panel.choose(panel.film())
        panel.behave(seconds=60)
        panel.press()
        panel.wait(lambda: WORDS in panel.ui.progressBar.format)
        [pid] = panel.panel.engine._pids
        folders = panel.panel.folder, panel.panel.engine._folder
    assert not alive(pid)
    assert not any(folder.exists() for folder in folders)


def test_reloading_the_module_gives_a_panel_that_works(panel):
    """Slicer's own reloading, in the midst of computing; the panel's files are read again, too."""
    panel.choose(panel.film())
    panel.behave(seconds=60)
    panel.press()
    panel.wait(lambda: WORDS in panel.ui.progressBar.format)
    before, [pid] = panel.panel, panel.panel.engine._pids
    panel.widget.onReload()
    assert not alive(pid)
    assert not before.folder.exists()
    assert type(panel.panel) is not type(before)
    panel.behave()
    panel.choose(panel.film())
    assert panel.reconstructed() is not None


# Models


def test_without_packages_the_button_says_what_to_do(panel, monkeypatch):
    monkeypatch.setattr(type(panel.panel.packages), "missing", lambda self: ["timm==1.0.22"])
    panel.widget.enter()
    panel.choose(panel.film())
    assert not panel.asked("load")
    panel.press()
    assert "press Install" in panel.ui.statusLabel.text
    assert not panel.ui.modelSection.collapsed
    assert panel.ui.installButton.visible
    assert not panel.asked("reconstruct")


def test_a_broken_torch_is_recognised_and_its_mending_named(panel):
    panel.behave(broken="torch is installed but does not load (OSError): install it again.")
    panel.choose(panel.film())
    panel.wait(lambda: "PyTorch Util" in panel.ui.packagesLabel.text)
    assert "does not load" in panel.ui.packagesLabel.text
    assert panel.ui.installButton.visible


def test_fetching_is_offered_where_there_is_something_to_fetch(panel, monkeypatch):
    from DualFaceReconLib.bundle.registry import Entry

    assert not panel.ui.fetchBundleButton.enabled  # nothing is published
    assert not panel.ui.fetchChooser.visible
    entry = Entry(id="hip-large", version="1.0.0", url="https://x/y.zip", sha256="ab" * 32, bytes=90 << 20)
    section = importlib.import_module("DualFaceReconPanel.model_section")
    other = Entry(id="spine", version="2.0.0", url="https://x/z.zip", sha256="ab" * 32, bytes=3 << 20)
    monkeypatch.setattr(section, "registry", lambda: (entry, other))
    panel.panel.models.refresh()
    assert panel.ui.fetchBundleButton.enabled
    assert [panel.ui.fetchChooser.itemText(row) for row in range(2)] == ["hip-large 1.0.0, 90 MB", "spine 2.0.0, 3 MB"]
    panel.ui.fetchChooser.currentIndex = 1
    panel.desktop.answer = False
    panel.ui.fetchBundleButton.click()
    assert not panel.panel.computing
    panel.desktop.answer = True
    panel.ui.fetchBundleButton.click()
    assert "Fetch spine 2.0.0, 3 MB?" in panel.desktop.messages[-1]
    assert panel.ui.reconstructButton.text == "Cancel"
    panel.wait(lambda: not panel.panel.computing)
    assert panel.asked("fetch")[0]["bundle"] == "spine"
    assert not panel.ui.statusLabel.text


def test_a_folder_of_wheels_is_kept_in_slicer_s_settings(panel, tmp_path):
    """And is there again in the next session; the internet comes back where it is emptied."""
    packages = importlib.import_module("DualFaceReconPanel.packages")
    assert panel.ui.wheelsPath.currentPath == packages.wheels() == ""
    panel.ui.wheelsPath.currentPath = str(tmp_path)
    assert packages.wheels() == str(tmp_path)
    assert str(tmp_path) in panel.panel.packages.consent()
    panel.widget.onReload()
    assert panel.ui.wheelsPath.currentPath == str(tmp_path)
    panel.ui.wheelsPath.currentPath = ""
    assert importlib.import_module("DualFaceReconPanel.packages").wheels() == ""


def test_a_bundle_in_a_folder_is_opened(panel, monkeypatch, tmp_path):
    monkeypatch.setattr(panel.desktop.qt.QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "mine"))
    panel.behave(loading_seconds=60)
    panel.choose(panel.film())
    assert panel.panel.engine._waiting  # the bundle that ships is being loaded
    panel.behave()
    panel.ui.openBundleButton.click()
    assert panel.ui.bundleChooser.currentText == "mine"
    assert not panel.ui.statusLabel.text  # that this ends is no fault
    panel.press()
    panel.wait(lambda: panel.asked("reconstruct"))
    assert panel.asked("load")[-1]["bundle"] == str(tmp_path / "mine")
    panel.ui.bundleChooser.currentIndex = 0
    panel.press()
    panel.wait(lambda: len(panel.asked("reconstruct")) == 2)
    assert panel.asked("load")[-1]["bundle"] is None


def test_a_bundle_of_the_user_s_own_is_removed_and_the_one_that_ships_is_not(panel, monkeypatch, tmp_path):
    from DualFaceReconLib.bundle.manifest import load_manifest
    from DualFaceReconLib.bundle.store import ENVIRONMENT, SHIPPED

    ui = panel.ui
    assert "ships with the module" in ui.bundleChooser.currentText
    assert not ui.removeBundleButton.enabled
    manifest = load_manifest(SHIPPED)
    folder = tmp_path / "models" / f"{manifest.id}-{manifest.version}"
    folder.mkdir(parents=True)
    shutil.copyfile(SHIPPED / "manifest.json", folder / "manifest.json")
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "models"))
    panel.panel.models.refresh(folder)
    assert panel.panel.models.bundle() == str(folder)
    panel.desktop.answer = False
    ui.removeBundleButton.click()
    assert folder.is_dir()
    panel.desktop.answer = True
    ui.removeBundleButton.click()
    assert not folder.exists()
    assert "ships with the module" in ui.bundleChooser.currentText
    assert not ui.removeBundleButton.enabled


def test_packages_are_installed_with_consent_and_removed(panel, monkeypatch):
    """Into a folder beside Slicer's settings, which can be written where Slicer itself cannot."""
    packages, desktop, ui = panel.panel.packages, panel.desktop, panel.ui
    monkeypatch.setattr(importlib.import_module("DualFaceReconPanel.packages"), "_is_importable", lambda: False)
    panel.widget.enter()
    assert ui.installButton.visible
    assert not ui.removePackagesButton.enabled
    desktop.answer = False
    ui.installButton.click()
    assert "timm" in desktop.messages[-1]
    assert desktop.pip_calls == []
    desktop.answer, desktop.pip_code = True, 1
    ui.installButton.click()
    assert "press Install again to go on" in ui.packagesLabel.text
    with monkeypatch.context() as patch:
        patch.setattr(slicer.packaging, "isPipInstallInProgress", lambda: True)
        ui.installButton.click()
    assert "Something else is being installed" in desktop.messages[-1]
    assert "not here yet" in ui.packagesLabel.text
    desktop.pip_code = 0
    ui.installButton.click()
    assert ui.packagesLabel.text == "Everything is here."
    assert not ui.installButton.visible
    assert Path(slicer.app.slicerUserSettingsFilePath).parent in packages.folder.parents
    assert panel.panel.engine.packages == packages.folder
    ui.removePackagesButton.click()
    assert not packages.folder.exists()
    assert panel.panel.engine.packages is None
    assert ui.installButton.visible


# Films of one patient


def test_a_film_that_is_kept_goes_with_the_next_one_as_it_was_read(panel):
    ui = panel.ui
    assert not ui.keepFilmButton.enabled
    first, second = panel.film("first.dcm"), panel.film("second.dcm")
    panel.choose(first)
    ui.swapSides.checked = True
    panel.wait(lambda: overrides(panel)["swap_sides"] and ui.reconstructButton.enabled)
    ui.keepFilmButton.click()
    assert "first.dcm" in ui.keptFilms.text
    panel.choose(second)
    ui.keepFilmButton.click()  # the film itself is none of the others
    ui.differentIds.checked = True
    before = ui.runChooser.count
    panel.reconstructed()
    asked = panel.asked("reconstruct")[-1]
    assert [(other["path"], other["overrides"]["swap_sides"]) for other in asked["others"]] == [(str(first), True)]
    assert asked["different_ids"]
    assert ui.runChooser.count == before + 2
    ui.forgetFilmsButton.click()
    assert not ui.keptFilms.text
    assert not ui.differentIds.checked
    panel.reconstructed()
    assert panel.asked("reconstruct")[-1]["others"] == []
