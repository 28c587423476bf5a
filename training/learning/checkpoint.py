"""Checkpoints of a training: safetensors and JSON in a folder that is replaced as a whole.

save(folder, {"network": tensors, "average": tensors}, optimizer, {"epoch": 3})
tensors, state = load(folder, optimizer)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.disk.folders import write_folder

STATE = "state.json"


def save(
    folder: Path,
    tensors: Mapping[str, Mapping[str, torch.Tensor]],
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Any],
) -> None:
    """Writes a checkpoint; the folder holds the one before until this one is whole."""
    optimizer_state = optimizer.state_dict()
    moments = {
        f"{number}.{name}": torch.as_tensor(value).cpu().contiguous()
        for number, values in optimizer_state["state"].items()
        for name, value in values.items()
    }

    def write(beside: Path) -> None:
        for name, group in tensors.items():
            kept = {key: value.detach().cpu().contiguous() for key, value in group.items()}
            save_file(kept, beside / f"{name}.safetensors")
        save_file(moments, beside / "optimizer.safetensors")
        whole = {**state, "param_groups": optimizer_state["param_groups"]}
        write_text(beside / STATE, json.dumps(whole, indent=1))

    write_folder(folder, write)


def exists(folder: Path) -> bool:
    """Whether there is a checkpoint, also one whose replacement was cut short."""
    old = folder.with_name(f".{folder.name}.old")
    if not (folder / STATE).exists() and (old / STATE).exists():
        old.replace(folder)
    return (folder / STATE).exists()


def load(folder: Path, optimizer: torch.optim.Optimizer) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]]:
    """Tensors by name and the state that was saved; the optimizer is brought back to where it was."""
    state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    groups = state.pop("param_groups")
    tensors = {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
    moments = tensors.pop("optimizer")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for group, own in zip(groups, optimizer.param_groups, strict=True):
        group["fused"] = own["fused"]  # which depends on the machine
    restored: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in moments.items():
        number, name = key.split(".", 1)
        parameter = parameters[int(number)]
        if value.shape == parameter.shape and name != "step":  # in memory as the parameter lies there
            value = torch.empty_like(parameter, device="cpu", dtype=value.dtype).copy_(value)
        restored.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": restored, "param_groups": groups})
    return tensors, state
