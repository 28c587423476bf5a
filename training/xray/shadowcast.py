"""Rays through `Shadow`s: what they add to lengths in materials, each in its own small window of the film."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import interpolate

from DualFaceReconLib.geometry import ProjectionGeometry
from training.patients.shadows import Shadow

MOST_TAKEN = {"bone": 0.65, "gas": 0.6}  # share of what is there that a film's shadows may take
SHELL = 0.8  # where a shell is densest, in half axes
SHELL_WIDTH = 0.22
LACE_MM = (3.0, 8.0)  # between the holes of a lace
LEAST_PX = 0.9  # half an axis: what is narrower is smeared over a pixel


def cast_shadows(shadows: Sequence[Shadow], lengths_mm: dict[str, torch.Tensor], geometry: ProjectionGeometry) -> None:
    """Changes lengths in "bone", "muscle" and "fat" (rows, cols) in place of the dictionary's tensors."""
    if not shadows:
        return
    added = {material: np.zeros(geometry.size_px, np.float32) for material in ("bone", "muscle", "gas")}
    places, depths = geometry.project(np.array([shadow.centre for shadow in shadows]))
    for shadow, place, depth in zip(shadows, places, depths, strict=True):
        _add(added[shadow.material], shadow, place, geometry.sdd_mm / depth / np.array(geometry.pixel_pitch_mm))
    device = lengths_mm["bone"].device
    bone, muscle, gas = (torch.from_numpy(added[name]).to(device) for name in ("bone", "muscle", "gas"))
    there = lengths_mm["bone"]
    change = torch.maximum(bone, -MOST_TAKEN["bone"] * there)
    from_muscle = torch.minimum(change.clamp(min=0), lengths_mm["muscle"])
    lengths_mm["bone"] = there + change
    lengths_mm["fat"] = lengths_mm["fat"] - change.clamp(max=0)  # marrow is where bone is taken
    through = lengths_mm["muscle"] - from_muscle + muscle
    lengths_mm["muscle"] = through - torch.minimum(gas, MOST_TAKEN["gas"] * through)


def _add(film: np.ndarray, shadow: Shadow, place: np.ndarray, px_per_mm: np.ndarray) -> None:
    """Adds one shadow's thickness to a film around a place [row, col]."""
    rows, cols = film.shape
    scale = float(px_per_mm.mean())
    half_px = [half * scale for half in shadow.half]
    drawn_px = [max(half, LEAST_PX) for half in half_px]
    thickness = shadow.thickness_mm * math.prod(half_px) / math.prod(drawn_px)
    reach = max(drawn_px) * (1.5 if shadow.shape in ("shell", "arc") else 1.0) + 1
    low = [max(math.floor(at - reach), 0) for at in place.tolist()]
    high = [min(math.ceil(at + reach) + 1, size) for at, size in zip(place.tolist(), (rows, cols), strict=True)]
    if high[0] <= low[0] or high[1] <= low[1]:
        return
    # R grows against the columns and S against the rows
    up = float(place[0]) - np.arange(low[0], high[0], dtype=np.float32)[:, None]
    right = float(place[1]) - np.arange(low[1], high[1], dtype=np.float32)[None]
    cosine, sine = math.cos(shadow.turn), math.sin(shadow.turn)
    across, along = (right * cosine + up * sine) / drawn_px[0], (up * cosine - right * sine) / drawn_px[1]
    away = across**2 + along**2
    if shadow.shape == "dome":
        profile = np.sqrt(np.maximum(1 - away, 0))
    elif shadow.shape == "soft":
        profile = np.maximum(1 - away, 0) ** 2
    elif shadow.shape == "lace":
        profile = np.sqrt(np.maximum(1 - away, 0)) * _lace(away.shape, shadow.seed, scale)
    else:
        profile = np.exp(-(((np.sqrt(away) - SHELL) / SHELL_WIDTH) ** 2))
        if shadow.shape == "arc":
            profile *= np.clip(0.5 + along, 0, 1)
    film[low[0] : high[0], low[1] : high[1]] += np.float32(thickness) * profile


def _lace(size_px: tuple[int, int], seed: int, px_per_mm: float) -> np.ndarray:
    """(rows, cols) from 0 in its threads to about 1 in its holes: smooth noise with a floor."""
    rng = np.random.default_rng(seed)
    step = float(rng.uniform(*LACE_MM)) * px_per_mm
    coarse = rng.standard_normal([max(int(n / step) + 2, 3) for n in size_px], dtype=np.float32)
    noise = interpolate(torch.from_numpy(coarse)[None, None], size=size_px, mode="bicubic", align_corners=True)[0, 0]
    return (0.8 * noise + float(rng.uniform(-0.1, 0.4))).clamp(0, 1.6).numpy()
