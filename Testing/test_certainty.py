"""How sure a surface's place is: what the mirrored film and the bones' distance add to what a fit tells."""

from dataclasses import replace

import numpy as np
import pytest

from DualFaceReconLib.certainty import USUAL_MIRRORED_MM, with_distance, with_mirrored
from DualFaceReconLib.geometry import ProjectionGeometry, Provenance
from training.judging.certainty import VertexErrors, lacking_mm, moved_to, rows_of

SPREAD_MM = 35.0
FILM = ProjectionGeometry(
    1100,
    (0.5, 0.5),
    (800, 800),
    object_distance_mm=180,
    provenance={"object_distance_mm": Provenance("assumed", "made up", SPREAD_MM)},
)


def plate(along, across, centre=(0.0, 180.0, 0.0)):
    """A square of 20 mm that spans two directions."""
    along, across = np.array(along, float), np.array(across, float)
    vertices = centre + np.array([along * a + across * b for a, b in ((0, 0), (20, 0), (20, 20), (0, 20))])
    return vertices, np.array([[0, 1, 2], [0, 2, 3]])


def test_film_and_mirror_image_that_agree_as_usual_add_nothing():
    std = np.array([1.0, 3.0])
    assert with_mirrored(std, USUAL_MIRRORED_MM) == pytest.approx(std)
    assert with_mirrored(std, 0.4) == pytest.approx(std)
    assert with_mirrored(std, np.nan) == pytest.approx(std)  # of a bone that one of them does not show


def test_both_lie_half_as_far_from_their_mean_as_from_each_other():
    far = with_mirrored(np.array([0.0, 3.0]), 10.0)
    assert far == pytest.approx([np.sqrt(100 - USUAL_MIRRORED_MM**2) / 2, np.hypot(3, far[0])])


def test_a_plate_that_faces_the_source_moves_away_from_itself_and_one_along_the_rays_half_so_much_in_squares():
    std = np.full(4, 2.0)
    facing = with_distance(*plate((1, 0, 0), (0, 0, 1)), std, FILM)
    assert facing == pytest.approx(np.full(4, np.hypot(2, SPREAD_MM)), rel=1e-3)
    edge_on = with_distance(*plate((0, 1, 0), (0, 0, 1)), std, FILM)  # in the plane of the central ray
    assert edge_on == pytest.approx(np.full(4, np.hypot(2, SPREAD_MM / np.sqrt(2))), rel=1e-3)


def test_away_from_the_central_ray_bones_move_sideways_as_well():
    vertices, triangles = plate((1, 0, 0), (0, 0, 1), centre=(-250.0, 180.0, 0.0))
    std = with_distance(vertices, triangles, np.zeros(4), FILM)
    slant = vertices[:, [0, 2]] / (1100 - 180)  # mm aside for a mm of depth
    assert std == pytest.approx(SPREAD_MM * np.sqrt((1 + 1 + (slant**2).sum(axis=1)) / 2))
    calibrated = replace(FILM, provenance={**FILM.provenance, "pixel_pitch_mm": Provenance("derived", "a ruler")})
    assert with_distance(vertices, triangles, np.zeros(4), calibrated) == pytest.approx(np.full(4, SPREAD_MM))


def test_a_distance_of_which_no_spread_is_known_adds_nothing():
    given = FILM.at_object_distance(200, Provenance("user", "given"))
    std = np.arange(4.0)
    assert with_distance(*plate((1, 0, 0), (0, 0, 1)), std, given) is std


def test_judged_bones_are_moved_along_their_rays_to_the_header_s_distance():
    vertices = np.array([[0.0, 180.0, 0.0], [-92.0, 190.0, 46.0]])
    nearer = moved_to(vertices, FILM, FILM.at_object_distance(80, Provenance("header", "a tag")))
    assert nearer[0] == pytest.approx([0, 80, 0])
    ratio = (1100 - 90) / (1100 - 190)
    assert nearer[1] == pytest.approx([-92 * ratio, 90, 46 * ratio])


def test_the_table_says_how_many_vertices_lie_within_what_is_stated_of_all_and_of_good_bones():
    std = np.full(10, 2.0)
    errors = {
        ("hip", True): [
            VertexErrors(away=np.array([1.0] * 7 + [3.0] * 2 + [5.0]), std_mm=std, good=True),
            VertexErrors(away=np.full(10, 9.0), std_mm=std, good=False),
        ],
        ("hip", False): [],
    }
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows_of(errors, {"hip": 0.0}, "")]
    assert [(row[0], row[1], *row[-2:]) for row in cells] == [("hip, seen", "2", "35", "45"), ("all", "", "35", "45")]
    [good, _] = rows_of(errors, {"hip": 0.0}, "of good bones, ")
    assert good.split("|")[-3:-1] == [" 70 ", " 90 "]
    [lacking, _] = rows_of(errors, {"hip": 1.5}, "of good bones, ")  # 2.5 mm in all
    assert lacking.split("|")[-3:-1] == [" 70 ", " 100 "]
    assert lacking_mm([]) == 0
    assert lacking_mm(errors["hip", True][:1]) == pytest.approx(
        np.sqrt(np.quantile(errors["hip", True][0].away ** 2 - 4, 0.683).clip(0))
    )
