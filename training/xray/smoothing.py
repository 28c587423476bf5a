"""Gaussian smearing of pictures, on any device."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import pad

LEAST_PX = 0.25  # below a quarter of a pixel there is nothing to smear
LONG = 0.125  # a kernel that is longer than this share of a line is quicker as a matrix


def blurred(picture: torch.Tensor, sigma_px: float, sigma_down_px: float | None = None) -> torch.Tensor:
    """(..., rows, cols) smeared by a Gaussian, where asked for by another one down the columns; edges are drawn on."""
    rows, cols = picture.shape[-2:]
    across, down = _kernel(sigma_px, cols), _kernel(sigma_px if sigma_down_px is None else sigma_down_px, rows)
    smeared = picture.reshape(1, -1, rows, cols)
    if len(across) > LONG * cols:
        smeared = smeared @ _band(across, cols, picture).T
    elif len(across) > 1:
        smeared = _summed(smeared, across, (len(across) // 2, 0))
    if len(down) > LONG * rows:
        smeared = _band(down, rows, picture) @ smeared
    elif len(down) > 1:
        smeared = _summed(smeared, down, (0, len(down) // 2))
    return picture.clone() if len(across) == len(down) == 1 else smeared.reshape(picture.shape)


def _summed(picture: torch.Tensor, kernel: np.ndarray, reach: tuple[int, int]) -> torch.Tensor:
    """The picture, shifted across or down, times each of the kernel's shares; quicker than conv2d on one channel."""
    across, down = reach
    rows, cols = picture.shape[-2:]
    padded = pad(picture, (across, across, down, down), mode="replicate")
    shifted = [
        padded[..., k : k + rows, :] if down else padded[..., k : k + cols] for k in range(1 + 2 * max(across, down))
    ]
    total = shifted[0] * float(kernel[0])
    for part, share in zip(shifted[1:], kernel[1:].tolist(), strict=True):
        total.add_(part, alpha=share)
    return total


def _band(kernel: np.ndarray, size: int, like: torch.Tensor) -> torch.Tensor:
    """(size, size) matrix that smears a line."""
    reach = len(kernel) // 2
    place = np.arange(size)[:, None] * size + np.clip(
        np.arange(size)[:, None] + np.arange(-reach, reach + 1), 0, size - 1
    )
    band = np.bincount(place.ravel(), np.tile(kernel, size), minlength=size * size)
    return torch.as_tensor(band.reshape(size, size), dtype=like.dtype, device=like.device)


def _kernel(sigma_px: float, size: int) -> np.ndarray:
    if sigma_px < LEAST_PX:
        return np.ones(1)
    reach = min(int(3 * sigma_px + 1), size - 1)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_px) ** 2)
    return kernel / kernel.sum()
