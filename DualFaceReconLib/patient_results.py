"""The folder of several films of one patient: a reconstruction's folder for each, and what each film added.

    save_patient(patient, "out/patient")
    load_reconstruction("out/patient/5e21f0aa31bc")     # one of the films, as any reconstruction

    OUT/<pixel hash>/   a film's reconstruction
    OUT/patient.json    which films, in their order, and how sure their bones are by all of them and by fewer

Names and ids of patients, and names of files, are nowhere in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from DualFaceReconLib import __version__
from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.disk.folders import refuse_to_replace, write_folder
from DualFaceReconLib.document import RESEARCH_USE
from DualFaceReconLib.patient import PatientReconstruction
from DualFaceReconLib.results import write_files

PATIENT = "patient.json"
FORMAT = 1


def save_patient(
    patient: PatientReconstruction,
    folder: str | Path,
    *,
    overwrite: bool = False,
    scene: bool = False,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Path]:
    """Writes the folder whole or not at all, as `results.save` does; gives the films' folders, in their order."""
    folder = Path(folder)
    refuse_to_lose_patient(folder, overwrite)

    def write(beside: Path) -> None:
        for film in patient.films:
            own = beside / film.radiograph.pixel_hash
            own.mkdir()
            write_files(film, own, scene, cancelled)
        write_text(beside / PATIENT, json.dumps(as_dict(patient), indent=1))

    write_folder(folder, write)
    return [folder / film.radiograph.pixel_hash for film in patient.films]


def refuse_to_lose_patient(folder: Path, overwrite: bool) -> None:
    """Refusal where writing the films of a patient there would replace what nobody wants replaced."""
    refuse_to_replace(folder, overwrite, PATIENT, "the films of a patient")


def as_dict(patient: PatientReconstruction) -> dict[str, Any]:
    """What patient.json holds."""
    films = []
    for number, film in enumerate(patient.films, 1):
        geometry = film.radiograph.geometry
        films.append(
            {
                "film": number,
                "pixel_hash": film.radiograph.pixel_hash,
                "folder": film.radiograph.pixel_hash,
                "bones": [bone for bone, own in film.bones.items() if own.completed is not None],
                "object_distance_mm": geometry.object_distance_mm,
                "provenance": asdict(geometry.provenance["object_distance_mm"]),
            }
        )
    return {
        "format": FORMAT,
        "version": __version__,
        "research_use": RESEARCH_USE,
        "films": films,
        "certainties": [asdict(certainty) for certainty in patient.certainties],
    }
