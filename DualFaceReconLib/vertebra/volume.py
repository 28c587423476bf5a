"""Two films and the place of a vertebra -> its volume, by the network of a bundle.

    network = load_vertebra_network(folder)
    passes = network.passes(films, meeting.point, centres)    # (3, side, side, side) HU
    volume = passes[:IN_PLACE].mean(axis=0)

The films are laid back into a cube around the vertebra along their true rays, each by its own mean and spread around
the click. The network is asked several times: with the patient mirrored, as vertebrae are nearly symmetrical, and with
the cube moved, as if the click had been elsewhere. How far the answers differ is one part of how sure a surface is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from DualFaceReconLib.backprojection import Cube, back_projected
from DualFaceReconLib.biplanar import PlacedFilm
from DualFaceReconLib.bundle.files import read_shape_model, read_weights
from DualFaceReconLib.bundle.manifest import vertebra_manifest_in
from DualFaceReconLib.bundle.vertebra_manifest import NETWORK, VertebraManifest
from DualFaceReconLib.errors import Cancelled, Refusal
from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.networks.ear import EarNetwork, EarSettings
from DualFaceReconLib.networks.settings import settings_from
from DualFaceReconLib.networks.weights import give_weights, weights_of
from DualFaceReconLib.shape.shapemodel import ShapeModel
from DualFaceReconLib.vertebra.films import SpineFilms
from DualFaceReconLib.vertebra.targets import Pixel

PITCH_SHARE = 0.6  # of a film's pixel at the detector in a voxel, as networks learnt; finer films are averaged
MOVED_MM = 3.5  # of the cube along each axis, about a click's standard deviation
PASSES = ((False, (0, 0, 0)), (True, (0, 0, 0)), (False, (1, 1, -1)))  # whether mirrored, how the cube is moved
IN_PLACE = 2  # the first passes, whose mean is the volume; a moved cube tells of certainty alone


@dataclass(frozen=True, kw_only=True)
class VertebraNetwork:
    """A bundle's network, in use."""

    manifest: VertebraManifest
    network: nn.Module
    device: str
    shape_models: Mapping[str, ShapeModel] = field(default_factory=dict)  # by group of levels, where it has them

    def cube(self, centre: Sequence[float]) -> Cube:
        """Around a place in the patient's frame, RAS mm."""
        return Cube(tuple(map(float, centre)), self.manifest.side, self.manifest.voxel_mm)

    def passes(
        self,
        films: SpineFilms,
        centre: np.ndarray,
        clicks: Sequence[Pixel],
        cancelled: Callable[[], bool] = lambda: False,
    ) -> np.ndarray:
        """(len(PASSES), side, side, side) float32 HU around `centre` (3,); the first is of the films alone."""
        fields = [
            field_around(film, place, click, centre, self.manifest)
            for film, place, click in zip(films.radiographs, (films.pair.first, films.pair.second), clicks, strict=True)
        ]
        step = round(MOVED_MM / self.manifest.voxel_mm)
        shifts = [np.array(moved) * step for _, moved in PASSES]
        asked = []
        for (mirrored, _), shift in zip(PASSES, shifts, strict=True):
            cube = self.cube(centre + shift * self.manifest.voxel_mm)
            projections = torch.stack([back_projected(pixels, place, cube) for pixels, place in fields])
            asked.append(projections.flip(1) if mirrored else projections)
        if cancelled():
            raise Cancelled
        answers = zip(PASSES, shifts, self._hu(torch.stack(asked)), strict=True)
        return np.stack([_moved(hu[::-1] if mirrored else hu, shift) for (mirrored, _), shift, hu in answers])

    def _hu(self, projections: Tensor) -> np.ndarray:
        """Of all passes at once: for a single cube torch has slower convolutions, twice as slow in all."""
        with torch.inference_mode():
            z = self.network(projections.to(self.device))[:, 0].cpu().numpy()
        return z * self.manifest.deviation_hu + self.manifest.mean_hu


