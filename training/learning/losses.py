"""What the networks learn by: Equations 1 to 4 of the 3DDX paper for depths, Dice semimetric and cross-entropy losses.

    absolute_mm = network(film) + (sdd_mm - nominal_object_distance_mm)[:, None, None, None, None]
    loss = casi_independent(absolute_mm.flatten(1, 2), truth_mm.flatten(1, 2), valid.flatten(1, 2))

Depths are mm from the source plane, (B, J, H, W), where J counts the maps of a picture: every face of every bone. As
logarithms need distances from the source, a training step adds the nominal depth of the bones to what the network says,
never the truth's own. CASI does not mind which: it is the same whatever is added to all predicted maps of a picture, as
Eq. 4 moves their mean to the truth's before it takes logarithms. It is not the same when the maps move apart, nor when
the truth is moved too, as then the same millimetres are another part of the depth.

`valid` is where the truth has a bone; maps without any leave the mean over maps, pictures without any leave the mean
over the batch, and a batch without any has loss 0 and gradients 0. A depth at the source plane or behind it counts as
EPSILON and has no slope of its own: only a prediction that is wrong by the whole depth gets there. All is float32 at
least, whatever the autocast around it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

ALPHA = 10.0  # the paper's, as are the next two
LAMBDA_VAR = 0.85
EPSILON = 1e-6
SMOOTHING = 0.1  # Mueller et al., NeurIPS 2019, whom the paper follows without saying how much

MAP, PICTURE = (-2, -1), (-3, -2, -1)


def si_independent(predicted_mm: Tensor, truth_mm: Tensor, valid: Tensor) -> Tensor:
    """Eq. 2: every map's own loss by Eq. 1, averaged."""
    return _independent(_errors(predicted_mm, truth_mm, valid, centred=False), valid)


def si_dependent(predicted_mm: Tensor, truth_mm: Tensor, valid: Tensor) -> Tensor:
    """Eq. 3: one loss over all maps of a picture."""
    return _dependent(_errors(predicted_mm, truth_mm, valid, centred=False), valid)


def casi_independent(predicted_mm: Tensor, truth_mm: Tensor, valid: Tensor) -> Tensor:
    """Eq. 4 in Eq. 2; the paper writes alpha / N before it and means alpha / |J|."""
    return _independent(_errors(predicted_mm, truth_mm, valid, centred=True), valid)


def casi_dependent(predicted_mm: Tensor, truth_mm: Tensor, valid: Tensor) -> Tensor:
    """Eq. 4 in Eq. 3."""
    return _dependent(_errors(predicted_mm, truth_mm, valid, centred=True), valid)


# By the names that recipes give
DEPTH_LOSSES = {loss.__name__: loss for loss in (si_independent, si_dependent, casi_independent, casi_dependent)}


def _errors(predicted_mm: Tensor, truth_mm: Tensor, valid: Tensor, centred: bool) -> Tensor:
    """g of Eq. 1, or h of Eq. 4 where centred: differences of logarithms, (B, J, H, W), 0 where nothing is valid."""
    if valid.dtype != torch.bool or not predicted_mm.shape == truth_mm.shape == valid.shape or valid.ndim != 4:
        raise ValueError("predicted, truth and valid are (B, J, H, W) alike, and valid is bool")
    # What is not valid is left out before anything is computed of it: not even a NaN there reaches the gradient.
    predicted_mm, truth_mm = (
        torch.where(valid, depth, 0).to(torch.promote_types(depth.dtype, torch.float32))
        for depth in (predicted_mm, truth_mm)
    )
    if centred:
        predicted_mm = (predicted_mm - _mean(predicted_mm, valid)) + _mean(truth_mm, valid)
    errors = (functional.relu(predicted_mm) + EPSILON).log() - (truth_mm + EPSILON).log()
    return torch.where(valid, errors, 0)


