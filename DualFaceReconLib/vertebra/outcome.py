"""What comes of two films: a vertebra's volume, surface and measurements. Plain values, which need no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from vtkmodules.vtkCommonDataModel import vtkPolyData

from DualFaceReconLib.film.acquisition import RadiographWarning
from DualFaceReconLib.measurements import Measurement
from DualFaceReconLib.outcome import BundleName
from DualFaceReconLib.vertebra.films import SpineFilms
from DualFaceReconLib.vertebra.targets import VertebraTarget

NETWORK, SHAPE_MODEL = "network", "shape model"  # whose surface is shown
SURFACES = {
    NETWORK: "where the network's volume is as dense as bone",
    SHAPE_MODEL: "a shape model of other people's vertebrae, brought onto the network's: what the films did not show "
    "is theirs",
}


@dataclass(frozen=True, kw_only=True)
class ReconstructedVertebra:
    """One vertebra of two films, in the patient's frame of `biplanar.py`."""

    films: SpineFilms = field(repr=False)
    target: VertebraTarget
    centre: tuple[float, float, float]  # RAS mm, where the clicks' rays meet: the volume's middle
    gap_mm: float  # between these rays
    volume_hu: np.ndarray = field(repr=False)  # (side, side, side) float32 [R, A, S]
    voxel_mm: float
    surface: vtkPolyData = field(repr=False)  # RAS mm, closed, outward; point data `std_mm`
    surface_by: str  # NETWORK or SHAPE_MODEL
    measurements: Mapping[str, Measurement]
    bundle: BundleName
    measured: str  # how good the bundle is known to be
    device: str
    timings_s: Mapping[str, float] = field(repr=False)
    warnings: tuple[RadiographWarning, ...] = field(repr=False)  # of the films, then of the vertebra

    @property
    def level(self) -> str:
        return self.target.level

    @property
    def in_millimetres(self) -> bool:
        """False where it is as large as a usual one, as nothing told how large pixels are."""
        return self.films.in_millimetres

    def ijk_to_ras(self) -> np.ndarray:
        """(4, 4) of the volume's voxels, to the patient's frame."""
        matrix = np.diag([self.voxel_mm, self.voxel_mm, self.voxel_mm, 1.0])
        matrix[:3, 3] = np.array(self.centre) - (np.array(self.volume_hu.shape) - 1) / 2 * self.voxel_mm
        return matrix

    def __repr__(self) -> str:
        films = " and ".join(film.pixel_hash for film in self.films.radiographs)
        return (
            f"Vertebra({self.level} of films {films}: clicks {self.gap_mm:.1f} mm apart, "
            f"{len(self.warnings)} warnings, by {self.bundle.id} {self.bundle.version} on {self.device})"
        )
