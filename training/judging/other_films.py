"""Films of anything but hips, through the same film physics: what the product has to refuse.

    film = other_film("knee", population, number=3)   # (rows, cols) from 0 to 1, geometry

Knees, thighs and lumbar spines are those of virtual patients; a pelvis from the side is a patient turned; shoulders,
chests, hands, skulls and the like are made of bars, balls and shells of bone. Shapes and sizes are roughly an adult's,
all ours. Flesh is as thick as what lies within reach of bone asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.spatial.transform import Rotation

from DualFaceReconLib.bonemaps import BONES, BoneMaps
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import Mesh
from training.patients.matter import matter_of
from training.patients.population import Population
from training.patients.solids import ball, rod, sheet, swept
from training.patients.virtual import sample_patient
from training.raycast import Matter, cast
from training.simulate import one_thread
from training.xray.film import filmed
from training.xray.projection import Projection

SEED = 316
FILM_PX = 512  # along the longer side
SIZES_MM = ((350.0, 430.0), (430.0, 350.0), (300.0, 240.0))
SDD_MM, OBJECT_DISTANCE_MM = 1100.0, 150.0
CORTEX_MM, DENSITY = 2.5, 0.15  # of solids


@dataclass
class Scene:
    """Bones around the origin, RAS mm, and the flesh around them."""

    bones: dict[str, Mesh] = field(default_factory=dict)
    matter: dict[str, Matter] = field(default_factory=dict)  # of those that have their own
    reach_mm: float = 50.0  # how far flesh goes beyond bone in the picture
    thick_mm: float = 120.0  # flesh where it is thickest
    lungs: bool = False  # air takes most of the flesh beside the middle


@dataclass(frozen=True)
class OtherFilm:
    """A film as it is displayed."""

    pixels: np.ndarray  # (rows, cols) float32 from 0 to 1, bone bright
    geometry: ProjectionGeometry


def other_film(kind: str, population: Population, number: int) -> OtherFilm:
    """Film `number` of a kind; the same again for the same population."""
    rng = np.random.default_rng([SEED, list(SCENES).index(kind), number])
    scene = SCENES[kind](population, rng)
    size_mm = SIZES_MM[rng.integers(len(SIZES_MM))]
    pitch = max(size_mm) / FILM_PX
    size_px = tuple(round(side / pitch) for side in size_mm)
    geometry = ProjectionGeometry(SDD_MM, (pitch, pitch), size_px, object_distance_mm=OBJECT_DISTANCE_MM)
    shift = np.array([rng.normal(0, 15), OBJECT_DISTANCE_MM, rng.normal(0, 15)])
    turn = Rotation.from_euler("y", rng.normal(0, 4), degrees=True).as_matrix()
    bones = {name: (vertices @ turn.T + shift, triangles) for name, (vertices, triangles) in scene.bones.items()}
    with one_thread():
        projection = _projection(scene, bones, geometry, rng)
        film = filmed(projection, rng, variety="wide")
    return OtherFilm(film.pixels.astype(np.float32), geometry)


def _projection(
    scene: Scene, bones: Mapping[str, Mesh], geometry: ProjectionGeometry, rng: np.random.Generator
) -> Projection:
    matter = {
        name: scene.matter.get(name)
        or Matter(cortex_mm=np.full(len(mesh[0]), CORTEX_MM), density=np.full(len(mesh[0]), DENSITY))
        for name, mesh in bones.items()
    }
    rays = cast(bones, geometry, "cpu", matter)
    whole, bone = rays.path_mm.sum(axis=0), (rays.cortical_mm + rays.trabecular_mm).sum(axis=0)
    flesh = _flesh(scene, whole > 0, geometry.pixel_pitch_mm[0], rng)
    fat = flesh * rng.uniform(0.15, 0.5)
    lengths = {"muscle": np.maximum(flesh - fat - whole, 0), "fat": fat, "bone": bone}
    empty = np.zeros((len(BONES), *geometry.size_px), np.float32)
    return Projection(
        geometry=geometry,
        maps=BoneMaps(bones=BONES, mask=empty > 0, front=empty, back=empty),
        lengths_mm={name: torch.as_tensor(values.astype(np.float32)) for name, values in lengths.items()},
    )


def _flesh(scene: Scene, bone: np.ndarray, pitch_mm: float, rng: np.random.Generator) -> np.ndarray:
    """(rows, cols) mm of flesh: round around what lies within reach of bone, lumpy."""
    if not bone.any():
        return np.zeros(bone.shape)
    away = distance_transform_edt(~bone) * pitch_mm / scene.reach_mm
    flesh = scene.thick_mm * np.sqrt(np.clip(1 - away**2, 0, 1))
    lumps = gaussian_filter(rng.normal(size=bone.shape), 20 / pitch_mm)
    flesh *= 1 + 0.04 * lumps / lumps.std()
    if scene.lungs:
        rows, cols = np.mgrid[: bone.shape[0], : bone.shape[1]]
        down, across = (rows / bone.shape[0] - 0.45) / 0.36, cols / bone.shape[1] - 0.5
        for side in (-1, 1):
            inside = np.clip(1 - down**2 - ((across - side * 0.22) / 0.15) ** 2, 0, None)
            flesh *= 1 - 0.75 * np.minimum(3 * inside, 1) ** 0.5
    return gaussian_filter(flesh, 3 / pitch_mm)


# Scenes


def _patient_from_the_side(population: Population, rng: np.random.Generator) -> Scene:
    patient = sample_patient(population, int(rng.integers(2**31)), "wide")
    turn = Rotation.from_euler("z", rng.choice([-90.0, 90.0]) + rng.normal(0, 6), degrees=True).as_matrix()
    matter = matter_of(patient, rng)
    return Scene(bones=patient.turned(turn).bones, matter=matter, reach_mm=90, thick_mm=280)


def _knee(population: Population, rng: np.random.Generator) -> Scene:
    """The lower ends of one or both femora, with shins, calves' bones and kneecaps of solids."""
    patient = sample_patient(population, int(rng.integers(2**31)))
    own, scene = matter_of(patient, rng), Scene(reach_mm=45, thick_mm=110)
    sides = (("left",), ("right",), ("left", "right"))[rng.integers(3)]
    for side in sides:
        vertices, triangles = patient.bones[f"femur_{side}"]
        knee = sum(patient.landmarks[f"femur_{side}"][name] for name in ("medial_epicondyle", "lateral_epicondyle")) / 2
        place = np.array([(70.0 if side == "right" else -70.0) if len(sides) > 1 else 0.0, 0.0, 0.0])
        scene.bones[f"femur_{side}"] = vertices - knee + place, triangles
        scene.matter[f"femur_{side}"] = own[f"femur_{side}"]
        down = np.array([0, 0, -1.0])
        path = place + np.array([[0, 0, -22], [0, 0, -40], [2, 0, -90], [3, 0, -330.0]])
        scene.bones[f"tibia_{side}"] = swept(_dense(path), np.interp(np.linspace(0, 1, 60), [0, 0.2, 1], [36, 17, 15]))
        outwards = np.array([30.0 if side == "right" else -30.0, -15, 0])
        scene.bones[f"fibula_{side}"] = rod(place + outwards + 45 * down, place + outwards + 330 * down, 7.0)
        scene.bones[f"patella_{side}"] = ball(place + np.array([0, 45.0, 12]), 20.0)
    return scene


