"""Many films at a time: `dualface batch`, and the same from a console.

    outcome = run_batch(Path("films"), Path("results"))

Each film gets a folder named by its number and pixel hash, and a line in `summary.csv`. Whatever happens to one film,
the others are done. The same call goes on where an earlier one was stopped: what is there, made of the same pixels
taken in the same way, with the same settings and bundle, is not made again. Numbers stay; a file that is new gets the
next one. The record is written here alone; films are done by the processes of a road, this machine's or a cluster's.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from DualFaceReconLib import __version__
from DualFaceReconLib.batch.films import FilmFolder, films_in, folder_names
from DualFaceReconLib.batch.job import (
    BEFORE,
    DONE,
    FAILED,
    REFUSED,
    Choices,
    FilmJob,
    FilmWork,
    ToDo,
    columns_read,
    noting_failure,
    refuse_to_lose_more,
    same_film,
    sent,
)
from DualFaceReconLib.batch.record import MAP, NOT_FOUND, Notes, Record, Row, read_record
from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.bundle.manifest import hip_manifest
from DualFaceReconLib.bundle.store import bundle_folder
from DualFaceReconLib.disk.folders import locked
from DualFaceReconLib.errors import Refusal, worded
from DualFaceReconLib.film.acquisition import Overrides
from DualFaceReconLib.parallel.processes import InProcesses, usable_cores
from DualFaceReconLib.parallel.work import Lost, Road
from DualFaceReconLib.pictures.wording import TERMINAL

if TYPE_CHECKING:
    from DualFaceReconLib.batch.shared_networks import Place

Say = Callable[[str], None]
LOCK = ".lock"
NO_OVERRIDES = Overrides()
AS_SHIPPED = Choices()


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


def run_batch(
    folder: str | Path,
    out: str | Path,
    *,
    overrides: Overrides = NO_OVERRIDES,
    table: Path | None = None,
    choices: Choices = AS_SHIPPED,
    dry_run: bool = False,
    road: Road | None = None,
    retry: bool = False,
    say: Say = print,
) -> Outcome:
    """Reconstructs every film of a folder and the folders in it; Refusal where nothing can begin.

    `overrides` hold for all films, `table` is a CSV that says more of single ones (`films.COLUMNS`). `dry_run`
    reads every film, says what would become of it and writes nothing. `road`: who does the films, by default as many
    processes as this machine has cores. `retry`: films that ended their process twice in an earlier run are tried, too.
    """
    folder, out = Path(folder).resolve(), Path(out).resolve()
    bundle_sha256 = hip_manifest(bundle_folder(choices.bundle)).sha256
    if choices.device is not None:  # a dry run says so, too
        from DualFaceReconLib.inference import usable_device

        usable_device(choices.device)
    _refuse_output(out, folder)
    contents = films_in(folder, overrides, table, leave_out=out)
    say(f"{len(contents.films)} films; {contents.other_files} other files are left alone")
    outcome = Outcome(contents.closed_folders)
    if dry_run:
        record = read_record(out)
        _dry_run(_jobs(contents, record, choices, bundle_sha256), out, record, outcome, say)
        return outcome
    with _removed_if_empty(out), locked(out / LOCK):
        record = read_record(out)
        jobs = _jobs(contents, record, choices, bundle_sha256)
        walk = _Walk(record, outcome, say, len(jobs))
        _reconstruct(
            jobs, folder, FilmWork(out, choices, bundle_sha256), road or InProcesses(usable_cores()), walk, retry
        )
    return outcome


@contextmanager
def _networks(choices: Choices, road: Road) -> Iterator[Place | None]:
    """Where this machine's processes share the networks, on its GPU; None where each has its own."""
    if isinstance(road, InProcesses) and _uses_cuda(choices.device):
        from DualFaceReconLib.batch.shared_networks import shared_networks

        with shared_networks(bundle_folder(choices.bundle), "cuda") as place:
            yield place
    else:
        yield None


def _uses_cuda(device: str | None) -> bool:
    """Without torch, which takes seconds to import, where there is no driver."""
    if device is not None:
        return device == "cuda"
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    from DualFaceReconLib.inference import best_device

    return best_device() == "cuda"


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


