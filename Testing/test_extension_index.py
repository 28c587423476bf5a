"""The Extensions Index's rules, kept and broken."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support import index_rules
from support.index_rules import ENTRY, NAME, faults

ROOT = Path(__file__).parent.parent


def test_the_repository_keeps_the_index_s_rules():
    assert faults(ROOT) == []


@pytest.fixture
def copy(tmp_path):
    """What the rules look at, without history."""
    for name in ("CMakeLists.txt", "LICENSE", ENTRY, f"{NAME}/{NAME}.py", f"{NAME}/Resources/Icons/{NAME}.png"):
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, place)
    (tmp_path / "Resources" / "Screenshots").mkdir()
    shutil.copyfile(ROOT / "Resources/Screenshots/module.png", tmp_path / "Resources/Screenshots/module.png")
    assert faults(tmp_path) == []
    return tmp_path


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"category": "Orthopedics"}, "Orthopedics is no accepted category."),
        ({"tier": 6}, "The tier is from 1 to 5."),
        ({"enabled": 1}, "enabled is of the wrong type."),
        ({"scmurl": "https://x"}, "The schema knows no scmurl."),
        ({"scm_url": "https://github.com/a/DualFaceRecon"}, "The repository's name has no Slicer in it."),
        ({"scm_url": "Slicer"}, "scm_url is no https or git address."),
        ({"$schema": "https://x#"}, "The schema is not the newest."),
    ],
)
def test_an_entry_that_breaks_a_rule_is_found(copy, values, fault):
    path = copy / ENTRY
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    assert fault in faults(copy)


@pytest.mark.parametrize(
    ("file", "was", "becomes", "fault"),
    [
        ("CMakeLists.txt", "project(DualFaceRecon)", "project(Dual)", "not called as the entry"),
        ("CMakeLists.txt", "VERSION 3.20.6...3.22.6", "VERSION 3.16", "is not that of the template"),
        ("CMakeLists.txt", '"Segmentation"', '"Bones"', "Bones is no accepted"),
        ("CMakeLists.txt", "Screenshots/module.png", "Screenshots/none.png", "none.png is no file"),
        ("CMakeLists.txt", "Icons/DualFaceRecon.png", "none.png", "none.png is no file"),
        (f"{NAME}/{NAME}.py", "import slicer\n", "import slicer\nimport torch\n", "torch is imported at file scope"),
    ],
)
def test_a_repository_that_breaks_a_rule_is_found(copy, file, was, becomes, fault):
    path = copy / file
    text = path.read_text(encoding="utf-8")
    assert was in text
    path.write_text(text.replace(was, becomes, 1), encoding="utf-8")
    assert any(fault in sentence for sentence in faults(copy))


def test_an_entry_with_windows_line_ends_is_found(copy):
    path = copy / ENTRY
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert "The entry's lines end with more than LF." in faults(copy)


def test_a_clone_s_size_is_that_of_its_history_alone(copy, monkeypatch):
    monkeypatch.setattr(index_rules, "CLONE_MB", 1)

    def git(*arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(copy), *who, *arguments], check=True, capture_output=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "small")
    noise = copy / "noise"
    noise.write_bytes(os.urandom(3 << 20))
    git("add", "noise")
    assert faults(copy) == []
    git("commit", "-q", "-m", "large")
    noise.unlink()
    git("commit", "-q", "-a", "-m", "Taken out, still in the history")
    assert faults(copy) == ["A clone takes 3 MB."]
