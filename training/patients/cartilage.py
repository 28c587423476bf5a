"""Room for cartilage: the bony sockets of virtual patients are made as wide as those of healthy joints on radiographs.

The people that patients are mixed from have sockets hardly wider than their heads (1 mm in radius in `llp26`), so the
joints of `sample_patient` are 2 mm apart at the roof. Here a socket is pushed outwards from its centre, the surface by
all of it and deeper bone by less and less, so that nothing tears or folds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from training.patients.joints import joint_of
from training.patients.virtual import VirtualPatient

# Added to what `sample_patient` leaves, so that the space at the roof comes to 4.2 mm, 0.9 s.d. (Lequesne et al., Ann
# Rheum Dis 63:1145, 2004, on 446 healthy hips; 2 to 7).
ROOM_MM = (2.1, 0.7)
UNLIKE_MM = 0.25  # standard deviation between the two hips
WHOLE_MM, NOTHING_MM = (
    3.0,
    24.0,
)  # depths under the head's surface: down to the first all is moved, below the second nothing


def with_cartilage(patient: VirtualPatient, rng: np.random.Generator) -> VirtualPatient:
    """The patient with room in both sockets; `metadata["cartilage_mm"]` says how much was made."""
    person = rng.normal(*ROOM_MM)
    bones, rooms = dict(patient.bones), {}
    for side in ("left", "right"):
        room = float(np.clip(person + rng.normal(0, UNLIKE_MM), 0.0, 5.0))
        vertices, triangles = patient.bones[f"hip_{side}"]
        centre = patient.landmarks[f"hip_{side}"]["acetabular_centre"]
        outwards = vertices - centre
        away = np.linalg.norm(outwards, axis=1)
        deep = np.clip((away - joint_of(patient, side).radius - WHOLE_MM) / (NOTHING_MM - WHOLE_MM), 0, 1)
        share = 1 - deep * deep * (3 - 2 * deep)
        bones[f"hip_{side}"] = vertices + (room * share / away)[:, None] * outwards, triangles
        rooms[side] = room
    return replace(patient, bones=bones, metadata={**patient.metadata, "cartilage_mm": rooms})
