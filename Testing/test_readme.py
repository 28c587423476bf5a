"""What the README shows is run, and what it links to is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from films import dataset, save, save_image

ROOT = Path(__file__).parent.parent
PAGES = sorted(ROOT.glob("*.md")) + sorted((ROOT / "Resources").glob("*.md"))


def test_the_console_example_runs(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    save(dataset(), tmp_path / "film.dcm")
    program = code + "\nprint(point, len(radiograph.warnings))"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[")


def test_the_terminal_examples_run(tmp_path):
    save(dataset(), tmp_path / "film.dcm")
    save_image(tmp_path / "film.png")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\.venv/bin/dualface (.*?)(?:#.*)?$", text, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        arguments = command.replace("0.143", "1.2").split()  # our small film would be no hip film at 0.143 mm
        done = subprocess.run(
            [sys.executable, "-m", "DualFaceReconLib.cli", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
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
