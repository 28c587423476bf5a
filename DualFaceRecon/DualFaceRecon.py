"""The Slicer module: reads a hip radiograph and explains how it was taken. Research use only."""

import importlib.util
import sys
import tempfile
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

if importlib.util.find_spec("DualFaceReconLib") is None:  # installed it lies beside us, in the repository one folder up
    sys.path.append(str(Path(__file__).resolve().parent.parent))


class DualFaceRecon(ScriptedLoadableModule):
    """What Slicer lists: title, category, help and acknowledgement."""

    def __init__(self, parent):  # noqa: ANN001, ANN204
        super().__init__(parent)
        self.parent.title = _("DualFaceRecon")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Orthopedics")]
        self.parent.contributors = ["The DualFaceRecon developers"]
        self.parent.helpText = _(
            "Reads one hip radiograph and shows what its file says about how it was taken, where each value came from, "
            "and what had to be assumed. For research use only."
        )
        self.parent.acknowledgementText = _("The method is 3DDX, Gu et al., MICCAI 2024.")


class DualFaceReconWidget(ScriptedLoadableModuleWidget):
    """A film to choose, a button, and what was found."""

    def setup(self) -> None:
        super().setup()
        panel = slicer.util.loadUI(self.resourcePath("UI/DualFaceRecon.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        self.logic = DualFaceReconLogic()
        self.ui.filmPath.connect("currentPathChanged(QString)", self.on_film_changed)
        self.ui.inspectButton.connect("clicked(bool)", self.on_inspect)
        self.on_film_changed(self.ui.filmPath.currentPath)

    def on_film_changed(self, path: str) -> None:
        self.ui.inspectButton.enabled = bool(path)
        self.ui.findings.plainText = ""
        self.ui.picture.clear()

    def on_inspect(self, _clicked: bool = False) -> None:
        with slicer.util.tryWithErrorDisplay(_("The film cannot be used."), waitCursor=True):
            text, picture = self.logic.inspect(self.ui.filmPath.currentPath, **self.given())
            self.ui.findings.plainText = text
            with tempfile.TemporaryDirectory() as folder:
                self.ui.picture.setPixmap(qt.QPixmap(self.logic.save_picture(picture, folder)))

    def given(self) -> dict:
        """What the user says about the film; a 0 leaves it to the file."""
        return {
            "pixel_pitch_mm": self.ui.pixelPitch.value or None,
            "sdd_mm": self.ui.sourceDistance.value or None,
            "object_distance_mm": self.ui.objectDistance.value or None,
            "swap_sides": self.ui.swapSides.checked,
            "invert": self.ui.invert.checked,
        }


class DualFaceReconLogic(ScriptedLoadableModuleLogic):
    """The engine's verbs for the widget; usable from the console."""

    def inspect(self, path: str, **given):  # noqa: ANN003, ANN201
        """Text and picture (rows, cols, 3) uint8 of what is known of a film; raises a one-sentence error.

        `given` is what `read_radiograph` takes: pixel_pitch_mm, sdd_mm, object_distance_mm, swap_sides, invert.
        """
        # imported here, so that Slicer starts no slower for a module that nobody opens
        from DualFaceReconLib.film.radiograph import read_radiograph
        from DualFaceReconLib.pictures import inspection

        radiograph = read_radiograph(path, **given)
        return inspection.as_text(radiograph), inspection.picture(radiograph)

    def save_picture(self, picture, folder: str) -> str:  # noqa: ANN001
        """Writes the picture as PNG and gives its path."""
        from DualFaceReconLib.pictures import drawing

        path = Path(folder) / "inspect.png"
        drawing.save_png(picture, path)
        return str(path)


class DualFaceReconTest(ScriptedLoadableModuleTest):
    """Run by "Reload and Test" and by ctest inside Slicer."""

    def runTest(self) -> None:
        self.setUp()
        self.test_what_is_no_film_is_refused()

    def test_what_is_no_film_is_refused(self) -> None:
        from DualFaceReconLib.errors import Refusal

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "letter.txt"
            path.write_text("no film")
            self.assertRaises(Refusal, DualFaceReconLogic().inspect, str(path))
