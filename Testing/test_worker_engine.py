"""What the worker's engine does of what is asked, with stand-ins for networks: nothing anew that it knows already."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from support.batches import StandIn, save_film, stand_in_bundle

from DualFaceReconLib import results
from DualFaceReconLib.errors import Cancelled, Refusal
from DualFaceReconLib.film.radiograph import read_radiograph
from DualFaceReconLib.results import load_reconstruction
from DualFaceReconLib.worker import engine as engine_room
from DualFaceReconLib.worker.engine import KEPT_FILMS, Engine, Job
from DualFaceReconLib.worker.protocol import Hello, Load, NoRequest, Open, Reconstruct, Save

OBSERVED_ALONE = {"completion": False}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return stand_in_bundle(tmp_path_factory.mktemp("bundle") / "bundle")


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return str(save_film(tmp_path_factory.mktemp("Röntgen bilder") / "Hüfte 1.dcm", seed=1))


@pytest.fixture
def engine(bundle, tmp_path, monkeypatch):
    """With a bundle of stand-ins."""
    monkeypatch.setattr(engine_room, "_loaded", lambda request: StandIn(bundle))
    monkeypatch.setattr(results.overview, "picture", lambda reconstruction: np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "own").mkdir()
    return Engine(tmp_path / "own")


def job(progress=None, cancelled=lambda: False):
    return Job(cancelled, lambda *values: None if progress is None else progress.append(values))


def bones(folder):
    """What a result's files hold, by their names; but for the time at which they were made."""
    files = {
        path.name: path.read_bytes() for path in Path(folder).iterdir() if path.suffix in (".vtp", ".stl", ".nrrd")
    }
    assert {"hip_left_observed.vtp", "labels.nrrd", "depth_front.nrrd", "radiograph.nrrd"} <= set(files)
    return files


def test_an_open_film_says_how_it_was_taken(engine, film):
    progress = []
    opened = engine.open(Open(film, overrides={"sdd_mm": 1200}), job(progress))
    radiograph = read_radiograph(film, sdd_mm=1200)
    assert opened["pixel_hash"] == radiograph.pixel_hash
    assert opened["geometry"] == radiograph.geometry.to_dict()
    assert opened["values"]["sdd_mm"] | {"affects": ""} == {
        "value": 1200,
        "text": "1200 mm",
        "kind": "user",
        "source": "given by the user",
        "spread": None,
        "affects": "",
    }
    assert [warning["code"] for warning in opened["warnings"]] == [w.code for w in radiograph.warnings]
    preview = sitk.GetArrayFromImage(sitk.ReadImage(opened["preview"]["path"]))
    assert preview.shape == (*opened["preview"]["size_px"], 3)
    assert [words for _, words, _ in progress] == ["Reading the film"] * 2
    json.dumps(opened, allow_nan=False)
    assert "Muster" not in json.dumps(opened)


def test_two_films_one_after_the_other(engine, film, tmp_path):
    other = str(save_film(tmp_path / "other.dcm", seed=2))
    hashes = []
    for path in (film, other, film):
        opened = engine.open(Open(path), job())
        done = engine.reconstruct(Reconstruct(opened["film"], **OBSERVED_ALONE), job())
        assert load_reconstruction(done["folder"]).radiograph.pixel_hash == opened["pixel_hash"]
        hashes.append((opened["pixel_hash"], done["networks"]))
    assert [networks for _, networks in hashes] == ["asked", "asked", "kept"]
    assert hashes[0][0] == hashes[2][0] != hashes[1][0]
    assert len(engine.films) == KEPT_FILMS
    with pytest.raises(Refusal, match="open it again"):
        engine.reconstruct(Reconstruct("00000000"), job())


@pytest.mark.parametrize(
    ("overrides", "networks"),
    [
        ({}, "kept"),
        ({"object_distance_mm": 150}, "kept"),
        ({"view": "PA"}, "kept"),
        ({"swap_sides": True}, "asked"),
        ({"sdd_mm": 1000}, "asked"),
    ],
    ids=str,
)
def test_a_run_with_what_was_changed_is_a_fresh_run(engine, bundle, film, tmp_path, overrides, networks):
    """Byte for byte, whether networks were asked again or not."""
    first = engine.open(Open(film), job())
    engine.reconstruct(Reconstruct(first["film"], **OBSERVED_ALONE), job())
    changed = engine.open(Open(film, overrides=overrides), job())
    again = engine.reconstruct(Reconstruct(changed["film"], **OBSERVED_ALONE), job())
    assert again["networks"] == networks
    fresh = StandIn(bundle).run(read_radiograph(film, **overrides), completion=False)
    results.save(fresh, tmp_path / "fresh")
    assert bones(again["folder"]) == bones(tmp_path / "fresh")


