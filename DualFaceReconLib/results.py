"""A reconstruction's folder: written whole or not at all, and read back.

    save(reconstruction, "out/film")
    reconstruction = load_reconstruction("out/film")

Names and ids of patients are nowhere in it.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkVersion

from DualFaceReconLib import __version__
from DualFaceReconLib.bonemaps import BONES, BoneMaps
from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.disk.folders import display_name, refuse_unwritable, write_folder
from DualFaceReconLib.disk.meshfiles import read_vtp, write_stl, write_vtp
from DualFaceReconLib.errors import Cancelled, Refusal
from DualFaceReconLib.film.acquisition import Known, RadiographWarning
from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.geometry import ProjectionGeometry, Provenance
from DualFaceReconLib.measurements import Measurement
from DualFaceReconLib.outcome import Bone, BundleName, Reconstruction
from DualFaceReconLib.pictures import drawing, overview, report

FORMAT = 1
DOCUMENT = "reconstruction.json"
RESEARCH_USE = "For research only; not for clinical use."
MAX_DOCUMENT_BYTES = 1 << 22
WRITTEN = (  # by `save` without a scene
    *(DOCUMENT, "radiograph.nrrd", "labels.nrrd", "depth_front.nrrd", "depth_back.nrrd", "picture.png", "report.html"),
    *(f"{bone}{end}" for bone in BONES for end in ("_observed.vtp", ".vtp", ".stl")),
)
SYSTEM_FILES = ("thumbs.db", "desktop.ini")  # as .DS_Store, file browsers leave them
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def save(
    reconstruction: Reconstruction,
    folder: str | Path,
    *,
    overwrite: bool = False,
    scene: bool = False,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Writes the folder; one that is there is replaced only where `overwrite` says so and it is a reconstruction.

    `scene` adds scene.mrb, which 3D Slicer opens; that needs slicer-core. `cancelled` is asked before every file; where
    it says so, Cancelled is raised and the folder is as it was.
    """
    folder = Path(folder)
    refuse_to_lose(folder, overwrite)
    write_folder(folder, lambda beside: _write(reconstruction, beside, scene, cancelled))


def refuse_to_lose(folder: Path, overwrite: bool) -> None:
    """Refusal where writing a reconstruction there would replace what nobody wants replaced."""
    name = display_name(folder)
    refuse_unwritable(folder)
    if folder.is_file():
        raise Refusal(f"{name} is a file: name a folder for the result.")
    if not folder.exists():
        return
    if _holds_current_folder(folder):  # renamed, it would go from under whoever stands in it
        raise Refusal(
            f"{name} is the folder that you are in, or holds it: name a new folder in it, or change to another."
        )
    try:
        empty = not any(folder.iterdir())
    except OSError as error:
        raise Refusal(f"{name} cannot be opened ({error.strerror or error}): choose another folder.") from error
    if empty:
        return
    if not (folder / DOCUMENT).is_file():
        raise Refusal(f"{name} holds something else than a reconstruction: choose another folder.")
    if not overwrite:
        raise Refusal(f"{name} holds a reconstruction already: say --overwrite, or choose another folder.")


def foreign_files(folder: Path) -> list[Path]:
    """What lies in a reconstruction's folder and was not written with it, hidden files aside."""
    if not folder.is_dir():
        return []
    others = (path for path in folder.iterdir() if path.name not in WRITTEN)
    return [path for path in others if not path.name.startswith(".") and path.name.lower() not in SYSTEM_FILES]


def _holds_current_folder(folder: Path) -> bool:
    """Whether a folder is the current one or holds it."""
    try:
        here = Path.cwd()
        return any(folder.samefile(place) for place in (here, *here.parents))
    except OSError:  # somebody removed the folder that we are in, or lets us not look
        return False


def load_reconstruction(folder: str | Path) -> Reconstruction:
    """A reconstruction as it was written; Refusal where the folder holds none, or one that is damaged."""
    folder = Path(folder)
    document = _document(folder)
    try:
        return _from_document(folder, document)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refusal(f"The reconstruction in {display_name(folder)} is damaged ({error}): make it again.") from error


def _write(reconstruction: Reconstruction, folder: Path, scene: bool, cancelled: Callable[[], bool]) -> None:
    for _ in _written_files(reconstruction, folder, scene):
        if cancelled():
            raise Cancelled


def _written_files(reconstruction: Reconstruction, folder: Path, scene: bool) -> Iterator[None]:
    """Writes one file after the other, with a pause after each."""
    radiograph, maps = reconstruction.radiograph, reconstruction.maps
    for name, bone in reconstruction.bones.items():
        write_vtp(bone.observed, folder / f"{name}_observed.vtp")
        yield
        if bone.completed is not None:
            write_vtp(bone.completed, folder / f"{name}.vtp")
            write_stl(bone.completed, folder / f"{name}.stl", _stl_header(name, bone))
            yield
    matrix = radiograph.geometry.ijk_to_ras()
    _write_image(radiograph.pixels[None], matrix, folder / "radiograph.nrrd")
    _write_image(maps.mask.astype(np.uint8), matrix, folder / "labels.nrrd")
    yield
    _write_image(maps.front, matrix, folder / "depth_front.nrrd")
    yield
    if maps.back is not None:
        _write_image(maps.back, matrix, folder / "depth_back.nrrd")
        yield
    picture = overview.picture(reconstruction)
    yield
    drawing.save_png(picture, folder / "picture.png")
    write_text(folder / "report.html", report.html(reconstruction))
    yield
    if scene:
        from DualFaceReconLib.scene import save_scene

        save_scene(reconstruction, folder / "scene.mrb")
        yield
    write_text(folder / DOCUMENT, json.dumps(as_dict(reconstruction), indent=1))


