"""Every real vertebra of a group on that group's template, so that the same vertex is the same place on all of them.

groups = load_groups(Path("../shared/vertebrae"), cache=Path("out/vertebrae"))
groups["lumbar"].bones.shapes, groups["lumbar"].levels
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from DualFaceReconLib.disk.files import write_file
from DualFaceReconLib.levels import GROUPS
from DualFaceReconLib.meshes import Mesh, sample_surface, unit_normals
from DualFaceReconLib.shape.repair import repaired_vertices
from training.anatomy.gbcpd import register
from training.anatomy.people import ONTO_A_MEAN, TARGET_POINTS, Corresponded
from training.anatomy.remeshing import anchors, carried, even_template
from training.vertebrae.parts import VertebraParts, parts_of
from training.vertebrae.people import SETS, Vertebra, training_vertebrae

# Who the template is of, and its level, from which the group's other levels of the same person are reached one by one.
# Both have smooth surfaces, and all levels of the group that anybody has.
TEMPLATES = {
    "upper_thoracic": ("scoliomorph/ctacardio", "T4"),
    "lower_thoracic": ("scoliomorph/ctacardio", "T9"),
    "lumbar": ("vhm/male", "L3"),
}
VERTICES = 2200  # of a template: edges of about 3 mm
# From a neighbouring level, or from another person's same one, a vertebra is nearly in place: the search is narrow, and
# turns no vertebra over, as a wide one did with a bent L5.
NEARLY_THERE = replace(ONTO_A_MEAN, first_sigma=1.0, steps=120, pose_first=False, tolerance=1e-4)
PACKED = "vertebrae.npz"  # in a cache: all groups, in place of the sets of vertebrae, where there are none
KEPT = ("triangles", "shapes", "people", "levels", "sets")  # of a group in the cache
STRAY_MM = 3.0  # a vertex that is further from the bone when it is registered was not carried to the right place

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class VertebraGroup:
    """The vertebrae of a group of levels in correspondence."""

    name: str
    bones: Corresponded  # of each, one beside the other; where its file has it
    levels: tuple[str, ...]  # of each
    parts: VertebraParts  # of the template

    def without(self, people: Collection[str]) -> VertebraGroup:
        """The same group without some people, whom others know."""
        kept = [i for i, person in enumerate(self.bones.people) if person not in people]
        return self.only(kept)

    def only(self, kept: Sequence[int]) -> VertebraGroup:
        """The same group with some of its vertebrae alone."""
        bones = replace(
            self.bones, shapes=self.bones.shapes[list(kept)], people=tuple(self.bones.people[i] for i in kept)
        )
        return replace(self, bones=bones, levels=tuple(self.levels[i] for i in kept))


def load_groups(folder: Path, cache: Path, say: Say = print) -> dict[str, VertebraGroup]:
    """All groups, from `cache` or made of a folder's vertebrae and kept there; it takes six minutes of one core.

    Where `save_groups` left them in `cache`, those.
    """
    if (cache / PACKED).exists():
        return _read(cache / PACKED)
    seal = hashlib.sha256(repr((TEMPLATES, VERTICES, NEARLY_THERE, TARGET_POINTS)).encode())
    for path in sorted(path for path in folder.rglob("*") if path.suffix in {".gz", ".ply", ".obj"}):
        seal.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    file = cache / f"vertebrae_{seal.hexdigest()[:16]}.npz"
    if not file.exists():
        groups = corresponded_groups(list(training_vertebrae(folder)), say)
        cache.mkdir(parents=True, exist_ok=True)
        save_groups(groups, file)
    return _read(file)


def save_groups(groups: dict[str, VertebraGroup], path: Path) -> None:
    """Keeps all groups in an .npz file."""
    write_file(path, lambda beside: np.savez_compressed(beside, **_arrays(groups)))


def corresponded_groups(vertebrae: Sequence[Vertebra], say: Say = print) -> dict[str, VertebraGroup]:
    """Groups of real vertebrae, each on its own template."""
    return {
        name: corresponded([vertebra for vertebra in vertebrae if vertebra.level in levels], name, say)
        for name, levels in GROUPS.items()
    }


def corresponded(vertebrae: Sequence[Vertebra], name: str, say: Say = print) -> VertebraGroup:
    """One group: first the template's own person, from level to level, and from there everybody."""
    person, middle = TEMPLATES[name]
    own = {vertebra.level: vertebra for vertebra in vertebrae if vertebra.person == person}
    template = even_template(own[middle].mesh, VERTICES)
    triangles, placed = template[1], {middle: template[0]}
    order = [level for level in GROUPS[name] if level in own]
    start = order.index(middle)
    for way in (order[start::-1], order[start:]):
        for before, level in pairwise(way):
            placed[level] = carried_onto((placed[before], triangles), own[level], say)
    shapes = [
        placed[vertebra.level]
        if vertebra.person == person
        else carried_onto((placed[vertebra.level], triangles), vertebra, say)
        for vertebra in vertebrae
    ]
    return VertebraGroup(
        name=name,
        bones=Corresponded(
            bone=name,
            triangles=triangles,
            shapes=np.array(shapes),
            people=tuple(vertebra.person for vertebra in vertebrae),
            sets=tuple(s for s in SETS if any(vertebra.person.startswith(f"{s.name}/") for vertebra in vertebrae)),
        ),
        levels=tuple(vertebra.level for vertebra in vertebrae),
        parts=parts_of(template),
    )


