"""Two films of a virtual vertebra, what is believed of how they were taken, and the volume that they are to become.

    study = filmed_vertebra(stock, seed=7, grid=Grid(side=112, voxel_mm=1.0))  # alone, as in the paper
    study = filmed_vertebra(stock, seed=7, grid=Grid(side=112, voxel_mm=1.0), in_situ=True, errors=USUAL_ERRORS)
    study.projections(), study.truth_hu

The cube lies around the point that is clicked on both films: the middle of the whole bone, at the canal's front wall or
near it, as a cube around the body's middle would have to be larger. The truth is in a cube around where these clicks
really meet; the films are laid back into one around where they meet by what is believed. So a wrong click moves the
vertebra within its cube, and a wrong distance or angle makes its films disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from DualFaceReconLib.backprojection import Cube, back_projected
from DualFaceReconLib.biplanar import FilmPair, PlacedFilm, placed
from DualFaceReconLib.bonemaps import BoneMaps
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import Mesh
from training.raycast import Matter, cast
from training.vertebrae.density import Composition, density, draw_composition
from training.vertebrae.spine import Trunk, draw_trunk, flesh_mm, neighbours
from training.vertebrae.virtual import Stock, VirtualVertebra, sample_vertebra
from training.xray.exposure import Exposure, draw_exposure, expose
from training.xray.postprocessing import draw_postprocessing, postprocessed
from training.xray.projection import Projection
from training.xray.volume import Volume, line_integrals, planes_through

SDD_MM, AXIS_MM = (1000.0, 1300.0), (200.0, 350.0)  # source to detector, and the axis to the detector; ours
LATERAL_DEGREES = 90.0
OFF_AXIS_MM = 15.0  # standard deviation of the vertebra's place across the axis
UP_MM = 120.0  # it lies at most so far above or below the central rays
TILT_DEGREES = (10.0, 5.0, 5.0)  # standard deviations of turns about R, A and S, beside the patient's frame
MARGIN = 1.5  # a film is so much wider than the cube's shadow
PITCH = 0.6  # a film's pixel at the detector, in voxels of the cube
MODEL_MM = 1.0  # voxels of the bone that is filmed
STEP_MM = 0.7  # between samples along a ray
CORTICAL_HU = 1577.9  # of pure cortical bone at 70 keV, as in `training/ct/prepare.py`
SPONGY = 1.3  # the mean of trabecular bone over that deep in the body, of neighbours and ribs


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The cube of a network."""

    side: int
    voxel_mm: float

    @property
    def extent_mm(self) -> float:
        """Its side."""
        return self.side * self.voxel_mm


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Standard deviations of what is believed from what is so."""

    click_mm: float = 0.0  # of the clicked centre, at the vertebra
    angle_degrees: float = 0.0  # of the second film
    distance_mm: float = 0.0  # of both distances of each film


USUAL_ERRORS = Errors(click_mm=5.0, angle_degrees=2.0, distance_mm=20.0)


@dataclass(frozen=True, kw_only=True)
class Around:
    """The bones beside the vertebra that is filmed, in the frame of the truth's cube."""

    meshes: Sequence[Mesh]
    composition: Composition  # the person's

    def matter(self) -> list[Matter]:
        """What each is made of, as rays through meshes take it."""
        dense = self.composition.cortical_hu / CORTICAL_HU
        cortex = (self.composition.side_mm + self.composition.arch_mm) / 2 * dense
        spongy = SPONGY * self.composition.trabecular_hu / CORTICAL_HU
        return [
            Matter(cortex_mm=np.full(len(vertices), cortex), density=np.full(len(vertices), spongy))
            for vertices, _ in self.meshes
        ]


@dataclass(frozen=True, kw_only=True)
class VertebraScene:
    """A vertebra that is filmed, and what stands around it, in the frame of the truth's cube."""

    seed: int
    in_situ: bool
    mesh: Mesh
    model: Volume  # HU around the cube's middle, larger than the cube by a third on every side
    around: Around
    trunk: Trunk

    def picture(self, film: PlacedFilm, centre: np.ndarray, number: int) -> np.ndarray:
        """A film (rows, cols) float32 of the scene whose cube lies around `centre` (3,) in the patient's frame."""
        shown = _shown_in_situ if self.in_situ else _shown_alone
        moved = replace(film, translation=film.translation + film.rotation @ centre)
        return shown(moved, self.model, self.around, self.trunk, np.random.default_rng([self.seed, 24, number]))


@dataclass(frozen=True, kw_only=True)
class Study:
    """Two films of a vertebra with their truth."""

    films: tuple[np.ndarray, np.ndarray]  # (rows, cols) float32, bone bright
    pair: FilmPair  # as it was
    believed: FilmPair
    believed_cube: Cube  # in the believed patient's frame
    centre: np.ndarray  # (3,) mm, of the truth's cube in the patient's frame
    truth_hu: np.ndarray  # (side, side, side) [R, A, S], 0 where no bone is
    mesh: Mesh  # the vertebra in the truth's cube, mm from its middle
    vertebra: VirtualVertebra  # in its own frame
    metadata: dict[str, Any]  # plain values for JSON

    def projections(self) -> Tensor:
        """(2, side, side, side) float32: the films laid back, each by its own mean and spread."""
        cubes = [
            back_projected(standardised(film), place, self.believed_cube)
            for film, place in zip(self.films, (self.believed.first, self.believed.second), strict=True)
        ]
        return torch.stack(cubes)


