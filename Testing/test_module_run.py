"""The module with the real worker and the bundle that ships: a picture without a pitch becomes bones, then others."""

import json
import os
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


@pytest.fixture
def film(tmp_path):
    """A sample of one hip with few pixels, as a PNG; and what has to be said of it."""
    radiograph = read_radiograph(ROOT / "Resources" / "Samples" / "one_hip_1.dcm")
    rows, cols = radiograph.geometry.size_px
    low, high = radiograph.display_window
    size_px = (HIGH_PX, round(HIGH_PX * cols / rows))
    grey = np.clip((resized_grey(radiograph.pixels, size_px) - low) / (high - low), 0, 1)
    path = tmp_path / "Muster^Erika.png"
    sitk.WriteImage(sitk.GetImageFromArray((grey * 255).astype(np.uint8)), str(path))
    pitch_mm = radiograph.geometry.pixel_pitch_mm[0] * rows / HIGH_PX
    return SimpleNamespace(path=path, pitch_mm=pitch_mm, sdd_mm=radiograph.geometry.sdd_mm)


def test_a_picture_becomes_bones_and_its_corrected_masks_other_ones(desktop, film, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads that wait for each other only cost
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
