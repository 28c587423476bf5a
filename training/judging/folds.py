"""`python -m training folds`: everybody in the sets of bones judged once, by models that never saw them.

People are dealt into folds. For each fold, shape models and networks are made of all others, and measured on films of
the fold's people. The template that all bones are on, and which of its vertices are landmarks, come from everybody. A
run that was cut goes on from where it was.

OUT/folds.json                   who is in which fold, and by what recipes
OUT/fold_1/models/               shape models of the others
OUT/fold_1/depth/ segmentation/  networks that learnt from the others, and bundle/ of all these
OUT/fold_1/films/                the fold's people, as cases
OUT/fold_1/table.md ...          what was measured, by `tables.write_tables`
OUT/table.md ...                 all folds together
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.errors import Refusal
from training.anatomy.report import save_model
from training.judging.evaluate import evaluate
from training.judging.scores import Evaluation
from training.judging.tables import read_evaluation, write_tables
from training.learning.bundling import bundle
from training.learning.films import simulated
from training.learning.recipe import Recipe
from training.learning.run import Run
from training.learning.train import train
from training.patients.population import Everybody, Population
from training.patients.virtual import NoFemoraFit
from training.simulate import Series, Taken, one_thread, take, write
from training.xray.rig import NoBoneOnFilm

SEED = 313  # of the dealing and of the films
TRIES = 8  # numbers of a series for each film; a femur does not always fit a socket
LEAST_OF_A_SET = 2  # a fold's films vary their bones by a model of the fold's own people


@dataclass(frozen=True)
class Measuring:
    """By what every fold is measured."""

    films: int  # of each person
    size_px: int  # of the films, along the longer side
    resolutions: tuple[int, ...]  # pixels along the longer side of the maps that are compared


def dealt(people: Collection[str], count: int, seed: int = SEED) -> list[tuple[str, ...]]:
    """`count` folds of people by name, set/person: each set dealt out evenly, and each person to one fold.

    Nothing is learnt from `gias9`, who are people of `llp26` by other names.
    """
    sets: dict[str, list[str]] = {}
    for person in sorted(people):
        sets.setdefault(person.split("/")[0], []).append(person)
    most = min(len(names) for names in sets.values()) // LEAST_OF_A_SET
    if not 2 <= count <= most:
        raise Refusal(f"Take 2 to {most} folds, not {count}: each needs {LEAST_OF_A_SET} people of every set.")
    rng = np.random.default_rng(seed)
    folds: list[list[str]] = [[] for _ in range(count)]
    place = 0
    for name in sorted(sets):
        for person in rng.permutation(sets[name]).tolist():
            folds[place % count].append(person)
            place += 1
    return [tuple(sorted(fold)) for fold in folds]


def judge_in_folds(
    everybody: Everybody, recipes: Sequence[Recipe], count: int, measuring: Measuring, run: Run
) -> str | None:
    """The table of all folds; None where the time was over in a training. Without recipes: rows without networks."""
    folds = dealt(everybody.people, count)
    _check_same(folds, recipes, measuring, run.out)
    end = None if run.minutes is None else time.monotonic() + 60 * run.minutes
    all_folds = Evaluation(surfaces=[], maps=[])
    for number, fold in enumerate(folds, 1):
        run.say(f"fold {number} of {count}: {len(fold)} people")
        of_fold = _fold(everybody, fold, number, recipes, measuring, replace(run, out=run.out / f"fold_{number}"), end)
        if of_fold is None:
            return None
        all_folds.surfaces.extend(of_fold.surfaces)
        all_folds.maps.extend(of_fold.maps)
    title = f"{count} folds by person: everybody measured by models of the others"
    return write_tables(all_folds, title, [], None, run.out)


def _check_same(folds: list[tuple[str, ...]], recipes: Sequence[Recipe], measuring: Measuring, out: Path) -> None:
    """Keeps what the folds are in folds.json; Refusal where other ones were begun there."""
    document = {"folds": folds, "recipes": [asdict(recipe) for recipe in recipes], "measuring": asdict(measuring)}
    text = json.dumps(document, indent=1)
    kept = out / "folds.json"
    if kept.exists() and kept.read_text(encoding="utf-8") != text:
        raise Refusal(f"{out.name} holds folds of other people, recipes or films: give another folder.")
    out.mkdir(parents=True, exist_ok=True)
    write_text(kept, text)


def _fold(
    everybody: Everybody,
    fold: tuple[str, ...],
    number: int,
    recipes: Sequence[Recipe],
    measuring: Measuring,
    run: Run,
    end: float | None,
) -> Evaluation | None:
    """What is measured on a fold's people; None where the time was over before its networks were done."""
    out = run.out
    if (out / "table.md").exists():  # written last
        return read_evaluation(out)
    models_without(everybody, fold, out / "models")
    if recipes and not (out / "bundle" / "manifest.json").exists():
        others, kept_out = everybody.without(fold), partial(_own, everybody, fold)
        for recipe in recipes:
            if (out / recipe.task / "network.json").exists():
                continue
            of_fold = replace(recipe, films=replace(recipe.films, without=fold))
            left = None if end is None else max(end - time.monotonic(), 0) / 60
            of_task = replace(run, out=out / recipe.task, minutes=left)
            if train(of_fold, simulated(of_fold, others, kept_out), of_task) is None:
                return None
        networks = {recipe.task: out / recipe.task for recipe in recipes}
        measured = f"On the {len(fold)} people of its fold alone."
        bundle(networks, out / "models", out / "bundle", f"fold-{number}", "1.0.0", measured)
    folders = films_of(everybody, fold, measuring, out / "films", run.say)
    made = out / "bundle" if recipes else None
    evaluation = evaluate(folders, measuring.resolutions, run.machine.jobs, made, run.say, out / "models")
    write_tables(evaluation, f"Fold {number}", folders, made, out)
    return evaluation


