"""The real people that virtual patients are made of: pelves and femora in correspondence, each in its own frame.

population = load_population(Path("../shared/bones"), cache=Path("out/people"))
rest = load_population(Path("../shared/bones"), cache=Path("out/people"), without=["rhan40/s02"])
everybody = load_everybody(Path("../shared/bones"), cache=Path("out/people"))  # as they stand in the sets
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from DualFaceReconLib.disk.files import write_file
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.meshes import MIRROR
from DualFaceReconLib.shape.shapemodel import Landmark, ShapeModel
from training.anatomy.landmarks import femur_landmarks, hip_landmarks, knee_axes
from training.anatomy.people import (
    LLP26,
    RHAN40,
    Corresponded,
    corresponded_arrays,
    corresponded_femora,
    corresponded_from,
    corresponded_hips,
    load_corresponded,
    procrustes,
    save_corresponded,
)
from training.anatomy.remeshing import read_ply
from training.anatomy.shapes import shape_model

MODES = {"hip": 60, "femur": 40}
PACKED_PEOPLE = "everybody.npz"  # in a cache: all people, in place of the sets of bones, where there are none


@dataclass(frozen=True, kw_only=True)
class Population:
    """Pelves in the pelvic frame and left femora in the femoral one, mm.

    Pelvic frame: origin between the hip centres, R from the left hip centre to the right one, the anterior pelvic plane
    (both ASIS, both pubic tubercles) upright. Femoral frame: origin in the head, S up the mechanical axis, both
    condyles facing back.
    """

    pelves: np.ndarray  # (P, 2, V, 3) left and right hemipelvis where they are
    pelvis_people: tuple[str, ...]
    hip_triangles: np.ndarray  # of the left one, outward
    hip_landmarks: dict[str, Landmark]
    hip_model: ShapeModel  # of left hemipelves around their own middle, for what differs between people locally
    femora: np.ndarray  # (F, W, 3)
    femur_people: tuple[str, ...]
    femur_triangles: np.ndarray
    femur_landmarks: dict[str, Landmark]
    femur_model: ShapeModel
    sacra: np.ndarray  # (S, X, 3) in the pelvic frame of their people
    sacrum_hips: np.ndarray  # (S, 2, V, 3) the hips that they stand between
    sacrum_people: tuple[str, ...]
    sacrum_triangles: np.ndarray

    def alone(self, person: str) -> Population:
        """The population of one person's pelvis; femora and sacra are the person's own too, where there are any."""
        pelvis = self.pelvis_people.index(person)
        alone = replace(self, pelves=self.pelves[[pelvis]], pelvis_people=(person,))
        if person in self.femur_people:
            femur = self.femur_people.index(person)
            alone = replace(alone, femora=self.femora[[femur]], femur_people=(person,))
        if person in self.sacrum_people:
            sacrum = [self.sacrum_people.index(person)]
            alone = replace(
                alone, sacra=self.sacra[sacrum], sacrum_hips=self.sacrum_hips[sacrum], sacrum_people=(person,)
            )
        return alone


@dataclass(frozen=True, kw_only=True)
class Everybody:
    """The bones of all people on one template for each kind, as they stand in their sets, mm."""

    hips: Corresponded
    femora: Corresponded
    sacra: np.ndarray  # (S, X, 3) of the last S people, where their hips stand
    sacrum_triangles: np.ndarray

    @property
    def people(self) -> tuple[str, ...]:
        """All of them, each once."""
        return tuple(dict.fromkeys((*self.hips.people, *self.femora.people)))

    def without(self, people: Collection[str]) -> Population:
        """The population of all others."""
        return population_of(self.hips, self.femora, self.sacra, self.sacrum_triangles, frozenset(people))

    def only(self, people: Collection[str]) -> Population:
        """The population of some people."""
        self.check(people)
        return self.without(set(self.people) - set(people))

    def check(self, people: Collection[str]) -> None:
        """Refusal where there are names that nobody has."""
        _refuse_unknown(set(people) - set(self.people))


def load_population(
    bones: Path,
    cache: Path,
    people: Collection[str] = (),
    without: Collection[str] = (),
    say: Callable[[str], None] = print,
) -> Population:
    """Everybody in `rhan40` and `llp26`, or only some `people`, `without` others, all named "set/person".

    Correspondences are kept in `cache`; they take a minute to find.
    """
    everybody = load_everybody(bones, cache, say)
    everybody.check(people)
    return everybody.without(set(without) | (set(everybody.people) - set(people) if people else set()))


@lru_cache(maxsize=1)
def population_without(bones: Path, cache: Path, without: tuple[str, ...]) -> Population:
    """Everybody but some people; a process that asks again has the same."""
    return load_population(bones, cache, without=without, say=lambda words: None)


def load_everybody(bones: Path, cache: Path, say: Callable[[str], None] = print) -> Everybody:
    """The bones of all people in `rhan40` and `llp26`; where `save_everybody` left them in `cache`, those."""
    if (cache / PACKED_PEOPLE).exists():
        return _packed_everybody(cache / PACKED_PEOPLE)
    hips = _cached(bones, cache, "hip", corresponded_hips, say)
    femora = _cached(bones, cache, "femur", corresponded_femora, say)
    sacra, sacrum_triangles = _sacra(bones, hips)
    return Everybody(hips=hips, femora=femora, sacra=sacra, sacrum_triangles=sacrum_triangles)


def save_everybody(everybody: Everybody, path: Path) -> None:
    """Keeps all people in an .npz file, with which `load_everybody` needs no bones."""
    arrays = {"sacra": everybody.sacra, "sacrum_triangles": everybody.sacrum_triangles}
    for kind, bones in (("hips", everybody.hips), ("femora", everybody.femora)):
        arrays |= {f"{kind}_{name}": values for name, values in corresponded_arrays(bones).items()}
    write_file(path, lambda beside: np.savez_compressed(beside, **arrays))


def _packed_everybody(path: Path) -> Everybody:
    """The inverse of `save_everybody`."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    hips, femora = (
        corresponded_from({name.removeprefix(f"{kind}_"): values for name, values in arrays.items()})
        for kind in ("hips", "femora")
    )
    return Everybody(hips=hips, femora=femora, sacra=arrays["sacra"], sacrum_triangles=arrays["sacrum_triangles"])


