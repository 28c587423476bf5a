"""Stand-ins of CTK's and Slicer's widgets, and the .ui, against the table of what their headers have.

Qt's loader takes misspelt properties and unknown classes silently, so the .ui is read as XML.
"""

import ast
import csv
import sys
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

import pytest

pytest.importorskip("PySide6")
pytest.importorskip("slicer")

from host.pythonqt import pythonqt, qt_module
from host.widgets import CUSTOM
from PySide6 import QtCore, QtWidgets

ROOT = Path(__file__).parent.parent
UI = ROOT / "DualFaceRecon" / "Resources" / "UI" / "DualFaceRecon.ui"
QT_DESIGNER = {"SlicerParameterName"}  # dynamic properties, as slicer.parameterNodeWrapper reads them
FLAGS = {"ctkPathLineEdit::": {"Dirs", "Files", "Drives", "Readable", "Writable", "Executable"}}


def table():
    """By class and kind: the names that its header has."""
    names = defaultdict(set)
    with (ROOT / "Testing" / "host" / "widgets.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            assert row["header"].startswith(("commontk/CTK ", "Slicer/Slicer ", "Qt/")), row
            names[row["class"], row["kind"]].add(row["name"])
    return names


def own_properties(kind):
    """What a stand-in has beyond Qt's own classes."""
    base = next(c for c in kind.__mro__ if c.__module__.startswith("PySide6"))
    qt_s = {base.staticMetaObject.property(i).name() for i in range(base.staticMetaObject.propertyCount())}
    here = kind.staticMetaObject
    return {here.property(i).name() for i in range(here.propertyCount())} - qt_s


@pytest.mark.parametrize("name", sorted(CUSTOM))
def test_a_stand_in_has_what_the_table_has_and_no_more(name):
    names, kind = table(), CUSTOM[name]
    assert own_properties(kind) == names[name, "property"]
    assert set(kind.SIGNALS) == names[name, "signal"]
    for method in names[name, "method"] | names[name, "slot"]:
        assert callable(getattr(kind, method.partition("(")[0]))
    public = {n for c in kind.__mro__ if c.__module__ == "host.widgets" for n in vars(c) if n[0] != "_"}
    known = {n.partition("(")[0] for (c, _), found in names.items() if c == name for n in found}
    assert public - {"SIGNALS", "staticMetaObject"} <= known


def faults(document):
    """What is wrong with a .ui: classes, properties, signals and slots that nothing has."""
    names, wrong, classes = table(), [], {}
    for widget in document.iter("widget"):
        kind = widget.get("class")
        classes[widget.get("name")] = kind
        if kind not in CUSTOM and not hasattr(QtWidgets, kind):
            wrong.append(f"class {kind}")
            continue
        meta = (QtWidgets.QWidget if kind in CUSTOM else getattr(QtWidgets, kind)).staticMetaObject
        known = {meta.property(i).name() for i in range(meta.propertyCount())} | names[kind, "property"]
        known |= {"buddy"} if kind == "QLabel" else set()  # no property of Qt's: the loader sets it
        for value in widget.findall("property"):
            if value.get("name") not in known | (QT_DESIGNER if value.get("stdset") == "0" else set()):
                wrong.append(f"{kind}.{value.get('name')}")
            for flag in (value.findtext("set") or "").split("|"):
                scope, _, word = flag.rpartition("::")
                if f"{scope}::" in FLAGS and word not in FLAGS[f"{scope}::"]:
                    wrong.append(f"{kind}.{value.get('name')} {word}")
    for wire in document.iter("connection"):
        for end, what, kind in (("sender", "signal", "signal"), ("receiver", "slot", "slot")):
            if wire.findtext(what) not in names[classes.get(wire.findtext(end)), kind]:
                wrong.append(f"connection {wire.findtext(what)}")
    stops = [stop.text for stop in document.iter("tabstop")]
    wrong += [f"tab stop {stop}" for stop in stops if stop not in classes or stops.count(stop) > 1]
    wrong += [
        f"buddy {b.text}" for b in document.findall(".//property[@name='buddy']/cstring") if b.text not in classes
    ]
    return wrong


def test_the_ui_names_only_what_there_is():
    assert faults(ElementTree.parse(UI)) == []


@pytest.mark.parametrize(
    ("was", "becomes", "fault"),
    [
        ('class="ctkPathLineEdit"', 'class="ctkPathLineEdits"', "class ctkPathLineEdits"),
        ('name="noneEnabled"', 'name="noneEnable"', "qMRMLNodeComboBox.noneEnable"),
        ('name="minimumHeight"', 'name="minimumHigh"', "minimumHigh"),
        ("ctkPathLineEdit::Readable", "ctkPathLineEdit::Readible", "Readible"),
        ("mrmlSceneChanged(vtkMRMLScene*)", "sceneChanged(vtkMRMLScene*)", "connection sceneChanged"),
        ("<tabstop>swapSides<", "<tabstop>swapSide<", "tab stop swapSide"),
        ("<cstring>filmPath<", "<cstring>filmPaths<", "buddy filmPaths"),
    ],
)
def test_misspelt_names_in_a_ui_are_found(was, becomes, fault):
    text = UI.read_text(encoding="utf-8")
    assert was in text
    assert any(
        fault in wrong for wrong in faults(ElementTree.ElementTree(ElementTree.fromstring(text.replace(was, becomes))))
    )


def test_everything_that_can_be_used_has_a_tooltip_and_a_place_in_the_keyboard_s_order():
    document = ElementTree.parse(UI)
    stops = {stop.text for stop in document.iter("tabstop")}
    used = (
        "QPushButton",
        "QCheckBox",
        "QComboBox",
        "QDoubleSpinBox",
        "ctkPathLineEdit",
        "qMRMLNodeComboBox",
        "QTableWidget",
    )
    for widget in document.iter("widget"):
        if widget.get("class") in used:
            assert widget.find("property[@name='toolTip']") is not None, widget.get("name")
            assert widget.get("name") in stops
    read = [widget.get("name") for widget in document.iter("widget") if widget.get("name") in stops]
    assert [stop.text for stop in document.iter("tabstop")] == read  # from top to bottom, from left to right


def test_numbers_that_the_module_keeps_are_bounded(panel):
    """A spin box without bounds is refused by Slicer's wrapper."""
    for name in ("pixelPitch", "sourceDistance", "objectDistance", "markedLength"):
        box = getattr(panel.ui, name)
        assert box.minimum == 0
        assert 0 < box.maximum <= 3000
    with pytest.raises(ValueError, match="must be from 0 to 2"):
        panel.widget._parameters.pixelPitch = 3


def luminance(colour):
    """Relative, as WCAG 2 has it."""
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_amber_can_be_read_on_light_and_on_dark(panel):
    from DualFaceReconPanel.widgets import AMBER_ON_DARK, AMBER_ON_LIGHT, amber
    from PySide6 import QtGui

    assert contrast(AMBER_ON_LIGHT, "#ffffff") > 4.5
    assert contrast(AMBER_ON_DARK, "#3c3c3c") > 4.5
    before = QtWidgets.QApplication.palette()
    try:
        for window, colour in (("#323232", AMBER_ON_DARK), ("#efefef", AMBER_ON_LIGHT)):
            palette = QtGui.QPalette(before)
            palette.setColor(QtGui.QPalette.Window, QtGui.QColor(window))
            QtWidgets.QApplication.setPalette(palette)
            assert colour in amber()
    finally:
        QtWidgets.QApplication.setPalette(before)


def test_the_panel_fits_a_narrow_place(panel):
    """With a film, which must not make it wider."""
    empty = panel.desktop.window.layout().minimumSize().width()
    panel.choose(panel.film())
    assert panel.desktop.window.layout().minimumSize().width() <= max(empty, 400)


# Words


def test_the_panel_calls_its_controls_and_bones_as_the_engine_does(panel):
    """Its words go through the translation; in English pictures and reports have the same."""
    from DualFaceReconPanel import words

    from DualFaceReconLib.bonemaps import BONES
    from DualFaceReconLib.pictures.wording import PANEL, bone_words

    assert words.controls() == PANEL
    assert words.bones() == {bone: bone_words(bone) for bone in BONES}
    panel.choose(panel.film())
    values = panel.panel.opened.answer["values"]
    assert values.keys() <= words.values().keys()
    assert {value["kind"] for value in values.values()} <= words.provenance().keys()


@pytest.mark.parametrize("path", sorted((ROOT / "DualFaceRecon").rglob("*.py")), ids=lambda path: path.name)
def test_no_word_is_translated_when_a_file_is_imported(path):
    """But where it is used, in the language that Slicer has then."""
    translated = []

    def look(node):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if isinstance(child, ast.Call) and getattr(child.func, "id", "") in ("_", "translate"):
                translated.append(ast.unparse(child))
            look(child)

    look(ast.parse(path.read_text(encoding="utf-8")))
    assert translated == []


def test_what_the_panel_shows_goes_through_the_translation(monkeypatch, tmp_path):
    """In a language in which everything is quoted."""
    from host.desktop import Desktop
    from support.panels import Panel, engine_stands_in

    with engine_stands_in(tmp_path), Desktop() as desktop:
        sys.modules["slicer.i18n"].tr = "«{}»".format
        panel = Panel(desktop, tmp_path)
        panel.choose(panel.film())
        panel.reconstructed()
        ui = panel.ui
        assert ui.reconstructButton.text == "«Reconstruct»"
        for table, columns in ((ui.geometryTable, (0, 2)), (ui.bonesTable, (0,))):
            texts = [table.item(row, column).text() for row in range(table.rowCount) for column in columns]
            texts += [table.horizontalHeaderItem(column).text() for column in range(table.columnCount)]
            assert all(text[0] == "«" for text in texts), texts
        for chooser in (ui.colouringChooser, ui.exportChooser):
            texts = [chooser.itemText(row) for row in range(chooser.count)]
            assert all(text[0] == "«" for text in texts), texts
        assert "«Share of the completed bone" in ui.measurementsTable.item(0, 0).toolTip()


# The rest of the desktop


def test_the_host_s_layout_manager_and_segment_editor_have_what_the_table_has_and_no_more():
    from host.desktop import LayoutManager
    from host.editor import SegmentEditorWidget

    names = table()
    for kind, name in ((LayoutManager, "qMRMLLayoutManager"), (SegmentEditorWidget, "qMRMLSegmentEditorWidget")):
        known = {entry.partition("(")[0] for (c, _), entries in names.items() if c == name for entry in entries}
        assert {entry for entry in vars(kind) if entry[0] != "_"} == known


# What PythonQt refuses, the host refuses


@pytest.fixture
def application():
    return QtWidgets.QApplication.instance() or pythonqt(QtWidgets.QApplication)([])


def test_unknown_signals_properties_and_classes_are_refused(application):
    qt = qt_module(CUSTOM)
    button = qt.QPushButton()
    with pytest.raises(ValueError, match="has no signal 'clicks"):
        button.connect("clicks(bool)", print)
    with pytest.raises(AttributeError, match="has no property 'txt'"):
        button.txt = "Go"
    with pytest.raises(AttributeError, match="no attribute 'QPushButtons'"):
        _ = qt.QPushButtons
    with pytest.raises(TypeError, match="does not take"):
        button.minimumSize = "wide"
    box = CUSTOM["qMRMLNodeComboBox"]()
    with pytest.raises(ValueError, match="has no signal 'currentNodeChanged"):
        box.connect("currentNodeChanged()", print)
    button.text = "Go"
    assert button.text == "Go"
    assert isinstance(button, QtCore.QObject)
