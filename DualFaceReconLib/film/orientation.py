"""Which way up and which side left: how stored pixels become the displayed picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from DualFaceReconLib.geometry import ProjectionGeometry

FACING_VIEWER = "L\\F"  # columns grow towards the patient's left, rows towards the feet: as films are displayed
FACING_LEFT, FACING_RIGHT = "P\\F", "A\\F"  # of films from the side: which way the patient looks
SIDES_SWAPPED = "sides swapped"  # by the user


@dataclass(frozen=True, kw_only=True)
class Turn:
    """How stored pixels become the displayed picture: transposed first, then reversed."""

    transpose: bool = False
    reverse_rows: bool = False
    reverse_cols: bool = False

    def pixels(self, stored: np.ndarray) -> np.ndarray:
        """(rows, cols) turned; a view."""
        turned = stored.T if self.transpose else stored
        return turned[:: -1 if self.reverse_rows else 1, :: -1 if self.reverse_cols else 1]

    def geometry(self, stored: ProjectionGeometry) -> ProjectionGeometry:
        """The displayed picture's geometry by that of the stored pixels."""
        turned = stored.transposed() if self.transpose else stored
        return turned.flipped(rows=self.reverse_rows, cols=self.reverse_cols)

    def box(self, stored: tuple[int, int, int, int], size_px: tuple[int, int]) -> tuple[int, int, int, int]:
        """First row, last row, first col, last col; `size_px` is the turned picture's."""
        first_row, last_row, first_col, last_col = (stored[i] for i in ((2, 3, 0, 1) if self.transpose else range(4)))
        if self.reverse_rows:
            first_row, last_row = size_px[0] - 1 - last_row, size_px[0] - 1 - first_row
        if self.reverse_cols:
            first_col, last_col = size_px[1] - 1 - last_col, size_px[1] - 1 - first_col
        return first_row, last_row, first_col, last_col


def turn_for(orientation: str) -> Turn:
    """The turn that brings a picture whose columns and rows grow towards e.g. "R\\F" to "L\\F".

    One from the side is only set upright.
    """
    cols_to, rows_to = orientation.split("\\")
    if cols_to in "HF":
        return Turn(transpose=True, reverse_rows=cols_to == "H", reverse_cols=rows_to == "R")
    return Turn(transpose=False, reverse_rows=rows_to == "H", reverse_cols=cols_to == "R")
