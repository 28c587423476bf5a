"""reconstruction.json: all of a reconstruction but pixels and meshes, written and read back."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from vtkmodules.vtkCommonCore import vtkVersion

from DualFaceReconLib import __version__
from DualFaceReconLib.disk.folders import display_name
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.acquisition import Known, RadiographWarning
from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.geometry import ProjectionGeometry, Provenance
from DualFaceReconLib.measurements import Measurement
from DualFaceReconLib.outcome import MASKS_BY_NETWORK, BundleName, Reconstruction
from DualFaceReconLib.verdicts import GRADES, Reason, Verdict

DOCUMENT = "reconstruction.json"
FORMAT = 1
RESEARCH_USE = "For research only; not for clinical use."
MAX_DOCUMENT_BYTES = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Document:
    """A reconstruction's document, each value as what it is."""

    geometry: ProjectionGeometry
    orientation: Known
    polarity: Known
    collimation_px: Known | None
    field_corners_px: tuple[tuple[float, float], ...] | None
    display_window: tuple[float, float]
    file_format: str
    pixel_hash: str
    film_warnings: tuple[RadiographWarning, ...]
    maps: tuple[str, ...]  # the bones of the masks and depths
    has_back: bool | None  # None in older documents, which do not say
    completed: Mapping[str, bool]  # by bone, of those that were found
    landmarks: Mapping[str, Mapping[str, tuple[float, float, float]]]  # by bone and name, RAS mm
    bone_measurements: Mapping[str, Mapping[str, Measurement]]  # by bone and name
    verdicts: Mapping[str, Verdict | None]  # by bone; None in older documents, which do not say
    measurements: Mapping[str, Measurement]
    bundle: BundleName
    device: str
    timings_s: Mapping[str, float]
    warnings: tuple[RadiographWarning, ...]
    masks: Provenance


def as_dict(reconstruction: Reconstruction) -> dict[str, Any]:
    """All of a reconstruction but pixels and meshes, as reconstruction.json holds it."""
    radiograph = reconstruction.radiograph
    return {
        "format": FORMAT,
        "research_use": RESEARCH_USE,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "radiograph": film_as_dict(radiograph),
        "bundle": asdict(reconstruction.bundle),
        "device": reconstruction.device,
        "timings_s": {name: round(seconds, 3) for name, seconds in reconstruction.timings_s.items()},
        "warnings": [asdict(warning) for warning in reconstruction.warnings],
        "masks": asdict(reconstruction.masks),
        "maps": list(reconstruction.maps.bones),
        "faces": ["front"] if reconstruction.maps.back is None else ["front", "back"],
        "bones": {
            name: {
                "completed": bone.completed is not None,
                "landmarks_ras_mm": bone.landmarks,
                "measurements": measurements_as_dicts(bone.measurements),
                **({} if bone.verdict is None else {"verdict": verdict_as_dict(bone.verdict)}),
            }
            for name, bone in reconstruction.bones.items()
        },
        "measurements": measurements_as_dicts(reconstruction.measurements),
        "versions": versions(),
    }


def film_as_dict(radiograph: Radiograph) -> dict[str, Any]:
    """All of a film but its pixels."""
    return {
        "pixel_hash": radiograph.pixel_hash,
        "file_format": radiograph.file_format,
        "geometry": radiograph.geometry.to_dict(),
        "orientation": known_as_dict(radiograph.orientation),
        "polarity": known_as_dict(radiograph.polarity),
        "collimation_px": None if radiograph.collimation_px is None else known_as_dict(radiograph.collimation_px),
        "field_corners_px": radiograph.field_corners_px,
        "display_window": radiograph.display_window,
        "warnings": [asdict(warning) for warning in radiograph.warnings],
    }


@cache  # finding a package's version takes milliseconds
def versions() -> dict[str, str]:
    """What a result was made with."""
    return {
        "DualFaceRecon": __version__,
        "python": platform.python_version(),
        "torch": version("torch"),
        "vtk": vtkVersion.GetVTKVersion(),
        "numpy": np.__version__,
        "platform": platform.system(),
    }


def film_from_dict(values: Mapping[str, Any], pixels: np.ndarray) -> Radiograph:
    """The film of `film_as_dict` with its pixels; raises what Python does for values that are missing or other ones."""
    low, high = values["display_window"]
    return Radiograph(
        pixels,
        ProjectionGeometry.from_dict(values["geometry"]),
        orientation=known_from_dict(values["orientation"]),
        polarity=known_from_dict(values["polarity"]),
        collimation_px=None if values["collimation_px"] is None else known_from_dict(values["collimation_px"]),
        field_corners_px=corners_from_list(values.get("field_corners_px")),
        display_window=(float(low), float(high)),
        warnings=warnings_from_dicts(values["warnings"]),
        file_format=values["file_format"],
    )


