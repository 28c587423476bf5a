"""The sets of real bones: who made them, under which licence, and every person of a set on one template."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from DualFaceReconLib.disk.files import write_file
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.meshes import Mesh, mirrored, rigid_fit, sample_surface, unit_normals
from DualFaceReconLib.shape.repair import repaired_vertices, vertex_adjacency
from training.anatomy.gbcpd import RegistrationSettings, register
from training.anatomy.remeshing import anchors, carried, closed, even_template, read_ply

# Stiffer than the method's own default of 20: where true correspondence is known, between two people of one set, that
# takes 11 to 18 % off the error (two pairs of femora, two of hips).
ONTO_A_MEAN = RegistrationSettings(
    accelerated=True, stiffness=100, rank=300, thinned_source=800, thinned_target=1600, refining_steps=60
)
TARGET_POINTS = 6000
CARRIED_TOO_FAR_MM = 6.0  # a template vertex further from the mean's surface was not registered
PROCRUSTES_ROUNDS = 10
STRAY_MM = 4.0  # a vertex whose offset from the mean bone differs more from its neighbours' is a stray


@dataclass(frozen=True, kw_only=True)
class BoneSet:
    """Where bones come from; source and licence are named wherever they are used."""

    name: str
    source: str
    licence: str


LLP26 = BoneSet(
    name="llp26",
    source="Zhang et al., J Biomech 49(16):3875, 2016 (Auckland lower-limb model; musculoskeletal/models)",
    licence="MPL-2.0",
)
RHAN40 = BoneSet(
    name="rhan40",
    source="Han et al., Phys Med Biol 2019, doi:10.1088/1361-6560/ab1456; from TCIA CT Lymph Nodes. "
    "Not for clinical use",
    licence="CC BY 4.0",
)


@dataclass(frozen=True, kw_only=True)
class Corresponded:
    """Bones of many people on one template, in left form; both sides of a person stand under the person's name."""

    bone: str  # "hip" or "femur"
    triangles: np.ndarray  # (T, 3) of the template
    shapes: np.ndarray  # (N, V, 3) mm, each where its file has it, right ones mirrored
    people: tuple[str, ...]  # (N,) "set/person"
    sets: tuple[BoneSet, ...]

    def one_sided(self) -> Corresponded:
        """The first set's bones alone, of one side: what a plain model is made of."""
        first = [i for i, person in enumerate(self.people) if person.startswith(f"{self.sets[0].name}/")]
        kept = [i for place, i in enumerate(first) if self.people[i] not in {self.people[j] for j in first[:place]}]
        return replace(self._of(kept), sets=self.sets[:1])

    def without(self, people: set[str]) -> Corresponded:
        """All but some people, as folds need it; an unknown name is an error."""
        unknown = people - set(self.people)
        if unknown:
            raise ValueError(f"nobody is called {', '.join(sorted(unknown))}")
        kept = [i for i, person in enumerate(self.people) if person not in people]
        return self._of(kept)

    def _of(self, kept: list[int]) -> Corresponded:
        return replace(self, shapes=self.shapes[kept], people=tuple(self.people[i] for i in kept))


def save_corresponded(bones: Corresponded, path: Path) -> None:
    """Keeps corresponded bones in an .npz file."""
    write_file(path, lambda beside: np.savez_compressed(beside, **corresponded_arrays(bones)))


def load_corresponded(path: Path) -> Corresponded:
    """The inverse of `save_corresponded`."""
    with np.load(path, allow_pickle=False) as file:
        return corresponded_from(file)


def corresponded_arrays(bones: Corresponded) -> dict[str, np.ndarray]:
    """Corresponded bones as arrays for an .npz file."""
    return {
        "bone": np.array(bones.bone),
        "triangles": bones.triangles.astype(np.int32),
        "shapes": bones.shapes.astype(np.float32),
        "people": np.array(bones.people),
        "sets": np.array([bone_set.name for bone_set in bones.sets]),
    }


def corresponded_from(arrays: Mapping[str, np.ndarray]) -> Corresponded:
    """The inverse of `corresponded_arrays`."""
    known = {bone_set.name: bone_set for bone_set in (LLP26, RHAN40)}
    return Corresponded(
        bone=str(arrays["bone"]),
        triangles=arrays["triangles"].astype(np.int64),
        shapes=arrays["shapes"].astype(np.float64),
        people=tuple(str(person) for person in arrays["people"]),
        sets=tuple(known[str(name)] for name in arrays["sets"]),
    )


Say = Callable[[str], None]


def corresponded_hips(bones: Path, vertices: int = 4600, say: Say = print) -> Corresponded:
    """Both hemipelves of everybody in `rhan40` and `llp26` on an even template of rhan40's mean left one."""
    parts = [(RHAN40, "hip_left"), (RHAN40, "hip_right"), (LLP26, "hip_left"), (LLP26, "hip_right")]
    return _corresponded("hip", bones, parts, vertices, say)


