"""A model bundle: a folder with manifest.json, the networks' weights and the shape models.

    manifest = load_manifest(folder)
    weights = read_weights(folder, manifest, "depth")  # for load_state_dict
    hip = read_shape_model(folder, manifest, "hip")

Every file is compared with its sha256 in the manifest before it is used. torch is imported only where tensors are
wanted: checking a bundle does without.
"""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from DualFaceReconLib.bundle.manifest import MANIFEST, AnyManifest, Manifest, load_manifest, parse_manifest
from DualFaceReconLib.bundle.precision import packed, restored
from DualFaceReconLib.bundle.sealed import FileSeal
from DualFaceReconLib.bundle.store import SHIPPED, SHIPPED_VERTEBRAE
from DualFaceReconLib.disk.folders import write_folder
from DualFaceReconLib.errors import Refusal

if TYPE_CHECKING:
    from torch import Tensor

    from DualFaceReconLib.shape.shapemodel import ShapeModel

BundleManifest = TypeVar("BundleManifest", bound=AnyManifest)
# Kinds of files that may pass for weights: one that the manifest does not name does not belong in a bundle
WEIGHT_LIKE = {".safetensors", ".npz", ".npy", ".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle", ".onnx", ".h5"}
MAX_UNPACKED_BYTES = 1 << 28  # of a shape model; ours, some thirty times what the largest takes


def verify(folder: Path) -> AnyManifest:
    """Reads all of a bundle; a Refusal names what is missing, damaged, unsafe or does not belong there."""
    manifest = load_manifest(folder)
    for network in manifest.networks:
        _weights(folder, manifest, network)
    for bone in manifest.shape_models:
        read_shape_model(folder, manifest, bone)
    _refuse_unnamed_weights(folder, manifest.files)
    return manifest


def read_weights(folder: Path, manifest: AnyManifest, network: str) -> dict[str, Tensor]:
    """A network's tensors by name, float32; the files hold less, see `precision.py`."""
    import torch

    return {name: torch.from_numpy(values) for name, values in _weights(folder, manifest, network).items()}


def read_shape_model(folder: Path, manifest: Manifest, bone: str) -> ShapeModel:
    """The shape model of "hip" or "femur", of the left side."""
    # Here, as a process that only asks networks does without
    from DualFaceReconLib.shape.shapemodel import load_shape_model

    name = manifest.shape_models[bone]
    _sealed_bytes(folder, manifest, name)
    try:
        model = load_shape_model(folder / name) if _unpacks_into_memory(folder / name) else None
    except (Refusal, MemoryError):  # the second for an array that says that it is huge
        model = None
    if model is None or model.bone != bone:
        raise Refusal(f"Bundle {manifest.id}: {name} holds no shape model of a {bone}: {_cure(folder, manifest)}.")
    return model


def _unpacks_into_memory(path: Path) -> bool:
    """Whether a file is an archive, and not a small one of more than the memory holds."""
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(member.file_size for member in archive.infolist()) <= MAX_UNPACKED_BYTES
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile):  # whatever damaged ones raise
        return False


def write_bundle(
    folder: Path,
    manifest: BundleManifest,
    weights: Mapping[str, Mapping[str, Tensor]],
    shape_models: Mapping[str, Path],
) -> BundleManifest:
    """Writes a bundle with weights as the manifest's `bits` say and seals it; the folder is replaced whole or stays.

    `weights` holds a state dict for each of manifest.networks, `shape_models` a file for each of
    manifest.shape_models. Plain files that lie in the folder and belong to no bundle stay there.
    """
    if set(weights) != set(manifest.networks) or set(shape_models) != set(manifest.shape_models):
        raise ValueError("weights and shape models must be those that the manifest names")
    contents = {
        manifest.networks[name]["file"]: _packed(name, tensors, manifest.networks[name].get("bits", 16))
        for name, tensors in weights.items()
    }
    contents |= {manifest.shape_models[bone]: path.read_bytes() for bone, path in shape_models.items()}
    sealed = replace(manifest, files={name: _seal(contents[name]) for name in sorted(contents)})
    parse_manifest(sealed.to_json(), manifest.id)

    def write(beside: Path) -> None:
        foreign = _foreign_files(folder, contents)
        for name, content in {**contents, MANIFEST: sealed.to_json()}.items():
            (beside / name).write_bytes(content)
        verify(beside)
        for path in foreign:
            shutil.copy2(path, beside)

    write_folder(folder, write, f"Bundle {manifest.id}")
    return load_manifest(folder)


