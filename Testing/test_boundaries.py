"""The arrows of the house run one way, and the ground stands on nothing of ours."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ENGINE = sorted((ROOT / "DualFaceReconLib").rglob("*.py"))
DESKTOP = {"slicer", "qt", "ctk", "vtkSlicerBase", "PySide6", "PyQt5", "PythonQt"}
CODE_IN_DATA = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal"}


def imported(path):
    """The modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "DualFaceReconLib." * node.level + (node.module or "")


@pytest.mark.parametrize("path", ENGINE, ids=lambda p: p.name)
def test_the_engine_knows_neither_slicer_nor_qt_nor_training(path):
    tops = {name.split(".")[0] for name in imported(path)}
    assert not tops & {*DESKTOP, "training"} or path.name == "scene.py"
    assert "training" not in tops


@pytest.mark.parametrize("path", ENGINE, ids=lambda p: p.name)
def test_the_scene_is_imported_only_where_it_is_asked_for(path):
    """Or nothing of the engine could be used without slicer-core."""
    on_top = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ImportFrom)]
    assert not [node for node in on_top if "scene" in (node.module, *(name.name for name in node.names))]
    assert "DualFaceReconLib.scene" not in {node.module for node in on_top}


@pytest.mark.parametrize("name", ["geometry.py", "metrics.py", "shapemodel.py", "errors.py"])
def test_the_ground_imports_nothing_of_ours(name):
    assert not [m for m in imported(ROOT / "DualFaceReconLib" / name) if m.startswith(("DualFace", "training"))]


@pytest.mark.parametrize("path", [*ENGINE, *sorted((ROOT / "training").rglob("*.py"))], ids=lambda p: p.name)
def test_nothing_loads_pickles(path):
    assert not {name.split(".")[0] for name in imported(path)} & CODE_IN_DATA
    source = path.read_text(encoding="utf-8")
    assert "torch.load" not in source
    assert "allow_pickle=True" not in source


def test_inspecting_needs_neither_torch_nor_a_window():
    """What a batch of headers costs: seconds of importing torch are not among it."""
    program = (
        "import sys; import DualFaceReconLib.cli, DualFaceReconLib.pictures.inspection;"
        "print([m for m in ('torch', 'slicer', 'matplotlib', 'vtkmodules.vtkRenderingOpenGL2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["results", "scene"])
def test_what_was_made_is_read_and_shown_without_torch(module):
    """Seconds of importing it are for the process that makes a reconstruction."""
    if module == "scene":
        pytest.importorskip("slicer", reason="slicer-core is not installed")
    program = f"import sys; import DualFaceReconLib.{module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"
