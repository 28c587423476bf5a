"""Disease in virtual patients: worn and collapsed hips, bony ridges, cam deformities, legs of unlike length.

    patient = diseased(sample_patient(population, seed), rng)
    patient.told["disease"]  # [{"what": "narrowing", "side": "left", "kind": "superolateral", ...}, ...]

Bones are bent where they are, vertex by vertex, so that they stay in correspondence with everybody's. Landmarks on the
surface go with their vertex; centres of heads, necks and sockets stay where the joint was built, in their bone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from DualFaceReconLib.metrics import Mesh
from DualFaceReconLib.soundness import mended
from DualFaceReconLib.visibility import unit_normals
from training.patients import VirtualPatient
from training.xray.raycast import penetration_mm

# Radiographic osteoarthritis: 19.6 % of people over 50 (Kim et al., Arthritis Rheumatol 66:3013, 2014), in both hips of
# 27 % of them (Linsenmeyer et al., ACR meeting 2012, abstract 1114). Here more, as films are taken of those in pain.
WORN_SHARE, BOTH_SHARE = 0.35, 0.27
# Signs by severity, a share at the least and at the most worn hip. Ours.
SIGNS = {"narrowing": (0.6, 1.0), "ridge": (0.4, 0.95), "rim": (0.4, 0.95), "floor": (0.1, 0.6)}
KINDS = {"superolateral": 0.6, "axial": 0.25, "medial": 0.15}  # of narrowing; shares are ours
TRAVEL_MM = (0.5, 4.0)  # of the head, by severity; ours
GROWTH_MM = (1.0, 8.0)  # height of osteophytes, by severity; ours
# Collapse after osteonecrosis, and wide flat heads after Perthes' disease, of a person; ours, far more than in life.
COLLAPSED_SHARE, MAGNA_SHARE = 0.025, 0.4
COLLAPSE_MM, WIDENING = (1.5, 6.0), (0.03, 0.08)
# Cam deformity: 19.6 % of men and 5.2 % of women (Gosvig et al., J Bone Joint Surg Am 92:1162, 2010). Heights are ours.
CAM_SHARE, CAM_MM = 0.12, (2.0, 5.0)
# Legs differ by 5.2 mm on average, 4.1 standard deviation (Knutson, Chiropr Osteopat 13:11, 2005). The people's own
# differences are small; these come on top.
UNLIKE_SHARE, UNLIKE_MM, UNLIKE_RANGE_MM = 0.25, (5.2, 4.1), (3.0, 20.0)

CONTACT_MM = 0.15  # bones come no closer
GIVES_WAY_MM = 4.0  # a socket is worn out so far, not farther
JUNCTION_DEGREES = 116.0  # from the head's pole to where it becomes neck
REACH = 2.1  # head radii around the joint in which bones change
ON_SURFACE_MM = 0.5
STAYED_MM = 0.1


@dataclass(frozen=True)
class Joint:
    """A hip joint in work."""

    side: str
    hip: np.ndarray  # (V, 3)
    femur: np.ndarray  # (W, 3)
    triangles: tuple[np.ndarray, np.ndarray]  # of the hip and the femur
    centre: np.ndarray  # of the head
    radius: float  # of the head
    axis: np.ndarray  # unit, from the neck to the head's pole
    lateral: np.ndarray  # unit, along R


def diseased(patient: VirtualPatient, rng: np.random.Generator) -> VirtualPatient:
    """The patient with what age and illness do to hips; `told["disease"]` lists it, empty for the many who are well."""
    ailments = _ailments(rng)
    bones, marks, told = dict(patient.bones), {bone: dict(m) for bone, m in patient.landmarks.items()}, []
    for side, wanted in ailments.items():
        if not wanted:
            continue
        joint = joint_of(patient, side)
        ill, entries = joint, []
        for ailment in wanted:
            ill, entry = ailment(ill, rng)
            if entry:
                entries.append({"what": entry.pop("what"), "side": side, **entry})
        ill = _sound(joint, ill)
        if _touching(ill, shifted=ill.centre is not joint.centre):
            continue
        told += entries
        for bone, before, after in (
            (f"hip_{side}", joint.hip, ill.hip),
            (f"femur_{side}", joint.femur, ill.femur),
        ):
            shift = ill.centre - joint.centre if bone.startswith("femur") else np.zeros(3)
            bones[bone] = after, bones[bone][1]
            marks[bone] = {name: _carried(place, before, after, shift) for name, place in marks[bone].items()}
    ill_patient = replace(patient, bones=bones, landmarks=marks)
    if rng.random() < UNLIKE_SHARE:
        ill_patient, entry = _with_unlike_legs(ill_patient, rng)
        told.append(entry)
    return replace(ill_patient, told={**patient.told, "disease": told})


Ailment = Callable[[Joint, np.random.Generator], tuple[Joint, dict]]


def _ailments(rng: np.random.Generator) -> dict[str, list[Ailment]]:
    """What each side suffers from, in the order in which it is done."""
    wanted: dict[str, list[Ailment]] = {"left": [], "right": []}

    def sides(both_share: float) -> list[str]:
        return ["left", "right"] if rng.random() < both_share else [str(rng.choice(["left", "right"]))]

    if rng.random() < CAM_SHARE:
        for side in sides(0.7):  # mostly on both sides; the share is ours
            wanted[side].append(cam)
    if rng.random() < COLLAPSED_SHARE:
        for side in sides(0.3):
            wanted[side].append(collapse)
    if rng.random() < WORN_SHARE:
        for side in sides(BOTH_SHARE):
            severity = float(rng.beta(1.2, 1.8))  # most are mild
            for sign, (least, most) in SIGNS.items():
                if rng.random() < least + severity * (most - least):
                    wanted[side].append(_graded(WEAR[sign], severity))
    return wanted


def _graded(sign: Callable[[Joint, float, np.random.Generator], tuple[Joint, dict]], severity: float) -> Ailment:
    return lambda joint, rng: sign(joint, severity, rng)


def joint_of(patient: VirtualPatient, side: str) -> Joint:
    """A side's hip joint as the bones and landmarks say."""
    hip, femur = patient.bones[f"hip_{side}"], patient.bones[f"femur_{side}"]
    marks = patient.landmarks[f"femur_{side}"]
    centre = marks["femoral_head_centre"]
    axis = unit(centre - marks["femoral_neck_centre"])
    lateral = np.array([1.0 if side == "right" else -1.0, 0, 0])
    radius = head_radius(femur[0], centre, axis)
    return Joint(side, hip[0], femur[0], (hip[1], femur[1]), centre, radius, axis, lateral)


