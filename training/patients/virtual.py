"""Virtual patients: hips, sacrum, femora and lower lumbar bodies, varied, seated and posed as people lie on a table.

    patient = sample_patient(population, seed=7)
    patient.bones["femur_left"]  # vertices, triangles; RAS mm around the middle between the hip centres

A pelvis is a mixture of a few people with some local variation of its own on each side; so are the femora, which are
sized to their sockets. Nothing passes through anything: femoral heads keep a joint space, or the leg is drawn again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.meshes import MIRROR, Mesh, mirrored, rigid_fit, sphere_through
from DualFaceReconLib.shape.repair import mended
from DualFaceReconLib.shape.shapemodel import ShapeModel
from training.anatomy.lumbar import lumbar_bodies
from training.patients.population import Population
from training.raycast import penetration_mm

MIXED = 3  # people in a mixture
STRETCHED = 1.15  # how far a mixture goes beyond the people in it
OWN_VARIATION = 0.35  # standard deviations of the model's modes that both sides share
SIDE_VARIATION = 0.12  # and that each side has for itself
SIZE_SPREAD = 0.03

# Posture, degrees: mean, standard deviation, least, most. Tilt is the anterior pelvic plane's to the table, backward
# positive: supine 4.2 forward, from 20.5 back to 24.5 forward in 1517 people (Pierrepont et al., Bone Joint J 99-B:184,
# 2017). Legs should turn 15 degrees inwards; few do. The other spreads are what films show, without a source.
TILT = (-4.2, 6.5, -24.5, 20.5)
OBLIQUITY = (0.0, 2.0, -6.0, 6.0)
TURN = (0.0, 2.5, -8.0, 8.0)
LEG_ROTATION = (0.0, 13.0, -32.0, 32.0)  # inward positive
LEG_ABDUCTION = (3.0, 5.0, -10.0, 18.0)
LEG_FLEXION = (4.0, 5.0, 0.0, 25.0)  # a table leaves no extension

JOINT_SPACE_MM = (0.4, 1.5)  # between the bones where they are closest; cartilage makes it 3 to 5 mm elsewhere
SOCKET_CLEARANCE_MM = (0.5, 1.5)  # the head's sphere is smaller than the socket's
WIDENED_AT_MOST_MM = 2.5
LEAST_SPACE_MM = 0.2
SACRUM_REACH_MM = 25.0  # what of the hips belongs to the sacroiliac joint
TRIES = 12


@dataclass(frozen=True)
class Part:
    """A solid that is no bone: a piece of an implant, or something worn."""

    material: str  # "titanium", "cobalt_chrome", "steel", "cement" or "lead"
    mesh: Mesh  # closed, outward, RAS mm, in the bones' frame


@dataclass(frozen=True)
class VirtualPatient:
    """A posed patient, and how it came about."""

    bones: dict[str, Mesh]  # the scored ones, "sacrum", "lumbar_5", "lumbar_4", "lumbar_3"; RAS mm, closed, outward
    landmarks: dict[str, dict[str, np.ndarray]]  # of the scored bones: name -> (3,) RAS mm
    metadata: dict  # seed, people with their shares, size, posture, joint spaces; plain values for JSON
    parts: dict[str, Part] = field(default_factory=dict)  # "stem_left", "shield"; a side is the name's last word

    def mirrored(self) -> VirtualPatient:
        """The patient seen in a mirror: left and right change places."""
        other = {"left": "right", "right": "left"}

        def name(bone: str) -> str:
            kind, _, side = bone.rpartition("_")
            return f"{kind}_{other[side]}" if side in other else bone

        bones = {name(bone): mirrored(mesh) for bone, mesh in self.bones.items()}
        marks = {name(bone): {k: p * MIRROR for k, p in places.items()} for bone, places in self.landmarks.items()}
        parts = {name(part): Part(solid.material, mirrored(solid.mesh)) for part, solid in self.parts.items()}
        metadata = {**self.metadata, "mirrored": True}
        return VirtualPatient({bone: bones[bone] for bone in self.bones}, marks, metadata, parts)

    def turned(self, rotation: np.ndarray) -> VirtualPatient:
        """The patient turned about the origin by a rotation (3, 3)."""
        return self._moved(lambda points: points @ rotation.T)

    def shifted(self, shift: np.ndarray) -> VirtualPatient:
        """The patient moved by (3,) mm."""
        return self._moved(lambda points: points + shift)

    def _moved(self, move: Callable[[np.ndarray], np.ndarray]) -> VirtualPatient:
        bones = {bone: (move(vertices), triangles) for bone, (vertices, triangles) in self.bones.items()}
        marks = {bone: {k: move(p) for k, p in places.items()} for bone, places in self.landmarks.items()}
        parts = {name: Part(part.material, (move(part.mesh[0]), part.mesh[1])) for name, part in self.parts.items()}
        return VirtualPatient(bones, marks, self.metadata, parts)

    def save(self, folder: Path) -> None:
        """Writes patient.json and bones.npz into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {}
        meshes = self.bones | {name: part.mesh for name, part in self.parts.items()}
        for bone, (vertices, triangles) in meshes.items():
            arrays[f"{bone}.vertices"] = vertices.astype(np.float32)
            arrays[f"{bone}.triangles"] = triangles.astype(np.int32)
        np.savez_compressed(folder / "bones.npz", **arrays)
        marks = {bone: {k: p.tolist() for k, p in places.items()} for bone, places in self.landmarks.items()}
        materials = {name: part.material for name, part in self.parts.items()}
        text = json.dumps({"metadata": self.metadata, "landmarks_ras_mm": marks, "materials": materials}, indent=1)
        (folder / "patient.json").write_text(text, encoding="utf-8")


