"""Feeds damaged films to the reader and prints one line for each: `python malformed.py FOLDER FIRST COUNT`.

Run as its own process, so that a crash of a decoder shows as an exit code and memory can be bounded.
Each file comes from its number alone: a valid film of a kind, damaged in a way that both follow from the seed.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.radiograph import read_radiograph
from support.films import IMAGE_SUFFIXES, SYNTAXES, dataset, save, save_image

MEMORY_BYTES = 3 << 30


def bound_memory() -> None:
    """As RLIMIT_AS of 3 GB, where the system has it."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def valid_films(folder: Path) -> list[bytes]:
    films = []
    for syntax in SYNTAXES:
        # lossy JPEG stores 8 bits
        ds = dataset()
        if syntax == "jpeg-baseline":
            values = (np.frombuffer(ds.PixelData, np.uint16) >> 4).astype(np.uint8)
            ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelData = 8, 8, 7, values.tobytes()
        films.append(save(ds, folder / "valid.dcm", syntax).read_bytes())
    for suffix in IMAGE_SUFFIXES:
        films.append(save_image(folder / f"valid{suffix}", bits=8 if suffix == ".jpg" else 16).read_bytes())
    return films


def damaged(valid: bytes, rng: np.random.Generator) -> bytes:
    """One to a few injuries, most of them in the header, where they do harm."""
    content = bytearray(valid)
    for _ in range(int(rng.integers(1, 6))):
        header = len(content) if rng.random() < 0.3 else min(len(content), 2048)
        at = int(rng.integers(0, max(header, 1)))
        injury = rng.integers(0, 7)
        if injury == 0:
            del content[int(rng.integers(0, max(len(content), 1))) :]
        elif injury == 1:
            content[at : at + 1] = bytes([int(rng.integers(256))])
        elif injury == 2:
            content[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x80"])
        elif injury == 3:
            content[at : at + 8] = rng.bytes(8)
        elif injury == 4:
            del content[at : at + int(rng.integers(1, 64))]
        elif injury == 5:
            content[at:at] = content[at : at + int(rng.integers(1, 512))]
        else:
            content[at : at + 2] = int(rng.integers(0, 1 << 16)).to_bytes(2, "little")
    return bytes(content)


def outcome(path: Path) -> str:
    try:
        radiograph = read_radiograph(path, pixel_pitch_mm=1.2)
    except Refusal as refusal:
        return f"refused: {refusal}"
    except BaseException as error:
        return f"BROKE with {type(error).__name__}: {error}"
    return f"picture of {radiograph.pixels.shape}"


def main() -> None:
    folder, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    warnings.simplefilter("error")
    films = valid_films(folder)
    bound_memory()
    path = folder / "damaged"
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        path.write_bytes(damaged(films[number % len(films)], rng))
        print(number, outcome(path).replace("\n", " "), flush=True)


if __name__ == "__main__":
    main()
