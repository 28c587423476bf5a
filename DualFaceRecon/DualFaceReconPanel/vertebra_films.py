"""What the panel's user says of a vertebra's two films: their files, and what these do not say themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from DualFaceReconLib.worker.protocol import OpenPair

FACES = (None, "left", "right")  # as the combo box has them
VIEWS = (None, "AP", "PA")


class VertebraFilms:
    """The two files with all that was given of them; another file is another pair, of which nothing was given."""

    def __init__(self, ui: Any, other_files: Callable[[], None], other_values: Callable[[], None]) -> None:
        self.ui, self._other_files, self._other_values = ui, other_files, other_values
        self._files = ("", "")  # the last ones that were chosen, to which belongs what was given
        as_said = _("as the file says")
        ui.vertebraFaces.addItems([as_said, _("left"), _("right")])
        ui.vertebraView.addItems([as_said, "AP", "PA"])
        self._boxes = (
            ui.vertebraAngle,
            *(ui.vertebraPitchAp, ui.vertebraPitchLateral),
            *(ui.vertebraSourceAp, ui.vertebraSourceLateral),
            *(ui.vertebraDistanceAp, ui.vertebraDistanceLateral),
        )
        self._checks = ui.vertebraInvertAp, ui.vertebraInvertLateral, ui.vertebraSamePatient
        self._choosers = ui.vertebraFaces, ui.vertebraView
        for path in (ui.vertebraAp, ui.vertebraLateral):
            path.connect("currentPathChanged(QString)", self._on_file)
        for box in self._boxes:
            box.connect("valueChanged(double)", self._on_value)
        for check in self._checks:
            check.connect("toggled(bool)", self._on_value)
        for chooser in self._choosers:
            chooser.connect("currentIndexChanged(int)", self._on_value)

    def request(self) -> OpenPair | None:
        """What the engine is to open; None while a film is not chosen."""
        ui = self.ui
        ap, lateral = self._chosen()
        if not ap or not lateral:
            return None
        return OpenPair(
            ap,
            lateral,
            overrides_ap=_overrides(
                ui.vertebraPitchAp,
                ui.vertebraSourceAp,
                ui.vertebraDistanceAp,
                ui.vertebraInvertAp,
                VIEWS[max(int(ui.vertebraView.currentIndex), 0)],
            ),
            overrides_lateral=_overrides(
                ui.vertebraPitchLateral, ui.vertebraSourceLateral, ui.vertebraDistanceLateral, ui.vertebraInvertLateral
            ),
            angle_degrees=float(ui.vertebraAngle.value) or None,
            lateral_faces=FACES[max(int(ui.vertebraFaces.currentIndex), 0)],
            same_patient=bool(ui.vertebraSamePatient.checked),
        )

    def _chosen(self) -> tuple[str, str]:
        return str(self.ui.vertebraAp.currentPath), str(self.ui.vertebraLateral.currentPath)

    def _on_file(self, _path: str) -> None:
        """A pitch or a distance that stays would silently make a wrong vertebra of another patient's films."""
        chosen = self._chosen()
        replaced = any(old and new and old != new for old, new in zip(self._files, chosen, strict=True))
        self._files = tuple(new or old for old, new in zip(self._files, chosen, strict=True))
        if replaced and self._forget_given():
            text = _("The values that you gave were of the other films: they are reset to what these films' files say.")
            slicer.util.showStatusMessage(text, 5000)
        self._other_files()

    def _forget_given(self) -> bool:
        """Whether anything was given."""
        given = False
        for box in self._boxes:
            given |= box.value > 0
            box.value = 0.0
        for check in self._checks:
            given |= bool(check.checked)
            check.checked = False
        for chooser in self._choosers:
            given |= chooser.currentIndex > 0
            chooser.currentIndex = 0
        return given

    def _on_value(self, _value: object = None) -> None:
        self._other_values()


def _overrides(pitch: Any, source: Any, distance: Any, invert: Any, view: str | None = None) -> dict[str, Any]:
    """As `film.acquisition.Overrides`; a number of 0 leaves a value to the file."""
    return {
        "pixel_pitch_mm": float(pitch.value) or None,
        "sdd_mm": float(source.value) or None,
        "object_distance_mm": float(distance.value) or None,
        "view": view,
        "invert": bool(invert.checked),
    }
