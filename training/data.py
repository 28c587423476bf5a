"""Films made while a network learns: new ones, and new exposures of the same projections.

    films = FilmStream(population, Series(seed=1, size_px=256), reuse=8)
    loader = DataLoader(films, batch_size=16, num_workers=2, multiprocessing_context="spawn")

Film i of a stream is the same in however many workers; only the order in which they come depends on their number.
Nothing of it is written to disk.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from DualFaceReconLib.bonemaps import BoneMaps
from DualFaceReconLib.geometry import ProjectionGeometry
from training.population import Population
from training.simulate import Series, Taken, take

Sample = dict[str, torch.Tensor]


class FilmStream(IterableDataset):
    """Films of virtual patients with their truth, without end unless `projections` says where."""

    def __init__(
        self,
        population: Population,
        series: Series,
        reuse: int = 1,
        pool: int = 32,
        projections: int | None = None,
        device: str = "cpu",
    ) -> None:
        """`reuse`: films of every projection, a new exposure each; `pool`: projections that are shuffled together."""
        super().__init__()
        self.population, self.series = population, series
        self.reuse, self.pool, self.projections, self.device = reuse, pool, projections, device

    def __iter__(self) -> Iterator[Sample]:
        torch.set_num_threads(1)
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        start = first * self.pool
        while self.projections is None or start < self.projections:
            end = start + self.pool if self.projections is None else min(start + self.pool, self.projections)
            yield from self._shuffled(range(start, end))
            start += step * self.pool

    def _shuffled(self, numbers: range) -> Iterator[Sample]:
        """Every film of some projections; each projection is made when it is first met."""
        rng = np.random.default_rng([self.series.seed, numbers.start, 6])
        order = rng.permutation(np.repeat(np.array(numbers), self.reuse))
        taken: dict[int, Taken] = {}
        made = dict.fromkeys(numbers, 0)
        for number in order.tolist():
            if number not in taken:
                taken[number] = take(self.population, self.series, number, self.device)
            film = taken[number].film(self.series, made[number], self.device)
            made[number] += 1
            geometry = taken[number].rig.geometry
            if made[number] == self.reuse:
                del taken[number]
            yield sample(film.pixels, film.maps, geometry)


def sample(pixels: np.ndarray, maps: BoneMaps, geometry: ProjectionGeometry) -> Sample:
    """Tensors of a film that can be stacked: padded with zeros at the bottom and on the right to a square.

    "film" (1, n, n) from 0 to 1, "mask" (bones, n, n) bool, "depth" (bones, 2, n, n) mm with 0 where a bone is not,
    "sdd_mm", "pixel_pitch_mm" (2,), "principal_point_px" (2,), "size_px" (2,), "object_distance_mm".
    """
    size = max(geometry.size_px)
    bottom, right = (size - n for n in geometry.size_px)

    def square(values: np.ndarray) -> torch.Tensor:
        around = [(0, 0)] * (values.ndim - 2) + [(0, bottom), (0, right)]
        return torch.from_numpy(np.pad(values, around))

    return {
        "film": square(pixels[None].astype(np.float32)),
        "mask": square(maps.mask),
        "depth": square(np.stack([maps.front, maps.back], axis=1)),
        "sdd_mm": torch.tensor(geometry.sdd_mm),
        "pixel_pitch_mm": torch.tensor(geometry.pixel_pitch_mm),
        "principal_point_px": torch.tensor(geometry.principal_point_px),
        "size_px": torch.tensor(geometry.size_px),
        "object_distance_mm": torch.tensor(geometry.object_distance_mm),
    }
