"""Vertebrae in the module's panel: two films, a click on each, the line of the first on the second, the result."""

import importlib

import numpy as np
import pytest
from support.spine_films import CENTRE, clicks_on, hull_network, pair_of, spine_pair

pytest.importorskip("PySide6")
pytest.importorskip("slicer")

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.scene import remove_from_scene
from DualFaceReconLib.vertebra import reconstruction as pipeline
from DualFaceReconLib.vertebra_results import load_vertebra
from DualFaceReconLib.worker.client import Client
from DualFaceReconLib.worker.protocol import MakeVertebra, OpenPair
from DualFaceReconLib.worker.vertebrae import VertebraWork

CLICKS = clicks_on(pair_of())


@pytest.fixture(scope="module")
def engine_answers(tmp_path_factory):
    """What the worker says of a pair of films and of the vertebra in them."""
    folder = tmp_path_factory.mktemp("worker")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pipeline, "load_vertebra_network", lambda folder, device: hull_network())
        work = VertebraWork(folder)
        ap, lateral = spine_pair(folder)
        opened = work.open(OpenPair(str(ap), str(lateral)))
        made = work.make(
            MakeVertebra(opened["pair"], "L3", CLICKS[0], CLICKS[1], bundle=str(folder)),
            lambda stage, share: None,
            lambda: False,
        )
        with pytest.raises(Refusal, match="not open any more"):
            work.make(MakeVertebra("other", "L3", *CLICKS), lambda stage, share: None, lambda: False)
    return opened, made


def test_the_worker_opens_a_pair_and_makes_a_vertebra(engine_answers):
    opened, made = engine_answers
    assert opened["angle_degrees"] == 90.0
    assert np.load(opened["pixels"][0]).shape == tuple(opened["geometry"][0]["size_px"])
    vertebra = load_vertebra(made["folder"])
    assert np.allclose(vertebra.centre, CENTRE, atol=0.1)
    assert made["gap_mm"] < 0.1


def corners_around(pixel, half_rows):
    """A body's four on a film, [row, col] each."""
    return [(pixel[0] + up, pixel[1] + across) for up in (-half_rows, half_rows) for across in (-30, 30)]


def nothing(*_):
    """What is said of progress, and whether it is to be stopped."""


@pytest.mark.usefixtures("pictures_undrawn")
def test_films_without_a_scale_are_opened_for_their_corners(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "load_vertebra_network", lambda folder, device: hull_network())
    ap, lateral = map(str, spine_pair(tmp_path, lateral={"ImagerPixelSpacing": None}))
    work = VertebraWork(tmp_path)
    opened = work.open(OpenPair(ap, lateral))
    assert not opened["in_millimetres"]
    assert "how large the pixels of the lateral film are" in opened["warnings"][0]["text"]
    with pytest.raises(Refusal, match="corners on both films"):
        work.make(MakeVertebra(opened["pair"], "L3", *CLICKS), nothing, nothing)
    corners = {"corners_ap": corners_around(CLICKS[0], 20), "corners_lateral": corners_around(CLICKS[1], 22)}
    made = work.make(MakeVertebra(opened["pair"], "L3", *CLICKS, **corners, bundle=str(tmp_path)), nothing, nothing)
    vertebra = load_vertebra(made["folder"])
    assert vertebra.in_millimetres  # by the other film
    assert vertebra.target.corners_ap_px == tuple(corners["corners_ap"])
    opened = work.open(OpenPair(ap, lateral, overrides_lateral={"pixel_pitch_mm": 0.7}))
    assert opened["in_millimetres"]
    corners["corners_lateral"] = corners_around(CLICKS[1], 40)
    with pytest.raises(Refusal, match="check the corners"):
        work.make(MakeVertebra(opened["pair"], "L3", *CLICKS, **corners), nothing, nothing)


def click(section, number, pixels, opened, kind="centre"):
    """As if the user had clicked there in the slice view."""
    geometry = ProjectionGeometry.from_dict(opened["geometry"][number])
    for pixel in pixels if kind == "corners" else [pixels]:
        place = geometry.back_project(np.array(pixel), np.array(geometry.sdd_mm))
        section.clicks._films[number].markups[kind].AddControlPoint(*place.tolist())


@pytest.fixture
def chosen(panel, engine_answers):
    """The panel with two films chosen, and what the engine's stand-in says of them."""
    opened, made = engine_answers
    panel.behave(answers={"openpair": opened, "makevertebra": made})
    panel.ui.vertebraAp.currentPath, panel.ui.vertebraLateral.currentPath = "ap.dcm", "lateral.dcm"
    return panel


def press(panel, button):
    """And waits until the films are open."""
    button.click()
    panel.wait(lambda: not panel.panel.vertebrae.computing)


