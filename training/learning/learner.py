"""A network that learns: all that changes while it does, one step, and what is left of it in its folder."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.networks.weights import give_weights, weights_of
from training.learning import checkpoint
from training.learning.compact import restored
from training.learning.data import Sample
from training.learning.finished import write_finished
from training.learning.layout import faster_with_channels_last, laid_out, laid_out_film
from training.learning.monitoring import curves_picture
from training.learning.recipe import EpochLearning, Recipe
from training.learning.run import Run
from training.learning.start import take_bundle, take_encoder, take_weights
from training.learning.tasks import Task, network_of, task_of
from training.learning.torchrun import agreed, torchrun_place


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a network is to learn, where that is written and what it begins with instead of random weights."""

    recipe: Recipe
    out: Path  # a folder
    encoder: Path | None = None  # a file by `training pretrain`
    bundle: Path | None = None  # a folder, whose network of the same settings
    weights: Path | None = None  # of another run, see `take_weights`


@dataclass(kw_only=True)
class Learner:
    """A network that learns. What a checkpoint holds of it comes last."""

    plan: Plan
    task: Task
    origin: dict[str, Any]  # what this run hangs on beside its recipe
    shared: nn.Module  # the network, as it learns with those of other processes
    followed: tuple[list[torch.Tensor], list[torch.Tensor]]  # the average's numbers, and the network's
    channels_last: bool  # in memory; see layout.py
    network: nn.Module
    average: nn.Module  # has the weights' moving average, which is what is measured and kept
    optimizer: torch.optim.Optimizer
    epoch: int = 0  # epochs that are done; by time, those of which films were taken
    rows: list[dict] = field(default_factory=list)  # of the curves
    ending: list[int] | None = None  # from which epoch, and by which, the run is ended before its recipe's end
    spent_s: float = 0.0  # by time: of the minutes
    films: int = 0  # by time: that came

    @property
    def recipe(self) -> Recipe:
        return self.plan.recipe

    @property
    def last_epoch(self) -> int:
        """With which it ends."""
        return self.ending[1] if self.ending is not None else self.recipe.learning.epochs


def begun(plan: Plan, source_origin: dict[str, Any], run: Run) -> Learner:
    """A network that begins to learn by a plan, or goes on where a run in its folder was cut."""
    recipe, device = plan.recipe, run.machine.device
    torch.manual_seed(recipe.seed)
    network = network_of(recipe)
    origin = dict(source_origin)
    if plan.encoder is not None:
        origin["encoder"] = take_encoder(network, plan.encoder)
    if plan.bundle is not None:
        origin["start"] = take_bundle(network, plan.bundle, recipe.task)
    if plan.weights is not None:
        origin["weights"] = take_weights(network, plan.weights)
    network, task = network.to(device), task_of(recipe)
    faster = device == "cuda" and task.flat and faster_with_channels_last(network, task, recipe)
    channels_last = agreed(float(faster), device) > 0.5  # processes that learn together have one layout
    network = laid_out(network, channels_last)
    average = copy.deepcopy(network).eval()
    rate, decay = recipe.learning.learning_rate, recipe.learning.weight_decay
    fused = True if device == "cuda" else None
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay, fused=fused)
    made = Learner(
        plan=plan,
        task=task,
        origin=origin,
        shared=DistributedDataParallel(network) if torchrun_place()[1] > 1 else network,
        followed=(_numbers(average), _numbers(network)),
        network=network,
        average=average,
        optimizer=optimizer,
        channels_last=channels_last,
    )
    plan.out.mkdir(parents=True, exist_ok=True)
    _resume(made, run)
    return made


def _numbers(network: nn.Module) -> list[torch.Tensor]:
    """The tensors that an average follows: all but counters, of which nothing hangs on."""
    return [value for value in weights_of(network).values() if value.dtype.is_floating_point]


def step(learner: Learner, batch: Sample, rate: float, rng: np.random.Generator) -> torch.Tensor:
    """Learns from a batch on the network's device; gives its loss, which stays there."""
    learning, device = learner.recipe.learning, batch["film"].device.type
    for group in learner.optimizer.param_groups:
        group["lr"] = rate
    batch = {**batch, "film": laid_out_film(batch["film"], learner.channels_last)}
    with torch.autocast(device, dtype=torch.bfloat16, enabled=learning.bfloat16):
        loss = learner.task.loss(learner.shared, batch, rng)
    learner.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(learner.shared.parameters(), learning.clip)
    if learner.optimizer.param_groups[0]["fused"]:  # which leaves out a step whose gradient is no number
        learner.optimizer.found_inf = (~norm.isfinite()).float()
    learner.optimizer.step()
    averages, values = learner.followed
    torch._foreach_lerp_(averages, values, 1 - learning.average)
    return loss.detach()


