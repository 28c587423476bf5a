"""What stands in the ruler's tables: every row's surface of a bone, by what it knows and how it is aligned.

exact maps                                  true masks and depths through the product's own surfaces
exact front map only                        the same with one face
exact maps, completed                       and a shape model fitted to them
mean shape at the true pose                 what the shape model says of everybody
mean shape placed by the segmentation       by the true mask, at the true mean depth of the picture's maps
true masks, predicted depths                what the depth network costs
predicted masks, true depths                what the segmentation network costs, where a true depth is
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
from DualFaceReconLib.inference import Networks, maps_of, predict, seen_on
from DualFaceReconLib.meshes import Mesh
from DualFaceReconLib.metrics import bone_shifts_mm, picture_shift_mm
from DualFaceReconLib.shape.completion import complete_all
from DualFaceReconLib.shape.fitting import Fit, FitSettings, fit
from DualFaceReconLib.shape.shapemodel import ShapeModel
from DualFaceReconLib.surfaces import observed_surface, observed_surfaces, observed_triangles
from training.anatomy.generalisation import centred, whole_target

EXACT, BY_PICTURE, BY_BONE, UNALIGNED = "", "one shift a picture", "one shift a bone", "unaligned"
MEAN_AT_POSE, MEAN_BY_MASK = "mean shape at the true pose", "mean shape placed by the segmentation"
OBSERVED, COMPLETED = "networks, observed", "networks, completed"
DEPTHS_ALONE, MASKS_ALONE = "true masks, predicted depths", "predicted masks, true depths"
ROWS = (  # and how each is aligned
    ("exact maps", EXACT),
    ("exact front map only", EXACT),
    ("exact maps, completed", EXACT),
    (MEAN_AT_POSE, EXACT),
    (MEAN_BY_MASK, EXACT),
    (DEPTHS_ALONE, BY_PICTURE),
    (MASKS_ALONE, BY_PICTURE),
    *((row, how) for row in (OBSERVED, COMPLETED) for how in (BY_PICTURE, BY_BONE, UNALIGNED)),
)
Surfaces = dict[tuple[str, str], Mesh | None]  # row and alignment -> surface; None where the bone was missed


@dataclass(frozen=True)
class Seen:
    """What a bundle's networks say of a film, on pixels of `geometry`."""

    maps: BoneMaps  # as the product has them
    everywhere: BoneMaps  # the same depth network asked for every pixel: for true masks that go beyond the predicted
    geometry: ProjectionGeometry  # as the product read it from the film
    shown: ProjectionGeometry  # the part of the film on which bones are looked for, at the film's own resolution

    def at(self, size_px: tuple[int, int], bones: tuple[str, ...]) -> Seen:
        """Some of the bones, on another number of pixels."""
        maps = [one.of(bones).resized(size_px) for one in (self.maps, self.everywhere)]
        return Seen(*maps, self.geometry.resized(size_px), self.shown)


def see(networks: Networks, film: Path) -> Seen:
    """A bundle's networks on a film, as the product reads it."""
    radiograph = read_radiograph(film)
    prediction, geometry = predict(networks, radiograph), radiograph.geometry
    everywhere = np.ones((len(prediction.bones), *geometry.size_px), dtype=bool)
    maps = maps_of(prediction, radiograph), maps_of(prediction, radiograph, everywhere)
    return Seen(*maps, geometry, seen_on(networks, radiograph))


# Rows without a network


def exact_surfaces(true: BoneMaps, geometry: ProjectionGeometry, bone: str, completed: Mapping[str, Mesh]) -> Surfaces:
    """What exact maps are worth; `completed_bones` of them."""
    single = replace(true, back=None)
    return {
        ("exact maps", EXACT): _observed(true, geometry, bone),
        ("exact front map only", EXACT): _observed(single, geometry, bone),
        ("exact maps, completed", EXACT): completed.get(bone),
    }


def mean_at_true_pose(model: ShapeModel, mesh: Mesh) -> Mesh:
    """The mean shape put where it lies closest to the whole true bone."""
    start: Fit = centred(model, mesh)
    pose = fit(model, whole_target(mesh), start, FitSettings(modes=0, robust=False, settled=0.001, rounds=20))
    return pose.vertices(model), model.triangles


