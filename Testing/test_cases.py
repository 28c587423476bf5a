"""Cases: what is written is what is read, sides stay where they are, and the ruler finds what it must."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support.bones import made_population
from support.cases import judged_by
from support.processes import started_at_once
from support.solids import ball
from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

from DualFaceReconLib.disk.meshfiles import read_vtp, write_vtp
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.radiograph import read_radiograph
from DualFaceReconLib.film.subject import TABLE_TO_BONES_MM
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import arrays, polydata
from training.__main__ import EXIT_REFUSED, main
from training.cases import cases_in, read_case, write_case
from training.judging.evaluate import evaluate
from training.judging.tables import as_markdown, interval
from training.raycast import cast
from training.simulate import Series, contact_sheet, simulate
from training.xray.film import STORED
from training.xray.marks import FONT, stamped

GEOMETRY = ProjectionGeometry(1111.5, (0.9, 0.9), (300, 360), (140.25, 171.75), "AP", 187.5)
SERIES = Series(seed=7, size_px=400)


@pytest.fixture(scope="module")
def population():
    return made_population()


@pytest.fixture(scope="module")
def cases(population, tmp_path_factory):
    return simulate(population, 3, SERIES, tmp_path_factory.mktemp("cases"), say=lambda _: None)


def two_balls():
    return {"hip_left": ball((-60, 190, 20), 35, 40), "femur_right": ball((70, 180, -60), 30, 40)}


def written(folder, **stored):
    meshes = two_balls()
    projected = cast(meshes, GEOMETRY)
    metal = cast({"implant": ball((70, 180, -60), 14, 30)}, GEOMETRY)  # in the patient's right femur
    film = (0.03 * projected.path_mm.sum(axis=0) + 0.4 * metal.path_mm[0]).astype(np.float32)
    stamped(film, FONT["R"], np.array([60.0, 30.0]), 20.0, 0.0, 2.0)
    write_case(folder, film, GEOMETRY, projected.maps, meshes, {"person": "nobody"}, **stored)
    return film, projected, meshes


@pytest.mark.parametrize("stored", STORED)
def test_a_case_is_read_back_as_it_was_made(tmp_path, stored):
    film, projected, meshes = written(tmp_path / "case ü", **stored)
    case = read_case(tmp_path / "case ü")
    assert case.geometry == GEOMETRY
    for bone, mesh in meshes.items():
        assert case.meshes[bone][0] == pytest.approx(mesh[0], abs=1e-4)
        assert np.array_equal(case.meshes[bone][1], mesh[1])
    assert np.array_equal(case.maps.mask, projected.maps.mask)
    assert np.array_equal(case.maps.front, projected.maps.front)
    assert np.array_equal(case.maps.back, projected.maps.back)
    assert case.metadata == {"person": "nobody"}

    radiograph = read_radiograph(case.radiograph)
    read = radiograph.geometry
    assert read.sdd_mm == pytest.approx(GEOMETRY.sdd_mm, abs=1e-6)
    assert read.pixel_pitch_mm == pytest.approx(GEOMETRY.pixel_pitch_mm, abs=1e-6)
    assert read.principal_point_px == pytest.approx(GEOMETRY.principal_point_px, abs=1e-6)
    assert read.object_distance_mm == pytest.approx(GEOMETRY.object_distance_mm, abs=1e-6)
    assert (read.size_px, read.view) == (GEOMETRY.size_px, GEOMETRY.view)
    assert not [w for w in radiograph.warnings if w.code.endswith("-assumed")]
    displayed = (radiograph.pixels - radiograph.pixels.mean()) / radiograph.pixels.std()
    assert np.corrcoef(displayed.ravel(), film.ravel())[0, 1] > 0.999  # as displayed, however it is stored


@pytest.mark.parametrize("stored", STORED)
def test_an_implant_and_a_marker_keep_their_side(tmp_path, stored):
    """The patient's right is on the left of the picture, in the file and after reading."""
    written(tmp_path / "case", **stored)
    radiograph = read_radiograph(tmp_path / "case" / "radiograph.dcm")
    pixels = radiograph.pixels
    bright = np.argwhere(pixels >= np.percentile(pixels, 99.7))
    middle = GEOMETRY.project(np.array([70.0, 180, -60]))[0]
    assert middle[1] < GEOMETRY.principal_point_px[1]
    on_implant = bright[np.linalg.norm(bright - middle, axis=1) < 25]
    assert len(on_implant) > 50
    corner = pixels[: pixels.shape[0] // 3, : pixels.shape[1] // 5]
    assert corner.max() > np.median(corner) + pixels.std()  # the R
    right = radiograph.geometry.back_project(middle, 900.0)[0]
    assert right > 0


def test_a_case_is_whole_or_not_there(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr("training.cases.sitk.WriteImage", full)
    with pytest.raises(Refusal, match=r"No space left.*make room"):
        written(tmp_path / "case")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    written(tmp_path / "case")
    written(tmp_path / "case")  # over the one that is there
    assert [path.name for path in tmp_path.iterdir()] == ["case"]
    (tmp_path / "case" / "truth" / "hip_left.vtp").unlink()
    with pytest.raises(Refusal, match=r"case is no case: hip_left.vtp is no \.vtp mesh: take it out"):
        read_case(tmp_path / "case")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("geometry.json", "{", "Expecting property name"),
        ("geometry.json", "{}", "missing"),
        ("geometry.json", '{"sdd_mm": 1000, "pixel_pitch_mm": [1, 1], "size_px": [9, 9]}', "lacks 'bones'"),
        ("case.json", "{", "Expecting property name"),
        ("truth/labels.nrrd", "", "truth/labels.nrrd cannot be read"),
    ],
)
def test_what_is_no_case_is_refused_with_the_reason(tmp_path, name, content, reason):
    written(tmp_path / "case")
    (tmp_path / "case" / name).write_text(content, encoding="utf-8")
    with pytest.raises(Refusal, match=f"case is no case: .*{reason}.*: take it out, or make it again"):
        read_case(tmp_path / "case").maps  # noqa: B018


