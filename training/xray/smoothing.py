"""Gaussian smearing of pictures, on any device."""

from __future__ import annotations

import torch
from torch.nn.functional import conv2d, pad

LEAST_PX = 0.25  # below a quarter of a pixel there is nothing to smear


def blurred(picture: torch.Tensor, sigma_px: float, sigma_down_px: float | None = None) -> torch.Tensor:
    """(rows, cols) smeared by a Gaussian, where asked for by another one down the columns; edges are drawn on."""
    rows, cols = picture.shape
    across = _kernel(sigma_px, cols, picture.device)
    down = _kernel(sigma_px if sigma_down_px is None else sigma_down_px, rows, picture.device)
    reach = (len(across) // 2, len(across) // 2, len(down) // 2, len(down) // 2)
    padded = pad(picture[None, None], reach, mode="replicate")
    return conv2d(conv2d(padded, across[None, None, None]), down[None, None, :, None])[0, 0]


def _kernel(sigma_px: float, size: int, device: torch.device) -> torch.Tensor:
    if sigma_px < LEAST_PX:
        return torch.ones(1, device=device)
    reach = min(int(3 * sigma_px + 1), size - 1)
    places = torch.arange(-reach, reach + 1, device=device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (places / sigma_px) ** 2)
    return kernel / kernel.sum()