def head_radius(femur: np.ndarray, centre: np.ndarray, axis: np.ndarray) -> float:
    """Radius in mm of a head around its centre: what most of its outer half has."""
    to = femur - centre
    away = np.linalg.norm(to, axis=1)
    return float(np.median(away[(to @ axis > 0.5 * away) & (away < 40)]))


# Wear


def narrowing(joint: Joint, severity: float, rng: np.random.Generator) -> tuple[Joint, dict]:
    """The head wanders into its socket, which is worn out where it would be touched."""
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    up = np.array([0, 0, 1.0])
    way = unit(
        {"superolateral": up + 0.45 * joint.lateral, "axial": up - 0.8 * joint.lateral, "medial": -joint.lateral}[kind]
    )
    way = unit(way + rng.normal(0, 0.12, 3))
    travel = _graded_size(TRAVEL_MM, severity, rng)
    left = float(rng.uniform(2 * CONTACT_MM, 0.8))
    before = space_mm(joint, way)
    for share in (1.0, 0.5):
        shift = travel * share * way
        moved = replace(joint, femur=joint.femur + shift, centre=joint.centre + shift)
        moved = _given_way(moved, left)
        if moved is not None:
            entry = {"what": "narrowing", "kind": kind, "travel_mm": travel * share}
            return moved, {**entry, "space_before_mm": before, "space_after_mm": space_mm(moved, way)}
    return joint, {}


