"""Files that are there whole or not at all: written beside their place, then renamed to it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from DualFaceReconLib.disk.interrupts import CtrlC
from DualFaceReconLib.errors import Refusal


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a hidden file of the same ending beside, then renames it; an older file goes only then.

    Refusal where that cannot be. Whoever is cut off, by Ctrl-C too, leaves neither a half nor the file beside.
    """
    if not path.name or path.is_dir():
        raise Refusal("A folder was given where a file has to be written: name the file.")
    beside = path.with_name(f".part-{os.getpid()}-{path.name}")
    ctrl_c = CtrlC()
    try:
        try:
            write(beside)
            beside.replace(path)
        finally:
            ctrl_c.hold()
    except OSError as error:
        raise Refusal(
            f"Cannot write {path.name} ({error.strerror or error}): "
            "make room, close what holds it open, or choose another place."
        ) from error
    finally:
        beside.unlink(missing_ok=True)
        ctrl_c.release()


def write_bytes(path: Path, content: bytes) -> None:
    """A file of these bytes; as `write_file`."""
    write_file(path, lambda beside: beside.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """A file of this text in UTF-8, its line breaks as they are; as `write_file`."""
    write_bytes(path, text.encode())
