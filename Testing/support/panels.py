"""The module's panel in a desktop, with an engine's stand-in that is there at once and does what a test wants."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

pytest.importorskip("PySide6")  # whoever imports this file is skipped
pytest.importorskip("slicer")
from host.desktop import Desktop

from DualFaceReconLib.pictures import inspection
from DualFaceReconLib.results import save
from DualFaceReconLib.worker import protocol
from support.reconstructions import made_reconstruction

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "DualFaceRecon" / "DualFaceRecon.py"
STAND_IN = Path(__file__).with_name("standin_engine.py")
SETTLING_MS = 20  # instead of as long as people take to type
WORDS = "Completing the bones"  # of the stand-in's progress


@cache
def made_result() -> tuple[Path, dict]:
    """A result's folder, and what the engine says of its film when that is opened."""
    reconstruction = made_reconstruction(warnings=("The pelvis is tilted.",), doubted=("femur_left",))
    folder = Path(mkdtemp()) / "result"
    save(reconstruction, folder)
    np.save(folder / "pixels.npy", reconstruction.radiograph.pixels.astype(np.float32))
    radiograph = reconstruction.radiograph
    film = inspection.as_dict(radiograph)
    film["values"]["orientation"]["kind"] = "assumed"
    return folder, {
        **film,
        "size_px": radiograph.geometry.size_px,
        "geometry": radiograph.geometry.to_dict(),
    }


class Panel:
    """An open panel; what the stand-in does next is in `behave`, what it was asked in `asked`."""

    def __init__(self, desktop: Desktop, folder: Path) -> None:
        self.desktop, self.folder = desktop, folder
        self.behave()
        desktop.open_module(MODULE)
        self.panel.settling.setInterval(SETTLING_MS)

    @property
    def widget(self) -> object:
        """The module's, which is another one after it was reloaded."""
        return self.desktop.widget

    @property
    def ui(self) -> object:
        return self.widget.ui

    @property
    def panel(self) -> object:
        return self.widget.panel

    def behave(self, **values: object) -> None:
        """`seconds` a reconstruction takes and `loading_seconds` a bundle, `die` in the middle of a reconstruction,
        `refuse` a film in these words, `print` lines, `answers` to requests by their names, and `refusals` of them.
        """
        result, film = made_result()
        beside = self.folder / "behaviour.part"  # the stand-in may read it now
        beside.write_text(json.dumps({"result": str(result), "film": film, **values}))
        beside.replace(self.folder / "behaviour.json")

    def asked(self, name: str | None = None) -> list[dict]:
        """The requests, oldest first."""
        path = self.folder / "asked.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        requests = [json.loads(line) for line in lines]
        return [request for request in requests if name in (None, request["request"])]

    def film(self, name: str = "film.dcm") -> Path:
        """A file that the stand-in takes for a film."""
        path = self.folder / name
        path.write_bytes(name.encode())
        return path

    def choose(self, path: Path) -> None:
        """Types a film's path and waits until it is open."""
        self.ui.filmPath.currentPath = str(path)
        assert not self.ui.reconstructButton.enabled  # until it is open, which an earlier one is not
        self.wait(lambda: self.ui.reconstructButton.enabled)

    def press(self) -> None:
        self.ui.reconstructButton.click()

    def reconstructed(self) -> object:
        """Presses and waits for the bones; the run."""
        self.press()
        self.wait(lambda: not self.panel.computing)
        assert not self.ui.statusLabel.text, self.ui.statusLabel.text
        return self.panel.results.run()

    def wait(self, condition: object, seconds: float = 30) -> None:
        self.desktop.wait_for(condition, seconds)


@contextmanager
def opened_panel(folder: Path, window: bool = True) -> Iterator[Panel]:
    """A panel in a new scene."""
    with engine_stands_in(folder), Desktop(window) as desktop:
        yield Panel(desktop, folder)


@contextmanager
def engine_stands_in(folder: Path) -> Iterator[None]:
    """Workers that are started are stand-ins, which look in this folder for how to behave."""
    command = protocol.command
    protocol.command = lambda python, place=None: [sys.executable, "-S", str(STAND_IN), str(place), str(folder)]
    try:
        yield
    finally:
        protocol.command = command


def mask_of(segmentation: object, bone: str, film: object) -> np.ndarray:
    """(rows, cols) bool of a segment."""
    import slicer

    return slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, bone, film)[0] > 0
