"""Many films, one after the other: `dualface batch`, and the same from a console.

    outcome = run_batch(Path("films"), Path("results"))

Each film gets a folder named by its number and pixel hash, and a line in `summary.csv`. Whatever happens to one film,
the others are done. The same call goes on where an earlier one was stopped: what is there, made of the same pixels
taken in the same way, with the same settings and bundle, is not made again. Numbers stay; a file that is new gets the
next one.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from DualFaceReconLib import __version__
from DualFaceReconLib.batch.films import FilmFile, FilmFolder, films_in, folder_names
from DualFaceReconLib.batch.record import MAP, NOT_FOUND, Record, Row, read_record, summary_of
from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.bundle.manifest import load_manifest
from DualFaceReconLib.bundle.store import bundle_folder
from DualFaceReconLib.disk.folders import locked
from DualFaceReconLib.document import DOCUMENT
from DualFaceReconLib.errors import Refusal, worded
from DualFaceReconLib.film.acquisition import Overrides
from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.inference import usable_device
from DualFaceReconLib.pictures.wording import TERMINAL
from DualFaceReconLib.reconstruction import Reconstructor
from DualFaceReconLib.results import foreign_files, refuse_to_lose, save

Say = Callable[[str], None]
NO_OVERRIDES = Overrides()
DONE, BEFORE, REFUSED, FAILED = "done", "done before", "refused", "failed"  # the last: no fault of the film


@dataclass(frozen=True)
class Choices:
    """How all films of a batch are reconstructed."""

    bundle: str | Path | None = None  # None: the one that ships
    device: str | None = None  # None: the best one here
    completion: bool = True
    whole_femurs: bool = False
    keep_names: bool = False  # folders and lines are named after the files, which may name patients


@dataclass(frozen=True)
class Outcome:
    """How many films came to what."""

    closed_folders: int = 0  # that could not be opened, so that films may be missing
    films: Counter[str] = field(default_factory=Counter)  # by DONE, BEFORE, REFUSED and FAILED

    @property
    def whole(self) -> bool:
        """Whether nothing is missing."""
        return not (self.films[REFUSED] or self.films[FAILED] or self.closed_folders)

    def __str__(self) -> str:
        words = ", ".join(f"{self.films[status]} {status}" for status in (DONE, BEFORE, REFUSED, FAILED))
        return words + (f"; {self.closed_folders} folders could not be opened" if self.closed_folders else "")


@dataclass(frozen=True)
class _Job:
    """A film and where it belongs."""

    number: int
    film: FilmFile
    own_name: str  # "" where folders are named by number and pixel hash
    settings: str  # a digest of how it is reconstructed

    def name(self, pixel_hash: str = "") -> str:
        """Of its folder, once its pixels are known."""
        return self.own_name or (f"{self.number:04d}-{pixel_hash}" if pixel_hash else f"{self.number:04d}")

    def is_done(self, row: Row | None, out: Path) -> bool:
        """Whether an earlier run made it, if the film is still the same."""
        if row is None or (row["status"], row["settings"]) != (DONE, self.settings):
            return False
        return row["folder"] == self.name(row["pixel_hash"]) and (out / row["folder"] / DOCUMENT).is_file()


def run_batch(
    folder: str | Path,
    out: str | Path,
    *,
    overrides: Overrides = NO_OVERRIDES,
    table: Path | None = None,
    choices: Choices = Choices(),
    dry_run: bool = False,
    say: Say = print,
) -> Outcome:
    """Reconstructs every film of a folder and the folders in it; Refusal where nothing can begin.

    `overrides` hold for all films, `table` is a CSV that says more of single ones (`films.COLUMNS`). `dry_run`
    reads every film, says what would become of it and writes nothing.
    """
    folder, out = Path(folder).resolve(), Path(out).resolve()
    bundle_sha256 = load_manifest(bundle_folder(choices.bundle)).sha256
    usable_device(choices.device)  # a dry run says so, too
    _refuse_output(out, folder)
    contents = films_in(folder, overrides, table, leave_out=out)
    say(f"{len(contents.films)} films; {contents.other_files} other files are left alone")
    outcome = Outcome(contents.closed_folders)
    if dry_run:
        record = read_record(out)
        _dry_run(_jobs(contents, record, choices, bundle_sha256), out, record, outcome, say)
        return outcome
    with _removed_if_empty(out), locked(out / ".lock"):
        record = read_record(out)
        jobs = _jobs(contents, record, choices, bundle_sha256)
        reconstructor = Reconstructor(choices.bundle, choices.device)
        record.write()
        say(f"{reconstructor}. Research use only.")
        _reconstruct(jobs, out, record, reconstructor, choices, outcome, say)
    return outcome


@contextmanager
def _removed_if_empty(out: Path) -> Iterator[None]:
    """An output that was not there goes again where nothing came into it; its lock, which lies in it, makes it."""
    there = out.exists()
    try:
        yield
    finally:
        if not there:
            with suppress(OSError):
                out.rmdir()


def _dry_run(jobs: list[_Job], out: Path, record: Record, outcome: Outcome, say: Say) -> None:
    """Says what would become of every film."""
    for position, job in enumerate(jobs, 1):
        row, before = _new_row(job), record.summary.get(job.number)
        warnings: list[str] = []
        with _noting_failure(row, REFUSED):
            radiograph = job.film.read()
            row |= _columns_read(radiograph)
            warnings = [worded(warning.text, TERMINAL) for warning in radiograph.warnings]
            if _same_film(row, before) and job.is_done(before, out):
                row["status"] = BEFORE
            else:
                with _noting_failure(row, FAILED):
                    _refuse_to_lose(out / job.name(radiograph.pixel_hash))
        outcome.films[row["status"]] += 1
        words = "would be done" if row["status"] == DONE else _status_line(row)
        say(f"{position}/{len(jobs)}  {job.name(row['pixel_hash'])}  {words}")
        for text in warnings:
            say(f"    WARNING  {text}")


def _reconstruct(
    jobs: list[_Job],
    out: Path,
    record: Record,
    reconstructor: Reconstructor,
    choices: Choices,
    outcome: Outcome,
    say: Say,
) -> None:
    """Every film that is not done, with a line each; the record is written after each."""
    waiting = [not job.is_done(record.summary.get(job.number), out) for job in jobs]
    spent, worked, unwritten = 0.0, 0, False
    try:
        for position, job in enumerate(jobs, 1):
            begun = time.monotonic()
            row = _reconstruct_film(job, out, record.summary.get(job.number), reconstructor, choices)
            outcome.films[row["status"]] += 1
            words = _status_line(row)
            if row["status"] != BEFORE:
                seconds = time.monotonic() - begun
                record.take({**row, "seconds": f"{seconds:.1f}"})
                unwritten = not _try_to_write(record, unwritten, say)
                spent, worked = spent + seconds, worked + 1
                if left := sum(waiting[position:]):
                    words += f"; {_duration(left * spent / worked)} left"
            say(f"{position}/{len(jobs)}  {job.name(row['pixel_hash'])}  {words}")
    finally:
        if unwritten:
            record.write()


def _reconstruct_film(job: _Job, out: Path, before: Row | None, reconstructor: Reconstructor, choices: Choices) -> Row:
    """A film's line of the summary, and its folder where it can be reconstructed."""
    row = _new_row(job)
    with _noting_failure(row, REFUSED):
        radiograph = job.film.read()
        row |= _columns_read(radiograph)
        if _same_film(row, before) and job.is_done(before, out):
            return {**row, "status": BEFORE}
        folder = out / job.name(radiograph.pixel_hash)
        with _noting_failure(row, FAILED):
            _refuse_to_lose(folder)
        if row["status"] == FAILED:
            return row
        reconstruction = reconstructor.run(radiograph, completion=choices.completion, whole_femurs=choices.whole_femurs)
        with _noting_failure(row, FAILED):
            _refuse_foreign_files(folder)  # again, for what came while it was computed
            save(reconstruction, folder, overwrite=True)
            row |= {"folder": folder.name, **summary_of(reconstruction)}
    return row


