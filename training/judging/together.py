"""`python -m training joint FILMS --out OUT`: all bones of a film completed at once, beside each alone.

    films -> OUT/<set>/<case>.json   the figures of a film, so that a run that was cut goes on
             OUT/<set>.md            tables: both ways, and with a term left out; paired differences
             OUT/<set>_worst.png     the femora that alone are farthest off (`worst.py`)

Shape models are made of everybody but the people of `choosing`, whose films judge, into OUT/models. Rows with a term
left out are aligned by one shift a picture alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from DualFaceReconLib.bonemaps import SIDES, BoneMaps, kind_and_side
from DualFaceReconLib.bundle.manifest import hip_manifest
from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.inference import Networks
from DualFaceReconLib.meshes import area_mm2, sphere_through
from DualFaceReconLib.metrics import compare_surfaces
from DualFaceReconLib.prediction import prediction_outlines
from DualFaceReconLib.shape.body_prior import ERRORS, EXACT_MAPS, BodyPrior
from DualFaceReconLib.shape.completion import Completion, complete_all
from DualFaceReconLib.shape.outlines import Outline, outline_of
from DualFaceReconLib.shape.relations import HEAD, SOCKET
from DualFaceReconLib.shape.shapemodel import ShapeModel, load_shape_models, model_of
from DualFaceReconLib.shape.together import complete_together
from DualFaceReconLib.surfaces import observed_surfaces
from training.cases import Case, read_case
from training.judging.baselines import mean_at_true_pose
from training.judging.evaluate import LEAST_SEEN_MM2, loaded_networks, on_film
from training.judging.nearness import quick_distances
from training.judging.poses import TruePose
from training.judging.predictions import BY_BONE, BY_PICTURE, UNALIGNED, Aligned, align, predicted_maps
from training.judging.stumps import left_of, stump_of
from training.judging.tables import interval
from training.raycast import cast
from training.simulate import one_thread

PIXELS = 256  # of the maps' longer side
SAMPLES = 3000  # a side; all rows have the same
COVERED_EVERY = 4  # vertices of which it is asked whether they lie within their standard deviations
SEPARATELY, JOINTLY = "separately", "together"
NETWORKS, EXACT = "networks", "exact maps"
Scores = list[dict[str, Any]]  # one of every bone, row and alignment; of joints and pairs "bone" is the hip


def prior_of(bundle: Path) -> BodyPrior:
    """What a bundle's networks are known to get wrong, and the rest as of all."""
    return BodyPrior.of_networks(hip_manifest(bundle).femora_lean_mm)


def _priors(bundle: Path) -> dict[str, BodyPrior]:
    """By row of the tables."""
    whole = prior_of(bundle)
    none = (0.0,) * len(ERRORS)
    return {
        JOINTLY: whole,
        "without outlines": replace(whole, outlines=False),
        "without joints": replace(whole, joints=False),
        "without left and right alike": replace(whole, sides=False),
        "without posture": replace(whole, posture=None),
        "without errors of whole maps": replace(whole, errors=replace(whole.errors, hip=none, femur=none, lean_mm=0.0)),
        "without the mean lean": replace(whole, errors=replace(whole.errors, lean_mm=0.0)),
        "without smooth modes": replace(whole, wider_femora=False),
    }


def judge(folders: Sequence[Path], bundle: Path, models: Path, out: Path, say: Callable[[str], None] = print) -> str:
    """The tables of some films of a set; `models` is a folder of shape models."""
    scores: Scores = []
    for number, folder in enumerate(folders, 1):
        scores += _of_film(folder, bundle, models, out / f"{folder.name}.json")
        say(f"{number} of {len(folders)} films")
    text = tables(scores)
    write_text(out.with_suffix(".md"), f"# Bones together: {out.name}, {len(folders)} films\n\n{text}")
    return text


