"""Masks and depths that belong together, and their shift."""

import math

import numpy as np
import pytest

from DualFaceReconLib.bonemaps import BoneMaps, bounding_window, kind_and_side, mirrored_order


def maps(back=True):
    mask = np.zeros((2, 4, 5), bool)
    mask[0, 1:3, 1:4], mask[1, 2:, 3:] = True, True
    front = np.where(mask, 800, 0).astype(np.float32)
    front[0, 1, 1] = 0  # a pixel whose depth nobody knows
    return BoneMaps(
        bones=("hip_left", "femur_left"),
        mask=mask,
        front=front,
        back=np.where(mask, 900, 0).astype(np.float32) if back else None,
    )


def test_sides_change_places_in_a_mirror_and_the_midline_stays():
    bones = ("hip_left", "sacrum", "femur_right", "lumbar_5", "hip_right", "femur_left")
    assert mirrored_order(bones) == [4, 1, 5, 3, 0, 2]
    assert [kind_and_side(bone) for bone in bones[:4]] == [
        ("hip", "left"), ("sacrum", ""), ("femur", "right"), ("lumbar_5", ""),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="not in"):
        mirrored_order(bones[:3])


def test_a_shift_moves_what_is_valid_and_nothing_else():
    moved = maps().shifted(-12.5)
    assert set(np.unique(moved.front)) == {0, 787.5}
    assert set(np.unique(moved.back)) == {0, 887.5}
    assert moved.front[0, 1, 1] == 0
    assert moved.front.dtype == np.float32
    assert maps(back=False).shifted(3).back is None


def test_a_shift_behind_the_source_is_refused():
    with pytest.raises(ValueError, match="behind the source"):
        maps().shifted(-850)


def test_the_mean_depth_is_over_valid_pixels_of_all_maps():
    assert maps().mean_depth_mm() == pytest.approx((9 * 800 + 10 * 900) / 19)
    assert maps(back=False).mean_depth_mm() == 800
    assert maps().shifted(10).mean_depth_mm() == pytest.approx(maps().mean_depth_mm() + 10)
    empty = BoneMaps(bones=("hip_left",), mask=np.zeros((1, 3, 3), bool), front=np.zeros((1, 3, 3), np.float32))
    assert math.isnan(empty.mean_depth_mm())


def test_shapes_that_do_not_belong_together_are_refused():
    good = maps()
    with pytest.raises(ValueError, match="mask"):
        BoneMaps(bones=("hip_left",), mask=good.mask, front=good.front)
    with pytest.raises(ValueError, match="mask"):
        BoneMaps(bones=good.bones, mask=good.mask.astype(np.uint8), front=good.front)
    with pytest.raises(ValueError, match="back"):
        BoneMaps(bones=good.bones, mask=good.mask, front=good.front, back=good.back[:, :3])


def test_maps_within_the_exposed_field():
    whole = maps()
    area = np.zeros(whole.mask.shape[1:], dtype=bool)
    area[:2] = True
    inside = whole.within(area)
    assert np.array_equal(inside.mask, whole.mask & area)
    assert np.array_equal(inside.front[:, :2], whole.front[:, :2])
    assert inside.front[:, 2:].max() == inside.back[:, 2:].max() == 0
    assert inside.front.dtype == inside.back.dtype == np.float32
    assert whole.front[:, 2:].max() > 0
    assert maps(back=False).within(area).back is None


def test_the_bounding_window_is_the_smallest():
    mask = np.zeros((20, 30), bool)
    assert mask[bounding_window(mask)].size == 0
    mask[3, 7] = mask[12, 5] = True
    assert bounding_window(mask) == (slice(3, 13), slice(5, 8))


def test_turned_maps_are_seen_from_the_other_side():
    mask = np.zeros((1, 3, 4), bool)
    mask[0, 1, 1:3] = True
    front, back = np.where(mask, 800, 0).astype(np.float32), np.where(mask, 830, 0).astype(np.float32)
    front[0, 1, 2] = 810
    maps = BoneMaps(bones=("hip_left",), mask=mask, front=front, back=back)
    turned = maps.turned(820)
    assert turned.front[0, 1].tolist() == [0, 810, 810, 0]
    assert turned.back[0, 1].tolist() == [0, 840, 830, 0]
    again = turned.turned(820)
    assert np.array_equal(again.front, maps.front)
    assert np.array_equal(again.back, maps.back)
    with pytest.raises(ValueError, match="one face"):
        BoneMaps(bones=("hip_left",), mask=mask, front=front).turned(820)
