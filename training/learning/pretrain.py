"""`python -m training pretrain RECIPE --out OUT`: a depth network's encoder learns to see films, without any truth.

Patches of a film are hidden, and a depth network with one channel fills them in. The films are simulated, or a folder
of the user's own. OUT holds what a training leaves, with `masked.png` for a sheet, and in the end `encoder.safetensors`
with `encoder.json`, from which `python -m training train RECIPE --encoder OUT/encoder.safetensors` starts.

Nothing that is printed or written names a file or a patient. `masked.png` shows four of the films.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import IterableDataset

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.radiograph import read_radiograph
from DualFaceReconLib.framing import frame_of
from DualFaceReconLib.networks.depth import OUTPUT_MM
from DualFaceReconLib.networks.weights import weights_of
from training.learning.data import FilmStream, Sample
from training.learning.masking import covered, filled_in, filled_in_loss, hidden_patches, masked_picture
from training.learning.recipe import PretrainRecipe
from training.learning.train import (
    Course,
    built,
    keep,
    kept_out_population,
    learn,
    simulated_films,
    torchrun_place,
    watched_films,
)
from training.patients.kept_out import kept_out_people
from training.patients.population import Population, load_population

SHOWN = 4  # films in the picture
NAMED = 10  # numbers of films that are not read, in a sentence
WATCHED_SHARE = 0.2  # of the user's own films at most; they are not learnt from
MASK_SEED = 9002  # of what is hidden of the watched films


def pretrain(
    recipe: PretrainRecipe,
    bones: Path,
    cache: Path,
    out: Path,
    workers: int,
    device: str,
    minutes: float | None = None,
    say: Callable[[str], None] = print,
    population: Population | None = None,
    folder: Path | None = None,
) -> Path | None:
    """Trains, or goes on; gives the encoder's file, or None where `minutes` ran out before the end.

    `folder`: the user's own films, instead of simulated ones of a population.
    """
    torch.manual_seed(recipe.seed)
    network = built(recipe).to(device)
    if folder is None:
        population = population or load_population(bones, cache, without=kept_out_people(recipe.films.without), say=say)
        besides = {"films": "simulated"}
        films = partial(_unlabelled_films, recipe, population)
        watched = partial(_watched, recipe, bones, cache, population, say)
    else:
        own = own_films(folder, recipe.films.size_px, recipe.films.mm_per_pixel, say)
        besides = {
            "films": "a folder's",
            "count": len(own),
            "sha256": hashlib.sha256(own.numpy().tobytes()).hexdigest(),
        }
        kept_out, learnt_from = _parted(own, recipe)
        films = partial(OwnFilms, learnt_from, recipe)
        watched = partial(_samples, kept_out)
        workers = 0  # the films lie in memory
    course = Course(
        recipe,
        besides,
        network,
        (),
        films,
        partial(masked_loss, recipe),
        watched,
        partial(measured, recipe, device=device),
        partial(picture, recipe, path=out / "masked.png", device=device),
    )
    learnt = learn(course, out, workers, device, minutes, say)
    if learnt is None:
        return None
    return keep(weights_of(learnt.average.encoder), "encoder", course, learnt, out)


def masked_loss(recipe: PretrainRecipe, network: nn.Module, batch: Sample, rng: np.random.Generator) -> torch.Tensor:
    """What a batch on the network's device is judged by; `rng` draws what is hidden."""
    film, masking = batch["film"], recipe.masking
    hidden = hidden_patches(len(film), film.shape[-1], masking.patch_px, masking.share, rng).to(film.device)
    return filled_in_loss(_found(network, covered(film, hidden)), film, hidden, masking.patch_px)


@torch.no_grad()
def measured(recipe: PretrainRecipe, network: nn.Module, watched: list[Sample], device: str) -> dict[str, float]:
    """ "masked_loss" on watched films, and how much of what a flat grey leaves it "explained": 0 nothing, 1 all."""
    network.eval()
    losses = []
    for film, hidden in _hidden(recipe, watched, device):
        patch = recipe.masking.patch_px
        found = _found(network, covered(film, hidden))
        losses.append([float(filled_in_loss(one, film, hidden, patch)) for one in (found, torch.zeros_like(found))])
    mean, flat = np.mean(losses, axis=0)
    return {"masked_loss": float(mean), "explained": float(1 - mean / flat)}


@torch.no_grad()
def picture(recipe: PretrainRecipe, network: nn.Module, watched: list[Sample], path: Path, device: str) -> None:
    """Watched films: masked, predicted, true."""
    network.eval()
    rows = []
    for film, hidden in _hidden(recipe, watched[:SHOWN], device):
        masked = covered(film, hidden)
        found = filled_in(_found(network, masked), film, hidden, recipe.masking.patch_px)
        rows.append(tuple(one[0, 0].cpu() for one in (masked, found, film)))
    masked_picture(rows, path)


