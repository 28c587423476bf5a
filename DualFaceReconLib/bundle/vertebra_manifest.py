"""What the manifest of a vertebra's bundle says: the network, its cube, what its values mean, and how good it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from DualFaceReconLib.bundle.sealed import (
    MAX_BUNDLE_BYTES,
    SHAPES,
    WEIGHTS,
    FileSeal,
    SealedManifest,
    check,
    check_id,
    check_version,
    checked_errors,
    checked_file_name,
    checked_mapping,
    checked_names,
    checked_network,
    checked_number,
    checked_positive,
    checked_seal,
    checked_text,
)
from DualFaceReconLib.levels import GROUPS, LEVELS, group_of

VERTEBRAE_FORMAT = 3  # the first that knows them
NETWORK = "volume"
MAX_SIDE = 256  # voxels; ours, twice the paper's
ALONE, IN_SITU = "alone", "in situ"


@dataclass(frozen=True, kw_only=True)
class VertebraManifest(SealedManifest):
    """All that is known about a network that makes a vertebra's volume of two films, but for its numbers."""

    id: str  # lower-case letters and digits, joined by hyphens
    version: str  # "1.0.2"
    licence: str
    research_use: str  # what it must not be used for
    attributions: tuple[str, ...]  # of the sets that it learnt from, with their licences
    trained_on: str
    measured: str  # how good it is known to be, and on whom
    levels: tuple[str, ...]  # that it learnt, from above
    films: str  # that it learnt: of the bone "alone", or "in situ"
    angle_degrees: tuple[float, float]  # between the two films, that it learnt
    side: int  # voxels of the cube's sides
    voxel_mm: float
    field_share: float  # of a film around the vertebra, which its grey values are standardised by, in the cube's shadow
    mean_hu: float  # what the network gives is (HU - mean) / deviation
    deviation_hu: float
    threshold_hu: float  # what is denser is bone
    surface_error_mm: dict[str, float]  # by group of levels: root mean square, of people whom it did not learn from
    networks: dict[
        str, dict[str, Any]
    ]  # "volume": {"settings": {...}, "file": "volume.safetensors", "bits": 8 or none}
    # By group of levels, brought onto the network's surfaces; none: these are the result
    shape_models: dict[str, str] = field(default_factory=dict)
    files: dict[str, FileSeal] = field(default_factory=dict)  # by name; written by write_bundle

    @property
    def format(self) -> int:
        """The oldest that can say this."""
        return VERTEBRAE_FORMAT

    @property
    def content(self) -> str:
        """What it makes of films, in words."""
        return f"vertebrae {self.levels[0]} to {self.levels[-1]} of two films"


def vertebra_manifest(values: Mapping[str, Any]) -> VertebraManifest:
    """A manifest of JSON's values; Unusable where one is missing, unknown or unfit."""
    expected = {"format", *(f.name for f in fields(VertebraManifest))}
    missing = expected - {"shape_models"} - set(values)
    check(not missing, f"lacks {', '.join(sorted(missing))}")
    check(set(values) <= expected, "holds values that are unknown")
    side = values["side"]
    check(type(side) is int and 1 < side <= MAX_SIDE, f"needs a side of at most {MAX_SIDE} voxels")
    networks, files = checked_mapping(values, "networks"), checked_mapping(values, "files")
    shape_models = checked_mapping(values, "shape_models") if "shape_models" in values else {}
    manifest = VertebraManifest(
        id=check_id(values["id"]),
        version=check_version(values["version"]),
        attributions=checked_names(values, "attributions"),
        levels=checked_names(values, "levels"),
        angle_degrees=_angles(values["angle_degrees"]),
        side=side,
        surface_error_mm=checked_errors(values),
        networks={name: checked_network(name, network) for name, network in networks.items()},
        shape_models={group: checked_file_name(name) for group, name in shape_models.items()},
        files={checked_file_name(name): checked_seal(name, seal) for name, seal in files.items()},
        **{key: checked_text(values, key) for key in ("licence", "research_use", "trained_on", "measured", "films")},
        **{key: checked_positive(values, key) for key in ("voxel_mm", "field_share", "deviation_hu")},
        **{key: checked_number(values, key) for key in ("mean_hu", "threshold_hu")},
    )
    _check_consistent(manifest)
    return manifest


def _check_consistent(manifest: VertebraManifest) -> None:
    """The values fit together, and the one file is sealed."""
    ordered = tuple(level for level in LEVELS if level in manifest.levels)
    check(all(text.strip() and text.isprintable() for text in manifest.attributions), "needs printable attributions")
    check(manifest.levels and manifest.levels == ordered, "names levels that are unknown, or not from above")
    groups = {group for group in GROUPS if group in map(group_of, manifest.levels)}
    check(set(manifest.surface_error_mm) == groups, f"must tell the surface error of {', '.join(sorted(groups))}")
    check(manifest.films in (ALONE, IN_SITU), f"has films neither {ALONE} nor {IN_SITU}")
    check(set(manifest.networks) == {NETWORK}, f"must name the network {NETWORK} and no other")
    check(set(manifest.shape_models) in (set(), groups), f"must name the shape models of {', '.join(sorted(groups))}")
    kinds = [WEIGHTS] * len(manifest.networks) + [SHAPES] * len(manifest.shape_models)
    fitting = all(name.endswith(kind) for name, kind in zip(manifest.named_files, kinds, strict=True))
    check(fitting and len(set(manifest.named_files)) == len(kinds), "confuses kinds of files")
    check(set(manifest.files) == set(manifest.named_files), "does not seal just the files that it names")
    check(manifest.size_bytes <= MAX_BUNDLE_BYTES, f"seals more than {MAX_BUNDLE_BYTES >> 20} MB")


def _angles(value: Any) -> tuple[float, float]:
    numbers = isinstance(value, list) and len(value) == 2 and all(type(n) in (int, float) for n in value)
    check(numbers and 0 <= value[0] <= value[1] <= 180, "needs [lowest, highest] angle between the films in degrees")
    return float(value[0]), float(value[1])
