"""A vertebra's folder: written whole or not at all, and read back.

    save_vertebra(vertebra, "out/L3")
    vertebra = load_vertebra("out/L3")

Names and ids of patients are nowhere in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.disk.folders import display_name, refuse_to_replace, write_folder, write_one_by_one
from DualFaceReconLib.disk.meshfiles import read_vtp, write_stl, write_vtp
from DualFaceReconLib.disk.volumefiles import read_volume, write_film, write_volume
from DualFaceReconLib.document import (
    RESEARCH_USE,
    film_as_dict,
    film_from_dict,
    known_as_dict,
    known_from_dict,
    measurements_as_dicts,
    measurements_from_dicts,
    read_object,
    versions,
    warnings_from_dicts,
)
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.outcome import BundleName
from DualFaceReconLib.pictures import drawing, vertebra_picture, vertebra_report
from DualFaceReconLib.vertebra.films import SpineFilms
from DualFaceReconLib.vertebra.outcome import NETWORK, SURFACES, ReconstructedVertebra
from DualFaceReconLib.vertebra.targets import VertebraTarget

VERTEBRA = "vertebra.json"
FORMAT = 1
FILM_FILES = {"ap": "film_ap.nrrd", "lateral": "film_lateral.nrrd"}
VOLUME, SURFACE = "volume.nrrd", "vertebra.vtp"
WRITTEN = (VERTEBRA, *FILM_FILES.values(), VOLUME, SURFACE, "vertebra.stl", "picture.png", "report.html")


def save_vertebra(
    vertebra: ReconstructedVertebra,
    folder: str | Path,
    *,
    overwrite: bool = False,
    scene: bool = False,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Writes the folder; one that is there is replaced only where `overwrite` says so and it holds a vertebra.

    `scene` adds scene.mrb, which 3D Slicer opens; that needs slicer-core. `cancelled` is asked before every file; where
    it says so, Cancelled is raised and the folder is as it was.
    """
    folder = Path(folder)
    refuse_to_lose_vertebra(folder, overwrite)
    write_folder(folder, lambda beside: write_one_by_one(_written_files(vertebra, beside, scene), cancelled))


def refuse_to_lose_vertebra(folder: Path, overwrite: bool) -> None:
    """Refusal where writing a vertebra there would replace what nobody wants replaced."""
    refuse_to_replace(folder, overwrite, VERTEBRA, "a vertebra")


def load_vertebra(folder: str | Path) -> ReconstructedVertebra:
    """A vertebra as it was written; Refusal where the folder holds none, or one that is damaged."""
    folder = Path(folder)
    document = read_object(folder, VERTEBRA, "vertebra", FORMAT)
    try:
        return _from_files(folder, document)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise Refusal(
            f"The vertebra in {display_name(folder)} is damaged ({type(error).__name__} {error}): make it again."
        ) from error


def _written_files(vertebra: ReconstructedVertebra, folder: Path, scene: bool) -> Iterator[None]:
    """Writes one file after the other, with a pause after each."""
    write_vtp(vertebra.surface, folder / SURFACE)
    yield
    size = "" if vertebra.in_millimetres else "; no millimetres"
    write_stl(
        vertebra.surface, folder / "vertebra.stl", f"{vertebra.level} by a {vertebra.surface_by}{size}; research only"
    )
    yield
    write_volume(np.ascontiguousarray(vertebra.volume_hu.transpose(2, 1, 0)), vertebra.ijk_to_ras(), folder / VOLUME)
    yield
    for film, matrix, name in zip(
        vertebra.films.radiographs, vertebra.films.ijk_to_ras(), FILM_FILES.values(), strict=True
    ):
        write_film(film.pixels, matrix, folder / name)
        yield
    picture = vertebra_picture.picture(vertebra)
    yield
    drawing.save_png(picture, folder / "picture.png")
    write_text(folder / "report.html", vertebra_report.html(vertebra))
    yield
    if scene:
        from DualFaceReconLib.scene import save_vertebra_scene

        save_vertebra_scene(vertebra, folder / "scene.mrb")
        yield
    write_text(folder / VERTEBRA, json.dumps(as_dict(vertebra), indent=1))


