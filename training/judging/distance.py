"""`python -m training shift RUN --out OUT`: whether a shift head is worth shipping.

A head that learnt from films whose distances follow some distribution can always lean on that distribution's middle. So
it is judged on films of kept-out people twice: with distances as in training, and with other ones, shifted and wider,
of the same patients. It ships where it comes closer to the others than the population mean, which is what the product
has without it. Two more constants stand beside it: the mean of the distances as in training, and the mean of the very
films judged, which nobody could know. A head that beats this last one tells far films from near ones.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from safetensors.torch import load_file
from torch import nn

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.object_distance import POPULATION_OBJECT_DISTANCE, POPULATION_OBJECT_DISTANCE_MM
from DualFaceReconLib.networks.weights import give_weights
from training.judging.tables import interval
from training.kept_out import kept_out_people
from training.learning.data import sample
from training.learning.monitoring import distances, scatter
from training.learning.recipe import Films, Learning, Recipe
from training.learning.train import built
from training.patients.population import Population, load_population
from training.simulate import Series, one_thread, take
from training.xray.rig import UNUSUAL, USUAL

SEED = 313
SETS = {"as in training": USUAL, "other distances": UNUSUAL}
POPULATION_MEAN, TRAINING_MEAN, OWN_MEAN, HEAD = (
    f"population mean, {POPULATION_OBJECT_DISTANCE_MM:g} mm",
    "mean of the distances as in training",
    "mean of these very films",
    "shift head",
)


@dataclass(frozen=True)
class Judged:
    """A shift head on some films."""

    found: np.ndarray  # (films, 3) mm: true object distance, what the head says, its spread
    people: tuple[str, ...]  # whose pelvis has the largest share in each patient


def judge(run: Path, bones: Path, cache: Path, count: int, out: Path) -> tuple[str, bool]:
    """Films `count` patients of the kept-out people at both distances; gives the table, and whether the head ships.

    Writes `shift.md`, `shift.json` and `shift.png` to `out`.
    """
    recipe, network = finished(run)
    population = load_population(bones, cache, people=kept_out_people(recipe.films.without))
    judged = {name: judged_on(network, recipe, population, name, count) for name in SETS}
    rows = {name: compared(one, judged["as in training"]) for name, one in judged.items()}
    better = ships(judged["other distances"])
    text = table(judged, rows, better)
    out.mkdir(parents=True, exist_ok=True)
    (out / "shift.md").write_text(text + "\n", encoding="utf-8")
    told = {
        name: {"rows": rows[name], "people": one.people, "true_said_spread_mm": one.found.round(2).tolist()}
        for name, one in judged.items()
    }
    (out / "shift.json").write_text(json.dumps({"ships": better, **told}, indent=1), encoding="utf-8")
    picture(judged, out / "shift.png")
    return text, better


def finished(run: Path) -> tuple[Recipe, nn.Module]:
    """A finished run's recipe and shift head."""
    try:
        told = json.loads((run / "network.json").read_text(encoding="utf-8"))["recipe"]
    except (OSError, json.JSONDecodeError) as error:
        raise Refusal(f"{run.name} holds no finished network: let `training train` end there first.") from error
    if told["task"] != "shift":
        raise Refusal(f"{run.name} holds a network for {told['task']}, not for shift.")
    recipe = Recipe(**{**told, "films": Films(**told["films"]), "learning": Learning(**told["learning"])})
    network = built(recipe)
    give_weights(network, load_file(run / "network.safetensors"))
    return recipe, network.eval()


def judged_on(network: nn.Module, recipe: Recipe, population: Population, which: str, count: int) -> Judged:
    """The head on one film of each of `count` patients, who are the same in both sets."""
    series = Series(seed=SEED, size_px=None, mm_per_pixel=recipe.films.mm_per_pixel, distances=SETS[which])
    found, people = [], []
    with one_thread():
        for number in range(count):
            taken = take(population, series, number)
            film = taken.film(series)
            seen = sample(film.pixels, film.maps, taken.rig.geometry, recipe.films.size_px)
            if seen["mask"].any():
                found.append(distances(network, [seen], "cpu")[0])
                shares = taken.metadata["patient"]["pelvis"]
                people.append(max(shares, key=shares.get))
    return Judged(np.array(found), tuple(people))