def space_mm(joint: Joint, way: np.ndarray) -> float:
    """The least distance of head and socket within 35 degrees around a direction from the centre, mm."""
    to = joint.femur - joint.centre
    away = np.linalg.norm(to, axis=1)
    sector = (to @ way > np.cos(np.radians(35)) * away) & (away < 1.3 * joint.radius)
    return float(penetration_mm(joint.femur[sector], _hip_around(joint)).min())


def ridge(joint: Joint, severity: float, rng: np.random.Generator) -> tuple[Joint, dict]:
    """Osteophytes where the head becomes neck: a collar of unlike heights, often interrupted."""
    height = _graded_size(GROWTH_MM, severity, rng)
    polar, azimuth, outwards = _around_axis(joint)
    profile = np.exp(-0.5 * ((polar - JUNCTION_DEGREES) / rng.uniform(8, 13)) ** 2)
    offsets = (height * profile * irregular(azimuth, rng))[:, None] * (outwards + 0.3 * joint.axis)
    grown = _grown(joint.femur, offsets, _hip_around(joint))
    return replace(joint, femur=grown), {"what": "ridge", "height_mm": _largest(grown - joint.femur)}


def rim(joint: Joint, severity: float, rng: np.random.Generator) -> tuple[Joint, dict]:
    """Osteophytes of the acetabular rim: it grows over the head and outwards, not everywhere alike."""
    height = _graded_size(GROWTH_MM, severity, rng)
    to = joint.hip - joint.centre
    away = np.linalg.norm(to, axis=1)
    near = np.flatnonzero(away < 1.35 * joint.radius)
    mouth = -unit(to[near].mean(axis=0))
    across, along = _perpendicular(mouth)
    azimuth = np.arctan2(to @ along, to @ across)
    sector = ((azimuth[near] + np.pi) / (2 * np.pi) * 24).astype(int) % 24
    edge = np.full(24, -np.inf)  # how far the rim reaches towards the mouth, by sector
    np.maximum.at(edge, sector, to[near] @ mouth)
    if np.isinf(edge).any():
        return joint, {}
    below = edge[((azimuth + np.pi) / (2 * np.pi) * 24).astype(int) % 24] - to @ mouth
    outwards = to - (to @ mouth)[:, None] * mouth
    outwards /= np.maximum(np.linalg.norm(outwards, axis=1, keepdims=True), 1e-9)
    profile = np.exp(-0.5 * (below / 5.0) ** 2) * np.clip((1.6 - away / joint.radius) / 0.25, 0, 1)
    profile *= np.clip((0.85 + outwards[:, 2]) / 0.3, 0, 1)  # none at the notch below
    offsets = (height * profile * irregular(azimuth, rng))[:, None] * (0.8 * mouth + 0.6 * outwards)
    grown = _grown(joint.hip, offsets, _femur_around(joint))
    return replace(joint, hip=grown), {"what": "rim", "height_mm": _largest(grown - joint.hip)}


def floor(joint: Joint, severity: float, rng: np.random.Generator) -> tuple[Joint, dict]:
    """Osteophytes of the acetabular fossa: its floor grows towards the head."""
    height = _graded_size(GROWTH_MM, severity, rng)
    to = joint.hip - joint.centre
    away = np.linalg.norm(to, axis=1)
    inwards = -to / away[:, None]
    inner = unit(to[away < 1.45 * joint.radius].mean(axis=0))  # from the mouth to the floor
    # the face that looks at the head, in the middle of the socket, where it is not cartilage
    depth = away - joint.radius
    middle = np.clip((to @ inner / away - 0.5) / 0.3, 0, 1) * (depth > 2) * (away < 1.5 * joint.radius)
    normals = _facing(joint.hip, joint.triangles[0], inwards)
    azimuth = np.arctan2(*(to @ np.stack(_perpendicular(inner)).T).T)
    share = middle * np.clip(normals, 0, 1) * (0.5 + 0.5 * irregular(azimuth, rng))
    offsets = (height * share)[:, None] * inwards
    grown = _grown(joint.hip, offsets, _femur_around(joint))
    return replace(joint, hip=grown), {"what": "floor", "height_mm": _largest(grown - joint.hip)}


