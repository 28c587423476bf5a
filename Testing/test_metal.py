"""Metal in or before bones, and bones that are seen in parts, are told."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from DualFaceReconLib.bonemaps import BONES, BoneMaps
from DualFaceReconLib.film.acquisition import Overrides
from DualFaceReconLib.film.radiograph import Radiograph, radiograph_of
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.metal import metal_on, metal_share, parts_of, warnings_of_bones_not_whole

GEOMETRY = ProjectionGeometry(1100, (1.0, 1.0), (300, 340), object_distance_mm=180)


def femur() -> np.ndarray:
    mask = np.zeros(GEOMETRY.size_px, bool)
    mask[80:290, 60:100] = True
    return mask


def film(metal: np.ndarray | None = None, dense: float = 0.0) -> Radiograph:
    """Flesh with a bone in it, and perhaps metal, or a dense soft-edged belly."""
    row, col = np.mgrid[: GEOMETRY.size_px[0], : GEOMETRY.size_px[1]]
    flesh = 0.2 + 0.1 * np.sin(col / 60) + dense * np.exp(-(((row - 150) / 70) ** 2) - ((col - 220) / 70) ** 2)
    grey = flesh + 0.25 * gaussian_filter(femur().astype(float), 2)
    if metal is not None:
        grey = np.where(metal, 1.0, grey)
    noise = np.random.default_rng(1).normal(0, 0.01, grey.shape)
    return Radiograph((gaussian_filter(grey, 0.7) + noise).astype(np.float32), GEOMETRY)


def maps(mask: np.ndarray) -> BoneMaps:
    masks = np.zeros((len(BONES), *GEOMETRY.size_px), bool)
    masks[BONES.index("femur_right")] = mask
    depth = masks.astype(np.float32) * 900
    return BoneMaps(bones=BONES, mask=masks, front=depth, back=depth + 30 * masks)


def test_a_nail_in_a_femur_is_metal_and_told_of_that_bone():
    nail = np.zeros(GEOMETRY.size_px, bool)
    nail[90:280, 74:86] = True
    radiograph = film(nail)
    seen = metal_on(radiograph)
    assert (seen & nail).sum() > 0.9 * nail.sum()
    assert seen.sum() < 1.3 * nail.sum()
    assert metal_share(seen, femur()) == pytest.approx(nail.sum() / femur().sum(), rel=0.2)
    (warning,) = warnings_of_bones_not_whole(radiograph, maps(femur()))
    assert (warning.code, warning.values["bones"]) == ("metal-seen", ["femur_right"])
    assert "the right femur" in warning.text


@pytest.mark.parametrize("radiograph", [film(), film(dense=0.8)], ids=["bone alone", "a dense belly"])
def test_bone_and_dense_flesh_are_no_metal(radiograph):
    assert not metal_on(radiograph).any()
    assert warnings_of_bones_not_whole(radiograph, maps(femur())) == []


def test_the_white_around_a_round_field_is_no_metal():
    row, col = np.mgrid[: GEOMETRY.size_px[0], : GEOMETRY.size_px[1]]
    white = np.hypot(row - 149.5, col - 169.5) > 140
    seen = metal_on(radiograph_of(film(white).pixels, Overrides(pixel_pitch_mm=1.0, sdd_mm=GEOMETRY.sdd_mm)))
    assert seen.mean() < 0.001


def test_a_lead_letter_is_too_small_and_metal_beside_bones_is_not_theirs():
    letter = np.zeros(GEOMETRY.size_px, bool)
    letter[20:34, 20:30] = True
    assert not metal_on(film(letter)).any()
    buckle = np.zeros(GEOMETRY.size_px, bool)
    buckle[40:80, 220:300] = True
    assert metal_on(film(buckle)).any()
    assert warnings_of_bones_not_whole(film(buckle), maps(femur())) == []


def test_a_femur_in_two_parts_is_told():
    broken = femur()
    broken[150:165] = False
    assert (parts_of(femur()), parts_of(broken), parts_of(np.zeros((4, 4), bool))) == (1, 2, 0)
    speck = femur()
    speck[10:14, 10:14] = True
    assert parts_of(speck) == 1
    (warning,) = warnings_of_bones_not_whole(film(), maps(broken))
    assert (warning.code, warning.values["bones"]) == ("bone-in-parts", ["femur_right"])
