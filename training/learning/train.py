"""`python -m training train RECIPE --out OUT`: a network learns by a recipe, from films made as it goes.

    train(recipe, virtual_patients(recipe, bones, cache, say=print), Run(out))

A run that was cut goes on from its last checkpoint, and ends as the run in one piece does on the same processor. With
torchrun, the processes share an epoch's films. OUT holds `checkpoint/`, `curves.csv`, `curves.png`, `sheet.png` and, in
the end, `network.safetensors` with `network.json`: the weights' moving average and what they are. Pretraining and
learning on from own cases are the same loop, with another task and other films.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from DualFaceReconLib.disk.files import write_file, write_text
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.networks.weights import give_weights, weights_of
from training.learning import checkpoint
from training.learning.augment import augmented
from training.learning.films import Source
from training.learning.monitoring import curves_picture
from training.learning.recipe import Recipe
from training.learning.run import Run
from training.learning.start import take_bundle, take_encoder
from training.learning.tasks import network_of, task_of
from training.learning.torchrun import torchrun_place

KEPT_EVERY_S = 180.0  # seconds between checkpoints, at the ends of epochs
SPOKEN_EVERY_S = 15.0  # seconds between sentences about the loss, within an epoch


@dataclass
class Learner:
    """All that changes while a network learns: what a checkpoint holds."""

    network: nn.Module
    average: nn.Module  # has the weights' moving average, which is what is measured and kept
    optimizer: torch.optim.Optimizer
    epoch: int = 0  # epochs that are done
    rows: list[dict] = field(default_factory=list)  # of the curves, an epoch each
    ending: list[int] | None = None  # from which epoch, and by which, the run is ended before its recipe's end


def train(
    recipe: Recipe, source: Source, run: Run, *, encoder: Path | None = None, bundle: Path | None = None
) -> Path | None:
    """Trains, or goes on; gives the finished weights' file, or None where the time is over before the end.

    `encoder`: a file by `training pretrain`, whose weights a depth network's encoder begins with. `bundle`: a folder
    whose network of the same settings it begins with. With torchrun only the first process gives a file.
    """
    task, learning, device = task_of(recipe), recipe.learning, run.machine.device
    process, processes = torchrun_place()

    # What it begins with: nothing, weights that learnt elsewhere, or where the run was cut
    torch.manual_seed(recipe.seed)
    network = network_of(recipe)
    origin = dict(source.origin)  # what this run hangs on beside its recipe
    if encoder is not None:
        origin["encoder"] = take_encoder(network, encoder)
    if bundle is not None:
        origin["start"] = take_bundle(network, bundle, recipe.task)
    learner = _learner(network.to(device), recipe)
    run.out.mkdir(parents=True, exist_ok=True)
    _resume(learner, recipe, origin, run)
    begun, ending = learner.epoch, learner.ending
    epochs = learning.epochs if ending is None else ending[1]
    steps = recipe.films.projections * recipe.films.reuse // learning.batch // processes  # of an epoch

    watched = source.watched() if process == 0 else []
    shared = DistributedDataParallel(network) if processes > 1 else network
    saved = started = time.monotonic()
    for epoch in range(begun, epochs):
        # One pass over films that were never seen, but where they are somebody's own
        shared.train()
        loss_sum, done, waited = 0.0, 0, 0.0
        epoch_began = spoke = asked = time.monotonic()
        for step, batch in enumerate(_batches(source, epoch, recipe, run)):
            waited += time.monotonic() - asked
            for group in learner.optimizer.param_groups:
                group["lr"] = rate_at(recipe, epoch + step / max(steps, 1), ending)
            batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
            rng = np.random.default_rng([recipe.seed, epoch, step, process])
            batch = augmented(batch, task.bones, learning.strength, learning.changes, rng)
            with torch.autocast(device, dtype=torch.bfloat16, enabled=learning.bfloat16):
                loss = task.loss(shared, batch, rng)
            learner.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(shared.parameters(), learning.clip)
            learner.optimizer.step()
            _follow(learner.average, network, learning.average)
            loss_sum, done = loss_sum + float(loss.detach()), done + 1
            asked = time.monotonic()
            if asked - spoke > SPOKEN_EVERY_S:
                spoke = asked
                run.say(f"  epoch {epoch + 1}: {done} of about {steps} steps, loss {loss_sum / done:.4f}")
        if done == 0:
            raise Refusal("An epoch has fewer films than a batch: raise projections or reuse in the recipe.")

        # How good it is now, and what must not be lost
        took = time.monotonic() - epoch_began
        over = run.minutes is not None and (time.monotonic() - started) / 60 >= run.minutes
        learner.epoch = epoch + 1
        if process == 0:
            row = {
                "epoch": epoch + 1,
                "loss": loss_sum / done,
                "rate": rate_at(recipe, epoch, ending),
                "films_a_second": done * learning.batch * processes / took,
                "waited": waited / took,  # share of the time in which no films were there
                **task.measure(learner.average, watched, device),
            }
            learner.rows.append(row)
            run.say(_sentence(row, epochs, (time.monotonic() - started) / (epoch + 1 - begun)))
            if epoch + 1 == epochs or over or time.monotonic() - saved > KEPT_EVERY_S:
                saved = time.monotonic()
                _save(learner, recipe, origin, run)
                curves_picture(learner.rows, run.out)
                task.picture(learner.average, watched, run.out / task.sheet, device)
        if over and epoch + 1 < epochs:
            return None

    if process != 0:
        return None
    metadata = {
        "recipe": _plain(recipe),
        "settings": asdict(network.settings),
        "besides": origin,
        "last": learner.rows[-1],
        "ending": ending,
        "films": len(learner.rows) * recipe.films.projections * recipe.films.reuse,
        "torch": torch.__version__,
        "python": sys.version.split()[0],
    }
    return _keep(task.kept(learner.average), metadata, run.out / f"{task.kept_as}.safetensors")


def rate_at(recipe: Recipe, epoch: float, ending: Sequence[int] | None = None) -> float:
    """The learning rate by SGDR: cosines that start anew, each cycle longer than the one before.

    `ending`: the epoch from which, and that by which, a last cosine takes it to 0 instead.
    """
    if ending is not None and epoch >= ending[0]:
        share = (epoch - ending[0]) / (ending[1] - ending[0])
        return rate_at(recipe, ending[0]) * 0.5 * (1 + float(np.cos(np.pi * share)))
    length, start = float(recipe.learning.first_cycle), 0.0
    while epoch >= start + length:
        start += length
        length *= recipe.learning.cycle_factor
    return recipe.learning.learning_rate * 0.5 * (1 + float(np.cos(np.pi * (epoch - start) / length)))


def _learner(network: nn.Module, recipe: Recipe) -> Learner:
    rate, decay = recipe.learning.learning_rate, recipe.learning.weight_decay
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)
    return Learner(network, copy.deepcopy(network).eval(), optimizer)


def _batches(source: Source, epoch: int, recipe: Recipe, run: Run) -> DataLoader:
    """Batches of an epoch's films, made by other processes while this one learns."""
    workers = 0 if source.in_memory else run.machine.workers
    apart = {"multiprocessing_context": "spawn", "prefetch_factor": 2} if workers else {}
    pinned, films = run.machine.device == "cuda", source.epoch(epoch)
    return DataLoader(films, recipe.learning.batch, num_workers=workers, drop_last=True, pin_memory=pinned, **apart)


