"""The most probable bones of one person, of one film or several: the search, and how sure its end is.

    fitted = fit_person(films, models, prior)

A bone has one shape in all films. Its pose, what the depth maps of a film get wrong of it, and how far all depths of a
film are off, are each film's own. `evidence.py` has what films say, `relations.py` what bones say of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.lapack import dpotrf, dpotri

from DualFaceReconLib.errors import Cancelled
from DualFaceReconLib.shape.body_prior import ERRORS, BodyPrior
from DualFaceReconLib.shape.equations import Evidence, summed
from DualFaceReconLib.shape.evidence import (
    POSE,
    SeenBone,
    outline_block,
    outline_pairs,
    point_pairs,
    points_block,
)
from DualFaceReconLib.shape.fitting import Fit, Target
from DualFaceReconLib.shape.outlines import Outline
from DualFaceReconLib.shape.relations import relations, shapes
from DualFaceReconLib.shape.shapemodel import ShapeModel, coarse_models, model_of

STEPS = 5  # more leave bones as far from the truth as they are: `training/JOINT.md`
# But for bones that still move by so much before the last step, as where little is seen, or not where it was looked for
MOVING_MM, MOST_STEPS = 5.0, 12
COARSE_STEPS = 2  # the first, on a sixth of the models' triangles
COARSE_EVERY = 4  # points of which one is paired before the last step
LEAST_VARIANCE_MM2 = 1e-6  # of depth errors that a prior does without
LEAST_PRECISION = 1e-9  # of what nothing is known of


@dataclass(frozen=True, kw_only=True)
class FilmEvidence:
    """What is known of a film's bones before the search; `starts` need only be near."""

    targets: Mapping[str, Target]
    areas_mm2: Mapping[str, float]  # of the observed surfaces
    outlines: Mapping[str, Outline]
    starts: Mapping[str, Fit]
    distance_spread_mm: float = 0.0  # by which all its depths may be off together; 0: they are taken as they are


@dataclass(frozen=True, kw_only=True)
class Certainty:
    """How sure parameters are: covariances of all of them, in which those of films that are left out are 0."""

    covariance: np.ndarray  # were every film's distance known, as for those that follow
    alone: tuple[np.ndarray, ...]  # had every film been the only one; of several films alone
    without: tuple[np.ndarray, ...]  # had every film been missing
    shifts_mm: tuple[tuple[float, float], ...]  # by which all depths of a film are too large, and a standard deviation


@dataclass(frozen=True, kw_only=True)
class PersonFit:
    """Bones that were fitted together, by film."""

    fits: tuple[dict[str, Fit], ...]
    errors: tuple[dict[str, np.ndarray], ...]  # by bone (5,): ERRORS of its depth maps
    columns: tuple[dict[str, np.ndarray], ...]  # by bone, of its turn, move and coefficients among the parameters
    certainty: Certainty
    too_sure: tuple[float, float]  # as `body_prior.MapErrors` has it
    models: Mapping[str, ShapeModel]  # of the fits' coefficients
    left_out: tuple[tuple[str, ...], ...] = ()  # by film, bones that are to be completed alone


def fit_person(
    films: Sequence[FilmEvidence],
    models: Mapping[str, ShapeModel],
    prior: BodyPrior,
    cancelled: Callable[[], bool] = lambda: False,
) -> PersonFit:
    """The most probable bones."""
    person, moved_mm = PersonSought(films, models, prior), np.inf
    for number in range(1, MOST_STEPS + 1):
        if cancelled():
            raise Cancelled
        last = number == MOST_STEPS or (number >= STEPS and moved_mm < MOVING_MM)
        moved_mm = person.step(1 if last else COARSE_EVERY)
        if last:
            break
        if number == COARSE_STEPS:
            person.refine()
    return PersonFit(
        fits=tuple({name: bone.fit for name, bone in film.bones.items()} for film in person.films),
        errors=tuple({name: film.errors[film.own_errors(name)] for name in film.bones} for film in person.films),
        columns=tuple({name: bone.columns for name, bone in film.bones.items()} for film in person.films),
        certainty=person.certainty(),
        too_sure=prior.errors.too_sure,
        models=models,
    )