def _own(everybody: Everybody, fold: Collection[str]) -> Population:
    """The population of a fold's people."""
    return everybody.without(set(everybody.people) - set(fold))


def models_without(everybody: Everybody, fold: Collection[str], out: Path) -> None:
    """Shape models of everybody but a fold's people, in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    for bones in (everybody.hips, everybody.femora):
        if not (out / f"{bones.bone}.ssm.npz").exists():
            save_model(bones.without(set(fold) & set(bones.people)), out)


def films_of(
    everybody: Everybody, fold: Collection[str], measuring: Measuring, out: Path, say: Callable[[str], None] = print
) -> list[Path]:
    """Plain films of every person of a fold, as cases; those that are there already stay.

    A person stands with the own pelvis and femora, a little varied and sized. Who has no femora in the sets gets some
    of the fold's, which are not scored.
    """
    population = _own(everybody, fold)
    series = Series(seed=SEED, size_px=measuring.size_px, plain=True)
    order = sorted(everybody.people)  # so that a person's seeds do not hang on the fold
    folders = []
    for person in population.pelvis_people:
        alone = population.alone(person)
        unscored = [] if person in population.femur_people else ["femur_left", "femur_right"]
        first = order.index(person) * measuring.films
        for film in range(measuring.films):
            folders.append(out / f"{person.replace('/', '_')}_{film:02d}")
            if (folders[-1] / "geometry.json").exists():
                continue
            with one_thread():
                taken = _taken(alone, series, (first + film) * TRIES)
                taken = replace(taken, metadata={**taken.metadata, "person": person, "unscored": unscored})
                write(taken, taken.film(series), folders[-1])
        say(f"{person}: {measuring.films} films")
    return folders


def _taken(population: Population, series: Series, first: int) -> Taken:
    """The first patient of a series, from a number on, that there can be."""
    for number in range(first, first + TRIES - 1):
        try:
            return take(population, series, number)
        except (NoFemoraFit, NoBoneOnFilm):
            continue
    return take(population, series, first + TRIES - 1)
