"""Errors that are meant for the user, and sentences that several readers raise.

A sentence names what its reader is to set in braces, `{sdd_mm}` or `{view=PA}`, as the terminal, the console and a
panel call it otherwise: `worded(text, words)`, with the words of `pictures/wording.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

CONSOLE = {  # what Python's functions call it; {} is the value
    "pixel_pitch_mm": "pixel_pitch_mm=",
    "sdd_mm": "sdd_mm=",
    "object_distance_mm": "object_distance_mm=",
    "view": 'view="{}"',
    "swap_sides": "swap_sides=True",
    "invert": "invert=True",
    "field_px": "field_px=",
    "overwrite": "overwrite=True",
    "different_ids": "different_ids=True",
    "bundles": "`dualface models list`",
    "fetch": "`dualface models fetch {}`",
}
CONTROL = re.compile(rf"\{{({'|'.join(CONSOLE)})(?:=([\w.-]+))?\}}")


def worded(text: str, words: Mapping[str, str]) -> str:
    """A sentence in which what is to be set is called by `words`, which are as CONSOLE."""
    return CONTROL.sub(lambda control: words[control[1]].replace("{}", control[2] or ""), text)


class Refusal(Exception):
    """One sentence for the user: what is wrong and what to do. The command line prints it and exits with code 2.

    `text` is the sentence with its controls in braces, `str()` that with the console's words. `code` is short and
    stable, for programs, and so are `values`, which are plain ones.
    """

    def __init__(self, text: str, code: str = "refused", **values: Any) -> None:
        super().__init__(text)
        self.text, self.code, self.values = text, code, values

    def __str__(self) -> str:
        return worded(self.text, CONSOLE)


NOT_NUMBERS = "The picture holds values that are not numbers (NaN or infinite): export it again."
NO_SPACE = "There is no space left for temporary files: make room and try again."


def meant(name: str, names: Iterable[str]) -> str:
    """The end of a refusal's sentence about an unknown name: the right name that is near, or all of them."""
    names = list(names)
    near = get_close_matches(name, names, 1)
    return f"did you mean {near[0]!r}?" if near else f"it is one of {', '.join(names)}."


class Cancelled(Exception):
    """The caller wanted no more."""
