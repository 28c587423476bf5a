"""Whether the files of several films name one patient; what they say is compared and kept nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.dicom_header import identity
from DualFaceReconLib.film.dicom_pixels import read_dataset
from DualFaceReconLib.film.radiograph import file_kind

# By what a refusal calls it
TAGS = {"patient ID": "PatientID", "birth date": "PatientBirthDate", "name": "PatientName"}


def refuse_different_patients(files: Sequence[Path]) -> list[int]:
    """Refusal where files name different patients; gives the numbers of those that name nobody, 1 is the first.

    Where two files have patient IDs and they agree, names may be spelt differently; birth dates may not differ.
    """
    written = [_written(Path(file)) for file in files]
    for number, own in enumerate(written, 1):
        for first, other in enumerate(written[: number - 1], 1):
            if differing := _differing(own, other):
                raise Refusal(
                    f"Film {first} and film {number} are of different patients by their {differing}: leave one of them "
                    "out, or, where you know that they are of one, say {different_ids}.",
                    "different-patients",
                    films=(first, number),
                )
    return [number for number, own in enumerate(written, 1) if not own]


def _written(file: Path) -> dict[str, str]:
    if not file.is_file() or file.suffix.lower() == ".npy" or file_kind(file) != "DICOM":
        return {}
    named = identity(read_dataset(file, False))
    written = {tag: named.get(tag, "").strip().casefold() for tag in TAGS.values()}
    name = TAGS["name"]  # is padded and parted in several ways
    written[name] = "".join(letter for letter in written[name] if letter.isalnum())
    return {tag: text for tag, text in written.items() if text}


def _differing(first: dict[str, str], second: dict[str, str]) -> str | None:
    """What says that they are of two patients; None where nothing does."""
    both = [words for words, tag in TAGS.items() if tag in first and tag in second]
    if "patient ID" in both and "name" in both:
        both.remove("name")
    return next((words for words in both if first[TAGS[words]] != second[TAGS[words]]), None)
