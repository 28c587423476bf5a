"""What a network learns volumes by: Equations 5 to 10 of the EAR paper, where it is silent as this file says.

    loss = volume_loss(network(projections), truth, edge_scale=EdgeScale(middle=1.2, width=0.4))

Volumes are (B, 1, N, N, N) in z-scores of the training set. All is float32 at least, whatever the autocast around it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

SPACE = (-3, -2, -1)
EPSILON = 1e-6  # below every distance between spectra, of which a logarithm is taken, and away from 0 and 1 in edges
WEIGHTS = (1.0, 0.1, 0.1, 0.1)  # the paper's lambda_1 to lambda_4


@dataclass(frozen=True)
class EdgeScale:
    """How grey values become bone, from 0 to 1, before edges are looked for."""

    middle: float  # z-score that is half bone
    width: float  # z-scores from there to sigmoid(1), 73 % bone

    def __post_init__(self) -> None:
        if not self.width > 0:
            raise ValueError(f"the width of an edge's scale is positive, not {self.width}")


@dataclass(frozen=True)
class LossWeights:
    """Eq. 10's; 0 leaves a term out."""

    reconstruction: float = WEIGHTS[0]
    edge: float = WEIGHTS[1]
    frequency: float = WEIGHTS[2]
    projection: float = WEIGHTS[3]


@dataclass(frozen=True)
class VolumeLoss:
    """A loss as recipes name it: which terms it has, and how the frequency loss is read."""

    weights: LossWeights = LossWeights()
    euclidean: bool = True


# By the names that recipes give; the last three are the rows of the paper's Table 3
VOLUME_LOSSES = {
    "ear": VolumeLoss(),
    "ear_absolute": VolumeLoss(euclidean=False),
    "reconstruction": VolumeLoss(LossWeights(edge=0.0, frequency=0.0, projection=0.0)),
    "with_edge": VolumeLoss(LossWeights(frequency=0.0, projection=0.0)),
    "with_frequency": VolumeLoss(LossWeights(projection=0.0)),
}


def volume_loss(
    predicted: Tensor,
    truth: Tensor,
    scale: EdgeScale,
    weights: LossWeights = LossWeights(),
    euclidean: bool = True,
) -> Tensor:
    """Eq. 10: the four terms by their weights."""
    with torch.autocast(predicted.device.type, enabled=False):  # on CUDA it refuses cross-entropies of probabilities
        loss = weights.reconstruction * reconstruction(predicted, truth)
        if weights.edge:
            loss = loss + weights.edge * edge(predicted, truth, scale)
        if weights.frequency:
            loss = loss + weights.frequency * frequency(predicted, truth, euclidean)
        if weights.projection:
            loss = loss + weights.projection * projection(predicted, truth)
    return loss


def reconstruction(predicted: Tensor, truth: Tensor) -> Tensor:
    """Eq. 5: the mean absolute error."""
    return (_wide(predicted) - _wide(truth)).abs().mean()


def edge(predicted: Tensor, truth: Tensor, scale: EdgeScale) -> Tensor:
    """Eq. 6: the binary cross-entropy of the prediction's edges to the truth's, over all voxels.

    What the truth's edges cost against themselves is not taken off: where they are neither 0 nor 1 it is more than 0.
    """
    found = edges(predicted, scale).clamp(EPSILON, 1 - EPSILON)
    return functional.binary_cross_entropy(found, edges(truth, scale))


def edges(volume: Tensor, scale: EdgeScale) -> Tensor:
    """E of Eq. 6, which the paper leaves open: a soft morphological gradient, (B, 1, N, N, N) from 0 to 1.

    The most bone among a voxel and its 26 neighbours less the least. Outside the cube there are no neighbours.
    """
    bone = torch.sigmoid((_wide(volume) - scale.middle) / scale.width)
    return _most(bone) + _most(-bone)


def _most(values: Tensor) -> Tensor:
    """The maximum of every voxel and its neighbours (B, 1, N, N, N); in two steps, which a processor does sooner."""
    depth, rows, columns = values.shape[-3:]
    in_slices = functional.max_pool2d(values.reshape(-1, 1, rows, columns), 3, 1, 1)
    return functional.max_pool2d(in_slices.reshape(-1, 1, depth, rows * columns), (3, 1), 1, (1, 0)).reshape(
        values.shape
    )


def edge_map(logits: Tensor, truth: Tensor, scale: EdgeScale) -> Tensor:
    """The cross-entropy of an edge attention map's logits, at any smaller size, to the truth's own edges there."""
    target = functional.adaptive_avg_pool3d(edges(truth, scale), logits.shape[-3:])
    return functional.binary_cross_entropy_with_logits(_wide(logits), target)


def frequency(predicted: Tensor, truth: Tensor, euclidean: bool = True) -> Tensor:
    """Eq. 8: log10 of D_real + D_imag, the mean over volumes."""
    return torch.log10(sum(spectral_distances(predicted, truth, euclidean)) + EPSILON).mean()


def spectral_distances(predicted: Tensor, truth: Tensor, euclidean: bool = True) -> tuple[Tensor, Tensor]:
    """Eq. 7: D_real and D_imag of every volume, (B,) each, over orthonormal spectra.

    `euclidean`: the root of the mean square over all frequencies, which by Parseval's theorem knows nothing of
    frequencies: D_real^2 + D_imag^2 is the mean squared error, and so Eq. 8 is half of its logarithm, and at most
    log10(2) / 2 more. Else the mean of absolute values, which weighs many small differences more than few large ones.
    """
    spectrum = torch.fft.fftn(_wide(predicted) - _wide(truth), dim=SPACE, norm="ortho")
    return _size(spectrum.real, euclidean), _size(spectrum.imag, euclidean)


def _size(part: Tensor, euclidean: bool) -> Tensor:
    values = part.flatten(1)
    return (values.square().mean(1) + EPSILON**2).sqrt() if euclidean else values.abs().mean(1)


def projection(predicted: Tensor, truth: Tensor) -> Tensor:
    """Eq. 9: mean absolute differences of maximum intensity projections along the three axes, averaged."""
    predicted, truth = _wide(predicted), _wide(truth)
    return sum((predicted.amax(axis) - truth.amax(axis)).abs().mean() for axis in SPACE) / len(SPACE)


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
