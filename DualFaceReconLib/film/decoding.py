"""Runs the native decoders apart from us, where a crash is only an exit code."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np

from DualFaceReconLib.errors import NO_SPACE, Refusal
from DualFaceReconLib.film import native_decoder
from DualFaceReconLib.film.limits import SIDE_LIMITS_PX

LONGEST_SECONDS = 120


class DecodingFailed(Exception):
    """The decoder refused the file or died of it."""


def decode_apart(
    kind: Literal["itk", "dicom"], path: Path, reader_name: str = "-"
) -> tuple[dict[str, Any], np.ndarray | None]:
    """What the decoder read of the file: its header, and its pixels if they are within limits.

    `reader_name` is ITK's image reader. Raises DecodingFailed, or Refusal where there is something to be done.
    """
    with tempfile.TemporaryDirectory(prefix="dualface-") as folder:
        # -P keeps our own file names out of the decoder's imports
        command = [python_executable(), "-P", native_decoder.__file__, kind, str(path.absolute()), folder]
        try:
            done = subprocess.run(
                [*command, reader_name, str(SIDE_LIMITS_PX[1])],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # libraries' chatter about damage that we report ourselves
                timeout=LONGEST_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DecodingFailed from error
        if done.returncode == native_decoder.OUT_OF_MEMORY:
            raise MemoryError
        if done.returncode == native_decoder.NOT_SUPPORTED:
            raise Refusal("The picture's compression is not supported here: export it uncompressed.")
        if done.returncode == native_decoder.NO_SPACE:
            raise Refusal(NO_SPACE)
        if done.returncode != 0:
            raise DecodingFailed
        info = json.loads((Path(folder) / "info.json").read_text(encoding="utf-8"))
        pixels = Path(folder) / "pixels.npy"
        return info, np.load(pixels, allow_pickle=False) if pixels.exists() else None


def python_executable() -> str:
    """The interpreter that runs us; inside Slicer's application that is PythonSlicer, not Slicer itself."""
    if Path(sys.executable).stem.lower().startswith("python"):
        return sys.executable
    return shutil.which("PythonSlicer") or sys.executable
