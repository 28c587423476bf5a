"""Projection geometry of one radiograph: pixel + depth <-> millimetres. The only place where projection is written.

A pinhole camera without skew. Pixels are [row, col]; an integer is a pixel's centre and (0, 0) the first.
Depth is the distance in mm from the source plane along the detector's normal. Points are RAS mm with the origin
where the central ray meets the detector; the picture is shown as if facing the patient, so columns grow towards
the patient's left and rows towards the feet:

    x = (col - col0) * pitch_col * depth / sdd        R = -x
    y = (row - row0) * pitch_row * depth / sdd        S = -y
    A = sdd - depth (AP, source in front of the patient)    A = depth - sdd (PA, source behind)

Everything takes numpy arrays and torch tensors alike; numpy results are float64, tensors keep dtype and device.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

Array = Any  # np.ndarray or torch.Tensor
View = Literal["AP", "PA"]
ProvenanceKind = Literal["header", "derived", "user", "estimated", "assumed"]


@dataclass(frozen=True)
class Provenance:
    """Where a value came from."""

    kind: ProvenanceKind
    source: str  # the tag, the formula, who gave it, or why it was assumed
    spread: float | None = None  # one standard deviation, in the value's own unit, where it is known

    def __str__(self) -> str:
        return f"{self.kind}: {self.source}"


GIVEN_IN_CODE = Provenance("user", "given in code")


@dataclass(frozen=True)
class ProjectionGeometry:
    """How one radiograph was taken."""

    sdd_mm: float  # source to detector, along the detector's normal
    pixel_pitch_mm: tuple[float, float]  # [row, col], at the detector
    size_px: tuple[int, int]  # [rows, cols]
    principal_point_px: tuple[float, float] | None = None  # [row, col] of the central ray; None: the picture's centre
    view: View = "AP"
    object_distance_mm: float | None = None  # detector to the bones' centre
    opening_px: tuple[tuple[float, float], ...] | None = None  # corners [row, col] of the convex part that is lit
    provenance: Mapping[str, Provenance] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        rows, cols = (int(n) for n in self.size_px)
        principal = self.principal_point_px
        if principal is None:
            principal = ((rows - 1) / 2, (cols - 1) / 2)
        settled = {
            "sdd_mm": float(self.sdd_mm),
            "pixel_pitch_mm": tuple(float(p) for p in self.pixel_pitch_mm),
            "size_px": (rows, cols),
            "principal_point_px": tuple(float(p) for p in principal),
            "object_distance_mm": None if self.object_distance_mm is None else float(self.object_distance_mm),
            "opening_px": self._opening(lambda corner: tuple(float(place) for place in corner)),
        }
        for name, value in settled.items():
            object.__setattr__(self, name, value)
        values = ("sdd_mm", "pixel_pitch_mm", "size_px", "principal_point_px", "view", "object_distance_mm")
        object.__setattr__(self, "provenance", {name: self.provenance.get(name, GIVEN_IN_CODE) for name in values})
        self._check()

    def _check(self) -> None:
        if not (math.isfinite(self.sdd_mm) and self.sdd_mm > 0):
            raise ValueError(f"sdd_mm must be a positive number of millimetres, not {self.sdd_mm}")
        if len(self.pixel_pitch_mm) != 2 or not all(math.isfinite(p) and p > 0 for p in self.pixel_pitch_mm):
            raise ValueError(f"pixel_pitch_mm must be two positive numbers [row, col], not {self.pixel_pitch_mm}")
        if min(self.size_px) < 1:
            raise ValueError(f"size_px must be at least one pixel a side, not {self.size_px}")
        if len(self.principal_point_px) != 2 or not all(map(math.isfinite, self.principal_point_px)):
            raise ValueError(f"principal_point_px must be two finite numbers [row, col], not {self.principal_point_px}")
        if self.view not in ("AP", "PA"):
            raise ValueError(f"view must be 'AP' or 'PA', not {self.view!r}")
        if self.object_distance_mm is not None and not 0 <= self.object_distance_mm < self.sdd_mm:
            raise ValueError(f"object_distance_mm must lie between 0 and sdd_mm, not {self.object_distance_mm}")

    # The bones' distance, which may become known after the film was read

    @property
    def lengths_are_calibrated(self) -> bool:
        """Whether the pitch was derived from a calibration at the bones, so that lengths keep at any distance."""
        return self.provenance["pixel_pitch_mm"].kind == "derived"

    def at_object_distance(self, object_distance_mm: float, provenance: Provenance) -> ProjectionGeometry:
        """The same film with its bones' centre so far from the detector; a calibration at the bones stays valid."""
        pitch = self.pixel_pitch_mm
        if self.lengths_are_calibrated and self.object_distance_mm is not None:
            ratio = (self.sdd_mm - self.object_distance_mm) / (self.sdd_mm - object_distance_mm)
            pitch = tuple(p * ratio for p in pitch)
        came_from = {**self.provenance, "object_distance_mm": provenance}
        return replace(self, object_distance_mm=object_distance_mm, pixel_pitch_mm=pitch, provenance=came_from)

    # Points and pixels

    def project(self, points: Array) -> tuple[Array, Array]:
        """RAS mm (..., 3) -> pixels (..., 2) [row, col] and depth (...) in mm; NaN pixels at or behind the source."""
        points = _floating(points)
        depth = self.depth(points)
        scale = self.sdd_mm / _where_positive(depth)
        row = self.principal_point_px[0] - points[..., 2] * scale / self.pixel_pitch_mm[0]
        col = self.principal_point_px[1] - points[..., 0] * scale / self.pixel_pitch_mm[1]
        return _stack(row, col), depth

    def depth(self, points: Array) -> Array:
        """Of RAS mm (..., 3), in mm (...)."""
        return self.sdd_mm - self._facing * points[..., 1]

    def back_project(self, pixels: Array, depth: Array) -> Array:
        """Pixels (..., 2) [row, col] and depth (...) in mm from the source plane -> RAS mm (..., 3)."""
        pixels, depth = _alike(pixels, depth)
        scale = depth / self.sdd_mm
        right = (self.principal_point_px[1] - pixels[..., 1]) * self.pixel_pitch_mm[1] * scale
        superior = (self.principal_point_px[0] - pixels[..., 0]) * self.pixel_pitch_mm[0] * scale
        return _stack(right, self._facing * (self.sdd_mm - depth), superior)

    def pixel_centres(self) -> np.ndarray:
        """Every pixel's [row, col], (rows, cols, 2) float64."""
        rows, cols = self.size_px
        return np.stack(np.meshgrid(np.arange(rows, dtype=float), np.arange(cols, dtype=float), indexing="ij"), -1)

    def sees(self, points: Array) -> Array:
        """Whether RAS points (..., 3) lie in the viewing frustum, the half pixel at the picture's border included."""
        pixels, depth = self.project(points)
        row, col = pixels[..., 0], pixels[..., 1]
        rows, cols = self.size_px
        inside = (row >= -0.5) & (row <= rows - 0.5) & (col >= -0.5) & (col <= cols - 0.5)
        if self.opening_px is not None:
            inside = inside & within_corners(self.opening_px, row, col)
        return inside & (depth > 0) & (depth <= self.sdd_mm)

    def pixel_size_at(self, depth_mm: float) -> tuple[float, float]:
        """What one pixel covers at a depth, [row, col] in mm."""
        return tuple(pitch * depth_mm / self.sdd_mm for pitch in self.pixel_pitch_mm)

    def depth_of_ball(self, centre_px: Sequence[float], diameter_px: float, diameter_mm: float) -> float:
        """Depth in mm of the centre of a ball by its shadow: centre [row, col] and mean diameter in pixels.

        The shadow is an ellipse, longer away from the central ray by the obliquity of its ray; its mean diameter is
        the geometric one of both axes.
        """
        offset = [(c - p) * s for c, p, s in zip(centre_px, self.principal_point_px, self.pixel_pitch_mm, strict=True)]
        cosine = self.sdd_mm / math.hypot(self.sdd_mm, *offset)
        radius = diameter_px / 2 * math.sqrt(math.prod(self.pixel_pitch_mm) * cosine)  # the ellipse's smaller one
        sine = radius * cosine / math.hypot(self.sdd_mm, radius)  # of half the cone's angle
        return diameter_mm / 2 / sine * cosine

    # The rig, for display and clipping

    @property
    def source(self) -> np.ndarray:
        """The X-ray source, RAS mm (3,)."""
        return np.array([0.0, self._facing * self.sdd_mm, 0.0])

    def section_corners(self, depth_mm: float) -> np.ndarray:
        """The frustum's cross-section at a depth, RAS mm (4, 3): from the first pixel's outer corner along its row."""
        rows, cols = self.size_px
        outer = [(-0.5, -0.5), (-0.5, cols - 0.5), (rows - 0.5, cols - 0.5), (rows - 0.5, -0.5)]
        return self.back_project(np.array(outer), np.full(4, float(depth_mm)))

    @property
    def detector_corners(self) -> np.ndarray:
        """The picture's outer corners on the detector, RAS mm (4, 3)."""
        return self.section_corners(self.sdd_mm)

    def frustum_planes(self) -> tuple[np.ndarray, np.ndarray]:
        """The frustum's four side planes: a point on each (4, 3) and its inward unit normal (4, 3), RAS mm."""
        corners = self.detector_corners
        spokes = corners - self.source
        normals = np.cross(spokes, np.roll(spokes, -1, axis=0))
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        inward = np.sign(np.sum(normals * (corners.mean(axis=0) - self.source), axis=1, keepdims=True))
        return np.tile(self.source, (4, 1)), normals * inward

    def ijk_to_ras(self, thickness_mm: float = 1.0) -> np.ndarray:
        """(4, 4) from [column, row, slice] to RAS mm: the picture on the detector's plane, positive determinant."""
        matrix = np.eye(4)
        matrix[:3, 0] = (-self.pixel_pitch_mm[1], 0, 0)
        matrix[:3, 1] = (0, 0, -self.pixel_pitch_mm[0])
        matrix[:3, 2] = (0, -thickness_mm, 0)
        matrix[:3, 3] = self.back_project(np.zeros(2), self.sdd_mm)
        return matrix

    # The same rays on another grid of pixels

    def resized(self, size_px: Sequence[int]) -> ProjectionGeometry:
        """The same film sampled with another number of pixels; its outer borders stay where they are."""
        ratio = [new / old for new, old in zip(size_px, self.size_px, strict=True)]
        return replace(
            self,
            size_px=tuple(size_px),
            pixel_pitch_mm=tuple(p / r for p, r in zip(self.pixel_pitch_mm, ratio, strict=True)),
            principal_point_px=tuple((p + 0.5) * r - 0.5 for p, r in zip(self.principal_point_px, ratio, strict=True)),
            opening_px=self._opening(
                lambda place: tuple((p + 0.5) * r - 0.5 for p, r in zip(place, ratio, strict=True))
            ),
        )

    def resized_to(self, longer_px: int) -> ProjectionGeometry:
        """The same film with so many pixels along its longer side."""
        longer = max(self.size_px)
        return self.resized([max(round(n * longer_px / longer), 1) for n in self.size_px])

    def cropped(self, first_px: Sequence[int], size_px: Sequence[int]) -> ProjectionGeometry:
        """A window of the film that begins at pixel `first_px` [row, col]; beyond the film it is a padding."""

        def moved(place: Sequence[float]) -> tuple[float, ...]:
            return tuple(p - first for p, first in zip(place, first_px, strict=True))

        principal, opening = moved(self.principal_point_px), self._opening(moved)
        return replace(self, size_px=tuple(size_px), principal_point_px=principal, opening_px=opening)

    def flipped(self, *, rows: bool = False, cols: bool = False) -> ProjectionGeometry:
        """For pixels whose rows or columns were reversed. Reversed columns are the mirrored patient."""

        def turned(place: Sequence[float]) -> tuple[float, ...]:
            turns = zip(place, self.size_px, (rows, cols), strict=True)
            return tuple(n - 1 - p if turn else p for p, n, turn in turns)

        return replace(self, principal_point_px=turned(self.principal_point_px), opening_px=self._opening(turned))

    def transposed(self) -> ProjectionGeometry:
        """For pixels whose rows became columns."""
        return replace(
            self,
            size_px=self.size_px[::-1],
            pixel_pitch_mm=self.pixel_pitch_mm[::-1],
            principal_point_px=self.principal_point_px[::-1],
            opening_px=self._opening(lambda place: tuple(place[::-1])),
        )

    def _opening(self, moved: Callable[[Sequence[float]], tuple[float, ...]]) -> tuple[tuple[float, ...], ...] | None:
        """The opening's corners on another grid."""
        return None if self.opening_px is None else tuple(moved(corner) for corner in self.opening_px)

    # Files

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, provenance included; an opening only where there is one."""
        values = asdict(self)
        if self.opening_px is None:
            del values["opening_px"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ProjectionGeometry:
        """The inverse of `to_dict`; without a provenance every value counts as given by the file's maker."""
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        known["provenance"] = {name: Provenance(**value) for name, value in values.get("provenance", {}).items()}
        return cls(**known)

    @property
    def _facing(self) -> float:
        """+1 when the source is in front of the patient (AP), -1 when it is behind (PA)."""
        return 1.0 if self.view == "AP" else -1.0