def load_vertebra_network(folder: Path, device: str = "cpu") -> VertebraNetwork:
    """The network of a bundle; Refusal where its weights are another's."""
    manifest = vertebra_manifest_in(folder)
    try:
        network = EarNetwork(settings_from(EarSettings, manifest.networks[NETWORK]["settings"]))
        counters = {name: value for name, value in weights_of(network).items() if not value.is_floating_point()}
        give_weights(network, {**counters, **read_weights(folder, manifest, NETWORK)})
    except ValueError as error:
        raise Refusal(f"Bundle {manifest.id} holds no network that can be built ({error}): get it again.") from error
    if manifest.side % network.stride:
        raise Refusal(f"Bundle {manifest.id} has a cube that its network cannot halve: get it again.")
    return VertebraNetwork(
        manifest=manifest,
        network=network.eval().to(device),
        device=device,
        shape_models={group: read_shape_model(folder, manifest, group) for group in manifest.shape_models},
    )


def field_around(
    film: Radiograph, place: PlacedFilm, click: Pixel, centre: np.ndarray, manifest: VertebraManifest
) -> tuple[np.ndarray, PlacedFilm]:
    """What is looked at of a film, standardised by its own mean and spread (rows, cols) float32, and its place.

    A square around the click, `field_share` times as large as the cube's shadow, as far as the film was exposed there.
    """
    geometry = film.geometry
    depth = float(place.project(np.asarray(centre, dtype=np.float64))[1])
    if depth <= 0:
        raise Refusal("By the films' distances the vertebra would be behind the X-ray source: check them.")
    half_mm = manifest.field_share * manifest.side * manifest.voxel_mm * geometry.sdd_mm / depth / 2
    first, last = [], []
    for middle, pitch, exposed in zip(click, geometry.pixel_pitch_mm, film.exposed_field, strict=True):
        first.append(min(max(round(middle - half_mm / pitch), exposed.start), exposed.stop - 1))
        last.append(max(min(round(middle + half_mm / pitch) + 1, exposed.stop), first[-1] + 1))
    cropped = geometry.cropped(first, [end - begin for begin, end in zip(first, last, strict=True)])
    pixels = film.pixels[first[0] : last[0], first[1] : last[1]]
    picture = torch.from_numpy(np.ascontiguousarray(pixels))[None, None]
    coarse_mm = PITCH_SHARE * manifest.voxel_mm
    size = tuple(
        max(1, round(n * min(p / coarse_mm, 1))) for n, p in zip(pixels.shape, geometry.pixel_pitch_mm, strict=True)
    )
    if size != pixels.shape:
        picture = interpolate(picture, size=size, mode="bilinear", antialias=True, align_corners=False)
        cropped = cropped.resized(size)
    values = picture[0, 0].numpy()
    standardised = (values - values.mean()) / max(float(values.std()), 1e-6)
    return standardised, PlacedFilm(cropped, place.rotation, place.translation)


def share_of_cube_lit(place: PlacedFilm, film: Radiograph, cube: Cube) -> float:
    """How much of a cube a film shows."""
    pixels, _ = place.project(cube.points()[::4, ::4, ::4].reshape(-1, 3))
    inside = [
        (pixels[:, axis] >= exposed.start) & (pixels[:, axis] < exposed.stop)
        for axis, exposed in enumerate(film.exposed_field)
    ]
    return float((inside[0] & inside[1]).mean())


def _moved(hu: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """A volume of a cube that was moved by whole voxels, in the cube that was not; 0 HU where it has none."""
    moved = np.zeros_like(hu)
    to, of = [], []
    for step, side in zip(shift, hu.shape, strict=True):
        to.append(slice(max(step, 0), min(side, side + step)))
        of.append(slice(max(-step, 0), min(side, side - step)))
    moved[tuple(to)] = hu[tuple(of)]
    return moved
