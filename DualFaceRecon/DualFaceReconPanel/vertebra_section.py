"""The panel's part for vertebrae: two films, a click on each, one button; the result goes into the scene."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from DualFaceReconLib.levels import LEVELS
from DualFaceReconLib.scene import add_vertebra_to_scene, show_vertebra
from DualFaceReconLib.vertebra.targets import MISMATCH_REFUSED_MM, MISMATCH_WARNED_MM
from DualFaceReconLib.vertebra_results import load_vertebra
from DualFaceReconLib.worker.protocol import MakeVertebra, OpenPair
from DualFaceReconPanel.engine_process import EngineProcess, Message
from DualFaceReconPanel.vertebra_clicks import VertebraClicks
from DualFaceReconPanel.widgets import amber_text, explained

FIRST_LEVEL = "L3"


class VertebraSection:
    """What happens when two films are chosen, clicked, and a vertebra is wanted."""

    def __init__(self, ui: Any, engine: Callable[[], EngineProcess]) -> None:
        self.ui, self._engine = ui, engine
        self.clicks = VertebraClicks(self._on_clicked)
        self.opened: tuple[OpenPair, Message, int] | None = None  # what was asked, the answer, and by which worker
        self.computing = False
        self.generation = 0  # of what is asked: answers to an older one do not count
        ui.vertebraFaces.addItems([_("as the file says"), _("left"), _("right")])
        ui.vertebraLevel.addItems(list(LEVELS))
        ui.vertebraLevel.currentIndex = LEVELS.index(FIRST_LEVEL)
        ui.vertebraClickAp.connect("clicked(bool)", lambda _clicked=False: self.click(0))
        ui.vertebraClickLateral.connect("clicked(bool)", lambda _clicked=False: self.click(1))
        ui.vertebraButton.connect("clicked(bool)", self._on_button)
        self._show()

    def click(self, number: int) -> None:
        """Opens the films where that is not done yet, and lets the user click on the AP (0) or the lateral (1)."""
        request = self._request()
        if request is None:
            self._status(_("Choose an AP film and a lateral one first."), problem=True)
            return
        if self.opened is not None and self.opened[0] == request and self._engine().is_of(self.opened[2]):
            self.clicks.place(number)
            self._show()
            return

        def opened(message: Message) -> None:
            self.opened = request, message, self._engine().number
            self.clicks.show(message)
            self.clicks.place(number)
            self._status("\n".join(warning["text"] for warning in message["warnings"]), problem=True)

        self._ask(request, opened)

    def make(self) -> None:
        """The vertebra that is clicked."""
        clicks = self.clicks.pixels()
        if self.opened is None or None in clicks:
            return
        if not self._engine().is_of(self.opened[2]):  # it died; the films are opened anew
            self.opened = None
            self._status(_("The engine was started anew: click on both films again."), problem=True)
            return
        request = MakeVertebra(
            pair=self.opened[1]["pair"],
            level=LEVELS[int(self.ui.vertebraLevel.currentIndex)],
            centre_ap=clicks[0],
            centre_lateral=clicks[1],
        )
        self._ask(request, self._show_result)

    def close(self) -> None:
        """Nothing that is asked counts any more, and no film is left to be clicked."""
        self.generation += 1
        self.computing = False
        self.opened = None
        self.clicks.clear()
        self._show()

    def _request(self) -> OpenPair | None:
        ui = self.ui
        ap, lateral = str(ui.vertebraAp.currentPath), str(ui.vertebraLateral.currentPath)
        if not ap or not lateral:
            return None
        angle = float(ui.vertebraAngle.value)
        return OpenPair(
            ap,
            lateral,
            angle_degrees=angle if angle > 0 else None,
            lateral_faces=(None, "left", "right")[max(int(ui.vertebraFaces.currentIndex), 0)],
            same_patient=bool(ui.vertebraSamePatient.checked),
        )

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
        vertebra = load_vertebra(Path(message["folder"]))
        self.clicks.clear()
        self.opened = None
        show_vertebra(add_vertebra_to_scene(vertebra))
        texts = [warning["text"] for warning in message["warnings"]]
        self._status("\n".join([*texts, message["measured"]]), problem=bool(texts))

    def _on_button(self, _clicked: bool = False) -> None:
        if self.computing:
            self.generation += 1
            self.computing = False
            self._engine().cancel()
            self._status("")
            self._show()
        else:
            self.make()

    def _on_clicked(self) -> None:
        gap = self.clicks.gap_mm()
        if gap is not None:
            text = _("The two clicks miss each other by {gap} mm.").format(gap=f"{gap:.1f}")
            if gap > MISMATCH_REFUSED_MM:
                text += " " + _("That is too much: click the same vertebra on both films.")
            self._status(text, problem=gap > MISMATCH_WARNED_MM)
        self._show()

    def _show(self) -> None:
        gap = self.clicks.gap_mm()
        self.ui.vertebraButton.text = _("Cancel") if self.computing else _("Make vertebra")
        self.ui.vertebraButton.enabled = self.computing or (gap is not None and gap <= MISMATCH_REFUSED_MM)

    def _status(self, text: str, problem: bool = False) -> None:
        self.ui.vertebraStatus.text = amber_text(text) if problem and text else text
        self.ui.vertebraStatus.visible = bool(text)
