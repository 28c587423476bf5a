"""What becomes of one film of a batch: its folder, and its line of the summary.

`FilmWork` does it in whatever process it is prepared in; films come to it as jobs.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from DualFaceReconLib import __version__
from DualFaceReconLib.batch.films import FilmFile, ending
from DualFaceReconLib.batch.record import Notes, Row, summary_of
from DualFaceReconLib.disk.folders import restore
from DualFaceReconLib.disk.interrupts import CtrlC
from DualFaceReconLib.document import DOCUMENT
from DualFaceReconLib.errors import Refusal, worded
from DualFaceReconLib.film.radiograph import LARGEST_FILE_BYTES, Radiograph
from DualFaceReconLib.parallel.work import Lost
from DualFaceReconLib.pictures.wording import TERMINAL
from DualFaceReconLib.results import foreign_files, refuse_to_lose, save

if TYPE_CHECKING:
    from DualFaceReconLib.batch.shared_networks import Place
    from DualFaceReconLib.outcome import Reconstruction
    from DualFaceReconLib.reconstruction import Reconstructor

DONE, BEFORE, REFUSED, FAILED = "done", "done before", "refused", "failed"  # the last: no fault of the film


@dataclass(frozen=True)
class Choices:
    """How all films of a batch are reconstructed."""

    bundle: str | Path | None = None  # None: the one that ships
    device: str | None = None  # None: the best one here
    completion: bool = True
    whole_femurs: bool = False
    together: bool = True
    keep_names: bool = False  # folders and lines are named after the files, which may name patients


@dataclass(frozen=True)
class FilmJob:
    """A film and where it belongs."""

    number: int
    film: FilmFile
    own_name: str  # "" where folders are named by number and pixel hash
    settings: str  # a digest of how it is reconstructed

    def __repr__(self) -> str:
        """What logs may say of it, without its path."""
        return f"FilmJob({self.number:04d})"

    def name(self, pixel_hash: str = "") -> str:
        """Of its folder, once its pixels are known."""
        return self.own_name or (f"{self.number:04d}-{pixel_hash}" if pixel_hash else f"{self.number:04d}")

    def is_done(self, row: Row | None, out: Path) -> bool:
        """Whether an earlier run made it, if the film is still the same."""
        if row is None or (row["status"], row["settings"]) != (DONE, self.settings):
            return False
        return row["folder"] == self.name(row["pixel_hash"]) and (out / row["folder"] / DOCUMENT).is_file()

    def new_row(self) -> Row:
        """A line of the summary, before anything is known of the film."""
        return {
            "number": str(self.number),
            "pixel_hash": "",
            "folder": "",
            "status": DONE,
            "settings": self.settings,
            "read": "",
        }

    def lost_row(self, lost: Lost) -> Row:
        """A line of the summary where the film came to nothing."""
        return {**self.new_row(), "status": FAILED, "reason": lost.reason}

    def restore_folder(self, out: Path) -> None:
        """Puts right what a process left of the film's folder that was ended while it wrote."""
        left = {path.stem.removeprefix(".") for path in out.glob(f".{self.number:04d}-*.*")}
        for name in [self.own_name] if self.own_name else left:
            restore(out / name)


@dataclass(frozen=True)
class ToDo:
    """A job, and what the summary had of it."""

    job: FilmJob
    before: Row | None = field(repr=False)
    content: bytes | None = field(
        default=None, repr=False
    )  # of the film's file, for processes that do not see it where it lies

    def film(self) -> Radiograph:
        """The film as the user says that it was taken; Refusal where it is none."""
        if self.content is None:
            return self.job.film.read()
        with tempfile.TemporaryDirectory(prefix="dualface-") as folder:
            path = Path(folder) / self.job.film.path.name
            path.write_bytes(self.content)
            return replace(self.job.film, path=path).read()


def sent(to_do: ToDo) -> ToDo:
    """The same with the film's file, under no name of its own."""
    path = to_do.job.film.path
    try:
        content = path.read_bytes() if path.stat().st_size <= LARGEST_FILE_BYTES else None
    except OSError:
        content = None  # whoever reads it will say that it cannot be read
    film = replace(to_do.job.film, path=Path(f"film{ending(path.name)}"))
    return replace(to_do, job=replace(to_do.job, film=film), content=content)


