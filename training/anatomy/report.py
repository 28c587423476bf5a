"""Builds both shape models and says how good they are: `<bone>.ssm.npz`, models.md, models.json, `<bone>_modes.png`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from DualFaceReconLib import drawing
from DualFaceReconLib.shapemodel import ShapeModel
from training.anatomy.meshes import dense_points
from training.anatomy.people import Corresponded, corresponded_femora, corresponded_hips
from training.anatomy.shapes import compactness, generalisation, shape_model, specificity, trimmed

VARIANCE_KEPT = 0.98
MODES_SHOWN = (1, 2, 3, 5, 10, 20, 40)
PANEL_PX = (420, 300)
SHIFT_COLOURS = [(235, 225, 200), (90, 140, 220), (40, 50, 140)]  # how far a mode moves a vertex


def build_models(bones: Path, out: Path, say: Callable[[str], None] = print) -> dict[str, dict]:
    """Both models and their figures; every file appears whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    figures = {}
    for make in (corresponded_hips, corresponded_femora):
        people = make(bones, report=say)
        whole = shape_model(people)
        model = trimmed(whole, VARIANCE_KEPT)
        beside = out / f".{model.bone}.part.npz"
        model.save(beside)
        beside.replace(out / f"{model.bone}.ssm.npz")
        drawing.save_png(modes_picture(model), out / f"{model.bone}_modes.png")
        figures[model.bone] = figures_of(people, whole, model)
        say(f"{model}: judged")
    drawing.save_bytes(json.dumps(figures, indent=2).encode(), out / "models.json")
    drawing.save_bytes(as_markdown(figures).encode(), out / "models.md")
    return figures


def figures_of(people: Corresponded, whole: ShapeModel, model: ShapeModel) -> dict:
    """Compactness, generalisation (one person left out with both sides) and specificity, for JSON."""
    shown = [count for count in MODES_SHOWN if count <= len(whole.variances)]
    errors = generalisation(people, shown)
    share = compactness(whole)
    return {
        "people": len(model.people),
        "bones": len(people.shapes),
        "vertices": len(model.mean),
        "modes": len(model.variances),
        "variance_kept": VARIANCE_KEPT,
        "specificity_mm": specificity(people, model),
        "by_modes": [
            {
                "modes": count,
                "variance": float(share[count - 1]),
                "generalisation_mm": float(errors[:, i].mean()),
                "worst_person_mm": float(errors[:, i].max()),
            }
            for i, count in enumerate(shown)
        ],
    }


def as_markdown(figures: dict[str, dict]) -> str:
    """The table of both models."""
    lines = ["# Shape models", "", "Measured on the people they are made of; mean distance between vertices, mm."]
    for bone, told in figures.items():
        lines += [
            "",
            f"## {bone}",
            "",
            f"{told['bones']} bones of {told['people']} people, {told['vertices']} vertices; {told['modes']} modes "
            f"keep {100 * told['variance_kept']:.0f} % of the variance. Specificity {told['specificity_mm']:.2f} mm.",
            "",
            "| modes | variance % | one person left out, mm | worst person, mm |",
            "|---|---|---|---|",
        ]
        for row in told["by_modes"]:
            lines.append(
                f"| {row['modes']} | {100 * row['variance']:.1f} | {row['generalisation_mm']:.2f} | "
                f"{row['worst_person_mm']:.2f} |"
            )
    return "\n".join(lines) + "\n"


def modes_picture(model: ShapeModel, count: int = 3, deviations: float = 2.0) -> np.ndarray:
    """The first modes from the front: minus, mean, plus; the darker, the further a vertex is from the mean."""
    rows = []
    for mode in range(count):
        panels = []
        for sign in (-1, 0, 1):
            shape = model.shape([0.0] * mode + [sign * deviations])
            away = np.linalg.norm(shape - model.mean, axis=1)
            points, normals, shift = dense_points((shape, model.triangles), away)
            colours = drawing.blended(np.clip(shift / 15, 0, 1), SHIFT_COLOURS)
            extent = np.ptp(model.mean, axis=0)
            scale = 0.75 * min(PANEL_PX[0] / extent[2], PANEL_PX[1] / extent[0])
            panel = drawing.shaded(points, normals, colours, (-1, 0, 0), (0, 1, 0), PANEL_PX, scale)
            name = "mean" if sign == 0 else f"mode {mode + 1}: {sign * deviations:+g} standard deviations"
            drawing.write(panel, name, (8, 8), 15)
            panels.append(panel)
        rows.append(np.hstack(panels))
    return np.vstack(rows)
