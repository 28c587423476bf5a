"""What is known of four bones of one person before a film is looked at, and of how networks err on one.

    prior = BodyPrior()                                   # of hips-small 0.3.0
    prior = BodyPrior.of_networks(manifest.femora_lean_mm)  # of a bundle's networks
    prior = BodyPrior(errors=EXACT_MAPS)                  # maps without the errors of networks

All are variances with their sources; `training/JOINT.md` has how they were measured. Sides are in left form: of a right
bone R is reversed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from DualFaceReconLib.bonemaps import kind_and_side

# Of a bone's depth maps, mm: of its middle, over 100 mm medially, over 100 mm upwards, of half its thickness, and over
# 100 mm of its depth
ERRORS = ("shift", "across", "along", "thickness", "relief")
TILT_OVER_MM = 100.0
SHRUNK = 0.85  # all correlations are taken smaller: of a few dozen films, and rounded, they are no covariance else


@dataclass(frozen=True, kw_only=True)
class MapErrors:
    """How maps are wrong: by a shift, two tilts, a thickness and a relief for every bone, and by what is left."""

    hip: tuple[float, ...]  # standard deviations of ERRORS
    femur: tuple[float, ...]
    lean_mm: float  # of femora, the mean of ERRORS along them; all other means are 0
    same_side: np.ndarray  # (10, 10) correlations of a side's hip and femur
    other_side: np.ndarray  # (10, 10) of one side's with the other's
    of_person: float  # correlation of a bone's errors in two films of one person
    residual_mm: dict[str, float]  # along the ray, by kind
    across_mm: float  # across the ray, where a surface is seen from its side
    independent_mm2: float  # of surface on which one residual is worth a measurement
    outline_mm: float  # across the ray
    independent_mm: dict[str, float]  # of outline, by kind
    too_sure: tuple[
        float, float
    ]  # by what the fit's standard deviations are too small, of seen and of inferred vertices

    def usual(self, films: Sequence[Sequence[str]]) -> np.ndarray:
        """(5 n,) mm, the means of ERRORS of the bones of some films."""
        leans = [self.lean_mm if kind_and_side(bone)[0] == "femur" else 0.0 for film in films for bone in film]
        return np.outer(leans, np.array(ERRORS) == "along").ravel()

    def covariance(self, films: Sequence[Sequence[str]]) -> np.ndarray:
        """(5 n, 5 n) mm^2 of ERRORS of the bones of some films of one person."""
        names = tuple(dict.fromkeys(bone for film in films for bone in film))
        table = self._of_a_film(names)
        count = len(ERRORS)
        places = [count * names.index(bone) + np.arange(count) for film in films for bone in film]
        number = np.concatenate([np.full(count * len(film), number) for number, film in enumerate(films)])
        every = np.concatenate(places)
        alike = np.where(number[:, None] == number, 1.0, self.of_person)
        return table[np.ix_(every, every)] * alike

    def _of_a_film(self, bones: Sequence[str]) -> np.ndarray:
        count = len(ERRORS)
        spread = np.concatenate([np.array(getattr(self, kind_and_side(bone)[0])) for bone in bones])
        correlation = np.empty((len(spread), len(spread)))
        for row, first in enumerate(bones):
            for col, second in enumerate(bones):
                (kind, side), (other_kind, other_side) = kind_and_side(first), kind_and_side(second)
                table = self.same_side if side == other_side else self.other_side
                part = table[count * (kind == "femur") :][:count, count * (other_kind == "femur") :][:, :count]
                correlation[count * row :][:count, count * col :][:, :count] = part
        correlation = SHRUNK * correlation + (1 - SHRUNK) * np.eye(len(spread))
        return correlation * np.outer(spread, spread)


_SAME_SIDE = np.array(  # hip, then femur, in the order of ERRORS
    [
        [1.0, -0.3, 0.1, 0.2, 0.1, 0.1, 0.1, 0.4, 0.0, -0.2],
        [-0.3, 1.0, 0.1, 0.2, 0.0, -0.1, 0.1, 0.0, -0.1, 0.0],
        [0.1, 0.1, 1.0, -0.1, -0.2, -0.2, -0.2, -0.2, 0.0, 0.1],
        [0.2, 0.2, -0.1, 1.0, 0.4, -0.1, -0.1, 0.3, 0.4, 0.1],
        [0.1, 0.0, -0.2, 0.4, 1.0, 0.0, -0.1, 0.2, 0.1, 0.1],
        [0.1, -0.1, -0.2, -0.1, 0.0, 1.0, -0.3, -0.6, -0.2, -0.2],
        [0.1, 0.1, -0.2, -0.1, -0.1, -0.3, 1.0, 0.0, -0.1, -0.7],
        [0.4, 0.0, -0.2, 0.3, 0.2, -0.6, 0.0, 1.0, 0.1, 0.1],
        [0.0, -0.1, 0.0, 0.4, 0.1, -0.2, -0.1, 0.1, 1.0, 0.1],
        [-0.2, 0.0, 0.1, 0.1, 0.1, -0.2, -0.7, 0.1, 0.1, 1.0],
    ]
)
_OTHER_SIDE = np.array(
    [
        [-0.5, 0.2, -0.1, 0.0, -0.1, -0.6, 0.2, 0.1, 0.1, 0.1],
        [0.2, 0.5, -0.1, 0.3, 0.0, 0.3, -0.1, 0.1, -0.1, -0.2],
        [-0.1, -0.1, 0.6, -0.1, -0.2, 0.1, -0.3, -0.3, 0.1, 0.1],
        [0.0, 0.3, -0.1, 0.9, 0.4, -0.2, -0.1, 0.3, 0.4, 0.2],
        [-0.1, 0.0, -0.2, 0.4, 0.8, -0.1, -0.1, 0.1, 0.1, 0.0],
        [-0.6, 0.3, 0.1, -0.2, -0.1, -0.3, 0.1, 0.0, -0.1, 0.1],
        [0.2, -0.1, -0.3, -0.1, -0.1, 0.1, 0.2, 0.0, -0.2, -0.1],
        [0.1, 0.1, -0.3, 0.3, 0.1, 0.0, 0.0, 0.2, 0.1, -0.1],
        [0.1, -0.1, 0.1, 0.4, 0.1, -0.1, -0.2, 0.1, 0.8, 0.2],
        [0.1, -0.2, 0.1, 0.2, 0.0, 0.1, -0.1, -0.1, 0.2, 0.0],
    ]
)
# hips-small 0.3.0 on 40 films of virtual patients, mixed of people that it learnt from, after one shift a picture. What
# is left by shift and tilt is that on people that it never met, and so are femora's lean and spreads: there they lean
# forwards by 5 mm, of all four people whose femora were looked at, and on those it learnt from by 0.8.
NETWORK_MAPS = MapErrors(
    hip=(2.0, 4.4, 2.5, 0.9, 3.5),
    femur=(3.2, 4.9, 5.0, 1.0, 8.0),
    lean_mm=5.0,
    same_side=_SAME_SIDE,
    other_side=_OTHER_SIDE,
    of_person=0.5,  # of shifts 0.1, of tilts 0.3 to 0.6, of thickness 0.9
    residual_mm={"hip": 2.3, "femur": 1.1},
    across_mm=1.5,  # the networks' pixel
    independent_mm2=1000.0,
    outline_mm=0.5,
    independent_mm={"hip": 10.0, "femur": 2.5},
    too_sure=(
        1.25,
        1.25,
    ),  # on the films of `wide`, of people whom networks and models never met; 0.9 on those they know
)
# Maps without errors, on pixels of 1.5 mm: what is left is the pixels' and the shape models'.
EXACT_MAPS = MapErrors(
    hip=(0.0,) * 5,
    femur=(0.0,) * 5,
    lean_mm=0.0,
    same_side=np.eye(10),
    other_side=np.zeros((10, 10)),
    of_person=0.0,
    residual_mm={"hip": 0.3, "femur": 0.3},
    across_mm=0.3,
    independent_mm2=10.0,
    outline_mm=0.5,
    independent_mm={"hip": 20.0, "femur": 20.0},
    too_sure=(1.0, 1.85),  # likewise: shapes of other people are no model's
)

Spread = tuple[float, float]  # mean, standard deviation


@dataclass(frozen=True, kw_only=True)
class BodyPrior:
    """What bones know before the film; switches leave a term out."""

    errors: MapErrors = NETWORK_MAPS
    outlines: bool = True
    wider_femora: bool = True  # by what their people do not show, as `smooth_modes.py` has it
    size_tells_distance: bool = False  # it is off by more than the population's mean: `training/JOINT.md`
    joints: bool = True
    sides: bool = True
    # Head's centre less the socket's in the hip's frame, in left form, and each coordinate's spread; the socket's
    # radius less the head's. Of virtual patients -1.1, 0.4, -0.9 mm with 0.8, 0.4, 0.8 and 1.3 with 0.3; the radii of
    # 22 people of llp26 differ by 0.8 mm with 1.1. Cartilage is 4.2 mm with 0.9 at the roof (Lequesne et al., Ann Rheum
    # Dis 63:1145, 2004), so that real heads stand apart by as much again.
    head_mm: tuple[float, float, float] = (-1.0, 0.3, -0.8)
    head_spread_mm: float = 1.2
    room_mm: float = 1.3
    room_spread_mm: float = 0.7
    # Degrees a leg is turned forwards, outwards and inwards; as people lie, of `training/patients/posture.py`
    posture: tuple[Spread, Spread, Spread] | None = ((4.0, 7.0), (3.0, 6.5), (-3.0, 15.0))

    @classmethod
    def of_networks(cls, femora_lean_mm: float | None) -> BodyPrior:
        """Of networks whose maps have this mean lean of femora and else the errors of NETWORK_MAPS; None: that, too."""
        return cls() if femora_lean_mm is None else cls(errors=replace(NETWORK_MAPS, lean_mm=femora_lean_mm))

    def shape_spread(self, kind: str, count: int) -> np.ndarray:
        """(count,) standard deviations of coefficients among people who are not in the model.

        Femora come from two dozen people, and heads are as large as their sockets: ours.
        """
        if kind == "hip":
            return np.ones(count)
        return np.r_[FEMUR_SIZE_SPREAD, np.full(count, FEMUR_SPREAD)][:count]

    def alike(self, kind: str, count: int) -> np.ndarray:
        """(count,) correlations of a mode's coefficients on both sides.

        Of hips measured on the 57 people of rhan40 and llp26 with both; of femora ours, as no set has both: left and
        right ones are about a millimetre apart where people are five apart.
        """
        if kind == "femur":
            return np.full(count, FEMORA_ALIKE)
        return HIPS_ALIKE * np.exp(-np.arange(count) / HIPS_ALIKE_MODES)


HIPS_ALIKE, HIPS_ALIKE_MODES = 0.97, 60.0
FEMORA_ALIKE = 0.96
FEMUR_SIZE_SPREAD, FEMUR_SPREAD = 2.5, 1.3  # of the first mode, which is size, and of the others
