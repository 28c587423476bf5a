"""`dualface batch`: many films, bad ones among them, stopped and gone on with, and nobody's name in what it says."""

import contextlib
import csv
import io
import json
import multiprocessing
import os
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import SimpleITK as sitk
from support.batches import (
    KilledWhileItWrites,
    StandIn,
    StandInWork,
    run_apart,
    save_film,
    stand_in,
    stand_in_bundle,
)
from support.batches import (
    rows_of as rows,
)
from support.films import save_image
from support.light import QuickWork
from support.processes import at_once, started_at_once

from DualFaceReconLib.actions import EXIT_INCOMPLETE, EXIT_REFUSED, EXIT_STOPPED
from DualFaceReconLib.batch import run as batch_run
from DualFaceReconLib.batch.films import folder_names
from DualFaceReconLib.batch.record import MAP, PATH, SUMMARY, Record
from DualFaceReconLib.batch.run import Choices, run_batch
from DualFaceReconLib.cli import main
from DualFaceReconLib.disk.folders import locked
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.parallel import roads
from DualFaceReconLib.parallel.processes import InProcesses
from DualFaceReconLib.results import load_reconstruction

SECRETS = ("Muster", "Erika", "4711")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return stand_in_bundle(tmp_path_factory.mktemp("bundle") / "bundle")


@pytest.fixture(autouse=True)
def networks(monkeypatch):
    stand_in(monkeypatch.setattr)


@pytest.fixture
def films(tmp_path):
    """Three films."""
    for seed, name in enumerate(("a.dcm", "b.dcm", "c.dcm")):
        save_film(tmp_path / "films" / name, seed)
    return tmp_path / "films"


