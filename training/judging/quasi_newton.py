"""The fit of a shape model as the paper has it, by L-BFGS: with it the bones of frozen films were posed, which stay.

    fitted = fit_by_lbfgs(model, target, start, settled=0.01)

The objective is that of `shape/fitting.py`. In coordinates in which the Gauss-Newton matrix is the identity; what is
visible is found out anew before every round of a few evaluations.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

from DualFaceReconLib.shape.fitting import DEFAULT_SETTINGS, LEAST_CURVATURE, Fit, FitSettings, Objective, Target
from DualFaceReconLib.shape.shapemodel import ShapeModel

EVALUATIONS = 4  # about so many in a round


def fit_by_lbfgs(
    model: ShapeModel,
    target: Target,
    start: Fit,
    settings: FitSettings = DEFAULT_SETTINGS,
    *,
    rounds: int = 8,
    settled: float = 0.1,
) -> Fit:
    """As `fitting.fit`; a round that gains less than the share `settled` of the objective is the last."""
    objective = Objective(model, target, settings)
    known = start.coefficients[: objective.count]
    current = replace(start, coefficients=np.r_[known, np.zeros(objective.count - len(known))], objective=np.inf)
    for _ in range(rounds):
        before, current = current, _round(objective, current)
        if before.objective - current.objective < settled * current.objective:
            break
    return current


def _round(objective: Objective, start: Fit) -> Fit:
    """From a start to about the minimum, while what is visible stays."""
    at_start = objective.at(objective.placed(start))
    every = slice(None)
    hessian = objective.hessian(at_start, objective.rows(at_start, every), every)
    factor = np.linalg.cholesky(hessian + LEAST_CURVATURE * np.eye(len(hessian))).T
    steepest = solve_triangular(factor, at_start.gradient, trans="T")
    scale = np.linalg.norm(steepest)  # so the first step is Gauss and Newton's
    if scale < 1e-9:
        return start

    def fit_at(place: np.ndarray) -> Fit:
        return start.moved(solve_triangular(factor, place * scale), at_start.fixed.about)

    def scaled(place: np.ndarray) -> tuple[float, np.ndarray]:
        state = objective.at(objective.placed(fit_at(place)), at_start.fixed) if place.any() else at_start
        return state.value / scale**2, solve_triangular(factor, state.gradient, trans="T") / scale

    limit = {"maxfun": EVALUATIONS, "maxiter": EVALUATIONS}
    least = minimize(scaled, np.zeros(len(steepest)), jac=True, method="L-BFGS-B", options=limit)
    return replace(fit_at(least.x), objective=float(least.fun) * scale**2)
