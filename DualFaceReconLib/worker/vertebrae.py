"""What the worker does of vertebrae: keeps the pair of films that is open, and the network."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.acquisition import Overrides
from DualFaceReconLib.vertebra.films import FACES, FILMS, SpineFilms
from DualFaceReconLib.vertebra.scale import read_films_of, read_films_to_click
from DualFaceReconLib.vertebra.targets import Pixel, VertebraTarget, check_target, met
from DualFaceReconLib.vertebra_results import refuse_to_lose_vertebra, save_vertebra
from DualFaceReconLib.worker.protocol import MakeVertebra, OpenPair, checked

if TYPE_CHECKING:
    from DualFaceReconLib.vertebra.reconstruction import VertebraReconstructor

Result = dict[str, Any]
SAVING = 0.9  # of a vertebra's share, where the folder is written


@dataclass(frozen=True, kw_only=True)
class OpenedPair:
    """Two films, and how they were read."""

    id: str
    files: tuple[str, str]
    reading: Mapping[str, Any]  # what `read_films_of` takes beside the files and the vertebrae
    films: SpineFilms

    def films_of(self, target: VertebraTarget) -> SpineFilms:
        """The films of a vertebra, whose corners are the scale where the files have none."""
        return self.films if self.films.in_millimetres else read_films_of(*self.files, [target], **self.reading)


class VertebraWork:
    """One pair at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pair: OpenedPair | None = None
        self.loaded: tuple[tuple[str | None, str | None], VertebraReconstructor] | None = None
        self.written = 0

    def open(self, request: OpenPair) -> Result:
        """Reads both films; what `done` says of them."""
        overrides = tuple(
            checked(Overrides, values, f"What is said of the {name} film")
            for name, values in zip(FILMS, (request.overrides_ap, request.overrides_lateral), strict=True)
        )
        reading = {
            "overrides": overrides,
            "angle_degrees": request.angle_degrees,
            "lateral_faces": request.lateral_faces,
            "same_patient": request.same_patient,
        }
        files = request.ap, request.lateral
        films = read_films_to_click(*files, **reading)
        self.pair = OpenedPair(id=secrets.token_hex(4), files=files, reading=reading, films=films)
        pixels = []
        for number, film in enumerate(films.radiographs):
            pixels.append(str(self.folder / f"spine-{number}.npy"))
            np.save(pixels[-1], film.pixels)
        return {
            "pair": self.pair.id,
            "geometry": [film.geometry.to_dict() for film in films.radiographs],
            "pixels": pixels,
            "source_angles_degrees": [angle.value for angle in films.source_angles],
            "angle_degrees": films.angle.value,
            "angle_provenance": str(films.angle.provenance),
            "lateral_faces": "right" if films.lateral.orientation.value == FACES["right"] else "left",
            "in_millimetres": films.in_millimetres,
            "warnings": [asdict(warning) for warning in films.warnings],
        }

    def make(
        self, request: MakeVertebra, progress: Callable[[str, float], None], cancelled: Callable[[], bool]
    ) -> Result:
        """The vertebra that is clicked, in a folder."""
        if self.pair is None or self.pair.id != request.pair:
            raise Refusal("These films are not open any more: open them again.", "film-not-open")
        target = VertebraTarget(
            level=request.level,
            centre_ap_px=_pixel(request.centre_ap),
            centre_lateral_px=_pixel(request.centre_lateral),
            corners_ap_px=_pixels(request.corners_ap),
            corners_lateral_px=_pixels(request.corners_lateral),
        )
        films = self.pair.films_of(target)
        folder = self._new_folder() if request.folder is None else Path(request.folder)
        refuse_to_lose_vertebra(folder, request.overwrite)
        check_target(target, films)  # refused before anything is loaded
        met(target, films)
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


def _pixel(place: Sequence[float] | None) -> Pixel | None:
    return None if place is None else (float(place[0]), float(place[1]))


def _pixels(places: Sequence[Sequence[float]] | None) -> tuple[Pixel, ...] | None:
    return None if places is None else tuple((float(row), float(col)) for row, col in places)
