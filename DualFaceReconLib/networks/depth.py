"""G_d: one radiograph in, the depth of every bone's front and back face out.

    network = DepthNetwork(DepthSettings(encoder="nf_regnet_b0", stages=4))
    relative_mm = network(film)  # (B, 1, H, W) -> (B, bones, faces, H, W)

The encoder is one of timm's, the paper's `dm_nfnet_f0` or a small relative. The paper says nothing of its decoder that
could be built; this one goes up stage by stage, takes from the encoder what belongs to the same size, and ends at the
film's own size with the film beside it. It has no normalisation, like these encoders: convolutions with standardised
weights keep the features' size (Brock et al., ICLR 2021), and nothing in it hangs on how much of the picture is air.

In use, autocast reaches the encoder alone, which has most of the arithmetic. The decoder computes in float32: rounding
there would go straight into the depths, several times as much of it as comes of rounding in the encoder. So float16
stays within 0.1 mm of float32; bfloat16, three bits coarser, does not once a network has learnt: it is for training
alone. In training mode autocast reaches all but the last layer, as half a millimetre of rounding is less than what
there is still to learn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from timm.layers import ScaledStdConv2d
from torch import Tensor, nn
from torch.nn import functional

from DualFaceReconLib.networks.encoder import LEAST_WIDTH, SILU_GAMMA, check_encoder, made_encoder
from DualFaceReconLib.networks.float32 import Float32Conv2d

FULL_WIDTH_STRIDE = 8  # from here down the decoder has its full width, above it halves with every step
OUTPUT_MM = 100.0  # what an output of 1 means: bones lie within about 120 mm of a picture's depth centre
FIRST_MM = 1.0  # how far from the depth centre an untrained network's depths lie: it starts from a plane


@dataclass(frozen=True)
class DepthSettings:
    """What a depth network is built of; plain values that go into a bundle's manifest and back."""

    encoder: str = "dm_nfnet_f0"  # timm's name of a convolutional network
    stages: int | None = None  # of the encoder, each half as large as the one before; None: all
    bones: int = 4
    faces: int = 2  # front and back; 1: the front alone
    width: int = 128  # the decoder's channels where they are most

    def __post_init__(self) -> None:
        check_encoder(self.encoder, self.stages)
        if self.bones < 1 or self.faces not in (1, 2):
            raise ValueError(f"{self.bones} bones with {self.faces} faces each: at least one bone and one or two faces")
        if self.width < LEAST_WIDTH or self.width % FULL_WIDTH_STRIDE:
            raise ValueError(
                f"the decoder's width is a multiple of {FULL_WIDTH_STRIDE}, {LEAST_WIDTH} or more, not {self.width}"
            )


class DepthNetwork(nn.Module):
    """Depths in mm from a picture's depth centre, away from the source where positive; never downloads weights."""

    def __init__(self, settings: DepthSettings) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = made_encoder(settings.encoder, settings.stages)
        strides, channels = self.encoder.feature_info.reduction(), self.encoder.feature_info.channels()
        self.stride = strides[-1]  # film sizes are multiples of it

        widths = [settings.width * min(stride, FULL_WIDTH_STRIDE) // FULL_WIDTH_STRIDE for stride in (1, *strides)]
        self.film = ScaledStdConv2d(1, widths[0], 3)
        self.bottom = ScaledStdConv2d(channels[-1], widths[-1], 1, gamma=SILU_GAMMA)
        skips = [widths[0], *channels[:-1]]
        self.steps = nn.ModuleList(
            Step(below, skip, width)
            for below, skip, width in reversed(list(zip(widths[1:], skips, widths[:-1], strict=True)))
        )
        self.last = Float32Conv2d(widths[0], settings.bones * settings.faces, 1)
        nn.init.normal_(self.last.weight, std=FIRST_MM / OUTPUT_MM / math.sqrt(widths[0]))
        nn.init.zeros_(self.last.bias)

    def forward(self, film: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, bones, faces, H, W) float32, mm; H and W are multiples of `stride`."""
        rows, columns = film.shape[-2:]
        if film.ndim != 4 or film.shape[1] != 1 or rows % self.stride or columns % self.stride:
            raise ValueError(
                f"films are (B, 1, H, W) with H and W multiples of {self.stride}, not {tuple(film.shape)}: pad them"
            )
        encoded = self.encoder(film)
        if self.training:
            return self._decoded(film, encoded)
        with torch.autocast(film.device.type, enabled=False):
            return self._decoded(film.float(), [features.float() for features in encoded])

    def _decoded(self, film: Tensor, encoded: list[Tensor]) -> Tensor:
        *skips, deepest = [self.film(film), *encoded]
        features = self.bottom(functional.silu(deepest))
        for step, skip in zip(self.steps, reversed(skips), strict=True):
            features = step(features, skip)
        outputs = self.last(SILU_GAMMA * functional.silu(features))
        return OUTPUT_MM * outputs.unflatten(1, (self.settings.bones, self.settings.faces))


class Step(nn.Module):
    """One step up of the decoder: coarse features, made as large as the encoder's, are joined to them."""

    def __init__(self, below: int, skip: int, width: int) -> None:
        super().__init__()
        self.narrow = ScaledStdConv2d(below, width, 1, gamma=SILU_GAMMA)
        self.take = ScaledStdConv2d(skip, width, 1, gamma=SILU_GAMMA)
        self.join = ScaledStdConv2d(2 * width, width, 3, gamma=SILU_GAMMA)
        self.refine = ScaledStdConv2d(width, width, 3, gamma=SILU_GAMMA)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """(B, below, h, w) and (B, skip, H, W) -> (B, width, H, W)."""
        coarse = self.narrow(functional.silu(coarse))
        coarse = functional.interpolate(coarse, size=skip.shape[-2:], mode="bilinear")
        joined = torch.cat([coarse, self.take(functional.silu(skip))], dim=1)
        return self.refine(functional.silu(self.join(functional.silu(joined))))
