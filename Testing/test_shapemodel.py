"""The shape model: shapes and coefficients, poses, mirror, landmarks, files."""

import ctypes
import json

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from vtkmodules.vtkFiltersSources import vtkSphereSource

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.meshes import arrays, rigid_fit, volume_mm3
from DualFaceReconLib.shape.shapemodel import Landmark, ShapeModel, load_shape_model, mode_offsets

VERTICES, MODES = 60, 4


@pytest.fixture
def model():
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(VERTICES, 3)) * (20, 15, 60)
    mean -= mean.mean(axis=0)
    # modes without rotation or translation in them, as aligned shapes have
    turns = [np.cross(axis, mean).ravel() for axis in np.eye(3)]
    moves = [np.tile(axis, (VERTICES, 1)).ravel() for axis in np.eye(3)]
    basis = np.linalg.qr(np.stack([*turns, *moves, *rng.normal(size=(MODES, VERTICES * 3))], axis=1))[0][:, 6:]
    return ShapeModel(
        bone="hip",
        mean=mean,
        modes=basis.reshape(VERTICES, 3, MODES),
        variances=np.array([900.0, 250.0, 60.0, 9.0]),
        triangles=rng.integers(0, VERTICES, (90, 3)),
        landmarks={
            "tip": Landmark(vertices=np.array([3, 7]), weights=np.array([0.25, 0.75])),
            "inside": Landmark(vertices=np.array([0]), weights=np.array([1.0])),
        },
        people=("rhan40/s02", "llp26/s01"),
        sources=("somebody",),
        licences=("CC BY 4.0",),
    )


def test_shapes_and_coefficients_are_each_other_s_inverse(model):
    coefficients = np.array([1.5, -0.5, 2.0, 0.25])
    assert model.coefficients(model.shape(coefficients)) == pytest.approx(coefficients)
    assert model.shape([]) == pytest.approx(model.mean)
    first_mode = model.shape([1.0]) - model.mean
    assert np.sqrt((first_mode**2).sum()) == pytest.approx(30)  # the root of the first variance


def test_no_modes_move_nothing_whatever_lies_in_memory(model):
    none = np.zeros(0).astype(np.float32)  # NumPy gives it the memory of one element
    ctypes.c_float.from_address(none.ctypes.data).value = np.nan
    offsets = mode_offsets(model.scaled_modes[:, :0], none)
    assert (offsets.shape, offsets.dtype) == ((3 * VERTICES,), np.float32)
    assert not offsets.any()


def test_what_the_model_knows_is_found_wherever_it_lies(model):
    shape = model.shape([0.8, -1.2, 0.3, 1.0])
    turn = Rotation.from_euler("xyz", (40, -20, 75), degrees=True).as_matrix()
    placed = shape @ turn.T + (100, -30, 5)
    assert model.project(placed) == pytest.approx(placed, abs=0.05)
    fewer = np.linalg.norm(model.project(placed, modes=1) - placed, axis=1).mean()
    assert fewer > 0.5
    stranger = placed + np.random.default_rng(1).normal(0, 2, placed.shape)
    assert np.linalg.norm(model.project(stranger) - placed, axis=1).mean() < 2


def test_samples_keep_to_their_limit_and_to_their_seed(model):
    drawn = np.array([model.sample(np.random.default_rng(seed), limit=1.0) for seed in range(300)])
    assert np.abs(drawn).max() <= 1
    assert np.abs(drawn.mean(axis=0)).max() < 0.12
    assert np.array_equal(model.sample(np.random.default_rng(5)), model.sample(np.random.default_rng(5)))


def test_the_mirrored_model_makes_mirrored_shapes(model):
    right = model.mirrored()
    coefficients = [1.0, -2.0, 0.5]
    assert right.shape(coefficients) == pytest.approx(model.shape(coefficients) * (-1, 1, 1))
    assert right.side == "right"
    corners = model.mean[model.triangles[0]], right.mean[right.triangles[0]]
    normals = [np.cross(c[1] - c[0], c[2] - c[0]) for c in corners]
    assert normals[1] == pytest.approx(normals[0] * (-1, 1, 1))  # still outward
    again = right.mirrored()
    assert again.side == "left"
    assert again.mean == pytest.approx(model.mean)


def test_landmarks_ride_on_the_modes(model):
    points = model.landmark_points(model.shape([2.0]))
    shape = model.shape([2.0])
    assert points["tip"] == pytest.approx(0.25 * shape[3] + 0.75 * shape[7])
    assert set(points) == {"tip", "inside"}