WEAR = {"narrowing": narrowing, "ridge": ridge, "rim": rim, "floor": floor}


# Shapes


def collapse(joint: Joint, rng: np.random.Generator) -> tuple[Joint, dict]:
    """The weight-bearing cap of the head is pressed flat; in some the head is wider too, and its socket with it."""
    depth = float(rng.uniform(*COLLAPSE_MM))
    wider = float(rng.uniform(*WIDENING)) if rng.random() < MAGNA_SHARE else 0.0
    top = unit(np.array([0, 0.25, 1.0]) + 0.2 * joint.lateral + rng.normal(0, 0.15, 3))
    for share in (1.0, 0.5):
        to = joint.femur - joint.centre
        height = to @ top
        head = np.clip((1.25 - np.linalg.norm(to, axis=1) / joint.radius) / 0.2, 0, 1)
        start = 0.35 * joint.radius
        along = np.clip((height - start) / (joint.radius - start), 0, 1)
        azimuth = np.arctan2(*(to @ np.stack(_perpendicular(top)).T).T)
        pressed = depth * (0.65 + 0.35 * irregular(azimuth, rng)) * along**2 * (3 - 2 * along)
        sideways = to - (to @ joint.axis)[:, None] * joint.axis
        body = np.clip(1 + to @ joint.axis / joint.radius, 0, 1)  # none at the neck
        offsets = -(head * pressed)[:, None] * top + (wider * share * head * body)[:, None] * sideways
        flat = _given_way(replace(joint, femur=joint.femur + offsets), CONTACT_MM)
        if flat is not None:
            return flat, {"what": "collapse", "depth_mm": depth, "widening": wider * share}
    return joint, {}


def cam(joint: Joint, rng: np.random.Generator) -> tuple[Joint, dict]:
    """The head does not step down to the neck in front and above: a bump on the junction."""
    height = float(rng.uniform(*CAM_MM))
    polar, azimuth, outwards = _around_axis(joint)
    up_front = unit(np.array([0, 1.0, 1.0]))
    direction = outwards @ unit(up_front - (up_front @ joint.axis) * joint.axis)
    wide = np.radians(rng.uniform(25, 45))
    arc = np.exp(-0.5 * (np.arccos(np.clip(direction, -1, 1)) / wide) ** 2)
    profile = np.exp(-0.5 * ((polar - JUNCTION_DEGREES + 4) / 13) ** 2)
    offsets = (height * profile * arc * (0.85 + 0.15 * irregular(azimuth, rng)))[:, None] * outwards
    grown = _grown(joint.femur, offsets, _hip_around(joint))
    return replace(joint, femur=grown), {"what": "cam", "height_mm": _largest(grown - joint.femur)}


