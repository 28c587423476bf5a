"""What the README shows is run, and what it links to is there."""

import importlib.util
import pkgutil
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from support.computing import networks_asked_once
from support.processes import ran
from support.vertebra_bundles import made_vertebra_bundle

from DualFaceReconLib import cli
from DualFaceReconLib.film.radiograph import read_radiograph
from training import __main__ as training_commands

ROOT = Path(__file__).parent.parent
PAGES = sorted(page for folder in (".", "Resources", "training") for page in (ROOT / folder).glob("*.md"))


SAMPLE = ROOT / "Resources" / "Samples" / "pelvis_1.dcm"
SPINE = ROOT / "Resources" / "Vertebrae" / "Samples"
UNLEARNT = {"seed": 2, "threshold_hu": 28.0}  # a network that learnt nothing, and where it gives something all the same


def test_the_console_examples_run(tmp_path):
    """One after the other, beside a film that ships."""
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(code) == 3
    shutil.copy(SAMPLE, tmp_path / "film.dcm")
    with_vertebrae(tmp_path)
    vertebrae = [code.pop(), 'print(load_vertebra("out/L3").level)']
    hips = [*code, "print(point, len(radiograph.warnings))", 'print(load_reconstruction("out/film"))']
    program = "\n".join([*vertebrae, *hips])
    exit_code = ran(program, tmp_path, tmp_path / "printed")
    printed = (tmp_path / "printed").read_text(encoding="utf-8")
    assert exit_code == 0, printed
    assert printed.startswith("L3\n[")
    assert "hip_left, hip_right, femur_left, femur_right; 4 completed" in printed
    assert (tmp_path / "out/film/hip_left.stl").is_file()


def with_vertebrae(folder):
    """Puts what the examples for vertebrae name into a folder: the pair that ships, and a small bundle."""
    for name, film in (("AP", "spine_L3_ap"), ("LATERAL", "spine_L3_lateral")):
        shutil.copy(SPINE / f"{film}.dcm", folder / f"{name}.dcm")
    shutil.copy(SPINE / "spine_L3.json", folder / "spine.json")
    (folder / "out").mkdir()
    made_vertebra_bundle(folder / "out" / "vertebrae-small", **UNLEARNT)


@pytest.mark.usefixtures("pictures_undrawn")
def test_the_terminal_examples_run(tmp_path, monkeypatch, capsys):
    shutil.copy(SAMPLE, tmp_path / "film.dcm")
    radiograph = read_radiograph(SAMPLE)
    low, high = radiograph.display_window
    grey = (np.clip((radiograph.pixels - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(grey), str(tmp_path / "film.png"))
    pitch = f"{radiograph.geometry.pixel_pitch_mm[0]:.3f}"  # the README's would make this film too small for a pelvis
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\.venv/bin/dualface (.*?)(?:#.*)?$", text, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    assert len(commands) == 6
    with_vertebrae(tmp_path)
    with networks_asked_once():
        for number, command in enumerate(commands):
            arguments = command.replace("0.143", pitch).replace("out/film", f"out/film-{number}").split()
            if arguments[0] == "reconstruct":
                arguments.append("--no-completion")  # quicker; the console's example does it
            assert cli.main(arguments) == 0, capsys.readouterr().err


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


@pytest.mark.parametrize(
    ("command", "parser"), [("dualface", cli._parser), ("python -m training", training_commands._parser)]
)
def test_commands_are_understood(command, parser):
    """All of them, also those that run for hours: their names and options are there."""
    text = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "CONTRIBUTING.md"))
    commands = re.findall(rf"^(?:\.venv/bin/)?{command} (.*)$", text.replace("\\\n", " "), re.MULTILINE)
    assert len(commands) >= 7
    for arguments in commands:
        parser().parse_args(shlex.split(arguments, comments=True))


HOUSE = ("DualFaceRecon", "DualFaceReconLib", "training", "Testing", "examples", "Resources")
PATHS = re.compile(rf"(?<![\w./-])(?:{'|'.join(HOUSE)})/[\w./-]*\w/?")
NAMES = re.compile(r"\b(?:DualFaceReconLib|training)(?:\.\w+)+")


def contributors_map():
    """What CONTRIBUTING's map names, as paths; a line's indent says which folder it is in."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    top, entries = Path(), []
    for line in re.search(r"## The house\n+```\n(.*?)```", text, re.DOTALL)[1].splitlines():
        path = Path(line.split()[0])
        top = top if line.startswith("  ") else path
        entries.append(top / path if line.startswith("  ") else path)
    return entries


def test_the_contributors_map_is_of_this_house():
    assert [path for path in contributors_map() if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("package", ["DualFaceReconLib", "training"])
def test_the_contributors_map_names_every_file_and_room(package):
    children = (path for path in (ROOT / package).iterdir() if path.suffix == ".py" or any(path.glob("*.*")))
    children = {path.relative_to(ROOT) for path in children if path.name not in ("__pycache__", "__init__.py")}
    assert children - {Path("DualFaceReconLib/__main__.py")} <= set(contributors_map())


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_files_that_are_named_exist(page):
    text = page.read_text(encoding="utf-8")
    missing = [path for path in PATHS.findall(text) if not list(ROOT.glob(path.rstrip("/")))]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_names_in_code_exist(page):
    """Dotted ones, such as DualFaceReconLib.metrics, and what is imported from them."""
    text = page.read_text(encoding="utf-8")
    names = set(NAMES.findall(text))
    for module, imported in re.findall(r"^from ((?:DualFaceReconLib|training)[\w.]*) import (.+)$", text, re.MULTILINE):
        names |= {f"{module}.{name.strip()}" for name in imported.split(",")}
    assert [name for name in sorted(names) if not resolves(name)] == []


def resolves(name):
    """Whether a dotted name is a module, or something in one."""
    if name.startswith("DualFaceReconLib.scene") and importlib.util.find_spec("slicer") is None:
        return True  # nobody can tell without slicer-core
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True
