"""The first stages of a timm encoder, which the depth network begins with."""

from __future__ import annotations

import timm
from timm.models._factory import create_model  # without all of timm's networks
from timm.models._registry import is_model
from torch import nn

LEAST_WIDTH = 32  # a weight that stands alone, as between single channels, is standardised to 0
SILU_GAMMA = 1.7881293  # 1 / the standard deviation of SiLU of standard normal values (Brock et al., ICLR 2021)


def check_encoder(encoder: str, stages: int | None) -> None:
    """ValueError where timm has no such encoder, or an encoder no such number of stages."""
    # The first knows those that are imported, the second imports all; "hf-hub:..." would make timm fetch something
    if not (is_model(encoder) or timm.is_model(encoder)):
        raise ValueError(f"{encoder!r} is no encoder that timm has")
    if stages is not None and stages < 1:
        raise ValueError(f"an encoder has at least one stage, not {stages}")


def made_encoder(encoder: str, stages: int | None) -> nn.Module:
    """An untrained encoder of films (B, 1, H, W) that gives the features of its stages; None: of all."""
    kept = None if stages is None else tuple(range(stages))
    try:
        return create_model(encoder, pretrained=False, features_only=True, in_chans=1, out_indices=kept)
    except IndexError as error:
        raise ValueError(f"{encoder} has fewer than {stages} stages") from error
