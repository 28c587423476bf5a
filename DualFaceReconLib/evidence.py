"""What speaks against every bone of a picture, as numbers: how it fits, its shadow, its shape, the bones beside it.

    evidence = evidence_of(completed, maps, film, searched, prediction)
    evidence["hip_left"]["misfit"]          # mm

`verdicts.py` has what each number is called, and says which are too much. One that cannot be known is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import distance_transform_edt

from DualFaceReconLib.bonemaps import BoneMaps, bounding_window, other_side
from DualFaceReconLib.geometry import ProjectionGeometry, within_corners
from DualFaceReconLib.rasterising import covered_pixels
from DualFaceReconLib.shape.completion import JOINT_LANDMARK, Completion

if TYPE_CHECKING:
    from DualFaceReconLib.prediction import Prediction

Evidence = dict[str, float]  # by code, as `verdicts.TEXTS` names them
SHADOW_PX = 256  # of the longer side of the part of the film on which shadows are compared
FARTHEST = 98.0  # percentile of a shadow's pixels that a mask lacks: the others may be a border's teeth


def evidence_of(
    completed: Mapping[str, Completion],
    maps: BoneMaps,
    film: ProjectionGeometry,
    searched: ProjectionGeometry,
    prediction: Prediction,
    *,
    masks_given: bool = False,
) -> dict[str, Evidence]:
    """By bone of the maps that has pixels.

    `film` is the maps' geometry, `searched` the part of it on which bones are looked for. `masks_given`: by somebody
    who has looked, so that how sure the networks were of theirs does not count.
    """
    evidence: dict[str, Evidence] = {}
    for bone, mask in zip(maps.bones, maps.mask, strict=True):
        if not mask.any():
            continue
        values = evidence[bone] = {} if masks_given else {"unsure": 100 * prediction.unsure(bone)}
        if prediction.disagreement is not None and np.isfinite(apart := prediction.disagreement[bone].depth_mm):
            values["mirrored"] = apart
        if (completion := completed.get(bone)) is not None:
            values |= {"misfit": misfit_mm(completion), "range": unusualness(completion)}
            values["beyond"] = beyond_mask_mm(completion, mask, film, searched)
            if bone.startswith("femur") and (hip := completed.get(_across_joint(bone))) is not None:
                values["head"] = beside_joint_mm(hip, mask, film, searched)
            values |= _of_neighbours(bone, completed)
    return evidence


def misfit_mm(completion: Completion) -> float:
    """Median distance from the completed bone, where it was seen, to what was seen of it.

    A bone that is right lies on what was seen even where half of its mask is missing, so that the mean would be large.
    """
    return float(np.median(completion.distance_mm[completion.seen])) if completion.seen.any() else 0.0


def unusualness(completion: Completion) -> float:
    """Root mean square of the shape's coefficients: 1 for people of the model, less where little was seen."""
    return _root_mean_square(completion.fit.coefficients)


def beyond_mask_mm(
    completion: Completion, mask: np.ndarray, film: ProjectionGeometry, searched: ProjectionGeometry
) -> float:
    """How far the completed bone's shadow goes on beyond its mask (rows, cols), inside the part that is searched, mm.

    A mask that ends there, where the bone cannot, is cut off; so is one whose bone was completed into the wrong place.
    """
    grid = searched.resized_to(SHADOW_PX)
    pixels, depth = grid.project(completion.vertices)
    shadow = np.zeros(grid.size_px, bool)
    for _, place, _, _ in covered_pixels(pixels[completion.triangles], grid.size_px):
        shadow[tuple(place.T)] = True
    own = _on_grid(mask, film, grid)
    if not own.any():
        return 0.0
    near = bounding_window(shadow | own)
    away = distance_transform_edt(~own[near], sampling=grid.pixel_size_at(float(np.median(depth))))
    lacking = away[(shadow & ~own & _lit(grid))[near]]
    return float(np.percentile(lacking, FARTHEST)) if lacking.size else 0.0


def beside_joint_mm(hip: Completion, mask: np.ndarray, film: ProjectionGeometry, searched: ProjectionGeometry) -> float:
    """How far from its joint's centre the nearest of a femur's mask (rows, cols) is, mm at the centre's depth.

    A femur with a head is there; of one whose head was replaced, or is not in the picture, the neck's end is.
    """
    grid = searched.resized_to(SHADOW_PX)
    pixel, depth = grid.project(hip.landmarks[JOINT_LANDMARK["hip"]][None])
    own = np.argwhere(_on_grid(mask, film, grid))
    if not len(own):
        return 0.0
    return float(np.linalg.norm((own - pixel) * grid.pixel_size_at(float(depth[0])), axis=1).min())


def _on_grid(mask: np.ndarray, film: ProjectionGeometry, grid: ProjectionGeometry) -> np.ndarray:
    """The film's mask at the nearest pixels of a grid upon it."""
    places = []
    for axis, size in enumerate(film.size_px):
        ratio = grid.pixel_pitch_mm[axis] / film.pixel_pitch_mm[axis]
        at = film.principal_point_px[axis] + (np.arange(grid.size_px[axis]) - grid.principal_point_px[axis]) * ratio
        places.append(np.clip(np.rint(at).astype(int), 0, size - 1))
    return mask[np.ix_(*places)]


def _lit(grid: ProjectionGeometry) -> np.ndarray:
    """(rows, cols) bool, the pixels within a turned or rounded field."""
    if grid.opening_px is None:
        return np.ones(grid.size_px, bool)
    rows, cols = (np.arange(n) for n in grid.size_px)
    return within_corners(grid.opening_px, rows[:, None], cols[None])


def _of_neighbours(bone: str, completed: Mapping[str, Completion]) -> Evidence:
    """Where two bones do not go together, this speaks against that of both which is itself the less likely.

    A head that was inferred speaks against no socket.
    """
    own, values = completed[bone], {}
    other, neighbour = completed.get(other_side(bone)), completed.get(_across_joint(bone))
    if other is not None and other is not own and unusualness(own) >= unusualness(other):
        count = min(len(own.fit.coefficients), len(other.fit.coefficients))
        values["sides"] = _root_mean_square(own.fit.coefficients[:count] - other.fit.coefficients[:count])
    inferred = neighbour is not None and neighbour.headless
    if neighbour is not None and not inferred and (own.headless or misfit_mm(own) >= misfit_mm(neighbour)):
        head, socket = (part.landmarks[JOINT_LANDMARK[part.bone]] for part in (own, neighbour))
        values["joint"] = float(np.linalg.norm(head - socket))
    return values


def _across_joint(bone: str) -> str:
    return bone.replace("femur", "hip") if bone.startswith("femur") else bone.replace("hip", "femur")


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else 0.0
