"""`python -m training train RECIPE --out OUT`: a network learns by a recipe, from films made as it goes.

A run that was cut goes on from its last checkpoint, and ends as the run in one piece does on the same processor. With
torchrun, the processes share an epoch's films. OUT holds `checkpoint/`, `curves.csv`, `curves.png`, `sheet.png` and, in
the end, `network.safetensors` with `network.json`: the weights' moving average and what they are.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.distributed import destroy_process_group, init_process_group, is_initialized
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.framing import NOMINAL_OBJECT_DISTANCE_MM
from DualFaceReconLib.networks.depth import DepthNetwork, DepthSettings
from DualFaceReconLib.networks.segmentation import SegmentationNetwork, SegmentationSettings
from DualFaceReconLib.networks.weights import give_weights, weights_of
from training import checkpoint, losses
from training.augment import augmented
from training.data import FilmStream, Sample
from training.judging import RECIPE as JUDGING
from training.population import Population, load_population
from training.recipe import Recipe
from training.simulate import Series
from training.watching import curves_picture, measured, sheet

KEPT_EVERY_S = 180.0  # seconds between checkpoints, at the ends of epochs
SAID_EVERY_S = 15.0
WATCHED_SEED = 9001  # of the films that every epoch is measured on


def train(
    recipe: Recipe,
    bones: Path,
    cache: Path,
    out: Path,
    workers: int,
    device: str,
    minutes: float | None = None,
    say: Callable[[str], None] = print,
    population: Population | None = None,
) -> Path | None:
    """Trains, or goes on; gives the finished network's file, or None where `minutes` ran out before the end."""
    process, processes = _processes()
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    network = built(recipe).to(device)
    average = copy.deepcopy(network).eval()
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning.learning_rate, weight_decay=recipe.learning.weight_decay
    )
    begun, rows = 0, []
    if checkpoint.exists(out / "checkpoint"):
        tensors, state = checkpoint.load(out / "checkpoint", optimizer)
        if state["recipe"] != _plain(recipe):
            raise ValueError(f"{out.name} holds a run of another recipe: give another folder")
        give_weights(network, tensors["network"])
        give_weights(average, tensors["average"])
        begun, rows = state["epoch"], state["rows"]
        say(f"goes on after epoch {begun}")

    kept_out = tomllib.loads(JUDGING.read_text(encoding="utf-8"))[recipe.films.without]["people"]
    population = population or load_population(bones, cache, without=kept_out, say=say)
    watched = _watched(recipe, bones, cache, population, kept_out, say) if process == 0 else []
    learner = DistributedDataParallel(network) if processes > 1 else network
    started = kept = time.monotonic()
    for epoch in range(begun, recipe.learning.epochs):
        row = _epoch(recipe, epoch, learner, average, optimizer, population, workers, device, say)
        over = minutes is not None and (time.monotonic() - started) / 60 >= minutes
        if process == 0:
            row |= measured(average, watched, recipe.task, device)
            rows.append({"epoch": epoch + 1, **row})
            say(_sentence(rows[-1], recipe, started, epoch + 1 - begun))
            last = epoch + 1 == recipe.learning.epochs
            if last or over or time.monotonic() - kept > KEPT_EVERY_S:
                kept = time.monotonic()
                state = {"epoch": epoch + 1, "rows": rows, "recipe": _plain(recipe)}
                tensors = {"network": weights_of(network), "average": weights_of(average)}
                checkpoint.save(out / "checkpoint", tensors, optimizer, state)
                curves_picture(rows, out)
                sheet(average, watched, recipe.task, out / "sheet.png", device)
        if over and epoch + 1 < recipe.learning.epochs:
            return None
    return _finished(recipe, average, rows, out) if process == 0 else None


def built(recipe: Recipe) -> nn.Module:
    """The untrained network of a recipe."""
    if recipe.task == "depth":
        return DepthNetwork(DepthSettings(**recipe.network))
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in recipe.network.items()}
    return SegmentationNetwork(SegmentationSettings(**settings))


def rate_at(recipe: Recipe, epoch: float) -> float:
    """The learning rate by SGDR: cosines that start anew, each cycle longer than the one before."""
    length, start = float(recipe.learning.first_cycle), 0.0
    while epoch >= start + length:
        start += length
        length *= recipe.learning.cycle_factor
    return recipe.learning.learning_rate * 0.5 * (1 + float(np.cos(np.pi * (epoch - start) / length)))


def loss_of(recipe: Recipe, network: nn.Module, batch: Sample) -> torch.Tensor:
    """What a batch on the network's device is judged by."""
    outputs = network(batch["film"])
    if recipe.task == "segmentation":
        return losses.segmentation(outputs, batch["mask"])
    nominal = (batch["sdd_mm"] - NOMINAL_OBJECT_DISTANCE_MM).float()[:, None, None, None, None]
    faces = outputs.shape[2]
    truth = batch["depth"][:, :, :faces]
    valid = (batch["mask"][:, :, None] & (truth > 0)).flatten(1, 2)
    loss = getattr(losses, recipe.learning.loss)
    return loss((outputs + nominal).flatten(1, 2), truth.flatten(1, 2), valid)


