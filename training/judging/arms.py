"""The arms of the 3DDX paper's Table 1, by one recipe: what each of them learns, in which order, and from which films.

    arms = read_arms(Path("training/recipes/claims.toml"))
    for trial, cycle in arms.turns():
        arms.recipe_of(trial)

Trials take turns, each with a cycle of SGDR: at its end the learning rate is 0, all trials that have come so far have
learnt from the same films in the same order, each in as many steps, and can be compared.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.errors import Refusal
from training.learning.recipe import EpochLearning, Masking, PretrainRecipe, Recipe, knob, recipe_of, section_of

SECTIONS = ("seed", "network", "films", "learning", "masking", "claims")


@dataclass(frozen=True)
class Arm:
    """A row of the tables, and all by which it differs from the others."""

    name: str
    faces: int
    loss: str
    pretrained: bool = False  # whether the encoder filled in hidden patches of the same films first


ARMS = (
    Arm("single", 1, "si_independent"),
    Arm("dual SI independent", 2, "si_independent"),
    Arm("SI dependent", 2, "si_dependent"),
    Arm("CASI independent", 2, "casi_independent"),
    Arm("CASI dependent", 2, "casi_dependent"),
    Arm("pretrained", 2, "casi_independent", pretrained=True),
)
FINER = ("pretrained",)  # arms that the paper has at more pixels, too


@dataclass(frozen=True)
class Trial:
    """An arm by one seed, at one size of the film."""

    arm: Arm
    seed: int  # of the first weights and of augmentation; the films are the same
    size_px: int

    @property
    def in_words(self) -> str:
        return f"{self.arm.name}, {self.size_px} px, seed {self.seed}"

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return f"{self.arm.name.replace(' ', '_')}_{self.size_px}px_seed_{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Comparing:
    """[claims]: what is compared, beside the arms themselves."""

    seeds: int = knob(least=1)
    """Trials of every arm, each with other first weights and other augmentation: the recipe's seed, one more, ..."""

    kept_epochs: int = knob(least=1)
    """Epochs of new films, which are made once and kept on disk, about 20 bytes a pixel; later ones have them again."""

    finer_px: int = knob(least=1)
    """A side of the finer film, of the same millimetres: for the arms that the paper has at more pixels."""

    pretraining_epochs: int = knob(least=1)
    """Epochs in which an encoder is pretrained, on the same films: to end at the bottom of a cycle."""

    cycles_behind: int = knob(least=0)
    """Cycles by which the other seeds and the finer films come after the first seed at the recipe's own size."""

    judged: int = knob(least=1)
    """Films on which trials are judged, about."""


@dataclass(frozen=True, kw_only=True)
class Arms:
    """A recipe of all arms."""

    base: Recipe  # of what all have in common; its seed is the films'
    masking: Masking
    comparing: Comparing

    @property
    def sizes_px(self) -> tuple[int, int]:
        return self.base.films.size_px, self.comparing.finer_px

    @property
    def ends(self) -> list[int]:
        """The epoch after which each cycle ends."""
        learning, ends, length = self.base.learning, [], 0
        assert isinstance(learning, EpochLearning)
        while not ends or ends[-1] < learning.epochs:
            length = length * learning.cycle_factor or learning.first_cycle
            ends.append((ends[-1] if ends else 0) + length)
        return ends

    def trials(self, seed: int) -> list[Trial]:
        """Those by a seed."""
        size_px, finer_px = self.sizes_px
        finer = [Trial(arm, seed, finer_px) for arm in ARMS if arm.name in FINER]
        return [Trial(arm, seed, size_px) for arm in ARMS] + finer

    @property
    def seeds(self) -> range:
        return range(self.base.seed, self.base.seed + self.comparing.seeds)

    def turns(self) -> Iterator[tuple[Trial, int]]:
        """Which trial learns for which cycle, counted from 1, one after the other."""
        cycles, behind = len(self.ends), self.comparing.cycles_behind
        all_trials = [trial for seed in self.seeds for trial in self.trials(seed)]
        first = [trial for trial in all_trials if (trial.seed, trial.size_px) == (self.base.seed, self.sizes_px[0])]
        others = [trial for trial in all_trials if trial not in first]
        for turn in range(1, cycles + behind + 1):
            yield from ((trial, turn) for trial in first if turn <= cycles)
            yield from ((trial, turn - behind) for trial in others if turn > behind)

    def films_of(self, size_px: int) -> Recipe:
        """The recipe of the films of a size, which all trials of that size learn from."""
        films = self.base.films
        return replace(
            self.base,
            films=replace(films, size_px=size_px, mm_per_pixel=films.mm_per_pixel * films.size_px / size_px),
        )

    def recipe_of(self, trial: Trial) -> Recipe:
        """What a trial learns by."""
        base = self.films_of(trial.size_px)
        return replace(
            base,
            seed=trial.seed,
            network={**base.network, "faces": trial.arm.faces},
            learning=replace(base.learning, loss=trial.arm.loss),
        )

    def pretraining_of(self, trial: Trial) -> PretrainRecipe:
        """What the encoder of a trial learns by first."""
        base = self.films_of(trial.size_px)
        return PretrainRecipe(
            "pretrain",
            trial.seed,
            {**base.network, "bones": 1, "faces": 1},
            base.films,
            replace(base.learning, loss="filled_in", epochs=self.comparing.pretraining_epochs),
            masking=self.masking,
        )

    def plain(self) -> dict[str, Any]:
        """All knobs, as JSON has them."""
        return {name: asdict(getattr(self, name)) for name in ("base", "masking", "comparing")}


def read_arms(path: Path) -> Arms:
    """The recipe of all arms in a file; Refusal where a name or a value is none that it may have."""
    try:
        sections = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Refusal(
            f"{path.name} cannot be read as a recipe ({error}): take training/recipes/claims.toml."
        ) from error
    try:
        return _arms(sections)
    except Refusal as refusal:
        raise Refusal(f"{path.name}: {refusal}") from refusal


def _arms(sections: dict[str, Any]) -> Arms:
    if unlike := set(sections) ^ set(SECTIONS):
        raise Refusal(f"A recipe of the arms has {', '.join(SECTIONS)}; {', '.join(sorted(unlike))} is amiss.")
    own = [f"[{name}] {key}" for name, key in (("network", "faces"), ("learning", "loss")) if key in sections[name]]
    if own:
        raise Refusal(f"{' and '.join(own)}: that is what the arms differ by, leave it out.")
    shared = {"task": "depth", "seed": sections["seed"], "films": sections["films"]}
    network = {**sections["network"], "bones": len(BONES)}
    base = recipe_of(
        {**shared, "network": network, "learning": {**sections["learning"], "loss": "casi_independent"}},
    )
    arms = Arms(
        base=base,
        masking=section_of("masking", Masking, sections["masking"]),
        comparing=section_of("claims", Comparing, sections["claims"]),
    )
    if not isinstance(base.learning, EpochLearning) or arms.ends[-1] != base.learning.epochs:
        raise Refusal("[learning] epochs must be those of some whole cycles, as trials are compared where one ends.")
    return arms
