"""The Slicer extension: CMake installs what Slicer loads, and the module's parts fit together.

Slicer is stood in for by the few commands and classes that an extension calls; what they are called with is real.
"""

import dataclasses
import inspect
import os
import re
import shutil
import subprocess
import sys
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


# The module imported beside empty stand-ins of Slicer's, with its folder alone on the path; the engine's editable
# install, if there is one, is taken away
IMPORTED = """
import sys, types
sys.path = [sys.argv[1], *(path for path in sys.path if "python3" in path)]
sys.meta_path = [finder for finder in sys.meta_path if "Editable" not in repr(finder)]
before = [*sys.path]
class Anything(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__init__": lambda self, *_: None, "__class_getitem__": lambda cls, _: cls})
for name in ("slicer", "slicer.i18n", "slicer.util", "slicer.ScriptedLoadableModule", "slicer.parameterNodeWrapper"):
    sys.modules[name] = Anything(name)
    sys.modules[name].__path__ = []
sys.modules["slicer.i18n"].tr = lambda text: text
sys.modules["slicer.parameterNodeWrapper"].parameterNodeWrapper = lambda kind: kind
sys.modules["slicer.parameterNodeWrapper"].WithinRange = lambda *_: None
import DualFaceRecon
heavy = {"numpy", "torch", "vtk", "SimpleITK", "pydicom", "qt", "DualFaceReconPanel"} & sys.modules.keys()
import DualFaceReconLib
from pathlib import Path
print(Path(DualFaceRecon.__file__), Path(DualFaceReconLib.__file__).parent, len(heavy), len(sys.path) - len(before))
"""


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
    for file in (
        "DualFaceRecon.py",
        "Resources/UI/DualFaceRecon.ui",
        "Resources/LICENSES.md",
        "Scripts/reconstruct.py",
    ):
        assert (installed / LIB / file).is_file()
    own = {path.name for path in (MODULE / "DualFaceReconPanel").glob("*.py")}
    assert {path.name for path in (installed / LIB / "DualFaceReconPanel").glob("*.py")} == own
    program = "from DualFaceReconLib.bundle.store import SHIPPED; print(SHIPPED)"
    for modules in (installed / LIB, build / LIB):  # as Slicer has it, with the folder of modules on Python's path
        environment = {**os.environ, "PYTHONPATH": str(modules)}
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == str(modules / "Resources" / "Models")
    tests = subprocess.run(["ctest", "-N"], cwd=build, capture_output=True, text=True, check=True).stdout
    assert "py_DualFaceRecon" in tests
    assert "DualFaceReconEngine" in tests

    for modules, above in ((installed / LIB, installed / LIB), (MODULE, ROOT)):
        done = subprocess.run(
            [sys.executable, "-P", "-c", IMPORTED, modules], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        added = str(int(modules == MODULE))  # in the repository the engine lies one folder up
        assert done.stdout.split() == [str(modules / "DualFaceRecon.py"), str(above / "DualFaceReconLib"), "0", added]


def test_resources_that_cmake_names_exist():
    for line in (MODULE / "CMakeLists.txt").read_text(encoding="utf-8").splitlines():
        if line.strip().startswith("Resources/"):
            assert (MODULE / line.strip().replace("${MODULE_NAME}", "DualFaceRecon")).is_file()


@pytest.fixture
def module(desktop):
    """DualFaceRecon.py, as Slicer imports it: with the folder of modules on Python's path."""
    desktop.open_module(MODULE / "DualFaceRecon.py")
    return sys.modules["DualFaceRecon"]


def test_the_module_s_logic_inspects(module, tmp_path):
    logic = module.DualFaceReconLogic()
    text, picture = logic.inspect(str(save(dataset(), tmp_path / "film.dcm")), sdd_mm=1050, pixel_pitch_mm=None)
    assert "ImagerPixelSpacing" in text
    assert "1050 mm" in text
    assert picture.ndim == 3
    with pytest.raises(Refusal):
        logic.inspect(str(tmp_path / "nothing"))


def test_what_the_user_gives_is_what_the_reader_takes():
    from DualFaceReconLib.film.acquisition import Overrides

    source = (MODULE / "DualFaceReconPanel" / "film_section.py").read_text(encoding="utf-8")
    given = set(re.findall(r'^            "(\w+)": ', source, re.MULTILINE))
    assert given == {field.name for field in dataclasses.fields(Overrides)}
    assert given <= set(inspect.signature(read_radiograph).parameters)


def test_every_widget_that_the_panel_uses_is_in_its_ui_and_the_other_way_round():
    tree = ElementTree.parse(MODULE / "Resources/UI/DualFaceRecon.ui")
    names = {widget.get("name") for widget in tree.iter("widget")}
    source = "".join(path.read_text(encoding="utf-8") for path in (MODULE / "DualFaceReconPanel").glob("*.py"))
    used = set(re.findall(r"\bui\.(\w+)", source))
    assert {"filmPath", "reconstructButton", "pixelPitch", "swapSides"} <= used
    assert used <= names
    bound = {w.get("name") for w in tree.iter("widget") if w.find("property[@name='SlicerParameterName']") is not None}
    passive = {name for name in names if re.search(r"Form\d$", name)} | {
        "DualFaceRecon",
        "filmSection",
        "givenSection",
        "researchLabel",
        "vertebraGiven",
        "vertebraSection",
    }
    assert names <= used | bound | passive
