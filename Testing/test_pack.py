"""A pack: it unpacks with Python alone, networks learn there without VTK and its like, and go on here."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from support.bones import made_people
from support.recipes import DEPTH, EAR
from support.vertebrae import made_group

from DualFaceReconLib.errors import Refusal
from training.__main__ import main
from training.anatomy.people import LLP26, RHAN40
from training.learning import pack, unpack
from training.learning.films import virtual_patients
from training.learning.learner import plain
from training.patients.population import PACKED_PEOPLE, Everybody, load_everybody, save_everybody
from training.vertebrae.correspondence import PACKED, notices, save_groups
from training.vertebrae.pelvis import PACKED as PELVES
from training.vertebrae.pelvis import Pelvis, save_pelves
from training.vertebrae.people import CLOUTHIER

ABSENT = ("vtk", "vtkmodules", "SimpleITK", "pydicom", "gdcm", "spekpy", "ot", "pyacvd", "pyvista")
BLOCKED = f"""
import sys
class Absent:
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in {ABSENT}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent)
"""
LEARN = """
import sys
from training.__main__ import main
code = main(sys.argv[1:])
import training.judging.turns  # the half of `claims` that learns
print([module.__file__ for name, module in sorted(sys.modules.items()) if name in ("DualFaceReconLib", "training")])
sys.exit(code)
"""
FILM = """
import json, sys
from pathlib import Path
from training.learning.recipe import recipe_of
from training.vertebrae import films
from training.vertebrae.source import virtual_vertebrae
films.MODEL_MM = 3.5
source = virtual_vertebrae(recipe_of(json.loads(sys.argv[1])), Path("nowhere"), Path("out/vertebrae"), print)
print(*next(iter(source.epoch(0)))["film"].shape)
"""
RECIPE = """
task = "depth"
seed = 3
[network]
encoder = "nf_regnet_b0"
stages = 3
width = 32
[films]
size_px = 64
mm_per_pixel = 6.0
projections = 2
reuse = 2
pool = 2
postures = 2
posture = "wide"
shapes = "one-size"
variety = "wide"
without = ["rhan40/s01", "rhan40/s02"]
watched = 1
[learning]
loss = "casi_independent"
batch = 2
epochs = 2
learning_rate = 1e-3
weight_decay = 1e-2
first_cycle = 10
cycle_factor = 2
clip = 1.0
average = 0.9
strength = 0.3
changes = 1
bfloat16 = false
"""


@pytest.fixture(scope="module")
def everybody() -> Everybody:
    """Made-up people under the names of a set."""
    made = made_people()
    hips, femora = (
        replace(bones, people=tuple(name.replace("made", "rhan40") for name in bones.people), sets=(RHAN40, LLP26))
        for bones in (made.hips, made.femora)
    )
    return replace(made, hips=hips, femora=femora)


@pytest.fixture(scope="module")
def packed(everybody, tmp_path_factory):
    """A pack in parts of half a MB, without the networks that ship; little squeezed, for speed."""
    folder = tmp_path_factory.mktemp("pack")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack, "PRESET", 0)
        patch.setattr(pack, "FOLDERS", ("DualFaceReconLib", "training"))
        groups = {"lumbar": made_group()}
        kept = tmp_path_factory.mktemp("vertebrae") / PACKED
        save_groups(groups, kept)
        also = {f"out/vertebrae/{PACKED}": kept}
        files = pack.pack(everybody, folder, False, part_mb=0.5, say=lambda _: None, also=also, owed=notices(groups))
    assert {path.name for path in files} == {path.name for path in folder.iterdir()}
    assert max(path.stat().st_size for path in files) <= 500_000
    return folder


@pytest.fixture
def small(tmp_path):
    """A small archive in four parts, and what packs it again with other files."""
    out, beside = tmp_path / "pack", tmp_path / "beside"
    out.mkdir()
    beside.mkdir()
    content = tmp_path / "noise"
    content.write_bytes(np.random.default_rng(0).bytes(3500))

    def packing(files, part_mb=0.001):
        archive = pack._archive("small", files, out, beside, part_mb, spoken.append)
        for path in out.glob("small*"):
            path.unlink()
        for path in beside.iterdir():
            path.rename(out / path.name)
        (out / unpack.CONTENTS).write_text(json.dumps({"archives": {"small": archive}}))
        return archive

    spoken = []
    packing({"a/noise": content, "b": content})
    return out, content, packing, spoken


def unpacked(folder, to):
    """What unpack.py says in a Python of its own without any package, and with what exit status."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", folder / "unpack.py", to], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_networks_learn_where_it_is_unpacked_and_go_on_here(packed, everybody, tmp_path):
    code, text = unpacked(packed, tmp_path / "there")
    assert code == 0, text
    assert "still lacks torch" in text
    there = tmp_path / "there"
    assert not list(tmp_path.glob(".*"))
    assert RHAN40.licence in (there / "NOTICE").read_text()
    assert LLP26.source in (there / "NOTICE").read_text()
    assert "Apache License" in next(there.glob("dynamic_network_architectures-*/METADATA")).read_text()
    (there / "recipe.toml").write_text(RECIPE)
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked/sitecustomize.py").write_text(BLOCKED)
    options = ["--out", str(tmp_path / "run"), "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-c", LEARN, "train", "recipe.toml", *options, "--minutes", "0", "--workers", "1"],
        cwd=there,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "blocked")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "time is up" in done.stdout
    assert done.stdout.count(str(there)) == 2  # its own code, not this checkout's
    assert json.loads((tmp_path / "run/checkpoint/state.json").read_text())["epoch"] == 1

    assert CLOUTHIER.source in (there / "NOTICE").read_text()
    done = subprocess.run(
        [sys.executable, "-c", FILM, json.dumps(plain(EAR))],
        cwd=there,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "blocked")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", "16", "16", "16"]  # vertebrae are filmed there, too

    people = ["--bones", "nowhere", "--cache", str(there / "out/people")]
    assert main(["train", str(there / "recipe.toml"), *options, *people, "--workers", "0"]) == 0
    assert json.loads((tmp_path / "run/network.json").read_text())["films"] == 2 * 4
    again = load_everybody(tmp_path / "nowhere", there / "out/people")
    assert again.people == everybody.people
    assert np.array_equal(again.sacra, everybody.sacra)
    np.testing.assert_allclose(again.hips.shapes, everybody.hips.shapes, atol=1e-4)
    assert (there / "out/people" / PACKED_PEOPLE).stat().st_size < 10e6


