"""Metal that holds a broken hip or pelvis: hip screws, nails, cannulated screws, plates. No bone is taken away.

Every function places one implant, and gives None where it does not fit this bone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from DualFaceReconLib.meshes import Mesh, joined, unit, unit_rows
from training.patients.femur_frame import FemurFrame, femur_frame, half_width, inside_span
from training.patients.solids import revolved, rod, strip, swept
from training.patients.virtual import Part, VirtualPatient
from training.raycast import penetration_mm

# A dynamic hip screw as its makers describe it: thread 12.5 mm thick and 22 long, shaft 8 thick, barrel 38 long, or 25
# for screws below 80 to 85 mm. Sizes without a source are ours, as implants look on films.
LAG_THREAD_MM, LAG_SHAFT_MM, THREAD_LENGTH_MM, BARREL_MM, BARREL_LENGTH_MM = 12.5, 8.0, 22.0, 12.6, 38.0
PLATE_MM = (17.0, 5.0)  # width and thickness
HOLES_APART_MM = 18.0
CORTEX_SCREW_MM, LOCKING_BOLT_MM, CANNULATED_MM, SMALL_SCREW_MM = 4.5, 5.0, 7.3, 3.5
# A trochanteric nail; short ones are 170 and 180 mm long (Gamma3), others up to 200.
NAIL_TOP_MM, NAIL_MM, SHORT_NAIL_MM, NAIL_LAG_MM = 15.5, (10.0, 12.0), (170.0, 200.0), 10.5
# From a screw's tip to the joint: 5 to 12 mm (Wheeless' Textbook of Orthopaedics); tip-apex distance below 25 mm
# (Baumgaertner et al., J Bone Joint Surg Am 77:1058, 1995).
TIP_TO_JOINT_MM = (5.0, 12.0)


@dataclass(frozen=True)
class Fixed:
    """An implant in place."""

    parts: dict[str, Part]
    metadata: dict  # its entry in the patient's metadata


def hip_screw(patient: VirtualPatient, side: str, rng: np.random.Generator) -> Fixed | None:
    """A sliding screw in head and neck, held by a plate on the lateral cortex."""
    femur = femur_frame(patient, side)
    lag = _lag_line(femur, rng)
    if lag is None:
        return None
    entry, tip, direction = lag
    metal = _metal(rng)
    outwards = unit(-direction + (direction @ femur.up) * femur.up)
    holes = int(rng.choice([2, 4, 5, 6], p=[0.2, 0.5, 0.2, 0.1]))
    top = femur.height(entry) + 8
    plated = _lateral_plate(femur, outwards, top, top - 22 - holes * HOLES_APART_MM)
    length = float(np.linalg.norm(tip - entry))
    behind = BARREL_LENGTH_MM if length > 80 else 25.0  # makers advise the short barrel below 80 mm
    thread = length - THREAD_LENGTH_MM
    screw = [(0, BARREL_MM / 2), (behind, BARREL_MM / 2), (behind + 0.3, LAG_SHAFT_MM / 2), (thread, LAG_SHAFT_MM / 2)]
    screw += [*_thread(thread + 0.5, length - 3, LAG_SHAFT_MM / 2, LAG_THREAD_MM / 2), (length, 2.0)]
    levels = top - 28 - HOLES_APART_MM * np.arange(holes)
    parts = {
        f"lag_screw_{side}": Part(metal, revolved(screw, entry, direction)),
        f"plate_{side}": Part(metal, plated),
        f"shaft_screws_{side}": Part(metal, _shaft_screws(femur, outwards, levels)),
    }
    angle = float(np.degrees(np.arccos(-direction @ femur.up)))
    metadata = {"what": "hip screw", "side": side, "material": metal, "holes": holes, "screw_mm": length}
    return Fixed(parts, {**metadata, "angle_degrees": angle, "tip_apex_mm": _tip_apex(femur, tip)})


def nail(patient: VirtualPatient, side: str, rng: np.random.Generator) -> Fixed | None:
    """A nail down the canal from the greater trochanter, a lag screw through it into the head, locking bolts."""
    femur = femur_frame(patient, side)
    long = bool(rng.random() < 0.3)
    thick = float(np.clip(rng.uniform(*NAIL_MM), None, 2 * femur.canal(femur.heights).min() - 0.5))
    path = _nail_path(femur, long, rng)
    if path is None or thick < 8:
        return None
    run = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    radii = np.interp(run, (0, 62, 80, run[-1] - 6, run[-1]), (NAIL_TOP_MM / 2,) * 2 + (thick / 2,) * 2 + (thick / 4,))
    if (femur.depth(path[run > 25]) < radii[run > 25] + 1).any():
        return None
    metal = "titanium" if rng.random() < 0.8 else "steel"
    slope = unit_rows(np.gradient(path, axis=0))
    # The lag screw leaves the nail at a fixed angle: where on the nail it points at the head.
    wanted = float(rng.choice([120, 125, 130], p=[0.15, 0.55, 0.3]))
    aim = femur.head - femur.up * rng.uniform(0, 0.15) * femur.radius + rng.normal(0, 1.0, 3)
    angles = np.degrees(np.arccos(np.clip(np.einsum("ni,ni->n", unit_rows(aim - path), slope), -1, 1)))
    through = path[np.abs(angles - wanted)[run > 20].argmin() + np.count_nonzero(run <= 20)]
    direction = unit(aim - through)
    low, high = inside_span(femur, through, direction, (-45.0, 110.0))
    tip = through + (high - rng.uniform(*TIP_TO_JOINT_MM)) * direction
    entry = through + (low - rng.uniform(0, 6)) * direction
    if not _within(femur, through, tip, NAIL_LAG_MM / 2):
        return None
    length = float(np.linalg.norm(tip - entry))
    lag = [(0, NAIL_LAG_MM / 2 - 1), (length - 30, NAIL_LAG_MM / 2 - 1)]
    lag += [*_thread(length - 29.5, length - 3, NAIL_LAG_MM / 2 - 1.5, NAIL_LAG_MM / 2), (length, 2.0)]
    bolts = []
    for back in (18.0, 34.0) if long else (20.0,):
        spot = path[np.abs(run - (run[-1] - back)).argmin()]
        near, far = inside_span(femur, spot, -femur.medial, (-40.0, 40.0))
        start = spot - femur.medial * (far + 3)
        bolts.append(rod(start, spot - femur.medial * (near - 1.5), LOCKING_BOLT_MM / 2))
    parts = {
        f"nail_{side}": Part(metal, swept(path, radii)),
        f"lag_screw_{side}": Part(metal, revolved(lag, entry, direction)),
        f"locking_bolts_{side}": Part(metal, joined(bolts)),
    }
    metadata = {"what": "nail", "side": side, "material": metal, "long": long, "length_mm": float(run[-1])}
    return Fixed(parts, {**metadata, "thickness_mm": thick, "tip_apex_mm": _tip_apex(femur, tip)})


def cannulated_screws(patient: VirtualPatient, side: str, rng: np.random.Generator) -> Fixed | None:
    """Two or three parallel screws up the neck into the head."""
    femur = femur_frame(patient, side)
    count = int(rng.choice([2, 3], p=[0.2, 0.8]))
    direction = unit(femur.axis + 0.06 * rng.normal(size=3))
    upper = unit(femur.up - (femur.up @ direction) * direction)
    side_on = np.cross(upper, direction)
    room = float(femur.depth(femur.neck[None])[0]) - CANNULATED_MM / 2 - 1.5
    if room < 3.5:
        return None
    apart = min(room, 9.0) * rng.uniform(0.85, 1.0)
    places = [-upper, 0.5 * upper + 0.85 * side_on, 0.5 * upper - 0.85 * side_on][:count]  # a triangle, its tip below
    metal, screws, shortest = _metal(rng), [], np.inf
    for place in places:
        middle = femur.neck + apart * place
        low, high = inside_span(femur, middle, direction, (-110.0, 70.0))
        entry, tip = middle + (low - 2) * direction, middle + (high - rng.uniform(*TIP_TO_JOINT_MM)) * direction
        length = float(np.linalg.norm(tip - entry))
        if not 55 < length < 130 or not _within(femur, middle, tip, CANNULATED_MM / 2):
            return None
        profile = [(0, 4.0), (4, 4.0), (4.3, 2.4), (length - 17, 2.4)]
        profile += [*_thread(length - 16.5, length - 2, 2.6, CANNULATED_MM / 2), (length, 1.2)]
        screws.append(revolved(profile, entry, direction))
        shortest = min(shortest, length)
    metadata = {"what": "cannulated screws", "side": side, "material": metal, "screws": count, "shortest_mm": shortest}
    return Fixed({f"screws_{side}": Part(metal, joined(screws))}, metadata)


def shaft_plate(patient: VirtualPatient, side: str, rng: np.random.Generator) -> Fixed | None:
    """A plate on the lateral cortex of the shaft."""
    femur = femur_frame(patient, side)
    metal = _metal(rng)
    holes = int(rng.integers(6, 11))
    top = float(rng.uniform(-60, -15))
    bottom = max(top - holes * HOLES_APART_MM, float(femur.heights[0]) + 5)
    holes = int((top - bottom) / HOLES_APART_MM)
    levels = top - HOLES_APART_MM * (0.5 + np.arange(holes))
    levels = np.delete(levels, holes // 2)  # none in the fracture
    parts = {
        f"plate_{side}": Part(metal, _lateral_plate(femur, -femur.medial, top, bottom)),
        f"shaft_screws_{side}": Part(metal, _shaft_screws(femur, -femur.medial, levels)),
    }
    metadata = {"what": "shaft plate", "side": side, "material": metal, "holes": holes, "length_mm": top - bottom}
    return Fixed(parts, metadata)


def sacroiliac_screw(patient: VirtualPatient, side: str, rng: np.random.Generator) -> Fixed | None:
    """A screw with a washer from the outer ilium through the sacroiliac joint into the body of S1."""
    hip, sacrum = patient.bones[f"hip_{side}"], patient.bones["sacrum"]
    top = sacrum[0][:, 2].max()
    body = sacrum[0][sacrum[0][:, 2] > top - 30].mean(axis=0)
    lateral = 1.0 if side == "right" else -1.0
    direction = unit(np.array([lateral, rng.uniform(-0.35, -0.1), rng.uniform(-0.15, 0.1)]))
    target = body - direction * rng.uniform(0, 12)
    steps = np.arange(10.0, 140.0, 0.5)
    points = target + steps[:, None] * direction
    in_hip = np.flatnonzero(penetration_mm(points, hip) < 0)
    if len(in_hip) < 6:
        return None
    length = float(steps[in_hip[-1]])
    if not 55 < length < 120:
        return None
    entry = target + length * direction
    profile = [(-3.5, 4.0), (0, 4.0), (0.05, 6.5), (1.5, 6.5), (1.55, 2.5), (length - 22, 2.5)]
    profile += [*_thread(length - 21.5, length - 2, 2.6, CANNULATED_MM / 2), (length, 1.2)]
    metal = _metal(rng)
    metadata = {"what": "sacroiliac screw", "side": side, "material": metal, "length_mm": length}
    return Fixed({f"sacroiliac_screw_{side}": Part(metal, revolved(profile, entry, -direction))}, metadata)


def symphysis_plate(patient: VirtualPatient, rng: np.random.Generator) -> Fixed | None:
    """A small plate across both pubic bones from above, with screws down into them."""
    marks = [patient.landmarks[f"hip_{side}"]["pubic_tubercle"] for side in ("left", "right")]
    middle, right = np.mean(marks, axis=0), unit(marks[1] - marks[0])
    half = float(np.linalg.norm(marks[1] - marks[0])) / 2 + 8
    outwards = np.array([0, rng.uniform(0.1, 0.8), 1.0])
    outwards = unit(outwards - (outwards @ right) * right)
    along = np.linspace(-half, half, 15)
    path = middle + along[:, None] * right
    hips = [patient.bones[f"hip_{side}"] for side in ("left", "right")]
    levels = np.arange(25.0, -12.0, -0.5)
    trial = (path[None] + levels[:, None, None] * outwards).reshape(-1, 3)
    free = np.minimum(*(penetration_mm(trial, hip) for hip in hips)).reshape(len(levels), -1).min(axis=1) > 0.2
    if not free[0]:
        return None
    lift = levels[np.argmin(free) - 1] if not free.all() else levels[-1]
    path = path + lift * outwards
    metal = _metal(rng)
    plate = strip(path, np.tile(outwards, (len(path), 1)), 10.0, 3.4)
    screws, depths = [], np.arange(2.0, 42.0, 0.5)
    for at in (-0.8 * half, -0.45 * half, 0.45 * half, 0.8 * half):
        top = middle + at * right + lift * outwards
        in_bone = np.minimum(*(penetration_mm(top - depths[:, None] * outwards, hip) for hip in hips)) < -1
        if np.count_nonzero(in_bone) > 16:
            screws.append(
                rod(top - 0.2 * outwards, top - depths[np.flatnonzero(in_bone)[-1]] * outwards, SMALL_SCREW_MM / 2)
            )
    if len(screws) < 2:
        return None
    metadata = {"what": "symphysis plate", "material": metal, "length_mm": 2 * half}
    return Fixed({"symphysis_plate": Part(metal, plate), "symphysis_screws": Part(metal, joined(screws))}, metadata)


def _metal(rng: np.random.Generator) -> str:
    """The material of screws and plates; the shares are ours."""
    return "steel" if rng.random() < 0.5 else "titanium"


def _thread(start: float, end: float, core: float, outer: float) -> list[tuple[float, float]]:
    """A thread as rings, 2.5 to 3 mm apart: a profile for `revolved`, [along, radius] mm."""
    turns = max(int((end - start) / 2.75), 1)
    at = np.linspace(start, end, 2 * turns + 1)
    return [(float(x), outer if k % 2 else core) for k, x in enumerate(at)]


def _lag_line(femur: FemurFrame, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Entry on the lateral cortex, tip in the head, and direction of a screw up the neck."""
    aim = femur.head - femur.up * rng.uniform(0, 0.2) * femur.radius + femur.front * rng.normal(0, 1.5)
    middle = femur.neck - femur.up * rng.uniform(0, 3)
    direction = unit(aim - middle)
    low, high = inside_span(femur, middle, direction, (-110.0, 70.0))
    entry, tip = middle + low * direction, middle + (high - rng.uniform(*TIP_TO_JOINT_MM)) * direction
    if not 65 < np.linalg.norm(tip - entry) < 130 or not _within(femur, middle, tip, LAG_THREAD_MM / 2):
        return None
    return entry, tip, direction


