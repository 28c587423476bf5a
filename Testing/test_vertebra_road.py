"""From two films and a click to a folder: a ball of both films comes back, what does not fit is refused in words."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from support.reconstructions import made_reconstruction
from support.spine_films import CENTRE, LATERAL, RADIUS_MM, Hull, clicks_on, hull_network, pair_of, spine_pair
from support.vertebra_bundles import SETTINGS, made_vertebra_bundle, vertebra_weights
from support.vertebrae import DEPTH_MM, HEIGHT_MM, MIDDLE, WIDTH_MM, made_group, made_mask
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from DualFaceReconLib.backprojection import Cube
from DualFaceReconLib.cli import main
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.meshes import arrays, volume_mm3
from DualFaceReconLib.metrics import dice
from DualFaceReconLib.networks.ear import EarNetwork, EarSettings
from DualFaceReconLib.pictures.vertebra_picture import silhouette
from DualFaceReconLib.vertebra import reconstruction as pipeline
from DualFaceReconLib.vertebra.films import read_spine_films
from DualFaceReconLib.vertebra.fitting import PlacedModel
from DualFaceReconLib.vertebra.measuring import body_sizes
from DualFaceReconLib.vertebra.reconstruction import VertebraReconstructor
from DualFaceReconLib.vertebra.surface import outer_surface, smoothed, spread_mm, vertebra_surface
from DualFaceReconLib.vertebra.targets import VertebraTarget
from DualFaceReconLib.vertebra.volume import PASSES, PITCH_SHARE, load_vertebra_network
from DualFaceReconLib.vertebra_results import WRITTEN, load_vertebra, save_vertebra
from training.vertebrae import films as training_films
from training.vertebrae.virtual import Stock

CLICKS = clicks_on(pair_of())
BALL = VertebraTarget(level="L3", centre_ap_px=CLICKS[0], centre_lateral_px=CLICKS[1])


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return spine_pair(tmp_path_factory.mktemp("films"))


@pytest.fixture
def hull(monkeypatch):
    """The command and the console ask a network that knows nothing but hulls."""
    monkeypatch.setattr(pipeline, "load_vertebra_network", lambda folder, device: hull_network())
    return hull_network()


@pytest.fixture(scope="module")
def ball(paths):
    """A reconstructed ball."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pipeline, "load_vertebra_network", lambda folder, device: hull_network())
        return VertebraReconstructor(paths[0].parent).run(read_spine_films(*paths), BALL)


def arguments(paths, out, **changed):
    options = {
        "--centre-ap": CLICKS[0],
        "--centre-lateral": CLICKS[1],
        "--level": ["L3"],
        "--bundle": [paths[0].parent],
        "-o": [out],
    }
    options |= {f"--{name.replace('_', '-')}": value for name, value in changed.items()}
    words = [word for flag, values in options.items() if values is not None for word in (flag, *values)]
    return ["vertebra", *map(str, paths), *map(str, words)]


# The way


def test_a_ball_comes_back_where_it_is_and_its_outline_lies_on_both_films(ball):
    vertices, triangles = arrays(ball.surface)
    assert ball.gap_mm < 0.01
    assert np.allclose(ball.centre, CENTRE, atol=0.01)
    assert np.allclose((vertices.min(axis=0) + vertices.max(axis=0)) / 2, CENTRE, atol=0.6)
    assert volume_mm3(vertices, triangles) > 4 / 3 * np.pi * RADIUS_MM**3
    pair = ball.films.pair
    for film, place in zip(ball.films.radiographs, (pair.first, pair.second), strict=True):
        ball_on_film = film.pixels > film.pixels.min()
        assert dice(silhouette(vertices, triangles, place), ball_on_film) > 0.93


