"""Radiograph -> bone maps: what a bundle's networks see in it, at the radiograph's own resolution.

networks = load_networks(Path("Resources/Models"))
prediction = predict(networks, radiograph)
maps = maps_of(prediction, radiograph)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.ndimage import label
from torch import nn

from DualFaceReconLib.bonemaps import BoneMaps, bounding_window, mirrored_order
from DualFaceReconLib.bundle.files import read_weights
from DualFaceReconLib.bundle.manifest import Manifest, hip_manifest
from DualFaceReconLib.errors import Cancelled, Refusal
from DualFaceReconLib.film.limits import DISTANCE_LIMITS_MM
from DualFaceReconLib.film.object_distance import FARTHEST_BONES_SHARE
from DualFaceReconLib.framing import NORMALISATION, Frame, frame_of
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.networks.depth import DepthNetwork, DepthSettings
from DualFaceReconLib.networks.segmentation import SegmentationNetwork, SegmentationSettings
from DualFaceReconLib.networks.settings import settings_from
from DualFaceReconLib.networks.settled import settled
from DualFaceReconLib.networks.weights import WithoutDrawing, give_weights
from DualFaceReconLib.shape.outlines import Outline, outline_of

if TYPE_CHECKING:
    from DualFaceReconLib.film.radiograph import Radiograph  # with pydicom, which training does without

LEAST_PROBABILITY = 0.5  # of a pixel that belongs to a bone
SURE = 0.1, 0.9  # probabilities between these are unsure
MOST_UNSURE = 1.0  # as `Prediction.unsure` has it; beyond, a few pixels here and there are no bone
ISLAND_SHARE = 0.05  # of a bone's largest part; smaller parts do not belong to it
FARTHEST_NOMINAL_MM = FARTHEST_BONES_SHARE * DISTANCE_LIMITS_MM[0]  # of the nominal bone plane, at any source distance
ARCHITECTURES = {
    "depth": (DepthNetwork, DepthSettings),
    "segmentation": (SegmentationNetwork, SegmentationSettings),
}

Progress = Callable[[str, float], None]  # stage, share done of all


@dataclass(frozen=True, kw_only=True)
class Networks:
    """A bundle's networks, ready on a device."""

    manifest: Manifest
    depth: nn.Module  # (B, 1, n, n) -> (B, bones, faces, n, n) mm from the depth centre
    segmentation: nn.Module  # (B, 1, n, n) -> (B, bones, n, n) logits
    device: str
    elsewhere: bool = False  # in another process, which takes films of this one's memory, the more at once the better


