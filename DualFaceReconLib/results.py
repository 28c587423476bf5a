"""A reconstruction's folder: written whole or not at all, and read back.

    save(reconstruction, "out/film")
    reconstruction = load_reconstruction("out/film")

Names and ids of patients are nowhere in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from vtkmodules.vtkCommonDataModel import vtkPolyData

from DualFaceReconLib.bonemaps import BONES, BoneMaps
from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.disk.folders import refuse_to_replace, write_folder, write_one_by_one
from DualFaceReconLib.disk.meshfiles import read_vtp, write_stl, write_vtp
from DualFaceReconLib.disk.volumefiles import read_volume, write_film, write_volume
from DualFaceReconLib.document import DOCUMENT, Document, as_dict, damaged, read_document
from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.meshes import point_data
from DualFaceReconLib.outcome import Bone, Reconstruction
from DualFaceReconLib.pictures import drawing, overview, report

WRITTEN = (  # by `save` without a scene
    *(DOCUMENT, "radiograph.nrrd", "labels.nrrd", "depth_front.nrrd", "depth_back.nrrd", "picture.png", "report.html"),
    *(f"{bone}{end}" for bone in BONES for end in ("_observed.vtp", ".vtp", ".stl")),
)
SYSTEM_FILES = ("thumbs.db", "desktop.ini")  # as .DS_Store, file browsers leave them


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
    write_folder(folder, lambda beside: write_files(reconstruction, beside, scene, cancelled))


def refuse_to_lose(folder: Path, overwrite: bool) -> None:
    """Refusal where writing a reconstruction there would replace what nobody wants replaced."""
    refuse_to_replace(folder, overwrite, DOCUMENT, "a reconstruction")


def foreign_files(folder: Path) -> list[Path]:
    """What lies in a reconstruction's folder and was not written with it, hidden files aside."""
    if not folder.is_dir():
        return []
    others = (path for path in folder.iterdir() if path.name not in WRITTEN)
    return [path for path in others if not path.name.startswith(".") and path.name.lower() not in SYSTEM_FILES]


def load_reconstruction(folder: str | Path) -> Reconstruction:
    """A reconstruction as it was written; Refusal where the folder holds none, or one that is damaged."""
    folder = Path(folder)
    return _from_files(folder, read_document(folder))


def write_files(reconstruction: Reconstruction, folder: Path, scene: bool, cancelled: Callable[[], bool]) -> None:
    """What `save` writes, into a folder that is there."""
    write_one_by_one(_written_files(reconstruction, folder, scene), cancelled)


def _written_files(reconstruction: Reconstruction, folder: Path, scene: bool) -> Iterator[None]:
    """Writes one file after the other, with a pause after each; meanwhile the picture is drawn."""
    with ThreadPoolExecutor(1) as pool:
        picture = pool.submit(overview.picture, reconstruction)
        yield from _written_shapes(reconstruction, folder)
        drawn = picture.result()
        yield
        drawing.save_png(drawn, folder / "picture.png")
    write_text(folder / "report.html", report.html(reconstruction))
    yield
    if scene:
        from DualFaceReconLib.scene import save_scene

        save_scene(reconstruction, folder / "scene.mrb")
        yield
    write_text(folder / DOCUMENT, json.dumps(as_dict(reconstruction), indent=1))


def _written_shapes(reconstruction: Reconstruction, folder: Path) -> Iterator[None]:
    """The files of bones and maps, whose writers let other threads compute."""
    radiograph, maps = reconstruction.radiograph, reconstruction.maps
    for name, bone in reconstruction.bones.items():
        write_vtp(bone.observed, folder / f"{name}_observed.vtp", swiftly=True)  # the largest, and seldom opened
        yield
        if bone.completed is not None:
            write_vtp(bone.completed, folder / f"{name}.vtp")
            write_stl(bone.completed, folder / f"{name}.stl", _stl_header(name, bone))
            yield
    matrix = radiograph.geometry.ijk_to_ras()
    write_film(radiograph.pixels, matrix, folder / "radiograph.nrrd")
    write_volume(maps.mask.astype(np.uint8), matrix, folder / "labels.nrrd")
    yield
    write_volume(maps.front, matrix, folder / "depth_front.nrrd")
    yield
    if maps.back is not None:
        write_volume(maps.back, matrix, folder / "depth_back.nrrd")
        yield


def _from_files(folder: Path, document: Document) -> Reconstruction:
    size = document.geometry.size_px
    radiograph = Radiograph(
        _image(folder / "radiograph.nrrd", (1, *size))[0],
        document.geometry,
        orientation=document.orientation,
        polarity=document.polarity,
        collimation_px=document.collimation_px,
        field_corners_px=document.field_corners_px,
        display_window=document.display_window,
        warnings=document.film_warnings,
        file_format=document.file_format,
    )
    if radiograph.pixel_hash != document.pixel_hash:
        raise damaged(folder, "radiograph.nrrd is not the film that was reconstructed")
    back, shape = folder / "depth_back.nrrd", (len(document.maps), *size)
    has_back = back.exists() if document.has_back is None else document.has_back
    maps = BoneMaps(
        bones=document.maps,
        mask=_image(folder / "labels.nrrd", shape) > 0,
        front=_image(folder / "depth_front.nrrd", shape),
        back=_image(back, shape) if has_back else None,
    )
    bones = {
        name: Bone(
            observed=_mesh(folder / f"{name}_observed.vtp"),
            completed=_mesh(folder / f"{name}.vtp") if completed else None,
            landmarks=document.landmarks[name],
            measurements=document.bone_measurements[name],
            verdict=document.verdicts[name],
        )
        for name, completed in document.completed.items()
        if name in maps.bones
    }
    return Reconstruction(
        radiograph=radiograph,
        maps=maps,
        bones=bones,
        measurements=document.measurements,
        bundle=document.bundle,
        device=document.device,
        timings_s=document.timings_s,
        warnings=document.warnings,
        masks=document.masks,
    )


def _stl_header(name: str, bone: Bone) -> str:
    seen = point_data(bone.completed, "seen")
    return f"{name}: {100 * (1 - seen.mean()):.0f} % inferred from others; research only"


def _image(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """(slices, rows, cols) of a file; Refusal where it holds none of that shape."""
    try:
        return read_volume(path, shape)
    except ValueError as error:
        raise damaged(path.parent, error) from error


def _mesh(path: Path) -> vtkPolyData:
    try:
        return read_vtp(path)
    except ValueError as error:
        raise damaged(path.parent, error) from error
