"""Networks on a GPU as a batch has them there: python Testing/bench/gpu.py [DEVICE]

Made-up films of the bundle's bones. The bundle that ships sees them on the processors, film after film, and on the
device (default: cuda) several at a time, by the code of `dualface batch`. Prints how far apart masks and depths are,
films a second, and the ratio to the processors in the same run. Runs from the checkout or from an unpacked pack, needs
neither VTK nor SimpleITK nor pydicom, and takes half a minute.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from DualFaceReconLib.batch.shared_networks import MOST_REQUESTS, Place, answers, networks_at, shared_networks
from DualFaceReconLib.bonemaps import kind_and_side
from DualFaceReconLib.bundle.store import SHIPPED
from DualFaceReconLib.framing import frame_of
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.inference import Networks, load_networks, predict, usable_device
from DualFaceReconLib.meshes import MIRROR
from DualFaceReconLib.prediction import LEAST_PROBABILITY, Prediction
from DualFaceReconLib.shape.shapemodel import ShapeModel, load_shape_models
from DualFaceReconLib.shape.visibility import entry_and_exit_depths

if TYPE_CHECKING:
    from DualFaceReconLib.film.radiograph import Radiograph

GEOMETRY = ProjectionGeometry(1100, (0.43, 0.43), (1000, 1000))
PLACES = {"hip": (-75, 180, 20), "femur": (-95, 180, -130)}  # of the models' middles, RAS mm
FILMS = 16
COMPARED = 4  # films that the processors see, too
BATCHES = (1, 4, 16)
SECONDS = 1.2  # for each way


@dataclass(frozen=True)
class MadeFilm:
    """As much of a Radiograph as networks ask for."""

    pixels: np.ndarray  # (rows, cols) float32, bone bright
    geometry: ProjectionGeometry
    pixel_hash: str


def made_film(models: dict[str, ShapeModel], bones: Sequence[str], seed: int) -> Radiograph:
    """How much bone rays pass in a random person, with noise."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(0, 2, GEOMETRY.size_px)
    shapes = {kind: model.shape(model.sample(rng, limit=1.5)) + PLACES[kind] for kind, model in models.items()}
    for bone in bones:
        kind, side = kind_and_side(bone)
        vertices = shapes[kind] * (MIRROR if side == "right" else 1)
        front, back = entry_and_exit_depths(vertices, models[kind].triangles, GEOMETRY)
        pixels += back - front
    return cast("Radiograph", MadeFilm(pixels.astype(np.float32), GEOMETRY, str(seed)))


def prepared(networks: Networks, film: Radiograph) -> np.ndarray:
    """(2, 1, n, n): a film and its mirror image as `predict` gives them to networks."""
    manifest = networks.manifest
    frame = frame_of(film.geometry, manifest.input_px[0], manifest.mm_per_pixel, manifest.nominal_object_distance_mm)
    picture = frame.picture(film.pixels)[None, None]
    return torch.cat([picture, picture.flip(-1)]).numpy()


def rate(see: Callable[[int], None]) -> float:
    """Films a second of what sees some films and is told with which it begins; the first pass does not count."""
    see(0)
    begun = time.perf_counter()
    for count in itertools.count(1):
        see(count % FILMS)
        if (spent := time.perf_counter() - begun) > SECONDS:
            break
    return count / spent


def apart(seen: Sequence[Prediction], references: Sequence[Prediction]) -> str:
    """In words."""
    differ, there, depths = 0, 0, []
    for one, reference in zip(seen, references, strict=True):
        mask, expected = (prediction.probability > LEAST_PROBABILITY for prediction in (one, reference))
        differ, there = differ + int((mask != expected).sum()), there + int(expected.sum())
        depths.append(np.abs(np.moveaxis(one.depth - reference.depth, 1, -1)[expected]).ravel())
    inside = np.concatenate(depths)
    return (
        f"masks differ in {differ} of {there} pixels; depths inside them by {float(inside.max()):.4f} mm at most, "
        f"{float(inside.mean()):.5f} mm in the mean ({len(references)} films)"
    )


def main() -> None:
    device = usable_device(sys.argv[1] if len(sys.argv) > 1 else "cuda")
    here = load_networks(SHIPPED, "cpu")
    models = load_shape_models(SHIPPED)
    films = [made_film(models, here.manifest.bones, seed) for seed in range(FILMS)]
    name = torch.cuda.get_device_name() if device == "cuda" else device
    print(f"torch {torch.__version__}; {name}; processors: {torch.get_num_threads()} threads", flush=True)

    references = [predict(here, film) for film in films[:COMPARED]]
    on_processors = rate(lambda first: predict(here, films[first]) and None)
    print(f"{'':<44}{'films a second':>16}{'times the processors':>22}")
    print(f"{'processors, one film at a time':<44}{on_processors:>16.2f}{1:>22.1f}", flush=True)

    def tell(way: str, films_a_second: float) -> None:
        print(f"{way:<44}{films_a_second:>16.2f}{films_a_second / on_processors:>22.1f}", flush=True)

    there = load_networks(SHIPPED, device)
    pictures = [prepared(there, film) for film in films]
    for batch in BATCHES:
        tell(f"networks alone on {device}, {batch} films at a time", in_one_pass(there, pictures, batch))
    with shared_networks(SHIPPED, device) as place, ExitStack() as stack:
        for asking in BATCHES:
            tell(f"a batch's networks, {asking} asking at a time", asked_at_once(place, films, asking, stack))
        seen = [predict(networks_at(place), film) for film in films[:COMPARED]]
    print(f"{device} against the processors: {apart(seen, references)}")
    print(f"(a batch's networks see {MOST_REQUESTS} films at a time at most)")


def in_one_pass(networks: Networks, pictures: Sequence[np.ndarray], batch: int) -> float:
    """Films a second, each with its mirror image, so many in a pass."""

    def see(first: int) -> None:
        some = [pictures[(first + number) % len(pictures)] for number in range(batch)]
        for network in ("segmentation", "depth"):
            answers(networks, [(network, picture) for picture in some])

    return batch * rate(see)


def asked_at_once(place: Place, films: Sequence[Radiograph], asking: int, stack: ExitStack) -> float:
    """Films a second where so many threads ask, each for a film and its mirror image, as a batch's processes do."""
    pool = stack.enter_context(ThreadPoolExecutor(asking))
    networks = [networks_at(place) for _ in range(asking)]

    def see(first: int) -> None:
        asked = [films[(first + number) % FILMS] for number in range(asking)]
        for _ in pool.map(predict, networks, asked):
            pass

    return asking * rate(see)


if __name__ == "__main__":
    main()
