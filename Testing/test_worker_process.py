"""The worker as a process: pipes and nothing but JSON in them, crashes, kills, and the end of whoever drives it."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.films import dataset, save
from support.workers import FAULT, NOTHING, SEGFAULT, STUCK, Packages, Pipes

from DualFaceReconLib.errors import Cancelled, Refusal
from DualFaceReconLib.worker import client, protocol
from DualFaceReconLib.worker.client import Client, WorkerFailed
from DualFaceReconLib.worker.protocol import LONGEST_LINE_BYTES, Hello, Open, Ping, Reconstruct

POSIX = pytest.mark.skipif(os.name == "nt", reason="groups of processes of POSIX")


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    return Packages(tmp_path_factory.mktemp("Pakete für uns"))


@pytest.fixture(scope="module")
def pipes(packages, tmp_path_factory):
    """A worker under a locale that knows nothing but ASCII."""
    worker = Pipes(packages.folder, tmp_path_factory.mktemp("own folder"), LC_ALL="C", PYTHONUTF8="0")
    assert worker.next()["event"] == "ready"
    yield worker
    worker.rest()


@pytest.fixture(scope="module")
def worker(packages):
    with Client(packages=packages.folder) as driven:
        yield driven


# Lines


@pytest.mark.parametrize(
    ("sent", "id", "words"),
    [
        (b"no JSON\n", None, "no JSON"),
        (b"\xff\xfe\x00\n", None, "no JSON"),
        (b'{"id": 3, "request": "dance"}\n', 3, "no such request"),
        (b'{"id": 4, "request": "open", "path": 1}\n', 4, "wrong type"),
        (b'{"id": 4, "request": "open", "path": "x.png", "overrides": {"sd": 1}}\n', 4, "no value named 'sd'"),
        (b'{"id": 5, "request": "dance", "to": "' + b"x" * (1 << 20) + b'"}\n', 5, "no such request"),
        (b'{"id": 6, "to": "' + b"x" * LONGEST_LINE_BYTES + b'"}\n', None, "longer than"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_every_line_is_answered_with_a_line(pipes, sent, id, words):
    pipes.send(sent + b"\n" + b'{"id": "after", "request": "ping"}\n')
    answers = {repr(message["id"]): message for message in (_final(pipes), _final(pipes))}
    assert answers.pop("'after'")["event"] == "done"
    (refused,) = answers.values()
    assert (refused["id"], refused["event"], refused["code"]) == (id, "refused", "no-request")
    assert words in refused["text"]


def _final(pipes):
    while (message := pipes.next())["event"] == "progress":
        pass
    return message


PRINTING = """
import os, subprocess, sys
print("from Python")
os.write(1, b"from C\\n")
subprocess.run([sys.executable, "-c", "import sys; print(len(sys.stdin.read()), 'bytes of requests')"], check=True)
raise ImportError
"""


def test_nothing_but_the_protocol_comes_out(pipes, packages):
    """Whatever is printed goes to the log, also out of native code and of processes that are started."""
    packages.torch(PRINTING)
    pipes.send({"id": 1, "request": "hello"})
    answer = _final(pipes)
    assert (answer["id"], answer["event"], answer["code"]) == (1, "refused", "package-broken")
    for printed in ("from Python", "from C", "0 bytes of requests"):
        _wait_for(lambda printed=printed: printed in pipes.logged)


def _wait_for(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came about")


def test_what_waits_is_cancelled_before_it_begins_and_pings_are_answered_meanwhile(pipes, packages):
    packages.wait()
    for id in ("computed", "first", "second"):
        pipes.send({"id": id, "request": "hello"})
    pipes.send({"id": 1, "request": "cancel", "target": "second"})
    assert [pipes.next() for _ in range(2)] == [
        {"id": 1, "event": "done", "cancelled": ["second"]},
        {"id": "second", "event": "cancelled"},
    ]
    pipes.send({"id": 2, "request": "ping"})
    assert pipes.next() == {"id": 2, "event": "done"}
    pipes.send({"id": 3, "request": "cancel", "target": "nobody's"})
    assert pipes.next()["cancelled"] == []
    _wait_for(lambda: pipes.logged[-1] == "hello begun")
    pipes.send({"id": 4, "request": "cancel"})
    assert pipes.next() == {"id": 4, "event": "done", "cancelled": ["computed", "first"]}
    answers = [pipes.next() for _ in range(2)]
    assert {message["id"] for message in answers} == {"computed", "first"}
    assert {message["event"] for message in answers} == {"cancelled"}
    packages.go_on()


# Faults


def test_what_is_missing_or_broken_is_named(worker, packages):
    for program, code in ((NOTHING, "package-broken"), ("raise OSError('/home/erika/libcudart.so')", "package-broken")):
        packages.torch(program)
        with pytest.raises(Refusal, match="install it again, torch and torchvision as a pair") as refused:
            worker.ask(Hello())
        assert (refused.value.code, refused.value.values) == (code, {"package": "torch"})


def test_a_fault_gives_a_sentence_and_a_log_that_names_nobody_and_the_process_goes_on(worker, packages):
    packages.torch(FAULT)
    with pytest.raises(WorkerFailed, match="The program failed: try again") as failed:
        worker.ask(Hello())
    assert failed.value.log[-1] == "ValueError"
    assert "torch.py, line 2, in __getattr__" in failed.value.log
    assert "Erika" not in "".join(failed.value.log)
    process = worker._process.popen.pid
    assert worker.ask(Ping())["event"] == "done"
    assert worker._process.popen.pid == process


def test_after_a_crash_of_native_code_the_next_request_starts_anew(packages, tmp_path):
    """Films that were open are named so that no later worker takes one for another."""
    packages.torch(SEGFAULT)
    film = save(dataset(), tmp_path / "film.dcm")
    with Client(packages=packages.folder) as worker:
        before = worker.ask(Open(str(film)))["film"]
        first = worker._process.popen.pid
        with pytest.raises(WorkerFailed, match="The engine stopped") as failed:
            worker.ask(Hello())
        assert any("torch.py" in words for words in failed.value.log)
        assert str(packages.folder) not in "".join(failed.value.log)
        assert worker.ask(Open(str(film)))["film"] != before
        assert worker._process.popen.pid != first
        with pytest.raises(Refusal, match="open it again") as refused:
            worker.ask(Reconstruct(before))
        assert refused.value.code == "film-not-open"


# The end


CHILD = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdin=subprocess.DEVNULL)
with open({place!r}, "w") as file:
    file.write(str(child.pid))
"""


