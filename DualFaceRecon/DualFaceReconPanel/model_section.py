"""The panel's part for bundles, the device, and the packages that networks need."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from DualFaceReconLib.bundle.registry import Entry, registry
from DualFaceReconLib.bundle.store import installed, remove
from DualFaceReconPanel.packages import Packages, use_wheels, wheels
from DualFaceReconPanel.widgets import amber_text, ask, explained


class ModelSection:
    """Which bundle is used, and what is missing to use it."""

    def __init__(self, ui: Any, packages: Packages, changed: Callable[[], None], fetch: Callable[[str], None]) -> None:
        """`changed` is called when the engine has to start anew, `fetch` with the id of a bundle that is wanted."""
        self.ui, self.packages, self.changed, self.fetch = ui, packages, changed, fetch
        ui.bundleChooser.connect("currentIndexChanged(int)", self._on_chosen)
        ui.openBundleButton.connect("clicked(bool)", self._on_open)
        ui.fetchBundleButton.connect("clicked(bool)", self._on_fetch)
        ui.removeBundleButton.connect("clicked(bool)", self._on_remove)
        ui.installButton.connect("clicked(bool)", self._on_install)
        ui.removePackagesButton.connect("clicked(bool)", self._on_remove_packages)
        ui.wheelsPath.currentPath = wheels()
        ui.wheelsPath.connect("currentPathChanged(QString)", use_wheels)
        self._folders: list[Path | None] = []
        self._fetchable: list[Entry] = []
        self._problem = ""
        self.refresh()

    def bundle(self) -> str | None:
        """What the engine is to load: None for the bundle that ships."""
        index = int(self.ui.bundleChooser.currentIndex)
        folder = self._folders[index] if 0 <= index < len(self._folders) else None
        return None if folder is None else str(folder)

    def refresh(self, chosen: Path | None = None) -> None:
        """Lists what is here now."""
        chooser = self.ui.bundleChooser
        blocked = chooser.blockSignals(True)
        chooser.clear()
        self._folders = []
        for bundle in (bundle for bundle in installed() if bundle.for_hips):
            words = _("{name}, ships with the module") if bundle.ships else "{name}"
            if bundle.manifest is None:
                words = _("{name}, damaged")
            chooser.addItem(words.format(name=f"{bundle.id} {bundle.version}"))
            self._folders.append(None if bundle.ships else bundle.folder)
        if chosen is not None and chosen not in self._folders:
            chooser.addItem(chosen.name)
            self._folders.append(chosen)
        chooser.currentIndex = self._folders.index(chosen) if chosen in self._folders else 0
        chooser.blockSignals(blocked)
        self._fetchable = _fetchable()
        self.ui.fetchChooser.clear()
        for entry in self._fetchable:
            size = _("{name} {version}, {size} MB")
            self.ui.fetchChooser.addItem(size.format(name=entry.id, version=entry.version, size=entry.bytes >> 20))
        for widget in (self.ui.fetchLabel, self.ui.fetchChooser):
            widget.visible = bool(self._fetchable)
        self.ui.fetchBundleButton.enabled = bool(self._fetchable)
        self._on_chosen()
        self.show_packages()

    def show_device(self, words: str) -> None:
        """Where networks compute, in words."""
        self.ui.deviceLabel.text = words

    def show_packages(self, problem: str = "") -> None:
        """What is missing or broken, and how to mend it."""
        self._problem = problem
        missing = self.packages.missing()
        text = problem or (_("Networks need packages that are not here yet.") if missing else _("Everything is here."))
        self.ui.packagesLabel.text = amber_text(text) if problem or missing else text
        self.ui.installButton.visible = bool(problem or missing)
        self.ui.removePackagesButton.enabled = self.packages.folder.is_dir()

    def _on_chosen(self, _index: int = 0) -> None:
        index = int(self.ui.bundleChooser.currentIndex)
        own = 0 <= index < len(self._folders) and self._folders[index] is not None
        self.ui.removeBundleButton.enabled = own
        self.changed()

    def _on_open(self, _clicked: bool = False) -> None:
        folder = qt.QFileDialog.getExistingDirectory(None, _("A folder with a bundle"))
        if folder:
            self.refresh(Path(folder))

    def _on_fetch(self, _clicked: bool = False) -> None:
        entry = self._fetchable[int(self.ui.fetchChooser.currentIndex)]
        text = _("Fetch {name} {version}, {size} MB?")
        if ask(text.format(name=entry.id, version=entry.version, size=entry.bytes >> 20), _("Fetch")):
            self.fetch(entry.id)

    def _on_remove(self, _clicked: bool = False) -> None:
        folder = self.bundle()
        if folder is None or not ask(_("Remove this bundle from the disk?"), _("Remove")):
            return
        names = {str(bundle.folder): bundle.id for bundle in installed()}
        with explained(_("The bundle cannot be removed.")):
            if folder in names:
                remove(names[folder])
        self.refresh()

    def _on_install(self, _clicked: bool = False) -> None:
        with explained(_("The packages could not be installed.")):
            if ask(self.packages.consent(), _("Install packages")):
                if self._problem:  # what is here does not load
                    self.changed()
                    self.packages.remove()
                self.ui.packagesLabel.text = _("Installing...")
                try:
                    self.packages.install(self._on_installed)
                except Exception:
                    self.show_packages()
                    raise

    def _on_installed(self, code: int) -> None:
        self.show_packages("" if code == 0 else _("The installation did not finish: press Install again to go on."))
        self.changed()

    def _on_remove_packages(self, _clicked: bool = False) -> None:
        if ask(_("Remove the packages that this module has installed for itself? Torch stays."), _("Remove")):
            self.changed()  # the engine lets go of them
            self.packages.remove()
            self.changed()  # and does without them
            self.show_packages()


def _fetchable() -> list[Entry]:
    """What the registry has and this computer has not."""
    here = {(bundle.id, bundle.version) for bundle in installed() if bundle.manifest is not None}
    published = {entry.id: entry for entry in registry()}
    return [entry for entry in published.values() if (entry.id, entry.version) not in here]