def _thighs(population: Population, rng: np.random.Generator) -> Scene:
    """The shafts of both femora; neither hip nor knee is on the film."""
    patient = sample_patient(population, int(rng.integers(2**31)))
    own, scene = matter_of(patient, rng), Scene(reach_mm=70, thick_mm=150)
    for side, place in (("left", -80.0), ("right", 80.0)):
        vertices, triangles = patient.bones[f"femur_{side}"]
        length = np.ptp(vertices[:, 2])
        middle = np.array([vertices[:, 0].mean(), vertices[:, 1].mean(), vertices[:, 2].min() + 0.45 * length])
        scene.bones[f"femur_{side}"] = (vertices - middle) * (1, 1, 2.2) + (place, 0, 0), triangles
        scene.matter[f"femur_{side}"] = own[f"femur_{side}"]
    return scene


def _lumbar_spine(population: Population, rng: np.random.Generator) -> Scene:
    """Lumbar and thoracic bodies, the lower ribs; the pelvis begins below the film."""
    patient = sample_patient(population, int(rng.integers(2**31)))
    scene = Scene(reach_mm=130, thick_mm=230)
    vertices, triangles = patient.bones["lumbar_3"]
    body = vertices - vertices.mean(axis=0)
    for level in range(-5, 6):
        scene.bones[f"body_{level}"] = body * rng.normal(1, 0.03) + (3 * rng.normal(), 0, 36.0 * level), triangles
    for number in range(4):
        for side in (-1, 1):
            scene.bones[f"rib_{number}_{side}"] = _rib(60 + 28.0 * number, side, 110 + 6 * number, 5.0)
    return scene


