"""The panel's part for vertebrae: two films, clicks on both, one button; the result goes into the scene."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from DualFaceReconLib.levels import LEVELS
from DualFaceReconLib.scene import SceneRun, add_vertebra_to_scene, show_vertebra, show_vertebra_film
from DualFaceReconLib.vertebra.targets import MISMATCH_REFUSED_MM, MISMATCH_WARNED_MM
from DualFaceReconLib.vertebra_results import load_vertebra
from DualFaceReconLib.worker.protocol import MakeVertebra, OpenPair
from DualFaceReconPanel import scene_results
from DualFaceReconPanel.engine_process import EngineProcess, Message
from DualFaceReconPanel.vertebra_clicks import CENTRE, CORNERS, VertebraClicks
from DualFaceReconPanel.vertebra_films import VertebraFilms
from DualFaceReconPanel.widgets import amber_text, explained, fit_columns, set_row

FIRST_LEVEL = "L3"


class VertebraSection:
    """What happens when two films are chosen, clicked, and a vertebra is wanted."""

    def __init__(self, ui: Any, engine: Callable[[], EngineProcess], added: Callable[[], None]) -> None:
        """`added` is called when a vertebra has come into the scene."""
        self.ui, self._engine, self._added = ui, engine, added
        self.films = VertebraFilms(ui, self._on_files, self._show)
        self.clicks = VertebraClicks(self._on_clicked)
        self.opened: tuple[OpenPair, Message, int] | None = None  # what was asked, the answer, and by which worker
        self.computing = False
        self.generation = 0  # of what is asked: answers to an older one do not count
        self._reports: dict[str, Path] = {}  # by run, of this session
        ui.vertebraLevel.addItems(list(LEVELS))
        ui.vertebraLevel.currentIndex = LEVELS.index(FIRST_LEVEL)
        ui.vertebraTable.setColumnCount(2)
        ui.vertebraTable.setHorizontalHeaderLabels([_("Measurement"), _("Value")])
        fit_columns(ui.vertebraTable, 0)
        for button, number, kind in (
            (ui.vertebraClickAp, 0, CENTRE),
            (ui.vertebraClickLateral, 1, CENTRE),
            (ui.vertebraCornersAp, 0, CORNERS),
            (ui.vertebraCornersLateral, 1, CORNERS),
        ):
            button.connect("clicked(bool)", lambda _clicked=False, which=(number, kind): self.click(*which))
        ui.vertebraButton.connect("clicked(bool)", self._on_button)
        ui.vertebraShowAp.connect("clicked(bool)", lambda _clicked=False: self._look_at("film_ap"))
        ui.vertebraShowLateral.connect("clicked(bool)", lambda _clicked=False: self._look_at("film_lateral"))
        ui.vertebraReport.connect("clicked(bool)", self._on_report)
        self._status("")
        self.refresh()

    @property
    def run(self) -> SceneRun | None:
        """The last vertebra of the scene, which is shown."""
        return next(reversed(scene_results.vertebrae()), None)

    def refresh(self) -> None:
        """The scene may have another vertebra now, or none."""
        run = self.run
        self.ui.vertebraResult.visible = run is not None
        if run is not None:
            table = run.node("table")
            rows = [] if table is None else scene_results.measured_rows(table.GetTable())
            self.ui.vertebraTable.setRowCount(len(rows))
            for row, texts in enumerate(rows):
                set_row(self.ui.vertebraTable, row, texts, ": ".join(texts))
            self.ui.vertebraReport.enabled = run.id in self._reports and self._reports[run.id].is_file()
        self._show()

    def click(self, number: int, kind: str) -> None:
        """Lets the user click a centre or corners on the AP (0) or the lateral (1), in the slice view."""
        self._with_films(lambda: self.clicks.place(number, kind))

    def make(self) -> None:
        """The vertebra that is clicked, on the films as they are given now."""
        if self._can_be_made():
            self._with_films(self._ask_for_vertebra)

    def close(self) -> None:
        """Nothing that is asked counts any more, and no film is left to be clicked."""
        self.generation += 1
        self.computing = False
        self._forget_films()
        self._show()

    def _with_films(self, then: Callable[[], None]) -> None:
        """Calls `then` once the films are open as they are given now; where they were already, clicks stay."""
        request = self.films.request()
        if request is None:
            self._status(_("Choose an AP film and a lateral one first."), problem=True)
            return
        if self.opened is not None and self.opened[0] == request and self._engine().is_of(self.opened[2]):
            then()
            self._show()
            return

        def opened(message: Message) -> None:
            self.opened = request, message, self._engine().number
            self.clicks.show(message)
            self._status("\n".join(warning["text"] for warning in message["warnings"]), problem=True)
            then()

        self._ask(request, opened)

    def _ask_for_vertebra(self) -> None:
        (centre_ap, centre_lateral), (corners_ap, corners_lateral) = map(self.clicks.clicked, (CENTRE, CORNERS))
        request = MakeVertebra(
            pair=self.opened[1]["pair"],
            level=LEVELS[int(self.ui.vertebraLevel.currentIndex)],
            centre_ap=None if centre_ap is None else centre_ap[0],
            centre_lateral=None if centre_lateral is None else centre_lateral[0],
            corners_ap=corners_ap,
            corners_lateral=corners_lateral,
            bundle=str(self.ui.vertebraBundle.currentPath) or None,
        )
        self._ask(request, self._show_result)

    def _ask(self, request: OpenPair | MakeVertebra, done: Callable[[Message], None]) -> None:
        self.generation += 1
        generation = self.generation
        self.computing = True
        self._status("")
        self._show()

        def answered(message: Message) -> None:
            if generation != self.generation:
                return
            self.computing = False
            if message["event"] == "done":
                with explained(_("The vertebra cannot be shown.")):
                    done(message)
            elif message["event"] != "cancelled":
                self._status(message["text"], problem=True)
            self._show()

        def progress(words: str, share: float) -> None:
            if generation == self.generation and self.computing:
                self._status(f"{words} {share:.0%}")

        self._engine().ask(request, answered, progress)

    def _show_result(self, message: Message) -> None:
        folder = Path(message["folder"])
        self._forget_films()
        run = add_vertebra_to_scene(load_vertebra(folder))
        self._reports[run.id] = folder / "report.html"
        self._added()
        show_vertebra(run)
        self.refresh()
        texts = [warning["text"] for warning in message["warnings"]]
        self._status("\n".join([*texts, message["measured"]]), problem=bool(texts))

    def _look_at(self, film: str) -> None:
        with explained(_("The film cannot be shown.")):
            if (run := self.run) is not None:
                show_vertebra_film(run, film)

    def _forget_films(self) -> None:
        self.opened = None
        self.clicks.clear()

    def _on_report(self, _clicked: bool = False) -> None:
        if (run := self.run) is not None and run.id in self._reports:
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self._reports[run.id])))

    def _on_button(self, _clicked: bool = False) -> None:
        if self.computing:
            self.generation += 1
            self.computing = False
            self._engine().cancel()
            self._status("")
            self._show()
        else:
            self.make()

    def _on_files(self) -> None:
        """Clicks on other films count no more."""
        self._forget_films()
        self._status("")
        self._show()

    def _on_clicked(self) -> None:
        gap, begun = self.clicks.gap_mm(), self.clicks.begun()
        if begun is not None:
            number, count = begun
            film = (_("the AP film"), _("the lateral film"))[number]
            self._status(_("{count} of four corners are clicked on {film}.").format(count=count, film=film))
        elif gap is not None:
            text = _("The two clicks miss each other by {gap} mm.").format(gap=f"{gap:.1f}")
            if gap > MISMATCH_REFUSED_MM:
                text += " " + _("That is too much: click the same vertebra on both films.")
            self._status(text, problem=gap > MISMATCH_WARNED_MM)
        self._show()

    def _can_be_made(self) -> bool:
        """Whether enough is clicked, and the clicks are of one vertebra."""
        if self.opened is None or self.clicks.begun() is not None:
            return False
        if not self.clicks.in_millimetres:
            return None not in self.clicks.clicked(CORNERS)
        gap = self.clicks.gap_mm()
        return gap is not None and gap <= MISMATCH_REFUSED_MM

    def _show(self) -> None:
        self.ui.vertebraButton.text = _("Cancel") if self.computing else _("Make vertebra")
        self.ui.vertebraButton.enabled = self.computing or self._can_be_made()

    def _status(self, text: str, problem: bool = False) -> None:
        self.ui.vertebraStatus.text = amber_text(text) if problem and text else text
        self.ui.vertebraStatus.visible = bool(text)