def best_device() -> str:
    """The best device here: "cuda", "mps" or "cpu"."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def usable_device(asked: str | None) -> str:
    """The device that is asked for, or the best one; Refusal where this machine has no such device."""
    if asked is None:
        return best_device()
    try:
        torch.zeros(1, device=asked)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise Refusal(
            f"{asked!r} does not work on this machine: leave the device out, and the best one here is taken "
            f"({best_device()})."
        ) from error
    return asked


def load_networks(folder: Path, device: str | None = None) -> Networks:
    """The networks of a bundle; its files are compared with their seals. `device`: None for the best one here."""
    device = usable_device(device)
    manifest = hip_manifest(folder)
    missing = [name for name in ("depth", "segmentation") if name not in manifest.networks]
    if missing:
        raise Refusal(f"Bundle {manifest.id} has no network for {' and '.join(missing)}: take another bundle.")
    rows, cols = manifest.input_px
    if manifest.normalisation != NORMALISATION or rows != cols:
        raise Refusal(f"Bundle {manifest.id} wants films prepared in a way that this version does not know: update it.")
    if manifest.nominal_object_distance_mm > FARTHEST_NOMINAL_MM:
        raise Refusal(
            f"Bundle {manifest.id} is made for bones {manifest.nominal_object_distance_mm:g} mm from the detector, "
            f"and no more than {FARTHEST_NOMINAL_MM:g} can be right: get the bundle again."
        )
    ready = {name: settled(_network(folder, manifest, name), device) for name in manifest.networks}
    return Networks(
        manifest=manifest,
        depth=ready["depth"],
        segmentation=ready["segmentation"],
        device=device,
    )


def _network(folder: Path, manifest: Manifest, name: str) -> nn.Module:
    """A bundle's network with its weights; Refusal where this version cannot build it."""
    weights = read_weights(folder, manifest, name)
    architecture, settings_type = ARCHITECTURES[name]
    try:
        with WithoutDrawing():
            network = architecture(settings_from(settings_type, manifest.networks[name]["settings"]))
        give_weights(network, weights)
    except ValueError as error:  # what settings and weights that do not fit raise
        raise Refusal(
            f"Bundle {manifest.id} does not fit this version of DualFaceRecon ({error}): update it."
        ) from error
    return network


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """How far apart a bone is in a film and in its mirror image, before both are averaged."""

    depth_mm: float  # mean absolute, where both have it, but for one shift a picture; NaN where they share no pixel
    dice: float  # of both masks; NaN where neither has it


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the networks see in a film, before it is decided where a bone is and how far from the source."""

    frame: Frame  # the square that they saw
    bones: tuple[str, ...]
    probability: torch.Tensor  # (bones, n, n) 0 to 1, on the frame
    depth: torch.Tensor  # (bones, faces, n, n) mm from an unknown plane, the same for all; as if the view were AP
    pixel_hash: str  # of the film
    disagreement: Mapping[str, Disagreement] | None = None  # by bone, where the mirrored film was asked, too

    def unsure(self, bone: str) -> float:
        """Pixels of which the networks are unsure, over those of the bone: 0.1, along its border, where well seen."""
        return self.unsure_of([bone])

    def unsure_of(self, bones: Iterable[str]) -> float:
        """The same of several bones together: 0.05 in films of hips, 0.4 to 1 in other pictures."""
        probability = self.probability[[self.bones.index(bone) for bone in bones]]
        least, most = SURE
        count = int((probability > LEAST_PROBABILITY).sum())
        return float(((probability > least) & (probability < most)).sum()) / max(count, 1)

    def fits(self, radiograph: Radiograph) -> bool:
        """Whether it was made of this film and its geometry; the bones' distance and the view may be others now."""
        was, now = self.frame.geometry, radiograph.geometry
        return self.pixel_hash == radiograph.pixel_hash and all(
            getattr(was, name) == getattr(now, name)
            for name in ("size_px", "pixel_pitch_mm", "sdd_mm", "principal_point_px")
        )


