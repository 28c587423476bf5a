"""CBAM on volumes (Woo et al., ECCV 2018): Eq. 3 and 4 of the EAR paper, what passes along a shortcut."""

from __future__ import annotations

import torch
from torch import Tensor, nn

REDUCTION = 4  # of channels inside the channel attention; CBAM's own 16 would leave half a channel of eight
SPATIAL_KERNEL = 7  # CBAM's own


class ChannelAttention(nn.Module):
    """A_c: a weight from 0 to 1 for every channel, by its mean and its maximum over the volume."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(channels // REDUCTION, 1)
        self.shared = nn.Sequential(
            nn.Linear(channels, inner, bias=False), nn.ReLU(), nn.Linear(inner, channels, bias=False)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, C, 1, 1, 1)."""
        voxels = features.flatten(2)
        weights = torch.sigmoid(self.shared(voxels.mean(2)) + self.shared(voxels.amax(2)))
        return weights[..., None, None, None]


class SpatialAttention(nn.Module):
    """A_s: a weight from 0 to 1 for every voxel, by the mean and the maximum over its channels and its neighbours'."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(2, 1, SPATIAL_KERNEL, padding=SPATIAL_KERNEL // 2, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, 1, D, H, W)."""
        pooled = torch.cat([features.mean(1, keepdim=True), features.amax(1, keepdim=True)], dim=1)
        return torch.sigmoid(self.convolution(pooled))


class AttentionShortcut(nn.Module):
    """Features weighted by channel (Eq. 3), and then by voxel (Eq. 4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.by_channel = ChannelAttention(channels)
        self.by_voxel = SpatialAttention()

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, D, H, W) -> the same shape."""
        features = self.by_channel(features) * features
        return self.by_voxel(features) * features