def test_mesh_files_say_their_axes_and_others_are_refused(tmp_path):
    mesh = polydata(*ball((1, 2, 3), 4, 12))
    write_vtp(mesh, tmp_path / "ü mesh.vtp")
    reader = vtkXMLPolyDataReader()
    reader.SetFileName(str(tmp_path / "ü mesh.vtp"))
    reader.Update()
    assert reader.GetOutput().GetFieldData().GetAbstractArray("SPACE").GetValue(0) == "RAS"
    assert arrays(read_vtp(tmp_path / "ü mesh.vtp"))[0] == pytest.approx(arrays(mesh)[0], abs=1e-6)
    content = (tmp_path / "ü mesh.vtp").read_bytes().replace(b"SPACE", b"SPICE")
    (tmp_path / "other.vtp").write_bytes(content)
    with pytest.raises(ValueError, match="does not say"):
        read_vtp(tmp_path / "other.vtp")
    (tmp_path / "text.vtp").write_text("hello", encoding="utf-8")
    with pytest.raises(ValueError, match=r"no \.vtp mesh"):
        read_vtp(tmp_path / "text.vtp")


# Sets of cases


def test_the_same_case_comes_again_whatever_is_beside_it(population, cases, tmp_path):
    with started_at_once():
        alone = simulate(population, 2, SERIES, tmp_path / "again", jobs=2, say=lambda _: None)
    for case, again in zip(cases[:2], alone, strict=True):
        assert (case / "geometry.json").read_bytes() == (again / "geometry.json").read_bytes()
        assert (case / "radiograph.dcm").read_bytes() == (again / "radiograph.dcm").read_bytes()
        assert read_case(case).metadata == read_case(again).metadata
    assert cases_in(tmp_path / "again") == alone


def test_what_is_there_stays(population, cases):
    before = (cases[0] / "geometry.json").stat().st_mtime_ns
    (cases[1] / "geometry.json").unlink()
    messages = []
    simulate(population, 3, SERIES, cases[0].parent, say=messages.append)
    assert messages == ["2 cases were there before", "1 of 1 cases"]
    assert (cases[0] / "geometry.json").stat().st_mtime_ns == before


def test_headers_tell_the_table_or_nothing(population, tmp_path):
    """The table, not the bones: what is derived from it is as wrong as bodies are unlike."""
    errors = []
    for folder in simulate(population, 6, Series(seed=8, size_px=400), tmp_path, say=lambda _: None):
        case, radiograph = read_case(folder), read_radiograph(folder / "radiograph.dcm")
        distance = radiograph.geometry.object_distance_mm
        if radiograph.geometry.provenance["object_distance_mm"].kind == "derived":
            assert distance == pytest.approx(case.metadata["rig"]["table_gap_mm"] + TABLE_TO_BONES_MM, abs=1e-3)
            errors.append(distance - case.geometry.object_distance_mm)
        else:
            assert "object_distance_mm-assumed" in {warning.code for warning in radiograph.warnings}
    assert 1 <= len(errors) <= 5
    assert min(abs(error) for error in errors) > 0.1
    assert max(abs(error) for error in errors) < 80