def load_patient(folder: Path) -> VirtualPatient:
    """The inverse of `VirtualPatient.save`."""
    text = json.loads((folder / "patient.json").read_text(encoding="utf-8"))
    with np.load(folder / "bones.npz", allow_pickle=False) as file:
        names = dict.fromkeys(name.rsplit(".", 1)[0] for name in file.files)
        meshes = {
            name: (file[f"{name}.vertices"].astype(np.float64), file[f"{name}.triangles"].astype(np.int64))
            for name in names
        }
    marks = {bone: {k: np.array(p) for k, p in places.items()} for bone, places in text["landmarks_ras_mm"].items()}
    parts = {name: Part(material, meshes.pop(name)) for name, material in text["materials"].items()}
    return VirtualPatient(meshes, marks, text["metadata"], parts)


def sample_patient(population: Population, seed: int) -> VirtualPatient:
    """The virtual patient of a seed; the same population and seed give the same patient."""
    rng = np.random.default_rng([seed, 0x3DD])
    size = float(np.clip(rng.normal(1, SIZE_SPREAD), 1 - 3 * SIZE_SPREAD, 1 + 3 * SIZE_SPREAD))
    hips, hip_shares = _pelvis(population, rng)
    sacrum = _sacrum(population, hips, rng) * size
    hips = hips * size
    lumbar = lumbar_bodies(sacrum, population.sacrum_triangles, size, rng)
    metadata: dict = {"seed": seed, "size": size, "pelvis": hip_shares}

    pelvis_turn, metadata["pelvis_degrees"] = _pelvis_posture(rng)
    hips, sacrum = hips @ pelvis_turn.T, sacrum @ pelvis_turn.T
    triangles = {"left": population.hip_triangles, "right": population.hip_triangles[:, ::-1]}
    bones: dict[str, Mesh] = {f"hip_{s}": (hips[i], triangles[s]) for i, s in enumerate(("left", "right"))}

    for _ in range(TRIES):  # heads and sockets of different people do not always go together
        thigh, shares = _femora(population, rng)
        both = [_seated(population, bones[f"hip_{s}"], thigh[i], s, rng) for i, s in enumerate(("left", "right"))]
        if None not in both:
            break
    else:
        raise ValueError(f"no femora fit the sockets of patient {seed}")
    metadata["femora"] = shares
    for side, seated in zip(("left", "right"), both, strict=True):
        bones[f"hip_{side}"], bones[f"femur_{side}"], metadata[f"leg_{side}"] = seated
    bones["sacrum"] = sacrum, population.sacrum_triangles
    for name, (vertices, faces) in lumbar.items():
        bones[name] = vertices @ pelvis_turn.T, faces

    marks = {}
    for bone in BONES:
        kind = population.hip_landmarks if bone.startswith("hip") else population.femur_landmarks
        marks[bone] = {name: mark.place(bones[bone][0]) for name, mark in kind.items()}
    return VirtualPatient(bones, marks, metadata)


