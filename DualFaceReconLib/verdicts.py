"""Whether a bone can be relied on: a verdict, with its reasons in words.

    verdict = verdict_of("femur_left", evidence)     # numbers by code, as `evidence.py` collects them
    verdict.grade                                    # "good", "doubtful" or "not usable"
    verdict.reasons                                  # what is more than usual; none where the bone is good

A verdict says how far a bone's shape and place are to be trusted, but for the distance of all bones together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from DualFaceReconLib.bonemaps import kind_and_side

GOOD, DOUBTFUL, NOT_USABLE = GRADES = ("good", "doubtful", "not usable")


@dataclass(frozen=True)
class Reason:
    """Something that speaks against a bone."""

    code: str  # of LIMITS
    value: float
    unit: str
    text: str  # a sentence's end: "its mask ..."


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How far a bone can be relied on, and why no further."""

    grade: str  # one of GRADES
    reasons: tuple[Reason, ...] = ()
    evidence: Mapping[str, float] = field(default_factory=dict, repr=False)  # all numbers, by code

    def __str__(self) -> str:
        """`doubtful: its mask ...; its shape ...`."""
        why = "; ".join(reason.text for reason in self.reasons)
        return f"{self.grade}: {why}" if why else self.grade


NOT_COMPLETED = Verdict(
    grade=NOT_USABLE, reasons=(Reason("not-completed", 0.0, "", "too little of it was seen to complete it"),)
)


def is_doubted(verdict: Verdict | None) -> bool:
    """Whether a bone is less than good; of one without a verdict nothing is known."""
    return verdict is not None and verdict.grade != GOOD


@dataclass(frozen=True)
class Limit:
    """From where on a number is doubtful, and from where on the bone is not usable."""

    doubtful: float
    unusable: float
    unit: str
    text: str  # with {value}


TEXTS: Mapping[str, tuple[str, str]] = {  # by code: the number's unit, and how it is put
    "unsure": ("%", "the networks are unsure of {value:.0f} % of its pixels"),
    "mirrored": ("mm", "the networks see it {value:.1f} mm elsewhere in the mirrored film"),
    "misfit": ("mm", "half of it lies more than {value:.1f} mm beside what was seen of it"),
    "range": ("", "its shape is {value:.1f} times as unusual as people's are"),
    "beyond": ("mm", "its mask ends inside the film, and the bone goes on for {value:.0f} mm"),
    "sides": ("", "it differs from the other side {value:.1f} times as much as people do from the mean"),
    "joint": ("mm", "the centres of the head and of its socket are {value:.0f} mm apart"),
    "head": ("mm", "nothing of it is seen within {value:.0f} mm of its joint: its head is inferred, and may be metal"),
}
# By kind of bone and code: from where on a number is doubtful, and from where on the bone is not usable. Chosen by
# `python -m training verdicts` on some of the people kept out of training, and stated on the others; `head` is what
# `shape.completion` takes for a femur without one
NUMBERS: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "hip": {
        "unsure": (30.0, 60.0),
        "mirrored": (5.0, 10.0),
        "misfit": (1.0, 5.0),
        "range": (2.2, 3.5),
        "beyond": (35.0, 140.0),
        "sides": (1.8, 3.5),
        "joint": (6.0, 25.0),
    },
    "femur": {
        "unsure": (12.0, 20.0),
        "mirrored": (5.0, 15.0),
        "misfit": (1.0, 10.0),
        "range": (1.5, 5.0),
        "beyond": (50.0, 140.0),
        "sides": (1.6, 6.0),
        "joint": (5.0, 60.0),
        "head": (15.0, math.inf),  # the rest of it may be right
    },
}
LIMITS: Mapping[str, Mapping[str, Limit]] = {
    kind: {code: Limit(*numbers, *TEXTS[code]) for code, numbers in by_code.items()}
    for kind, by_code in NUMBERS.items()
}


def verdict_of(bone: str, evidence: Mapping[str, float]) -> Verdict:
    """What the numbers of a bone, such as "hip_left", say of it."""
    reasons, grade = [], 0
    for code, limit in LIMITS[kind_and_side(bone)[0]].items():
        value = evidence.get(code)
        if value is None or value <= limit.doubtful:
            continue
        reasons.append((value / limit.doubtful, Reason(code, value, limit.unit, limit.text.format(value=value))))
        grade = max(grade, 2 if value > limit.unusable else 1)
    reasons.sort(key=lambda part: -part[0])
    return Verdict(grade=GRADES[grade], reasons=tuple(reason for _, reason in reasons), evidence=dict(evidence))
