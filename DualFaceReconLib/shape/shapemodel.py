"""A statistical shape model of one bone, in left form: a mean, and modes of how people differ from it.

    model = load_shape_model(folder / "hip.ssm.npz")
    vertices = model.shape([1.0, -0.5])  # a standard deviation along the first mode, half of one back along the second

Size stays in the model: shapes are aligned by rotation and translation alone, in millimetres. The right bone is the
mirror image.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from DualFaceReconLib.bonemaps import kind_and_side
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.meshes import MIRROR, decimated, first_sides, mirrored, rigid_fit, sphere_through
from DualFaceReconLib.shape.smooth_modes import smooth_modes

COARSE_SHARE = 1 / 6  # of a model's triangles
MODE_STEP_MM = 0.01  # how finely files hold the modes
METADATA = "told"  # the array of a file that holds JSON
ARRAYS = ("mean", "modes_low", "modes_high", "variances", "triangles", METADATA)
NO_MODEL = "{name} is no shape model that can be read: build it again, or get it again."


@dataclass(frozen=True, kw_only=True)
class Landmark:
    """A named point that the modes carry along: a weighted mean of vertices, or the centre of a sphere through them."""

    vertices: np.ndarray  # (n,) int
    weights: np.ndarray | None  # (n,) float, their sum is 1; None: the centre of the sphere through the vertices

    def place(self, shape: np.ndarray) -> np.ndarray:
        """(3,) mm on a bone with vertices (V, 3)."""
        points = shape[self.vertices]
        return sphere_through(points)[0] if self.weights is None else self.weights @ points


@dataclass(frozen=True, kw_only=True)
class ShapeModel:
    """Shapes of one bone: mean + modes @ (coefficients * standard deviations), RAS mm around the mean's centre."""

    bone: str  # "hip" or "femur"
    mean: np.ndarray  # (V, 3) mm
    modes: np.ndarray  # (V, 3, K), each of length 1 over all coordinates
    variances: np.ndarray  # (K,) mm^2 summed over all coordinates, falling
    triangles: np.ndarray  # (T, 3) int, outward
    landmarks: Mapping[str, Landmark]
    people: tuple[str, ...]  # "set/person" of everybody in it
    sources: tuple[str, ...]  # where the bones come from, to be cited
    licences: tuple[str, ...]
    side: str = "left"

    def __post_init__(self) -> None:
        vertices, modes = len(self.mean), len(self.variances)
        if self.mean.shape != (vertices, 3) or self.modes.shape != (vertices, 3, modes):
            raise ValueError(f"mean {self.mean.shape}, modes {self.modes.shape} and variances do not fit together")
        if self.triangles.min() < 0 or self.triangles.max() >= vertices:
            raise ValueError("a triangle names a vertex that is not there")

    def __repr__(self) -> str:
        return (
            f"ShapeModel({self.side} {self.bone}: {len(self.mean)} vertices, {len(self.variances)} modes, "
            f"{len(self.people)} people)"
        )

    def shape(self, coefficients: ArrayLike) -> np.ndarray:
        """Vertices (V, 3) mm of a shape given in standard deviations (k,), k at most the number of modes."""
        coefficients = np.asarray(coefficients, dtype=np.float64)
        k = len(coefficients)
        scaled = coefficients * np.sqrt(self.variances[:k])
        return self.mean + mode_offsets(self.modes[:, :, :k], scaled)

    @cached_property
    def scaled_modes(self) -> np.ndarray:
        """(3 V, K) float32 mm: what a standard deviation of each mode moves."""
        return (self.modes * np.sqrt(self.variances)).reshape(self.mean.size, -1).astype(np.float32)

    @property
    def modes_by_vertex(self) -> np.ndarray:
        """(V, 3, K), the same by vertex and direction."""
        return self.scaled_modes.reshape(*self.mean.shape, -1)

    @cached_property
    def side_mm(self) -> float:
        """The mean length of the mean's triangles' sides."""
        return float(first_sides(self.mean, self.triangles).mean())

    @cached_property
    def edges(self) -> np.ndarray:
        """(E, 2) vertices at the ends of each of the mesh's edges."""
        sides = np.concatenate([self.triangles[:, [0, 1]], self.triangles[:, [1, 2]], self.triangles[:, [2, 0]]])
        first, second = np.sort(sides, axis=1).T
        numbered = np.unique(first.astype(np.int64) * len(self.mean) + second)  # a number sorts faster than a pair
        return np.stack(np.divmod(numbered, len(self.mean)), axis=1).astype(sides.dtype)

    @cached_property
    def coarse(self) -> ShapeModel:
        """The model on a sixth of its triangles, which is enough to come near a bone; it has no landmarks."""
        kept, triangles = decimated((self.mean, self.triangles), COARSE_SHARE)
        return replace(self, mean=self.mean[kept], modes=self.modes[kept], triangles=triangles, landmarks={})

    @cached_property
    def with_smooth_modes(self) -> ShapeModel:
        """The model with modes after its own that its people do not show; their variances do not go on falling."""
        modes, variances = smooth_modes(self.mean)
        return replace(
            self,
            modes=np.concatenate([self.modes, modes], axis=2),
            variances=np.concatenate([self.variances, variances]),
        )

    def coefficients(self, vertices: np.ndarray) -> np.ndarray:
        """Standard deviations (K,) of the shape in the model that is nearest to vertices (V, 3) in its frame."""
        offset = np.tensordot(vertices - self.mean, self.modes, axes=([0, 1], [0, 1]))
        return offset / np.sqrt(self.variances)

    def project(self, vertices: np.ndarray, modes: int | None = None) -> np.ndarray:
        """The model's own shape (V, 3) nearest to corresponding vertices anywhere in space, put where they are."""
        placed = np.asarray(vertices, dtype=np.float64)
        shape = self.mean
        for _ in range(10):  # pose and shape in turn; each step shortens the distance
            rotation, translation = rigid_fit(placed, shape)
            shape = self.shape(self.coefficients(placed @ rotation.T + translation)[:modes])
        rotation, translation = rigid_fit(shape, placed)
        return shape @ rotation.T + translation

    def sample(self, rng: np.random.Generator, limit: float = 3.0) -> np.ndarray:
        """Coefficients (K,) of a random person, each within `limit` standard deviations."""
        drawn = rng.normal(size=len(self.variances))
        while (outside := np.abs(drawn) > limit).any():
            drawn[outside] = rng.normal(size=np.count_nonzero(outside))
        return drawn

    def landmark_points(self, vertices: np.ndarray) -> dict[str, np.ndarray]:
        """Where the landmarks (3,) lie on a shape of this model."""
        return {name: mark.place(vertices) for name, mark in self.landmarks.items()}

    def landmark_radii(self, vertices: np.ndarray) -> dict[str, float]:
        """The radii in mm of the spheres that some landmarks are the centres of."""
        spheres = {name: mark for name, mark in self.landmarks.items() if mark.weights is None}
        return {name: sphere_through(vertices[mark.vertices])[1] for name, mark in spheres.items()}

    def with_landmarks(self, landmarks: Mapping[str, Landmark]) -> ShapeModel:
        """The same model with these landmarks."""
        return replace(self, landmarks=landmarks)

    def mirrored(self) -> ShapeModel:
        """The other side's model, made once."""
        return self._mirrored

    @cached_property
    def _mirrored(self) -> ShapeModel:
        mean, triangles = mirrored((self.mean, self.triangles))
        return replace(
            self,
            mean=mean,
            modes=self.modes * MIRROR[:, None],
            triangles=triangles,
            side="right" if self.side == "left" else "left",
        )

    def save(self, path: Path) -> None:
        """Writes `<bone>.ssm.npz`: modes in hundredths of a millimetre, other numbers single, no pickle."""
        metadata = {
            "bone": self.bone,
            "side": self.side,
            "people": self.people,
            "sources": self.sources,
            "licences": self.licences,
            "landmarks": {
                name: {
                    "vertices": mark.vertices.tolist(),
                    "weights": None if mark.weights is None else mark.weights.tolist(),
                }
                for name, mark in self.landmarks.items()
            },
        }
        deviations = np.sqrt(self.variances)
        steps = np.rint(self.modes * deviations / MODE_STEP_MM)  # for one standard deviation
        if np.abs(steps).max() > np.iinfo(np.int16).max:
            raise ValueError(f"a mode moves a vertex by more than {np.iinfo(np.int16).max * MODE_STEP_MM:.0f} mm")
        halves = steps.astype("<i2").view(np.uint8).reshape(*steps.shape, 2)  # most high bytes are 0 and 255: they pack
        np.savez_compressed(
            path,
            mean=self.mean.astype(np.float32),
            modes_low=halves[..., 0],
            modes_high=halves[..., 1],
            variances=self.variances.astype(np.float32),
            triangles=self.triangles.astype(np.uint16 if len(self.mean) < 1 << 16 else np.uint32),
            **{METADATA: np.frombuffer(json.dumps(metadata).encode(), np.uint8)},
        )