def test_certainty_is_the_bundle_s_where_all_passes_agree_and_more_where_not(ball):
    std_mm = vtk_to_numpy(ball.surface.GetPointData().GetArray("std_mm"))
    assert std_mm.min() >= 1.5  # the bundle's for lumbar vertebrae
    cube = Cube((0, 0, 0), 40, 1.0)
    radii = np.linalg.norm(cube.points(), axis=-1)
    balls = np.stack([100 - 10 * (radii - radius) for radius in (11.0, 13.0)]).astype(np.float32)
    vertices, _ = vertebra_surface(balls.mean(axis=0), 100.0, cube)
    assert np.allclose(spread_mm(vertices, balls.mean(axis=0), balls, 100.0, cube), 1.0, atol=0.15)
    assert np.allclose(spread_mm(vertices, balls.mean(axis=0), balls.mean(axis=0)[None], 100.0, cube), 0.0, atol=0.1)


def test_a_shape_model_is_brought_onto_the_network_s_surface_and_that_is_said(paths, ball, tmp_path, monkeypatch):
    model = Stock.of({"lumbar": made_group()}).groups["lumbar"].model
    network = replace(hull_network(), shape_models={"lumbar": model})
    monkeypatch.setattr(pipeline, "load_vertebra_network", lambda folder, device: network)
    vertebra = VertebraReconstructor(paths[0].parent).run(read_spine_films(*paths), BALL)
    vertices, triangles = arrays(vertebra.surface)
    np.testing.assert_array_equal(triangles, model.triangles)
    assert np.allclose(np.median(vertices, axis=0), CENTRE, atol=8)
    away = cKDTree(arrays(ball.surface)[0]).query(vertices)[0]  # of what the network saw
    std_mm = vtk_to_numpy(vertebra.surface.GetPointData().GetArray("std_mm"))
    assert (std_mm >= away - 1.0).all()
    assert away.max() > 8
    assert std_mm[away < 2].max() < 5
    save_vertebra(vertebra, tmp_path / "v")
    assert json.loads((tmp_path / "v" / "vertebra.json").read_text(encoding="utf-8"))["surface"] == "shape model"
    assert "a shape model of other people" in (tmp_path / "v" / "report.html").read_text(encoding="utf-8")
    assert load_vertebra(tmp_path / "v").surface_by == "shape model"


def test_a_model_s_slopes_are_those_of_its_vertices():
    placed = PlacedModel.of(Stock.of({"lumbar": made_group()}).groups["lumbar"].model)
    for sought in (placed.start(), 0.7 * np.random.default_rng(0).normal(size=len(placed.start()))):
        slopes = placed.slopes(sought)
        for number, step in enumerate(1e-5 * np.eye(len(sought))):
            moved = (placed.vertices(sought + step) - placed.vertices(sought - step)) / 2e-5
            assert np.allclose(slopes[:, :, number], moved, atol=1e-4)


def test_smoothing_keeps_a_ball_s_size():
    cube = Cube((1.0, 2.0, 3.0), 32, 1.75)
    inside = np.linalg.norm(cube.points() - cube.centre, axis=-1) < 15
    rough = outer_surface(inside * 100.0, inside, 50.0, cube)
    radii = np.linalg.norm(smoothed(rough)[0] - cube.centre, axis=1)
    assert abs(radii.mean() - np.linalg.norm(rough[0] - cube.centre, axis=1).mean()) < 0.1
    assert radii.std() < np.linalg.norm(rough[0] - cube.centre, axis=1).std()
    assert volume_mm3(*smoothed(rough)) > 0


def test_the_largest_part_is_the_vertebra():
    cube = Cube((0, 0, 0), 32, 2.0)
    near, far = (np.linalg.norm(cube.points() - (right, 0, 0), axis=-1) < 12 for right in (-14, 25))
    far &= cube.points()[..., 2] > 0  # half of it
    vertices, _ = vertebra_surface((near | far) * 300.0, 200.0, cube)
    assert vertices[:, 0].max() < 0


