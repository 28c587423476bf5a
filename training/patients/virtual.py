"""Virtual patients: hips, sacrum, femora and lower lumbar bodies of new people, posed as they lie on a table or stand.

    patient = sample_patient(population, seed=7)
    patient.bones["femur_left"]  # vertices, triangles; RAS mm around the middle between the hip centres

A pelvis is a mixture of a few real people's, varied a little on each side, and so are the femora. A femur is sized so
that its head fits the socket, or both so that their heads fit the two sockets on average: see `shape_variety.py`.
Bones never pass through each other: a leg whose bones touch is drawn again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.spatial import cKDTree

from DualFaceReconLib.bonemaps import BONES, other_side
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.meshes import MIRROR, Mesh, mirrored, rigid_fit, sphere_through
from DualFaceReconLib.shape.repair import repaired_vertices
from DualFaceReconLib.shape.shapemodel import ShapeModel
from training.anatomy.lumbar import lumbar_bodies, unit_vertebra
from training.patients.population import Population
from training.patients.posture import Posture, leg_turn, posture_of
from training.patients.shape_variety import SHAPES, Shapes, bent_sides
from training.raycast import meeting_triangles, penetration_mm, recognise

MIXED = 3  # people in a mixture
STRETCHED = 1.15  # differences of the shares from equal ones are larger by this factor: one may exceed 1 or be negative
SIZE_SPREAD = 0.03  # standard deviation of a person's size

JOINT_SPACE_MM = (0.4, 1.5)  # between the bones where they are closest; cartilage makes it 3 to 5 mm elsewhere
SOCKET_CLEARANCE_MM = (0.5, 1.5)  # radius of the socket less that of the head
WIDENED_AT_MOST_MM = 2.5  # a socket that would have to give way more is not used
LEAST_SPACE_MM = 0.2  # between femur and hip
SOUGHT_MM = 8.0  # within which one bone is sought from the other
SACRUM_REACH_MM = 25.0  # hip vertices within this distance of the sacrum belong to the sacroiliac joint
SIZES_TRIED = 3  # mixtures of femora of which the one is taken that is as large as the pelvis
TRIES = 12  # of pairs of femora, and of a leg's postures


@dataclass(frozen=True)
class Part:
    """A solid that is no bone: a piece of an implant or of clothing."""

    material: str  # "titanium", "cobalt_chrome", "steel", "cement" or "lead"
    mesh: Mesh  # closed, outward, RAS mm, in the bones' frame


class NoFemoraFit(Refusal):
    """Of all femora that were tried none went into the sockets without touching."""


@dataclass(frozen=True, kw_only=True)
class VirtualPatient:
    """A posed patient, and how it came about."""

    bones: dict[str, Mesh]  # the scored ones, "sacrum", "lumbar_5", "lumbar_4", "lumbar_3"; RAS mm, closed, outward
    landmarks: dict[str, dict[str, np.ndarray]]  # of the scored bones: name -> (3,) RAS mm
    metadata: dict  # seed, people with their shares, size, posture, joint spaces; plain values for JSON
    parts: dict[str, Part] = field(default_factory=dict)  # "stem_left", "shield"; a side is the name's last word
    standing: bool = False  # at a stand, and not lying on a table

    def mirrored(self) -> VirtualPatient:
        """The mirror image of the patient: left and right change places."""
        bones = {other_side(bone): mirrored(mesh) for bone, mesh in self.bones.items()}
        marks = {
            other_side(bone): {k: p * MIRROR for k, p in places.items()} for bone, places in self.landmarks.items()
        }
        parts = {other_side(part): Part(solid.material, mirrored(solid.mesh)) for part, solid in self.parts.items()}
        metadata = {**self.metadata, "mirrored": True}
        ordered = {bone: bones[bone] for bone in self.bones}
        return replace(self, bones=ordered, landmarks=marks, metadata=metadata, parts=parts)

    def turned(self, rotation: np.ndarray) -> VirtualPatient:
        """The patient turned about the origin by a rotation (3, 3)."""
        return self._moved(lambda points: points @ rotation.T)

    def translated(self, translation: np.ndarray) -> VirtualPatient:
        """The patient moved by (3,) mm."""
        return self._moved(lambda points: points + translation)

    def _moved(self, move: Callable[[np.ndarray], np.ndarray]) -> VirtualPatient:
        bones = {bone: (move(vertices), triangles) for bone, (vertices, triangles) in self.bones.items()}
        marks = {bone: {k: move(p) for k, p in places.items()} for bone, places in self.landmarks.items()}
        parts = {name: Part(part.material, (move(part.mesh[0]), part.mesh[1])) for name, part in self.parts.items()}
        return replace(self, bones=bones, landmarks=marks, parts=parts)


def sample_patient(population: Population, seed: int, posture: str = "usual", shapes: str = "usual") -> VirtualPatient:
    """The virtual patient of a seed; the same population, seed, posture (see `posture.py`) and shapes give the same."""
    variety = SHAPES[shapes]
    rng = np.random.default_rng([seed, 0x3DD])
    _recognise_bones(population)
    size = float(np.clip(rng.normal(1, SIZE_SPREAD), 1 - 3 * SIZE_SPREAD, 1 + 3 * SIZE_SPREAD))
    hips, hip_shares = _pelvis(population, variety, rng)
    sacrum = _sacrum(population, hips, rng) * size
    hips = hips * size
    lumbar = lumbar_bodies(sacrum, population.sacrum_triangles, size, rng)
    drawn = posture_of(posture, rng)
    metadata: dict = {
        "seed": seed,
        "size": size,
        "posture": posture,
        "standing": drawn.standing,
        "pelvis": hip_shares,
    }

    pelvis_turn, metadata["pelvis_degrees"] = drawn.pelvis(rng)
    flexion = {side: drawn.flexion(rng) for side in ("left", "right")}
    hips, sacrum = hips @ pelvis_turn.T, sacrum @ pelvis_turn.T
    triangles = {"left": population.hip_triangles, "right": population.hip_triangles[:, ::-1]}
    bones: dict[str, Mesh] = {f"hip_{s}": (hips[i], triangles[s]) for i, s in enumerate(("left", "right"))}

    for _ in range(TRIES):  # the head of one person does not always fit the socket of another
        if variety.one_size:
            both_hips = bones["hip_left"], bones["hip_right"]
            femora, shares, scale = _femora_of_one_size(population, both_hips, variety, rng)
        else:
            (femora, shares), scale = _femora(population, variety, rng), None
        both = [
            _seated(population, bones[f"hip_{s}"], femora[i], s, drawn, flexion[s], scale, rng)
            for i, s in enumerate(("left", "right"))
        ]
        if None not in both:
            break
    else:
        raise NoFemoraFit(f"No femora fit the sockets of virtual patient {seed}: take another seed.")
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
    return VirtualPatient(bones=bones, landmarks=marks, metadata=metadata, standing=drawn.standing)


def _recognise_bones(population: Population) -> None:
    """Search trees of the bones that all patients have, left and right; of the same shape whoever comes first."""
    vertebra, faces = unit_vertebra()
    for shape, triangles in (
        (population.hip_model.mean, population.hip_triangles),
        (population.femur_model.mean, population.femur_triangles),
        (population.sacra[0], population.sacrum_triangles),
        (vertebra, faces),
    ):
        recognise(shape, triangles)
        recognise(shape * MIRROR, triangles[:, ::-1])


def _shares(people: tuple[str, ...], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Places of a few people in `people`, their shares, which add up to 1, and the shares by name.

    Often most of a mixture is one person.
    """
    chosen = rng.choice(len(people), min(MIXED, len(people)), replace=False)
    shares = rng.dirichlet(np.full(len(chosen), 0.7))
    shares = 1 / len(chosen) + STRETCHED * (shares - 1 / len(chosen))
    return chosen, shares, {people[i]: round(float(s), 4) for i, s in zip(chosen, shares, strict=True)}


