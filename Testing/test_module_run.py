"""The module with the real worker and the bundle that ships: a picture without a pitch becomes bones, then others.

Panel, console, script and terminal give the same meshes byte for byte: what was seen of the bones, and the whole ones.
"""

import importlib
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from support.panels import MODULE, ROOT, mask_of

from DualFaceReconLib.film.radiograph import read_radiograph
from DualFaceReconLib.pictures.drawing import resized_grey

pytest.importorskip("PySide6")
slicer = pytest.importorskip("slicer")
HIGH_PX = 320
BONES = ("hip_right", "femur_right")
MESHES = [f"{bone}{part}" for bone in BONES for part in ("_observed.vtp", ".vtp", ".stl")]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """In every process: threads that wait for each other only cost."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            patch.setenv(name, "1")
        yield


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A sample of one hip with few pixels, as a PNG; and what has to be said of it."""
    radiograph = read_radiograph(ROOT / "Resources" / "Samples" / "one_hip_1.dcm")
    rows, cols = radiograph.geometry.size_px
    low, high = radiograph.display_window
    size_px = (HIGH_PX, round(HIGH_PX * cols / rows))
    grey = np.clip((resized_grey(radiograph.pixels, size_px) - low) / (high - low), 0, 1)
    path = tmp_path_factory.mktemp("film") / "Muster^Erika.png"
    sitk.WriteImage(sitk.GetImageFromArray((grey * 255).astype(np.uint8)), str(path))
    pitch_mm = round(radiograph.geometry.pixel_pitch_mm[0] * rows / HIGH_PX, 4)
    return SimpleNamespace(path=path, pitch_mm=pitch_mm, sdd_mm=round(radiograph.geometry.sdd_mm))


@pytest.fixture(scope="module")
def terminal(film, tmp_path_factory):
    """The folder of the terminal's result."""
    folder = tmp_path_factory.mktemp("terminal") / "result"
    command = [sys.executable, "-m", "DualFaceReconLib", "reconstruct", *arguments(film), "-o", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert {path.name for path in folder.iterdir()} >= set(MESHES)
    return folder


def arguments(film):
    """Of a script and of the terminal."""
    return [str(film.path), "--pixel-pitch", str(film.pitch_mm), "--sdd", str(film.sdd_mm), "--view", "AP"]


def assert_same_meshes(folder, other):
    for name in MESHES:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name


def test_console_script_and_terminal_give_one_result(film, terminal, tmp_path, monkeypatch):
    """In a Slicer without a window."""
    from host.desktop import Desktop

    with Desktop(window=False) as desktop:
        monkeypatch.syspath_prepend(str(MODULE.parent))
        spec = importlib.util.spec_from_file_location("script", MODULE.parent / "Scripts" / "reconstruct.py")
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        assert script.main([*arguments(film), "--out", str(tmp_path / "script")]) == 0
        from DualFaceRecon import DualFaceReconLogic

        run = DualFaceReconLogic().reconstruct(
            film.path,
            pixel_pitch_mm=film.pitch_mm,
            sdd_mm=film.sdd_mm,
            view="AP",
            folder=tmp_path / "console",
        )
        assert run.node("completed", "hip_right").GetPolyData().GetNumberOfPoints() > 1000
        assert desktop.messages == []
    assert_same_meshes(tmp_path / "script", terminal)
    assert_same_meshes(tmp_path / "console", terminal)


def test_a_picture_becomes_bones_and_its_corrected_masks_other_ones(desktop, film, terminal):
    widget = desktop.open_module(MODULE)
    ui, panel = widget.ui, widget.panel
    ui.filmPath.currentPath = str(film.path)
    desktop.wait_for(lambda: "pixel pitch" in ui.filmWarnings.text, 120)
    assert not ui.reconstructButton.enabled
    ui.pixelPitch.value, ui.sourceDistance.value = film.pitch_mm, film.sdd_mm
    ui.viewChooser.currentIndex = 1
    desktop.wait_for(lambda: ui.reconstructButton.enabled, 120)
    assert "?" in ui.leftOfPicture.text

    ui.reconstructButton.click()
    desktop.wait_for(lambda: not panel.computing, 300)
    assert not ui.statusLabel.text
    assert_same_meshes(panel.engine._folder / "result-1", terminal)
    run = panel.results.run()
    table = {ui.measurementsTable.item(row, 0).text() for row in range(ui.measurementsTable.rowCount)}
    assert "right hemipelvis observed area" in table
    node = run.node("observed", "hip_right")
    before = node.GetPolyData().GetNumberOfPoints()

    segmentation, volume = run.node("segmentation"), run.node("film")
    smaller = mask_of(segmentation, "hip_right", volume)
    rows = np.flatnonzero(smaller.any(axis=1))
    smaller[: rows[len(rows) // 3]] = False
    slicer.util.updateSegmentBinaryLabelmapFromArray(smaller[None].astype(np.uint8), segmentation, "hip_right", volume)
    widget.enter()
    ui.completion.checked = False
    ui.recomputeButton.click()
    desktop.wait_for(lambda: not panel.computing, 300)
    assert not ui.statusLabel.text
    assert run.node("observed", "hip_right") is node  # the same nodes, with other bones
    assert node.GetPolyData().GetNumberOfPoints() < before
    assert run.node("completed", "hip_right") is None
    for number, kind in ((1, "estimated"), (2, "user")):
        document = panel.engine._folder / f"result-{number}" / "reconstruction.json"
        assert json.loads(document.read_text(encoding="utf-8"))["masks"]["kind"] == kind
    ui.copyButton.click()
    assert "bundle " in desktop.clipboard_text()
    for private in ("Muster", os.sep + "tmp"):
        assert private not in desktop.clipboard_text()
