"""Other networks for vertebrae, with which EAR's paper compares itself; from their papers and published sizes.

    network = RivalNetwork(RivalSettings(name="bx2s"))
    volume = network(projections)  # (B, 2, N, N, N) -> (B, 1, N, N, N), as EAR's

`bx2s`: Chen et al., Comput Biol Med 154:106615, 2023: an auto-encoder in whose every shortcut all levels meet, weighed
by channel. `bx2s_plain`: without shortcuts. `e2e`: Kasten et al., MLMIR 2020, a U-Net in three dimensions with residual
units. `psr`: Shen et al., Nat Biomed Eng 3:880, 2019: two films as channels of a picture, whose features become slices.
It does not see cubes: it is given the plane of each in which the film lies as it is, through the cube's middle. Where
it was published a convolution makes a cube's slices of its 64; here they are interpolated. `sit`: Henzler et al.,
Comput Graph Forum 37:377, 2018, of one film; two channels of a picture here, as EAR's paper has it: an auto-encoder of
residual blocks on pictures with shortcuts, whose last features are the slices. Its paper was not at hand beyond its
abstract: this follows a public reading of it, at whose width of 128 it has 10.8 million weights. Its second step, which
fuses the volume with a finer film, is left out: the cubes here are as coarse as what the first gives. It sees the same
planes as `psr`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from DualFaceReconLib.networks.ear import FILMS, check_cubes
from DualFaceReconLib.networks.edges import resampled

PSR_WIDTHS = (256, 512, 1024, 2048, 4096)  # as published, 588 million weights in all
PSR_SLICES = 2  # that features are first parted into
SIT_WIDTH, SIT_LEVELS, SIT_CONVOLUTIONS = 128, 4, 3
SIT_SLICES = 64
GUIDED = 4  # parts of a level's width that each of the levels gives to a shortcut of BX2S


@dataclass(frozen=True)
class RivalSettings:
    """Which network, and how wide; plain values."""

    name: str = "bx2s"
    widths: tuple[int, ...] = (8, 16, 32, 64, 128)  # of all but `psr` and `sit`
    narrower: int = 8  # `psr` has its published widths over this

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))  # JSON has lists
        if self.name not in RIVALS:
            raise ValueError(f"there is no network {self.name!r}: there are {', '.join(RIVALS)}")
        if len(self.widths) != 5 or min(self.widths) < 1:
            raise ValueError(f"widths name a stem and four levels, not {self.widths}")
        if self.name == "bx2s" and any(width % GUIDED for width in self.widths[:-1]):
            raise ValueError(f"the widths of bx2s are multiples of {GUIDED}, not {self.widths}")
        if not 1 <= self.narrower <= PSR_WIDTHS[0] // 4:
            raise ValueError(f"psr can be narrower by 1 to {PSR_WIDTHS[0] // 4}, not {self.narrower}")


class RivalNetwork(nn.Module):
    """One of them, in the units of the training set's z-scores."""

    def __init__(self, settings: RivalSettings) -> None:
        super().__init__()
        self.settings = settings
        self.inner = RIVALS[settings.name](settings)
        halved = {"psr": len(PSR_WIDTHS), "sit": SIT_LEVELS + 1}.get(settings.name, len(settings.widths) - 1)
        self.stride = 2**halved

    def forward(self, projections: Tensor) -> Tensor:
        """(B, 2, N, N, N) -> (B, 1, N, N, N) float32; N is a multiple of `stride`."""
        check_cubes(projections, self.stride)
        return self.inner(projections).float()


class Bx2s(nn.Module):
    """An encoder and a decoder, and shortcuts of all levels (`guided`), or none."""

    def __init__(self, settings: RivalSettings, guided: bool = True) -> None:
        super().__init__()
        widths = settings.widths
        self.stem = _block(FILMS, widths[0])
        self.down = nn.ModuleList(
            nn.Sequential(_block(above, width, stride=2), _block(width, width)) for above, width in pairwise(widths)
        )
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose3d(below, width, 2, stride=2),
                nn.BatchNorm3d(width),
                nn.ReLU(inplace=True),
                _block(width, width),
            )
            for below, width in zip(widths[1:], widths[:-1], strict=True)
        )
        self.shortcuts = nn.ModuleList(GuidedShortcut(widths[:-1], width) for width in widths[:-1]) if guided else None
        self.last = nn.Conv3d(widths[0], 1, 3, padding=1)

    def forward(self, projections: Tensor) -> Tensor:
        levels = [self.stem(projections)]
        for down in self.down:
            levels.append(down(levels[-1]))
        features = levels.pop()
        for number in reversed(range(len(self.up))):
            features = self.up[number](features)
            if self.shortcuts is not None:
                features = self.shortcuts[number](levels, features)
        return self.last(features)