def test_the_command_takes_vertebrae_along(everybody, tmp_path, monkeypatch):
    taken = []
    (tmp_path / "bones").mkdir()
    mesh = np.zeros((3, 3)), np.array([[0, 1, 2]])
    save_pelves([Pelvis((mesh, mesh, mesh))] * 2, tmp_path / "bones" / PELVES)

    def packing(people, out, warp, part_mb, also=None, owed=()):
        taken.append(({place: load_npz(path) for place, path in (also or {}).items()}, owed))
        return []

    monkeypatch.setattr(pack, "pack", packing)
    monkeypatch.setattr("training.patients.population.load_everybody", lambda bones, cache: everybody)
    monkeypatch.setattr("training.vertebrae.correspondence.load_groups", lambda folder, cache: {"lumbar": made_group()})
    command = ["pack", "--out", str(tmp_path), "--bones", str(tmp_path / "bones")]
    assert main(command) == 0
    assert main([*command, "--vertebrae", "sets"]) == 0
    assert taken[0] == ({}, ())
    (place, pelves), lines = taken[1]
    assert place == f"out/vertebrae/{PACKED}"
    assert pelves == f"out/bones/{PELVES}"
    assert taken[1][0][pelves] == 2  # people
    assert taken[1][0][place] == 5  # vertebrae
    assert any(CLOUTHIER.licence in line for line in lines)


def load_npz(path):
    """How many vertebrae, or people's pelves, a packed file has."""
    with np.load(path) as file:
        return len(file["sacrum" if path.name == PELVES else "lumbar_shapes"])


def test_a_missing_or_damaged_part_is_named_and_nothing_is_left(small, tmp_path):
    out, *_ = small
    shutil.copy(unpack.__file__, out / "unpack.py")
    part = out / "small.tar.xz.002"
    whole = part.read_bytes()
    part.write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    assert unpacked(out, tmp_path / "there") == (2, "unpack: small.tar.xz.002 is damaged: copy it again.\n")
    part.unlink()
    code, text = unpacked(out, tmp_path / "there")
    assert (code, "small.tar.xz.002 is missing" in text) == (2, True)
    (out / unpack.CONTENTS).write_text("{")
    assert "contents.json is missing or damaged" in unpacked(out, tmp_path / "there")[1]
    assert not (tmp_path / "there").exists()


def test_a_folder_that_is_there_stays(small, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(unpack.PackError, match="there already"):
        unpack.unpack(small[0], tmp_path / "there")
    unpack.unpack(small[0], tmp_path / "new")
    assert (tmp_path / "new/a/noise").read_bytes() == small[1].read_bytes()


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a/../../outside", "C:outside", "a\\..\\outside"])
def test_an_archive_that_leaves_its_folder_is_refused(small, tmp_path, name):
    out, content, packing, _ = small
    packing({name: content})
    with pytest.raises(unpack.PackError, match="do not trust"):
        unpack.unpack(out, tmp_path / "deep/there")
    assert not (tmp_path / "deep/there").exists()
    assert not list(tmp_path.glob("**/outside"))


def test_a_link_in_an_archive_is_refused(small, tmp_path, monkeypatch):
    out, content, packing, _ = small
    link = tarfile.TarInfo("a/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc"
    monkeypatch.setattr(pack.tarfile, "TarInfo", lambda _: link)
    packing({"a/link": content})
    monkeypatch.undo()
    with pytest.raises(unpack.PackError, match="do not trust"):
        unpack.unpack(out, tmp_path / "there")


def test_what_was_packed_is_cut_anew_but_not_squeezed_anew(small, tmp_path, monkeypatch):
    out, content, packing, spoken = small
    files = {"a/noise": content, "b": content}
    monkeypatch.setattr(pack, "_compress", lambda *_: pytest.fail("it is squeezed again"))
    archive = packing(files, part_mb=0.0015)
    assert spoken[-1].endswith("as before")
    assert [part["bytes"] for part in archive["parts"]][:2] == [1500, 1500]
    unpack.unpack(out, tmp_path / "there")
    monkeypatch.undo()
    content.write_bytes(b"other")
    packing(files)
    assert not spoken[-1].endswith("as before")


def test_people_whom_nobody_has_are_refused_before_films_are_made(everybody, tmp_path):
    save_everybody(everybody, tmp_path / PACKED_PEOPLE)
    unknown = replace(DEPTH, films=replace(DEPTH.films, without=("rhan40/s77",)))
    with pytest.raises(Refusal, match="Nobody is called rhan40/s77"):
        virtual_patients(unknown, tmp_path / "nowhere", tmp_path, lambda words: None)


def test_parts_of_nothing_are_refused(everybody, tmp_path):
    with pytest.raises(Refusal, match="hold nothing"):
        pack.pack(everybody, tmp_path, with_warp=False, part_mb=0)
