"""What a network may begin with instead of random weights: a pretrained encoder, a bundle's network, or a run's."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from DualFaceReconLib.bundle.files import read_weights
from DualFaceReconLib.bundle.manifest import load_manifest
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.networks.depth import DepthNetwork
from DualFaceReconLib.networks.weights import give_weights
from training.learning.finished import described, read_weights_file


def take_encoder(network: nn.Module, file: Path) -> dict[str, Any]:
    """Gives a depth network the encoder that `training pretrain` wrote; gives which one it was and what it saw."""
    if not isinstance(network, DepthNetwork):
        raise Refusal("A pretrained encoder is for a depth network: leave --encoder away.")
    try:
        weights = load_file(file)
        metadata = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        origin, films = metadata["besides"], metadata["films"]
    except (OSError, SafetensorError, UnicodeDecodeError, json.JSONDecodeError, KeyError) as error:
        raise Refusal(f"{file.name} with its .json is no encoder of `training pretrain`: name one.") from error
    try:
        give_weights(network.encoder, weights)
    except ValueError as error:
        raise Refusal(f"{file.name} does not fit the recipe's encoder and stages: {error}.") from error
    return {"sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "besides": origin, "films": films}


def take_bundle(network: nn.Module, folder: Path, task: str) -> dict[str, str]:
    """Gives a network the weights of a bundle's for the same task; gives which bundle that was."""
    manifest = load_manifest(folder)
    weights = read_weights(folder, manifest, task)
    try:
        give_weights(network, weights)
    except ValueError as error:
        raise Refusal(
            f"The recipe's [network] is not that of bundle {manifest.id}: take the recipe by which it was trained."
        ) from error
    names = {"id": manifest.id, "version": manifest.version, "sha256": manifest.sha256}
    return {**names, "trained_on": manifest.trained_on}


def take_weights(network: nn.Module, file: Path) -> dict[str, Any]:
    """Gives a network the weights that a run left, finished or in a checkpoint; gives which they were.

    `file`: network.safetensors of any run, in parts too, or a network's in a checkpoint's folder.
    """
    try:
        weights, sha256 = read_weights_file(file)
        metadata = described(file)
    except (OSError, SafetensorError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise Refusal(f"{file.name} holds no network's weights: name the network.safetensors of a run.") from error
    try:
        give_weights(network, weights)
    except ValueError as error:
        raise Refusal(f"{file.name} does not fit the recipe's [network]: {error}.") from error
    return {"sha256": sha256, **{name: metadata[name] for name in ("films", "besides") if name in metadata}}
