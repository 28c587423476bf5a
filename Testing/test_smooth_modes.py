"""Smooth displacements that widen a shape model."""

import numpy as np
from support.bones import made_model

from DualFaceReconLib.shape.smooth_modes import MODES, OVER_MM, SPREAD_MM


def test_a_model_is_widened_by_smooth_displacements_that_neither_turn_nor_move_it():
    model = made_model("femur")
    wider = model.with_smooth_modes
    people = len(model.variances)
    assert np.array_equal(wider.modes[:, :, :people], model.modes)
    added = (wider.modes * np.sqrt(wider.variances))[:, :, people:]
    assert added.shape[2] == MODES
    assert np.abs(added.sum(axis=0)).max() < 1e-6
    about = model.mean - model.mean.mean(axis=0)
    assert np.abs(np.cross(about[:, :, None], added, axis=1).sum(axis=0)).max() < 1e-4
    # The covariance of one coordinate: at most what was asked, and gone where vertices are far apart
    along = added[:, 2] @ added[:, 2].T
    assert 0.3 * SPREAD_MM**2 < along.diagonal().mean() < SPREAD_MM**2
    apart = np.linalg.norm(model.mean[:, None] - model.mean, axis=2)
    near, far = (
        along[which].mean() / along.diagonal().mean() for which in (apart < OVER_MM / 4, apart > 2.5 * OVER_MM)
    )
    assert near > 0.9
    assert far < 0.2