class FilmSought:
    """A film's bones, as they stand during the search."""

    def __init__(self, bones: Mapping[str, SeenBone], first_error: int) -> None:
        self.bones = bones
        self.errors = np.zeros(len(ERRORS) * len(bones))
        self.error_columns = first_error + np.arange(len(self.errors))

    def own_errors(self, bone: str) -> np.ndarray:
        """Numbers (5,) of a bone's ERRORS among the film's."""
        return len(ERRORS) * list(self.bones).index(bone) + np.arange(len(ERRORS))

    def blocks(self, prior: BodyPrior, films: int, every: int = 1) -> Iterator[Evidence]:
        """All residuals where the bones stand, newly paired, but for those of shapes and errors."""
        maps = prior.errors
        yield from relations(self.bones, prior, films)
        for name, bone in self.bones.items():
            own = self.own_errors(name)
            pairs = point_pairs(bone, self.errors[own], maps, every)
            yield points_block(bone, self.errors[own], pairs, int(self.error_columns[own[0]]))
            if prior.outlines and (beside := outline_pairs(bone, maps)) is not None:
                yield outline_block(bone, beside, maps)


class PersonSought:
    """A person's bones in all films, as they stand during the search."""

    def __init__(self, films: Sequence[FilmEvidence], models: Mapping[str, ShapeModel], prior: BodyPrior) -> None:
        self.prior = prior
        names = list(dict.fromkeys(name for film in films for name in film.targets))
        coefficients, self.size = {}, 0
        for name in names:
            coefficients[name] = self._columns(len(model_of(name, models).variances))
        shared = {name: _mean_coefficients(name, films, len(coefficients[name])) for name in names}
        coarse = coarse_models(models)
        self.films = []
        for film in films:
            bones = {}
            for name, target in film.targets.items():
                columns = np.concatenate([self._columns(POSE), coefficients[name]])
                both = model_of(name, models), model_of(name, coarse)
                bones[name] = SeenBone(name, *both, target, film.areas_mm2[name], film.outlines.get(name), columns)
                bones[name].place(replace(film.starts[name], coefficients=shared[name]))
            self.films.append(FilmSought(bones, self.size))
            self._columns(len(ERRORS) * len(bones))
        self.bones = {name: bone for film in reversed(self.films) for name, bone in film.bones.items()}
        self.error_columns = np.concatenate([film.error_columns for film in self.films])
        shifts = [film.error_columns[:: len(ERRORS)] for film in self.films]
        self.off_together = np.stack([np.isin(self.error_columns, own).astype(float) for own in shifts])
        spreads = [film.distance_spread_mm for film in films]
        depths = [float(np.mean([bone.depth_mm for bone in film.bones.values()])) for film in self.films]
        self.usual_errors = prior.errors.usual([tuple(film.bones) for film in self.films])
        self.of_shapes, _ = summed(shapes(self.bones, prior), self.size)  # wherever these stand, as it is quadratic
        self.of_films: list[np.ndarray]  # the last step's matrices
        self.distances, self.level_mm2 = distances_sought(spreads, depths, prior.size_tells_distance)

    def _columns(self, count: int) -> np.ndarray:
        """Numbers of new parameters."""
        self.size += count
        return np.arange(self.size - count, self.size)

    @property
    def errors(self) -> np.ndarray:
        """Of all films' depth maps, mm."""
        return np.concatenate([film.errors for film in self.films])

    def error_covariance(self, distances: bool) -> np.ndarray:
        """mm^2 of the errors of all films; with `distances` all depths of a film may be off together."""
        covariance = self.prior.errors.covariance([tuple(film.bones) for film in self.films])
        if distances:
            covariance = covariance + self.off_together.T @ self.distances @ self.off_together
        return covariance + LEAST_VARIANCE_MM2 * np.eye(len(covariance))

    def refine(self) -> None:
        """Goes on with all vertices of the models."""
        for film in self.films:
            for bone in film.bones.values():
                bone.refine()

    def step(self, every: int = 1) -> float:
        """Of Gauss and Newton, by one of `every` so many points; gives what `move` does."""
        shape = np.zeros(self.size)
        for bone in self.bones.values():
            shape[bone.columns[POSE:]] = bone.fit.coefficients
        matrix, gradient = self.of_shapes.copy(), self.of_shapes @ shape
        self.of_films = []
        for film in self.films:
            of_film, pull = summed(film.blocks(self.prior, len(self.films), every), self.size)
            self.of_films.append(of_film)
            matrix += of_film
            gradient += pull
        precision = np.linalg.inv(self.error_covariance(distances=True))
        matrix[np.ix_(self.error_columns, self.error_columns)] += precision
        gradient[self.error_columns] += precision @ (self.errors - self.usual_errors)
        matrix[np.diag_indices(self.size)] += LEAST_PRECISION
        return self.move(-cho_solve(cho_factor(matrix), gradient))

    def move(self, step: np.ndarray) -> float:
        """Changes all parameters; gives how far that moved the bone that it moved most, mm in the mean."""
        moved_mm = 0.0
        for film in self.films:
            for bone in film.bones.values():
                before = bone.vertices
                bone.place(bone.fit.moved(step[bone.columns], bone.about))
                moved_mm = max(moved_mm, float(np.linalg.norm(bone.vertices - before, axis=1).mean()))
            film.errors = film.errors + step[film.error_columns]
        return moved_mm

    def certainty(self) -> Certainty:
        """Of the bones, by the matrices of the last step."""

        def covariance(films: Iterable[int], distances: bool = False) -> np.ndarray:
            numbers = sorted(films)
            matrix = self.of_shapes + sum(self.of_films[number] for number in numbers)
            columns = np.concatenate([self.films[number].error_columns for number in numbers])
            own = np.isin(self.error_columns, columns)
            errors = self.error_covariance(distances)[np.ix_(own, own)]
            matrix[np.ix_(columns, columns)] += np.linalg.inv(errors)
            there = np.flatnonzero(matrix.diagonal())
            inner = matrix[np.ix_(there, there)] + LEAST_PRECISION * np.eye(len(there))
            inverse = np.zeros_like(matrix)
            inverse[np.ix_(there, there)] = _inverse(inner)
            return inverse

        every = set(range(len(self.films)))
        several = len(every) > 1
        known = covariance(every)
        free = covariance(every, distances=True) if self.distances.any() else known
        return Certainty(
            covariance=known,
            alone=tuple(covariance({number}) for number in every) if several else (),
            without=tuple(covariance(every - {number}) for number in every) if several else (),
            shifts_mm=self._shifts_mm(free),
        )

    def _shifts_mm(self, covariance: np.ndarray) -> tuple[tuple[float, float], ...]:
        """As `Certainty` has them, by the covariance of all parameters with the distances among what is not known."""
        gain = self.distances @ self.off_together @ np.linalg.inv(self.error_covariance(distances=True))
        left = covariance[np.ix_(self.error_columns, self.error_columns)]  # that is not known of the errors
        unusual = self.errors - self.usual_errors
        unknown = self.distances - gain @ self.off_together.T @ self.distances + gain @ left @ gain.T
        variance = unknown.diagonal() + self.level_mm2
        return tuple(zip((gain @ unusual).tolist(), np.sqrt(np.maximum(variance, 0)).tolist(), strict=True))