# Rows of networks


@dataclass(frozen=True)
class Aligned:
    """Predicted maps beside true ones of the same bones and pixels."""

    seen: Seen
    true: BoneMaps
    valid: np.ndarray  # (bones, rows, cols) bool: in both, with all depths
    maps: BoneMaps  # the predicted, after one shift a picture
    depths_alone: BoneMaps | None  # true masks and predicted depths, likewise; None where they never meet
    shifts_mm: dict[str, float]  # one a bone; NaN where no pixel is valid in both

    def found(self, bone: str) -> bool:
        """Whether any of its pixels was found."""
        return bool(self.valid[self.true.bones.index(bone)].any())

    def surfaces(self, bone: str, by_picture: Mapping[str, Mesh], unaligned: Mapping[str, Mesh]) -> Surfaces:
        """Every row of networks for a bone; None where it was missed, or where too little was seen to complete it.

        `by_picture` and `unaligned` are `completed_bones` of the aligned and of the product's own maps.
        """
        geometry, known = self.seen.geometry, self.depths_alone
        rows: Surfaces = {row: None for row in ROWS if row[1] != EXACT}
        if known is not None:
            rows[DEPTHS_ALONE, BY_PICTURE] = _observed(known, geometry, bone)
        if not self.found(bone):
            return rows
        rows[MASKS_ALONE, BY_PICTURE] = _observed(replace(self.true, mask=self.valid), geometry, bone)
        away = -geometry.source / np.linalg.norm(geometry.source) * self.shifts_mm[bone]
        for row, aligned, raw in (
            (OBSERVED, _observed(self.maps, geometry, bone), _observed(self.seen.maps, geometry, bone)),
            (COMPLETED, by_picture.get(bone), unaligned.get(bone)),
        ):
            rows[row, BY_PICTURE], rows[row, UNALIGNED] = aligned, raw
            rows[row, BY_BONE] = None if raw is None else (raw[0] + away, raw[1])
        return rows


def align(seen: Seen, true: BoneMaps) -> Aligned:
    """One shift for the picture, before back-projection, and one for each bone."""
    if seen.maps.back is None:
        true = replace(true, back=None)
    valid = _valid_in_both(seen.maps, true)
    shifts = bone_shifts_mm(seen.maps.depths(), true.depths(), valid)
    alone = replace(seen.everywhere, mask=_valid_in_both(seen.everywhere, true))
    return Aligned(
        seen,
        true,
        valid,
        _shifted_to(true, seen.maps, valid) or seen.maps,
        _shifted_to(true, alone, alone.mask),
        dict(zip(true.bones, shifts, strict=True)),
    )


def _valid_in_both(predicted: BoneMaps, true: BoneMaps) -> np.ndarray:
    """(bones, rows, cols) bool."""
    return predicted.mask & true.mask & ((predicted.depths() > 0) & (true.depths() > 0)).all(axis=0)


def _shifted_to(true: BoneMaps, predicted: BoneMaps, valid: np.ndarray) -> BoneMaps | None:
    """The headline's alignment: the mean of truth minus prediction over all maps; None without a pixel in both."""
    if not valid.any():
        return None
    return predicted.shifted(picture_shift_mm(predicted.depths(), true.depths(), valid))


def _observed(maps: BoneMaps, geometry: ProjectionGeometry, bone: str) -> Mesh | None:
    vertices, triangles = observed_triangles(observed_surface(maps, geometry, bone))
    return (vertices, triangles) if len(triangles) else None


def completed_bones(
    maps: BoneMaps, geometry: ProjectionGeometry, shown: ProjectionGeometry, models: Mapping[str, ShapeModel]
) -> dict[str, Mesh]:
    """The whole bones as the product completes them, without those of which too little was seen.

    `geometry` is of the maps' pixels, `shown` of the part of the film on which bones could be seen; `models` are the
    left "hip" and "femur".
    """
    observed = observed_surfaces(maps, geometry)
    found = complete_all(observed, models, shown, on_refusal=lambda bone, refusal: None)
    return {bone: (one.vertices, one.triangles) for bone, one in found.items()}
