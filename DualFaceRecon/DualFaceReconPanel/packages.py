"""The Python packages that networks need: torch by SlicerPyTorch, all else in a folder of our own.

What Slicer ships, and what other extensions use, is not touched: the folder is on the path of the engine's process
alone, pip installs into it without dependencies and by fixed versions, and removing it removes everything. An
installation that was cut off leaves no stamp, so that the next one goes on.
"""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from DualFaceReconLib.errors import Refusal

# Everything that timm and dynamic-network-architectures import and that neither Slicer nor torch brings. This
# huggingface-hub is the last one that needs no HTTP library beside requests, which is Slicer's.
PINNED = (
    "timm==1.0.22",
    "dynamic-network-architectures==0.4.4",
    "einops==0.8.2",
    "safetensors==0.8.0",
    "huggingface-hub==0.36.2",
    "PyYAML==6.0.3",
    "tqdm==4.67.1",
)
TORCH, TORCHVISION = ">=2.2", ">=0.17"
TIMM_BELOW = [1, 0, 23]  # as dynamic-network-architectures demands
MEGABYTES = 30  # of the folder
STAMP = "installed.txt"  # written last; holds what is installed
WHEELS = "DualFaceRecon/wheels"  # the setting with a folder of wheels, where there is no internet


class Packages:
    """Our own folder, and torch."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: instead of the usual one, beside Slicer's settings, which can always be written."""
        settings = Path(slicer.app.slicerUserSettingsFilePath).parent
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.folder = folder or settings / "DualFaceRecon" / f"packages-{version}"

    def path(self) -> Path | None:
        """What the engine's process has on its path; None where there is nothing."""
        return self.folder if self._is_installed() else None

    def missing(self) -> list[str]:
        """What has to be installed."""
        torch = [name for name in ("torch", "torchvision") if importlib.util.find_spec(name) is None]
        return torch + ([] if self._is_installed() or _is_importable() else list(PINNED))

    def consent(self) -> str:
        """What will be installed, how large, and where."""
        lines = [_("To run networks, these Python packages will be installed:"), ""]
        if "torch" in self.missing() or "torchvision" in self.missing():
            lines.append(_("torch and torchvision, by the PyTorch extension, into Slicer: 200 MB to 3 GB"))
        if not (self._is_installed() or _is_importable()):
            names = ", ".join(pin.split("==")[0] for pin in PINNED)
            lines.append(
                _("{names}: {size} MB, into {folder}, for this module alone").format(
                    names=names, size=MEGABYTES, folder=self.folder
                )
            )
        return "\n".join(lines)

    def refuse_missing(self) -> None:
        """Refusal where networks cannot run, with what to do about it where nobody can be asked."""
        if self.missing():
            raise Refusal(
                _(
                    "Networks need Python packages that are not here yet: press Install under Models in the module's "
                    "panel, or run DualFaceReconLogic().install() in Slicer's Python."
                )
            )

    def install(self, done: Callable[[int], None]) -> None:
        """Installs what is missing and comes back; `done` is given 0, or pip's exit code."""
        import slicer.packaging

        if slicer.packaging.isPipInstallInProgress():
            raise Refusal(_("Something else is being installed: wait for its end, and press Install again."))
        if not self._prepared():
            done(0)
            return

        def finished(code: int) -> None:
            if code == 0:
                self._stamp()
            done(code)

        slicer.packaging.pip_install(
            self._arguments(), blocking=False, show_progress=True, requester="DualFaceRecon", completedCallback=finished
        )

    def install_now(self) -> None:
        """Installs what is missing and waits for it; nobody is asked."""
        import slicer.packaging

        if self._prepared():
            slicer.packaging.pip_install(self._arguments(), blocking=True, show_progress=False)
            self._stamp()

    def _prepared(self) -> bool:
        """Brings torch and makes our folder; whether pip has something to do."""
        refuse_old_macs()
        self._install_torch()
        if self._is_installed() or _is_importable():
            return False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            text = _("{folder} cannot be made ({why}): mend its permissions, and press Install again.")
            raise Refusal(text.format(folder=self.folder, why=error.strerror)) from error
        return True

    def _arguments(self) -> list[str]:
        """Of pip."""
        arguments = ["--target", str(self.folder), "--upgrade", "--no-deps", *PINNED]
        if wheels := qt.QSettings().value(WHEELS):
            return ["--no-index", "--find-links", str(wheels), *arguments]
        return arguments

    def _stamp(self) -> None:
        (self.folder / STAMP).write_text("\n".join(PINNED), encoding="utf-8")

    def remove(self) -> None:
        """Takes our folder away."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_installed(self) -> bool:
        stamp = self.folder / STAMP
        return stamp.is_file() and stamp.read_text(encoding="utf-8").split() == list(PINNED)

    def _install_torch(self) -> None:
        if importlib.util.find_spec("torch") is not None and importlib.util.find_spec("torchvision") is not None:
            return
        logic = torch_logic()
        if (
            logic.installTorch(
                askConfirmation=False, torchVersionRequirement=TORCH, torchvisionVersionRequirement=TORCHVISION
            )
            is None
        ):
            raise Refusal(_("torch could not be installed: see the Python console, and try again."))


def _is_importable() -> bool:
    """Whether this Python has them already, as a developer's may, and a timm that fits the other pins."""
    try:
        versions = {pin.split("==")[0]: metadata.version(pin.split("==")[0]) for pin in PINNED}
    except metadata.PackageNotFoundError:
        return False
    return [int(part) for part in versions["timm"].split(".")[:3]] < TIMM_BELOW


def torch_logic() -> Any:
    """Of the PyTorch extension."""
    try:
        import PyTorchUtils
    except ImportError as error:
        raise Refusal(
            _("The PyTorch extension is missing: install it in the Extensions Manager, and restart Slicer.")
        ) from error
    return PyTorchUtils.PyTorchUtilsLogic()


def refuse_old_macs() -> None:
    """Intel Macs end at torch 2.2.2, which was built for NumPy 1."""
    if sys.platform == "darwin" and platform.machine() == "x86_64":
        import numpy as np

        if int(np.__version__.split(".")[0]) >= 2:
            raise Refusal(
                _(
                    "There is no torch for Intel Macs that works with this Slicer's NumPy: use a Mac with Apple's own "
                    "processor, Windows or Linux."
                )
            )
