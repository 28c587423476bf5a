"""Named points of the bones, placed once on the mean shape by their anatomical definitions, not by hand.

A spine or a tubercle is the vertex that stands out furthest in a direction, within a stretch of the bone. Places and
directions are in the model's frame: left form, RAS mm around the mean's centre.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from DualFaceReconLib.meshes import sphere_through, unit_normals
from DualFaceReconLib.shape.shapemodel import Landmark

HEAD_TOLERANCE_MM = 1.0  # how closely the femoral head's vertices lie on its sphere


def hip_landmarks(mean: np.ndarray, triangles: np.ndarray) -> dict[str, Landmark]:
    """ASIS, AIIS, PSIS, PIIS, pubic tubercle, ischial spine and acetabular centre of a left hemipelvis (V, 3)."""
    right, anterior, superior = mean.T
    return {
        "asis": _furthest(mean, superior > 20, (0, 1, 0)),
        "aiis": _furthest(mean, (superior > -16) & (superior < 2), (-0.3, 1, -0.3)),
        "psis": _furthest(mean, superior > 20, (0, -1, 0)),
        "piis": _furthest(mean, (superior > -15) & (superior < 15) & (right > 0), (0, -1, 0)),
        "pubic_tubercle": _furthest(mean, _near_symphysis(right) & (anterior > 0), (0, 0.8, 0.6)),
        "ischial_spine": _furthest(mean, np.linalg.norm(mean - (25, -34, -44), axis=1) < 15, (0.5, -1, 0)),
        "acetabular_centre": Landmark(vertices=_socket(mean, triangles), weights=None),
    }


def femur_landmarks(mean: np.ndarray, triangles: np.ndarray) -> dict[str, Landmark]:
    """Head and neck centre, trochanters, epicondyles and condyles of a left femur (V, 3).

    Directions at the knee are the bone's own: up is the mechanical axis, back the way both condyles face. The head
    centre's vertices are the head's; the neck's axis runs from the head centre to the neck centre.
    """
    head = _head(mean)
    centre = sphere_through(mean[head])[0]
    up, back = knee_axes(mean, centre)
    medial = np.cross(up, back)
    medial *= np.sign(medial[0])  # of a left femur towards the right
    height = mean @ up - (mean @ up).min()
    inner = mean @ medial > np.median((mean @ medial)[height < 40])
    below = mean[:, 2] - centre[2]
    return {
        "femoral_head_centre": Landmark(vertices=head, weights=None),
        "femoral_neck_centre": _neck(mean, centre),
        "greater_trochanter": _furthest(mean, (below > -60) & (mean[:, 0] < centre[0] - 25), (-0.2, 0, 1)),
        "lesser_trochanter": _furthest(mean, (below < -35) & (below > -85), (0.7, -0.7, 0)),
        "medial_epicondyle": _furthest(mean, (height > 20) & (height < 60), medial),
        "lateral_epicondyle": _furthest(mean, (height > 20) & (height < 60), -medial),
        "medial_condyle_distal": _furthest(mean, (height < 40) & inner, -up),
        "lateral_condyle_distal": _furthest(mean, (height < 40) & ~inner, -up),
        "medial_condyle_posterior": _furthest(mean, (height < 50) & inner, back),
        "lateral_condyle_posterior": _furthest(mean, (height < 50) & ~inner, back),
    }


def _near_symphysis(right: np.ndarray) -> np.ndarray:
    """The pubic tubercle stands about 25 mm from the midline, of which the joint takes 2 or 3."""
    lateral = right.max() - right
    return (lateral > 20) & (lateral < 26)


def _socket(mean: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Numbers of the vertices on the acetabulum's sphere: hollow, and around a place outside of the bone."""
    normals = unit_normals(mean, triangles)
    centre = np.array([-10.0, 17.0, -47.0])
    for _ in range(30):
        inwards = centre - mean
        away = np.linalg.norm(inwards, axis=1)
        hollow = ((normals * inwards).sum(axis=1) > 0.75 * away) & (away < 36)
        radius = np.median(away[hollow])
        inside = np.flatnonzero(hollow & (np.abs(away - radius) < 2.5))  # the fossa lies deeper
        centre = sphere_through(mean[inside])[0]
    return inside


def knee_axes(mean: np.ndarray, head_centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Up, from the middle of the condyles to the head's centre, and back, square to it and to both condyles' backs."""
    up, back = np.array([0.0, 0, 1]), np.array([0.0, -1, 0])
    for _ in range(5):
        low = (mean @ up) < (mean @ up).min() + 40
        across = np.cross(up, back)
        side = mean @ across > np.median((mean @ across)[low])
        backmost = [mean[np.flatnonzero(part)[(mean[part] @ back).argmax()]] for part in (low & side, low & ~side)]
        up = head_centre - mean[low].mean(axis=0)
        up /= np.linalg.norm(up)
        back = np.cross(backmost[0] - backmost[1], up)
        back *= -np.sign(back[1]) / np.linalg.norm(back)
    return up, back


LANDMARKS = {"hip": hip_landmarks, "femur": femur_landmarks}


def _furthest(mean: np.ndarray, stretch: np.ndarray, towards: ArrayLike) -> Landmark:
    inside = np.flatnonzero(stretch)
    furthest = (mean[inside] @ np.asarray(towards)).argmax()
    return Landmark(vertices=inside[[furthest]], weights=np.ones(1))


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
    return Landmark(vertices=vertices, weights=np.full(len(vertices), 1 / len(vertices)))
