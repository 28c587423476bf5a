"""Films that are kept because the next one is of the same patient, each as its user had it read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from slicer.i18n import tr as _

from DualFaceReconPanel.film_section import OpenedFilm


class PatientFilms:
    """The kept films, of which the panel names the number and the titles."""

    def __init__(self, ui: Any, opened: Callable[[], OpenedFilm | None]) -> None:
        """`opened` gives the film that is open."""
        self.ui, self.opened = ui, opened
        self.kept: list[OpenedFilm] = []
        ui.keepFilmButton.connect("clicked(bool)", self._on_keep)
        ui.forgetFilmsButton.connect("clicked(bool)", self.forget)
        self.show()

    def beside(self, film: OpenedFilm) -> list[OpenedFilm]:
        """The kept films but for a film itself, whose values may have changed since."""
        return [other for other in self.kept if other.source.path != film.source.path]

    def request(self, film: OpenedFilm) -> dict[str, Any]:
        """What is asked of the engine beside the film's own bones."""
        others = tuple(asdict(other.request) for other in self.beside(film))
        return {"others": others, "different_ids": bool(self.ui.differentIds.checked)} if others else {}

    def forget(self, _clicked: bool = False) -> None:
        """The next film is of somebody else."""
        self.kept = []
        self.ui.differentIds.checked = False
        self.show()

    def show(self) -> None:
        """What is kept, and whether the film that is open can be."""
        film = self.opened()
        self.ui.keepFilmButton.enabled = film is not None
        self.ui.forgetFilmsButton.enabled = bool(self.kept)
        self.ui.differentIds.enabled = bool(self.kept)
        titles = ", ".join(kept.source.name for kept in self.kept)
        self.ui.keptFilms.text = _("Kept: {films}").format(films=titles) if self.kept else ""

    def _on_keep(self, _clicked: bool = False) -> None:
        film = self.opened()
        if film is not None:
            self.kept = [*self.beside(film), film]
            self.show()
