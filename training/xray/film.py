"""A film from a projection: exposed, processed, marked and stored as some maker would, by one seed.

film = filmed(projection, np.random.default_rng(7))
film.pixels, film.stored, film.metadata
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from DualFaceReconLib.bonemaps import BoneMaps
from training.patients.variety import is_wide
from training.xray.exposure import draw_exposure, expose
from training.xray.handling import handled_film
from training.xray.marks import burn_labels, draw_aperture, lead_letters
from training.xray.postprocessing import draw_postprocessing, postprocessed
from training.xray.projection import Projection
from training.xray.rig import Rig

STORED = (  # how stations store the same film
    {"photometric": "MONOCHROME2", "orientation": "L\\F"},
    {"photometric": "MONOCHROME1", "orientation": "L\\F"},
    {"photometric": "MONOCHROME2", "orientation": "R\\F"},
)
TABLE_SHARE = 0.6  # of headers have DistanceSourceToPatient; ours
FLESH_MM = 15.0  # a station takes what is thinner to be beside the patient


@dataclass(frozen=True, kw_only=True)
class Film:
    """A film as a station stores it."""

    pixels: np.ndarray  # (rows, cols) float32 from 0 to 1 as displayed, bone bright
    maps: BoneMaps  # the truth of what lies in the exposed field, where nothing covers it
    stored: dict[str, str]  # one of STORED
    has_table: bool  # whether the header says how far the table is
    metadata: dict  # how it came about, plain values for JSON

    def stored_from(self, rig: Rig) -> dict[str, Any]:
        """What goes to `dicom_film.dx_dataset` of a film that was taken by a rig."""
        return {**self.stored, "bones_above_table_mm": rig.bones_above_table_mm() if self.has_table else None}


def filmed(
    projection: Projection,
    rng: np.random.Generator,
    world: str = "seen",
    collimated: bool = True,
    device: str = "cpu",
    variety: str = "usual",
) -> Film:
    """The film of a projection; its edges may be collimated. `world`: see `exposure.WORLDS`; `variety`: see there.

    A film of the wide variety is the usual one after it went through other hands.
    """
    geometry = projection.geometry
    exposure, processing = draw_exposure(rng, world), draw_postprocessing(rng, world)
    aperture = draw_aperture(geometry, rng) if collimated else None
    lead, letter = lead_letters(geometry, rng, aperture)
    seed = int(rng.integers(2**31))
    stored = STORED[rng.integers(len(STORED))]

    lengths = dict(projection.lengths_mm)
    lengths["lead"] = lengths.get("lead", 0) + torch.as_tensor(lead, device=lengths["bone"].device)
    share = np.ones(geometry.size_px, np.float32) if aperture is None else aperture.share(geometry)
    lit = torch.as_tensor(share, device=device)
    reading = expose(replace(projection, lengths_mm=lengths), exposure, seed, device, lit)
    body = (lengths["muscle"] + lengths["fat"]).to(device) > FLESH_MM
    pixels = postprocessed(reading, processing, geometry.pixel_pitch_mm[0], lit > 0.5, body).cpu().numpy()
    labels = burn_labels(pixels, rng)
    metadata = {
        "world": world,
        "exposure": asdict(exposure),
        "look": asdict(processing),
        "aperture": None if aperture is None else asdict(aperture),
        "letter": letter,
        "labels": labels,
    }
    maps = projection.maps if aperture is None else projection.maps.within(share > 0.5)
    has_table = bool(rng.random() < TABLE_SHARE)
    if is_wide(variety):
        handled = handled_film(pixels, geometry, rng)
        pixels, maps = handled.pixels, maps.within(handled.visible)
        metadata["handling"] = handled.entries
    return Film(
        pixels=pixels,
        maps=maps,
        stored=dict(stored),
        has_table=has_table,
        metadata=metadata,
    )
