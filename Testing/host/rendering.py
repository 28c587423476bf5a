"""What Slicer draws of made reconstructions, for tests: python -m host.rendering FOLDER, with Testing in PYTHONPATH.

In a process of its own: when drawing or closing breaks down, a test fails and not its worker. FOLDER/AP.npz, PA.npz and
cropped.npz hold `drawn` (rows, cols) bool, where the film's pixels show bones in a view from the X-ray source, and
`mask` (rows, cols) bool; slice.npz holds the `picture` (rows, cols, 3) of a slice view and its `xy_to_ras` (4, 4).
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from support.reconstructions import PELVIS, RIGHT_HIP, made_reconstruction

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.scene import add_to_scene, show
from host import Host

FILMS = {
    "AP": (PELVIS, BONES),
    "PA": (replace(PELVIS, view="PA"), BONES),
    "cropped": (RIGHT_HIP, ("hip_right", "femur_right")),  # the central ray is near its border
}


def array(matrix) -> np.ndarray:
    """A vtkMatrix4x4's values."""
    return np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])


def on_film(view, geometry) -> np.ndarray:
    """What the view shows where the film's pixels are, (rows, cols, 3) uint8."""
    picture = view.picture()
    rows, cols = picture.shape[:2]
    camera = array(view.renderer.GetActiveCamera().GetCompositeProjectionTransformMatrix(cols / rows, -1, 1))
    places = geometry.back_project(geometry.pixel_centres(), np.full(geometry.size_px, geometry.sdd_mm))
    seen = np.concatenate([places, np.ones((*geometry.size_px, 1))], axis=-1) @ camera.T
    seen = seen[..., :2] / seen[..., 3:]
    if np.abs(seen).max() > 1:
        raise AssertionError("the film is not whole in the view")
    col, row = (seen[..., 0] + 1) / 2 * cols - 0.5, (1 - seen[..., 1]) / 2 * rows - 0.5
    return picture[np.rint(row).astype(int), np.rint(col).astype(int)]


def from_source(geometry, bones, out: Path) -> None:
    """Nothing but completed bones, on black."""
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


def in_slice_view(out: Path) -> None:
    """Film and outlines."""
    with Host() as host:
        view = host.slice_view(size_px=(440, 540))
        show(add_to_scene(made_reconstruction(), host.scene))
        np.savez(out, picture=view.picture(), xy_to_ras=array(view.node.GetXYToRAS()))


def main(folder: Path) -> None:
    for name, (geometry, bones) in FILMS.items():
        from_source(geometry, bones, folder / f"{name}.npz")
    in_slice_view(folder / "slice.npz")
    print("closed")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
