"""What a batch has done: two CSV files in its output, sound whenever it is cut off.

`summary.csv` has a line a film, by number and pixel hash. `map.csv` is the only file that says which path a number
stands for; paths may name patients. Of many films both are replaced after every hundredth part of them, so that a film
costs as much at the end as at the beginning; lines that they lack stand in a hidden file beside them until then.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.disk.files import write_file, write_text
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.measurements import Measurement
from DualFaceReconLib.outcome import Reconstruction
from DualFaceReconLib.pictures.wording import bone_words

NOT_FOUND = "not found"  # of a bone; else "seen" or "completed"
SUMMARY, MAP = "summary.csv", "map.csv"
NOTED = ".summary.csv"  # lines that both lack so far
PARTS = 100  # of all films, after each of which both are replaced
ENCODING, LINE_END = "utf-8-sig", "\r\n"
PATH = "path (may name patients: do not pass on)"
MAP_COLUMNS = ("number", "pixel_hash", "folder", PATH)
KEY_MEASUREMENTS = (  # of a kind of bone, or "" of the pelvis; with its unit
    ("hip", "volume", "cm3"),
    ("hip", "acetabular_diameter", "mm"),
    ("femur", "femoral_head_diameter", "mm"),
    ("", "distance_of_hip_centres", "mm"),
    ("", "distance_of_anterior_superior_iliac_spines", "mm"),
)
MEASURED = tuple(  # bone or "", name, column
    (bone, name, "_".join(filter(None, (bone, name, unit))))
    for kind, name, unit in KEY_MEASUREMENTS
    for bone in (BONES if kind else ("",))
    if bone.startswith(kind)
)
VERDICTS = tuple(f"{bone}_verdict" for bone in BONES)
SINCE = {"read", *VERDICTS, "reasons"}  # columns that older summaries lack
SUMMARY_COLUMNS = (
    *("number", "pixel_hash", "folder", "status", "reason", "warnings", "completed", *BONES, "seconds"),
    *(heading for _, _, column in MEASURED for heading in (column, f"{column}_std")),
    "settings",  # a digest of the bundle and of what was asked: a film is done when it was done with these
    "read",  # a digest of how the film was taken, as it was read
    *VERDICTS,  # good, doubtful or not usable
    "reasons",  # of all bones that are not good
)

Row = dict[str, str]


@dataclass
class Record:
    """Both files of an output, by the films' numbers."""

    out: Path
    map: dict[int, Row]
    lines: dict[int, str]  # of the summary, as they are written: rows would take ten times the memory
    unwritten: bool = False  # whether the files lack anything
    taken: int = 0  # in this run

    def number(self, paths: Sequence[Path]) -> dict[Path, int]:
        """Each path's number: the one that it has, or the next."""
        known = {row[PATH]: number for number, row in self.map.items()}
        for path in paths:
            if str(path) not in known:
                known[str(path)] = number = len(known) + 1
                self.map[number] = {"number": str(number), PATH: str(path)}
        return {path: known[str(path)] for path in paths}

    def paths(self) -> list[Path]:
        """All of them, the first one's number is 1."""
        return [Path(row[PATH]) for row in self.map.values()]

    def row(self, number: int) -> Row | None:
        """What became of a film."""
        return _parsed(self.lines[number]) if number in self.lines else None

    def enter(self, row: Row) -> None:
        """What became of a film, not yet in the files."""
        number = int(row["number"])
        self.lines[number] = _line(row)
        self.map[number] |= {"pixel_hash": row["pixel_hash"], "folder": row["folder"]}
        self.unwritten = True

    def take(self, row: Row) -> None:
        """Enters what became of a film and keeps it, also for who goes on after a kill.

        Refusal where a file cannot be replaced now: one of the next tries again.
        """
        self.enter(row)
        number, self.taken = int(row["number"]), self.taken + 1
        if self.taken % max(len(self.map) // PARTS, 1) == 0:
            try:
                self.write()
            except Refusal:
                self._note(number)
                raise
        else:
            self._note(number)

    def write(self) -> None:
        """Replaces both files; Refusal where that cannot be."""
        _write(self.out / MAP, MAP_COLUMNS, (_line(row, MAP_COLUMNS) for row in self.map.values()))
        _write(self.out / SUMMARY, SUMMARY_COLUMNS, (self.lines[number] for number in sorted(self.lines)))
        (self.out / NOTED).unlink(missing_ok=True)
        self.unwritten = False

    def _note(self, number: int) -> None:
        """Keeps a line that the summary lacks."""
        try:
            noted = self.out / NOTED
            with noted.open("a", encoding=ENCODING, errors="surrogateescape", newline="") as file:
                if file.tell() == 0:
                    file.write(_joined(SUMMARY_COLUMNS))
                file.write(self.lines[number])
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise Refusal(f"The output cannot be written ({error.strerror or error}): make room.") from error


class Notes:
    """Lines of films that are done, from the moment that their folders are there until the record has them.

    A process that ends in between, or its machine, has done its film all the same, and nobody does it again.
    """

    def __init__(self, out: Path) -> None:
        self._folder = out / ".done"

    def write(self, row: Row) -> None:
        self._folder.mkdir(exist_ok=True)
        write_text(self._folder / row["number"], json.dumps(row))

    def read(self, number: int) -> Row | None:
        try:
            return json.loads((self._folder / str(number)).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def remove(self, number: int) -> None:
        """Of a film that the record has."""
        (self._folder / str(number)).unlink(missing_ok=True)

    def close(self) -> None:
        """Lines of films whose processes were stopped before they could tell stay for who goes on."""
        with suppress(OSError):
            self._folder.rmdir()


def read_record(out: Path) -> Record:
    """What an output says of itself; nothing where it is new."""
    of_map, summary = _read(out / MAP, MAP_COLUMNS), _read(out / SUMMARY, SUMMARY_COLUMNS)
    if list(of_map) != list(range(1, len(of_map) + 1)):
        raise Refusal(f"{MAP} in the output is not as a batch wrote it: choose another output.")
    record = Record(out, of_map, {number: _line(row) for number, row in summary.items()})
    for number, row in _read(out / NOTED, SUMMARY_COLUMNS).items():
        if number in of_map:
            record.enter(row)
    return record


def _read(path: Path, columns: Sequence[str]) -> dict[int, Row]:
    """The lines of a file by their number; none where there is no file."""
    try:
        with path.open(encoding=ENCODING, errors="surrogateescape", newline="") as file:
            text = file.read()
        if path.name == NOTED:  # whose last line may have been cut off
            text = text[: text.rfind(LINE_END) + len(LINE_END)]
        rows = [
            {column: (row.get(column) if column in SINCE else row[column]) or "" for column in columns}
            for row in csv.DictReader(io.StringIO(text, newline=""))
        ]
        return {int(row["number"]): row for row in rows}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise Refusal(f"{path.name} in the output is not as a batch wrote it: choose another output.") from error


def _write(path: Path, columns: Sequence[str], lines: Iterable[str]) -> None:
    """Replaces a file at once, so that a reader finds the old one or the new one."""

    def write(beside: Path) -> None:
        # names that are no text are kept as they are; the mark tells spreadsheets that it is UTF-8
        with beside.open("w", encoding=ENCODING, errors="surrogateescape", newline="") as file:
            file.write(_joined(columns))
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())

    write_file(path, write)


def _joined(cells: Iterable[str]) -> str:
    """A line of a file."""
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator=LINE_END).writerow(cells)
    return line.getvalue()


