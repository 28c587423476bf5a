"""Whether a CT and its labels can become a case. What cannot is refused with the reason, never mended in silence.

Limits without a source are ours; they are meant to let every ordinary CT of a pelvis pass.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from DualFaceReconLib.bonemaps import BONES, kind_and_side
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.meshes import Mesh
from training.ct.files import Scan

COARSEST_MM = 3.0  # between voxels in any direction; labels of a bone's cortex need no less
SHORTEST_MM = 150.0  # along the body; a hemipelvis is about 220 high
AIR_AT_MOST_HU = -800  # the least value of a CT with air in it; air is -1000 by the definition of the unit
LABELLED_BONE_HU = 80.0  # mean of a labelled bone at least; muscle has 40 to 60
LEAST_ML = {"hip": 60.0, "femur": 15.0}  # of labelled bone; a hemipelvis has 250 to 450, a femoral head alone 40
FLESH_HU = -500  # half air, half water
COARSE_MM = 4.0  # grid on which the body is sought
TRUNCATED_MM = 20.0  # of the body's outline on the border of the reconstructed field, mean over the slices


def check_values(scan: Scan) -> None:
    """Refusal where the values are no HU, or the voxels are too coarse or too few."""
    values = scan.volume.values
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 255:
        raise Refusal(f"The CT holds grey values from {low:g} to {high:g}, not HU: export the original series.")
    if low > AIR_AT_MOST_HU:
        raise Refusal(
            f"The CT holds no air (its least value is {low:g}): its values are no HU, or no rescale intercept was "
            "applied; export the original series."
        )
    spacing = scan.volume.spacing_mm
    if spacing.max() > COARSEST_MM + 0.01:
        raise Refusal(f"The CT's voxels are {spacing.max():.2f} mm apart: take a series of {COARSEST_MM:g} mm or less.")
    length = len(values) * spacing[2]
    if length < SHORTEST_MM:
        raise Refusal(f"The CT is only {length:.0f} mm long: a film of the hips needs {SHORTEST_MM:g} mm or more.")


def check_bones(scan: Scan, masks: Mapping[str, tuple[np.ndarray, tuple[slice, ...]]]) -> None:
    """Refusal where a bone's label is absent, too small or beside the bone. Masks lie in their boxes."""
    if not masks:
        raise Refusal(
            "No hip and no femur is labelled: label the CT (TotalSegmentator 2, task total), or name its numbers with "
            "--labels."
        )
    missing = [bone for bone in BONES if bone not in masks]
    if missing:
        raise Refusal(
            f"Not labelled: {', '.join(missing)}. Every bone that a film shows needs its truth: take a CT with both "
            "hips and both femora, and label them all."
        )
    voxel_ml = float(np.prod(scan.volume.spacing_mm)) / 1000
    for bone, (mask, box) in masks.items():
        millilitres = np.count_nonzero(mask) * voxel_ml
        if millilitres < LEAST_ML[kind_and_side(bone)[0]]:
            raise Refusal(f"The label of {bone} has only {millilitres:.1f} ml: label more of it, or take another CT.")
        mean = float(scan.volume.values[box][mask].mean(dtype=np.float64))
        if mean < LABELLED_BONE_HU:
            raise Refusal(
                f"Where {bone} is labelled the CT has {mean:.0f} HU on average, which is no bone: the labels belong to "
                "another CT, or the values are no HU."
            )


def check_sides(meshes: Mapping[str, Mesh]) -> None:
    """Refusal where labels and header disagree about left, head or front: one of them would name the wrong side."""
    middle = {bone: (vertices.min(axis=0) + vertices.max(axis=0)) / 2 for bone, (vertices, _) in meshes.items()}
    for kind in ("hip", "femur"):
        if middle[f"{kind}_left"][0] >= middle[f"{kind}_right"][0]:
            raise Refusal(
                f"Left and right are swapped: {kind}_left lies to the right of {kind}_right by the CT's header. Check "
                "which of the two is wrong (TotalSegmentator 1 has other numbers); a wrong side harms patients."
            )
    midline = (middle["hip_left"][0] + middle["hip_right"][0]) / 2
    for side in ("left", "right"):
        hip = meshes[f"hip_{side}"][0]
        if middle[f"femur_{side}"][2] >= middle[f"hip_{side}"][2]:
            raise Refusal(
                f"Head and feet are swapped: femur_{side} lies above hip_{side} by the CT's header: export it again."
            )
        low, high = hip[:, 2].min(), hip[:, 2].max()
        halves = hip[hip[:, 2] < (low + high) / 2], hip[hip[:, 2] >= (low + high) / 2]
        pubis, sacroiliac = (half[np.argsort(np.abs(half[:, 0] - midline))[: len(half) // 20 + 1]] for half in halves)
        if pubis[:, 1].mean() <= sacroiliac[:, 1].mean():
            raise Refusal(
                f"Front and back are swapped: the pubis of hip_{side} lies behind its sacroiliac joint by the CT's "
                "header, as in a CT of a prone patient stored as supine: correct the header."
            )


def body(scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    """(slices, rows, cols) bool where the patient is, on every few voxels, without the table; and the steps (3,).

    The patient is what the labelled bones hang together with.
    """
    steps = np.maximum((COARSE_MM / scan.volume.spacing_mm).astype(int), 1)[::-1]
    every = tuple(slice(None, None, step) for step in steps)
    flesh = ndimage.binary_opening(np.pad(scan.volume.values[every] > FLESH_HU, 1, mode="edge"))[1:-1, 1:-1, 1:-1]
    pieces, count = ndimage.label(flesh)
    bony = np.bincount(pieces[scan.labels[every] > 0], minlength=count + 1) > 0
    bony[0] = False
    return bony[pieces], steps


def check_field(scan: Scan, patient: np.ndarray, steps: np.ndarray) -> None:
    """Refusal where the reconstructed field cuts the body's sides. `patient`, `steps` are what `body` gives."""
    rows, cols = patient.shape[1:]
    border = np.zeros((rows, cols), dtype=bool)
    border[[0, -1], :] = border[:, [0, -1]] = True
    corners = scan.volume.values[:, :: scan.volume.values.shape[1] - 1, :: scan.volume.values.shape[2] - 1]
    if np.ptp(corners) == 0:  # only a disc was reconstructed, the rest is filled with one value
        across = np.hypot(*np.ogrid[-1 : 1 : rows * 1j, -1 : 1 : cols * 1j])
        border |= (across <= 1) & (across > 1 - 4 / min(rows, cols))
        border &= across <= 1
    side_mm = float((scan.volume.spacing_mm[::-1] * steps)[1:].mean())
    contact = float((patient & border).sum(axis=(1, 2)).mean()) * side_mm
    if contact > TRUNCATED_MM:
        raise Refusal(
            f"The body does not fit into the CT: {contact:.0f} mm of its outline lie on the field's border in a mean "
            "slice. Take a reconstruction with a wider field."
        )