@dataclass(frozen=True)
class FilmWork:
    """Reconstructs films with a bundle that is loaded once in a process."""

    out: Path
    choices: Choices
    bundle_sha256: str
    place: Place | None = None  # of networks in another process; None: each has its own
    version: str = __version__

    def __call__(self) -> _Loaded:
        import torch

        from DualFaceReconLib import reconstruction

        torch.set_num_threads(1)  # more would change last digits
        networks = {}
        if self.place is not None:
            from DualFaceReconLib.batch.shared_networks import networks_at

            networks["networks"] = networks_at(self.place)
        reconstructor = reconstruction.Reconstructor(self.choices.bundle, self.choices.device, **networks)
        if (reconstructor.networks.manifest.sha256, __version__) != (self.bundle_sha256, self.version):
            raise Refusal("Another version of DualFaceRecon or of the bundle is where the films are done: update it.")
        return _Loaded(self.out, self.choices, reconstructor)


class _Loaded:
    """The work itself."""

    def __init__(self, out: Path, choices: Choices, reconstructor: Reconstructor) -> None:
        self._out, self._choices, self._reconstructor, self._notes = out, choices, reconstructor, Notes(out)

    def __str__(self) -> str:
        return str(self._reconstructor)

    def __call__(self, to_do: ToDo) -> Row:
        """A film's line of the summary, and its folder where it can be reconstructed."""
        begun, job, before = time.monotonic(), to_do.job, to_do.before
        row = job.new_row()
        with noting_failure(row, REFUSED):
            radiograph = to_do.film()
            row |= columns_read(radiograph)
            if same_film(row, before) and job.is_done(before, self._out):
                return {**row, "status": BEFORE}
            noted = self._notes.read(job.number)
            if same_film(row, noted) and job.is_done(noted, self._out):
                return noted  # by a process that ended before it could tell
            folder = self._out / job.name(radiograph.pixel_hash)
            with noting_failure(row, FAILED):
                refuse_to_lose_more(folder)
            if row["status"] == FAILED:
                return row
            reconstruction = self._reconstructor.run(
                radiograph,
                completion=self._choices.completion,
                whole_femurs=self._choices.whole_femurs,
                together=self._choices.together,
            )
            with noting_failure(row, FAILED):
                self._save(reconstruction, folder, row, begun)
        return {"seconds": _since(begun), **row}

    def _save(self, reconstruction: Reconstruction, folder: Path, row: Row, begun: float) -> None:
        """Writes a film's folder, and notes its line; who is stopped amid that has done both or nothing."""
        _refuse_foreign_files(folder)  # again, for what came while it was computed
        ctrl_c = CtrlC()
        try:
            ctrl_c.hold()
            save(reconstruction, folder, overwrite=True)
            row |= {"folder": folder.name, **summary_of(reconstruction), "seconds": _since(begun)}
            self._notes.write(row)
        finally:
            ctrl_c.release()


def _since(begun: float) -> str:
    return f"{time.monotonic() - begun:.1f}"


@contextmanager
def noting_failure(row: Row, refused_as: str) -> Iterator[None]:
    """Whatever goes wrong with a film is written down, and the next one is done."""
    try:
        yield
    except Refusal as refusal:
        row |= {"status": refused_as, "reason": worded(refusal.text, TERMINAL)}
    except MemoryError:
        row |= {"status": FAILED, "reason": "There was not enough memory: close other programs and run it again."}
    except Exception as error:  # its words may hold a path, or a value out of the header
        row |= {"status": FAILED, "reason": f"The program failed ({type(error).__name__}): run it again, or report it."}


def columns_read(radiograph: Radiograph) -> Row:
    """What a line says of a film that was read: its pixels, and a digest of how it was taken."""
    facts = (radiograph.orientation, radiograph.polarity, radiograph.collimation_px)
    taken = [radiograph.geometry.to_dict(), *(None if fact is None else asdict(fact) for fact in facts)]
    if radiograph.field_corners_px is not None:
        taken.append(radiograph.field_corners_px)
    digest = hashlib.sha256(json.dumps(taken, sort_keys=True).encode()).hexdigest()[:12]
    return {"pixel_hash": radiograph.pixel_hash, "read": digest}


def same_film(row: Row, before: Row | None) -> bool:
    """Whether pixels, and how they were taken, are as they were: a header may have been corrected."""
    return before is not None and all(before[column] == row[column] for column in ("pixel_hash", "read"))


def refuse_to_lose_more(folder: Path) -> None:
    """Refusal where a film's folder could not be replaced without losing what somebody else put there."""
    refuse_to_lose(folder, overwrite=True)
    _refuse_foreign_files(folder)


def _refuse_foreign_files(folder: Path) -> None:
    if count := len(foreign_files(folder)):
        raise Refusal(
            f"{folder.name} holds files or folders that the batch did not write ({count}): "
            "move them elsewhere, and run it again."
        )
