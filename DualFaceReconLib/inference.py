"""A bundle's networks, and what they see in a radiograph; `prediction.py` makes bone maps of it.

networks = load_networks(Path("Resources/Models"))
prediction = predict(networks, radiograph)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from DualFaceReconLib.bonemaps import mirrored_order
from DualFaceReconLib.bundle.files import read_weights
from DualFaceReconLib.bundle.manifest import Manifest, hip_manifest
from DualFaceReconLib.errors import Cancelled, Refusal
from DualFaceReconLib.film.limits import DISTANCE_LIMITS_MM
from DualFaceReconLib.film.object_distance import FARTHEST_BONES_SHARE
from DualFaceReconLib.framing import NORMALISATION
from DualFaceReconLib.networks.depth import DepthNetwork, DepthSettings
from DualFaceReconLib.networks.segmentation import SegmentationNetwork, SegmentationSettings
from DualFaceReconLib.networks.settings import settings_from
from DualFaceReconLib.networks.settled import settled
from DualFaceReconLib.networks.weights import WithoutDrawing, give_weights
from DualFaceReconLib.prediction import (
    LEAST_PROBABILITY,
    MOST_UNSURE,
    Disagreement,
    Prediction,
    Progress,
    frame_for,
)

if TYPE_CHECKING:
    from DualFaceReconLib.film.radiograph import Radiograph  # with pydicom, which training does without

FARTHEST_NOMINAL_MM = FARTHEST_BONES_SHARE * DISTANCE_LIMITS_MM[0]  # of the nominal bone plane, at any source distance
ARCHITECTURES = {
    "depth": (DepthNetwork, DepthSettings),
    "segmentation": (SegmentationNetwork, SegmentationSettings),
}


@dataclass(frozen=True, kw_only=True)
class Networks:
    """A bundle's networks, ready on a device."""

    manifest: Manifest
    depth: nn.Module  # (B, 1, n, n) -> (B, bones, faces, n, n) mm from the depth centre
    segmentation: nn.Module  # (B, 1, n, n) -> (B, bones, n, n) logits
    device: str
    elsewhere: bool = False  # in another process, which takes films of this one's memory, the more at once the better

    def predict(self, radiograph: Radiograph, **how: Any) -> Prediction:
        """As the function of that name."""
        return predict(self, radiograph, **how)

    def unsure_at_pitch(self, radiograph: Radiograph, factor: float) -> float:
        """As the function of that name."""
        return unsure_at_pitch(self, radiograph, factor)


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
    frame = frame_for(manifest, geometry)
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
        probability=probability.mean(dim=0).numpy(),
        depth=depth.mean(dim=0).numpy(),
        pixel_hash=radiograph.pixel_hash,
        disagreement=_disagreement(manifest.bones, probability, depth) if flipped_too else None,
    )


def unsure_at_pitch(networks: Networks, radiograph: Radiograph, factor: float) -> float:
    """How unsure the segmentation is of all that it finds, were the pixels so many times as large; 1 where nothing is.

    As `Prediction.unsure_of` has it, without the mirrored film.
    """
    manifest, geometry = networks.manifest, radiograph.geometry
    rows, cols = (factor * pitch for pitch in geometry.pixel_pitch_mm)
    frame = frame_for(manifest, replace(geometry, pixel_pitch_mm=(rows, cols)))
    with torch.inference_mode():
        logits = networks.segmentation(frame.picture(radiograph.pixels)[None, None].to(networks.device))[0]
    prediction = Prediction(
        frame=frame,
        bones=manifest.bones,
        probability=logits.float().sigmoid().cpu().numpy(),
        depth=np.zeros(0),
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
