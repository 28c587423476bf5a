"""What people look at of a reconstruction: the picture and the report."""

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy.signal import fftconvolve
from support.reconstructions import OBJECT_DISTANCE_MM, PELVIS, RIGHT_HIP, made_reconstruction
from vtkmodules.vtkFiltersSources import vtkSphereSource

from DualFaceReconLib.film.acquisition import Known, RadiographWarning
from DualFaceReconLib.geometry import Provenance
from DualFaceReconLib.measurements import Measurement
from DualFaceReconLib.meshes import arrays
from DualFaceReconLib.pictures import drawing, overview, panels, report, shading
from DualFaceReconLib.pictures.bones import BONE_COLOURS, Surface, along_rays, from_afar, surface_of
from DualFaceReconLib.pictures.film import film_picture
from DualFaceReconLib.rasterising import covered_pixels, nearest_values

TEXT = "The distance of the source was not in the file and is assumed to be 1100 mm, so that every length is uncertain."


@pytest.fixture(scope="module")
def pelvis():
    return made_reconstruction()


@pytest.fixture(scope="module")
def picture(pelvis):
    return overview.picture(pelvis)


def film_panels(picture, reconstruction):
    """The film with outlines and the bones from the source, without titles and margins."""
    rows, cols = film_picture(reconstruction.radiograph, overview.FILM_MOST_PX)[0].shape[:2]
    width = (panels.WIDTH_PX - panels.GAP_PX) // 2
    left = (width - cols) // 2
    films = picture[panels.TITLE_PX : panels.TITLE_PX + rows]
    return films[:, left : left + cols], films[:, width + panels.GAP_PX + left :][:, :cols]


def colour_like(picture, colour):
    """Where a colour shows, in any light."""
    grey = np.linalg.norm(picture.astype(float), axis=-1)
    cosine = picture.astype(float) @ np.array(colour, float) / np.maximum(grey * np.linalg.norm(colour), 1)
    return (cosine > 0.995) & (grey > 60)


def place_of(picture, letters, colour, height_px):
    """Best agreement of letters with any place of a picture, 0 to 1, and the [row, col] of their first corner."""
    ink = drawing.text_mask(letters, height_px, bold=True) > 0.9
    there = (np.abs(picture.astype(int) - colour) < 40).all(axis=-1).astype(float)
    agreement = fftconvolve(there, ink[::-1, ::-1].astype(float), mode="valid") / ink.sum()
    return agreement.max(), np.unravel_index(agreement.argmax(), agreement.shape)


def test_outlines_lie_at_the_edges_of_the_masks(pelvis, picture):
    film, _ = film_panels(picture, pelvis)
    scale = np.array(film.shape[:2]) / PELVIS.size_px
    for bone, mask in zip(pelvis.maps.bones, pelvis.maps.mask, strict=True):
        outline = np.argwhere((film == BONE_COLOURS[bone]).all(axis=-1))
        pixels = np.argwhere(mask)
        assert outline.min(axis=0) == pytest.approx(pixels.min(axis=0) * scale, abs=3)
        assert outline[:, 1].max() == pytest.approx((pixels[:, 1].max() + 1) * scale[1] - 1, abs=3)


def test_bones_from_the_source_coincide_with_their_masks(pelvis, picture):
    _, bones = film_panels(picture, pelvis)
    scale = np.array(bones.shape[:2]) / PELVIS.size_px
    for bone, mask in zip(pelvis.maps.bones, pelvis.maps.mask, strict=True):
        seen = colour_like(bones, BONE_COLOURS[bone])
        at = tuple(np.clip((np.argwhere(seen) / scale).astype(int).T, 0, np.array(mask.shape)[:, None] - 1))
        assert mask[at].mean() > 0.98  # its colour shows nowhere else
        alone = mask & (pelvis.maps.mask.sum(axis=0) == 1)
        middles = ((np.argwhere(alone) + 0.5) * scale).astype(int)
        lettered = middles[:, 0] < 100  # R and L may cover a bone there
        assert seen[tuple(middles[~lettered].T)].mean() > 0.97


