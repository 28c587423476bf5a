"""`dualface reconstruct` as somebody at a terminal meets it: with the bundle that ships, on a film that ships."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import wraps
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from support.commands import started
from support.computing import networks_asked_once, pictures_undrawn
from support.limits import no_file_beyond

from DualFaceReconLib import actions, reconstruction, results
from DualFaceReconLib.cli import main
from DualFaceReconLib.film.radiograph import read_radiograph
from DualFaceReconLib.pictures.drawing import resized_grey
from DualFaceReconLib.results import load_reconstruction

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "Resources" / "Samples" / "pelvis_1.dcm"
SIDE_PX = 400
POSIX = pytest.mark.skipif(os.name == "nt", reason="signals and limits of POSIX")


@pytest.fixture(scope="module", autouse=True)
def quick_here():
    """In processes of their own networks are loaded and pictures drawn as anywhere."""
    with networks_asked_once(), pictures_undrawn():
        yield


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """The sample with few pixels, as a PNG; and what has to be said of it."""
    radiograph = read_radiograph(SAMPLE)
    pixels = resized_grey(radiograph.pixels, (SIDE_PX, SIDE_PX))
    low, high = radiograph.display_window
    grey = (np.clip((pixels - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("Röntgen bilder") / "Hüfte 1.png"
    sitk.WriteImage(sitk.GetImageFromArray(grey), str(path))
    pitch = radiograph.geometry.pixel_pitch_mm[0] * radiograph.geometry.size_px[0] / SIDE_PX
    return [str(path), "--pixel-pitch", f"{pitch:.4f}", "--sdd", f"{radiograph.geometry.sdd_mm:.0f}", "--view", "AP"]


def command(*arguments):
    return [sys.executable, "-m", "DualFaceReconLib", "reconstruct", *map(str, arguments)]


def run(*arguments, **how):
    """In a process of its own, which costs seconds."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, cwd=ROOT, **how)


def run_here(*arguments):
    """In this process."""
    return main(["reconstruct", *map(str, arguments)])


@pytest.fixture(scope="module")
def done(film, tmp_path_factory):
    place = tmp_path_factory.mktemp("Ergebnisse") / "erste Hüfte"
    return place, run(*film, "-o", place)


def test_a_film_becomes_a_folder(done):
    place, finished = done
    assert finished.returncode == 0, finished.stderr
    assert "Research use only" in finished.stdout
    assert "WARNING  Nothing says how far the bones were from the detector" in finished.stdout
    assert [line.split() for line in finished.stdout.splitlines() if line.endswith("good")] == [
        *(["left", "hemipelvis", "good"], ["right", "hemipelvis", "good"]),
        *(["left", "femur", "good"], ["right", "femur", "good"]),
    ]
    assert str(place) in finished.stdout
    reconstruction = load_reconstruction(place)
    assert set(reconstruction.bones) == {"hip_left", "hip_right", "femur_left", "femur_right"}
    assert all(bone.completed is not None for bone in reconstruction.bones.values())
    written = [(place / name).read_text(encoding="utf-8") for name in ("reconstruction.json", "report.html")]
    assert not any("Hüfte 1" in text for text in written)
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_what_is_there_is_replaced_only_when_asked(done, film, capsys):
    place = done[0]
    before = (place / "reconstruction.json").stat().st_mtime_ns
    assert run_here(*film, "-o", place) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "--overwrite" in printed.err
    assert (place / "reconstruction.json").stat().st_mtime_ns == before
    assert run_here(*film, "-o", place, "--overwrite", "--no-completion") == 0
    assert not (place / "hip_left.stl").exists()
    assert load_reconstruction(place).bones["hip_left"].completed is None


