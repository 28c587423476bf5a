"""What was left on for the film: lead shields, buckles, zips, buttons, coins. Flat things in front of the skin.

patient = dressed(sample_patient(population, seed), rng)
patient.parts, patient.metadata["worn"]
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from DualFaceReconLib.meshes import Mesh, joined
from training.patients.solids import lofted, revolved, sheet
from training.patients.virtual import Part, VirtualPatient

SHARES = {"shield": 0.03, "buckle": 0.006, "zip": 0.012, "buttons": 0.012, "coins": 0.006}  # of films; ours
SKIN_MM = (20.0, 60.0)  # in front of the frontmost bone
LEAD_MM = (0.5, 1.0)  # shields are of 0.5 or 1 mm lead
# Shields lay wrong on 91 % of girls' films and 66 % of boys' (Frantzen et al., Insights Imaging 3:23, 2012).
WRONG_SHARE = {"female": 0.91, "male": 0.66}
RIGHT_MM, WRONG_MM = 6.0, 28.0  # standard deviation of a shield's place, from side to side and up and down; ours
FRONT = np.array([0, 1.0, 0])


@dataclass(frozen=True, kw_only=True)
class Body:
    """Where clothing lies on a patient, RAS mm."""

    middle: float  # R of the midline
    skin: float  # A of the skin
    symphysis: float  # S of its upper edge
    spines: float  # S of the ASIS
    half_width: float  # from the midline to the ASIS


def dressed(patient: VirtualPatient, rng: np.random.Generator) -> VirtualPatient:
    """The patient with what was left on for the film, mostly nothing; `metadata["worn"]` lists it."""
    left_on = [name for name, share in SHARES.items() if rng.random() < share]
    parts, entries = dict(patient.parts), []
    if left_on:
        body = body_of(patient, rng)
        for name in left_on:
            more, entry = CLOTHING[name](body, rng)
            parts |= more
            entries.append(entry)
    return replace(patient, parts=parts, metadata={**patient.metadata, "worn": entries})


def body_of(patient: VirtualPatient, rng: np.random.Generator) -> Body:
    """Where clothing lies on a patient; how far the skin is from the bones is drawn."""
    marks = [patient.landmarks[f"hip_{side}"] for side in ("left", "right")]
    tubercles = np.mean([m["pubic_tubercle"] for m in marks], axis=0)
    spines = np.array([m["asis"] for m in marks])
    skin = max(vertices[:, 1].max() for vertices, _ in patient.bones.values()) + rng.uniform(*SKIN_MM)
    half = float(np.ptp(spines[:, 0])) / 2
    return Body(
        middle=float(tubercles[0]),
        skin=float(skin),
        symphysis=float(tubercles[2]),
        spines=float(spines[:, 2].mean()),
        half_width=half,
    )


def shield(body: Body, rng: np.random.Generator) -> tuple[dict[str, Part], dict]:
    """A lead shield of the gonads: between the hips of a woman, below the symphysis of a man; often misplaced."""
    sex = str(rng.choice(["female", "male"]))
    wrong = bool(rng.random() < WRONG_SHARE[sex])
    shape = str(rng.choice(["heart", "triangle", "trapezoid"])) if sex == "female" else "bell"
    width, height = (rng.uniform(90, 140), rng.uniform(70, 110)) if sex == "female" else (110, 120)
    outline = OUTLINES[shape] * (width / 2, height / 2)
    level = 0.45 * body.spines + 0.55 * body.symphysis if sex == "female" else body.symphysis - 0.55 * height
    off = rng.normal(0, WRONG_MM if wrong else RIGHT_MM, 2)
    turn = rng.normal(0, 12 if wrong else 4)
    middle = np.array([body.middle + off[0], body.skin, level + off[1]])
    thick = float(rng.uniform(*LEAD_MM))
    across, up = _turned(turn)
    entry = {"what": "shield", "shape": shape, "misplaced": wrong, "off_mm": off.tolist(), "lead_mm": thick}
    return {"shield": Part("lead", sheet(outline, middle, across, up, thick))}, entry


def buckle(body: Body, rng: np.random.Generator) -> tuple[dict[str, Part], dict]:
    """A belt's buckle with its prong."""
    half = np.array([rng.uniform(18, 32), rng.uniform(16, 25)])
    bar = float(rng.uniform(1.5, 2.5))
    middle = np.array([body.middle + rng.normal(0, 15), body.skin, body.spines + rng.uniform(-10, 45)])
    across, up = _turned(rng.normal(0, 6))
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    out = np.stack([_boxy(np.cos(turn)), _boxy(np.sin(turn))], axis=1)
    path = middle + (out * half) @ np.stack([across, up])
    circle = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    way = (out / np.linalg.norm(out, axis=1, keepdims=True)) @ np.stack([across, up])
    rings = path[:, None] + bar * (np.cos(circle)[:, None] * way[:, None] + np.outer(np.sin(circle), FRONT))
    prong = revolved(
        [(0, bar * 0.8), (2 * half[0], bar * 0.8)], middle - half[0] * across + (2.2 * bar) * FRONT, across
    )
    mesh = joined([lofted(rings, closed=True), prong])
    return {"buckle": Part("steel", mesh)}, {"what": "buckle", "width_mm": float(2 * half[0])}


