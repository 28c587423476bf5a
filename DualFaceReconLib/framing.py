"""What networks see: a radiograph at fixed millimetres per pixel, padded or cut to a square, never stretched.

    frame = frame_of(radiograph.geometry, size_px=256, mm_per_pixel=1.5)
    picture = frame.picture(radiograph.pixels)      # (256, 256) tensor, -1 to 1
    depth = frame.undone(depth_maps)                 # at the radiograph's own resolution

Millimetres are those at the nominal bone plane, a fixed distance from the detector, so that one patient looks alike
at any pitch and source distance. Where a film's bones really were is another matter: `object_distance_mm`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from DualFaceReconLib.bonemaps import Window
from DualFaceReconLib.film.subject import POPULATION_OBJECT_DISTANCE_MM
from DualFaceReconLib.geometry import ProjectionGeometry

if TYPE_CHECKING:
    import torch

# Detector to the nominal bone plane, for networks that are trained; a bundle's manifest has that of its own networks
NOMINAL_OBJECT_DISTANCE_MM = POPULATION_OBJECT_DISTANCE_MM
DARKEST, BRIGHTEST = 0.01, 0.99  # quantiles of a film that become -1 and 1
REACH = 1.5  # beyond them values are cut
NORMALISATION = {"darkest": DARKEST, "brightest": BRIGHTEST, "reach": REACH}  # as it stands in a bundle's manifest


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A square of `size_px` network pixels on a radiograph, of which `scale` go to one pixel of the radiograph."""

    geometry: ProjectionGeometry  # of the radiograph
    size_px: int
    scale: tuple[float, float]  # rows, cols
    first_px: tuple[int, int]  # of the resampled radiograph at the square's corner; negative where it is padded

    @property
    def framed(self) -> ProjectionGeometry:
        """The square's own geometry."""
        pitch = tuple(p / s for p, s in zip(self.geometry.pixel_pitch_mm, self.scale, strict=True))
        centre = tuple(
            (c + 0.5) * s - 0.5 - first
            for c, s, first in zip(self.geometry.principal_point_px, self.scale, self.first_px, strict=True)
        )
        film = self.geometry
        return ProjectionGeometry(
            sdd_mm=film.sdd_mm,
            pixel_pitch_mm=pitch,
            size_px=(self.size_px, self.size_px),
            principal_point_px=centre,
            view=film.view,
            object_distance_mm=film.object_distance_mm,
        )

    @property
    def resampled_px(self) -> tuple[int, int]:
        """Of the whole radiograph at the network's scale, [rows, cols]."""
        return tuple(int(n * s + 1e-6) for n, s in zip(self.geometry.size_px, self.scale, strict=True))

    def picture(self, pixels: np.ndarray) -> torch.Tensor:
        """(n, n) float32 of a film (rows, cols), normalised; -1 where there is none."""
        import torch
        from torch.nn.functional import interpolate

        film = torch.as_tensor(np.ascontiguousarray(pixels, dtype=np.float32))[None, None]
        if self.scale != (1.0, 1.0):
            film = interpolate(
                film, scale_factor=self.scale, mode="bilinear", antialias=max(self.scale) < 1, align_corners=False
            )
        return self.square(normalised(film[0, 0]), -1.0)

    def square(self, values: torch.Tensor, padding: float = 0.0) -> torch.Tensor:
        """(..., n, n) of values (..., rows, cols) that are resampled already; `padding` where there are none."""
        from torch.nn.functional import pad

        (top, left), n = self.first_px, self.size_px
        kept = values[..., max(top, 0) : max(top + n, 0), max(left, 0) : max(left + n, 0)]
        before = max(-top, 0), max(-left, 0)
        after = tuple(n - b - k for b, k in zip(before, kept.shape[-2:], strict=True))
        return pad(kept, (before[1], after[1], before[0], after[0]), value=padding)

    def undone(self, maps: np.ndarray, window: Window | None = None) -> np.ndarray:
        """Maps (k, n, n) brought back to the radiograph's pixels: (k, rows, cols), bilinear; 0 beyond the square.

        `window`: only so many of the radiograph's rows and columns. As torch's grid_sample has it, but for rounding.
        """
        for axis in (1, 0):  # columns while there are few rows
            kept = range(self.geometry.size_px[axis])[slice(None) if window is None else window[axis]]
            centres = np.arange(kept.start, kept.stop) + 0.5
            places = centres * self.scale[axis] - self.first_px[axis] - 0.5
            before = np.floor(places).astype(int)
            share = np.expand_dims(np.float32(places - before), 1 - axis)
            near, far = (_taken(maps, pixels, axis + 1) for pixels in (before, before + 1))
            near *= 1 - share
            far *= share
            near += far
            maps = near
        return maps

    def window_on_film(self, window: Window) -> Window:
        """The radiograph's pixels whose values depend on a window of the square."""
        ends = []
        for part, size, scale, first in zip(window, self.geometry.size_px, self.scale, self.first_px, strict=True):
            low, high = ((p + 0.5 + first) / scale - 0.5 for p in (part.start - 1, part.stop))
            start, stop = (min(max(n, 0), size) for n in (math.floor(low), math.ceil(high) + 1))
            ends.append(slice(start, stop if part.stop > part.start else start))
        return ends[0], ends[1]


def frame_of(
    geometry: ProjectionGeometry,
    size_px: int,
    mm_per_pixel: float,
    nominal_object_distance_mm: float = NOMINAL_OBJECT_DISTANCE_MM,
) -> Frame:
    """The frame in which a network sees a radiograph of a geometry, centred on it."""
    pitch = framed_pitch_mm(geometry.sdd_mm, mm_per_pixel, nominal_object_distance_mm)
    scale = tuple(1.0 if abs(p / pitch - 1) < 1e-6 else p / pitch for p in geometry.pixel_pitch_mm)
    whole = Frame(geometry=geometry, size_px=size_px, scale=scale, first_px=(0, 0))
    if min(whole.resampled_px) < 1:
        raise ValueError(f"at {mm_per_pixel:g} mm a pixel nothing is left of {geometry.size_px} pixels")
    return replace(whole, first_px=tuple((n - size_px) // 2 for n in whole.resampled_px))


def framed_pitch_mm(
    sdd_mm: float, mm_per_pixel: float, nominal_object_distance_mm: float = NOMINAL_OBJECT_DISTANCE_MM
) -> float:
    """Pitch at the detector of pixels that are `mm_per_pixel` wide at the nominal bone plane."""
    return mm_per_pixel * sdd_mm / (sdd_mm - nominal_object_distance_mm)


def normalised(film: torch.Tensor) -> torch.Tensor:
    """A film's grey values (rows, cols), bone bright, between about -1 and 1 by its own quantiles."""
    import torch

    sampled = film.flatten()[:: max(film.numel() // 20000, 1)]
    low, high = torch.quantile(sampled, torch.tensor([DARKEST, BRIGHTEST], device=film.device))
    spread = torch.clamp(high - low, min=1e-6)
    return (2 * (film - low) / spread - 1).clamp(-REACH, REACH)


def _taken(maps: np.ndarray, pixels: np.ndarray, axis: int) -> np.ndarray:
    """Pixels (m,) of maps along an axis; beyond its ends they are 0."""
    inside = (pixels >= 0) & (pixels < maps.shape[axis])
    taken = maps.take(np.where(inside, pixels, 0), axis)
    return taken if inside.all() else taken * inside.reshape([-1 if axis == other else 1 for other in range(maps.ndim)])
