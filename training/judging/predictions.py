"""What a bundle's networks predict on a film, aligned with the truth, and the surfaces that come of it.

true masks, predicted depths                what the depth network costs
predicted masks, true depths                what the segmentation network costs, where there is a true depth
networks, observed                          a bundle's networks through the product's own surfaces
networks, completed                         and a shape model fitted to them
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from DualFaceReconLib.bonemaps import BoneMaps
from DualFaceReconLib.film.radiograph import read_radiograph
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.inference import Networks, predict
from DualFaceReconLib.meshes import Mesh
from DualFaceReconLib.metrics import bone_shifts_mm, picture_shift_mm
from DualFaceReconLib.prediction import Disagreement, Prediction, maps_of, seen_on
from training.judging.baselines import BASELINES, Surfaces, observed_mesh

BY_PICTURE, BY_BONE, UNALIGNED = "one shift a picture", "one shift a bone", "unaligned"
OBSERVED, COMPLETED = "networks, observed", "networks, completed"
DEPTHS_ALONE, MASKS_ALONE = "true masks, predicted depths", "predicted masks, true depths"
OF_NETWORKS = (
    (DEPTHS_ALONE, BY_PICTURE),
    (MASKS_ALONE, BY_PICTURE),
    *((row, alignment) for row in (OBSERVED, COMPLETED) for alignment in (BY_PICTURE, BY_BONE, UNALIGNED)),
)
ROWS = (*BASELINES, *OF_NETWORKS)  # of the tables, in their order


@dataclass(frozen=True, kw_only=True)
class PredictedMaps:
    """What a bundle's networks say of a film, on pixels of `geometry`."""

    maps: BoneMaps  # as the product has them
    everywhere: BoneMaps  # the same depth network asked for every pixel: for true masks that go beyond the predicted
    geometry: ProjectionGeometry  # as the product read it from the film
    searched: ProjectionGeometry  # the part of the film where bones are looked for, at the film's own resolution
    mirrored: Mapping[str, Disagreement]  # by bone, how far apart the film and its mirror image were seen
    prediction: Prediction | None = None  # all that the networks said

    def at(self, size_px: tuple[int, int], bones: tuple[str, ...]) -> PredictedMaps:
        """Some of the bones, on another number of pixels."""
        return PredictedMaps(
            maps=self.maps.of(bones).resized(size_px),
            everywhere=self.everywhere.of(bones).resized(size_px),
            geometry=self.geometry.resized(size_px),
            searched=self.searched,
            mirrored=self.mirrored,
            prediction=self.prediction,
        )


def predicted_maps(networks: Networks, film: Path) -> PredictedMaps:
    """The maps of a bundle's networks on a film, as the product reads it."""
    radiograph = read_radiograph(film)
    prediction, geometry = predict(networks, radiograph), radiograph.geometry
    assert prediction.disagreement is not None
    everywhere = np.ones((len(prediction.bones), *geometry.size_px), dtype=bool)
    searched = seen_on(networks.manifest, radiograph)
    return PredictedMaps(
        maps=maps_of(prediction, radiograph),
        everywhere=maps_of(prediction, radiograph, everywhere),
        geometry=geometry,
        searched=searched,
        mirrored=prediction.disagreement,
        prediction=prediction,
    )


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """Predicted maps beside true ones of the same bones and pixels."""

    predicted: PredictedMaps
    true: BoneMaps
    valid: np.ndarray  # (bones, rows, cols) bool: in both, with all depths
    maps: BoneMaps  # the predicted, after one shift a picture
    depths_alone: BoneMaps | None  # true masks and predicted depths, likewise; None where they never meet
    shifts_mm: dict[str, float]  # one a bone; NaN where no pixel is valid in both

    def detected(self, bone: str) -> bool:
        """Whether prediction and truth share a pixel of the bone."""
        return bool(self.valid[self.true.bones.index(bone)].any())

    def surfaces(self, bone: str, by_picture: Mapping[str, Mesh], unaligned: Mapping[str, Mesh]) -> Surfaces:
        """Every row of networks for a bone; None where it was missed, or where too little was seen to complete it.

        `by_picture` and `unaligned` are `completed_bones` of the aligned and of the product's own maps.
        """
        geometry = self.predicted.geometry
        rows: Surfaces = dict.fromkeys(OF_NETWORKS)
        if self.depths_alone is not None:
            rows[DEPTHS_ALONE, BY_PICTURE] = observed_mesh(self.depths_alone, geometry, bone)
        if not self.detected(bone):
            return rows
        rows[MASKS_ALONE, BY_PICTURE] = observed_mesh(replace(self.true, mask=self.valid), geometry, bone)
        away = -geometry.source / np.linalg.norm(geometry.source) * self.shifts_mm[bone]
        for row, aligned, raw in (
            (OBSERVED, observed_mesh(self.maps, geometry, bone), observed_mesh(self.predicted.maps, geometry, bone)),
            (COMPLETED, by_picture.get(bone), unaligned.get(bone)),
        ):
            rows[row, BY_PICTURE], rows[row, UNALIGNED] = aligned, raw
            rows[row, BY_BONE] = None if raw is None else (raw[0] + away, raw[1])
        return rows


def align(predicted: PredictedMaps, true: BoneMaps) -> Aligned:
    """One shift for the picture, before back-projection, and one for each bone."""
    if predicted.maps.back is None:
        true = replace(true, back=None)
    valid = _valid_in_both(predicted.maps, true)
    shifts = bone_shifts_mm(predicted.maps.depths(), true.depths(), valid)
    alone = replace(predicted.everywhere, mask=_valid_in_both(predicted.everywhere, true))
    return Aligned(
        predicted=predicted,
        true=true,
        valid=valid,
        maps=_shifted_to(true, predicted.maps, valid) or predicted.maps,
        depths_alone=_shifted_to(true, alone, alone.mask),
        shifts_mm=dict(zip(true.bones, shifts, strict=True)),
    )


def _valid_in_both(predicted: BoneMaps, true: BoneMaps) -> np.ndarray:
    """(bones, rows, cols) bool."""
    return predicted.mask & true.mask & ((predicted.depths() > 0) & (true.depths() > 0)).all(axis=0)


def _shifted_to(true: BoneMaps, predicted: BoneMaps, valid: np.ndarray) -> BoneMaps | None:
    """The headline's alignment: the mean of truth minus prediction over all maps; None without a pixel in both."""
    if not valid.any():
        return None
    return predicted.shifted(picture_shift_mm(predicted.depths(), true.depths(), valid))
