"""Corresponded bones -> a shape model, and how good it is: compactness, generalisation, specificity."""

from __future__ import annotations

import numpy as np

from DualFaceReconLib.meshes import rigid_fit
from DualFaceReconLib.shape.shapemodel import ShapeModel
from training.anatomy.people import Corresponded, procrustes

LOCAL_SHARE = 0.2
WINDOWS = (8, 40)


def shape_model(bones: Corresponded, *, modes: int, local: float = LOCAL_SHARE) -> ShapeModel:
    """Mean and modes of how people differ.

    A few dozen people do not show every combination of parts. So a share of the variance, `local`, is local: there
    the covariance of two vertices is multiplied by how far they lie in the same windows of the bone. The total
    variance of every vertex stays what it was.
    """
    aligned, mean = procrustes(bones.shapes)
    offsets = ((aligned - mean) / np.sqrt(len(aligned) - 1)).reshape(len(aligned), -1)
    if local > 0:
        strongest = _principal(offsets, len(offsets))
        strongest = strongest[: np.searchsorted(np.cumsum((strongest**2).sum(axis=1)), 0.98 * (offsets**2).sum()) + 1]
        parts = [np.sqrt(1 - local) * offsets]
        for count in WINDOWS:
            shares = np.repeat(windows(mean, count), 3, axis=0).T  # (count, 3 V)
            parts += [np.sqrt(local / len(WINDOWS)) * strongest * share for share in shares]
        offsets = np.concatenate(parts)
    directions = _principal(offsets, modes)
    lengths = np.linalg.norm(directions, axis=1)
    return ShapeModel(
        bone=bones.bone,
        mean=mean,
        modes=np.ascontiguousarray((directions / lengths[:, None]).T.reshape(*mean.shape, -1)),
        variances=lengths**2,
        triangles=bones.triangles,
        landmarks={},  # placed on the mean: `with_landmarks`
        people=tuple(dict.fromkeys(bones.people)),
        sources=tuple(s.source for s in bones.sets),
        licences=tuple(s.licence for s in bones.sets),
    )


def _principal(rows: np.ndarray, count: int) -> np.ndarray:
    """The principal directions (k, n) of rows (m, n), m < n, each as long as its standard deviation; k <= count."""
    values, vectors = np.linalg.eigh(rows @ rows.T)
    kept = values.argsort()[::-1][:count]
    kept = kept[values[kept] > 1e-9 * values.max()]
    return vectors[:, kept].T @ rows


def windows(vertices: np.ndarray, count: int) -> np.ndarray:
    """(V, count) soft windows around spread places; their squares sum to 1 at every vertex."""
    centres = [int(np.linalg.norm(vertices - vertices.mean(axis=0), axis=1).argmax())]
    away = np.linalg.norm(vertices - vertices[centres[0]], axis=1)
    while len(centres) < count:
        centres.append(int(away.argmax()))
        away = np.minimum(away, np.linalg.norm(vertices - vertices[centres[-1]], axis=1))
    squared = ((vertices[:, None] - vertices[centres]) ** 2).sum(axis=2)
    shares = np.exp(-squared / (2 * away.max() ** 2))
    return shares / np.linalg.norm(shares, axis=1, keepdims=True)


def compactness(model: ShapeModel) -> np.ndarray:
    """(K,) share of the model's variance that its first modes hold."""
    return np.cumsum(model.variances) / model.variances.sum()


def generalisation_errors(bones: Corresponded, counts: list[int], local: float = LOCAL_SHARE) -> np.ndarray:
    """(people, counts) mean vertex distance in mm of a person to the model of everybody else, both sides left out."""
    people = tuple(dict.fromkeys(bones.people))
    errors = np.empty((len(people), len(counts)))
    for row, person in enumerate(people):
        model = shape_model(bones.without({person}), modes=max(counts), local=local)
        theirs = bones.shapes[[p == person for p in bones.people]]
        for col, count in enumerate(counts):
            distances = [np.linalg.norm(model.project(shape, count) - shape, axis=1).mean() for shape in theirs]
            errors[row, col] = np.mean(distances)
    return errors


def specificity(bones: Corresponded, model: ShapeModel, counts: list[int], samples: int = 100) -> np.ndarray:
    """(counts,) mean vertex distance in mm from random shapes, of that many modes each, to the nearest real one."""
    aligned, mean = procrustes(bones.shapes)
    rotation, translation = rigid_fit(mean, model.mean)
    real = aligned @ rotation.T + translation
    rng = np.random.default_rng(0)
    drawn = [model.sample(rng) for _ in range(samples)]

    def nearest(coefficients: np.ndarray) -> float:
        return np.linalg.norm(real - model.shape(coefficients), axis=2).mean(axis=1).min()

    return np.array([np.mean([nearest(coefficients[:count]) for coefficients in drawn]) for count in counts])
