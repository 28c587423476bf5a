"""One of the shipped radiographs becomes a Slicer scene, and Slicer's own views draw it, without a display.

    python examples/scene.py FOLDER

Writes scene.mrb into the reconstruction's folder and pictures beside it. The views are those of the tests' small host.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parent.parent / "Testing"))
from host import Host, View3D

from DualFaceReconLib import Reconstructor, load_reconstruction, read_radiograph, save
from DualFaceReconLib.outcome import Reconstruction
from DualFaceReconLib.pictures.drawing import save_png, write
from DualFaceReconLib.scene import add_to_scene, show

SAMPLE = Path(__file__).parent.parent / "Resources" / "Samples" / "pelvis_1.dcm"
PANEL_PX = (400, 480)  # rows, cols
DARK = (0.11, 0.12, 0.14)
AROUND = {  # where to look from, and at what, RAS mm from the bones' middle
    "from the front": ((0, 1250, 90), (0, 0, -10)),
    "from the left": ((-1250, 330, 90), (0, -60, -10)),
}


def main(folder: Path) -> None:
    place = folder / SAMPLE.stem
    reconstruction = load_reconstruction(place) if place.exists() else Reconstructor().run(read_radiograph(SAMPLE))
    save(reconstruction, place, overwrite=True, scene=True)
    pictures = drawn(reconstruction)
    for name, picture in pictures.items():
        save_png(picture, folder / f"scene {name}.png".replace(" ", "_"))
        write(picture, name, (PANEL_PX[0] - 10, 10), 16, anchor=(1, 0))  # R and L are above
    together = list(pictures.values())
    save_png(np.vstack([np.hstack(together[:2]), np.hstack(together[2:])]), folder / "scene.png")
    print(f"Scene: {place / 'scene.mrb'}  (open it in 3D Slicer; pictures: {folder / 'scene.png'})")


def drawn(reconstruction: Reconstruction) -> dict[str, np.ndarray]:
    """(rows, cols, 3) uint8 by what it shows."""
    with Host() as host:
        slices, view = host.slice_view(size_px=PANEL_PX), host.view3d(size_px=PANEL_PX)
        run = add_to_scene(reconstruction, host.scene)
        show(run)
        view.node.SetBackgroundColor(*DARK)
        view.node.SetBackgroundColor2(*DARK)
        pictures = {"slice view": slices.picture(), "from the X-ray source": view.picture()}
        geometry = reconstruction.radiograph.geometry
        middle = geometry.section_corners(geometry.sdd_mm - geometry.object_distance_mm).mean(axis=0)
        for name, (eye, at) in AROUND.items():
            look(host, view, middle + eye, middle + at)
            pictures[name] = view.picture()
    return pictures


def look(host: Host, view: View3D, eye: np.ndarray, at: np.ndarray) -> None:
    """Head up."""
    camera = host.logics["Cameras"].GetViewActiveCameraNode(view.node)
    camera.SetPosition(*eye)
    camera.SetFocalPoint(*at)
    camera.SetViewUp(0, 0, 1)
    camera.SetViewAngle(25)
    camera.ResetClippingRange()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/demo"))