def as_dict(vertebra: ReconstructedVertebra) -> dict[str, Any]:
    """All of a vertebra but pixels, voxels and the mesh, as vertebra.json holds it."""
    films = vertebra.films
    return {
        "format": FORMAT,
        "research_use": RESEARCH_USE,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "level": vertebra.level,
        "in_millimetres": vertebra.in_millimetres,
        "clicks": asdict(vertebra.target),
        "films": {name: film_as_dict(film) for name, film in zip(FILM_FILES, films.radiographs, strict=True)},
        "source_angles_degrees": [known_as_dict(angle) for angle in films.source_angles],
        "angle_degrees": known_as_dict(films.angle),
        "film_warnings": [asdict(warning) for warning in films.warnings],
        "centre_ras_mm": vertebra.centre,
        "gap_mm": vertebra.gap_mm,
        "side": vertebra.volume_hu.shape[0],
        "voxel_mm": vertebra.voxel_mm,
        "surface": vertebra.surface_by,
        "bundle": asdict(vertebra.bundle),
        "measured": vertebra.measured,
        "device": vertebra.device,
        "timings_s": {name: round(seconds, 3) for name, seconds in vertebra.timings_s.items()},
        "warnings": [asdict(warning) for warning in vertebra.warnings],
        "measurements": measurements_as_dicts(vertebra.measurements),
        "versions": versions(),
    }


def _from_files(folder: Path, document: Mapping[str, Any]) -> ReconstructedVertebra:
    films, side = document["films"], int(document["side"])
    pixels = {
        name: read_volume(folder / file, (1, *films[name]["geometry"]["size_px"]))[0]
        for name, file in FILM_FILES.items()
    }
    frontal, lateral = (film_from_dict(films[name], pixels[name]) for name in FILM_FILES)
    for name, film in zip(FILM_FILES, (frontal, lateral), strict=True):
        if film.pixel_hash != films[name]["pixel_hash"]:
            raise ValueError(f"{FILM_FILES[name]} is not the film that was used")
    first, second = (known_from_dict(angle) for angle in document["source_angles_degrees"])
    return ReconstructedVertebra(
        films=SpineFilms(
            frontal=frontal,
            lateral=lateral,
            source_angles=(first, second),
            warnings=warnings_from_dicts(document["film_warnings"]),
            in_millimetres=bool(document["in_millimetres"]),
        ),
        target=_target(document["clicks"]),
        centre=_place(document["centre_ras_mm"]),
        gap_mm=float(document["gap_mm"]),
        volume_hu=np.ascontiguousarray(read_volume(folder / VOLUME, (side,) * 3).transpose(2, 1, 0)),
        voxel_mm=float(document["voxel_mm"]),
        surface=read_vtp(folder / SURFACE),
        surface_by=_surface_by(document),
        measurements=measurements_from_dicts(document["measurements"]),
        bundle=BundleName(**document["bundle"]),
        measured=document["measured"],
        device=document["device"],
        timings_s=dict(document["timings_s"]),
        warnings=warnings_from_dicts(document["warnings"]),
    )


def _target(clicks: Mapping[str, Any]) -> VertebraTarget:
    def pixel(value: Any) -> tuple[float, float]:
        row, col = value
        return float(row), float(col)

    places = {}
    for name, value in clicks.items():
        if name != "level" and value is not None:
            places[name] = tuple(map(pixel, value)) if name.startswith("corners") else pixel(value)
    return VertebraTarget(level=clicks["level"], **places)


def _surface_by(document: Mapping[str, Any]) -> str:
    """Whose surface it is; documents that do not say know networks' alone."""
    name = document.get("surface", NETWORK)
    if name not in SURFACES:
        raise ValueError(f"nobody knows a surface of {name!r}")
    return name


def _place(values: Any) -> tuple[float, float, float]:
    right, anterior, superior = map(float, values)
    return right, anterior, superior
