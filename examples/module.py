"""The Slicer module from film to bones, without Slicer's desktop: `make demo-module` writes pictures to out/demo.

    python examples/module.py FOLDER [BUNDLE]

The module's own file runs unchanged, on Qt's real widgets and on slicer-core; engine and bundle are those that ship.
Then both films of the pair that ships are clicked, and a bundle for vertebrae makes one where it is named.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "Testing"))

import numpy as np  # noqa: E402
from host.desktop import Desktop  # noqa: E402
from PySide6 import QtCore, QtGui  # noqa: E402

FILM = "Resources/Samples/pelvis_1.dcm"
PAIR = "Resources/Vertebrae/Samples/spine_L3"
HIGH_PX, FILM_PX, BONES_PX = 1000, 620, 780  # of the layout, and the widths of its film and of its bones
PANEL_PX = (430, 1320)  # width, height
PAGE_PX = 1280  # width of the picture of all


def main(folder: Path, bundle: Path | None = None) -> None:
    bundle = None if bundle is None else bundle.absolute()
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
        vertebra(desktop, widget, film_view, folder, bundle)
        if bundle is not None:
            pictures = [film_view.picture(), bones_view.picture()]
            together(folder / "module_vertebra_panel.png", np.hstack(pictures), folder / "module_vertebra.png")
    print(f"Pictures of the module: {folder}")


def vertebra(desktop: Desktop, widget: Any, film_view: Any, folder: Path, bundle: Path | None) -> None:
    """Both films clicked, with the line on which the second click has to lie; the vertebra where there is a bundle."""
    import slicer
    from DualFaceReconPanel.vertebra_clicks import CENTRE, on_film

    slicer.mrmlScene.Clear()  # the hips are somebody else's
    ui, section = widget.ui, widget.panel.vertebrae
    for part in (ui.filmSection, ui.givenSection, ui.modelSection, ui.resultsSection):
        part.collapsed = True
    ui.vertebraSection.collapsed = ui.vertebraGiven.collapsed = False
    ui.vertebraAp.currentPath, ui.vertebraLateral.currentPath = f"{PAIR}_ap.dcm", f"{PAIR}_lateral.dcm"
    ui.vertebraBundle.currentPath = "" if bundle is None else str(bundle)
    [clicks] = json.loads(Path(f"{PAIR}.json").read_text(encoding="utf-8"))
    for number, name in enumerate(("centre_ap", "centre_lateral")):
        section.click(number, CENTRE)
        desktop.wait_for(lambda: not section.computing, 120)
        film = section.clicks._films[number]
        film.markups[CENTRE].AddControlPoint(*on_film(film.geometry, [clicks[name]])[0])
    slicer.app.processEvents()  # so that the panel is laid out anew
    desktop.picture(folder / "module_vertebra_panel.png")
    together(folder / "module_vertebra_panel.png", film_view.picture(), folder / "module_vertebra_clicked.png")
    if bundle is None:
        return
    ui.vertebraButton.click()
    desktop.wait_for(lambda: not section.computing, 600)
    if section.run is None:
        raise SystemExit(ui.vertebraStatus.text)
    ui.vertebraShowLateral.click()
    slicer.app.processEvents()
    desktop.picture(folder / "module_vertebra_panel.png")


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
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "out" / "demo"), *map(Path, sys.argv[2:3]))
