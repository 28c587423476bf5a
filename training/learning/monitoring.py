"""Looking at a network that learns: figures on watched films, curves, and sheets of its predictions."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from torch import nn

from DualFaceReconLib.framing import NOMINAL_OBJECT_DISTANCE_MM
from training.learning.data import Sample

matplotlib.use("Agg")  # no display

from matplotlib import pyplot as plt

SHOWN = 4  # films on a sheet
DEPTH_SPAN_MM, ERROR_SPAN_MM = 110.0, 12.0


@torch.no_grad()
def measured(network: nn.Module, watched: Sequence[Sample], task: str, device: str) -> dict[str, float]:
    """Means over films: "depth_mm", the absolute error of all maps after one shift a film, or "dice"."""
    network.eval()
    if task == "segmentation":
        return {"dice": float(np.mean([_dice(network, film, device) for film in watched]))}
    return {"depth_mm": float(np.mean([np.abs(_errors(network, film, device)[1]).mean() for film in watched]))}


def _dice(network: nn.Module, film: Sample, device: str) -> float:
    """Mean over the bones that a film shows."""
    found, truth = network(film["film"][None].to(device))[0].cpu() > 0, film["mask"]
    shown = truth.flatten(1).any(dim=1)
    both = (found & truth).flatten(1).sum(dim=1).float()
    whole = (found.flatten(1).sum(dim=1) + truth.flatten(1).sum(dim=1)).float()
    return float((2 * both / whole)[shown].mean())


def _errors(network: nn.Module, film: Sample, device: str) -> tuple[torch.Tensor, np.ndarray]:
    """Predicted depths (bones, faces, n, n), shifted as a whole to the truth, and the errors where there is truth."""
    found = network(film["film"][None].to(device))[0].cpu() + float(film["sdd_mm"]) - NOMINAL_OBJECT_DISTANCE_MM
    truth = film["depth"][:, : found.shape[1]]
    valid = (truth > 0) & film["mask"][:, None]
    found = found + (truth - found)[valid].mean()
    return found, (found - truth)[valid].numpy()


def curves_picture(rows: Sequence[dict], out: Path) -> None:
    """`curves.csv` and `curves.png` of every figure over epochs."""
    with (out / "curves.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[-1]))
        writer.writeheader()
        writer.writerows(rows)
    names = [name for name in rows[-1] if name != "epoch"]
    figure, axes = plt.subplots(1, len(names), figsize=(3.2 * len(names), 2.8), layout="constrained")
    for name, axis in zip(names, axes, strict=True):
        axis.plot([row["epoch"] for row in rows], [row[name] for row in rows], linewidth=1.2)
        axis.set_title(name.replace("_", " "), fontsize=9)
        axis.set_xlabel("epoch", fontsize=8)
        axis.tick_params(labelsize=7)
    figure.savefig(out / "curves.png", dpi=110)
    plt.close(figure)


@torch.no_grad()
def sheet(network: nn.Module, watched: Sequence[Sample], task: str, path: Path, device: str) -> None:
    """Watched films with truth and prediction side by side: front and back depths with errors, or outlines."""
    network.eval()
    films = list(watched)[:SHOWN]
    columns = 2 if task == "segmentation" else 7
    figure, axes = plt.subplots(
        len(films), columns, figsize=(2.2 * columns, 2.3 * len(films)), layout="constrained", squeeze=False
    )
    for line, film in zip(axes, films, strict=True):
        for axis in line:
            axis.axis("off")
        line[0].imshow(film["film"][0].numpy(), cmap="gray", vmin=-1, vmax=1)
        if task == "segmentation":
            found = network(film["film"][None].to(device))[0].cpu() > 0
            line[1].imshow(film["film"][0].numpy(), cmap="gray", vmin=-1, vmax=1)
            for truth, mask in zip(film["mask"], found, strict=True):
                if truth.any():
                    line[1].contour(truth.numpy(), [0.5], colors="lime", linewidths=0.8)
                if mask.any():
                    line[1].contour(mask.numpy(), [0.5], colors="red", linewidths=0.8)
            line[1].set_title("true green, found red", fontsize=7)
            continue
        found, _ = _errors(network, film, device)
        truth = film["depth"]
        centre = float(truth[truth > 0].mean())
        for face, name in enumerate(("front", "back")[: found.shape[1]]):
            shown = [_nearest(maps[:, face], film["mask"], face) for maps in (truth, found)]
            error = np.where(np.isnan(shown[0]), np.nan, shown[1] - shown[0])
            pictures = ((shown[0] - centre, "true"), (shown[1] - centre, "found"), (error, "error"))
            for axis, (picture, what) in zip(line[1 + 3 * face : 4 + 3 * face], pictures, strict=True):
                span = ERROR_SPAN_MM if what == "error" else DEPTH_SPAN_MM
                axis.imshow(picture, cmap="RdBu" if what == "error" else "viridis", vmin=-span, vmax=span)
                axis.set_title(f"{name}, {what}, ±{span:.0f} mm", fontsize=7)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _nearest(maps: torch.Tensor, mask: torch.Tensor, face: int) -> np.ndarray:
    """(n, n) of all bones' maps (bones, n, n) what is seen: the nearest front, the farthest back; NaN beside."""
    values = np.where(mask.numpy(), maps.numpy(), np.nan)
    filled = np.where(np.isnan(values), np.inf if face == 0 else -np.inf, values)
    seen = filled.min(axis=0) if face == 0 else filled.max(axis=0)
    return np.where(np.isfinite(seen), seen, np.nan)
