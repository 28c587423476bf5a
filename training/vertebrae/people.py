"""The real vertebrae: who made them, under which licence, and every one of them as a closed mesh in RAS mm.

    for vertebra in training_vertebrae(Path("../shared/vertebrae")):
        vertebra.person, vertebra.level, vertebra.mesh

What is not here is not trained on: share-alike sets judge alone, and sets whose origin is not confirmed are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.levels import LEVELS, LUMBAR
from DualFaceReconLib.meshes import Mesh, volume_mm3
from training.anatomy.people import BoneSet
from training.anatomy.remeshing import closed, read_ply
from training.vertebrae.masks import mask_surface

TOTALSEGMENTATOR = BoneSet(
    name="totalseg",
    source="TotalSegmentator CT dataset v2, subjects s0327 and s0328; Wasserthal et al., Radiology: AI 5(5):e230024, "
    "2023",
    licence="CC BY 4.0",
)
SCOLIOMORPH = BoneSet(
    name="scoliomorph",
    source="Umadi, Scoliomorph, 2024; of 3D Slicer's sample CTACardio, segmented by MONAIAuto3DSeg",
    licence="MIT; the scan's own terms are not stated",
)
VISIBLE_HUMAN = BoneSet(
    name="vhm",
    source="Remus et al., PLoS ONE 16(4):e0250456, 2021; of the Visible Human Male, NLM",
    licence="BSD-3-Clause",
)
TOTALSEGMENTATOR_EXAMPLE = BoneSet(
    name="totalseg_example",
    source="TotalSegmentator's example CT, automatic masks at 3 mm; Wasserthal et al., Radiology: AI 2023",
    licence="Apache-2.0",
)
CLOUTHIER = BoneSet(
    name="clouthier",
    source="Clouthier et al., J Biomech 146:111421, 2023; the mean of 87 patients",
    licence="MIT",
)
SETS = (TOTALSEGMENTATOR, SCOLIOMORPH, VISIBLE_HUMAN, TOTALSEGMENTATOR_EXAMPLE, CLOUTHIER)
MEAN_OF_MANY = "clouthier/mean"  # who is nobody, and so is never left out or judged
METRES = 1000.0


@dataclass(frozen=True, kw_only=True)
class Vertebra:
    """One real vertebra."""

    person: str  # "set/person"
    level: str  # "T1" to "L5"
    mesh: Mesh  # closed, outward, RAS mm


def training_vertebrae(folder: Path) -> Iterator[Vertebra]:
    """All that may be learnt from and shipped: 50 vertebrae of five people and of a mean; Refusal where one is gone."""
    for person, levels in (("s0327", LEVELS[1:]), ("s0328", LEVELS[10:])):
        for level in levels:
            mesh = mask_surface(folder / "totalseg_s0327_s0328" / person / f"vertebrae_{level}.nii.gz")
            yield Vertebra(person=f"totalseg/{person}", level=level, mesh=mesh)
    for level in LEVELS[1:14]:
        vertices, triangles = _largest(read_ply(folder / "scoliomorph_ctacardio" / f"{level}.ply"))
        mesh = _outward((vertices * (-1, -1, 1), triangles))  # LPS: in RAS the bodies would look back
        yield Vertebra(person="scoliomorph/ctacardio", level=level, mesh=mesh)
    for level in LUMBAR:
        vertices, triangles = _read_obj(folder / "vhm_lumbar" / f"{level}_Schrumpfverpacken.obj")
        yield Vertebra(person="vhm/male", level=level, mesh=_outward((_forward_left_up(vertices * METRES), triangles)))
    for level in LUMBAR:
        mesh = mask_surface(folder / "totalseg_example_3mm" / f"vertebrae_{level}.nii.gz")
        yield Vertebra(person="totalseg_example/example", level=level, mesh=mesh)
    for level in LUMBAR[1:]:
        vertices, triangles = read_ply(folder / "clouthier_mean" / f"{level}.ply")
        yield Vertebra(person=MEAN_OF_MANY, level=level, mesh=_outward((_forward_left_up(vertices), triangles)))


def _forward_left_up(vertices: np.ndarray) -> np.ndarray:
    """Points [forward, left, up] in RAS. Which side is left is not known of these sets; this keeps them unmirrored."""
    return vertices[:, [1, 0, 2]] * (-1, 1, 1)


def _largest(mesh: Mesh) -> Mesh:
    """The part of a mesh with the most triangles, closed."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    vertices, triangles = mesh
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]]])
    graph = coo_array((np.ones(len(edges), bool), tuple(edges.T)), shape=(len(vertices),) * 2)
    part = connected_components(graph, directed=False)[1]
    kept = part[triangles[:, 0]] == np.bincount(part[triangles[:, 0]]).argmax()
    used, faces = np.unique(triangles[kept], return_inverse=True)
    return closed((vertices[used], faces.reshape(-1, 3)))


def _outward(mesh: Mesh) -> Mesh:
    """The mesh with its triangles facing outward."""
    vertices, triangles = mesh
    return vertices, triangles if volume_mm3(vertices, triangles) > 0 else triangles[:, ::-1]


def _read_obj(path: Path) -> Mesh:
    """Vertices and triangles of a Wavefront file."""
    if not path.is_file():
        raise Refusal(f"There is no {path}: the README of the vertebrae says where they come from.")
    from vtkmodules.vtkFiltersCore import vtkCleanPolyData, vtkTriangleFilter
    from vtkmodules.vtkIOGeometry import vtkOBJReader

    from DualFaceReconLib.meshes import arrays

    reader, clean, triangulated = vtkOBJReader(), vtkCleanPolyData(), vtkTriangleFilter()
    reader.SetFileName(str(path))
    clean.SetInputConnection(reader.GetOutputPort())
    triangulated.SetInputConnection(clean.GetOutputPort())
    triangulated.Update()
    return arrays(triangulated.GetOutput())
