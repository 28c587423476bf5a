"""What a batch has done: two CSV files in its output, sound whenever it is cut off.

`summary.csv` has a line a film, by number and pixel hash. `map.csv` is the only file that says which path a number
stands for; paths may name patients.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.disk.files import write_file
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.measurements import Measurement
from DualFaceReconLib.outcome import Reconstruction

NOT_FOUND = "not found"  # of a bone; else "seen" or "completed"
SUMMARY, MAP = "summary.csv", "map.csv"
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
SUMMARY_COLUMNS = (
    *("number", "pixel_hash", "folder", "status", "reason", "warnings", "completed", *BONES, "seconds"),
    *(heading for _, _, column in MEASURED for heading in (column, f"{column}_std")),
    "settings",  # a digest of the bundle and of what was asked: a film is done when it was done with these
    "read",  # a digest of how the film was taken, as it was read; empty in older summaries
)

Row = dict[str, str]


@dataclass(frozen=True)
class Record:
    """Both files of an output, by the films' numbers."""

    out: Path
    map: dict[int, Row]
    summary: dict[int, Row]

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

    def take(self, row: Row) -> None:
        """Enters what became of a film."""
        number = int(row["number"])
        self.summary[number] = row
        self.map[number] |= {"pixel_hash": row["pixel_hash"], "folder": row["folder"]}

    def write(self) -> None:
        """Replaces both files; Refusal where that cannot be."""
        _write(self.out / MAP, MAP_COLUMNS, self.map.values())
        _write(self.out / SUMMARY, SUMMARY_COLUMNS, [self.summary[number] for number in sorted(self.summary)])


def read_record(out: Path) -> Record:
    """What an output says of itself; nothing where it is new."""
    record = Record(out, _read(out / MAP, MAP_COLUMNS), _read(out / SUMMARY, SUMMARY_COLUMNS))
    if list(record.map) != list(range(1, len(record.map) + 1)):
        raise Refusal(f"{MAP} in the output is not as a batch wrote it: choose another output.")
    return record


def _read(path: Path, columns: Sequence[str]) -> dict[int, Row]:
    """The lines of a file by their number; none where there is no file."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = [
                {column: (row.get(column) if column == "read" else row[column]) or "" for column in columns}
                for row in csv.DictReader(file)
            ]
        return {int(row["number"]): row for row in rows}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise Refusal(f"{path.name} in the output is not as a batch wrote it: choose another output.") from error


def _write(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    """Replaces a file at once, so that a reader finds the old one or the new one."""

    def write(beside: Path) -> None:
        # names that are no text are kept as they are; the mark tells spreadsheets that it is UTF-8
        with beside.open("w", encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
            file.flush()
            os.fsync(file.fileno())

    write_file(path, write)


def summary_of(reconstruction: Reconstruction) -> Row:
    """What a summary says of a reconstruction."""
    bones = reconstruction.bones
    row = {
        "warnings": str(len(reconstruction.warnings)),
        "completed": str(sum(bone.completed is not None for bone in bones.values())),
    }
    for bone in BONES:
        row[bone] = NOT_FOUND if bone not in bones else "seen" if bones[bone].completed is None else "completed"
    for bone, name, column in MEASURED:
        measurements: Mapping[str, Measurement] = reconstruction.measurements
        if bone:
            measurements = bones[bone].measurements if bone in bones else {}
        if (measurement := measurements.get(name)) is not None:
            row[column] = f"{measurement.value:.4g}"
            row[f"{column}_std"] = "" if measurement.std is None else f"{measurement.std:.3g}"
    return row
