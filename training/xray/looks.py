"""Other looks of a displayed film (rows, cols), 0 to 1: sharpened, rebanded, evened, clipped, grainy, compressed."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d, interpolate

from training.xray.smoothing import blurred

BANDS = 5  # of detail, each twice as coarse as the one before
FAINT = 0.004  # detail below this share of the grey range is noise
WIDEST_BLUR_PX = 2.5  # wider ones are made on a coarser grid


def sharpened(pixels: np.ndarray, widths_px: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """With unsharp masks of some widths; strong edges overshoot and get seams."""
    picture = torch.from_numpy(pixels)
    sharp = picture.clone()
    for width, gain in zip(widths_px, gains, strict=True):
        sharp += float(gain) * (picture - _smooth(picture, float(width)))
    return sharp.clamp_(0, 1).numpy()


def rebanded(pixels: np.ndarray, power: float, coarse: float) -> np.ndarray:
    """With detail d of every size as |d| ^ power, so that faint detail comes out, and what is coarser by a factor."""
    rest = torch.from_numpy(pixels)[None, None]
    bands = []
    for _ in range(BANDS):
        if min(rest.shape[2:]) < 8:
            break
        lower = avg_pool2d(rest, 2, ceil_mode=True, count_include_pad=False)
        band = rest - interpolate(lower, size=rest.shape[2:], mode="bilinear", align_corners=False)
        bands.append(band)
        rest = lower
    middle = rest.mean()
    rest = middle + coarse * (rest - middle)
    for band in reversed(bands):
        size = band.abs()
        limit = 2.5 * float(size.mean()) + 1e-4  # what is about this strong stays as it is
        gain = ((size + FAINT) / limit).clamp(max=4.0) ** (power - 1)
        rest = interpolate(rest, size=band.shape[2:], mode="bilinear", align_corners=False) + band * gain.clamp(max=3.0)
    picture = rest[0, 0]
    low, high = torch.quantile(picture.flatten()[:: max(picture.numel() // 10000, 1)], torch.tensor([0.005, 0.995]))
    return ((picture - low) / (high - low).clamp(min=1e-3)).clamp(0, 1).numpy()


def equalised_locally(pixels: np.ndarray, width_px: float, share: float) -> np.ndarray:
    """Mixed by a share with itself at the same brightness and contrast everywhere."""
    picture = torch.from_numpy(pixels)
    mean = _smooth(picture, width_px)
    spread = (_smooth(picture**2, width_px) - mean**2).clamp(min=0).sqrt()
    even = 0.5 + 0.22 * (picture - mean) / (spread + 0.04)
    return torch.lerp(picture, even, share).clamp(0, 1).numpy()


def rewindowed(pixels: np.ndarray, low_percent: float, high_percent: float, gamma: float) -> np.ndarray:
    """Clipped at percentiles of what is not black or white, and with another gamma."""
    if (low_percent, high_percent) != (0.0, 100.0):
        few = pixels.ravel()[:: max(pixels.size // 10000, 1)]
        few = few[(few > 0.01) & (few < 0.99)]
        low, high = np.percentile(few, (low_percent, high_percent)) if few.size > 100 else (0.0, 1.0)
        pixels = np.clip((pixels - low) / max(high - low, 0.05), 0, 1)
    return (pixels**gamma).astype(np.float32)


def grainy(pixels: np.ndarray, strength: float, size_px: float, rng: np.random.Generator) -> np.ndarray:
    """With noise of a standard deviation and a width, more of it where the film is bright, as behind thick parts."""
    noise = torch.from_numpy(rng.standard_normal(pixels.shape, dtype=np.float32))
    noise = blurred(noise, size_px)
    noise = (noise * (strength / float(noise.std()))).numpy()
    return np.clip(pixels + noise * (0.4 + pixels), 0, 1)


def saved(pixels: np.ndarray, factor: float, quality: int | None, way: int) -> np.ndarray:
    """Made smaller by a factor, stored with 8 bits, as JPEG where there is a quality, and brought back to its size."""
    rows, cols = pixels.shape
    picture = Image.fromarray(np.rint(pixels * 255).astype(np.uint8))
    resampling = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.BOX)[way]
    if factor > 1:
        picture = picture.resize((max(round(cols / factor), 8), max(round(rows / factor), 8)), resampling)
    if quality is not None:
        file = BytesIO()
        picture.save(file, "JPEG", quality=quality)
        picture = Image.open(file)
    if picture.size != (cols, rows):
        picture = picture.resize((cols, rows), resampling)
    return np.asarray(picture, dtype=np.float32) / 255


def _smooth(picture: torch.Tensor, sigma_px: float) -> torch.Tensor:
    """(rows, cols) smeared by about a Gaussian, wide ones on a coarser grid."""
    step = max(int(sigma_px / WIDEST_BLUR_PX), 1)
    if step == 1:
        return blurred(picture, sigma_px)
    coarse = avg_pool2d(picture[None, None], step, ceil_mode=True, count_include_pad=False)
    smooth = blurred(coarse[0, 0], sigma_px / step)
    # the last cells of a side that the step does not divide are narrower: all are stretched by less than one
    return interpolate(smooth[None, None], size=picture.shape, mode="bilinear", align_corners=False)[0, 0]
