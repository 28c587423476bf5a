"""The panel: film, models, one button, results, and the engine's process behind them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.scene import SceneRun
from DualFaceReconLib.worker.protocol import Fetch, Hello, Load, Reconstruct
from DualFaceReconPanel import scene_results
from DualFaceReconPanel.engine_process import EngineProcess, Message
from DualFaceReconPanel.film_section import FilmSection, OpenedFilm
from DualFaceReconPanel.layout import ReconstructionLayout
from DualFaceReconPanel.model_section import ModelSection
from DualFaceReconPanel.packages import Packages
from DualFaceReconPanel.patient_films import PatientFilms
from DualFaceReconPanel.result_section import ResultSection
from DualFaceReconPanel.vertebra_section import VertebraSection
from DualFaceReconPanel.widgets import amber_text, explained

SETTLING_MS = 400  # after the last change of a value, before the film is opened anew
STEPS = 1000  # of the progress bar


class Panel:
    """What happens when something is chosen or pressed."""

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.folder = Path(tempfile.mkdtemp(prefix="dualface-panel-"))
        self.packages = Packages()
        self.engine = EngineProcess(self.packages.path())
        self.opened: OpenedFilm | None = None
        self.settled = True  # what is open is what is chosen
        self.bones: Sequence[str] = ()  # of the bundle that the engine has loaded
        self.computing = False
        self.generation = 0  # of what is asked: answers to an older one do not count
        self.layout = ReconstructionLayout()
        self.layout.register()
        self.settling = qt.QTimer()
        self.settling.setSingleShot(True)
        self.settling.setInterval(SETTLING_MS)
        self.settling.connect("timeout()", self._on_settled)
        self.removal = qt.QTimer()  # single shots into a panel that is gone would be called
        self.removal.setSingleShot(True)
        self.removal.setInterval(0)
        self.removal.connect("timeout()", self._after_removal)
        self.looking = qt.QTimer()  # a view has its size only once the layout has been laid out
        self.looking.setSingleShot(True)
        self.looking.setInterval(0)
        self.film = FilmSection(ui, self._film_changed, self.folder)
        self.patient = PatientFilms(ui, lambda: self.opened)
        self.models = ModelSection(ui, self.packages, self._models_changed, self.fetch)
        self.results = ResultSection(ui, self.recompute, self.engine.log_tail, self._asked, self.layout.bones_shape)
        self.vertebrae = VertebraSection(ui, lambda: self.engine, self.layout.enter)
        self.looking.connect("timeout()", self.results.look_from_source)
        ui.reconstructButton.connect("clicked(bool)", self._on_button)
        ui.progressBar.visible = False
        self.refresh()

    # What the module tells

    def enter(self) -> None:
        """The panel is shown."""
        self.models.show_packages()
        self.refresh()

    def refresh(self) -> None:
        """The scene may have other runs now."""
        self.results.refresh()
        self.vertebrae.refresh()
        self._show_button()

    def node_goes(self) -> None:
        """A node is about to leave the scene; what hangs on it is looked at once it is gone."""
        self.removal.start()

    def scene_closes(self) -> None:
        """Nothing that is computed has a place any more."""
        self.vertebrae.close()
        self._stop()
        self.film.close()
        self.ui.filmPath.currentPath = ""
        self.layout.leave()
        self.opened = None
        self.film.show_nothing()
        self.patient.forget()
        self._show_button()

    def close(self) -> None:
        """Ends the engine and removes what was written for this panel."""
        self.settling.stop()
        self.removal.stop()
        self.looking.stop()
        self.generation += 1
        self.engine.close()
        self.vertebrae.close()
        self.film.close()
        self.layout.leave()
        shutil.rmtree(self.folder, ignore_errors=True)

    # Film

    def open_film(self, then: Callable[[], None] | None = None) -> None:
        """Has the engine read the chosen film, with what the user knows better; `then` is called once it is open."""
        self.generation += 1
        generation = self.generation
        try:
            source = self.film.source()
        except Refusal as refusal:
            self._refused(refusal.text)
            return
        self.settled = source is None
        if source is None:
            self.opened = None
            self.film.show_nothing()
            self._show_button()
            return
        try:
            request = self.film.request(source, self.opened)
        except Refusal as refusal:
            self._refused(refusal.text)
            return

        def answered(message: Message) -> None:
            if generation != self.generation:
                return
            self.settled = True
            if message["event"] == "done":
                self.opened = OpenedFilm(source, request, message, self.engine.number)
                self.film.show(self.opened)
                self.results.mark_stale()
                self._status("")
                if then is None:
                    self._warm_up()
                else:
                    then()
            elif message["event"] != "cancelled":
                self.opened = None
                self.film.show_refusal(message["text"])
            self._show_button()

        self.engine.ask(request, answered)

    def _film_changed(self) -> None:
        if self.computing:  # of what is no longer wanted
            self._stop()
        self.settled = False
        self._show_button()
        self.settling.start()

    def _on_settled(self) -> None:
        with explained(_("The film cannot be opened.")):
            self.open_film()

    def _refused(self, text: str) -> None:
        self.opened = None
        self.film.show_refusal(text)
        self._show_button()

    def _after_removal(self) -> None:
        if self.opened is not None and self.film.source_is_gone(self.opened.source):
            self._stop()
            self.open_film()
        self.refresh()
        if self.results.run() is None and self.vertebrae.run is None:
            self.layout.leave()

    # Models

    def _warm_up(self) -> None:
        """The bundle is loaded while the user looks at the film."""
        if not self.packages.missing():
            self.engine.ask(Hello(), self._show_device)
            self.engine.ask(Load(self.models.bundle()), self._on_loaded())

    def _show_device(self, message: Message) -> None:
        if message["event"] == "done":
            self.models.show_device(message["device_words"])
        elif message["event"] == "refused":
            torch_is_broken = message["code"] == "package-broken" and message["values"].get("package") == "torch"
            mending = _(" In the module PyTorch Util, press Uninstall, then Install, and restart Slicer.")
            self.models.show_packages(message["text"] + (mending if torch_is_broken else ""))

    def _on_loaded(self) -> Callable[[Message], None]:
        """What is to be called once the bundle is loaded that is asked for now."""
        generation = self.generation

        def loaded(message: Message) -> None:
            if message["event"] == "done":
                self.bones = message["bones"]
                self.models.show_device(message["device_words"])
            elif message["event"] != "cancelled" and generation == self.generation and not self.computing:
                self._status(message["text"], problem=True)

        return loaded

    def fetch(self, bundle: str) -> None:
        """A bundle that does not ship; the button cancels it."""
        answered = self._begun(_("Fetching the bundle"), lambda message: self.models.refresh())
        self.engine.ask(Fetch(bundle), answered, self._progress)

    def _models_changed(self) -> None:
        self._stop()
        self.engine.kill()
        self.engine.packages = self.packages.path()

    # Bones

    def _on_button(self, _clicked: bool = False) -> None:
        if self.computing:
            self._stop()
        else:
            self.reconstruct()

    def reconstruct(self) -> None:
        """Bones of the film that is open."""
        if self.opened is None or not self.settled:
            return
        if self.packages.missing():
            self._status(_("Networks need packages that are not here yet: press Install under Models."), problem=True)
            self.ui.modelSection.collapsed = False
            return
        if not self.engine.is_of(self.opened.worker):
            self.open_film(self.reconstruct)
            return
        options = {**self._options(), **self.patient.request(self.opened)}
        self._ask_for_bones(self.opened, Reconstruct(self.opened.answer["film"], **options), None)

    def recompute(self, run: SceneRun) -> None:
        """A run's bones again, of its masks as they are in the scene now."""
        if self.opened is None or self.computing or not self.settled:
            self._status(_("Choose the film of these masks first."), problem=True)
            return
        if scene_results.is_stale(run, self._asked()):
            self._status(
                _("These masks are of another film or of other values: press Reconstruct first."), problem=True
            )
            return
        if not self.engine.is_of(self.opened.worker):
            self.open_film(lambda: self.recompute(run))
            return
        path = self.folder / "masks.npy"
        scene_results.write_masks(run, self._bones(), path)
        self._ask_for_bones(
            self.opened, Reconstruct(self.opened.answer["film"], mask=str(path), **self._options()), run
        )

    def _bones(self) -> Sequence[str]:
        """The loaded bundle's, in its order."""
        return self.bones or BONES

    def _options(self) -> dict[str, Any]:
        return {
            "completion": bool(self.ui.completion.checked),
            "whole_femurs": bool(self.ui.wholeFemurs.checked),
            "together": bool(self.ui.together.checked),
        }

    def _ask_for_bones(self, film: OpenedFilm, request: Reconstruct, replacing: SceneRun | None) -> None:
        others = self.patient.beside(film) if request.others else []
        answered = self._begun(
            _("Waiting for the engine"), lambda message: self._show_result(film, others, message, replacing)
        )
        self.engine.ask(Load(self.models.bundle()), self._on_loaded(), self._progress)
        self.engine.ask(request, answered, self._progress)

    def _begun(self, words: str, done: Callable[[Message], None]) -> Callable[[Message], None]:
        """Something long is asked of the engine: the button cancels it. Gives what is to be called with the answer."""
        self.generation += 1
        generation = self.generation
        self.computing = True
        self._status("")
        self._progress(words, 0.0)
        self._show_button()

        def answered(message: Message) -> None:
            if generation != self.generation:
                return
            self.computing = False
            self._show_button()
            if message["event"] == "done":
                with explained(_("The result cannot be shown.")):
                    done(message)
            elif message["event"] != "cancelled":
                self._status(message["text"], problem=True)

        return answered

    def _show_result(
        self,
        film: OpenedFilm,
        others: Sequence[OpenedFilm],
        message: Mapping[str, Any],
        replacing: SceneRun | None,
    ) -> None:
        bundle = message["bundle"]
        details = [f"bundle {bundle['id']} {bundle['version']}", message["device_words"]]

        def shown(film: OpenedFilm, folder: Path, replacing: SceneRun | None = None) -> SceneRun:
            asked, title = scene_results.asked_of(film.answer), film.source.title(film.answer)
            run = scene_results.add_result(folder, asked, title, film.source.study, replacing)
            self.results.remember(run, folder, details)
            return run

        for other, answer in zip(others, message.get("others", ()), strict=True):
            shown(other, Path(answer["folder"]))
        run = shown(film, Path(message["folder"]), replacing)
        self.layout.enter()
        self.results.refresh(run)
        self.results.look_from_source()
        self.looking.start()

    def _stop(self) -> None:
        """Whatever is computed is not wanted any more."""
        self.generation += 1
        self.computing = False
        self.engine.cancel()
        self._show_button()

    # What is shown

    def _asked(self) -> str | None:
        return None if self.opened is None else scene_results.asked_of(self.opened.answer)

    def _progress(self, words: str, share: float) -> None:
        if self.computing:
            self.ui.progressBar.value = round(STEPS * share)
            self.ui.progressBar.format = f"{words} %p%"

    def _show_button(self) -> None:
        self.ui.reconstructButton.text = _("Cancel") if self.computing else _("Reconstruct")
        self.ui.reconstructButton.enabled = self.computing or (self.opened is not None and self.settled)
        self.ui.progressBar.visible = self.computing
        self.patient.show()

    def _status(self, text: str, problem: bool = False) -> None:
        self.ui.statusLabel.text = amber_text(text) if problem else text
        self.ui.statusLabel.visible = bool(text)