def run(films, out, bundle, *options):
    """The command; its exit code and what it printed on both streams."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        arguments = ["batch", films, "-o", out, "--bundle", bundle, "--no-completion", *options]
        code = main([str(argument) for argument in arguments])
    return code, printed.getvalue()


def statuses(out):
    return [row["status"] for row in rows(out / SUMMARY)]


# Thirty films


@pytest.fixture(scope="module")
def thirty(tmp_path_factory, bundle):
    """28 good films and two bad ones, among files that are none; the folder, the output, what was printed."""
    folder = tmp_path_factory.mktemp("batch") / "films of Müller, Erika"
    for seed in range(26):
        save_film(folder / f"ward {seed % 3}" / f"Erika {seed:02d}.dcm", seed)
    save_film(folder / "ohne Endung" / "IM000001", 26)
    name = b"Erika \xff" if sys.platform == "linux" else b"Erika x"  # no text in any encoding
    save_film(folder / os.fsdecode(name), 27)
    cut = save_film(folder / "cut short by Erika.dcm", 28)
    cut.write_bytes(cut.read_bytes()[:60_000])
    colour = np.random.default_rng(0).integers(0, 255, (300, 280, 3), dtype=np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(colour, isVector=True), str(folder / "Erika on holiday.png"))
    (folder / "notes.txt").write_text("Erika")
    save_film(folder / ".hidden.dcm", 30)
    save_film(folder / ".hidden folder" / "film.dcm", 31)
    save_film(folder / "film.dcm.part", 32)
    listing = save_film(folder / "DICOMDIR", 33)
    listing.write_bytes(listing.read_bytes().replace(b"1.2.840.10008.5.1.4.1.1.1.1\0", b"1.2.840.10008.1.3.10\0"))
    if sys.platform != "win32":
        (folder / "ward 0" / "loop").symlink_to(folder, target_is_directory=True)
        (folder / "gone").symlink_to(folder / "nowhere")
        os.mkfifo(folder / "pipe")
    out = folder / "results"  # among the films, and yet no film itself
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch.setattr)
        code, printed = run(folder, out, bundle)
    return SimpleNamespace(folder=folder, out=out, code=code, printed=printed)


def test_bad_films_do_not_stop_the_others(thirty):
    assert thirty.code == EXIT_INCOMPLETE
    summary = rows(thirty.out / SUMMARY)
    assert [row["number"] for row in summary] == [str(n) for n in range(1, 31)]
    refused = {row["reason"].partition(":")[0] for row in summary if row["status"] == "refused"}
    assert sum(row["status"] == "done" for row in summary) == 28
    assert len(refused) == 2
    assert any("colour picture" in reason for reason in refused)
    for row in summary:
        folder = thirty.out / f"{int(row['number']):04d}-{row['pixel_hash']}"
        assert folder.is_dir() == (row["status"] == "done")
    sixth = load_reconstruction(thirty.out / summary[5]["folder"])
    assert sixth.radiograph.pixel_hash == summary[5]["pixel_hash"]
    assert summary[5]["hip_left"] == "seen"
    assert summary[5]["femur_right"] == "not found"
    assert summary[5]["hip_left_verdict"] == sixth.verdicts["hip_left"].grade
    assert summary[5]["femur_right_verdict"] == ""


def test_the_map_alone_knows_paths(thirty):
    mapped = rows(thirty.out / MAP)
    assert [Path(row[PATH]).exists() for row in mapped] == [True] * 30
    paths = [os.fsencode(Path(row[PATH]).relative_to(thirty.folder)) for row in mapped]
    assert os.fsencode("ohne Endung/IM000001").replace(b"/", os.sep.encode()) in paths
    written = [path for path in thirty.out.rglob("*") if path.is_file() and path.name != MAP]
    assert len(written) > 28 * 5
    everything = thirty.printed.encode() + b"".join(str(p.relative_to(thirty.out)).encode() for p in written)
    everything += b"".join(path.read_bytes() for path in written)
    assert not any(secret.encode() in everything for secret in SECRETS)


def test_what_is_no_film_is_counted_and_left_alone(thirty):
    others = 4 if sys.platform == "win32" else 6  # notes, hidden, part, DICOMDIR; a link to nothing and a pipe
    assert f"30 films; {others} other files" in thirty.printed


def test_each_film_gets_a_line_with_the_time_left(thirty):
    lines = [line for line in thirty.printed.splitlines() if "/30  " in line]
    assert len(lines) == 30
    assert all("left" in line for line in lines[:-1])
    assert "left" not in lines[-1]


def test_the_same_command_does_only_what_is_missing(thirty, bundle, monkeypatch):
    asked = []
    real = StandIn.run
    monkeypatch.setattr(StandIn, "run", lambda self, film, **how: asked.append(film) or real(self, film, **how))
    before = (thirty.out / MAP).read_bytes()
    code, printed = run(thirty.folder, thirty.out, bundle)
    assert code == EXIT_INCOMPLETE
    assert "0 done, 28 done before, 2 refused" in printed
    assert asked == []
    assert (thirty.out / MAP).read_bytes() == before


# Going on


def test_new_pixels_other_settings_and_lost_results_are_done_again(films, tmp_path, bundle):
    out = tmp_path / "out"
    assert run(films, out, bundle)[0] == 0
    first = rows(out / SUMMARY)
    save_film(films / "b.dcm", 77)
    (out / first[2]["folder"] / "reconstruction.json").unlink()
    for path in (out / first[2]["folder"]).iterdir():
        path.unlink()
    save_film(films / "Added.dcm", 5)  # first in the order of names, and yet it gets the next number
    code, printed = run(films, out, bundle)
    assert code == 0
    assert "3 done, 1 done before" in printed
    second = rows(out / SUMMARY)
    assert [row["pixel_hash"] == old["pixel_hash"] for row, old in zip(second, first, strict=False)] == [1, 0, 1]
    assert [Path(row[PATH]).name for row in rows(out / MAP)] == ["a.dcm", "b.dcm", "c.dcm", "Added.dcm"]
    assert all((out / row["folder"]).is_dir() for row in second)
    assert "4 done, 0 done before" in run(films, out, bundle, "--whole-femurs", "--dry-run")[1]
    assert "4 done, 0 done before" in run(films, out, bundle, "--separately", "--dry-run")[1]
    other = stand_in_bundle(tmp_path / "other", seed=1)
    assert "4 done, 0 done before" in run(films, out, other, "--dry-run")[1]
    assert "4 done, 0 done before" in run(films, out, bundle, "--sdd", "1200", "--dry-run")[1]
    assert "0 done, 4 done before" in run(films, out, bundle, "--dry-run")[1]


def test_a_corrected_header_is_done_again(films, tmp_path, bundle):
    """With the same pixels: the numbers hang on how the film was taken."""
    out = tmp_path / "out"
    assert run(films, out, bundle)[0] == 0
    before = rows(out / SUMMARY)
    save_film(films / "a.dcm", 0, DistanceSourceToDetector=1300)
    save_film(films / "b.dcm", 1, PatientName="Muster^Erika Maria")
    assert "1 done, 2 done before" in run(films, out, bundle, "--dry-run")[1]
    assert "1 done, 2 done before" in run(films, out, bundle)[1]
    after = rows(out / SUMMARY)
    assert [row["pixel_hash"] for row in after] == [row["pixel_hash"] for row in before]
    assert [row["read"] == old["read"] for row, old in zip(after, before, strict=True)] == [False, True, True]
    assert load_reconstruction(out / after[0]["folder"]).radiograph.geometry.sdd_mm == 1300
    assert "0 done, 3 done before" in run(films, out, bundle)[1]


def test_a_summary_without_what_was_read_is_gone_on_with(films, tmp_path, bundle):
    out = tmp_path / "out"
    run(films, out, bundle)
    lines = rows(out / SUMMARY)
    with (out / SUMMARY).open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, [column for column in lines[0] if column != "read"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(lines)
    assert "3 done, 0 done before" in run(films, out, bundle)[1]
    assert "0 done, 3 done before" in run(films, out, bundle)[1]


def test_what_somebody_put_into_a_film_s_folder_is_not_lost(films, tmp_path, bundle, monkeypatch):
    out = tmp_path / "out"
    run(films, out, bundle)
    folder = out / _folders(out)[1]
    (folder / "my notes.txt").write_text("an hour of work")
    (folder / "cuts").mkdir()
    (folder / ".DS_Store").write_text("of the system")
    assert "0 done, 3 done before" in run(films, out, bundle)[1]
    again = ("--sdd", "1200")
    asked, real = [], StandIn.run
    monkeypatch.setattr(StandIn, "run", lambda self, film, **how: asked.append(film) or real(self, film, **how))
    for options in ([*again, "--dry-run"], again):
        code, printed = run(films, out, bundle, *options)
        assert code == EXIT_INCOMPLETE
        assert "2 done, 0 done before, 0 refused, 1 failed" in printed
        assert "holds files or folders that the batch did not write (2): move them elsewhere" in printed
    assert len(asked) == 2
    assert (folder / "my notes.txt").read_text() == "an hour of work"
    (folder / "my notes.txt").unlink()
    (folder / "cuts").rmdir()
    assert "1 done, 2 done before" in run(films, out, bundle, *again)[1]


def test_after_a_kill_it_goes_on(films, tmp_path, bundle):
    for seed in range(3, 6):
        save_film(films / f"{seed}.dcm", seed)
    out = tmp_path / "out"
    lines, sender = at_once().Pipe(duplex=False)
    going = at_once().Process(target=run_apart, args=(films, out, bundle, sender))
    going.start()
    sender.close()  # so that its end is heard
    while not lines.recv().startswith("2/6"):
        pass
    going.kill()
    going.join()
    done = statuses(out)
    assert done
    assert set(done) == {"done"}
    assert len(rows(out / MAP)) == 6
    code, printed = run(films, out, bundle)
    assert code == 0
    assert f"{6 - len(done)} done, {len(done)} done before" in printed
    assert statuses(out) == ["done"] * 6
    assert sorted(path.name for path in out.iterdir()) == sorted([MAP, SUMMARY, *_folders(out)])


def _folders(out):
    return [row["folder"] for row in rows(out / SUMMARY)]


def test_stopping_keeps_what_is_done(films, tmp_path, bundle, monkeypatch):
    out, real = tmp_path / "out", StandIn.run

    def stopped_at_the_second(self, film, **how):
        if (out / SUMMARY).is_file() and len(rows(out / SUMMARY)) == 1:
            raise KeyboardInterrupt
        return real(self, film, **how)

    with monkeypatch.context() as patch:
        patch.setattr(StandIn, "run", stopped_at_the_second)
        code, printed = run(films, out, bundle)
    assert code == EXIT_STOPPED
    assert "the same command goes on" in printed
    assert statuses(out) == ["done"]
    assert "2 done, 1 done before" in run(films, out, bundle)[1]


@pytest.mark.parametrize("error", [RuntimeError("of /home/Erika/film.dcm"), MemoryError(), Refusal("No hip.")])
def test_what_goes_wrong_with_one_film_is_written_down(films, tmp_path, bundle, monkeypatch, error):
    out, real, asked = tmp_path / "out", StandIn.run, []

    def broken_for_the_second(self, film, **how):
        asked.append(film)
        if len(asked) == 2:
            raise error
        return real(self, film, **how)

    monkeypatch.setattr(StandIn, "run", broken_for_the_second)
    code, printed = run(films, out, bundle)
    assert code == EXIT_INCOMPLETE
    expected = "refused" if isinstance(error, Refusal) else "failed"
    assert statuses(out) == ["done", expected, "done"]
    reason = rows(out / SUMMARY)[1]["reason"]
    assert "Erika" not in printed + reason
    assert {"RuntimeError": "RuntimeError", "MemoryError": "memory", "Refusal": "No hip."}[
        type(error).__name__
    ] in reason


def test_a_result_that_cannot_be_written_is_no_fault_of_the_film(films, tmp_path, bundle):
    out = tmp_path / "out"
    run(films, out, bundle)
    taken = out / rows(out / SUMMARY)[0]["folder"]
    (taken / "reconstruction.json").rename(taken / "something else")
    assert run(films, out, bundle)[0] == EXIT_INCOMPLETE
    assert statuses(out) == ["failed", "done", "done"]


def test_a_spreadsheet_that_holds_the_summary_open_stops_nothing(films, tmp_path, bundle, monkeypatch):
    real, asked = Path.replace, []

    def held_open(path, place):
        if place.name in (MAP, SUMMARY):
            asked.append(place.name)
            if 4 <= len(asked) <= 6:
                raise PermissionError(13, "Permission denied")
        return real(path, place)

    monkeypatch.setattr(Path, "replace", held_open)
    code, printed = run(films, tmp_path / "out", bundle)
    assert code == 0
    assert printed.count("WARNING") == 1
    assert "summary.csv (Permission denied): make room, close what holds it open" in printed
    assert statuses(tmp_path / "out") == ["done"] * 3


def test_a_second_batch_into_the_same_output_is_refused(films, tmp_path, bundle):
    with locked(tmp_path / "out" / ".lock"):
        code, printed = run(films, tmp_path / "out", bundle)
    assert code == EXIT_REFUSED
    assert "Another process is writing out" in printed
    assert list((tmp_path / "out").iterdir()) == []
    assert run(films, tmp_path / "out", bundle)[0] == 0


def test_nothing_is_written_beside_the_output(films, tmp_path, bundle, monkeypatch):
    """Whose parent may belong to somebody else."""
    shared, seen, real = tmp_path / "shared", set(), StandIn.run
    shared.mkdir()

    def watched(self, film, **how):
        seen.update(path.name for path in shared.iterdir())
        return real(self, film, **how)

    monkeypatch.setattr(StandIn, "run", watched)
    assert run(films, shared / "out", bundle)[0] == 0
    assert seen == {"out"}
    assert not (shared / "out" / ".lock").exists()


def test_an_output_that_cannot_be_opened_is_refused_in_words(films, tmp_path, bundle, monkeypatch):
    def closed(*_):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "out").mkdir()
    monkeypatch.setattr(Path, "iterdir", closed)
    code, printed = run(films, tmp_path / "out", bundle)
    assert code == EXIT_REFUSED
    assert "The output cannot be opened (Permission denied): name another one." in printed


def test_an_output_that_cannot_be_made_is_refused_in_words(films, bundle):
    code, printed = run(films, films / "a.dcm" / "out", bundle)
    assert code == EXIT_REFUSED
    assert "The result cannot be written to out" in printed


# In processes


@pytest.fixture
def apart(monkeypatch):
    """Batches in processes of their own, with the stand-in for the networks in each."""
    monkeypatch.setattr(batch_run, "FilmWork", StandInWork)
    for module in (batch_run, roads):
        monkeypatch.setattr(module, "InProcesses", InProcesses)
    with started_at_once():
        yield


@pytest.mark.usefixtures("apart")
def test_two_processes_write_the_same_bytes_as_one(films, tmp_path, bundle):
    """But for what clocks say: when a film was made and how long it took."""
    save_film(films / "sideways.dcm", 9, PatientOrientation=None)
    (films / "bad.png").write_bytes(b"no picture")
    outs = [tmp_path / "one", tmp_path / "two"]
    for jobs, out in enumerate(outs, 1):
        code, printed = run(films, out, bundle, "--jobs", jobs)
        assert code == EXIT_INCOMPLETE, printed
        assert "4 done, 0 done before, 1 refused, 0 failed" in printed
        assert "0 done, 4 done before, 1 refused" in run(films, out, bundle, "--jobs", jobs)[1]
    first, second = ({path.relative_to(out): path for path in out.rglob("*") if path.is_file()} for out in outs)
    assert first.keys() == second.keys()
    assert len(first) > 4 * 9
    assert [str(name) for name in first if without_clocks(first[name]) != without_clocks(second[name])] == []


def without_clocks(path):
    text = path.read_bytes()
    if path.name in ("reconstruction.json", "report.html"):
        text = re.sub(rb'"(made|networks|surfaces)": [^,\n]*|<td>[\d.]+ s</td>', b"", text)
    if path.name == SUMMARY:
        return [{**row, "seconds": ""} for row in rows(path)]
    return text


@pytest.mark.usefixtures("apart")
def test_a_film_that_ends_its_process_twice_is_given_up(films, tmp_path, bundle, monkeypatch):
    """Amid the writing of its folder; the others are done, and nothing half-written is left."""
    out, killed = tmp_path / "out", tmp_path / "killed"
    monkeypatch.setattr(batch_run, "FilmWork", KilledWhileItWrites)
    code, _ = run(films, out, bundle, "--jobs", "2")
    assert code == EXIT_INCOMPLETE
    assert statuses(out) == ["done", "failed", "done"]
    reason = rows(out / SUMMARY)[1]["reason"]
    assert reason.startswith("The process that worked on it ended twice (by SIGKILL)")
    assert killed.read_text() == "00"
    left = sorted(path.name for path in out.iterdir())
    assert left == sorted([MAP, SUMMARY, *filter(None, _folders(out))])
    assert "0 done, 2 done before, 0 refused, 1 failed" in run(films, out, bundle)[1]
    assert killed.read_text() == "00"
    assert "1 failed" in run(films, out, bundle, "--retry")[1]
    assert killed.read_text() == "0000"
    monkeypatch.setattr(batch_run, "FilmWork", StandInWork)
    assert "1 done, 2 done before" in run(films, out, bundle, "--retry")[1]


# What is said of single films


def test_a_table_says_more_of_single_films(films, tmp_path, bundle):
    save_image(films / "d ü.png")  # says nothing of its pixels
    table = tmp_path / "said.csv"
    lines = ["file;pixel_pitch_mm;sdd_mm;object_distance_mm;view;swap_sides;marker_row;marker_col"]
    lines[0] += ";marker_diameter_px;marker_diameter_mm"
    lines += ["d ü.png;1,2x1,25;1150;;;;;;;", "b.dcm;;;150;pa;yes;;;;", "c.dcm;;;;;;150;140;27;28", ";;;;;;;;;"]
    table.write_text("\r\n".join(lines), encoding="utf-8-sig")
    out = tmp_path / "out"
    assert run(films, out, bundle)[0] == EXIT_INCOMPLETE
    assert run(films, out, bundle, "--table", table, "--object-distance", "170")[0] == 0
    documents = [json.loads((out / name / "reconstruction.json").read_text()) for name in _folders(out)]
    geometries = [document["radiograph"]["geometry"] for document in documents]
    assert [geometry["object_distance_mm"] for geometry in geometries] == [170, 150, pytest.approx(176, abs=1), 170]
    assert [geometry["view"] for geometry in geometries] == ["AP", "PA", "AP", "AP"]
    assert geometries[3]["pixel_pitch_mm"] == [1.2, 1.25]
    assert documents[1]["radiograph"]["orientation"]["value"] == "sides swapped"
    assert "0 done, 4 done before" in run(films, out, bundle, "--table", table, "--object-distance", "170")[1]


def test_a_film_of_which_a_table_says_a_distance_and_a_ball_is_refused(films, tmp_path, bundle):
    table = tmp_path / "said.csv"
    columns = "file,object_distance_mm,marker_row,marker_col,marker_diameter_px,marker_diameter_mm"
    table.write_text(f"{columns}\nb.dcm,150,150,140,27,28\nc.dcm,,150,140,27,28\n")
    code, printed = run(films, tmp_path / "out", bundle, "--table", table, "--object-distance", "170")
    assert code == EXIT_INCOMPLETE
    assert statuses(tmp_path / "out") == ["done", "refused", "done"]
    assert "Both a distance and a ball are given" in printed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,colour\na.dcm,red\n", "colour"),
        ("name\na.dcm\n", "name"),
        ("", "column `file`"),
        ("file,view,view\na.dcm,AP,AP\n", "each column once"),
        ("file\nnobody.dcm\n", "nobody.dcm, which is not there"),
        ("file\nnotes.txt\n", "notes.txt, which is no film"),
        ("file\na.dcm\n./a.dcm\n", "twice"),
        ("file,sdd_mm\na.dcm,far\n", "Line 2 of table.csv cannot be understood ('far' is not a number)"),
        ("file,view\na.dcm,lateral\n", "neither AP nor PA"),
        ("file,invert\na.dcm,perhaps\n", "neither yes nor no"),
        ("file,marker_row\na.dcm,12\n", "part of marker_row"),
        ("file,sdd_mm\n,1200\n", "names no file"),
        ("file,sdd_mm\na.dcm,1,200\n", "more cells"),
        (b"file\n\xff\xfe\n", "UTF-8"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused_before_anything_runs(films, tmp_path, bundle, text, words):
    (films / "notes.txt").write_text("notes")
    (tmp_path / "table.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    code, printed = run(films, tmp_path / "out", bundle, "--table", tmp_path / "table.csv")
    assert code == EXIT_REFUSED
    assert words in printed
    assert not (tmp_path / "out").exists()


# What is looked at first, and what cannot begin


def test_a_device_that_is_not_there_is_told_by_a_dry_run(films, tmp_path, bundle):
    with pytest.raises(Refusal, match="does not work on this machine"):
        run_batch(films, tmp_path / "out", choices=Choices(bundle, device="tpu"), dry_run=True)
    assert not (tmp_path / "out").exists()


def test_a_dry_run_tells_all_and_writes_nothing(films, tmp_path, bundle):
    save_image(films / "Erika.png")
    save_film(films / "sideways.dcm", 9, PatientOrientation=None)
    before = sorted(tmp_path.rglob("*"))
    code, printed = run(films, tmp_path / "out", bundle, "--dry-run")
    assert code == EXIT_INCOMPLETE
    assert sorted(tmp_path.rglob("*")) == before
    assert "0001  refused: The file does not say how large its pixels are" in printed
    assert printed.count("would be done") == 4
    assert "WARNING  The file does not say which side is which" in printed
    assert "4 done, 0 done before, 1 refused" in printed
    assert not any(secret in printed for secret in SECRETS)
    assert run(films, tmp_path / "out", bundle, "--dry-run", "--pixel-pitch", "1.2")[0] == 0


def test_what_cannot_begin_is_refused(films, tmp_path, bundle, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for folder, out, words in (
        (tmp_path / "nowhere", tmp_path / "out", "no such folder"),
        (films / "a.dcm", tmp_path / "out", "no such folder"),
        (tmp_path / "empty", tmp_path / "out", "no film"),
        (films, films, "among the films"),
        (films, tmp_path / "mine", "something else"),
        (films, films / "a.dcm", "no folder"),
    ):
        code, printed = run(folder, out, bundle)
        assert code == EXIT_REFUSED
        assert words in printed
    assert run(films, tmp_path / "out", tmp_path / "no bundle")[0] == EXIT_REFUSED
    with monkeypatch.context() as patch:
        patch.setattr(StandIn, "__init__", Mock(side_effect=Refusal("The weights are damaged.")))
        assert run(films, tmp_path / "out", bundle)[0] == EXIT_REFUSED
    assert not (tmp_path / "out").exists()
    run(films, tmp_path / "out", bundle)
    (tmp_path / "out" / MAP).write_text("number\n1\n")
    assert "not as a batch wrote it" in run(films, tmp_path / "out", bundle)[1]


# Names


def test_names_are_kept_where_asked(films, tmp_path, bundle):
    save_film(films / "ward" / "A.dcm", 8)
    code, printed = run(films, tmp_path / "out", bundle, "--keep-names")
    assert code == 0
    assert _folders(tmp_path / "out") == ["a", "b", "c", "A-0004"]  # one folder on Windows, were they called alike
    assert "4/4  A-0004  done" in printed
    assert "0 done, 4 done before" in run(films, tmp_path / "out", bundle, "--keep-names")[1]
    save_film(films / "Aa" / "b.dcm", 9)
    run(films, tmp_path / "out", bundle, "--keep-names")
    assert _folders(tmp_path / "out") == ["a", "b", "c", "A-0004", "b-0005"]


@pytest.mark.parametrize(
    ("file_name", "folder"),
    [
        ("film.nii.gz", "film"),
        ("1.2.840.113", "1.2.840.113"),
        ("CON.dcm", "_CON"),
        ("nul.tar.png", "_nul.tar"),
        ('a:b*c?"<d>|e.dcm', "a_b_c___d__e"),
        ("=cmd|x.dcm", "cmd_x"),
        ("ends in dots. . .dcm", "ends in dots"),
        (".dcm", "_"),
        ("Mu\u0308ller.DCM", "Müller"),
        ("x" * 250 + ".dcm", "x" * 60),
        ("summary.csv", "summary.csv-0001"),
        ("line\nbreak.png", "line_break"),
    ],
)
def test_names_are_safe_everywhere(file_name, folder):
    assert folder_names([Path(file_name)]) == [folder]


def test_names_stay_when_files_are_added():
    paths = [Path("film.dcm"), Path("x/Film.png"), Path("y/film-0002.dcm"), Path("z/film.dcm")]
    names = folder_names(paths)
    assert len({name.casefold() for name in names}) == 4
    assert folder_names(paths[:2]) == names[:2]


# Many


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_stays_where_it_is_over_a_thousand_films(tmp_path, bundle):
    original = save_film(tmp_path / "film.dcm", 0)
    (tmp_path / "films").mkdir()
    for number in range(1000):
        (tmp_path / "films" / f"{number:04d}").hardlink_to(original)
    memory = []
    page = os.sysconf("SC_PAGE_SIZE")

    def say(words):
        memory.append(int(Path("/proc/self/statm").read_text().split()[1]) * page)

    outcome = run_batch(tmp_path / "films", tmp_path / "out", choices=Choices(bundle, completion=False), say=say)
    assert outcome.films["done"] == 1000
    assert max(memory[900:]) - max(memory[50:150]) < 20e6


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_ten_thousand_films_cost_as_much_at_the_end_as_at_the_beginning(tmp_path, bundle, monkeypatch):
    """The index's cost for a film, and the memory of all processes; what is done of a film is little here."""
    for seed in range(10):
        save_film(tmp_path / "originals" / f"{seed}.dcm", seed)
    (tmp_path / "films").mkdir()
    for number in range(10_000):
        film = tmp_path / "films" / f"{number:05d}"
        film.hardlink_to(tmp_path / "originals" / f"{number % 10}.dcm")
    monkeypatch.setattr(batch_run, "FilmWork", QuickWork)
    spent, memory, real = [], [], Record.take
    page = os.sysconf("SC_PAGE_SIZE")

    def timed(record, row):
        begun = time.process_time()
        real(record, row)
        spent.append(time.process_time() - begun)
        if len(spent) % 100 == 0:
            processes = ["self", *(str(child.pid) for child in multiprocessing.active_children())]
            sizes = [int(Path("/proc", process, "statm").read_text().split()[1]) * page for process in processes]
            memory.append([sizes[0], max(sizes[1:])])

    monkeypatch.setattr(Record, "take", timed)
    how = {"choices": Choices(bundle, completion=False), "road": InProcesses(2), "say": str}
    outcome = run_batch(tmp_path / "films", tmp_path / "out", **how)
    assert outcome.films["done"] == 10_000
    thousands = np.reshape(spent, (10, 1000)).sum(axis=1)  # ms a film
    own, workers = np.array(memory).T / 1e6
    print(
        "index, ms a film, by thousands:",
        thousands.round(2),
        "MB of the batch:",
        own[[9, -1]],
        "of a worker:",
        workers[[9, -1]],
    )
    assert thousands[-1] < 2 * thousands[0]
    assert own[-1] - own[9] < 20
    assert workers[-1] - workers[9] < 20
    assert run_batch(tmp_path / "films", tmp_path / "out", **how).films["done before"] == 10_000
