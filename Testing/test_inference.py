"""From a radiograph to bone maps: exact stand-ins for networks, real ones out of a bundle, and what is refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.bones import MODELS, made_population
from support.learning import curves_undrawn, patients_taken_once
from support.networks import EXACT, GEOMETRIES, MANIFEST, Ramp, bone_maps, radiograph_of
from support.recipes import DEPTH, SEGMENTATION, run
from timm.layers import ScaledStdConv2d
from torch import nn

from DualFaceReconLib import inference
from DualFaceReconLib.bundle.files import read_weights, verify
from DualFaceReconLib.bundle.store import SHIPPED
from DualFaceReconLib.errors import Cancelled, Refusal
from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.framing import NOMINAL_OBJECT_DISTANCE_MM
from DualFaceReconLib.inference import load_networks, predict
from DualFaceReconLib.networks.weights import weights_of
from DualFaceReconLib.prediction import seen_on
from training.__main__ import EXIT_REFUSED, main
from training.learning import bundling


def test_one_patient_at_two_pitches_and_distances_gives_the_same_bones():
    """Masks to a pixel of the network, 1.5 mm at the bones; depths to a tenth of a millimetre."""
    slopes = []
    for geometry in GEOMETRIES:
        radiograph = radiograph_of(geometry)
        maps = bone_maps(EXACT, radiograph)
        assert maps.mask.shape == (4, *geometry.size_px)
        assert np.array_equal(maps.front > 0, maps.mask)
        nominal = geometry.sdd_mm - NOMINAL_OBJECT_DISTANCE_MM
        pixels = np.argwhere(maps.mask[2])
        points = geometry.back_project(pixels, np.full(len(pixels), nominal))
        assert (points[:, [0, 2]].min(axis=0), points[:, [0, 2]].max(axis=0)) == (
            pytest.approx((-20, -50), abs=1.5),
            pytest.approx((40, 50), abs=1.5),
        )
        assert maps.mean_depth_mm() == pytest.approx(geometry.sdd_mm - geometry.object_distance_mm, abs=1e-2)
        assert (maps.back - maps.front)[maps.mask] == pytest.approx(30, abs=1e-3)
        rows = [np.flatnonzero(maps.mask[0].any(axis=1))[n] for n in (0, -1)]
        column = int(pixels[:, 1].mean())
        slopes.append(maps.front[0, rows[1], column] - maps.front[0, rows[0], column])
    assert slopes[0] == pytest.approx(slopes[1], abs=0.2)  # a ramp over the same 100 mm
    assert slopes[0] == pytest.approx(100 / 1.5 * 0.1, abs=0.2)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=range(2))
def test_films_are_framed_at_the_plane_that_the_bundle_was_made_for(geometry):
    """A rectangle of 100 mm at 120 mm from the detector is as many network pixels as one at 180 for other bundles."""
    elsewhere = replace(EXACT, manifest=replace(MANIFEST, nominal_object_distance_mm=120.0))
    prediction = predict(elsewhere, radiograph_of(geometry, nominal=120.0))
    usual = predict(EXACT, radiograph_of(geometry))
    assert prediction.frame.framed.pixel_size_at(geometry.sdd_mm - 120) == pytest.approx((1.5, 1.5))
    rows = [int((seen.probability[0] > 0.5).any(axis=1).sum()) for seen in (prediction, usual)]
    assert rows == pytest.approx([100 / 1.5] * 2, abs=1.5)
    rows, cols = geometry.size_px
    large = geometry.cropped((-400, -400), (rows + 800, cols + 800))
    part = seen_on(elsewhere.manifest, radiograph_of(large))
    assert part.pixel_size_at(geometry.sdd_mm - 120)[0] * part.size_px[0] == pytest.approx(256 * 1.5, abs=4)


def test_depths_never_cross_and_nothing_found_is_nothing():
    class Crossed(Ramp):
        def forward(self, film):
            return super().forward(film).flip(2)

    maps = bone_maps(replace(EXACT, depth=Crossed()), radiograph_of(GEOMETRIES[1]))
    assert (maps.back >= maps.front)[maps.mask].all()

    class Nobody(nn.Module):
        def forward(self, film):
            return torch.full((len(film), 4, *film.shape[-2:]), -9.0)

    maps = bone_maps(replace(EXACT, segmentation=Nobody()), radiograph_of(GEOMETRIES[1]))
    assert not maps.mask.any()
    assert np.isfinite(maps.front).all()


def test_the_mirrored_film_is_asked_with_sides_exchanged():
    class OneSided(nn.Module):
        """Sees the left hip alone, wherever the film is bright."""

        def forward(self, film):
            logits = torch.full((len(film), 4, *film.shape[-2:]), -20.0)
            logits[:, 0] = 20 * film[:, 0]
            return logits

    radiograph = radiograph_of(GEOMETRIES[1])
    alone = bone_maps(replace(EXACT, segmentation=OneSided()), radiograph, flipped_too=False)
    assert alone.mask.any(axis=(1, 2)).tolist() == [True, False, False, False]
    films = []

    class Asked(OneSided):
        def forward(self, film):
            films.append(film)
            return super().forward(film)

    both = bone_maps(replace(EXACT, segmentation=Asked()), radiograph)
    assert torch.equal(films[1], films[0].flip(-1))
    assert not both.mask[0].any()  # as much for the left hip as against it: half, which is not more than half
    apart = predict(replace(EXACT, segmentation=OneSided()), radiograph).disagreement
    assert (apart["hip_left"].dice, apart["hip_right"].dice) == (0, 0)  # one side in each of both
    assert np.isnan(apart["hip_left"].depth_mm)
    assert np.isnan(apart["femur_left"].dice)
    same = bone_maps(EXACT, radiograph)
    assert np.array_equal(same.mask, bone_maps(EXACT, radiograph, flipped_too=False).mask)


def test_how_far_the_mirrored_film_disagrees_is_kept_by_bone():
    class Slanted(Ramp):
        """The ramp, but the left hip is 6 mm deeper than the right one, and all of it 40 more on a darker left half."""

        def forward(self, film):
            depth = super().forward(film).clone()
            depth[:, 0] += 6
            return depth + 40 * (film[..., : film.shape[-1] // 2].mean() < film[..., film.shape[-1] // 2 :].mean())

    radiograph = radiograph_of(GEOMETRIES[1])
    assert predict(EXACT, radiograph, flipped_too=False).disagreement is None
    exact = predict(EXACT, radiograph).disagreement
    assert {(apart.depth_mm, apart.dice) for apart in exact.values()} == {(0.0, 1.0)}
    apart = predict(replace(EXACT, depth=Slanted()), radiograph).disagreement
    # hips are 6 mm apart each way, femora not; the shift of the whole picture, which no film can tell, is no part of it
    assert [apart[bone].depth_mm for bone in EXACT.manifest.bones] == pytest.approx(
        [6.0 if bone.startswith("hip") else 0.0 for bone in EXACT.manifest.bones], abs=1e-3
    )


def test_progress_is_reported_and_cancelling_stops():
    calls = []
    predict(EXACT, radiograph_of(GEOMETRIES[1]), progress=lambda stage, share: calls.append((stage, share)))
    assert [stage for stage, _ in calls] == ["segmentation", "depth"]
    assert [share for _, share in calls] == sorted(share for _, share in calls)
    assert 0 <= calls[0][1] <= calls[-1][1] <= 1
    answers = iter([False, True])
    with pytest.raises(Cancelled):
        predict(EXACT, radiograph_of(GEOMETRIES[1]), cancelled=lambda: next(answers))


# Out of a bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle of networks that were trained for a moment, made by the command."""
    folder = tmp_path_factory.mktemp("trained")
    population = made_population()
    with curves_undrawn(), patients_taken_once():
        for recipe in (DEPTH, SEGMENTATION):
            short = replace(recipe, learning=replace(recipe.learning, epochs=1))
            run(short, population, folder / recipe.task)
    arguments = ["bundle", "--depth", folder / "depth", "--segmentation", folder / "segmentation"]
    arguments += ["--out", folder / "bundle ü", "--models", MODELS]
    arguments += ["--id", "made-up", "--version", "0.0.1", "--measured", "not at all"]
    assert main([str(argument) for argument in arguments]) == 0
    return folder / "bundle ü"


