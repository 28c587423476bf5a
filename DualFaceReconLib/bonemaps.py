"""Masks and depths by bone, as networks see them in a radiograph and as the truth of a simulated one has them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

BONES = ("hip_left", "hip_right", "femur_left", "femur_right")  # sides are the patient's
SIDES = ("left", "right")
Window = tuple[slice, slice]  # rows and columns of a picture, each from a first one to one past the last


def kind_and_side(bone: str) -> tuple[str, str]:
    """`hip_left` -> hip, left; a bone in the midline, such as the sacrum, is its own kind and of no side."""
    kind, _, side = bone.rpartition("_")
    return (kind, side) if side in SIDES else (bone, "")


def other_side(bone: str) -> str:
    """`hip_left` -> `hip_right`: what a bone is in the mirror; a bone in the midline stays itself."""
    kind, side = kind_and_side(bone)
    return f"{kind}_{SIDES[1 - SIDES.index(side)]}" if side else bone


def mirrored_order(bones: Sequence[str]) -> list[int]:
    """For each of `bones` the place among them of its other side: the order of channels in a mirrored picture."""
    return [bones.index(other_side(bone)) for bone in bones]


@dataclass(frozen=True, kw_only=True)
class BoneMaps:
    """Masks and depths of the bones of one picture; depths are mm from the source plane, 0 where a bone is not."""

    bones: tuple[str, ...]
    mask: np.ndarray  # (bones, rows, cols) bool; bones overlap at the hip joint
    front: np.ndarray  # (bones, rows, cols) float32, mm
    back: np.ndarray | None = None  # (bones, rows, cols) float32, mm; None for a single-face network

    def __post_init__(self) -> None:
        shape = self.mask.shape
        if len(shape) != 3 or shape[0] != len(self.bones) or self.mask.dtype != bool:
            raise ValueError(f"mask must be (bones, rows, cols) bool for {len(self.bones)} bones, not {shape}")
        for name, depth in (("front", self.front), ("back", self.back)):
            if depth is not None and depth.shape != shape:
                raise ValueError(f"{name} must have the mask's shape {shape}, not {depth.shape}")

    def of(self, bones: Sequence[str]) -> BoneMaps:
        """Some of the bones, in the order named."""
        kept = [self.bones.index(bone) for bone in bones]
        return BoneMaps(
            bones=tuple(bones),
            mask=self.mask[kept],
            front=self.front[kept],
            back=None if self.back is None else self.back[kept],
        )

    def within(self, area: np.ndarray) -> BoneMaps:
        """What lies in an area (rows, cols) bool of the picture, such as the exposed field."""
        back = None if self.back is None else self.back * area
        return replace(self, mask=self.mask & area, front=self.front * area, back=back)

    def resized(self, size_px: tuple[int, int]) -> BoneMaps:
        """At other pixels' centres: bilinear between pixels of the bone, which is where half of the weight has it."""
        if self.mask.shape[1:] == tuple(size_px):
            return self
        centres = [(np.arange(n) + 0.5) * old / n - 0.5 for n, old in zip(size_px, self.mask.shape[1:], strict=True)]
        shape = len(self.bones), *size_px
        whole_mask, front, back = np.zeros(shape, bool), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for number, mask in enumerate(self.mask):  # only where it is, which is a small part of a film
            seen = bounding_window(mask)
            window = tuple(_within(at, part) for at, part in zip(centres, seen, strict=True))
            around = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in seen)
            rows, cols = (at[part] - old.start for at, part, old in zip(centres, window, around, strict=True))
            of_bone = mask[around]
            weight = _between(of_bone.astype(np.float32), rows, cols)
            own = whole_mask[number][window] = weight >= 0.5
            for face, resized in ((self.front, front), (self.back, back)):
                if face is not None:
                    depth = _between(np.where(of_bone, face[number][around], 0), rows, cols)
                    resized[number][window] = np.where(own, depth / np.maximum(weight, 0.5), 0)
        return BoneMaps(bones=self.bones, mask=whole_mask, front=front, back=None if self.back is None else back)

    def depths(self) -> np.ndarray:
        """(faces, bones, rows, cols) mm, front first."""
        return np.stack([self.front] if self.back is None else [self.front, self.back])

    def mean_depth_mm(self) -> float:
        """Mean of all valid depths of all maps, the picture's depth centre; NaN where there is none."""
        depths = self.depths()
        valid = self.mask & np.isfinite(depths) & (depths > 0)
        return float(depths[valid].mean(dtype=np.float64)) if valid.any() else math.nan

    def turned(self, depth_mm: float) -> BoneMaps:
        """Mirrored at a depth, so that front and back change places: the maps of an AP picture as those of a PA one.

        Both are displayed as if they faced the patient, and differ in little else.
        """
        if self.back is None:
            raise ValueError("maps of one face cannot be turned: the other one is not known")
        front, back = (
            np.where(self.mask, 2 * depth_mm - face, 0).astype(np.float32) for face in (self.back, self.front)
        )
        return replace(self, front=front, back=back)

    def shifted(self, depth_mm: float) -> BoneMaps:
        """All bones moved along the detector's normal, away from the source where positive."""
        return replace(self, front=_moved(self.front, depth_mm), back=_moved(self.back, depth_mm))


def bounding_window(mask: np.ndarray) -> Window:
    """The smallest window that has all of a mask (rows, cols) bool; an empty one where there is nothing."""
    rows, cols = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)


def _between(values: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Values (rows, cols) at other rows and columns, bilinear; beyond the first and last they stay what they are."""
    for axis, places in enumerate((rows, cols)):
        places = np.clip(places, 0, values.shape[axis] - 1)
        before = np.minimum(places.astype(np.intp), max(values.shape[axis] - 2, 0))
        after = np.minimum(before + 1, values.shape[axis] - 1)
        share = np.expand_dims(places - before, 1 - axis)
        values = (1 - share) * values.take(before, axis) + share * values.take(after, axis)
    return values.astype(np.float32)


def _within(places: np.ndarray, window: slice) -> slice:
    """Of rising places along a line of pixels those that are less than a pixel from a window of it."""
    return slice(*np.searchsorted(places, (window.start - 1, window.stop)))


def _moved(depth: np.ndarray | None, depth_mm: float) -> np.ndarray | None:
    """Valid depths moved, the others left: a 0 stays a pixel without bone."""
    if depth is None:
        return None
    valid = depth > 0
    moved = np.where(valid, depth + depth_mm, depth).astype(np.float32)
    if (moved[valid] <= 0).any():
        raise ValueError(f"a shift of {depth_mm:g} mm moves bones behind the source")
    return moved