def _of_film(folder: Path, bundle: Path, models: Path, path: Path) -> Scores:
    key = {
        "bundle": hip_manifest(bundle).sha256,
        "models": str(models.resolve()),
        "priors": {row: repr(prior) for row, prior in _priors(bundle).items()},
    }
    if path.exists() and (before := json.loads(path.read_text(encoding="utf-8")))["key"] == key:
        return before["scores"]
    scores = list(_measured(read_case(folder), bundle, load_shape_models(models)))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({"key": key, "scores": scores}))
    return scores


def _measured(case: Case, bundle: Path, models: Mapping[str, ShapeModel]) -> Iterator[dict[str, Any]]:
    film = prepared(case, loaded_networks(bundle))
    aligned, geometry, searched, outlines = film.aligned, film.geometry, film.searched, film.outlines
    true, truth, error_mm = aligned.true, TrueBones(case, models), hip_manifest(bundle).surface_error_mm

    def both(
        maps: BoneMaps, outlines: Mapping[str, Outline], searched: ProjectionGeometry, priors: Mapping[str, BodyPrior]
    ) -> Iterator[tuple[str, float, dict[str, Completion]]]:
        observed = observed_surfaces(maps, geometry)
        for row in (SEPARATELY, *priors):
            begun = time.process_time()
            if row == SEPARATELY:
                completed = complete_all(observed, models, searched, on_refusal=lambda bone, why: None)
                if priors is not exact:  # as the product states it
                    completed = {
                        bone: replace(done, std_mm=np.hypot(done.std_mm, error_mm[done.bone]))
                        for bone, done in completed.items()
                    }
            else:
                how = {"on_refusal": lambda bone, why: None, "alone_error_mm": {} if priors is exact else error_mm}
                completed = complete_together(observed, outlines, models, searched, priors[row], **how)
            yield row, time.process_time() - begun, completed

    priors, exact = _priors(bundle), {JOINTLY: BodyPrior(errors=EXACT_MAPS)}
    true_outlines = {
        bone: outline_of(mask, geometry, geometry) for bone, mask in zip(true.bones, true.mask, strict=True)
    }
    for row, seconds, completed in both(aligned.maps, outlines, searched, priors):
        about = {"maps": NETWORKS, "row": row, "alignment": BY_PICTURE, "seconds": seconds}
        yield from truth.scores(about, completed, poses=row in (SEPARATELY, JOINTLY))
    for row, seconds, completed in both(true, true_outlines, geometry, exact):
        yield from truth.scores({"maps": EXACT, "row": row, "alignment": "", "seconds": seconds}, completed)
    away = -geometry.source / np.linalg.norm(geometry.source)
    whole = {JOINTLY: priors[JOINTLY]}
    for row, seconds, completed in both(aligned.predicted.maps, outlines, searched, whole):
        yield from truth.scores({"maps": NETWORKS, "row": row, "alignment": UNALIGNED, "seconds": seconds}, completed)
        moved = {
            bone: replace(done, vertices=done.vertices + away * aligned.shifts_mm[bone])
            for bone, done in completed.items()
            if np.isfinite(aligned.shifts_mm.get(bone, np.nan))
        }
        yield from truth.scores({"maps": NETWORKS, "row": row, "alignment": BY_BONE, "seconds": seconds}, moved)


@dataclass(frozen=True, kw_only=True)
class PreparedFilm:
    """What networks make of a case's film, on maps of PIXELS."""

    aligned: Aligned
    geometry: ProjectionGeometry  # of the maps
    searched: ProjectionGeometry
    outlines: Mapping[str, Outline]


def judged_bones(case: Case) -> tuple[str, ...]:
    """Those that do not only stand in."""
    return tuple(bone for bone in case.meshes if bone not in case.metadata.get("unscored", ()))


