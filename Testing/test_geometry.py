"""Projection: exact cases, properties, and what happens to it when the picture is resampled or turned."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from DualFaceReconLib.geometry import ProjectionGeometry, Provenance

LITERAL = ProjectionGeometry(sdd_mm=1000, pixel_pitch_mm=(0.2, 0.2), size_px=(1001, 1001))


@st.composite
def geometries(draw):
    rows, cols = draw(st.integers(2, 4000)), draw(st.integers(2, 4000))
    return ProjectionGeometry(
        sdd_mm=draw(st.floats(600, 2500)),
        pixel_pitch_mm=(draw(st.floats(0.05, 1.5)), draw(st.floats(0.05, 1.5))),
        size_px=(rows, cols),
        principal_point_px=(draw(st.floats(-50, rows + 50)), draw(st.floats(-50, cols + 50))),
        view=draw(st.sampled_from(["AP", "PA"])),
    )


fractions = st.floats(0, 1)


@pytest.mark.parametrize(("view", "point"), [("AP", (-40, 200, 40)), ("PA", (-40, -200, 40))])
def test_the_literal_case(view, point):
    geometry = ProjectionGeometry(1000, (0.2, 0.2), (1001, 1001), view=view)
    assert geometry.back_project([250, 750], 800.0) == pytest.approx(point, abs=1e-12)
    pixel, depth = geometry.project(np.array(point, float))
    assert pixel == pytest.approx([250, 750], abs=1e-10)
    assert depth == pytest.approx(800)


def test_pitch_and_principal_point_belong_to_rows_and_columns():
    geometry = ProjectionGeometry(1000, (0.1, 0.4), (11, 21), principal_point_px=(2, 7))
    # two rows down of 0.1 mm, three columns to the patient's left of 0.4 mm, at half the distance
    assert geometry.back_project([4, 10], 500.0) == pytest.approx([-0.6, 500, -0.1])


@given(geometries(), fractions, fractions, st.floats(0.05, 1))
def test_there_and_back(geometry, row, col, depth):
    pixel = np.array([row * geometry.size_px[0], col * geometry.size_px[1]])
    again, z = geometry.project(geometry.back_project(pixel, depth * geometry.sdd_mm))
    assert again == pytest.approx(pixel, abs=1e-7)
    assert z == pytest.approx(depth * geometry.sdd_mm, rel=1e-12)


@given(geometries(), fractions, fractions)
def test_a_pixel_s_points_lie_on_one_line_through_the_source(geometry, row, col):
    pixel = np.array([row * geometry.size_px[0], col * geometry.size_px[1]])
    near, far = (geometry.back_project(pixel, geometry.sdd_mm * part) - geometry.source for part in (0.3, 0.9))
    assert far / 3 == pytest.approx(near, abs=1e-9)


def test_columns_grow_to_the_patient_s_left_and_rows_to_the_feet():
    for view in ("AP", "PA"):
        geometry = ProjectionGeometry(1000, (0.2, 0.2), (101, 101), view=view)
        first, right, below = geometry.back_project([[50, 50], [50, 51], [51, 50]], [900.0] * 3)
        assert right[0] < first[0]  # R is negative on the left
        assert below[2] < first[2]
    assert LITERAL.back_project([0, 0], 700.0)[1] > LITERAL.back_project([0, 0], 900.0)[1]  # AP: anterior is nearer


@given(geometries(), fractions, fractions)
def test_torch_agrees_with_numpy_and_keeps_its_dtype(geometry, row, col):
    pixels = np.array([[row * geometry.size_px[0], col * geometry.size_px[1]]] * 3)
    depth = np.array([0.2, 0.5, 0.9]) * geometry.sdd_mm
    points = geometry.back_project(torch.from_numpy(pixels), torch.from_numpy(depth))
    assert points.dtype == torch.float64
    assert points.numpy() == pytest.approx(geometry.back_project(pixels, depth), abs=1e-9)
    again, z = geometry.project(points.float())
    assert again.dtype == z.dtype == torch.float32
    mixed = geometry.back_project(pixels, torch.from_numpy(depth))
    assert isinstance(mixed, torch.Tensor)


def test_gradients_flow_through_the_depth():
    depth = torch.tensor([800.0], dtype=torch.float64, requires_grad=True)
    LITERAL.back_project(torch.tensor([[250.0, 750.0]], dtype=torch.float64), depth).sum().backward()
    assert depth.grad.item() == pytest.approx((-40 + 40) / 800 - 1)


def test_points_at_and_behind_the_source_have_no_pixel():
    pixels, depth = LITERAL.project([[0, 1000, 0], [0, 1200, 5]])
    assert np.isnan(pixels).all()
    assert depth == pytest.approx([0, -200])
    tensor_pixels, _ = LITERAL.project(torch.tensor([[0.0, 1200.0, 5.0]]))
    assert torch.isnan(tensor_pixels).all()


# The same rays on other grids


@given(geometries(), st.tuples(st.integers(1, 3000), st.integers(1, 3000)), fractions, fractions)
def test_resizing_there_and_back_moves_nothing(geometry, size, row, col):
    again = geometry.resized(size).resized(geometry.size_px)
    point = geometry.back_project([row * geometry.size_px[0], col * geometry.size_px[1]], 0.8 * geometry.sdd_mm)
    assert np.abs(again.project(point)[0] - geometry.project(point)[0]).max() < 1e-9
    assert again.size_px == geometry.size_px


@given(geometries(), st.tuples(st.integers(1, 3000), st.integers(1, 3000)))
def test_resizing_keeps_the_film_s_borders(geometry, size):
    assert geometry.resized(size).detector_corners == pytest.approx(geometry.detector_corners, abs=1e-6)


@pytest.mark.parametrize(("size", "other"), [((200, 400), (50, 100)), ((1001, 333), (100, 33)), ((3, 4000), (1, 100))])
def test_a_longer_side_is_given_and_the_other_follows(size, other):
    assert ProjectionGeometry(1000, (0.2, 0.3), size).resized_to(100) == ProjectionGeometry(
        1000, (0.2, 0.3), size
    ).resized(other)


@given(geometries(), st.integers(-40, 40), st.integers(-40, 40))
def test_cropping_moves_the_pixel_numbers_alone(geometry, first_row, first_col):
    cropped = geometry.cropped((first_row, first_col), (30, 20))
    inside = cropped.back_project([3.0, 4.0], 700.0)
    assert inside == pytest.approx(geometry.back_project([3.0 + first_row, 4.0 + first_col], 700.0), abs=1e-9)
    assert cropped.size_px == (30, 20)


def test_padding_undoes_cropping():
    padded = LITERAL.cropped((-3, -7), (1006, 1009))
    assert padded.cropped((3, 7), LITERAL.size_px) == LITERAL


@given(geometries(), fractions, fractions)
def test_reversed_columns_are_the_mirrored_patient(geometry, row, col):
    pixel = np.array([row * geometry.size_px[0], col * geometry.size_px[1]])
    mirrored = pixel * (1, -1) + (0, geometry.size_px[1] - 1)
    point = geometry.back_project(pixel, 700.0)
    assert geometry.flipped(cols=True).back_project(mirrored, 700.0) == pytest.approx(point * (-1, 1, 1), abs=1e-8)
    upside_down = pixel * (-1, 1) + (geometry.size_px[0] - 1, 0)
    assert geometry.flipped(rows=True).back_project(upside_down, 700.0) == pytest.approx(point * (1, 1, -1), abs=1e-8)


@given(geometries(), fractions, fractions)
def test_transposing_exchanges_right_and_superior(geometry, row, col):
    pixel = np.array([row * geometry.size_px[0], col * geometry.size_px[1]])
    point = geometry.back_project(pixel, 700.0)
    assert geometry.transposed().back_project(pixel[::-1], 700.0) == pytest.approx(point[[2, 1, 0]], abs=1e-9)


# The rig


@given(geometries(), st.floats(-1.5, 2.5), st.floats(-1.5, 2.5), st.floats(0.05, 1))
def test_the_frustum_s_planes_hold_what_the_picture_sees(geometry, row, col, depth):
    pixel = np.array([row * geometry.size_px[0], col * geometry.size_px[1]])
    rows, cols = geometry.size_px
    to_border = np.abs([pixel[0] + 0.5, rows - 0.5 - pixel[0], pixel[1] + 0.5, cols - 0.5 - pixel[1]]).min()
    point = geometry.back_project(pixel, depth * geometry.sdd_mm)
    origins, normals = geometry.frustum_planes()
    inside = bool((((point - origins) * normals).sum(axis=1) >= 0).all())
    if to_border > 1e-6:  # on the border either answer is right
        assert inside == bool(geometry.sees(point))
        assert inside == (-0.5 < pixel[0] < rows - 0.5 and -0.5 < pixel[1] < cols - 0.5)


def test_nothing_is_seen_at_the_source_or_behind_the_detector():
    assert LITERAL.sees([0.0, 1.0, 0.0])
    assert LITERAL.sees([0.0, 0.0, 0.0])
    assert not LITERAL.sees([0.0, -1.0, 0.0])
    assert not LITERAL.sees([0.0, 1000.0, 0.0])


def test_the_source_and_the_detector():
    for view, anterior in (("AP", 1000), ("PA", -1000)):
        geometry = ProjectionGeometry(1000, (0.2, 0.2), (1001, 501), view=view)
        assert geometry.source == pytest.approx([0, anterior, 0])
        corners = geometry.detector_corners
        assert corners[0] == pytest.approx([50.1, 0, 100.1])  # the first pixel's outer corner: right, superior
        assert corners[2] == pytest.approx([-50.1, 0, -100.1])
        assert geometry.section_corners(500) == pytest.approx(
            geometry.source + (corners - geometry.source) / 2, abs=1e-9
        )


@given(geometries(), fractions, fractions)
def test_ijk_to_ras_places_every_pixel_on_the_detector(geometry, row, col):
    pixel = np.array([row * geometry.size_px[0], col * geometry.size_px[1]])
    matrix = geometry.ijk_to_ras()
    assert np.linalg.det(matrix) > 0
    placed = matrix @ [pixel[1], pixel[0], 0, 1]
    assert placed[:3] == pytest.approx(geometry.back_project(pixel, geometry.sdd_mm), abs=1e-8)


def test_pixel_size_at_a_depth():
    assert LITERAL.pixel_size_at(500) == pytest.approx((0.1, 0.1))


# Values


@pytest.mark.parametrize(
    "wrong",
    [
        {"sdd_mm": 0},
        {"sdd_mm": math.nan},
        {"pixel_pitch_mm": (0.1, -0.1)},
        {"pixel_pitch_mm": (0.1, 0.1, 0.1)},
        {"size_px": (0, 5)},
        {"principal_point_px": (math.inf, 1)},
        {"view": "LATERAL"},
        {"object_distance_mm": 1000},
    ],
)
def test_impossible_values_are_named(wrong):
    values = {"sdd_mm": 1000, "pixel_pitch_mm": (0.2, 0.2), "size_px": (11, 11), **wrong}
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ProjectionGeometry(**values)


def test_json_there_and_back():
    header = Provenance("header", "DistanceSourceToDetector (0018,1110)", spread=1.5)
    geometry = ProjectionGeometry(
        1000, (0.2, 0.3), (11, 21), (3.25, 4.5), "PA", object_distance_mm=150, provenance={"sdd_mm": header}
    )
    again = ProjectionGeometry.from_dict(json.loads(json.dumps(geometry.to_dict())))
    assert again == geometry
    assert again.provenance == geometry.provenance
    assert again.provenance["sdd_mm"] == header
    assert again.provenance["view"].kind == "user"
