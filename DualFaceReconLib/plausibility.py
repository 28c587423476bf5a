"""Whether what networks saw can be hip bones, and what a reader has to know of the bones that came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from DualFaceReconLib.bonemaps import BoneMaps
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.acquisition import RadiographWarning
from DualFaceReconLib.inference import Prediction
from DualFaceReconLib.pictures.wording import bone_words
from DualFaceReconLib.shape.completion import Completion
from DualFaceReconLib.verdicts import NOT_USABLE, Verdict, is_doubted

LEAST_SEEN_SHARE = 0.15  # of a bone's vertices; below, what is shown is mostly the shape model's
# Chosen on simulated films of people kept out of training, pictures of anything but hips, and hips upside down
DOUBTFUL_OVER_MM = 3.0  # mean distance from what was seen of a bone to the whole one; usually 1
DOUBTFUL_UNSURE = 0.3  # as `Prediction.unsure` has it; usually 0.1
LEAST_UNSURE = 0.2  # of the bone that networks are surest of: at most 0.1 in hips, 0.16 to 0.5 in other pictures
LEAST_UNSURE_ALONE = 0.15  # where no bone is completed, which would tell more
NO_HIP = (
    "What was found in this picture does not look like hip bones: give a frontal film of a pelvis or a hip "
    "with its true pixel pitch, neither upside down nor with bone dark."
)


def refuse_other_pictures(prediction: Prediction, bones: Iterable[str], completion: bool) -> None:
    """Refusal where the networks are not sure of any of `bones`, as of pictures of something else than hips.

    `completion`: whether bones will be completed, and judged once more by how they fit a shape.
    """
    if min(map(prediction.unsure, bones)) > (LEAST_UNSURE if completion else LEAST_UNSURE_ALONE):
        raise Refusal(NO_HIP)


def doubtful_bones(
    bones: Iterable[str], completed: Mapping[str, Completion], prediction: Prediction | None
) -> list[str]:
    """Bones that can hardly be right: no shape of the model fits what was seen, or the networks were unsure of them.

    `prediction` is None where somebody else than the networks said where the bones are.
    """

    def misfit_mm(bone: str) -> float:
        completion = completed.get(bone)
        if completion is None or not completion.seen.any():
            return 0.0
        return float(completion.distance_mm[completion.seen].mean())

    return [
        bone
        for bone in bones
        if misfit_mm(bone) > DOUBTFUL_OVER_MM or (prediction is not None and prediction.unsure(bone) > DOUBTFUL_UNSURE)
    ]


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
    return [*(_doubt(bone, verdict) for bone, verdict in verdicts.items() if is_doubted(verdict)), *lists]


def _doubt(bone: str, verdict: Verdict) -> RadiographWarning:
    """Of a bone that is not good, with the reasons."""
    advice = "Do not use" if verdict.grade == NOT_USABLE else "Do not rely on"
    why = "; ".join(reason.text for reason in verdict.reasons)
    return RadiographWarning("bone-doubtful", f"{advice} the {bone_words(bone)}: {why}.")