@pytest.mark.parametrize("degrees", [(0, 0, 0), (8, 6, -5)])
def test_a_body_of_known_size_is_measured(degrees):
    fine = made_mask(spacing_mm=1.0)
    cube = Cube((0, 0, 0), 110, 1.0)
    turn = Rotation.from_euler("xyz", degrees, degrees=True)
    at = turn.inv().apply(cube.points().reshape(-1, 3)) + MIDDLE
    hu = map_coordinates(fine * 400.0, at.T, order=1).reshape((110,) * 3)
    sizes = body_sizes(vertebra_surface(hu, 200.0, cube), hu > 200, cube)
    for name in ("anterior", "middle", "posterior"):
        assert sizes[f"body_height_{name}"] == pytest.approx(HEIGHT_MM, abs=1.0)
    assert sizes["wedge_angle"] == pytest.approx(0, abs=2)
    for name in ("upper", "lower"):
        assert sizes[f"{name}_endplate_width"] == pytest.approx(WIDTH_MM, abs=2.5)
        assert sizes[f"{name}_endplate_depth"] == pytest.approx(DEPTH_MM, abs=2.5)


def test_what_has_no_endplates_is_not_measured_and_it_is_said(ball):
    sizes = {name for name in ball.measurements if name.startswith("body_height")}
    assert sizes == set() or not {"vertebra-not-measured"} & {warning.code for warning in ball.warnings}
    with pytest.raises(ValueError, match="no"):
        body_sizes(*_thin_rod())


def _thin_rod():
    cube = Cube((0, 0, 0), 32, 2.0)
    inside = np.hypot(cube.points()[..., 0], cube.points()[..., 1]) < 3
    return vertebra_surface(inside * 400.0, 200.0, cube), inside, cube


def test_a_bundle_s_network_is_asked_as_training_does(tmp_path, paths):
    """Mirrored and moved; the first pass is the network's own answer to the films laid back."""
    network = load_vertebra_network(made_vertebra_bundle(tmp_path / "b"))
    films = read_spine_films(*paths)
    passes = network.passes(films, CENTRE, CLICKS)
    assert passes.shape == (len(PASSES), 32, 32, 32)
    assert np.isfinite(passes).all()
    own = EarNetwork(EarSettings(**SETTINGS)).eval()
    counters = {name: value for name, value in own.state_dict().items() if not value.is_floating_point()}
    own.load_state_dict({**counters, **vertebra_weights()})
    moved = replace(network, network=Hull()).passes(films, CENTRE, CLICKS)
    middle = (slice(6, -6),) * 3
    assert np.allclose(moved[0][middle], moved[1][middle], atol=60)  # the hull of a ball is its own mirror image
    assert np.corrcoef(moved[0][middle].ravel(), moved[2][middle].ravel())[0, 1] > 0.97
    assert PITCH_SHARE == training_films.PITCH
    assert network.manifest.field_share == training_films.MARGIN


# The folder


def test_a_folder_comes_back_as_it_was_written(ball, tmp_path):
    save_vertebra(ball, tmp_path / "L3")
    assert {path.name for path in (tmp_path / "L3").iterdir()} == set(WRITTEN)
    again = load_vertebra(tmp_path / "L3")
    assert repr(again) == repr(ball)
    assert again.target == ball.target
    assert again.measurements == ball.measurements
    assert again.warnings == ball.warnings
    assert again.films.source_angles == ball.films.source_angles
    assert np.array_equal(again.volume_hu, ball.volume_hu)
    assert np.allclose(arrays(again.surface)[0], arrays(ball.surface)[0], atol=1e-4)
    page = (tmp_path / "L3" / "report.html").read_text(encoding="utf-8")
    assert "Research use only" in page
    assert "90.0 degrees" in page
    assert b"SPACE=RAS" in (tmp_path / "L3" / "vertebra.stl").read_bytes()[:80]
    document = json.loads((tmp_path / "L3" / "vertebra.json").read_text(encoding="utf-8"))
    assert document["films"]["lateral"]["geometry"]["provenance"]["sdd_mm"]["kind"] == "header"


