"""Reconstructions in Slicer's scene: shown, chosen, corrected in the Segment Editor, exported."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.disk.meshfiles import write_stl, write_vtp
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.pictures.wording import UNITS
from DualFaceReconLib.results import load_reconstruction
from DualFaceReconLib.scene import SceneRun, add_to_scene, runs_in

ASKED = "DualFaceRecon.asked"  # of a run's film: what it was made of, so that the panel sees when that has changed
WARNINGS = "DualFaceRecon.warnings"  # of a run's film: the result's, a line each
MASKS = "DualFaceRecon.masks"  # of a run's segmentation: its content when the bones were made of it


def asked_of(opened: Mapping[str, Any]) -> str:
    """What a reconstruction hangs on, of the engine's answer to a film that was opened."""
    return json.dumps([opened["pixel_hash"], opened["geometry"]], sort_keys=True)


def add_result(folder: Path, asked: str, name: str, study: int, replacing: SceneRun | None = None) -> SceneRun:
    """A result's nodes, below the film's own study; `replacing` updates the nodes of that run."""
    reconstruction = load_reconstruction(folder)
    run = add_to_scene(reconstruction, name=name, replacing=replacing)
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    if study and replacing is None:
        hierarchy.SetItemParent(run.folder, study)
    run.node("film").SetAttribute(ASKED, asked)
    run.node("film").SetAttribute(WARNINGS, "\n".join(warning.text for warning in reconstruction.warnings))
    run.node("segmentation").SetAttribute(MASKS, _content(run))
    return run


def runs() -> list[SceneRun]:
    """Those of hip films in the scene, from top to bottom."""
    return [run for run in runs_in(slicer.mrmlScene) if run.node("film_ap") is None]  # a vertebra has two films


def vertebrae() -> list[SceneRun]:
    """Those of two films of a spine, from top to bottom."""
    return [run for run in runs_in(slicer.mrmlScene) if run.node("film_ap") is not None]


def measured_rows(table: Any) -> list[tuple[str, str]]:
    """Of a run's table of measurements: what, and its value with its spread and unit."""
    rows = []
    for row in range(table.GetNumberOfRows()):
        bone, name, value, std, unit = (table.GetValue(row, column) for column in range(5))
        spread = "" if math.isnan(std.ToDouble()) else f" ± {std.ToDouble():.1f}"
        what = f"{bone.ToString().replace('_', ' ')} {name.ToString().replace('_', ' ')}".strip()
        rows.append((what, f"{value.ToDouble():.1f}{spread} {UNITS.get(unit.ToString(), unit.ToString())}"))
    return rows


def is_stale(run: SceneRun, asked: str | None) -> bool:
    """Whether film, distances or sides are others than those that the run was made of."""
    film = run.node("film")
    return asked is not None and film is not None and film.GetAttribute(ASKED) not in (None, asked)


def edit_masks(run: SceneRun) -> None:
    """Opens the Segment Editor with the run's segmentation and film; bones may overlap there."""
    segmentation, film = run.node("segmentation"), run.node("film")
    if segmentation is None or film is None:
        raise Refusal(_("The masks of this result are no longer in the scene: reconstruct again."))
    slicer.util.selectModule("SegmentEditor")
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    editor.setSegmentationNode(segmentation)
    editor.setSourceVolumeNode(film)
    node = editor.mrmlSegmentEditorNode()
    node.SetOverwriteMode(node.OverwriteNone)  # hip and femur overlap at the joint


def masks_are_edited(run: SceneRun) -> bool:
    """Whether somebody has changed the masks since the bones were made of them."""
    segmentation = run.node("segmentation")
    made_of = None if segmentation is None else segmentation.GetAttribute(MASKS)
    return made_of is not None and made_of != _content(run)


def write_masks(run: SceneRun, bones: Sequence[str], path: Path) -> None:
    """The run's masks as the engine takes them: (bones, rows, cols) uint8 in a .npy file."""
    np.save(path, np.stack([_mask(run, bone) for bone in bones]).astype(np.uint8))


def export(run: SceneRun, folder: Path, completed: bool) -> list[Path]:
    """The bones as .vtp and .stl files that say their axes; what was seen of them, or the completed ones."""
    role = "completed" if completed else "observed"
    written = []
    for bone in BONES:
        node = run.node(role, bone)
        if node is None:
            continue
        name = bone if completed else f"{bone}_observed"
        paths = [folder / f"{name}.vtp", folder / f"{name}.stl"]
        for path in paths:
            if path.exists():
                raise Refusal(_("{name} is there already: choose an empty folder.").format(name=path.name))
        write_vtp(node.GetPolyData(), paths[0])
        write_stl(node.GetPolyData(), paths[1], f"{name}; research use only")
        written += paths
    if not written:
        raise Refusal(_("This result has no such bones."))
    return written


def _mask(run: SceneRun, bone: str) -> np.ndarray:
    """(rows, cols) bool; empty where there is no such segment any more."""
    segmentation, film = run.node("segmentation"), run.node("film")
    if segmentation.GetSegmentation().GetSegment(bone) is None:
        return np.zeros(slicer.util.arrayFromVolume(film).shape[1:], bool)
    return slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, bone, film)[0] > 0


def _content(run: SceneRun) -> str:
    """A short text that changes with any pixel of the masks."""
    digest = hashlib.sha256()
    for bone in BONES:
        digest.update(np.packbits(_mask(run, bone)).tobytes())
    return digest.hexdigest()[:16]
