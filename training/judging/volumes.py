"""The EAR paper's figures of a volume beside the true one; its definitions are read as each docstring says.

Volumes are (N, N, N) in HU or in z-scores; two of one call have the same unit. ASSD and HD95 in mm are the ruler's own,
on surfaces.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter

HU_RANGE = 4095.0  # of 12 bits, for the paper's "MaxValues"
SSIM_WINDOW = 7  # voxels a side
SSIM_K1, SSIM_K2 = 0.01, 0.03  # Wang et al., IEEE TIP 13:600, 2004
FREQUENCY_LIMITS = (-2.0, 1.0)  # of log10 distances in z-scores, that become 0 and 1


@dataclass(frozen=True, kw_only=True)
class ZScale:
    """The training set's grey values, by which HU become z-scores."""

    mean_hu: float
    deviation_hu: float

    def z(self, hu: np.ndarray) -> np.ndarray:
        """z-scores of HU, float32."""
        return ((np.asarray(hu, dtype=np.float64) - self.mean_hu) / self.deviation_hu).astype(np.float32)

    def hu(self, z: np.ndarray) -> np.ndarray:
        """HU of z-scores."""
        return np.asarray(z, dtype=np.float64) * self.deviation_hu + self.mean_hu


def mse(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Eq. 11, squared as its name says: mean (p - t)^2."""
    return float(np.square(_differences(predicted, truth)).mean())


def mae(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Mean |p - t|."""
    return float(np.abs(_differences(predicted, truth)).mean())


def psnr_of_range(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Eq. 13 over the true volume's own range: 20 log10((max t - min t) / root of the MSE), dB."""
    return _psnr(float(np.ptp(truth)), mse(predicted, truth))


def psnr_of_hu(predicted_hu: np.ndarray, truth_hu: np.ndarray) -> float:
    """Eq. 13 over 4095 HU, the range of 12 bits, dB; volumes in HU."""
    return _psnr(HU_RANGE, mse(predicted_hu, truth_hu))


def ssim(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Eq. 14 in windows of 7^3 voxels, averaged over all that lie within the cube; the truth's own range is L.

    Variances are those of samples, as in scikit-image. Eq. 14 over a whole volume at once would hardly see shapes.
    """
    _differences(predicted, truth)
    p, t = (np.asarray(volume, dtype=np.float64) for volume in (predicted, truth))
    span = float(np.ptp(t))
    if span == 0:
        raise ValueError("the SSIM with a volume of one value is not defined")
    first, second = (SSIM_K1 * span) ** 2, (SSIM_K2 * span) ** 2
    unbiased = SSIM_WINDOW**3 / (SSIM_WINDOW**3 - 1)
    mean_p, mean_t = _windowed(p), _windowed(t)
    variance_p = unbiased * (_windowed(p * p) - mean_p**2)
    variance_t = unbiased * (_windowed(t * t) - mean_t**2)
    covariance = unbiased * (_windowed(p * t) - mean_p * mean_t)
    above = (2 * mean_p * mean_t + first) * (2 * covariance + second)
    below = (mean_p**2 + mean_t**2 + first) * (variance_p + variance_t + second)
    return float((above / below).mean())


def frequency_distance(predicted_z: np.ndarray, truth_z: np.ndarray) -> float:
    """log10(D_real + D_imag) by Eq. 7's Euclidean reading, in z-scores; lower is nearer, and there is no least value.

    Orthonormal spectra: it is half the MSE's logarithm, or at most log10(2) / 2 more.
    """
    spectrum = np.fft.fftn(_differences(predicted_z, truth_z), norm="ortho")
    distance = float(np.sqrt(np.square(spectrum.real).mean()) + np.sqrt(np.square(spectrum.imag).mean()))
    return math.log10(distance) if distance > 0 else -math.inf


def frequency_distance_in_limits(predicted_z: np.ndarray, truth_z: np.ndarray) -> float:
    """The frequency distance from 0 to 1 between fixed limits; the paper's own, by its set, are not known."""
    low, high = FREQUENCY_LIMITS
    return min(max((frequency_distance(predicted_z, truth_z) - low) / (high - low), 0.0), 1.0)


def _differences(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    predicted, truth = np.asarray(predicted, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if predicted.shape != truth.shape or truth.ndim != 3 or truth.size == 0:
        raise ValueError(f"two volumes of one shape are compared, not {predicted.shape} and {truth.shape}")
    differences = predicted - truth
    if not np.isfinite(differences).all():
        raise ValueError("volumes that are compared are finite")
    return differences


def _psnr(span: float, error: float) -> float:
    if span <= 0:
        raise ValueError("the PSNR to a volume of one value is not defined")
    return math.inf if error == 0 else 20 * math.log10(span) - 10 * math.log10(error)


def _windowed(values: np.ndarray) -> np.ndarray:
    """Means over the windows that lie within a cube."""
    if min(values.shape) < SSIM_WINDOW:
        raise ValueError(f"the SSIM needs {SSIM_WINDOW} voxels a side, not {values.shape}")
    edge = SSIM_WINDOW // 2
    return uniform_filter(values, SSIM_WINDOW)[(slice(edge, -edge),) * 3]
