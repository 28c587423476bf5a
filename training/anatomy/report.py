"""Builds both shape models and says how good they are.

`<bone>.ssm.npz` and MODELS.md go to one folder, to be committed; pictures and figures for programs to another.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np

from DualFaceReconLib.disk.files import write_file, write_text
from DualFaceReconLib.pictures import drawing
from DualFaceReconLib.shape.shapemodel import ShapeModel
from training.anatomy import generalisation
from training.anatomy.landmarks import LANDMARKS
from training.anatomy.people import Corresponded, corresponded_femora, corresponded_hips
from training.anatomy.remeshing import dense_points
from training.anatomy.shapes import LOCAL_SHARE, compactness, generalisation_errors, shape_model, specificity

matplotlib.use("agg")
from matplotlib import pyplot

MODES = {"hip": 100, "femur": 60}
MODES_SHOWN = (1, 2, 3, 5, 10, 20, 40, 60, 100)
PANEL_PX = (420, 300)
OFFSET_COLOURS = [(235, 225, 200), (90, 140, 220), (40, 50, 140)]  # how far a mode moves a vertex
MARK_COLOUR = (225, 40, 40)


def build_models(bones: Path, out: Path, report: Path, say: Callable[[str], None] = print) -> str:
    """Both models, their figures and pictures; every file appears whole or not at all. Gives MODELS.md."""
    out.mkdir(parents=True, exist_ok=True)
    report.mkdir(parents=True, exist_ok=True)
    figures, models, plain = {}, {}, {}
    for make in (corresponded_hips, corresponded_femora):
        people = make(bones, say=say)
        bone = people.bone
        models[bone] = save_model(people, out)
        drawing.save_png(modes_picture(models[bone]), report / f"{bone}_modes.png")
        drawing.save_png(landmarks_picture(models[bone]), report / f"{bone}_landmarks.png")
        figures[bone] = figures_of(people, models[bone])
        say(f"{models[bone]}: judged on its own people")
        plain[bone] = shape_model(people.one_sided(), modes=len(people.shapes), local=0)
    curves_picture(figures, report / "curves.png")
    text = as_markdown(figures)
    if (bones / generalisation.SET).is_dir():
        fitted = generalisation.judge(bones, models, plain, say)
        text += "\n" + generalisation.as_markdown(fitted)
        for bone, model in models.items():
            worst = generalisation.worst(fitted, bone)
            drawing.save_png(generalisation.error_picture(worst, model.triangles), report / f"{bone}_worst.png")
    write_text(report / "models.json", json.dumps(figures, indent=2))
    write_text(out / "MODELS.md", text)
    return text


def save_model(people: Corresponded, out: Path) -> ShapeModel:
    """The shape model of people, with landmarks, and its file <bone>.ssm.npz in a folder."""
    model = shape_model(people, modes=MODES[people.bone])
    model = model.with_landmarks(LANDMARKS[people.bone](model.mean, people.triangles))
    write_file(out / f"{people.bone}.ssm.npz", model.save)
    return model


def figures_of(people: Corresponded, model: ShapeModel) -> dict:
    """Compactness, generalisation (one person left out with both sides) and specificity, for JSON."""
    counts = [count for count in MODES_SHOWN if count <= len(model.variances)]
    errors = generalisation_errors(people, counts)
    plain = generalisation_errors(people, counts, local=0)
    return {
        "people": len(model.people),
        "bones": len(people.shapes),
        "vertices": len(model.mean),
        "modes": len(model.variances),
        "local_share": LOCAL_SHARE,
        "by_modes": [
            {
                "modes": count,
                "variance": float(share),
                "generalisation_mm": float(errors[:, i].mean()),
                "worst_person_mm": float(errors[:, i].max()),
                "without_local_mm": float(plain[:, i].mean()),
                "specificity_mm": float(away),
            }
            for i, (count, share, away) in enumerate(
                zip(counts, compactness(model)[np.array(counts) - 1], specificity(people, model, counts), strict=True)
            )
        ],
    }


def as_markdown(figures: dict[str, dict]) -> str:
    """The table of both models."""
    lines = [
        "# Shape models",
        "",
        "Left hemipelvis and left femur; the right ones are their mirrors. `python -m training anatomy models` builds "
        "them. For research; not for clinical use.",
        "",
        "## On the people they are made of",
        "",
        "Mean distance between vertices, mm. Without local variation: the plain principal components of these people.",
    ]
    for bone, of_bone in figures.items():
        lines += [
            "",
            f"### {bone}",
            "",
            f"{of_bone['bones']} bones of {of_bone['people']} people, {of_bone['vertices']} vertices, "
            f"{of_bone['modes']} modes; {100 * of_bone['local_share']:.0f} % of the variance is local.",
            "",
            "| modes | variance % | one person left out | worst person | without local variation | specificity |",
            "|---|---|---|---|---|---|",
        ]
        for row in of_bone["by_modes"]:
            lines.append(
                f"| {row['modes']} | {100 * row['variance']:.1f} | {row['generalisation_mm']:.2f} | "
                f"{row['worst_person_mm']:.2f} | {row['without_local_mm']:.2f} | {row['specificity_mm']:.2f} |"
            )
    return "\n".join(lines) + "\n"


def curves_picture(figures: dict[str, dict], path: Path) -> None:
    """Compactness, generalisation and specificity by the number of modes."""
    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for bone, of_bone in figures.items():
        rows = of_bone["by_modes"]
        count = [row["modes"] for row in rows]
        axes[0].plot(count, [100 * row["variance"] for row in rows], marker="o", label=bone)
        line = axes[1].plot(count, [row["generalisation_mm"] for row in rows], marker="o", label=bone)[0]
        without = [row["without_local_mm"] for row in rows]
        axes[1].plot(count, without, linestyle=":", color=line.get_color(), label=f"{bone}, no local variation")
        axes[2].plot(count, [row["specificity_mm"] for row in rows], marker="o", label=bone)
    titles = ("compactness, % of variance", "generalisation, mm: one person left out", "specificity, mm")
    for axis, title in zip(axes, titles, strict=True):
        axis.set(title=title, xlabel="modes", ylim=(0, None))
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def landmarks_picture(model: ShapeModel) -> np.ndarray:
    """The mean from the front, from outside, from behind and from inside, with its landmarks."""
    points, normals, _ = dense_points((model.mean, model.triangles), np.zeros(len(model.mean)), 1_500_000)
    colours = np.full((len(points), 3), OFFSET_COLOURS[0], dtype=float)
    size = (PANEL_PX[0] * 2, PANEL_PX[1] * 2)
    scale = 0.9 * min(size[0] / np.ptp(points[:, 2]), size[1] / np.ptp(points[:, :2], axis=0).max())
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    panels = []
    for across, towards in drawing.AROUND:
        panel = drawing.shaded(points, normals, colours, across, towards, size, scale)
        for name, place in model.landmark_points(model.mean).items():
            offset = (place - middle) * scale
            row, col = round(size[0] / 2 - offset[2]), round(float(offset @ np.array(across)) + size[1] / 2)
            panel[max(row - 3, 0) : row + 4, max(col - 3, 0) : col + 4] = MARK_COLOUR
            drawing.write(panel, name, (row - 8, col + 6), 13)
        panels.append(panel)
    return np.hstack(panels)


def modes_picture(model: ShapeModel, count: int = 3, deviations: float = 2.0) -> np.ndarray:
    """The first modes from the front: minus, mean, plus; the darker, the further a vertex is from the mean."""
    rows = []
    for mode in range(count):
        panels = []
        for sign in (-1, 0, 1):
            shape = model.shape([0.0] * mode + [sign * deviations])
            away = np.linalg.norm(shape - model.mean, axis=1)
            points, normals, offset = dense_points((shape, model.triangles), away)
            colours = drawing.blended(np.clip(offset / 15, 0, 1), OFFSET_COLOURS)
            extent = np.ptp(model.mean, axis=0)
            scale = 0.75 * min(PANEL_PX[0] / extent[2], PANEL_PX[1] / extent[0])
            panel = drawing.shaded(points, normals, colours, (-1, 0, 0), (0, 1, 0), PANEL_PX, scale)
            name = "mean" if sign == 0 else f"mode {mode + 1}: {sign * deviations:+g} standard deviations"
            drawing.write(panel, name, (8, 8), 15)
            panels.append(panel)
        rows.append(np.hstack(panels))
    return np.vstack(rows)
