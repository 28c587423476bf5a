"""DualFaceRecon: bones in 3D from a single hip radiograph, and vertebrae from two films. Research use only.

    from DualFaceReconLib import Reconstructor, load_reconstruction, read_radiograph, save

    radiograph = read_radiograph("film.dcm")             # pixels, and how the film was taken
    reconstruction = Reconstructor().run(radiograph)     # networks, surfaces, shape models; keep the Reconstructor
    save(reconstruction, "out/film")                     # a folder of meshes, depth maps, picture.png and report.html
    reconstruction = load_reconstruction("out/film")     # without the networks

    films = read_spine_films("ap.dcm", "lateral.dcm")    # two films of one spine
    clicks = VertebraTarget(level="L3", centre_ap_px=(512, 300), centre_lateral_px=(498, 410))
    vertebra = VertebraReconstructor().run(films, clicks)
    save_vertebra(vertebra, "out/L3")                    # and load_vertebra("out/L3")

`reconstruction.bones["hip_left"].completed` is a vtkPolyData in RAS millimetres. Each name is imported when it is first
used, so that importing the package takes no time: torch, the slowest, comes with Reconstructor alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from DualFaceReconLib.film.radiograph import read_radiograph
    from DualFaceReconLib.reconstruction import Reconstructor
    from DualFaceReconLib.results import load_reconstruction, save
    from DualFaceReconLib.vertebra.films import read_spine_films
    from DualFaceReconLib.vertebra.reconstruction import VertebraReconstructor
    from DualFaceReconLib.vertebra.targets import VertebraTarget
    from DualFaceReconLib.vertebra_results import load_vertebra, save_vertebra

__version__ = "0.1.0"
__all__ = [
    "Reconstructor",
    "VertebraReconstructor",
    "VertebraTarget",
    "load_reconstruction",
    "load_vertebra",
    "read_radiograph",
    "read_spine_films",
    "save",
    "save_vertebra",
]

_HOMES = {
    "Reconstructor": "reconstruction",
    "load_reconstruction": "results",
    "read_radiograph": "film.radiograph",
    "save": "results",
    "VertebraReconstructor": "vertebra.reconstruction",
    "VertebraTarget": "vertebra.targets",
    "read_spine_films": "vertebra.films",
    "load_vertebra": "vertebra_results",
    "save_vertebra": "vertebra_results",
}


def __getattr__(name: str) -> Any:
    """One of the names above, from the file that has it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
