"""VerSe's vertebrae that are at hand, on our templates: they are judged on beside the others, and never learnt from.

    groups = verse_groups(Path("../shared/vertebrae"), cache, load_groups(vertebrae, cache))
    groups["upper_thoracic"].levels

Sekuboyina et al., Med Image Anal 73:102166, 2021; Loeffler et al., Radiol AI 2:e190138, 2020; Liebl et al., Sci Data
8:284, 2021. CC BY-SA 4.0, share-alike: nothing that is made of them is kept in the repository but figures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from DualFaceReconLib.disk.files import write_file
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.levels import GROUPS, LEVELS, group_of
from training.vertebrae.correspondence import TEMPLATES, VertebraGroup, carried_onto
from training.vertebrae.masks import mask_surface
from training.vertebrae.people import Vertebra

FIRST_LABEL = 8  # T1's in VerSe
TURNED = np.array([-1.0, -1.0, 1.0])  # half a turn about S, for scans whose orientation was lost
PEOPLE = {  # file, first and last level, and what its vertices are times
    "verse/gl003": ("verse_gl003_gl017/sub-gl003_dir-ax_seg-vert_msk.nii.gz", "T1", "T5", np.ones(3)),
    "verse/gl017": ("verse_gl003_gl017/sub-gl017_seg-vert_msk.nii.gz", "T1", "T4", np.ones(3)),
    "verse/081": ("verse_081_230/sub-verse081_label.nii.gz", "T11", "L2", TURNED),
    "verse/230": ("verse_081_230/sub-verse230_label.nii.gz", "T1", "T2", TURNED),
}


def verse_groups(
    folder: Path, cache: Path, known: Mapping[str, VertebraGroup], say: Callable[[str], None] = print
) -> dict[str, VertebraGroup]:
    """VerSe's vertebrae in the groups of `known`, which they are added to nowhere; made once and kept in `cache`."""
    vertebrae = list(_verse_vertebrae(folder))
    seal = hashlib.sha256(repr([(vertebra.person, vertebra.level) for vertebra in vertebrae]).encode())
    for group in known.values():
        seal.update(group.bones.shapes.tobytes())
    for vertebra in vertebrae:
        seal.update(vertebra.mesh[0].tobytes())
    file = cache / f"verse_{seal.hexdigest()[:16]}.npz"
    if not file.exists():
        shapes = {str(number): _fitted(vertebra, known, say) for number, vertebra in enumerate(vertebrae)}
        cache.mkdir(parents=True, exist_ok=True)
        write_file(file, lambda beside: np.savez_compressed(beside, **shapes))
    with np.load(file, allow_pickle=False) as kept:
        shapes = dict(kept)
    groups = {}
    for name, group in known.items():
        chosen = [number for number, vertebra in enumerate(vertebrae) if vertebra.level in GROUPS[name]]
        if chosen:
            people = tuple(vertebrae[number].person for number in chosen)
            of_group = np.array([shapes[str(number)] for number in chosen])
            bones = replace(group.bones, shapes=of_group, people=people, sets=())
            groups[name] = replace(group, bones=bones, levels=tuple(vertebrae[number].level for number in chosen))
    return groups


def _verse_vertebrae(folder: Path) -> Iterator[Vertebra]:
    for person, (file, first, last, turn) in PEOPLE.items():
        if not (folder / file).exists():
            raise Refusal(f"There is no {folder / file}: VerSe's masks are judged on where they are at hand.")
        for level in LEVELS[LEVELS.index(first) : LEVELS.index(last) + 1]:
            vertices, triangles = mask_surface(folder / file, FIRST_LABEL + LEVELS.index(level))
            yield Vertebra(person=person, level=level, mesh=(vertices * turn, triangles))


def _fitted(vertebra: Vertebra, known: Mapping[str, VertebraGroup], say: Callable[[str], None]) -> np.ndarray:
    """The template's vertices on a vertebra, from the template's person's nearest level."""
    group = known[group_of(vertebra.level)]
    person, _ = TEMPLATES[group.name]
    own = [number for number, other in enumerate(group.bones.people) if other == person]
    place = LEVELS.index(vertebra.level)
    start = min(own, key=lambda number: abs(LEVELS.index(group.levels[number]) - place))
    return carried_onto((group.bones.shapes[start], group.bones.triangles), vertebra, say)
