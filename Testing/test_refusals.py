"""What the refusal of other pictures is judged by, and how its limit is chosen on one half and stated on the other."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.bones import made_population
from support.bundles import manifest as made_manifest

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.acquisition import Overrides
from DualFaceReconLib.film.radiograph import radiograph_of
from DualFaceReconLib.framing import NORMALISATION
from DualFaceReconLib.inference import Networks, unsure_at_pitch
from DualFaceReconLib.plausibility import refuse_other_pictures, with_likely_pitch
from DualFaceReconLib.prediction import Prediction
from training.judging.drawn_pictures import PICTURES, drawn_picture
from training.judging.other_films import SCENES, other_film
from training.judging.refusal_subjects import HIPS, OTHERS, PictureToJudge, broken
from training.judging.refusals import JudgedPicture, judge, table
from training.patients.virtual import sample_patient


@pytest.fixture(scope="module")
def population():
    return made_population()


def prediction(**shares: float) -> Prediction:
    """Networks that are unsure of such a share of each bone's 1,000 pixels, and sure of the others."""
    probability = np.zeros((len(BONES), 64, 64), np.float32)
    for bone, unsure in shares.items():
        pixels = probability[BONES.index(bone)].reshape(-1)
        pixels[:1000] = 1.0
        pixels[: round(1000 * unsure)] = 0.6
    return Prediction(frame=None, bones=BONES, probability=probability, depth=np.zeros((4, 2, 64, 64)), pixel_hash="")


def test_a_picture_is_refused_by_all_that_was_found_in_it_not_by_its_surest_bone():
    hips = prediction(hip_left=0.05, femur_left=0.06, femur_right=0.9)
    assert hips.unsure_of(["hip_left", "femur_left"]) == pytest.approx(0.055)
    refuse_other_pictures(hips, ["hip_left", "femur_left"])
    shoulder = prediction(femur_right=0.06, hip_right=1.0)  # an arm is taken for a femur, surely
    with pytest.raises(Refusal, match="does not look like hip bones"):
        refuse_other_pictures(shoulder, ["femur_right", "hip_right"])
    refuse_other_pictures(shoulder, ["femur_right"])
    folded = prediction(hip_left=0.07, hip_right=1.0, femur_left=0.06, femur_right=0.9)  # one side is hidden
    refuse_other_pictures(folded, BONES)
    with pytest.raises(Refusal, match="does not look like hip bones"):
        refuse_other_pictures(prediction(hip_left=0.14, hip_right=1.0, femur_left=0.06, femur_right=0.9), BONES)


def test_a_refused_picture_that_looks_like_hips_at_another_pitch_gets_its_factor():
    """As a whole pelvis on a film of 200 mm does."""
    film = radiograph_of(drawn_picture("phantom", 1), Overrides(pixel_pitch_mm=0.4))
    plain = Refusal("No.")
    assert with_likely_pitch(plain, film, lambda _film, _factor: 0.3) is plain
    likely = with_likely_pitch(plain, film, lambda _film, factor: 0.06 if factor == 2 else 0.5)
    for words in (
        "does not look like hip bones",
        "2 times as large (0.8 x 0.8 mm)",
        "far too small",
        "{pixel_pitch_mm}",
    ):
        assert words in likely.text
    large = with_likely_pitch(plain, film, lambda _film, factor: factor / 10)
    assert "0.5 times as large" in large.text
    assert "far too large" in large.text