@pytest.mark.parametrize("view", ["AP", "PA"])
def test_the_front_is_the_front_whatever_the_view(view):
    reconstruction = made_reconstruction(dataclasses.replace(PELVIS, view=view))
    surfaces = [surface_of(name, bone) for name, bone in reconstruction.bones.items()]
    middle = np.array([0, OBJECT_DISTANCE_MM if view == "AP" else -OBJECT_DISTANCE_MM, 0])
    for drawn in (
        along_rays(surfaces, reconstruction.radiograph.geometry),
        from_afar(surfaces, drawing.AROUND[0], middle, 0.5, (300, 300)),
    ):
        cols = {
            name: np.argwhere(colour_like(drawn.coloured, BONE_COLOURS[name]))[:, 1].mean() for name in BONE_COLOURS
        }
        assert cols["hip_right"] < cols["hip_left"]
        assert cols["femur_right"] < cols["femur_left"]


def ball(place, colour):
    source = vtkSphereSource()
    source.SetRadius(30)
    source.SetThetaResolution(40)
    source.SetPhiResolution(40)
    source.Update()
    vertices, triangles = arrays(source.GetOutput())
    return Surface(
        vertices=vertices + place,
        triangles=triangles,
        closed=True,
        colour=colour,
        certainty=np.tile(colour, (len(vertices), 1)),
        inferred=np.zeros(len(vertices)),
    )


def test_what_is_nearer_to_the_eye_hides_the_other():
    """A ball in front of another; four views around, and along the rays from the front in AP and in PA."""
    front, back, colours = (0, 60, 0), (0, -60, 0), ((250, 40, 40), (40, 40, 250))
    balls = [ball(front, colours[0]), ball(back, colours[1])]
    middle = [from_afar(balls, eye, np.zeros(3), 1.0, (101, 201)).coloured[50] for eye in drawing.AROUND]
    assert colour_like(middle[0][100], colours[0])
    assert colour_like(middle[2][100], colours[1])
    assert colour_like(middle[1][40], colours[0])  # anterior is at the left as seen from the patient's left
    assert colour_like(middle[1][160], colours[1])
    assert colour_like(middle[3][160], colours[0])
    for view in ("AP", "PA"):
        away = 200 if view == "AP" else -200
        balls = [ball((0, 60 + away, 0), colours[0]), ball((0, -60 + away, 0), colours[1])]
        coloured = along_rays(balls, dataclasses.replace(PELVIS, view=view)).coloured
        row, col = (round(p) for p in PELVIS.principal_point_px)
        assert colour_like(coloured[row, col], colours[0])


def test_a_ball_is_as_large_as_it_is_and_has_no_holes():
    share = from_afar([ball((0, 0, 0), (200, 200, 200))], drawing.AROUND[0], np.zeros(3), 2.0, (160, 200)).share[..., 0]
    assert share.sum() == pytest.approx(np.pi * 60**2, rel=0.01)
    row, col = np.mgrid[:160, :200]
    assert share[np.hypot(row - 79.5, col - 99.5) < 58].min() == 1
    assert share[np.hypot(row - 79.5, col - 99.5) > 62].max() == 0


def test_bones_look_as_if_every_pixel_were_drawn_finer(monkeypatch):
    """A ball before another, the one behind inferred; where pixels are drawn by their middles, nobody sees it."""
    front, back = ball((20, 60, 0), (250, 40, 40)), ball((-20, -60, 10), (40, 40, 250))
    balls = [front, dataclasses.replace(back, inferred=np.ones_like(back.inferred))]

    def views():
        view = from_afar(balls, drawing.AROUND[0], np.zeros(3), 1.5, (151, 201))
        return np.concatenate([255 * view.share, view.coloured, view.by_certainty], axis=-1)

    drawn = views()
    monkeypatch.setattr(shading, "EVEN", -1.0)
    everywhere = views()
    assert np.abs(drawn - everywhere).max() < 2
    monkeypatch.setattr(shading, "EVEN", np.inf)
    assert np.abs(views() - everywhere).max() > 100


