"""VerSe's vertebrae: brought onto our templates, the right way round, and judged on without being learnt from."""

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import SimpleITK as sitk
from support.vertebrae import made_group, made_mask, mask_image

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.metrics import compare_surfaces
from training.vertebrae import correspondence, films, judging, verse
from training.vertebrae.films import Grid
from training.vertebrae.judging import judge
from training.vertebrae.masks import mask_surface
from training.vertebrae.parts import in_own_frame
from training.vertebrae.verse import TURNED, verse_groups


@pytest.fixture(scope="module")
def groups():
    return {"lumbar": made_group()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A label map of an L1 that looks back, as in scans whose orientation was lost."""
    path = tmp_path_factory.mktemp("verse")
    turned = made_mask((1.0, 1.1, 1.0))[::-1, ::-1] * (verse.FIRST_LABEL + 12)
    sitk.WriteImage(mask_image(turned.astype(np.uint8)), str(path / "somebody.nii.gz"))
    return path


@pytest.fixture
def people(monkeypatch):
    monkeypatch.setattr(verse, "PEOPLE", {"verse/somebody": ("somebody.nii.gz", "L1", "L1", TURNED)})


def found(folder, cache, groups):
    quick = replace(
        correspondence.NEARLY_THERE, rank=80, thinned_source=300, thinned_target=600, steps=40, refining_steps=20
    )
    with patch.multiple(correspondence, TARGET_POINTS=1500, NEARLY_THERE=quick):
        return verse_groups(folder, cache, groups, say=lambda words: None)


def test_a_vertebra_of_verse_is_on_our_template_and_looks_forward(folder, people, groups, tmp_path, monkeypatch):
    made = found(folder, tmp_path, groups)
    group = made["lumbar"]
    assert (group.bones.people, group.levels) == (("verse/somebody",), ("L1",))
    vertices, triangles = mask_surface(folder / "somebody.nii.gz", verse.FIRST_LABEL + 12)
    fit = compare_surfaces((group.bones.shapes[0], group.bones.triangles), (vertices * TURNED, triangles), 2000)
    assert fit.assd_mm < 1.0
    shape = group.bones.shapes[0]
    upright = in_own_frame(shape, group.parts)
    np.testing.assert_allclose(upright - upright[0], shape - shape[0], atol=3.0)  # as it lies already

    monkeypatch.setattr(verse, "carried_onto", None)  # kept: it is not registered again
    again = found(folder, tmp_path, groups)["lumbar"]
    np.testing.assert_array_equal(again.bones.shapes, group.bones.shapes)

    monkeypatch.setattr(films, "MODEL_MM", 3.5)
    monkeypatch.setattr(judging, "SAMPLES", 500)
    text = judge(
        groups, [], None, Grid(side=32, voxel_mm=3.5), judging.volumes.ZScale(mean_hu=11, deviation_hu=74),
        tmp_path / "out", ["alone"], say=lambda words: None, judged=made,
    )  # fmt: skip
    assert "verse/somebody" in text
    assert "vhm/male" not in text


def test_without_verse_s_masks_nothing_is_judged_on_them(groups, tmp_path):
    with pytest.raises(Refusal, match="VerSe's masks"):
        verse_groups(tmp_path, tmp_path, groups)
