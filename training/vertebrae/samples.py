"""The pair of films that ships: a virtual vertebra among its neighbours, of people whom the bundle did not learn from.

`python -m training vertebrae samples` makes it again and compares it with what ships; what does not ship yet is put
there. The headers say all that places the films; the clicks are whole pixels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from vtkmodules.vtkFiltersCore import vtkQuadricDecimation

from DualFaceReconLib.bundle.store import SHIPPED_VERTEBRAE
from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.disk.meshfiles import read_vtp, write_vtp
from DualFaceReconLib.film.acquisition import Overrides
from DualFaceReconLib.film.radiograph import read_film
from DualFaceReconLib.film.subject import SPINE_FRONTAL, SPINE_LATERAL
from DualFaceReconLib.meshes import arrays, polydata
from training.vertebrae.correspondence import VertebraGroup
from training.vertebrae.films import Grid, Study, filmed_vertebra
from training.vertebrae.virtual import Stock
from training.xray.dicom_film import dx_dataset, write_lossless

SHIPPED = SHIPPED_VERTEBRAE / "Samples"
PEOPLE = ("totalseg/s0327", "vhm/male")  # CC BY 4.0 and BSD-3-Clause; kept out of `ear_kept.toml`
LEVEL, SEED = "L3", 12
GRID = Grid(side=112, voxel_mm=1.0)
TRIANGLES = 6000  # of the truth that ships
NAME = f"spine_{LEVEL}"
TOLERANCE, TRUTH_TOLERANCE_MM = 0.01, 0.2  # of the grey range, and of the truth's middle: processors differ


def make_sample(groups: Mapping[str, VertebraGroup], out: Path, shipped: Path = SHIPPED) -> list[str]:
    """Writes films, clicks and truth to a folder; gives how `shipped` differs from them. What it lacks is put there."""
    others = {person for group in groups.values() for person in group.bones.people} - set(PEOPLE)
    study = filmed_vertebra(Stock.of(groups, sorted(others)), SEED, GRID, in_situ=True, level=LEVEL)
    out.mkdir(parents=True, exist_ok=True)
    shipped.mkdir(parents=True, exist_ok=True)
    _write(study, out)
    differences = []
    for path in sorted(out.iterdir()):
        place = shipped / path.name
        if not place.exists():
            place.write_bytes(path.read_bytes())
        elif not _same(path, place):
            differences.append(f"{path.name} is not what ships in Resources/Vertebrae/Samples")
    return differences


def _write(study: Study, out: Path) -> None:
    clicks = {}
    for name, pixels, place, subject, angle in zip(
        ("ap", "lateral"),
        study.films,
        (study.pair.first, study.pair.second),
        (SPINE_FRONTAL, SPINE_LATERAL),
        study.metadata["angles_degrees"],
        strict=True,
    ):
        ds = dx_dataset(pixels, place.geometry, bones_above_table_mm=subject.table_to_bones_mm)
        ds.BodyPartExamined, ds.PatientID = "LSPINE", f"virtual {SEED}"
        if subject.sideways:
            ds.ViewPosition = "RL" if angle > 0 else "LL"  # the side at the detector
            ds.PatientOrientation = ["P" if angle > 0 else "A", "F"]
        plain = out / f".{name}.dcm"
        ds.save_as(plain, enforce_file_format=True)
        write_lossless(plain, out / f"{NAME}_{name}.dcm")
        plain.unlink()
        clicks[f"centre_{name}"] = [round(float(part)) for part in place.project(study.centre)[0]]
    write_text(out / f"{NAME}.json", json.dumps([{"level": LEVEL, **clicks}], indent=1) + "\n")
    vertices, triangles = study.mesh
    coarser = vtkQuadricDecimation()
    coarser.SetInputData(polydata(vertices + study.centre, triangles))
    coarser.SetTargetReduction(max(0.0, 1 - TRIANGLES / len(triangles)))
    coarser.Update()
    vertices, triangles = arrays(coarser.GetOutput())
    write_vtp(polydata(vertices.astype(np.float32), triangles), out / f"{NAME}_truth.vtp")


def _same(made: Path, shipped: Path) -> bool:
    if made.suffix == ".json":
        return made.read_text(encoding="utf-8") == shipped.read_text(encoding="utf-8")
    if made.suffix == ".vtp":
        middles = [arrays(read_vtp(path))[0].mean(axis=0) for path in (made, shipped)]
        return bool(np.allclose(*middles, atol=TRUTH_TOLERANCE_MM))
    subject = SPINE_LATERAL if "lateral" in made.name else SPINE_FRONTAL
    first, second = (read_film(path, Overrides(), subject) for path in (made, shipped))
    spread = float(np.ptp(first.pixels)) or 1.0
    apart = float(np.abs(first.pixels - second.pixels).mean())
    return first.geometry == second.geometry and apart < TOLERANCE * spread