def test_volume_and_surface_lie_on_each_other(ball):
    """The surface's middle in voxels, by the matrix that the volume's file has."""
    voxel = np.linalg.inv(ball.ijk_to_ras()) @ [*CENTRE, 1.0]
    assert ball.volume_hu[tuple(np.rint(voxel[:3]).astype(int))] > 0
    assert np.allclose(voxel[:3], (np.array(ball.volume_hu.shape) - 1) / 2, atol=0.1)


def test_films_stand_at_their_detectors_in_the_patient_s_frame(ball):
    first, second = ball.films.ijk_to_ras()
    for matrix, place in ((first, ball.films.pair.first), (second, ball.films.pair.second)):
        row, col = 37.0, 81.0
        expected = place.back_project(np.array([row, col]), np.array(place.geometry.sdd_mm))
        assert np.allclose((matrix @ [col, row, 0, 1])[:3], expected)
        assert np.linalg.det(matrix[:3, :3]) > 0


def test_a_disk_that_is_full_leaves_what_was_there(ball, tmp_path, monkeypatch):
    save_vertebra(ball, tmp_path / "L3")
    before = {path.name: path.read_bytes() for path in (tmp_path / "L3").iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("DualFaceReconLib.vertebra_results.write_text", full)
    with pytest.raises(Refusal, match="No space left"):
        save_vertebra(ball, tmp_path / "L3", overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "L3").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["L3"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "vertebra.json").unlink(), "holds no vertebra"),
        (lambda folder: (folder / "vertebra.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "vertebra.json").write_text('{"format": 9}'), "another version"),
        (lambda folder: (folder / "vertebra.json").write_text('{"format": 1}'), "damaged"),
        (lambda folder: (folder / "volume.nrrd").unlink(), "damaged .*volume.nrrd cannot be read"),
        (lambda folder: shutil.copy(folder / "film_ap.nrrd", folder / "film_lateral.nrrd"), "damaged"),
        (lambda folder: (folder / "vertebra.vtp").write_text(""), "damaged"),
    ],
)
def test_a_damaged_folder_is_refused(ball, tmp_path, spoil, words, pictures_undrawn):
    save_vertebra(ball, tmp_path / "L3")
    spoil(tmp_path / "L3")
    with pytest.raises(Refusal, match=words):
        load_vertebra(tmp_path / "L3")


# The command


def test_the_command_writes_a_vertebra_and_says_how_good_it_is(paths, tmp_path, hull, capsys):
    assert main(arguments(paths, tmp_path / "L3")) == 0
    printed = capsys.readouterr().out
    assert "Research use only" in printed
    assert f"How good it is known to be: {hull.manifest.measured}" in printed
    assert "clicks 0.0 mm apart" in printed
    assert load_vertebra(tmp_path / "L3").level == "L3"
    assert main(arguments(paths, tmp_path / "L3")) == 2
    assert "holds a vertebra already: say --overwrite" in capsys.readouterr().err
    assert main([*arguments(paths, tmp_path / "L3"), "--overwrite"]) == 0
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("mine")
    assert main([*arguments(paths, tmp_path / "other"), "--overwrite"]) == 2
    assert "something else than a vertebra" in capsys.readouterr().err


@pytest.mark.usefixtures("pictures_undrawn")
def test_many_vertebrae_of_one_pair_have_a_folder_each(paths, tmp_path, hull, capsys):
    points = tmp_path / "points.json"
    items = [{"level": level, "centre_ap": CLICKS[0], "centre_lateral": CLICKS[1]} for level in ("L2", "L3")]
    points.write_text(json.dumps(items))
    words = arguments(paths, tmp_path / "spine", points=[points], level=None, centre_ap=None, centre_lateral=None)
    assert main(words) == 0, capsys.readouterr().err
    assert [load_vertebra(tmp_path / "spine" / level).level for level in ("L2", "L3")] == ["L2", "L3"]
    assert main([*words, "--level", "L3", "--overwrite"]) == 2
    assert "the file has the levels" in capsys.readouterr().err


