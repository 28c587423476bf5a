"""What is frozen of the films by which everything is judged, and whether films that were made again are those.

    for difference in differences("wide", folders, read_frozen()):
        print(difference)

`recipes/judging.csv` has a row for every film: how it was taken, where each bone lies and how far it spreads, and how
grey the film is. Values are kept and not a digest of them, as another machine's arithmetic moves bones by a
hundred-thousandth of a millimetre, which is enough to round one of ten thousand values the other way.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.film.radiograph import read_radiograph
from training.cases import Case, read_case

FROZEN = Path(__file__).parents[1] / "recipes" / "judging.csv"
TRUTH_TOLERANCE = 0.002  # mm or pixels; values are kept to 0.001
GREY_TOLERANCE = 0.003  # of the film's grey range
TRUTH_DIGITS, GREY_DIGITS = 3, 4
GREY = ("grey mean", "grey spread")

Values = dict[str, float]


def values_of(folder: Path) -> Values:
    """A case's values by name: mm, pixels, and shares of the film's grey range; 1 where the source is in front."""
    case = read_case(folder)
    truth = {name: round(value, TRUTH_DIGITS) for name, value in _truth(case).items()}
    pixels = read_radiograph(case.radiograph).pixels
    shares = (pixels - pixels.min()) / np.ptp(pixels)
    grey = zip(GREY, (float(shares.mean()), float(shares.std())), strict=True)
    return truth | {name: round(value, GREY_DIGITS) for name, value in grey}


def _truth(case: Case) -> Values:
    values = {"front": float(case.geometry.view == "AP")}
    for name, value in case.geometry.to_dict().items():
        if name in ("provenance", "view"):
            continue
        parts = np.ravel(value)
        values |= {f"{name} {number}" if len(parts) > 1 else name: float(part) for number, part in enumerate(parts)}
    for bone, (vertices, _) in case.meshes.items():
        for axis, along in zip("RAS", vertices.T, strict=True):
            values |= {f"{bone} {axis}": float(along.mean()), f"{bone} {axis} spread": float(along.std())}
    return values


def read_frozen(path: Path = FROZEN) -> dict[str, dict[str, Values]]:
    """Set -> film -> values."""
    frozen: dict[str, dict[str, Values]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            which, film = row.pop("set"), row.pop("film")
            values = {name: float(value) for name, value in row.items() if value}
            frozen.setdefault(which, {})[film] = values
    return frozen


def freeze(which: str, folders: Sequence[Path], path: Path = FROZEN) -> None:
    """Writes the values of a set's films in place of those that were there: once, when the set is new."""
    frozen = read_frozen(path) if path.exists() else {}
    write_frozen(frozen | {which: {folder.name: values_of(folder) for folder in folders}}, path)


def write_frozen(frozen: Mapping[str, Mapping[str, Values]], path: Path) -> None:
    """The inverse of `read_frozen`."""
    rows = [{"set": which, "film": film, **values} for which, films in frozen.items() for film, values in films.items()]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def differences(
    which: str, folders: Sequence[Path], frozen: Mapping[str, Mapping[str, Values]], grey_too: bool = True
) -> list[str]:
    """How a set's films differ from the frozen ones, a sentence each for what is true of them and for their grey."""
    kept, made = frozen.get(which, {}), {folder.name: values_of(folder) for folder in folders}
    said = []
    if missing := sorted(kept.keys() - made.keys()):
        said.append(f"{len(missing)} of the frozen films are missing, {missing[0]} for one")
    truth_apart, grey_apart = [], []
    for film, values in made.items():
        other = kept.get(film, {})
        names = {name for name in values.keys() | other.keys() if not _alike(name, values, other)}
        truth_apart += [f"{film} ({name})" for name in sorted(names - set(GREY))[:1]]
        grey_apart += [film] if names & set(GREY) else []
    if truth_apart:
        said.append(f"the truth of {len(truth_apart)} films is not the frozen one, of {truth_apart[0]} for one")
    if grey_apart and grey_too:
        said.append(f"the grey values of {len(grey_apart)} films are not the frozen ones, of {grey_apart[0]} for one")
    return said


def _alike(name: str, values: Values, frozen: Values) -> bool:
    tolerance = GREY_TOLERANCE if name in GREY else TRUTH_TOLERANCE
    return name in values and name in frozen and abs(values[name] - frozen[name]) <= tolerance
