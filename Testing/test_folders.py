"""Ctrl-C at every moment of the writing of a folder or a file: what is left is whole, and nothing lies beside it."""

import errno
import gc
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from DualFaceReconLib.disk import folders
from DualFaceReconLib.disk.files import write_bytes, write_file, write_text
from DualFaceReconLib.disk.folders import display_name, locked, refuse_unwritable, write_folder
from DualFaceReconLib.errors import Refusal


@pytest.fixture(autouse=True)
def ctrl_c():
    """Python's own answer to it, whoever started the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_link_stays_one_and_its_target_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    link = tmp_path / "latest"
    try:
        link.symlink_to(tmp_path / "there" / "first", target_is_directory=True)  # which is not there yet
    except OSError:
        pytest.skip("links need a right on Windows that this user has not")
    for text in ("one", "two"):
        write_folder(link, lambda beside, text=text: (beside / "it").write_text(text))
        assert link.is_symlink()
        assert (tmp_path / "there" / "first" / "it").read_text() == text
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["first", "it", "latest", "there"]


def test_a_place_that_cannot_be_is_refused_in_words(tmp_path, monkeypatch):
    (tmp_path / "letter").write_text("Dear Sir")
    place = tmp_path / "letter" / "sub" / "out"
    with pytest.raises(Refusal, match="letter is a file, in which no folder can be"):
        refuse_unwritable(place)
    with pytest.raises(Refusal, match=r"cannot be written to out \(.*choose another folder"):
        write_folder(place, lambda beside: None)
    refuse_unwritable(tmp_path / "new" / "out")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(Refusal, match=f"You may not write to {tmp_path.name}"):
        refuse_unwritable(tmp_path / "new" / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]


def test_every_folder_has_a_name_to_show(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert [display_name(Path(path)) for path in (".", "", "x/..", "../there")] == ["here", "here", "here", "there"]
    assert display_name(Path(tmp_path.anchor)) == tmp_path.anchor


def interrupted(action, moment, event):
    """Presses Ctrl-C at the given moment of an action; whether it was over before that."""
    count = 0

    def watch(frame, what, _):
        nonlocal count
        frame.f_trace_opcodes = event == "opcode"
        if what == event:
            count += 1
            if count == moment:
                signal.raise_signal(signal.SIGINT)
        return watch

    gc.disable()  # what hangs on the collector, as Hypothesis' clock of it, is no part of the action
    sys.settrace(watch)
    try:
        action()
    except KeyboardInterrupt:
        return False
    finally:
        sys.settrace(None)
        gc.enable()
    return count < moment


def every_moment(action, event, at_least=100):
    """Does it again and again, interrupted one moment later each time; yields after each."""
    moment = 1
    while not interrupted(action, moment, event):
        yield moment
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        moment += 1
    assert moment > at_least


def test_a_lock_never_stays(tmp_path):
    reached = set()

    def hold():
        reached.add("begun")
        with locked(tmp_path / ".out.lock"):
            reached.add("held")
        reached.add("done")

    for moment in every_moment(hold, "opcode"):
        assert list(tmp_path.iterdir()) == [], moment
    assert reached == {"begun", "held", "done"}


@pytest.mark.parametrize("older", [False, True], ids=["nothing there", "an older one there"])
def test_a_folder_is_there_whole_or_not_at_all(tmp_path, older):
    place = tmp_path / "out"

    def fill(folder, age):
        for name in ("one", "two"):
            (folder / f"{age} {name}").mkdir()

    def anew():
        if place.exists():
            shutil.rmtree(place)
        if older:
            place.mkdir()
            fill(place, "older")

    anew()
    contents = set()
    for moment in every_moment(lambda: write_folder(place, lambda folder: fill(folder, "newer")), "line"):
        assert {path.name for path in tmp_path.iterdir()} <= {"out"}, moment
        contents.add(tuple(sorted(path.name for path in place.iterdir())) if place.exists() else ())
        anew()
    assert contents == {("older one", "older two") if older else (), ("newer one", "newer two")}


def test_a_drive_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("os.path.exists", lambda path: False)
    with pytest.raises(Refusal, match="There is no"):
        refuse_unwritable(tmp_path / "out")


def test_a_drive_that_knows_no_locks_is_written_all_the_same(tmp_path, monkeypatch):
    def unknown(_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(folders, "_lock", unknown)
    write_folder(tmp_path / "out", lambda folder: write_text(folder / "it", "text"))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["it", "out"]


# Files


@pytest.mark.parametrize("older", [False, True], ids=["nothing there", "an older one there"])
@pytest.mark.parametrize("full", [False, True], ids=["with room", "on a full disk"])
def test_a_file_is_there_whole_or_not_at_all(tmp_path, older, full):
    place = tmp_path / "it.npz"

    def write(path):
        assert path.suffix == ".npz"  # which some writers add or go by
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))  # a Python file, cut short, would stay open
        if full:
            raise OSError(28, "No space left on device")
        os.truncate(path, 5)

    def anew():
        place.unlink(missing_ok=True)
        if older:
            place.write_bytes(b"the older one")

    def attempt():
        try:
            write_file(place, write)
        except Refusal as refusal:
            assert full
            assert str(refusal).startswith("Cannot write it.npz (No space left on device): make room")  # noqa: PT017

    anew()
    contents = set()
    for moment in every_moment(attempt, "line", at_least=20):
        assert {path.name for path in tmp_path.iterdir()} <= {"it.npz"}, moment
        contents.add(place.read_bytes() if place.exists() else None)
        anew()
    assert contents == {b"the older one" if older else None} | (set() if full else {b"\0" * 5})


def test_what_is_written_is_what_is_read(tmp_path):
    write_bytes(tmp_path / "bytes", b"\r\n\0")
    assert (tmp_path / "bytes").read_bytes() == b"\r\n\0"
    write_text(tmp_path / "text", "Hüfte\n")
    assert (tmp_path / "text").read_bytes() == "Hüfte\n".encode()


@pytest.mark.parametrize("place", ["folder", "", "no such folder/it"])
def test_a_place_where_no_file_can_be_is_refused_in_words(tmp_path, monkeypatch, place):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refusal, match=r"^A folder was given|^Cannot write it \(No such file"):
        write_text(Path(place), "text")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]