def test_two_clicks_make_a_vertebra_in_the_scene(panel, engine_answers):
    import slicer

    opened, made = engine_answers
    panel.behave(answers={"openpair": opened, "makevertebra": made})
    section, ui = panel.panel.vertebrae, panel.ui
    ui.vertebraClickAp.click()
    assert "Choose an AP film" in ui.vertebraStatus.text
    ui.vertebraAp.currentPath, ui.vertebraLateral.currentPath = "ap.dcm", "lateral.dcm"
    press(panel, ui.vertebraClickAp)
    click(section, 0, CLICKS[0], opened)
    assert not ui.vertebraButton.enabled
    ui.vertebraClickLateral.click()
    lines = slicer.mrmlScene.GetNodesByClass("vtkMRMLMarkupsLineNode")
    assert lines.GetNumberOfItems() == 1  # where the AP's click runs on the lateral
    click(section, 1, (CLICKS[1][0] + 12, CLICKS[1][1]), opened)
    assert "miss each other by 6" in ui.vertebraStatus.text
    ui.vertebraClickLateral.click()
    click(section, 1, CLICKS[1], opened)
    assert section.clicks.gap_mm() < 0.1
    assert ui.vertebraButton.enabled
    press(panel, ui.vertebraButton)
    [asked] = panel.asked("makevertebra")
    assert asked["level"] == "L3"
    assert np.allclose([asked["centre_ap"], asked["centre_lateral"]], CLICKS, atol=1e-6)
    assert asked["corners_ap"] is asked["corners_lateral"] is asked["bundle"] is None
    assert section.clicks.clicked("centre") == (None, None)  # films to be clicked are gone
    assert panel.panel.results.run() is None  # a vertebra is no result of a hip film
    run = section.run
    assert run.node("vertebra", "L3").GetName() == "L3"
    assert run.node("volume", "L3").GetImageData().GetDimensions() == (48, 48, 48)
    rows = {ui.vertebraTable.item(row, 0).text(): row for row in range(ui.vertebraTable.rowCount)}
    measurements = load_vertebra(made["folder"]).measurements
    assert list(rows) == [f"L3 {name.replace('_', ' ')}" for name in measurements]
    volume = f"{measurements['volume'].value:.1f} ± {measurements['volume'].std:.1f} cm³"
    assert ui.vertebraTable.item(rows["L3 volume"], 1).text() == volume
    assert ui.vertebraReport.enabled
    outlines = [run.node(role).GetDisplayNode() for role in ("outline_ap", "outline_lateral")]
    assert [display.GetVisibility() for display in outlines] == [True, False]
    ui.vertebraShowLateral.click()
    assert [display.GetVisibility() for display in outlines] == [False, True]
    ui.vertebraShowAp.click()
    assert [display.GetVisibility() for display in outlines] == [True, False]
    layout = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
    shown = layout.GetViewArrangement()
    assert not ui.vertebraResult.isHidden()
    remove_from_scene(run)
    panel.wait(ui.vertebraResult.isHidden)
    assert layout.GetViewArrangement() != shown  # what was there before


def test_four_corners_on_each_film_stand_for_its_centre(chosen, engine_answers):
    """Of films without a scale they are all there is, and the rays of a click are not known."""
    opened = {**engine_answers[0], "in_millimetres": False}
    chosen.behave(answers={"openpair": opened, "makevertebra": engine_answers[1]})
    section, ui = chosen.panel.vertebrae, chosen.ui
    corners = corners_around(CLICKS[0], 20), corners_around(CLICKS[1], 22)
    press(chosen, ui.vertebraCornersAp)
    click(section, 0, corners[0][:3], opened, "corners")
    assert "3 of four corners are clicked on the AP film" in ui.vertebraStatus.text
    click(section, 0, corners[0][3:], opened, "corners")
    press(chosen, ui.vertebraClickLateral)
    click(section, 1, CLICKS[1], opened)
    assert section.clicks.gap_mm() is None
    assert not ui.vertebraButton.enabled
    press(chosen, ui.vertebraCornersLateral)
    click(section, 1, corners[1], opened, "corners")
    assert ui.vertebraButton.enabled
    press(chosen, ui.vertebraButton)
    [asked] = chosen.asked("makevertebra")
    assert np.allclose([asked["corners_ap"], asked["corners_lateral"]], corners, atol=1e-6)
    assert asked["centre_ap"] is None
    assert np.allclose(asked["centre_lateral"], CLICKS[1])