def carried_onto(source: Mesh, vertebra: Vertebra, say: Say) -> np.ndarray:
    """The vertices (V, 3) of a mesh on another vertebra's surface, mm."""
    target = sample_surface(*vertebra.mesh, TARGET_POINTS, seed=0)
    start = source[0] + target.mean(axis=0) - sample_surface(*source, TARGET_POINTS, seed=0).mean(axis=0)
    registered = register(start, target, source[1], NEARLY_THERE).points
    anchor = anchors(registered, unit_normals(registered, source[1]), vertebra.mesh)
    nearest = carried(vertebra.mesh[1], anchor, vertebra.mesh[0])
    strays = np.flatnonzero(np.linalg.norm(nearest - registered, axis=1) > STRAY_MM)
    faultless = repaired_vertices(nearest, source[1], registered, strays)
    moved = np.count_nonzero((faultless != nearest).any(axis=1))
    say(f"{vertebra.person} {vertebra.level}: {len(strays)} strays, {moved} vertices of {len(start)} repaired")
    return faultless


def notices(groups: dict[str, VertebraGroup]) -> list[str]:
    """Whose work groups are, a line for each set."""
    sets = dict.fromkeys(bone_set for group in groups.values() for bone_set in group.bones.sets)
    return [
        f"- vertebrae of {bone_set.name}, meshes on common templates: {bone_set.source}. {bone_set.licence}."
        for bone_set in sets
    ]


def _arrays(groups: dict[str, VertebraGroup]) -> dict[str, np.ndarray]:
    """Groups as arrays for an .npz file."""
    arrays = {}
    for name, group in groups.items():
        arrays |= {
            f"{name}_triangles": group.bones.triangles.astype(np.int32),
            f"{name}_shapes": group.bones.shapes.astype(np.float32),
            f"{name}_people": np.array(group.bones.people),
            f"{name}_levels": np.array(group.levels),
            f"{name}_sets": np.array([bone_set.name for bone_set in group.bones.sets]),
        }
    return arrays


def _read(path: Path) -> dict[str, VertebraGroup]:
    """The inverse of `_arrays`."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    names = [name for name in GROUPS if f"{name}_shapes" in arrays]
    return {name: _group(name, {key: arrays[f"{name}_{key}"] for key in KEPT}) for name in names}


def _group(name: str, arrays: dict[str, np.ndarray]) -> VertebraGroup:
    known = {bone_set.name: bone_set for bone_set in SETS}
    triangles, shapes = arrays["triangles"].astype(np.int64), arrays["shapes"].astype(np.float64)
    people, levels = (tuple(map(str, arrays[key])) for key in ("people", "levels"))
    template = shapes[list(zip(people, levels, strict=True)).index(TEMPLATES[name])]
    bones = Corresponded(
        bone=name,
        triangles=triangles,
        shapes=shapes,
        people=people,
        sets=tuple(known[str(bone_set)] for bone_set in arrays["sets"]),
    )
    return VertebraGroup(name=name, bones=bones, levels=levels, parts=parts_of((template, triangles)))
