"""Recipes of trained things: TOML files in `recipes/`, every knob with a comment."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from DualFaceReconLib.errors import Refusal

TASKS = ("depth", "segmentation", "pretrain")


@dataclass(frozen=True)
class Films:
    """What films a network learns from."""

    size_px: int
    mm_per_pixel: float
    projections: int
    reuse: int
    pool: int
    without: str
    watched: int


@dataclass(frozen=True)
class Learning:
    """How it learns."""

    loss: str
    batch: int
    epochs: int
    learning_rate: float
    weight_decay: float
    first_cycle: int
    cycle_factor: int
    clip: float
    average: float
    strength: float
    changes: int
    bfloat16: bool


@dataclass(frozen=True)
class Recipe:
    """One trained thing."""

    task: str
    seed: int
    network: dict[str, Any]  # settings of DepthNetwork or SegmentationNetwork
    films: Films
    learning: Learning


@dataclass(frozen=True)
class Masking:
    """What of a film is hidden from a network that is pretrained."""

    patch_px: int
    share: float


@dataclass(frozen=True)
class PretrainRecipe(Recipe):
    """One encoder that learns from films without labels."""

    masking: Masking


def read_recipe(path: Path) -> Recipe:
    """The recipe in a file; Refusal where a knob is missing, unknown or of the wrong kind."""
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Refusal(f"{path.name} cannot be read as a recipe ({error}): take one of training/recipes.") from error
    wanted = ["task", "seed", "network", "films", "learning", *(["masking"] if told.get("task") == "pretrain" else [])]
    missing = [name for name in wanted if name not in told]
    if missing or told["task"] not in TASKS:
        raise Refusal(
            f"{path.name} is no recipe of a network: it needs {', '.join(missing) or 'a task of ' + str(TASKS)}."
        )
    settled = (
        told["task"],
        int(told["seed"]),
        dict(told["network"]),
        _section(path.name, "films", Films, told["films"]),
        _section(path.name, "learning", Learning, told["learning"]),
    )
    if told["task"] != "pretrain":
        return Recipe(*settled)
    return _pretraining(path.name, PretrainRecipe(*settled, _section(path.name, "masking", Masking, told["masking"])))


def _pretraining(file: str, recipe: PretrainRecipe) -> PretrainRecipe:
    """A recipe whose masks fit its films and whose network predicts a film."""
    patch = recipe.masking.patch_px
    if patch < 2 or recipe.films.size_px % patch:
        raise Refusal(f"{file}: patch_px must be 2 or more and divide size_px.")
    patches = (recipe.films.size_px // patch) ** 2
    if not 0 < round(recipe.masking.share * patches) < patches:
        raise Refusal(f"{file}: share must hide some of the {patches} patches and not all.")
    if (recipe.network.get("bones"), recipe.network.get("faces")) != (1, 1):
        raise Refusal(f"{file}: [network] needs bones = 1 and faces = 1, as one film is predicted.")
    return recipe


def _section(file: str, name: str, kind: type, told: dict[str, Any]) -> Any:
    wanted = {field.name: field.type for field in fields(kind)}
    wrong = sorted(wanted.keys() ^ told.keys())
    if wrong:
        raise Refusal(f"{file}: [{name}] lacks or does not know {', '.join(wrong)}.")
    values = {}
    for key, value in told.items():
        kind_of = {"int": int, "float": (int, float), "str": str, "bool": bool}[wanted[key]]
        if not isinstance(value, kind_of) or isinstance(value, bool) != (wanted[key] == "bool"):
            raise Refusal(f"{file}: {key} must be a {wanted[key]}, not {value!r}.")
        values[key] = float(value) if wanted[key] == "float" else value
    return kind(**values)
