"""Files of older code are read as that code read them: a reconstruction, a case and a scene (fixtures/README.md)."""

import json
from pathlib import Path

import pytest
from support import fixtures

from DualFaceReconLib.film.radiograph import read_radiograph
from DualFaceReconLib.results import load_reconstruction
from training.cases import read_case

FOLDER = Path(__file__).parent / "fixtures"
EXPECTED = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))


def leaves(value, path=""):
    """Every single value of nested dicts and lists by its path."""
    if isinstance(value, (dict, list, tuple)) and value:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {place: leaf for key, inner in pairs for place, leaf in leaves(inner, f"{path}/{key}").items()}
    return {path: value}


def assert_as_before(read, expected):
    read, expected = leaves(read), leaves(expected)
    assert read.keys() == expected.keys()
    for path, value in expected.items():
        wanted = pytest.approx(value, rel=1e-6, abs=1e-6) if type(value) is float else value
        assert read[path] == wanted, path


def test_a_reconstruction_is_loaded_as_before():
    assert_as_before(
        fixtures.of_reconstruction(load_reconstruction(FOLDER / "reconstruction")), EXPECTED["reconstruction"]
    )


def test_a_case_is_read_as_before():
    case = read_case(FOLDER / "case")
    assert_as_before(fixtures.of_case(case, read_radiograph(case.radiograph)), EXPECTED["case"])
    patient = case.metadata["patient"]
    assert [disease["what"] for disease in patient["disease"]] == ["cam", "cam"]
    assert [(metal["what"], metal["side"]) for metal in patient["hardware"]] == [("total hip", "right")]
    assert patient["worn"] == []


def test_a_scene_is_opened_as_before():
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from host import Host

    from DualFaceReconLib.scene import runs_in

    with Host() as host:
        assert host.load_mrb(FOLDER / "reconstruction" / "scene.mrb")
        [run] = runs_in(host.scene)
        assert_as_before(fixtures.of_scene(run), EXPECTED["scene"])
