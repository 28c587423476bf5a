"""The finished weights of a run, and what they are: `network.safetensors` and `network.json`, whole or in parts.

    write_finished(weights, metadata, Path("out/depth/network.safetensors"), parts_mb=15)
    metadata, weights = read_finished(Path("out/depth"))

Parts are for places that take small files alone: `network.safetensors.000` and so on, each with its sha256 in the
.json. They are read where the whole file is missing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from DualFaceReconLib.disk.files import write_bytes, write_text
from DualFaceReconLib.errors import Refusal

PART = re.compile(r"\.\d{3}")


def write_finished(
    weights: Mapping[str, torch.Tensor], metadata: Mapping[str, Any], path: Path, parts_mb: float | None = None
) -> Path:
    """Writes weights, parts of at most `parts_mb` beside them if asked, and last what they are to a .json beside."""
    content = save({name: value.cpu().contiguous() for name, value in weights.items()})
    write_bytes(path, content)
    for old in _parts(path):
        old.unlink()
    metadata = {**metadata, "sha256": hashlib.sha256(content).hexdigest()}
    if parts_mb is not None:
        size = int(parts_mb * 1e6)
        parts = {
            f"{path.name}.{number:03d}": content[start : start + size]
            for number, start in enumerate(range(0, len(content), size))
        }
        for name, part in parts.items():
            write_bytes(path.with_name(name), part)
        metadata["parts"] = {name: hashlib.sha256(part).hexdigest() for name, part in parts.items()}
    write_text(path.with_suffix(".json"), json.dumps(metadata, indent=1))
    return path


def read_finished(run: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """What a finished run's network is, and its weights; Refusal where there are none, or parts of them are damaged."""
    try:
        metadata = json.loads((run / "network.json").read_text(encoding="utf-8"))
        weights, _ = read_weights_file(run / "network.safetensors")
    except (OSError, json.JSONDecodeError, SafetensorError) as error:
        raise Refusal(f"{run.name} holds no finished network: let `training train` end there first.") from error
    return metadata, weights


def read_weights_file(path: Path) -> tuple[dict[str, torch.Tensor], str]:
    """The weights in a .safetensors file or in its parts, of which any may be named, and the whole one's sha256."""
    if PART.fullmatch(path.suffix):
        path = path.with_suffix("")
    content = path.read_bytes() if path.exists() else _joined(path)
    return load(content), hashlib.sha256(content).hexdigest()


def described(path: Path) -> dict[str, Any]:
    """What the .json beside weights says of them: a finished network's, or a checkpoint's; {} where there is none."""
    if PART.fullmatch(path.suffix):
        path = path.with_suffix("")
    for beside in (path.with_suffix(".json"), path.with_name("state.json")):
        if beside.exists():
            return json.loads(beside.read_text(encoding="utf-8"))
    return {}


def _parts(path: Path) -> list[Path]:
    return sorted(part for part in path.parent.glob(f"{path.name}.*") if PART.fullmatch(part.suffix))


def _joined(path: Path) -> bytes:
    """The parts of a file in one; Refusal where one is missing or damaged."""
    parts = _parts(path)
    if not parts:
        raise FileNotFoundError(path)
    hashes = json.loads(path.with_suffix(".json").read_text(encoding="utf-8")).get("parts", {})
    if [part.name for part in parts] != sorted(hashes):
        raise Refusal(f"{path.name} is not whole: {path.stem}.json names {len(hashes)} parts, {len(parts)} are there.")
    contents = [part.read_bytes() for part in parts]
    for part, content in zip(parts, contents, strict=True):
        if hashlib.sha256(content).hexdigest() != hashes[part.name]:
            raise Refusal(f"{part.name} is damaged: copy it anew.")
    return b"".join(contents)
