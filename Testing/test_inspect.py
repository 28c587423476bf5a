"""`dualface inspect` from the outside: what it prints, writes, refuses and keeps to itself."""

import contextlib
import dataclasses
import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.signal import fftconvolve
from support.films import COLS, GEOMETRY, ROWS, dataset, film, save, save_image
from support.limits import no_file_beyond

from DualFaceReconLib.cli import main
from DualFaceReconLib.film.acquisition import Known
from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.geometry import Provenance
from DualFaceReconLib.pictures import drawing, inspection


@pytest.fixture
def film_file(tmp_path):
    ds = dataset(
        PatientName="Muster^Erika", PatientID="MRN-4711", PatientBirthDate="19500101", BurnedInAnnotation="YES"
    )
    return save(ds, tmp_path / "film.dcm")


def run_apart(*arguments, cwd, **environment):
    """In a process of its own."""
    command = [sys.executable, "-m", "DualFaceReconLib", "inspect", *map(str, arguments)]
    environment = {**os.environ, **environment}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
    )


def run_here(*arguments, cwd):
    """In this process: the same at a hundredth of the time."""
    with contextlib.chdir(cwd), redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        try:
            exit_code = main(["inspect", *map(str, arguments)])
        except SystemExit as stopped:  # of a command that cannot be read
            exit_code = stopped.code
    return subprocess.CompletedProcess(arguments, exit_code, out.getvalue(), err.getvalue())


def test_the_table_says_value_source_and_effect(film_file, tmp_path, capsys):
    assert main(["inspect", str(film_file), "--picture", str(tmp_path / "p.png")]) == 0
    printed = capsys.readouterr().out
    for words in ("1.2 x 1.25 mm", "header: ImagerPixelSpacing (0018,1164)", "every length", "190 +- 20 mm", "WARNING"):
        assert words in printed
    picture = sitk.ReadImage(str(tmp_path / "p.png"))
    assert picture.GetNumberOfComponentsPerPixel() == 3
    assert picture.GetWidth() == round(1000 * COLS * 1.25 / (ROWS * 1.2))  # in true proportion


