"""What is measured of a case: scores of surfaces and of maps by bone, and the films' groups; as lines of JSON.

keep(evaluation, path, key)
evaluation = kept(path, key)  # None where there is none by this key
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from DualFaceReconLib.disk.files import write_text

ALL, HEALTHY, DISEASED, METAL, CUT_OFF, ONE_HIP = GROUPS = (
    "all",
    "healthy, without metal",
    "diseased",
    "metal",
    "bones partly outside the film",
    "one-hip films",
)


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One bone of one case by one row of the tables; no numbers where the row missed the bone."""

    case: str
    person: str  # intervals are over people
    bone: str
    groups: tuple[str, ...]
    row: str
    alignment: str
    pixels: int
    assd_mm: float | None = None
    hd95_mm: float | None = None
    hd95_max_mm: float | None = None
    cd_l2_mm2: float | None = None
    emd_mm: float | None = None
    emd_floor_mm: float | None = None  # of the truth to a second sample of the truth
    # Of whole femora alone, degrees; errors are predicted minus true. See `poses.py`
    true_flexion_deg: float | None = None
    flexion_error_deg: float | None = None
    rotation_error_deg: float | None = None


@dataclass(frozen=True, kw_only=True)
class MapsScored:
    """Predicted maps of one bone of one case; depths after one shift a picture, over pixels valid in both."""

    case: str
    person: str
    bone: str
    groups: tuple[str, ...]
    pixels: int
    found: bool  # whether prediction and truth share a pixel
    dice: float
    front_mae_mm: float | None = None
    front_rmse_mm: float | None = None
    back_mae_mm: float | None = None
    back_rmse_mm: float | None = None
    # Of what the networks see in the film and in its mirror image: depths but for one shift a picture, and masks
    mirror_depth_mm: float | None = None
    mirror_dice: float | None = None
    # Between the maps of both faces, after one shift a picture, and between the true ones
    envelope_cm3: float | None = None
    true_envelope_cm3: float | None = None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All that was measured."""

    surfaces: list[Scored]
    maps: list[MapsScored]


def as_json(scored: Sequence[Scored] | Sequence[MapsScored]) -> str:
    """One object a line."""
    return "".join(json.dumps(asdict(score)) + "\n" for score in scored)


def from_json(surfaces: str, maps: str) -> Evaluation:
    """Of lines that `as_json` wrote."""
    rows = [[json.loads(line) for line in lines.splitlines()] for lines in (surfaces, maps)]
    scored = [[{**row, "groups": tuple(row["groups"])} for row in some] for some in rows]
    return Evaluation(surfaces=[Scored(**row) for row in scored[0]], maps=[MapsScored(**row) for row in scored[1]])


def write_scores(evaluation: Evaluation, path: Path, key: Mapping[str, Any]) -> None:
    """Writes what was measured of a case, with all that it hangs on, which JSON can hold."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = {"key": key, "surfaces": as_json(evaluation.surfaces), "maps": as_json(evaluation.maps)}
    write_text(path, json.dumps(lines))


def read_scores(path: Path, key: Mapping[str, Any]) -> Evaluation | None:
    """What was measured of a case by the same bundle and in the same way before, if it was."""
    if not path.exists():
        return None
    lines = json.loads(path.read_text(encoding="utf-8"))
    return from_json(lines["surfaces"], lines["maps"]) if lines["key"] == key else None