def test_what_is_given_after_the_clicks_counts_and_clicks_stay(chosen, engine_answers):
    opened, _ = engine_answers
    section, ui = chosen.panel.vertebrae, chosen.ui
    for number, button in enumerate((ui.vertebraClickAp, ui.vertebraClickLateral)):
        press(chosen, button)
        click(section, number, CLICKS[number], opened)
    ui.vertebraSourceAp.value, ui.vertebraPitchLateral.value, ui.vertebraAngle.value = 1150, 0.143, 88
    ui.vertebraInvertLateral.checked, ui.vertebraView.currentIndex = True, 2
    ui.vertebraBundle.currentPath = "/bundles/mine"
    press(chosen, ui.vertebraButton)
    chosen.wait(lambda: len(chosen.asked("makevertebra")) == 1 and not section.computing)
    asked = chosen.asked("openpair")[-1]
    assert (asked["overrides_ap"]["sdd_mm"], asked["overrides_lateral"]["sdd_mm"]) == (1150, None)
    assert (asked["overrides_ap"]["pixel_pitch_mm"], asked["overrides_lateral"]["pixel_pitch_mm"]) == (None, 0.143)
    assert (asked["overrides_ap"]["view"], asked["overrides_lateral"]["view"]) == ("PA", None)
    assert (asked["overrides_ap"]["invert"], asked["overrides_lateral"]["invert"]) == (False, True)
    assert asked["angle_degrees"] == 88
    [made] = chosen.asked("makevertebra")
    assert made["bundle"] == "/bundles/mine"
    assert np.allclose([made["centre_ap"], made["centre_lateral"]], CLICKS, atol=1e-6)
    ui.vertebraAp.currentPath = "other.dcm"  # of which nothing was given
    assert ui.vertebraSourceAp.value == ui.vertebraPitchLateral.value == ui.vertebraAngle.value == 0
    assert not ui.vertebraInvertLateral.checked


def test_clicks_are_of_their_films_and_corners_give_the_line(chosen, engine_answers):
    import slicer

    opened, _ = engine_answers
    section, ui = chosen.panel.vertebrae, chosen.ui
    press(chosen, ui.vertebraCornersAp)
    click(section, 0, corners_around(CLICKS[0], 20), opened, "corners")
    press(chosen, ui.vertebraCornersLateral)
    assert slicer.mrmlScene.GetNodesByClass("vtkMRMLMarkupsLineNode").GetNumberOfItems() == 1
    click(section, 1, corners_around((CLICKS[1][0] + 60, CLICKS[1][1]), 22), opened, "corners")
    assert "That is too much" in ui.vertebraStatus.text
    assert not ui.vertebraButton.enabled
    ui.vertebraLateral.currentPath = "other.dcm"
    assert section.clicks.clicked("corners") == (None, None)
    assert slicer.mrmlScene.GetNodesByClass("vtkMRMLMarkupsFiducialNode").GetNumberOfItems() == 0


def test_what_the_engine_refuses_is_explained_and_clicks_stay(chosen, engine_answers):
    opened, _ = engine_answers
    section, ui = chosen.panel.vertebrae, chosen.ui
    chosen.behave(refusals={"openpair": "The AP film: Its pixels have no size: give {pixel_pitch_mm}."})
    press(chosen, ui.vertebraClickAp)
    assert "no size: give “Pixel pitch”." in ui.vertebraStatus.text  # as the panel's label is called
    assert not ui.vertebraButton.enabled
    chosen.behave(answers={"openpair": opened}, refusals={"makevertebra": "The films are 30 degrees apart."})
    for number, button in enumerate((ui.vertebraClickAp, ui.vertebraClickLateral)):
        press(chosen, button)
        click(section, number, CLICKS[number], opened)
    press(chosen, ui.vertebraButton)
    assert "30 degrees apart" in ui.vertebraStatus.text
    assert section.run is None
    assert np.allclose([clicked[0] for clicked in section.clicks.clicked("centre")], CLICKS)
    assert ui.vertebraButton.enabled


def test_the_console_makes_a_vertebra(chosen):
    logic = importlib.import_module("DualFaceRecon").DualFaceReconLogic()
    corners = corners_around(CLICKS[1], 22)
    run = logic.reconstruct_vertebra(
        "ap.dcm",
        "lateral.dcm",
        "L3",
        centre_ap=CLICKS[0],
        corners_lateral=corners,
        given_ap={"sdd_mm": 1150},
        lateral_faces="left",
        bundle="mine",
        folder="out/L3",
    )
    [opened], [made] = chosen.asked("openpair"), chosen.asked("makevertebra")
    assert (opened["overrides_ap"], opened["overrides_lateral"]) == ({"sdd_mm": 1150}, {})
    assert opened["lateral_faces"] == "left"
    assert (made["centre_ap"], made["centre_lateral"]) == (list(CLICKS[0]), None)
    assert made["corners_lateral"] == [list(corner) for corner in corners]
    assert (made["bundle"], made["folder"]) == ("mine", "out/L3")
    assert run.node("vertebra", "L3") is not None


def test_a_worker_s_process_opens_a_pair_and_refuses_one_that_is_none(tmp_path):
    ap, lateral = spine_pair(tmp_path)
    with Client() as worker:
        opened = worker.ask(OpenPair(str(ap), str(lateral), overrides_ap={"sdd_mm": 1111}))
        assert opened["geometry"][0]["sdd_mm"] == 1111.0
        assert opened["warnings"] == []
        with pytest.raises(Refusal, match="AP film: This is not a frontal film"):
            worker.ask(OpenPair(str(lateral), str(ap)))
        with pytest.raises(Refusal, match="miss each other by"):
            worker.ask(MakeVertebra(opened["pair"], "L3", CLICKS[0], (CLICKS[1][0] + 60, CLICKS[1][1])))
