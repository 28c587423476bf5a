"""Two films of balls in the air, from in front and from the side, and a network that needs no learning."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from DualFaceReconLib.biplanar import FilmPair, placed
from DualFaceReconLib.film.subject import SPINE_FRONTAL, SPINE_LATERAL
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.vertebra.volume import VertebraNetwork
from support.films import save
from support.vertebra_bundles import vertebra_manifest
from training.xray.dicom_film import dx_dataset

CENTRE, RADIUS_MM = np.array([5.0, -3.0, 10.0]), 20.0  # RAS in the patient's frame
FRONTAL = ProjectionGeometry(1100, (0.8, 0.8), (300, 280), (140.0, 150.0), "AP", 250)
LATERAL = ProjectionGeometry(1200, (0.7, 0.7), (320, 300), (170.0, 140.0), "AP", 300)


def pair_of(second_degrees=-90.0):
    """Both films in place; the second one's tube at the patient's right."""
    return FilmPair(placed(FRONTAL), placed(LATERAL, second_degrees))


def clicks_on(pair, place=CENTRE):
    """Where a place is seen on both, [row, col] each."""
    return tuple(tuple(map(float, film.project(np.asarray(place, float))[0])) for film in (pair.first, pair.second))


def ball_film(place, centres=(CENTRE,), radius_mm=RADIUS_MM):
    """(rows, cols) float32: how long every ray is in balls, mm."""
    pixels = place.geometry.pixel_centres()
    ways = place.back_project(pixels, np.full(pixels.shape[:2], place.geometry.sdd_mm)) - place.source
    ways /= np.linalg.norm(ways, axis=-1, keepdims=True)
    chords = np.zeros(pixels.shape[:2])
    for centre in centres:
        to = centre - place.source
        apart2 = to @ to - (ways @ to) ** 2
        chords += 2 * np.sqrt(np.maximum(radius_mm**2 - apart2, 0))
    return chords.astype(np.float32)


def spine_pair(folder, pair=None, centres=(CENTRE,), frontal=None, lateral=None):
    """Writes ap.dcm and lateral.dcm; their paths. Tags that are given are set, or removed where they are None."""
    pair = pair or pair_of()
    paths = []
    for name, place, subject, tags in (
        ("ap", pair.first, SPINE_FRONTAL, {"BodyPartExamined": "LSPINE", **(frontal or {})}),
        (
            "lateral",
            pair.second,
            SPINE_LATERAL,
            {
                "BodyPartExamined": "LSPINE",
                "ViewPosition": "LL",
                "PatientOrientation": ["A", "F"],
                **(lateral or {}),
            },
        ),
    ):
        ds = dx_dataset(ball_film(place, centres), place.geometry, bones_above_table_mm=subject.table_to_bones_mm)
        for keyword, value in {"PatientID": "one", **tags}.items():
            ds.pop(keyword, None)
            if value is not None:
                setattr(ds, keyword, value)
        paths.append(save(ds, folder / f"{name}.dcm"))
    return paths


class Hull(nn.Module):
    """Bone is where both films are bright, as if a network had learnt nothing but that."""

    def forward(self, projections):
        """(B, 2, N, N, N) -> (B, 1, N, N, N)."""
        return torch.minimum(projections[:, :1], projections[:, 1:])


def hull_network(**changed):
    """A bundle's network that gives the hull; 0 is the films' mean grey."""
    values = {"side": 48, "voxel_mm": 2.0, "mean_hu": 0.0, "deviation_hu": 100.0, "threshold_hu": 5.0}
    manifest = replace(vertebra_manifest(), **{**values, **changed})
    return VertebraNetwork(manifest=manifest, network=Hull(), device="cpu")
