"""What films of other views add to a person's AP film, with the networks' maps and with exact ones.

    simulate --films-each 4 --views ap ap frog-leg oblique ... -> films
    scores = views_measured(cases, networks, models, prior_of(bundle))
    maps_table(scores), tables(scores, AP)

Each film is completed alone. The first AP film is completed with each other film of the person, and with all of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from DualFaceReconLib.bonemaps import kind_and_side
from DualFaceReconLib.inference import Networks
from DualFaceReconLib.metrics import depth_mae, dice
from DualFaceReconLib.shape.body_prior import EXACT_MAPS, BodyPrior
from DualFaceReconLib.shape.outlines import outline_of
from DualFaceReconLib.shape.shapemodel import ShapeModel
from DualFaceReconLib.shape.together import SeenFilm, completions_of, fit_films
from DualFaceReconLib.surfaces import observed_surfaces
from training.cases import Case
from training.judging.predictions import BY_PICTURE, Aligned
from training.judging.together import EXACT, NETWORKS, PreparedFilm, Scores, TrueBones, prepared
from training.simulate import AP

OTHER_VIEWS = ("oblique", "frog-leg")


def view_of(case: Case) -> str:
    """A film's view, by the posture that it was made with."""
    posture = case.metadata.get("patient", {}).get("posture")
    return posture if posture in OTHER_VIEWS else AP


def views_measured(
    cases: Sequence[Case], networks: Networks, models: Mapping[str, ShapeModel], prior: BodyPrior
) -> Iterator[dict[str, Any]]:
    """The scores of one person's films, of which the first is AP."""
    films = [prepared(case, networks) for case in cases]
    truths = [TrueBones(case, models) for case in cases]
    views = [view_of(case) for case in cases]
    for case, view, film in zip(cases, views, films, strict=True):
        yield from _maps_scores(case, view, film.aligned)
    for maps, known in ((NETWORKS, prior), (EXACT, replace(prior, errors=EXACT_MAPS))):
        seen = [_seen(film, maps) for film in films]
        for row, numbers in _rows(views):
            begun = time.process_time()
            fit = fit_films([seen[n] for n in numbers], models, known, on_refusal=lambda number, bone, why: None)
            spent = time.process_time() - begun
            about = {"maps": maps, "row": row, "alignment": BY_PICTURE if maps == NETWORKS else "", "seconds": spent}
            first = numbers[0]
            yield from truths[first].scores(about, completions_of(fit, 0, seen[first], models))


def _rows(views: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """What is completed from which films, and called; the first of them is judged."""
    others = range(1, len(views))
    yield AP, [0]
    for number in others:
        yield f"{AP} with {views[number]}", [0, number]
    yield f"{AP} with all others", [0, *others]
    for number in others:
        if views[number] != AP:
            yield views[number], [number]
            yield f"{views[number]} with {AP}", [number, 0]


def _seen(film: PreparedFilm, maps: str) -> SeenFilm:
    if maps == NETWORKS:
        observed = observed_surfaces(film.aligned.maps, film.geometry)
        return SeenFilm(observed=observed, outlines=film.outlines, geometry=film.searched)
    true, geometry = film.aligned.true, film.geometry
    outlines = {bone: outline_of(mask, geometry, geometry) for bone, mask in zip(true.bones, true.mask, strict=True)}
    return SeenFilm(observed=observed_surfaces(true, geometry), outlines=outlines, geometry=geometry)


def _maps_scores(case: Case, view: str, aligned: Aligned) -> Iterator[dict[str, Any]]:
    """How far off the networks' masks and depths are, the latter after one shift a picture."""
    for place, bone in enumerate(aligned.true.bones):
        true = aligned.true.mask[place]
        if not true.any():
            continue
        valid = aligned.valid[place]
        depths = (maps.depths()[:, place] for maps in (aligned.maps, aligned.true))
        yield {
            "case": case.folder.name,
            "view": view,
            "bone": bone,
            "dice": dice(aligned.predicted.maps.mask[place], true),
            "depth_mm": depth_mae(*depths, valid) if valid.any() else float("nan"),
        }


def maps_table(scores: Scores) -> str:
    """Markdown: masks and depths by view."""
    lines = ["| view | bones | n | Dice | least | depths off, mm, after one shift a picture |", "|---" * 6 + "|"]
    of_maps = [score for score in scores if "view" in score]
    for view in dict.fromkeys(score["view"] for score in of_maps):
        for kind in ("hip", "femur"):
            own = [s for s in of_maps if s["view"] == view and kind_and_side(s["bone"])[0] == kind]
            if own:
                overlap, depth = (np.array([s[name] for s in own]) for name in ("dice", "depth_mm"))
                cells = f"{overlap.mean():.3f} | {overlap.min():.3f} | {np.nanmean(depth):.1f}"
                lines.append(f"| {view} | {kind} | {len(own)} | {cells} |")
    return "\n".join(lines) + "\n"
