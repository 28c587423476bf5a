"""A calibration ball, an implant's head or a known length, marked as a line on the film in the slice view."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.scene import show_film
from DualFaceReconPanel.film_volume import pixels_volume

NAME = "DualFaceRecon.marked"  # attribute of the line and of the film that it is drawn on; a reopened scene has it


class MarkedLength:
    """One line, from edge to edge of the ball or from end to end of the length, and the film that it is drawn on."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._observed: tuple[Any, list[int]] | None = None
        self._geometry: ProjectionGeometry | None = None  # of the film as it stands in the scene while it is marked

    def place(self, opened: Mapping[str, Any]) -> None:
        """Shows the engine's film in the slice view, where the user draws the line with two clicks; an old one goes."""
        self.clear()
        self._geometry = ProjectionGeometry.from_dict(opened["geometry"])
        pixels = np.load(Path(opened["pixels"]), allow_pickle=False)
        film = pixels_volume(pixels, self._geometry, _("film to be marked"))
        film.SetAttribute(NAME, "1")
        film.SetHideFromEditors(True)  # nobody is to choose it for a film
        show_film(film)
        line = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", _("marked length"))
        line.SetAttribute(NAME, "1")
        line.CreateDefaultDisplayNodes()
        events = (line.PointEndInteractionEvent, line.PointPositionDefinedEvent)
        self._observed = line, [line.AddObserver(event, self._on_moved) for event in events]
        selection = slicer.mrmlScene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
        interaction = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
        if selection is not None and interaction is not None:
            selection.SetReferenceActivePlaceNodeClassName("vtkMRMLMarkupsLineNode")
            selection.SetActivePlaceNodeID(line.GetID())
            interaction.SetCurrentInteractionMode(interaction.Place)

    def clear(self) -> None:
        """No line, and no film for it."""
        if self._observed is not None:
            line, tags = self._observed
            for tag in tags:
                line.RemoveObserver(tag)
            self._observed = None
        self._geometry = None
        for kind in ("vtkMRMLMarkupsLineNode", "vtkMRMLScalarVolumeNode"):
            for index in reversed(range(slicer.mrmlScene.GetNumberOfNodesByClass(kind))):
                node = slicer.mrmlScene.GetNthNodeByClass(index, kind)
                if node.GetAttribute(NAME):
                    slicer.mrmlScene.RemoveNode(node)

    def marker(self, length_mm: float) -> dict[str, float] | None:
        """The line as the engine's `film.markers.Marker`, in the film's pixels; None while it is not drawn."""
        ends_px = self._ends_px()
        if ends_px is None or length_mm <= 0:
            return None
        row, col = ends_px.mean(axis=0)
        return {
            "row": float(row),
            "col": float(col),
            "diameter_px": float(np.linalg.norm(ends_px[1] - ends_px[0])),
            "diameter_mm": length_mm,
        }

    def length(self, length_mm: float, at: str) -> dict[str, float | str] | None:
        """The line as the engine's `film.lengths.Length`; None while it is not drawn."""
        ends_px = self._ends_px()
        if ends_px is None or length_mm <= 0:
            return None
        (first_row, first_col), (last_row, last_col) = ends_px.tolist()
        ends = {"first_row": first_row, "first_col": first_col, "last_row": last_row, "last_col": last_col}
        return {**ends, "length_mm": length_mm, "at": at}

    def _ends_px(self) -> np.ndarray | None:
        """[row, col] (2, 2) of the line's ends in the film; None while it is not drawn."""
        if self._observed is None or self._observed[0].GetNumberOfDefinedControlPoints() != 2:
            return None
        line = self._observed[0]
        return pixels_of(np.array([line.GetNthControlPointPositionWorld(index) for index in range(2)]), self._geometry)

    def _on_moved(self, *_: object) -> None:
        if self._observed is not None and self._observed[0].GetNumberOfDefinedControlPoints() == 2:
            self._changed()


def pixels_of(points_ras: np.ndarray, geometry: ProjectionGeometry) -> np.ndarray:
    """[row, col] (N, 2) of places (N, 3) on the film as it stands in the scene, at the detector."""
    ijk = (np.c_[points_ras, np.ones(len(points_ras))] @ np.linalg.inv(geometry.ijk_to_ras()).T)[:, :3]
    return ijk[:, [1, 0]]