def _epoch(
    recipe: Recipe,
    epoch: int,
    network: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    population: Population,
    workers: int,
    device: str,
    say: Callable[[str], None],
) -> dict[str, float]:
    """One pass over films that were never seen; gives the mean loss, films a second and the share of time waited."""
    films, learning = recipe.films, recipe.learning
    stream = FilmStream(
        population,
        Series(recipe.seed, None, mm_per_pixel=films.mm_per_pixel),
        films.reuse,
        films.pool,
        films.projections,
        first=epoch * films.projections,
        size_px=films.size_px,
        share=_processes(),
    )
    how = {"multiprocessing_context": "spawn", "prefetch_factor": 2} if workers else {}
    loader = DataLoader(stream, learning.batch, num_workers=workers, drop_last=True, pin_memory=device == "cuda", **how)
    steps = films.projections * films.reuse // learning.batch // _processes()[1]
    network.train()
    total, done, waited = 0.0, 0, 0.0
    begin = said = asked = time.monotonic()
    for step, batch in enumerate(loader):
        waited += time.monotonic() - asked
        for group in optimizer.param_groups:
            group["lr"] = rate_at(recipe, epoch + step / max(steps, 1))
        batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        rng = np.random.default_rng([recipe.seed, epoch, step, _processes()[0]])
        batch = augmented(batch, BONES, learning.strength, learning.changes, rng)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
            loss = loss_of(recipe, network, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), learning.clip)
        optimizer.step()
        _follow(average, network, learning.average)
        total, done = total + float(loss.detach()), done + 1
        asked = time.monotonic()
        if asked - said > SAID_EVERY_S:
            said = asked
            say(f"  epoch {epoch + 1}: {done} of about {steps} steps, loss {total / done:.4f}")
    if done == 0:
        raise ValueError("an epoch has fewer films than a batch: raise projections or reuse in the recipe")
    took = time.monotonic() - begin
    rate = done * learning.batch * _processes()[1] / took
    return {"loss": total / done, "rate": rate_at(recipe, epoch), "films_a_second": rate, "waited": waited / took}


def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Moves the weights' average towards the weights."""
    source = network.module if isinstance(network, DistributedDataParallel) else network
    for mean, value in zip(weights_of(average).values(), weights_of(source).values(), strict=True):
        if mean.dtype.is_floating_point:
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def _watched(
    recipe: Recipe, bones: Path, cache: Path, population: Population, kept_out: list[str], say: Callable[[str], None]
) -> list[Sample]:
    """Films of people who are kept out, the same in every epoch; of the population's own where those are not there."""
    people = set(population.pelvis_people) | set(population.femur_people)
    if people.isdisjoint(kept_out) and (bones / kept_out[0]).exists():
        population = load_population(bones, cache, kept_out, say=say)
    series = Series(WATCHED_SEED, None, plain=True, mm_per_pixel=recipe.films.mm_per_pixel)
    stream = FilmStream(population, series, projections=recipe.films.watched, size_px=recipe.films.size_px)
    return list(stream)


def _processes() -> tuple[int, int]:
    """This process's number and how many there are, by torchrun."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def joined_by_torchrun(device: str) -> str:
    """Joins the other processes where torchrun started some; gives this one's device."""
    if _processes()[1] > 1 and not is_initialized():
        init_process_group("nccl" if device == "cuda" else "gloo")
        if device == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return device


def left_torchrun() -> None:
    """Leaves the other processes."""
    if is_initialized():
        destroy_process_group()


def _finished(recipe: Recipe, average: nn.Module, rows: list[dict], out: Path) -> Path:
    """Writes the weights in half precision, and what they are."""
    beside = out / ".network.part"
    weights = {
        name: value.half().cpu().contiguous() if value.dtype.is_floating_point else value.cpu()
        for name, value in weights_of(average).items()
    }
    save_file(weights, beside)
    shutil.move(beside, out / "network.safetensors")
    told = {
        "recipe": _plain(recipe),
        "settings": asdict(average.settings),
        "last": rows[-1],
        "films": len(rows) * recipe.films.projections * recipe.films.reuse,
        "torch": torch.__version__,
        "python": sys.version.split()[0],
    }
    (out / "network.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
    return out / "network.safetensors"


def _plain(recipe: Recipe) -> dict:
    return json.loads(json.dumps(asdict(recipe)))


def _sentence(row: dict, recipe: Recipe, started: float, done: int) -> str:
    left = (time.monotonic() - started) / done * (recipe.learning.epochs - row["epoch"]) / 60
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in row.items() if name not in ("epoch", "rate"))
    return f"epoch {row['epoch']} of {recipe.learning.epochs}: {numbers}; about {left:.0f} minutes left"
