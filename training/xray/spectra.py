"""Spectra that leave a tube, and what materials attenuate of them: SpekPy's, in a table beside this file.

    energies, photons = spectrum(70)
    per_mm("bone", 70)  # at these energies

Films need no SpekPy. Other voltages or materials need a new table, with SpekPy:
python -c "from training.xray.spectra import write_table; write_table()"
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from DualFaceReconLib.disk.files import write_file
from training.xray.materials import DETECTORS, FILTERS, MATERIALS, attenuation

TABLE = Path(__file__).with_name("spectra.npz")
TABLED_KVP = (65, 70, 75, 80, 85, 100)
ANODE_DEGREES = 12.0


def spectrum(kvp: int) -> tuple[np.ndarray, np.ndarray]:
    """Energies (K,) keV in steps of 1 and photons (K,), relative, behind a tube's own window."""
    energies, photons, _ = _table()
    if kvp not in photons:
        raise ValueError(f"there is no spectrum of {kvp} kV; these are: {', '.join(map(str, photons))}")
    below = energies < kvp
    return energies[below], photons[kvp][below]


def per_mm(material: str, kvp: int) -> np.ndarray:
    """(K,) linear attenuation of a material, a detector's or a filter's, at the energies of `spectrum(kvp)`."""
    energies, _, coefficients = _table()
    return coefficients[material][energies < kvp]


@cache
def _table() -> tuple[np.ndarray, dict[int, np.ndarray], dict[str, np.ndarray]]:
    """Energies (E,), photons (E,) by voltage, attenuation (E,) by material."""
    with np.load(TABLE, allow_pickle=False) as file:
        photons = dict(zip(file["kvp"].tolist(), file["photons"], strict=True))
        return file["energies_kev"], photons, dict(zip(file["materials"].tolist(), file["per_mm"], strict=True))


def write_table(path: Path = TABLE) -> None:
    """Writes the table by SpekPy: "energies_kev" (E,), "photons" (len(TABLED_KVP), E), "per_mm" (materials, E)."""
    from spekpy import Spek

    spectra = [Spek(kvp=kvp, th=ANODE_DEGREES, dk=1.0, mu_data_source="nist").get_spectrum() for kvp in TABLED_KVP]
    energies = max((energies for energies, _ in spectra), key=len)
    materials = (*MATERIALS, *DETECTORS, *FILTERS)
    arrays = {
        "kvp": np.array(TABLED_KVP),
        "energies_kev": energies,
        "photons": np.stack([np.pad(photons, (0, len(energies) - len(photons))) for _, photons in spectra]),
        "materials": np.array(materials),
        "per_mm": np.stack([attenuation(name, energies) for name in materials]),
    }
    write_file(path, lambda beside: np.savez_compressed(beside, **arrays))