def test_several_films_get_a_folder_each(film, tmp_path):
    other = tmp_path / "other.png"
    image = sitk.ReadImage(film[0])
    sitk.WriteImage(sitk.GetImageFromArray(sitk.GetArrayFromImage(image)[:, ::-1].copy()), str(other))
    assert run_here(film[0], other, *film[1:], "-o", tmp_path / "out", "--no-completion") == 0
    hashes = {load_reconstruction(folder).radiograph.pixel_hash for folder in (tmp_path / "out").iterdir()}
    assert {folder.name for folder in (tmp_path / "out").iterdir()} == hashes
    assert len(hashes) == 2


@pytest.fixture(scope="module")
def later_film(film, tmp_path_factory):
    """The same hips, a little aside, as if filmed again."""
    grey = sitk.GetArrayFromImage(sitk.ReadImage(film[0]))
    path = tmp_path_factory.mktemp("later") / "Hüfte 2.png"
    sitk.WriteImage(sitk.GetImageFromArray(np.roll(grey, 4, axis=1)), str(path))
    return str(path)


def test_films_of_one_patient_have_one_shape_and_say_what_each_added(film, later_film, tmp_path, capsys):
    out = tmp_path / "patient"
    assert run_here(film[0], later_film, *film[1:], "--one-patient", "-o", out) == 0
    printed = capsys.readouterr().out
    assert "Film 2: Hüfte 2.png" in printed
    assert "by this one alone" in printed
    assert "Film 1 names no patient" in printed
    text = (out / "patient.json").read_text(encoding="utf-8")
    assert "Hüfte" not in text
    document = json.loads(text)
    assert [entry["film"] for entry in document["films"]] == [1, 2]
    assert {path.name for path in out.iterdir()} == {"patient.json", *(entry["folder"] for entry in document["films"])}
    films = [load_reconstruction(out / entry["folder"]) for entry in document["films"]]
    for bone in films[0].bones:
        name = "acetabular_diameter" if bone.startswith("hip") else "femoral_head_diameter"
        sizes = [one.bones[bone].measurements[name].value for one in films]
        assert sizes[0] == pytest.approx(sizes[1], abs=0.2)
    distances = [one.radiograph.geometry.provenance["object_distance_mm"] for one in films]
    assert {came_from.kind for came_from in distances} == {"estimated"}
    assert all("object_distance_mm-by-size" in {warning.code for warning in one.warnings} for one in films)
    surfaces = [entry for entry in document["certainties"] if entry["what"] == "surface"]
    assert len(surfaces) == sum(len(one.bones) for one in films)
    for entry in surfaces:
        assert entry["all_films_mm"] < entry["alone_mm"]
        assert entry["without_mm"] == {str(3 - entry["film"]): pytest.approx(entry["alone_mm"], rel=1e-2)}
    before = (out / "patient.json").stat().st_mtime_ns
    assert run_here(film[0], later_film, *film[1:], "--one-patient", "-o", out) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (out / "patient.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["FILM", "FILM"], "Film 1 and film 2 hold the same picture"),
        (["FILM"], "name two or more"),
        (["FILM", "NOISE"], "Film 2: "),
        (["FILM", "LATER", "--no-completion"], "leave one of them out"),
        (["FILM", "LATER", "--marker", "1", "2", "30", "25"], "--object-distance"),
    ],
)
def test_films_that_are_no_films_of_one_patient_are_refused(options, words, film, later_film, tmp_path, capsys):
    noise = tmp_path / "noise.png"
    sitk.WriteImage(sitk.GetImageFromArray(SPOILT["noise"](np.zeros((SIDE_PX, SIDE_PX), np.uint8))), str(noise))
    files = {"FILM": film[0], "LATER": later_film, "NOISE": noise}
    named = [files.get(option, option) for option in options]
    assert run_here(*named, *film[1:], "--one-patient", "-o", tmp_path / "out") == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    if "NOISE" in options:
        assert run_here(*named, *film[1:], "--different-ids", "-o", tmp_path / "out") == 2
        assert "--one-patient" in capsys.readouterr().err