class GuidedShortcut(nn.Module):
    """All levels brought to one size, weighed by channel as they and the decoder's features say, joined to these."""

    def __init__(self, levels: Sequence[int], width: int) -> None:
        super().__init__()
        self.take = nn.ModuleList(_block(level, width // GUIDED) for level in levels)
        self.guide = _block(2 * width, width)
        self.weigh = nn.Sequential(
            nn.Linear(width, width, bias=False), nn.ReLU(), nn.Linear(width, width, bias=False), nn.Sigmoid()
        )
        self.join = _block(2 * width, width)

    def forward(self, levels: Sequence[Tensor], features: Tensor) -> Tensor:
        """(B, C_l, n_l, n_l, n_l) of all levels, (B, C, n, n, n) -> (B, C, n, n, n)."""
        size = features.shape[-3:]
        taken = torch.cat([_brought(level, take, size) for level, take in zip(levels, self.take, strict=True)], dim=1)
        weights = self.weigh(self.guide(torch.cat([taken, features], dim=1)).mean((2, 3, 4)))
        return self.join(torch.cat([taken * weights[..., None, None, None], features], dim=1))


def _brought(level: Tensor, take: nn.Module, size: Sequence[int]) -> Tensor:
    """A finer level by its maxima before it is narrowed, a coarser one narrowed before its voxels are repeated."""
    if level.shape[-1] > size[-1]:
        return take(functional.adaptive_max_pool3d(level, tuple(size)))
    return functional.interpolate(take(level), size=tuple(size), mode="nearest")


class ResidualUnet(nn.Module):
    """A U-Net whose every level is a residual unit."""

    def __init__(self, settings: RivalSettings) -> None:
        super().__init__()
        widths = settings.widths
        self.stem = ResidualUnit(FILMS, widths[0])
        self.down = nn.ModuleList(ResidualUnit(above, width, stride=2) for above, width in pairwise(widths))
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(below, width, 2, stride=2) for below, width in zip(widths[1:], widths[:-1], strict=True)
        )
        self.join = nn.ModuleList(ResidualUnit(2 * width, width) for width in widths[:-1])
        self.last = nn.Conv3d(widths[0], 1, 1)

    def forward(self, projections: Tensor) -> Tensor:
        levels = [self.stem(projections)]
        for down in self.down:
            levels.append(down(levels[-1]))
        features = levels.pop()
        for up, join, level in reversed(list(zip(self.up, self.join, levels, strict=True))):
            features = join(torch.cat([up(features), level], dim=1))
        return self.last(features)


class ResidualUnit(nn.Module):
    """Two convolutions beside one of a single voxel."""

    def __init__(self, channels: int, into: int, stride: int = 1) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            _block(channels, into, stride), nn.Conv3d(into, into, 3, padding=1, bias=False), nn.BatchNorm3d(into)
        )
        self.beside = nn.Conv3d(channels, into, 1, stride=stride)

    def forward(self, features: Tensor) -> Tensor:
        return functional.relu(self.blocks(features) + self.beside(features))


