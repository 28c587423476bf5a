"""`python -m training finetune RECIPE --cases FOLDER --bundle BUNDLE --out OUT`: a network learns on from own cases.

    train(recipe, own_cases(recipe, cases_in(folder), say=print), Run(out), bundle=bundle)

Cases come of your own CTs (`prepare-ct`) or of any simulator that writes them. A fifth of their people is watched and
not learnt from. The loop, the checkpoints and what is written are `train`'s; `bundle` puts the result into a bundle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.radiograph import read_radiograph
from DualFaceReconLib.framing import frame_of
from training.cases import read_case
from training.learning.data import Sample, framed_sample
from training.learning.films import Source
from training.learning.recipe import Recipe
from training.learning.torchrun import torchrun_place

WATCHED_SHARE = 0.2  # of the people, one at least


def own_cases(recipe: Recipe, folders: Sequence[Path], say: Callable[[str], None]) -> Source:
    """The films of cases with their truth; a case that names no person is one of its own."""
    people = {folder: str(read_case(folder).metadata.get("person", folder.name)) for folder in folders}
    learnt_from, watched = _parted(people, recipe)
    say(f"{len(learnt_from)} cases are learnt from, {len(watched)} of other people are watched")
    truths = b"".join((folder / "geometry.json").read_bytes() for folder in folders)
    films = recipe.films
    return Source(
        epoch=partial(CaseFilms, learnt_from, recipe),
        watched=lambda: [case_sample(case, films.size_px, films.mm_per_pixel) for case in watched[: films.watched]],
        origin={"cases": {"count": len(learnt_from), "sha256": hashlib.sha256(truths).hexdigest()}},
    )


class CaseFilms(IterableDataset):
    """An epoch of cases: as many films as a recipe would simulate, every case as often as the others."""

    def __init__(self, folders: Sequence[Path], recipe: Recipe, epoch: int) -> None:
        super().__init__()
        self.folders, self.recipe, self.epoch = list(folders), recipe, epoch

    def __iter__(self) -> Iterator[Sample]:
        torch.set_num_threads(1)
        worker = get_worker_info()
        mine, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        process, processes = torchrun_place()
        films = self.recipe.films
        rng = np.random.default_rng([self.recipe.seed, self.epoch, 8])
        wanted = films.projections * films.reuse
        rounds = [rng.permutation(len(self.folders)) for _ in range(-(-wanted // len(self.folders)))]
        order = np.concatenate(rounds)[:wanted]
        for number in order[process * workers + mine :: processes * workers].tolist():
            yield case_sample(self.folders[number], films.size_px, films.mm_per_pixel)


def case_sample(folder: Path, size_px: int, mm_per_pixel: float) -> Sample:
    """A case's film and truth as networks see films; Refusal where it cannot be learnt from."""
    case = read_case(folder)
    radiograph = read_radiograph(case.radiograph)
    if radiograph.geometry.size_px != case.geometry.size_px or not set(BONES) <= set(case.meshes):
        raise Refusal(f"{folder.name} cannot be learnt from: its film and its truth must show the same, and all bones.")
    frame = frame_of(case.geometry, size_px, mm_per_pixel)
    return framed_sample(frame, radiograph.pixels, case.maps.of(BONES).resized(frame.resampled_px))


def _parted(people: Mapping[Path, str], recipe: Recipe) -> tuple[list[Path], list[Path]]:
    """Cases that are learnt from, and those of other people that are watched; of one person all are both."""
    names = sorted(set(people.values()))
    if len(names) < 2:
        return list(people), list(people)
    order = np.random.default_rng(recipe.seed).permutation(len(names))
    watched = {names[number] for number in order[: max(round(WATCHED_SHARE * len(names)), 1)]}
    return (
        [case for case, name in people.items() if name not in watched],
        [case for case, name in people.items() if name in watched],
    )
