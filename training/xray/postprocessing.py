"""What a maker's station makes of a detector's reading: detail, dynamic range, look-up table, shutter.

    processing = draw_postprocessing(rng)
    pixels = postprocessed(reading, processing, pitch_mm, lit, body)  # (rows, cols) tensor from 0 to 1, bone bright

The families of look-up tables are those that DICOM's VOI LUT names (linear, sigmoid) and that makers describe (gamma,
pieces with a toe and a shoulder); a characteristic curve of film and an equalised histogram are the unseen world's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import interpolate

from training.xray.smoothing import blurred

SEEN_LUTS = ("linear", "sigmoid", "gamma", "toe and shoulder")
UNSEEN_LUTS = ("film", "equalised")
LOW_PERCENT, HIGH_PERCENT = (0.5, 12.0), (97.0, 99.9)  # of the patient's grey values: picture as 0 and 1
MARGIN = 0.12  # share of a film's side in which a station does not look for them
COARSE_MM = 3.0  # the slow variation is worked out at this pitch


@dataclass(frozen=True, kw_only=True)
class Postprocessing:
    """How one film is processed."""

    lut: str
    steepness: float  # of the look-up table, 0 to 1
    low_percent: float
    high_percent: float
    detail_gain: float
    detail_mm: float
    flattening: float  # share of the slow variation that is taken off
    flattening_mm: float
    shutter: bool  # black beyond the collimation's edges
    bits: int


def draw_postprocessing(rng: np.random.Generator, world: str = "seen") -> Postprocessing:
    """The processing of one film, as in one of `exposure.WORLDS`."""
    lut = str(rng.choice(SEEN_LUTS if world == "seen" else UNSEEN_LUTS))
    return Postprocessing(
        lut=lut,
        steepness=float(rng.uniform(0, 1)),
        low_percent=float(rng.uniform(*LOW_PERCENT)),
        high_percent=float(rng.uniform(*HIGH_PERCENT)),
        detail_gain=float(rng.uniform(0, 1.2)) if rng.random() < 0.7 else 0.0,
        detail_mm=float(rng.uniform(0.8, 6.0)),
        flattening=float(rng.uniform(0.2, 0.75)) if rng.random() < 0.85 else 0.0,
        flattening_mm=float(rng.uniform(20, 60)),
        shutter=bool(rng.random() < 0.75),
        bits=int(rng.choice([10, 12, 14], p=[0.15, 0.7, 0.15])),
    )


def postprocessed(
    reading: torch.Tensor, processing: Postprocessing, pitch_mm: float, lit: torch.Tensor, body: torch.Tensor
) -> torch.Tensor:
    """A reading (rows, cols) as displayed, 0 to 1, bone bright.

    `lit` and `body` (rows, cols) are true where the collimator lets the beam through and where it met the patient.
    """
    picture = reading
    if processing.detail_gain > 0:
        fine = picture - blurred(picture, processing.detail_mm / pitch_mm)
        picture = picture + processing.detail_gain * 0.5 * torch.tanh(fine / 0.5)  # strong edges are not made stronger
    if processing.flattening > 0:
        slow = _slow(picture.clamp(-2.5, 2.5), processing.flattening_mm, pitch_mm)
        picture = picture - processing.flattening * slow
    rows, cols = (slice(round(MARGIN * n), n - round(MARGIN * n)) for n in picture.shape)
    chosen = (body & lit)[rows, cols]
    inside = picture[rows, cols][chosen] if bool(chosen.any()) else picture.flatten()
    low, high = (float(level) for level in _percentiles(inside, (processing.low_percent, processing.high_percent)))
    high = max(high, low + 1e-3)
    picture = _through_lut((picture - low) / (high - low), processing, (inside - low) / (high - low))
    if processing.shutter:
        picture = torch.where(lit, picture, torch.zeros_like(picture))
    steps = 2**processing.bits - 1
    return torch.round(picture * steps) / steps


def _through_lut(level: torch.Tensor, processing: Postprocessing, inside: torch.Tensor) -> torch.Tensor:
    """Levels, 0 and 1 at the window's ends, to 0..1; `inside` are those of the patient."""
    if processing.lut == "linear":
        return level.clamp(0, 1)
    if processing.lut == "sigmoid":
        return torch.sigmoid((4 + 2 * processing.steepness) * (level - 0.5))
    if processing.lut == "gamma":
        return level.clamp(0, 1) ** (0.55 + 1.1 * processing.steepness)
    if processing.lut == "toe and shoulder":
        places = np.array([-0.4, 0.0, 0.25, 0.75, 1.0, 1.5])
        heights = np.array([0, 0.06, 0.25 - 0.1 * processing.steepness, 0.75 + 0.1 * processing.steepness, 0.94, 1.0])
        return _interpolated(level, places, heights)
    if processing.lut == "film":  # optical density by Hurter and Driffield; a light box shows its transmission
        density = 0.2 + 3.0 / (1 + torch.exp((2.2 + 1.5 * processing.steepness) * 2 * (level - 0.35)))
        return (10 ** (0.2 - density)) ** 0.45
    places = np.linspace(0, 100, 65)
    levels = np.array([float(v) for v in _percentiles(inside, places)])
    equalised = _interpolated(level, levels + 1e-4 * np.arange(len(levels)), places / 100)
    share = 0.4 + 0.4 * processing.steepness
    return share * equalised + (1 - share) * level.clamp(0, 1)


def _slow(picture: torch.Tensor, sigma_mm: float, pitch_mm: float) -> torch.Tensor:
    rows, cols = picture.shape
    size = max(round(rows * pitch_mm / COARSE_MM), 4), max(round(cols * pitch_mm / COARSE_MM), 4)
    coarse = interpolate(picture[None, None], size=size, mode="area")[0, 0]
    smooth = blurred(coarse, sigma_mm * size[0] / (rows * pitch_mm))
    return interpolate(smooth[None, None], size=(rows, cols), mode="bilinear", align_corners=False)[0, 0]


def _percentiles(values: torch.Tensor, percents: tuple[float, ...] | np.ndarray) -> np.ndarray:
    """Percentiles of many values; a tenth of a hundred thousand of them are enough."""
    few = values[:: max(len(values) // 10000, 1)]
    return np.quantile(few.cpu().numpy(), np.asarray(percents) / 100)  # quicker than PyTorch, which sorts


def _interpolated(level: torch.Tensor, places: np.ndarray, heights: np.ndarray) -> torch.Tensor:
    """Linear between (places, heights), constant beyond their ends."""
    x = torch.as_tensor(places, device=level.device).to(level.dtype)
    y = torch.as_tensor(heights, device=level.device).to(level.dtype)
    right = torch.searchsorted(x, level.contiguous()).clamp(1, len(x) - 1)
    share = ((level - x[right - 1]) / (x[right] - x[right - 1])).clamp(0, 1)
    return y[right - 1] + share * (y[right] - y[right - 1])
