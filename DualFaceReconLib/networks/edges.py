"""The edge attention module of the EAR paper: one map of where edges are, out of the encoder's first features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class EdgeAttention(nn.Module):
    """A stream at the finest level's size, which every coarser level gates in turn."""

    def __init__(self, channels: Sequence[int]) -> None:
        """`channels` of the levels, the finest first; the stream has as many as the finest."""
        super().__init__()
        stream = channels[0]
        self.first = Residual(stream)
        self.gates = nn.ModuleList(Gate(stream, coarser) for coarser in channels[1:])
        self.residuals = nn.ModuleList(Residual(stream) for _ in channels[1:])
        self.last = nn.Conv3d(stream, 1, 1)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Features (B, C, D, H, W), the finest level first -> logits of edges (B, 1, D, H, W) at its size."""
        finest, *coarser = levels
        stream = self.first(finest)
        for gate, residual, features in zip(self.gates, self.residuals, coarser, strict=True):
            stream = residual(gate(stream, features))
        return self.last(stream)


class Residual(nn.Module):
    """Two convolution blocks beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(_block(channels, channels), _block(channels, channels))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, D, H, W) -> the same shape."""
        return self.blocks(features) + features


class Gate(nn.Module):
    """Eq. 2: F * sigmoid(BN(conv(block(F + F_g joined)))) + F.

    The paper's text names two convolutions, its equation shows none. F_g comes from a coarser level: it is narrowed to
    the stream's channels where it is small, and then made as large as the stream.
    """

    def __init__(self, stream: int, coarser: int) -> None:
        super().__init__()
        self.narrow = nn.Conv3d(coarser, stream, 1)
        self.block = _block(2 * stream, stream)
        self.gate = nn.Sequential(nn.Conv3d(stream, stream, 3, padding=1, bias=False), nn.BatchNorm3d(stream))

    def forward(self, stream: Tensor, coarser: Tensor) -> Tensor:
        """(B, C, D, H, W) and (B, C', d, h, w) -> (B, C, D, H, W)."""
        guide = resampled(self.narrow(coarser), stream.shape[-3:])
        gate = torch.sigmoid(self.gate(self.block(torch.cat([stream, guide], dim=1))))
        return stream * gate + stream


def resampled(volume: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, D, H, W) at another size, trilinear; what gets smaller is averaged."""
    if tuple(volume.shape[-3:]) == tuple(size):
        return volume
    if volume.shape[-1] > size[-1]:
        return functional.adaptive_avg_pool3d(volume, tuple(size))
    return functional.interpolate(volume, size=tuple(size), mode="trilinear", align_corners=False)


def _block(channels: int, into: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(channels, into, 3, padding=1, bias=False), nn.BatchNorm3d(into), nn.ReLU(inplace=True)
    )