def _line(row: Row, columns: Sequence[str] = SUMMARY_COLUMNS) -> str:
    return _joined(row.get(column, "") for column in columns)


def _parsed(line: str) -> Row:
    return dict(zip(SUMMARY_COLUMNS, next(csv.reader([line])), strict=True))


def summary_of(reconstruction: Reconstruction) -> Row:
    """What a summary says of a reconstruction."""
    bones = reconstruction.bones
    row = {
        "warnings": str(len(reconstruction.warnings)),
        "completed": str(sum(bone.completed is not None for bone in bones.values())),
    }
    for bone in BONES:
        row[bone] = NOT_FOUND if bone not in bones else "seen" if bones[bone].completed is None else "completed"
    for bone, verdict in reconstruction.verdicts.items():
        row[f"{bone}_verdict"] = verdict.grade
    row["reasons"] = "; ".join(
        f"{bone_words(bone)}: {reason.text}"
        for bone, verdict in reconstruction.verdicts.items()
        for reason in verdict.reasons
    )
    for bone, name, column in MEASURED:
        measurements: Mapping[str, Measurement] = reconstruction.measurements
        if bone:
            measurements = bones[bone].measurements if bone in bones else {}
        if (measurement := measurements.get(name)) is not None:
            row[column] = f"{measurement.value:.4g}"
            row[f"{column}_std"] = "" if measurement.std is None else f"{measurement.std:.3g}"
    return row
