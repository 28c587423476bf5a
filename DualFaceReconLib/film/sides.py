"""What the letters R and L in a film say of its sides: a warning where they contradict how it is displayed.

The picture is never turned by them: a letter may have been laid wrongly, or read wrongly.
"""

from __future__ import annotations

from collections.abc import Sequence

from DualFaceReconLib.film.acquisition import RadiographWarning
from DualFaceReconLib.film.letters import SideLetter

MIRRORED, CONTRADICTING = "side-letter-mirrored", "side-letter-contradicts"  # codes
SIDES = {"R": "right", "L": "left"}
BOTH_HIPS_MM = 260.0  # wide at the bones; a narrower film may be of one hip, whose letter stands on either side of it
CLEARLY_BESIDE = 0.1  # of the field's width, from its middle


def sides_are_contradicted(warnings: Sequence[RadiographWarning]) -> bool:
    """Whether something in the film says that left and right may be exchanged."""
    return any(warning.code in (MIRRORED, CONTRADICTING) for warning in warnings)


def letter_warnings(letters: Sequence[SideLetter], cols: tuple[int, int], width_mm: float) -> list[RadiographWarning]:
    """What the letters of a displayed film say against its sides.

    `cols`: the first and the last of its exposed field, which is `width_mm` wide at the bones.
    """
    middle, width = (cols[0] + cols[1]) / 2, cols[1] - cols[0] + 1
    upright = [letter for letter in letters if not letter.mirrored]
    mirrored = [letter for letter in letters if letter.mirrored]
    if mirrored and not upright:
        return [_mirrored(mirrored[0])]
    if width_mm < BOTH_HIPS_MM:
        return []
    aside = {letter: (letter.col - middle) / width * (1 if letter.letter == "L" else -1) for letter in upright}
    wrong = [letter for letter, share in aside.items() if share < -CLEARLY_BESIDE]
    if not wrong or any(share > CLEARLY_BESIDE for share in aside.values()):
        return []
    return [_contradicting(wrong[0], f"on the side that is shown as the patient's {_other(wrong[0])}")]


def letters_against_bones(
    letters: Sequence[SideLetter], left_cols: Sequence[float], right_cols: Sequence[float]
) -> list[RadiographWarning]:
    """What letters say against the bones that were found of the left and the right, each by its middle column."""
    upright = [letter for letter in letters if not letter.mirrored]
    if not upright or len(upright) < len(letters) or len({letter.letter for letter in upright}) > 1:
        return []
    letter = upright[0]
    if not (left_cols and right_cols):
        if bool(left_cols) == (letter.letter == "L"):
            return []
        return [_contradicting(letter, f"and what was found are bones of the {_other(letter)} side alone")]
    left, right = (sum(cols) / len(cols) for cols in (left_cols, right_cols))
    share = (letter.col - (left + right) / 2) / max(left - right, 1.0) * (1 if letter.letter == "L" else -1)
    if share > -0.25:
        return []
    return [_contradicting(letter, f"beside the bones that are called {_other(letter)}")]


def _other(letter: SideLetter) -> str:
    return SIDES["L" if letter.letter == "R" else "R"]


def _contradicting(letter: SideLetter, where: str) -> RadiographWarning:
    return RadiographWarning(
        CONTRADICTING,
        f"The film itself says {letter.letter} (row {letter.row:.0f}, column {letter.col:.0f}), {where}: look at it, "
        "and say {swap_sides} if right and left are exchanged.",
        _values(letter),
    )


def _mirrored(letter: SideLetter) -> RadiographWarning:
    return RadiographWarning(
        MIRRORED,
        f"The letter {letter.letter} in the film (row {letter.row:.0f}, column {letter.col:.0f}) is mirrored, as in a "
        "picture that was stored mirrored: look at it, and say {swap_sides} if right and left are exchanged.",
        _values(letter),
    )


def _values(letter: SideLetter) -> dict[str, object]:
    return {"letter": letter.letter, "row": letter.row, "col": letter.col, "mirrored": letter.mirrored}