def population_of(
    hips: Corresponded,
    femora: Corresponded,
    sacra: np.ndarray,
    sacrum_triangles: np.ndarray,
    without: frozenset[str] = frozenset(),
) -> Population:
    """A population of corresponded bones; `sacra` (S, X, 3) are those of the last S people, where their hips stand."""
    _refuse_unknown(without - set(hips.people) - set(femora.people))
    hip_marks = hip_landmarks(procrustes(hips.shapes)[1], hips.triangles)
    femur_mean = procrustes(femora.shapes)[1]
    femur_marks = femur_landmarks(femur_mean, femora.triangles)

    names = tuple(dict.fromkeys(hips.people))
    sides = [np.flatnonzero([person == name for person in hips.people]) for name in names]
    pelves = np.stack([np.stack([hips.shapes[left], hips.shapes[right] * MIRROR]) for left, right in sides])
    frames = [_pelvic_frame(pelvis, hip_marks) for pelvis in pelves]
    pelves = np.stack([(pelvis - origin) @ axes.T for pelvis, (origin, axes) in zip(pelves, frames, strict=True)])
    with_sacrum = names[len(names) - len(sacra) :]
    sacra = np.stack([(s - o) @ axes.T for s, (o, axes) in zip(sacra, frames[len(names) - len(sacra) :], strict=True)])
    upright = np.stack([_in_femoral_frame(femur, femur_marks) for femur in femora.shapes])

    def kept(people: tuple[str, ...]) -> list[int]:
        return [i for i, person in enumerate(people) if person not in without]

    def named(people: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(people[i] for i in kept(people))

    if not (kept(names) and kept(femora.people) and kept(with_sacrum)):
        raise Refusal("No pelvis, no femur or no sacrum is left to make patients of: take more people.")
    return Population(
        pelves=pelves[kept(names)],
        pelvis_people=named(names),
        hip_triangles=hips.triangles,
        hip_landmarks=hip_marks,
        hip_model=shape_model(hips.without(without & set(hips.people)), modes=MODES["hip"]),
        femora=upright[kept(femora.people)],
        femur_people=named(femora.people),
        femur_triangles=femora.triangles,
        femur_landmarks=femur_marks,
        femur_model=shape_model(femora.without(without & set(femora.people)), modes=MODES["femur"]),
        sacra=sacra[kept(with_sacrum)],
        sacrum_hips=pelves[len(names) - len(sacra) :][kept(with_sacrum)],
        sacrum_people=named(with_sacrum),
        sacrum_triangles=sacrum_triangles,
    )


def _refuse_unknown(names: Collection[str]) -> None:
    """Refusal where there are names that nobody has."""
    if names:
        raise Refusal(f"Nobody is called {', '.join(sorted(names))}: people are named as in rhan40/s02.")


def _cached(
    bones: Path, cache: Path, bone: str, make: Callable[..., Corresponded], say: Callable[[str], None]
) -> Corresponded:
    """Correspondences from `cache`, or made and kept there; other bones than before are made anew."""
    seal = hashlib.sha256()
    for people_set in (RHAN40, LLP26):
        for path in sorted((bones / people_set.name).glob(f"*/{bone}_*.ply")):
            seal.update(path.relative_to(bones).as_posix().encode() + path.read_bytes())
    path = cache / f"{bone}_{seal.hexdigest()[:16]}.npz"
    if path.exists():
        return load_corresponded(path)
    made = make(bones, say=say)
    cache.mkdir(parents=True, exist_ok=True)
    save_corresponded(made, path)
    return made


def _sacra(bones: Path, hips: Corresponded) -> tuple[np.ndarray, np.ndarray]:
    """Whole sacra (S, X, 3) of `llp26`, the last of the hips' people, and triangles; those of rhan40 end at S3."""
    people = [person for person in dict.fromkeys(hips.people) if person.startswith(LLP26.name)]
    meshes = [read_ply(bones / person / "sacrum.ply") for person in people]
    triangles = meshes[0][1]
    if any(not np.array_equal(mesh[1], triangles) for mesh in meshes):
        raise Refusal(f"The people of {LLP26.name} do not share a mesh of the sacrum: get the set again.")
    return np.stack([mesh[0] for mesh in meshes]), triangles


def _pelvic_frame(pelvis: np.ndarray, marks: dict[str, Landmark]) -> tuple[np.ndarray, np.ndarray]:
    """Origin (3,) and rows R, A, S (3, 3) of a pelvis (2, V, 3); the right side's landmarks are the left's mirrored."""
    places = {name: np.stack([marks[name].place(side) for side in pelvis]) for name in marks}
    centres = places["acetabular_centre"]
    right = centres[1] - centres[0]
    right /= np.linalg.norm(right)
    up = places["asis"].mean(axis=0) - places["pubic_tubercle"].mean(axis=0)
    up -= (up @ right) * right
    up /= np.linalg.norm(up)
    return centres.mean(axis=0), np.stack([right, np.cross(up, right), up])


def _in_femoral_frame(femur: np.ndarray, marks: dict[str, Landmark]) -> np.ndarray:
    centre = marks["femoral_head_centre"].place(femur)
    up, back = knee_axes(femur, centre)
    return (femur - centre) @ np.stack([np.cross(-back, up), -back, up]).T
