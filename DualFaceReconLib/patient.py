"""Several films of one patient: what came of them, and what each film added.

patient = reconstructor.run_patient([read_radiograph("ap.dcm"), read_radiograph("later.dcm")])
patient.films[1].bones["hip_left"]      # as of a single film
patient.certainties                     # by film and bone: with all films, with this one alone, without each other
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.acquisition import RadiographWarning
from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.geometry import ProjectionGeometry, Provenance
from DualFaceReconLib.measurements import SPHERES, diameter, relative_spread, root_mean_square
from DualFaceReconLib.outcome import Reconstruction
from DualFaceReconLib.shape.completion import Completion
from DualFaceReconLib.shape.person_fit import PersonFit
from DualFaceReconLib.shape.together import certain
from DualFaceReconLib.verdicts import is_doubted

FEWEST_FILMS = 2
SURFACE = "surface"


@dataclass(frozen=True, kw_only=True)
class CertaintyByFilms:
    """One standard deviation of something on a bone in a film, mm: by all films, and by fewer."""

    film: int  # 1 is the first
    bone: str
    what: str  # SURFACE, the root mean square of its vertices, or a measurement
    all_films_mm: float
    alone_mm: float  # had this film been the only one
    without_mm: Mapping[int, float] = field(default_factory=dict)  # of SURFACE, by the film that would be missing


@dataclass(frozen=True, kw_only=True)
class PatientReconstruction:
    """What came of several films of one patient, in their order."""

    films: tuple[Reconstruction, ...]
    certainties: tuple[CertaintyByFilms, ...] = field(repr=False)


def refuse_no_films_of_a_patient(radiographs: Sequence[Radiograph]) -> None:
    """Refusal of fewer than two films, and of the same one twice."""
    if len(radiographs) < FEWEST_FILMS:
        raise Refusal("One film is no several films of a patient: name two or more.")
    numbers: dict[str, int] = {}
    for number, radiograph in enumerate(radiographs, 1):
        first = numbers.setdefault(radiograph.pixel_hash, number)
        if first != number:
            raise Refusal(
                f"Film {first} and film {number} hold the same picture, which says nothing new: leave one of them out.",
                "same-picture",
                films=(first, number),
            )


@contextmanager
def naming_film(number: int) -> Iterator[None]:
    """Says which of several films is refused."""
    try:
        yield
    except Refusal as refusal:
        raise Refusal(f"Film {number}: {refusal.text}", refusal.code, **{**refusal.values, "film": number}) from refusal


def unknown_distance_mm(geometry: ProjectionGeometry) -> float:
    """By how much a film's depths may be off together so that its bones change their size; 0 where they may not."""
    spread = geometry.provenance["object_distance_mm"].spread
    return 0.0 if spread is None or geometry.lengths_are_calibrated else spread


def at_distance_by_size(radiograph: Radiograph, shift_mm: tuple[float, float], films: int) -> Radiograph:
    """The film with its bones where all films put them, by their size in each; it keeps a distance that is known."""
    if not unknown_distance_mm(radiograph.geometry):
        return radiograph
    before, (shift, spread) = radiograph.geometry, shift_mm
    assert before.object_distance_mm is not None  # a film always has one
    distance = before.object_distance_mm + shift
    source = f"{before.provenance['object_distance_mm'].source}; then by the bones' one size in {films} films"
    moved = radiograph.at_object_distance(distance, Provenance("estimated", source, spread))
    share = 100 * relative_spread(moved.geometry)
    warning = RadiographWarning(
        "object_distance_mm-by-size",
        f"How far the bones were from the detector, {distance:.0f} +- {spread:.0f} mm, is what {films} films say, in "
        f"which bones have one size; every length is uncertain by {share:.1f} %. Give it with {{object_distance_mm}}.",
        {"object_distance_mm": distance, "spread_mm": spread},
    )
    return replace(moved, warnings=(*moved.warnings, warning))


def mostly_doubted(film: Reconstruction) -> bool:
    """Whether more than half of a film's completed bones are doubted, as of a view that the networks never met."""
    doubted = [is_doubted(bone.verdict) for bone in film.bones.values() if bone.completed is not None]
    return 2 * sum(doubted) > len(doubted)


DOUBTED_FILM = RadiographWarning(
    "film-completed-alone",
    "Most bones of this film are doubted, and those of another film are not: it was completed by itself, and the other "
    "films without it.",
)


def certainties_of(
    fitted: PersonFit,
    numbers: Sequence[int],
    number: int,
    completions: Mapping[str, Completion],
    geometries: tuple[ProjectionGeometry, ProjectionGeometry],
) -> list[CertaintyByFilms]:
    """Of a film's bones; the fit is of the films of some `numbers`.

    `geometries` are the film's with the distance as it was known before, and as it is now.
    """
    place, certainty = numbers.index(number), fitted.certainty
    if len(numbers) == 1:
        return certainties_alone(number, completions, geometries[1])
    alone = certain(completions, fitted, place, certainty.alone[place])
    without = {
        numbers[other] + 1: certain(completions, fitted, place, covariance)
        for other, covariance in enumerate(certainty.without)
        if other != place
    }
    return _certainties(number, completions, alone, without, geometries)


def certainties_alone(
    number: int, completions: Mapping[str, Completion], geometry: ProjectionGeometry
) -> list[CertaintyByFilms]:
    """Of bones that no other film says anything of."""
    return _certainties(number, completions, completions, {}, (geometry, geometry))


def _certainties(
    number: int,
    completions: Mapping[str, Completion],
    alone: Mapping[str, Completion],
    without: Mapping[int, Mapping[str, Completion]],
    geometries: tuple[ProjectionGeometry, ProjectionGeometry],
) -> list[CertaintyByFilms]:
    before, now = geometries
    rows = []
    for bone, done in completions.items():
        place = {"film": number + 1, "bone": bone}
        rows.append(
            CertaintyByFilms(
                **place,
                what=SURFACE,
                all_films_mm=_of_surface(done, now),
                alone_mm=_of_surface(alone[bone], now),
                without_mm={other: _of_surface(bones[bone], now) for other, bones in without.items()},
            )
        )
        for landmark, name in SPHERES.items():
            if landmark in done.radii_mm:
                stds = [
                    diameter(one, landmark, relative_spread(geometry)).std
                    for one, geometry in ((done, now), (alone[bone], before))
                ]
                rows.append(CertaintyByFilms(**place, what=name, all_films_mm=stds[0], alone_mm=stds[1]))
    return rows


def _of_surface(completion: Completion, geometry: ProjectionGeometry) -> float:
    """Of what the product keeps: not a femur's beyond the film."""
    kept = geometry.sees(completion.vertices) | (completion.bone == "hip")
    return root_mean_square(completion.std_mm[kept])
