"""The first run: what is installed, where, with whose consent; and that it fits together and touches nothing else."""

import csv
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytest.importorskip("PySide6")
pytest.importorskip("slicer")

ROOT = Path(__file__).parent.parent
LAZY = {"hf-xet"}  # quickens downloads from a hub, of which there are none


@pytest.fixture
def packages(desktop, tmp_path, monkeypatch):
    """Those of a Slicer that has torch, but nothing of ours; pip's answer is the desktop's."""
    monkeypatch.syspath_prepend(str(ROOT / "DualFaceRecon"))
    from DualFaceReconPanel import packages as module

    monkeypatch.setattr(module, "_is_importable", lambda: False)
    return module.Packages(tmp_path / "own")


def slicer_ships():
    """Names of the packages that Slicer 5.12 ships."""
    with (ROOT / "Testing" / "host" / "slicer_packages.csv").open(encoding="utf-8", newline="") as file:
        return {row["package"] for row in csv.DictReader(file)}


def test_the_pinned_list_is_whole(packages):
    """What each pin requires is pinned too, and in a version that fits, or comes with torch, or with Slicer."""
    from DualFaceReconPanel.packages import PINNED

    pins = {name.lower(): version for name, version in (pin.split("==") for pin in PINNED)}
    with_torch = {"torch", "torchvision"} | {
        requirement.name.lower()
        for text in metadata.requires("torch")
        if (requirement := Requirement(text)).marker is None or requirement.marker.evaluate({"extra": ""})
    }
    for name, version in pins.items():
        required = REQUIRES[name, version]
        for text in required:
            requirement = Requirement(text)
            other = requirement.name.lower().replace("_", "-")
            if other in pins:
                assert pins[other] in requirement.specifier, f"{name} wants {text}"
            else:
                assert other in with_torch | slicer_ships() | LAZY, f"{name} wants {text}"
    assert not pins.keys() & slicer_ships()  # nothing that Slicer ships is in our folder, before it on the path


# As their metadata have it, read from the wheels; those installed here are held against it below
REQUIRES = {
    ("timm", "1.0.22"): ["torch", "torchvision", "pyyaml", "huggingface_hub", "safetensors"],
    ("dynamic-network-architectures", "0.4.4"): ["torch>=1.6.0a", "numpy", "timm<1.0.23", "einops"],
    ("einops", "0.8.2"): [],
    ("safetensors", "0.8.0"): [],
    ("huggingface-hub", "0.36.2"): [
        *("filelock", "fsspec>=2023.5.0", "hf-xet<2.0.0,>=1.1.3", "packaging>=20.9", "pyyaml>=5.1", "requests"),
        *("tqdm>=4.42.1", "typing-extensions>=3.7.4.3"),
    ],
    ("pyyaml", "6.0.3"): [],
    ("tqdm", "4.67.1"): [],  # colorama on Windows alone, whose absence it survives
}


def test_the_requirements_in_this_test_are_those_of_the_wheels():
    for (name, version), required in REQUIRES.items():
        if metadata.version(name) == version:
            real = [Requirement(text) for text in metadata.requires(name) or []]
            unmarked = {r.name for r in real if r.marker is None}
            assert unmarked <= {Requirement(text).name for text in required}


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


def test_from_a_folder_of_wheels_where_there_is_no_internet(packages, desktop, monkeypatch):
    settings = type("QSettings", (), {"value": lambda self, name: "/media/wheels"})
    monkeypatch.setattr(sys.modules["DualFaceReconPanel.packages"].qt, "QSettings", settings, raising=False)
    packages.install(lambda code: None)
    assert desktop.pip_calls[0][:3] == ["--no-index", "--find-links", "/media/wheels"]


def test_a_folder_that_cannot_be_made_is_told_of(packages, tmp_path):
    from DualFaceReconLib.errors import Refusal

    (tmp_path / "own").write_text("a file")
    with pytest.raises(Refusal, match="cannot be made"):
        packages.install(lambda code: None)


def test_torch_comes_from_its_own_extension_and_its_absence_is_named(packages, desktop, monkeypatch):
    from DualFaceReconPanel import packages as module

    from DualFaceReconLib.errors import Refusal

    find = module.importlib.util.find_spec
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda n, *a: None if n == "torch" else find(n, *a))
    assert packages.missing()[0] == "torch"
    assert "200 MB to 3 GB" in packages.consent()
    with pytest.raises(Refusal, match="Extensions Manager"):
        packages.install(lambda code: None)
    assert desktop.pip_calls == []


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


def test_an_intel_mac_with_numpy_2_is_refused_in_words(packages, monkeypatch):
    from DualFaceReconPanel import packages as module

    from DualFaceReconLib.errors import Refusal

    monkeypatch.setattr(module.sys, "platform", "darwin")
    monkeypatch.setattr(module.platform, "machine", lambda: "x86_64")
    with pytest.raises(Refusal, match="Intel Macs"):
        packages.install(lambda code: None)