def distances_sought(
    spreads_mm: Sequence[float], depths_mm: Sequence[float], size_tells: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(films, films) mm^2 of the distances' errors among which is sought, and (films,) of what is left as it is.

    Size in all films tells how much nearer one was than another. Unless `size_tells`, or the distance of one of them is
    known, the mean size stays as far as one film told it: what is assumed of a body is off alike in all its films.
    `depths_mm` are the bones', as an error changes their size by its share of that.
    """
    variance, depth = (np.array(values, dtype=np.float64) for values in (np.square(spreads_mm), depths_mm))
    if size_tells or not variance.all():
        return np.diag(variance), np.zeros(len(variance))
    level = np.outer(depth, depth) / np.sum(depth**2 / variance)
    return np.diag(variance) - level, len(variance) * level.diagonal()


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Of a symmetric matrix whose eigenvalues are positive, in a third of the time of one that need not be."""
    triangle, failed = dpotrf(matrix)
    if failed:
        raise np.linalg.LinAlgError("the matrix is not positive definite")
    inverse = np.triu(dpotri(triangle)[0])
    return inverse + np.triu(inverse, 1).T


def _mean_coefficients(name: str, films: Sequence[FilmEvidence], count: int) -> np.ndarray:
    """(count,) of the films' starts of a bone."""
    known = [film.starts[name].coefficients for film in films if name in film.starts]
    return np.mean([np.r_[own, np.zeros(count - len(own))] for own in known], axis=0)