def filmed_vertebra(
    stock: Stock,
    seed: int,
    grid: Grid,
    in_situ: bool = False,
    errors: Errors | None = None,
    angles_degrees: tuple[float, float] | None = None,
    level: str | None = None,
) -> Study:
    """Two films of the vertebra of a seed. `in_situ`: among its neighbours, in flesh, as a station shows films.

    `angles_degrees` of the two films; else one from in front, and a lateral from either side.
    """
    vertebra = sample_vertebra(stock, seed, level)
    return film_vertebra(vertebra, stock, seed, grid, in_situ, errors, angles_degrees)


def film_vertebra(
    vertebra: VirtualVertebra,
    stock: Stock,
    seed: int,
    grid: Grid,
    in_situ: bool = False,
    errors: Errors | None = None,
    angles_degrees: tuple[float, float] | None = None,
) -> Study:
    """Two films of some vertebra, taken by a seed as above; its neighbours are virtual ones of the stock."""
    rng = np.random.default_rng([seed, 23])
    side, turn, middle = draw_pose(rng)
    angles = angles_degrees or (0.0, side * LATERAL_DEGREES)
    films = [placed_film(middle, angle, grid, rng) for angle in angles]
    pair = FilmPair(*films)

    clicks = [film.project(middle)[0] for film in films]
    wrong = errors or Errors()
    scatter = [rng.normal(size=2) for _ in films]
    clicks = [
        click + wrong.click_mm * off / film.geometry.pixel_size_at(film.project(middle)[1])
        for click, off, film in zip(clicks, scatter, films, strict=True)
    ]
    believed = FilmPair(*believed_films(films, angles, wrong, rng))
    centre, believed_centre = (both.meeting(*clicks).point for both in (pair, believed))
    scene = arrange(vertebra, stock, seed, grid, turn, middle - centre, in_situ, rng)
    pictures = tuple(scene.picture(film, centre, number) for number, film in enumerate(films))
    return Study(
        films=pictures,
        pair=pair,
        believed=believed,
        believed_cube=Cube(tuple(map(float, believed_centre)), grid.side, grid.voxel_mm),
        centre=centre,
        truth_hu=truth_of(scene.model, grid),
        mesh=scene.mesh,
        vertebra=vertebra,
        metadata={
            "seed": seed,
            "in_situ": in_situ,
            "angles_degrees": list(angles),
            "vertebra": vertebra.metadata,
            "composition": asdict(scene.around.composition),
            "errors": asdict(wrong),
            "gap_mm": believed.meeting(*clicks).gap_mm,
        },
    )


def draw_pose(rng: np.random.Generator) -> tuple[float, Rotation, np.ndarray]:
    """From which side a lateral is taken (1: the left), how the vertebra is turned and where its middle is (3,) mm."""
    side = float(rng.choice([-1.0, 1.0]))
    turn = Rotation.from_euler("xyz", rng.normal(0, TILT_DEGREES), degrees=True)
    return side, turn, np.array([*rng.normal(0, OFF_AXIS_MM, 2), rng.uniform(-UP_MM, UP_MM)])


def arrange(
    vertebra: VirtualVertebra,
    stock: Stock,
    seed: int,
    grid: Grid,
    turn: Rotation,
    to_cube: np.ndarray,
    in_situ: bool,
    rng: np.random.Generator,
) -> VertebraScene:
    """A vertebra turned, with its middle at `to_cube` (3,) mm from the cube's; `in_situ` among neighbours."""
    own_middle = (vertebra.mesh[0].min(axis=0) + vertebra.mesh[0].max(axis=0)) / 2
    mesh = turn.apply(vertebra.mesh[0] - own_middle) + to_cube, vertebra.mesh[1]
    composition = draw_composition(rng)
    others = neighbours(vertebra, stock, rng) if in_situ else []
    moved = [(turn.apply(vertices - own_middle) + to_cube, triangles) for vertices, triangles in others]
    return VertebraScene(
        seed=seed,
        in_situ=in_situ,
        mesh=mesh,
        model=_model(mesh, vertebra, composition, seed, grid),
        around=Around(meshes=moved, composition=composition),
        trunk=draw_trunk(vertebra.level, rng, bowel=bool(stock.pelves)),
    )


def placed_film(middle: np.ndarray, angle: float, grid: Grid, rng: np.random.Generator) -> PlacedFilm:
    """A film that shows the surroundings of a point in the patient's frame."""
    sdd, axis = float(rng.uniform(*SDD_MM)), float(rng.uniform(*AXIS_MM))
    pitch = PITCH * grid.voxel_mm
    size = round(MARGIN * grid.extent_mm * sdd / (sdd - axis) / pitch)
    whole = placed(ProjectionGeometry(sdd, (pitch, pitch), (size, size), object_distance_mm=axis), angle)
    shadow = whole.project(middle)[0]
    principal = np.array(whole.geometry.principal_point_px) - (shadow - (size - 1) / 2)
    return replace(whole, geometry=replace(whole.geometry, principal_point_px=tuple(principal)))