def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Moves the weights' average towards the weights."""
    for mean, value in zip(weights_of(average).values(), weights_of(network).values(), strict=True):
        if mean.dtype.is_floating_point:
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def _resume(learner: Learner, recipe: Recipe, origin: dict[str, Any], run: Run) -> None:
    """Brings a learner to where a run in this folder was cut, if one was, and settles with which epoch it ends."""
    folder = run.out / "checkpoint"
    if checkpoint.exists(folder):
        tensors, state = checkpoint.load(folder, learner.optimizer)
        if state["recipe"] != _plain(recipe):
            raise Refusal(f"{run.out.name} holds a run of another recipe: give another folder.")
        if state.get("besides", {}) != origin:
            raise Refusal(f"{run.out.name} holds a run with another encoder or other films: give another folder.")
        give_weights(learner.network, tensors["network"])
        give_weights(learner.average, tensors["average"])
        learner.epoch, learner.rows, learner.ending = state["epoch"], state["rows"], state.get("ending")
        run.say(f"goes on after epoch {learner.epoch}")
    if run.last is not None and learner.ending is None:
        stands, epochs = learner.epoch, recipe.learning.epochs
        if not stands < run.last <= epochs:
            raise Refusal(f"The run stands at epoch {stands} of {epochs}: it cannot end with {run.last}.")
        learner.ending = [stands, run.last]


def _save(learner: Learner, recipe: Recipe, origin: dict[str, Any], run: Run) -> None:
    """Writes the checkpoint from which `_resume` goes on."""
    tensors = {"network": weights_of(learner.network), "average": weights_of(learner.average)}
    state = {"epoch": learner.epoch, "rows": learner.rows, "ending": learner.ending}
    state |= {"recipe": _plain(recipe), "besides": origin}
    checkpoint.save(run.out / "checkpoint", tensors, learner.optimizer, state)


def _keep(weights: dict[str, torch.Tensor], metadata: dict[str, Any], path: Path) -> Path:
    """Writes finished weights, and what they are to a .json beside."""
    finished = {name: value.cpu().contiguous() for name, value in weights.items()}
    write_file(path, lambda beside: save_file(finished, beside))
    write_text(path.with_suffix(".json"), json.dumps(metadata, indent=1))
    return path


def _plain(recipe: Recipe) -> dict[str, Any]:
    """A recipe as JSON has it."""
    return json.loads(json.dumps(asdict(recipe)))


def _sentence(row: dict, epochs: int, epoch_s: float) -> str:
    """What is said of an epoch that took so many seconds on average."""
    left = epoch_s * (epochs - row["epoch"]) / 60
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in row.items() if name not in ("epoch", "rate"))
    return f"epoch {row['epoch']} of {epochs}: {numbers}; about {left:.0f} minutes left"
