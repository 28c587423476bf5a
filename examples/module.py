"""The Slicer module from film to bones, without Slicer's desktop: `make demo-module` writes pictures to out/demo.

The module's own file runs unchanged, on Qt's real widgets and on slicer-core; engine and bundle are those that ship.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "Testing"))

import numpy as np  # noqa: E402
from host.desktop import Desktop  # noqa: E402
from PySide6 import QtCore, QtGui  # noqa: E402

FILM = "Resources/Samples/pelvis_1.dcm"
HIGH_PX, FILM_PX, BONES_PX = 1000, 620, 780  # of the layout, and the widths of its film and of its bones
PANEL_PX = (430, 1320)  # width, height
PAGE_PX = 1280  # width of the picture of all


def main(folder: Path) -> None:
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(ROOT)  # so that the panel shows a short path
    with Desktop() as desktop:
        film_view = desktop.slice_view("Red", (HIGH_PX, FILM_PX))
        bones_view = desktop.view3d("1", (HIGH_PX, BONES_PX))
        widget = desktop.open_module(ROOT / "DualFaceRecon" / "DualFaceRecon.py")
        desktop.window.resize(*PANEL_PX)
        ui = widget.ui
        ui.filmPath.currentPath = FILM
        desktop.wait_for(lambda: ui.reconstructButton.enabled, 120)
        desktop.picture(folder / "module_film.png")
        ui.reconstructButton.click()
        desktop.wait_for(lambda: not widget.panel.computing, 600)
        if widget.panel.results.run() is None:
            raise SystemExit(ui.statusLabel.text)
        desktop.picture(folder / "module_panel.png")
        pictures = [film_view.picture(), bones_view.picture()]
        together(folder / "module_panel.png", np.hstack(pictures), folder / "module.png")
    print(f"Pictures of the module: {folder}")


def together(panel: Path, layout: np.ndarray, path: Path) -> None:
    """The panel on the left, the layout (rows, cols, 3) on the right, as in Slicer."""
    smooth = QtCore.Qt.SmoothTransformation
    left = QtGui.QImage(str(panel)).scaledToHeight(HIGH_PX, smooth)
    rows, cols, _ = layout.shape
    right = QtGui.QImage(np.ascontiguousarray(layout).data, cols, rows, 3 * cols, QtGui.QImage.Format_RGB888)
    page = QtGui.QImage(left.width() + cols, rows, QtGui.QImage.Format_RGB888)
    painter = QtGui.QPainter(page)
    painter.drawImage(0, 0, left)
    painter.drawImage(left.width(), 0, right)
    painter.end()
    page.scaledToWidth(PAGE_PX, smooth).save(str(path), quality=0)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "out" / "demo"))
