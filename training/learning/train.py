"""`python -m training train RECIPE --out OUT`: a network learns by a recipe, from films made as it goes.

A run that was cut goes on from its last checkpoint, and ends as the run in one piece does on the same processor. With
torchrun, the processes share an epoch's films. OUT holds `checkpoint/`, `curves.csv`, `curves.png`, `sheet.png` and, in
the end, `network.safetensors` with `network.json`: the weights' moving average and what they are. The loop itself,
`learn`, is pretraining's too.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed import destroy_process_group, init_process_group, is_initialized
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, IterableDataset

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.bundle.files import read_weights
from DualFaceReconLib.bundle.manifest import load_manifest
from DualFaceReconLib.disk.files import write_file, write_text
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.framing import NOMINAL_OBJECT_DISTANCE_MM
from DualFaceReconLib.networks.depth import DepthNetwork
from DualFaceReconLib.networks.segmentation import SegmentationNetwork
from DualFaceReconLib.networks.settings import settings_from
from DualFaceReconLib.networks.weights import give_weights, weights_of
from training.learning import checkpoint, losses
from training.learning.augment import augmented
from training.learning.data import FilmStream, Sample
from training.learning.monitoring import curves_picture, measured, sheet
from training.learning.recipe import SETTINGS, Recipe
from training.patients.kept_out import kept_out_people
from training.patients.population import Population, load_population
from training.simulate import Series

KEPT_EVERY_S = 180.0  # seconds between checkpoints, at the ends of epochs
SAID_EVERY_S = 15.0
WATCHED_SEED = 9001  # of the films that every epoch is measured on


@dataclass(frozen=True)
class Course:
    """What the loop has to know of one trained thing."""

    recipe: Recipe
    besides: dict[str, Any]  # plain values; what a run hangs on beside the recipe, and goes on with alone
    network: nn.Module
    bones: Sequence[str]  # channels of the films' masks
    films: Callable[[int], IterableDataset]  # those of an epoch, for this process
    loss: Callable[[nn.Module, Sample, np.random.Generator], torch.Tensor]
    watched: Callable[[], list[Sample]]
    measured: Callable[[nn.Module, list[Sample]], dict[str, float]]
    picture: Callable[[nn.Module, list[Sample]], None]


@dataclass(frozen=True)
class Learnt:
    """A run that came to its end."""

    average: nn.Module  # with the moving average of the weights
    rows: list[dict]  # an epoch each
    ending: list[int] | None  # from which epoch, and by which, it was ended before its recipe's end


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
    encoder: Path | None = None,
    last: int | None = None,
    bundle: Path | None = None,
) -> Path | None:
    """Trains, or goes on; gives the finished network's file, or None where `minutes` ran out before the end.

    `encoder`: a file by `training pretrain`, whose weights a depth network's encoder begins with. `last`: an epoch
    before the recipe's own end, by which the rate falls to 0 from where the run stands. `bundle`: whose network of the
    same settings it begins with.
    """
    population = population or load_population(bones, cache, without=kept_out_people(recipe.films.without), say=say)
    kept_out = partial(kept_out_population, recipe, bones, cache, population, say)
    return train_on(recipe, population, kept_out, out, workers, device, minutes, say, encoder, last, bundle)


def train_on(
    recipe: Recipe,
    population: Population,
    kept_out: Callable[[], Population],
    out: Path,
    workers: int,
    device: str,
    minutes: float | None = None,
    say: Callable[[str], None] = print,
    encoder: Path | None = None,
    last: int | None = None,
    bundle: Path | None = None,
) -> Path | None:
    """`train` on patients of a population; `kept_out` gives the one whose patients every epoch is measured on."""
    torch.manual_seed(recipe.seed)
    network = built(recipe)
    besides = {} if encoder is None else {"encoder": take_encoder(network, encoder)}
    if bundle is not None:
        besides["start"] = begin_with(bundle, network, recipe.task)
    films = partial(simulated_films, recipe, population)
    return learn_from_truth(
        recipe,
        besides,
        network,
        films,
        lambda: watched_films(recipe, kept_out()),
        out,
        workers,
        device,
        minutes,
        say,
        last,
    )


def learn_from_truth(
    recipe: Recipe,
    besides: dict[str, Any],
    network: nn.Module,
    films: Callable[[int], IterableDataset],
    watched: Callable[[], list[Sample]],
    out: Path,
    workers: int,
    device: str,
    minutes: float | None,
    say: Callable[[str], None],
    last: int | None = None,
) -> Path | None:
    """A network learns from films with their truth, wherever these come from; its file in the end, as `train` says."""
    course = Course(
        recipe,
        besides,
        network.to(device),
        BONES,
        films,
        lambda network, batch, _: loss_of(recipe, network, batch),
        watched,
        lambda average, samples: measured(average, samples, recipe.task, device),
        lambda average, samples: sheet(average, samples, recipe.task, out / "sheet.png", device),
    )
    learnt = learn(course, out, workers, device, minutes, say, last)
    if learnt is None:
        return None
    weights = {name: v.half() if v.dtype.is_floating_point else v for name, v in weights_of(learnt.average).items()}
    return keep(weights, "network", course, learnt, out)


def learn(
    course: Course,
    out: Path,
    workers: int,
    device: str,
    minutes: float | None,
    say: Callable[[str], None],
    last: int | None = None,
) -> Learnt | None:
    """The loop; None before the end, and in all processes but the first."""
    recipe, network = course.recipe, course.network
    process, processes = torchrun_place()
    out.mkdir(parents=True, exist_ok=True)
    average = copy.deepcopy(network).eval()
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning.learning_rate, weight_decay=recipe.learning.weight_decay
    )
    begun, rows, ending = 0, [], None
    if checkpoint.exists(out / "checkpoint"):
        tensors, state = checkpoint.load(out / "checkpoint", optimizer)
        if state["recipe"] != _plain(recipe):
            raise ValueError(f"{out.name} holds a run of another recipe: give another folder")
        if state.get("besides", {}) != course.besides:
            raise ValueError(f"{out.name} holds a run with another encoder or other films: give another folder")
        give_weights(network, tensors["network"])
        give_weights(average, tensors["average"])
        begun, rows, ending = state["epoch"], state["rows"], state.get("ending")
        say(f"goes on after epoch {begun}")
    if last is not None and ending is None:
        if not begun < last <= recipe.learning.epochs:
            raise ValueError(f"the run stands at epoch {begun} of {recipe.learning.epochs}: it cannot end with {last}")
        ending = [begun, last]
    epochs = recipe.learning.epochs if ending is None else ending[1]

    watched = course.watched() if process == 0 else []
    learner = DistributedDataParallel(network) if processes > 1 else network
    started = kept = time.monotonic()
    for epoch in range(begun, epochs):
        row = _epoch(course, epoch, ending, learner, average, optimizer, workers, device, say)
        over = minutes is not None and (time.monotonic() - started) / 60 >= minutes
        if process == 0:
            row |= course.measured(average, watched)
            rows.append({"epoch": epoch + 1, **row})
            say(_sentence(rows[-1], epochs, started, epoch + 1 - begun))
            if epoch + 1 == epochs or over or time.monotonic() - kept > KEPT_EVERY_S:
                kept = time.monotonic()
                state = {"epoch": epoch + 1, "rows": rows, "recipe": _plain(recipe), "ending": ending}
                state["besides"] = course.besides
                tensors = {"network": weights_of(network), "average": weights_of(average)}
                checkpoint.save(out / "checkpoint", tensors, optimizer, state)
                curves_picture(rows, out)
                course.picture(average, watched)
        if over and epoch + 1 < epochs:
            return None
    return Learnt(average, rows, ending) if process == 0 else None


def built(recipe: Recipe) -> nn.Module:
    """The untrained network of a recipe; Refusal where it cannot be built or does not take the recipe's films."""
    kind = SegmentationNetwork if recipe.task == "segmentation" else DepthNetwork
    try:
        network = kind(settings_from(SETTINGS[recipe.task], recipe.network))
    except ValueError as error:
        raise Refusal(f"The recipe's [network] cannot be built, {error}.") from error
    if recipe.films.size_px % network.stride:
        raise Refusal(f"The recipe's size_px must be a multiple of {network.stride}, the network's stride.")
    return network


