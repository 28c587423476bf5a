"""What both networks take for a film, with its mirror image and without: python Testing/bench/networks.py

The networks of the bundle that ships, and those of the recipes for a GPU, untrained, as their bundle would be in 8 and
16 bits. Seconds of the clock and of the processors, the best of some runs; the peer is the film without its mirror.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from DualFaceReconLib.film.radiograph import read_radiograph
from DualFaceReconLib.inference import Networks, load_networks, predict
from DualFaceReconLib.networks.weights import weights_of
from training.judging.shipping import as_learnt
from training.learning.bundling import bundle
from training.learning.finished import write_finished
from training.learning.recipe import Recipe, read_recipe
from training.learning.tasks import network_of

ROOT = Path(__file__).parents[2]
MODELS, FILM = ROOT / "Resources" / "Models", ROOT / "Resources" / "Samples" / "pelvis_1.dcm"
RECIPES = {task: ROOT / "training" / "recipes" / f"gpu_{task}.toml" for task in ("depth", "segmentation")}
RUNS = 5
THREADS = 2


def best(networks: Networks, flipped_too: bool) -> tuple[float, float]:
    """Seconds of the clock and of the processors."""
    film = read_radiograph(FILM)
    predict(networks, film, flipped_too=flipped_too)
    times = []
    for _ in range(RUNS):
        begun = time.perf_counter(), time.process_time()
        predict(networks, film, flipped_too=flipped_too)
        times.append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
    return min(clock for clock, _ in times), min(processors for _, processors in times)


def print_times(name: str, networks: Networks) -> None:
    weights = sum(p.numel() for network in (networks.depth, networks.segmentation) for p in network.parameters())
    alone, both = best(networks, False), best(networks, True)
    print(
        f"{name:<34}{weights / 1e6:7.1f} M{networks.manifest.size_bytes / 1e6:8.1f} MB"
        f"{alone[0]:9.2f} s ({alone[1]:.2f}){both[0]:9.2f} s ({both[1]:.2f}){both[0] / alone[0]:7.1f} times"
    )


def bundled(recipes: Mapping[str, Recipe], folder: Path, bits: int) -> Networks:
    """Untrained networks of recipes, as a bundle has them."""
    for task, recipe in recipes.items():
        torch.manual_seed(0)
        network = network_of(recipe)
        (folder / "runs" / task).mkdir(parents=True, exist_ok=True)
        films = {"size_px": recipe.films.size_px, "mm_per_pixel": recipe.films.mm_per_pixel}
        metadata = {"recipe": {"task": task, "films": films}, "settings": asdict(network.settings), "films": 0}
        write_finished(weights_of(network), metadata, folder / "runs" / task / "network.safetensors")
    runs = {task: folder / "runs" / task for task in recipes}
    bundle(runs, MODELS, folder / f"bits_{bits}", "untrained", "0.0.0", "not at all", bits=bits)
    return load_networks(folder / f"bits_{bits}", "cpu")


def main() -> None:
    torch.set_num_threads(THREADS)
    recipes = {task: read_recipe(path) for task, path in RECIPES.items()}
    print(f"{THREADS} threads; in brackets seconds of the processors\n")
    print(f"{'networks':<34}{'weights':>9}{'bundle':>11}{'the film alone':>18}{'and its mirror image':>22}")
    print_times("the bundle that ships", load_networks(MODELS, "cpu"))
    with tempfile.TemporaryDirectory() as place:
        film = read_radiograph(FILM)
        for bits in (16, 8):
            networks = bundled(recipes, Path(place), bits)
            print_times(f"recipes for a GPU, {bits} bits", networks)
            exact = as_learnt(networks, Path(place) / "runs")
            apart = np.abs(predict(networks, film).depth - predict(exact, film).depth).mean()
            print(f"  depths {float(apart):.4f} mm from those of the weights in 32 bits, untrained")


if __name__ == "__main__":
    main()
