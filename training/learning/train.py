"""`python -m training train RECIPE --out OUT`: a network learns by a recipe, from films made as it goes.

    train(recipe, virtual_patients(recipe, bones, cache, say=print), Run(out))

A run that was cut goes on from its last checkpoint. By epochs it ends as the run in one piece does on the same
processor, and with torchrun the processes share an epoch's films. By time (a recipe with `schedule = "time"`) it learns
from whatever films are there, and is finished when its minutes are over. OUT holds `checkpoint/`, `curves.csv`,
`curves.png`, `sheet.png` and, in the end, `network.safetensors` with `network.json`: the weights' moving average and
what they are. Pretraining and learning on from own cases are the same loop, with another task and other films.

Networks that see the same films learn together, as films cost more than what is learnt from them: each is given the
same batches, augmented alike, and its folder holds what it would hold had it learnt alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from DualFaceReconLib.errors import Refusal
from training.learning.by_epochs import learn_by_epochs
from training.learning.by_time import learn_by_time
from training.learning.films import Source
from training.learning.learner import Learner, Plan, begun, finish
from training.learning.recipe import Recipe, TimeLearning
from training.learning.run import Run
from training.learning.torchrun import torchrun_place


def train(
    recipe: Recipe,
    source: Source,
    run: Run,
    *,
    encoder: Path | None = None,
    bundle: Path | None = None,
    weights: Path | None = None,
) -> Path | None:
    """Trains, or goes on; gives the finished weights' file, or None where the time is over before the end.

    What it may begin with is explained at `Plan`. With torchrun only the first process gives a file.
    """
    plan = Plan(recipe=recipe, out=run.out, encoder=encoder, bundle=bundle, weights=weights)
    files = train_together([plan], source, run)
    return files[0] if files else None


def train_together(plans: Sequence[Plan], source: Source, run: Run) -> list[Path] | None:
    """Trains networks on the same films; gives the finished weights' files as `train` does."""
    recipe = plans[0].recipe
    by_time = isinstance(recipe.learning, TimeLearning)
    _check_alike([plan.recipe for plan in plans])
    if by_time and (run.minutes is None or run.last is not None):
        raise Refusal("The recipe learns by time: say for how long with --minutes, and leave --last away.")
    learners = [begun(plan, dict(source.origin), run) for plan in plans]
    torch.backends.cudnn.benchmark = True  # from here on every batch is as large as the one before
    finished = (learn_by_time if by_time else learn_by_epochs)(learners, source, run)
    if not finished or torchrun_place()[0] != 0:
        return None
    return [finish(learner, _films(learner), run.parts_mb) for learner in learners]


def _films(learner: Learner) -> int:
    """That a finished network learnt from."""
    films = learner.recipe.films
    if isinstance(learner.recipe.learning, TimeLearning):
        return learner.films * torchrun_place()[1]
    return len(learner.rows) * films.projections * films.reuse


def _check_alike(recipes: Sequence[Recipe]) -> None:
    """Refusal where networks cannot learn from the same batches."""
    own = ("loss", "learning_rate", "weight_decay", "first_cycle", "cycle_factor", "clip", "average", "bfloat16")

    def shared(recipe: Recipe) -> dict[str, Any]:
        sections = {"films": asdict(recipe.films), "learning": asdict(recipe.learning)}
        knobs = {f"[{section}] {name}": value for section, values in sections.items() for name, value in values.items()}
        return {"seed": recipe.seed, **{name: value for name, value in knobs.items() if name.split()[-1] not in own}}

    first = shared(recipes[0])
    for recipe in recipes[1:]:
        other = shared(recipe)
        unlike = [name for name in first | other if first.get(name) != other.get(name)]
        if unlike:
            raise Refusal(f"The recipes cannot learn from the same films: they differ in {', '.join(unlike)}.")
