"""Named points of the bones, placed once on the mean: by what the anatomist means by them, not by hand.

A spine or a tubercle is the vertex that stands out furthest in a direction, within a stretch of the bone. Places and
directions are in the model's frame: left form, RAS mm around the mean's centre.
"""

from __future__ import annotations

import numpy as np

from DualFaceReconLib.shapemodel import Landmark, sphere_through

HEAD_TOLERANCE_MM = 1.0  # how closely the femoral head's vertices lie on its sphere


def hip_landmarks(mean: np.ndarray) -> dict[str, Landmark]:
    """ASIS, AIIS, PSIS, PIIS, pubic tubercle and ischial spine of a left hemipelvis (V, 3)."""
    right, anterior, superior = mean.T
    return {
        "asis": _furthest(mean, superior > 20, (0, 1, 0)),
        "aiis": _furthest(mean, (superior > -16) & (superior < 2), (-0.3, 1, -0.3)),
        "psis": _furthest(mean, superior > 20, (0, -1, 0)),
        "piis": _furthest(mean, (superior > -15) & (superior < 15) & (right > 0), (0, -1, 0)),
        "pubic_tubercle": _furthest(mean, (right > 46) & (right < 58) & (anterior > 0), (0, 0.8, 0.6)),
        "ischial_spine": _furthest(mean, np.linalg.norm(mean - (25, -34, -44), axis=1) < 15, (0.5, -1, 0)),
    }


def femur_landmarks(mean: np.ndarray) -> dict[str, Landmark]:
    """Head and neck centre, trochanters, epicondyles and condyles of a left femur (V, 3).

    The head centre's vertices are the head's; the neck's axis runs from the head centre to the neck centre.
    """
    right, _, superior = mean.T
    top, bottom = superior.max(), superior.min()
    head = _head(mean)
    centre = sphere_through(mean[head])[0]
    below = superior - centre[2]
    distal = superior < bottom + 60
    ends = distal & (superior > bottom + 15)
    medial = right > (right[distal].min() + right[distal].max()) / 2
    greater = _furthest(mean, (superior > top - 60) & (right < centre[0] - 25), (-0.2, 0, 1))
    return {
        "femoral_head_centre": Landmark(head, None),
        "femoral_neck_centre": _neck(mean, centre),
        "greater_trochanter": greater,
        "lesser_trochanter": _furthest(mean, (below < -35) & (below > -85), (0.7, -0.7, 0)),
        "medial_epicondyle": _furthest(mean, ends, (1, 0, 0)),
        "lateral_epicondyle": _furthest(mean, ends, (-1, 0, 0)),
        "medial_condyle_distal": _furthest(mean, distal & medial, (0, 0, -1)),
        "lateral_condyle_distal": _furthest(mean, distal & ~medial, (0, 0, -1)),
        "medial_condyle_posterior": _furthest(mean, distal & medial, (0, -1, 0)),
        "lateral_condyle_posterior": _furthest(mean, distal & ~medial, (0, -1, 0)),
    }


LANDMARKS = {"hip": hip_landmarks, "femur": femur_landmarks}


def _furthest(mean: np.ndarray, stretch: np.ndarray, towards: tuple[float, float, float]) -> Landmark:
    inside = np.flatnonzero(stretch)
    return Landmark(inside[[(mean[inside] @ np.array(towards)).argmax()]], np.ones(1))


def _head(mean: np.ndarray) -> np.ndarray:
    """Numbers of the vertices on the sphere of the femoral head."""
    right, _, superior = mean.T
    proximal = superior > superior.max() - 60
    inside = np.flatnonzero((superior > superior.max() - 45) & (right > right[proximal].max() - 30))
    for _ in range(20):
        centre, radius = sphere_through(mean[inside])
        out = mean - centre
        on_sphere = np.abs(np.linalg.norm(out, axis=1) - radius) < HEAD_TOLERANCE_MM
        inside = np.flatnonzero(on_sphere & (out @ (0.7, 0.1, 0.6) > -0.2 * radius))  # the neck is no part of it
    return inside


def _neck(mean: np.ndarray, head_centre: np.ndarray) -> Landmark:
    """The middle of the neck where it is narrowest, on the way from the head towards the shaft."""
    shaft = mean[np.abs(mean[:, 2] - head_centre[2] + 60) < 10].mean(axis=0)
    axis = (shaft - head_centre) * (1, 1, 0.75)  # the neck meets the shaft above the lesser trochanter
    axis /= np.linalg.norm(axis)
    along = (mean - head_centre) @ axis
    across = np.linalg.norm(mean - head_centre - along[:, None] * axis, axis=1)
    rings = [np.flatnonzero((np.abs(along - at) < 3) & (across < 30)) for at in range(18, 40)]
    return _ring(min(rings, key=lambda ring: np.linalg.norm(mean[ring] - mean[ring].mean(axis=0), axis=1).mean()))


def _ring(vertices: np.ndarray) -> Landmark:
    return Landmark(vertices, np.full(len(vertices), 1 / len(vertices)))
