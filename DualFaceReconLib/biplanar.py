"""Two films of one patient in one frame: where a point lies in both, and where the rays of two pixels meet.

    first, second = placed(ap), placed(lateral, -90)  # the lateral's source is at the patient's right
    meeting = FilmPair(first, second).meeting([250, 750], [250, 500])
    meeting.point, meeting.gap_mm

Every film has a frame of its own, that of `geometry.py`. The patient's frame has its axes along the body (RAS), and its
origin on the axis about which tube and detector turn from one film to the other. That axis is the patient's long one,
and every film's central ray meets it at the origin, `object_distance_mm` before the detector.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from DualFaceReconLib.geometry import ProjectionGeometry

REACH_MM = 200.0  # of a ray to either side of the axis, within which a body lies
PARALLEL = 1e-6  # squared sine of the least angle at which two rays meet anywhere in particular


@dataclass(frozen=True, eq=False)
class PlacedFilm:
    """A film, and its frame in the patient's: `point_of_film = rotation @ point_of_patient + translation`."""

    geometry: ProjectionGeometry
    rotation: np.ndarray  # (3, 3)
    translation: np.ndarray  # (3,) mm

    def to_film(self, points: np.ndarray) -> np.ndarray:
        """The patient's points (..., 3) in the film's frame, mm."""
        return np.asarray(points, dtype=np.float64) @ self.rotation.T + self.translation

    def to_patient(self, points: np.ndarray) -> np.ndarray:
        """The film's points (..., 3) in the patient's frame, mm."""
        return (np.asarray(points, dtype=np.float64) - self.translation) @ self.rotation

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The patient's points (..., 3) mm -> pixels (..., 2) [row, col] and depth (...) mm."""
        return self.geometry.project(self.to_film(points))

    def back_project(self, pixels: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) [row, col] and depth (...) mm -> the patient's points (..., 3) mm."""
        return self.to_patient(self.geometry.back_project(pixels, depth))

    @property
    def source(self) -> np.ndarray:
        """The X-ray source in the patient's frame, mm (3,)."""
        return self.to_patient(self.geometry.source)

    def direction(self, pixel: Sequence[float]) -> np.ndarray:
        """The way (3,) of a pixel's ray in the patient's frame, from the source, of length 1."""
        along = self.back_project(np.asarray(pixel, dtype=np.float64), np.array(self.geometry.sdd_mm)) - self.source
        return along / np.linalg.norm(along)


def placed(geometry: ProjectionGeometry, angle_degrees: float = 0.0) -> PlacedFilm:
    """A film whose tube went round the patient's long axis, from in front of the patient towards the patient's left.

    So a lateral is at 90 with the source at the left, and at -90 with the source at the right. A PA film's source is
    behind what is in front here. The distance from axis to detector has to be known.
    """
    if geometry.object_distance_mm is None:
        raise ValueError("a film whose object_distance_mm is not known has no place in the patient's frame")
    cosine, sine = math.cos(math.radians(angle_degrees)), math.sin(math.radians(angle_degrees))
    rotation = np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    to_source = np.sign(geometry.source[1])
    return PlacedFilm(geometry, rotation, np.array([0.0, to_source * geometry.object_distance_mm, 0.0]))


@dataclass(frozen=True)
class Meeting:
    """Where two rays come closest."""

    point: np.ndarray  # (3,) mm in the patient's frame, midway between them
    gap_mm: float  # between the two rays


@dataclass(frozen=True)
class FilmPair:
    """Two films of one patient."""

    first: PlacedFilm
    second: PlacedFilm

    @property
    def angle_degrees(self) -> float:
        """Between the ways from the axis to the two sources, 0 to 180."""
        ways = [film.source / np.linalg.norm(film.source) for film in (self.first, self.second)]
        return math.degrees(math.acos(float(np.clip(ways[0] @ ways[1], -1, 1))))

    def line_on_second(self, first_px: Sequence[float]) -> np.ndarray:
        """Where the ray of a pixel [row, col] of the first film runs on the second, its ends (2, 2) [row, col]."""
        film = self.first
        middle = film.geometry.sdd_mm - film.geometry.object_distance_mm
        depths = np.array([max(middle - REACH_MM, 1.0), min(middle + REACH_MM, film.geometry.sdd_mm)])
        return self.second.project(film.back_project(np.array([first_px, first_px], dtype=np.float64), depths))[0]

    def meeting(self, first_px: Sequence[float], second_px: Sequence[float]) -> Meeting:
        """Where the rays of a pixel [row, col] of either film come closest; ValueError where they are parallel."""
        starts = self.first.source, self.second.source
        ways = self.first.direction(first_px), self.second.direction(second_px)
        between, cosine = starts[1] - starts[0], float(ways[0] @ ways[1])
        if 1 - cosine**2 < PARALLEL:
            raise ValueError("the rays are parallel: they meet nowhere")
        along_first = float(between @ (ways[0] - cosine * ways[1])) / (1 - cosine**2)
        along_second = float(between @ (cosine * ways[0] - ways[1])) / (1 - cosine**2)
        nearest = starts[0] + along_first * ways[0], starts[1] + along_second * ways[1]
        return Meeting(point=(nearest[0] + nearest[1]) / 2, gap_mm=float(np.linalg.norm(nearest[1] - nearest[0])))
