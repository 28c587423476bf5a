"""Which files of a folder are films, and what a table says of each.

The table is a CSV with a column `file` (its path in the folder) and any of `COLUMNS`; an empty cell leaves what is said
of all films.
"""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from DualFaceReconLib.bundle.sealed import DEVICES
from DualFaceReconLib.document import DOCUMENT
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.acquisition import Overrides
from DualFaceReconLib.film.lengths import PLACES, Length
from DualFaceReconLib.film.markers import Marker, with_marker
from DualFaceReconLib.film.radiograph import HEAD_BYTES, Radiograph, kind_by_head, read_radiograph

IMAGE_SUFFIXES = (".dcm", ".dicom", ".nrrd", ".mha", ".nii.gz", ".nii", ".png", ".jpg", ".jpeg", ".tif", ".tiff")
UNFINISHED = (".part", ".partial", ".crdownload", ".tmp")
MEDIA_DIRECTORY = b"1.2.840.10008.1.3.10"  # the class of a DICOMDIR, which lists films and is none
LARGEST_TABLE_BYTES = 1 << 24
LONGEST_NAME = 60


@dataclass(frozen=True)
class FilmFile:
    """A file that may be a film, and what the user says of it."""

    path: Path  # absolute
    overrides: Overrides
    marker: Marker | None = None

    def read(self) -> Radiograph:
        """The film as the user says that it was taken; Refusal where it is none."""
        radiograph = read_radiograph(self.path, **vars(self.overrides))
        return radiograph if self.marker is None else with_marker(radiograph, self.marker)

    def options(self) -> dict[str, Any]:
        """What the user says of it, for JSON."""
        values = asdict(self.overrides)
        for later in ("field_px", "length"):  # so that what was done before these could be said stays done
            if values[later] is None:
                del values[later]
        return {**values, "marker": None if self.marker is None else asdict(self.marker)}


@dataclass(frozen=True)
class FilmFolder:
    """What lies in a folder."""

    films: tuple[FilmFile, ...]  # in the order of their paths
    other_files: int  # that are no images
    closed_folders: int  # that could not be opened


def films_in(folder: Path, overrides: Overrides, table: Path | None, leave_out: Path) -> FilmFolder:
    """All films of a folder and the folders in it, but not in `leave_out`; Refusal where there is none.

    Hidden files, unfinished downloads, DICOMDIRs, reconstructions and what is no image are counted and left alone;
    links to folders are not followed. A file that calls itself an image is taken for one, so that it is not lost.
    """
    if not folder.is_dir():
        raise Refusal("There is no such folder of films: name the folder that holds them.")
    closed: list[OSError] = []
    paths, others = [], 0
    for path in _files(folder, leave_out, closed.append):
        if _may_be_film(path):
            paths.append(path)
        else:
            others += 1
    films = [FilmFile(path, overrides) for path in paths]
    if table is not None:
        in_table = read_table(table, folder, overrides)
        by_key = {_key(film.path): n for n, film in enumerate(films)}
        for key, (name, film) in in_table.items():
            if key not in by_key:
                there = "is no film that is read here" if film.path.exists() else "is not there"
                raise Refusal(f"{table.name} names {name}, which {there}: give paths as they are in the films' folder.")
            films[by_key[key]] = replace(film, path=films[by_key[key]].path)
    if not films:
        raise Refusal(f"There is no film in this folder ({others} other files): name the folder that holds them.")
    return FilmFolder(tuple(films), others, len(closed))


def read_table(table: Path, folder: Path, overrides: Overrides) -> dict[str, tuple[str, FilmFile]]:
    """What a table says of films: by key the file as the table names it, and the film."""
    rows = _rows(table)
    films: dict[str, tuple[str, FilmFile]] = {}
    for line, row in rows:
        name = row.pop("file")
        if not name:
            raise Refusal(f"Line {line} of {table.name} names no file: fill its first column.")
        path = folder / name.replace("\\", "/")
        key = _key(path)
        if key in films:
            raise Refusal(f"{table.name} names {name} twice: keep one of the lines.")
        try:
            values = {column: COLUMNS[column](cell) for column, cell in row.items() if cell}
        except ValueError as error:
            raise Refusal(f"Line {line} of {table.name} cannot be understood ({error}): correct it.") from error
        where = f"Line {line} of {table.name}"
        ball, field, length = (_together(values, columns, where) for columns in (MARKER, FIELD, LENGTH))
        if field:
            values["field_px"] = tuple(field[column] for column in FIELD)
        if length:
            numbers = {
                column if column == "length_mm" else column.removeprefix("length_"): length[column] for column in LENGTH
            }
            try:
                values["length"] = Length(**numbers)
            except Refusal as refusal:
                raise Refusal(f"{where}: {refusal.text}", refusal.code) from refusal
        marker = Marker(**{column.removeprefix("marker_"): ball[column] for column in MARKER}) if ball else None
        if marker is not None:
            values.setdefault("object_distance_mm", None)  # the film's own ball, whatever is said of all films
        films[key] = name, FilmFile(path, replace(overrides, **values), marker)
    return films


def folder_names(paths: list[Path]) -> list[str]:
    """A name each after the file's own, safe on every system and different from all others; those before stay."""
    taken = {"summary.csv", "map.csv"}
    names = []
    for number, path in enumerate(paths, 1):
        name = safe_name(path.name)
        if name.casefold() in taken:
            name = f"{name}-{number:04d}"
        while name.casefold() in taken:
            name += "-"
        taken.add(name.casefold())
        names.append(name)
    return names


