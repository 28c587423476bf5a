"""Where a film's pixels and tags are found, given a file or a volume of the scene.

Slicer's spacing is never taken for a pixel pitch: its readers put films into planes and spacings of their choice.
What a film's file says is read by the engine from that file, which is found through `DICOM.instanceUIDs`, the
database, then the storage node; for a film without a file its pixels alone go to the engine, and the user says the
pitch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from DualFaceReconLib.errors import Refusal

INSTANCES = "DICOM.instanceUIDs"
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, as the engine's own reader has it


@dataclass(frozen=True)
class FilmSource:
    """What the engine is to open."""

    path: Path
    name: str  # of a node or a file; for the screen alone
    study: int = 0  # the item in the subject hierarchy below which results belong; 0: none
    node_id: str = ""  # of a volume of the scene

    def title(self, opened: Mapping[str, Any]) -> str:
        """What a result is called: after the film's node; for a file, whose name may name a patient, its hash."""
        return _("{film}, bones").format(film=self.name) if self.node_id else f"film {opened['pixel_hash']}"


def source_of_file(path: str) -> FilmSource:
    """Of a file that the user named."""
    return FilmSource(Path(path), Path(path).name)


def source_of_node(node: Any, folder: Path) -> FilmSource:
    """Of a volume, also the proxy of a sequence; pixels that have no file are written into `folder`."""
    path = _file_of(node) or _pixels_of(node, folder)
    return FilmSource(path, node.GetName(), _study_of(node), node.GetID())


def _file_of(node: Any) -> Path | None:
    uids = (node.GetAttribute(INSTANCES) or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    if len(uids) == 1 and database is not None and database.isOpen:
        path = database.fileForInstance(uids[0])
        if path and Path(path).is_file():
            return Path(path)
    storage = node.GetStorageNode()
    name = storage.GetFileName() if storage is not None and storage.GetNumberOfFileNames() == 0 else None
    if name and Path(name).is_file() and not _is_a_proxy(node):
        return Path(name)
    return None


def _is_a_proxy(node: Any) -> bool:
    """Whether it shows one frame of a sequence, whose file would be the whole sequence's."""
    logic = getattr(getattr(slicer.modules, "sequences", None), "logic", None)
    return logic is not None and logic().GetFirstBrowserNodeForProxyNode(node) is not None


def _pixels_of(node: Any, folder: Path) -> Path:
    if node.GetImageData() is None:
        raise Refusal(_("This volume is empty: choose another film."))
    pixels = slicer.util.arrayFromVolume(node)
    if node.IsA("vtkMRMLVectorVolumeNode"):
        colours = pixels[..., :3].astype(np.float32)
        pixels = colours @ np.array(LUMINANCE, np.float32) if colours.shape[-1] == 3 else colours[..., 0]
    if pixels.ndim != 3 or pixels.shape[0] != 1:
        raise Refusal(_("This volume has more than one slice: choose a radiograph, which has one."))
    path = folder / f"{node.GetID()}.npy"
    np.save(path, pixels[0].astype(np.float32))
    return path


def _study_of(node: Any) -> int:
    """The item under which the film itself stands: its study's, where it came by DICOM."""
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(node)
    parent = hierarchy.GetItemParent(item) if item else 0
    return parent if parent and parent != hierarchy.GetSceneItemID() else 0
