"""Surfaces that need no network, by which the others are judged.

exact maps                                  true masks and depths through the product's own surfaces
exact front map only                        the same with one face
exact maps, completed                       and a shape model fitted to them
mean shape at the true pose                 what the shape model says of everybody
mean shape placed by the segmentation       by the true mask, at the true mean depth of the picture's maps (placing.py)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from DualFaceReconLib.bonemaps import BoneMaps
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import Mesh
from DualFaceReconLib.shape.completion import complete_all
from DualFaceReconLib.shape.fitting import Fit, FitSettings, fit
from DualFaceReconLib.shape.shapemodel import ShapeModel
from DualFaceReconLib.surfaces import observed_surface, observed_surfaces, observed_triangles
from training.anatomy.generalisation import centred, whole_target

NO_ALIGNMENT = ""
MEAN_AT_POSE, MEAN_BY_MASK = "mean shape at the true pose", "mean shape placed by the segmentation"
BASELINES = (  # rows of the tables, and how each is aligned
    ("exact maps", NO_ALIGNMENT),
    ("exact front map only", NO_ALIGNMENT),
    ("exact maps, completed", NO_ALIGNMENT),
    (MEAN_AT_POSE, NO_ALIGNMENT),
    (MEAN_BY_MASK, NO_ALIGNMENT),
)
Surfaces = dict[tuple[str, str], Mesh | None]  # row and alignment -> surface; None where the bone was missed


def exact_surfaces(true: BoneMaps, geometry: ProjectionGeometry, bone: str, completed: Mapping[str, Mesh]) -> Surfaces:
    """A bone's surfaces by exact maps, observed and completed; `completed` are `completed_bones` of them."""
    single = replace(true, back=None)
    return {
        ("exact maps", NO_ALIGNMENT): observed_mesh(true, geometry, bone),
        ("exact front map only", NO_ALIGNMENT): observed_mesh(single, geometry, bone),
        ("exact maps, completed", NO_ALIGNMENT): completed.get(bone),
    }


def mean_at_true_pose(model: ShapeModel, mesh: Mesh) -> Mesh:
    """The mean shape, placed where it is closest to the whole true bone."""
    start: Fit = centred(model, mesh)
    pose = fit(model, whole_target(mesh), start, FitSettings(modes=0, robust=False, settled=0.001, steps=40))
    return pose.vertices(model), model.triangles


def observed_mesh(maps: BoneMaps, geometry: ProjectionGeometry, bone: str) -> Mesh | None:
    """The surface of one bone that its maps show, as the product makes it; None where there is none."""
    vertices, triangles = observed_triangles(observed_surface(maps, geometry, bone))
    return (vertices, triangles) if len(triangles) else None


def completed_bones(
    maps: BoneMaps, geometry: ProjectionGeometry, searched: ProjectionGeometry, models: Mapping[str, ShapeModel]
) -> dict[str, Mesh]:
    """The whole bones as the product completes them, without those of which too little was seen.

    `geometry` is of the maps' pixels, `searched` of the part of the film where bones are looked for; `models` are the
    left "hip" and "femur".
    """
    observed = observed_surfaces(maps, geometry)
    completions = complete_all(observed, models, searched, on_refusal=lambda bone, refusal: None)
    return {bone: (completion.vertices, completion.triangles) for bone, completion in completions.items()}
