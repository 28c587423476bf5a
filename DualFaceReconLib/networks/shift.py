"""The shift head: one radiograph in, how far its bones were from the detector, with a spread.

    network = ShiftNetwork(ShiftSettings())
    distance_mm, spread_mm = network(film, sdd_mm).unbind(1)  # (B, 1, H, W), (B,) -> (B, 2)

A film is resampled to fixed millimetres at the nominal bone plane. Bones nearer to the source than that plane look
larger than they are, so what a film can tell is how large anatomy looks beside what its shape lets one expect: people
differ in size more than distances differ in magnification, and much of the distance stays unknown. The network
therefore says one number of the film alone, the logarithm of the bones' depth over the nominal plane's; the
source-detector distance, which is known, makes millimetres of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from timm.layers import ScaledStdConv2d
from torch import Tensor, nn
from torch.nn import functional

from DualFaceReconLib.framing import NOMINAL_OBJECT_DISTANCE_MM
from DualFaceReconLib.networks.encoder import LEAST_WIDTH, SILU_GAMMA, check_encoder, made_encoder
from DualFaceReconLib.networks.float32 import Float32Conv2d

OUTPUT = 0.03  # what an output of 1 means of a logarithm of depth: 35 mm of 1000 are the population's spread
MOST = 6.0  # no output goes beyond: depths are 0.84 to 1.2 times the nominal plane's
DOWN = 2  # convolutions after the encoder, each halving


@dataclass(frozen=True)
class ShiftSettings:
    """What a shift head is built of; plain values that go into a bundle's manifest and back."""

    encoder: str = "nf_regnet_b0"  # timm's name of a convolutional network
    stages: int | None = 3  # of the encoder, each half as large as the one before; None: all
    width: int = 96  # channels after the encoder

    def __post_init__(self) -> None:
        check_encoder(self.encoder, self.stages)
        if self.width < LEAST_WIDTH:
            raise ValueError(f"the head's width is {LEAST_WIDTH} or more, not {self.width}")


class ShiftNetwork(nn.Module):
    """Detector to the bones' depth centre and one standard deviation, mm; never downloads weights."""

    def __init__(self, settings: ShiftSettings) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = made_encoder(settings.encoder, settings.stages)
        self.stride = self.encoder.feature_info.reduction()[-1]  # film sizes are multiples of it
        widths = [self.encoder.feature_info.channels()[-1]] + [settings.width] * DOWN
        self.down = nn.ModuleList(
            ScaledStdConv2d(above, width, 3, stride=2, padding=1, gamma=SILU_GAMMA) for above, width in pairwise(widths)
        )
        self.hidden = Float32Conv2d(settings.width, settings.width, 1)
        self.last = Float32Conv2d(settings.width, 2, 1)
        nn.init.normal_(self.last.weight, std=0.1 / math.sqrt(settings.width))
        nn.init.zeros_(self.last.bias)

    def forward(self, film: Tensor, sdd_mm: Tensor) -> Tensor:
        """(B, 1, H, W) and (B,) -> (B, 2) float32 mm: distance and spread; H and W are multiples of `stride`."""
        rows, columns = film.shape[-2:]
        if film.ndim != 4 or film.shape[1] != 1 or rows % self.stride or columns % self.stride:
            raise ValueError(
                f"films are (B, 1, H, W) with H and W multiples of {self.stride}, not {tuple(film.shape)}: pad them"
            )
        features = self.encoder(film)[-1]
        for convolution in self.down:
            features = convolution(functional.silu(features))
        pooled = functional.silu(features.float()).mean(dim=(-2, -1), keepdim=True)
        said = MOST * (self.last(functional.silu(self.hidden(pooled)))[:, :, 0, 0] / MOST).tanh()
        sdd_mm = sdd_mm.float()
        depth = (sdd_mm - NOMINAL_OBJECT_DISTANCE_MM) * (OUTPUT * said[:, 0]).exp()
        return torch.stack([sdd_mm - depth, depth * OUTPUT * said[:, 1].exp()], dim=1)
