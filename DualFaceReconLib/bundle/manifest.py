"""manifest.json: what a model bundle says of itself, distrusted until every value has been looked at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

from DualFaceReconLib.bonemaps import BONES, kind_and_side
from DualFaceReconLib.bundle.sealed import (
    MAX_BUNDLE_BYTES,
    SHAPES,
    WEIGHTS,
    FileSeal,
    SealedManifest,
    Unusable,
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
from DualFaceReconLib.bundle.vertebra_manifest import VERTEBRAE_FORMAT, VertebraManifest, vertebra_manifest
from DualFaceReconLib.errors import Refusal

MANIFEST_FORMAT = VERTEBRAE_FORMAT  # the newest; 1 knows half precision alone, 2 no vertebrae
MANIFEST = "manifest.json"
NETWORKS = {"depth", "segmentation"}
MAX_MANIFEST_BYTES = 1 << 20  # ours, many times what is needed
MAX_INPUT_PX = 8192
MAX_LEAN_MM = 100.0
NEWER = {"femora_lean_mm"}  # what bundles may lack that were made before it was known


@dataclass(frozen=True, kw_only=True)
class Manifest(SealedManifest):
    """All that is known about a hip bundle's networks and shape models, but for their numbers."""

    id: str  # lower-case letters and digits, joined by hyphens
    version: str  # "1.0.2"
    licence: str
    research_use: str  # what it must not be used for
    trained_on: str
    measured: str  # how good it is known to be, and on whom
    bones: tuple[str, ...]  # the order of the networks' outputs
    faces: tuple[str, ...]  # ("front", "back"), or ("front",) of a single-face network
    input_px: tuple[int, int]  # [rows, cols] of the networks' input
    mm_per_pixel: float  # of that input, at the nominal bone plane
    nominal_object_distance_mm: float  # detector to the nominal bone plane, the population's mean
    object_distance_spread_mm: float  # one standard deviation of where bones are
    object_distance_source: str  # where both are from
    surface_error_mm: dict[str, float]  # by shape model: of completed bones, beyond what a fit shows
    femora_lean_mm: float | None = None  # of depth maps, over 100 mm, on people never met; None: as of hips-small 0.3.0
    normalisation: dict[str, Any]  # how grey values are brought to the networks' input
    networks: dict[str, dict[str, Any]]  # "depth": {"settings": {...}, "file": "depth.safetensors", "bits": 8 or none}
    shape_models: dict[str, str]  # "hip": "hip.ssm.npz", the left bones
    files: dict[str, FileSeal] = field(default_factory=dict)  # by name; written by write_bundle

    @property
    def format(self) -> int:
        """The oldest that can say this: programs that know only 1 read bundles without 8-bit weights."""
        return 2 if any("bits" in network for network in self.networks.values()) else 1

    @property
    def content(self) -> str:
        """What it makes of films, in words."""
        return ", ".join(self.bones)


AnyManifest = Manifest | VertebraManifest


def load_manifest(folder: Path) -> AnyManifest:
    """What a bundle's folder says of itself; its other files are not looked at."""
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            content = file.read(MAX_MANIFEST_BYTES + 1)
    except FileNotFoundError as error:
        raise Refusal(f"{folder} is no model bundle: it has no {MANIFEST}.") from error
    except OSError as error:
        raise Refusal(f"{path} cannot be read ({error.strerror or error}): check the folder's permissions.") from error
    return parse_manifest(content, folder.name)


def hip_manifest(folder: Path) -> Manifest:
    """Of a bundle for hips; Refusal for one of vertebrae."""
    manifest = load_manifest(folder)
    if isinstance(manifest, VertebraManifest):
        raise Refusal(f"Bundle {manifest.id} makes {manifest.content}, and no bones of hip films: name another.")
    return manifest


def vertebra_manifest_in(folder: Path) -> VertebraManifest:
    """Of a bundle for vertebrae; Refusal for one of hips."""
    manifest = load_manifest(folder)
    if not isinstance(manifest, VertebraManifest):
        raise Refusal(f"Bundle {manifest.id} is for hip films, and makes no vertebrae: name another.")
    return manifest


