"""Bones that come out larger or smaller than adults' are: the pixel pitch is doubted, with the factor."""

from dataclasses import replace

import numpy as np
import pytest
from support.bones import MODELS
from support.reconstructions import PELVIS, RIGHT_HIP, skeleton

from DualFaceReconLib.bonemaps import BONES, BoneMaps
from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.geometry import ProjectionGeometry, Provenance
from DualFaceReconLib.scale import HEAD_LIMITS_MM, Sizes, scale_warnings, sizes_of
from DualFaceReconLib.shape.completion import complete
from DualFaceReconLib.shape.shapemodel import load_shape_model, load_shape_models
from DualFaceReconLib.shape.visibility import entry_and_exit_depths
from DualFaceReconLib.surfaces import observed_surface


def sizes(hips=(), heads_mm=(), pelvis_mm=None) -> Sizes:
    return Sizes(hips=hips, heads_mm=heads_mm, pelvis_mm=pelvis_mm)


def radiograph(geometry: ProjectionGeometry = PELVIS) -> Radiograph:
    return Radiograph(np.add.outer(*map(np.arange, geometry.size_px)).astype(np.float32), geometry)


@pytest.mark.parametrize(
    ("found", "ratio"),
    [
        (sizes(), None),
        (sizes(hips=(0.93, 1.08), heads_mm=(41.0, 50.0), pelvis_mm=240.0), None),
        (sizes(hips=(0.75, 0.77)), 0.76),
        (sizes(hips=(1.28, 1.32)), 1.3),
        (sizes(hips=(0.2, 1.02)), None),  # a crumpled bone says nothing of the pitch
        (sizes(hips=(1.0,), pelvis_mm=160.0), 160 / 275),
        (sizes(heads_mm=(35.0, 34.0)), 34.5 / 46),
        (sizes(heads_mm=(28.0, 45.0)), None),  # nor does an implant's head beside a real one
        (sizes(heads_mm=(61.0, 64.0)), 62.5 / 46),
        (sizes(heads_mm=HEAD_LIMITS_MM), None),
    ],
)
def test_bones_beyond_what_adults_have_give_a_ratio(found, ratio):
    assert found.ratio() == (None if ratio is None else pytest.approx(ratio))


def test_the_doubt_says_the_factor_and_on_what_it_rests():
    assert scale_warnings(radiograph(), sizes(hips=(1.0,))) == []
    (warning,) = scale_warnings(radiograph(), sizes(hips=(0.75, 0.75), heads_mm=(38.0,), pelvis_mm=205.0))
    assert warning.code == "scale-doubtful"
    for words in (
        "about 25 % too small",
        "0.75 of the usual",
        "38 mm",
        "205 mm",
        "180 ± 35 mm (assumed)",
        "1.33 times",
    ):
        assert words in warning.text
    assert "is the pixel pitch right?" in warning.text
    assert "{pixel_pitch_mm}" in warning.text
    assert warning.values["ratio"] == 0.75
    calibrated = replace(PELVIS, provenance={**PELVIS.provenance, "pixel_pitch_mm": Provenance("derived", "a ruler")})
    (warning,) = scale_warnings(radiograph(calibrated), sizes(hips=(1.25,)))
    assert "about 25 % too large" in warning.text
    assert "from the detector" not in warning.text  # lengths keep at any distance


def maps_on(geometry: ProjectionGeometry) -> BoneMaps:
    front, back = (
        np.array([entry_and_exit_depths(*skeleton()[bone], geometry)[face] for bone in BONES], np.float32)
        for face in (0, 1)
    )
    return BoneMaps(bones=BONES, mask=front > 0, front=front, back=back)


def test_sizes_are_those_of_the_bones_and_of_a_whole_pelvis():
    """A pitch that is a quarter too small makes all of it a quarter smaller; a hip alone has no pelvis."""
    models, maps = load_shape_models(MODELS), maps_on(PELVIS)
    found = sizes_of(radiograph(), maps, {}, models)
    assert (found.hips, found.heads_mm) == ((), ())
    assert 250 < found.pelvis_mm < 310
    small = replace(PELVIS, pixel_pitch_mm=(1.2, 1.2))
    assert sizes_of(radiograph(small), maps, {}, models).pelvis_mm == pytest.approx(0.75 * found.pelvis_mm)
    assert sizes_of(radiograph(RIGHT_HIP), maps_on(RIGHT_HIP), {}, models).pelvis_mm is None
    observed = observed_surface(maps, small, "hip_left")
    completion = complete(observed, load_shape_model(MODELS / "hip.ssm.npz"), small)
    (hip,) = sizes_of(radiograph(small), maps, {"hip_left": completion}, models).hips
    assert hip == pytest.approx(0.75, abs=0.05)


def test_a_head_that_was_inferred_has_no_size():
    models, maps = load_shape_models(MODELS), maps_on(PELVIS)
    femur = complete(observed_surface(maps, PELVIS, "femur_left"), models["femur"], PELVIS)
    (head_mm,) = sizes_of(radiograph(), maps, {"femur_left": femur}, models).heads_mm
    assert 40 < head_mm < 52
    inferred = replace(femur, headless=True)
    assert sizes_of(radiograph(), maps, {"femur_left": inferred}, models).heads_mm == ()
