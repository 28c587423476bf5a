"""A layer that autocast leaves alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Float32Conv2d(nn.Conv2d):
    """A convolution that is done in float32 under autocast too."""

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(features.float())