AIR = clicks_on(pair_of(), (5.0, -3.0, -65.0))
OFF = 20 / LATERAL.pixel_size_at(900.0)[0]
REFUSED = {
    "no level": ({"level": None}, "give its --level"),
    "unknown level": ({"level": ["L7"]}, "There is no level 'L7'"),
    "level not learnt": ({"level": ["T1"]}, "did not learn T1"),
    "no clicks": ({"centre_lateral": None}, "Nothing was clicked on the lateral film"),
    "click outside": ({"centre_ap": (5000, 3)}, "is not on the AP film"),
    "clicks apart": ({"centre_lateral": (CLICKS[1][0] + OFF, CLICKS[1][1])}, "miss each other by"),
    "angle": ({"angle": [30]}, "30 degrees apart .* learnt 60 to 120"),
    "impossible angle": ({"angle": [200]}, "give 0 to 180"),
    "many values": ({"sdd": [1, 2, 3]}, "--sdd has 3 values"),
    "no such distance": ({"sdd": [10]}, "AP film: The source-detector distance"),
    "air": ({"centre_ap": AIR[0], "centre_lateral": AIR[1]}, "No vertebra was found where L3 was clicked"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_a_sentence(case, paths, tmp_path, hull, capsys):
    changed, words = REFUSED[case]
    assert main(arguments(paths, tmp_path / "L3", **changed)) == 2
    assert re.search(words, capsys.readouterr().err)
    assert not (tmp_path / "L3").exists()


@pytest.mark.parametrize("number", [0, 1])
def test_the_same_film_twice_is_called_that_whatever_its_view(number, paths, tmp_path, capsys):
    again = shutil.copy(paths[number], tmp_path / "again.dcm")
    assert main(arguments((paths[number], again), tmp_path / "L3")) == 2
    assert "Both films are the same picture" in capsys.readouterr().err


def test_a_lateral_that_is_an_ap_is_refused(paths, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    other, _ = spine_pair(tmp_path / "other", centres=(CENTRE + 5,))
    assert main(arguments((paths[0], other), tmp_path / "L3")) == 2
    assert "The lateral film: This is not a lateral film (view AP)" in capsys.readouterr().err


def test_without_a_bundle_the_command_says_how_to_get_one(paths, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("DualFaceReconLib.bundle.store.SHIPPED_VERTEBRAE", tmp_path / "none")
    monkeypatch.setenv("DUALFACE_MODELS", str(tmp_path / "mine"))
    assert main(arguments(paths, tmp_path / "L3", bundle=None)) == 2
    assert "python -m training vertebrae bundle" in capsys.readouterr().err


@pytest.mark.usefixtures("pictures_undrawn")
def test_without_a_scale_proportions_alone_are_measured(tmp_path, hull, capsys):
    folder = tmp_path / "films"
    folder.mkdir()
    bare = spine_pair(folder, frontal={"ImagerPixelSpacing": None}, lateral={"ImagerPixelSpacing": None})
    assert main(arguments(bare, tmp_path / "L3")) == 2
    assert "--pixel-pitch" in capsys.readouterr().err
    corners = [
        place
        for (row, col), half in zip(CLICKS, (20, 22), strict=True)
        for up in (-half, half)
        for across in (-30, 30)
        for place in (row + up, col + across)
    ]
    assert main(arguments(bare, tmp_path / "L3", corners=corners)) == 0, capsys.readouterr().err
    made = load_vertebra(tmp_path / "L3")
    assert not made.in_millimetres
    assert "mm" not in {value.unit for value in made.measurements.values()}
    assert "without millimetres" in capsys.readouterr().out


# The scene


def _matrix_of(values):
    return np.array([[values.GetElement(row, col) for col in range(4)] for row in range(4)])


def test_a_vertebra_and_a_pelvis_in_one_scene_are_seen_in_turn(ball):
    pytest.importorskip("slicer")
    from support.scenes import are_seen

    from DualFaceReconLib.scene import (
        add_to_scene,
        add_vertebra_to_scene,
        new_scene,
        show,
        show_vertebra,
        show_vertebra_film,
    )
    from DualFaceReconLib.scene.scene import add_views

    scene = new_scene()
    add_views(scene)
    pelvis, vertebra = add_to_scene(made_reconstruction(), scene), add_vertebra_to_scene(ball, scene)
    show_vertebra(vertebra)
    assert are_seen(pelvis, vertebra) == [False, True]
    show(pelvis)
    assert are_seen(pelvis, vertebra) == [True, False]
    show_vertebra_film(vertebra, "film_lateral")
    assert are_seen(pelvis, vertebra) == [False, True]
    scene.Clear(True)


def test_a_scene_has_both_films_the_volume_the_surface_and_the_table(ball, tmp_path):
    pytest.importorskip("slicer")
    import slicer.util

    from DualFaceReconLib.scene import (
        add_vertebra_to_scene,
        new_scene,
        remove_from_scene,
        runs_in,
        show_vertebra,
        show_vertebra_film,
    )
    from DualFaceReconLib.scene.scene import add_views

    scene = new_scene()
    add_views(scene)
    run = add_vertebra_to_scene(ball, scene)
    assert set(run.nodes) >= {
        ("film_ap", ""),
        ("film_lateral", ""),
        ("volume", "L3"),
        ("vertebra", "L3"),
        ("table", ""),
    }
    bounds = [0.0] * 6
    run.node("vertebra", "L3").GetRASBounds(bounds)
    vertices, _ = arrays(ball.surface)
    assert np.allclose(bounds, np.stack([vertices.min(axis=0), vertices.max(axis=0)], axis=1).ravel(), atol=1e-3)
    lateral = run.node("film_lateral")
    lateral.GetRASBounds(bounds)
    assert bounds[1] - bounds[0] < 2  # the lateral film stands along A and S
    assert bounds[1] < -250  # opposite to its tube, at the patient's left
    volume, middle = run.node("volume", "L3"), (np.array(ball.volume_hu.shape) - 1) / 2
    assert np.allclose(volume.GetSpacing(), ball.voxel_mm)
    assert np.allclose(volume.GetOrigin(), CENTRE - middle * ball.voxel_mm, atol=0.01)
    to_ras = vtkMatrix4x4()
    volume.GetIJKToRASMatrix(to_ras)
    assert np.allclose(_matrix_of(to_ras), ball.ijk_to_ras())
    assert np.array_equal(slicer.util.arrayFromVolume(volume), ball.volume_hu.transpose(2, 1, 0))
    show_vertebra(run)
    pair = ball.films.pair
    outlines = run.node("outline_ap"), run.node("outline_lateral")
    for role, outline, place in zip(("film_ap", "film_lateral"), outlines, (pair.first, pair.second), strict=True):
        show_vertebra_film(run, role)
        assert [node.GetDisplayNode().GetVisibility() for node in outlines] == [node is outline for node in outlines]
        labels = outline.GetSegmentation().GetSegment("L3").GetRepresentation("Binary labelmap")
        first_col, last_col, first_row, last_row, _, _ = labels.GetExtent()
        covered = np.zeros(place.geometry.size_px, bool)
        values = vtk_to_numpy(labels.GetPointData().GetScalars())
        covered[first_row : last_row + 1, first_col : last_col + 1] = values.reshape(last_row - first_row + 1, -1) > 0
        assert np.array_equal(covered, silhouette(*arrays(ball.surface), place))
        slice_axes, film_axes = _matrix_of(scene.GetFirstNodeByClass("vtkMRMLSliceNode").GetSliceToRAS()), np.eye(3)
        run.node(role).GetIJKToRASDirections(film_axes)
        assert np.allclose(slice_axes[:3, :2], film_axes[:, :2] * (1, -1))  # as its pixels are, from any side
    assert [other.id for other in runs_in(scene)] == [run.id]
    assert run.node("table").GetTable().GetNumberOfRows() == len(ball.measurements)
    save_vertebra(ball, tmp_path / "L3", scene=True)
    assert (tmp_path / "L3" / "scene.mrb").stat().st_size > 10_000
    remove_from_scene(run)
    assert runs_in(scene) == []
    scene.Clear(True)