def _within(femur: FemurFrame, start: np.ndarray, end: np.ndarray, radius: float) -> bool:
    """Whether a bar of some radius lies in the bone and ends in the head."""
    points = start + np.linspace(0, 1, 30)[:, None] * (end - start)
    return bool((femur.depth(points) > radius - 0.5)[:-3].all() and np.linalg.norm(end - femur.head) < femur.radius - 3)


def _tip_apex(femur: FemurFrame, tip: np.ndarray) -> float:
    """Tip-apex distance, mm: from a screw's tip to the head's apex, in the front and in the side view, added up."""
    to = femur.head + femur.radius * femur.axis - tip
    views = (femur.front, unit(np.cross(femur.axis, femur.front)))
    return float(sum(np.linalg.norm(to - (to @ view) * view) for view in views))


def _lateral_plate(femur: FemurFrame, outwards: np.ndarray, top: float, bottom: float) -> Mesh:
    """A plate on the shaft's surface between two heights, a little bent to fit it."""
    heights = np.linspace(top, bottom, 12)
    middles = femur.middle(heights)
    steps = np.arange(4.0, 40.0, 0.5)
    across_plate = np.cross(outwards, femur.up)
    spots = middles[:, None, None] + steps[:, None, None] * outwards + np.array([-5.0, 0, 5.0])[:, None] * across_plate
    outside = (femur.depth(spots.reshape(-1, 3)) < 0).reshape(len(heights), len(steps), 3).all(axis=2)
    surface = steps[outside.argmax(axis=1)]
    scale = heights - heights.mean()
    bent = np.polyval(np.polyfit(scale, surface, 2), scale)
    bent += (surface - bent).max() - 0.3  # at most 0.3 mm deep in the bone
    return strip(middles + bent[:, None] * outwards, np.tile(outwards, (len(heights), 1)), *PLATE_MM)


