"""Changes of films while a network learns, with their truth: mirrored, turned, moved, and other grey values.

RandAugment (Cubuk et al., NeurIPS 2020) without what a radiograph cannot suffer: shear bends what the geometry says,
inverted and solarised films do not exist. Pictures turn about the principal point, so that depths stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn.functional import avg_pool2d, grid_sample

from DualFaceReconLib.bonemaps import mirrored_order
from training.learning.data import Sample

MIRRORED_SHARE = 0.5
MOST_TURN_DEGREES, MOST_SHIFT, MOST_ZOOM = 15.0, 0.1, 0.1  # at full strength; shift as a share of the picture


def augmented(batch: Sample, bones: Sequence[str], strength: float, changes: int, rng: np.random.Generator) -> Sample:
    """A batch changed by `rng`: each film by `changes` changes of its grey values, and in place, at `strength` 0 to 1.

    `bones` are the channels' names, whose sides change places in a mirror.
    """
    if strength == 0:
        return batch
    batch = dict(batch)
    mirrored = rng.random(len(batch["film"])) < MIRRORED_SHARE
    for name in ("film", "mask", "depth", "principal_point_px"):
        batch[name] = batch[name].clone()
    for i in np.flatnonzero(mirrored):
        _mirror(batch, int(i), bones)
    _move(batch, strength, rng)
    for i in range(len(batch["film"])):
        for change in rng.choice(len(GREY_CHANGES), changes, replace=False):
            amount = float(rng.uniform(-strength, strength))
            batch["film"][i] = GREY_CHANGES[change](batch["film"][i], amount).clamp(-1.5, 1.5)
    return batch


def _mirror(batch: Sample, i: int, bones: Sequence[str]) -> None:
    order = mirrored_order(bones)
    batch["film"][i] = batch["film"][i].flip(-1)
    batch["mask"][i] = batch["mask"][i][order].flip(-1)
    batch["depth"][i] = batch["depth"][i][order].flip(-1)
    batch["principal_point_px"][i, 1] = batch["film"].shape[-1] - 1 - batch["principal_point_px"][i, 1]


def _move(batch: Sample, strength: float, rng: np.random.Generator) -> None:
    """Turns each film about its principal point, zooms about it and moves it, with what hangs on that."""
    count, size = len(batch["film"]), batch["film"].shape[-1]
    turn = np.radians(rng.uniform(-1, 1, count) * MOST_TURN_DEGREES * strength)
    zoom = np.exp(rng.uniform(-1, 1, count) * MOST_ZOOM * strength)
    shift = rng.uniform(-1, 1, (count, 2)) * MOST_SHIFT * strength * size
    film = batch["film"]

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=film.device)

    centre, shift_px = batch["principal_point_px"].float(), tensor(shift)
    places = torch.arange(size, dtype=torch.float32, device=film.device)
    rows, cols = torch.meshgrid(places, places, indexing="ij")
    down = (rows[None] - (centre + shift_px)[:, 0, None, None]) / tensor(zoom)[:, None, None]
    across = (cols[None] - (centre + shift_px)[:, 1, None, None]) / tensor(zoom)[:, None, None]
    cosine, sine = tensor(np.cos(turn))[:, None, None], tensor(np.sin(turn))[:, None, None]
    from_row = down * cosine + across * sine + centre[:, 0, None, None]
    from_col = across * cosine - down * sine + centre[:, 1, None, None]
    grid = torch.stack([(2 * from_col + 1) / size - 1, (2 * from_row + 1) / size - 1], dim=-1)
    batch["film"] = grid_sample(film + 1, grid, mode="bilinear", align_corners=False) - 1  # -1 beside the film
    masks, depths = batch["mask"].float(), batch["depth"].flatten(1, 2)
    moved = grid_sample(torch.cat([masks, depths], dim=1), grid, mode="nearest", align_corners=False)
    batch["mask"] = moved[:, : masks.shape[1]] > 0.5
    batch["depth"] = moved[:, masks.shape[1] :].reshape(batch["depth"].shape)
    batch["principal_point_px"] = (centre + shift_px).to(batch["principal_point_px"].dtype)
    scale = tensor(1 / zoom)[:, None].to(batch["pixel_pitch_mm"].dtype)
    batch["pixel_pitch_mm"] = batch["pixel_pitch_mm"] * scale


def _brightness(film: torch.Tensor, amount: float) -> torch.Tensor:
    return film + 0.6 * amount


def _contrast(film: torch.Tensor, amount: float) -> torch.Tensor:
    middle = film.mean()
    return middle + (film - middle) * float(np.exp(0.8 * amount))


def _gamma(film: torch.Tensor, amount: float) -> torch.Tensor:
    return 2 * ((film.clamp(-1, 1) + 1) / 2) ** float(np.exp(amount)) - 1


def _sharpness(film: torch.Tensor, amount: float) -> torch.Tensor:
    smooth = avg_pool2d(film[None], 3, stride=1, padding=1, count_include_pad=False)[0]
    return film + 1.5 * amount * (film - smooth)


def _posterised(film: torch.Tensor, amount: float) -> torch.Tensor:
    steps = round(64 * (1 - abs(amount))) + 8
    return torch.round((film + 1) * steps / 2) * 2 / steps - 1


def _equalised(film: torch.Tensor, amount: float) -> torch.Tensor:
    """Towards equal shares of every grey value, by the ranks of the film's own."""
    values = torch.quantile(film.flatten()[::7], torch.linspace(0, 1, 65, device=film.device))
    rank = torch.searchsorted(values, film.contiguous()).float() / 32 - 1
    return film + abs(amount) * 0.6 * (rank.clamp(-1, 1) - film)


GREY_CHANGES: tuple[Callable[[torch.Tensor, float], torch.Tensor], ...] = (
    _brightness, _contrast, _gamma, _sharpness, _posterised, _equalised,
)  # fmt: skip
