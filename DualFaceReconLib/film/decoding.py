"""Runs the native decoders apart from us, where a crash is only an exit code."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np

from DualFaceReconLib.errors import NO_SPACE, Refusal
from DualFaceReconLib.film import native_decoder
from DualFaceReconLib.film.limits import SIDE_LIMITS_PX

COMPRESSED = b"1.2.840.10008.1.2.4."  # how the names of what compresses pixels begin, but for run lengths
HEADER_BYTES = 1024  # of a file, in which the name stands
FORKS = sys.platform == "linux"  # elsewhere processes cannot be forked, or not safely


class DecodingFailed(Exception):
    """The decoder refused the file or died of it."""


def decode_apart(
    kind: Literal["itk", "dicom"], path: Path, reader_name: str = "-"
) -> tuple[dict[str, Any], np.ndarray | None]:
    """What the decoder read of the file: its header, and its pixels if they are within limits.

    `reader_name` is ITK's image reader. Raises DecodingFailed, or Refusal where there is something to be done.
    """
    with tempfile.TemporaryDirectory(prefix="dualface-") as folder:
        code = exit_code([kind, str(path.absolute()), folder, reader_name, str(SIDE_LIMITS_PX[1])])
        if code == native_decoder.OUT_OF_MEMORY:
            raise MemoryError
        if code == native_decoder.NOT_SUPPORTED:
            raise Refusal("The picture's compression is not supported here: export it uncompressed.")
        if code == native_decoder.NO_SPACE:
            raise Refusal(NO_SPACE)
        if code != 0:
            raise DecodingFailed
        info = json.loads((Path(folder) / "info.json").read_text(encoding="utf-8"))
        pixels = Path(folder) / "pixels.npy"
        return info, np.load(pixels, allow_pickle=False) if pixels.exists() else None


def begin_decoder(path: Path) -> None:
    """Starts the process that will decode a file's pixels, if it is a DICOM file that compresses them.

    It loads its libraries while this one does something else. A file that cannot be read is left to who reads it.
    """
    with suppress(OSError), path.open("rb") as file:
        if FORKS and COMPRESSED in file.read(HEADER_BYTES):
            _decoder.begin("dicom")


def exit_code(arguments: list[str]) -> int:
    """What a process that decodes one picture, and nothing else, ends with."""
    if FORKS:
        return _decoder.exit_code(arguments)
    try:
        return subprocess.run(
            [*_command(), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # libraries' chatter about damage that we report ourselves
            timeout=native_decoder.LONGEST_SECONDS,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired as error:
        raise DecodingFailed from error


class _Decoder:
    """A process that has the decoders loaded and forks for every picture; it is started with the first one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._asking = threading.Lock()

    def begin(self, kind: str) -> None:
        """Lets it load what it will need."""
        with self._asking, suppress(OSError):
            self._ask([kind])

    def exit_code(self, arguments: list[str]) -> int:
        """Of the fork that decodes a picture."""
        with self._asking:
            try:
                answer = self._ask(arguments).stdout.readline()
            except OSError:
                answer = ""
            except BaseException:
                self.end()
                raise
            if not answer:
                self.end()
                raise DecodingFailed
            return int(answer)

    def _ask(self, arguments: list[str]) -> subprocess.Popen[str]:
        """The process, which was sent a line."""
        if self._process is not None and self._process.poll() is not None:
            self.end()
        if self._process is None:
            self._process = subprocess.Popen(
                _command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # threads do not survive a fork
                start_new_session=True,  # Ctrl-C is for us, and we end it
            )
        print(json.dumps(arguments), file=self._process.stdin, flush=True)
        return self._process

    def end(self) -> None:
        """Ends it with the fork that is at work."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            with suppress(OSError):
                process.stdin.close()
            process.stdout.close()
            process.wait()


_decoder = _Decoder()
atexit.register(_decoder.end)


def _command() -> list[str]:
    """-P keeps our own file names out of the decoder's imports."""
    return [python_executable(), "-P", native_decoder.__file__]


def python_executable() -> str:
    """The interpreter that runs us; inside Slicer's application that is PythonSlicer, not Slicer itself."""
    if Path(sys.executable).stem.lower().startswith("python"):
        return sys.executable
    return shutil.which("PythonSlicer") or sys.executable
