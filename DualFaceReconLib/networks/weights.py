"""A network's tensors, each once: nnU-Net's networks know the same ones by several names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import init
from torch.overrides import TorchFunctionMode


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


class WithoutDrawing(TorchFunctionMode):
    """Networks that are made in it get no random weights: drawing them takes longer than reading those of a bundle."""

    DRAWING = (
        *(Tensor.uniform_, Tensor.normal_, init.uniform_, init.normal_),
        *(init.trunc_normal_, init.kaiming_uniform_, init.kaiming_normal_),
    )

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, arguments: tuple = (), named: dict[str, Any] | None = None
    ) -> Any:
        named = named or {}
        if function in self.DRAWING:
            return arguments[0] if arguments else named["tensor"]
        return function(*arguments, **named)
