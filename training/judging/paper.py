"""What the 3DDX paper claims of its arms, in its own words and figures: Table 1, and Sections 3.1 to 3.3.

Claims are of trials by name, as `arms.py` has them. Every claim is that `better` is better than `worse`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ASSD, HD95, CD = "ASSD, mm", "HD95, mm", "CD l2, mm2"
RMSE, VOLUME = "depth RMSE, mm", "volume, r"
COMPLETED_ASSD, COMPLETED_HD95, COMPLETED_CD = (f"completed: {figure}" for figure in (ASSD, HD95, CD))
LARGE_IS_GOOD = (VOLUME,)
KINDS = ("hip", "femur")


@dataclass(frozen=True)
class Compared:
    """One side of a claim."""

    arm: str
    finer: bool = False  # by the finer film


@dataclass(frozen=True, kw_only=True)
class Claim:
    """That one arm is better than another."""

    title: str
    words: str  # the paper's
    where: str  # in the paper
    better: Compared
    worse: Compared
    # By figure, the first of which settles the verdict, and by kind of bone: the paper's own of (worse, better)
    figures: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)


def _table(*rows: tuple[str, tuple[float, float], tuple[float, float]]) -> dict[str, dict[str, tuple[float, float]]]:
    """Of rows with a figure, and (worse, better) of hips and of femora."""
    return {figure: dict(zip(KINDS, of_kinds, strict=True)) for figure, *of_kinds in rows}


SINGLE, SI, SI_DEPENDENT = Compared("single"), Compared("dual SI independent"), Compared("SI dependent")
CASI, CASI_DEPENDENT = Compared("CASI independent"), Compared("CASI dependent")
PRETRAINED, PRETRAINED_FINER = Compared("pretrained"), Compared("pretrained", finer=True)

CLAIMS = (
    Claim(
        title="Two faces beat one",
        words=(
            "When predicting dual-face depth maps with the same SI loss function significantly improved the 3D "
            "reconstruction performance"
        ),
        where="Section 3.1, Table 1",
        better=SI,
        worse=SINGLE,
        figures=_table(
            (ASSD, (4.78, 2.11), (5.54, 2.28)), (HD95, (18.0, 5.82), (21.1, 5.75)), (CD, (115, 21.2), (152, 25.6))
        ),
    ),
    Claim(
        title="CASI beats SI",
        words="The proposed CASI loss outperformed the conventional SI loss on all the metrics.",
        where="Section 3.1, Table 1",
        better=CASI,
        worse=SI,
        figures=_table(
            (ASSD, (2.11, 1.95), (2.28, 2.15)), (HD95, (5.82, 5.36), (5.75, 5.49)), (CD, (21.2, 18.8), (25.6, 24.7))
        ),
    ),
    Claim(
        title="CASI beats SI in depth maps",
        words=(
            "For the femur, the conventional SI loss and the proposed CASI loss achieved a mean RMSE of 3.7 mm and "
            "3.52 mm, respectively. For the pelvis, CASI loss improved the mean RMSE from 4.8 to 4.5 mm."
        ),
        where="Section 3.3",
        better=CASI,
        worse=SI,
        figures=_table((RMSE, (4.8, 4.5), (3.7, 3.52))),
    ),
    Claim(
        title="Maps on their own beat maps together, by CASI",
        words=(
            "We observe that the generalization without inter-depth-map pixel dependency unexpectedly performed better."
        ),
        where="Section 3.1, Table 1",
        better=CASI,
        worse=CASI_DEPENDENT,
        figures=_table(
            (ASSD, (1.96, 1.95), (2.20, 2.15)), (HD95, (5.38, 5.36), (5.60, 5.49)), (CD, (18.9, 18.8), (25.4, 24.7))
        ),
    ),
    Claim(
        title="Maps on their own beat maps together, by SI",
        words=(
            "we chose not to report the results by the SI loss with pixel dependency, since the training is unstable "
            "and often fails"
        ),
        where="Section 3.1, without figures",
        better=SI,
        worse=SI_DEPENDENT,
        figures={ASSD: {}, HD95: {}, CD: {}},
    ),
    Claim(
        title="Pretraining helps",
        words=(
            "we further explore performance improvement by image resolution scaling and incorporating pretraining with "
            "Masked Autoencoder"
        ),
        where="Section 3, Table 1",
        better=PRETRAINED,
        worse=CASI,
        figures=_table(
            (ASSD, (1.95, 1.93), (2.15, 2.12)), (HD95, (5.36, 5.30), (5.49, 5.42)), (CD, (18.8, 18.5), (24.7, 24.4))
        ),
    ),
    Claim(
        title="Finer films help",
        words="Using a higher resolution, the mean ASSD and HD95 for the femur were further improved",
        where="Section 3.1; the figures are those of 256 and 512 pixels in Table 1",
        better=PRETRAINED_FINER,
        worse=PRETRAINED,
        figures=_table(
            (ASSD, (1.93, 1.80), (2.12, 1.99)), (HD95, (5.30, 4.93), (5.42, 5.14)), (CD, (18.5, 16.9), (24.4, 21.8))
        ),
    ),
    Claim(
        title="Two faces beat one, completed",
        words="The completion on the proposed dual-face method was significantly better",
        where="Section 3.2, Table 1; the figures are those of healthy bones",
        better=CASI,
        worse=SINGLE,
        figures=_table(
            (COMPLETED_ASSD, (2.34, 1.95), (3.78, 2.19)),
            (COMPLETED_HD95, (5.95, 5.06), (9.21, 5.40)),
            (COMPLETED_CD, (19.7, 13.9), (72.3, 19.3)),
        ),
    ),
    Claim(
        title="CASI beats SI in volumes",
        words=(
            "Using the proposed CASI loss, the Pearson correlation coefficient (PCC) between X-ray-derived and "
            "CT-derived pelvis volume was improved from 0.952 to 0.972"
        ),
        where="Section 3.3; here of envelopes, between the maps of both faces",
        better=CASI,
        worse=SI,
        figures={VOLUME: {"hip": (0.952, 0.972)}},
    ),
)
COMPLETED_ARMS = {
    side.arm for claim in CLAIMS if COMPLETED_ASSD in claim.figures for side in (claim.better, claim.worse)
}
