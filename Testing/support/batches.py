"""A folder of small films, a bundle whose networks are stand-ins, and batches run with it."""

import csv
import os
import signal
from pathlib import Path

import numpy as np
import torch
from torch import nn

from DualFaceReconLib import reconstruction, results
from DualFaceReconLib.batch import job, run
from DualFaceReconLib.batch.record import Record
from DualFaceReconLib.bundle.manifest import load_manifest
from DualFaceReconLib.framing import NORMALISATION
from DualFaceReconLib.inference import Networks
from DualFaceReconLib.parallel import roads
from DualFaceReconLib.parallel.work import kills
from support.bundles import made_bundle
from support.films import dataset, film, save


class Square(nn.Module):
    """Sees both hips, always at the same place, each as the other's mirror image."""

    def forward(self, film):
        logits = torch.full((len(film), 4, *film.shape[-2:]), -20.0)
        logits[:, 0, 28:34, 40:46] = 20
        logits[:, 1] = logits[:, 0].flip(-1)
        return logits


class Ramp(nn.Module):
    """Front depths grow down the square; backs lie 30 mm behind."""

    def forward(self, film):
        rows = torch.arange(film.shape[-2], dtype=torch.float32)[:, None].expand(film.shape[-2:])
        return torch.stack([0.1 * rows, 0.1 * rows + 30]).expand(len(film), 4, 2, *film.shape[-2:])


class StandIn(reconstruction.Reconstructor):
    """Stands in for a bundle's networks; everything else is real."""

    def __init__(self, bundle=None, device=None):
        self.networks = Networks(
            manifest=load_manifest(Path(bundle)), depth=Ramp(), segmentation=Square(), device="cpu"
        )
        self.models = {}


def rows_of(path):
    """The lines of a batch's file."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


def stand_in_bundle(folder, seed=0):
    return made_bundle(folder, seed, input_px=(64, 64), mm_per_pixel=5.0, normalisation=NORMALISATION)


def save_film(path, seed, **tags):
    """A DX film of its own noise, by a patient whose name must not be seen anywhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ds = dataset(**{"PatientName": "Muster^Erika", "PatientID": "MRN-4711", **tags})
    ds.PixelData = (film(seed=seed) * 4095).astype(np.uint16).tobytes()
    return save(ds, path)


class StandInWork(job.FilmWork):
    """The work of a batch in a process of its own, with `StandIn`."""

    def __call__(self):
        stand_in(setattr)
        return super().__call__()


class KilledWhileItWrites(StandInWork):
    """Whoever writes the second film's folder is killed by it, and leaves a 0 beside the output."""

    def __call__(self):
        loaded, drawn = super().__call__(), results.overview.picture

        def work(to_do):
            results.overview.picture = self.killing if to_do.job.number == 2 else drawn
            return loaded(to_do)

        return work

    def killing(self, reconstruction):
        with (self.out.parent / "killed").open("a") as file:
            file.write("0")
        os.kill(os.getpid(), signal.SIGKILL)


class HereAndNow:
    """A road that does one item after the other in the process of the test, which can so see into it."""

    def __init__(self, *how):
        pass

    def sees(self, path):
        return True

    def __call__(self, prepare, items, *, began, lost):
        work = prepare()
        began(str(work))
        for index in range(len(items)):
            yield index, work(items[index])


def stand_in(patch):
    """Batches run with `StandIn`, here and now, and draw nothing; `patch(object, name, value)`."""
    patch(reconstruction, "Reconstructor", StandIn)
    for module in (run, roads):
        patch(module, "InProcesses", HereAndNow)
    patch(results.overview, "picture", lambda reconstruction: np.zeros((8, 8, 3), np.uint8))


def run_apart(films, out, bundle, connection):
    """A batch in a process of its own, which a test can kill; what it says goes into a connection."""
    stand_in(setattr)
    run.run_batch(films, out, choices=run.Choices(bundle, completion=False), say=connection.send)


def recorded(out, count, name="", **more):
    """An output as a batch leaves it, without its films: the 7th has too small a hip, the 12th too large a one.

    Of every 120 films the 110th to 116th were refused and the 117th failed. `more` stands in every line.
    """
    out.mkdir(parents=True)
    record = Record(out, {}, {})
    paths = [Path("/films of Erika") / f"{number}.dcm" for number in range(1, count + 1)]
    numbers, random = record.number(paths), np.random.default_rng(0)
    for path in paths:
        number = numbers[path]
        folder = name.format(number) if name else f"{number:04d}-{number:012x}"
        row = {"number": str(number), "pixel_hash": f"{number:012x}", "folder": "", "status": "done", **more}
        if 110 <= number % 120 <= 116:
            size = 100 + number
            reason = f"The picture is {size} x {size} pixels, which is too small: use the original."
            record.take({**row, "status": "refused", "reason": reason})
            continue
        if number % 120 == 117:
            record.take({**row, "status": "failed", "reason": kills("by SIGKILL").reason})
            continue
        row |= {"folder": folder, "warnings": str(number % 2), "completed": "2", "seconds": "1.5"}
        row |= dict.fromkeys(("hip_left", "hip_right"), "completed") | dict.fromkeys(
            ("femur_left", "femur_right"), "not found"
        )
        volumes = {7: 98.0, 12: 612.0}
        row["hip_left_volume_cm3"] = f"{volumes.get(number, random.normal(320, 20)):.1f}"
        row["hip_right_volume_cm3"] = f"{random.uniform(300, 340):.1f}"
        row["distance_of_hip_centres_mm"] = f"{random.uniform(170, 190):.1f}"
        (out / folder).mkdir()
        (out / folder / "picture.png").touch()
        record.take(row)
    record.write()
