"""The Slicer module: one hip radiograph in, bones in 3D out. Research use only.

From the console:

    from DualFaceRecon import DualFaceReconLogic
    run = DualFaceReconLogic().reconstruct("film.dcm")  # and run.node("completed", "hip_left") is a model node
"""

import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Optional

import slicer
from slicer import vtkMRMLVolumeNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

HERE = Path(__file__).resolve().parent
if importlib.util.find_spec("DualFaceReconLib") is None:  # installed it lies beside us, in the repository one folder up
    sys.path.append(str(HERE.parent))


class DualFaceRecon(ScriptedLoadableModule):
    """What Slicer lists: title, category, help and acknowledgement."""

    def __init__(self, parent):  # noqa: ANN001, ANN204
        super().__init__(parent)
        parent.title = _("DualFaceRecon")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.contributors = ["The DualFaceRecon developers"]
        parent.helpText = _(
            "Makes bones in 3D of one hip radiograph: choose a film, check R and L and what is amber, press "
            "Reconstruct. Or choose two films of a spine, click a vertebra on both and press Make vertebra. "
            "For research use only; this is not a medical device."
        )
        parent.acknowledgementText = _("The methods are 3DDX, Gu et al., MICCAI 2024, and EAR, Tan et al., 2024.")
        slicer.app.connect("startupCompleted()", register_samples)


def register_samples() -> None:
    """Puts the films that ship into the Sample Data module."""
    from DualFaceReconPanel.samples import register

    register()


@parameterNodeWrapper
class DualFaceReconParameterNode:
    """What the user chose; saved with the scene. A number of 0 leaves a value to the film's file."""

    film: Optional[vtkMRMLVolumeNode]  # noqa: UP045  (the wrapper knows Optional alone)
    pixelPitch: Annotated[float, WithinRange(0, 2)] = 0.0
    sourceDistance: Annotated[float, WithinRange(0, 3000)] = 0.0
    objectDistance: Annotated[float, WithinRange(0, 1500)] = 0.0
    markedLength: Annotated[float, WithinRange(0, 1000)] = 0.0
    swapSides: bool = False
    invert: bool = False
    completion: bool = True
    wholeFemurs: bool = False
    together: bool = True


class DualFaceReconWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Film, models, one button, results; each part of the panel is a file of DualFaceReconPanel."""

    def __init__(self, parent=None) -> None:  # noqa: ANN001
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.panel = None
        self._parameters = None
        self._binding = None

    def setup(self) -> None:
        super().setup()
        from DualFaceReconPanel.panel import Panel

        widget = slicer.util.loadUI(self.resourcePath("UI/DualFaceRecon.ui"))
        self.layout.addWidget(widget)
        self.layout.addStretch(1)
        widget.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(widget)
        self.logic = DualFaceReconLogic()
        self._bind()
        self.panel = Panel(self.ui)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._on_scene_start_close)
        self.addObserver(scene, scene.EndCloseEvent, self._on_scene_end_close)
        self.addObserver(scene, scene.EndImportEvent, self._on_scene_end_import)
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self._on_node_removed)

    def cleanup(self) -> None:
        """The module is unloaded or Slicer closes."""
        self.removeObservers()
        self._unbind()
        if self.panel is not None:
            self.panel.close()

    def onReload(self) -> None:
        """For developers: the panel's files are read again, too."""
        for name in [name for name in sys.modules if name.partition(".")[0] == "DualFaceReconPanel"]:
            del sys.modules[name]
        super().onReload()

    def enter(self) -> None:
        """The user comes here, also back from the Segment Editor."""
        self._bind()
        if self.panel is not None:
            self.panel.enter()

    def exit(self) -> None:
        self._unbind()

    def _bind(self) -> None:
        if self._parameters is None:
            self._parameters = DualFaceReconParameterNode(self.logic.getParameterNode())
            self._binding = self._parameters.connectGui(self.ui)

    def _unbind(self) -> None:
        if self._parameters is not None:
            self._parameters.disconnectGui(self._binding)
            self._parameters = self._binding = None

    def _on_scene_start_close(self, _caller: object, _event: str) -> None:
        self._unbind()
        self.panel.scene_closes()

    def _on_scene_end_close(self, _caller: object, _event: str) -> None:
        if self.parent.isEntered:
            self._bind()
        self.panel.refresh()

    def _on_scene_end_import(self, _caller: object, _event: str) -> None:
        self.panel.refresh()  # what was opened may have results

    def _on_node_removed(self, _caller: object, _event: str) -> None:
        self.panel.node_goes()