def parse_manifest(content: bytes, name: str) -> AnyManifest:
    """A manifest of the bytes of manifest.json; the bundle is called `name` where they are refused."""
    try:
        values = _json_object(content)
        version = values.get("format")
        if isinstance(version, int) and version > MANIFEST_FORMAT:
            raise Refusal(f"Bundle {name} is of format {version}, newer than this program: update DualFaceRecon.")
        check(type(version) is int and version >= 1, f"is of neither format 1 nor {MANIFEST_FORMAT}")
        manifest = vertebra_manifest(values) if version == VERTEBRAE_FORMAT else _manifest(values)
        check(version == manifest.format, f"is of format {manifest.format} and not of {version}")
        _check_writable(manifest)
    except Unusable as error:
        raise Refusal(f"Bundle {name} cannot be used, its {MANIFEST} {error}: get the bundle again.") from error
    return manifest


def _json_object(content: bytes) -> dict[str, Any]:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)  # NaN and Infinity, which Python reads and JSON does not know

    check(len(content) <= MAX_MANIFEST_BYTES, f"is larger than {MAX_MANIFEST_BYTES >> 20} MB")
    try:
        values = json.loads(content.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise Unusable("is not JSON") from error
    check(isinstance(values, dict), "is no JSON object")
    return values


def _manifest(values: Mapping[str, Any]) -> Manifest:
    """The values, each of its type."""
    expected = {"format", *(f.name for f in fields(Manifest))}
    lacking = expected - NEWER - set(values)
    check(not lacking, f"lacks {', '.join(sorted(lacking))}")
    check(set(values) <= expected, "holds values that are unknown")
    texts = ("licence", "research_use", "trained_on", "measured", "object_distance_source")
    numbers = ("mm_per_pixel", "nominal_object_distance_mm", "object_distance_spread_mm")
    networks, files = checked_mapping(values, "networks"), checked_mapping(values, "files")
    manifest = Manifest(
        id=check_id(values["id"]),
        version=check_version(values["version"]),
        bones=checked_names(values, "bones"),
        faces=checked_names(values, "faces"),
        input_px=_size(values["input_px"]),
        surface_error_mm=checked_errors(values),
        femora_lean_mm=checked_number(values, "femora_lean_mm") if "femora_lean_mm" in values else None,
        normalisation=checked_mapping(values, "normalisation"),
        networks={name: checked_network(name, network) for name, network in networks.items()},
        shape_models={bone: checked_file_name(name) for bone, name in checked_mapping(values, "shape_models").items()},
        files={checked_file_name(name): checked_seal(name, seal) for name, seal in files.items()},
        **{key: checked_text(values, key) for key in texts},
        **{key: checked_positive(values, key) for key in numbers},
    )
    _check_consistent(manifest)
    return manifest


def _check_consistent(manifest: Manifest) -> None:
    """The values fit together, and every file is named once and sealed."""
    bones = manifest.bones
    check(bones and len(set(bones)) == len(bones) and set(bones) <= set(BONES), "names bones that are unknown")
    check(manifest.faces in {("front",), ("front", "back")}, "has faces other than front and back")
    networks = set(manifest.networks)
    check(networks >= NETWORKS, "names no depth or no segmentation network")
    check(networks <= NETWORKS, "names networks that are unknown")
    kinds = {kind_and_side(bone)[0] for bone in bones}
    check(set(manifest.shape_models) == kinds, f"must name the shape models of {', '.join(sorted(kinds))}")
    check(set(manifest.surface_error_mm) == kinds, f"must tell the surface error of {', '.join(sorted(kinds))}")
    check(abs(manifest.femora_lean_mm or 0.0) < MAX_LEAN_MM, "has a lean of femora that is none")
    named = manifest.named_files
    check(len({name.lower() for name in named}) == len(named), "names one file twice")
    weights = {network["file"] for network in manifest.networks.values()}
    check(all(name.endswith(WEIGHTS if name in weights else SHAPES) for name in named), "confuses kinds of files")
    check(set(manifest.files) == set(named), "does not seal just the files that it names")
    check(manifest.size_bytes <= MAX_BUNDLE_BYTES, f"seals more than {MAX_BUNDLE_BYTES >> 20} MB")


def _check_writable(manifest: Manifest) -> None:
    """Settings hold what JSON can: no infinite numbers, no broken letters, no bottomless nesting."""
    try:
        manifest.to_json()
    except (ValueError, RecursionError) as error:
        raise Unusable("holds values that JSON cannot") from error


def _size(value: Any) -> tuple[int, int]:
    fits = isinstance(value, list) and len(value) == 2 and all(type(n) is int and 0 < n <= MAX_INPUT_PX for n in value)
    check(fits, f"needs [rows, cols] of at most {MAX_INPUT_PX} pixels as input_px")
    return value[0], value[1]
