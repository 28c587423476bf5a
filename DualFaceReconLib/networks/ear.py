"""EAR: two films, back-projected into a cube, to the volume of a vertebra (Tan et al., 2024).

    network = EarNetwork(EarSettings())
    volume = network(projections)  # (B, 2, N, N, N) -> (B, 1, N, N, N)

An auto-encoder with shortcuts, on volumes throughout. A stem keeps the cube's size, four levels halve it, and as many
go up again. The paper's three additions can each be left out: frequency enhancement (FEM) at the end of the first three
levels that halve, an edge attention map (EAM) made of those three and given to every level of the decoder, and
attention in the shortcuts (ABS). The paper does not say how a decoder's level takes the map: here as Eq. 2 has its own
gates, features * map + features.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from DualFaceReconLib.networks.attention import AttentionShortcut
from DualFaceReconLib.networks.edges import EdgeAttention, resampled
from DualFaceReconLib.networks.frequency import FrequencyEnhancement

FILMS = 2
ENHANCED = 3  # levels with frequency enhancement, whose features are what the edge map is made of
SLOPE = 0.01  # of leaky ReLU below 0


@dataclass(frozen=True)
class EarSettings:
    """What an EAR network is built of; plain values that go into a bundle's manifest and back."""

    widths: tuple[int, ...] = (8, 16, 32, 64, 128)  # channels of the stem and of the levels that halve
    frequency: bool = True  # FEM
    edges: bool = True  # EAM
    shortcuts: bool = True  # ABS
    frequency_kernel: int = 1  # 1, or 3 as an ablation

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))  # JSON has lists
        if len(self.widths) < ENHANCED + 2 or min(self.widths) < 1:
            raise ValueError(f"widths name a stem and {ENHANCED + 1} levels or more, not {self.widths}")
        if self.frequency_kernel not in (1, 3):
            raise ValueError(f"the kernel among frequencies is 1 or 3, not {self.frequency_kernel}")


class EarNetwork(nn.Module):
    """A vertebra's volume in the units of the training set's z-scores."""

    def __init__(self, settings: EarSettings) -> None:
        super().__init__()
        self.settings = settings
        widths = settings.widths
        self.stride = 2 ** (len(widths) - 1)  # a cube's side is a multiple of it
        self.stem = nn.Sequential(convolution_block(FILMS, widths[0]), convolution_block(widths[0], widths[0]))
        self.down = nn.ModuleList(
            nn.Sequential(convolution_block(above, width, stride=2), convolution_block(width, width))
            for above, width in pairwise(widths)
        )
        enhanced = widths[1 : 1 + ENHANCED]
        self.enhance = nn.ModuleList(
            FrequencyEnhancement(width, settings.frequency_kernel) if settings.frequency else nn.Identity()
            for width in enhanced
        )
        self.edges = EdgeAttention(enhanced) if settings.edges else None
        self.shortcuts = nn.ModuleList(
            AttentionShortcut(width) if settings.shortcuts else nn.Identity() for width in widths[:-1]
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(below, width, 2, stride=2) for below, width in zip(widths[1:], widths[:-1], strict=True)
        )
        self.join = nn.ModuleList(convolution_block(2 * width, width) for width in widths[:-1])
        self.last = nn.Conv3d(widths[0], 1, 1)

    def forward(self, projections: Tensor) -> Tensor:
        """(B, 2, N, N, N) -> (B, 1, N, N, N) float32; N is a multiple of `stride`."""
        return self.with_edges(projections)[0]

    def with_edges(self, projections: Tensor) -> tuple[Tensor, Tensor | None]:
        """The volume, and the logits of its edges at half its size (B, 1, N/2, N/2, N/2); None without EAM."""
        check_cubes(projections, self.stride)
        levels = [self.stem(projections)]
        for number, down in enumerate(self.down):
            features = down(levels[-1])
            levels.append(self.enhance[number](features) if number < ENHANCED else features)
        logits = None if self.edges is None else self.edges(levels[1 : 1 + ENHANCED])
        attention = None if logits is None else torch.sigmoid(logits)
        features = levels.pop()
        for up, join, shortcut, level in reversed(list(zip(self.up, self.join, self.shortcuts, levels, strict=True))):
            features = join(torch.cat([up(features), shortcut(level)], dim=1))
            if attention is not None:
                features = features * resampled(attention, features.shape[-3:]) + features
        return self.last(features).float(), logits


def convolution_block(channels: int, into: int, stride: int = 1) -> nn.Sequential:
    """A convolution with batch normalisation and leaky ReLU, as the paper's levels have them."""
    return nn.Sequential(
        nn.Conv3d(channels, into, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm3d(into),
        nn.LeakyReLU(SLOPE, inplace=True),
    )


def check_cubes(projections: Tensor, stride: int) -> None:
    """ValueError where these are no back-projected films for a network that halves a cube so often."""
    if projections.ndim != 5 or projections.shape[1] != FILMS or any(side % stride for side in projections.shape[2:]):
        shape = tuple(projections.shape)
        raise ValueError(f"projections are (B, {FILMS}, N, N, N) with N a multiple of {stride}, not {shape}")
