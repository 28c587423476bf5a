"""What the bones of a patient consist of: the cortex's thickness and the density under it, at every vertex.

The numbers are typical ones of adults, rounded: a femoral shaft's cortex is 4 to 8 mm, elsewhere it is about 1 mm and
thickest where load passes (acetabular roof, calcar); trabecular bone fills 5 to 30 % of its volume, most in the head.
How they vary between people and along a bone is ours.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from training.patients.virtual import VirtualPatient
from training.raycast import Matter

SHAFT_MM = (6.0, 1.0)  # mean and standard deviation between people
QUALITY_SPREAD = 0.25  # of the density, in logarithms; osteoporosis takes a third to a half of it
CORTEX_SPREAD = 0.15
# In the wide variety people differ more, as films of old and young ones do; ours
WIDE_SPREAD = (0.3, 0.4)  # of cortex and density, in logarithms, beside the above
FAR_SPREAD = 0.3  # of the cortex far from the socket
FAR_DENSITY = (0.2, 0.45)  # and of the density there, mean and spread: wings are often whiter than the usual ones
HEAD_MEAN, HEAD_SPREAD = (0.0, -0.25), (0.35, 0.4)  # of cortex and density of the femoral heads, mostly less dense
SPOTS, SPOT_SPREAD, SPOT_MM = 6, 0.35, (6.0, 25.0)  # of a bone, thicker or thinner: how many, by how much, how wide
WAVES, WAVELENGTH_MM, UNEVEN = 6, (25.0, 90.0), 0.22  # how cortex and density vary along a bone, in logarithms


def matter_of(
    patient: VirtualPatient, rng: np.random.Generator, wide_rng: np.random.Generator | None = None
) -> dict[str, Matter]:
    """Matter of every bone of a patient. `wide_rng` draws how much more bones differ in the wide variety."""
    quality = float(np.exp(np.clip(rng.normal(0, QUALITY_SPREAD), -0.7, 0.5)))
    sturdy = float(np.exp(np.clip(rng.normal(0, CORTEX_SPREAD), -0.4, 0.4)))
    shaft = float(np.clip(rng.normal(*SHAFT_MM), 3.5, 8.5))
    matter = {}
    for bone, (vertices, _) in patient.bones.items():
        if bone.startswith("femur"):
            cortex, density = _femur(vertices, patient.landmarks[bone], shaft)
        elif bone.startswith("hip"):
            cortex, density = _hip(vertices, patient.landmarks[bone])
        else:
            thin = 0.9 if bone == "sacrum" else 0.5
            cortex, density = np.full(len(vertices), thin), np.full(len(vertices), 0.11)
        cortex = cortex * sturdy * _uneven(vertices, rng)
        density = np.minimum(density * quality * _uneven(vertices, rng), 0.6)
        matter[bone] = Matter(cortex_mm=cortex, density=density)
    return matter if wide_rng is None else _more_unlike(matter, patient, wide_rng)


def _more_unlike(matter: Mapping[str, Matter], patient: VirtualPatient, rng: np.random.Generator) -> dict[str, Matter]:
    """Matter of people who are more unlike: brittle or sturdy, faint or strong in outline, uneven from place to place.

    The wing, the ischium and the obturator ring, which lie far from the socket, have a factor of their own, and so do
    the heads.
    """
    cortex_all, density_all = np.exp(np.clip(rng.normal(0, WIDE_SPREAD), -1.0, 0.8))
    far_away = float(np.exp(np.clip(rng.normal(0, FAR_SPREAD), -0.9, 0.8)))
    far_density = float(np.exp(np.clip(rng.normal(*FAR_DENSITY), -0.8, 1.2)))
    head_cortex, head_density = np.exp(np.clip(rng.normal(HEAD_MEAN, HEAD_SPREAD), -1.2, 0.8))
    unlike = {}
    for bone, own in matter.items():
        cortex, density = own.cortex_mm * cortex_all, own.density * density_all
        vertices = patient.bones[bone][0]
        if not bone.startswith(("hip", "femur")):  # others have shadows before them
            unlike[bone] = Matter(cortex_mm=cortex, density=np.minimum(density, 0.6))
            continue
        if bone.startswith("hip"):
            away = np.linalg.norm(vertices - patient.landmarks[bone]["acetabular_centre"], axis=1)
            cortex = cortex * far_away ** _rise(away, 30, 60)
            density = density * far_density ** _rise(away, 30, 60)
        elif "femoral_head_centre" in patient.landmarks.get(bone, {}):
            away = np.linalg.norm(vertices - patient.landmarks[bone]["femoral_head_centre"], axis=1)
            cortex = cortex * head_cortex ** (1 - _rise(away, 26, 45))
            density = density * head_density ** (1 - _rise(away, 26, 45))
        spots = rng.integers(len(vertices), size=SPOTS)
        amounts, reach = rng.normal(0, SPOT_SPREAD, SPOTS), rng.uniform(*SPOT_MM, SPOTS)
        single = vertices.astype(np.float32)
        squared = np.stack([((single - single[spot]) ** 2).sum(axis=1) for spot in spots], axis=1)
        lumps = np.exp(squared / (-2 * reach**2).astype(np.float32)) @ amounts
        unlike[bone] = Matter(
            cortex_mm=np.clip(cortex * np.exp(lumps), 0.25, 11.0), density=np.clip(density * np.exp(lumps), 0.0, 0.6)
        )
    return unlike


def _femur(vertices: np.ndarray, marks: Mapping[str, np.ndarray], shaft: float) -> tuple[np.ndarray, np.ndarray]:
    """Of a whole femur, or of one without its head, which has no landmarks there."""
    knee, lesser = (marks["medial_epicondyle"] + marks["lateral_epicondyle"]) / 2, marks["lesser_trochanter"]
    length = np.linalg.norm(knee - lesser)
    below = (vertices - lesser) @ (knee - lesser) / length
    in_shaft = _rise(below, -15, 45) * (1 - _rise(below, length - 130, length - 50))
    calcar = (marks.get("femoral_neck_centre", lesser) + lesser) / 2
    on_calcar = np.exp(-(np.linalg.norm(vertices - calcar, axis=1) ** 2) / (2 * 10.0**2))
    cortex = 1.3 + (shaft - 1.3) * in_shaft + 1.5 * on_calcar
    density = np.where(below > length / 2, 0.16, 0.10)
    if "femoral_head_centre" in marks:
        away = np.linalg.norm(vertices - marks["femoral_head_centre"], axis=1)
        density = density + 0.18 * (1 - _rise(away, 18, 45))
    return cortex, density * (1 - in_shaft)  # the shaft's marrow is fat


def _hip(vertices: np.ndarray, marks: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    centre = marks["acetabular_centre"]
    away = np.linalg.norm(vertices - centre, axis=1)
    near = np.exp(-(np.maximum(away - 26, 0) ** 2) / (2 * 14.0**2))
    roof = near * _rise(vertices[:, 2] - centre[2], 5, 22)
    return 1.1 + 0.5 * near + 1.6 * roof, 0.10 + 0.08 * near + 0.08 * roof


def _rise(value: np.ndarray, start: float, end: float) -> np.ndarray:
    """0 before `start`, 1 after `end`, smooth between."""
    share = np.clip((value - start) / (end - start), 0, 1)
    return share * share * (3 - 2 * share)


def _uneven(vertices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A smooth random factor (V,) around 1."""
    directions = rng.normal(size=(WAVES, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths, phases = rng.uniform(*WAVELENGTH_MM, WAVES), rng.uniform(0, 2 * np.pi, WAVES)
    angles = vertices @ (directions / lengths[:, None] * 2 * np.pi).T + phases
    waves = np.cos(angles.astype(np.float32))  # many, and quicker in single precision
    return np.exp(UNEVEN * np.sqrt(2 / WAVES) * waves.sum(axis=1))
