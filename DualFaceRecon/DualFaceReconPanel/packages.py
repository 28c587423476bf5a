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
from dataclasses import dataclass
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
TORCH = ("torch", "torchvision")
TIMM_BELOW = [1, 0, 23]  # as dynamic-network-architectures demands
STAMP = "installed.txt"  # written last; holds what is installed
WHEELS = "DualFaceRecon/wheels"  # the setting with a folder of wheels, where there is no internet


@dataclass(frozen=True)
class Requirements:
    """What a kind of computer needs."""

    torch: tuple[str, str]  # torch and torchvision, as pip takes them
    pinned: tuple[str, ...]  # into our own folder
    megabytes: int  # of that folder


USUAL = Requirements(("torch>=2.2", "torchvision>=0.17"), PINNED, 30)
# torch for Intel Macs ends at 2.2.2, which was built for NumPy 1: the engine's process gets one, Slicer keeps its own
INTEL_MAC = Requirements(("torch==2.2.2", "torchvision==0.17.2"), (*PINNED, "numpy==1.26.4"), 130)


def requirements() -> Requirements:
    """Those of this computer; Slicer for Intel runs on Apple's own processors, too."""
    return INTEL_MAC if sys.platform == "darwin" and platform.machine() == "x86_64" else USUAL


def wheels() -> str:
    """The folder of wheels that is used instead of the internet; empty where there is none."""
    return str(qt.QSettings().value(WHEELS) or "")


def use_wheels(folder: str) -> None:
    """Keeps the folder in Slicer's settings; an empty one is the internet."""
    qt.QSettings().setValue(WHEELS, folder)


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
        return [*self._torch_missing(), *self._own_missing()]

    def consent(self) -> str:
        """What will be installed, how large, and where."""
        lines = [_("To run networks, these Python packages will be installed:"), ""]
        if self._torch_missing():
            lines.append(
                _("torch and torchvision, into Slicer: 200 MB to 3 GB")
                if wheels()
                else _("torch and torchvision, by the PyTorch extension, into Slicer: 200 MB to 3 GB")
            )
        if own := self._own_missing():
            lines.append(
                _("{names}: {size} MB, into {folder}, for this module alone").format(
                    names=", ".join(pin.split("==")[0] for pin in own),
                    size=requirements().megabytes,
                    folder=self.folder,
                )
            )
        if wheels():
            lines += ["", _("They come from {folder}, not from the internet.").format(folder=wheels())]
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
        calls, own = self._calls(), self._own_missing()

        def finished(code: int) -> None:
            if code == 0 and calls:
                slicer.packaging.pip_install(
                    calls.pop(0),
                    blocking=False,
                    show_progress=True,
                    requester="DualFaceRecon",
                    completedCallback=finished,
                )
                return
            if code == 0 and own:
                self._stamp()
            done(code)

        finished(0)

    def install_now(self) -> None:
        """Installs what is missing and waits for it; nobody is asked."""
        import slicer.packaging

        calls, own = self._calls(), self._own_missing()
        for arguments in calls:
            slicer.packaging.pip_install(arguments, blocking=True, show_progress=False)
        if own:
            self._stamp()

    def remove(self) -> None:
        """Takes our folder away."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _calls(self) -> list[list[str]]:
        """The arguments of pip, call by call; torch is brought by its extension now, where it does not lie in a folder.

        A missing folder of wheels, one of ours that cannot be made, and a missing extension are refused.
        """
        offline = _offline()
        calls = []
        if self._torch_missing():
            if offline:
                calls.append([*offline, *requirements().torch])
            else:
                _bring_torch()
        if self._own_missing():
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                text = _("{folder} cannot be made ({why}): mend its permissions, and press Install again.")
                raise Refusal(text.format(folder=self.folder, why=error.strerror)) from error
            own = ["--target", str(self.folder), "--upgrade", "--no-deps"]
            calls.append([*offline, *own, *requirements().pinned])
        return calls

    def _torch_missing(self) -> list[str]:
        return [name for name in TORCH if importlib.util.find_spec(name) is None]

    def _own_missing(self) -> list[str]:
        return [] if self._is_installed() or _is_importable() else list(requirements().pinned)

    def _stamp(self) -> None:
        (self.folder / STAMP).write_text("\n".join(requirements().pinned), encoding="utf-8")

    def _is_installed(self) -> bool:
        stamp = self.folder / STAMP
        return stamp.is_file() and stamp.read_text(encoding="utf-8").split() == list(requirements().pinned)


def _offline() -> list[str]:
    """Arguments of pip for a folder of wheels, which has to be there; none where the internet is used."""
    folder = wheels()
    if folder and not Path(folder).is_dir():
        raise Refusal(_("The folder of wheels, {folder}, is not there: choose another one.").format(folder=folder))
    return ["--no-index", "--find-links", folder] if folder else []


def _bring_torch() -> None:
    logic = torch_logic()
    torch, torchvision = (text.removeprefix(name) for name, text in zip(TORCH, requirements().torch, strict=True))
    if (
        logic.installTorch(
            askConfirmation=False, torchVersionRequirement=torch, torchvisionVersionRequirement=torchvision
        )
        is None
    ):
        raise Refusal(_("torch could not be installed: see the Python console, and try again."))


def _is_importable() -> bool:
    """Whether this Python has them already, as a developer's may, and versions that fit each other."""
    try:
        versions = {pin.split("==")[0]: metadata.version(pin.split("==")[0]) for pin in requirements().pinned}
    except metadata.PackageNotFoundError:
        return False
    numpy_fits = int(versions.get("numpy", "1").split(".")[0]) < 2  # which is asked for on Intel Macs alone
    return numpy_fits and [int(part) for part in versions["timm"].split(".")[:3]] < TIMM_BELOW


def torch_logic() -> Any:
    """Of the PyTorch extension."""
    try:
        import PyTorchUtils
    except ImportError as error:
        raise Refusal(
            _("The PyTorch extension is missing: install it in the Extensions Manager, and restart Slicer.")
        ) from error
    return PyTorchUtils.PyTorchUtilsLogic()
