"""What networks saw in a film, and the bone maps, outlines and doubts that come of it; without torch.

maps = maps_of(prediction, radiograph)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from DualFaceReconLib.bonemaps import BoneMaps, bounding_window
from DualFaceReconLib.bundle.manifest import Manifest
from DualFaceReconLib.errors import Cancelled, Refusal
from DualFaceReconLib.framing import Frame, frame_of
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.shape.outlines import Outline, outline_of

if TYPE_CHECKING:
    from DualFaceReconLib.film.radiograph import Radiograph  # with pydicom, which training does without

LEAST_PROBABILITY = 0.5  # of a pixel that belongs to a bone
SURE = 0.1, 0.9  # probabilities between these are unsure
MOST_UNSURE = 1.0  # as `Prediction.unsure` has it; beyond, a few pixels here and there are no bone
ISLAND_SHARE = 0.05  # of a bone's largest part; smaller parts do not belong to it

Progress = Callable[[str, float], None]  # stage, share done of all


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """How far apart a bone is in a film and in its mirror image, before both are averaged."""

    depth_mm: float  # mean absolute, where both have it, but for one shift a picture; NaN where they share no pixel
    dice: float  # of both masks; NaN where neither has it


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the networks see in a film, before it is decided where a bone is and how far from the source."""

    frame: Frame  # the square that they saw
    bones: tuple[str, ...]
    probability: np.ndarray  # (bones, n, n) float32, 0 to 1, on the frame
    depth: np.ndarray  # (bones, faces, n, n) float32, mm from an unknown plane, the same for all, as if in AP
    pixel_hash: str  # of the film
    disagreement: Mapping[str, Disagreement] | None = None  # by bone, where the mirrored film was asked, too

    def unsure(self, bone: str) -> float:
        """Pixels of which the networks are unsure, over those of the bone: 0.1, along its border, where well seen."""
        return self.unsure_of([bone])

    def unsure_of(self, bones: Iterable[str]) -> float:
        """The same of several bones together: 0.05 in films of hips, 0.4 to 1 in other pictures."""
        probability = self.probability[[self.bones.index(bone) for bone in bones]]
        least, most = SURE
        count = int((probability > LEAST_PROBABILITY).sum())
        return float(((probability > least) & (probability < most)).sum()) / max(count, 1)

    def fits(self, radiograph: Radiograph) -> bool:
        """Whether it was made of this film and its geometry; the bones' distance and the view may be others now."""
        was, now = self.frame.geometry, radiograph.geometry
        return self.pixel_hash == radiograph.pixel_hash and all(
            getattr(was, name) == getattr(now, name)
            for name in ("size_px", "pixel_pitch_mm", "sdd_mm", "principal_point_px")
        )


def seen_on(manifest: Manifest, radiograph: Radiograph) -> ProjectionGeometry:
    """The part of a film on which bones are looked for: the exposed field, as far as the networks' square reaches."""
    frame = frame_for(manifest, radiograph.geometry)
    square = frame.window_on_film((slice(0, frame.size_px), slice(0, frame.size_px)))
    rows, cols = (_overlap(*parts) for parts in zip(square, radiograph.exposed_field, strict=True))
    lit = replace(radiograph.geometry, opening_px=radiograph.field_corners_px)
    return lit.cropped((rows.start, cols.start), (rows.stop - rows.start, cols.stop - cols.start))


def frame_for(manifest: Manifest, geometry: ProjectionGeometry) -> Frame:
    """The square of a film that a bundle's networks see, at the plane that they were trained for."""
    return frame_of(geometry, manifest.input_px[0], manifest.mm_per_pixel, manifest.nominal_object_distance_mm)


def _overlap(first: slice, second: slice) -> slice:
    """What two slices share; an empty one where that is nothing."""
    start = max(first.start, second.start)
    return slice(start, max(min(first.stop, second.stop), start))


def maps_of(
    prediction: Prediction,
    radiograph: Radiograph,
    mask: np.ndarray | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> BoneMaps:
    """Bone maps at a radiograph's own resolution, inside the exposed field.

    Depths stand where `object_distance_mm` says that the bones are. `mask` (bones, rows, cols) bool, or 0 and 1: which
    pixels belong to a bone, instead of those where the networks see it. `cancelled` is asked before every bone.
    """
    geometry = radiograph.geometry
    frame = replace(prediction.frame, geometry=geometry)
    field = radiograph.exposed_field
    shape = len(prediction.bones), *geometry.size_px
    if mask is not None:
        mask = _as_mask(mask, prediction.bones, shape)
    whole_mask, front, back = np.zeros(shape, bool), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    parts = []  # of large films only where bones are
    for number, (probability, depth) in enumerate(zip(prediction.probability, prediction.depth, strict=True)):
        if cancelled():
            raise Cancelled
        if mask is None:
            if prediction.unsure(prediction.bones[number]) > MOST_UNSURE:
                continue
            bone = frame.window_on_film(bounding_window(probability > LEAST_PROBABILITY))
            window = _overlap(bone[0], field[0]), _overlap(bone[1], field[1])
            own = frame.undone(probability[None], window)[0] > LEAST_PROBABILITY
            own = without_islands(own & radiograph.lit_part(window))
        else:
            window = bounding_window(mask[number])
            own = mask[number][window]
        whole_mask[number][window] = own
        parts.append((number, window, own, frame.undone(depth, window)[:, own]))

    count = sum(depth.size for _, _, _, depth in parts)
    centre = sum(depth.sum(dtype=np.float64) for _, _, _, depth in parts) / max(count, 1)
    distance = geometry.object_distance_mm
    assert distance is not None  # every Radiograph has one
    plane = geometry.sdd_mm - distance
    for number, window, own, depth in parts:
        if cancelled():
            raise Cancelled
        first, last = (face + np.float32(plane - centre) for face in (depth[0], depth[-1]))
        middle, half = (first + last) / 2, np.maximum(last - first, 0) / 2  # nothing leaves a bone before its entry
        front[number][window][own], back[number][window][own] = middle - half, middle + half
    both = prediction.depth.shape[1] == 2
    maps = BoneMaps(bones=prediction.bones, mask=whole_mask, front=front, back=back if both else None)
    if geometry.view == "AP":
        return maps
    if not both:
        raise Refusal("This bundle knows only the front of bones, which PA films have behind: take one of both faces.")
    return maps.turned(plane)


def prediction_outlines(prediction: Prediction, seen: ProjectionGeometry) -> dict[str, Outline]:
    """The outlines of all bones, finer than the networks' pixels; `seen` as `seen_on` has it."""
    framed = prediction.frame.framed
    return {
        bone: outline_of(probability, framed, seen)
        for bone, probability in zip(prediction.bones, prediction.probability, strict=True)
    }


def _as_mask(mask: np.ndarray, bones: tuple[str, ...], shape: tuple[int, ...]) -> np.ndarray:
    """A mask that somebody gave, as bool; Refusal where it is none of this film."""
    given = np.asarray(mask)
    if given.shape != shape or (given.dtype != bool and not np.isin(given, (0, 1)).all()):
        raise Refusal(
            f"The mask has to be {' x '.join(str(n) for n in shape)} zeros and ones, a layer each for "
            f"{', '.join(bones)}; this one is {' x '.join(str(n) for n in given.shape)} {given.dtype}."
        )
    return given.astype(bool)


def without_islands(mask: np.ndarray) -> np.ndarray:
    """A bone's mask (rows, cols) bool without parts that are far smaller than its largest."""
    from scipy.ndimage import label  # which a process that only asks networks does without

    parts, count = label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return (sizes >= ISLAND_SHARE * sizes.max())[parts]
