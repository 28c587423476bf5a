"""Ctrl-C at every moment of the writing of a folder: what is left is whole, and nothing lies beside it."""

import shutil
import signal
import sys

import pytest

from DualFaceReconLib.folders import locked, write_whole


@pytest.fixture(autouse=True)
def ctrl_c():
    """Python's own answer to it, whoever started the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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
