"""Corresponded bones -> a shape model, and how good it is: compactness, generalisation, specificity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from DualFaceReconLib.shapemodel import Landmark, ShapeModel, rigid_fit
from training.anatomy.people import Corresponded, procrustes


def shape_model(bones: Corresponded, landmarks: dict[str, Landmark] | None = None) -> ShapeModel:
    """Mean and modes of how people differ; as many modes as the bones allow."""
    aligned, mean = procrustes(bones.shapes)
    offsets = (aligned - mean).reshape(len(aligned), -1)
    _, lengths, modes = np.linalg.svd(offsets, full_matrices=False)
    variances = lengths**2 / (len(aligned) - 1)
    kept = variances > 1e-9 * variances[0]
    return ShapeModel(
        bone=bones.bone,
        mean=mean,
        modes=np.ascontiguousarray(modes[kept].T.reshape(*mean.shape, -1)),
        variances=variances[kept],
        triangles=bones.triangles,
        landmarks=landmarks or {},
        people=tuple(dict.fromkeys(bones.people)),
        sources=tuple(s.source for s in bones.sets),
        licences=tuple(s.licence for s in bones.sets),
    )


def trimmed(model: ShapeModel, share: float) -> ShapeModel:
    """The first modes that hold `share` of the variance."""
    count = int(np.searchsorted(compactness(model), share) + 1)
    return replace(model, modes=np.ascontiguousarray(model.modes[:, :, :count]), variances=model.variances[:count])


def compactness(model: ShapeModel) -> np.ndarray:
    """(K,) share of the variance that the first modes hold."""
    return np.cumsum(model.variances) / model.variances.sum()


def generalisation(bones: Corresponded, modes: list[int]) -> np.ndarray:
    """(people, modes) mean vertex distance in mm of a person to the model of everybody else, both sides left out."""
    people = tuple(dict.fromkeys(bones.people))
    errors = np.empty((len(people), len(modes)))
    for row, person in enumerate(people):
        model = shape_model(bones.without({person}))
        theirs = bones.shapes[[p == person for p in bones.people]]
        for col, count in enumerate(modes):
            distances = [np.linalg.norm(model.project(shape, count) - shape, axis=1).mean() for shape in theirs]
            errors[row, col] = np.mean(distances)
    return errors


def specificity(bones: Corresponded, model: ShapeModel, samples: int = 100, seed: int = 0) -> float:
    """Mean vertex distance in mm of random shapes to the nearest real one."""
    aligned, mean = procrustes(bones.shapes)
    rotation, shift = rigid_fit(mean, model.mean)
    real = aligned @ rotation.T + shift
    rng = np.random.default_rng(seed)
    drawn = [model.shape(model.sample(rng)) for _ in range(samples)]
    return float(np.mean([np.linalg.norm(real - shape, axis=2).mean(axis=1).min() for shape in drawn]))
