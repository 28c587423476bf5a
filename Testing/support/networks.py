"""Exact stand-ins for networks, and films of a rectangle that they see."""

import numpy as np
import torch
from torch import nn

from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.framing import NOMINAL_OBJECT_DISTANCE_MM, NORMALISATION
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.inference import Networks, predict
from DualFaceReconLib.prediction import maps_of
from support.bundles import manifest

MANIFEST = manifest(input_px=(256, 256), mm_per_pixel=1.5, normalisation=NORMALISATION)


class Brightness(nn.Module):
    """Every bone is where the film is bright."""

    def forward(self, film):
        return (20 * film).expand(-1, 4, -1, -1)


class Ramp(nn.Module):
    """Front depths grow by 0.1 mm a pixel down the square; backs lie 30 mm behind; both off by a constant."""

    def forward(self, film):
        rows = torch.arange(film.shape[-2], dtype=torch.float32)[:, None].expand(film.shape[-2:])
        front = 0.1 * rows + 55
        return torch.stack([front, front + 30]).expand(len(film), 4, 2, *film.shape[-2:])


EXACT = Networks(manifest=MANIFEST, depth=Ramp(), segmentation=Brightness(), device="cpu")


def bone_maps(networks, radiograph, **how):
    """What networks see in a radiograph."""
    return maps_of(predict(networks, radiograph, **how), radiograph)


def radiograph_of(geometry, left=-20.0, nominal=NOMINAL_OBJECT_DISTANCE_MM):
    """A bright rectangle, 60 mm wide and 100 mm high at the nominal plane, at R = `left` to `left` + 60."""
    depth = geometry.sdd_mm - nominal
    places = geometry.back_project(geometry.pixel_centres(), np.full(geometry.size_px, depth))
    inside = (places[..., 0] > left) & (places[..., 0] < left + 60) & (np.abs(places[..., 2]) < 50)
    return Radiograph(inside.astype(np.float32), geometry)


GEOMETRIES = [
    ProjectionGeometry(1000, (0.3, 0.3), (1000, 1200), (480.0, 640.0), "AP", 150.0),
    ProjectionGeometry(1400, (0.9, 0.9), (400, 480), None, "AP", 220.0),
]
