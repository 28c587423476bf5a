"""Model bundles: what is written comes back, what is damaged, unsafe or unknown is refused by name."""

import hashlib
import json
import math
import os
import shutil
import struct
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from support.bundles import made_bundle, manifest, shape_models, weights

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.bundle.files import MAX_UNPACKED_BYTES, read_shape_model, read_weights, verify, write_bundle
from DualFaceReconLib.bundle.manifest import MAX_MANIFEST_BYTES, load_manifest
from DualFaceReconLib.bundle.store import find, installed, models_folder, remove
from DualFaceReconLib.cli import main
from DualFaceReconLib.errors import Refusal

ROOT = Path(__file__).parent.parent


@pytest.fixture
def folder(tmp_path):
    return made_bundle(tmp_path / "a bundle ü")


@pytest.fixture
def models(tmp_path, monkeypatch):
    """The user's own folder of bundles; none ships."""
    monkeypatch.setenv("DUALFACE_MODELS", str(tmp_path / "my models ü"))
    monkeypatch.setattr("DualFaceReconLib.bundle.store.SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr("DualFaceReconLib.bundle.store.SHIPPED_VERTEBRAE", tmp_path / "shipped vertebrae")
    return tmp_path / "my models ü"


def rewrite_manifest(folder, change):
    """Rewrites manifest.json by hand."""
    values = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    change(values)
    (folder / "manifest.json").write_text(json.dumps(values), encoding="utf-8")


def reseal(folder, name, content):
    """Puts other content in, sealed as if it belonged there."""
    (folder / name).write_bytes(content)
    seal = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    rewrite_manifest(folder, lambda values: values["files"].update({name: seal}))


# What is written comes back


def test_a_bundle_may_say_how_femora_lean_in_its_maps(folder):
    assert load_manifest(folder).femora_lean_mm is None
    rewrite_manifest(folder, at("femora_lean_mm", value=-1.5))
    assert load_manifest(folder).femora_lean_mm == -1.5


def test_what_was_written_comes_back(folder):
    written = verify(folder)
    assert replace(written, files={}) == manifest()
    assert written.size_bytes == sum(p.stat().st_size for p in folder.iterdir() if p.name != "manifest.json")
    for network, tensors in weights().items():
        again = read_weights(folder, written, network)
        assert set(again) == set(tensors)
        for name, tensor in tensors.items():
            assert again[name].dtype == torch.float32
            assert again[name].shape == tensor.shape
            assert torch.equal(again[name], tensor)
    assert read_shape_model(folder, written, "femur").bone == "femur"


def test_weights_are_rounded_to_half_precision(tmp_path):
    state = {**weights(), "segmentation": {"pi": torch.tensor([math.pi, 2048.9])}}
    written = write_bundle(tmp_path / "b", manifest(), state, shape_models(tmp_path / "shapes"))
    assert read_weights(tmp_path / "b", written, "segmentation")["pi"].tolist() == [3.140625, 2048]


def in_8_bits(folder, tensor):
    """A bundle whose depth network, one large tensor and a small one, is in 8 bits."""
    networks = {**manifest().networks, "depth": {**manifest().networks["depth"], "bits": 8}}
    state = {**weights(), "depth": {"large": tensor, "small": torch.tensor([[1 / 3]])}}
    return write_bundle(folder, manifest(networks=networks), state, shape_models(folder.with_name("shapes")))


def large_tensor():
    """(3, 30, 1000), its channels of very different sizes, the last one of nothing but zeros."""
    return torch.tensor([1.0, 1e-4, 0.0])[:, None, None] * torch.randn(3, 30, 1000, generator=torch.manual_seed(0))


def test_large_tensors_are_rounded_to_8_bits_of_their_channel(tmp_path):
    written = in_8_bits(tmp_path / "b", large_tensor())
    assert (written.format, verify(tmp_path / "b")) == (2, written)
    assert written.sha256 == hashlib.sha256((tmp_path / "b" / "manifest.json").read_bytes()).hexdigest()
    assert 90_000 < written.files["depth.safetensors"].bytes < 90_500
    again = read_weights(tmp_path / "b", written, "depth")
    assert set(again) == {"large", "small"}
    assert (again["large"].dtype, again["small"].item()) == (torch.float32, np.float16(1 / 3))
    steps = large_tensor().abs().amax(dim=(1, 2)) / 127
    errors = (again["large"] - large_tensor()).abs().amax(dim=(1, 2))
    assert (errors <= steps * 0.501).all()
    assert (errors[:2] > steps[:2] * 0.49).all()


def test_scales_that_are_damaged_or_missing_are_refused(tmp_path):
    written = in_8_bits(tmp_path / "b", large_tensor())
    arrays = safetensors.numpy.load((tmp_path / "b" / "depth.safetensors").read_bytes())
    scale = arrays["large.scale"]
    for changed, words in (
        ({"large.scale": None}, r"lacks large\.scale"),
        ({"large.scale": scale[:2]}, "no scales that fit large"),
        ({"large.scale": -scale}, "no scales that fit large"),
        ({"large.scale": scale.astype(np.float16)}, "no scales that fit large"),
        ({"large.scale": np.full(3, np.nan, np.float32)}, "not numbers"),
        ({"large": arrays["large"].ravel()}, "no scales that fit large"),
        ({"large": None}, "something else than float16"),
        ({"large": arrays["large"].astype(np.int16)}, "something else than float16"),
    ):
        others = {name: values for name, values in {**arrays, **changed}.items() if values is not None}
        reseal(tmp_path / "b", "depth.safetensors", safetensors.numpy.save(others))
        with pytest.raises(Refusal, match=rf"made-up: depth\.safetensors .*{words}.*fetch made-up"):
            read_weights(tmp_path / "b", load_manifest(tmp_path / "b"), "depth")
    reseal(tmp_path / "b", "depth.safetensors", safetensors.numpy.save(arrays))
    assert load_manifest(tmp_path / "b").files == written.files


def test_the_same_weights_give_the_same_bytes(folder, tmp_path):
    turned = {network: dict(reversed(tensors.items())) for network, tensors in reversed(weights().items())}
    turned["segmentation"]["seg.weight"] = turned["segmentation"]["seg.weight"].T.contiguous().T
    again = write_bundle(tmp_path / "again", manifest(), turned, shape_models(tmp_path / "shapes"))
    assert again.sha256 == load_manifest(folder).sha256
    for path in folder.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
    assert again.sha256 == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()


def test_the_digest_names_the_content_and_not_the_lines_ends(folder, tmp_path):
    before = load_manifest(folder).sha256
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_manifest(folder).sha256 == before
    assert load_manifest(made_bundle(tmp_path / "other", seed=1)).sha256 != before


def test_the_shipped_shape_models_go_into_a_bundle(tmp_path):
    shipped = {bone: ROOT / "Resources" / "Models" / f"{bone}.ssm.npz" for bone in ("hip", "femur")}
    written = write_bundle(tmp_path / "b", manifest(), weights(), shipped)
    assert len(read_shape_model(tmp_path / "b", written, "hip").mean) == 4600


def test_what_ships_stays_small():
    """The Extensions Index counts a clone with its history."""
    limits_mb = {"depth.safetensors": 14, "segmentation.safetensors": 5}
    sizes_mb = {path.name: path.stat().st_size / 1e6 for path in (ROOT / "Resources" / "Models").iterdir()}
    assert sum(sizes_mb.values()) < 24
    assert all(sizes_mb[name] < limit for name, limit in limits_mb.items())
    assert sum(size for name, size in sizes_mb.items() if name.endswith(".npz")) < 3


def test_the_bundle_that_ships_is_sound_and_tells_what_it_is():
    shipped = verify(ROOT / "Resources" / "Models")
    assert shipped.bones == BONES
    assert "Simulated films" in shipped.trained_on
    assert "No clinical picture" in shipped.trained_on
    assert "not for clinical use" in shipped.research_use
    assert "simulated" in shipped.measured
    assert all(1 < error < 30 for error in shipped.surface_error_mm.values())


def test_listing_and_verifying_do_without_torch(folder):
    program = (
        "import sys; from pathlib import Path; from DualFaceReconLib.bundle import fetch, files;"
        "files.verify(Path(sys.argv[1])); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    "tensor", [torch.tensor([1e5]), torch.tensor([math.nan]), torch.tensor([1]), torch.tensor([1j])]
)
def test_weights_that_half_precision_cannot_hold_are_not_written(tmp_path, tensor):
    with pytest.raises(ValueError, match="segmentation: w "):
        write_bundle(
            tmp_path / "b", manifest(), {**weights(), "segmentation": {"w": tensor}}, shape_models(tmp_path / "shapes")
        )
    assert not (tmp_path / "b").exists()


# Writing


def test_a_bundle_is_replaced_and_what_is_not_its_own_stays(folder):
    (folder / "MODELS.md").write_text("a card")
    before = load_manifest(folder)
    networks = {**manifest().networks, "segmentation": {"settings": {}, "file": "seg.safetensors"}}
    made_bundle(folder, seed=1, version="1.1.0", networks=networks)
    after = verify(folder)
    assert (after.version, after.sha256 == before.sha256) == ("1.1.0", False)
    assert {p.name for p in folder.iterdir()} == {*after.files, "manifest.json", "MODELS.md"}
    assert sorted(p.name for p in folder.parent.iterdir()) == ["a bundle ü"]


def test_a_folder_with_other_things_is_no_place_for_a_bundle(tmp_path):
    home = tmp_path / "home"
    (home / "thesis").mkdir(parents=True)
    with pytest.raises(Refusal, match="choose a new one"):
        made_bundle(home)
    (home / "thesis").rmdir()
    (home / "last.ckpt").write_bytes(b"1")
    with pytest.raises(Refusal, match=r"last\.ckpt"):
        made_bundle(home)
    assert [p.name for p in home.iterdir()] == ["last.ckpt"]


def test_a_manifest_that_could_not_be_read_is_not_written(tmp_path):
    networks = {**manifest().networks, "depth": {"settings": {}, "file": "../outside.safetensors"}}
    for wrong in ({"networks": networks}, {"id": "Made Up"}, {"mm_per_pixel": 0.0}):
        with pytest.raises(Refusal, match=r"manifest\.json"):
            made_bundle(tmp_path / "b", **wrong)
    for wrong in ({"shape_models": {}}, {"networks": {}}):
        with pytest.raises(ValueError, match="must be those that the manifest names"):
            made_bundle(tmp_path / "b", **wrong)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fails_at", ["write", "first rename", "second rename"])
def test_a_failure_while_writing_leaves_the_old_bundle(folder, monkeypatch, fails_at, tmp_path_factory):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    calls = []

    def failing(real, first):
        def call(path, *arguments):
            calls.append(path)
            if len(calls) == first:
                raise OSError(28, "No space left on device")
            return real(path, *arguments)

        return call

    name, first = {"write": ("write_bytes", 3), "first rename": ("rename", 1), "second rename": ("rename", 2)}[fails_at]
    monkeypatch.setattr(Path, name, failing(getattr(Path, name), first))
    with pytest.raises(Refusal, match=r"made-up.*No space left.*make room"):
        write_bundle(folder, manifest(version="2.0.0"), weights(1), shape_models(tmp_path_factory.mktemp("shapes")))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert sorted(p.name for p in folder.parent.iterdir()) == ["a bundle ü"]


def test_an_interrupted_exchange_is_mended_by_the_next(folder):
    folder.rename(folder.with_name(f".{folder.name}.old"))  # interrupted between the two renames
    made_bundle(folder, version="1.1.0")
    assert verify(folder).version == "1.1.0"
    assert sorted(p.name for p in folder.parent.iterdir()) == ["a bundle ü"]


# What is refused: manifests


def at(*keys, value):
    """A change of one value, anywhere in a manifest."""

    def change(values):
        for key in keys[:-1]:
            values = values[key]
        values[keys[-1]] = value

    return change


UNUSABLE = {
    "newer": (at("format", value=4), r"format 4.*update DualFaceRecon"),
    "newer than what it says": (at("format", value=2), "of format 1 and not of 2"),
    "older than what it says": (at("networks", "depth", "bits", value=8), "of format 2 and not of 1"),
    "bits": (at("networks", "depth", "bits", value=4), "other than 8"),
    "true are no bits": (at("networks", "depth", "bits", value=True), "other than 8"),
    "older": (at("format", value=0), "format 1"),
    "no format": (lambda values: values.pop("format"), "format 1"),
    "true is no number": (at("format", value=True), "format 1"),
    "lacking": (lambda values: values.pop("licence"), "lacks licence"),
    "unknown key": (at("extra", value=1), "unknown"),
    "id": (at("id", value="../up"), "id"),
    "id of a device": (at("id", value="con"), "id"),
    "version": (at("version", value="1.0"), "version"),
    "version with a path": (at("version", value="1.0.0/.."), "version"),
    "blank": (at("licence", value=" "), "licence"),
    "steers the terminal": (at("measured", value="\x1b[31m"), "measured"),
    "turns the text round": (at("measured", value="\u202egood"), "measured"),
    "number": (at("mm_per_pixel", value="1"), "mm_per_pixel"),
    "zero": (at("mm_per_pixel", value=0), "mm_per_pixel"),
    "true is no length": (at("mm_per_pixel", value=True), "mm_per_pixel"),
    "lean": (at("femora_lean_mm", value="5"), "femora_lean_mm"),
    "lean of a bone that lies": (at("femora_lean_mm", value=1000), "lean"),
    "infinite": (at("mm_per_pixel", value=math.inf), "not JSON"),
    "nan setting": (at("networks", "depth", "settings", "x", value=math.nan), "not JSON"),
    "broken letter": (at("normalisation", "x", value="\ud800"), "JSON cannot"),
    "input": (at("input_px", value=[256]), "input_px"),
    "huge input": (at("input_px", value=[1 << 30, 256]), "input_px"),
    "bones": (at("bones", value=["skull"]), "bones"),
    "bones twice": (at("bones", value=["hip_left", "hip_left"]), "bones"),
    "bones no list": (at("bones", value="hip_left"), "bones"),
    "faces": (at("faces", value=["back", "front"]), "faces"),
    "no depth": (lambda values: values["networks"].pop("depth"), "depth"),
    "unknown network": (at("networks", "other", value={"settings": {}, "file": "o.safetensors"}), "unknown"),
    "shift network": (at("networks", "shift", value={"settings": {}, "file": "shift.safetensors"}), "unknown"),
    "settings": (at("networks", "depth", "settings", value=[]), "settings"),
    "no file": (at("networks", "depth", value={"settings": {}}), "file"),
    "shape model": (lambda values: values["shape_models"].pop("femur"), "femur, hip"),
    "one file twice": (at("networks", "depth", "file", value="segmentation.safetensors"), "twice"),
    "only case differs": (at("networks", "depth", "file", value="Segmentation.safetensors"), "twice"),
    "unsealed": (lambda values: values["files"].pop("hip.ssm.npz"), "seal"),
    "sealed but unnamed": (at("files", "more.safetensors", value={"sha256": "0" * 64, "bytes": 1}), "seal"),
    "sha256": (at("files", "hip.ssm.npz", "sha256", value="0" * 63), "sha256"),
    "no bytes": (at("files", "hip.ssm.npz", "bytes", value=0), "length"),
    "too many bytes": (at("files", "hip.ssm.npz", "bytes", value=1 << 40), "length"),
    "confused": (at("shape_models", "hip", value="depth.safetensors"), "twice"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_manifests_that_cannot_be_used_are_refused(folder, case):
    change, words = UNUSABLE[case]
    rewrite_manifest(folder, change)
    with pytest.raises(Refusal, match=rf"Bundle a bundle ü .*{words}"):
        load_manifest(folder)


@pytest.mark.parametrize(
    "name",
    [
        *("../depth.safetensors", "/etc/depth.safetensors", "C:depth.safetensors", "C:\\depth.safetensors"),
        *("sub/depth.safetensors", "..\\depth.safetensors", ".safetensors", ".hidden.safetensors", "nul.safetensors"),
        *(
            "COM1.safetensors",
            "depth.pt",
            "depth.pkl",
            "depth.safetensors.exe",
            "depth.safetensors\n",
            "dépth.safetensors",
        ),
        *("depth.safetensors:stream", "", None, 3),
    ],
)
def test_names_that_could_lead_elsewhere_are_refused(folder, name):
    rewrite_manifest(folder, at("networks", "depth", "file", value=name))
    with pytest.raises(Refusal, match="plain name"):
        load_manifest(folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"\x80\x02}q\x00.", "not JSON"),
        (b"[1]", "no JSON object"),
        (b"[" * 100_000, "not JSON"),
        (b" " * (MAX_MANIFEST_BYTES + 1), "larger than 1 MB"),
        (b'{"format": ' + b"1" * 5000 + b"}", "not JSON"),
    ],
)
def test_what_is_no_manifest_is_refused(folder, content, words):
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(Refusal, match=words):
        load_manifest(folder)


def test_a_bug_is_not_called_a_damaged_manifest(folder, monkeypatch):
    def broken(_):
        raise ValueError("a bug")

    monkeypatch.setattr("DualFaceReconLib.bundle.manifest._check_consistent", broken)
    with pytest.raises(ValueError, match="a bug"):
        load_manifest(folder)


def test_what_is_no_bundle_is_refused(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(Refusal, match="no model bundle"):
            verify(place)


# What is refused: files


def flipped(content):
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("name", ["depth.safetensors", "segmentation.safetensors", "hip.ssm.npz", "femur.ssm.npz"])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "cut short"),
        (lambda path: path.write_bytes(path.read_bytes() + b"0"), "too long"),
        (lambda path: path.write_bytes(flipped(path.read_bytes())), "damaged"),
        (lambda path: (path.unlink(), path.mkdir()), "no ordinary file"),
    ],
)
def test_damaged_files_are_refused_by_name(folder, name, damage, words):
    damage(folder / name)
    with pytest.raises(Refusal, match=rf"made-up: {name} .*{words}.*fetch made-up"):
        verify(folder)


