"""A case: a radiograph with its truth, a folder that anybody's simulator may write (CONTRIBUTING.md has the layout).

write_case(folder, film, geometry, maps, meshes, metadata)
case = read_case(folder)  # case.maps, case.meshes; read_radiograph(case.radiograph) reads the film
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from DualFaceReconLib.bonemaps import BoneMaps
from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.disk.folders import write_folder
from DualFaceReconLib.disk.meshfiles import read_vtp, write_vtp
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import Mesh, arrays, polydata
from training.xray.dicom_film import write_dx


@dataclass(frozen=True)
class Case:
    """What a case's folder holds."""

    folder: Path
    geometry: ProjectionGeometry
    meshes: dict[str, Mesh]  # true bones in the film's frame, whole
    metadata: dict  # how it was made, and "unscored": bones that only stand in

    @property
    def radiograph(self) -> Path:
        """The film."""
        return self.folder / "radiograph.dcm"

    @property
    def maps(self) -> BoneMaps:
        """True masks and depths."""
        images = {name: self._image(name) for name in ("labels", "depth_front", "depth_back")}
        front, back = images["depth_front"], images["depth_back"]
        return BoneMaps(bones=tuple(self.meshes), mask=images["labels"] > 0, front=front, back=back)

    def _image(self, name: str) -> np.ndarray:
        try:
            return sitk.GetArrayFromImage(sitk.ReadImage(str(self.folder / "truth" / f"{name}.nrrd")))
        except RuntimeError as error:
            raise _no_case(self.folder, f"truth/{name}.nrrd cannot be read") from error


def write_case(
    folder: Path,
    film: np.ndarray,
    geometry: ProjectionGeometry,
    maps: BoneMaps,
    meshes: Mapping[str, Mesh],
    metadata: Mapping[str, object],
    **stored: Any,
) -> None:
    """Writes a case; the folder appears whole or not at all. `stored` goes to `dicom_film.dx_dataset`."""
    if tuple(meshes) != maps.bones:
        raise ValueError(f"the maps are of {maps.bones}, the meshes of {tuple(meshes)}")

    def write(beside: Path) -> None:
        (beside / "truth").mkdir()
        write_dx(beside / "radiograph.dcm", film, geometry, **stored)
        values = {
            "sdd_mm": geometry.sdd_mm,
            "pixel_pitch_mm": geometry.pixel_pitch_mm,
            "size_px": geometry.size_px,
            "principal_point_px": geometry.principal_point_px,
            "view": geometry.view,
            "object_distance_mm": geometry.object_distance_mm,
            "bones": maps.bones,
        }
        write_text(beside / "geometry.json", json.dumps(values, indent=1))
        write_text(beside / "case.json", json.dumps(metadata, indent=1))
        for bone, mesh in meshes.items():
            write_vtp(polydata(*mesh), beside / "truth" / f"{bone}.vtp")
        for name, values in (
            ("labels", maps.mask.astype(np.uint8)),
            ("depth_front", maps.front),
            ("depth_back", maps.back),
        ):
            sitk.WriteImage(sitk.GetImageFromArray(values), str(beside / "truth" / f"{name}.nrrd"), useCompression=True)

    write_folder(folder, write)


def read_case(folder: Path) -> Case:
    """A case's geometry, meshes and metadata; Refusal where the folder is none."""
    try:
        values = json.loads((folder / "geometry.json").read_text(encoding="utf-8"))
        geometry = ProjectionGeometry.from_dict(values)
        bones = tuple(values["bones"])
    except KeyError as error:
        raise _no_case(folder, f"geometry.json lacks {error}") from error
    except (OSError, TypeError, ValueError) as error:
        raise _no_case(folder, error) from error
    try:
        meshes = {bone: arrays(read_vtp(folder / "truth" / f"{bone}.vtp")) for bone in bones}
    except (OSError, ValueError) as error:
        raise _no_case(folder, error) from error
    file = folder / "case.json"
    try:
        metadata = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    except (OSError, ValueError) as error:
        raise _no_case(folder, error) from error
    return Case(folder, geometry, meshes, metadata)


def _no_case(folder: Path, reason: object) -> Refusal:
    return Refusal(f"{folder.name} is no case: {reason}: take it out, or make it again.")


def cases_in(folder: Path) -> list[Path]:
    """The folders of all cases below a folder, in order."""
    return sorted(path.parent for path in folder.glob("**/geometry.json") if not path.parent.name.startswith("."))
