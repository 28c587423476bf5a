"""A known surface becomes a film, the film a file, and the file's geometry brings the surface back.

    python examples/round_trip.py FOLDER

Writes film.dcm and round_trip.png into the folder. The depth maps come from the solids themselves, not from a network;
everything else (file, header, geometry, surfaces, measuring) is the engine's own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parent.parent))  # training is not installed

from DualFaceReconLib import read_radiograph
from DualFaceReconLib.bonemaps import BoneMaps
from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import Mesh
from DualFaceReconLib.metrics import compare_surfaces
from DualFaceReconLib.pictures import drawing, inspection
from DualFaceReconLib.proximity import distances_to_surface
from DualFaceReconLib.surfaces import observed_surfaces, observed_triangles
from training.anatomy.remeshing import dense_points
from training.xray.analytic import Ellipsoid, Sphere, Torus, render
from training.xray.dicom_film import write_dx

SOLIDS = {
    "hip_right": Torus(centre=(70, 185, 20), axis=(0.45, 1, 0.25), major_radius=48, minor_radius=16),
    "hip_left": Ellipsoid(centre=(-68, 190, 15), semi_axes=(34, 22, 66)),
    "femur_right": Sphere(centre=(118, 182, -78), radius=30),
}
GEOMETRY = ProjectionGeometry(
    sdd_mm=1150,
    pixel_pitch_mm=(0.7, 0.7),
    size_px=(512, 512),
    principal_point_px=(240.0, 262.0),
    object_distance_mm=186.0,
)
VIEW_PX, VIEW_MM = 480, 330  # a side of each panel
WORST_MM = 0.5  # the error colours' upper end


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    maps, length = render(SOLIDS, GEOMETRY)
    write_dx(folder / "film.dcm", film(length), GEOMETRY)

    radiograph = read_radiograph(folder / "film.dcm")
    print(inspection.as_text(radiograph), "\n")

    surfaces = {bone: observed_triangles(s) for bone, s in observed_surfaces(maps, radiograph.geometry).items()}
    truth = {bone: tessellated(solid) for bone, solid in SOLIDS.items()}
    print("Brought back from exact depth maps of 512 x 512 pixels (0.6 mm at the bones):")
    rows = []
    for bone, surface in surfaces.items():
        errors = compare_surfaces(surface, truth[bone])
        kind = type(SOLIDS[bone]).__name__
        rows.append(f"{bone:<12} {kind:<10} ASSD {errors.assd_mm:.2f} mm   HD95 {errors.hd95_mm:.2f} mm")
        print("  " + rows[-1])
    picture = folder / "round_trip.png"
    drawing.save_png(panels(radiograph, maps, surfaces, truth, rows), picture)
    print(f"\nPicture: {picture}")


def film(length: np.ndarray) -> np.ndarray:
    """(rows, cols) attenuation of solids in a soft-tissue wedge, with noise, bone bright."""
    rows, cols = length.shape[1:]
    row, col = np.mgrid[:rows, :cols]
    tissue = 3.2 * np.exp(-(((col - cols / 2) / (0.55 * cols)) ** 4) - (row - rows / 2) ** 2 / (1.1 * rows) ** 2)
    return tissue + 0.02 * length.sum(axis=0) + np.random.default_rng(0).normal(0, 0.03, (rows, cols))


def tessellated(solid: Sphere | Ellipsoid | Torus) -> Mesh:
    """A fine mesh of a solid's true surface."""
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, 241), np.linspace(0, 1, 241), indexing="ij")
    if isinstance(solid, Torus):
        axis = np.array(solid.axis) / np.linalg.norm(solid.axis)
        across = np.linalg.svd(axis[None])[2][1:]
        out = np.cos(u)[..., None] * across[0] + np.sin(u)[..., None] * across[1]
        tube = solid.minor_radius * np.stack([np.cos(2 * np.pi * v), np.sin(2 * np.pi * v)], axis=-1)
        points = out * (solid.major_radius + tube[..., :1]) + axis * tube[..., 1:]
    else:
        size = solid.semi_axes if isinstance(solid, Ellipsoid) else (solid.radius,) * 3
        ball = np.stack([np.cos(u) * np.sin(np.pi * v), np.sin(u) * np.sin(np.pi * v), np.cos(np.pi * v)], axis=-1)
        points = ball * size
    number = np.arange(241 * 241).reshape(241, 241)
    a, b, c, d = (n.ravel() for n in (number[:-1, :-1], number[1:, :-1], number[:-1, 1:], number[1:, 1:]))
    return points.reshape(-1, 3) + solid.centre, np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])