def safe_name(file_name: str) -> str:
    """A file's name without its ending, as Windows and Excel bear it."""
    name = unicodedata.normalize("NFC", file_name)
    name = name[: len(name) - len(ending(name))]  # what follows another dot may be a part of a number
    name = "".join(letter if letter.isprintable() else "_" for letter in re.sub(r'[<>:"/\\|?*]', "_", name))
    name = name.lstrip(" .=+-@~")[:LONGEST_NAME].rstrip(" .")
    return f"_{name}" if not name or name.split(".")[0].strip().lower() in DEVICES else name


def ending(file_name: str) -> str:
    """By which a file calls itself an image; "" where it does not."""
    return next((suffix for suffix in IMAGE_SUFFIXES if file_name.lower().endswith(suffix)), "")


# The walk


def _files(folder: Path, leave_out: Path, closed: Callable[[OSError], None]) -> Iterator[Path]:
    """Every file, in the order of names; a folder is entered once, whatever leads to it."""
    entered = {os.path.realpath(leave_out)}
    for here, folders, files in os.walk(folder, onerror=closed):
        real = os.path.realpath(here)
        if real in entered or DOCUMENT in files:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here, name) for name in sorted(files))


def _may_be_film(path: Path) -> bool:
    name = path.name.lower()
    if name.startswith(".") or name.endswith(UNFINISHED) or not path.is_file():  # reading a pipe would wait for ever
        return False
    if name.endswith(IMAGE_SUFFIXES):
        return True
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return True  # its reader will say what is wrong
    return kind_by_head(head) is not None and MEDIA_DIRECTORY + b"\0" not in head


def _key(path: Path) -> str:
    """Of a file, the same however its path is written."""
    return unicodedata.normalize("NFC", os.path.normcase(os.path.normpath(path)).replace("\\", "/"))


def _together(values: dict[str, Any], columns: Sequence[str], line: str) -> dict[str, Any]:
    """Takes those columns out of a line's values; Refusal where only some of them are filled."""
    taken = {column: values.pop(column) for column in columns if column in values}
    if taken and len(taken) < len(columns):
        raise Refusal(f"{line} fills only a part of {', '.join(columns)}: fill all of them.")
    return taken


# The table's cells


def _number(cell: str) -> float:
    try:
        return float(cell.replace(",", "."))
    except ValueError as error:
        raise ValueError(f"{cell!a} is not a number") from error


def _place(cell: str) -> str:
    if cell.lower() not in PLACES:
        raise ValueError(f"a length is at {' or '.join(PLACES)}, not at {cell!a}")
    return cell.lower()


def _whole(cell: str) -> int:
    if not re.fullmatch(r"-?\d+", cell):
        raise ValueError(f"{cell!a} is not a whole number")
    return int(cell)


def _pitch(cell: str) -> float | tuple[float, float]:
    numbers = [_number(part) for part in cell.lower().split("x")]
    if len(numbers) > 2:
        raise ValueError(f"{cell!a} is no pixel pitch like 0.143 or 0.143x0.139")
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


def _boolean(cell: str) -> bool:
    answers = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if cell.lower() not in answers:
        raise ValueError(f"{cell!a} is neither yes nor no")
    return answers[cell.lower()]


def _view(cell: str) -> str:
    if cell.upper() not in ("AP", "PA"):
        raise ValueError(f"the view {cell!a} is neither AP nor PA")
    return cell.upper()


MARKER = ("marker_row", "marker_col", "marker_diameter_px", "marker_diameter_mm")
FIELD = ("field_top", "field_bottom", "field_left", "field_right")
LENGTH = ("length_first_row", "length_first_col", "length_last_row", "length_last_col", "length_mm", "length_at")
COLUMNS: Mapping[str, Callable[[str], Any]] = {
    "pixel_pitch_mm": _pitch,
    "sdd_mm": _number,
    "object_distance_mm": _number,
    "view": _view,
    "swap_sides": _boolean,
    "invert": _boolean,
    **dict.fromkeys(MARKER, _number),
    **dict.fromkeys(FIELD, _whole),
    **dict.fromkeys(LENGTH[:-1], _number),
    LENGTH[-1]: _place,
}


def _rows(table: Path) -> list[tuple[int, dict[str, str]]]:
    """Lines of a CSV with their numbers; columns are checked."""
    try:
        if table.stat().st_size > LARGEST_TABLE_BYTES:
            raise Refusal(f"{table.name} is far too long to be a table of films: choose another file.")
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise Refusal(f"{table.name} cannot be read: give a CSV file in UTF-8.") from error
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";" if first.count(";") > first.count(",") else ",")
    try:
        lines = [(reader.line_num, [cell.strip() for cell in line]) for line in reader]
    except csv.Error as error:
        raise Refusal(f"{table.name} is no CSV file ({error}): save it again as CSV.") from error
    columns = lines[0][1] if lines else []
    unknown = [column for column in columns if column not in ("file", *COLUMNS)]
    if unknown:
        raise Refusal(f"{table.name} has unknown columns ({', '.join(unknown)}): use file, {', '.join(COLUMNS)}.")
    if "file" not in columns or len(set(columns)) < len(columns):
        raise Refusal(f"{table.name} must have a column `file`, and each column once: write its first line anew.")
    rows = []
    for number, cells in lines[1:]:
        if len(cells) > len(columns) and any(cells[len(columns) :]):
            raise Refusal(f"Line {number} of {table.name} has more cells than the first line: correct it.")
        if any(cells):
            rows.append((number, dict(zip(columns, cells + [""] * len(columns), strict=False))))
    return rows
