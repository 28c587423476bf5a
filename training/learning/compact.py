"""Films as they travel from the processes that make them: a quarter of their size, unpacked on the network's device.

    batch = stacked([compact(film) for film in films])
    restored({name: value.to("cuda") for name, value in batch.items()})  # as `learning.data.sample` has them

Grey values are of half precision, depths steps of 0.02 mm from the film's nearest, a pixel's masks the bits of a byte.
What has no masks, as cubes of vertebrae, is of half precision throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:  # which would load all that makes films
    from training.learning.data import Sample


STEP_MM = 0.02
MOST_STEPS = torch.iinfo(torch.int16).max  # 655 mm, three times what a patient is thick
MOST_BONES = 8


def compact(film: Sample) -> Sample:
    """A film as it travels: "film" float16, "bits" (n, n) uint8, "steps" (bones, faces, n, n) int16, "nearest_mm"."""
    if "mask" not in film:
        return {name: value.half() for name, value in film.items()}
    mask, depth = film["mask"], film["depth"]
    if len(mask) > MOST_BONES:
        raise ValueError(f"{len(mask)} bones are more than a byte has bits")
    there = depth > 0
    nearest_mm = torch.where(there, depth, torch.inf).amin() if there.any() else torch.zeros(())
    steps = torch.where(there, ((depth - nearest_mm) / STEP_MM).round_() + 1, 0)
    if steps.numel() and steps.max() > MOST_STEPS:
        raise ValueError(f"depths of a film lie {(MOST_STEPS - 1) * STEP_MM:.0f} mm apart at most")
    bits = torch.zeros(film["film"].shape[-2:], dtype=torch.uint8)
    for number, of_bone in enumerate(mask):
        bits |= of_bone.to(torch.uint8) << number
    others = {name: value for name, value in film.items() if name not in ("film", "mask", "depth")}
    return {
        **others,
        "film": film["film"].half(),
        "bits": bits,
        "steps": steps.to(torch.int16),
        "nearest_mm": nearest_mm.float(),
    }


def stacked(films: Sequence[Sample]) -> Sample:
    """A batch of films."""
    return {name: torch.stack([film[name] for film in films]) for name in films[0]}


def restored(batch: Sample) -> Sample:
    """A batch of compact films as networks learn from them, on whatever device it lies."""
    if "bits" not in batch:
        return {name: value.float() for name, value in batch.items()}
    bits, steps = batch["bits"], batch["steps"]
    bones = torch.arange(steps.shape[1], dtype=torch.uint8, device=bits.device)[None, :, None, None]
    nearest_mm = batch["nearest_mm"][:, None, None, None, None] - STEP_MM
    others = {name: value for name, value in batch.items() if name not in ("film", "bits", "steps", "nearest_mm")}
    return {
        **others,
        "film": batch["film"].float(),
        "mask": (bits[:, None] >> bones) & 1 != 0,
        "depth": torch.where(steps > 0, steps * STEP_MM + nearest_mm, 0),
    }
