"""What a shape model's people do not show: smooth displacements besides their modes.

    modes, variances = smooth_modes(mean)

Two dozen femora do not show all that femora can be. What they lack is alike over a few centimetres: a Gaussian process,
added to what people show (Lüthi et al., IEEE TPAMI 40:1860, 2018), of which the strongest modes are kept. A bone turned
or moved as a whole is none of them.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

SPREAD_MM = 0.77  # of every coordinate: with the spread that `body_prior.py` gives to coefficients it is 1 mm
OVER_MM = 40.0
MODES = 60
PLACES = 600  # vertices from which the process is spread to all
LEAST_SHARE = 1e-3  # of the strongest of its patterns


def smooth_modes(mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Modes (V, 3, K) of a mean bone (V, 3), and variances (K,) mm^2, as `shapemodel.ShapeModel` has them."""
    rows = _without_rigid(_displacements(mean), mean)
    values, vectors = np.linalg.eigh(rows @ rows.T)
    strongest = values.argsort()[::-1][:MODES]
    directions = vectors[:, strongest].T @ rows
    lengths = np.linalg.norm(directions, axis=1)
    return (directions / lengths[:, None]).T.reshape(*mean.shape, -1), lengths**2


def _displacements(mean: np.ndarray) -> np.ndarray:
    """(m, 3 V) mm, whose products are the process' covariance, by Nyström's approximation."""
    places = np.random.default_rng(0).choice(len(mean), min(PLACES, len(mean)), replace=False)
    alike = SPREAD_MM**2 * np.exp(-cdist(mean, mean[places], "sqeuclidean") / (2 * OVER_MM**2))
    values, vectors = np.linalg.eigh(alike[places])
    kept = values > LEAST_SHARE * values.max()
    patterns = (alike @ vectors[:, kept]) / np.sqrt(values[kept])
    return np.concatenate([np.kron(patterns.T, axis) for axis in np.eye(3)])


def _without_rigid(rows: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Displacements (m, 3 V) without what a small turn or a move of the whole bone does."""
    about = mean - mean.mean(axis=0)
    rigid = [np.tile(axis, (len(mean), 1)).ravel() for axis in np.eye(3)]
    rigid += [np.cross(axis, about).ravel() for axis in np.eye(3)]
    across = np.linalg.qr(np.array(rigid).T)[0]
    return rows - (rows @ across) @ across.T
