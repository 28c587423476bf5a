"""The panel's first part: which film, how it was taken, what had to be assumed, and what the user knows better."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.worker.protocol import Open
from DualFaceReconPanel import words
from DualFaceReconPanel.film_source import FilmSource, source_of_file, source_of_node
from DualFaceReconPanel.marked_length import MarkedLength
from DualFaceReconPanel.widgets import amber, amber_text, explained, fit_columns, set_row

SURE = ("header", "user", "derived")  # kinds of provenance that need no amber
SIDES_CONTRADICTED = ("side-letter-mirrored", "side-letter-contradicts")  # codes of the engine's warnings
VIEWS = (None, "AP", "PA")  # as the view's combo box has them
LENGTH_AT = (None, "bones", "detector")  # as the marked line's has them; None: a ball
PREVIEW_PX = (210, 260)  # width and height, so that the panel does not jump from film to film


@dataclass(frozen=True)
class OpenedFilm:
    """A film that the engine has open."""

    source: FilmSource
    request: Open
    answer: Mapping[str, Any]  # the engine's
    worker: int  # its number: another one does not have the film


class FilmSection:
    """Says what is to be opened, and shows what came of it."""

    def __init__(self, ui: Any, changed: Callable[[], None], folder: Path) -> None:
        """`changed` is called when another film, or other values, are to be opened; `folder` is for pixels."""
        self.ui, self.changed, self.folder = ui, changed, folder
        self.marked = MarkedLength(changed)
        self._film = ""  # the last one that was chosen, to which belongs what the user gave
        self._opened: OpenedFilm | None = None
        ui.viewChooser.clear()
        for text in (_("as the file says"), "AP", "PA"):
            ui.viewChooser.addItem(text)
        ui.markedChooser.clear()
        for text in (_("a ball"), _("a length at the bones"), _("a length at the detector")):
            ui.markedChooser.addItem(text)
        ui.geometryTable.setColumnCount(3)
        ui.geometryTable.setHorizontalHeaderLabels([_("Value"), _("Is"), _("From")])
        fit_columns(ui.geometryTable, 1)
        ui.filmPath.connect("currentPathChanged(QString)", self._on_path)
        ui.filmSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._on_node)
        for box in (ui.pixelPitch, ui.sourceDistance, ui.objectDistance, ui.markedLength):
            box.connect("valueChanged(double)", self._on_value)
        ui.swapSides.connect("toggled(bool)", self._on_swapped)
        ui.invert.connect("toggled(bool)", self._on_value)
        ui.viewChooser.connect("currentIndexChanged(int)", self._on_value)
        ui.markedChooser.connect("currentIndexChanged(int)", self._on_value)
        ui.exposedField.connect("editingFinished()", self._on_value)
        ui.markButton.connect("clicked(bool)", self._on_mark)
        ui.clearMarkButton.connect("clicked(bool)", self._on_clear_mark)
        self.show_nothing()

    def source(self) -> FilmSource | None:
        """What is chosen: a file before a volume; None where nothing is."""
        if path := self.ui.filmPath.currentPath:
            return source_of_file(path)
        node = self.ui.filmSelector.currentNode()
        return None if node is None else source_of_node(node, self.folder)

    def request(self, source: FilmSource, opened: OpenedFilm | None) -> Open:
        """What the engine is asked; what was marked counts where this film was open before."""
        ui = self.ui
        overrides: dict[str, Any] = {
            "pixel_pitch_mm": ui.pixelPitch.value or None,
            "sdd_mm": ui.sourceDistance.value or None,
            "object_distance_mm": ui.objectDistance.value or None,
            "view": VIEWS[ui.viewChooser.currentIndex],
            "swap_sides": bool(ui.swapSides.checked),
            "invert": bool(ui.invert.checked),
            "length": None,
            "field_px": field_of_text(ui.exposedField.text),
        }
        marker = None
        if opened is not None and opened.source.path == source.path:
            at, length_mm = LENGTH_AT[ui.markedChooser.currentIndex], float(ui.markedLength.value)
            if at is None:
                marker = self.marked.marker(length_mm)
            else:
                overrides["length"] = self.marked.length(length_mm, at)
        return Open(str(source.path), overrides=overrides, marker=marker)

    def show(self, opened: OpenedFilm) -> None:
        """A film that was opened."""
        self._opened, answer = opened, opened.answer
        pixmap = qt.QPixmap(answer["preview"]["path"])
        self.ui.preview.setPixmap(pixmap.scaled(*PREVIEW_PX, qt.Qt.KeepAspectRatio, qt.Qt.SmoothTransformation))
        assumed = answer["values"]["orientation"]["kind"] not in SURE
        contradicted = any(warning["code"] in SIDES_CONTRADICTED for warning in answer["warnings"])
        doubted = assumed or contradicted
        for label, side in ((self.ui.leftOfPicture, "R"), (self.ui.rightOfPicture, "L")):
            label.text = f"{side}?" if doubted else side
            label.styleSheet = f"font-size: 24pt; font-weight: bold; {f'color: {amber()};' if doubted else ''}"
        if contradicted:
            self.ui.sidesLabel.text = amber_text(
                _("A letter in the film says other: are right and left exchanged? See the warning below.")
            )
        elif assumed:
            self.ui.sidesLabel.text = _(
                "Assumed: the file does not say which side is which. Check a lead letter or the name plate."
            )
        else:
            self.ui.sidesLabel.text = _("Patient's right is on the left of the picture.")
        self._show_values(answer["values"])
        self.ui.markButton.enabled = True
        self.ui.filmWarnings.text = "<br>".join(amber_text(warning["text"]) for warning in answer["warnings"])
        self.ui.filmWarnings.visible = bool(answer["warnings"])

    def show_refusal(self, text: str) -> None:
        """Why a film cannot be used."""
        self.show_nothing()
        self.ui.filmWarnings.text = amber_text(text)
        self.ui.filmWarnings.visible = True

    def show_nothing(self) -> None:
        """No film."""
        self._opened = None
        self.ui.preview.clear()
        self.ui.markButton.enabled = False
        self.ui.geometryTable.setRowCount(0)
        for label in (self.ui.leftOfPicture, self.ui.rightOfPicture, self.ui.sidesLabel, self.ui.filmWarnings):
            label.text = ""
        self.ui.filmWarnings.visible = False

    def source_is_gone(self, source: FilmSource) -> bool:
        """Whether a volume has left the scene."""
        return bool(source.node_id) and slicer.mrmlScene.GetNodeByID(source.node_id) is None

    def close(self) -> None:
        """Lets go of the scene."""
        self.marked.clear()
        self._film = ""

    def _show_values(self, values: Mapping[str, Mapping[str, Any]]) -> None:
        table = self.ui.geometryTable
        table.setRowCount(len(values))
        names, kinds = words.values(), words.provenance()
        for row, (name, value) in enumerate(values.items()):
            colour = None if value["kind"] in SURE else amber()
            tooltip = html.escape(f"{value['source']}; affects {value['affects']}")
            kind = kinds.get(value["kind"], value["kind"])
            set_row(table, row, (names.get(name, name), value["text"], kind), tooltip, colour)

    def _on_path(self, path: str) -> None:
        if path:
            self.ui.filmSelector.setCurrentNode(None)
        self._chosen(path)

    def _on_node(self, node: Any) -> None:
        if node is not None:
            self.ui.filmPath.currentPath = ""
        self._chosen("" if node is None else node.GetID())

    def _chosen(self, film: str) -> None:
        """Another film, or none: what the user gave belongs to the one before, and goes when another takes its place.

        A pitch, a distance or exchanged sides that stay would silently make wrong bones of the next patient's film.
        """
        if film and self._film and film != self._film and self._forget_given():
            text = _("The values that you gave were of the other film: they are reset to what this film's file says.")
            slicer.util.showStatusMessage(text, 5000)
        self._film = film or self._film
        self.marked.clear()
        self.changed()

    def _forget_given(self) -> bool:
        """Sets everything back to what the file says; whether anything was given."""
        ui = self.ui
        given = False
        for box in (ui.pixelPitch, ui.sourceDistance, ui.objectDistance, ui.markedLength):
            given |= box.value > 0
            box.value = 0.0
        for check in (ui.swapSides, ui.invert):
            given |= bool(check.checked)
            check.checked = False
        given |= ui.viewChooser.currentIndex > 0
        given |= bool(ui.exposedField.text)
        ui.viewChooser.currentIndex = ui.markedChooser.currentIndex = 0
        ui.exposedField.text = ""
        return given

    def _on_swapped(self, _swapped: bool) -> None:
        self.marked.clear()  # the picture is mirrored
        self.changed()

    def _on_value(self, _value: object = None) -> None:
        self.changed()

    def _on_mark(self, _clicked: bool = False) -> None:
        with explained(_("The film cannot be marked.")):
            if self.ui.markedLength.value <= 0:
                raise Refusal(_("Give the ball's diameter, or the known length, in millimetres first."))
            if self._opened is not None:
                self.marked.place(self._opened.answer)

    def _on_clear_mark(self, _clicked: bool = False) -> None:
        self.marked.clear()
        self.changed()


def field_of_text(text: str) -> list[int] | None:
    """The exposed field as it is written, "66 1023 0 851"; None where nothing is."""
    numbers = text.replace(",", " ").split()
    if not numbers:
        return None
    if len(numbers) != 4 or not all(number.isdecimal() for number in numbers):
        raise Refusal(_("The exposed field is four whole numbers: first and last row, first and last column."))
    return [int(number) for number in numbers]