def compared(judged: Judged, as_in_training: Judged) -> dict[str, dict[str, float | tuple[float, float]]]:
    """Of every estimate the mean absolute error with its interval over people, the bias, and how honest its spread is.

    "within" is the share of films whose error is under one spread, 0.68 where errors are normal; NaN without a spread.
    """
    true, said, spread = judged.found.T
    estimates = {
        POPULATION_MEAN: (np.full_like(true, POPULATION_OBJECT_DISTANCE_MM), POPULATION_OBJECT_DISTANCE.spread),
        TRAINING_MEAN: (np.full_like(true, as_in_training.found[:, 0].mean()), as_in_training.found[:, 0].std()),
        OWN_MEAN: (np.full_like(true, true.mean()), true.std()),
        HEAD: (said, spread),
    }
    rows = {}
    for name, (distance, width) in estimates.items():
        error = np.abs(distance - true)
        rows[name] = {
            "mae_mm": float(error.mean()),
            "interval_mm": interval(error, judged.people),
            "bias_mm": float((distance - true).mean()),
            "within": float((error <= width).mean()),
            "spread_mm": float(np.mean(width)),
        }
    return rows


def ships(judged: Judged) -> bool:
    """Whether the head comes closer than the population mean, by more than chance among these people would give."""
    return gain(judged, POPULATION_OBJECT_DISTANCE_MM)[0] > 0


def gain(judged: Judged, constant_mm: float) -> tuple[float, float]:
    """95 % interval over people of how much closer the head comes than a constant, mm."""
    true, said, _ = judged.found.T
    return interval(np.abs(constant_mm - true) - np.abs(said - true), judged.people)


def table(judged: dict[str, Judged], rows: dict[str, dict], better: bool) -> str:
    """Markdown: a table a set, and the verdict."""
    lines = ["# Shift head", "", "Errors of the object distance, mm; intervals of 95 % over people.", ""]
    for name, one in judged.items():
        true, said, _ = one.found.T
        slope, correlation = np.polyfit(true, said, 1)[0], np.corrcoef(true, said)[0, 1]
        lines += [
            f"## Distances: {name}",
            "",
            f"{len(true)} films of {len(set(one.people))} people, {true.mean():.0f} ± {true.std():.0f} mm "
            f"({true.min():.0f} to {true.max():.0f}).",
            "",
            "| estimate | mean absolute error | interval | bias | spread | errors within a spread |",
            "|---|---|---|---|---|---|",
        ]
        for estimate, row in rows[name].items():
            low, high = row["interval_mm"]
            lines.append(
                f"| {estimate} | {row['mae_mm']:.1f} | {low:.1f} to {high:.1f} | {row['bias_mm']:+.1f} | "
                f"{row['spread_mm']:.0f} | {100 * row['within']:.0f} % |"
            )
        training = float(judged["as in training"].found[:, 0].mean())
        closer = [
            f"than the {what} by {low:.1f} to {high:.1f} mm"
            for what, constant in (
                ("population mean", POPULATION_OBJECT_DISTANCE_MM),
                ("training's mean", training),
                ("these films' own mean", float(true.mean())),
            )
            for low, high in [gain(one, constant)]
        ]
        lines += [
            "",
            f"The head comes closer {', '.join(closer)} (less than 0: farther). Where bones are 10 mm farther from the "
            f"detector, it says {10 * slope:.1f} mm more; correlation {correlation:.2f}.",
            "",
        ]
    what = "ships" if better else "does not ship"
    lines.append(
        f"**The head {what}**: on other distances it {'beats' if better else 'does not beat'} the population mean."
    )
    return "\n".join(lines)


def picture(judged: dict[str, Judged], path: Path) -> None:
    """What the head says against the truth, a panel a set."""
    figure, axes = plt.subplots(1, len(judged), figsize=(5.5 * len(judged), 5.5), layout="constrained")
    for axis, (name, one) in zip(axes, judged.items(), strict=True):
        scatter(axis, one.found, f"distances: {name}")
    figure.savefig(path, dpi=100)
    plt.close(figure)
