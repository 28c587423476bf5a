"""The clicks of a vertebra on two films: one point markup each, and the line on which the second has to lie.

Every film stands in its own plane while it is clicked, as the marked length's does; one at a time is shown. No Qt here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from DualFaceReconLib.biplanar import FilmPair
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.scene import show_film
from DualFaceReconLib.vertebra.films import place_of
from DualFaceReconPanel.film_volume import pixels_volume
from DualFaceReconPanel.marked_length import pixels_of

NAME = "DualFaceRecon.clicked"  # attribute of films, points and the line; a reopened scene has it
KINDS = ("vtkMRMLMarkupsFiducialNode", "vtkMRMLMarkupsLineNode", "vtkMRMLScalarVolumeNode")


@dataclass
class ClickedFilm:
    """A film that is clicked, and its point."""

    geometry: ProjectionGeometry
    volume: Any
    point: Any

    @property
    def pixel(self) -> tuple[float, float] | None:
        """[row, col] of the click; None while there is none."""
        if self.point is None or self.point.GetNumberOfDefinedControlPoints() != 1:
            return None
        place = np.array([self.point.GetNthControlPointPositionWorld(0)])
        row, col = pixels_of(place, self.geometry)[0]
        return float(row), float(col)


class VertebraClicks:
    """Both films of the engine's answer to `openpair`."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._films: list[ClickedFilm] = []
        self._pair: FilmPair | None = None
        self._observed: list[tuple[Any, int]] = []
        self._line: Any = None

    def show(self, opened: Mapping[str, Any]) -> None:
        """Puts both films into the scene, without clicks; older ones go."""
        self.clear()
        geometries = [ProjectionGeometry.from_dict(values) for values in opened["geometry"]]
        angles = opened["source_angles_degrees"]
        self._pair = FilmPair(*map(place_of, geometries, angles))
        for geometry, path, name in zip(
            geometries, opened["pixels"], (_("AP film to be clicked"), _("lateral film to be clicked")), strict=True
        ):
            volume = pixels_volume(np.load(Path(path), allow_pickle=False), geometry, name)
            volume.SetAttribute(NAME, "1")
            volume.SetHideFromEditors(True)  # nobody is to choose it for a film
            self._films.append(ClickedFilm(geometry, volume, None))

    def place(self, number: int) -> None:
        """Shows a film, 0 or 1, on which the next click in the slice view puts its point; the other's is hidden."""
        film = self._films[number]
        show_film(film.volume)
        if film.point is None:
            film.point = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", _("vertebra"))
            film.point.SetAttribute(NAME, "1")
            film.point.CreateDefaultDisplayNodes()
            for event in (film.point.PointPositionDefinedEvent, film.point.PointEndInteractionEvent):
                self._observed.append((film.point, film.point.AddObserver(event, self._on_clicked)))
        film.point.RemoveAllControlPoints()
        self._show_points(number)
        selection = slicer.mrmlScene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
        interaction = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
        if selection is not None and interaction is not None:
            selection.SetReferenceActivePlaceNodeClassName("vtkMRMLMarkupsFiducialNode")
            selection.SetActivePlaceNodeID(film.point.GetID())
            interaction.SetCurrentInteractionMode(interaction.Place)

    def pixels(self) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
        """The clicks on both films."""
        if not self._films:
            return None, None
        return self._films[0].pixel, self._films[1].pixel

    def gap_mm(self) -> float | None:
        """How far the clicks' rays miss each other; None while one is not clicked."""
        clicks = self.pixels()
        if self._pair is None or None in clicks:
            return None
        try:
            return self._pair.meeting(*clicks).gap_mm
        except ValueError:  # parallel rays
            return None

    def clear(self) -> None:
        """No films, no clicks, no line."""
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed, self._films, self._pair, self._line = [], [], None, None
        for kind in KINDS:
            for index in reversed(range(slicer.mrmlScene.GetNumberOfNodesByClass(kind))):
                node = slicer.mrmlScene.GetNthNodeByClass(index, kind)
                if node.GetAttribute(NAME):
                    slicer.mrmlScene.RemoveNode(node)

    def _show_points(self, number: int) -> None:
        """Those of one film alone, and on the lateral where the AP's click runs."""
        for other, film in enumerate(self._films):
            if film.point is not None:
                film.point.GetDisplayNode().SetVisibility(other == number)
        click = self._films[0].pixel
        if self._line is not None:
            slicer.mrmlScene.RemoveNode(self._line)
            self._line = None
        if number == 1 and click is not None and self._pair is not None:
            self._draw_line(self._pair.line_on_second(click))

    def _draw_line(self, ends_px: Sequence[Sequence[float]]) -> None:
        geometry = self._films[1].geometry
        places = geometry.back_project(np.asarray(ends_px, dtype=float), np.full(2, geometry.sdd_mm))
        line = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", _("where the vertebra lies"))
        line.SetAttribute(NAME, "1")
        line.CreateDefaultDisplayNodes()
        for place in places.tolist():
            line.AddControlPoint(*place, "")
        line.SetLocked(True)
        line.GetDisplayNode().SetPropertiesLabelVisibility(False)
        self._line = line

    def _on_clicked(self, *_: object) -> None:
        self._changed()
