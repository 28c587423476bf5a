"""Whether what networks saw can be hip bones, and what a reader has to know of the bones that came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from DualFaceReconLib.bonemaps import BoneMaps
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.acquisition import RadiographWarning
from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.pictures.wording import bone_words
from DualFaceReconLib.prediction import Prediction
from DualFaceReconLib.shape.completion import Completion
from DualFaceReconLib.verdicts import NOT_COMPLETED, NOT_USABLE, Verdict, is_doubted

LEAST_SEEN_SHARE = 0.15  # of a bone's vertices; below, what is shown is mostly the shape model's
# Chosen by `python -m training refusals`, on half of its pictures; Resources/Models/NETWORKS.md has the table
MOST_UNSURE = 0.2  # as `Prediction.unsure_of` has it, of all bones that were found together
SURE_OF_HIP = (
    0.12  # a hemipelvis that is seen so surely is one, whatever the rest of the film is; of others 0.15 and more
)
NO_SHAPE_MM = 3.0  # mean distance from what was seen of a bone to the whole one; usually 1
NO_HIP = (
    "What was found in this picture does not look like hip bones: give a frontal film of a pelvis or a hip "
    "with its true pixel pitch, neither upside down nor with bone dark."
)


PITCHES_TRIED = (2.0, 1.5, 0.67, 0.5)  # times the pitch at which a picture was refused
SURE_OF_PITCH = 0.1  # as `Prediction.unsure_of` has it: where the networks are so sure, it is a film of hips


def with_likely_pitch(
    refusal: Refusal, radiograph: Radiograph, unsure_at_pitch: Callable[[Radiograph, float], float]
) -> Refusal:
    """The same refusal, with the pixel pitch at which the picture looks like hips, where there is one.

    `unsure_at_pitch`: of a film, were its pixels so many times as large.
    """
    unsure = {factor: unsure_at_pitch(radiograph, factor) for factor in PITCHES_TRIED}
    factor = min(unsure, key=lambda tried: unsure[tried])
    if unsure[factor] > SURE_OF_PITCH:
        return refusal
    size = "small" if factor > 1 else "large"
    pitch = " x ".join(f"{factor * side:.3g}" for side in radiograph.geometry.pixel_pitch_mm)
    return Refusal(
        f"{NO_HIP} With pixels about {factor:g} times as large ({pitch} mm) it does, and everything is far too {size} "
        "for an adult now: is the pixel pitch right? Give it with {pixel_pitch_mm}.",
        "pixel_pitch_mm-implausible",
    )


def refuse_other_pictures(prediction: Prediction, bones: Iterable[str]) -> None:
    """Refusal where the networks are unsure of much of what they found, as in pictures of something else than hips.

    All of it counts: of a shoulder they may be sure that its arm is a femur, but not of what they take for a hip. One
    hemipelvis that is surely seen is enough, as on a film that is half hidden; of the others there are verdicts.
    """
    bones = list(bones)
    if any(bone.startswith("hip") and prediction.unsure(bone) <= SURE_OF_HIP for bone in bones):
        return
    if prediction.unsure_of(bones) > MOST_UNSURE:
        raise Refusal(NO_HIP)


def refuse_other_shapes(bones: Iterable[str], completed: Mapping[str, Completion]) -> None:
    """Refusal where no bone that was found comes near any shape of its model; any shaft is near one without a head."""

    def fits(bone: str) -> bool:
        completion = completed.get(bone)
        if completion is None or not completion.seen.any():
            return True
        return not completion.headless and float(completion.distance_mm[completion.seen].mean()) <= NO_SHAPE_MM

    if not any(map(fits, bones)):
        raise Refusal(NO_HIP)


def bone_warnings(
    expected: Sequence[str], maps: BoneMaps, completed: Mapping[str, Completion], verdicts: Mapping[str, Verdict]
) -> list[RadiographWarning]:
    """What a reader has to know of the bones: those that are missing, doubtful or mostly inferred."""
    missing = [bone for bone in expected if not maps.mask[maps.bones.index(bone)].any()]
    mostly_inferred = [bone for bone, completion in completed.items() if completion.seen.mean() < LEAST_SEEN_SHARE]
    texts = (
        ("bone-not-found", "Not found in this picture", missing),
        ("bone-mostly-inferred", "Mostly inferred, as little of it was seen", mostly_inferred),
    )
    lists = [
        RadiographWarning(code, f"{text}: {', '.join(map(bone_words, bones))}.") for code, text, bones in texts if bones
    ]
    return [*(_doubt(bone, verdict) for bone, verdict in verdicts.items() if _has_doubts(verdict)), *lists]


def _has_doubts(verdict: Verdict) -> bool:
    """Of a bone that was not completed another warning says more."""
    return is_doubted(verdict) and verdict is not NOT_COMPLETED


def _doubt(bone: str, verdict: Verdict) -> RadiographWarning:
    """Of a bone that is not good, with the reasons."""
    advice = "Do not use" if verdict.grade == NOT_USABLE else "Do not rely on"
    why = "; ".join(reason.text for reason in verdict.reasons)
    return RadiographWarning("bone-doubtful", f"{advice} the {bone_words(bone)}: {why}.")
