"""A network's tensors, each once: nnU-Net's networks know the same ones by several names."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, every tensor by its first name alone."""
    return {name: value.detach() for name, value in (*network.named_parameters(), *network.named_buffers())}


def give_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copies `weights_of` into a network of the same settings; ValueError where they are another's."""
    own = weights_of(network)
    if own.keys() != weights.keys():
        strange = sorted(own.keys() ^ weights.keys())
        raise ValueError(f"{len(strange)} tensors do not belong to this network, or are missing: {strange[0]} for one")
    with torch.no_grad():
        for name, value in own.items():
            if value.shape != weights[name].shape:
                raise ValueError(f"{name} is {tuple(weights[name].shape)}, not {tuple(value.shape)}")
            value.copy_(weights[name])
