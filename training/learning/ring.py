"""The last films that came, kept on the network's device, where it learns faster than films are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:  # which would load all that makes films
    from training.learning.data import Sample


class Ring:
    """So many films, compact; each new one takes the place of the oldest.

    ring.add(films)
    if ring.ready(64, views=4):
        batch = ring.draw(64, views=4, rng=rng)
    """

    def __init__(self, size: int, device: str) -> None:
        self.size, self.device = size, device
        self.films: Sample = {}  # made of the first films that come
        self.came = self.drawn = 0  # films, in all
        self.number = np.zeros(size, np.int64)  # which film lies in a place
        self.seen = np.zeros(size, np.int64)  # how often it was drawn

    def add(self, films: Sample) -> None:
        """Keeps films, (N, ...) tensors anywhere."""
        count = len(films["film"])
        numbers = self.came + np.arange(count)
        places = numbers % self.size
        where = self._on_device(places)
        for name, value in films.items():
            if name not in self.films:
                self.films[name] = torch.zeros((self.size, *value.shape[1:]), dtype=value.dtype, device=self.device)
            self.films[name].index_copy_(0, where, value.to(self.device, non_blocking=True))
        self.number[places], self.seen[places] = numbers, 0
        self.came += count

    def ready(self, count: int, views: int) -> bool:
        """Whether so many may be drawn, without any film being seen more than `views` times on average."""
        return count <= min(self.came, self.size) and self.drawn + count <= views * self.came

    def draw(self, count: int, views: int, rng: np.random.Generator) -> Sample:
        """The films whose turn it is: every one soon after it came, and the other times as it grows old."""
        there = min(self.came, self.size)
        age = (self.came - self.number[:there]) / self.size
        due = 1 + (views - 1) * age - self.seen[:there] + rng.random(there)
        places = np.argpartition(-due, count - 1)[:count]
        self.seen[places] += 1
        self.drawn += count
        where = self._on_device(places)
        return {name: value[where] for name, value in self.films.items()}

    def _on_device(self, places: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(places).to(self.device, non_blocking=True)
