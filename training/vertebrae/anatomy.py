"""The real vertebrae as models: a shape model a group, how well templates and models fit, how large the bones are.

To one folder go `<group>.ssm.npz`, `anatomy.md`, `anatomy.json` and pictures.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from DualFaceReconLib.disk.files import write_file, write_text
from DualFaceReconLib.meshes import Mesh, volume_mm3
from DualFaceReconLib.metrics import compare_surfaces
from DualFaceReconLib.pictures import drawing
from DualFaceReconLib.proximity import distances_to_surface
from DualFaceReconLib.vertebra.sizes import PUBLISHED_MM, published_mm
from training.anatomy.remeshing import dense_points
from training.anatomy.shapes import LOCAL_SHARE, compactness, generalisation_errors, shape_model, specificity
from training.vertebrae.correspondence import VertebraGroup, load_groups
from training.vertebrae.parts import dimensions, in_own_frame
from training.vertebrae.people import MEAN_OF_MANY, training_vertebrae

MODES = 40
MODES_SHOWN = (1, 2, 3, 5, 8, 12, 20, 40)
SAMPLES = 10_000  # a side, of distances between surfaces
PANEL_PX = (130, 140)
PX_PER_MM = 1.25
POINTS = 150_000  # of a surface in a picture
RED_FROM_MM = 2.0
COLUMNS = 4  # of vertebrae in a picture
VIEWS = (((-1, 0, 0), (0, 1, 0)), ((0, -1, 0), (-1, 0, 0)))  # from the front, from the left


@dataclass(frozen=True, kw_only=True)
class FittedVertebra:
    """How a group's template lies on a real vertebra."""

    person: str
    level: str
    volume_mm3: float  # of the real one
    assd_mm: float
    hd95_mm: float
    uncovered_mm: float  # the real one's worst point
    dimensions: dict[str, float]


def build_anatomy(folder: Path, cache: Path, out: Path, say: Callable[[str], None] = print) -> str:
    """Everything, of a folder of real vertebrae; gives the text of `anatomy.md`."""
    groups = load_groups(folder, cache, say)
    meshes = {(vertebra.person, vertebra.level): vertebra.mesh for vertebra in training_vertebrae(folder)}
    out.mkdir(parents=True, exist_ok=True)
    fits: dict[str, list[FittedVertebra]] = {}
    figures: dict[str, list[dict]] = {}
    for name, group in groups.items():
        targets = [meshes[key] for key in zip(group.bones.people, group.levels, strict=True)]
        fits[name] = [_fitted(group, number, target) for number, target in enumerate(targets)]
        drawing.save_png(_fits_picture(group, targets, fits[name]), out / f"{name}_fits.png")
        model = shape_model(group.bones, modes=MODES)
        write_file(out / f"{name}.ssm.npz", model.save)
        drawing.save_png(_modes_picture(model.mean, model.modes, model.variances, model.triangles), out / f"{name}.png")
        figures[name] = model_figures(group)
        say(f"{name}: {model!r}")
    plain = {name: [asdict(fit) for fit in of_group] for name, of_group in fits.items()}
    write_text(out / "anatomy.json", json.dumps({"fits": plain, "models": figures}, indent=2))
    text = as_markdown(groups, fits, figures)
    write_text(out / "anatomy.md", text)
    return text


def model_figures(group: VertebraGroup) -> list[dict]:
    """Compactness, generalisation to every person who is left out, and specificity, by the number of modes."""
    model = shape_model(group.bones, modes=MODES)
    counts = [count for count in MODES_SHOWN if count <= len(model.variances)]
    people = list(dict.fromkeys(group.bones.people))
    errors = generalisation_errors(group.bones, counts)
    shares, away = compactness(model), specificity(group.bones, model, counts, samples=40)
    return [
        {
            "modes": count,
            "variance": float(shares[count - 1]),
            "left_out_mm": {
                person: float(errors[row, column]) for row, person in enumerate(people) if person != MEAN_OF_MANY
            },
            "specificity_mm": float(away[column]),
        }
        for column, count in enumerate(counts)
    ]


def as_markdown(
    groups: dict[str, VertebraGroup], fits: dict[str, list[FittedVertebra]], figures: dict[str, list[dict]]
) -> str:
    """The tables."""
    lines = [
        "# Vertebrae in correspondence",
        "",
        "`python -m training vertebrae anatomy` writes this page, the shape models and the pictures beside it. For "
        "research; not for clinical use. Nobody has a T1.",
    ]
    for name, group in groups.items():
        lines += [
            "",
            f"## {name.replace('_', ' ')}",
            "",
            f"{len(group.levels)} vertebrae of {len(set(group.bones.people))}, {len(group.bones.shapes[0])} vertices. "
            f"Sizes are measured on the template's vertices; published: Panjabi 1991, 1992.",
            "",
            "| vertebra | cm3 | ASSD mm | HD95 mm | worst mm | endplates' width | depth | height behind | published |",
            "|---|---|---|---|---|---|---|---|---|",
            *(_row(fit) for fit in fits[name]),
            "",
            f"The shape model; {100 * LOCAL_SHARE:.0f} % of the variance is local. Mean distance between vertices, mm, "
            "of each person to the model of all others:",
            "",
        ]
        people = list(figures[name][0]["left_out_mm"])
        lines += [f"| modes | variance % | {' | '.join(people)} | specificity |", "|---" * (len(people) + 3) + "|"]
        for row in figures[name]:
            errors = " | ".join(f"{row['left_out_mm'][person]:.2f}" for person in people)
            lines.append(f"| {row['modes']} | {100 * row['variance']:.1f} | {errors} | {row['specificity_mm']:.2f} |")
    lines += ["", "## Whose they are", ""]
    sets = dict.fromkeys(bone_set for group in groups.values() for bone_set in group.bones.sets)
    lines += [f"- `{bone_set.name}`: {bone_set.source}. {bone_set.licence}." for bone_set in sets]
    return "\n".join(lines) + "\n"