def _with_unlike_legs(patient: VirtualPatient, rng: np.random.Generator) -> tuple[VirtualPatient, dict]:
    """One thigh longer below the lesser trochanter; the pelvis, and all with it, rises somewhat on that side."""
    side = str(rng.choice(["left", "right"]))
    longer = 0.0
    while not UNLIKE_RANGE_MM[0] <= longer <= UNLIKE_RANGE_MM[1]:
        longer = float(rng.normal(*UNLIKE_MM))
    bone = f"femur_{side}"
    marks = patient.landmarks[bone]
    knee = (marks["medial_epicondyle"] + marks["lateral_epicondyle"]) / 2
    down = unit(knee - marks["greater_trochanter"])
    start = (marks["lesser_trochanter"] - knee) @ down
    vertices, triangles = patient.bones[bone]
    share = np.clip(1 - (vertices - knee) @ down / start, 0, 1)
    longer_bone = vertices + (longer * share)[:, None] * down
    bones = patient.bones | {bone: (longer_bone, triangles)}
    landmarks = patient.landmarks | {
        bone: {n: _carried(place, vertices, longer_bone, np.zeros(3)) for n, place in marks.items()}
    }
    # A leg that stands on the floor lifts the pelvis; one that lies on a table need not.
    apart = np.linalg.norm(
        np.subtract(*(patient.landmarks[f"hip_{s}"]["acetabular_centre"] for s in ("left", "right")))
    )
    tilt = float(rng.uniform(0, 1) * np.degrees(np.arctan(longer / apart)))
    turn = Rotation.from_euler("y", tilt if side == "left" else -tilt, degrees=True).as_matrix()
    bones = {name: (v @ turn.T, t) for name, (v, t) in bones.items()}
    landmarks = {name: {n: turn @ place for n, place in places.items()} for name, places in landmarks.items()}
    entry = {"what": "longer leg", "side": side, "longer_mm": longer, "raised_degrees": tilt}
    return replace(patient, bones=bones, landmarks=landmarks), entry


# Tools


def unit(vector: np.ndarray) -> np.ndarray:
    """The vector (3,) at length 1."""
    return vector / np.linalg.norm(vector)


