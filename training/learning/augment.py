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
MOST_TURN_DEGREES, MOST_OFFSET, MOST_ZOOM = 15.0, 0.1, 0.1  # at full strength; offset as a share of the picture


def augmented(batch: Sample, bones: Sequence[str], strength: float, changes: int, rng: np.random.Generator) -> Sample:
    """A batch changed by `rng`: each film by `changes` changes of its grey values, and in place, at `strength` 0 to 1.

    `bones` are the channels' names, whose sides change places in a mirror. Every step is taken for all films at once,
    and none waits for the device.
    """
    if strength == 0:
        return batch
    batch = dict(batch)
    count = len(batch["film"])
    _mirror(batch, rng.random(count) < MIRRORED_SHARE, bones)
    _move(batch, strength, rng)
    chosen = rng.random((count, len(GREY_CHANGES))).argsort(axis=1) < changes
    amounts = rng.uniform(-strength, strength, chosen.shape)
    for number, change in enumerate(GREY_CHANGES):
        films = _beside(batch["film"], np.flatnonzero(chosen[:, number]))
        if len(films):
            amount = _beside(batch["film"], amounts[chosen[:, number], number].astype(np.float32))[:, None, None, None]
            batch["film"][films] = change(batch["film"][films], amount).clamp(-1.5, 1.5)
    return batch


def _mirror(batch: Sample, mirrored: np.ndarray, bones: Sequence[str]) -> None:
    """Mirrors those films (B,) bool of a batch, with their truth."""
    film, point = batch["film"], batch["principal_point_px"]
    which = _beside(film, np.flatnonzero(mirrored))
    order = _beside(film, np.array(mirrored_order(bones), np.int64))
    down, across = point.unbind(1)
    across = torch.where(_beside(film, mirrored), film.shape[-1] - 1 - across, across)
    batch["principal_point_px"] = torch.stack([down, across], dim=1)
    batch["film"] = film.index_copy(0, which, film[which].flip(-1))
    for name in ("mask", "depth"):
        values = batch[name]
        batch[name] = values.index_copy(0, which, values[which].index_select(1, order).flip(-1))


def _move(batch: Sample, strength: float, rng: np.random.Generator) -> None:
    """Turns each film about its principal point, zooms about it and moves it, with what hangs on that."""
    count, size = len(batch["film"]), batch["film"].shape[-1]
    turn = np.radians(rng.uniform(-1, 1, count) * MOST_TURN_DEGREES * strength)
    zoom = np.exp(rng.uniform(-1, 1, count) * MOST_ZOOM * strength)
    offset = rng.uniform(-1, 1, (count, 2)) * MOST_OFFSET * strength * size
    film = batch["film"]

    def tensor(values: np.ndarray) -> torch.Tensor:
        return _beside(film, values.astype(np.float32))

    centre, offset_px = batch["principal_point_px"].float(), tensor(offset)
    places = torch.arange(size, dtype=torch.float32, device=film.device)
    rows, cols = torch.meshgrid(places, places, indexing="ij")
    down = (rows[None] - (centre + offset_px)[:, 0, None, None]) / tensor(zoom)[:, None, None]
    across = (cols[None] - (centre + offset_px)[:, 1, None, None]) / tensor(zoom)[:, None, None]
    cosine, sine = tensor(np.cos(turn))[:, None, None], tensor(np.sin(turn))[:, None, None]
    from_row = down * cosine + across * sine + centre[:, 0, None, None]
    from_col = across * cosine - down * sine + centre[:, 1, None, None]
    grid = torch.stack([(2 * from_col + 1) / size - 1, (2 * from_row + 1) / size - 1], dim=-1)
    batch["film"] = grid_sample(film + 1, grid, mode="bilinear", align_corners=False) - 1  # -1 beside the film
    masks, depths = batch["mask"].float(), batch["depth"].flatten(1, 2)
    moved = grid_sample(torch.cat([masks, depths], dim=1), grid, mode="nearest", align_corners=False)
    batch["mask"] = moved[:, : masks.shape[1]] > 0.5
    batch["depth"] = moved[:, masks.shape[1] :].reshape(batch["depth"].shape)
    batch["principal_point_px"] = (centre + offset_px).to(batch["principal_point_px"].dtype)
    scale = tensor(1 / zoom)[:, None].to(batch["pixel_pitch_mm"].dtype)
    batch["pixel_pitch_mm"] = batch["pixel_pitch_mm"] * scale


def _beside(film: torch.Tensor, values: np.ndarray) -> torch.Tensor:
    """Values on a film's device, without waiting for what goes on there."""
    return torch.from_numpy(values).to(film.device, non_blocking=True)


# Grey changes: of films (N, 1, n, n), -1 to 1, by amounts (N, 1, 1, 1), -1 to 1


def _brightness(films: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    return films + 0.6 * amount


def _contrast(films: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    middle = films.mean(dim=(1, 2, 3), keepdim=True)
    return middle + (films - middle) * torch.exp(0.8 * amount)


def _gamma(films: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    return 2 * ((films.clamp(-1, 1) + 1) / 2) ** torch.exp(amount) - 1


def _sharpness(films: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    smooth = avg_pool2d(films, 3, stride=1, padding=1, count_include_pad=False)
    return films + 1.5 * amount * (films - smooth)


def _posterised(films: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    steps = torch.round(64 * (1 - amount.abs())) + 8
    return torch.round((films + 1) * steps / 2) * 2 / steps - 1


def _equalised(films: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    """Towards equal shares of every grey value, by the ranks of each film's own."""
    flat = films.flatten(1)
    shares = torch.linspace(0, 1, 65, device=films.device, dtype=films.dtype)
    values = torch.quantile(flat[:, ::7], shares, dim=1).T.contiguous()  # (N, 65)
    rank = torch.searchsorted(values, flat.contiguous()).to(films.dtype).reshape(films.shape) / 32 - 1
    return films + amount.abs() * 0.6 * (rank.clamp(-1, 1) - films)


GREY_CHANGES: tuple[Callable[[torch.Tensor, torch.Tensor], torch.Tensor], ...] = (
    _brightness, _contrast, _gamma, _sharpness, _posterised, _equalised,
)  # fmt: skip
