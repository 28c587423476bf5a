"""Networks learn for so many minutes, from whatever films are there, and are finished when the time is over.

What is made is not what is learnt from: films come into a ring on the network's device, and each step takes from it
those whose turn it is, new ones first. Where the network is the faster of the two it sees a film up to `views` times,
augmented anew; where it is the slower, films wait where they are made.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from DualFaceReconLib.errors import Refusal
from training.learning.data import Sample
from training.learning.films import Source
from training.learning.learner import Learner, add_row, keep, prepared, step
from training.learning.ring import Ring
from training.learning.run import Run
from training.learning.schedule import rate_after
from training.learning.streaming import Arrivals
from training.learning.torchrun import agreed, torchrun_place

ROWS = 20  # of the curves, at equal shares of the time
KEPT_EVERY_S = 300.0  # seconds between checkpoints, where there is a row
SPOKEN_EVERY_S = 15.0  # seconds between sentences about the loss
RING_BATCHES = 64
AHEAD_BATCHES = 8  # not learnt from yet, at most
AGREED_EVERY = 4  # steps, after which several processes look at the first one's clock and wait for each other
CLOSING_SHARE, CLOSING_S = 0.01, 10.0  # of the time, or seconds, that the end takes at least


@dataclass
class Clock:
    """Of the time that a run may take."""

    began: float  # by `now`, earlier by what was spent before a cut
    whole_s: float
    closing_s: float  # what it takes to measure and keep what has been learnt
    now: Callable[[], float]  # seconds

    def spent_s(self) -> float:
        return self.now() - self.began

    def share(self) -> float:
        """Of the time for learning."""
        return self.spent_s() / max(self.whole_s - self.closing_s, 1e-9)


@dataclass
class Since:
    """What has been done since the last row of the curves."""

    losses: torch.Tensor  # summed over steps, of each learner; on the device
    came: int  # films that had come before
    steps: int = 0
    waited_s: float = 0.0  # for films
    began: float = field(default_factory=time.monotonic)


def learn_by_time(learners: Sequence[Learner], source: Source, run: Run) -> bool:
    """Learns until the minutes are over, less those for the end."""
    assert run.minutes is not None
    recipe, device = learners[0].recipe, run.machine.device
    batch_size, views = recipe.learning.batch, recipe.learning.views
    process, processes = torchrun_place()
    whole_s = 60 * run.minutes
    clock = Clock(
        began=run.started - max(learner.spent_s for learner in learners),
        whole_s=whole_s,
        closing_s=min(CLOSING_SHARE * whole_s, CLOSING_S),
        now=run.clock,
    )
    ring = Ring(RING_BATCHES * batch_size, device)
    first, number = max(learner.epoch for learner in learners), 0
    workers = 0 if source.in_memory else run.machine.workers
    with Arrivals(source.epoch, first, workers, device) as arrivals:
        watched = source.watched() if process == 0 else []
        for learner in learners:
            learner.shared.train()
        since = _since(learners, ring)
        share, kept, spoke = 0.0, -math.inf, time.monotonic()
        rows = int(clock.share() * ROWS)
        while True:
            if processes == 1 or number % AGREED_EVERY == 0:
                share = agreed(clock.share(), device)
            if share >= 1:
                break
            if share * ROWS >= rows + 1 and since.steps:
                rows = int(share * ROWS)
                begin = clock.now()
                _measure(learners, since, ring, arrivals, clock, watched, run)
                if process == 0 and begin - kept > KEPT_EVERY_S:
                    for learner in learners:
                        keep(learner, watched, device)
                    kept = clock.now()
                    clock.closing_s = max(clock.closing_s, 1.2 * (kept - begin))
                since = _since(learners, ring)

            # A step on the films whose turn it is
            until = math.inf if processes > 1 else clock.began + clock.whole_s - clock.closing_s
            since.waited_s += _gather(ring, arrivals, batch_size, views, until, clock.now)
            if not ring.ready(batch_size, views):
                continue  # the time is over
            rng = np.random.default_rng([recipe.seed, first, number, process])
            batch = prepared(ring.draw(batch_size, views, rng), learners[0], rng)
            for place, learner in enumerate(learners):
                since.losses[place] += step(learner, batch, rate_after(learner.recipe, share), rng)
            since.steps, number = since.steps + 1, number + 1
            if process == 0 and time.monotonic() - spoke > SPOKEN_EVERY_S:
                spoke = time.monotonic()
                loss = ", ".join(f"{loss:.4f}" for loss in (since.losses / since.steps).tolist())
                run.say(f"  minute {clock.spent_s() / 60:.1f}: step {number}, {ring.came} films, loss {loss}")

        arrivals.stop()
        if since.steps:
            _measure(learners, since, ring, arrivals, clock, watched, run)
        if not any(learner.rows for learner in learners) and process == 0:
            raise Refusal("No batch of films came within the minutes: give more of them.")
        if since.steps and process == 0:
            for learner in learners:
                learner.spent_s = max(learner.spent_s, whole_s)  # nothing is left of it
                keep(learner, watched, device)
    return True


def _since(learners: Sequence[Learner], ring: Ring) -> Since:
    return Since(torch.zeros(len(learners), dtype=torch.float64, device=ring.device), ring.came)


def _gather(
    ring: Ring, arrivals: Arrivals, batch_size: int, views: int, until: float, now: Callable[[], float]
) -> float:
    """Takes the films that are there, and waits where a batch cannot be drawn; gives for how many seconds."""
    waited_s = 0.0
    while True:
        ready, begin = ring.ready(batch_size, views), now()
        if (ready and ring.came - ring.drawn > AHEAD_BATCHES * batch_size) or (not ready and begin > until):
            return waited_s
        films = arrivals.take(wait=not ready)
        if films is not None:
            ring.add(films)
        if not ready:
            waited_s += now() - begin
        elif films is None:
            return waited_s


def _measure(
    learners: Sequence[Learner],
    since: Since,
    ring: Ring,
    arrivals: Arrivals,
    clock: Clock,
    watched: Sequence[Sample],
    run: Run,
) -> None:
    """A row of every learner's curves."""
    process, processes = torchrun_place()
    losses = (since.losses / since.steps).tolist()  # waits for the device
    took, spent_s, came = time.monotonic() - since.began, clock.spent_s(), ring.came - since.came
    for learner, loss in zip(learners, losses, strict=True):
        learner.spent_s, learner.epoch, learner.films = spent_s, arrivals.epoch + 1, learner.films + came
        if process == 0:
            learning = learner.recipe.learning
            row = {
                "minutes": spent_s / 60,
                "loss": loss,
                "rate": rate_after(learner.recipe, clock.share()),
                "films_a_second": since.steps * learning.batch * processes / took,
                "new_films_a_second": came * processes / took,
                "waited": since.waited_s / took,  # share of the time in which no films were there
            }
            figures = add_row(learner, row, watched, run.machine.device)
            run.say(f"minute {spent_s / 60:.1f} of {clock.whole_s / 60:g}, {figures}")