def _mean(depth_mm: Tensor, valid: Tensor) -> Tensor:
    """t of Eq. 4, (B, 1, 1, 1) mm: over all valid pixels of all maps of a picture, as the maps share one centre."""
    return depth_mm.sum(PICTURE, keepdim=True) / _count(valid, PICTURE, keepdim=True)


def _independent(errors: Tensor, valid: Tensor) -> Tensor:
    """The mean over a picture's maps, and over pictures."""
    some = valid.any(MAP)
    of_pictures = _root_of_spread(errors, valid, MAP).sum(1) / some.sum(1).clamp(min=1)
    return ALPHA * of_pictures.sum() / some.any(1).sum().clamp(min=1)


def _dependent(errors: Tensor, valid: Tensor) -> Tensor:
    """All maps of a picture as one, and the mean over pictures."""
    return ALPHA * _root_of_spread(errors, valid, PICTURE).sum() / valid.any(PICTURE).sum().clamp(min=1)


def _root_of_spread(errors: Tensor, valid: Tensor, over: Sequence[int]) -> Tensor:
    """The root of D or M: the mean square less LAMBDA_VAR times the squared mean.

    Its slope is at most of the order of 1 however small it is, but 0 / 0 where all errors are 0: there it is 0.
    """
    count = _count(valid, over)
    spread = errors.square().sum(over) / count - LAMBDA_VAR * (errors.sum(over) / count).square()
    positive = spread > 0
    return torch.where(positive, torch.where(positive, spread, 1).sqrt(), 0)


def _count(valid: Tensor, over: Sequence[int], keepdim: bool = False) -> Tensor:
    return valid.sum(over, keepdim=keepdim).clamp(min=1)


def dice_semimetric(logits: Tensor, truth: Tensor) -> Tensor:
    """1 - (|p| + |y| - |p - y|) / (|p| + |y|) of every bone and picture, averaged (Wang et al., MICCAI 2023).

    Logits and truth (B, bones, H, W); truth is a mask or holds parts from 0 to 1, and the loss is 0 where p equals it.
    Bones that a picture does not show leave the mean: whatever is predicted there, their value is 1.
    """
    logits, truth = _wide(logits), truth.to(_wide(logits).dtype)
    probability = logits.sigmoid()
    both = (probability + truth).sum(MAP)
    values = (probability - truth).abs().sum(MAP) / both.clamp(min=EPSILON)
    in_picture = truth.any(2).any(2)
    return (values * in_picture).sum() / in_picture.sum().clamp(min=1)


def cross_entropy(logits: Tensor, truth: Tensor, smoothing: float = SMOOTHING) -> Tensor:
    """Mean over all pixels, each bone for itself as bones overlap; (B, bones, H, W), truth as above.

    Smoothing is the part of the truth that is replaced by 1/2, the share of either of two classes.
    """
    logits = _wide(logits)
    smooth = truth.to(logits.dtype) * (1 - smoothing) + smoothing / 2
    return functional.binary_cross_entropy_with_logits(logits, smooth)


def segmentation(outputs: Tensor | Sequence[Tensor], mask: Tensor, smoothing: float = SMOOTHING) -> Tensor:
    """Dice semimetric loss and cross-entropy added, for what a segmentation network says in training: finest first.

    Each coarser output weighs half as much as the one before, as in nnU-Net; its truth is the part of its pixel that
    the bone covers, which the semimetric loss takes as it is. Mask (B, bones, H, W) bool.
    """
    outputs = [outputs] if isinstance(outputs, Tensor) else outputs
    loss, weights = torch.zeros((), device=mask.device), 0.0
    for level, logits in enumerate(outputs):
        truth = functional.adaptive_avg_pool2d(mask.to(_wide(logits).dtype), logits.shape[-2:])
        loss = loss + (dice_semimetric(logits, truth) + cross_entropy(logits, truth, smoothing)) / 2**level
        weights += 1 / 2**level
    return loss / weights


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
