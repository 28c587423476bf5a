"""Weighted residuals with their derivatives, and what they add to the equations of a step of Gauss and Newton.

Many points of a bone are paired with the same vertex, and share its derivatives by the bone's pose and shape: they are
added up by vertex before products are formed, which gives the same sums from a third of the rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np


class Evidence(Protocol):
    """Residuals in standard deviations, of some of the parameters."""

    columns: np.ndarray  # (n,) int

    def equations(self) -> tuple[np.ndarray, np.ndarray]:
        """Half the second (n, n) and first (n,) derivatives of the weighted sum of squares."""
        ...


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some residuals in standard deviations, and their derivatives by some of the parameters."""

    name: str
    columns: np.ndarray  # (n,) int
    rows: np.ndarray  # (m, n)
    residuals: np.ndarray  # (m,)
    weights: np.ndarray  # (m,)

    def equations(self) -> tuple[np.ndarray, np.ndarray]:
        """As `Evidence` has them."""
        heavy = np.sqrt(self.weights)
        rows = self.rows * heavy[:, None]
        return rows.T @ rows, rows.T @ (heavy * self.residuals)


@dataclass(frozen=True, kw_only=True)
class SharedBlock:
    """Residuals that share derivatives by the first parameters, and have their own by the last."""

    name: str
    columns: np.ndarray  # (s + p,) int
    shared: np.ndarray  # (u, s), in whose precision products are formed
    group: np.ndarray  # (m,) int, the row of `shared` that a residual has
    own: np.ndarray  # (m, p)
    spread: np.ndarray  # (m,) that both are divided by
    residuals: np.ndarray  # (m,)
    weights: np.ndarray  # (m,)

    @property
    def rows(self) -> np.ndarray:
        """(m, s + p)."""
        return np.hstack([self.shared[self.group], self.own]) / self.spread[:, None]

    def equations(self) -> tuple[np.ndarray, np.ndarray]:
        """As `Evidence` has them."""
        groups, count, dtype = len(self.shared), self.shared.shape[1], self.shared.dtype
        weights = self.weights / self.spread**2
        pull = self.weights * self.residuals / self.spread
        own = weights[:, None] * self.own
        sums, share = (
            np.stack([np.bincount(self.group, part, minlength=groups) for part in parts], axis=1).astype(dtype)
            for parts in ((pull, *own.T), (weights,))
        )
        heavy = self.shared * np.sqrt(share)
        products = self.shared.T @ sums
        matrix = np.empty((len(self.columns), len(self.columns)))
        matrix[:count, :count] = heavy.T @ heavy
        matrix[:count, count:] = products[:, 1:]
        matrix[count:, :count] = products[:, 1:].T
        matrix[count:, count:] = own.T @ self.own
        return matrix, np.concatenate([products[:, 0], pull @ self.own])


def summed(evidence: Iterable[Evidence], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Half the second (size, size) and first (size,) derivatives of all of it."""
    matrix, gradient = np.zeros((size, size)), np.zeros(size)
    for some in evidence:
        square, line = some.equations()
        runs = _runs(some.columns)
        for rows, into_rows in runs:
            gradient[into_rows] += line[rows]
            for cols, into_cols in runs:
                matrix[into_rows, into_cols] += square[rows, cols]
    return matrix, gradient


def _runs(columns: np.ndarray) -> list[tuple[slice, slice]]:
    """Where numbers (n,) follow one another: their places, and the numbers. Slices are swifter than numbers."""
    cuts = [0, *(np.flatnonzero(np.diff(columns) != 1) + 1).tolist(), len(columns)]
    return [
        (slice(first, end), slice(int(columns[first]), int(columns[first]) + end - first))
        for first, end in pairwise(cuts)
    ]
