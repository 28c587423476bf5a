"""What lies on a ray, and how it attenuates: NIST's mass coefficients and ICRU's compositions, as SpekPy ships them.

SpekPy is imported where it is asked: films are made of the table of `spectra.py`, which needs none.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from spekpy import Spek

GRAMS_A_CM3 = 0.1  # 1/cm to 1/mm
# A compound by SpekPy's name, or mass shares of compounds and elements (by atomic number) and a density, g/cm^3.
_MADE_OF: dict[str, str | tuple[dict[str | int, float], float]] = {
    "muscle": "Muscle Skeletal (ICRU)",
    "fat": "Adipose Tissue (ICRU)",
    "water": "Water, Liquid",
    "bone": "Bone, Cortical (ICRU)",
    "titanium": ({22: 0.9, 13: 0.06, 23: 0.04}, 4.43),  # Ti-6Al-4V, ISO 5832-3
    "cobalt_chrome": ({27: 0.66, 24: 0.28, 42: 0.06}, 8.3),  # Co-28Cr-6Mo, ISO 5832-4
    "steel": "Steel, Stainless (Type 316l)",
    "cement": ({"Polymethyl Methacrylate (Lucite Perspex or Plexiglas)": 0.9, "Barium Sulfate": 0.1}, 1.27),
    "lead": ({82: 1.0}, 11.34),
}
MATERIALS = tuple(_MADE_OF)
DETECTORS = {"caesium iodide": ({"Cesium Iodide": 1.0}, 4.51), "selenium": ({34: 1.0}, 4.26)}
FILTERS = {"aluminium": ({13: 1.0}, 2.70), "copper": ({29: 1.0}, 8.96)}


@lru_cache(maxsize=1)
def _tables() -> Spek:
    from spekpy import Spek

    return Spek(kvp=60, dk=1.0, mu_data_source="nist")


def attenuation(name: str, energies_kev: Sequence[float] | np.ndarray) -> np.ndarray:
    """(E,) linear attenuation per mm of a material, a detector's or a filter's, at energies (E,)."""
    energies = np.asarray(energies_kev, dtype=float)
    made_of = {**_MADE_OF, **DETECTORS, **FILTERS}[name]
    tables = _tables().mu_data
    if isinstance(made_of, str):
        return tables.get_mu_composition(made_of, energies) * GRAMS_A_CM3
    shares, density = made_of
    per_gram = [
        share
        * (
            tables.get_mu_over_rho(part, energies)
            if isinstance(part, int)
            else tables.get_mu_over_rho_composition(part, energies)[0]
        )
        for part, share in shares.items()
    ]
    return np.sum(per_gram, axis=0) * density * GRAMS_A_CM3