def as_dict(reconstruction: Reconstruction) -> dict[str, Any]:
    """All of a reconstruction but pixels and meshes, as reconstruction.json holds it."""
    import torch  # seconds, which reading a folder does not need

    radiograph = reconstruction.radiograph
    return {
        "format": FORMAT,
        "research_use": RESEARCH_USE,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "radiograph": {
            "pixel_hash": radiograph.pixel_hash,
            "file_format": radiograph.file_format,
            "geometry": radiograph.geometry.to_dict(),
            "orientation": _known_as_dict(radiograph.orientation),
            "polarity": _known_as_dict(radiograph.polarity),
            "collimation_px": None if radiograph.collimation_px is None else _known_as_dict(radiograph.collimation_px),
            "display_window": radiograph.display_window,
            "warnings": [asdict(warning) for warning in radiograph.warnings],
        },
        "bundle": asdict(reconstruction.bundle),
        "device": reconstruction.device,
        "timings_s": {name: round(seconds, 3) for name, seconds in reconstruction.timings_s.items()},
        "warnings": [asdict(warning) for warning in reconstruction.warnings],
        "maps": list(reconstruction.maps.bones),
        "faces": ["front"] if reconstruction.maps.back is None else ["front", "back"],
        "bones": {
            name: {
                "completed": bone.completed is not None,
                "landmarks_ras_mm": bone.landmarks,
                "measurements": _measurements_as_dicts(bone.measurements),
            }
            for name, bone in reconstruction.bones.items()
        },
        "measurements": _measurements_as_dicts(reconstruction.measurements),
        "versions": {
            "DualFaceRecon": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "vtk": vtkVersion.GetVTKVersion(),
            "numpy": np.__version__,
            "platform": platform.system(),
        },
    }


def _from_document(folder: Path, document: Mapping[str, Any]) -> Reconstruction:
    film = document["radiograph"]
    geometry = ProjectionGeometry.from_dict(film["geometry"])
    radiograph = Radiograph(
        _image(folder / "radiograph.nrrd")[0],
        geometry,
        _known_from_dict(film["orientation"]),
        _known_from_dict(film["polarity"]),
        None if film["collimation_px"] is None else _known_from_dict(film["collimation_px"]),
        tuple(film["display_window"]),
        _warnings_from_dicts(film["warnings"]),
        film["file_format"],
    )
    if radiograph.pixel_hash != film["pixel_hash"]:
        raise ValueError("radiograph.nrrd is not the film that was reconstructed")
    back = folder / "depth_back.nrrd"
    has_back = "back" in document["faces"] if "faces" in document else back.exists()  # older ones do not say
    maps = BoneMaps(
        tuple(document["maps"]),
        _image(folder / "labels.nrrd") > 0,
        _image(folder / "depth_front.nrrd"),
        _image(back) if has_back else None,
    )
    bones = {
        name: Bone(
            read_vtp(folder / f"{name}_observed.vtp"),
            read_vtp(folder / f"{name}.vtp") if bone["completed"] else None,
            {landmark: tuple(place) for landmark, place in bone["landmarks_ras_mm"].items()},
            _measurements_from_dicts(bone["measurements"]),
        )
        for name, bone in document["bones"].items()
        if name in maps.bones
    }
    return Reconstruction(
        radiograph,
        maps,
        bones,
        _measurements_from_dicts(document["measurements"]),
        BundleName(**document["bundle"]),
        document["device"],
        document["timings_s"],
        _warnings_from_dicts(document["warnings"]),
    )


def _document(folder: Path) -> dict[str, Any]:
    path, where = folder / DOCUMENT, f"{DOCUMENT} in {display_name(folder)}"
    try:
        if path.stat().st_size > MAX_DOCUMENT_BYTES:
            raise Refusal(f"{where} is far too long to be one: make the reconstruction again.")
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Refusal(f"{display_name(folder)} holds no reconstruction: it has no {DOCUMENT}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise Refusal(f"{where} cannot be read: make the reconstruction again.") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise Refusal(f"{where} is of another version of DualFaceRecon: make the reconstruction again.")
    return document


def _stl_header(name: str, bone: Bone) -> str:
    seen = vtk_to_numpy(bone.completed.GetPointData().GetArray("seen"))
    return f"{name}: {100 * (1 - seen.mean()):.0f} % inferred from others; research only"


def _write_image(values: np.ndarray, ijk_to_ras: np.ndarray, path: Path) -> None:
    """(slices, rows, cols) on the detector's plane, slices behind each other."""
    image = sitk.GetImageFromArray(values)
    axes = RAS_TO_LPS @ ijk_to_ras[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((axes / spacing).ravel().tolist())
    image.SetOrigin((RAS_TO_LPS @ ijk_to_ras[:3, 3]).tolist())
    try:
        sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=1)
    except RuntimeError as error:
        raise OSError(0, f"{path.name} could not be written: is there room?") from error


def _image(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def _known_as_dict(known: Known) -> dict[str, Any]:
    return {"value": known.value, "provenance": asdict(known.provenance)}


def _known_from_dict(values: Mapping[str, Any]) -> Known:
    value = values["value"]
    return Known(tuple(value) if isinstance(value, list) else value, Provenance(**values["provenance"]))


def _measurements_as_dicts(measurements: Mapping[str, Measurement]) -> dict[str, Any]:
    return {name: asdict(measurement) for name, measurement in measurements.items()}


def _measurements_from_dicts(measurements: Mapping[str, Any]) -> dict[str, Measurement]:
    return {name: Measurement(**measurement) for name, measurement in measurements.items()}


def _warnings_from_dicts(warnings: list[Mapping[str, str]]) -> tuple[RadiographWarning, ...]:
    return tuple(RadiographWarning(**warning) for warning in warnings)
