"""The radiographs that ship: films of virtual patients who are mixed from the people kept out of training.

`recipes/samples.toml` says which. The films ship, and of some the true bones; `python -m training simulate --samples
--out OUT` makes each again with all of its truth, as a case, and compares it with what ships.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from DualFaceReconLib.disk.meshfiles import read_vtp
from DualFaceReconLib.film.radiograph import read_radiograph
from DualFaceReconLib.meshes import arrays
from training.patients.kept_out import kept_out_people
from training.patients.population import load_population
from training.simulate import Series, simulate_case
from training.xray.dicom_film import write_lossless

RECIPE = Path(__file__).parent / "recipes" / "samples.toml"
SHIPPED = Path(__file__).parent.parent / "Resources" / "Samples"
TRUTH_TOLERANCE_MM = 0.05
TOLERANCE = 0.002  # of the grey range: processors differ in the last digits of sums


def make_samples(
    bones: Path, cache: Path, out: Path, shipped: Path = SHIPPED, say: Callable[[str], None] = print
) -> tuple[list[Path], list[str]]:
    """Writes the samples' cases; gives their folders, and how `shipped` differs from them.

    What `shipped` lacks is put there.
    """
    recipe = tomllib.loads(RECIPE.read_text(encoding="utf-8"))
    population = load_population(bones, cache, kept_out_people("choosing"), say=say)
    shipped.mkdir(parents=True, exist_ok=True)
    folders, differences = [], []
    for name, number in recipe["films"].items():
        folder = out / name
        folders.append(folder)
        if not (folder / "geometry.json").exists():
            simulate_case(population, Series(seed=recipe["seed"], size_px=recipe["size_px"]), number, folder)
        film = shipped / f"{name}.dcm"
        if not film.exists():
            write_lossless(folder / "radiograph.dcm", film)
            say(f"{name}: now ships")
        elif not same_film(folder / "radiograph.dcm", film):
            differences.append(f"{name} is not the film that ships in Resources/Samples")
        else:
            say(f"{name}: as it ships")
        if name in recipe["truth_ships"] and not _same_truth(folder / "truth", shipped / f"{name}_truth"):
            differences.append(f"{name}_truth are not the bones that ship in Resources/Samples")
    return folders, differences


def _same_truth(made: Path, shipped: Path) -> bool:
    """Whether the true bones are those that ship; where none do, they are put there."""
    if not shipped.exists():
        shipped.mkdir()
        for path in made.glob("*.vtp"):
            shutil.copy(path, shipped)
    vertices = [{path.name: arrays(read_vtp(path))[0] for path in folder.glob("*.vtp")} for folder in (made, shipped)]
    return vertices[0].keys() == vertices[1].keys() and all(
        np.allclose(place, vertices[1][name], atol=TRUTH_TOLERANCE_MM) for name, place in vertices[0].items()
    )


def same_film(made: Path, shipped: Path) -> bool:
    """Whether two files hold the same film with the same geometry."""
    first, second = read_radiograph(made), read_radiograph(shipped)
    if first.geometry != second.geometry:
        return False
    spread = float(np.ptp(first.pixels)) or 1.0
    return float(np.abs(first.pixels - second.pixels).mean()) < TOLERANCE * spread