def prepared(case: Case, networks: Networks) -> PreparedFilm:
    """A film as it is judged."""
    with one_thread():
        predicted = predicted_maps(networks, case.radiograph)
    geometry = case.geometry.resized_to(PIXELS)
    judged = judged_bones(case)
    true = cast({bone: case.meshes[bone] for bone in judged}, geometry).maps
    assert predicted.prediction is not None
    return PreparedFilm(
        aligned=align(predicted.at(geometry.size_px, judged), true),
        geometry=geometry,
        searched=predicted.searched,
        outlines=prediction_outlines(predicted.prediction, predicted.searched),
    )


class TrueBones:
    """The true bones of a case, with which completed ones are compared."""

    def __init__(self, case: Case, models: Mapping[str, ShapeModel]) -> None:
        self.case, self.models = case, models
        surfaces = {bone: on_film(case.meshes[bone], case.geometry) for bone in judged_bones(case)}
        self.surfaces = {bone: mesh for bone, mesh in surfaces.items() if area_mm2(*mesh) >= LEAST_SEEN_MM2}
        self.stumps = {bone: stump_of(case, bone, models) for bone in self.surfaces}
        self.person = str(case.metadata.get("person", case.folder.name))
        self.poses = {}
        for bone in self.surfaces:
            kind, side = kind_and_side(bone)
            if kind == "femur" and self._corresponds(bone):
                model, mesh = model_of(bone, models), case.meshes[bone]
                self.poses[bone] = TruePose.of(model, mean_at_true_pose(model, mesh), mesh, side)

    def _corresponds(self, bone: str) -> bool:
        """Whether the truth has the model's vertices, and so its landmarks: as whole bones of virtual patients do."""
        return len(self.case.meshes[bone][0]) == len(model_of(bone, self.models).mean)

    def scores(
        self, about: Mapping[str, Any], completed: Mapping[str, Completion], poses: bool = True
    ) -> Iterator[dict[str, Any]]:
        """Of every bone that the film shows; `poses`: and how legs are turned."""
        for bone, done in completed.items():
            if bone not in self.surfaces:
                continue
            score = {**about, "case": self.case.folder.name, "person": self.person, "bone": bone}
            visible = left_of(on_film((done.vertices, done.triangles), self.case.geometry), self.stumps[bone])
            if len(visible[1]) == 0:
                continue
            compared = compare_surfaces(visible, self.surfaces[bone], SAMPLES, distances=quick_distances)
            score |= {"assd_mm": compared.assd_mm, "hd95_mm": compared.hd95_mm}
            away = quick_distances(done.vertices[::COVERED_EVERY], *self.case.meshes[bone])
            std_mm, seen = done.std_mm[::COVERED_EVERY], done.seen[::COVERED_EVERY]
            for name, which in (("seen", seen), ("inferred", ~seen)):
                for times in (1, 2):
                    score[f"{name}_within_{times}"] = float(np.mean(away[which] <= times * std_mm[which]))
            if poses and bone in self.poses:
                score["flexion_deg"], score["rotation_deg"] = self.poses[bone].errors_deg(visible)
            yield score | self._of_joint(bone, completed) | self._of_sides(bone, completed)

    def _of_joint(self, bone: str, completed: Mapping[str, Completion]) -> dict[str, float]:
        """How far head and socket stand apart, less the truth, as a vector's length; of a hip."""
        femur = bone.replace("hip", "femur")
        if femur == bone or femur not in completed or not (self._corresponds(bone) and self._corresponds(femur)):
            return {}
        apart = completed[femur].landmarks[HEAD] - completed[bone].landmarks[SOCKET]
        head, socket = self._sphere(femur, HEAD)[0], self._sphere(bone, SOCKET)[0]
        return {
            "head_to_socket_mm": float(np.linalg.norm(apart)),
            "head_to_socket_error_mm": float(np.linalg.norm(apart - (head - socket))),
        }

    def _of_sides(self, bone: str, completed: Mapping[str, Completion]) -> dict[str, float]:
        """By how much the difference of left and right diameters is wrong; of the left bone."""
        kind, side = kind_and_side(bone)
        pair = [f"{kind}_{other}" for other in SIDES]
        if side != SIDES[0] or any(one not in completed or not self._corresponds(one) for one in pair):
            return {}
        name = SOCKET if kind == "hip" else HEAD
        guessed = [2 * completed[one].radii_mm[name] for one in pair]
        true = [2 * self._sphere(one, name)[1] for one in pair]
        return {"sides_error_mm": abs((guessed[0] - guessed[1]) - (true[0] - true[1]))}

    def _sphere(self, bone: str, name: str) -> tuple[np.ndarray, float]:
        return sphere_through(self.case.meshes[bone][0][model_of(bone, self.models).landmarks[name].vertices])