def zip_fastener(body: Body, rng: np.random.Generator) -> tuple[dict[str, Part], dict]:
    """A trouser zip: two rows of teeth and a slider."""
    length = float(rng.uniform(90, 150))
    top = np.array([body.middle + rng.normal(0, 8), body.skin, body.symphysis + rng.uniform(20, 90)])
    down = np.array([rng.normal(0, 0.06), 0, -1.0])
    teeth = []
    for number, along in enumerate(np.arange(8.0, length, 1.6)):
        place = top + along * down + np.array([1.3 if number % 2 else -1.3, 0, 0])
        teeth.append(sheet(BOX * (1.6, 0.5), place, np.array([1.0, 0, 0]), np.array([0, 0, 1.0]), 1.4))
    slider = sheet(BOX * (4.0, 4.5), top, np.array([1.0, 0, 0]), np.array([0, 0, 1.0]), 2.5)
    return {"zip": Part("steel", joined([slider, *teeth]))}, {"what": "zip", "length_mm": length}


def buttons(body: Body, rng: np.random.Generator) -> tuple[dict[str, Part], dict]:
    """A waist button and rivets of the pockets."""
    radius = float(rng.uniform(7, 9.5))
    place = np.array([body.middle + rng.normal(0, 8), body.skin, body.spines + rng.uniform(-20, 30)])
    parts = {"button": Part("steel", _disc(place, radius, 1.8))}
    count = int(rng.integers(0, 3))
    for side in ("left", "right")[:count]:
        out = body.half_width * rng.uniform(0.85, 1.05) * (1 if side == "right" else -1)
        spot = np.array([body.middle + out, body.skin - 20, place[2] - rng.uniform(20, 60)])
        parts[f"rivet_{side}"] = Part("steel", _disc(spot, 4.5, 2.5))
    return parts, {"what": "buttons", "diameter_mm": 2 * radius, "rivets": count}


def coins(body: Body, rng: np.random.Generator) -> tuple[dict[str, Part], dict]:
    """A few coins in a trouser pocket."""
    side = str(rng.choice(["left", "right"]))
    count = int(rng.integers(1, 4))
    out = body.half_width * rng.uniform(0.8, 1.2) * (1 if side == "right" else -1)
    pocket = np.array([body.middle + out, body.skin - 15, body.symphysis + rng.uniform(-70, 30)])
    meshes = []
    for number in range(count):  # one before the other, so that they do not overlap
        place = pocket + np.array([rng.normal(0, 12), number * 6.0, rng.normal(0, 12)])
        meshes.append(_disc(place, float(rng.uniform(8, 13)), 1.9))
    return {f"coins_{side}": Part("steel", joined(meshes))}, {"what": "coins", "side": side, "count": count}


def _turned(degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors along width and height of something flat that is turned on the skin."""
    angle = np.radians(degrees)
    return np.array([np.cos(angle), 0, np.sin(angle)]), np.array([-np.sin(angle), 0, np.cos(angle)])


def _disc(middle: np.ndarray, radius: float, thickness: float) -> Mesh:
    return revolved([(0, radius), (thickness, radius)], middle, FRONT)


def _boxy(wave: np.ndarray) -> np.ndarray:
    return np.sign(wave) * np.abs(wave) ** 0.45


def _heart() -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    x = np.sin(turn) ** 3
    y = (13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn)) / 17
    return np.stack([x, y], axis=1)


BOX = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1.0]])
OUTLINES = {  # half a width and half a height to each side of the middle
    "heart": _heart(),
    "triangle": np.array([[-1, 1], [0, -1], [1, 1.0]]) * (1, 0.9),
    "trapezoid": np.array([[-1, 0.8], [-0.5, -0.8], [0.5, -0.8], [1, 0.8]]),
    "bell": np.array([[-0.35, 1], [-0.75, 0.2], [-1, -0.7], [-0.6, -1], [0.6, -1], [1, -0.7], [0.75, 0.2], [0.35, 1]]),
}
CLOTHING = {"shield": shield, "buckle": buckle, "zip": zip_fastener, "buttons": buttons, "coins": coins}