def _dry_run(jobs: list[FilmJob], out: Path, record: Record, outcome: Outcome, say: Say) -> None:
    """Says what would become of every film."""
    for position, job in enumerate(jobs, 1):
        row, before = job.new_row(), record.row(job.number)
        warnings: list[str] = []
        with noting_failure(row, REFUSED):
            radiograph = job.film.read()
            row |= columns_read(radiograph)
            warnings = [worded(warning.text, TERMINAL) for warning in radiograph.warnings]
            if same_film(row, before) and job.is_done(before, out):
                row["status"] = BEFORE
            else:
                with noting_failure(row, FAILED):
                    refuse_to_lose_more(out / job.name(radiograph.pixel_hash))
        outcome.films[row["status"]] += 1
        words = "would be done" if row["status"] == DONE else _status_line(row)
        say(f"{position}/{len(jobs)}  {job.name(row['pixel_hash'])}  {words}")
        for text in warnings:
            say(f"    WARNING  {text}")


class _Films(Sequence[ToDo]):
    """Films to do; each is made when its turn comes, as there may be a hundred thousand."""

    def __init__(self, jobs: list[FilmJob], record: Record, are_sent: bool) -> None:
        self.jobs, self._record, self._are_sent = jobs, record, are_sent

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int) -> ToDo:
        job = self.jobs[index]
        to_do = ToDo(job, self._record.row(job.number))
        return sent(to_do) if self._are_sent else to_do


@dataclass
class _Walk:
    """Films, one done after the other, each with a line when it is."""

    record: Record
    outcome: Outcome
    say: Say
    count: int  # of all films
    told: int = 0  # films
    warned: bool = False  # that the record could not be written

    def take(self, row: Row, job: FilmJob, ending: str = "") -> None:
        """Enters what became of a film, and says it."""
        self.outcome.films[row["status"]] += 1
        self.told += 1
        if row["status"] != BEFORE:
            try:
                self.record.take(row)
                self.warned = False
            except Refusal as refusal:  # a spreadsheet that holds it open is no reason to stop
                if not self.warned:
                    self.say(f"WARNING  {refusal} It is tried again after every film.")
                self.warned = True
        self.say(f"{self.told}/{self.count}  {job.name(row['pixel_hash'])}  {_status_line(row)}{ending}")


def _reconstruct(jobs: list[FilmJob], folder: Path, work: FilmWork, road: Road, walk: _Walk, retry: bool) -> None:
    """Every film that is not done, with a line each; the record is brought on after each."""
    left_alone = [] if retry else [job for job in jobs if _ended_twice(job, walk.record.row(job.number))]
    numbers = {job.number for job in left_alone}
    to_do = [job for job in jobs if job.number not in numbers]
    new = sum(not job.is_done(walk.record.row(job.number), work.out) for job in to_do)
    if not road.sees(work.out / LOCK):
        raise Refusal("Not every worker sees the output: name a folder on a drive that all of them have.")
    films = _Films(to_do, walk.record, are_sent=not road.sees(folder))

    def began(words: str) -> None:
        walk.record.write()
        walk.say(f"{words}. Research use only.")

    def lost(film: ToDo) -> None:
        film.job.restore_folder(work.out)

    begun, worked, notes = time.monotonic(), 0, Notes(work.out)
    try:
        with closing(road(work, films, began=began, lost=lost)) as results:
            for index, result in results:
                job, ending = to_do[index], ""
                row = job.lost_row(result) if isinstance(result, Lost) else result
                if row["status"] != BEFORE:
                    worked += 1
                    if new > worked:
                        ending = f"; {_duration((new - worked) * (time.monotonic() - begun) / worked)} left"
                walk.take(row, job, ending)
                notes.remove(job.number)
        for job in left_alone:
            walk.take(walk.record.row(job.number), job)
    finally:
        notes.close()
        if walk.record.unwritten:
            walk.record.write()


def _jobs(contents: FilmFolder, record: Record, choices: Choices, bundle_sha256: str) -> list[FilmJob]:
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
            **({"together": True} if choices.together else {}),  # so that what was done without it stays done
            **film.options(),
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
        jobs.append(FilmJob(number, film, names[number - 1] if names else "", digest))
    return jobs


def _ended_twice(job: FilmJob, before: Row | None) -> bool:
    """Whether an earlier run gave a film up that ends the process which works on it."""
    return before is not None and before["settings"] == job.settings and Lost(before["reason"]).kills


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