def test_the_coarse_model_has_some_of_the_vertices_and_their_shapes():
    sphere = vtkSphereSource()
    sphere.SetThetaResolution(40)
    sphere.SetPhiResolution(30)
    sphere.SetRadius(20)
    sphere.Update()
    mean, triangles = arrays(sphere.GetOutput())
    modes = np.random.default_rng(0).normal(size=(*mean.shape, 2)) / np.sqrt(mean.size)
    parts = {"variances": np.array([4.0, 1.0]), "landmarks": {}, "people": (), "sources": (), "licences": ()}
    model = ShapeModel(bone="hip", mean=mean, modes=modes, triangles=triangles, **parts)
    coarse = model.coarse
    assert len(coarse.triangles) / len(triangles) == pytest.approx(1 / 6, abs=0.03)
    kept = cKDTree(mean).query(coarse.mean)[1]
    assert len(np.unique(kept)) == len(coarse.mean) < len(mean) / 4
    assert coarse.shape([1.5, -0.5]) == pytest.approx(model.shape([1.5, -0.5])[kept])
    assert volume_mm3(coarse.mean, coarse.triangles) == pytest.approx(volume_mm3(mean, triangles), rel=0.1)


def test_a_file_keeps_everything(model, tmp_path):
    path = tmp_path / "hip ü.ssm.npz"
    model.save(path)
    again = load_shape_model(path)
    assert again.mean == pytest.approx(model.mean, abs=1e-4)
    coefficients = np.array([2.0, -1.0, 1.0, 0.5])
    assert again.shape(coefficients) == pytest.approx(model.shape(coefficients), abs=0.02)  # half precision
    assert again.people == model.people
    assert again.licences == model.licences
    assert again.landmarks["tip"].weights == pytest.approx([0.25, 0.75])
    assert np.array_equal(again.triangles, model.triangles)
    assert "4 modes, 2 people" in repr(again)


def test_what_is_no_shape_model_is_refused(model, tmp_path):
    (tmp_path / "text.npz").write_text("hello", encoding="utf-8")
    np.savez(tmp_path / "other.npz", mean=np.zeros((3, 3)))
    np.savez(tmp_path / "pickle.npz", told=np.array([{"bone": "hip"}], dtype=object))
    np.save(tmp_path / "array.npy", model.mean)
    for name in ("text.npz", "other.npz", "pickle.npz", "array.npy", "nothing.npz"):
        with pytest.raises(Refusal, match="no shape model"):
            load_shape_model(tmp_path / name)
    model.save(tmp_path / "cut.npz")
    content = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(Refusal, match="no shape model"):
        load_shape_model(tmp_path / "cut.npz")


def metadata_of(change):
    """The file's arrays with its JSON changed."""

    def changed(arrays):
        metadata = json.loads(arrays["told"].tobytes())
        return {**arrays, "told": np.frombuffer(json.dumps({**metadata, **change}).encode(), np.uint8)}

    return changed


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: {**arrays, "mean": arrays["mean"][:, :2]},
        lambda arrays: {**arrays, "mean": np.full_like(arrays["mean"], np.nan)},
        lambda arrays: {**arrays, "modes_low": arrays["modes_low"].astype(np.int64)},
        lambda arrays: {**arrays, "modes_high": arrays["modes_high"][:-1]},
        lambda arrays: {**arrays, "variances": -arrays["variances"]},
        lambda arrays: {**arrays, "variances": np.float32(1)},
        lambda arrays: {**arrays, "triangles": arrays["triangles"] + np.uint16(VERTICES)},
        lambda arrays: {**arrays, "triangles": arrays["triangles"][:0]},
        lambda arrays: {**arrays, "told": np.frombuffer(b"[1]", np.uint8)},
        metadata_of({"bone": 3}),
        metadata_of({"people": "rhan40/s02"}),
        metadata_of({"landmarks": {"tip": {"vertices": [VERTICES], "weights": [1.0]}}}),
        metadata_of({"landmarks": {"tip": {"vertices": [0, 1], "weights": [1.0]}}}),
        metadata_of({"landmarks": {"tip": {"vertices": [0]}}}),
        metadata_of({"landmarks": [3]}),
    ],
)
def test_a_file_whose_parts_are_not_a_models_is_refused(model, tmp_path, change):
    model.save(tmp_path / "hip.ssm.npz")
    with np.load(tmp_path / "hip.ssm.npz", allow_pickle=False) as file:
        arrays = dict(file)
    np.savez(tmp_path / "same.npz", **arrays)
    assert load_shape_model(tmp_path / "same.npz").bone == "hip"
    np.savez(tmp_path / "changed.npz", **change(arrays))
    with pytest.raises(Refusal, match="no shape model"):
        load_shape_model(tmp_path / "changed.npz")


def test_parts_that_do_not_fit_are_refused(model):
    for wrong in ({"modes": model.modes[:-1]}, {"variances": model.variances[:2]}, {"triangles": model.triangles + 60}):
        with pytest.raises(ValueError, match=r"fit together|not there"):
            ShapeModel(**{**vars(model), **wrong})


def test_rigid_fit_turns_and_moves_but_neither_scales_nor_mirrors():
    points = np.random.default_rng(2).normal(size=(40, 3)) * 30
    turn = Rotation.from_euler("xyz", (170, 20, -100), degrees=True).as_matrix()
    rotation, translation = rigid_fit(points, points @ turn.T + (1, 2, 3))
    assert rotation == pytest.approx(turn)
    assert translation == pytest.approx([1, 2, 3])
    rotation, _ = rigid_fit(points, 2 * points * (-1, 1, 1))
    assert np.linalg.det(rotation) == pytest.approx(1)
