"""The panel's last part: what came of the film."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from DualFaceReconLib import __version__
from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.pictures.bones import BONE_COLOURS
from DualFaceReconLib.scene import SceneRun, hide_others, remove_from_scene, show
from DualFaceReconLib.scene.nodes import REASONS, VERDICT
from DualFaceReconLib.verdicts import GOOD
from DualFaceReconPanel import scene_results, words
from DualFaceReconPanel.widgets import amber, amber_text, ask, explained, fit_columns, set_row

PLAIN, SEEN, CERTAINTY = range(3)  # as the colouring's combo box has them
SCALARS = {SEEN: "seen", CERTAINTY: "std_mm"}
VIEW_ANGLE_DEG, ROOM_AROUND_BONES = 30.0, 1.05
VIEWS = {"front": (0.0, 1.0, 0.0), "side": (-1.0, 0.0, 0.0)}  # where the eye is from the bones, RAS


class ResultSection:
    """One run at a time, of those in the scene."""

    def __init__(
        self,
        ui: Any,
        recompute: Callable[[SceneRun], None],
        log_tail: Callable[[], list[str]],
        asked: Callable[[], str | None],
        bones_shape: Callable[[], float],
    ) -> None:
        """`recompute` makes a run's bones anew, of masks that somebody has corrected; `log_tail` is the engine's.

        `asked` gives what a reconstruction would be made of now, None where no film is open; `bones_shape` the width
        of the 3D view by its height.
        """
        self.ui, self.recompute, self.log_tail, self.asked = ui, recompute, log_tail, asked
        self.bones_shape = bones_shape
        self._runs: list[SceneRun] = []
        self._reports: dict[str, Path] = {}  # by run
        self._details: dict[str, list[str]] = {}
        ui.colouringChooser.clear()
        for text in (_("bone"), _("seen or completed"), _("certainty")):
            ui.colouringChooser.addItem(text)
        ui.bonesTable.setColumnCount(3)
        ui.bonesTable.setHorizontalHeaderLabels([_("Bone"), _("Seen"), _("Verdict")])
        fit_columns(ui.bonesTable, 0)
        ui.measurementsTable.setColumnCount(2)
        ui.measurementsTable.setHorizontalHeaderLabels([_("Measurement"), _("Value")])
        fit_columns(ui.measurementsTable, 0)
        ui.exportChooser.clear()
        for text in (_("completed bones"), _("what was seen")):
            ui.exportChooser.addItem(text)
        ui.runChooser.connect("currentIndexChanged(int)", self._on_run)
        ui.colouringChooser.connect("currentIndexChanged(int)", self._on_colouring)
        ui.bonesTable.connect("itemChanged(QTableWidgetItem*)", self._on_bone)
        ui.filmIn3D.connect("toggled(bool)", self._on_film)
        for button, action in (
            (ui.fromSourceButton, self.look_from_source),
            (ui.fromFrontButton, lambda *_: self._look_from("front")),
            (ui.fromSideButton, lambda *_: self._look_from("side")),
            (ui.editMasksButton, self._on_edit),
            (ui.recomputeButton, self._on_recompute),
            (ui.reportButton, self._on_report),
            (ui.copyButton, self._on_copy),
            (ui.exportButton, self._on_export),
            (ui.removeRunButton, self._on_remove),
        ):
            button.connect("clicked(bool)", action)

    def run(self) -> SceneRun | None:
        """The one that is shown."""
        index = int(self.ui.runChooser.currentIndex)
        return self._runs[index] if 0 <= index < len(self._runs) else None

    def remember(self, run: SceneRun, folder: Path, details: list[str]) -> None:
        """Where a run's report lies, and what there is to say of how it was made; both go with this session."""
        self._reports[run.id] = folder / "report.html"
        self._details[run.id] = details

    def refresh(self, chosen: SceneRun | None = None) -> None:
        """Lists the scene's runs anew and shows one."""
        chosen = chosen or self.run()
        self._runs = scene_results.runs()
        chooser = self.ui.runChooser
        blocked = chooser.blockSignals(True)
        chooser.clear()
        for run in self._runs:
            chooser.addItem(run.name)
        ids = [run.id for run in self._runs]
        chooser.currentIndex = ids.index(chosen.id) if chosen is not None and chosen.id in ids else len(ids) - 1
        chooser.blockSignals(blocked)
        self.ui.resultsSection.visible = bool(self._runs)
        self._fill()
        self.mark_stale()

    def mark_stale(self) -> None:
        """Says so where the film, a distance or the sides have changed since."""
        run = self.run()
        stale = run is not None and scene_results.is_stale(run, self.asked())
        self.ui.staleLabel.visible = stale
        self.ui.staleLabel.text = amber_text(
            _("This result is of another film or of other values: press Reconstruct for these.")
        )
        edited = run is not None and scene_results.masks_are_edited(run)
        self.ui.recomputeButton.visible = edited

    def _fill(self) -> None:
        run = self.run()
        if run is None:
            return
        self._fill_bones(run)
        table = run.node("table")
        rows = [] if table is None else scene_results.measured_rows(table.GetTable())
        self.ui.measurementsTable.setRowCount(len(rows))
        for row, texts in enumerate(rows):
            set_row(self.ui.measurementsTable, row, texts, _tooltip(texts))
        warnings = (run.node("film").GetAttribute(scene_results.WARNINGS) or "").splitlines()
        self.ui.resultWarnings.text = "<br>".join(map(amber_text, warnings))
        self.ui.resultWarnings.visible = bool(warnings)
        self.ui.reportButton.enabled = run.id in self._reports and self._reports[run.id].is_file()

    def _fill_bones(self, run: SceneRun) -> None:
        table = self.ui.bonesTable
        blocked = table.blockSignals(True)
        nodes = [(bone, run.node("completed", bone) or run.node("observed", bone)) for bone in BONES]
        nodes = [(bone, node) for bone, node in nodes if node is not None]
        table.setRowCount(len(nodes))
        for row, (bone, node) in enumerate(nodes):
            grade = node.GetAttribute(VERDICT)
            texts = words.bones()[bone], _share_seen(node), words.grades().get(grade, "")
            reasons = (node.GetAttribute(REASONS) or "").replace("\n", "\n- ")
            tooltip = f"{texts[0]}: {texts[2]}\n- {reasons}" if reasons else ""
            set_row(table, row, texts, tooltip, amber() if grade not in (None, GOOD) else None)
            item = table.item(row, 0)
            item.setFlags(item.flags() | qt.Qt.ItemIsUserCheckable)
            item.setCheckState(qt.Qt.Checked if node.GetDisplayVisibility() else qt.Qt.Unchecked)
            item.setData(qt.Qt.UserRole, node.GetID())
            swatch = qt.QPixmap(12, 12)
            swatch.fill(qt.QColor(*BONE_COLOURS[bone]))
            item.setIcon(qt.QIcon(swatch))
        table.blockSignals(blocked)

    def _on_run(self, _index: int = 0) -> None:
        self._fill()
        self.mark_stale()
        self.look_from_source()

    def _on_bone(self, item: Any) -> None:
        node = slicer.mrmlScene.GetNodeByID(item.data(qt.Qt.UserRole) or "")
        if node is not None:
            node.SetDisplayVisibility(item.checkState() == qt.Qt.Checked)

    def _on_colouring(self, index: int) -> None:
        run = self.run()
        for bone in BONES if run is not None else ():
            node = run.node("completed", bone)
            if node is None:
                continue
            display = node.GetDisplayNode()
            if int(index) in SCALARS:
                display.SetActiveScalarName(SCALARS[int(index)])
            display.SetScalarVisibility(int(index) in SCALARS)

    def _on_film(self, visible: bool) -> None:
        for index in range(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSliceNode")):
            node = slicer.mrmlScene.GetNthNodeByClass(index, "vtkMRMLSliceNode")
            if node.GetLayoutName() == "Red":
                node.SetSliceVisible(bool(visible))

    def look_from_source(self, *_clicked: object) -> None:
        """Film and bones of the run that is chosen, as the X-rays saw them."""
        if (run := self.run()) is not None:
            show(run, self.bones_shape())

    def _look_from(self, where: str) -> None:
        camera = _camera()
        run = self.run()
        if run is None:
            return
        hide_others(run)
        if camera is None:
            return
        bounds = [0.0] * 6
        boxes = []
        for bone in BONES:
            node = run.node("completed", bone) or run.node("observed", bone)
            if node is not None:
                node.GetRASBounds(bounds)
                boxes.append(list(bounds))
        if not boxes:
            return
        low = [min(box[2 * axis] for box in boxes) for axis in range(3)]
        high = [max(box[2 * axis + 1] for box in boxes) for axis in range(3)]
        middle = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
        halves = [(b - a) / 2 for a, b in zip(low, high, strict=True)]
        depth, across = (halves[0], halves[1]) if where == "side" else (halves[1], halves[0])
        slope = math.tan(math.radians(VIEW_ANGLE_DEG) / 2) / ROOM_AROUND_BONES  # of the view's upper border
        away = depth + max(halves[2], across / self.bones_shape()) / slope
        camera.SetViewAngle(VIEW_ANGLE_DEG)
        camera.SetFocalPoint(*middle)
        camera.SetPosition(*(m + away * towards for m, towards in zip(middle, VIEWS[where], strict=True)))
        camera.SetViewUp(0, 0, 1)
        camera.ResetClippingRange()

    def _on_edit(self, *_clicked: object) -> None:
        with explained(_("The masks cannot be edited.")):
            if (run := self.run()) is not None:
                scene_results.edit_masks(run)

    def _on_recompute(self, *_clicked: object) -> None:
        with explained(_("The bones cannot be made anew.")):
            if (run := self.run()) is not None:
                self.recompute(run)

    def _on_report(self, *_clicked: object) -> None:
        if (run := self.run()) is not None and run.id in self._reports:
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self._reports[run.id])))

    def _on_copy(self, *_clicked: object) -> None:
        run = self.run()
        lines = [
            f"DualFaceRecon {__version__}",
            f"Slicer {slicer.app.applicationVersion}, {platform.system()} {platform.machine()}",
            *(self._details.get(run.id, []) if run is not None else []),
            *self.log_tail(),
        ]
        slicer.app.clipboard().setText("\n".join(lines))

    def _on_export(self, *_clicked: object) -> None:
        run = self.run()
        folder = qt.QFileDialog.getExistingDirectory(None, _("A folder for the bones")) if run is not None else ""
        if folder:
            with explained(_("The bones could not be written.")):
                completed = int(self.ui.exportChooser.currentIndex) == 0
                written = scene_results.export(run, Path(folder), completed)
                slicer.util.showStatusMessage(_("{count} files written").format(count=len(written)), 3000)

    def _on_remove(self, *_clicked: object) -> None:
        run = self.run()
        if run is not None and ask(_("Remove this result from the scene?"), _("Remove")):
            remove_from_scene(run)
            self.refresh()
            self.look_from_source()


def _camera() -> Any:
    for index in range(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLCameraNode")):
        node = slicer.mrmlScene.GetNthNodeByClass(index, "vtkMRMLCameraNode")
        if node.GetLayoutName() == "1":
            return node
    return None


def _tooltip(texts: tuple[str, str]) -> str:
    """What a measurement is; the whole of both cells, which a narrow panel cuts."""
    meaning = next((text for name, text in words.meanings().items() if name in texts[0]), "")
    return f"{texts[0]}: {texts[1]}" + (f"<br>{meaning}" if meaning else "")


def _share_seen(node: Any) -> str:
    """How much of a completed bone the film has shown."""
    from vtkmodules.util.numpy_support import vtk_to_numpy

    seen = node.GetPolyData().GetPointData().GetArray("seen")
    return _("not completed") if seen is None else f"{100 * float(vtk_to_numpy(seen).mean()):.0f} %"
