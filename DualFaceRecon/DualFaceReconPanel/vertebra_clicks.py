"""The clicks of a vertebra on two films, its centre and its body's corners, and the line on which the second centre is.

Every film stands in its own plane while it is clicked, as the marked length's does; one at a time is shown. No Qt here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from DualFaceReconLib.biplanar import FilmPair
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.scene import show_film
from DualFaceReconLib.vertebra.films import place_of
from DualFaceReconLib.vertebra.targets import Pixel, centre_of
from DualFaceReconPanel.film_volume import pixels_volume
from DualFaceReconPanel.marked_length import pixels_of

NAME = "DualFaceRecon.clicked"  # attribute of films, points and the line; a reopened scene has it
NODES = ("vtkMRMLMarkupsFiducialNode", "vtkMRMLMarkupsLineNode", "vtkMRMLScalarVolumeNode")
CENTRE, CORNERS = "centre", "corners"
POINTS = {CENTRE: 1, CORNERS: 4}  # of what is clicked


@dataclass(frozen=True)
class ClickedFilm:
    """A film that is clicked, and its point markups by what they are of."""

    geometry: ProjectionGeometry
    volume: Any
    markups: dict[str, Any] = field(default_factory=dict)

    def pixels(self, kind: str) -> tuple[Pixel, ...]:
        """[row, col] of what was clicked so far."""
        markup = self.markups.get(kind)
        places = [] if markup is None else defined_places(markup)
        if not places:
            return ()
        return tuple((float(row), float(col)) for row, col in pixels_of(np.array(places), self.geometry))

    def clicked(self, kind: str) -> tuple[Pixel, ...] | None:
        """[row, col] of all points of a kind; None while some are missing."""
        pixels = self.pixels(kind)
        return pixels if len(pixels) == POINTS[kind] else None


class VertebraClicks:
    """Both films of the engine's answer to `openpair`."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._films: list[ClickedFilm] = []
        self._pair: FilmPair | None = None  # None without a scale, too: nobody knows where rays run
        self._lateral_faces_right = False
        self._observed: list[tuple[Any, int]] = []
        self._line: Any = None

    def show(self, opened: Mapping[str, Any]) -> None:
        """Puts both films into the scene; clicks stay on their pixels, which are those of the same files."""
        clicked = [{kind: film.pixels(kind) for kind in film.markups} for film in self._films]
        self.clear()
        geometries = [ProjectionGeometry.from_dict(values) for values in opened["geometry"]]
        if opened["in_millimetres"]:
            self._pair = FilmPair(*map(place_of, geometries, opened["source_angles_degrees"]))
        self._lateral_faces_right = opened["lateral_faces"] == "right"
        for geometry, path, name in zip(
            geometries, opened["pixels"], (_("AP film to be clicked"), _("lateral film to be clicked")), strict=True
        ):
            volume = pixels_volume(np.load(Path(path), allow_pickle=False), geometry, name)
            volume.SetAttribute(NAME, "1")
            volume.SetHideFromEditors(True)  # nobody is to choose it for a film
            self._films.append(ClickedFilm(geometry, volume))
        for film, pixels_by_kind in zip(self._films, clicked, strict=False):
            for kind, pixels in pixels_by_kind.items():
                markup = self._markup(film, kind)
                for place in on_film(film.geometry, pixels):
                    markup.AddControlPoint(*place)

    def place(self, number: int, kind: str) -> None:
        """Shows a film, 0 or 1, on which the next clicks in the slice view put its centre or its corners."""
        film = self._films[number]
        show_film(film.volume)
        markup = self._markup(film, kind)
        markup.RemoveAllControlPoints()
        self._show_points(number)
        selection = slicer.mrmlScene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
        interaction = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
        if selection is not None and interaction is not None:
            selection.SetReferenceActivePlaceNodeClassName("vtkMRMLMarkupsFiducialNode")
            selection.SetActivePlaceNodeID(markup.GetID())
            if POINTS[kind] > 1:
                interaction.SwitchToPersistentPlaceMode()
            else:
                interaction.SwitchToSinglePlaceMode()

    @property
    def in_millimetres(self) -> bool:
        """Whether both films have a scale."""
        return self._pair is not None

    def clicked(self, kind: str) -> tuple[tuple[Pixel, ...] | None, tuple[Pixel, ...] | None]:
        """On both films."""
        if not self._films:
            return None, None
        return self._films[0].clicked(kind), self._films[1].clicked(kind)

    def begun(self) -> tuple[int, int] | None:
        """The number of a film that has some of its corners, and how many; None where none has too few."""
        for number, film in enumerate(self._films):
            if 0 < len(film.pixels(CORNERS)) < POINTS[CORNERS]:
                return number, len(film.pixels(CORNERS))
        return None

    def gap_mm(self) -> float | None:
        """How far the rays of both centres miss each other; None while that is not known."""
        centres = self._centre(0), self._centre(1)
        if self._pair is None or None in centres:
            return None
        try:
            return self._pair.meeting(*centres).gap_mm
        except ValueError:  # parallel rays
            return None

    def clear(self) -> None:
        """No films, no clicks, no line."""
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed, self._films, self._pair, self._line = [], [], None, None
        for kind in NODES:
            for index in reversed(range(slicer.mrmlScene.GetNumberOfNodesByClass(kind))):
                node = slicer.mrmlScene.GetNthNodeByClass(index, kind)
                if node.GetAttribute(NAME):
                    slicer.mrmlScene.RemoveNode(node)

    def _centre(self, number: int) -> Pixel | None:
        """As it was clicked, or by the corners; None without either."""
        if not self._films:
            return None
        film = self._films[number]
        centre, corners = film.clicked(CENTRE), film.clicked(CORNERS)
        if centre is None and corners is None:
            return None
        return centre[0] if centre is not None else centre_of(corners, number, self._lateral_faces_right)

    def _markup(self, film: ClickedFilm, kind: str) -> Any:
        """The points of a kind on a film, made where there are none yet."""
        if kind not in film.markups:
            name = _("vertebra") if kind == CENTRE else _("corners")
            markup = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
            markup.SetAttribute(NAME, "1")
            markup.SetMaximumNumberOfControlPoints(POINTS[kind])
            markup.CreateDefaultDisplayNodes()
            markup.GetDisplayNode().SetPointLabelsVisibility(False)
            for event in (markup.PointPositionDefinedEvent, markup.PointEndInteractionEvent):
                self._observed.append((markup, markup.AddObserver(event, self._on_clicked)))
            film.markups[kind] = markup
        return film.markups[kind]

    def _show_points(self, number: int) -> None:
        """Those of one film alone, and on the lateral where the AP's centre runs."""
        for other, film in enumerate(self._films):
            for markup in film.markups.values():
                markup.GetDisplayNode().SetVisibility(other == number)
        centre = self._centre(0)
        if self._line is not None:
            slicer.mrmlScene.RemoveNode(self._line)
            self._line = None
        if number == 1 and centre is not None and self._pair is not None:
            self._draw_line(self._pair.line_on_second(centre))

    def _draw_line(self, ends_px: Sequence[Sequence[float]]) -> None:
        line = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", _("where the vertebra lies"))
        line.SetAttribute(NAME, "1")
        line.CreateDefaultDisplayNodes()
        for place in on_film(self._films[1].geometry, ends_px):
            line.AddControlPoint(*place, "")
        line.SetLocked(True)
        line.GetDisplayNode().SetPropertiesLabelVisibility(False)
        self._line = line

    def _on_clicked(self, *_: object) -> None:
        interaction = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
        if interaction is not None and interaction.GetPlaceModePersistence() and self.begun() is None:
            interaction.SwitchToViewTransformMode()  # that was the last corner
            interaction.SetPlaceModePersistence(0)
        self._changed()


def on_film(geometry: ProjectionGeometry, pixels: Sequence[Sequence[float]]) -> list[list[float]]:
    """Places [R, A, S] of pixels [row, col] on a film as it stands in the scene."""
    places = np.asarray(pixels, dtype=float).reshape(-1, 2)
    return geometry.back_project(places, np.full(len(places), geometry.sdd_mm)).tolist()


def defined_places(markup: Any) -> list[Sequence[float]]:
    """Of the points that were clicked; one that still hangs on the mouse is none."""
    defined = [
        index
        for index in range(markup.GetNumberOfControlPoints())
        if markup.GetNthControlPointPositionStatus(index) == markup.PositionDefined
    ]
    return [markup.GetNthControlPointPositionWorld(index) for index in defined]