def irregular(angle: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """0 to 1 along a circle, (N,) for angles (N,) in radians: hills of unlike height and width with gaps between."""
    order = np.arange(1, 8)
    strength = rng.normal(size=(2, len(order))) / order**0.5

    def waves(at: np.ndarray) -> np.ndarray:
        turned = at[:, None] * order
        return np.cos(turned) @ strength[0] + np.sin(turned) @ strength[1]

    everywhere = waves(np.linspace(-np.pi, np.pi, 181))
    low = np.quantile(everywhere, rng.uniform(0.05, 0.5))  # below is a gap
    return np.clip((waves(angle) - low) / (everywhere.max() - low), 0, 1)


def _graded_size(sizes: tuple[float, float], severity: float, rng: np.random.Generator) -> float:
    """A size in mm that grows with severity, with some freedom."""
    share = np.clip(severity + rng.normal(0, 0.15), 0, 1)
    return float(sizes[0] + share * (sizes[1] - sizes[0]))


def _around_axis(joint: Joint) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the femur's vertices: degrees from the head's pole, angle about the axis, unit way out from it.

    Vertices far from the head are given the lowest pole, where nothing grows.
    """
    to = joint.femur - joint.centre
    away = np.linalg.norm(to, axis=1)
    polar = np.degrees(np.arccos(np.clip(to @ joint.axis / away, -1, 1)))
    polar[away > 1.6 * joint.radius] = 180 + JUNCTION_DEGREES
    across, along = _perpendicular(joint.axis)
    outwards = to - (to @ joint.axis)[:, None] * joint.axis
    outwards /= np.maximum(np.linalg.norm(outwards, axis=1, keepdims=True), 1e-9)
    return polar, np.arctan2(to @ along, to @ across), outwards


def _perpendicular(axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors (3,) across an axis and each other."""
    across = unit(np.cross(axis, np.eye(3)[np.abs(axis).argmin()]))
    return across, np.cross(axis, across)


def _facing(vertices: np.ndarray, triangles: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Cosine (V,) between the outward normals and directions (V, 3)."""
    return np.einsum("vi,vi->v", unit_normals(vertices, triangles), direction)


def _grown(vertices: np.ndarray, offsets: np.ndarray, other: Mesh) -> np.ndarray:
    """Vertices moved by offsets (V, 3), each no farther than the room that the other bone leaves."""
    length = np.linalg.norm(offsets, axis=1)
    moving = np.flatnonzero(length > STAYED_MM)
    room = np.clip(penetration_mm(vertices[moving], other) - CONTACT_MM, 0, None)
    grown = vertices.copy()
    grown[moving] += np.minimum(1, room / length[moving])[:, None] * offsets[moving]
    return grown


def _given_way(joint: Joint, left: float) -> Joint | None:
    """The joint with its socket worn out to `left` mm from the head; None if that takes too much of the bone.

    Vertices keep their distance first; where the head still reaches through between them, all give way some more.
    """
    outwards = joint.hip - joint.centre
    away = np.linalg.norm(outwards, axis=1)
    around = np.flatnonzero(away < 1.6 * joint.radius)
    outwards = outwards[around] / away[around, None]
    femur = _femur_around(joint)
    given = np.zeros(len(around))
    for _ in range(3):  # the nearest way out is not quite the radial one
        short = np.clip(left - penetration_mm(joint.hip[around] + given[:, None] * outwards, femur), 0, None)
        given += short
        if given.max(initial=0) > GIVES_WAY_MM:
            return None
        hip = joint.hip.copy()
        hip[around] += given[:, None] * outwards
        worn = replace(joint, hip=hip)
        closest = penetration_mm(femur[0], _hip_around(worn)).min()
        if closest >= CONTACT_MM:
            return worn
        left += CONTACT_MM - closest
    return None


def _hip_around(joint: Joint) -> Mesh:
    return _part(joint.hip, joint.triangles[0], joint, REACH)[0]


def _femur_around(joint: Joint) -> Mesh:
    return _part(joint.femur, joint.triangles[1], joint, REACH)[0]


def _part(vertices: np.ndarray, triangles: np.ndarray, joint: Joint, reach: float) -> tuple[Mesh, np.ndarray]:
    """The triangles within so many head radii of the joint, as a mesh, and the numbers of its vertices."""
    near = ((vertices - joint.centre) ** 2).sum(axis=1) < (reach * joint.radius) ** 2
    kept = triangles[near[triangles].all(axis=1)]
    numbers = np.flatnonzero(near)
    place = np.cumsum(near) - 1
    return (vertices[numbers], place[kept]), numbers


def _sound(before: Joint, after: Joint) -> Joint:
    """The joint with what crosses itself drawn anew after the bones before."""
    shift = after.centre - before.centre
    hip = _mended(after.hip, before.hip, after.triangles[0])
    return replace(after, hip=hip, femur=_mended(after.femur, before.femur + shift, after.triangles[1]))


def _mended(vertices: np.ndarray, before: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Sound vertices (V, 3); only what lies near a vertex that moved is looked at."""
    moved = ((vertices - before) ** 2).sum(axis=1) > STAYED_MM**2
    if not moved.any():
        return vertices
    low, high = vertices[moved].min(axis=0) - 8, vertices[moved].max(axis=0) + 8
    near = ((vertices > low) & (vertices < high)).all(axis=1)
    numbers = np.flatnonzero(near)
    place = np.cumsum(near) - 1
    whole = vertices.copy()
    whole[numbers] = mended(vertices[numbers], place[triangles[near[triangles].all(axis=1)]], before[numbers])
    return whole


def _touching(joint: Joint, shifted: bool) -> bool:
    """Whether the bones come closer than they may; of a shifted femur the trochanters may, too."""
    reach = 3.0 if shifted else REACH
    femur, _ = _part(joint.femur, joint.triangles[1], joint, reach)
    hip, _ = _part(joint.hip, joint.triangles[0], joint, reach)
    near = ((hip[0] - joint.centre) ** 2).sum(axis=1) < (1.6 * joint.radius) ** 2
    gap = min(penetration_mm(femur[0], hip).min(), penetration_mm(hip[0][near], femur).min())
    return bool(gap < CONTACT_MM / 3)


def _carried(place: np.ndarray, before: np.ndarray, after: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """A landmark (3,) after its bone moved: with its vertex where it lies on one, else with the bone as a whole."""
    away = ((before - place) ** 2).sum(axis=1)
    nearest = int(away.argmin())
    return place + (after[nearest] - before[nearest] if away[nearest] < ON_SURFACE_MM**2 else shift)


def _largest(offsets: np.ndarray) -> float:
    return float(np.sqrt((offsets**2).sum(axis=1).max()))
