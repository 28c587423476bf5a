"""How films are taken: distances, detector, where the patient lies on it; drawn over the clinical range.

rig, translation = draw_rig(patient.bones, rng)
rig.geometry, patient.translated(translation)  # the patient in the film's frame
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.framing import framed_pitch_mm
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import Mesh
from training.xray.cropping import draw_crop, draw_off_centre

LONG_SDD_MM, LONG_SHARE = (1500.0, 1800.0), 0.04  # source to detector on a long stand
# Skin to the rearmost bone, which is a posterior iliac spine or the sacrum, where the buttocks are thinnest (Kim et
# al., Arch Plast Surg 41:133, 2014). The range is ours: with it bones come to lie 100 to 250 mm from the detector.
# Magnifications of 11 to 20 % on 20 pelvis films (Orthop Proc 88-B Suppl II:247, 2006) are 108 to 183 mm at 1100 mm.
BEHIND_BONES_MM = (10.0, 60.0)
LONG_DETECTORS_MM = ((350.0, 430.0), (430.0, 430.0))  # rows, cols: a pelvis lies across
SINGLE_DETECTORS_MM = ((430.0, 350.0), (300.0, 240.0))
PITCH_MM = (0.1, 0.2)
OFF_CENTRE_MM = 15.0  # standard deviation of where the central ray meets the detector's middle
KINDS = {"pelvis": 0.7, "hip": 0.2, "one hip": 0.1}
PA_SHARE = 0.08
# Who stands keeps the buttocks' thickness, which lying presses to half or less, and often leans on nothing; the stand
# stands where the table would. More films are taken from afar. All ours.
STANDING_BEHIND_BONES_MM = (30.0, 95.0)
STANDING_LONG_SHARE = 0.4


@dataclass(frozen=True, kw_only=True)
class Distances:
    """The ranges that distances are drawn from, evenly."""

    sdd_mm: tuple[float, float]  # source to detector, but for the long stands
    table_gap_mm: tuple[float, float]  # detector to what the patient lies on


# Pelvis films are taken at 1000 to 1200. The gap is nothing for a cassette on the table, 85 in a maker's example of a
# bucky (xcalibr.co.uk).
USUAL = Distances(sdd_mm=(1000.0, 1200.0), table_gap_mm=(0.0, 90.0))
# Never in training: mattresses and trolleys whose tray lies deep, tubes at any height. The ranges are ours, and so wide
# that the usual mean is a bad guess.
UNUSUAL = Distances(sdd_mm=(900.0, 1400.0), table_gap_mm=(0.0, 200.0))


class NoBoneOnFilm(Refusal):
    """The film that was drawn shows no bone."""


@dataclass(frozen=True, kw_only=True)
class Rig:
    """A film's geometry and how it came about."""

    geometry: ProjectionGeometry
    kind: str  # "pelvis", "hip" (centred on one, both may be seen) or "one hip"
    side: str | None  # the hip that is centred on
    table_gap_mm: float
    behind_bones_mm: float
    crop: str | None = None  # of the picture that is left of it, one of `cropping.CROPS`

    def bones_above_table_mm(self) -> float:
        """Mean height of the bones that the film sees above the table."""
        assert self.geometry.object_distance_mm is not None
        return self.geometry.object_distance_mm - self.table_gap_mm


def draw_rig(
    bones: Mapping[str, Mesh],
    rng: np.random.Generator,
    pixels: int | None = None,
    mm_per_pixel: float | None = None,
    distances: Distances = USUAL,
    standing: bool = False,
    wide_rng: np.random.Generator | None = None,
    pa_share: float | None = None,
) -> tuple[Rig, np.ndarray]:
    """A film's rig, and the translation (3,) mm that brings a patient into its frame.

    `pixels`: along the film's longer side, or `mm_per_pixel`: at the nominal bone plane, as networks see films; instead
    of a pitch of 0.1 to 0.2 mm. `wide_rng` draws what only films of the wide variety have: crops, patients off centre.
    """
    long_share, behind_mm = (
        (STANDING_LONG_SHARE, STANDING_BEHIND_BONES_MM) if standing else (LONG_SHARE, BEHIND_BONES_MM)
    )
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    side = None if kind == "pelvis" else str(rng.choice(["left", "right"]))
    view = "PA" if rng.random() < (PA_SHARE if pa_share is None else pa_share) else "AP"
    sdd = float(rng.uniform(*(LONG_SDD_MM if rng.random() < long_share else distances.sdd_mm)))
    detectors = SINGLE_DETECTORS_MM if kind == "one hip" else LONG_DETECTORS_MM
    size_mm = np.array(detectors[rng.integers(len(detectors))])
    if mm_per_pixel is not None:
        pitch = framed_pitch_mm(sdd, mm_per_pixel)
    else:
        pitch = float(rng.uniform(*PITCH_MM)) if pixels is None else float(size_mm.max() / pixels)
    size_px = np.maximum(np.rint(size_mm / pitch), 1).astype(int)
    principal = (size_px - 1) / 2 + rng.normal(0, OFF_CENTRE_MM, 2) / pitch

    gap, behind = float(rng.uniform(*distances.table_gap_mm)), float(rng.uniform(*behind_mm))
    facing = 1.0 if view == "AP" else -1.0
    rearmost = min((vertices[:, 1] * facing).min() for vertices, _ in bones.values())  # lies on the table
    translation = np.zeros(3)
    translation[1] = facing * (gap + behind - rearmost)

    geometry = ProjectionGeometry(sdd, (pitch, pitch), tuple(size_px), tuple(principal), view)
    centre = _centred_on(bones, side) + translation + rng.normal(0, (12.0, 0, 12.0))
    depth = sdd - facing * centre[1]
    aim = (size_px - 1) / 2 + _below_middle(kind, size_px)
    if wide_rng is not None:
        aim += draw_off_centre(size_px, wide_rng)
    wanted = geometry.back_project(aim, depth)
    translation += (wanted - centre) * (1, 0, 1)
    scored = np.concatenate([bones[name][0] for name in bones if name.startswith(("hip", "femur"))]) + translation
    crop = None
    if wide_rng is not None:
        joints = {name: _centred_on(bones, name) + translation for name in ("left", "right")}
        geometry, crop = draw_crop(geometry, joints, scored, wide_rng)
    seen = scored[geometry.sees(scored)]
    if len(seen) == 0:
        raise NoBoneOnFilm("No bone lies on the film: take another seed.")
    distance = float(np.mean(facing * seen[:, 1]))
    geometry = replace(geometry, object_distance_mm=distance)
    rig = Rig(geometry=geometry, kind=kind, side=side, table_gap_mm=gap, behind_bones_mm=behind, crop=crop)
    return rig, translation


def _centred_on(bones: Mapping[str, Mesh], side: str | None) -> np.ndarray:
    """Where the radiographer aims, RAS mm: the middle of the pelvis, or a hip joint."""
    hips = [bones[f"hip_{name}"][0] for name in ((side,) if side else ("left", "right"))]
    low, high = np.min([h.min(axis=0) for h in hips], axis=0), np.max([h.max(axis=0) for h in hips], axis=0)
    middle = (low + high) / 2
    if side:
        middle[2] = low[2] + 0.3 * (high[2] - low[2])  # the joint lies in the lower third
    return middle


def _below_middle(kind: str, size_px: np.ndarray) -> np.ndarray:
    """Pixels [row, col] from a film's middle to its aim: a pelvis film shows more of the femora than of the spine."""
    return np.array([-0.06 if kind == "pelvis" else -0.04, 0.0]) * size_px
