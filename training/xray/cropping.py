"""Pictures that show a part of the film, or whose patient lies beside its middle, as those of collections do.

A crop is a smaller film whose principal point stays where it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from DualFaceReconLib.geometry import ProjectionGeometry

# Shares of films; ours
CROPS = {
    "joint": 0.08,  # tight around one hip, bones partly outside
    "side": 0.05,  # one half of the pelvis
    "band": 0.06,  # cut above and below
    "edges": 0.08,  # cut at any side, so that the pelvis lies off the middle
}
OFF_CENTRE_SHARE = 0.12
OFF_CENTRE = (-0.28, 0.14)  # of the film's height; below 0 the pelvis lies high and the legs are long
JOINT_MM = (50.0, 110.0)  # from the joint to each side, at the bones
LEAST_MM = 80.0  # a side of a crop, at the detector
LEAST_SEEN = 0.25  # of the bones' vertices on the film that a crop still shows


def draw_off_centre(size_px: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pixels [row, col] by which the pelvis lies off the place it is aimed at; mostly none."""
    if rng.random() > OFF_CENTRE_SHARE:
        return np.zeros(2)
    return np.array([rng.uniform(*OFF_CENTRE), rng.uniform(-0.1, 0.1)]) * size_px


def draw_crop(
    geometry: ProjectionGeometry, joints: Mapping[str, np.ndarray], bones: np.ndarray, rng: np.random.Generator
) -> tuple[ProjectionGeometry, str | None]:
    """The geometry of what is left of a film, and the crop's kind; mostly all of it and None.

    `joints` are the middles of the hips by side, and `bones` (N, 3) what must not be lost, both mm in the film's frame.
    """
    names = [None, *CROPS]
    chosen = names[rng.choice(len(names), p=[1 - sum(CROPS.values()), *CROPS.values()])]
    if chosen is None:
        return geometry, None
    size = np.array(geometry.size_px)
    pitch = np.array(geometry.pixel_pitch_mm)
    places = {side: geometry.project(place[None])[0][0] for side, place in joints.items()}
    low, high = np.zeros(2), size.astype(float)
    if chosen == "joint":
        magnified = geometry.sdd_mm / (geometry.sdd_mm - (geometry.object_distance_mm or 150.0))
        middle = places[str(rng.choice(list(places)))] + rng.normal(0, 12.0, 2) / pitch
        low, high = (middle + sign * rng.uniform(*JOINT_MM, 2) * magnified / pitch for sign in (-1, 1))
    elif chosen == "side":
        midline = np.mean([place[1] for place in places.values()]) + rng.normal(0, 20.0) / pitch[1]
        if places[str(rng.choice(list(places)))][1] < midline:
            high[1] = midline
        else:
            low[1] = midline
    elif chosen == "band":
        low[0], high[0] = rng.uniform(0, 0.35) * size[0], size[0] * (1 - rng.uniform(0, 0.3))
    else:
        cut = rng.uniform(0, 0.2, (2, 2)) * (rng.random((2, 2)) < 0.6)
        low, high = cut[0] * size, (1 - cut[1]) * size
    low = np.clip(np.rint(low), 0, size).astype(int)
    high = np.clip(np.rint(high), 0, size).astype(int)
    if ((high - low) * pitch < LEAST_MM).any():
        return geometry, None
    cropped = replace(
        geometry,
        size_px=tuple(int(n) for n in high - low),
        principal_point_px=tuple(float(c) for c in np.array(geometry.principal_point_px) - low),
    )
    before = geometry.sees(bones).sum()
    least = LEAST_SEEN if chosen != "joint" else LEAST_SEEN / 3
    return (cropped, chosen) if cropped.sees(bones).sum() > least * before else (geometry, None)