def _row(fit: FittedVertebra) -> str:
    measured = [
        " / ".join(f"{fit.dimensions[f'{plate}_endplate_{side}_mm']:.0f}" for plate in ("upper", "lower"))
        for side in ("width", "depth")
    ]
    published = "; ".join(
        " / ".join(f"{published_mm(key, fit.level):.0f}" for key in PUBLISHED_MM if part in key)
        for part in ("width", "depth", "height")
    )
    return (
        f"| {fit.person} {fit.level} | {fit.volume_mm3 / 1000:.1f} | {fit.assd_mm:.2f} | {fit.hd95_mm:.2f} | "
        f"{fit.uncovered_mm:.1f} | {measured[0]} | {measured[1]} | "
        f"{fit.dimensions['body_height_posterior_mm']:.0f} | {published} |"
    )


def _fitted(group: VertebraGroup, number: int, target: Mesh) -> FittedVertebra:
    shape = group.bones.shapes[number]
    distances = compare_surfaces((shape, group.bones.triangles), target, SAMPLES)
    return FittedVertebra(
        person=group.bones.people[number],
        level=group.levels[number],
        volume_mm3=volume_mm3(*target),
        assd_mm=distances.assd_mm,
        hd95_mm=distances.hd95_mm,
        uncovered_mm=float(distances.truth_to_predicted.max()),
        dimensions=dimensions(in_own_frame(shape, group.parts), group.parts),
    )


def _fits_picture(group: VertebraGroup, targets: Sequence[Mesh], fits: Sequence[FittedVertebra]) -> np.ndarray:
    """Every vertebra, and beside it the template on it, coloured by distance."""
    panels = []
    for shape, target, fit in zip(group.bones.shapes, targets, fits, strict=True):
        off = distances_to_surface(shape, *target)
        panel = np.hstack(
            [
                *views(target, np.zeros(len(target[0])), drawing.ERROR_COLOURS),
                *views((shape, group.bones.triangles), off / RED_FROM_MM, drawing.ERROR_COLOURS),
            ]
        )
        drawing.write(panel, f"{fit.person} {fit.level}: ASSD {fit.assd_mm:.2f} mm", (3, 4), 13)
        panels.append(panel)
    return tiled(panels)


def _modes_picture(
    mean: np.ndarray, modes: np.ndarray, variances: np.ndarray, triangles: np.ndarray, count: int = 4
) -> np.ndarray:
    """The mean, and the first modes at two standard deviations below and above it."""
    colours = [(235, 225, 200), (90, 140, 220)]
    panels = [np.hstack([*views((mean, triangles), np.zeros(len(mean)), colours)] * 2)]
    drawing.write(panels[0], "mean", (3, 4), 13)
    for mode in range(min(count, len(variances))):
        shapes = [mean + sign * 2 * np.sqrt(variances[mode]) * modes[:, :, mode] for sign in (-1, 1)]
        panel = np.hstack(
            [
                view
                for shape in shapes
                for view in views((shape, triangles), np.linalg.norm(shape - mean, axis=1) / 10, colours)
            ]
        )
        drawing.write(panel, f"mode {mode + 1}: 2 standard deviations below, above", (3, 4), 13)
        panels.append(panel)
    return np.vstack(panels)


def views(mesh: Mesh, values: np.ndarray, colours: Sequence[drawing.Colour]) -> list[np.ndarray]:
    """A surface from the front and from the left, coloured by values (V,) from 0 to 1 of its vertices."""
    points, normals, between = dense_points(mesh, values, POINTS)
    painted = drawing.blended(np.clip(between, 0, 1), colours)
    return [drawing.shaded(points, normals, painted, across, towards, PANEL_PX, PX_PER_MM) for across, towards in VIEWS]


def tiled(panels: list[np.ndarray]) -> np.ndarray:
    """Panels in rows of COLUMNS."""
    empty = np.zeros_like(panels[0])
    filled = [*panels, *[empty] * (-len(panels) % COLUMNS)]
    return np.vstack([np.hstack(filled[first : first + COLUMNS]) for first in range(0, len(filled), COLUMNS)])