def _shares(people: tuple[str, ...], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Numbers of a few people, how much of each, and the same by name; one is often most of the mixture."""
    chosen = rng.choice(len(people), min(MIXED, len(people)), replace=False)
    shares = rng.dirichlet(np.full(len(chosen), 0.7))
    shares = 1 / len(chosen) + STRETCHED * (shares - 1 / len(chosen))
    return chosen, shares, {people[i]: round(float(s), 4) for i, s in zip(chosen, shares, strict=True)}


def _pelvis(population: Population, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    """Both hips (2, V, 3) in the pelvic frame."""
    chosen, shares, named = _shares(population.pelvis_people, rng)
    hips = np.einsum("p,psvx->svx", shares, population.pelves[chosen])
    left, right = _varied(population.hip_model, (hips[0], hips[1] * MIRROR), rng)
    return np.stack([left, right * MIRROR]), named


def _varied(model: ShapeModel, sides: Iterable[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """A person's left and right bone, both in left form anywhere, moved along a model's modes, and sound."""
    shared = rng.normal(size=len(model.variances)) * OWN_VARIATION
    varied = []
    for vertices in sides:
        own = shared + rng.normal(size=len(shared)) * SIDE_VARIATION
        rotation, shift = rigid_fit(model.mean, vertices)
        offsets = model.shape(own) - model.mean
        varied.append(mended(vertices + offsets @ rotation.T, model.triangles, model.mean @ rotation.T + shift))
    return varied


def _sacrum(population: Population, hips: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A sacrum (X, 3) between the hips: a mixture, carried with the joints of the people it comes from."""
    chosen, shares, _ = _shares(population.sacrum_people, rng)
    sacrum = np.einsum("p,pvx->vx", shares, population.sacra[chosen])
    theirs = np.einsum("p,psvx->svx", shares, population.sacrum_hips[chosen])
    near = np.isfinite(cKDTree(sacrum).query(theirs.reshape(-1, 3), distance_upper_bound=SACRUM_REACH_MM)[0])
    source, target = theirs.reshape(-1, 3)[near], hips.reshape(-1, 3)[near]
    scale = np.linalg.norm(target - target.mean(axis=0)) / np.linalg.norm(source - source.mean(axis=0))
    rotation, shift = rigid_fit(source * scale, target)
    return sacrum * scale @ rotation.T + shift


def _drawn(rng: np.random.Generator, spread: tuple[float, float, float, float]) -> float:
    mean, deviation, least, most = spread
    return float(np.clip(rng.normal(mean, deviation), least, most))


def _pelvis_posture(rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    tilt, obliquity, turn = _drawn(rng, TILT), _drawn(rng, OBLIQUITY), _drawn(rng, TURN)
    # backward tilt brings the pubis up and forward: about R by the right-hand rule from A to S
    turned = Rotation.from_euler("xyz", [tilt, obliquity, turn], degrees=True).as_matrix()
    return turned, {"tilt": tilt, "obliquity": obliquity, "rotation": turn}


def _femora(population: Population, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    """Two femora (2, W, 3) in left form and femoral frame."""
    chosen, shares, named = _shares(population.femur_people, rng)
    femur = np.einsum("p,pvx->vx", shares, population.femora[chosen])
    return np.stack(_varied(population.femur_model, (femur, femur), rng)), named


def _seated(
    population: Population, hip: Mesh, femur: np.ndarray, side: str, rng: np.random.Generator
) -> tuple[Mesh, Mesh, dict[str, float]] | None:
    """A hip with room in its socket, a femur in it, and its posture, drawn until nothing touches; None if none is."""
    mirror = MIRROR if side == "right" else np.ones(3)
    socket = hip[0][population.hip_landmarks["acetabular_centre"].vertices]
    centre, radius = sphere_through(socket)
    out = centre - socket.mean(axis=0)  # the socket's mouth
    out /= np.linalg.norm(out)
    head = femur[population.femur_landmarks["femoral_head_centre"].vertices]
    head_centre, head_radius = sphere_through(head)
    scale = (radius - rng.uniform(*SOCKET_CLEARANCE_MM)) / head_radius
    femur = (femur - head_centre) * scale
    triangles = population.femur_triangles[:, :: -1 if side == "right" else 1]
    near = np.linalg.norm(femur, axis=1) < 4 * radius  # the rest never meets the pelvis
    space = rng.uniform(*JOINT_SPACE_MM)
    for _ in range(TRIES):
        angles = {
            "inward": _drawn(rng, LEG_ROTATION),
            "abduction": _drawn(rng, LEG_ABDUCTION),
            "flexion": _drawn(rng, LEG_FLEXION),
        }
        turned = femur @ _leg_turn(**angles).T * mirror
        for away in np.arange(1, 4.1, 0.5):
            thigh = turned + centre + away * out, triangles
            roomy = _with_room(hip, thigh, centre + away * out, radius, space)
            if roomy is None:
                continue
            gap = penetration_mm(thigh[0][near], roomy).min()
            if gap >= LEAST_SPACE_MM:
                posture = {
                    **angles,
                    "joint_space_mm": float(gap),
                    "out_of_socket_mm": float(away),
                    "size": float(scale),
                }
                return roomy, thigh, posture
    return None


def _with_room(hip: Mesh, femur: Mesh, centre: np.ndarray, radius: float, space: float) -> Mesh | None:
    """The hip with its socket widened where the head comes too close; None where that would change the bone much.

    Sockets and heads of different people are not quite round, and never made for each other.
    """
    vertices = hip[0].copy()
    outwards = vertices - centre
    away = np.linalg.norm(outwards, axis=1)
    around = np.flatnonzero(away < 1.5 * radius)
    short = np.clip(space - penetration_mm(vertices[around], femur), 0, None)
    if short.max(initial=0) > WIDENED_AT_MOST_MM:
        return None
    vertices[around] += (short / away[around])[:, None] * outwards[around]
    return vertices, hip[1]


def _leg_turn(inward: float, abduction: float, flexion: float) -> np.ndarray:
    """Rotation of a left leg about the hip, degrees: about its own axis, outwards, forwards."""
    # In left form R points inwards: toes turn to R about -S, the foot goes to -R about A and forwards about R.
    return Rotation.from_euler("zyx", [-inward, abduction, flexion], degrees=True).as_matrix()
