"""What the manifests of all kinds of bundles share: seals, limits, and checks of values that nobody vouches for."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

WEIGHTS, SHAPES = ".safetensors", ".ssm.npz"

# Limits are ours, many times what bundles need: the paper's own networks take some hundred MB in half precision
MAX_BUNDLE_BYTES = 1 << 30
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


class SealedManifest:
    """What the manifests of all kinds of bundles have."""

    id: str
    version: str
    networks: dict[str, dict[str, Any]]
    shape_models: Mapping[str, str]
    files: dict[str, FileSeal]
    format: int  # the oldest that can say this

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
        """As it stands in manifest.json, the same on every platform; what is not known is left out."""
        known = {key: value for key, value in asdict(self).items() if value is not None}
        values = {"format": self.format, **known}
        return (json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


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


def checked_text(values: Mapping[str, Any], key: str) -> str:
    """A text that a terminal may print; Unusable where it is none."""
    value = values[key]
    printable = isinstance(value, str) and value.strip() and value.replace("\n", " ").isprintable()
    check(printable, f"needs a printable text as {key}")  # a terminal obeys some of the others
    return value


def checked_positive(values: Mapping[str, Any], key: str) -> float:
    """A positive number; Unusable where it is none."""
    value = values[key]
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf
    check(fits, f"needs a positive number as {key}")
    return value


def checked_number(values: Mapping[str, Any], key: str) -> float:
    """A finite number; Unusable where it is none."""
    value = values[key]
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    check(fits, f"needs a number as {key}")
    return value


def checked_errors(values: Mapping[str, Any]) -> dict[str, float]:
    """Surface errors in mm by name; Unusable where they are none."""
    errors = checked_mapping(values, "surface_error_mm")
    numbers = all(isinstance(error, (int, float)) and not isinstance(error, bool) for error in errors.values())
    check(
        numbers and all(0 <= error < MAX_ERROR_MM for error in errors.values()),
        "has surface errors that are no lengths",
    )
    return errors


def checked_names(values: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """A list of names; Unusable where it is none."""
    value = values[key]
    check(isinstance(value, list) and all(isinstance(name, str) for name in value), f"needs a list of names as {key}")
    return tuple(value)


def checked_mapping(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A JSON object; Unusable where it is none."""
    check(isinstance(values[key], dict), f"needs an object as {key}")
    return values[key]


def checked_network(name: str, network: Any) -> dict[str, Any]:
    """A network's settings, file and precision; Unusable where they are none."""
    check(
        isinstance(network, dict) and set(network) - {"bits"} == {"settings", "file"},
        "needs settings and a file for every network",
    )
    bits = {"bits": network["bits"]} if "bits" in network else {}
    check(not bits or (type(bits["bits"]) is int and bits["bits"] == 8), "has weights of other than 8 or no bits")
    return {"settings": checked_mapping(network, "settings"), "file": checked_file_name(network["file"]), **bits}


def checked_file_name(value: Any) -> str:
    """A plain name inside the bundle's folder, of a kind that holds no code."""
    fits = isinstance(value, str) and FILE_NAME.fullmatch(value) and value.split(".")[0].lower() not in DEVICES
    check(fits, f"names a file that is not a plain name ending in {WEIGHTS} or {SHAPES}")
    return value


def checked_seal(name: str, seal: Any) -> FileSeal:
    """A file's digest and length; Unusable where they are none."""
    check(isinstance(seal, dict) and set(seal) == {"sha256", "bytes"}, f"needs sha256 and bytes of {name}")
    return FileSeal(check_sha256(seal["sha256"]), check_bytes(seal["bytes"]))