def test_links_that_lead_out_of_the_folder_are_refused(folder, tmp_path):
    path = folder / "depth.safetensors"
    path.rename(tmp_path / "elsewhere.safetensors")
    try:
        path.symlink_to(tmp_path / "elsewhere.safetensors")
    except OSError:
        pytest.skip("links are not permitted here")
    with pytest.raises(Refusal, match="link to elsewhere"):
        verify(folder)


def sealed_header(header, content=b""):
    """A safetensors file by hand."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


def entry(begin, end, shape=(2,), dtype="F16"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


NO_WEIGHTS = {
    "zip": b"PK\x03\x04" + bytes(100),
    "pickle": b"\x80\x02}q\x00." * 10,
    "empty": b"1",
    "header bomb": struct.pack("<Q", 1 << 62) + b"{}",
    "nested bomb": struct.pack("<Q", 100_000) + b"[" * 100_000,
    "overlapping": sealed_header({"a": entry(0, 4), "b": entry(2, 6)}, bytes(6)),
    "gap": sealed_header({"a": entry(2, 6)}, bytes(6)),
    "tail": sealed_header({"a": entry(0, 4)}, bytes(6)),
    "wrong shape": sealed_header({"a": entry(0, 4, [3])}, bytes(4)),
    "overflowing shape": sealed_header({"a": entry(0, 4, [1 << 40, 1 << 40])}, bytes(4)),
    "unknown type": sealed_header({"a": entry(0, 4, dtype="BF16")}, bytes(4)),
}


@pytest.mark.parametrize("case", NO_WEIGHTS)
def test_what_is_no_safetensors_is_refused_though_sealed(folder, case):
    reseal(folder, "depth.safetensors", NO_WEIGHTS[case])
    with pytest.raises(Refusal, match=r"made-up: depth\.safetensors holds no safetensors"):
        read_weights(folder, load_manifest(folder), "depth")


def test_weights_of_another_kind_are_refused(folder):
    for values, words in (
        (np.zeros(3, np.float32), "float16"),
        (np.zeros(3, np.int64), "float16"),
        (np.array([1, np.inf], np.float16), "not numbers"),
    ):
        reseal(folder, "depth.safetensors", safetensors.numpy.save({"a": values}))
        with pytest.raises(Refusal, match=rf"depth\.safetensors .*{words}"):
            verify(folder)
    reseal(folder, "depth.safetensors", safetensors.numpy.save({}))
    with pytest.raises(Refusal, match=r"depth\.safetensors"):
        verify(folder)


def saved(tmp_path, **arrays):
    np.savez_compressed(tmp_path / "made.npz", **arrays)
    return (tmp_path / "made.npz").read_bytes()


def test_shape_models_that_are_none_are_refused(folder, tmp_path, monkeypatch):
    other = (folder / "femur.ssm.npz").read_bytes()
    for content in (b"PK", other, saved(tmp_path, told=np.array([{}], dtype=object)), saved(tmp_path, mean=np.eye(3))):
        reseal(folder, "hip.ssm.npz", content)
        with pytest.raises(Refusal, match=r"hip\.ssm\.npz holds no shape model of a hip"):
            verify(folder)
    monkeypatch.setattr(
        "DualFaceReconLib.shape.shapemodel.load_shape_model", lambda path: pytest.fail("a bomb was unpacked")
    )
    reseal(folder, "hip.ssm.npz", saved(tmp_path, told=np.zeros(MAX_UNPACKED_BYTES + 1, np.uint8)))
    with pytest.raises(Refusal, match=r"hip\.ssm\.npz"):
        verify(folder)


def test_weights_that_nobody_named_are_refused_and_cards_are_not(folder):
    for name in ("MODELS.md", "LICENSE", ".DS_Store", "Thumbs.db"):
        (folder / name).write_text("something")
    verify(folder)
    for name in ("old.PT", "x.safetensors", "y.npz", "z.pkl"):
        (folder / name).write_text("something")
        with pytest.raises(Refusal, match=name):
            verify(folder)
        (folder / name).unlink()


# Where bundles lie


def test_the_users_folder_is_where_the_platform_has_it(monkeypatch, tmp_path):
    monkeypatch.delenv("DUALFACE_MODELS", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for variable in ("LOCALAPPDATA", "XDG_DATA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    for platform, place in (
        ("linux", ".local/share"),
        ("darwin", "Library/Application Support"),
        ("win32", "AppData/Local"),
    ):
        monkeypatch.setattr(sys, "platform", platform)
        assert models_folder() == tmp_path / place / "DualFaceRecon" / "Models"
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "Ü"))
    assert models_folder() == tmp_path / "Ü" / "DualFaceRecon" / "Models"
    monkeypatch.setenv("DUALFACE_MODELS", str(tmp_path / "mine"))
    assert models_folder() == tmp_path / "mine"


def test_the_newest_version_counts(models, tmp_path):
    made_bundle(tmp_path / "shipped", version="1.2.0")
    for id, version in (("made-up", "1.10.0"), ("made-up", "1.9.0"), ("other", "0.1.0")):
        made_bundle(models / f"{id}-{version}", id=id, version=version)
    (models / ".other-2.0.0.new").mkdir()  # of an interrupted fetch
    (models / "notes").mkdir()
    assert [(b.id, b.version, b.ships) for b in installed()] == [
        ("made-up", "1.10.0", False),
        ("other", "0.1.0", False),
    ]
    assert find("made-up") == models / "made-up-1.10.0"
    assert remove("made-up") == ["made-up-1.10.0", "made-up-1.9.0"]
    assert find("made-up") == tmp_path / "shipped"
    with pytest.raises(Refusal, match="ships with DualFaceRecon and stays"):
        remove("made-up")
    assert remove("other") == ["other-0.1.0"]
    assert [p.name for p in models.iterdir()] == ["notes"]


def test_damaged_bundles_are_listed_and_can_be_removed(models):
    made_bundle(models / "made-up-1.0.0")
    (models / "made-up-1.0.0" / "manifest.json").write_text("{")
    made_bundle(models / "wrong-1.0.0", id="right")
    first, second = installed()
    assert (first.id, first.manifest) == ("made-up", None)
    assert "not JSON" in first.refusal
    assert "rename that to right-1.0.0" in second.refusal
    with pytest.raises(Refusal, match="rename"):
        find("wrong")
    remove("made-up")
    assert [b.id for b in installed()] == ["wrong"]


def test_nothing_outside_the_folder_can_be_removed(models, tmp_path):
    made_bundle(models / "made-up-1.0.0")
    made_bundle(tmp_path / "outside-1.0.0", id="outside")
    for id in ("../outside", "outside", "", ".", "made-up-1.0.0", "*", "made"):
        with pytest.raises(Refusal, match="not here"):
            remove(id)
    try:
        (models / "outside-1.0.0").symlink_to(tmp_path / "outside-1.0.0", target_is_directory=True)
    except OSError:
        pytest.skip("links are not permitted here")
    remove("outside")  # the link alone
    assert verify(tmp_path / "outside-1.0.0").id == "outside"
    assert verify(find("made-up")).id == "made-up"


def test_a_bundle_in_use_that_cannot_be_removed_is_refused_and_stays(models, monkeypatch):
    made_bundle(models / "made-up-1.0.0")

    def in_use(*_):
        raise PermissionError(13, "The process cannot access the file")

    monkeypatch.setattr(Path, "rename", in_use)
    with pytest.raises(Refusal, match="close what uses it"):
        remove("made-up")
    assert verify(find("made-up"))


# The command


def run(*arguments, models, **options):
    command = [sys.executable, "-m", "DualFaceReconLib", "models", *map(str, arguments)]
    environment = {**os.environ, "DUALFACE_MODELS": str(models)}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, encoding="utf-8", check=False, **options
    )


def test_the_commands_from_outside(tmp_path):
    models = tmp_path / "my models ü"
    assert run("list", models=models).returncode == 0
    made_bundle(models / "made-up-1.0.0")
    listed = json.loads(run("list", "--json", models=models).stdout)
    mine = next(b for b in listed["installed"] if b["id"] == "made-up")
    assert mine["sha256"] == load_manifest(models / "made-up-1.0.0").sha256
    assert mine["manifest"] == json.loads(json.dumps(asdict(load_manifest(models / "made-up-1.0.0"))))
    done = run("verify", "made-up", models=models)
    assert (done.returncode, done.stdout) == (0, "made-up 1.0.0 is sound: 4 files, 0.0 MB\n")
    shutil.copytree(models / "made-up-1.0.0", tmp_path / "kept")
    (models / "made-up-1.0.0" / "depth.safetensors").write_bytes(b"short")
    done = run("verify", models=models)
    assert done.returncode == 2
    assert "depth.safetensors is cut short" in done.stderr
    assert "Traceback" not in done.stderr
    done = run("remove", "made-up", models=models)
    assert (done.returncode, done.stdout) == (0, "Removed made-up-1.0.0.\n")


@pytest.mark.parametrize("arguments", [["remove", "made-up"], ["verify", "made-up"], ["fetch", "made-up"]])
def test_what_is_not_here_is_refused(models, capsys, arguments):
    assert main(["models", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("dualface: ")


@pytest.mark.parametrize("arguments", [["other"], []])
def test_a_command_that_cannot_be_read_is_refused(models, capsys, arguments):
    with pytest.raises(SystemExit, match="2"):
        main(["models", *arguments])
    assert capsys.readouterr().out == ""


def test_the_list_says_what_is_here(models, tmp_path, capsys):
    assert main(["models", "list"]) == 0
    assert "No bundle is here" in capsys.readouterr().out
    made_bundle(tmp_path / "shipped", id="small")
    made_bundle(models / "made-up-1.0.0")
    (models / "made-up-1.0.0" / "manifest.json").write_text("{")
    assert main(["models", "list"]) == 0
    printed = capsys.readouterr().out
    for words in ("small 1.0.0  ships", "not for clinical use", "CC BY 4.0", "made-up 1.0.0", "WARNING", "not JSON"):
        assert words in printed


def test_a_models_folder_that_cannot_be_read_is_refused(models, capsys):
    models.write_text("a file")
    assert main(["models", "list"]) == 2
    assert "DUALFACE_MODELS" in capsys.readouterr().err