def within_corners(corners_px: Sequence[Sequence[float]], row: Array, col: Array) -> Array:
    """Whether places (...) lie within a convex outline of corners [row, col], which may run either way round."""
    middle = [sum(corner[axis] for corner in corners_px) / len(corners_px) for axis in (0, 1)]
    inside = True
    for first, second in zip(corners_px, [*corners_px[1:], corners_px[0]], strict=True):
        down, across = second[1] - first[1], first[0] - second[0]
        if (middle[0] - first[0]) * down + (middle[1] - first[1]) * across <= 0:
            down, across = -down, -across
        inside = inside & ((row - first[0]) * down + (col - first[1]) * across >= 0)
    return inside


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")  # a tensor cannot exist before torch is imported
    return torch is not None and isinstance(value, torch.Tensor)


def _floating(value: Array) -> Array:
    if _is_tensor(value):
        return value if value.is_floating_point() else value.double()
    return np.asarray(value, dtype=np.float64)


def _alike(first: Array, second: Array) -> tuple[Array, Array]:
    """Both as tensors of one dtype and device where either is a tensor, else both as float64 arrays."""
    first, second = _floating(first), _floating(second)
    if _is_tensor(first) and not _is_tensor(second):
        second = first.new_tensor(second)
    elif _is_tensor(second) and not _is_tensor(first):
        first = second.new_tensor(first)
    return first, second


def _stack(*parts: Array) -> Array:
    if _is_tensor(parts[0]):
        torch = sys.modules["torch"]
        return torch.stack(torch.broadcast_tensors(*parts), dim=-1)
    return np.stack(np.broadcast_arrays(*parts), axis=-1)


def _where_positive(depth: Array) -> Array:
    if _is_tensor(depth):
        return depth.where(depth > 0, depth.new_tensor(math.nan))
    return np.where(depth > 0, depth, np.nan)
