"""Small things that every part of the panel uses: amber that can be read on any theme, rows of tables."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import qt
import slicer

from DualFaceReconLib.errors import Refusal, worded
from DualFaceReconPanel import words

AMBER_ON_LIGHT, AMBER_ON_DARK = "#9a5b00", "#ffb347"  # at least 5:1 on white and on dark grey


def amber() -> str:
    """The colour of what is assumed or to be minded, by the theme that Slicer has now: #rrggbb."""
    window = slicer.app.palette().color(qt.QPalette.Window)
    return AMBER_ON_DARK if window.lightness() < 128 else AMBER_ON_LIGHT


def amber_text(text: str) -> str:
    """Rich text in amber of a plain one, with this panel's names for what is to be set."""
    return f'<span style="color: {amber()};">{html.escape(worded(text, words.controls()))}</span>'


def set_row(table: Any, row: int, texts: Sequence[str], tooltip: str = "", colour: str | None = None) -> None:
    """Texts in a table's row that nobody edits."""
    for column, text in enumerate(texts):
        item = qt.QTableWidgetItem(text)
        item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
        item.setToolTip(tooltip)
        if colour is not None:
            item.setForeground(qt.QBrush(qt.QColor(colour)))
        table.setItem(row, column, item)


def fit_columns(table: Any, wide: int) -> None:
    """Every column as wide as its texts, but for one that takes what is left in a narrow panel."""
    header = table.horizontalHeader()
    for column in range(int(table.columnCount)):
        stretched = column == wide
        header.setSectionResizeMode(column, qt.QHeaderView.Stretch if stretched else qt.QHeaderView.ResizeToContents)


@contextmanager
def explained(failure: str) -> Iterator[None]:
    """Around what a slot does, whose exceptions would only be printed: a refusal is shown, a fault with `failure`."""
    try:
        yield
    except Refusal as refusal:
        slicer.util.warningDisplay(worded(refusal.text, words.controls()))
    except Exception as error:
        slicer.util.errorDisplay(failure, detailedText=f"{type(error).__name__}: {error}")
        raise


def ask(text: str, title: str) -> bool:
    """Whether the user agrees; nobody is asked where there is no main window."""
    return slicer.util.mainWindow() is not None and bool(slicer.util.confirmOkCancelDisplay(text, title))
