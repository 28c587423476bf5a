"""The module from the console and from a script; samples; the module's own test. `test_module_run.py` has the bones."""

import argparse
import importlib
import runpy
import sys
from pathlib import Path

import pytest
from support.panels import MODULE, ROOT, made_result

from DualFaceReconLib import cli
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film import decoding, native_decoder
from DualFaceReconLib.worker.protocol import Reconstruct

pytest.importorskip("PySide6")
slicer = pytest.importorskip("slicer")
SAMPLE = ROOT / "Resources" / "Samples" / "pelvis_1.dcm"
# Slicer's scene has the bones anyway; a script makes those of one film, `DualFaceReconLogic` of a patient's
OF_THE_TERMINAL_ALONE = {"--scene", "--one-patient", "--different-ids"}


@pytest.fixture
def scripted(monkeypatch):
    """Slicer without a window, with the module's folder on the path."""
    from host.desktop import Desktop

    with Desktop(window=False) as desktop:
        monkeypatch.syspath_prepend(str(MODULE.parent))
        yield desktop


def script():
    """Scripts/reconstruct.py as a module."""
    spec = importlib.util.spec_from_file_location("script", MODULE.parent / "Scripts" / "reconstruct.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def options_of(parser):
    """What may be said to a parser: by flag, how many values, which, and what is meant without."""
    return {
        flag: (action.nargs, action.choices, action.default, action.dest)
        for action in parser._actions
        for flag in action.option_strings
    }


def test_a_script_takes_what_the_terminal_takes(scripted):
    subparsers = next(a for a in cli._parser()._actions if isinstance(a, argparse._SubParsersAction))
    terminal = options_of(subparsers.choices["reconstruct"])
    own = options_of(script().parser())
    assert own.pop("--install")
    assert own == {flag: option for flag, option in terminal.items() if flag not in OF_THE_TERMINAL_ALONE}


class Engine:
    """Stands in for the client of a worker; keeps what it was asked."""

    asked = ()

    def __init__(self, packages):
        Engine.asked = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def ask(self, request):
        Engine.asked.append(request)
        return {"film": "1", **made_result()[1]}


def test_what_is_said_to_a_script_reaches_the_engine(scripted, tmp_path, monkeypatch):
    console = importlib.import_module("DualFaceReconPanel.console")
    monkeypatch.setattr(console, "Client", Engine)
    results = []
    monkeypatch.setattr(console, "add_result", lambda folder, *_: results.append(folder))
    out = tmp_path / "out"
    film = [str(SAMPLE), "-o", str(out), "--pixel-pitch", "0.143x0.139", "--marker", "300", "400", "50.5", "30"]
    more = ["--overwrite", "--no-completion", "--whole-femurs", "--separately", "--device", "cpu", "--swap-sides"]
    assert script().main([*film, *more]) == 0
    opened, loaded, reconstructed = Engine.asked
    assert opened.marker == {"row": 300, "col": 400, "diameter_px": 50.5, "diameter_mm": 30}
    assert opened.overrides["pixel_pitch_mm"] == (0.143, 0.139)
    assert opened.overrides["swap_sides"]
    assert (loaded.bundle, loaded.device) == (None, "cpu")
    assert (reconstructed.folder, reconstructed.overwrite) == (str(out), True)
    assert (reconstructed.completion, reconstructed.whole_femurs, reconstructed.together) == (False, True, False)
    assert results == [out]


def test_films_of_one_patient_reach_the_engine_each_with_what_is_known_of_it(scripted, tmp_path, monkeypatch):
    console = importlib.import_module("DualFaceReconPanel.console")

    class Answering(Engine):
        def ask(self, request):
            answer = super().ask(request)
            if not isinstance(request, Reconstruct):
                return answer
            return {"folder": str(tmp_path / "1"), "others": [{**answer, "folder": str(tmp_path / "2")}]}

    monkeypatch.setattr(console, "Client", Answering)
    results = []
    monkeypatch.setattr(console, "add_result", lambda folder, asked, title, study: results.append((folder, title)))
    given = [{"object_distance_mm": 190.0}, {"swap_sides": True, "marker": (300, 400, 50.5, 30)}]
    films = [str(SAMPLE), str(tmp_path / "later.dcm")]
    how = {"given": given, "folder": tmp_path, "different_ids": True}
    assert console.reconstruct_patient(films, ["first", "later"], **how) == [None, None]
    opened, asked = Engine.asked
    assert opened.overrides == {"object_distance_mm": 190.0}
    assert (asked.folder, asked.different_ids) == (str(tmp_path), True)
    (other,) = asked.others
    assert (other["path"], other["overrides"]) == (films[1], {"swap_sides": True})
    assert other["marker"]["diameter_mm"] == 30
    assert results == [(tmp_path / "1", "first"), (tmp_path / "2", "later")]
    with pytest.raises(Refusal, match="two or more"):
        console.reconstruct_patient(films[:1])


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


def test_slicer_ends_with_the_script_s_exit_code(scripted, monkeypatch):
    """As --python-script runs it."""
    codes = []
    monkeypatch.setattr(slicer.util, "exit", codes.append)
    path = MODULE.parent / "Scripts" / "reconstruct.py"
    for arguments in (["--help"], ["--", str(SAMPLE)]):
        monkeypatch.setattr(sys, "argv", [str(path), *arguments])
        runpy.run_path(str(path), run_name="__main__")
    assert codes == [0, 2]


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


def decoded_here(arguments):
    """Instead of a process that decodes a film: ours does, which is quicker, as the films that ship do no harm."""
    return native_decoder.exit_code(*arguments)


def test_the_module_s_own_test_passes_without_networks(desktop, monkeypatch, capsys):
    """As "Reload and Test" runs it; what needs networks is skipped with a sentence where packages are missing."""
    desktop.open_module(MODULE)
    monkeypatch.setattr(decoding, "exit_code", decoded_here)
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
