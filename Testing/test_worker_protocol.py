"""What goes over the pipe between the worker and whoever drives it, and what its log may say."""

import json
import sys
from pathlib import Path

import pytest
from support.programs import python

from DualFaceReconLib.film.acquisition import Overrides
from DualFaceReconLib.worker import log
from DualFaceReconLib.worker.protocol import (
    LONGEST_LINE_BYTES,
    TOO_LONG,
    Cancel,
    Lines,
    NoRequest,
    Open,
    Ping,
    Reconstruct,
    checked,
    environment,
    line,
    read_request,
    request_line,
)


@pytest.mark.parametrize(
    "request_",
    [
        Ping(),
        Open("C:\\Bilder\\Hüfte 1.dcm", overrides={"sdd_mm": 1150}),
        Open("/tmp/\udce4.dcm"),  # a name that is no UTF-8, as Python has it
        Reconstruct("ab12", mask="maske ü.nrrd", completion=False),
        Cancel(target="7"),
    ],
    ids=repr,
)
def test_a_request_comes_back_as_it_was(request_):
    sent = request_line(7, request_)
    assert sent.isascii()
    assert sent.endswith(b"\n")
    assert sent.count(b"\n") == 1
    assert read_request(sent.strip()) == (7, request_)


@pytest.mark.parametrize(
    ("text", "id", "words"),
    [
        (b"{", None, "no JSON"),
        (b"[1, 2]", None, "no JSON object"),
        (b"\xff\xfe", None, "UTF-8"),
        (b"[" * 100_000, None, "no JSON"),
        (b'{"id": 1}', 1, "no such request"),
        (b'{"id": [1], "request": "dance"}', [1], "ping, hello"),
        (b'{"id": 2, "request": ["open"]}', 2, "no such request"),
        (b'{"id": 2, "request": "open"}', 2, "lacks 'path'"),
        (b'{"id": 2, "request": "open", "path": 3}', 2, "wrong type for 'path'"),
        (b'{"id": 2, "request": "open", "path": "x", "overides": {}}', 2, "no value named 'overides'"),
        (b'{"id": "a", "request": "reconstruct", "film": "x", "completion": 1}', "a", "wrong type for 'completion'"),
        (TOO_LONG, None, "longer than"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_no_request_says_why(text, id, words):
    with pytest.raises(NoRequest, match=words) as refused:
        read_request(text)
    assert refused.value.id == id


def test_numbers_and_pairs_are_checked_but_whole_numbers_are_numbers():
    assert checked(Overrides, {"sdd_mm": 1150, "pixel_pitch_mm": [0.2, 0.1]}, "It") == Overrides(
        pixel_pitch_mm=(0.2, 0.1), sdd_mm=1150
    )
    for wrong in ({"sdd_mm": True}, {"sdd_mm": "1150"}, {"pixel_pitch_mm": [0.2]}, {"pixel_pitch_mm": [0.2, "x"]}):
        with pytest.raises(NoRequest, match="wrong type"):
            checked(Overrides, wrong, "It")


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_lines_are_put_together_from_pieces(size):
    data = b'{"a": 1}\n\n{"b": "' + "ü".encode() * 3 + b'"}\r\nrest'
    lines, complete = Lines(), []
    for start in range(0, len(data), size):
        complete += lines.fed(data[start : start + size])
    assert complete == [b'{"a": 1}', b"", b'{"b": "' + "ü".encode() * 3 + b'"}']
    assert list(lines.fed(b"\n")) == [b"rest"]


def test_a_line_beyond_the_limit_is_not_kept_and_the_next_one_is_read():
    lines = Lines()
    for _ in range(2):
        assert list(lines.fed(b"x" * LONGEST_LINE_BYTES)) == []
    assert len(lines._begun) == 0
    assert list(lines.fed(b"x\nnext\n")) == [TOO_LONG, b"next"]
    whole = b"y" * LONGEST_LINE_BYTES
    assert list(lines.fed(whole + b"\n")) == [whole]


def test_what_json_does_not_know_is_not_sent():
    with pytest.raises(ValueError, match="JSON"):
        line({"share": float("nan")})
    assert json.loads(line({"text": "a\nb"})) == {"text": "a\nb"}


def test_packages_are_on_the_worker_s_path_before_others():
    paths = environment("/own", {"PYTHONPATH": "/theirs", "HOME": "/h"})
    first, *rest = paths["PYTHONPATH"].split(":" if sys.platform != "win32" else ";")
    assert (Path(first) / "DualFaceReconLib").is_dir()
    assert rest == ["/own", "/theirs"]
    assert paths["HOME"] == "/h"


def test_neither_protocol_nor_client_needs_what_is_heavy():
    """They run inside Slicer's application, and beside a Python without torch."""
    program = (
        "import sys; import DualFaceReconLib.worker.client;"
        "print({m.split('.')[0] for m in sys.modules} & {'torch', 'vtkmodules', 'slicer', 'SimpleITK', 'scipy', 'qt'})"
    )
    assert python(program).strip() == "set()"


# The log


@pytest.mark.parametrize(
    ("printed", "kept"),
    [
        ('File "/home/erika/my venv/lib/site-packages/torch/nn/x.py", line 3', 'File "torch/nn/x.py", line 3'),
        (
            'File "C:\\Users\\Erika M\\DualFaceReconLib\\results.py", line 3',
            'File "DualFaceReconLib/results.py", line 3',
        ),
        ("Could not open /data/Muster_Erika/film.dcm for reading", "Could not open ... for reading"),
        ("vtkXMLWriter: D:\\Ergebnisse\\Muster.vtp: no space", "vtkXMLWriter: ...: no space"),
        ("reading Hüfte von Erika.dcm now", "reading ... now"),
        ("loss 0.1/0.2 at 3 mm", "loss 0.1/0.2 at 3 mm"),
    ],
)
def test_a_log_s_line_names_nobody(printed, kept):
    private = log.names_in("/films/Muster Erika/Hüfte von Erika.dcm")
    assert log.without_names(printed, private) == kept


def test_the_owner_of_the_folders_is_not_named(monkeypatch):
    monkeypatch.setattr(log, "_owner", lambda: ["erika"])
    assert log.without_names("erika's cache, not erikas") == "...'s cache, not erikas"


def test_an_error_s_words_stay_out_of_the_log():
    try:
        try:
            raise KeyError("Muster^Erika")
        except KeyError as error:
            raise ValueError("/films/Muster.dcm") from error
    except ValueError as error:
        lines = log.error_lines(error)
    assert [words for words in lines if " " not in words] == ["KeyError", "ValueError"]
    assert lines[0].startswith("test_worker_protocol.py, line ")
    assert "Muster" not in "".join(lines)