def _found(network: nn.Module, film: torch.Tensor) -> torch.Tensor:
    """A depth network's one map (B, 1, n, n) in units of its output."""
    return network(film).flatten(1, 2) / OUTPUT_MM


def _hidden(recipe: PretrainRecipe, watched: list[Sample], device: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Each watched film (1, 1, n, n) with what is hidden of it, always the same."""
    rng = np.random.default_rng(MASK_SEED)
    for sample in watched:
        film = sample["film"][None].to(device)
        masking = recipe.masking
        yield film, hidden_patches(1, film.shape[-1], masking.patch_px, masking.share, rng).to(device)


class Unlabelled(IterableDataset):
    """A stream's films without their truth."""

    def __init__(self, films: FilmStream) -> None:
        super().__init__()
        self.films = films

    def __iter__(self) -> Iterator[Sample]:
        for film in self.films:
            yield without_truth(film["film"])


class OwnFilms(IterableDataset):
    """An epoch of films (N, 1, n, n) that lie in memory: as many as a recipe would simulate, in an order of its own."""

    def __init__(self, films: torch.Tensor, recipe: PretrainRecipe, epoch: int) -> None:
        super().__init__()
        self.films, self.recipe, self.epoch = films, recipe, epoch

    def __iter__(self) -> Iterator[Sample]:
        process, processes = torchrun_place()
        rng = np.random.default_rng([self.recipe.seed, self.epoch, 7])
        wanted = self.recipe.films.projections * self.recipe.films.reuse
        rounds = [rng.permutation(len(self.films)) for _ in range(-(-wanted // len(self.films)))]
        for number in np.concatenate(rounds)[:wanted][process::processes].tolist():
            yield without_truth(self.films[number].float())


def without_truth(film: torch.Tensor) -> Sample:
    """A sample (see `learning.data.sample`) of a film (1, n, n) that shows no bone; its middle is the picture's."""
    size = film.shape[-1]
    return {
        "film": film,
        "mask": torch.zeros(0, size, size, dtype=torch.bool),
        "depth": torch.zeros(0, 2, size, size),
        "principal_point_px": torch.full((2,), (size - 1) / 2),
        "pixel_pitch_mm": torch.ones(2),
    }


def own_films(folder: Path, size_px: int, mm_per_pixel: float, say: Callable[[str], None]) -> torch.Tensor:
    """(N, 1, n, n) float16: the films of a folder, at any depth, as networks see them; half a GB for 4000 of 256 px.

    What cannot be read is left out, and said by its number in the order of paths.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    films, left_out = [], []
    for number, path in enumerate(paths, start=1):
        try:
            radiograph = read_radiograph(path)
            frame = frame_of(radiograph.geometry, size_px, mm_per_pixel)
        except (Refusal, ValueError):  # the second where nothing is left of a tiny picture
            left_out.append(number)
            continue
        films.append(frame.picture(radiograph.pixels)[None].half())
    if not films:
        raise Refusal(
            f"None of the {len(paths)} files in the folder is a film that can be read: "
            "name a folder of radiographs; `dualface inspect` says what is wrong with one."
        )
    if left_out:
        numbers = ", ".join(map(str, left_out[:NAMED])) + (", ..." if len(left_out) > NAMED else "")
        say(
            f"{len(left_out)} of {len(paths)} files are left out, as they cannot be read: {numbers} in the order of "
            "their paths; `dualface inspect` says why"
        )
    return torch.stack(films)


def _parted(films: torch.Tensor, recipe: PretrainRecipe) -> tuple[torch.Tensor, torch.Tensor]:
    """The user's films that are watched, and those that are learnt from; fewer than five are both."""
    count = min(recipe.films.watched, int(WATCHED_SHARE * len(films)))
    order = torch.from_numpy(np.random.default_rng(recipe.seed).permutation(len(films)))
    if count == 0:
        return films, films
    return films[order[:count]], films[order[count:]]


def _samples(films: torch.Tensor) -> list[Sample]:
    return [without_truth(film.float()) for film in films]


def _unlabelled_films(recipe: PretrainRecipe, population: Population, epoch: int) -> Unlabelled:
    return Unlabelled(simulated_films(recipe, population, epoch))


def _watched(
    recipe: PretrainRecipe, bones: Path, cache: Path, population: Population, say: Callable[[str], None]
) -> list[Sample]:
    kept_out = kept_out_population(recipe, bones, cache, population, say)
    return [without_truth(film["film"]) for film in watched_films(recipe, kept_out)]
