"""The module from the console and from a script, which give the terminal's bones byte for byte; samples; its test."""

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from support.panels import MODULE, ROOT

from DualFaceReconLib.film.radiograph import read_radiograph
from DualFaceReconLib.pictures.drawing import resized_grey

pytest.importorskip("PySide6")
slicer = pytest.importorskip("slicer")
SAMPLE = ROOT / "Resources" / "Samples" / "pelvis_1.dcm"
SIDE_PX = 300
MESHES = [f"{bone}_observed.vtp" for bone in ("hip_left", "hip_right", "femur_left", "femur_right")]


@pytest.fixture
def scripted(monkeypatch):
    """Slicer without a window, with the module's folder on the path."""
    from host.desktop import Desktop

    with Desktop(window=False) as desktop:
        monkeypatch.syspath_prepend(str(MODULE.parent))
        yield desktop


@pytest.fixture
def film(tmp_path):
    """The sample with few pixels, as a PNG; and what has to be said of it."""
    radiograph = read_radiograph(SAMPLE)
    low, high = radiograph.display_window
    grey = np.clip((resized_grey(radiograph.pixels, (SIDE_PX, SIDE_PX)) - low) / (high - low), 0, 1)
    path = tmp_path / "film.png"
    sitk.WriteImage(sitk.GetImageFromArray((grey * 255).astype(np.uint8)), str(path))
    pitch = radiograph.geometry.pixel_pitch_mm[0] * radiograph.geometry.size_px[0] / SIDE_PX
    return path, round(pitch, 4), round(radiograph.geometry.sdd_mm)


def script():
    """Scripts/reconstruct.py as a module."""
    spec = importlib.util.spec_from_file_location("script", MODULE.parent / "Scripts" / "reconstruct.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_console_script_and_terminal_give_one_result(scripted, film, tmp_path):
    path, pitch, sdd = film
    values = [str(path), "--pixel-pitch", str(pitch), "--sdd", str(sdd), "--view", "AP", "--no-completion"]
    command = [sys.executable, "-m", "DualFaceReconLib", "reconstruct", *values, "-o", str(tmp_path / "terminal")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)  # a process of its own, with as many threads
    assert script().main([*values, "--out", str(tmp_path / "script")]) == 0
    from DualFaceRecon import DualFaceReconLogic

    run = DualFaceReconLogic().reconstruct(
        path, pixel_pitch_mm=pitch, sdd_mm=sdd, view="AP", completion=False, folder=tmp_path / "console"
    )
    for name in MESHES:
        meshes = {(tmp_path / way / name).read_bytes() for way in ("terminal", "script", "console")}
        assert len(meshes) == 1
    assert run.node("observed", "hip_left").GetPolyData().GetNumberOfPoints() > 100
    assert run.node("completed", "hip_left") is None


def test_a_script_s_exit_codes(scripted, tmp_path, capsys, monkeypatch):
    letter = tmp_path / "letter.txt"
    letter.write_text("no film")
    program = script()
    assert program.main([str(letter), "--out", str(tmp_path / "out")]) == program.REFUSED
    assert "dualface: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert program.main(["--out"]) == program.REFUSED
    assert program.main(["--help"]) == program.DONE
    console = importlib.import_module("DualFaceReconPanel.console")
    monkeypatch.setattr(console, "Packages", lambda: 1 / 0)
    assert program.main([str(letter), "--out", str(tmp_path / "out")]) == program.FAILED


def test_a_script_without_packages_says_what_to_run(scripted, tmp_path, capsys, monkeypatch):
    packages = importlib.import_module("DualFaceReconPanel.packages")
    monkeypatch.setattr(packages, "_is_importable", lambda: False)
    program = script()
    assert program.main([str(SAMPLE), "--out", str(tmp_path / "out")]) == program.REFUSED
    assert "DualFaceReconLogic().install()" in capsys.readouterr().err
    assert scripted.messages == []


def test_samples_are_offered_once_and_loaded_offline(panel, monkeypatch):
    """By our own loader, which copies; the copy is the volume's file, so that its tags are read."""
    import types

    class Source:
        def __init__(self, **values):
            vars(self).update(values)

    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataSource=Source))
    slicer.app.start_up()
    slicer.app.start_up()
    sources = slicer.modules.sampleDataSources["DualFaceRecon"]
    assert sorted(source.sampleName for source in sources) == ["one_hip_1", "pelvis_1", "pelvis_total_hip"]
    source = next(source for source in sources if source.sampleName == "pelvis_1")
    assert source.uris.startswith("file://")
    [node] = source.customDownloader(source)
    panel.ui.filmSelector.setCurrentNode(node)
    panel.wait(lambda: panel.ui.reconstructButton.enabled)
    assert Path(panel.asked("open")[-1]["path"]).read_bytes() == SAMPLE.read_bytes()


def test_the_module_s_own_test_passes_without_networks(desktop, monkeypatch, capsys):
    """As "Reload and Test" runs it; what needs networks is skipped with a sentence where packages are missing."""
    desktop.open_module(MODULE)
    packages = importlib.import_module("DualFaceReconPanel.packages")
    monkeypatch.setattr(packages, "_is_importable", lambda: False)
    sys.modules["DualFaceRecon"].DualFaceReconTest().runTest()
    assert "skipped" in capsys.readouterr().out


def test_what_slicer_lists(desktop):
    desktop.open_module(MODULE)
    about = desktop.about
    assert about.title == "DualFaceRecon"
    assert about.categories == ["Segmentation"]
    assert "research use only" in about.helpText
    assert "3DDX" in about.acknowledgementText
