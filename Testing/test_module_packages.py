"""The first run: what is installed, where, with whose consent; and that it fits together and touches nothing else."""

import csv
import json
import subprocess
import sys
import types
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from support.wheels import INTEL, PYTHON, TABLE

from DualFaceReconLib.worker import protocol

pytest.importorskip("PySide6")
pytest.importorskip("slicer")

ROOT = Path(__file__).parent.parent
LAZY = {  # what is asked for and not needed
    "hf-xet",  # quickens downloads from a hub, of which there are none
    "colorama",  # colours tqdm's bars on Windows; tqdm survives its absence
}


@pytest.fixture
def packages(desktop, tmp_path, monkeypatch):
    """Those of a Slicer that has torch, but nothing of ours; pip's answer is the desktop's."""
    monkeypatch.syspath_prepend(str(ROOT / "DualFaceRecon"))
    from DualFaceReconPanel import packages as module

    monkeypatch.setattr(module, "_is_importable", lambda: False)
    return module.Packages(tmp_path / "own")


def slicer_ships():
    """The packages that Slicer 5.12 ships, with their versions."""
    with (ROOT / "Testing" / "host" / "slicer_packages.csv").open(encoding="utf-8", newline="") as file:
        return {row["package"]: row["version"] for row in csv.DictReader(file)}


def required(texts, environment):
    """By package: its specifier; of requirements that hold on a kind of computer."""
    requirements = [Requirement(text) for text in texts]
    holding = [r for r in requirements if r.marker is None or r.marker.evaluate({**environment, "extra": ""})]
    return {requirement.name.lower().replace("_", "-"): requirement.specifier for requirement in holding}


COMPUTERS = {  # as host/wheels.json has them: the part of the environment that markers ask for
    "manylinux2014_x86_64": ("linux", "Linux", "x86_64", "posix"),
    "win_amd64": ("win32", "Windows", "AMD64", "nt"),
    "macosx_14_0_arm64": ("darwin", "Darwin", "arm64", "posix"),
    INTEL: ("darwin", "Darwin", "x86_64", "posix"),
}
NAMES = ("sys_platform", "platform_system", "platform_machine", "os_name")


@pytest.mark.parametrize("computer", COMPUTERS)
def test_the_pinned_list_is_whole(packages, computer):
    """What the wheels' own metadata require is pinned in a version that fits, or comes with torch, or with Slicer."""
    from DualFaceReconPanel.packages import INTEL_MAC, USUAL

    wanted = INTEL_MAC if computer == INTEL else USUAL
    wheels = {wheel["name"]: wheel for wheel in json.loads(TABLE.read_text(encoding="utf-8"))[computer]}
    environment = dict(
        zip(NAMES, COMPUTERS[computer], strict=True), python_version=PYTHON, implementation_name="cpython"
    )
    pins = dict(pin.lower().split("==") for pin in wanted.pinned)
    assert pins.items() <= {(name, wheel["version"]) for name, wheel in wheels.items()}  # or: python -m support.wheels
    torch = wheels.get("torch", {"requires": metadata.requires("torch")})
    with_torch = {"torch", "torchvision", *required(torch["requires"], environment)}
    shipped = {**slicer_ships(), **pins}  # of two versions the engine's process sees ours
    for name, wheel in wheels.items():
        assert PYTHON in SpecifierSet(wheel["requires_python"])
        for other, specifier in required(wheel["requires"], environment).items():
            if other in wheels:
                assert wheels[other]["version"] in specifier, f"{name} wants {other}{specifier}"
            elif other in shipped:
                assert shipped[other] in specifier, f"{name} wants {other}{specifier}"
            else:
                assert other in with_torch | LAZY, f"{name} wants {other}"
    # Nothing that Slicer ships is in our folder, before it on the path, but the NumPy that an old torch needs
    assert pins.keys() & slicer_ships().keys() == ({"numpy"} if computer == INTEL else set())


def test_slicer_s_own_scipy_runs_on_the_numpy_of_intel_macs():
    assert metadata.version("scipy") == slicer_ships()["scipy"]
    [(_, specifier)] = [item for item in required(metadata.requires("scipy"), {}).items() if item[0] == "numpy"]
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    [numpy] = [wheel["version"] for wheel in table[INTEL] if wheel["name"] == "numpy"]
    assert numpy in specifier


def test_the_table_of_wheels_is_as_those_that_are_installed_here():
    for wheels in json.loads(TABLE.read_text(encoding="utf-8")).values():
        for wheel in wheels:
            if metadata.version(wheel["name"]) == wheel["version"]:
                own = [text for text in metadata.requires(wheel["name"]) or [] if "extra ==" not in text]
                assert sorted(own) == sorted(wheel["requires"])


def test_what_is_installed_where_and_how_large_is_said_before(packages, tmp_path):
    text = packages.consent()
    assert str(tmp_path / "own") in text
    assert "timm" in text
    assert " MB" in text
    assert "for this module alone" in text


def test_one_call_of_pip_into_a_folder_of_our_own(packages, desktop, tmp_path):
    from DualFaceReconPanel.packages import PINNED

    codes = []
    packages.install(codes.append)
    assert codes == [0]
    assert desktop.pip_calls == [["--target", str(tmp_path / "own"), "--upgrade", "--no-deps", *PINNED]]
    assert packages.missing() == []
    assert packages.path() == tmp_path / "own"
    assert str(tmp_path / "own") not in sys.path  # the engine's process alone has it
    packages.remove()
    assert packages.path() is None
    assert not (tmp_path / "own").exists()