def believed_films(
    films: Sequence[PlacedFilm], angles: Sequence[float], errors: Errors, rng: np.random.Generator
) -> list[PlacedFilm]:
    """The films by what is believed of them; the first one's angle is right, as it defines what is in front."""
    believed = []
    for number, (film, angle) in enumerate(zip(films, angles, strict=True)):
        off = errors.distance_mm * rng.normal(size=2)
        turned = angle + (errors.angle_degrees * rng.normal() if number else 0.0)
        geometry = film.geometry
        believed.append(
            placed(
                replace(
                    geometry,
                    sdd_mm=geometry.sdd_mm + off[0],
                    object_distance_mm=max(geometry.object_distance_mm + off[1], 0.0),
                ),
                turned,
            )
        )
    return believed


def _model(mesh: Mesh, vertebra: VirtualVertebra, composition: Composition, seed: int, grid: Grid) -> Volume:
    """The bone that is filmed, around the middle of the truth's cube and larger than it by a third on every side."""
    side = 2 * round(grid.extent_mm * 5 / 6 / MODEL_MM)
    cube = Cube((0.0, 0.0, 0.0), side, MODEL_MM)
    values = density(mesh, vertebra.parts, composition, cube, seed)
    matrix = np.diag([MODEL_MM, MODEL_MM, MODEL_MM, 1.0])
    matrix[:3, 3] = -(side - 1) / 2 * MODEL_MM
    return Volume(np.ascontiguousarray(values.transpose(2, 1, 0)), matrix)


def truth_of(model: Volume, grid: Grid) -> np.ndarray:
    """The model in the cube, averaged over its voxels."""
    side = round(grid.extent_mm / MODEL_MM)
    first = (model.values.shape[0] - side) // 2
    inner = model.values.transpose(2, 1, 0)[(slice(first, first + side),) * 3]
    coarse = torch.nn.functional.adaptive_avg_pool3d(torch.as_tensor(np.ascontiguousarray(inner))[None], grid.side)
    return coarse[0].numpy()


def bone_mm(model: Volume, film: PlacedFilm) -> np.ndarray:
    """(rows, cols) float32 mm of cortical bone on every pixel's ray that weaken it as much as the model's HU do."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = film.rotation, film.translation
    volume = Volume(model.values, matrix @ model.ijk_to_ras)
    planes = planes_through(volume, film.geometry, STEP_MM)
    return line_integrals(volume, film.geometry, planes, (0.0, 3 * CORTICAL_HU), ((0.0, 3.0),), device="cpu")[0]


def _shown_alone(film: PlacedFilm, model: Volume, around: Around, trunk: Trunk, rng: np.random.Generator) -> np.ndarray:
    """A detector's reading of the bone alone; the field is even, or nothing but its shadow would be seen."""
    bone = torch.from_numpy(bone_mm(model, film))
    nothing = torch.zeros_like(bone)
    exposure = replace(draw_exposure(rng), uncorrected=0.0)
    return _exposed(film, {"bone": bone, "muscle": nothing, "fat": nothing}, exposure, rng).numpy()


def _shown_in_situ(
    film: PlacedFilm, model: Volume, around: Around, trunk: Trunk, rng: np.random.Generator
) -> np.ndarray:
    """A station's picture of the bone among its neighbours, in flesh."""
    meshes = {
        str(number): (film.to_film(vertices), triangles) for number, (vertices, triangles) in enumerate(around.meshes)
    }
    rays = cast(meshes, film.geometry, "cpu", dict(zip(meshes, around.matter(), strict=True)))
    bone = torch.from_numpy(bone_mm(model, film) + (rays.cortical_mm + rays.trabecular_mm).sum(axis=0))
    lengths = {name: torch.from_numpy(mm.astype(np.float32)) for name, mm in flesh_mm(film, trunk).items()}
    body = lengths["muscle"] + lengths["fat"] > 15
    lengths["muscle"] = (lengths["muscle"] - bone).clamp(min=0)
    reading = _exposed(film, {**lengths, "bone": bone}, draw_exposure(rng), rng)
    processing = replace(draw_postprocessing(rng), shutter=False)
    lit = torch.ones_like(body)
    return postprocessed(reading, processing, film.geometry.pixel_pitch_mm[0], lit, body).numpy()


def _exposed(film: PlacedFilm, lengths: dict[str, Tensor], exposure: Exposure, rng: np.random.Generator) -> Tensor:
    size = film.geometry.size_px
    empty = BoneMaps(bones=(), mask=np.zeros((0, *size), bool), front=np.zeros((0, *size), np.float32))
    projection = Projection(geometry=film.geometry, maps=empty, lengths_mm=lengths)
    return expose(projection, exposure, int(rng.integers(2**31)))


def standardised(film: np.ndarray) -> np.ndarray:
    """A film by its own mean and spread."""
    return (film - film.mean()) / max(float(film.std()), 1e-6)
