"""Which bundles can be fetched: a JSON file, {"bundles": [{"id", "version", "url", "sha256", "bytes"}, ...]}."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from DualFaceReconLib.bundle.sealed import Unusable, check, check_bytes, check_id, check_sha256, check_version
from DualFaceReconLib.bundle.store import SHIPPED
from DualFaceReconLib.errors import Refusal

REGISTRY = SHIPPED / "registry.json"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A bundle that can be fetched."""

    id: str
    version: str
    url: str  # of a zip archive
    sha256: str  # of that archive
    bytes: int


def registry(path: Path | None = None) -> tuple[Entry, ...]:
    """The bundles that can be fetched: those of a file, or of the one that ships, if any does."""
    if path is None and not REGISTRY.exists():
        return ()
    path = path or REGISTRY
    no_registry = f"{path} is no registry of bundles, or a damaged one: get it again."
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Refusal(f"The registry {path} cannot be read ({error.strerror or error}): name another file.") from error
    except (ValueError, RecursionError) as error:
        raise Refusal(no_registry) from error
    if not isinstance(document, dict) or not isinstance(document.get("bundles"), list):
        raise Refusal(no_registry)
    try:
        return tuple(parse_entry(values) for values in document["bundles"])
    except Unusable as error:
        raise Refusal(no_registry) from error


def published(id: str, path: Path | None = None) -> Entry:
    """A registry's entry."""
    entries = {entry.id: entry for entry in registry(path)}
    if id not in entries:
        raise Refusal(f"No bundle {id!a} can be fetched; {', '.join(entries) or 'none'} can.")
    return entries[id]


def parse_entry(values: Any) -> Entry:
    """An entry as JSON holds it; Unusable where a value is missing, unknown or unfit."""
    names = {field.name for field in fields(Entry)}
    check(isinstance(values, dict) and set(values) == names, f"needs {', '.join(sorted(names))} of every bundle")
    entry = Entry(**values)
    check_id(entry.id)
    check_version(entry.version)
    check_sha256(entry.sha256)
    check_bytes(entry.bytes)
    check(isinstance(entry.url, str) and entry.url.isprintable(), "needs a printable text as url")
    return entry