@contextmanager
def _noting_failure(row: Row, refused_as: str) -> Iterator[None]:
    """Whatever goes wrong with a film is written down, and the next one is done."""
    try:
        yield
    except Refusal as refusal:
        row |= {"status": refused_as, "reason": worded(refusal.text, TERMINAL)}
    except MemoryError:
        row |= {"status": FAILED, "reason": "There was not enough memory: close other programs and run it again."}
    except Exception as error:  # its words may hold a path, or a value out of the header
        row |= {"status": FAILED, "reason": f"The program failed ({type(error).__name__}): run it again, or report it."}


def _try_to_write(record: Record, unwritten: bool, say: Say) -> bool:
    """Writes the record; a spreadsheet that holds it open is no reason to stop."""
    try:
        record.write()
    except Refusal as refusal:
        if not unwritten:
            say(f"WARNING  {refusal} It is tried again after every film.")
        return False
    return True


def _jobs(contents: FilmFolder, record: Record, choices: Choices, bundle_sha256: str) -> list[_Job]:
    """Every film with its number, in their order; new ones are entered into the record."""
    by_path = record.number([film.path for film in contents.films])
    names = folder_names(record.paths()) if choices.keep_names else []
    jobs = []
    for film in contents.films:
        number = by_path[film.path]
        settings = {
            "version": __version__,
            "bundle": bundle_sha256,
            "completion": choices.completion,
            "whole_femurs": choices.whole_femurs,
            **film.options(),
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
        jobs.append(_Job(number, film, names[number - 1] if names else "", digest))
    return jobs


def _new_row(job: _Job) -> Row:
    return {
        "number": str(job.number),
        "pixel_hash": "",
        "folder": "",
        "status": DONE,
        "settings": job.settings,
        "read": "",
    }


def _columns_read(radiograph: Radiograph) -> Row:
    """What a line says of a film that was read: its pixels, and a digest of how it was taken."""
    facts = (radiograph.orientation, radiograph.polarity, radiograph.collimation_px)
    taken = [radiograph.geometry.to_dict(), *(None if fact is None else asdict(fact) for fact in facts)]
    if radiograph.field_corners_px is not None:
        taken.append(radiograph.field_corners_px)
    digest = hashlib.sha256(json.dumps(taken, sort_keys=True).encode()).hexdigest()[:12]
    return {"pixel_hash": radiograph.pixel_hash, "read": digest}


def _same_film(row: Row, before: Row | None) -> bool:
    """Whether pixels, and how they were taken, are as they were: a header may have been corrected."""
    return before is not None and all(before[column] == row[column] for column in ("pixel_hash", "read"))


def _refuse_to_lose(folder: Path) -> None:
    """Refusal where a film's folder could not be replaced without losing what somebody else put there."""
    refuse_to_lose(folder, overwrite=True)
    _refuse_foreign_files(folder)


def _refuse_foreign_files(folder: Path) -> None:
    if count := len(foreign_files(folder)):
        raise Refusal(
            f"{folder.name} holds files or folders that the batch did not write ({count}): "
            "move them elsewhere, and run it again."
        )


def _refuse_output(out: Path, folder: Path) -> None:
    if out == folder:
        raise Refusal("The results would lie among the films: choose another output.")
    try:
        if out.is_file() or not out.name:
            raise Refusal("The output is no folder that can be made: name another one.")
        if out.exists() and not (out / MAP).is_file() and any(not path.name.startswith(".") for path in out.iterdir()):
            raise Refusal("The output holds something else than a batch: choose an empty or a new folder.")
    except OSError as error:
        raise Refusal(f"The output cannot be opened ({error.strerror or error}): name another one.") from error


def _status_line(row: Row) -> str:
    if row["status"] == BEFORE:
        return BEFORE
    if row["status"] != DONE:
        return f"{row['status']}: {row['reason']}"
    present = sum(row[bone] != NOT_FOUND for bone in BONES)
    return f"done; bones found: {present}, completed: {row['completed']}; warnings: {row['warnings']}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
