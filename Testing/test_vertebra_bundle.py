"""Bundles for vertebrae beside those for hips: listed and verified by the same commands, never confused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.bundles import made_bundle
from support.vertebra_bundles import made_vertebra_bundle, vertebra_manifest, vertebra_weights

from DualFaceReconLib.bundle.files import read_weights, verify
from DualFaceReconLib.bundle.manifest import hip_manifest, load_manifest, vertebra_manifest_in
from DualFaceReconLib.bundle.store import installed, vertebra_bundle_folder
from DualFaceReconLib.cli import main
from DualFaceReconLib.errors import Refusal


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
    with pytest.raises(Refusal, match="python -m training vertebrae bundle"):
        vertebra_bundle_folder(None)
    assert vertebra_bundle_folder(Path("mine")) == Path("mine")
