"""The pair of films that ships becomes a vertebra, and it is measured against the true one.

    python examples/vertebra.py FOLDER [BUNDLE]

The films are simulated: their truth is known (`python -m training vertebrae samples` makes it again). Without a bundle
for vertebrae it says how to make one.
"""

from __future__ import annotations

import sys
from pathlib import Path

from DualFaceReconLib import VertebraReconstructor, read_spine_films, save_vertebra
from DualFaceReconLib.bundle.manifest import MANIFEST
from DualFaceReconLib.bundle.store import SHIPPED_VERTEBRAE
from DualFaceReconLib.disk.meshfiles import read_vtp
from DualFaceReconLib.meshes import arrays
from DualFaceReconLib.metrics import compare_surfaces
from DualFaceReconLib.pictures.wording import measured, words
from DualFaceReconLib.vertebra.targets import read_targets

SAMPLES = Path(__file__).parent.parent / "Resources" / "Vertebrae" / "Samples"
SAMPLE = "spine_L3"


def main(folder: Path, bundle: Path | None = None) -> None:
    if bundle is None and not (SHIPPED_VERTEBRAE / MANIFEST).is_file():
        print(
            "No bundle for vertebrae ships: make one of a network of your own with `python -m training vertebrae "
            "bundle`, and this example shows what it makes of the pair of films in Resources/Vertebrae/Samples."
        )
        return
    films = read_spine_films(SAMPLES / f"{SAMPLE}_ap.dcm", SAMPLES / f"{SAMPLE}_lateral.dcm")
    [clicks] = read_targets(SAMPLES / f"{SAMPLE}.json")
    truth = arrays(read_vtp(SAMPLES / f"{SAMPLE}_truth.vtp"))
    reconstructor = VertebraReconstructor(bundle)
    vertebra = reconstructor.run(films, clicks)
    place = folder / SAMPLE
    save_vertebra(vertebra, place, overwrite=True)
    errors = compare_surfaces(arrays(vertebra.surface), truth, 20_000)
    print(f"{vertebra}. Research use only.")
    for name, value in vertebra.measurements.items():
        print(f"{words(name):<24}{measured(value)}")
    print(f"To the true {vertebra.level}: ASSD {errors.assd_mm:.1f} mm, HD95 {errors.hd95_mm:.1f} mm")
    print(f"How good the bundle is known to be: {vertebra.measured}")
    print(f"Result: {place}  (look at picture.png)")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/demo"), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
