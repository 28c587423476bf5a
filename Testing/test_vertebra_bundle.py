"""Bundles for vertebrae beside those for hips: listed and verified by the same commands, never confused."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.bundles import made_bundle
from support.vertebra_bundles import SETTINGS, made_vertebra_bundle, vertebra_manifest, vertebra_weights
from support.vertebrae import made_group

from DualFaceReconLib.bundle.files import read_weights, verify, write_bundle
from DualFaceReconLib.bundle.manifest import hip_manifest, load_manifest, vertebra_manifest_in
from DualFaceReconLib.bundle.store import installed, vertebra_bundle_folder
from DualFaceReconLib.cli import main
from DualFaceReconLib.disk.meshfiles import read_vtp
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.levels import LEVELS
from DualFaceReconLib.meshes import arrays, volume_mm3
from DualFaceReconLib.networks.ear import EarNetwork, EarSettings
from DualFaceReconLib.networks.weights import weights_of
from DualFaceReconLib.vertebra.films import read_spine_films
from DualFaceReconLib.vertebra.targets import met, read_targets
from DualFaceReconLib.vertebra.volume import load_vertebra_network
from training.learning.finished import write_finished
from training.vertebrae.bundling import bundle_vertebrae
from training.vertebrae.rows import COMPLETED, MEAN
from training.vertebrae.virtual import Stock

ROOT = Path(__file__).parent.parent


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """Both kinds ship."""
    monkeypatch.setenv("DUALFACE_MODELS", str(tmp_path / "mine"))
    for name, made in (("SHIPPED", made_bundle), ("SHIPPED_VERTEBRAE", made_vertebra_bundle)):
        monkeypatch.setattr(f"DualFaceReconLib.bundle.store.{name}", made(tmp_path / name))
    return tmp_path


def test_what_was_written_comes_back(tmp_path):
    folder = made_vertebra_bundle(tmp_path / "b", angle_degrees=(80.0, 100.0))
    written = verify(folder)
    assert replace(written, files={}) == vertebra_manifest(angle_degrees=(80.0, 100.0))
    assert load_manifest(folder).format == 3
    again = read_weights(folder, written, "volume")
    for name, tensor in vertebra_weights().items():
        assert torch.allclose(again[name], tensor, atol=2e-3)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"levels": ("L1", "T12")}, "not from above"),
        ({"levels": ("L1", "L9")}, "unknown"),
        ({"surface_error_mm": {"lumbar": 1.0}}, "lower_thoracic, lumbar"),
        ({"surface_error_mm": {"upper_thoracic": 1.0, "lower_thoracic": 1.0, "lumbar": -1.0}}, "no lengths"),
        ({"angle_degrees": (100.0, 80.0)}, "angle"),
        ({"films": "asleep"}, "neither alone nor in situ"),
        ({"side": 0}, "side"),
        ({"voxel_mm": 0.0}, "voxel_mm"),
        ({"attributions": ("\x1b[2J",)}, "printable"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path, changed, words):
    with pytest.raises(Refusal, match=words):
        made_vertebra_bundle(tmp_path / "b", **changed)
    assert not (tmp_path / "b").exists()


def test_shape_models_are_sealed_with_the_network_for_all_its_groups_or_none(tmp_path):
    model = Stock.of({"lumbar": made_group()}).groups["lumbar"].model
    model.save(tmp_path / "lumbar.ssm.npz")
    manifest = vertebra_manifest(
        levels=("L1", "L2"), surface_error_mm={"lumbar": 1.5}, shape_models={"lumbar": "lumbar.ssm.npz"}
    )
    folder, weights = tmp_path / "b", {"volume": vertebra_weights()}
    write_bundle(folder, manifest, weights, {"lumbar": tmp_path / "lumbar.ssm.npz"})
    assert verify(folder).shape_models == {"lumbar": "lumbar.ssm.npz"}
    [loaded] = load_vertebra_network(folder).shape_models.values()
    assert np.allclose(loaded.mean, model.mean, atol=1e-4)
    with pytest.raises(Refusal, match="must name the shape models of lower_thoracic, lumbar"):
        write_bundle(
            tmp_path / "c",
            replace(manifest, levels=("T12", "L1"), surface_error_mm={"lower_thoracic": 1.0, "lumbar": 1.5}),
            weights,
            {"lumbar": tmp_path / "lumbar.ssm.npz"},
        )
    values = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    del values["shape_models"], values["files"]["lumbar.ssm.npz"]  # as in bundles that know of none
    (folder / "manifest.json").write_text(json.dumps(values), encoding="utf-8")
    assert vertebra_manifest_in(folder).shape_models == {}


def test_older_programs_know_that_it_is_newer(tmp_path):
    values = json.loads((made_vertebra_bundle(tmp_path / "b") / "manifest.json").read_text(encoding="utf-8"))
    assert values["format"] == 3
    assert json.loads((made_bundle(tmp_path / "h") / "manifest.json").read_text(encoding="utf-8"))["format"] == 1


def test_one_kind_is_not_taken_for_the_other(tmp_path):
    hips, vertebrae = made_bundle(tmp_path / "h"), made_vertebra_bundle(tmp_path / "v")
    assert hip_manifest(hips).id == "made-up"
    assert vertebra_manifest_in(vertebrae).id == "made-up-vertebrae"
    with pytest.raises(Refusal, match=r"vertebrae T2 to L5 .* no bones of hip films"):
        hip_manifest(vertebrae)
    with pytest.raises(Refusal, match="is for hip films"):
        vertebra_manifest_in(hips)


def test_both_kinds_are_listed_and_verified(shipped, capsys):
    assert [(bundle.id, bundle.for_hips) for bundle in installed()] == [("made-up", True), ("made-up-vertebrae", False)]
    assert main(["models", "list"]) == 0
    listed = capsys.readouterr().out
    assert "made-up-vertebrae 1.0.0  ships with DualFaceRecon" in listed
    assert "vertebrae T2 to L5 of two films" in listed
    assert main(["models", "verify"]) == 0
    assert capsys.readouterr().out.count("is sound") == 2
    (shipped / "SHIPPED_VERTEBRAE" / "volume.safetensors").write_bytes(b"")
    assert main(["models", "verify", "made-up-vertebrae"]) == 2
    assert "cut short" in capsys.readouterr().err


def test_where_none_ships_it_is_said_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.setattr("DualFaceReconLib.bundle.store.SHIPPED_VERTEBRAE", tmp_path / "none")
    monkeypatch.setenv("DUALFACE_MODELS", str(tmp_path / "mine"))
    with pytest.raises(Refusal, match="python -m training vertebrae bundle"):
        vertebra_bundle_folder(None)
    own = made_vertebra_bundle(tmp_path / "mine" / "made-up-vertebrae-1.0.0")
    assert vertebra_bundle_folder(None) == own
    assert vertebra_bundle_folder(Path("mine")) == Path("mine")


# What ships


def test_what_ships_of_vertebrae_stays_small():
    """The Extensions Index counts a clone with its history."""
    folder = ROOT / "Resources" / "Vertebrae"
    samples = sum(path.stat().st_size for path in (folder / "Samples").iterdir())
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    assert samples < 600e3
    assert weights < 5e6
    assert samples + sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) < 6e6


def test_the_sample_pair_says_how_it_was_taken_and_its_clicks_meet_at_its_truth():
    folder = ROOT / "Resources" / "Vertebrae" / "Samples"
    films = read_spine_films(folder / "spine_L3_ap.dcm", folder / "spine_L3_lateral.dcm")
    assert {warning.code for warning in films.warnings} <= {"body-part-unknown"}
    assert films.angle.value == 90.0
    [clicks] = read_targets(folder / "spine_L3.json")
    meeting, warnings = met(clicks, films)
    assert warnings == ()
    vertices, triangles = arrays(read_vtp(folder / "spine_L3_truth.vtp"))
    assert np.allclose((vertices.min(axis=0) + vertices.max(axis=0)) / 2, meeting.point, atol=5.0)
    assert 20e3 < volume_mm3(vertices, triangles) < 150e3


# A finished run


@pytest.fixture
def run(tmp_path):
    """A run that learnt nothing, and its sha256."""
    recipe = tomllib.loads((ROOT / "training" / "recipes" / "ear_kept.toml").read_text(encoding="utf-8"))
    recipe["network"] = SETTINGS
    (tmp_path / "run").mkdir()
    metadata = {"recipe": recipe, "settings": SETTINGS, "films": 12}
    write_finished(weights_of(EarNetwork(EarSettings(**SETTINGS))), metadata, tmp_path / "run" / "network.safetensors")
    sha256 = json.loads((tmp_path / "run" / "network.json").read_text(encoding="utf-8"))["sha256"]
    return tmp_path / "run", sha256


def judged(folder, sha256, **levels):
    """A folder of `evaluate`: ASSD by level, on two people."""
    folder.mkdir()
    lines = [
        json.dumps(
            {
                "seal": sha256 if row in ("network", COMPLETED) else "another",
                "person": person,
                "level": level,
                "condition": "in situ, usual errors",
                "row": row,
                "figures": {"assd_mm": assd + off - 0.8 * (row == COMPLETED)},
            }
        )
        for level, assd in levels.items()
        for person, off in (("a/1", -0.5), ("b/2", 0.5))
        for row in ("network", COMPLETED, MEAN)
    ]
    (folder / "scores.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_a_run_becomes_a_bundle_that_says_how_good_it_is(run, tmp_path):
    folder, sha256 = run
    scores = judged(tmp_path / "judged", sha256, L2=2.0, L3=3.0, T12=4.0)
    manifest = bundle_vertebrae(folder, scores, 150.0, tmp_path / "b", "vertebrae-small", "1.0.0")
    assert manifest == vertebra_manifest_in(tmp_path / "b")
    assert manifest.levels == LEVELS[6:]  # no upper thoracic one was judged
    assert manifest.surface_error_mm == {"lower_thoracic": 5.0, "lumbar": 3.125}
    assert "lumbar 2.5 mm (4 vertebrae of 2 people; mean vertebra" in manifest.measured
    assert "allow no claim" in manifest.measured
    assert any("CC BY 4.0" in text for text in manifest.attributions)
    assert (manifest.angle_degrees, manifest.films) == ((54.0, 146.0), "in situ")
    assert load_vertebra_network(tmp_path / "b").manifest.threshold_hu == 150.0


def test_a_bundle_names_whose_pelves_stood_below_its_vertebrae(run, tmp_path):
    folder, sha256 = run
    metadata = json.loads((folder / "network.json").read_text(encoding="utf-8"))
    named = 150.0, tmp_path / "b", "vertebrae-small", "1.0.0"
    assert "MPL" not in str(bundle_vertebrae(folder, judged(tmp_path / "a", sha256, L3=3.0), *named))
    metadata["besides"] = {"studies": "", "pelves": "llp26"}
    (folder / "network.json").write_text(json.dumps(metadata), encoding="utf-8")
    manifest = bundle_vertebrae(folder, tmp_path / "a", 150.0, tmp_path / "c", *named[2:])
    assert "MPL-2.0" in manifest.licence
    assert any("Auckland" in text for text in manifest.attributions)


def test_with_shape_models_it_is_their_surfaces_that_a_bundle_speaks_of(run, tmp_path):
    folder, sha256 = run
    scores = judged(tmp_path / "judged", sha256, L2=2.0, L3=3.0)
    models = {"lumbar": Stock.of({"lumbar": made_group()}).groups["lumbar"].model}
    manifest = bundle_vertebrae(folder, scores, 150.0, tmp_path / "b", "vertebrae-small", "1.0.0", models=models)
    assert manifest.surface_error_mm == {"lumbar": 2.125}
    assert "lumbar 1.7 mm (4 vertebrae" in manifest.measured
    assert len(load_vertebra_network(tmp_path / "b").shape_models["lumbar"].variances) <= 12


def test_a_run_that_nobody_judged_becomes_none(run, tmp_path):
    folder, sha256 = run
    with pytest.raises(Refusal, match="evaluate"):
        bundle_vertebrae(folder, tmp_path, 150.0, tmp_path / "b", "vertebrae-small", "1.0.0")
    other = judged(tmp_path / "judged", sha256[::-1], L3=3.0)
    with pytest.raises(Refusal, match="another network"):
        bundle_vertebrae(folder, other, 150.0, tmp_path / "b", "vertebrae-small", "1.0.0")