def test_a_trained_bundle_reads_a_film(bundle):
    assert verify(bundle).trained_on.startswith("Simulated films")
    networks = load_networks(bundle, "cpu")
    assert networks.manifest.input_px == (64, 64)
    film = np.random.default_rng(0).random(GEOMETRIES[1].size_px).astype(np.float32)
    maps = bone_maps(networks, Radiograph(film, GEOMETRIES[1]))
    again = bone_maps(load_networks(bundle, "cpu"), Radiograph(film, GEOMETRIES[1]))
    assert maps.mask.shape == (4, *GEOMETRIES[1].size_px)
    assert np.array_equal(maps.front, again.front)


def test_a_bundle_says_whose_films_its_encoder_saw(bundle, tmp_path):
    assert "No clinical picture." in verify(bundle).trained_on
    runs = {}
    for task in ("depth", "segmentation"):
        runs[task] = tmp_path / task
        shutil.copytree(bundle.parent / task, runs[task])
    record = json.loads((runs["depth"] / "network.json").read_text(encoding="utf-8"))
    record["besides"] = {"encoder": {"besides": {"films": "a folder's"}}}
    (runs["depth"] / "network.json").write_text(json.dumps(record), encoding="utf-8")
    made = bundling.bundle(runs, MODELS, tmp_path / "bundle", "made-up", "0.0.1", "not at all")
    assert "No clinical picture." not in made.trained_on
    assert "films of the maker's own" in made.trained_on


