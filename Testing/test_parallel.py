"""Work in processes of this machine: some die, some are late, some are interrupted, and every item is done once."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from support.works import Prepare, begun, workers

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.parallel.processes import InProcesses, _Process
from DualFaceReconLib.parallel.work import Lost

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
ROOT = Path(__file__).parent.parent


def results(folder, items, road, **callbacks):
    """What came of every item, in their order."""
    by_index = dict(road(Prepare(folder), items, **callbacks))
    return [by_index[index] for index in range(len(items))]


def test_every_item_is_done_once_with_one_thread(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    items, said = [f"item {n}" for n in range(9)], []
    assert results(tmp_path, items, InProcesses(2), began=said.append) == [(item, "1") for item in items]
    assert begun(tmp_path) == items
    assert said == ["ready"]
    assert "OMP_NUM_THREADS" not in os.environ
    assert list(InProcesses(2)(Prepare(tmp_path), [])) == []


def test_a_process_that_dies_costs_its_item_alone(tmp_path):
    """Once is bad luck, and it is tried again; twice is the item's fault."""
    items, lost = ["a", "kill-once x", "b", "kill y", "c", "d"], []
    came = results(tmp_path, items, InProcesses(2), lost=lost.append)
    assert begun(tmp_path) == sorted([*items, "kill-once x", "kill y"])
    assert sorted(lost) == ["kill y", "kill y", "kill-once x"]
    assert [item for item, *_ in came[:3] + came[4:]] == items[:3] + items[4:]
    assert isinstance(came[3], Lost)
    assert came[3].kills
    assert "by SIGKILL" in came[3].reason


def test_a_process_that_another_thread_knew_to_have_ended_is_ended_all_the_same(tmp_path):
    """Who asks first whether a child lives takes its exit code along; who asks meanwhile is told that it lives."""
    process = _Process(Prepare(tmp_path))
    process.waited(60)
    process.ready = True
    process.begin(0, "kill x")
    process.waited(60)
    os.waitpid(process._process.pid, 0)
    process.end()
    assert begun(tmp_path) == ["kill x"]


def test_an_item_that_takes_too_long_is_stopped_alone(tmp_path):
    items, lost = ["a", "sleep", "b"], []
    came = results(tmp_path, items, InProcesses(1, longest_s=2.0), lost=lost.append)
    assert came[1] == Lost("It took longer than 2 s and was stopped: give it more time, or look at its film.")
    assert not came[1].kills
    assert lost == ["sleep"]
    assert begun(tmp_path) == sorted(items)
    assert (tmp_path / "sleep broken off").exists()


def test_errors_come_back(tmp_path):
    with pytest.raises(ValueError, match="raise it") as caught:
        results(tmp_path, ["a", "raise it"], InProcesses(1))
    assert "works.py" in caught.value.__notes__[0]
    (tmp_path / "refuse").touch()
    with pytest.raises(Refusal, match="damaged"):
        results(tmp_path, ["a"], InProcesses(1))


def test_processes_that_cannot_begin_are_not_begun_for_ever(tmp_path):
    (tmp_path / "die").touch()
    with pytest.raises(Refusal, match=r"end while they begin \(exit code 7\)"):
        results(tmp_path, ["a"], InProcesses(1))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_whoever_ends_takes_the_processes_along(tmp_path, how):
    program = (
        "from pathlib import Path; from support.works import Prepare\n"
        "from DualFaceReconLib.parallel.processes import InProcesses\n"
        "if __name__ == '__main__':\n"
        f"    list(InProcesses(2)(Prepare(Path({str(tmp_path)!r})), ['sleep a', 'sleep b']))\n"
    )
    path = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "Testing")])}
    caller = subprocess.Popen([sys.executable, "-c", program], env=path, stderr=subprocess.DEVNULL)
    _wait(lambda: len(begun(tmp_path)) == 2)
    caller.send_signal(how)
    _wait(lambda: len(list(tmp_path.glob("asked to end *"))) == 2)
    for worker in workers(tmp_path):  # again, as by Ctrl-C in a terminal, which all processes hear
        with suppress(ProcessLookupError):  # it has ended by now
            os.kill(worker, signal.SIGINT)
    caller.wait()
    _wait(lambda: not any(map(_is_there, workers(tmp_path))))
    assert {path.name for path in tmp_path.glob("sleep*")} == {"sleep a broken off", "sleep b broken off"}


def _wait(until):
    """A minute at most."""
    end = time.monotonic() + 60
    while not until():
        assert time.monotonic() < end
        time.sleep(0.05)


def _is_there(process):
    with suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False