def test_json_is_the_same_for_programs(film_file, tmp_path, capsys):
    assert main(["inspect", str(film_file), "--json", "--picture", str(tmp_path / "p.png"), "--sdd", "1100"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["values"]["sdd_mm"]["value"] == 1100
    assert printed["values"]["sdd_mm"]["kind"] == "user"
    assert printed["values"]["pixel_pitch_mm"]["source"] == "ImagerPixelSpacing (0018,1164)"
    assert [warning["code"] for warning in printed["warnings"]] == ["burned-in-annotation"]


def test_the_patient_stays_unnamed_unless_asked_for(film_file, tmp_path):
    for mode, run in (([], run_apart), (["--json"], run_here)):
        quiet = run(film_file, *mode, cwd=tmp_path)
        assert quiet.returncode == 0
        everything = quiet.stdout + quiet.stderr + " ".join(p.name for p in tmp_path.iterdir())
        assert not any(secret in everything for secret in ("Muster", "Erika", "4711", "1950"))
        asked = run(film_file, *mode, "--show-identity", cwd=tmp_path)
        assert all(secret in asked.stdout for secret in ("Muster^Erika", "4711", "1950"))


def test_a_picture_is_written_only_where_one_is_asked_for(film_file, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "with space ü"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for mode in ([], ["--json"]):
        assert main(["inspect", str(film_file), *mode]) == 0
        printed = capsys.readouterr().out
        assert not any(word in printed for word in ("Picture:", '"picture":'))
        assert list(folder.iterdir()) == []
    assert main(["inspect", str(film_file), "--picture", "film ü.png"]) == 0
    assert "Picture: film ü.png" in capsys.readouterr().out
    assert main(["inspect", str(film_file), "--picture", "film ü.png", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["picture"] == "film ü.png"
    assert [path.name for path in folder.iterdir()] == ["film ü.png"]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".nrrd", ".mha", ".nii.gz"])
def test_a_file_of_each_kind(tmp_path, suffix, capsys):
    path = save_image(tmp_path / f"film{suffix}", 8)
    assert main(["inspect", str(path), "--pixel-pitch", "1.2x1.25", "--picture", str(tmp_path / "p.png")]) == 0
    assert "1.2 x 1.25 mm" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing.dcm"],
        ["text.txt"],
        ["ct.dcm"],
        ["film.png"],
        ["film.png", "--pixel-pitch", "0"],
        ["film.png", "--pixel-pitch", "wide"],
        ["film.png", "--pixel-pitch", "1.2", "--sdd", "nan"],
        ["film.png", "--pixel-pitch", "1.2", "--view", "LATERAL"],
        ["film.png", "--pixel-pitch", "1.2", "--picture", "no/such/folder/p.png"],
        ["film.png", "--pixel-pitch", "1.2", "--picture", "."],
        ["film.png", "--pixel-pitch", "1.2", "--picture", ""],
        ["film.png", "--pixel-pitch", "0x0"],
        ["."],
        [],
    ],
)
def test_refusals_are_one_sentence_and_exit_code_2(tmp_path, arguments):
    (tmp_path / "text.txt").write_text("hello")
    save(dataset(Modality="CT"), tmp_path / "ct.dcm")
    save_image(tmp_path / "film.png")
    before = sorted(tmp_path.rglob("*"))
    done = run_here(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("dualface")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(sys.platform == "win32", reason="no RLIMIT_FSIZE")
def test_a_full_disk_leaves_nothing_behind(film_file, tmp_path):
    folder = tmp_path / "full"
    folder.mkdir()
    with no_file_beyond(5000):
        done = run_here(film_file, "--picture", "film.png", cwd=folder)
    assert done.returncode == 2
    assert "Cannot write" in done.stderr
    assert list(folder.iterdir()) == []


def test_help_and_version(capsys):
    for option in (["--help"], ["--version"], ["inspect", "--help"]):
        with pytest.raises(SystemExit) as stopped:
            main(option)
        assert stopped.value.code == 0
    assert "Research use only" in capsys.readouterr().out


def test_a_name_cannot_steer_the_terminal(tmp_path):
    path = save(dataset(PatientID="\x1b[31mRED\x1b]0;title\x07", PatientName="Müller"), tmp_path / "film.dcm")
    for encoding in ("utf-8", "ascii"):
        asked = run_apart(path, "--show-identity", cwd=tmp_path, PYTHONIOENCODING=encoding)
        assert asked.returncode == 0
        assert "\x1b" not in asked.stdout
        assert "[31mRED" in asked.stdout
        assert "Traceback" not in asked.stderr


def test_the_film_is_never_replaced_by_its_picture(tmp_path):
    path = save_image(tmp_path / "film.png")
    before = path.read_bytes()
    done = run_here(path, "--pixel-pitch", "1.2", "--picture", "film.png", cwd=tmp_path)
    assert done.returncode == 2
    assert "replace the film" in done.stderr
    assert path.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="no /dev/full, no named pipes")
def test_output_that_cannot_be_written_and_input_that_never_comes(film_file, tmp_path):
    command = [sys.executable, "-m", "DualFaceReconLib", "inspect"]
    with open("/dev/full", "w") as full:  # noqa: PTH123 (a device)
        done = subprocess.run(
            [*command, film_file], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    os.mkfifo(tmp_path / "pipe")
    done = run_here(tmp_path / "pipe", cwd=tmp_path)
    assert done.returncode == 2
    assert "no ordinary file" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no RLIMIT_FSIZE")
@pytest.mark.parametrize("suffix", [".png", ".nrrd"])
def test_no_space_for_temporary_files_is_said_as_that(tmp_path, suffix):
    path = save_image(tmp_path / f"film{suffix}")
    with no_file_beyond(50_000):  # processes that are there already know no limit, the decoder's among them
        done = run_apart(path, "--pixel-pitch", "1.2", cwd=tmp_path)
    assert done.returncode == 2
    assert "no space left" in done.stderr


# The picture: what a clinician relies on


def drawn(radiograph):
    return inspection.picture(radiograph)[: inspection.PICTURE_SIDE_PX]  # without the caption


def likeness(picture, letters, colour):
    """Best agreement, 0 to 1, of `letters` drawn in `colour` with any place of a picture, and its column's share."""
    ink = drawing.text_mask(letters, 60, bold=True) > 0.9
    there = (np.abs(picture.astype(int) - colour) < 40).all(axis=-1).astype(float)
    agreement = fftconvolve(there, ink[::-1, ::-1].astype(float), mode="valid") / ink.sum()
    return agreement.max(), np.unravel_index(agreement.argmax(), agreement.shape)[1] / picture.shape[1]


def test_r_is_on_the_left_and_l_on_the_right_and_amber_when_assumed():
    dark = Radiograph(film() * 0.2 + np.eye(ROWS, COLS, dtype=np.float32), GEOMETRY, display_window=(0, 20))
    for letter, share in (("R", 0.0), ("L", 1.0)):
        agreement, col_share = likeness(drawn(dark), letter, drawing.WHITE)
        assert agreement > 0.97
        assert col_share == pytest.approx(share, abs=0.12)
    assumed = dataclasses.replace(dark, orientation=Known("L\\F", Provenance("assumed", "nobody knows")))
    for letter, share in (("R?", 0.0), ("L?", 1.0)):
        agreement, col_share = likeness(drawn(assumed), letter, drawing.AMBER)
        assert agreement > 0.97
        assert col_share == pytest.approx(share, abs=0.16)
        assert likeness(drawn(assumed), letter, drawing.WHITE)[0] < 0.5


def test_scale_bars_have_their_lengths():
    dark = Radiograph(film() * 0.2 + np.eye(ROWS, COLS, dtype=np.float32), GEOMETRY, display_window=(0, 20))
    picture = drawn(dark)
    mm_per_px = COLS * 1.25 / picture.shape[1]
    for i, depth in enumerate((1150, 960)):
        row = picture[picture.shape[0] - 30 - 46 * i]
        bar = np.flatnonzero((row == 255).all(axis=-1))
        assert np.ptp(bar) * mm_per_px * depth / 1150 == pytest.approx(100, abs=1.5)


def test_the_exposed_field_is_drawn_where_it_is():
    field = Known((30, 269, 28, 237), Provenance("header", "CollimatorShape"))
    film_with_field = Radiograph(film(), GEOMETRY, collimation_px=field)
    picture = drawn(film_with_field)
    rows, cols = np.nonzero((picture == drawing.CYAN).all(axis=-1))
    scale = np.array(picture.shape[:2]) / (ROWS, COLS)
    assert rows.min() == pytest.approx(30 * scale[0], abs=2)
    assert rows.max() == pytest.approx(270 * scale[0], abs=2)
    assert cols.min() == pytest.approx(28 * scale[1], abs=2)
    assert cols.max() == pytest.approx(238 * scale[1], abs=2)


# The drawing underneath


def test_resizing_a_picture_keeps_its_mean_and_place():
    picture = film()
    for size in ((150, 140), (97, 211), (600, 560)):
        resized = drawing.resized_grey(picture, size)
        assert resized.shape == size
        assert resized.mean() == pytest.approx(picture.mean(), rel=1e-6)
    half = drawing.resized_grey(picture, (150, 140))
    assert half == pytest.approx(picture.reshape(150, 2, 140, 2).mean(axis=(1, 3)), abs=1e-6)


def test_letters_stand_where_they_are_put():
    picture = np.zeros((80, 200, 3), np.uint8)
    drawing.write(picture, "R", (10, 20), 40)
    drawing.write(picture, "L", (70, 190), 40, anchor=(1, 1))
    inked = np.argwhere(picture.max(axis=2) > 128)
    assert inked[:, 1].min() == pytest.approx(22, abs=2)
    assert inked.max(axis=0) == pytest.approx([67, 187], abs=2)
    drawing.write(picture, "outside", (500, 500), 20)  # nothing to see and nothing broken


def test_the_central_ray_is_drawn_where_it_is(film_file, tmp_path):
    main(["inspect", str(film_file), "--picture", str(tmp_path / "p.png")])
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "p.png")))
    yellow = np.argwhere((picture == drawing.YELLOW).all(axis=-1))
    cross = yellow[(np.abs(yellow - np.median(yellow, axis=0)) < 60).all(axis=1)]
    size = np.array([1000, round(1000 * COLS * 1.25 / (ROWS * 1.2))])
    expected = (np.array(GEOMETRY.principal_point_px) + 0.5) * size / (ROWS, COLS) - 0.5
    middle_row = np.median(cross[cross[:, 1] < expected[1] - 6, 0])  # the cross's left arm
    assert middle_row == pytest.approx(expected[0], abs=2)
