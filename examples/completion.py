"""What a film shows of four bones becomes four whole bones, and each says how sure it is of every place.

    python examples/completion.py FOLDER

Writes completion.png and the bones as .vtp. The bones are random shapes of the shipped models, their depth maps exact
but for noise, and a tenth of the depths is wrong by 10 to 40 mm on purpose: no network is at work here.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parent.parent))  # training is not installed

from DualFaceReconLib.bonemaps import BONES, BoneMaps, kind_and_side
from DualFaceReconLib.disk.meshfiles import write_vtp
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import clip_to_planes, mirrored
from DualFaceReconLib.metrics import compare_surfaces
from DualFaceReconLib.pictures import drawing
from DualFaceReconLib.proximity import distances_to_surface
from DualFaceReconLib.shape.completion import complete_all
from DualFaceReconLib.shape.shapemodel import load_shape_models
from DualFaceReconLib.shape.visibility import entry_and_exit_depths
from DualFaceReconLib.surfaces import observed_surfaces, observed_triangles
from training.anatomy.remeshing import dense_points

MODELS = Path(__file__).parent.parent / "Resources" / "Models"
GEOMETRY = ProjectionGeometry(1100, (0.8, 0.8), (440, 520), object_distance_mm=185)
SYMPHYSIS_MM = 5.0
WRONG_SHARE = 0.1
UNSURE_MM, WORST_MM = 6.0, 3.0  # the colours' upper ends
SURE_COLOURS = [(120, 190, 140), (240, 220, 130), (200, 90, 80)]
BONE_COLOUR = (225, 215, 190)
PANEL_PX = (620, 560)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    models = load_shape_models(MODELS)
    truth = skeleton(models, np.random.default_rng(4))
    maps = spoilt_maps(truth, np.random.default_rng(5))
    observed = observed_surfaces(maps, GEOMETRY)
    completions = complete_all(observed, models, GEOMETRY)

    lines = []
    for bone, completion in completions.items():
        write_vtp(completion.polydata(), folder / f"{bone}.vtp")
        completed = completion.vertices, completion.triangles
        on_film = [clip_to_planes(*mesh, *GEOMETRY.frustum_planes()) for mesh in (completed, truth[bone])]
        assd = compare_surfaces(*on_film).assd_mm
        lines.append(f"{bone:<12} ASSD {assd:.2f} mm on the film, {completion.seen.mean():4.0%} of it seen")
    print("\n".join(lines))
    picture = folder / "completion.png"
    drawing.save_png(panels(observed, completions, truth), picture)
    print(f"\nPicture: {picture}")


def skeleton(models: dict, rng: np.random.Generator) -> dict:
    """A random person's bones before the detector: left ones and their mirror images, heads in their sockets."""
    hip, femur = (models[kind].shape(models[kind].sample(rng, limit=2)) for kind in ("hip", "femur"))
    hip = hip + np.array([-hip[:, 0].max() - SYMPHYSIS_MM / 2, 185, 30])
    socket = models["hip"].landmark_points(hip)["acetabular_centre"]
    femur = femur + socket - models["femur"].landmark_points(femur)["femoral_head_centre"]
    left = {"hip": (hip, models["hip"].triangles), "femur": (femur, models["femur"].triangles)}
    bones = {}
    for bone in BONES:
        kind, side = kind_and_side(bone)
        vertices, triangles = left[kind]
        bones[bone] = (vertices, triangles) if side == "left" else mirrored((vertices, triangles))
    return bones


def spoilt_maps(bones: dict, rng: np.random.Generator) -> BoneMaps:
    """Exact masks and depths, with noise, and some of the depths wrong."""
    depths = np.array([entry_and_exit_depths(*bones[bone], GEOMETRY) for bone in BONES]).swapaxes(0, 1)
    mask = depths[0] > 0
    wrong = rng.random(depths.shape) < WRONG_SHARE
    error = rng.normal(0, 0.5, depths.shape) + wrong * rng.uniform(10, 40, depths.shape) * rng.choice(
        [-1, 1], depths.shape
    )
    front, back = np.where(mask, depths + error, 0).astype(np.float32)
    return BoneMaps(bones=BONES, mask=mask, front=front, back=back)


def panels(observed: dict, completions: dict, truth: dict) -> np.ndarray:
    """What was seen; the completed bones, by how sure they are; the same, by how far they are from the true ones."""
    seen, sure, far = [], [], []
    for bone, completion in completions.items():
        mesh = completion.vertices, completion.triangles
        surface = observed_triangles(observed[bone])
        seen.append((*dense_points(surface, np.zeros(len(surface[0])), 400_000)[:2], BONE_COLOUR))
        for clouds, values, most, colours in (
            (sure, completion.std_mm, UNSURE_MM, SURE_COLOURS),
            (far, distances_to_surface(completion.vertices, *truth[bone]), WORST_MM, drawing.ERROR_COLOURS),
        ):
            points, normals, value = dense_points(mesh, values, 400_000)
            clouds.append((points, normals, drawing.blended(np.clip(value / most, 0, 1), colours)))
    titles = (
        "what was seen, a tenth of it wrong",
        f"completed; standard deviation, red from {UNSURE_MM:g} mm",
        f"distance from the true bones, red from {WORST_MM:g} mm",
    )
    return np.hstack([panel(clouds, title) for clouds, title in zip((seen, sure, far), titles, strict=True)])


def panel(clouds: list, title: str) -> np.ndarray:
    """All four bones from the front, turned a little."""
    turn = np.radians(20)
    across, towards = (-np.cos(turn), -np.sin(turn), 0), (-np.sin(turn), np.cos(turn), 0)
    points, normals = (np.concatenate([cloud[i] for cloud in clouds]) for i in (0, 1))
    colours = np.concatenate([np.broadcast_to(np.asarray(cloud[2], dtype=float), cloud[0].shape) for cloud in clouds])
    kept = points[:, 2] > -240
    corners = np.array([[-190, 100, 140], [190, 270, -240.0]])  # the same frame in every panel
    points = np.concatenate([points[kept], corners])
    normals = np.concatenate([normals[kept], np.zeros((2, 3))])
    colours = np.concatenate([colours[kept], np.full((2, 3), 24.0 / 0.35)])
    picture = drawing.shaded(points, normals, colours, across, towards, PANEL_PX, 1.42)
    drawing.write(picture, title, (10, 10), 15)
    return picture


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/demo"))