def mode_offsets(modes: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """(...) by modes (..., K) and as many coefficients (K,); 0 where K is.

    NumPy's einsum asks what lies behind an array without elements, and makes NaN of it where that is NaN.
    """
    if len(coefficients) == 0:
        return np.zeros(modes.shape[:-1], modes.dtype)
    return np.einsum("...k,k->...", modes, coefficients)


def model_of(bone: str, models: Mapping[str, ShapeModel]) -> ShapeModel:
    """The model of a bone such as "hip_right", from those of "hip" and "femur"; of the other side it is the mirror."""
    kind, side = kind_and_side(bone)
    return models[kind] if models[kind].side == side else models[kind].mirrored()


def coarse_models(models: Mapping[str, ShapeModel]) -> dict[str, ShapeModel]:
    """Those of both bones on fewer triangles; right ones are mirror images of these, so that each is made once."""
    return {kind: model.coarse for kind, model in models.items()}


def load_shape_models(folder: Path) -> dict[str, ShapeModel]:
    """The left "hip" and "femur" of a folder with both."""
    return {kind: load_shape_model(folder / f"{kind}.ssm.npz") for kind in ("hip", "femur")}


def load_shape_model(path: Path) -> ShapeModel:
    """Reads `<bone>.ssm.npz`; Refusal where it is no shape model."""
    try:
        if not zipfile.is_zipfile(path):  # np.load takes other files, too
            raise ValueError
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ARRAYS}
        metadata = json.loads(arrays[METADATA].tobytes())
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise Refusal(NO_MODEL.format(name=path.name)) from error
    if not (_are_arrays(arrays) and _is_metadata(metadata, len(arrays["mean"]))):
        raise Refusal(NO_MODEL.format(name=path.name))
    variances = arrays["variances"].astype(np.float64)
    steps = np.stack([arrays["modes_low"], arrays["modes_high"]], axis=-1).view("<i2")[..., 0]
    return ShapeModel(
        bone=metadata["bone"],
        mean=arrays["mean"].astype(np.float64),
        modes=steps * MODE_STEP_MM / np.sqrt(variances),
        variances=variances,
        triangles=arrays["triangles"].astype(np.int64),
        landmarks={
            name: Landmark(
                vertices=np.array(mark["vertices"], dtype=np.int64),
                weights=None if mark["weights"] is None else np.array(mark["weights"], dtype=float),
            )
            for name, mark in metadata["landmarks"].items()
        },
        people=tuple(metadata["people"]),
        sources=tuple(metadata["sources"]),
        licences=tuple(metadata["licences"]),
        side=metadata["side"],
    )