def test_the_nearest_triangle_shows_and_values_run_between_corners():
    pixels = np.array([[0, 0], [0, 8], [8, 0], [0, 0], [0, 4], [4, 0.0]])
    values, near = np.array([[0.0, 8, 0, 50, 50, 50]]), np.array([1.0, 1, 1, 2, 2, 2])
    place, triangle, shown = nearest_values(pixels, near, np.array([[0, 1, 2], [3, 4, 5]]), values, (10, 10))
    nearest = np.zeros(100)
    nearest[place] = shown[0]
    assert nearest[:9].tolist() == [50, 50, 50, 50, 50, 5, 6, 7, 8]
    assert len(place) == len(set(place.tolist())) == 45
    assert np.array_equal(triangle == 1, shown[0] == 50)
    assert not len(nearest_values(pixels - 100, near, np.array([[0, 1, 2]]), values, (10, 10))[0])


@pytest.mark.parametrize("side_px", [1, 3, 7 / 3, 1 / 3, 0.7, 1.3])
@pytest.mark.parametrize("slant", [0, 1 / 3, 0.5, 1, 2 / 3])
def test_no_pixel_is_lost_between_triangles(side_px, slant):
    """Rhombs of two triangles each, side by side; many of their edges run through the pixels' very middles."""
    number = np.arange(40).reshape(5, 8)
    a, b, c, d = (part.ravel() for part in (number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]))
    triangles = np.concatenate([np.stack([a, b, c], axis=1), np.stack([d, c, b], axis=1)])
    corners = np.stack(np.divmod(np.arange(40), 8), axis=1) * float(side_px)
    corners[:, 1] += slant * corners[:, 0]
    covered = np.zeros((20, 40), bool)
    for _, place, _, _ in covered_pixels(corners[triangles], covered.shape):
        covered[tuple(place.T)] = True
    row, col = np.indices(covered.shape)
    across = col - slant * row
    inside = (row < 4 * side_px + 1e-6) & (across > -1e-6) & (across < 7 * side_px + 1e-6)
    assert np.array_equal(covered, inside)


def test_inferred_places_are_striped_and_bones_not_completed_are_grey():
    whole = made_reconstruction(RIGHT_HIP, bones=("hip_right",))
    surface = surface_of("hip_right", whole.bones["hip_right"])
    nowhere = dataclasses.replace(surface, inferred=np.zeros_like(surface.inferred))
    everywhere = dataclasses.replace(surface, inferred=np.ones_like(surface.inferred))
    middle = (surface.vertices.min(axis=0) + surface.vertices.max(axis=0)) / 2
    plain, striped = (
        from_afar([drawn], drawing.AROUND[0], middle, 0.8, (200, 200)).by_certainty.sum()
        for drawn in (nowhere, everywhere)
    )
    assert striped / plain == pytest.approx(1 - 0.45 * 2 / shading.STRIPES_PX, abs=0.02)
    seen_alone = made_reconstruction(RIGHT_HIP, bones=("hip_right",), not_completed=("hip_right",))
    grey = from_afar(
        [surface_of("hip_right", seen_alone.bones["hip_right"])], drawing.AROUND[0], middle, 0.8, (200, 200)
    )
    assert np.ptp(grey.by_certainty, axis=-1).max() < 1e-3 < grey.by_certainty.max()


def test_r_and_l_stand_where_they_belong_and_are_amber_when_assumed(pelvis, picture):
    assumed = dataclasses.replace(pelvis.radiograph, orientation=Known("L\\F", Provenance("assumed", "nobody knows")))
    for drawn, mark, colour in (
        (picture, "", drawing.WHITE),
        (overview.picture(dataclasses.replace(pelvis, radiograph=assumed)), "?", drawing.AMBER),
    ):
        below = drawn[film_panels(picture, pelvis)[0].shape[0] + panels.TITLE_PX :][:200]
        quarter = panels.WIDTH_PX // 2
        for panel, height in ((drawn[:200, :quarter], 60), (drawn[:200, quarter:], 60), (below[:, :quarter], 32)):
            right, left = (place_of(panel, letter + mark, colour, height) for letter in "RL")
            assert min(right[0], left[0]) > 0.97
            assert right[1][1] < left[1][1]