def test_a_bug_of_ours_is_not_taken_for_a_bundle_that_does_not_fit(bundle, monkeypatch):
    def bug(*_):
        raise TypeError("a bug")

    monkeypatch.setattr(inference, "give_weights", bug)
    with pytest.raises(TypeError, match="a bug"):
        load_networks(bundle, "cpu")


def test_a_bundle_that_does_not_fit_is_refused(bundle, tmp_path):
    text = (bundle / "manifest.json").read_text(encoding="utf-8")

    def changed(**values):
        document = json.loads(text)
        for name, value in values.items():
            document[name] = value
        (bundle / "manifest.json").write_text(json.dumps(document), encoding="utf-8")

    networks = json.loads(text)["networks"]
    nameless = {**networks, "segmentation": {**networks["segmentation"], "settings": {"width": 3}}}
    wider = {**networks, "depth": {**networks["depth"], "settings": {**networks["depth"]["settings"], "width": 64}}}
    strange = {**networks, "depth": {**networks["depth"], "settings": {"encoder": "nobody"}}}
    try:
        for values in (
            {"networks": wider},
            {"networks": strange},
            {"networks": nameless},
            {"normalisation": {"low": 0}},
            {"nominal_object_distance_mm": 900.0},
        ):
            changed(**values)
            with pytest.raises(Refusal, match="made-up"):
                load_networks(bundle, "cpu")
    finally:
        (bundle / "manifest.json").write_text(text, encoding="utf-8")
    arguments = ["bundle", "--depth", tmp_path, "--segmentation", tmp_path, "--out", tmp_path / "x"]
    arguments += ["--id", "made-up", "--version", "0.0.1", "--measured", "not at all"]
    assert main([str(argument) for argument in arguments]) == EXIT_REFUSED
    assert not (tmp_path / "x").exists()


def test_loading_draws_no_random_weights():
    """All of them come from the bundle, and drawing them first would take longer than that."""
    state = torch.random.get_rng_state()
    loaded = load_networks(SHIPPED, "cpu")
    assert torch.equal(torch.random.get_rng_state(), state)
    for name in ("depth", "segmentation"):
        sealed, learnt = (read(SHIPPED, loaded.manifest, name) for read in (read_weights, inference._network))
        assert all(torch.equal(value, sealed[key]) for key, value in weights_of(learnt).items())


@torch.inference_mode()
def test_networks_in_use_answer_as_they_learnt_to():
    """Standardised once and laid out for the processor, but for rounding; of several films as of one."""
    loaded = load_networks(SHIPPED, "cpu")
    films = torch.randn(2, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    for name, most in (("depth", 0.002), ("segmentation", 0.01)):  # mm, logits
        learnt, used = inference._network(SHIPPED, loaded.manifest, name).eval(), getattr(loaded, name)
        assert (used(films) - learnt(films)).abs().max() < most
        assert not any(isinstance(layer, ScaledStdConv2d | nn.InstanceNorm2d) for layer in used.modules())