def test_truth_lies_on_its_bones(cases):
    for folder in cases:
        case = read_case(folder)
        assert case.maps.bones == ("hip_left", "hip_right", "femur_left", "femur_right")
        for number, (vertices, _) in enumerate(case.meshes.values()):
            mask = case.maps.mask[number]
            if mask.sum() < 50:
                continue
            pixels = np.argwhere(mask)
            points = case.geometry.back_project(pixels, case.maps.front[number][mask].astype(float))
            low, high = vertices.min(axis=0) - 0.1, vertices.max(axis=0) + 0.1
            assert ((points >= low) & (points <= high)).all()
            assert (case.maps.back[number][mask] >= case.maps.front[number][mask]).all()


def test_a_contact_sheet_shows_all_films(cases, tmp_path):
    contact_sheet(cases, tmp_path / "sheet.png", columns=2, cell_px=120)
    assert (tmp_path / "sheet.png").stat().st_size > 5000


def test_a_film_too_small_to_be_read_has_a_cell_that_says_so(cases, population, tmp_path):
    small = simulate(population, 1, replace(SERIES, size_px=200), tmp_path / "small", say=lambda _: None)
    with pytest.raises(Refusal, match="too small"):
        read_radiograph(read_case(small[0]).radiograph)
    contact_sheet([*cases[:1], *small], tmp_path / "sheet.png", columns=2, cell_px=320)
    read, refused = np.split(np.asarray(Image.open(tmp_path / "sheet.png").convert("L"), dtype=float), 2, axis=1)
    assert 0 < np.count_nonzero(refused > 100) < np.count_nonzero(read > 100) / 5  # words alone


# The ruler on cases


@pytest.fixture
def fewer_samples(monkeypatch):
    monkeypatch.setattr("training.judging.evaluate.SAMPLES", 1500)
    monkeypatch.setattr("training.judging.evaluate.EMD_POINTS", 200)


def test_rows_without_a_network_are_ordered_as_they_must_be(cases, fewer_samples, tmp_path):
    case = judged_by(cases[0], ("hip_left", "femur_left"), tmp_path)
    evaluation = evaluate([case], (128, 256), say=lambda _: None)
    scored = evaluation.surfaces

    def mean(row, pixels=256):
        of_row = [score.assd_mm for score in scored if score.row == row and score.pixels == pixels]
        return np.mean([assd for assd in of_row if assd is not None])  # of some bones too little shows to complete them

    assert mean("exact maps") < mean("exact maps", 128) < 2
    assert mean("exact front map only") > 3 * mean("exact maps")
    assert mean("exact maps, completed") < 0.8
    assert mean("mean shape at the true pose", 128) > 1
    assert mean("mean shape placed by the segmentation", 128) > 1
    text = as_markdown(evaluation, "A test")
    assert text.split("\n## ")[1].count("| hip |") == 8
    assert "1 films of 1 people" in text


def test_intervals_are_over_people_not_films():
    people = ["a"] * 50 + ["b"] * 50
    low, high = interval([1.0] * 50 + [3.0] * 50, people)
    assert (low, high) == (1.0, 3.0)
    assert interval([2.0] * 4, list("abcd")) == (2.0, 2.0)


def test_no_cases_and_no_question_are_refused(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path), "--out", str(tmp_path / "out")]) == EXIT_REFUSED
    assert "training simulate" in capsys.readouterr().err
    assert main(["simulate", "--out", str(tmp_path / "out")]) == EXIT_REFUSED
    assert "--count" in capsys.readouterr().err
    arguments = ["simulate", "--count", "1", "--seed", "1", "--out", str(tmp_path), "--bones", str(tmp_path / "none")]
    assert main([*arguments, "--cache", str(tmp_path / "cache")]) == EXIT_REFUSED
    assert "CONTRIBUTING" in capsys.readouterr().err


def test_evaluate_writes_a_table_and_its_rows(cases, fewer_samples, tmp_path, capsys):
    for case in cases:
        judged_by(case, ("hip_left",), tmp_path / "cases")
    arguments = ["evaluate", str(tmp_path / "cases"), "--out", str(tmp_path), "--every", "3", "--pixels", "64"]
    assert main([*arguments, "--jobs", "1"]) == 0
    assert "| exact maps |" in capsys.readouterr().out
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["row"] for row in rows} >= {"exact maps", "exact front map only"}
    assert (tmp_path / "table.md").exists()
