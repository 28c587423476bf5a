"""Reading single values of a DICOM header that nobody vouches for: what is unreadable counts as absent."""

from __future__ import annotations

import math
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from DualFaceReconLib.film.acquisition import Known
from DualFaceReconLib.geometry import Provenance


def values(ds: Dataset, keyword: str) -> list[Any]:
    """All values of an element; none where it is absent, empty or unreadable."""
    try:
        with pydicom.config.disable_value_validation():  # vendors stretch the rules; the reader checks what matters
            value = ds.get(keyword)
    except Exception:  # pydicom converts on access, and a damaged value can raise anything
        return []
    if value is None:
        return []
    return list(value) if isinstance(value, MultiValue | Sequence | list) else [value]


def items(ds: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence."""
    return [item for item in values(ds, keyword) if isinstance(item, Dataset)]


def text(ds: Dataset, keyword: str) -> str:
    """In capitals, several values joined by backslashes."""
    return "\\".join(str(v) for v in values(ds, keyword)).strip().upper()


def numbers(ds: Dataset, keyword: str) -> list[float]:
    """Finite numbers; none where any value is something else."""
    try:
        parsed = [float(value) for value in values(ds, keyword)]
    except (TypeError, ValueError, OverflowError):
        return []
    return parsed if all(map(math.isfinite, parsed)) else []


def number(ds: Dataset, keyword: str) -> float | None:
    """The one number of an element."""
    parsed = numbers(ds, keyword)
    return parsed[0] if len(parsed) == 1 else None


def integer(ds: Dataset, keyword: str) -> int | None:
    """The one whole number of an element."""
    value = number(ds, keyword)
    return None if value is None else int(value)


def number_known(ds: Dataset, keyword: str) -> Known | None:
    """The one number of an element, with its tag."""
    value = number(ds, keyword)
    return None if value is None else Known(value, from_tag(ds, keyword))


def pair_known(ds: Dataset, keyword: str) -> Known | None:
    """The two numbers of an element, with its tag."""
    pair = numbers(ds, keyword)
    return Known((pair[0], pair[1]), from_tag(ds, keyword)) if len(pair) == 2 else None


def from_tag(ds: Dataset, keyword: str) -> Provenance:
    """The provenance of a header value, e.g. "header: ImagerPixelSpacing (0018,1164)"."""
    tag = ds[keyword].tag
    return Provenance("header", f"{keyword} ({tag.group:04X},{tag.element:04X})")


def printable(value: str, longest: int = 32) -> str:
    """A header's text, safe for a terminal and a log."""
    return "".join(c for c in value if c.isprintable())[:longest]
