"""manifest.json: what a model bundle says of itself, distrusted until every value has been looked at."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

from DualFaceReconLib.bonemaps import BONES, kind_and_side
from DualFaceReconLib.errors import Refusal

MANIFEST_FORMAT = 2  # the newest; 1 knows half precision alone
MANIFEST = "manifest.json"
NETWORKS = {"depth", "segmentation"}
WEIGHTS, SHAPES = ".safetensors", ".ssm.npz"

# Limits are ours, many times what bundles need: the paper's own networks take some hundred MB in half precision
MAX_MANIFEST_BYTES = 1 << 20
MAX_BUNDLE_BYTES = 1 << 30
MAX_INPUT_PX = 8192
MAX_ERROR_MM = 100.0

ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
VERSION = re.compile(r"(0|[1-9]\d{0,5})(\.(0|[1-9]\d{0,5})){2}", re.ASCII)
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,60}(\.safetensors|\.ssm\.npz)")
SHA256 = re.compile(r"[0-9a-f]{64}")
# Windows opens devices by these names, whatever the suffix and the folder
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}


class Unusable(ValueError):
    """What is wrong with a manifest or a registry, as the end of a sentence."""


@dataclass(frozen=True)
class FileSeal:
    """By what a file is known again."""

    sha256: str  # hexadecimal
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All that is known about a bundle's networks and shape models, but for their numbers."""

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
    normalisation: dict[str, Any]  # how grey values are brought to the networks' input
    networks: dict[str, dict[str, Any]]  # "depth": {"settings": {...}, "file": "depth.safetensors", "bits": 8 or none}
    shape_models: dict[str, str]  # "hip": "hip.ssm.npz", the left bones
    files: dict[str, FileSeal] = field(default_factory=dict)  # by name; written by write_bundle

    @property
    def format(self) -> int:
        """The oldest that can say this: programs that know only 1 read bundles without 8-bit weights."""
        return 2 if any("bits" in network for network in self.networks.values()) else 1

    @property
    def sha256(self) -> str:
        """Of the manifest, which seals every file: names this very bundle."""
        return hashlib.sha256(self.to_json()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Of all files together, the manifest left out."""
        return sum(seal.bytes for seal in self.files.values())

    @property
    def named_files(self) -> tuple[str, ...]:
        """The weights, then the shape models."""
        return (*(network["file"] for network in self.networks.values()), *self.shape_models.values())

    def to_json(self) -> bytes:
        """As it stands in manifest.json, the same on every platform."""
        values = {"format": self.format, **asdict(self)}
        return (json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def load_manifest(folder: Path) -> Manifest:
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


def parse_manifest(content: bytes, name: str) -> Manifest:
    """A manifest of the bytes of manifest.json; the bundle is called `name` where they are refused."""
    try:
        values = _json_object(content)
        version = values.get("format")
        if isinstance(version, int) and version > MANIFEST_FORMAT:
            raise Refusal(f"Bundle {name} is of format {version}, newer than this program: update DualFaceRecon.")
        check(type(version) is int and version >= 1, f"is of neither format 1 nor {MANIFEST_FORMAT}")
        manifest = _manifest(values)
        check(version == manifest.format, f"is of format {manifest.format} and not of {version}")
        _check_consistent(manifest)
        _check_writable(manifest)
    except Unusable as error:
        raise Refusal(f"Bundle {name} cannot be used, its {MANIFEST} {error}: get the bundle again.") from error
    return manifest


def check_id(value: Any) -> str:
    """A bundle's id, fit for a folder's name on every platform; Unusable where it is not."""
    fits = isinstance(value, str) and len(value) <= 60 and ID.fullmatch(value) and value not in DEVICES
    check(fits, "needs an id of lower-case letters, digits and single hyphens")
    return value


def check_version(value: Any) -> str:
    """A bundle's version; Unusable where it is none."""
    check(isinstance(value, str) and VERSION.fullmatch(value), "needs a version such as 1.0.2")
    return value


def check_sha256(value: Any) -> str:
    """A digest; Unusable where it is none."""
    check(isinstance(value, str) and SHA256.fullmatch(value), "holds a sha256 that is none")
    return value


def check_bytes(value: Any) -> int:
    """A file's length; Unusable where it is none, or beyond what a bundle may take."""
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_BUNDLE_BYTES
    check(fits, f"holds a length that is not between 1 byte and {MAX_BUNDLE_BYTES >> 20} MB")
    return value


def check(fits: object, otherwise: str) -> None:
    """Unusable, in these words, where something does not fit."""
    if not fits:
        raise Unusable(otherwise)


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
    check(expected <= set(values), f"lacks {', '.join(sorted(expected - set(values)))}")
    check(set(values) <= expected, "holds values that are unknown")
    texts = ("licence", "research_use", "trained_on", "measured", "object_distance_source")
    numbers = ("mm_per_pixel", "nominal_object_distance_mm", "object_distance_spread_mm")
    return Manifest(
        id=check_id(values["id"]),
        version=check_version(values["version"]),
        bones=_names(values, "bones"),
        faces=_names(values, "faces"),
        input_px=_size(values["input_px"]),
        surface_error_mm=_errors(values),
        normalisation=_mapping(values, "normalisation"),
        networks={name: _network(name, network) for name, network in _mapping(values, "networks").items()},
        shape_models={bone: _file_name(name) for bone, name in _mapping(values, "shape_models").items()},
        files={_file_name(name): _seal(name, seal) for name, seal in _mapping(values, "files").items()},
        **{key: _text(values, key) for key in texts},
        **{key: _positive(values, key) for key in numbers},
    )


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


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values[key]
    printable = isinstance(value, str) and value.strip() and value.replace("\n", " ").isprintable()
    check(printable, f"needs a printable text as {key}")  # a terminal obeys some of the others
    return value


def _positive(values: Mapping[str, Any], key: str) -> float:
    value = values[key]
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf
    check(fits, f"needs a positive number as {key}")
    return value


def _errors(values: Mapping[str, Any]) -> dict[str, float]:
    errors = _mapping(values, "surface_error_mm")
    numbers = all(isinstance(error, (int, float)) and not isinstance(error, bool) for error in errors.values())
    check(
        numbers and all(0 <= error < MAX_ERROR_MM for error in errors.values()),
        "has surface errors that are no lengths",
    )
    return errors


def _names(values: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = values[key]
    check(isinstance(value, list) and all(isinstance(name, str) for name in value), f"needs a list of names as {key}")
    return tuple(value)


def _size(value: Any) -> tuple[int, int]:
    fits = isinstance(value, list) and len(value) == 2 and all(type(n) is int and 0 < n <= MAX_INPUT_PX for n in value)
    check(fits, f"needs [rows, cols] of at most {MAX_INPUT_PX} pixels as input_px")
    return value[0], value[1]


def _mapping(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    check(isinstance(values[key], dict), f"needs an object as {key}")
    return values[key]


def _network(name: str, network: Any) -> dict[str, Any]:
    check(
        isinstance(network, dict) and set(network) - {"bits"} == {"settings", "file"},
        "needs settings and a file for every network",
    )
    bits = {"bits": network["bits"]} if "bits" in network else {}
    check(not bits or (type(bits["bits"]) is int and bits["bits"] == 8), "has weights of other than 8 or no bits")
    return {"settings": _mapping(network, "settings"), "file": _file_name(network["file"]), **bits}


def _file_name(value: Any) -> str:
    """A plain name inside the bundle's folder, of a kind that holds no code."""
    fits = isinstance(value, str) and FILE_NAME.fullmatch(value) and value.split(".")[0].lower() not in DEVICES
    check(fits, f"names a file that is not a plain name ending in {WEIGHTS} or {SHAPES}")
    return value


def _seal(name: str, seal: Any) -> FileSeal:
    check(isinstance(seal, dict) and set(seal) == {"sha256", "bytes"}, f"needs sha256 and bytes of {name}")
    return FileSeal(check_sha256(seal["sha256"]), check_bytes(seal["bytes"]))
