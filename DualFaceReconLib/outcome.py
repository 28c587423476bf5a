"""What came of a radiograph: maps, bones, measurements and warnings. Plain values, which need no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vtkmodules.vtkCommonDataModel import vtkPolyData

from DualFaceReconLib.bonemaps import BoneMaps
from DualFaceReconLib.film.acquisition import RadiographWarning
from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.geometry import Provenance
from DualFaceReconLib.measurements import Measurement
from DualFaceReconLib.verdicts import Verdict

if TYPE_CHECKING:
    from DualFaceReconLib.prediction import Prediction

MASKS_BY_NETWORK = Provenance("estimated", "the bundle's segmentation network")
MASKS_BY_USER = Provenance("user", "masks given by the user")


@dataclass(frozen=True, kw_only=True)
class BundleName:
    """Which bundle made a reconstruction."""

    id: str
    version: str
    sha256: str  # of its manifest, which seals every file


@dataclass(frozen=True, kw_only=True)
class Bone:
    """One bone of a reconstruction."""

    observed: vtkPolyData = field(repr=False)  # what the depth maps saw, RAS mm; point data `face`
    completed: vtkPolyData | None = field(default=None, repr=False)  # point data as CONTRIBUTING.md lists
    landmarks: Mapping[str, tuple[float, float, float]] = field(default_factory=dict, repr=False)  # RAS mm
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    verdict: Verdict | None = None  # how far it can be relied on; None in older results, which do not say


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """What came of a radiograph."""

    radiograph: Radiograph
    maps: BoneMaps = field(repr=False)  # at the radiograph's own resolution
    bones: Mapping[str, Bone]  # those that were found
    measurements: Mapping[str, Measurement]  # between bones
    bundle: BundleName
    device: str
    timings_s: Mapping[str, float] = field(repr=False)
    warnings: tuple[RadiographWarning, ...] = field(repr=False)  # of the radiograph, then of the reconstruction
    masks: Provenance = MASKS_BY_NETWORK  # who said which pixels belong to a bone
    prediction: Prediction | None = field(default=None, repr=False)  # None where it was loaded from a folder

    @property
    def verdicts(self) -> Mapping[str, Verdict]:
        """By bone, how far it can be relied on; none in a reconstruction of older code."""
        return {name: bone.verdict for name, bone in self.bones.items() if bone.verdict is not None}

    def __repr__(self) -> str:
        whole = sum(bone.completed is not None for bone in self.bones.values())
        return (
            f"Reconstruction(film {self.radiograph.pixel_hash}: {', '.join(self.bones)}; {whole} completed, "
            f"{len(self.warnings)} warnings, by {self.bundle.id} {self.bundle.version} on {self.device})"
        )