def test_networks_are_asked_at_another_pitch_alone():
    """By a segmentation that takes every bright pixel for a hip: how many these are follows the pitch."""
    manifest = made_manifest(input_px=(64, 64), mm_per_pixel=5.0, normalisation=NORMALISATION)
    sizes = []

    class Bright(torch.nn.Module):
        def forward(self, picture):
            sizes.append(int((picture > 0).sum()))
            return torch.cat([20 * picture, *[torch.full_like(picture, -9.0)] * 3], dim=1)

    networks = Networks(manifest=manifest, depth=torch.nn.Identity(), segmentation=Bright(), device="cpu")
    half = np.zeros((300, 300), np.float32)
    half[100:200, 100:200] = 1.0
    film = radiograph_of(half, Overrides(pixel_pitch_mm=0.5, sdd_mm=1100.0))
    assert [unsure_at_pitch(networks, film, factor) for factor in (1.0, 2.0)] == [pytest.approx(0, abs=0.35)] * 2
    assert sizes[1] == pytest.approx(4 * sizes[0], rel=0.3)


@pytest.mark.parametrize("kind", sorted(SCENES))
def test_films_of_other_things_are_films_and_the_same_again(kind, population):
    film = other_film(kind, population, 2)
    assert film.pixels.shape == film.geometry.size_px
    assert 0 <= film.pixels.min() < film.pixels.max() <= 1
    assert film.pixels.std() > 0.03  # something is on it
    if kind == "shoulder":
        np.testing.assert_array_equal(other_film(kind, population, 2).pixels, film.pixels)
        assert not np.array_equal(other_film(kind, population, 3).pixels[:200, :200], film.pixels[:200, :200])


@pytest.mark.parametrize("kind", sorted(PICTURES))
def test_drawn_pictures_are_readable_and_the_same_again(kind):
    pixels = drawn_picture(kind, 1)
    np.testing.assert_array_equal(drawn_picture(kind, 1), pixels)
    assert not np.array_equal(drawn_picture(kind, 2), pixels)
    assert radiograph_of(pixels, Overrides(pixel_pitch_mm=0.8)).pixels.std() > 0.01


def test_a_broken_femur_is_in_two_places(population):
    patient = sample_patient(population, 3)
    injured = broken(patient, np.random.default_rng(5))
    (changed,) = [bone for bone in patient.bones if injured.bones[bone] is not patient.bones[bone]]
    moved = np.linalg.norm(injured.bones[changed][0] - patient.bones[changed][0], axis=1)
    assert changed.startswith("femur")
    assert 0.02 < (moved == 0).mean() < 0.5  # the head stays
    assert moved.max() > 6


def row(group: str, name: str, unsure: float, **changed) -> JudgedPicture:
    return JudgedPicture(
        **{"group": group, "kind": group, "name": name, "refused": "", "unsure": unsure, "surest": unsure, **changed}
    )


def test_the_limit_of_each_half_is_stated_on_the_other():
    rows = [row(HIPS, str(n), unsure) for n, unsure in enumerate((0.04, 0.05, 0.09, 0.3))]
    rows += [row(OTHERS, str(n), unsure, refused="unsure") for n, unsure in enumerate((0.36, 0.8, 0.9, 1.0))]
    lines = table(rows).splitlines()
    # of the even ones 0.09 and 0.36 are nearest, 0.18 is the middle: one hip of the odd ones lies above it
    assert lines[-2] == "| even | 0.09 | 0.36 | 0.18 | 1 hips, 0 others |"
    assert lines[-1] == "| odd | 0.30 | 0.80 | 0.49 | 0 hips, 1 others |"
    assert lines[2].startswith("| hips | hips | 4 | 0.04 | 0.07 | 0.30 |")


def test_judging_goes_on_where_it_was_cut(tmp_path):
    opened = []

    def refused() -> None:
        opened.append(1)
        raise Refusal("No film.")

    subjects = [PictureToJudge(group=OTHERS, kind="text", name=str(n), open=refused) for n in range(2)]
    nobody = SimpleNamespace()
    judge(subjects[:1], nobody, tmp_path, say=lambda _: None)
    text, rows = judge(subjects, nobody, tmp_path, say=lambda _: None)
    assert len(opened) == 2
    assert [found.refused for found in rows] == ["unread", "unread"]
    assert (tmp_path / "refusals.md").read_text() == text + "\n"
