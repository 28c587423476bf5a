"""R and L in films: read where they stand alone, upright or mirrored, and held against the sides; nothing is turned."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter
from support.films import save

from DualFaceReconLib.cli import main
from DualFaceReconLib.film.acquisition import Overrides
from DualFaceReconLib.film.letters import SideLetter, side_letters
from DualFaceReconLib.film.radiograph import Radiograph, radiograph_of, read_radiograph
from DualFaceReconLib.film.sides import letters_against_bones
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.pictures import drawing, inspection
from training.judging.letters import letters_table
from training.xray.dicom_film import dx_dataset
from training.xray.marks import FONT, stamped

ROWS, COLS, PITCH_MM = 600, 700, 0.55


@pytest.fixture(scope="module")
def background() -> np.ndarray:
    """Two bright shafts with hard edges, a belly, noise: (rows, cols) from 0 to 1."""
    row, col = np.mgrid[:ROWS, :COLS].astype(np.float32)
    belly = 0.5 * np.exp(-(((col - COLS / 2) / 220) ** 2) - ((row - 100) / 260) ** 2)
    shafts = sum(0.35 * (np.abs(col - place - 0.12 * row) < 26) for place in (130, 430))
    noise = np.random.default_rng(3).normal(0, 0.01, row.shape)
    return (belly + shafts * (row > 250) + noise).clip(0, 0.95).astype(np.float32)


def written(film: np.ndarray, text: str, place: tuple[int, int], size: int, degrees: float = 0.0) -> np.ndarray:
    """With words in Pillow's own font, bright, around a place [row, col]."""
    rows, cols = film.shape
    ink = Image.new("L", (cols, rows))
    ImageDraw.Draw(ink).text(place[::-1], text, 255, ImageFont.load_default(size), anchor="mm")
    share = np.asarray(ink.rotate(degrees, Image.Resampling.BILINEAR, center=place[::-1]), np.float32) / 255
    return film * (1 - share) + 0.97 * share


def leaden(film: np.ndarray, letter: str, place: tuple[int, int], tall: float, turn: float, ring: bool) -> np.ndarray:
    """With a letter of the simulated films' own, as blurred as the focal spot leaves it."""
    ink = np.zeros_like(film)
    stamped(ink, FONT[letter], np.array(place, float), tall, turn, 1.0, framed=ring)
    share = gaussian_filter(ink, 1.2)
    return film * (1 - share) + 0.97 * share


def readings(film: np.ndarray) -> list[tuple[str, bool]]:
    return sorted((letter.letter, letter.mirrored) for letter in side_letters(film))


def test_letters_are_read_upright_and_mirrored_in_fonts_that_no_template_has(background):
    assert readings(background) == []
    for letter, place in (("R", (120, 70)), ("L", (420, 640))):
        for size, degrees in ((30, 0), (44, -12), (70, 9)):
            film = written(background, letter, place, size, degrees)
            (read,) = side_letters(film)
            assert (read.letter, read.mirrored) == (letter, False)
            assert np.hypot(read.row - place[0], read.col - place[1]) < 0.25 * size
            assert 0.5 * size < read.height_px < size
            assert readings(film[:, ::-1]) == [(letter, True)]


@pytest.mark.parametrize("ring", [False, True])
def test_lead_letters_of_the_simulated_films_are_read_within_a_ring_too(background, ring):
    for letter, place in (("R", (90, 60)), ("L", (90, 620))):
        film = leaden(background, letter, place, 42, np.radians(8), ring)
        assert readings(film) == [(letter, False)]
        assert readings(film[:, ::-1]) == [(letter, True)]


def test_what_is_no_lone_letter_is_not_read(background):
    for text in ("P", "K", "B", "E", "1", "RIGHT", "LEFT", "ORTHO", "L: 2047", "R HIP", "RL", "W 12 L 40"):
        assert readings(written(background, text, (120, 160), 40)) == []
    dark = written(1 - background, "R", (120, 70), 40)  # bright on bright
    assert readings(1 - dark) == []
    ruler = background.copy()
    ruler[100:500, 20:23] = 0.97
    for row in range(100, 500, 20):
        ruler[row : row + 3, 20:36] = 0.97
    assert readings(ruler) == []


def test_a_film_too_small_or_flat_reads_nothing():
    assert side_letters(np.zeros((40, 30), np.float32)) == ()
    assert side_letters(np.full((300, 300), 7.0, np.float32)) == ()


def codes(radiograph: Radiograph) -> list[str]:
    return [warning.code for warning in radiograph.warnings if warning.code.startswith("side-letter")]