def begin_with(bundle: Path, network: nn.Module, task: str) -> dict[str, str]:
    """Gives a network the weights of a bundle's; says which bundle that was."""
    manifest = load_manifest(bundle)
    try:
        give_weights(network, read_weights(bundle, manifest, task))
    except (KeyError, ValueError) as error:
        raise Refusal(
            f"The recipe's [network] is not that of bundle {manifest.id}: take the recipe by which it was trained."
        ) from error
    told = {"id": manifest.id, "version": manifest.version, "sha256": manifest.sha256}
    return {**told, "trained_on": manifest.trained_on}


def take_encoder(network: nn.Module, file: Path) -> dict[str, Any]:
    """Gives a depth network the encoder that `training pretrain` wrote; says which one it was and what it saw."""
    if isinstance(network, SegmentationNetwork):
        raise ValueError("a pretrained encoder is for a depth network: leave --encoder away")
    try:
        weights = load_file(file)
        told = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        besides = told["besides"]
        give_weights(network.encoder, weights)
    except (OSError, SafetensorError, UnicodeDecodeError, json.JSONDecodeError, KeyError) as error:
        raise ValueError(f"{file.name} with its .json is no encoder of `training pretrain`: name one") from error
    except ValueError as error:
        raise ValueError(f"{file.name} does not fit the recipe's encoder and stages: {error}") from error
    return {"sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "besides": besides, "films": told["films"]}


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


def loss_of(recipe: Recipe, network: nn.Module, batch: Sample) -> torch.Tensor:
    """What a batch on the network's device is judged by."""
    outputs = network(batch["film"])
    if recipe.task == "segmentation":
        return losses.segmentation(outputs, batch["mask"])
    nominal = (batch["sdd_mm"] - NOMINAL_OBJECT_DISTANCE_MM).float()[:, None, None, None, None]
    faces = outputs.shape[2]
    truth = batch["depth"][:, :, :faces]
    valid = (batch["mask"][:, :, None] & (truth > 0)).flatten(1, 2)
    loss = losses.DEPTH_LOSSES[recipe.learning.loss]
    return loss((outputs + nominal).flatten(1, 2), truth.flatten(1, 2), valid)


def _epoch(
    course: Course,
    epoch: int,
    ending: Sequence[int] | None,
    network: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    workers: int,
    device: str,
    say: Callable[[str], None],
) -> dict[str, float]:
    """One pass over films that were never seen; gives the mean loss, films a second and the share of time waited."""
    recipe, stream = course.recipe, course.films(epoch)
    films, learning = recipe.films, recipe.learning
    how = {"multiprocessing_context": "spawn", "prefetch_factor": 2} if workers else {}
    loader = DataLoader(stream, learning.batch, num_workers=workers, drop_last=True, pin_memory=device == "cuda", **how)
    steps = films.projections * films.reuse // learning.batch // torchrun_place()[1]
    network.train()
    total, done, waited = 0.0, 0, 0.0
    begin = said = asked = time.monotonic()
    for step, batch in enumerate(loader):
        waited += time.monotonic() - asked
        for group in optimizer.param_groups:
            group["lr"] = rate_at(recipe, epoch + step / max(steps, 1), ending)
        batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        rng = np.random.default_rng([recipe.seed, epoch, step, torchrun_place()[0]])
        batch = augmented(batch, course.bones, learning.strength, learning.changes, rng)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=learning.bfloat16):
            loss = course.loss(network, batch, rng)
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
    rate = done * learning.batch * torchrun_place()[1] / took
    return {
        "loss": total / done,
        "rate": rate_at(recipe, epoch, ending),
        "films_a_second": rate,
        "waited": waited / took,
    }