# The picture


def panels(
    radiograph: Radiograph,
    maps: BoneMaps,
    surfaces: dict[str, Mesh],
    truth: dict[str, Mesh],
    rows: list[str],
) -> np.ndarray:
    """Film, front depth and back depth above; the surface from the front and from the side below, with its error."""
    drawn = inspection.picture(radiograph)[:VIEW_PX_FILM, :VIEW_PX_FILM]
    film_panel = drawing.resized_grey(drawn.astype(float), (VIEW_PX, VIEW_PX)).astype(np.uint8)
    depths = [depth_panel(maps.mask, face, name) for face, name in ((maps.front, "front"), (maps.back, "back"))]
    points, normals, errors = samples(surfaces, truth)
    colours = drawing.blended(np.clip(errors / WORST_MM, 0, 1), drawing.ERROR_COLOURS)
    size, scale = (VIEW_PX, VIEW_PX), VIEW_PX / VIEW_MM
    front = drawing.shaded(points, normals, colours, (-1, 0, 0), (0, 1, 0), size, scale)
    side = drawing.shaded(points, normals, colours, (0, -1, 0), (-1, 0, 0), size, scale)
    drawing.write(front, "seen from the front (patient's right is left)", (10, 10), 17)
    drawing.write(side, "seen from the patient's left (front is left)", (10, 10), 17)
    words = np.full((VIEW_PX, VIEW_PX, 3), 24, np.uint8)
    lines = [
        "A known surface, projected and brought back",
        "",
        *rows,
        "",
        "Colours: distance to the true surface.",
        "Gaps: between front and back, where no depth was seen.",
    ]
    for i, line in enumerate(lines):
        drawing.write(words, line, (30 + 30 * i, 16), 15)
    bar = drawing.blended(np.tile(np.linspace(0, 1, VIEW_PX - 40), (18, 1)), drawing.ERROR_COLOURS)
    words[320:338, 20 : VIEW_PX - 20] = bar
    drawing.write(words, "0 mm", (344, 20), 15)
    drawing.write(words, f"{WORST_MM:g} mm and more", (344, VIEW_PX - 20), 15, anchor=(0, 1))
    return np.vstack([np.hstack([film_panel, *depths]), np.hstack([front, side, words])])


VIEW_PX_FILM = inspection.PICTURE_SIDE_PX  # the film's part of the inspection picture, without its caption


def depth_panel(mask: np.ndarray, depth: np.ndarray, name: str) -> np.ndarray:
    """Depths of all bones together, the nearest one where they overlap."""
    near = np.where(mask, depth, np.inf).min(axis=0)
    seen = np.isfinite(near)
    low, high = near[seen].min(), near[seen].max()
    panel = np.where(
        seen[..., None], drawing.blended((np.where(seen, near, low) - low) / (high - low), drawing.DEPTH_COLOURS), 24
    )
    panel = drawing.resized_grey(panel.astype(float), (VIEW_PX, VIEW_PX)).astype(np.uint8)
    drawing.write(panel, f"{name} depth, {low:.0f} to {high:.0f} mm from the source", (10, 10), 17)
    return panel


def samples(surfaces: dict[str, Mesh], truth: dict[str, Mesh]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points on all surfaces (N, 3), their unit normals, and their distances to the truth in mm."""
    parts = [
        dense_points(surface, distances_to_surface(surface[0], *truth[bone]), count=400_000)
        for bone, surface in surfaces.items()
    ]
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/demo"))