def _rib(height: float, side: int, wide: float, radius: float) -> Mesh:
    turn = np.linspace(-0.45 * np.pi, 0.42 * np.pi, 50)
    path = np.stack([side * wide * np.cos(turn), 80 * np.sin(turn), height - 30 * np.sin(turn) - 18 * np.cos(turn)], 1)
    return swept(path, np.full(len(path), radius))


def _chest(population: Population, rng: np.random.Generator) -> Scene:
    scene = Scene(reach_mm=40, thick_mm=190, lungs=True)
    wide = rng.uniform(115, 150)
    for number in range(11):
        shape = wide * np.sin(np.pi * (0.18 + 0.62 * number / 11)) ** 0.7
        for side in (-1, 1):
            scene.bones[f"rib_{number}_{side}"] = _rib(140 - 26.0 * number, side, shape, rng.uniform(3.5, 5))
    for side in (-1, 1):
        start, end = np.array([side * 12.0, 70, 135]), np.array([side * 150.0, 20, 165])
        scene.bones[f"clavicle_{side}"] = rod(start, end, 6.0)
    scene.bones["spine"] = rod(np.array([0, -50.0, -220]), np.array([0, -50.0, 220]), 17.0)
    heart = ball(np.array([-25.0, 30, -30]), 55.0)
    scene.bones["heart"] = heart
    scene.matter["heart"] = Matter(cortex_mm=np.full(len(heart[0]), 0.1), density=np.full(len(heart[0]), 0.02))
    return scene


def _shoulder(population: Population, rng: np.random.Generator) -> Scene:
    scene, side = Scene(reach_mm=55, thick_mm=120), float(rng.choice([-1, 1]))
    scene.bones["head"] = ball(np.zeros(3), rng.uniform(22, 26))
    path = _dense(np.array([[0, 0, 0], [side * 12.0, 0, -30], [side * 16.0, 0, -90], [side * 22.0, 0, -320]]))
    scene.bones["humerus"] = swept(path, np.interp(np.linspace(0, 1, len(path)), [0, 0.15, 0.4, 1], [20, 16, 11, 10]))
    outline = np.array([[-28, 20], [-60, 45], [-125, 60], [-118, -20], [-80, -125], [-40, -40]]) * (side, 1)
    outline = outline if side > 0 else outline[::-1]
    axes = np.array([1.0, 0, 0]), np.array([0, 0, 1.0])
    scene.bones["scapula"] = sheet(outline - outline.mean(0), np.array([side * -75.0, -30, -5]), *axes, 6.0)
    scene.bones["clavicle"] = rod(np.array([side * 5.0, 15, 38]), np.array([side * -150.0, 30, 55]), 6.5)
    for number in range(6):
        scene.bones[f"rib_{number}"] = _rib(40 - 28.0 * number, int(side), 40, 4.5)
        vertices, triangles = scene.bones[f"rib_{number}"]
        scene.bones[f"rib_{number}"] = vertices - (side * 160.0, 0, 0), triangles
    return scene


