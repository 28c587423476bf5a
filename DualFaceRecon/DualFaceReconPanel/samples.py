"""The films that ship, in the Sample Data module; they are copied, not downloaded, so that they work offline."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

import DualFaceReconLib

SAMPLES = Path(DualFaceReconLib.__file__).resolve().parents[1] / "Resources" / "Samples"
FILMS = sorted(SAMPLES.glob("*.dcm"))
CATEGORY = "DualFaceRecon"


def names() -> dict[str, str]:
    """Of the films that are offered."""
    return {
        "pelvis_1": _("Pelvis, simulated"),
        "pelvis_total_hip": _("Pelvis with a total hip, simulated"),
        "one_hip_1": _("One hip, simulated"),
    }


def register() -> None:
    """Adds them to what Sample Data offers; again has no effect."""
    try:
        import SampleData
    except ImportError:  # Slicer was built without it
        return
    sources = slicer.modules.sampleDataSources.setdefault(CATEGORY, [])
    known = {source.sampleName for source in sources}
    for film in FILMS:
        if film.stem in names() and film.stem not in known:
            sources.append(
                SampleData.SampleDataSource(
                    sampleName=film.stem,
                    sampleDescription=names()[film.stem],
                    uris=film.as_uri(),
                    fileNames=film.name,
                    customDownloader=load,
                )
            )


def load(source: Any) -> list[Any]:
    """A film of ours as a volume whose file is the film's, so that the panel reads its tags."""
    from DualFaceReconPanel.film_volume import film_volume

    film = next(film for film in FILMS if film.stem == source.sampleName)
    copied = Path(slicer.app.temporaryPath) / film.name
    shutil.copyfile(film, copied)
    return [film_volume(copied, names()[film.stem])]
