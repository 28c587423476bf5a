"""The worker's log: what helps to mend a fault, and nothing that names a patient or the owner of a folder."""

from __future__ import annotations

import faulthandler
import getpass
import logging
import re
import sys
import traceback
import warnings
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PureWindowsPath

TAIL_LINES = 40
TAIL: deque[str] = deque(maxlen=TAIL_LINES)
NETWORKS = ("torch", "torchvision", "timm", "dynamic_network_architectures")
LONGEST_LINE = 300
SHORTEST_NAME = 3  # letters; shorter ones would strike out parts of words
# A path in quotation marks to their end, another one to the next space
PATHS = re.compile(
    r"""(?<=")(?:[A-Za-z]:)?[\\/][^"\n]+|(?<=')(?:[A-Za-z]:)?[\\/][^'\n]+|(?<![\w.])(?:[A-Za-z]:)?[\\/][^\s"'(),;:]+"""
)


def error_lines(error: BaseException) -> list[str]:
    """Where an error arose and of what kind it is; its words are left out: they may hold a path or a header's value."""
    lines = []
    for frame in traceback.extract_tb(error.__traceback__):
        lines.append(f"{place(frame.filename)}, line {frame.lineno}, in {frame.name}")
    cause = error.__cause__ or error.__context__
    return [*(error_lines(cause) if cause is not None else []), *lines, type(error).__name__]


def place(file: str) -> str:
    """A source file without the folders that somebody else named."""
    parts = PureWindowsPath(file).parts  # which takes both kinds of slashes
    for above in ("site-packages", "dist-packages", "DualFaceReconLib"):
        if above in parts:
            inside = parts[len(parts) - parts[::-1].index(above) - (above == "DualFaceReconLib") :]
            return "/".join(inside)
    return parts[-1] if parts and parts[-1].endswith(".py") else "..."


def without_names(line: str, private: Iterable[str] = ()) -> str:
    """A line of anybody's log without paths, the user's name, and what is `private`."""
    for words in sorted((word for word in private if len(word) >= SHORTEST_NAME), key=len, reverse=True):
        line = line.replace(words, "...")
    line = PATHS.sub(lambda match: place(match[0]), line)
    for name in _owner():
        line = re.sub(rf"\b{re.escape(name)}\b", "...", line)
    return line[:LONGEST_LINE]


def names_in(path: str | Path) -> list[str]:
    """What a path may say of a patient: itself, its file's name and that without its ending."""
    return [str(path), Path(path).name, Path(path).stem]


def _owner() -> list[str]:
    try:
        names = {getpass.getuser(), Path.home().name}
    except (OSError, KeyError, RuntimeError):
        return []
    return [name for name in names if len(name) >= SHORTEST_NAME and name != "root"]


def say(words: str) -> None:
    """A line on stderr, which is also kept for the tail."""
    TAIL.append(words[:LONGEST_LINE])
    with suppress(OSError):  # nobody reads it
        print(words, file=sys.stderr, flush=True)


def set_up() -> None:
    """Crashes of native code, warnings and other libraries' logs go to stderr, as far as they name nobody."""
    faulthandler.enable()
    warnings.showwarning = _warned
    logging.basicConfig(handlers=[_Handler(logging.WARNING)], force=True)


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        words = f": {record.getMessage()}" if _may_be_quoted(record.pathname) else ""
        say(without_names(f"{record.levelname} of {record.name}, line {record.lineno}{words}"))


def _warned(message: object, category: type[Warning], filename: str, lineno: int, *_: object) -> None:
    words = f": {message}" if _may_be_quoted(filename) else ""
    say(without_names(f"{category.__name__} at {place(filename)}, line {lineno}{words}"))


def _may_be_quoted(file: str) -> bool:
    """Networks' libraries never see a header; others may quote one."""
    return place(file).split("/")[0] in NETWORKS