@pytest.mark.parametrize("ending", [".npy", ".nrrd"])
def test_a_corrected_mask_is_a_fresh_run_with_it(engine, bundle, film, tmp_path, ending):
    opened = engine.open(Open(film), job())
    before = engine.reconstruct(Reconstruct(opened["film"], **OBSERVED_ALONE), job())
    mask = load_reconstruction(before["folder"]).maps.mask.astype(np.uint8)
    mask[0, : int(np.argwhere(mask[0])[:, 0].mean())] = 0
    file = tmp_path / f"Maske ü{ending}"
    if ending == ".npy":
        np.save(file, mask)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(mask), str(file))
    after = engine.reconstruct(Reconstruct(opened["film"], mask=str(file), **OBSERVED_ALONE), job())
    assert after["networks"] == "kept"
    assert [load_reconstruction(one["folder"]).masks.kind for one in (before, after)] == ["estimated", "user"]
    assert "user: masks given by the user" in Path(after["folder"], "report.html").read_text(encoding="utf-8")
    fresh = StandIn(bundle).run(read_radiograph(film), mask=mask, completion=False)
    results.save(fresh, tmp_path / "fresh")
    assert bones(after["folder"]) == bones(tmp_path / "fresh") != bones(before["folder"])


def test_a_mirrored_film_s_part_is_asked_for_where_it_was_not(engine, film):
    opened = engine.open(Open(film), job())
    asked = [
        engine.reconstruct(Reconstruct(opened["film"], flipped_too=flipped, **OBSERVED_ALONE), job())["networks"]
        for flipped in (False, True, True, False)
    ]
    assert asked == ["asked", "asked", "kept", "kept"]


def test_bare_pixels_are_a_film_with_what_is_said_of_them(engine, film, tmp_path):
    radiograph = read_radiograph(film)
    np.save(tmp_path / "pixels.npy", radiograph.pixels)
    known = {"pixel_pitch_mm": [1.2, 1.25], "sdd_mm": 1150, "object_distance_mm": 190, "view": "AP"}
    opened = engine.open(Open(str(tmp_path / "pixels.npy"), overrides=known), job())
    assert opened["pixel_hash"] == radiograph.pixel_hash
    codes = {warning["code"] for warning in opened["warnings"]}
    assert codes == {"principal_point_px-assumed", "orientation-assumed", "polarity-assumed"}
    with pytest.raises(Refusal, match="how large its pixels are"):
        engine.open(Open(str(tmp_path / "pixels.npy")), job())


@pytest.mark.parametrize("ending", [".npy", ".nrrd"])
def test_pixels_with_their_geometry_are_the_film_itself(engine, film, tmp_path, ending):
    """A file's own spacing, which a viewer may have made up, does not count beside it."""
    first = engine.open(Open(film), job())
    file, pixels = tmp_path / f"pixels{ending}", read_radiograph(film).pixels
    if ending == ".npy":
        np.save(file, pixels)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(pixels), str(file))
    second = engine.open(Open(str(file), geometry=json.loads(json.dumps(first["geometry"]))), job())
    assert second["geometry"] == first["geometry"]
    done = [engine.reconstruct(Reconstruct(one["film"], **OBSERVED_ALONE), job()) for one in (first, second)]
    assert bones(done[0]["folder"]) == bones(done[1]["folder"])


def test_a_marked_ball_tells_the_distance(engine, film):
    marker = {"row": 140, "col": 150, "diameter_px": 25, "diameter_mm": 25.4}
    opened = engine.open(Open(film, marker=marker), job())
    assert opened["values"]["object_distance_mm"]["kind"] == "derived"
    with pytest.raises(NoRequest, match="lacks 'diameter_mm'"):
        engine.open(Open(film, marker={"row": 1, "col": 1, "diameter_px": 3}), job())


@pytest.mark.parametrize(
    "request_",
    [
        Open("film.dcm", overrides={"sdd": 1000}),
        Open("film.dcm", overrides={"sdd_mm": "far"}),
        Open("pixels.npy", geometry={"sdd_mm": 1000}),
        Open("pixels.npy", geometry={"sdd_mm": 1000, "pixel_pitch_mm": [1, 1], "size_px": "large"}),
    ],
    ids=repr,
)
def test_what_is_said_wrongly_of_a_film_is_no_request(engine, tmp_path, request_):
    np.save(tmp_path / "pixels.npy", np.eye(300))
    with pytest.raises(NoRequest):
        engine.open(replace(request_, path=str(tmp_path / request_.path)), job())


def test_what_is_no_film_and_no_mask_is_refused(engine, film, tmp_path):
    (tmp_path / "letter.dcm").write_text("Dear Sir")
    (tmp_path / "letter.npy").write_text("Dear Sir")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    np.save(tmp_path / "volume.npy", np.zeros((300, 300, 3)))
    for name in ("letter.dcm", "letter.npy", "objects.npy", "volume.npy", "absent.npy"):
        with pytest.raises(Refusal):
            engine.open(Open(str(tmp_path / name)), job())
    opened = engine.open(Open(film), job())
    for name in ("letter.npy", "letter.nrrd", "volume.npy"):
        with pytest.raises(Refusal, match=r"mask|array"):
            engine.reconstruct(Reconstruct(opened["film"], mask=str(tmp_path / name)), job())


