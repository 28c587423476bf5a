"""Bones for tests: real ones and reference registrations, which may be absent, a made-up one, and films of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from vtkmodules.vtkFiltersSources import vtkSphereSource

from DualFaceReconLib.bonemaps import BoneMaps
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import arrays, clip_to_planes
from DualFaceReconLib.metrics import compare_surfaces
from DualFaceReconLib.shape.shapemodel import Landmark, ShapeModel, load_shape_models
from DualFaceReconLib.shape.visibility import entry_and_exit_depths
from DualFaceReconLib.surfaces import observed_surface
from training.anatomy.people import BoneSet, Corresponded
from training.anatomy.remeshing import even_template, read_ply
from training.patients.population import Everybody, Population

SHARED = Path(__file__).parents[3] / "shared"
MODELS = Path(__file__).parents[2] / "Resources" / "Models"
GOLDEN_CASES = ("femur", "femur_other", "hip")


def load_bone(people: str, person: str, bone: str) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) mm and triangles (T, 3) of a bone; skips the test where it is absent."""
    path = SHARED / "bones" / people / person / f"{bone}.ply"
    if not path.exists():
        pytest.skip(f"no bones at hand ({people}/{person}): CONTRIBUTING.md says where they come from")
    return read_ply(path)


def load_golden(case: str) -> dict[str, np.ndarray]:
    """A registration by the author's program: source, triangles, target, gbcpd_y ...; skips where it is absent."""
    path = SHARED / "golden" / f"{case}.npz"
    if not path.exists():
        pytest.skip("no reference registrations at hand")
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name].astype(int if name == "triangles" else float) for name in file.files}


# A bone that everybody has at hand: an egg with a bent horn, and four ways in which people differ.
FILM = ProjectionGeometry(1100, (1.0, 1.0), (350, 430))


def made_model(bone: str = "hip") -> ShapeModel:
    """A shape model of a made-up bone about 120 mm long; nothing about it is symmetric."""
    source = vtkSphereSource()
    source.SetThetaResolution(50)
    source.SetPhiResolution(50)
    source.SetRadius(1)
    source.Update()
    unit, triangles = arrays(source.GetOutput())
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    horn = np.exp(-4 * ((unit - (0.5, 0.6, 0.62)) ** 2).sum(axis=1))[:, None]
    mean = unit * (32, 24, 60) + horn * unit * 25 + np.array([12.0, 0, 0]) * (unit[:, 2:] ** 2)
    mean = even_template((mean - mean.mean(axis=0), triangles), 1500)
    vertices, triangles = mean
    vertices = vertices - vertices.mean(axis=0)
    length = vertices / np.abs(vertices).max(axis=0)
    ways = [
        vertices * 0.06,
        np.array([5.0, 0, 0]) * length[:, 2:] ** 2,
        vertices * (0, 0.12, 0),
        np.exp(-(((vertices - vertices[vertices[:, 1].argmax()]) / 20) ** 2).sum(axis=1))[:, None] * (0, 6.0, 3.0),
    ]
    offsets = np.stack([_without_pose(way, vertices).ravel() for way in ways], axis=1)
    modes, lengths, _ = np.linalg.svd(offsets, full_matrices=False)
    tip = Landmark(vertices=np.array([int(vertices[:, 2].argmax())]), weights=np.ones(1))
    return ShapeModel(
        bone=bone,
        mean=vertices,
        modes=modes.reshape(*vertices.shape, -1),
        variances=lengths**2,
        triangles=triangles,
        landmarks={"tip": tip},
        people=("made/up",),
        sources=(),
        licences=(),
    )


def _without_pose(way: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Offsets without the turn and the move in them, as aligned people have them."""
    turns = [np.cross(axis, vertices).ravel() for axis in np.eye(3)]
    moves = [np.tile(axis, (len(vertices), 1)).ravel() for axis in np.eye(3)]
    basis = np.linalg.qr(np.stack([*turns, *moves], axis=1))[0]
    return (way.ravel() - basis @ (basis.T @ way.ravel())).reshape(way.shape)


def on_film(
    vertices: np.ndarray, place: tuple[float, float, float], turn_degrees: tuple[float, float, float] = (0, 0, 0)
):
    """A bone turned about its middle and put where a film shows it; RAS mm."""
    middle = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    return (vertices - middle) @ Rotation.from_euler("xyz", turn_degrees, degrees=True).as_matrix().T + place


def film_of(mesh, geometry=FILM, *, dual: bool = True, noise_mm: float = 0.0, seed: int = 0):
    """The observed surface of a bone by exact depth maps, with noise on every pixel where asked for."""
    depths = entry_and_exit_depths(*mesh, geometry)
    mask = depths[0] > 0
    rng = np.random.default_rng(seed)
    front, back = (np.where(mask, depth + rng.normal(0, noise_mm, depth.shape), 0)[None] for depth in depths)
    maps = BoneMaps(
        bones=("bone",), mask=mask[None], front=front.astype(np.float32), back=back.astype(np.float32) if dual else None
    )
    return observed_surface(maps, geometry, "bone")


def apart(vertices, triangles, truth, geometry=FILM) -> float:
    """Mean distance in mm between a completed bone and the true one inside the viewing frustum, both ways."""
    planes = geometry.frustum_planes()
    return compare_surfaces(clip_to_planes(vertices, triangles, *planes), clip_to_planes(*truth, *planes), 2000).assd_mm


@cache
def made_population(count: int = 6) -> Population:
    """A population of made-up people: patients for tests without real bones."""
    return made_people(count).without(())


@cache
def made_people(count: int = 6) -> Everybody:
    """People drawn from the shipped shape models, with an egg for a sacrum."""
    models = load_shape_models(MODELS)
    rng = np.random.default_rng(0)
    hips, femora, sacra = [], [], []
    source = vtkSphereSource()
    source.SetThetaResolution(40)
    source.SetPhiResolution(40)
    source.Update()
    egg, egg_triangles = arrays(source.GetOutput())
    for _ in range(count):
        coefficients = models["hip"].sample(rng, limit=1.5) * 0.7
        left = models["hip"].shape(coefficients)
        left = left - (left[:, 0].max() + 2.5, 0, 0)  # half of a symphysis
        hips.append(left)
        femora.append(models["femur"].shape(models["femur"].sample(rng, limit=1.5) * 0.7))
        sacra.append(egg * (80, 40, 100) + (0, -45, 30))
    names = tuple(f"made/s{i:02d}" for i in range(count))
    made = BoneSet(name="made", source="drawn from the shipped models", licence="MPL-2.0 and CC BY 4.0")
    sides = np.array([hip for pair in ((hip, hip + np.array([0.0, 0.5, 0.0])) for hip in hips) for hip in pair])
    return Everybody(
        hips=Corresponded(
            bone="hip",
            triangles=models["hip"].triangles,
            shapes=sides,
            people=tuple(name for name in names for _ in range(2)),
            sets=(made,),
        ),
        femora=Corresponded(
            bone="femur",
            triangles=models["femur"].triangles,
            shapes=np.array(femora),
            people=names,
            sets=(made,),
        ),
        sacra=np.array(sacra),
        sacrum_triangles=egg_triangles,
    )
