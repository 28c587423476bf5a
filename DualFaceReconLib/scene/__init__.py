"""Reconstructions in scenes of 3D Slicer, on its desktop and on slicer-core; without either the import is refused."""

from DualFaceReconLib.scene.folders import hide_others
from DualFaceReconLib.scene.run import SceneRun
from DualFaceReconLib.scene.scene import (
    add_to_scene,
    new_scene,
    remove_from_scene,
    runs_in,
    save_scene,
    show,
    show_film,
)
from DualFaceReconLib.scene.vertebra import (
    add_vertebra_to_scene,
    save_vertebra_scene,
    show_vertebra,
    show_vertebra_film,
)

__all__ = [
    "SceneRun",
    "add_to_scene",
    "add_vertebra_to_scene",
    "hide_others",
    "new_scene",
    "remove_from_scene",
    "runs_in",
    "save_scene",
    "save_vertebra_scene",
    "show",
    "show_film",
    "show_vertebra",
    "show_vertebra_film",
]
