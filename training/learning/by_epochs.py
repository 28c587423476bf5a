"""Networks learn epoch by epoch, as many as their recipe says."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from DualFaceReconLib.errors import Refusal
from training.learning.films import Source
from training.learning.learner import Learner, add_row, keep, prepared, step
from training.learning.run import Run
from training.learning.schedule import rate_at
from training.learning.streaming import Epochs
from training.learning.torchrun import torchrun_place

KEPT_EVERY_S = 180.0  # seconds between checkpoints, at the ends of epochs
SPOKEN_EVERY_S = 15.0  # seconds between sentences about the loss, within an epoch


def learn_by_epochs(learners: Sequence[Learner], source: Source, run: Run) -> bool:
    """Learns to the last epoch; False where the minutes are over before, or the run was to stop before."""
    recipe, device = learners[0].recipe, run.machine.device
    films, batch_size = recipe.films, recipe.learning.batch
    process, processes = torchrun_place()
    steps = films.projections * films.reuse // batch_size // processes  # of an epoch
    begin, last = min(learner.epoch for learner in learners), max(learner.last_epoch for learner in learners)
    until = last if run.until is None else min(run.until, last)
    if begin >= until:
        return begin == last
    workers = 0 if source.in_memory else run.machine.workers
    with Epochs(source.epoch, range(begin, until), batch_size, workers, device) as coming:
        watched = source.watched() if process == 0 else []
        saved = started = time.monotonic()
        for epoch in range(begin, until):
            # One pass over films that were never seen, but where they are somebody's own
            standing_here = [learner for learner in learners if learner.epoch == epoch]  # others were cut later
            for learner in standing_here:
                learner.shared.train()
            losses = torch.zeros(len(standing_here), dtype=torch.float64, device=device)
            done, waited = 0, 0.0
            epoch_began = spoke = asked = time.monotonic()
            for number, batch in enumerate(coming.of(epoch)):
                waited += time.monotonic() - asked
                rng = np.random.default_rng([recipe.seed, epoch, number, process])
                batch = prepared(batch, learners[0], rng)
                for place, learner in enumerate(standing_here):
                    rate = rate_at(learner.recipe, epoch + number / max(steps, 1), learner.ending)
                    losses[place] += step(learner, batch, rate, rng)
                done += 1
                asked = time.monotonic()
                if asked - spoke > SPOKEN_EVERY_S:
                    spoke = asked
                    loss = ", ".join(f"{loss:.4f}" for loss in (losses / done).tolist())
                    run.say(f"  epoch {epoch + 1}: {done} of about {steps} steps, loss {loss}")
            if done == 0:
                raise Refusal("An epoch has fewer films than a batch: raise projections or reuse in the recipe.")

            # How good it is now, and what must not be lost
            of_epoch = (losses / done).tolist()
            took = time.monotonic() - epoch_began
            over = run.minutes is not None and (time.monotonic() - started) / 60 >= run.minutes
            for learner, loss in zip(standing_here, of_epoch, strict=True):
                learner.epoch = epoch + 1
                if process == 0:
                    row = {
                        "epoch": epoch + 1,
                        "loss": loss,
                        "rate": rate_at(learner.recipe, epoch, learner.ending),
                        "films_a_second": done * batch_size * processes / took,
                        "waited": waited / took,  # share of the time in which no films were there
                    }
                    figures = add_row(learner, row, watched, device)
                    left = (time.monotonic() - started) / (epoch + 1 - begin) * (until - epoch - 1) / 60
                    run.say(f"epoch {epoch + 1} of {last}, {figures}; about {left:.0f} minutes left")
            if process == 0 and (epoch + 1 == until or over or time.monotonic() - saved > KEPT_EVERY_S):
                saved = time.monotonic()
                for learner in standing_here:
                    keep(learner, watched, device)
            if over and epoch + 1 < last:
                return False
        return until == last
