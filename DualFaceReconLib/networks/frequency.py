"""The frequency enhancement module: Eq. 1 of the EAR paper."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SPACE = (-3, -2, -1)


class FrequencyEnhancement(nn.Module):
    """Features joined to what a convolution among their frequencies makes of them.

    The convolution takes real and imaginary parts joined. What it makes of them is no longer the spectrum of real
    numbers, so the inverse transform is complex, and its absolute value is taken. It has no bias: the same number at
    every frequency is a bright voxel in the cube's corner.

    `kernel` 1 is the paper's figure taken at its word. As its weights are the same for all frequencies, it can do no
    more than mix channels with their own point reflections: real parts are the spectrum of a volume's even part,
    imaginary ones of its odd part. `kernel` 3 sees neighbouring frequencies, which is a window over the volume; the
    spectrum goes on around its ends.

    The transforms are float32 whatever the autocast around them: half precision has them on no processor.
    """

    def __init__(self, channels: int, kernel: int = 1) -> None:
        super().__init__()
        self.normalise = nn.InstanceNorm3d(channels)
        self.frequencies = nn.Conv3d(
            2 * channels, 2 * channels, kernel, padding=kernel // 2, padding_mode="circular", bias=False
        )
        self.join = nn.Sequential(
            nn.Conv3d(2 * channels, channels, 3, padding=1, bias=False),
            nn.InstanceNorm3d(channels, affine=True),
            nn.ReLU(inplace=True),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, D, H, W) -> the same shape."""
        return self.join(torch.cat([self.of_frequencies(features), features], dim=1))

    def of_frequencies(self, features: Tensor) -> Tensor:
        """|IFFT(Conv(FFT(IN(features))))|, (B, C, D, H, W) float32."""
        with torch.autocast(features.device.type, enabled=False):
            spectrum = torch.fft.fftn(self.normalise(features.float()), dim=SPACE, norm="ortho")
            real, imaginary = self.frequencies(torch.cat([spectrum.real, spectrum.imag], dim=1)).chunk(2, dim=1)
            return torch.fft.ifftn(torch.complex(real, imaginary), dim=SPACE, norm="ortho").abs()