def _shaft_screws(femur: FemurFrame, outwards: np.ndarray, heights: np.ndarray) -> Mesh:
    """Screws through both cortices that come out a little beyond the far one; their heads lie in the plate."""
    near, far = half_width(femur, heights, outwards), half_width(femur, heights, -outwards)
    starts = femur.middle(heights) + (near + 3)[:, None] * outwards
    ends = femur.middle(heights) - (far + 1.5)[:, None] * outwards
    return joined([rod(start, end, CORTEX_SCREW_MM / 2) for start, end in zip(starts, ends, strict=True)])


def _nail_path(femur: FemurFrame, long: bool, rng: np.random.Generator) -> np.ndarray | None:
    """A nail's middle line (N, 3) from its top in the trochanter down the canal."""
    bend = -35.0  # height below which the nail lies in the canal
    start = femur.middle(bend)
    to_tip = femur.greater - start
    leaning = unit(to_tip - (to_tip @ femur.up) * femur.up)
    lean = np.radians(rng.uniform(3, 7))  # nails are bent 4 to 6 degrees outwards above
    outwards = unit(femur.up * np.cos(lean) + leaning * np.sin(lean))
    _, high = inside_span(femur, start, outwards, (-1.0, 150.0))
    if high < 60:
        return None
    upper = np.arange(high + rng.uniform(-4, 4), 12, -4.0)
    length = float(rng.uniform(*SHORT_NAIL_MM))
    bottom = float(femur.heights[0]) + 8 if long else max(bend + upper[0] - length, float(femur.heights[0]) + 8)
    down = np.arange(bend - 14, bottom, -4.0)
    line = np.concatenate([start + upper[:, None] * outwards, femur.middle(down)])
    smooth = line.copy()
    for _ in range(4):
        smooth[1:-1] = (smooth[:-2] + 2 * smooth[1:-1] + smooth[2:]) / 4
    return smooth