def _pelvis(population: Population, shapes: Shapes, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    """Both hips (2, V, 3) in the pelvic frame."""
    chosen, shares, named = _shares(population.pelvis_people, rng)
    hips = np.einsum("p,psvx->svx", shares, population.pelves[chosen])
    left, right = _varied(population.hip_model, (hips[0], hips[1] * MIRROR), shapes, rng)
    return np.stack([left, right * MIRROR]), named


def _varied(
    model: ShapeModel, sides: Iterable[np.ndarray], shapes: Shapes, rng: np.random.Generator
) -> list[np.ndarray]:
    """A person's left and right bone, varied along a model's modes and repaired.

    Both come in left form, wherever and however they lie.
    """
    shared = rng.normal(size=len(model.variances)) * shapes.shared
    varied = []
    for vertices in sides:
        own = shared + rng.normal(size=len(shared)) * shapes.own
        rotation, translation = rigid_fit(model.mean, vertices)
        offsets = model.shape(own) - model.mean
        reference = model.mean @ rotation.T + translation
        shape = vertices + offsets @ rotation.T
        varied.append(repaired_vertices(shape, model.triangles, reference, pairs_of=meeting_triangles))
    return varied


def _sacrum(population: Population, hips: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A sacrum (X, 3) between hips (2, V, 3): a mixture, placed so that its own people's sacroiliac joints fit them."""
    chosen, shares, _ = _shares(population.sacrum_people, rng)
    sacrum = np.einsum("p,pvx->vx", shares, population.sacra[chosen])
    theirs = np.einsum("p,psvx->svx", shares, population.sacrum_hips[chosen])
    near = np.isfinite(cKDTree(sacrum).query(theirs.reshape(-1, 3), distance_upper_bound=SACRUM_REACH_MM)[0])
    source, target = theirs.reshape(-1, 3)[near], hips.reshape(-1, 3)[near]
    scale = np.linalg.norm(target - target.mean(axis=0)) / np.linalg.norm(source - source.mean(axis=0))
    rotation, translation = rigid_fit(source * scale, target)
    return sacrum * scale @ rotation.T + translation


def _femora(population: Population, shapes: Shapes, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    """Two femora (2, W, 3) in left form and femoral frame."""
    femur, named = _mixed_femur(population, rng)
    return _pair_of(population, femur, shapes, rng), named


def _femora_of_one_size(
    population: Population, hips: Sequence[Mesh], shapes: Shapes, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, float], float]:
    """Femora (2, W, 3) as of `_femora`, and their scale, by which both heads fit the sockets on average.

    Of a few mixtures that is taken which needs the least scaling: whose people are about as large as the pelvis.
    """
    room = np.mean([sphere_through(_socket(population, hip))[1] for hip in hips]) - rng.uniform(*SOCKET_CLEARANCE_MM)
    mixtures = [_mixed_femur(population, rng) for _ in range(SIZES_TRIED)]
    femur, shares = min(mixtures, key=lambda mixture: abs(np.log(room / _head_radius(population, mixture[0]))))
    femora = _pair_of(population, femur, shapes, rng)
    return femora, shares, float(room / np.mean([_head_radius(population, femur) for femur in femora]))


def _pair_of(population: Population, femur: np.ndarray, shapes: Shapes, rng: np.random.Generator) -> np.ndarray:
    """A person's two femora (2, W, 3) of one (W, 3), bent and varied."""
    sides = bent_sides(femur, population.femur_landmarks, shapes, rng)
    return np.stack(_varied(population.femur_model, sides, shapes, rng))


def _mixed_femur(population: Population, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    """A femur (W, 3) in left form and femoral frame, and whose it is."""
    chosen, shares, named = _shares(population.femur_people, rng)
    return np.einsum("p,pvx->vx", shares, population.femora[chosen]), named


def _head_radius(population: Population, femur: np.ndarray) -> float:
    """Radius of a femur's head, mm."""
    return sphere_through(_head(population, femur))[1]


def _socket(population: Population, hip: Mesh) -> np.ndarray:
    """Vertices (K, 3) of a hip's socket."""
    return hip[0][population.hip_landmarks["acetabular_centre"].vertices]


def _head(population: Population, femur: np.ndarray) -> np.ndarray:
    """Vertices (K, 3) of a femur's head."""
    return femur[population.femur_landmarks["femoral_head_centre"].vertices]


def _seated(
    population: Population,
    hip: Mesh,
    femur: np.ndarray,
    side: str,
    posture: Posture,
    flexion: float | None,
    scale: float | None,
    rng: np.random.Generator,
) -> tuple[Mesh, Mesh, dict[str, float]] | None:
    """A hip whose socket leaves room, the femur in it, and the leg's posture; None where every try touches.

    `femur` (W, 3) is in left form and femoral frame; `scale` is its size, or None for that of the socket.
    """
    mirror = MIRROR if side == "right" else np.ones(3)
    socket = _socket(population, hip)
    centre, radius = sphere_through(socket)
    out = centre - socket.mean(axis=0)  # through the socket's mouth
    out /= np.linalg.norm(out)
    head_centre, head_radius = sphere_through(_head(population, femur))
    if scale is None:
        scale = (radius - rng.uniform(*SOCKET_CLEARANCE_MM)) / head_radius
    femur = (femur - head_centre) * scale
    triangles = population.femur_triangles[:, :: -1 if side == "right" else 1]
    near = np.linalg.norm(femur, axis=1) < 4 * radius  # the rest is far from the pelvis
    space = rng.uniform(*JOINT_SPACE_MM)
    for _ in range(TRIES):
        angles = posture.leg(rng, flexion)
        turned = femur @ leg_turn(**angles).T * mirror
        for away in np.arange(1, 4.1, 0.5):
            placed = turned + centre + away * out, triangles
            widened = _with_room(hip, placed, centre + away * out, radius, space)
            if widened is None:
                continue
            gap = penetration_mm(placed[0][near], widened, SOUGHT_MM).min()
            if gap >= LEAST_SPACE_MM:
                seated = {
                    **angles,
                    "joint_space_mm": float(gap),
                    "out_of_socket_mm": float(away),
                    "size": float(scale),
                }
                return widened, placed, seated
    return None


def _with_room(hip: Mesh, femur: Mesh, centre: np.ndarray, radius: float, space: float) -> Mesh | None:
    """The hip with its socket widened where the head is nearer than `space` mm; None where that takes too much of it.

    Sockets and heads are not quite round, and here they come from different people.
    """
    vertices = hip[0].copy()
    outwards = vertices - centre
    away = np.linalg.norm(outwards, axis=1)
    around = np.flatnonzero(away < 1.5 * radius)
    short = np.clip(space - penetration_mm(vertices[around], femur, SOUGHT_MM), 0, None)
    if short.max(initial=0) > WIDENED_AT_MOST_MM:
        return None
    vertices[around] += (short / away[around])[:, None] * outwards[around]
    return vertices, hip[1]
