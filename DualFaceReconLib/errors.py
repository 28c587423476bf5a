"""Errors that are meant for the user, and sentences that several readers raise."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class Refusal(Exception):
    """One sentence for the user: what is wrong and what to do. The command line prints it and exits with code 2.

    `code` is short and stable, for programs, and so are `values`, which are plain ones.
    """

    def __init__(self, text: str, code: str = "refused", **values: Any) -> None:
        super().__init__(text)
        self.code, self.values = code, values


NOT_NUMBERS = "The picture holds values that are not numbers (NaN or infinite): export it again."
NO_SPACE = "There is no space left for temporary files: make room and try again."


def meant(name: str, names: Iterable[str]) -> str:
    """The end of a refusal's sentence about an unknown name: the right name that is near, or all of them."""
    names = list(names)
    near = get_close_matches(name, names, 1)
    return f"did you mean {near[0]!r}?" if near else f"it is one of {', '.join(names)}."


class Cancelled(Exception):
    """The caller wanted no more."""
