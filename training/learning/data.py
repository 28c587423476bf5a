"""Films made while a network learns: new ones, and new exposures of the same projections.

    films = FilmStream(population, Series(seed=1, size_px=256), reuse=8)
    loader = DataLoader(films, batch_size=16, num_workers=2, multiprocessing_context="spawn")

Film i of a stream is the same in however many workers; only the order in which they come depends on their number.
Nothing of it is written to disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from DualFaceReconLib.bonemaps import BoneMaps
from DualFaceReconLib.framing import Frame
from DualFaceReconLib.geometry import ProjectionGeometry
from training.patients.population import Population
from training.patients.virtual import NoFemoraFit
from training.simulate import Person, Series, Taken, draw_person, take
from training.xray.rig import NoBoneOnFilm

Sample = dict[str, torch.Tensor]


class FilmStream(IterableDataset):
    """Films of virtual patients with their truth, without end unless `projections` says where.

    A patient whom there cannot be, whose femora fit no sockets or whose bones miss the film, is left out.
    """

    def __init__(
        self,
        population: Population | Callable[[], Population],
        series: Series,
        reuse: int = 1,
        pool: int = 32,
        projections: int | None = None,
        first: int = 0,
        size_px: int | None = None,
        device: str = "cpu",
        share: tuple[int, int] = (0, 1),
    ) -> None:
        """`population`: one, or what gives it in the process that makes films. `reuse`: films of every projection, a
        new exposure each; `pool`: projections that are shuffled together: of one person, `series.postures` are.

        `projections`: how many, from number `first` of the series on. `size_px`: of the square, see `sample`. `share`:
        this process's number and the number of processes that share the stream; each may have workers of its own.
        """
        super().__init__()
        self.population, self.series = population, series
        self.reuse, self.pool, self.first, self.projections = reuse, pool, first, projections
        self.size_px, self.device, self.share = size_px, device, share

    def epoch(self, number: int) -> FilmStream:
        """The stream of as many projections, so many times as far on."""
        later = copy(self)
        later.first = self.first + number * self.projections
        return later

    def __iter__(self) -> Iterator[Sample]:
        torch.set_num_threads(1)
        worker = get_worker_info()
        mine, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        process, processes = self.share
        start = self.first + (process * workers + mine) * self.pool
        end = None if self.projections is None else self.first + self.projections
        while end is None or start < end:
            yield from self._shuffled(range(start, start + self.pool if end is None else min(start + self.pool, end)))
            start += processes * workers * self.pool

    def _shuffled(self, numbers: range) -> Iterator[Sample]:
        """Every film of some projections; each projection is made when it is first met."""
        population = self.population if isinstance(self.population, Population) else self.population()
        rng = np.random.default_rng([self.series.seed, numbers.start, 6])
        order = rng.permutation(np.repeat(np.array(numbers), self.reuse))
        people: dict[int, Person] = {}
        taken: dict[int, Taken] = {}
        made = dict.fromkeys(numbers, 0)
        for number in order.tolist():
            if number not in made:
                continue
            if number not in taken:
                person = number // self.series.postures
                try:
                    if person not in people:
                        people[person] = draw_person(population, self.series, person)
                    taken[number] = take(population, self.series, number, self.device, people[person])
                except (NoFemoraFit, NoBoneOnFilm):
                    del made[number]
                    continue
            film = taken[number].film(self.series, made[number], self.device)
            made[number] += 1
            geometry = taken[number].rig.geometry
            if made[number] == self.reuse:
                del taken[number]
            yield sample(film.pixels, film.maps, geometry, self.size_px)


def sample(pixels: np.ndarray, maps: BoneMaps, geometry: ProjectionGeometry, size_px: int | None = None) -> Sample:
    """Tensors of a film that can be stacked: in the middle of a square of `size_px`, or of the film's longer side.

    "film" (1, n, n) as networks see it, -1 to 1; "mask" (bones, n, n) bool; "depth" (bones, faces, n, n) mm with 0
    where a bone is not, and turned where the view is PA, as networks always speak as if it were AP; "sdd_mm",
    "pixel_pitch_mm" (2,), "principal_point_px" (2,) in the square, "object_distance_mm".
    """
    size = size_px or max(geometry.size_px)
    first = tuple((n - size) // 2 for n in geometry.size_px)
    return framed_sample(Frame(geometry=geometry, size_px=size, scale=(1.0, 1.0), first_px=first), pixels, maps)


def framed_sample(frame: Frame, pixels: np.ndarray, maps: BoneMaps) -> Sample:
    """The tensors of `sample` in a frame of a film (rows, cols), whose maps have the frame's `resampled_px` already."""
    geometry, framed = frame.geometry, frame.framed
    if geometry.view == "PA":
        maps = maps.turned(geometry.sdd_mm - geometry.object_distance_mm)
    depth = torch.from_numpy(np.stack([maps.front, maps.back], axis=1))
    return {
        "film": frame.picture(pixels)[None],
        "mask": frame.square(torch.from_numpy(maps.mask)),
        "depth": frame.square(depth),
        "sdd_mm": torch.tensor(geometry.sdd_mm),
        "pixel_pitch_mm": torch.tensor(framed.pixel_pitch_mm),
        "principal_point_px": torch.tensor(framed.principal_point_px),
        "object_distance_mm": torch.tensor(geometry.object_distance_mm),
    }
