"""Films and masks spoilt on purpose, by which it is judged whether bones that are wrong are doubted.

    spoilt = spoilt_film("folded", radiograph, rng)         # what lies on a film, and what is cut off
    masks = spoilt_masks("half masks", maps, rng)           # what somebody paints

Of each, where and how much is drawn; the truth of what is left stays as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter

from DualFaceReconLib.bonemaps import BoneMaps, Window, bounding_window, other_side
from DualFaceReconLib.film.radiograph import Radiograph

AS_IT_IS = "as it is"
OF_FILMS = ("folded", "creased", "cropped", "bars taken for film")
OF_MASKS = ("half masks", "masks of two bones")
SPOILT = (*OF_FILMS, *OF_MASKS)
KINDS = (AS_IT_IS, *SPOILT)
CREASE_SHARE = (0.03, 0.09)  # of the film's longer side
BAR_SHARE = (0.10, 0.28)  # of the film's side, at both ends
CROP_MM = (110.0, 190.0)  # of a side, at the detector
LEAST_CROP_PX = 64
KEPT_SHARE = (0.35, 0.65)  # of a half mask


@dataclass(frozen=True, kw_only=True)
class SpoiltFilm:
    """A spoilt film, and which of the whole film's pixels are left on it."""

    radiograph: Radiograph
    window: Window


def spoilt_film(kind: str, radiograph: Radiograph, bones: np.ndarray, rng: np.random.Generator) -> SpoiltFilm:
    """A film spoilt in one of the ways of OF_FILMS; `bones` (rows, cols) bool is where it shows any."""
    rows, cols = radiograph.geometry.size_px
    whole = slice(0, rows), slice(0, cols)
    if kind == "cropped":
        window = _crop(radiograph, bones, rng)
        return SpoiltFilm(radiograph=_cropped(radiograph, window), window=window)
    if kind == "bars taken for film":
        hidden, softly = _bars((rows, cols), rng), 0.0
        radiograph = replace(radiograph, collimation_px=None, field_corners_px=None)
    elif kind == "folded":
        hidden, softly = _fold(bones, rng), 1.0
    else:
        hidden, softly = _crease(bones, rng), 2.0
    low, high = np.percentile(radiograph.pixels, (1, 99))
    grey = np.float32(low + (high - low) * rng.uniform(0, 1))
    share = gaussian_filter(hidden.astype(np.float32), softly) if softly else hidden.astype(np.float32)
    pixels = radiograph.pixels * (1 - share) + grey * share
    return SpoiltFilm(radiograph=replace(radiograph, pixels=pixels, display_window=None), window=whole)


def spoilt_masks(kind: str, maps: BoneMaps, rng: np.random.Generator) -> np.ndarray:
    """(bones, rows, cols) bool: a hip's mask and the other side's femur's are spoilt, where they are."""
    masks = maps.mask.copy()
    side = rng.choice(["left", "right"])
    hip = f"hip_{side}"
    for bone in (hip, other_side(hip).replace("hip", "femur")):
        if bone not in maps.bones or not (mask := masks[maps.bones.index(bone)]).any():
            continue
        if kind == "half masks":
            mask &= _half(mask, rng)
            continue
        neighbour = bone.replace("hip", "femur") if bone == hip else bone.replace("femur", "hip")
        if neighbour in maps.bones and (other := maps.mask[maps.bones.index(neighbour)]).any():
            mask |= other & _half(other, rng)
    return masks


def _half(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(rows, cols) bool: one side of a line that leaves a share of a mask, upright or across, or slanted."""
    return ~_beyond(mask, 1 - rng.uniform(*KEPT_SHARE), rng.uniform(0, 2 * np.pi))


def _beyond(mask: np.ndarray, share: float, angle: float) -> np.ndarray:
    """(rows, cols) bool: beyond a line across a direction, so far out that a share of the mask lies there."""
    down, across = np.indices(mask.shape)
    along = np.sin(angle) * down + np.cos(angle) * across
    return along > np.quantile(along[mask], 1 - share)


def _fold(bones: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A corner or a side that is folded over and hides 15 to 50 % of the bones."""
    return _beyond(bones, rng.uniform(0.15, 0.5), rng.uniform(0, 2 * np.pi))


def _crease(bones: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A band across the bones in which nothing is seen."""
    angle, share = rng.uniform(0, np.pi), rng.uniform(0.2, 0.8)
    down, across = np.indices(bones.shape)
    along = np.sin(angle) * down + np.cos(angle) * across
    middle = np.quantile(along[bones], share)
    return np.abs(along - middle) < rng.uniform(*CREASE_SHARE) * max(bones.shape) / 2


def _bars(size_px: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Two bars, above and below or at both sides."""
    hidden = np.zeros(size_px, bool)
    turned = hidden if rng.random() < 0.5 else hidden.T
    first, last = (round(rng.uniform(*BAR_SHARE) * len(turned)) for _ in range(2))
    turned[:first] = True
    turned[len(turned) - last :] = True
    return hidden


def _crop(radiograph: Radiograph, bones: np.ndarray, rng: np.random.Generator) -> Window:
    """A window around a place that is bone."""
    place = rng.choice(np.argwhere(bones))
    inside = bounding_window(bones)
    parts = []
    for middle, pitch, part in zip(place, radiograph.geometry.pixel_pitch_mm, inside, strict=True):
        half = max(round(rng.uniform(*CROP_MM) / pitch / 2), LEAST_CROP_PX // 2)
        parts.append(slice(max(int(middle) - half, part.start), min(int(middle) + half, part.stop)))
    return parts[0], parts[1]


def _cropped(radiograph: Radiograph, window: Window) -> Radiograph:
    """A film of some of its pixels; what was known of its exposed field is not."""
    first, size = [part.start for part in window], [part.stop - part.start for part in window]
    return replace(
        radiograph,
        pixels=radiograph.pixels[window],
        geometry=radiograph.geometry.cropped(first, size),
        collimation_px=None,
        field_corners_px=None,
        display_window=None,
    )
