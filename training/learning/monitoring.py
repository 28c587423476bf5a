"""A network that learns, watched: figures on films that it does not learn from, curves, sheets of its predictions."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from torch import nn

from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.framing import NOMINAL_OBJECT_DISTANCE_MM
from training.learning.data import Sample

matplotlib.use("Agg")  # no display

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

DRAWN_FILMS = 4  # on a sheet
TOGETHER = 8  # films that a network looks at at once
DEPTH_SPAN_MM, ERROR_SPAN_MM = 110.0, 12.0


@torch.no_grad()
def measure_depth(network: nn.Module, watched: Sequence[Sample], device: str) -> dict[str, float]:
    """The mean over films of "depth_mm": the absolute error of all maps after one shift a film."""
    predicted = _predicted(network, watched, device)
    errors = [_aligned(depth, film)[1] for depth, film in zip(predicted, watched, strict=True)]
    return {"depth_mm": float(torch.stack([error.abs().mean() for error in errors]).mean())}


@torch.no_grad()
def measure_masks(network: nn.Module, watched: Sequence[Sample], device: str) -> dict[str, float]:
    """The mean over films of "dice": the mean over the bones that a film shows."""
    predicted = _predicted(network, watched, device) > 0
    of_films = [_dice(mask, film["mask"].to(device)) for mask, film in zip(predicted, watched, strict=True)]
    return {"dice": float(torch.stack(of_films).mean())}


def _predicted(network: nn.Module, films: Sequence[Sample], device: str) -> torch.Tensor:
    """What a network says of films, on a device: (films, bones, n, n), or (films, bones, faces, n, n) of depths."""
    network.eval()
    pictures = torch.stack([film["film"] for film in films])
    return torch.cat([network(some.to(device)) for some in pictures.split(TOGETHER)])


def _dice(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    on_film = truth.flatten(1).any(dim=1)
    both = (predicted & truth).flatten(1).sum(dim=1).float()
    whole = (predicted.flatten(1).sum(dim=1) + truth.flatten(1).sum(dim=1)).float()
    return (2 * both / whole)[on_film].mean()


def _aligned(depth: torch.Tensor, film: Sample) -> tuple[torch.Tensor, torch.Tensor]:
    """Predicted depths (bones, faces, n, n), shifted as a whole to the truth, and the errors where there is truth."""
    depth = depth + float(film["sdd_mm"]) - NOMINAL_OBJECT_DISTANCE_MM
    truth = film["depth"].to(depth)[:, : depth.shape[1]]
    valid = (truth > 0) & film["mask"].to(depth.device)[:, None]
    depth = depth + (truth - depth)[valid].mean()
    return depth, (depth - truth)[valid]


def curves_picture(rows: Sequence[dict], out: Path) -> None:
    """`curves.csv` and `curves.png` of every figure over the first one, which is an epoch or a time."""
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, fieldnames=list(rows[-1]))
    writer.writeheader()
    writer.writerows(rows)
    write_text(out / "curves.csv", table.getvalue())
    along, *names = rows[-1]
    figure, axes = plt.subplots(1, len(names), figsize=(3.2 * len(names), 2.8), layout="constrained")
    for name, axis in zip(names, axes, strict=True):
        axis.plot([row[along] for row in rows], [row[name] for row in rows], linewidth=1.2)
        axis.set_title(name.replace("_", " "), fontsize=9)
        axis.set_xlabel(along, fontsize=8)
        axis.tick_params(labelsize=7)
    figure.savefig(out / "curves.png", dpi=110)
    plt.close(figure)


@torch.no_grad()
def outline_sheet(network: nn.Module, watched: Sequence[Sample], path: Path, device: str) -> None:
    """The first watched films, and beside each itself with the outlines of true and predicted masks."""
    films = list(watched)[:DRAWN_FILMS]
    figure, lines = _sheet(films, columns=2)
    for line, film, masks in zip(lines, films, _predicted(network, films, device).cpu() > 0, strict=True):
        line[1].imshow(film["film"][0].numpy(), cmap="gray", vmin=-1, vmax=1)
        for truth, mask in zip(film["mask"], masks, strict=True):
            if truth.any():
                line[1].contour(truth.numpy(), [0.5], colors="lime", linewidths=0.8)
            if mask.any():
                line[1].contour(mask.numpy(), [0.5], colors="red", linewidths=0.8)
        line[1].set_title("true green, predicted red", fontsize=7)
    figure.savefig(path, dpi=100)
    plt.close(figure)


@torch.no_grad()
def depth_sheet(network: nn.Module, watched: Sequence[Sample], path: Path, device: str) -> None:
    """The first watched films, and beside each true and predicted depths and their differences, front and back."""
    films = list(watched)[:DRAWN_FILMS]
    figure, lines = _sheet(films, columns=7)
    for line, film, predicted in zip(lines, films, _predicted(network, films, device).cpu(), strict=True):
        depth, _ = _aligned(predicted, film)
        truth = film["depth"]
        centre = float(truth[truth > 0].mean())
        for face, name in enumerate(("front", "back")[: depth.shape[1]]):
            true, seen = (_visible(maps[:, face], film["mask"], face) for maps in (truth, depth))
            error = np.where(np.isnan(true), np.nan, seen - true)
            pictures = ((true - centre, "true"), (seen - centre, "predicted"), (error, "error"))
            for axis, (picture, what) in zip(line[1 + 3 * face : 4 + 3 * face], pictures, strict=True):
                span = ERROR_SPAN_MM if what == "error" else DEPTH_SPAN_MM
                axis.imshow(picture, cmap="RdBu" if what == "error" else "viridis", vmin=-span, vmax=span)
                axis.set_title(f"{name}, {what}, ±{span:.0f} mm", fontsize=7)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _sheet(films: Sequence[Sample], columns: int) -> tuple[Figure, np.ndarray]:
    """A line of axes for every film, in whose first one the film is."""
    size = 2.2 * columns, 2.3 * len(films)
    figure, lines = plt.subplots(len(films), columns, figsize=size, layout="constrained", squeeze=False)
    for line, film in zip(lines, films, strict=True):
        for axis in line:
            axis.axis("off")
        line[0].imshow(film["film"][0].numpy(), cmap="gray", vmin=-1, vmax=1)
    return figure, lines


def _visible(maps: torch.Tensor, mask: torch.Tensor, face: int) -> np.ndarray:
    """(n, n) of all bones' maps (bones, n, n) what a viewer sees: the nearest front, the farthest back; NaN beside."""
    values = np.where(mask.numpy(), maps.numpy(), np.nan)
    filled = np.where(np.isnan(values), np.inf if face == 0 else -np.inf, values)
    outermost = filled.min(axis=0) if face == 0 else filled.max(axis=0)
    return np.where(np.isfinite(outermost), outermost, np.nan)