def prepared(batch: Sample, learner: Learner, rng: np.random.Generator) -> Sample:
    """A batch of compact films, unpacked on a learner's device and changed by its augmentation."""
    learning, device = learner.recipe.learning, next(learner.network.parameters()).device
    batch = restored({name: value.to(device, non_blocking=True) for name, value in batch.items()})
    return learner.task.augmented(batch, learning.strength, learning.changes, rng)


def add_row(learner: Learner, row: dict[str, float], watched: Sequence[Sample], device: str) -> str:
    """Measures a learner on watched films, for a row of its curves; gives the row's figures in words."""
    learner.rows.append({**row, **learner.task.measure(learner.average, watched, device)})
    _, *names = learner.rows[-1]
    numbers = (f"{name} {learner.rows[-1][name]:.4g}" for name in names if name != "rate")
    return f"{learner.recipe.task}: {', '.join(numbers)}"


def keep(learner: Learner, watched: Sequence[Sample], device: str) -> None:
    """Writes the checkpoint from which a run goes on, and the pictures by which it is followed."""
    tensors = {"network": weights_of(learner.network), "average": weights_of(learner.average)}
    state = {"epoch": learner.epoch, "rows": learner.rows, "ending": learner.ending}
    state |= {"spent_s": learner.spent_s, "films": learner.films}
    state |= {"recipe": plain(learner.recipe), "besides": learner.origin}
    checkpoint.save(learner.plan.out / "checkpoint", tensors, learner.optimizer, state)
    curves_picture(learner.rows, learner.plan.out)
    learner.task.picture(learner.average, watched, learner.plan.out / learner.task.sheet, device)


def finish(learner: Learner, films: int, parts_mb: float | None) -> Path:
    """Writes the finished weights and what they are; `films`: that it learnt from."""
    metadata = {
        "recipe": plain(learner.recipe),
        "settings": asdict(learner.network.settings),
        "besides": learner.origin,
        "last": learner.rows[-1],
        "ending": learner.ending,
        "films": films,
        "torch": torch.__version__,
        "python": sys.version.split()[0],
    }
    file = learner.plan.out / f"{learner.task.kept_as}.safetensors"
    return write_finished(learner.task.kept(learner.average), metadata, file, parts_mb)


def plain(recipe: Recipe) -> dict[str, Any]:
    """A recipe as JSON has it."""
    return json.loads(json.dumps(asdict(recipe)))


def _resume(learner: Learner, run: Run) -> None:
    """Brings a learner to where a run in its folder was cut, if one was, and settles with which epoch it ends."""
    folder, recipe = learner.plan.out / "checkpoint", learner.recipe
    if checkpoint.exists(folder):
        tensors, state = checkpoint.load(folder, learner.optimizer)
        if state["recipe"] != plain(recipe):
            raise Refusal(f"{folder.parent.name} holds a run of another recipe: give another folder.")
        if state.get("besides", {}) != learner.origin:
            raise Refusal(f"{folder.parent.name} holds a run with another encoder or other films: give another folder.")
        give_weights(learner.network, tensors["network"])
        give_weights(learner.average, tensors["average"])
        learner.epoch, learner.rows, learner.ending = state["epoch"], state["rows"], state.get("ending")
        learner.spent_s, learner.films = state.get("spent_s", 0.0), state.get("films", 0)
        by_epochs = isinstance(recipe.learning, EpochLearning)
        stands = f"epoch {learner.epoch}" if by_epochs else f"{learner.spent_s / 60:.1f} minutes"
        run.say(f"goes on after {stands}")
    if run.last is not None and learner.ending is None:
        stands, epochs = learner.epoch, recipe.learning.epochs
        if not stands < run.last <= epochs:
            raise Refusal(f"The run stands at epoch {stands} of {epochs}: it cannot end with {run.last}.")
        learner.ending = [stands, run.last]