def corresponded_femora(bones: Path, vertices: int = 3000, say: Say = print) -> Corresponded:
    """The left femora of everybody in `llp26` on an even template of their mean."""
    return _corresponded("femur", bones, [(LLP26, "femur_left")], vertices, say)


def _corresponded(bone: str, bones: Path, parts: list[tuple[BoneSet, str]], vertices: int, say: Say) -> Corresponded:
    """The people of a set share a mesh: the template is registered to their mean, and carried from there to each."""
    template, shapes, people = None, [], []
    for people_set, file in parts:
        names, stack, triangles = _read_set(bones / people_set.name, file)
        mean = np.median(procrustes(stack)[0], axis=0)  # stray vertices do not move it
        if template is None:
            template = even_template(closed((mean, triangles)), vertices)
            placed = template[0]
        else:
            placed = _registered(template, (mean, triangles))
        anchor = anchors(placed, unit_normals(placed, template[1]), (mean, triangles))
        moved = np.linalg.norm(carried(triangles, anchor, mean) - placed, axis=1)
        worst = moved.max()
        say(f"{people_set.name} {file}: {len(names)} people, template {moved.mean():.2f} mm off, at worst {worst:.1f}")
        if worst > CARRIED_TOO_FAR_MM:
            raise Refusal(
                f"The template does not fit the mean {file} of {people_set.name}, {worst:.1f} mm off: look at them."
            )
        shapes += [carried(triangles, anchor, shape) for shape in stack]
        people += [f"{people_set.name}/{name}" for name in names]
    sets = tuple(dict.fromkeys(people_set for people_set, _ in parts))
    faultless, moved = repaired_shapes(np.array(shapes), template[1])
    say(
        f"{bone}: {moved.max(initial=0)} vertices of {len(template[0])} repaired at most, {moved.mean():.0f} on average"
    )
    return Corresponded(bone=bone, triangles=template[1], shapes=faultless, people=tuple(people), sets=sets)


def repaired_shapes(shapes: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shapes (N, V, 3) without stray vertices, flipped or crossing triangles; how many vertices of each (N,) moved.

    rhan40 has vertices that were flung up to 100 mm away, and slivers near the ischial spine and the pubic tubercle.
    """
    aligned = procrustes(shapes)[0]
    typical = np.median(aligned, axis=0)  # strays do not move it
    adjacency = vertex_adjacency(triangles, len(typical))
    faultless, moved = np.empty_like(shapes), np.zeros(len(shapes), dtype=np.int64)
    for i, shape in enumerate(shapes):
        rotation, translation = rigid_fit(shape, typical)
        placed = shape @ rotation.T + translation
        offset = placed - typical
        apart = np.linalg.norm(offset - (adjacency @ offset) / adjacency.sum(axis=1)[:, None], axis=1)
        mesh = repaired_vertices(placed, triangles, typical, np.flatnonzero(apart > STRAY_MM))
        moved[i] = np.count_nonzero((mesh != placed).any(axis=1))
        faultless[i] = (mesh - translation) @ rotation
    return faultless, moved


def _read_set(folder: Path, file: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, vertices (N, V, 3) in left form and the shared triangles of one bone of a set."""
    bones = list(_bones_of(folder, file))
    if not bones:
        raise Refusal(f"There is no {file}.ply in {folder}: CONTRIBUTING.md says where the bones come from.")
    triangles = bones[0][1][1]
    if any(not np.array_equal(mesh[1], triangles) for _, mesh in bones):
        raise Refusal(f"The people of {folder.name} do not share a mesh of {file}: get the set again.")
    stack = np.array([mesh[0] for _, mesh in bones])
    if file.endswith("right"):
        stack, triangles = mirrored((stack, triangles))
    return [name for name, _ in bones], stack, triangles


def _bones_of(folder: Path, file: str) -> Iterator[tuple[str, Mesh]]:
    for person in sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else ():
        if (person / f"{file}.ply").exists():
            yield person.name, read_ply(person / f"{file}.ply")


def _registered(template: Mesh, onto: Mesh) -> np.ndarray:
    """The template's vertices on another mesh."""
    points = sample_surface(*onto, TARGET_POINTS, seed=0)
    return register(template[0], points, template[1], ONTO_A_MEAN).points


def procrustes(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shapes (N, V, 3) turned and moved onto one another, never scaled, and their mean (V, 3) around the origin."""
    mean = shapes[0] - shapes[0].mean(axis=0)
    for _ in range(PROCRUSTES_ROUNDS):
        fits = [rigid_fit(shape, mean) for shape in shapes]
        aligned = np.array([s @ rotation.T + move for s, (rotation, move) in zip(shapes, fits, strict=True)])
        mean = aligned.mean(axis=0)
        mean = mean - mean.mean(axis=0)
    return aligned, mean