def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Moves the weights' average towards the weights."""
    source = network.module if isinstance(network, DistributedDataParallel) else network
    for mean, value in zip(weights_of(average).values(), weights_of(source).values(), strict=True):
        if mean.dtype.is_floating_point:
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def simulated_films(recipe: Recipe, population: Population, epoch: int) -> FilmStream:
    """An epoch's films, this process's share of them."""
    films = recipe.films
    return FilmStream(
        population,
        Series(seed=recipe.seed, size_px=None, mm_per_pixel=films.mm_per_pixel, posture=films.posture),
        films.reuse,
        films.pool,
        films.projections,
        first=epoch * films.projections,
        size_px=films.size_px,
        share=torchrun_place(),
    )


def kept_out_population(
    recipe: Recipe, bones: Path, cache: Path, population: Population, say: Callable[[str], None]
) -> Population:
    """Those whom a recipe keeps out; the population that is learnt from where they are not there."""
    kept_out = kept_out_people(recipe.films.without)
    people = set(population.pelvis_people) | set(population.femur_people)
    if people.isdisjoint(kept_out) and (bones / kept_out[0]).exists():
        return load_population(bones, cache, kept_out, say=say)
    return population


def watched_films(recipe: Recipe, population: Population) -> list[Sample]:
    """Films of a population, the same in every epoch."""
    films = recipe.films
    series = Series(seed=WATCHED_SEED, size_px=None, plain=True, mm_per_pixel=films.mm_per_pixel, posture=films.posture)
    stream = FilmStream(population, series, projections=films.watched, size_px=films.size_px)
    return list(stream)


def torchrun_place() -> tuple[int, int]:
    """This process's number and how many there are, by torchrun."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def joined_by_torchrun(device: str) -> str:
    """Joins the other processes where torchrun started some; gives this one's device."""
    if torchrun_place()[1] > 1 and not is_initialized():
        init_process_group("nccl" if device == "cuda" else "gloo")
        if device == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return device


def left_torchrun() -> None:
    """Leaves the other processes."""
    if is_initialized():
        destroy_process_group()


def keep(weights: dict[str, torch.Tensor], name: str, course: Course, learnt: Learnt, out: Path) -> Path:
    """Writes finished weights to `name`.safetensors, and what they are to `name`.json."""
    finished = {key: value.cpu().contiguous() for key, value in weights.items()}
    write_file(out / f"{name}.safetensors", lambda beside: save_file(finished, beside))
    recipe = course.recipe
    told = {
        "recipe": _plain(recipe),
        "settings": asdict(course.network.settings),
        "besides": course.besides,
        "last": learnt.rows[-1],
        "ending": learnt.ending,
        "films": len(learnt.rows) * recipe.films.projections * recipe.films.reuse,
        "torch": torch.__version__,
        "python": sys.version.split()[0],
    }
    write_text(out / f"{name}.json", json.dumps(told, indent=1))
    return out / f"{name}.safetensors"


def _plain(recipe: Recipe) -> dict:
    return json.loads(json.dumps(asdict(recipe)))


def _sentence(row: dict, epochs: int, started: float, done: int) -> str:
    left = (time.monotonic() - started) / done * (epochs - row["epoch"]) / 60
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in row.items() if name not in ("epoch", "rate"))
    return f"epoch {row['epoch']} of {epochs}: {numbers}; about {left:.0f} minutes left"
