"""`python -m training letters FILMS`: how well R and L are read in simulated films, whose lead letters are known.

Every film is read as it is and mirrored. A station's own labels R and L stand anywhere: they are no misreading, but
where they stand on the wrong side they contradict it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.letters import SideLetter, side_letters
from DualFaceReconLib.film.radiograph import Radiograph, read_radiograph
from DualFaceReconLib.film.sides import letter_warnings
from training.cases import cases_in

WAYS = {"as taken": False, "mirrored": True}
COLUMNS = ("n", "with a lead letter", "it was read", "misread", "warned of the sides", "by a label alone")


@dataclass(frozen=True)
class Reading:
    """What was read in one film."""

    letters: tuple[SideLetter, ...]
    lead: str  # the true letter, or ""
    labels: frozenset[str]  # R and L among a station's labels
    mirrored: bool
    cols: tuple[int, int]  # of the exposed field
    width_mm: float

    def counts(self) -> tuple[bool, ...]:
        """As `COLUMNS` has them."""
        right = [letter for letter in self.letters if letter.mirrored == self.mirrored]
        of_lead = [letter for letter in self.letters if letter.letter not in self.labels - {self.lead}]
        warned = self._warned(self.letters)
        return (
            True,
            self.lead != "",
            self.lead in {letter.letter for letter in right},
            len(right) < len(self.letters) or any(letter.letter not in {self.lead, *self.labels} for letter in right),
            warned,
            warned and not self._warned(of_lead),
        )

    def _warned(self, letters: tuple[SideLetter, ...] | list[SideLetter]) -> bool:
        return bool(letter_warnings(letters, self.cols, self.width_mm))


def letters_table(films: Path) -> str:
    """A row for each folder of films in a folder, and way round."""
    sets = {folder.name: cases_in(folder) for folder in sorted(films.iterdir()) if folder.is_dir()}
    sets = {name: cases for name, cases in sets.items() if cases}
    if not sets:
        raise Refusal(f"There are no films in {films}: make them with `training simulate`.")
    lines = [f"| films | way round | {' | '.join(COLUMNS)} |", "|---" * (2 + len(COLUMNS)) + "|"]
    for name, cases in sets.items():
        readings: dict[str, list[Reading]] = {way: [] for way in WAYS}
        for case in cases:
            metadata = json.loads((case / "case.json").read_text(encoding="utf-8"))["film"]
            film = read_radiograph(case / "radiograph.dcm")
            for way, mirrored in WAYS.items():
                readings[way].append(_read(film, mirrored, metadata))
        for way, read in readings.items():
            sums = (sum(column) for column in zip(*(reading.counts() for reading in read), strict=True))
            lines.append(f"| {name} | {way} | {' | '.join(map(str, sums))} |")
    return "\n".join(lines)


def _read(film: Radiograph, mirrored: bool, metadata: dict) -> Reading:
    geometry, field = film.geometry, film.exposed_field[1]
    first, last = field.start, field.stop - 1
    end = geometry.size_px[1] - 1
    bones_mm = geometry.sdd_mm - geometry.object_distance_mm
    return Reading(
        letters=side_letters(film.pixels[:, ::-1]) if mirrored else film.side_letters,
        lead=metadata["letter"],
        labels=frozenset({"R", "L"} & set(metadata["labels"])),
        mirrored=mirrored,
        cols=(end - last, end - first) if mirrored else (first, last),
        width_mm=(last - first + 1) * geometry.pixel_size_at(bones_mm)[1],
    )
