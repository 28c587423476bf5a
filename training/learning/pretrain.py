"""`python -m training pretrain RECIPE --out OUT`: a depth network's encoder learns to see films, without any truth.

    train(recipe, own_films(recipe, Path("films"), say=print), Run(out))

Patches of a film are hidden, and a depth network with one channel fills them in (`masking.py`). The films are
simulated, or a folder of the user's own. OUT holds what a training leaves, with `masked.png` for a sheet, and in the
end `encoder.safetensors` with `encoder.json`, from which `train RECIPE --encoder OUT/encoder.safetensors` starts.

Nothing that is printed or written names a file or a patient. `masked.png` shows four of the films.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import IterableDataset

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.framing import frame_of
from training.learning.data import Sample
from training.learning.films import Source
from training.learning.recipe import PretrainRecipe
from training.learning.torchrun import torchrun_place

NAMED = 10  # numbers of films that are not read, in a sentence
WATCHED_SHARE = 0.2  # of the user's own films at most; they are not learnt from


def unlabelled(simulated: Source) -> Source:
    """The films of virtual patients without their truth."""
    return Source(
        epoch=partial(_unlabelled_epoch, simulated.epoch),
        watched=lambda: [without_truth(film["film"]) for film in simulated.watched()],
        origin={"films": "simulated"},
    )


def _unlabelled_epoch(epoch: Callable[[int], Iterable[Sample]], number: int) -> Unlabelled:
    return Unlabelled(epoch(number))


def own_films(recipe: PretrainRecipe, folder: Path, say: Callable[[str], None]) -> Source:
    """The films of a folder; a fifth at most is watched and not learnt from."""
    films = read_films(folder, recipe.films.size_px, recipe.films.mm_per_pixel, say)
    watched, learnt_from = _parted(films, recipe)
    return Source(
        epoch=partial(OwnFilms, learnt_from, recipe),
        watched=lambda: [without_truth(film.float()) for film in watched],
        origin={
            "films": "a folder's",
            "count": len(films),
            "sha256": hashlib.sha256(films.numpy().tobytes()).hexdigest(),
        },
        in_memory=True,
    )


class Unlabelled(IterableDataset):
    """A stream's films without their truth."""

    def __init__(self, films: Iterable[Sample]) -> None:
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


def read_films(folder: Path, size_px: int, mm_per_pixel: float, say: Callable[[str], None]) -> torch.Tensor:
    """(N, 1, n, n) float16: the films of a folder, at any depth, as networks see them; half a GB for 4000 of 256 px.

    What cannot be read is left out, and counted by its number in the order of paths.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    read = [_read_film(path, size_px, mm_per_pixel) for path in paths]
    films = [film for film in read if film is not None]
    left_out = [number for number, film in enumerate(read, start=1) if film is None]
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


def _read_film(path: Path, size_px: int, mm_per_pixel: float) -> torch.Tensor | None:
    """(1, n, n) float16: a film as networks see it; None where it cannot be read."""
    from DualFaceReconLib.film.radiograph import read_radiograph  # with pydicom, which simulated films do without

    try:
        radiograph = read_radiograph(path)
    except Refusal:
        return None
    try:
        frame = frame_of(radiograph.geometry, size_px, mm_per_pixel)
    except ValueError:  # nothing is left of a tiny picture
        return None
    return frame.picture(radiograph.pixels)[None].half()


def _parted(films: torch.Tensor, recipe: PretrainRecipe) -> tuple[torch.Tensor, torch.Tensor]:
    """The user's films that are watched, and those that are learnt from; fewer than five are both."""
    count = min(recipe.films.watched, int(WATCHED_SHARE * len(films)))
    order = torch.from_numpy(np.random.default_rng(recipe.seed).permutation(len(films)))
    if count == 0:
        return films, films
    return films[order[:count]], films[order[count:]]
