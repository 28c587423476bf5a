"""`python -m training joint FILMS --out OUT --films-each N`: several films of one person, whose bones have one shape.

    simulate --films-each 3 ... -> FILMS, in which each 3 films in a row are of one person
    OUT/<set>/<case>.json   the figures of a person's films
    OUT/<set>.md            tables by the number of films

Each film of a person is completed on its own, with the next one, and so on, up to all. After one shift a picture the
distances are known. Unaligned, they are told as the product does, of one film and of all; and by the bones' usual size.
Where the films of a person are of several views (`simulate --views`), tables are by views instead: `views.py`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from DualFaceReconLib.bundle.manifest import load_manifest
from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.patient import unknown_distance_mm
from DualFaceReconLib.shape.body_prior import BodyPrior
from DualFaceReconLib.shape.shapemodel import ShapeModel, load_shape_models
from DualFaceReconLib.shape.together import SeenFilm, completions_of, fit_films
from DualFaceReconLib.surfaces import observed_surfaces
from training.cases import Case, read_case
from training.judging.evaluate import loaded_networks
from training.judging.predictions import BY_PICTURE, UNALIGNED
from training.judging.tables import interval
from training.judging.together import NETWORKS, PreparedFilm, Scores, TrueBones, prepared, prior_of, tables
from training.judging.views import maps_table, view_of, views_measured
from training.simulate import AP

Measured = Callable[[Sequence[Path], Path, Mapping[str, ShapeModel], BodyPrior], Iterator[dict[str, Any]]]
ONE, BY_SIZE = "1 film", "1 film, distance by size"


def judge_patients(
    folders: Sequence[Path],
    films_each: int,
    bundle: Path,
    models: Path,
    out: Path,
    say: Callable[[str], None] = print,
) -> str:
    """The tables of the films of some people; `models` is a folder of shape models."""
    scores: Scores = []
    groups = [folders[first : first + films_each] for first in range(0, len(folders), films_each)]
    several_views = len({view_of(read_case(folder)) for folder in groups[0]}) > 1
    measured = _views_measured if several_views else _measured
    for number, group in enumerate(groups, 1):
        scores += _of_group(group, bundle, models, out / f"{group[0].name}.json", measured)
        say(f"{number} of {len(groups)} people")
    if several_views:
        of_bones = [score for score in scores if "row" in score]
        text = f"{maps_table(scores)}\n{tables(of_bones, AP, (AP,))}"
        write_text(out.with_suffix(".md"), f"# Films of several views: {out.name}, {len(folders)} films\n\n{text}")
        return text
    timed = list(dict.fromkeys(score["row"] for score in scores if score["row"] != BY_SIZE))
    text = f"{tables(scores, ONE, timed)}\n{distances(scores)}"
    write_text(out.with_suffix(".md"), f"# Several films: {out.name}, {len(folders)} films\n\n{text}")
    return text


def _of_group(group: Sequence[Path], bundle: Path, models: Path, path: Path, measured: Measured) -> Scores:
    prior = prior_of(bundle)
    key = {"bundle": load_manifest(bundle).sha256, "models": str(models.resolve()), "prior": repr(prior)}
    if path.exists() and (before := json.loads(path.read_text(encoding="utf-8")))["key"] == key:
        return before["scores"]
    scores = list(measured(group, bundle, load_shape_models(models), prior))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({"key": key, "scores": scores}))
    return scores


def _views_measured(
    group: Sequence[Path], bundle: Path, models: Mapping[str, ShapeModel], prior: BodyPrior
) -> Iterator[dict[str, Any]]:
    return views_measured([read_case(folder) for folder in group], loaded_networks(bundle), models, prior)


def _measured(
    group: Sequence[Path], bundle: Path, models: Mapping[str, ShapeModel], prior: BodyPrior
) -> Iterator[dict[str, Any]]:
    networks = loaded_networks(bundle)
    cases = [read_case(folder) for folder in group]
    films = [prepared(case, networks) for case in cases]
    truths = [TrueBones(case, models) for case in cases]

    def fitted(
        row: str, numbers: Sequence[int], judged: int, alignment: str = BY_PICTURE, prior: BodyPrior = prior
    ) -> Iterator[dict[str, Any]]:
        """The scores of the first `judged` of some films."""
        begun = time.process_time()
        seen = [_seen(films[number], alignment) for number in numbers]
        fit = fit_films(seen, models, prior, on_refusal=lambda number, bone, why: None)
        about = {"maps": NETWORKS, "row": row, "alignment": alignment, "seconds": time.process_time() - begun}
        for place, number in enumerate(numbers[:judged]):
            if alignment == UNALIGNED:
                about |= _distance(films[number], cases[number], fit.certainty.shifts_mm[place])
            completed = completions_of(fit, place, seen[place], models)
            yield from truths[number].scores(about, completed, poses=alignment == BY_PICTURE)

    count = len(films)
    for number in range(count):
        turned = [(number + n) % count for n in range(count)]
        yield from fitted(ONE, turned[:1], 1)
        for several in range(2, count):
            yield from fitted(f"{several} films", turned[:several], 1)
        yield from fitted(ONE, turned[:1], 1, UNALIGNED)
        yield from fitted(BY_SIZE, turned[:1], 1, UNALIGNED, replace(prior, size_tells_distance=True))
    if count > 1:
        for alignment in (BY_PICTURE, UNALIGNED):
            yield from fitted(f"{count} films", range(count), count, alignment)


def _seen(film: PreparedFilm, alignment: str) -> SeenFilm:
    """A film by its maps."""
    predicted = film.aligned.predicted
    unaligned = alignment == UNALIGNED
    return SeenFilm(
        observed=observed_surfaces(predicted.maps if unaligned else film.aligned.maps, film.geometry),
        outlines=film.outlines,
        geometry=film.searched,
        distance_spread_mm=unknown_distance_mm(predicted.geometry) if unaligned else 0.0,
    )


def _distance(film: PreparedFilm, case: Case, shift_mm: tuple[float, float]) -> dict[str, float]:
    """How wrong the distance from film to bones is, and how sure."""
    geometry = film.aligned.predicted.geometry
    assert geometry.object_distance_mm is not None
    assert case.geometry.object_distance_mm is not None
    error = geometry.object_distance_mm + shift_mm[0] - case.geometry.object_distance_mm
    return {"distance_error_mm": error, "distance_std_mm": shift_mm[1]}


def distances(scores: Scores) -> str:
    """Markdown: how far the distances are off, a film counted once."""
    lines = [
        "| from film to bones, by | films | mean absolute error, mm | interval | bias | stated | within it, % |",
        "|---" * 7 + "|",
    ]
    off = [score for score in scores if "distance_error_mm" in score]
    for row in dict.fromkeys(score["row"] for score in off):
        films = list({score["case"]: score for score in off if score["row"] == row}.values())
        error = np.array([film["distance_error_mm"] for film in films])
        std = np.array([film["distance_std_mm"] for film in films])
        low, high = interval(np.abs(error), [film["person"] for film in films])
        lines.append(
            f"| {row} | {len(films)} | {np.abs(error).mean():.1f} | {low:.1f} to {high:.1f} | {error.mean():+.1f} | "
            f"{std.mean():.0f} | {100 * np.mean(np.abs(error) <= std):.0f} |"
        )
    return "\n".join(lines) + "\n"