def test_what_is_no_film_leaves_nothing(tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("Dear Sir")
    assert run_here(tmp_path / "letter.txt", "-o", tmp_path / "out") == 2
    assert "choose DICOM" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


SPOILT = {
    "upside down": lambda grey: grey[::-1],
    "lying": lambda grey: np.rot90(grey),
    "noise": lambda grey: np.random.default_rng(0).integers(0, 256, grey.shape, dtype=np.uint8),
    "a ramp": lambda grey: np.tile(np.linspace(0, 255, grey.shape[1]).astype(np.uint8), (grey.shape[0], 1)),
}


@pytest.mark.parametrize(
    ("spoilt", "options"),
    [(spoilt, ["--no-completion"]) for spoilt in SPOILT]
    + [(spoilt, []) for spoilt in SPOILT if spoilt != "a ramp"]
    + [pytest.param("a ramp", [], marks=pytest.mark.slow)],  # like upside down, known by its bones' shapes alone
)
def test_a_picture_of_anything_else_is_refused(film, tmp_path, capsys, spoilt, options):
    """Whatever its header says, or does not say: the bundle that ships finds nothing there that could be a hip."""
    grey = sitk.GetArrayFromImage(sitk.ReadImage(film[0]))
    sitk.WriteImage(sitk.GetImageFromArray(np.ascontiguousarray(SPOILT[spoilt](grey))), str(tmp_path / "film.png"))
    assert run_here(tmp_path / "film.png", *film[1:], "-o", tmp_path / "out", *options) == 2
    assert "hip" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["film.png"]


def test_a_marker_and_a_distance_are_told(film, tmp_path, capsys):
    assert run_here(*film, "-o", tmp_path / "out", "--no-completion", "--marker", 200, 120, 46.5, 44) == 0
    provenance = load_reconstruction(tmp_path / "out").radiograph.geometry.provenance["object_distance_mm"]
    assert "ball of 44 mm" in provenance.source
    assert "Nothing says how far" not in capsys.readouterr().out


def test_a_marker_beside_a_distance_is_refused(film, tmp_path, capsys):
    both = [*film, "--object-distance", 150, "--marker", 200, 120, 46.5, 44]
    assert run_here(*both, "-o", tmp_path / "out") == 2
    assert "Both a distance and a ball are given: leave one of them out." in capsys.readouterr().err


def test_what_is_wrong_with_several_films_is_said_before_the_first_is_computed(film, tmp_path, capsys):
    again, letter, older = tmp_path / "again.png", tmp_path / "letter.txt", tmp_path / "older"
    shutil.copy(film[0], again)
    letter.write_text("Dear Sir")
    older.mkdir()
    (older / "reconstruction.json").write_text("{}")
    for second, out, words in (
        (again, tmp_path / "out", f"{film[0]} and {again} hold the same picture: leave one of them out."),
        (letter, tmp_path / "out", "letter.txt: This is not an image"),
        (again, older, "older is a reconstruction itself: choose another folder for several films."),
        (again, letter, "letter.txt is a file, in which no folder can be"),
    ):
        assert run_here(film[0], second, *film[1:], "-o", out) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert words in printed.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.png", "letter.txt", "older"]


def test_a_film_that_is_refused_later_is_named_too(film, tmp_path, capsys):
    grey = sitk.GetArrayFromImage(sitk.ReadImage(film[0]))
    sitk.WriteImage(sitk.GetImageFromArray(grey[::-1].copy()), str(tmp_path / "upside down.png"))
    films = tmp_path / "upside down.png", film[0]
    assert run_here(*films, *film[1:], "-o", tmp_path / "out", "--no-completion") == 2
    assert capsys.readouterr().err.startswith("dualface: upside down.png: ")


def test_a_place_that_cannot_be_written_is_known_before_anything_is_computed(film, tmp_path, capsys, monkeypatch):
    (tmp_path / "letter").write_text("Dear Sir")
    monkeypatch.chdir(tmp_path)
    for out, words in (("letter/sub", "letter is a file"), (".", f"{tmp_path.name} is the folder that you are in")):
        assert run_here(*film, "-o", out) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert words in printed.err


@pytest.mark.parametrize(
    ("options", "words"),
    [(["-o", ""], "no folder is named"), (["-o", "out", "--pixel-pitch", "0,143"], "with a point, not a comma")],
)
def test_an_option_that_cannot_be_read_is_said_in_words(options, words, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_here("film.png", *options)
    assert words in capsys.readouterr().err


def test_no_answer_replaces_nothing(tmp_path, capsys, monkeypatch):
    class Keyboard(io.StringIO):
        def isatty(self):
            return True

    (tmp_path / "reconstruction.json").write_text("{}")
    monkeypatch.setattr(sys, "stdin", Keyboard(""))
    assert run_here("film.png", "-o", tmp_path) == 2
    assert "say --overwrite" in capsys.readouterr().err


@POSIX
def test_streams_that_the_caller_closed_are_not_missed(film, tmp_path):
    def closed():
        for stream in (0, 1, 2):
            os.close(stream)

    quick = [*film, "--no-completion", "-o", tmp_path / "out"]
    assert subprocess.run(command(*quick), cwd=ROOT, preexec_fn=closed, check=False).returncode == 0
    assert load_reconstruction(tmp_path / "out").bones
    assert subprocess.run(command(*quick), cwd=ROOT, preexec_fn=closed, check=False).returncode == 2


@POSIX
@pytest.mark.parametrize(("files", "options"), [(0, ["--no-completion"]), (3, ["--no-completion"]), (12, [])])
def test_a_killed_run_leaves_nothing_and_the_next_one_works(film, tmp_path, files, options):
    """Killed when it begins to write, when it has written some, and nearly all."""
    place, beside = tmp_path / "out", tmp_path / ".out.new"
    running = started("reconstruct", *film, "-o", place, *options)
    deadline = time.monotonic() + 300
    while running.is_alive() and time.monotonic() < deadline:
        if beside.exists() and len(list(beside.iterdir())) >= files:
            running.kill()
            break
        time.sleep(0.001)
    running.join()
    assert running.exitcode == -signal.SIGKILL
    assert not place.exists()
    assert run_here(*film, "-o", place, "--no-completion") == 0
    load_reconstruction(place)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@POSIX
@pytest.mark.parametrize(
    ("module", "function"),
    [
        (actions, "reconstruct"),  # the film's decoded pixels are the first file that is written
        (results, "write_vtp"),
        (results, "write_stl"),
        (results, "write_volume"),
    ],
    ids=["pixels", "observed mesh", "completed mesh", "image"],
)
def test_a_full_disk_leaves_nothing(film, tmp_path, capsys, monkeypatch, module, function):
    """While a function runs; a limit on the size of files stands for it."""
    complete_all, run_it = reconstruction.complete_all, getattr(module, function)

    def one_bone_completed(observed, *among, **how):
        return complete_all({"hip_left": observed["hip_left"]}, *among, **how)

    @wraps(run_it)
    def without_room(*what, **how):
        with no_file_beyond(1_000):
            return run_it(*what, **how)

    monkeypatch.setattr(reconstruction, "complete_all", one_bone_completed)
    monkeypatch.setattr(module, function, without_room)
    exit_code = run_here(*film, "-o", tmp_path / "out")
    errors = capsys.readouterr().err
    assert exit_code == 2
    assert "make room" in errors
    assert len(errors.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@POSIX
def test_ctrl_c_leaves_nothing(film, tmp_path):
    place, lock = tmp_path / "out", tmp_path / ".out.lock"
    errors = tmp_path / "errors"
    running = started("reconstruct", *film, "-o", place, "--no-completion", errors=errors)
    deadline = time.monotonic() + 300
    while running.is_alive() and time.monotonic() < deadline and not lock.exists():
        time.sleep(0.001)
    os.kill(running.pid, signal.SIGINT)
    running.join()
    printed = errors.read_text(encoding="utf-8")
    assert running.exitcode == 130, printed
    assert "nothing was left half-written" in printed
    errors.unlink()
    assert list(tmp_path.iterdir()) == []
