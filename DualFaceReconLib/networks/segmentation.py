"""G_s: which pixels belong to which bone. nnU-Net's own 2D network, with a map for every bone as bones overlap.

network = SegmentationNetwork(SegmentationSettings())
logits = network.eval()(film)  # (B, 1, H, W) -> (B, bones, H, W)
"""

from __future__ import annotations

from dataclasses import dataclass

from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import Tensor, nn

from DualFaceReconLib.networks.float32 import Float32Conv2d


@dataclass(frozen=True)
class SegmentationSettings:
    """What a segmentation network is built of; plain values that go into a bundle's manifest and back."""

    bones: int = 4
    features: tuple[int, ...] = (16, 32, 64, 128, 128)  # channels of the stages, each half as large as the one before
    convolutions: int = 2  # a stage; nnU-Net's own number

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", tuple(self.features))  # JSON has lists
        if min(self.bones, self.convolutions, *self.features) < 1 or len(self.features) < 2:
            raise ValueError("a segmentation network has at least one bone, two stages and one convolution in each")


class SegmentationNetwork(nn.Module):
    """Logits of every bone apart: a pixel may belong to several."""

    def __init__(self, settings: SegmentationSettings) -> None:
        super().__init__()
        self.settings = settings
        stages = len(settings.features)
        self.stride = 2 ** (stages - 1)  # film sizes are multiples of it
        self.unet = PlainConvUNet(  # the choices of nnU-Net's planner
            input_channels=1,
            n_stages=stages,
            features_per_stage=settings.features,
            conv_op=nn.Conv2d,
            kernel_sizes=3,
            strides=[1] + [2] * (stages - 1),
            n_conv_per_stage=settings.convolutions,
            num_classes=settings.bones,
            n_conv_per_stage_decoder=settings.convolutions,
            conv_bias=True,
            norm_op=nn.InstanceNorm2d,
            norm_op_kwargs={"eps": 1e-5, "affine": True},
            nonlin=nn.LeakyReLU,
            nonlin_kwargs={"inplace": True},
            deep_supervision=True,
        )
        decoder = self.unet.decoder
        decoder.seg_layers = nn.ModuleList(
            Float32Conv2d(layer.in_channels, layer.out_channels, 1) for layer in decoder.seg_layers
        )
        self.unet.apply(self.unet.initialize)

    def train(self, mode: bool = True) -> SegmentationNetwork:
        self.unet.decoder.deep_supervision = mode
        return super().train(mode)

    def forward(self, film: Tensor) -> Tensor | list[Tensor]:
        """(B, 1, H, W) -> (B, bones, H, W) float32 logits; H and W are multiples of `stride`.

        In training mode a list, the finest first: every stage of the decoder, each half as large as the one before.
        """
        rows, columns = film.shape[-2:]
        if film.ndim != 4 or film.shape[1] != 1 or rows % self.stride or columns % self.stride:
            raise ValueError(
                f"films are (B, 1, H, W) with H and W multiples of {self.stride}, not {tuple(film.shape)}: pad them"
            )
        return self.unet(film)
