"""A sentence is one and the same for all faces, but for what its reader is to set: each face calls that its own way."""

import ast
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from support.films import dataset, save, save_image

from DualFaceReconLib import cli
from DualFaceReconLib.errors import CONSOLE, CONTROL, Refusal, worded
from DualFaceReconLib.film.radiograph import read_radiograph
from DualFaceReconLib.pictures.wording import PANEL, TERMINAL

ROOT = Path(__file__).parent.parent
ENGINE = sorted((ROOT / "DualFaceReconLib").rglob("*.py"))
OF_THE_TERMINAL = ("cli.py", "actions.py", "vertebra_actions.py", "wording.py")


def sentences(path):
    """The texts of a source file that are no docstrings, f-strings as they come out but for their values."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {node.body[0].value for node in ast.walk(tree) if _has_docstring(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            yield node.value


def _has_docstring(node):
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    return isinstance(node, kinds) and node.body and isinstance(node.body[0], ast.Expr)


@pytest.mark.parametrize("path", ENGINE, ids=lambda path: "/".join(path.parts[-2:]))
def test_no_sentence_of_the_engine_names_a_flag(path):
    if path.name not in OF_THE_TERMINAL:
        assert [text for text in sentences(path) if re.search(r"(^|\s)--[a-z]", text)] == []


def test_every_face_calls_every_control_something():
    assert set(TERMINAL) == set(PANEL) == set(CONSOLE)
    for words in (TERMINAL, PANEL, CONSOLE):
        assert {name for name, one in words.items() if "{}" in one} <= {"view", "fetch"}


def test_the_terminal_has_the_flags_that_it_names():
    flags = {option for action in _actions(cli._parser()) for option in action.option_strings}
    assert {words.split()[0] for words in TERMINAL.values() if words.startswith("--")} <= flags


def _actions(parser):
    for action in parser._actions:
        yield action
        if action.choices and hasattr(action, "add_parser"):
            for child in action.choices.values():
                yield from _actions(child)


@pytest.mark.parametrize("name", sorted(set(PANEL) - {"overwrite"}))
def test_the_panel_has_the_labels_that_it_names(name):
    tree = ElementTree.parse(ROOT / "DualFaceRecon/Resources/UI/DualFaceRecon.ui")
    labels = {element.text.replace("&", "").rstrip(":") for element in tree.iter("string") if element.text}
    assert re.search("“(.+)”", PANEL[name])[1] in labels


def test_a_refusal_has_a_code_and_each_face_s_words(tmp_path, capsys):
    film = save_image(tmp_path / "film.png")
    with pytest.raises(Refusal, match=re.escape("in mm with pixel_pitch_mm= (dpi")) as refused:
        read_radiograph(film)
    assert refused.value.code == "pixel_pitch_mm-missing"
    assert "in mm with “Pixel pitch” (dpi" in worded(refused.value.text, PANEL)
    assert cli.main(["inspect", str(film)]) == 2
    assert "in mm with --pixel-pitch (dpi" in capsys.readouterr().err


def test_a_warning_has_values_and_each_face_s_words(tmp_path, capsys):
    film = save(
        dataset(DistanceSourceToDetector=None, ViewPosition=None, PatientOrientation=None), tmp_path / "film.dcm"
    )
    warnings = {warning.code: warning for warning in read_radiograph(film).warnings}
    assert warnings["sdd_mm-assumed"].values == {"sdd_mm": 1100.0}
    view = warnings["view-assumed"].text
    assert worded(view, PANEL).endswith("are exchanged; say “View” PA.")
    assert worded(view, CONSOLE).endswith('are exchanged; say view="PA".')
    assert cli.main(["inspect", str(film)]) == 0
    printed = re.sub(r"\s+", " ", capsys.readouterr().out)
    for words in ("Give it with --sdd; 100 mm", "say --view PA.", "say --swap-sides if it is wrong."):
        assert words in printed
    assert "{" not in printed
    assert cli.main(["inspect", str(film), "--json"]) == 0
    assert "say --view PA." in capsys.readouterr().out


def test_other_braces_stay_as_they_are():
    assert worded("film {1}.dcm {x} {}: say {invert}", TERMINAL) == "film {1}.dcm {x} {}: say --invert"
    assert CONTROL.fullmatch("{fetch=hips-small}")[2] == "hips-small"