def _are_arrays(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether the arrays of a file have the shapes and kinds of a model's."""
    mean, low, high, variances, triangles = (arrays[name] for name in ARRAYS[:-1])
    count = len(variances) if variances.ndim == 1 else -1
    return bool(
        (mean.dtype.kind, variances.dtype.kind, triangles.dtype.kind) == ("f", "f", "u")
        and low.dtype == high.dtype == np.uint8
        and mean.shape == (len(mean), 3)
        and low.shape == high.shape == (len(mean), 3, count)
        and triangles.shape == (len(triangles), 3)
        and triangles.size > 0
        and triangles.max() < len(mean)
        and np.isfinite(mean).all()
        and np.isfinite(variances).all()
        and (variances > 0).all()
    )


def _is_metadata(metadata: Any, count: int) -> bool:
    """Whether what a file says is what a model of so many vertices needs."""
    return (
        isinstance(metadata, dict)
        and all(isinstance(metadata.get(key), str) for key in ("bone", "side"))
        and all(
            isinstance(names := metadata.get(key), list) and all(isinstance(name, str) for name in names)
            for key in ("people", "sources", "licences")
        )
        and isinstance(marks := metadata.get("landmarks"), dict)
        and all(_is_landmark(mark, count) for mark in marks.values())
    )


def _is_landmark(mark: Any, count: int) -> bool:
    if not isinstance(mark, dict) or set(mark) != {"vertices", "weights"}:
        return False
    vertices, weights = mark["vertices"], mark["weights"]
    if not isinstance(vertices, list) or not all(type(v) is int and 0 <= v < count for v in vertices):
        return False
    if weights is None:
        return len(vertices) >= 4  # fewer are on no sphere in particular
    numbers = isinstance(weights, list) and all(isinstance(weight, int | float) for weight in weights)
    return numbers and len(weights) == len(vertices)
