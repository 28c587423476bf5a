"""What the worker does of vertebrae: keeps the pair of films that is open, and the network."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.acquisition import Overrides
from DualFaceReconLib.vertebra.films import FILMS, SpineFilms, read_spine_films
from DualFaceReconLib.vertebra.targets import VertebraTarget, met
from DualFaceReconLib.vertebra_results import refuse_to_lose_vertebra, save_vertebra
from DualFaceReconLib.worker.protocol import MakeVertebra, OpenPair, checked

if TYPE_CHECKING:
    from DualFaceReconLib.vertebra.reconstruction import VertebraReconstructor

Result = dict[str, Any]
SAVING = 0.9  # of a vertebra's share, where the folder is written


class VertebraWork:
    """One pair at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pair: tuple[str, SpineFilms] | None = None
        self.loaded: tuple[tuple[str | None, str | None], VertebraReconstructor] | None = None
        self.written = 0

    def open(self, request: OpenPair) -> Result:
        """Reads both films; what `done` says of them."""
        overrides = tuple(
            checked(Overrides, values, f"What is said of the {name} film")
            for name, values in zip(FILMS, (request.overrides_ap, request.overrides_lateral), strict=True)
        )
        films = read_spine_films(
            request.ap,
            request.lateral,
            overrides=overrides,
            angle_degrees=request.angle_degrees,
            lateral_faces=request.lateral_faces,
            same_patient=request.same_patient,
        )
        self.pair = secrets.token_hex(4), films
        pixels = []
        for number, film in enumerate(films.radiographs):
            pixels.append(str(self.folder / f"spine-{number}.npy"))
            np.save(pixels[-1], film.pixels)
        return {
            "pair": self.pair[0],
            "geometry": [film.geometry.to_dict() for film in films.radiographs],
            "pixels": pixels,
            "source_angles_degrees": [angle.value for angle in films.source_angles],
            "angle_degrees": films.angle.value,
            "angle_provenance": str(films.angle.provenance),
            "warnings": [asdict(warning) for warning in films.warnings],
        }

    def make(
        self, request: MakeVertebra, progress: Callable[[str, float], None], cancelled: Callable[[], bool]
    ) -> Result:
        """The vertebra that is clicked, in a folder."""
        if self.pair is None or self.pair[0] != request.pair:
            raise Refusal("These films are not open any more: open them again.", "film-not-open")
        films = self.pair[1]
        target = VertebraTarget(
            level=request.level,
            centre_ap_px=tuple(map(float, request.centre_ap)),
            centre_lateral_px=tuple(map(float, request.centre_lateral)),
        )
        folder = self._new_folder() if request.folder is None else Path(request.folder)
        refuse_to_lose_vertebra(folder, request.overwrite)
        met(target, films)  # refused before anything is loaded
        reconstructor = self._reconstructor(request)
        vertebra = reconstructor.run(
            films,
            target,
            progress=lambda stage, share: progress("saving" if stage == "done" else stage, SAVING * share),
            cancelled=cancelled,
        )
        save_vertebra(vertebra, folder, overwrite=request.overwrite, cancelled=cancelled)
        return {
            "folder": str(folder),
            "gap_mm": vertebra.gap_mm,
            "warnings": [asdict(warning) for warning in vertebra.warnings],
            "measured": vertebra.measured,
            "bundle": asdict(vertebra.bundle),
            "device": vertebra.device,
            "timings_s": dict(vertebra.timings_s),
        }

    def _reconstructor(self, request: MakeVertebra) -> VertebraReconstructor:
        """Loaded now where it is not; torch comes with it."""
        from DualFaceReconLib.vertebra.reconstruction import VertebraReconstructor

        wanted = request.bundle, request.device
        if self.loaded is None or self.loaded[0] != wanted:
            self.loaded = wanted, VertebraReconstructor(*wanted)
        return self.loaded[1]

    def _new_folder(self) -> Path:
        self.written += 1
        return self.folder / f"vertebra-{self.written}"
