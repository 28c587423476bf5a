"""The package's own names: each the thing that its home has, and none imported before it is used."""

import ast
from pathlib import Path

import pytest
from support.programs import python

import DualFaceReconLib
from DualFaceReconLib import reconstruction, results, vertebra_results
from DualFaceReconLib.film import radiograph
from DualFaceReconLib.vertebra import films as spine_films
from DualFaceReconLib.vertebra import reconstruction as vertebra_reconstruction
from DualFaceReconLib.vertebra import targets

HOMES = {
    "read_radiograph": radiograph,
    "Reconstructor": reconstruction,
    "save": results,
    "load_reconstruction": results,
    "VertebraReconstructor": vertebra_reconstruction,
    "VertebraTarget": targets,
    "read_spine_films": spine_films,
    "load_vertebra": vertebra_results,
    "save_vertebra": vertebra_results,
}


@pytest.mark.parametrize(("name", "home"), HOMES.items())
def test_each_name_is_what_its_home_has(name, home):
    assert getattr(DualFaceReconLib, name) is getattr(home, name)


def test_the_names_are_listed():
    assert set(DualFaceReconLib.__all__) == set(HOMES)
    assert {*HOMES, "__version__"} <= set(dir(DualFaceReconLib))


def test_what_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="reconstruct_all"):
        DualFaceReconLib.reconstruct_all  # noqa: B018


def test_importing_the_package_imports_nothing_heavy():
    heavy = "[m for m in ('torch', 'vtkmodules', 'numpy', 'scipy', 'SimpleITK', 'pydicom', 'timm') if m in sys.modules]"
    assert python(f"import sys, DualFaceReconLib; dir(DualFaceReconLib); print({heavy})").strip() == "[]"


def test_reading_films_and_folders_needs_no_torch():
    names = "load_reconstruction, read_radiograph, save"
    assert python(f"import sys; from DualFaceReconLib import {names}; print('torch' in sys.modules)") == "False\n"


def test_type_checkers_see_the_same_names():
    """They read the imports under TYPE_CHECKING, and not `__getattr__`."""
    tree = ast.parse(Path(DualFaceReconLib.__file__).read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    assert block.test.id == "TYPE_CHECKING"
    seen = {name.name: statement.module for statement in block.body for name in statement.names}
    assert seen == {name: home.__name__ for name, home in HOMES.items()}
