"""X-ray beams: the spectrum that leaves a tube, and what a detector makes of it, in a few energy bins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.xray.materials import DETECTORS, FILTERS, MATERIALS
from training.xray.spectra import per_mm, spectrum

BIN_KEV = 4.0
PHOTONS_PER_MM2_UGY = 3.0e4  # behind a patient: 30,174 of IEC 62220-1's RQA5 beam, 70 kV behind 21 mm of aluminium


@dataclass(frozen=True)
class Beam:
    """A tube's voltage and filters, and the detector's layer."""

    kvp: int
    aluminium_mm: float
    copper_mm: float = 0.0
    detector: str = "caesium iodide"
    layer_mm: float = 0.45  # of it; CsI panels have 0.4 to 0.6 mm, packed at about 0.75, a-Se ones for films 1.0


@dataclass(frozen=True, kw_only=True)
class Bins:
    """A beam in energy bins, as the detector sees it."""

    photons: np.ndarray  # (E,) absorbed, relative; they add up to 1
    energies_kev: np.ndarray  # (E,) means
    per_mm: np.ndarray  # (len(MATERIALS), E) linear attenuation


def absorbed(beam: Beam) -> tuple[np.ndarray, np.ndarray]:
    """Energies (K,) keV in steps of 1 and photons (K,), relative, that an unattenuated beam leaves in the detector."""
    energies, photons = spectrum(beam.kvp)
    for metal, thickness in zip(FILTERS, (beam.aluminium_mm, beam.copper_mm), strict=True):
        photons = photons * np.exp(-per_mm(metal, beam.kvp) * thickness)
    if beam.detector not in DETECTORS:
        raise ValueError(f"no detector is made of {beam.detector}; these are: {', '.join(DETECTORS)}")
    stopped = 1 - np.exp(-per_mm(beam.detector, beam.kvp) * beam.layer_mm)
    return energies, photons * stopped


def bins(beam: Beam) -> Bins:
    """The beam in bins of a few keV; each bin's attenuation is the mean over the photons in it."""
    energies, photons = absorbed(beam)
    number = ((energies - energies[0]) // BIN_KEV).astype(int)
    total = np.bincount(number, photons)
    kept = total > 1e-5 * total.sum()
    mean = np.bincount(number, photons * energies)[kept] / total[kept]
    means = [np.bincount(number, photons * per_mm(name, beam.kvp))[kept] / total[kept] for name in MATERIALS]
    return Bins(photons=total[kept] / total.sum(), energies_kev=mean, per_mm=np.stack(means))