class DualFaceReconLogic(ScriptedLoadableModuleLogic):
    """The module without its panel: for the console and for scripts."""

    def reconstruct(self, film, name: str | None = None, **options):  # noqa: ANN001, ANN003, ANN201
        """A film's bones as nodes of the scene, a `DualFaceReconLib.scene.SceneRun`; waits until they are there.

        `film`: a path, or a volume node. `options`: pixel_pitch_mm, sdd_mm, object_distance_mm, view, swap_sides and
        invert, as `read_radiograph` takes them; marker (row, column, diameter in pixels, diameter in mm), bundle,
        device, completion, whole_femurs, together, folder (where the result's files are to stay) and overwrite, as the
        command `dualface reconstruct` has them.
        Raises Refusal with a sentence that says what to do.
        """
        from DualFaceReconPanel.console import reconstruct

        return reconstruct(film, name, **options)

    def reconstruct_patient(self, films, names=None, **options):  # noqa: ANN001, ANN003, ANN201
        """Bones of several films of one patient, which have one shape in all of them: a list of `SceneRun`s.

        `films`: paths or volume nodes. `options`: given (of each film a dictionary of what `reconstruct` takes of a
        film, as swap_sides or object_distance_mm), different_ids (where files name different patients and you know
        that they are one), bundle, device, whole_femurs, folder and overwrite. Raises Refusal: of which film it says.
        """
        from DualFaceReconPanel.console import reconstruct_patient

        return reconstruct_patient(films, names, **options)

    def reconstruct_vertebra(self, ap, lateral, level: str, **options):  # noqa: ANN001, ANN003, ANN201
        """The vertebra that is clicked on two films, as nodes of the scene: a `SceneRun` with films, volume, surface.

        `ap` and `lateral`: paths. `options`: centre_ap and centre_lateral (row, column), corners_ap and corners_lateral
        (four such pairs each), given_ap and given_lateral (of each film a dictionary of pixel_pitch_mm, sdd_mm,
        object_distance_mm, view and invert), angle_degrees, lateral_faces ("left" or "right"), same_patient, bundle,
        device, folder and overwrite, as the command `dualface vertebra` has them. Raises Refusal.
        """
        from DualFaceReconPanel.console import reconstruct_vertebra

        return reconstruct_vertebra(ap, lateral, level, **options)

    def inspect(self, path: str, **overrides):  # noqa: ANN003, ANN201
        """Text and picture (rows, cols, 3) uint8 of what is known of a film, without networks; raises Refusal.

        `overrides` as for `reconstruct`.
        """
        from DualFaceReconLib.film.radiograph import read_radiograph
        from DualFaceReconLib.pictures import inspection

        radiograph = read_radiograph(path, **overrides)
        return inspection.as_text(radiograph), inspection.picture(radiograph)

    def install(self) -> None:
        """Installs what networks need and is not here; waits for it, and asks nobody."""
        from DualFaceReconPanel.packages import Packages

        Packages().install_now()


class DualFaceReconTest(ScriptedLoadableModuleTest):
    """Run by "Reload and Test" and by ctest inside Slicer."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        for test in (
            self.test_what_is_no_film_is_refused,
            self.test_samples_are_read,
            self.test_a_sample_becomes_bones,
        ):
            self.setUp()
            test()

    def test_what_is_no_film_is_refused(self) -> None:
        from DualFaceReconLib.errors import Refusal

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "letter.txt"
            path.write_text("no film")
            self.assertRaises(Refusal, DualFaceReconLogic().reconstruct, str(path))

    def test_samples_are_read(self) -> None:
        from DualFaceReconPanel.samples import FILMS

        from DualFaceReconLib import read_radiograph

        for path in FILMS:
            self.assertEqual(read_radiograph(path).geometry.view in ("AP", "PA"), True)

    def test_a_sample_becomes_bones(self) -> None:
        from DualFaceReconPanel.packages import Packages
        from DualFaceReconPanel.samples import FILMS

        if Packages().missing():
            self.delayDisplay("Networks need packages that are not installed: this test is skipped")
            return
        pelvis = next(film for film in FILMS if film.stem == "pelvis_1")
        run = DualFaceReconLogic().reconstruct(str(pelvis))
        for bone in ("hip_left", "hip_right", "femur_left", "femur_right"):
            self.assertIsNotNone(run.node("completed", bone))
