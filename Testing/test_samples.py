"""The films that ship: whole, readable without a warning about what they are, and made again as they ship."""

import re
import tomllib

import numpy as np
import pytest
from support.bones import SHARED

from DualFaceReconLib.disk.meshfiles import read_vtp, write_vtp
from DualFaceReconLib.film.radiograph import read_radiograph
from DualFaceReconLib.meshes import arrays, polydata
from training import samples
from training.cases import read_case
from training.samples import RECIPE, SHIPPED, make_samples, same_film

FILMS = sorted(SHIPPED.glob("*.dcm"))


def test_what_ships_is_what_the_recipe_and_the_page_name():
    recipe = tomllib.loads(RECIPE.read_text(encoding="utf-8"))
    named = set(re.findall(r"`(\w+)\.dcm`", (SHIPPED / "SAMPLES.md").read_text(encoding="utf-8")))
    assert {film.stem for film in FILMS} == set(recipe["films"]) == named
    assert len(FILMS) >= 6
    assert sum(film.stat().st_size for film in FILMS) < 6e6


@pytest.mark.parametrize("film", FILMS, ids=lambda film: film.stem)
def test_a_sample_says_how_it_was_taken(film):
    radiograph = read_radiograph(film)
    assert 0.25 < radiograph.geometry.pixel_pitch_mm[0] < 0.5
    assert radiograph.geometry.view in ("AP", "PA")
    kinds = {name: value.kind for name, value in radiograph.geometry.provenance.items()}
    assert kinds["pixel_pitch_mm"] == kinds["sdd_mm"] == kinds["view"] == "header"
    middle = radiograph.pixels[200:-200, 200:-200]
    assert middle.std() > 0.05 * np.ptp(radiograph.pixels)


def test_samples_are_written_once_and_compared(tmp_path, monkeypatch):
    """With made-up people in the place of real ones."""
    from support.bones import made_population

    recipe = tmp_path / "samples.toml"
    text = "seed = 3\nsize_px = 400\ntruth_ships = ['one']\n[films]\none = 0\nother = 1\n"
    recipe.write_text(text, encoding="utf-8")
    monkeypatch.setattr(samples, "RECIPE", recipe)
    monkeypatch.setattr(samples, "load_population", lambda *_, **__: made_population())
    ship, messages = tmp_path / "shipped ü", []
    folders, differences = make_samples(tmp_path, tmp_path, tmp_path / "out", ship, messages.append)
    assert (differences, messages) == ([], ["one: now ships", "other: now ships"])
    assert sorted(path.name for path in ship.iterdir()) == ["one.dcm", "one_truth", "other.dcm"]
    for folder in folders:
        plain, packed = (read_radiograph(path) for path in (folder / "radiograph.dcm", ship / f"{folder.name}.dcm"))
        assert np.array_equal(plain.pixels, packed.pixels)
        assert plain.geometry == packed.geometry
    assert make_samples(tmp_path, tmp_path, tmp_path / "again", ship, messages.append)[1] == []
    (ship / "one.dcm").write_bytes((ship / "other.dcm").read_bytes())
    differences = make_samples(tmp_path, tmp_path, tmp_path / "again", ship, messages.append)[1]
    assert differences == ["one is not the film that ships in Resources/Samples"]
    bone = next((ship / "one_truth").iterdir())
    moved, triangles = arrays(read_vtp(bone))
    write_vtp(polydata(moved + 1, triangles), bone)
    differences = make_samples(tmp_path, tmp_path, tmp_path / "again", ship, messages.append)[1]
    assert differences[1:] == ["one_truth are not the bones that ship in Resources/Samples"]


@pytest.mark.slow
def test_the_shipped_films_come_again_with_their_truth(tmp_path):
    if not (SHARED / "bones").exists():
        pytest.skip("no bones at hand: CONTRIBUTING.md says where they come from")
    folders, differences = make_samples(SHARED / "bones", tmp_path / "people", tmp_path / "out")
    assert differences == []
    for folder in folders:
        assert read_case(folder).maps.mask.any()
    assert not same_film(folders[0] / "radiograph.dcm", folders[1] / "radiograph.dcm")
