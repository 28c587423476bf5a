"""Tiny bundles for vertebrae: networks of a few weights, nobody's."""

import torch

from DualFaceReconLib.bundle.files import write_bundle
from DualFaceReconLib.bundle.vertebra_manifest import VertebraManifest
from DualFaceReconLib.levels import LEVELS
from DualFaceReconLib.networks.ear import EarNetwork, EarSettings
from DualFaceReconLib.networks.weights import weights_of

SETTINGS = {"widths": [2, 2, 2, 2, 2]}


def vertebra_manifest(**changed):
    """What a made-up bundle says of itself."""
    values = {
        "id": "made-up-vertebrae",
        "version": "1.0.0",
        "licence": "CC BY 4.0",
        "research_use": "For research; not for clinical use.",
        "attributions": ("nobody, MIT",),
        "trained_on": "nobody",
        "measured": "not at all",
        "levels": LEVELS[1:],
        "films": "alone",
        "angle_degrees": (60.0, 120.0),
        "side": 32,
        "voxel_mm": 3.5,
        "field_share": 1.5,
        "mean_hu": 11.0,
        "deviation_hu": 74.0,
        "threshold_hu": 200.0,
        "surface_error_mm": {"upper_thoracic": 2.0, "lower_thoracic": 2.0, "lumbar": 1.5},
        "networks": {"volume": {"settings": SETTINGS, "file": "volume.safetensors"}},
    }
    return VertebraManifest(**{**values, **changed})


def vertebra_weights(seed=0):
    """Of a tiny network, by a seed."""
    torch.manual_seed(seed)
    return {
        name: value
        for name, value in weights_of(EarNetwork(EarSettings(**SETTINGS))).items()
        if value.is_floating_point()
    }


def made_vertebra_bundle(folder, seed=0, **changed):
    """Writes one; the folder."""
    write_bundle(folder, vertebra_manifest(**changed), {"volume": vertebra_weights(seed)}, {})
    return folder
