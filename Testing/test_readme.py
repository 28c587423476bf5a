"""What the README shows is run, and what it links to is there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from DualFaceReconLib.film.radiograph import read_radiograph

ROOT = Path(__file__).parent.parent
PAGES = sorted(ROOT.glob("*.md")) + sorted((ROOT / "Resources").glob("*.md"))


SAMPLE = ROOT / "Resources" / "Samples" / "pelvis_1.dcm"


def python(folder, *arguments):
    """In a folder, with this repository's engine."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_console_examples_run(tmp_path):
    """One after the other, beside a film that ships."""
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(code) == 2
    shutil.copy(SAMPLE, tmp_path / "film.dcm")
    program = "\n".join([*code, "print(point, len(radiograph.warnings))", 'print(load_reconstruction("out/film"))'])
    done = python(tmp_path, "-c", program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[")
    assert "hip_left, hip_right, femur_left, femur_right; 4 completed" in done.stdout
    assert (tmp_path / "out/film/hip_left.stl").is_file()


def test_the_terminal_examples_run(tmp_path):
    shutil.copy(SAMPLE, tmp_path / "film.dcm")
    radiograph = read_radiograph(SAMPLE)
    low, high = radiograph.display_window
    grey = (np.clip((radiograph.pixels - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(grey), str(tmp_path / "film.png"))
    pitch = f"{radiograph.geometry.pixel_pitch_mm[0]:.3f}"  # the README's would make this film too small for a pelvis
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\.venv/bin/dualface (.*?)(?:#.*)?$", text, re.MULTILINE)
    assert len(commands) == 4
    for number, command in enumerate(commands):
        arguments = command.replace("0.143", pitch).replace("out/film", f"out/film-{number}").split()
        if arguments[0] == "reconstruct":
            arguments.append("--no-completion")  # quicker; the console's example does it
        done = python(tmp_path, "-m", "DualFaceReconLib", *arguments)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_to_files_hold(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_every_data_file_that_ships_has_its_licence_named():
    named = (ROOT / "Resources/LICENSES.md").read_text(encoding="utf-8")
    shipped = [*(ROOT / "Resources").rglob("*.*"), *(ROOT / "DualFaceRecon/Resources/Icons").rglob("*.*")]
    for path in shipped:
        relative = path.relative_to(ROOT).as_posix()
        assert relative in named or path.suffix in {".md", ".ui"}, relative


def test_the_contributors_map_names_every_engine_file():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    missing = [p.name for p in (ROOT / "DualFaceReconLib").glob("*.py") if p.name not in text and p.name[0] != "_"]
    assert missing == []
