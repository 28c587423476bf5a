"""The arrows of the house run one way, and the ground stands on nothing of ours."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.imports import (
    circles,
    classes_of_one_name,
    imports,
    imports_among_tests,
    modules,
    strangers,
    wrong_ways,
)
from support.programs import python

ROOT = Path(__file__).parent.parent
PACKAGES = ("DualFaceReconLib", "training")
# From the ground up: a room imports from the floors below its own, and the rooms of one floor not from each other.
GROUND = (
    ("errors", "later", "levels"),
    ("bonemaps", "geometry", "rasterising", "meshes"),
    ("biplanar", "proximity"),
    ("metrics",),
)
ENGINE = (
    *GROUND,
    ("disk", "parallel"),
    ("film", "surfaces"),
    ("backprojection", "certainty", "framing"),
    ("networks", "shape"),
    ("bundle",),
    ("prediction",),
    ("inference", "measurements", "scale"),
    ("evidence", "networks_apart", "verdicts"),
    ("outcome",),
    ("vertebra",),
    ("pictures",),
    ("metal", "patient", "plausibility"),
    ("document", "reconstruction", "scene"),
    ("results", "vertebra_results"),
    ("patient_results",),
    ("batch",),
    ("actions",),
    ("vertebra_actions",),
    ("cli", "worker"),
    ("__main__",),
)
TRAINING = (
    ("raycast",),
    ("anatomy",),
    ("patients",),
    ("xray",),
    ("cases",),
    ("simulate", "ct"),
    ("learning",),
    ("judging",),
    ("vertebrae",),
    ("samples",),
    ("actions",),
    ("__main__",),
)
DESKTOP = {"qt", "ctk", "vtkSlicerBase", "PySide6", "PyQt5", "PyQt6", "PythonQt"}
CODE_IN_DATA = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal"}


@pytest.mark.parametrize(("package", "floors"), [("DualFaceReconLib", ENGINE), ("training", TRAINING)])
def test_rooms_import_downwards_alone(package, floors):
    assert wrong_ways(imports(ROOT, package), package, floors) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_files_import_each_other_in_a_circle(package):
    assert circles(imports(ROOT, package)) == []


def test_the_engine_knows_neither_training_nor_the_module_nor_a_desktop():
    engine = imports(ROOT, "DualFaceReconLib")
    assert strangers(engine, {*DESKTOP, "training", "DualFaceRecon", "support", "host"}) == []
    assert strangers(engine, {"slicer"}, but_in="DualFaceReconLib.scene") == []


def test_the_scene_is_imported_only_where_it_is_asked_for():
    """Or nothing of the engine could be used without slicer-core."""
    at_once = [item for item in imports(ROOT, "DualFaceReconLib") if item.at_once]
    outside = [item for item in at_once if not item.by.startswith("DualFaceReconLib.scene")]
    assert [str(item) for item in outside if item.module.startswith("DualFaceReconLib.scene")] == []


def test_training_knows_neither_the_module_nor_slicer():
    forbidden = {*DESKTOP, "slicer", "DualFaceRecon", "support", "host"}
    assert strangers(imports(ROOT, "training"), forbidden) == []


def test_the_module_does_not_know_training():
    assert strangers(imports(ROOT, "DualFaceRecon"), {"training", "support", "host"}) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_loads_pickles(package):
    assert strangers(imports(ROOT, package), CODE_IN_DATA) == []
    sources = {name: path.read_text(encoding="utf-8") for name, path in modules(ROOT, package).items()}
    assert [name for name, source in sources.items() if "torch.load" in source] == []
    assert [name for name, source in sources.items() if "allow_pickle=True" in source] == []


def test_no_test_imports_another():
    assert imports_among_tests(ROOT / "Testing") == []


def test_public_classes_have_names_of_their_own():
    assert (
        classes_of_one_name({name: path for package in PACKAGES for name, path in modules(ROOT, package).items()}) == []
    )


@pytest.fixture
def house(tmp_path):
    """Writes a tree of sources, file by file, and gives its root."""

    def write(**sources):
        for place, text in sources.items():
            path = tmp_path.joinpath(*place.split("__")).with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path

    return write


FLOORS = (("ground",), ("left", "right"), ("roof",))
WAYS_TO_IMPORT = {
    "plainly": "import lib.roof.tiles",
    "by name": "from lib.roof.tiles import Tile",
    "out of a package": "from lib.roof import tiles",
    "relatively": "from .roof import tiles",
    "in a function": "def f():\n    from lib.roof import tiles",
    "for types alone": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lib.roof import tiles",
    "by a call": "import importlib\ntiles = importlib.import_module('lib.roof.tiles')",
}


@pytest.mark.parametrize("text", WAYS_TO_IMPORT.values(), ids=WAYS_TO_IMPORT)
def test_an_import_upwards_is_a_fault_however_it_is_written(house, text):
    root = house(lib__ground=text, lib__roof__tiles="class Tile: ...")
    (fault,) = wrong_ways(imports(root, "lib"), "lib", FLOORS)
    assert fault.startswith("lib.ground, line ")
    assert fault.endswith("imports lib.roof.tiles")


def test_downwards_and_within_a_room_is_no_fault(house):
    root = house(
        lib__ground="import math",
        lib__left__door="from lib import ground\nfrom . import handle\nfrom lib import __version__",
        lib__left__handle="",
        lib__roof="from lib.left import door",
    )
    assert wrong_ways(imports(root, "lib"), "lib", FLOORS) == []
    assert circles(imports(root, "lib")) == []


@pytest.mark.parametrize(
    ("place", "text", "words"),
    [
        ("lib__left__door", "from lib.right.door import Door", "imports lib.right.door"),
        ("lib__left__door", "from lib import Facade", "imports lib"),
        ("lib__cellar", "from lib.right import door", "cellar has no place in the order"),
        ("lib__roof", "from lib.cellar import coal", "cellar has no place in the order"),
    ],
)
def test_neighbours_the_package_itself_and_rooms_without_a_place_are_faults(house, place, text, words):
    root = house(lib__right__door="", **{place: text})
    (fault,) = wrong_ways(imports(root, "lib"), "lib", FLOORS)
    assert fault.endswith(words)


@pytest.mark.parametrize("late", ["from lib.a.one import f", "def f():\n    from lib.a import one"])
def test_a_circle_of_files_is_a_fault(house, late):
    root = house(lib__a__one="from lib.a import two", lib__a__two="import lib.b", lib__b=late)
    (circle,) = circles(imports(root, "lib"))
    assert all(name in circle for name in ("lib.a.one", "lib.a.two", "lib.b"))


def test_a_forbidden_module_is_a_fault_but_in_its_room(house):
    text = "def show():\n    import slicer.util"
    root = house(lib__scene__nodes=text, lib__scenery=text, lib__film__dicom="from slicer import app")
    faults = strangers(imports(root, "lib"), {"slicer"}, but_in="lib.scene")
    assert [fault.split(",")[0] for fault in faults] == ["lib.film.dicom", "lib.scenery"]
    assert len(strangers(imports(root, "lib"), {"slicer"})) == 3


def test_what_a_function_imports_comes_late(house):
    text = "import a\ntry:\n    import b\nexcept ImportError:\n    pass\nclass C:\n    def f(self):\n        import c"
    assert {item.module: item.at_once for item in imports(house(lib__x=text), "lib")} == {
        "a": True,
        "b": True,
        "c": False,
    }


def test_a_test_that_imports_another_is_a_fault(house):
    root = house(test_a="from support.films import film", test_b="from test_a import helper", support__films="")
    assert imports_among_tests(root) == ["test_b, line 1, imports test_a"]


def test_two_classes_of_one_name_are_a_fault(house):
    root = house(lib__a="class Film: ...\nclass _Own: ...", lib__b="class Film: ...\nclass _Own: ...")
    assert classes_of_one_name(modules(root, "lib")) == ["Film is in lib.a and in lib.b"]


def test_inspecting_needs_neither_torch_nor_a_window():
    """What a batch of headers costs: seconds of importing torch are not among it."""
    program = (
        "import sys; import DualFaceReconLib.cli, DualFaceReconLib.pictures.inspection;"
        "print([m for m in ('torch', 'slicer', 'matplotlib', 'vtkmodules.vtkRenderingOpenGL2') if m in sys.modules])"
    )
    assert python(program).strip() == "[]"


def test_a_command_imports_no_decoder_and_nothing_that_fetches():
    """Each film's pixels are decoded by another process, and pydicom's examples are of no use here."""
    film = ROOT / "Resources" / "Samples" / "one_hip_2.dcm"
    command = [sys.executable, "-X", "importtime", "-m", "DualFaceReconLib", "inspect", str(film), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "pydicom" in imported
    assert not imported & {"_gdcm", "requests.api", "urllib3", "torch", "timm"}


def test_networks_are_loaded_without_torch_s_compiler():
    """Which timm and torchvision import for what nobody here asks; whoever does ask it gets its answer."""
    program = (
        "import sys, torch; import DualFaceReconLib.inference; before = 'torch._dynamo' in sys.modules\n"
        "from torchvision.ops.roi_align import is_compile_supported as asked\n"
        "print(before, asked('cpu'), torch._dynamo.utils.is_compile_supported('cpu'))"
    )
    before, *answers = python(program).split()
    assert before == "False"
    assert answers[0] == answers[1]


def test_what_no_film_needs_is_not_imported():
    """Of timm's hundred files of networks one has the encoders that bundles have; whoever asks for others gets them.

    The same goes for torchvision, of which timm takes a single class of layers.
    """
    program = (
        "import sys; from DualFaceReconLib import cli, reconstruction, results; reconstruction.Reconstructor()\n"
        "heavy = ('timm.models.resnet', 'timm.models.vision_transformer', 'huggingface_hub', 'httpx', "
        "'torchvision.transforms', 'torchvision.ops.boxes', 'torch.onnx', 'torch._inductor', "
        "'pandas', 'matplotlib', 'POT', 'vtk', 'slicer', 'distributed')\n"
        "print([name for name in heavy if name in sys.modules])\n"
        "import timm; print(timm.is_model('resnet18'), timm.models.resnet.__name__, timm.layers.__name__)\n"
        "import torchvision; print(torchvision.models.resnet18.__name__, timm.data.create_transform.__name__)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines() == [
        "[]",
        "True timm.models.resnet timm.layers",
        "resnet18 create_transform",
    ], done.stderr


@pytest.mark.parametrize("module", ["results", "scene"])
def test_what_was_made_is_read_and_shown_without_torch(module):
    """Seconds of importing it are for the process that makes a reconstruction."""
    if module == "scene":
        pytest.importorskip("slicer", reason="slicer-core is not installed")
    program = f"import sys; import DualFaceReconLib.{module}; print('torch' in sys.modules)"
    assert python(program).strip() == "False"
