"""The worker with the bundle and a film that ship: the terminal's own bytes, stopped in time, ended at once."""

import importlib
import os
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from DualFaceReconLib import cli
from DualFaceReconLib.bundle.store import SHIPPED
from DualFaceReconLib.errors import Cancelled, Refusal
from DualFaceReconLib.results import load_reconstruction
from DualFaceReconLib.worker.client import Client
from DualFaceReconLib.worker.engine import STAGES
from DualFaceReconLib.worker.protocol import Hello, Load, Open, Ping, Reconstruct

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "Resources" / "Samples" / "pelvis_1.dcm"


@pytest.fixture(scope="module")
def worker():
    """In the environment that this process has: one thread for networks."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("OPENBLAS_NUM_THREADS", "1")
        with Client() as driven:
            yield driven
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("Röntgen bilder") / "Hüfte 1 Köhler.dcm"
    shutil.copyfile(SAMPLE, path)
    return path


@pytest.fixture(scope="module")
def opened(worker, film):
    return worker.ask(Open(str(film)))["film"]


class Stop:
    """A caller who wants no more from a stage on; remembers what it heard."""

    def __init__(self, words):
        self.words, self.heard, self.stopped = words, [], False

    def progress(self, words, share):
        self.heard.append(words)
        self.stopped |= words == self.words

    def __call__(self):
        return self.stopped


@pytest.mark.parametrize("stage", ["bundle", "networks", "completion"])
def test_a_stage_stops_in_the_midst_and_leaves_nothing(worker, opened, tmp_path, stage):
    """The first of them while packages are imported, which then are there for the next one."""
    stop = Stop(STAGES[stage])
    with pytest.raises(Cancelled):
        worker.ask(Reconstruct(opened, folder=str(tmp_path / "out")), progress=stop.progress, cancelled=stop)
    stages = [stage for stage, words in STAGES.items() if words in stop.heard]
    assert stages[-1] == stage
    assert list(tmp_path.iterdir()) == []
    assert worker.ask(Ping())["event"] == "done"


@pytest.fixture(scope="module")
def terminal(film, worker, tmp_path_factory):
    """The folder of the terminal's result."""
    folder = tmp_path_factory.mktemp("terminal") / "vom Terminal"
    assert cli.main(["reconstruct", str(film), "-o", str(folder)]) == 0
    return folder


def test_the_worker_and_the_terminal_give_the_same_bytes(worker, opened, terminal, tmp_path):
    events = []
    place = tmp_path / "vom Worker"
    done = worker.ask(Reconstruct(opened, folder=str(place)), progress=lambda *values: events.append(values))
    assert_same_bytes(terminal, place)
    found = load_reconstruction(done["folder"])
    assert all(bone.completed is not None for bone in found.bones.values())
    assert {bone: verdict["grade"] for bone, verdict in done["verdicts"].items()} == dict.fromkeys(found.bones, "good")
    shares = [share for _, share in events]
    assert shares == sorted(shares)
    assert 0 <= shares[0] < shares[-1] <= 1
    assert list(dict.fromkeys(words for words, _ in events)) == [
        STAGES[stage] for stage in ("networks", "surfaces", "completion", "saving")
    ]


def assert_same_bytes(folder, other):
    """Of every bone what was seen and the whole one, twice, masks, depths and film."""
    compared = 0
    for path in folder.iterdir():
        if path.suffix in (".vtp", ".stl", ".nrrd"):
            assert path.read_bytes() == (other / path.name).read_bytes(), path.name
            compared += 1
    assert compared == 4 * 3 + 4