class Psr(nn.Module):
    """Films -> features, halved five times -> features with two slices -> slices, doubled five times."""

    def __init__(self, settings: RivalSettings) -> None:
        super().__init__()
        widths = [width // settings.narrower for width in PSR_WIDTHS]
        self.represent = nn.ModuleList(
            PsrStep(above, width) for above, width in zip([FILMS, *widths[:-1]], widths, strict=True)
        )
        half = widths[-1] // PSR_SLICES
        self.flat = nn.Sequential(nn.Conv2d(widths[-1], widths[-1], 1, bias=False), nn.ReLU(inplace=True))
        self.deep = nn.Sequential(nn.Conv3d(half, half, 1, bias=False), nn.ReLU(inplace=True))
        steps: list[nn.Module] = []
        width = half
        for number in range(len(PSR_WIDTHS)):
            steps.append(_psr_up(width, width // 2, 4, 2))
            width //= 2
            if number > 0:  # the first is alone in what was published
                steps.append(_psr_up(width, width, 3, 1))
        self.generate = nn.Sequential(*steps)
        self.last = nn.Conv3d(width, 1, 1)

    def forward(self, projections: Tensor) -> Tensor:
        side = projections.shape[-1]
        features = _pictures(projections)
        for step in self.represent:
            features = step(features)
        deep = self.deep(self.flat(features).unflatten(1, (-1, PSR_SLICES)))
        slices = self.last(self.generate(deep))  # 64 of them, whatever the cube's side is: (B, 1, A, R, S)
        return resampled(slices, (side, side, side)).transpose(2, 3)


class PsrStep(nn.Module):
    """A halving, and a convolution beside the identity."""

    def __init__(self, channels: int, into: int) -> None:
        super().__init__()
        self.halve = nn.Sequential(
            nn.Conv2d(channels, into, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(into), nn.ReLU(inplace=True)
        )
        self.refine = nn.Sequential(nn.Conv2d(into, into, 3, padding=1, bias=False), nn.BatchNorm2d(into))

    def forward(self, features: Tensor) -> Tensor:
        features = self.halve(features)
        return functional.relu(features + self.refine(features))


class Sit(nn.Module):
    """Films -> features, halved five times and doubled as often, with shortcuts -> a channel for every slice."""

    def __init__(self, settings: RivalSettings) -> None:
        super().__init__()
        width = SIT_WIDTH
        self.stem = _sit_block(FILMS, width, 5, stride=2)
        self.down = nn.ModuleList(SitResidual(width) for _ in range(SIT_LEVELS))
        self.up = nn.ModuleList(nn.ConvTranspose2d(width, width, 2, stride=2) for _ in range(SIT_LEVELS))
        self.join = nn.ModuleList(
            nn.Sequential(SitResidual(2 * width), _sit_block(2 * width, width)) for _ in range(SIT_LEVELS)
        )
        self.slices = nn.Sequential(
            nn.ConvTranspose2d(width, width, 2, stride=2), SitResidual(width), nn.Conv2d(width, SIT_SLICES, 1)
        )

    def forward(self, projections: Tensor) -> Tensor:
        side = projections.shape[-1]
        levels = [self.stem(_pictures(projections))]
        for down in self.down:
            levels.append(functional.max_pool2d(down(levels[-1]), 2))
        features = levels.pop()
        for up, join, level in zip(self.up, self.join, reversed(levels), strict=True):
            features = join(torch.cat([up(features), level], dim=1))
        slices = self.slices(features)[:, None]  # (B, 1, A, R, S)
        return resampled(slices, (side, side, side)).transpose(2, 3)


class SitResidual(nn.Module):
    """Convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(_sit_block(channels, channels) for _ in range(SIT_CONVOLUTIONS)))

    def forward(self, features: Tensor) -> Tensor:
        return self.blocks(features) + features


def _sit_block(channels: int, into: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, into, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(into),
        nn.ReLU(inplace=True),
    )


def _pictures(projections: Tensor) -> Tensor:
    """The films as channels of a picture (B, 2, N, N), [R or A, S]: each in its plane through the cube's middle."""
    middle = projections.shape[-1] // 2
    return torch.stack([projections[:, 0, :, middle], projections[:, 1, middle]], dim=1)


def _psr_up(channels: int, into: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose3d(channels, into, kernel, stride=stride, padding=1, bias=False),
        nn.BatchNorm3d(into),
        nn.ReLU(inplace=True),
    )


def _block(channels: int, into: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(channels, into, 3, stride=stride, padding=1), nn.BatchNorm3d(into), nn.ReLU(inplace=True)
    )


RIVALS = {
    "bx2s": Bx2s,
    "bx2s_plain": lambda settings: Bx2s(settings, guided=False),
    "e2e": ResidualUnet,
    "psr": Psr,
    "sit": Sit,
}