def test_results_go_where_they_are_wanted_and_replace_nothing_unasked(engine, film, tmp_path):
    opened = engine.open(Open(film), job())
    place = tmp_path / "Ergebnisse" / "erste Hüfte"
    request = Reconstruct(opened["film"], folder=str(place), **OBSERVED_ALONE)
    assert engine.reconstruct(request, job())["folder"] == str(place)
    with pytest.raises(Refusal, match="holds a reconstruction already"):
        engine.reconstruct(request, job(cancelled=lambda: pytest.fail("it was computed")))
    engine.reconstruct(replace(request, overwrite=True), job())
    for path in engine.folder.iterdir():
        assert path.suffix in (".png", ".npy")  # previews and pixels alone


def test_a_result_is_copied_as_it_is(engine, film, tmp_path):
    opened = engine.open(Open(film), job())
    done = engine.reconstruct(Reconstruct(opened["film"], **OBSERVED_ALONE), job())
    result, place = Path(done["folder"]), tmp_path / "saved"
    (result / "stranger.txt").write_text("somebody's")
    assert engine.save(Save(str(result), str(place)), job()) == {"folder": str(place)}
    copied = {path.name: path.read_bytes() for path in place.iterdir()}
    assert copied == {path.name: path.read_bytes() for path in result.iterdir() if path.name != "stranger.txt"}
    with pytest.raises(Refusal, match="already"):
        engine.save(Save(str(result), str(place)), job())
    with pytest.raises(Cancelled):
        engine.save(Save(str(result), str(place), overwrite=True), job(cancelled=lambda: True))
    assert {path.name: path.read_bytes() for path in place.iterdir()} == copied
    (result / "labels.nrrd").unlink()
    with pytest.raises(Refusal, match="damaged"):
        engine.save(Save(str(result), str(tmp_path / "other")), job())


def test_a_scene_comes_along_where_it_is_asked_for(engine, film, tmp_path):
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    opened = engine.open(Open(film), job())
    done = engine.reconstruct(Reconstruct(opened["film"], **OBSERVED_ALONE), job())
    engine.save(Save(done["folder"], str(tmp_path / "saved"), scene=True), job())
    assert (tmp_path / "saved" / "scene.mrb").stat().st_size > 10_000


# The bundle


def test_a_bundle_is_loaded_once_and_again_after_a_refusal(engine, bundle, film, monkeypatch):
    loaded = []

    def load(request):
        loaded.append(request)
        if request.bundle == "damaged":
            raise Refusal("It is damaged.")
        return StandIn(bundle)

    monkeypatch.setattr(engine_room, "_loaded", load)
    opened = engine.open(Open(film), job())
    for request in (Load("damaged"), Load("damaged")):
        with pytest.raises(Refusal, match="damaged"):
            engine.load(request, job())
    about = engine.load(Load("made-up"), job())
    assert about["bundle"]["id"] == "made-up"
    assert about["device_words"].startswith(("CPU", "GPU"))
    engine.reconstruct(Reconstruct(opened["film"], **OBSERVED_ALONE), job())
    assert [request.bundle for request in loaded] == ["damaged", "damaged", "made-up"]
    engine.forget_bundle()
    engine.reconstruct(Reconstruct(opened["film"], **OBSERVED_ALONE), job())
    assert loaded[-1] == Load()


def test_predictions_of_another_bundle_are_not_used(engine, bundle, film):
    opened = engine.open(Open(film), job())
    request = Reconstruct(opened["film"], **OBSERVED_ALONE)
    assert engine.reconstruct(request, job())["networks"] == "asked"
    engine.load(Load("another"), job())
    assert engine.reconstruct(request, job())["networks"] == "asked"


def test_loading_goes_on_for_the_next_time_where_nobody_waits(engine, bundle, film, monkeypatch):
    """Imports cannot be cut in two."""
    from threading import Event

    go_on, loaded = Event(), []

    def load(request):
        go_on.wait(60)
        loaded.append(request)
        return StandIn(bundle)

    monkeypatch.setattr(engine_room, "_loaded", load)
    with pytest.raises(Cancelled):
        engine.load(Load(), job(cancelled=lambda: True))
    go_on.set()
    engine.load(Load(), job())
    assert loaded == [Load()]


def test_a_torch_that_is_not_there_is_named(engine, monkeypatch):
    def missing(name):
        raise ImportError(name=name)

    monkeypatch.setattr(engine_room, "import_module", missing)
    monkeypatch.setattr(engine_room, "find_spec", lambda name: None)
    with pytest.raises(Refusal, match="torch is not installed") as refused:
        engine.hello(Hello(), job())
    assert (refused.value.code, refused.value.values) == ("package-missing", {"package": "torch"})
