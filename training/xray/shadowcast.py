"""Rays through `Shadow`s: what they add to lengths in materials, each in its own small window of the film."""

from __future__ import annotations

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
    half_px = np.array(shadow.half) * px_per_mm.mean()
    drawn_px = np.maximum(half_px, LEAST_PX)
    thickness = shadow.thickness_mm * float(np.prod(half_px / drawn_px))
    reach = float(drawn_px.max()) * (1.5 if shadow.shape in ("shell", "arc") else 1.0) + 1
    low = np.maximum(np.floor(place - reach), 0).astype(int)
    high = np.minimum(np.ceil(place + reach) + 1, (rows, cols)).astype(int)
    if (high <= low).any():
        return
    # R grows against the columns and S against the rows
    up = place[0] - np.arange(low[0], high[0], dtype=np.float32)[:, None]
    right = place[1] - np.arange(low[1], high[1], dtype=np.float32)[None]
    cosine, sine = np.cos(shadow.turn), np.sin(shadow.turn)
    across, along = (right * cosine + up * sine) / drawn_px[0], (up * cosine - right * sine) / drawn_px[1]
    away = across**2 + along**2
    if shadow.shape == "dome":
        profile = np.sqrt(np.clip(1 - away, 0, None))
    elif shadow.shape == "soft":
        profile = np.clip(1 - away, 0, None) ** 2
    elif shadow.shape == "lace":
        profile = np.sqrt(np.clip(1 - away, 0, None)) * _lace(away.shape, shadow.seed, float(px_per_mm.mean()))
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
