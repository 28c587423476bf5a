"""Networks that learn no more, in a form that takes less time for the same answers.

Standardised weights, which depth networks standardise at every pass, are standardised once. On processor cores features
lie with their channels together, as oneDNN wants them, and instances are normalised as groups of one channel each,
which leaves them so. Answers stay what they were but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from timm.layers import ScaledStdConv2d
from torch import Tensor, nn
from torch.nn import functional


def settled(network: nn.Module, device: str) -> nn.Module:
    """The same network in evaluation mode on a device; it cannot be trained any more."""
    network = network.eval().requires_grad_(False)
    _replace(network, ScaledStdConv2d, _standardised)
    if device == "cpu":
        _replace(network, nn.InstanceNorm2d, _ChannelNorm)
        network = network.to(memory_format=torch.channels_last)
    return network.to(device)


def _replace(network: nn.Module, kind: type[nn.Module], replacement: Callable[[nn.Module], nn.Module]) -> None:
    """Replaces all layers of exactly a kind, each by one whatever the places where it is known."""
    made: dict[nn.Module, nn.Module] = {}
    for parent in list(network.modules()):
        for name, layer in parent._modules.items():
            if type(layer) is kind:
                if layer not in made:
                    made[layer] = replacement(layer)
                setattr(parent, name, made[layer])


def _standardised(layer: nn.Module) -> nn.Conv2d:
    """An ordinary convolution with the weights that a ScaledStdConv2d computes."""
    plain = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
        layer.bias is not None,
        device="meta",  # its weights are given below
    )
    flat, size = layer.weight.reshape(1, layer.out_channels, -1), (layer.gain * layer.scale).view(-1)
    weight = functional.batch_norm(flat, None, None, weight=size, training=True, momentum=0.0, eps=layer.eps)
    plain.weight, plain.bias = nn.Parameter(weight.reshape_as(layer.weight), requires_grad=False), layer.bias
    return plain


class _ChannelNorm(nn.Module):
    """As an InstanceNorm2d without running statistics."""

    def __init__(self, norm: nn.InstanceNorm2d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, features: Tensor) -> Tensor:
        return functional.group_norm(features, features.shape[1], self.weight, self.bias, self.eps)
