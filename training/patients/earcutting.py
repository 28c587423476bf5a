"""Triangles over a flat outline: its ears are cut off one after the other, the roundest first.

An ear is a corner that stands out, and is cut off where the rest of the outline does not cross the cut. What frozen
films show hangs on the order of the cuts, and that is VTK's (vtkPolygon), which made the first of them.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

NEAR = 1e-6  # of the outline's size: what is nearer to a line lies on it

Place = tuple[float, float]
Triangle = tuple[int, int, int]


def triangles_over(outline: np.ndarray) -> np.ndarray | None:
    """Triangles (N - 2, 3) over a simple polygon (N, 2), in its own sense; None where it is none."""
    near = NEAR * float(np.linalg.norm(np.ptp(outline, axis=0)))
    if (np.linalg.norm(np.roll(outline, -1, axis=0) - outline, axis=1) < near).any():
        return None
    places: list[Place] = [(x, y) for x, y in outline.tolist()]
    sense = math.copysign(1, sum(_turn(places[0], *pair) for pair in pairwise(places)))
    triangles = _halves(places, sense) or _ears(places, sense, near)
    return np.array(triangles) if len(triangles) == len(places) - 2 else None


def _halves(places: list[Place], sense: float) -> list[Triangle]:
    """A triangle, or halves of four corners along the shorter diagonal; nothing of more, or where that lies outside."""
    if len(places) == 3:
        return [(0, 1, 2)]
    if len(places) > 4:
        return []
    level = math.dist(places[0], places[2]) < math.dist(places[1], places[3])
    halves = [(0, 1, 2), (0, 2, 3)] if level else [(0, 1, 3), (1, 2, 3)]
    return halves if all(sense * _turn(*(places[corner] for corner in half)) > 0 for half in halves) else []


def _ears(places: list[Place], sense: float, near: float) -> list[Triangle]:
    """The ears in the order in which they are cut off; too few where the outline is none."""
    after, before = [*range(1, len(places)), 0], [len(places) - 1, *range(len(places) - 1)]
    waiting: dict[int, float] = {}  # corners that stand out, and how far their triangles are from round ones

    def judge(corner: int) -> None:
        waiting.pop(corner, None)
        (x1, y1), (x2, y2), (x3, y3) = places[before[corner]], places[corner], places[after[corner]]
        double_area = sense * ((x2 - x1) * (y3 - y2) - (y2 - y1) * (x3 - x2))
        if double_area > 0:
            around = _length(x2 - x1, y2 - y1) + _length(x3 - x2, y3 - y2) + _length(x1 - x3, y1 - y3)
            waiting[corner] = around * around / double_area

    for corner in range(len(places)):
        judge(corner)
    ears: list[Triangle] = []
    while len(ears) < len(places) - 2 and waiting:
        corner = min(waiting, key=waiting.__getitem__)
        del waiting[corner]  # what cannot be cut off now is judged again when a neighbour is gone
        previous, following = before[corner], after[corner]
        if _is_free(places, previous, following, after, sense, near):
            ears.append((corner, following, previous))
            after[previous], before[following] = following, previous
            judge(previous)
            judge(following)
    return ears


def _is_free(places: list[Place], start: int, end: int, after: list[int], sense: float, near: float) -> bool:
    """Whether the rest of the outline, from `end` on to `start`, does not cross the straight line between these."""
    first, last = places[start], places[end]
    length = _length(last[0] - first[0], last[1] - first[1])
    if after[end] == start or length == 0:
        return length > 0

    def side(corner: int) -> int:
        """1 on the side that is cut off, -1 beyond the cut, 0 on it."""
        height = -sense * _turn(first, last, places[corner]) / length
        return (height > near) - (height < -near)

    corner = after[end]
    here = side(corner)
    beyond = here < 0
    while (following := after[corner]) != start:
        there = side(following)
        if there != here:
            beyond = beyond or there < 0
            if _cross(first, last, places[following], places[corner]):
                return False
            here = there
        corner = following
    return beyond


def _length(across: float, up: float) -> float:
    return math.sqrt(across * across + up * up)  # math.hypot rounds otherwise


def _turn(first: Place, second: Place, third: Place) -> float:
    """Twice the area of a triangle, positive where it turns left."""
    return (second[0] - first[0]) * (third[1] - first[1]) - (second[1] - first[1]) * (third[0] - first[0])


def _cross(first: Place, last: Place, other: Place, end: Place) -> bool:
    """Whether the lines from `first` to `last` and from `other` to `end` meet, or run alongside each other."""
    way, other_way = (last[0] - first[0], last[1] - first[1]), (end[0] - other[0], end[1] - other[1])
    apart = other[0] - first[0], other[1] - first[1]
    determinant = way[0] * other_way[1] - way[1] * other_way[0]
    if determinant == 0:
        return True
    along = (apart[0] * other_way[1] - apart[1] * other_way[0]) / determinant
    other_along = (apart[0] * way[1] - apart[1] * way[0]) / determinant
    return 0 <= along <= 1 and 0 <= other_along <= 1