def test_an_interrupted_installation_goes_on_after_a_restart(packages, desktop, tmp_path):
    from DualFaceReconPanel.packages import Packages

    desktop.pip_code = 1
    codes = []
    packages.install(codes.append)
    assert codes == [1]
    again = Packages(tmp_path / "own")  # Slicer was restarted
    assert again.path() is None
    assert again.missing()
    desktop.pip_code = 0
    again.install(codes.append)
    assert codes == [1, 0]
    assert not again.missing()


def test_another_version_s_pins_are_installed_anew(packages, tmp_path):
    from DualFaceReconPanel.packages import STAMP

    packages.install(lambda code: None)
    (tmp_path / "own" / STAMP).write_text("timm==1.0.9")
    assert packages.missing()


def test_from_a_folder_of_wheels_where_there_is_no_internet(packages, desktop, tmp_path, monkeypatch):
    """All of it, torch too, which otherwise its extension looks for in the internet."""
    from DualFaceReconPanel import packages as module

    from DualFaceReconLib.errors import Refusal

    wheels = tmp_path / "wheels"
    offline = ["--no-index", "--find-links", str(wheels)]
    module.use_wheels(str(wheels))
    with pytest.raises(Refusal, match="is not there"):
        packages.install(lambda code: None)
    wheels.mkdir()
    without_torch(module, monkeypatch)
    assert f"They come from {wheels}" in packages.consent()
    codes = []
    packages.install(codes.append)
    torch, own = desktop.pip_calls
    assert torch == [*offline, "torch>=2.2", "torchvision>=0.17"]
    assert own[: len(offline)] == offline
    assert own[len(offline) : len(offline) + 2] == ["--target", str(tmp_path / "own")]
    assert codes == [0]
    packages.remove()
    desktop.pip_calls.clear()
    desktop.pip_code = 1  # torch is not in the folder
    packages.install(codes.append)
    assert codes == [0, 1]
    assert len(desktop.pip_calls) == 1
    assert packages.path() is None


def without_torch(module, monkeypatch):
    """As in a Slicer to which nobody has brought torch."""
    find = module.importlib.util.find_spec
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda n, *a: None if n == "torch" else find(n, *a))


def test_a_folder_that_cannot_be_made_is_told_of(packages, tmp_path):
    from DualFaceReconLib.errors import Refusal

    (tmp_path / "own").write_text("a file")
    with pytest.raises(Refusal, match="cannot be made"):
        packages.install(lambda code: None)


def test_torch_comes_from_its_own_extension_and_its_absence_is_named(packages, desktop, monkeypatch):
    from DualFaceReconPanel import packages as module

    from DualFaceReconLib.errors import Refusal

    without_torch(module, monkeypatch)
    assert packages.missing()[0] == "torch"
    assert "200 MB to 3 GB" in packages.consent()
    with pytest.raises(Refusal, match="Extensions Manager"):
        packages.install(lambda code: None)
    assert desktop.pip_calls == []
    asked = extension(monkeypatch)
    packages.install(lambda code: None)
    assert asked == [(">=2.2", ">=0.17")]
    assert len(desktop.pip_calls) == 1


def extension(monkeypatch):
    """SlicerPyTorch; gives a list of the versions of torch and torchvision that it is asked for."""
    asked = []

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation, torchVersionRequirement, torchvisionVersionRequirement):
            asked.append((torchVersionRequirement, torchvisionVersionRequirement))
            return types.ModuleType("torch")

    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=PyTorchUtilsLogic))
    return asked


def test_a_script_is_never_asked(tmp_path, monkeypatch):
    """Without a main window there is no question, but a sentence that says what to run."""
    from host.desktop import Desktop

    from DualFaceReconLib.errors import Refusal

    with Desktop(window=False) as desktop:
        monkeypatch.syspath_prepend(str(ROOT / "DualFaceRecon"))
        from DualFaceReconPanel import packages as module
        from DualFaceReconPanel.widgets import ask

        monkeypatch.setattr(module, "_is_importable", lambda: False)
        assert not ask("Install?", "Install")
        assert desktop.messages == []
        with pytest.raises(Refusal, match=r"DualFaceReconLogic\(\)\.install\(\)"):
            module.Packages(tmp_path / "own").refuse_missing()
        module.Packages(tmp_path / "own").install_now()
        assert len(desktop.pip_calls) == 1
        assert desktop.messages == []


def test_an_intel_mac_gets_its_last_torch_and_a_numpy_for_the_engine_alone(packages, desktop, monkeypatch):
    from DualFaceReconPanel import packages as module

    monkeypatch.setattr(module.sys, "platform", "darwin")
    monkeypatch.setattr(module.platform, "machine", lambda: "x86_64")
    without_torch(module, monkeypatch)
    asked = extension(monkeypatch)
    assert "numpy" in packages.consent()
    packages.install(lambda code: None)
    assert asked == [("==2.2.2", "==0.17.2")]
    assert desktop.pip_calls[0][-1] == "numpy==1.26.4"
    assert "--target" in desktop.pip_calls[0]
    monkeypatch.setattr(module.platform, "machine", lambda: "arm64")
    assert packages.path() is None  # a Slicer for Apple's own processors needs the other list


def test_the_engine_s_process_takes_a_package_of_our_folder_before_slicer_s(tmp_path):
    """As it must on Intel Macs."""
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").write_text('__version__ = "1.26.4"')
    program = "import sys, numpy; print(numpy.__version__)"
    environment = protocol.environment(tmp_path)
    command = [sys.executable, "-P", "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1.26.4"
