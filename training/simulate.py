"""`python -m training simulate`: virtual patients on films, as cases.

Every case has its own seed: case i of a set is the same whatever is made beside it, in however many processes.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

import numpy as np

from DualFaceReconLib import drawing
from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.radiograph import read_radiograph
from training.cases import read_case, write_case
from training.patients import VirtualPatient, sample_patient
from training.population import Population
from training.xray.film import plain_film
from training.xray.raycast import cast
from training.xray.rig import draw_rig

MIRRORED_SHARE = 0.5  # so that nothing is learnt from the side on which people differ
OUTLINES = ((250, 190, 90), (250, 120, 90), (110, 190, 250), (110, 130, 250))  # of the scored bones
STORED = (  # how vendors store the same film
    {"photometric": "MONOCHROME2", "orientation": "L\\F"},
    {"photometric": "MONOCHROME1", "orientation": "L\\F"},
    {"photometric": "MONOCHROME2", "orientation": "R\\F"},
)


def simulate(
    population: Population,
    count: int,
    seed: int,
    out: Path,
    size_px: int | None = 1024,
    jobs: int = 1,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Writes `count` cases; those that are there already stay. `size_px` is the films' longer side."""
    out.mkdir(parents=True, exist_ok=True)
    folders = [out / f"case_{seed:03d}_{i:05d}" for i in range(count)]
    missing = [i for i, folder in enumerate(folders) if not (folder / "geometry.json").exists()]
    if len(missing) < count:
        say(f"{count - len(missing)} cases were there before")
    if jobs == 1 or len(missing) <= 1:
        for done, i in enumerate(missing, 1):
            simulate_one(population, seed, i, folders[i], size_px)
            say(f"{done} of {len(missing)} cases")
        return folders
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_keep, initargs=(population,)) as pool:
        waiting = [pool.submit(_in_process, seed, i, folders[i], size_px) for i in missing]
        for done, job in enumerate(as_completed(waiting), 1):
            job.result()
            say(f"{done} of {len(missing)} cases")
    return folders


def simulate_one(population: Population, seed: int, number: int, folder: Path, size_px: int | None) -> None:
    """One case of a set."""
    rng = np.random.default_rng([seed, number])
    patient = sample_patient(population, int(rng.integers(2**31)))
    if rng.random() < MIRRORED_SHARE:
        patient = patient.mirrored()
    film_case(patient, [seed, number], folder, size_px, {"seed": [seed, number]})


def film_case(
    patient: VirtualPatient, seed: Sequence[int], folder: Path, size_px: int | None, told: dict[str, object]
) -> None:
    """A film of a patient with its truth; the truth does not depend on how grey values are simulated."""
    rig, shift = draw_rig(patient.bones, np.random.default_rng([*seed, 1]), size_px)
    rng = np.random.default_rng([*seed, 2])
    bones = {bone: (vertices + shift, triangles) for bone, (vertices, triangles) in patient.bones.items()}
    projected = cast(bones, rig.geometry)
    film = plain_film(bones, projected.path_mm, rig.geometry, rng)
    scored = {bone: bones[bone] for bone in BONES}
    taken = {name: value for name, value in asdict(rig).items() if name != "geometry"}
    write_case(
        folder,
        film,
        rig.geometry,
        projected.maps.of(BONES),
        scored,
        {**told, "patient": patient.told, "rig": taken},
        **STORED[rng.integers(len(STORED))],
    )


_population: Population | None = None


def _keep(population: Population) -> None:
    global _population
    _population = population


def _in_process(seed: int, number: int, folder: Path, size_px: int | None) -> None:
    assert _population is not None
    simulate_one(_population, seed, number, folder, size_px)


def contact_sheet(folders: Sequence[Path], path: Path, columns: int = 6, cell_px: int = 320) -> None:
    """Films side by side, as the reader shows them, with the outlines of the true bones."""
    cells = []
    for folder in folders:
        case = read_case(folder)
        film = read_radiograph(case.radiograph)
        rows, cols = (max(round(n * cell_px / max(film.pixels.shape)), 1) for n in film.pixels.shape)
        window = tuple(float(level) for level in np.percentile(film.pixels, (1, 99.5)))
        cell = np.zeros((cell_px, cell_px, 3), np.uint8)
        cell[:rows, :cols] = drawing.grey_picture(drawing.resized_grey(film.pixels, (rows, cols)), window)
        for mask, colour in zip(case.maps.mask, OUTLINES, strict=True):
            share = drawing.resized_grey(mask.astype(np.float32), (rows, cols)) > 0.5
            inner = share[1:-1, 1:-1] & share[:-2, 1:-1] & share[2:, 1:-1] & share[1:-1, :-2] & share[1:-1, 2:]
            edge = share.copy()
            edge[1:-1, 1:-1] &= ~inner
            cell[:rows, :cols][edge] = colour
        drawing.write(cell, f"{case.told['rig']['kind']} {case.geometry.view}", (cell_px - 20, 8), 13)
        cells.append(cell)
    cells += [np.zeros_like(cells[0])] * (-len(cells) % columns)
    drawing.save_png(np.vstack([np.hstack(cells[i : i + columns]) for i in range(0, len(cells), columns)]), path)
