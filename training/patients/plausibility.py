"""Whether virtual patients look like adults: lengths and angles of many of them beside published ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from DualFaceReconLib.meshes import sphere_through
from training.patients.population import Population
from training.patients.virtual import VirtualPatient, sample_patient

NOBLE = "Noble et al., Clin Orthop 235:148, 1988"
BELL = "Bell et al., J Biomech 23:617, 1990"
HARTEL = "Hartel et al., PLoS ONE 11:e0149480, 2016; median, and s.d. by the quartiles"
PIERREPONT = "Pierrepont et al., Bone Joint J 99-B:184, 2017"
PUBLISHED = {  # mean and standard deviation, or None; where from
    "head diameter, mm": (46.1, 4.8, NOBLE),
    "neck-shaft angle, degrees": (124.7, 7.4, NOBLE),
    "head offset from the shaft, mm": (43.0, 6.8, NOBLE),
    "hip centres / iliac spines": (0.72, None, BELL),
    "pelvic tilt, forward, degrees": (4.2, None, PIERREPONT),
    "anteversion, degrees": (14.2, 9.6, HARTEL),
    "mechanical length of the femur, mm": (None, None, "llp26's own people: see below"),
    "iliac spines apart, mm": (None, None, "rhan40's and llp26's own people: see below"),
}


def measures(patient: VirtualPatient, head: np.ndarray) -> dict[str, float]:
    """The table's measures of a patient; `head` are the numbers of the femoral head's vertices."""
    marks, vertices = patient.landmarks["femur_left"], patient.bones["femur_left"][0]
    centre = marks["femoral_head_centre"]
    knee = (marks["medial_condyle_distal"] + marks["lateral_condyle_distal"]) / 2
    up = (centre - knee) / np.linalg.norm(centre - knee)
    along = (vertices - knee) @ up / np.linalg.norm(centre - knee)
    low, high = (vertices[np.abs(along - at) < 0.03].mean(axis=0) for at in (0.4, 0.7))
    shaft = (high - low) / np.linalg.norm(high - low)
    neck = marks["femoral_neck_centre"] - centre
    neck /= np.linalg.norm(neck)
    condyles = marks["medial_condyle_posterior"] - marks["lateral_condyle_posterior"]
    flat = [axis - (axis @ up) * up for axis in (-neck, condyles)]
    cosine = flat[0] @ flat[1] / np.linalg.norm(flat[0]) / np.linalg.norm(flat[1])
    forward = np.sign(np.cross(flat[1], flat[0]) @ up)  # of a left femur, whose medial side is to the right
    spines = [patient.landmarks[f"hip_{side}"]["asis"] for side in ("left", "right")]
    centres = [patient.landmarks[f"femur_{side}"]["femoral_head_centre"] for side in ("left", "right")]
    away = centre - low
    return {
        "head diameter, mm": 2 * sphere_through(vertices[head])[1],
        "neck-shaft angle, degrees": float(np.degrees(np.arccos(neck @ shaft))),
        "head offset from the shaft, mm": float(np.linalg.norm(away - (away @ shaft) * shaft)),
        "hip centres / iliac spines": float(
            np.linalg.norm(centres[0] - centres[1]) / np.linalg.norm(spines[0] - spines[1])
        ),
        "pelvic tilt, forward, degrees": -patient.metadata["pelvis_degrees"]["tilt"],
        "anteversion, degrees": float(forward * np.degrees(np.arccos(np.clip(cosine, -1, 1)))),
        "mechanical length of the femur, mm": float(np.linalg.norm(centre - knee)),
        "iliac spines apart, mm": float(np.linalg.norm(spines[0] - spines[1])),
    }


def table(population: Population, count: int, shapes: str, say: Callable[[str], None] = print) -> str:
    """Markdown: mean, standard deviation and range of `count` patients of some shapes beside published values."""
    head = population.femur_landmarks["femoral_head_centre"].vertices
    rows = []
    for seed in range(count):
        rows.append(measures(sample_patient(population, seed, shapes=shapes), head))
        if (seed + 1) % 100 == 0:
            say(f"{seed + 1} of {count} patients")
    lines = [
        f"# {count} virtual patients, {shapes} shapes",
        "",
        "| measure | mean | s.d. | least | most | published | from |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, (mean, deviation, source) in PUBLISHED.items():
        values = np.array([row[name] for row in rows])
        digits = 2 if "/" in name else 1
        ours = " | ".join(f"{v:.{digits}f}" for v in (values.mean(), values.std(), values.min(), values.max()))
        published = "-" if mean is None else f"{mean:g}" + ("" if deviation is None else f" +- {deviation:g}")
        lines.append(f"| {name} | {ours} | {published} | {source} |")
    asis, femoral = population.hip_landmarks["asis"], population.femur_landmarks
    spines = np.array([np.linalg.norm(asis.place(left) - asis.place(right)) for left, right in population.pelves])
    ends = [femoral[f"{side}_condyle_distal"] for side in ("medial", "lateral")]
    lengths = np.array(
        [np.linalg.norm(np.mean([end.place(femur) for end in ends], axis=0)) for femur in population.femora]
    )
    lines.append("")
    lines.append(
        f"The real people: iliac spines {spines.mean():.0f} +- {spines.std():.0f} mm apart, mechanical length of the "
        f"femur {lengths.mean():.0f} +- {lengths.std():.0f} mm."
    )
    return "\n".join(lines) + "\n"
