"""The module with the real worker and the bundle that ships: a picture without a pitch becomes bones, then others."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from support.panels import MODULE, ROOT, mask_of

from DualFaceReconLib.film.radiograph import read_radiograph
from DualFaceReconLib.pictures.drawing import resized_grey

pytest.importorskip("PySide6")
slicer = pytest.importorskip("slicer")
SIDE_PX = 300


def test_a_picture_becomes_bones_and_its_corrected_masks_other_ones(desktop, tmp_path):
    radiograph = read_radiograph(ROOT / "Resources" / "Samples" / "pelvis_1.dcm")
    low, high = radiograph.display_window
    grey = np.clip((resized_grey(radiograph.pixels, (SIDE_PX, SIDE_PX)) - low) / (high - low), 0, 1)
    film = tmp_path / "Muster^Erika.png"
    sitk.WriteImage(sitk.GetImageFromArray((grey * 255).astype(np.uint8)), str(film))

    widget = desktop.open_module(MODULE)
    ui, panel = widget.ui, widget.panel
    ui.completion.checked = False
    ui.filmPath.currentPath = str(film)
    desktop.wait_for(lambda: "pixel pitch" in ui.filmWarnings.text, 120)
    assert not ui.reconstructButton.enabled
    ui.pixelPitch.value = radiograph.geometry.pixel_pitch_mm[0] * radiograph.geometry.size_px[0] / SIDE_PX
    ui.sourceDistance.value = radiograph.geometry.sdd_mm
    desktop.wait_for(lambda: ui.reconstructButton.enabled, 120)
    assert "?" in ui.leftOfPicture.text

    ui.reconstructButton.click()
    desktop.wait_for(lambda: not panel.computing, 300)
    assert not ui.statusLabel.text
    run = panel.results.run()
    table = {ui.measurementsTable.item(row, 0).text() for row in range(ui.measurementsTable.rowCount)}
    assert "left hemipelvis observed area" in table
    node = run.node("observed", "hip_left")
    before = node.GetPolyData().GetNumberOfPoints()

    segmentation, volume = run.node("segmentation"), run.node("film")
    smaller = mask_of(segmentation, "hip_left", volume)
    rows = np.flatnonzero(smaller.any(axis=1))
    smaller[: rows[len(rows) // 3]] = False
    slicer.util.updateSegmentBinaryLabelmapFromArray(smaller[None].astype(np.uint8), segmentation, "hip_left", volume)
    widget.enter()
    ui.recomputeButton.click()
    desktop.wait_for(lambda: not panel.computing, 300)
    assert not ui.statusLabel.text
    assert run.node("observed", "hip_left") is node  # the same nodes, with other bones
    assert node.GetPolyData().GetNumberOfPoints() < before
    [second] = list(panel.engine._folder.glob("result-2/reconstruction.json"))
    assert json.loads(second.read_text(encoding="utf-8"))["masks"]["kind"] == "user"
    first = Path(second.parents[1], "result-1", "reconstruction.json")
    assert json.loads(first.read_text(encoding="utf-8"))["masks"]["kind"] == "estimated"
    ui.copyButton.click()
    assert "Muster" not in desktop.clipboard_text()
    assert "bundle " in desktop.clipboard_text()
