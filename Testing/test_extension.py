"""The Slicer extension: CMake installs what Slicer loads, and the module's parts fit together.

Slicer is stood in for by the few commands and classes that an extension calls; what they are called with is real.
"""

import inspect
import os
import re
import shutil
import subprocess
import sys
import types
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from support.films import dataset, save

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.radiograph import read_radiograph

ROOT = Path(__file__).parent.parent
MODULE = ROOT / "DualFaceRecon"
LIB = "lib/Slicer-5.12/qt-scripted-modules"

SLICER_CONFIG = """
set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/Nothing.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/Nothing.cmake)
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR LIB)
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR LIB)
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY "WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  foreach(file IN LISTS MY_SCRIPTS MY_RESOURCES)
    get_filename_component(folder ${file} DIRECTORY)
    install(FILES ${file} DESTINATION LIB/${folder})
  endforeach()
endmacro()
macro(slicer_add_python_unittest)
  add_test(NAME py_DualFaceRecon COMMAND true)
endmacro()
""".replace("LIB)", f"{LIB})").replace("LIB/", f"{LIB}/")


def python_files(folder):
    """The engine's files in a folder, in all its rooms."""
    return {path.relative_to(folder).as_posix() for path in (folder / "DualFaceReconLib").rglob("*.py")}


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_cmake_installs_module_engine_and_resources(tmp_path):
    slicer = tmp_path / "slicer"
    slicer.mkdir()
    (slicer / "SlicerConfig.cmake").write_text(SLICER_CONFIG, encoding="utf-8")
    (slicer / "UseSlicer.cmake").write_text("include(CTest)")
    (slicer / "Nothing.cmake").write_text("")
    build, installed = tmp_path / "build", tmp_path / "installed"
    configure = ["cmake", "-S", ROOT, "-B", build, f"-DSlicer_DIR={slicer}", f"-DCMAKE_INSTALL_PREFIX={installed}"]
    done = subprocess.run(configure, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    subprocess.run(["cmake", "--install", build], capture_output=True, check=True)

    engine = python_files(ROOT)
    assert "DualFaceReconLib/film/radiograph.py" in engine
    for modules in (installed / LIB, build / LIB):
        assert python_files(modules) == engine
        assert not list(modules.rglob("__pycache__"))
        for model in (ROOT / "Resources" / "Models").iterdir():
            assert (modules / "Resources" / "Models" / model.name).stat().st_size == model.stat().st_size
    for file in ("DualFaceRecon.py", "Resources/UI/DualFaceRecon.ui", "Resources/LICENSES.md"):
        assert (installed / LIB / file).is_file()
    program = "from DualFaceReconLib.bundle.store import SHIPPED; print(SHIPPED)"
    for modules in (installed / LIB, build / LIB):  # as Slicer has it, with the folder of modules on Python's path
        environment = {**os.environ, "PYTHONPATH": str(modules)}
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == str(modules / "Resources" / "Models")
    tests = subprocess.run(["ctest", "-N"], cwd=build, capture_output=True, text=True, check=True).stdout
    assert "py_DualFaceRecon" in tests
    assert "DualFaceReconEngine" in tests


def test_resources_that_cmake_names_exist():
    for line in (MODULE / "CMakeLists.txt").read_text(encoding="utf-8").splitlines():
        if line.strip().startswith("Resources/"):
            assert (MODULE / line.strip().replace("${MODULE_NAME}", "DualFaceRecon")).is_file()


@pytest.fixture
def module(monkeypatch):
    """DualFaceRecon.py imported beside empty stand-ins for Slicer's base classes."""
    base = types.ModuleType("slicer.ScriptedLoadableModule")
    for name in ("", "Logic", "Test", "Widget"):
        setattr(base, f"ScriptedLoadableModule{name}", type(f"ScriptedLoadableModule{name}", (), {}))
    translation = types.ModuleType("slicer.i18n")
    translation.tr = lambda text: text
    translation.translate = lambda context, text: text
    for name, stand_in in (
        ("qt", types.ModuleType("qt")),
        ("slicer", types.ModuleType("slicer")),
        ("slicer.i18n", translation),
        ("slicer.ScriptedLoadableModule", base),
    ):
        monkeypatch.setitem(sys.modules, name, stand_in)
    monkeypatch.syspath_prepend(str(MODULE))
    monkeypatch.delitem(sys.modules, "DualFaceRecon", raising=False)
    import DualFaceRecon

    yield DualFaceRecon
    sys.modules.pop("DualFaceRecon", None)


def test_the_module_s_logic_inspects(module, tmp_path):
    logic = module.DualFaceReconLogic()
    text, picture = logic.inspect(str(save(dataset(), tmp_path / "film.dcm")), sdd_mm=1050, pixel_pitch_mm=None)
    assert "ImagerPixelSpacing" in text
    assert "1050 mm" in text
    assert Path(logic.save_picture(picture, str(tmp_path))).stat().st_size > 1000
    with pytest.raises(Refusal):
        logic.inspect(str(tmp_path / "nothing"))


def test_what_the_user_gives_reaches_the_reader(module):
    def value(number):
        return types.SimpleNamespace(value=number)

    def checked(state):
        return types.SimpleNamespace(checked=state)

    widget = module.DualFaceReconWidget()
    widget.ui = types.SimpleNamespace(
        pixelPitch=value(0.143),
        sourceDistance=value(0.0),
        objectDistance=value(190.0),
        swapSides=checked(True),
        invert=checked(False),
    )
    given = widget.given()
    assert given == {
        "pixel_pitch_mm": 0.143,
        "sdd_mm": None,
        "object_distance_mm": 190.0,
        "swap_sides": True,
        "invert": False,
    }
    assert set(given) < set(inspect.signature(read_radiograph).parameters)


def test_every_widget_that_the_module_uses_is_in_its_ui():
    names = {w.get("name") for w in ElementTree.parse(MODULE / "Resources/UI/DualFaceRecon.ui").iter("widget")}
    source = (MODULE / "DualFaceRecon.py").read_text(encoding="utf-8")
    used = set(re.findall(r"self\.ui\.(\w+)", source))
    assert {"filmPath", "inspectButton", "pixelPitch", "swapSides"} <= used
    assert used <= names