def read_object(folder: Path, name: str, content: str, form: int) -> dict[str, Any]:
    """The JSON object in a result's folder; Refusal where there is none, or none of this version. `content`: what it
    tells of, such as "reconstruction"."""
    path, where = folder / name, f"{name} in {display_name(folder)}"
    try:
        if path.stat().st_size > MAX_DOCUMENT_BYTES:
            raise Refusal(f"{where} is far too long to be one: make the {content} again.")
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Refusal(f"{display_name(folder)} holds no {content}: it has no {name}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise Refusal(f"{where} cannot be read: make the {content} again.") from error
    if not isinstance(document, dict) or document.get("format") != form:
        raise Refusal(f"{where} is of another version of DualFaceRecon: make the {content} again.")
    return document


def read_document(folder: Path) -> Document:
    """What a reconstruction's folder says of it; Refusal where it says nothing, or is damaged."""
    document = read_object(folder, DOCUMENT, "reconstruction", FORMAT)
    try:
        return _parsed(document)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise damaged(folder, f"{type(error).__name__} {error} in {DOCUMENT}") from error


def _parsed(document: Mapping[str, Any]) -> Document:
    """Raises what Python raises for values that are missing or of another kind."""
    film, bones = document["radiograph"], document["bones"]
    if not all(bone.isidentifier() for bone in document["maps"]):  # they are the beginnings of files' names
        raise ValueError("bones that have no plain names")
    low, high = film["display_window"]
    return Document(
        geometry=ProjectionGeometry.from_dict(film["geometry"]),
        orientation=known_from_dict(film["orientation"]),
        polarity=known_from_dict(film["polarity"]),
        collimation_px=None if film["collimation_px"] is None else known_from_dict(film["collimation_px"]),
        field_corners_px=corners_from_list(film.get("field_corners_px")),
        display_window=(float(low), float(high)),
        file_format=film["file_format"],
        pixel_hash=film["pixel_hash"],
        film_warnings=warnings_from_dicts(film["warnings"]),
        maps=tuple(document["maps"]),
        has_back="back" in document["faces"] if "faces" in document else None,
        completed={name: bool(bone["completed"]) for name, bone in bones.items()},
        landmarks={
            name: {landmark: tuple(map(float, place)) for landmark, place in bone["landmarks_ras_mm"].items()}
            for name, bone in bones.items()
        },
        bone_measurements={name: measurements_from_dicts(bone["measurements"]) for name, bone in bones.items()},
        verdicts={name: _verdict_from_dict(bone.get("verdict")) for name, bone in bones.items()},
        measurements=measurements_from_dicts(document["measurements"]),
        bundle=BundleName(**document["bundle"]),
        device=document["device"],
        timings_s=dict(document["timings_s"]),
        warnings=warnings_from_dicts(document["warnings"]),
        masks=Provenance(**document["masks"]) if "masks" in document else MASKS_BY_NETWORK,
    )


def damaged(folder: Path, reason: object) -> Refusal:
    """What is raised for a folder that does not hold what it says."""
    return Refusal(f"The reconstruction in {display_name(folder)} is damaged ({reason}): make it again.")


def verdict_as_dict(verdict: Verdict) -> dict[str, Any]:
    """Grade, reasons and all numbers, as JSON holds them."""
    return {
        "grade": verdict.grade,
        "reasons": [asdict(reason) for reason in verdict.reasons],
        "evidence": {code: round(float(value), 4) for code, value in verdict.evidence.items()},
    }


def _verdict_from_dict(values: Mapping[str, Any] | None) -> Verdict | None:
    if values is None:
        return None
    if values["grade"] not in GRADES:
        raise ValueError(f"no grade {values['grade']!a}")
    reasons = tuple(Reason(**reason) for reason in values["reasons"])
    evidence = {code: float(value) for code, value in values["evidence"].items()}
    return Verdict(grade=values["grade"], reasons=reasons, evidence=evidence)


def known_as_dict(known: Known) -> dict[str, Any]:
    """A value with where it came from."""
    return {"value": known.value, "provenance": asdict(known.provenance)}


def corners_from_list(places: Sequence[Sequence[float]] | None) -> tuple[tuple[float, float], ...] | None:
    """A field's corners [row, col]; None where it has none of its own."""
    return None if places is None else tuple((float(row), float(col)) for row, col in places)


def known_from_dict(values: Mapping[str, Any]) -> Known:
    """The inverse."""
    value = values["value"]
    return Known(tuple(value) if isinstance(value, list) else value, Provenance(**values["provenance"]))


def measurements_as_dicts(measurements: Mapping[str, Measurement]) -> dict[str, Any]:
    """As JSON holds them."""
    return {name: asdict(measurement) for name, measurement in measurements.items()}


def measurements_from_dicts(measurements: Mapping[str, Any]) -> dict[str, Measurement]:
    """The inverse."""
    return {name: Measurement(**measurement) for name, measurement in measurements.items()}


def warnings_from_dicts(warnings: list[Mapping[str, str]]) -> tuple[RadiographWarning, ...]:
    """Warnings of JSON's values."""
    return tuple(RadiographWarning(**warning) for warning in warnings)
