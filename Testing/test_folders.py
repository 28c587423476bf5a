"""Ctrl-C at every moment of the writing of a folder: what is left is whole, and nothing lies beside it."""

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from DualFaceReconLib.disk.folders import called, locked, refuse_unwritable, write_whole
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
        write_whole(link, lambda beside, text=text: (beside / "it").write_text(text))
        assert link.is_symlink()
        assert (tmp_path / "there" / "first" / "it").read_text() == text
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["first", "it", "latest", "there"]


def test_a_place_that_cannot_be_is_refused_in_words(tmp_path, monkeypatch):
    (tmp_path / "letter").write_text("Dear Sir")
    place = tmp_path / "letter" / "sub" / "out"
    with pytest.raises(Refusal, match="letter is a file, in which no folder can be"):
        refuse_unwritable(place)
    with pytest.raises(Refusal, match=r"cannot be written to out \(.*choose another folder"):
        write_whole(place, lambda beside: None)
    refuse_unwritable(tmp_path / "new" / "out")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(Refusal, match=f"You may not write to {tmp_path.name}"):
        refuse_unwritable(tmp_path / "new" / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]


def test_every_folder_is_called_something(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert [called(Path(one)) for one in (".", "", "x/..", "../there")] == ["here", "here", "here", "there"]
    assert called(Path(tmp_path.anchor)) == tmp_path.anchor


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

    sys.settrace(watch)
    try:
        action()
    except KeyboardInterrupt:
        return False
    finally:
        sys.settrace(None)
    return count < moment


def every_moment(action, event):
    """Does it again and again, interrupted one moment later each time; yields after each."""
    moment = 1
    while not interrupted(action, moment, event):
        yield moment
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        moment += 1
    assert moment > 100


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
    found = set()
    for moment in every_moment(lambda: write_whole(place, lambda folder: fill(folder, "newer")), "line"):
        assert {path.name for path in tmp_path.iterdir()} <= {"out"}, moment
        found.add(tuple(sorted(path.name for path in place.iterdir())) if place.exists() else ())
        anew()
    assert found == {("older one", "older two") if older else (), ("newer one", "newer two")}


def test_a_drive_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("os.path.exists", lambda path: False)
    with pytest.raises(Refusal, match="There is no"):
        refuse_unwritable(tmp_path / "out")