def test_slicer_s_console_and_a_script_give_the_terminal_s_bytes(worker, film, terminal, tmp_path, monkeypatch, capsys):
    """In a Slicer without a window; by the warm process, as another's imports take long, which asks networks anew."""
    pytest.importorskip("PySide6")
    pytest.importorskip("slicer")
    from host.desktop import Desktop

    module = ROOT / "DualFaceRecon"
    with Desktop(window=False) as desktop:
        monkeypatch.syspath_prepend(str(module))
        console = importlib.import_module("DualFaceReconPanel.console")
        monkeypatch.setattr(console, "Client", lambda packages: nullcontext(worker))
        spec = importlib.util.spec_from_file_location("script", module / "Scripts" / "reconstruct.py")
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        bundle = ["--bundle", str(SHIPPED)]  # another than was loaded before, by its name
        assert script.main([str(film), "--out", str(tmp_path / "script"), *bundle]) == 0
        from DualFaceRecon import DualFaceReconLogic, DualFaceReconTest

        worker.ask(Load())
        run = DualFaceReconLogic().reconstruct(film, folder=tmp_path / "console")
        assert run.node("completed", "hip_left").GetPolyData().GetNumberOfPoints() > 1000
        DualFaceReconTest().test_a_sample_becomes_bones()  # the module's own test, which asks nobody, too
        assert desktop.messages == []
        assert capsys.readouterr().out.count("skipped") == 0
    for way in ("script", "console"):
        assert_same_bytes(terminal, tmp_path / way)


def test_a_damaged_bundle_is_refused_and_the_one_that_ships_is_there_again(worker, tmp_path):
    folder = shutil.copytree(ROOT / "Resources" / "Models", tmp_path / "Bündel")
    weights = bytearray((folder / "segmentation.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "segmentation.safetensors").write_bytes(weights)
    with pytest.raises(Refusal, match="damaged"):
        worker.ask(Load(str(folder)))
    assert worker.ask(Load())["bundle"]["id"] == "hips-small"


def test_versions_and_device_in_words(worker):
    answer = worker.ask(Hello())
    assert answer["versions"]["torch"] == torch.__version__
    assert answer["device_words"].startswith(("CPU: ", "GPU: "))


def test_the_log_names_no_film(worker, film):
    tail = "\n".join(worker.log_tail())
    assert "reconstruct done" in tail
    assert not [word for word in ("Köhler", film.name, str(film.parent), os.fspath(ROOT)) if word in tail]


def test_where_stdin_ends_while_bones_are_completed_the_process_ends(worker, film, tmp_path):
    opened, process = worker.ask(Open(str(film)))["film"], worker._process

    def leave(words, share):
        if words == STAGES["completion"] and not process.popen.stdin.closed:
            process.popen.stdin.close()

    with pytest.raises(Cancelled):
        worker.ask(Reconstruct(opened, folder=str(tmp_path / "out")), progress=leave)
    assert process.popen.wait(60) == 0
    assert list(tmp_path.iterdir()) == []


def test_films_of_one_patient_get_a_folder_each(worker, film, tmp_path):
    """Another film is opened for that alone; it names somebody else, which has to be asked for."""
    opened = worker.ask(Open(str(film)))["film"]
    other = {"path": str(SAMPLE.with_name("one_hip_1.dcm"))}
    out = tmp_path / "out"
    request = Reconstruct(opened, others=(other,), folder=str(out))
    with pytest.raises(Refusal, match="different patients") as refused:
        worker.ask(request)
    assert refused.value.code == "different-patients"
    assert not out.exists()
    with pytest.raises(Refusal, match=r"^Film 2: There is no such file"):
        worker.ask(replace(request, others=({"path": str(tmp_path / "none.dcm")},)))
    done = worker.ask(replace(request, different_ids=True))
    films = [load_reconstruction(answer["folder"]) for answer in (done, *done["others"])]
    assert {path.name for path in out.iterdir()} == {"patient.json", *(film.radiograph.pixel_hash for film in films)}
    assert films[1].radiograph.pixel_hash == done["others"][0]["pixel_hash"]
    whole = [{name for name, bone in film.bones.items() if bone.completed is not None} for film in films]
    shared = whole[0] & whole[1]
    assert len(shared) >= 2
    for bone in shared:
        name = "acetabular_diameter" if bone.startswith("hip") else "femoral_head_diameter"
        sizes = [film.bones[bone].measurements[name].value for film in films]
        assert sizes[0] == pytest.approx(sizes[1], abs=0.2)
