"""Implants in the hips and pelves of virtual patients.

    patient = operated(diseased(sample_patient(population, seed), rng), rng)
    patient.parts["stem_left"].material, patient.metadata["hardware"]

A replaced hip has lost head and neck: they are gone from the femur's mesh, from the truth and from the landmarks. All
other implants lie in or on bones whose surface stays as it was.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from training.patients.arthroplasty import replaced_hip
from training.patients.fixation import (
    Fixed,
    cannulated_screws,
    hip_screw,
    nail,
    sacroiliac_screw,
    shaft_plate,
    symphysis_plate,
)
from training.patients.virtual import VirtualPatient

# Total hips: 0.83 % of all people in 2010, 5.26 % of those of eighty (Kremers et al., J Bone Joint Surg Am 97:1386,
# 2015); among people who have their hips filmed there are many more. Here about 13 % of hips. The rest is ours.
OPERATED_SHARE, BOTH_SHARE = 0.13, 0.30
OPERATIONS = {
    "total hip": 0.48, "hemiarthroplasty": 0.12, "hip screw": 0.11, "nail": 0.15, "cannulated screws": 0.08,
    "shaft plate": 0.06,
}  # fmt: skip
ARTHROPLASTIES = ("total hip", "hemiarthroplasty")  # these saw off the head and neck
PELVIS_SHARE = 0.012  # of people; ours
TRIES = 3
RESECTED = ("femoral_head_centre", "femoral_neck_centre")  # landmarks that go with the head


def operated(patient: VirtualPatient, rng: np.random.Generator) -> VirtualPatient:
    """The patient with implants, if any; `metadata["hardware"]` lists them."""
    entries = []
    if rng.random() < OPERATED_SHARE / (1 + BOTH_SHARE) * 2:  # the share of people that gives this share of hips
        sides = [str(side) for side in rng.permutation(["left", "right"])[: 2 if rng.random() < BOTH_SHARE else 1]]
        kind = str(rng.choice(list(OPERATIONS), p=list(OPERATIONS.values())))
        for side in sides:
            patient, more = implanted(patient, kind, side, rng)
            entries += more
    if rng.random() < PELVIS_SHARE:
        patient, more = implanted(patient, str(rng.choice(PELVIC)), str(rng.choice(["left", "right"])), rng)
        entries += more
    return replace(patient, metadata={**patient.metadata, "hardware": entries})


def implanted(
    patient: VirtualPatient, kind: str, side: str, rng: np.random.Generator
) -> tuple[VirtualPatient, list[dict]]:
    """The patient with one implant, and its entry for `metadata["hardware"]`; unchanged and no entry if none fits."""
    for _ in range(TRIES):
        if kind in ARTHROPLASTIES:
            hip = replaced_hip(patient, side, rng, socket=kind == "total hip")
            if hip is not None:
                marks = dict(patient.landmarks)
                femur = f"femur_{side}"
                marks[femur] = {name: place for name, place in marks[femur].items() if name not in RESECTED}
                bones, parts = patient.bones | hip.bones, patient.parts | hip.parts
                return replace(patient, bones=bones, landmarks=marks, parts=parts), [hip.metadata]
            continue
        fixed = _fixed(patient, kind, side, rng)
        if fixed is not None:
            return replace(patient, parts=patient.parts | fixed.parts), [fixed.metadata]
    return patient, []


def _fixed(patient: VirtualPatient, kind: str, side: str, rng: np.random.Generator) -> Fixed | None:
    if kind == "symphysis plate":
        return symphysis_plate(patient, rng)
    return FIXATIONS[kind](patient, side, rng)


FIXATIONS = {
    "hip screw": hip_screw,
    "nail": nail,
    "cannulated screws": cannulated_screws,
    "shaft plate": shaft_plate,
    "sacroiliac screw": sacroiliac_screw,
}
PELVIC = ("sacroiliac screw", "symphysis plate")
