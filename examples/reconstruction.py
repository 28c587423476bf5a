"""One of the shipped radiographs becomes bones, and they are measured against the true ones.

    python examples/reconstruction.py FOLDER

The film is simulated: its truth is known (`python -m training simulate --samples` makes it again), and the bundle's
networks never met the people whom this virtual patient is mixed of.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from DualFaceReconLib import Reconstructor, read_radiograph, save
from DualFaceReconLib.bundle.manifest import load_manifest
from DualFaceReconLib.bundle.store import SHIPPED
from DualFaceReconLib.disk.meshfiles import read_vtp
from DualFaceReconLib.geometry import ProjectionGeometry, Provenance
from DualFaceReconLib.meshes import Mesh, arrays, clip_to_planes
from DualFaceReconLib.metrics import compare_surfaces
from DualFaceReconLib.outcome import Reconstruction
from DualFaceReconLib.shape.visibility import entry_and_exit_depths

SAMPLES = Path(__file__).parent.parent / "Resources" / "Samples"
SAMPLE = "pelvis_1"


def main(folder: Path) -> None:
    radiograph = read_radiograph(SAMPLES / f"{SAMPLE}.dcm")
    truth = {path.stem: arrays(read_vtp(path)) for path in sorted((SAMPLES / f"{SAMPLE}_truth").glob("*.vtp"))}
    reconstructor = Reconstructor()
    reconstruction = reconstructor.run(radiograph)
    place = folder / SAMPLE
    save(reconstruction, place, overwrite=True)
    true_mm = true_object_distance(truth, radiograph.geometry)
    placed = radiograph.at_object_distance(true_mm, Provenance("user", "the truth of this simulated film"))
    at_true_distance = reconstructor.run(placed, prediction=reconstruction.prediction)

    print(reconstruction)
    print(f"\n{'ASSD to the true bone, on the film, mm':<42}{'as a user has it':>18}{'at the true distance':>22}")
    for bone in reconstruction.bones:
        errors = [assd_mm(made, bone, truth[bone]) for made in (reconstruction, at_true_distance)]
        print(f"{bone:<42}{errors[0]:>18.1f}{errors[1]:>22.1f}")
    assumed = radiograph.geometry.object_distance_mm
    print(f"(from detector to bones: {assumed:.0f} mm by the film's header, {true_mm:.0f} mm in truth)")
    print(f"\nHow good the bundle is known to be: {load_manifest(SHIPPED).measured}")
    print(f"\nResult: {place}  (look at picture.png)")


def true_object_distance(truth: dict[str, Mesh], geometry: ProjectionGeometry) -> float:
    """Detector to the mean of all depths that the film shows, mm."""
    coarse = geometry.resized([n // 4 for n in geometry.size_px])
    depths = np.concatenate(
        [np.ravel(faces) for mesh in truth.values() for faces in entry_and_exit_depths(*mesh, coarse)]
    )
    return geometry.sdd_mm - float(depths[depths > 0].mean())


def assd_mm(reconstruction: Reconstruction, name: str, truth: Mesh) -> float:
    """Mean distance of both surfaces inside the film's frustum."""
    planes = reconstruction.radiograph.geometry.frustum_planes()
    bone = reconstruction.bones[name]
    surface = bone.observed if bone.completed is None else bone.completed
    return compare_surfaces(clip_to_planes(*arrays(surface), *planes), clip_to_planes(*truth, *planes)).assd_mm


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/demo"))
