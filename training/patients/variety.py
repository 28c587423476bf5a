"""How much of what is seen on real films is made: two varieties.

"usual" is that of the frozen films and of the samples. "wide" is what networks learn from: it has all of that, and
pictures that went through other hands, crops, folds, stool, brittle and sturdy bones, a spine and a sacrum with their
landmarks. What it adds draws its own random numbers, so that usual films stay what they are.
"""

from __future__ import annotations

from DualFaceReconLib.errors import Refusal, meant

VARIETIES = ("usual", "wide")


def is_wide(variety: str) -> bool:
    """Whether a variety is the wide one; Refusal where it is none."""
    if variety not in VARIETIES:
        raise Refusal(f"The variety {variety!r} is unknown: {meant(variety, VARIETIES)}")
    return variety == "wide"