HEADS = {
    "assd_mm": "ASSD, mm",
    "hd95_mm": "HD95, mm",
    "flexion_deg": "flexion, degrees",
    "rotation_deg": "rotation, degrees",
    "head_to_socket_mm": "head to socket, mm",
    "head_to_socket_error_mm": "its error, mm",
    "sides_error_mm": "left less right diameter, error, mm",
    "seen_within_1": "seen within 1 std, %",
    "seen_within_2": "2 std, %",
    "inferred_within_1": "inferred within 1 std, %",
    "inferred_within_2": "2 std, %",
}


def tables(scores: Scores, baseline: str = SEPARATELY, timed: Sequence[str] = (SEPARATELY, JOINTLY)) -> str:
    """Markdown: means of all rows, and differences to a row, as to bones that were fitted alone."""
    lines = [f"| maps | aligned by | bones | row | n | {' | '.join(HEADS.values())} |", "|---" * (5 + len(HEADS)) + "|"]
    paired = [
        f"| maps | aligned by | bones | row | n | {baseline} | this | difference, ASSD mm | in % |",
        "|---" * 9 + "|",
    ]
    keys = list(dict.fromkeys((s["maps"], s["alignment"], s["row"]) for s in scores))
    for maps, alignment in dict.fromkeys(key[:2] for key in keys):
        of_maps = [s for s in scores if (s["maps"], s["alignment"]) == (maps, alignment)]
        for kind in ("hip", "femur"):
            of_kind = [s for s in of_maps if s["bone"].startswith(kind)]
            alone = {(s["case"], s["bone"]): s["assd_mm"] for s in of_kind if s["row"] == baseline}
            for row in dict.fromkeys(s["row"] for s in of_kind):
                own = [s for s in of_kind if s["row"] == row]
                cells = " | ".join(_mean(own, name) for name in HEADS)
                lines.append(f"| {maps} | {alignment} | {kind} | {row} | {len(own)} | {cells} |")
                pairs = [
                    (s["assd_mm"], alone[s["case"], s["bone"]], s["person"])
                    for s in own
                    if (s["case"], s["bone"]) in alone
                ]
                if row == baseline or not pairs:
                    continue
                now, before = np.array([pair[:2] for pair in pairs]).T
                low, high = interval(now - before, [pair[2] for pair in pairs])
                means = f"{before.mean():.2f} | {now.mean():.2f}"
                apart = f"{(now - before).mean():+.2f} [{low:+.2f}, {high:+.2f}]"
                share = f"{100 * (now.mean() / before.mean() - 1):+.0f}"
                paired.append(f"| {maps} | {alignment} | {kind} | {row} | {len(pairs)} | {means} | {apart} | {share} |")
    seconds = {
        row: np.mean(
            list({s["case"]: s["seconds"] for s in scores if s["row"] == row and s["maps"] == NETWORKS}.values())
        )
        for row in timed
    }
    speed = ", ".join(f"{row} {value:.1f} s" for row, value in seconds.items())
    return "\n".join([*lines, "", *paired, "", f"Processor time for a film's bones: {speed}.", ""])


def _mean(scores: Scores, name: str) -> str:
    values = [abs(s[name]) for s in scores if name in s and np.isfinite(s[name])]
    if not values:
        return ""
    return f"{100 * np.mean(values):.0f}" if "within" in name else f"{np.mean(values):.2f}"