def test_every_warning_makes_the_text_longer_and_is_amber(pelvis, picture):
    assert not (picture == drawing.AMBER).all(axis=-1).any()
    texts = [
        overview.text(dataclasses.replace(pelvis, warnings=(RadiographWarning("code", TEXT),) * count))
        for count in (1, 8, 10)
    ]
    assert (picture[-texts[0].shape[0] :, : panels.WIDTH_PX // 2] == texts[0][:, : panels.WIDTH_PX // 2]).all()
    assert texts[0].shape[0] < texts[1].shape[0] < texts[2].shape[0]
    inked = [np.count_nonzero((part == drawing.AMBER).all(axis=-1)) for part in texts]
    assert inked[0] > 100
    assert inked[1:] == [8 * inked[0], 10 * inked[0]]  # all of every one of them


def test_a_bone_that_is_doubted_is_amber_in_the_legend_and_among_what_was_measured():
    for doubted in ((), ("femur_left",)):
        made = made_reconstruction(doubted=doubted)
        for part in (overview.legend_of_bones(made), overview.text(made)):
            assert (part == drawing.AMBER).all(axis=-1).any() == bool(doubted)


def test_text_is_wrapped_to_its_width():
    for words in (TEXT, "W" * 300, "i" * 300, "\N{CJK UNIFIED IDEOGRAPH-4E2D}" * 30, ""):
        lines = drawing.wrapped(words, 15, 400)
        assert "".join(lines).replace(" ", "") == words.replace(" ", "")
        assert max(drawing.text_mask(line, 15).shape[1] for line in lines) <= 430


def test_one_hip_and_missing_bones_have_pictures():
    picture = overview.picture(made_reconstruction(RIGHT_HIP, ("hip_right",), ("hip_right",)))
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (panels.WIDTH_PX, 3)
    assert colour_like(picture, BONE_COLOURS["hip_right"]).sum() > 50_000
    assert not colour_like(picture[300:800], BONE_COLOURS["femur_right"]).any()


# The report


class Page(HTMLParser):
    """Tags and text of a page, and whether every tag that was opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_report_says_what_was_found_and_how_sure_it_is():
    reconstruction = made_reconstruction(
        bones=("hip_left", "hip_right", "femur_right"), not_completed=("hip_left",), warnings=(TEXT, "Second.")
    )
    page = Page(report.html(reconstruction))
    assert page.open == []
    text = re.sub(r"\s+", " ", page.text)
    for words in (
        *("Research use only", TEXT, "Second.", "left femurnot found in this picture"),
        *("femoral head diameter47.9 ± 2.0 mm", "only what was seen; not completed", "180 +- 35 mm"),
        *(
            "assumed: population mean",
            "made-up 1.0",
            "ab" * 32,
            "completion4.0 s",
            reconstruction.radiograph.pixel_hash,
        ),
    ):
        assert words in text
    assert text.index(TEXT) < text.index("femoral head diameter")  # warnings come first
    assert text.count("verdictgood") == 3
    doubted = Page(report.html(made_reconstruction(bones=("femur_left",), doubted=("femur_left",))))
    assert "verdictdoubtful: no shape comes near it; its shape is unusual" in doubted.text
    assert [attributes["src"] for tag, attributes in page.tags if tag == "img"] == ["picture.png"]


def test_the_report_runs_nothing_and_fetches_nothing():
    hostile = '<script src="http://x">alert(1)</script>&"\'<img src=x onerror=y>'
    reconstruction = made_reconstruction(bones=("hip_left",), warnings=(hostile,))
    bone = dataclasses.replace(reconstruction.bones["hip_left"], measurements={hostile: Measurement(1.0, hostile)})
    geometry = dataclasses.replace(PELVIS, provenance={"sdd_mm": Provenance("header", hostile)})
    page = Page(
        report.html(
            dataclasses.replace(
                reconstruction,
                radiograph=dataclasses.replace(reconstruction.radiograph, geometry=geometry, file_format=hostile),
                bones={"hip_left": bone},
                bundle=dataclasses.replace(reconstruction.bundle, id=hostile, version=hostile, sha256=hostile),
                device=hostile,
                timings_s={hostile: 1.0},
            )
        )
    )
    assert page.open == []
    assert page.text.count("alert(1)") >= 8
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "iframe", "link", "object"})
    assert [tag for tag, attributes in page.tags if {"src", "href", "onerror"} & set(attributes)] == ["img"]
    assert not re.search(r"url\(|@import", report.STYLE)