def _hand(population: Population, rng: np.random.Generator) -> Scene:
    """A hand or a foot: rays of short bars on an arch of balls."""
    scene, scale = Scene(reach_mm=14, thick_mm=30), rng.uniform(0.9, 2.2)
    for ray in range(5):
        angle = np.radians(-28 + 13 * ray + rng.normal(0, 2))
        way, start = np.array([np.sin(angle), 0, np.cos(angle)]), 28.0
        for length, radius in ((62, 5.5), (40, 5.0), (24, 4.2), (17, 3.6))[: 3 if ray == 4 else 4]:
            scene.bones[f"bar_{ray}_{length}"] = rod(
                scale * start * way, scale * (start + length) * way, scale * radius
            )
            start += length + 3.0
        scene.bones[f"ball_{ray}"] = ball(scale * 14 * way, scale * 9.0)
    for place in (-12.0, 14.0):
        scene.bones[f"forearm_{place}"] = rod(
            scale * np.array([place, 0, -8.0]), scale * np.array([place * 1.3, 0, -150]), scale * 9.0
        )
    return scene


def _skull(population: Population, rng: np.random.Generator) -> Scene:
    vertices, triangles = ball(np.zeros(3), 1.0)
    scene = Scene(reach_mm=12, thick_mm=150)
    scene.bones["vault"] = vertices * (75, 92, 88) + (0, 0, 40), triangles
    shell = len(vertices)
    scene.matter["vault"] = Matter(cortex_mm=np.full(shell, rng.uniform(4, 7)), density=np.full(shell, 0.03))
    turn = np.linspace(0, np.pi, 40)
    jaw = np.stack([50 * np.cos(turn), 60 * np.sin(turn), -75 - 8 * np.sin(turn)], axis=1)
    scene.bones["jaw"] = swept(jaw, np.full(len(jaw), 9.0))
    for level in range(4):
        scene.bones[f"neck_{level}"] = rod(
            np.array([0, -20, -80.0 - 20 * level]), np.array([0, -20, -95.0 - 20 * level]), 12
        )
    return scene


def _tubes(population: Population, rng: np.random.Generator) -> Scene:
    """Bars, balls and rings of bone, as they fall."""
    scene = Scene(reach_mm=rng.uniform(20, 80), thick_mm=rng.uniform(40, 200))
    for number in range(rng.integers(2, 8)):
        place, way = rng.uniform(-130, 130, 3) * (1, 0.4, 1), Rotation.random(random_state=rng).as_matrix()[0]
        what = rng.choice(["bar", "ball", "ring"])
        if what == "bar":
            scene.bones[f"{number}"] = rod(place - way * 100, place + way * rng.uniform(20, 160), rng.uniform(6, 28))
        elif what == "ball":
            scene.bones[f"{number}"] = ball(place, rng.uniform(12, 60))
        else:
            turn = np.linspace(0, 1.95 * np.pi, 60)
            radius = rng.uniform(25, 80)
            ring = np.stack([np.cos(turn), 0.2 * np.sin(turn), np.sin(turn)], axis=1) * radius + place
            scene.bones[f"{number}"] = swept(ring, np.full(60, rng.uniform(5, 14)))
    return scene


def _dense(path: np.ndarray, count: int = 60) -> np.ndarray:
    """A path (n, 3) with evenly many points."""
    share = np.linspace(0, len(path) - 1, count)
    return np.stack([np.interp(share, np.arange(len(path)), path[:, axis]) for axis in range(3)], axis=1)


SCENES: dict[str, Callable[[Population, np.random.Generator], Scene]] = {
    "pelvis from the side": _patient_from_the_side,
    "knee": _knee,
    "thighs": _thighs,
    "lumbar spine": _lumbar_spine,
    "chest": _chest,
    "shoulder": _shoulder,
    "hand or foot": _hand,
    "skull": _skull,
    "bars, balls and rings": _tubes,
}