def predict(
    networks: Networks,
    radiograph: Radiograph,
    *,
    flipped_too: bool = True,
    progress: Progress = lambda stage, share: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Prediction:
    """What both networks see in a radiograph.

    `flipped_too` averages with what they see in the mirrored film, for twice the time: left and right are alike then.
    `progress` is called with stages and shares done; where `cancelled` says so, Cancelled is raised before the next
    layer of a network.
    """
    manifest, geometry = networks.manifest, radiograph.geometry
    frame = _frame(manifest, geometry)
    film = frame.picture(radiograph.pixels)[None, None]
    if not networks.elsewhere:
        film = film.to(networks.device)
    films = [film, film.flip(-1)] if flipped_too else [film]
    order = mirrored_order(manifest.bones)
    seen = {}  # by stage: (films, bones, ...)
    stages = [("segmentation", networks.segmentation), ("depth", networks.depth)]
    for done, (stage, network) in enumerate(stages):
        progress(stage, done / 3)
        with torch.inference_mode(), asked_before_layers(network, cancelled):
            if networks.elsewhere:
                outputs = list(network(torch.cat(films)))
            else:  # one after the other, as sums hang on how many films are asked for together
                outputs = [network(picture)[0].float() for picture in films]
        if flipped_too:
            outputs[1] = outputs[1][order].flip(-1)
        seen[stage] = torch.stack(outputs).cpu()
    if cancelled():
        raise Cancelled
    probability, depth = seen["segmentation"].sigmoid(), seen["depth"]
    return Prediction(
        frame=frame,
        bones=manifest.bones,
        probability=probability.mean(dim=0),
        depth=depth.mean(dim=0),
        pixel_hash=radiograph.pixel_hash,
        disagreement=_disagreement(manifest.bones, probability, depth) if flipped_too else None,
    )


def unsure_at_pitch(networks: Networks, radiograph: Radiograph, factor: float) -> float:
    """How unsure the segmentation is of all that it finds, were the pixels so many times as large; 1 where nothing is.

    As `Prediction.unsure_of` has it, without the mirrored film.
    """
    manifest, geometry = networks.manifest, radiograph.geometry
    rows, cols = (factor * pitch for pitch in geometry.pixel_pitch_mm)
    frame = _frame(manifest, replace(geometry, pixel_pitch_mm=(rows, cols)))
    with torch.inference_mode():
        logits = networks.segmentation(frame.picture(radiograph.pixels)[None, None].to(networks.device))[0]
    prediction = Prediction(
        frame=frame,
        bones=manifest.bones,
        probability=logits.float().sigmoid().cpu(),
        depth=torch.zeros(0),
        pixel_hash=radiograph.pixel_hash,
    )
    bones = [bone for bone in manifest.bones if prediction.unsure(bone) <= MOST_UNSURE]
    sure = [bone for bone in bones if (prediction.probability[manifest.bones.index(bone)] > LEAST_PROBABILITY).any()]
    return prediction.unsure_of(sure) if sure else 1.0


def _disagreement(bones: Sequence[str], probability: torch.Tensor, depth: torch.Tensor) -> dict[str, Disagreement]:
    """Of what was seen in a film and in its mirror image, turned back: (2, bones, n, n) and (2, bones, faces, n, n)."""
    masks = probability > LEAST_PROBABILITY
    shared, either = masks.all(dim=0), masks.sum(dim=(0, 2, 3))
    apart = (depth[0] - depth[1]).movedim(1, -1)  # (bones, n, n, faces)
    apart = apart - apart[shared].mean()
    return {
        bone: Disagreement(
            depth_mm=float(apart[number][shared[number]].abs().mean()),
            dice=float(2 * shared[number].sum() / either[number]),
        )
        for number, bone in enumerate(bones)
    }


@contextmanager
def asked_before_layers(network: nn.Module, cancelled: Callable[[], bool]) -> Iterator[None]:
    """Raises Cancelled inside a network where `cancelled` says so: a pass of a large one takes many seconds."""

    def ask(layer: nn.Module, inputs: object) -> None:
        if cancelled():
            raise Cancelled

    layers = [module for module in network.modules() if next(module.children(), None) is None]
    handles = [layer.register_forward_pre_hook(ask) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def seen_on(networks: Networks, radiograph: Radiograph) -> ProjectionGeometry:
    """The part of a film on which bones are looked for: the exposed field, as far as the networks' square reaches."""
    frame = _frame(networks.manifest, radiograph.geometry)
    square = frame.window_on_film((slice(0, frame.size_px), slice(0, frame.size_px)))
    rows, cols = (_overlap(*parts) for parts in zip(square, radiograph.exposed_field, strict=True))
    lit = replace(radiograph.geometry, opening_px=radiograph.field_corners_px)
    return lit.cropped((rows.start, cols.start), (rows.stop - rows.start, cols.stop - cols.start))


def _frame(manifest: Manifest, geometry: ProjectionGeometry) -> Frame:
    """The square of a film that a bundle's networks see, at the plane that they were trained for."""
    return frame_of(geometry, manifest.input_px[0], manifest.mm_per_pixel, manifest.nominal_object_distance_mm)


def _overlap(first: slice, second: slice) -> slice:
    """What two slices share; an empty one where that is nothing."""
    start = max(first.start, second.start)
    return slice(start, max(min(first.stop, second.stop), start))


def maps_of(
    prediction: Prediction,
    radiograph: Radiograph,
    mask: np.ndarray | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> BoneMaps:
    """Bone maps at a radiograph's own resolution, inside the exposed field.

    Depths stand where `object_distance_mm` says that the bones are. `mask` (bones, rows, cols) bool, or 0 and 1: which
    pixels belong to a bone, instead of those where the networks see it. `cancelled` is asked before every bone.
    """
    geometry = radiograph.geometry
    frame = replace(prediction.frame, geometry=geometry)
    field = radiograph.exposed_field
    shape = len(prediction.bones), *geometry.size_px
    if mask is not None:
        mask = _as_mask(mask, prediction.bones, shape)
    whole_mask, front, back = np.zeros(shape, bool), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    parts = []  # of large films only where bones are
    for number, (probability, depth) in enumerate(zip(prediction.probability, prediction.depth, strict=True)):
        if cancelled():
            raise Cancelled
        if mask is None:
            if prediction.unsure(prediction.bones[number]) > MOST_UNSURE:
                continue
            bone = frame.window_on_film(bounding_window(probability.numpy() > LEAST_PROBABILITY))
            window = _overlap(bone[0], field[0]), _overlap(bone[1], field[1])
            own = (frame.undone(probability[None], window)[0] > LEAST_PROBABILITY).numpy()
            own = without_islands(own & radiograph.lit_part(window))
        else:
            window = bounding_window(mask[number])
            own = mask[number][window]
        whole_mask[number][window] = own
        parts.append((number, window, own, frame.undone(depth, window).numpy()))

    count = sum(own.sum() * len(depth) for _, _, own, depth in parts)
    centre = sum(depth[:, own].sum(dtype=np.float64) for _, _, own, depth in parts) / max(count, 1)
    distance = geometry.object_distance_mm
    assert distance is not None  # every Radiograph has one
    plane = geometry.sdd_mm - distance
    for number, window, own, depth in parts:
        if cancelled():
            raise Cancelled
        first, last = (face + np.float32(plane - centre) for face in (depth[0], depth[-1]))
        middle, half = (first + last) / 2, np.maximum(last - first, 0) / 2  # nothing leaves a bone before its entry
        front[number][window] = np.where(own, middle - half, 0)
        back[number][window] = np.where(own, middle + half, 0)
    both = prediction.depth.shape[1] == 2
    maps = BoneMaps(bones=prediction.bones, mask=whole_mask, front=front, back=back if both else None)
    if geometry.view == "AP":
        return maps
    if not both:
        raise Refusal("This bundle knows only the front of bones, which PA films have behind: take one of both faces.")
    return maps.turned(plane)


def prediction_outlines(prediction: Prediction, seen: ProjectionGeometry) -> dict[str, Outline]:
    """The outlines of all bones, finer than the networks' pixels; `seen` as `seen_on` has it."""
    framed = prediction.frame.framed
    return {
        bone: outline_of(probability.numpy(), framed, seen)
        for bone, probability in zip(prediction.bones, prediction.probability, strict=True)
    }


def _as_mask(mask: np.ndarray, bones: tuple[str, ...], shape: tuple[int, ...]) -> np.ndarray:
    """A mask that somebody gave, as bool; Refusal where it is none of this film."""
    given = np.asarray(mask)
    if given.shape != shape or (given.dtype != bool and not np.isin(given, (0, 1)).all()):
        raise Refusal(
            f"The mask has to be {' x '.join(str(n) for n in shape)} zeros and ones, a layer each for "
            f"{', '.join(bones)}; this one is {' x '.join(str(n) for n in given.shape)} {given.dtype}."
        )
    return given.astype(bool)


def without_islands(mask: np.ndarray) -> np.ndarray:
    """A bone's mask (rows, cols) bool without parts that are far smaller than its largest."""
    parts, count = label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return (sizes >= ISLAND_SHARE * sizes.max())[parts]