def test_letters_that_contradict_the_sides_are_warned_of_and_the_picture_stays(background):
    given = Overrides(pixel_pitch_mm=PITCH_MM, sdd_mm=1150)
    right = written(background, "R", (120, 70), 40)
    agreeing = radiograph_of(right, given)
    assert codes(agreeing) == []
    wrong = written(background, "R", (120, 630), 40)
    contradicting = radiograph_of(wrong, given)
    assert codes(contradicting) == ["side-letter-contradicts"]
    np.testing.assert_array_equal(contradicting.pixels, wrong)
    text = contradicting.warnings[-1].text
    assert all(words in text for words in ("says R", "patient's left", "{swap_sides}"))
    mirrored = radiograph_of(np.ascontiguousarray(right[:, ::-1]), given)
    assert codes(mirrored) == ["side-letter-mirrored"]
    swapped = Overrides(pixel_pitch_mm=PITCH_MM, sdd_mm=1150, swap_sides=True)
    assert codes(radiograph_of(np.ascontiguousarray(right[:, ::-1]), swapped)) == []
    # One letter agrees, one does not: the film contradicts itself. A film of one hip may have its letter anywhere.
    assert codes(radiograph_of(written(wrong, "R", (420, 70), 40), given)) == []
    assert codes(radiograph_of(wrong, Overrides(pixel_pitch_mm=0.35, sdd_mm=1150))) == []


def test_letters_are_held_against_the_bones_that_were_found():
    def said(letter: str, col: float, left: list[float], right: list[float], mirrored: bool = False) -> list[str]:
        read = SideLetter(letter, 100.0, col, 30.0, mirrored, 0.95)
        return [warning.text for warning in letters_against_bones([read], left, right)]

    assert said("L", 600.0, [500, 520], []) == []
    assert "bones of the right side alone" in said("L", 600.0, [], [200.0, 210.0])[0]
    assert "bones of the left side alone" in said("R", 600.0, [500.0], [])[0]
    assert said("R", 100.0, [500.0], [200.0]) == []
    assert said("R", 330.0, [500.0], [200.0]) == []  # about the middle
    assert "called left" in said("R", 600.0, [500.0], [200.0])[0]
    assert said("R", 600.0, [500.0], [200.0], mirrored=True) == []  # which is said when the film is read


def test_inspect_prints_and_draws_what_the_letters_say(background, tmp_path, capsys):
    film = written(background, "R", (120, 630), 40)
    path = tmp_path / "film.npy.png"
    drawing.save_png(np.repeat((255 * film).astype(np.uint8)[..., None], 3, axis=2), path)
    picture = tmp_path / "inspected.png"
    given = ["--pixel-pitch", str(PITCH_MM), "--sdd", "1150"]
    assert main(["inspect", str(path), *given, "--picture", str(picture)]) == 0
    printed = capsys.readouterr().out
    assert all(words in printed for words in ("R at row 120, col 630", "--swap-sides", "itself says R"))
    assert picture.exists()
    assert main(["inspect", str(path), *given, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)["values"]["side_letters"]
    assert [(letter["letter"], letter["mirrored"]) for letter in values["value"]] == [("R", False)]
    plain = inspection.findings(Radiograph(background, radiograph_of(film, Overrides(pixel_pitch_mm=1)).geometry))
    assert plain[-1].text == "none"


def test_a_header_that_lies_about_the_sides_is_contradicted(tmp_path, background):
    geometry = ProjectionGeometry(1150, (PITCH_MM, PITCH_MM), (ROWS, COLS), object_distance_mm=190)
    film = written(background, "L", (120, 630), 40)
    honest = save(dx_dataset(film, geometry, orientation="R\\F"), tmp_path / "honest.dcm")
    assert codes(read_radiograph(honest)) == []
    lying = dx_dataset(film, geometry, orientation="L\\F")
    lying.PatientOrientation = ["R", "F"]
    assert codes(read_radiograph(save(lying, tmp_path / "lying.dcm"))) == ["side-letter-mirrored"]


def test_the_table_of_letters_counts_films_as_taken_and_mirrored(tmp_path, background):
    """A true R on its side, a film without letters, and a label that contradicts."""
    geometry = ProjectionGeometry(1150, (PITCH_MM, PITCH_MM), (ROWS, COLS), object_distance_mm=190)
    films = {
        "a": (written(background, "R", (120, 70), 40), "R", []),
        "b": (background, "", []),
        "c": (written(background, "L", (420, 70), 40), "", ["L"]),
    }
    for name, (pixels, letter, labels) in films.items():
        folder = tmp_path / "set" / name
        folder.mkdir(parents=True)
        save(dx_dataset(pixels, geometry), folder / "radiograph.dcm")
        (folder / "geometry.json").write_text("{}")
        (folder / "case.json").write_text(json.dumps({"film": {"letter": letter, "labels": labels}}))
    lines = letters_table(tmp_path).splitlines()
    assert lines[2:] == ["| set | as taken | 3 | 1 | 1 | 0 | 1 | 1 |", "| set | mirrored | 3 | 1 | 1 | 0 | 2 | 1 |"]