def _sealed_bytes(folder: Path, manifest: AnyManifest, name: str) -> bytes:
    """A file's content, which is what the manifest sealed."""
    path, seal = folder / name, manifest.files[name]
    subject, cure = f"Bundle {manifest.id}: {name}", _cure(folder, manifest)
    if not path.exists():
        raise Refusal(f"{subject} is missing: {cure}.")
    if not path.is_file() or path.resolve().parent != folder.resolve():
        raise Refusal(f"{subject} is a link to elsewhere or no ordinary file: {cure}.")
    try:
        with path.open("rb") as file:
            content = file.read(seal.bytes + 1)
    except OSError as error:
        raise Refusal(f"{subject} cannot be read ({error.strerror or error}): {cure}.") from error
    if len(content) != seal.bytes:
        kind = "cut short" if len(content) < seal.bytes else "too long"
        raise Refusal(f"{subject} is {kind}, {seal.bytes} bytes were sealed: {cure}.")
    if _seal(content) != seal:
        raise Refusal(f"{subject} is damaged, its sha256 is not the sealed one: {cure}.")
    return content


def _weights(folder: Path, manifest: AnyManifest, network: str) -> dict[str, np.ndarray]:
    """A network's tensors, float32; parsed from the very bytes whose digest was compared."""
    name = manifest.networks[network]["file"]
    content = _sealed_bytes(folder, manifest, name)
    subject, cure = f"Bundle {manifest.id}: {name}", _cure(folder, manifest)
    try:
        # refuses headers over 100 MB or the file, ranges that overlap, leave gaps, or do not fit type and shape
        arrays = safetensors.numpy.load(content)
    except (SafetensorError, KeyError) as error:  # KeyError: a type that numpy does not have
        raise Refusal(f"{subject} holds no safetensors that can be read; pickles never are: {cure}.") from error
    if not arrays:
        raise Refusal(f"{subject} holds no weights: {cure}.")
    try:
        return restored(arrays)
    except ValueError as error:
        raise Refusal(f"{subject} {error}: {cure}.") from error


def _packed(network: str, tensors: Mapping[str, Tensor], bits: int) -> bytes:
    """Tensors as safetensors; the same tensors give the same bytes."""
    import torch

    floats = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise ValueError(f"{network}: {name} is {tensor.dtype}; bundles hold floats alone")
        if not torch.isfinite(tensor.to(torch.float16)).all():
            raise ValueError(f"{network}: {name} holds values that half precision cannot")
        floats[name] = tensor.detach().to("cpu", torch.float32).contiguous().numpy()
    return safetensors.numpy.save(packed(floats, bits))


def _foreign_files(folder: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Files in a folder that belong neither to its bundle nor to the one that comes there."""
    if not folder.exists():
        return []
    paths = sorted(folder.iterdir())
    if any(path.is_dir() for path in paths):
        raise Refusal(f"{folder} holds folders and is no place for a bundle: choose a new one.")
    old = set(load_manifest(folder).files) if (folder / MANIFEST).exists() else set()
    _refuse_unnamed_weights(folder, {*old, *contents})
    return [path for path in paths if path.name not in {*old, *contents, MANIFEST}]


def _refuse_unnamed_weights(folder: Path, names: Collection[str]) -> None:
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in WEIGHT_LIKE and path.name not in names:
            raise Refusal(f"{path.name} in {folder} is no part of the bundle there: remove that file.")


def _seal(content: bytes) -> FileSeal:
    return FileSeal(hashlib.sha256(content).hexdigest(), len(content))


def _cure(folder: Path, manifest: AnyManifest) -> str:
    if folder in (SHIPPED, SHIPPED_VERTEBRAE):
        return "install DualFaceRecon again"
    return f"{{fetch={manifest.id}}} or get the bundle again"
