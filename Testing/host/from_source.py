"""Bones from the X-ray source, as Slicer draws them, brought onto the film's pixels.

python from_source.py OUT.npz AP|PA|cropped: `drawn` (rows, cols) bool, `mask` (rows, cols) bool.

In a process of its own: when drawing or closing breaks down, the test fails and not its worker.
"""

import sys
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
from reconstructions import PELVIS, RIGHT_HIP, made_reconstruction

from DualFaceReconLib.scene import add_to_scene, show
from host import Host

FILMS = {
    "AP": PELVIS,
    "PA": PELVIS.__class__(**{**PELVIS.to_dict(), "view": "PA", "provenance": {}}),
    "cropped": RIGHT_HIP,
}


def on_film(view, geometry) -> np.ndarray:
    """What the view shows where the film's pixels are, (rows, cols, 3) uint8."""
    picture = view.picture()
    rows, cols = picture.shape[:2]
    camera = view.renderer.GetActiveCamera()
    matrix = camera.GetCompositeProjectionTransformMatrix(cols / rows, -1, 1)
    matrix = np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])
    places = geometry.back_project(geometry.pixel_centres(), np.full(geometry.size_px, geometry.sdd_mm))
    seen = np.concatenate([places, np.ones((*geometry.size_px, 1))], axis=-1) @ matrix.T
    seen = seen[..., :2] / seen[..., 3:]
    assert np.abs(seen).max() <= 1, "the film is not whole in the view"
    col, row = (seen[..., 0] + 1) / 2 * cols - 0.5, (1 - seen[..., 1]) / 2 * rows - 0.5
    return picture[np.rint(row).astype(int), np.rint(col).astype(int)]


def main(out: Path, which: str) -> None:
    geometry = FILMS[which]
    bones = (
        ("hip_right", "femur_right") if which == "cropped" else ("hip_left", "hip_right", "femur_left", "femur_right")
    )
    reconstruction = made_reconstruction(geometry, bones)
    with Host() as host:
        view = host.view3d(size_px=(800, 1000))
        run = add_to_scene(reconstruction, host.scene)
        show(run)
        view.node.SetBackgroundColor(0, 0, 0)
        view.node.SetBackgroundColor2(0, 0, 0)
        for (role, _), node in run.nodes.items():
            if role == "completed":
                node.GetDisplayNode().SetLighting(False)  # or creases would be as black as the background
            elif node.IsA("vtkMRMLDisplayableNode") and node.GetDisplayNode():
                node.GetDisplayNode().SetVisibility(False)
        drawn = on_film(view, geometry).max(axis=-1) > 0
    np.savez(out, drawn=drawn, mask=reconstruction.maps.mask.any(axis=0))
    print("closed")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
