"""How well the models fit people from elsewhere: whole bones and raters' landmarks of `vsd_dev`.

Reported, never chosen by: these people's licence allows judging alone, and no picture of them is ever committed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from DualFaceReconLib.bonemaps import kind_and_side
from DualFaceReconLib.meshes import Mesh, rigid_fit, sample_surface
from DualFaceReconLib.metrics import SurfaceDistances, compare_surfaces
from DualFaceReconLib.pictures import drawing
from DualFaceReconLib.proximity import distances_to_surface
from DualFaceReconLib.shape.completion import completion_of
from DualFaceReconLib.shape.fitting import Fit, FitSettings, Target, fit
from DualFaceReconLib.shape.shapemodel import ShapeModel, model_of
from training.anatomy.remeshing import dense_points, read_ply

SET = "vsd_dev"
SAMPLES = 20_000  # a side, of every distance between surfaces
TARGET_POINTS = 5000
PLAIN_ROUNDS = 60
PLAIN_POINTS = 20_000
PANEL_PX = (560, 420)
RED_FROM_MM = 3.0

# What the raters call the models' landmarks.
RATERS_NAMES = {
    "asis": "{side} ASIS",
    "aiis": "{side} AIIS",
    "psis": "{side} PSIS",
    "piis": "{side} PIIS",
    "pubic_tubercle": "{side} Pubic Tubercle (PT)",
    "ischial_spine": "{side} Ischial Spine (IS)",
    "greater_trochanter": "Superior Greater Trochanter (SGT)",
    "lesser_trochanter": "Lesser Trochanter (LT)",
    "medial_epicondyle": "Medial Epicondyle (MEC)",
    "lateral_epicondyle": "Lateral Epicondyle (LEC)",
    "medial_condyle_distal": "Distal Medial Condyle (DMC)",
    "lateral_condyle_distal": "Distal Lateral Condyle (DLC)",
    "medial_condyle_posterior": "Posterior Medial Condyle (PMC)",
    "lateral_condyle_posterior": "Posterior Lateral Condyle (PLC)",
}


@dataclass(frozen=True, kw_only=True)
class FittedBone:
    """One whole bone and the fits to it."""

    person: str
    bone: str  # "hip_left" ...
    mesh: Mesh
    fitted: np.ndarray  # (V, 3) by the model, its own triangles
    distances: Mapping[str, SurfaceDistances]  # by way of fitting: "ours", "plain", "mean"
    landmarks: Mapping[str, tuple[float, float]]  # mm to the raters' mean, and the raters' own spread in mm


def judge(
    bones: Path, models: Mapping[str, ShapeModel], plain: Mapping[str, ShapeModel], say: Callable[[str], None] = print
) -> list[FittedBone]:
    """Every whole bone of the set, fitted by `models`, by plain ICP-and-project with `plain`, and by its mean alone."""
    fitted_bones = []
    for person in sorted(p for p in (bones / SET).iterdir() if p.is_dir()):
        for bone in ("hip_left", "hip_right", "femur_left", "femur_right"):
            if not (person / f"{bone}.ply").exists():
                continue
            fitted = _fitted(person, bone, model_of(bone, models), model_of(bone, plain))
            errors = ", ".join(f"{way} {d.assd_mm:.2f}" for way, d in fitted.distances.items())
            say(f"{person.name} {bone}: {errors} mm")
            fitted_bones.append(fitted)
    return fitted_bones


def _fitted(person: Path, bone: str, model: ShapeModel, plain: ShapeModel) -> FittedBone:
    mesh = read_ply(person / f"{bone}.ply")
    target = whole_target(mesh)
    fitted = fit(model, target, centred(model, mesh), FitSettings(settled=0.01))
    whole = completion_of(fitted, model, target)
    ways = {
        "ours": (whole.vertices, model.triangles),
        "plain": (plain_fit(plain, mesh), plain.triangles),
        "mean": (plain_fit(plain, mesh, modes=0), plain.triangles),
    }
    return FittedBone(
        person=person.name,
        bone=bone,
        mesh=mesh,
        fitted=whole.vertices,
        distances={way: compare_surfaces(surface, mesh, SAMPLES) for way, surface in ways.items()},
        landmarks=_landmarks(person, bone, whole.landmarks),
    )


def whole_target(mesh: Mesh, count: int = TARGET_POINTS, seed: int = 0) -> Target:
    """A whole bone as a target: nothing of it is hidden."""
    points, normals, _ = dense_points(mesh, np.zeros(len(mesh[0])), count, seed)
    return Target(points=points, outward=normals)


def centred(model: ShapeModel, mesh: Mesh) -> Fit:
    """The mean shape, upright, on the middle of a bone that stands as patients do."""
    middle = sample_surface(*mesh, 3000).mean(axis=0) - sample_surface(model.mean, model.triangles, 3000).mean(axis=0)
    return Fit(rotation=np.eye(3), translation=middle, coefficients=np.zeros(0))


def plain_fit(model: ShapeModel, mesh: Mesh, modes: int | None = None) -> np.ndarray:
    """ICP and project: the nearest target point of every vertex, the model's shape nearest to those, and again.

    The pose of the mean comes first; with 0 modes that is all. Coefficients are held within 3 standard deviations.
    """
    points = sample_surface(*mesh, PLAIN_POINTS)
    tree = cKDTree(points)
    shape, vertices = model.mean, centred(model, mesh).vertices(model)
    for turn in range(2 * PLAIN_ROUNDS):
        nearest = points[tree.query(vertices)[1]]
        rotation, translation = rigid_fit(nearest, shape)
        if turn >= PLAIN_ROUNDS:
            shape = model.shape(np.clip(model.coefficients(nearest @ rotation.T + translation), -3, 3)[:modes])
        rotation, translation = rigid_fit(shape, nearest)
        vertices = shape @ rotation.T + translation
    return vertices


def _landmarks(person: Path, bone: str, places: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """How far places (3,) are from the raters' means, and the raters' own spread, mm, by landmark."""
    kind, side = kind_and_side(bone)
    picked = {}
    for row in json.loads((person / "landmarks.json").read_text(encoding="utf-8")):
        if row["part"] == "pelvis" or row["side"] == side:
            picked[row["part"], row["name"]] = row
    errors = {}
    for name, place in places.items():
        key = ("pelvis" if kind == "hip" else "femur", RATERS_NAMES.get(name, "").format(side=side.capitalize()))
        if key in picked:
            row = picked[key]
            errors[name] = float(np.linalg.norm(place - row["mean_ras_mm"])), float(row["rater_sd_mm"])
    return errors


def as_markdown(bones: list[FittedBone]) -> str:
    """The tables of fits and of landmarks."""
    people = {bone.person for bone in bones}
    lines = [
        "## People from elsewhere",
        "",
        f"Whole bones of {len(people)} people who are in neither model, point to triangle, mm. "
        "Plain is ICP-and-project with all modes of a one-sided PCA of rhan40 (hip) or llp26 (femur); mean is that "
        "model's mean shape alone.",
        "",
        "| bone | fit | model to bone, mean | 95 % | bone to model, mean | 95 % | both | to plain |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in ("hip", "femur"):
        of_kind = [bone for bone in bones if bone.bone.startswith(kind)]
        reference = np.mean([bone.distances["plain"].assd_mm for bone in of_kind])
        for way in ("ours", "plain", "mean"):
            all_of = [bone.distances[way] for bone in of_kind]
            there = np.array([(d.predicted_to_truth.mean(), np.percentile(d.predicted_to_truth, 95)) for d in all_of])
            back = np.array([(d.truth_to_predicted.mean(), np.percentile(d.truth_to_predicted, 95)) for d in all_of])
            numbers = [*there.mean(axis=0), *back.mean(axis=0), np.mean([d.assd_mm for d in all_of])]
            cells = " | ".join(f"{number:.2f}" for number in numbers)
            lines.append(f"| {kind} ({len(of_kind)}) | {way} | {cells} | {numbers[-1] / reference - 1:+.0%} |")
    lines += ["", "| landmark | to the raters' mean, mm | the raters' own spread, mm | bones |", "|---|---|---|---|"]
    for name in RATERS_NAMES:
        errors = np.array([bone.landmarks[name] for bone in bones if name in bone.landmarks])
        if len(errors):
            lines.append(f"| {name} | {errors[:, 0].mean():.1f} | {errors[:, 1].mean():.1f} | {len(errors)} |")
    return "\n".join(lines) + "\n"


def worst(bones: list[FittedBone], kind: str) -> FittedBone:
    """The bone of a kind that our fit is furthest from."""
    of_kind = [bone for bone in bones if bone.bone.startswith(kind)]
    return max(of_kind, key=lambda bone: bone.distances["ours"].assd_mm)


def error_picture(bone: FittedBone, triangles: np.ndarray) -> np.ndarray:
    """A fit from front, side and back; the redder, the further from the bone. Never to be committed."""
    away = distances_to_surface(bone.fitted, *bone.mesh)
    points, normals, error = dense_points((bone.fitted, triangles), away, 1_500_000)
    colours = drawing.blended(np.clip(error / RED_FROM_MM, 0, 1), drawing.ERROR_COLOURS)
    extent = np.ptp(points, axis=0)
    scale = 0.85 * min(PANEL_PX[0] / extent[2], PANEL_PX[1] / extent[:2].max())
    panels = [drawing.shaded(points, normals, colours, *eye, PANEL_PX, scale) for eye in drawing.AROUND]
    caption = f"{bone.person} {bone.bone}: {bone.distances['ours'].assd_mm:.2f} mm; red from {RED_FROM_MM:g} mm"
    drawing.write(panels[0], caption, (8, 8), 15)
    return np.hstack(panels)