@pytest.fixture
def long_request(packages, tmp_path):
    """A program that goes on for ever, and has started another process; the file with that one's number."""
    packages.wait(CHILD.format(place=str(tmp_path / "child")))
    yield tmp_path / "child"
    packages.go_on()


def _begun(child):
    _wait_for(lambda: child.is_file() and child.read_text())
    return int(child.read_text())


def _lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@POSIX
def test_a_kill_ends_the_whole_tree(packages, long_request):
    with Client(packages=packages.folder) as worker:
        failed = []

        def ask():
            with pytest.raises(WorkerFailed) as error:
                worker.ask(Hello())
            failed.append(error.value)

        asking = threading.Thread(target=ask)
        asking.start()
        child = _begun(long_request)
        own = worker._process.popen.pid
        worker.kill()
        asking.join()
        assert str(failed[0]).startswith("The engine stopped")
        _wait_for(lambda: not _lives(child))
        assert not _lives(own)
        assert worker.ask(Ping())["event"] == "done"


@POSIX
def test_where_stdin_ends_while_something_is_computed_everything_ends(packages, long_request):
    pipes = Pipes(packages.folder)
    folder = Path(pipes.next()["folder"])
    pipes.send({"id": 1, "request": "hello"})
    child = _begun(long_request)
    assert folder.is_dir()
    lines, code = pipes.rest()
    assert [(line["id"], line["event"]) for line in lines] == [(1, "cancelled")]
    assert code == 0
    assert not folder.exists()
    _wait_for(lambda: not _lives(child))


@POSIX
def test_what_does_not_stop_is_ended_with_all_that_it_started(packages, tmp_path):
    """Native code may look at nothing for minutes."""
    pipes = Pipes(packages.folder)
    pipes.next()
    packages.torch(CHILD.format(place=str(tmp_path / "child")) + STUCK)
    pipes.send({"id": 1, "request": "hello"})
    child = _begun(tmp_path / "child")
    lines, code = pipes.rest()
    assert lines == []
    assert code == 1
    _wait_for(lambda: not _lives(child))


def test_shutting_down_is_answered(packages):
    pipes = Pipes(packages.folder)
    pipes.next()
    pipes.send({"id": 1, "request": "shutdown"})
    assert pipes.next() == {"id": 1, "event": "done"}
    assert pipes.next() is None
    assert pipes.finished() == 0


@POSIX
def test_where_nobody_reads_the_answers_it_ends(packages):
    environment = protocol.environment(packages.folder)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(protocol.command(sys.executable), env=environment, bufsize=0, **pipes) as process:
        assert process.stdout.readline()
        process.stdout.close()
        process.stdin.write(b'{"request": "ping"}\n')
        assert process.wait(60) == 0


def test_a_caller_who_wants_no_more_gets_away_from_a_worker_that_does_not_stop(packages, monkeypatch):
    monkeypatch.setattr(client, "PATIENCE_S", 0.2)
    packages.torch(STUCK)
    with Client(packages=packages.folder) as worker:
        with pytest.raises(Cancelled):
            worker.ask(Hello(), cancelled=lambda: True)
        assert worker.ask(Ping())["event"] == "done"
