"""Metal in or before bones, and bones that are not whole: what a film shows of implants, fixations and fractures.

    seen = metal_on(radiograph)             # (rows, cols) bool
    share = metal_share(seen, mask)         # of a bone's mask

Metal is the brightest of a film, evenly so, and ends sharply. Only what is plainly so is told: metal behind dense flesh
or on an overexposed film is not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import find_objects, label

from DualFaceReconLib.bonemaps import BoneMaps, bounding_window
from DualFaceReconLib.film.acquisition import RadiographWarning
from DualFaceReconLib.film.neighbours import dilated
from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.pictures.wording import bone_words

LOOKED_AT_PX = 512
LEVELS = (0.8, 0.9, 0.97)  # of the exposed field's range, that metal is brighter than
LEAST_MM2 = 200.0  # at the bones; lead letters are smaller
LEAST_STEP = 0.45  # of the range, from metal down to what is beside it
EDGE_MM = (1.5, 4.0)  # beside metal, where that is looked at
LEAST_SHARE = 0.01  # of a bone's mask, or it is not told
LEAST_PART = 0.15  # of a bone's mask that a second part of it has


def metal_on(radiograph: Radiograph) -> np.ndarray:
    """(rows, cols) bool: what is plainly metal within the exposed field."""
    geometry = radiograph.geometry
    seen = np.zeros(geometry.size_px, bool)
    step = max(1, -(-max(geometry.size_px) // LOOKED_AT_PX))
    rows, cols = radiograph.exposed_field
    looked_at = slice(rows.start, rows.stop, step), slice(cols.start, cols.stop, step)
    small = radiograph.pixels[looked_at]
    low, high = np.percentile(small, (1, 99.9))
    if not high > low:
        return seen
    grey = np.clip((small - low) / (high - low), 0, 1)
    depth = geometry.sdd_mm - (geometry.object_distance_mm or 0.0)
    mm = step * float(np.sqrt(np.prod(geometry.pixel_size_at(depth))))
    near, far = (max(round(edge / mm), n + 1) for n, edge in enumerate(EDGE_MM))
    metal = np.zeros(grey.shape, bool)
    lit = np.broadcast_to(radiograph.lit_part(looked_at), small.shape)
    for level in LEVELS:
        parts, _ = label(lit & (grey > level))
        sizes = np.bincount(parts.ravel())
        boxes = find_objects(parts)
        for number in np.flatnonzero(sizes * mm**2 >= LEAST_MM2):
            if number == 0:
                continue
            box = _widened(boxes[number - 1], far + 1, grey.shape)
            own, around = parts[box] == number, grey[box]
            edge = dilated(own, far) & ~dilated(own, near) & lit[box]
            if edge.any() and around[own].mean() - np.percentile(around[edge], 60) >= LEAST_STEP:
                metal[box] |= own
    if metal.any():
        whole = np.repeat(np.repeat(metal, step, axis=0), step, axis=1)
        seen[rows, cols] = whole[: rows.stop - rows.start, : cols.stop - cols.start]
    return seen


def metal_share(metal: np.ndarray, mask: np.ndarray) -> float:
    """How much of a bone's mask (rows, cols) bool metal covers, 0 to 1."""
    return float((metal & mask).sum() / max(mask.sum(), 1))


def parts_of(mask: np.ndarray) -> int:
    """Of how many large parts a bone's mask (rows, cols) bool consists; 0 where it is empty."""
    mask = mask[bounding_window(mask)]
    parts, _ = label(mask, structure=np.ones((3, 3)))
    sizes = np.bincount(parts.ravel())[1:]
    return int((sizes >= LEAST_PART * mask.sum()).sum()) if sizes.size else 0


def warnings_of_bones_not_whole(radiograph: Radiograph, maps: BoneMaps) -> list[RadiographWarning]:
    """Which bones have metal in or before them, and which were seen in parts."""
    metal = metal_on(radiograph)
    masks = dict(zip(maps.bones, maps.mask, strict=True))
    covered = [bone for bone, mask in masks.items() if metal.any() and metal_share(metal, mask) >= LEAST_SHARE]
    broken = [bone for bone, mask in masks.items() if parts_of(mask) > 1]
    texts = (
        (
            "metal-seen",
            covered,
            "Metal is seen in or before the {bones}: where an implant replaced or hides bone, the completed bones are "
            "not those of the patient.",
        ),
        (
            "bone-in-parts",
            broken,
            "Seen in parts: {bones}. Where a bone is broken, or hidden between its parts, the completed bone is not "
            "that of the patient.",
        ),
    )
    return [
        RadiographWarning(code, text.format(bones=_listed(bones)), {"bones": bones})
        for code, bones, text in texts
        if bones
    ]


def _listed(bones: Sequence[str]) -> str:
    named = [bone_words(bone) for bone in bones]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"


def _widened(box: tuple[slice, ...], by: int, size: tuple[int, int]) -> tuple[slice, ...]:
    return tuple(slice(max(part.start - by, 0), min(part.stop + by, n)) for part, n in zip(box, size, strict=True))
