"""What a maker's station makes of a detector's reading: detail, dynamic range, look-up table, shutter.

    look = draw_look(rng)
    shown = look_at(read, look, pitch_mm, lit)  # (rows, cols) tensor from 0 to 1, bone bright

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
LOW_PERCENT, HIGH_PERCENT = (0.5, 12.0), (97.0, 99.9)  # of the patient's grey values: shown as 0 and 1
MIDDLE = 0.12  # a station looks for them within such margins of the film
COARSE_MM = 3.0  # what is slowly varying is worked out at this pitch


@dataclass(frozen=True)
class Look:
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


def draw_look(rng: np.random.Generator, world: str = "seen") -> Look:
    """A look of a world."""
    lut = str(rng.choice(SEEN_LUTS if world == "seen" else UNSEEN_LUTS))
    return Look(
        lut,
        float(rng.uniform(0, 1)),
        float(rng.uniform(*LOW_PERCENT)),
        float(rng.uniform(*HIGH_PERCENT)),
        float(rng.uniform(0, 1.2)) if rng.random() < 0.7 else 0.0,
        float(rng.uniform(0.8, 6.0)),
        float(rng.uniform(0.2, 0.75)) if rng.random() < 0.85 else 0.0,
        float(rng.uniform(20, 60)),
        bool(rng.random() < 0.75),
        int(rng.choice([10, 12, 14], p=[0.15, 0.7, 0.15])),
    )


def look_at(read: torch.Tensor, look: Look, pitch_mm: float, lit: torch.Tensor, body: torch.Tensor) -> torch.Tensor:
    """A reading (rows, cols) as displayed, 0 to 1, bone bright.

    `lit` and `body` (rows, cols) say where the collimator lets the beam through and where it met the patient.
    """
    shown = read
    if look.detail_gain > 0:
        fine = shown - blurred(shown, look.detail_mm / pitch_mm)
        shown = shown + look.detail_gain * 0.5 * torch.tanh(fine / 0.5)  # strong edges are not made stronger
    if look.flattening > 0:
        slow = _slow(shown.clamp(-2.5, 2.5), look.flattening_mm, pitch_mm)
        shown = shown - look.flattening * slow
    rows, cols = (slice(round(MIDDLE * n), n - round(MIDDLE * n)) for n in shown.shape)
    chosen = (body & lit)[rows, cols]
    inside = shown[rows, cols][chosen] if bool(chosen.any()) else shown.flatten()
    low, high = (float(level) for level in _percentiles(inside, (look.low_percent, look.high_percent)))
    high = max(high, low + 1e-3)
    shown = _through_lut((shown - low) / (high - low), look, (inside - low) / (high - low))
    if look.shutter:
        shown = torch.where(lit, shown, torch.zeros_like(shown))
    steps = 2**look.bits - 1
    return torch.round(shown * steps) / steps


def _through_lut(level: torch.Tensor, look: Look, inside: torch.Tensor) -> torch.Tensor:
    """Levels, 0 and 1 at the window's ends, to 0..1; `inside` are those of the patient."""
    if look.lut == "linear":
        return level.clamp(0, 1)
    if look.lut == "sigmoid":
        return torch.sigmoid((4 + 2 * look.steepness) * (level - 0.5))
    if look.lut == "gamma":
        return level.clamp(0, 1) ** (0.55 + 1.1 * look.steepness)
    if look.lut == "toe and shoulder":
        places = np.array([-0.4, 0.0, 0.25, 0.75, 1.0, 1.5])
        heights = np.array([0, 0.06, 0.25 - 0.1 * look.steepness, 0.75 + 0.1 * look.steepness, 0.94, 1.0])
        return _interpolated(level, places, heights)
    if look.lut == "film":  # optical density by Hurter and Driffield; a light box shows its transmission
        density = 0.2 + 3.0 / (1 + torch.exp((2.2 + 1.5 * look.steepness) * 2 * (level - 0.35)))
        return (10 ** (0.2 - density)) ** 0.45
    places = np.linspace(0, 100, 65)
    levels = np.array([float(v) for v in _percentiles(inside, places)])
    equalised = _interpolated(level, levels + 1e-4 * np.arange(len(levels)), places / 100)
    share = 0.4 + 0.4 * look.steepness
    return share * equalised + (1 - share) * level.clamp(0, 1)


def _slow(shown: torch.Tensor, sigma_mm: float, pitch_mm: float) -> torch.Tensor:
    rows, cols = shown.shape
    size = max(round(rows * pitch_mm / COARSE_MM), 4), max(round(cols * pitch_mm / COARSE_MM), 4)
    coarse = interpolate(shown[None, None], size=size, mode="area")[0, 0]
    smooth = blurred(coarse, sigma_mm * size[0] / (rows * pitch_mm))
    return interpolate(smooth[None, None], size=(rows, cols), mode="bilinear", align_corners=False)[0, 0]


def _percentiles(values: torch.Tensor, percents: tuple[float, ...] | np.ndarray) -> torch.Tensor:
    """Percentiles of many values; a tenth of a hundred thousand of them are enough."""
    few = values[:: max(len(values) // 10000, 1)]
    wanted = torch.as_tensor(np.asarray(percents) / 100, device=values.device, dtype=few.dtype)
    return torch.quantile(few, wanted)


def _interpolated(level: torch.Tensor, places: np.ndarray, heights: np.ndarray) -> torch.Tensor:
    """Linear between (places, heights), constant beyond their ends."""
    x = torch.as_tensor(places, device=level.device).to(level.dtype)
    y = torch.as_tensor(heights, device=level.device).to(level.dtype)
    right = torch.searchsorted(x, level.contiguous()).clamp(1, len(x) - 1)
    share = ((level - x[right - 1]) / (x[right] - x[right - 1])).clamp(0, 1)
    return y[right - 1] + share * (y[right] - y[right - 1])
