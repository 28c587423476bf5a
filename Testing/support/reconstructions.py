"""A reconstruction without networks, for tests: bones of the shipped shape models, their exact maps, a film of them."""

from __future__ import annotations

from functools import cache

import numpy as np
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonDataModel import vtkPolyData

from DualFaceReconLib.bonemaps import BONES, BoneMaps, kind_and_side
from DualFaceReconLib.film.acquisition import RadiographWarning
from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.geometry import ProjectionGeometry, Provenance
from DualFaceReconLib.measurements import Measurement
from DualFaceReconLib.meshes import Mesh, mirrored, polydata
from DualFaceReconLib.outcome import Bone, BundleName, Reconstruction
from DualFaceReconLib.shape.shapemodel import load_shape_models
from DualFaceReconLib.shape.trimming import without_unseen_shaft
from DualFaceReconLib.shape.visibility import entry_and_exit_depths, entry_and_exit_vertices
from DualFaceReconLib.surfaces import observed_surface
from DualFaceReconLib.verdicts import DOUBTFUL, GOOD, Reason, Verdict
from support.bones import MODELS

OBJECT_DISTANCE_MM = 180.0
PELVIS = ProjectionGeometry(
    1100,
    (1.6, 1.6),
    (220, 270),
    object_distance_mm=OBJECT_DISTANCE_MM,
    provenance={"object_distance_mm": Provenance("assumed", "population mean", spread=35.0)},
)
# The patient's right hip alone: columns from the picture's left border on
RIGHT_HIP = PELVIS.cropped((0, 0), (220, 130))


@cache
def skeleton(view: str = "AP") -> dict[str, Mesh]:
    """The models' mean bones in front of the detector, heads in their sockets, RAS mm."""
    models = load_shape_models(MODELS)
    hip, femur = models["hip"].mean, models["femur"].mean
    away = OBJECT_DISTANCE_MM if view == "AP" else -OBJECT_DISTANCE_MM
    hip = hip + np.array([-hip[:, 0].max() - 2.5, away, 30])
    socket = models["hip"].landmark_points(hip)["acetabular_centre"]
    femur = femur + socket - models["femur"].landmark_points(femur)["femoral_head_centre"]
    left = {"hip": (hip, models["hip"].triangles), "femur": (femur, models["femur"].triangles)}
    bones = {}
    for bone in BONES:
        kind, side = kind_and_side(bone)
        vertices, triangles = left[kind]
        bones[bone] = (vertices, triangles) if side == "left" else mirrored((vertices, triangles))
    return bones


def made_reconstruction(
    geometry: ProjectionGeometry = PELVIS,
    bones: tuple[str, ...] = BONES,
    not_completed: tuple[str, ...] = (),
    warnings: tuple[str, ...] = (),
    doubted: tuple[str, ...] = (),
) -> Reconstruction:
    """`bones` are found and completed, but for those of `not_completed`."""
    depths = {bone: _depths(bone, geometry) for bone in BONES}
    blank = np.zeros(geometry.size_px)
    front, back = (
        np.array([depths[bone][i] if bone in bones else blank for bone in BONES], np.float32) for i in (0, 1)
    )
    maps = BoneMaps(bones=BONES, mask=front > 0, front=front, back=back)
    thickness = sum(back - front for front, back in depths.values())
    lit = np.linspace(0.2, 0.3, geometry.size_px[1]) + 1 - np.exp(-thickness / 40)
    all_warnings = tuple(RadiographWarning(f"warning-{i}", text) for i, text in enumerate(warnings))
    radiograph = Radiograph(lit, geometry, warnings=all_warnings)
    return Reconstruction(
        radiograph=radiograph,
        maps=maps,
        bones={
            bone: Bone(
                observed=observed_surface(maps, geometry, bone),
                completed=None if bone in not_completed else _completed(bone, geometry),
                measurements={"share_seen": Measurement(61.0, "%"), **MEASURED[kind_and_side(bone)[0]]},
                verdict=DOUBTED if bone in doubted else Verdict(grade=GOOD, evidence={"misfit": 0.7}),
            )
            for bone in bones
        },
        measurements={"distance_of_hip_centres": Measurement(181.4, "mm", 7.1)} if len(bones) == 4 else {},
        bundle=BundleName(id="made-up", version="1.0", sha256="ab" * 32),
        device="cpu",
        timings_s={"networks": 2.5, "surfaces": 0.3, "completion": 4.0},
        warnings=all_warnings,
    )


DOUBTED = Verdict(
    grade=DOUBTFUL,
    reasons=(Reason("misfit", 3.4, "mm", "no shape comes near it"), Reason("range", 2.1, "", "its shape is unusual")),
    evidence={"misfit": 3.4, "range": 2.1, "beyond": 4.0},
)
MEASURED = {
    "hip": {
        "acetabular_diameter": Measurement(52.3, "mm", 2.2),
        "volume": Measurement(301.0, "cm3", 36.0),
        "certainty_where_inferred": Measurement(3.1, "mm"),
    },
    "femur": {"femoral_head_diameter": Measurement(47.9, "mm", 2.0)},
}


@cache
def _depths(bone: str, geometry: ProjectionGeometry) -> tuple[np.ndarray, np.ndarray]:
    return entry_and_exit_depths(*skeleton(geometry.view)[bone], geometry)


@cache
def _completed(bone: str, geometry: ProjectionGeometry) -> vtkPolyData:
    """The true bone as completion hands it over; the less sure, the farther from what was seen."""
    vertices, triangles = skeleton(geometry.view)[bone]
    seen = np.logical_or(*entry_and_exit_vertices(vertices, triangles, geometry))
    std = np.where(seen, 0.8, 3.0) + np.maximum(-vertices[:, 2] - 60, 0) / 20
    made = polydata(vertices.astype(np.float32), triangles)
    for name, values in (("seen", seen.astype(np.uint8)), ("std_mm", std.astype(np.float32))):
        array = numpy_to_vtk(values, deep=True)
        array.SetName(name)
        made.GetPointData().AddArray(array)
    return without_unseen_shaft(made) if bone.startswith("femur") else made
