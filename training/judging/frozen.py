"""The frozen films, by which everything is judged: real people of `vsd_dev`, and kept-out ones, plain, wide and varied.

`recipes/judging.toml` says who and how many. The truth of a film does not depend on how its grey values are simulated.
A set that is made again is compared with what is frozen of it (`frozen_values.py`).
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from DualFaceReconLib.bonemaps import BONES, kind_and_side
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.meshes import MIRROR, Mesh, mirrored
from DualFaceReconLib.parallel.work import Road
from DualFaceReconLib.shape.shapemodel import ShapeModel, load_shape_models, model_of
from training.anatomy.generalisation import centred, whole_target
from training.anatomy.lumbar import lumbar_bodies
from training.anatomy.remeshing import read_ply
from training.judging.frozen_values import FROZEN, differences, read_frozen
from training.judging.quasi_newton import fit_by_lbfgs
from training.patients.kept_out import JUDGING
from training.patients.population import load_population
from training.patients.virtual import VirtualPatient
from training.raycast import penetration_mm
from training.simulate import Series, one_thread, simulate, take_patient, write

RECIPE = JUDGING
# Person -> bone -> landmark, RAS mm in the CT's frame, by fits of the shape models. They decide how a person lies on
# the film, and are kept because a fit differs by some hundredths of a millimetre with the number of cores.
LANDMARKS = Path(__file__).parents[1] / "recipes" / "judging_landmarks.json"
MODELS = Path(__file__).parents[2] / "Resources" / "Models"

# A film's posture is the one in the scanner, squared to the film and varied a little; standard deviations in degrees.
BODY_SPREAD = (5.0, 2.0, 2.0)  # tilt, obliquity, rotation
LEG_SPREAD = (3.0, 3.0, 9.0)  # flexion, abduction, rotation
# In the set `supine` the pelvis and each leg vary apart, about how they lay in the scanner: people lie on a table, and
# do not tilt as a whole. Ours.
PELVIS_SPREAD = (4.0, 2.0, 2.0)
LEG_APART_SPREAD = (5.0, 3.0, 9.0)
TRIES = 12
CLOSER_MM = 0.3  # by which bones that touch in the CT may come closer


def make_frozen_set(
    which: str,
    bones: Path,
    cache: Path,
    out: Path,
    jobs: int = 1,
    world: str = "seen",
    say: Callable[[str], None] = print,
    road: Road | None = None,
) -> tuple[list[Path], list[str]]:
    """Writes the missing cases of a set of `recipes/judging.toml`; gives all folders, and how they differ.

    In another `world` only the grey values differ, and they are not compared.
    """
    recipes = tomllib.loads(RECIPE.read_text(encoding="utf-8"))
    recipe = recipes[which]
    if "set" in recipe:
        people = recipes[recipe.get("people_of", which)]["people"]
        folders = _films_of_real_people(recipe, people, bones, out, world, say)
    else:
        kept = load_population(bones, cache, recipes[recipe.get("people_of", which)]["people"], say=say)
        series = Series(
            seed=recipe["seed"],
            size_px=recipe["size_px"],
            world=world,
            plain=recipe["plain"],
            posture=recipe.get("posture", "usual"),
        )
        folders = simulate(kept, recipe["films"], series, out, jobs, say, road)
    return folders, differences(which, folders, read_frozen(FROZEN), grey_too=world == "seen")


def _films_of_real_people(
    recipe: Mapping, people: Sequence[str], bones: Path, out: Path, world: str, say: Callable[[str], None]
) -> list[Path]:
    models = load_shape_models(MODELS)
    series = Series(seed=recipe["seed"], size_px=recipe["size_px"], world=world, plain=True)
    folders = []
    for number, person in enumerate(people):
        mine = [out / f"{person}_{film:02d}" for film in range(recipe["films_a_person"])]
        folders += mine
        missing = [film for film, folder in enumerate(mine) if not (folder / "geometry.json").exists()]
        if not missing:
            continue
        real_person = RealPerson(bones / recipe["set"] / person, models)
        unscored = recipe["unscored"].get(person, [])
        for film in missing:
            seed = [recipe["seed"], number, film]
            rng = np.random.default_rng([*seed, 0])
            patient = real_person.posed_apart(rng) if recipe.get("apart") else real_person.posed(rng)
            metadata = {"person": f"{recipe['set']}/{person}", "unscored": unscored, "seed": seed}
            with one_thread():
                taken = take_patient(patient, seed, series, metadata)
                write(taken, taken.film(series), mine[film])
        say(f"{person}: {len(missing)} films")
    return folders


class RealPerson:
    """A person of a set with whole bones in their true pose: hips, sacrum, femora."""

    def __init__(self, folder: Path, models: Mapping[str, ShapeModel]) -> None:
        files = {bone: folder / f"{bone}.ply" for bone in (*BONES, "sacrum")}
        self.name = folder.name
        self.bones = {bone: read_ply(path) for bone, path in files.items() if path.exists()}
        if not self.bones:
            raise Refusal(f"There are no bones in {folder}: CONTRIBUTING.md says where they come from.")
        frozen = json.loads(LANDMARKS.read_text(encoding="utf-8")).get(self.name, {})
        self.landmarks = {
            bone: {name: np.array(place) for name, place in frozen[bone].items()}
            if bone in frozen
            else _landmarks(bone, self.bones[bone], models)
            for bone in BONES
            if bone in self.bones
        }
        for missing, other in (("femur_left", "femur_right"), ("femur_right", "femur_left")):
            if missing not in self.bones:
                self._stand_in(missing, other)
        middle = np.mean([self.landmarks[f"hip_{side}"]["acetabular_centre"] for side in ("left", "right")], axis=0)
        squared = self._squared()
        self.bones = {bone: ((v - middle) @ squared.T, triangles) for bone, (v, triangles) in self.bones.items()}
        self.landmarks = {
            bone: {name: squared @ (place - middle) for name, place in marks.items()}
            for bone, marks in self.landmarks.items()
        }
        self.gap = {
            side: penetration_mm(_upper(self.bones[f"femur_{side}"][0]), self.bones[f"hip_{side}"]).min()
            for side in ("left", "right")
        }

    def _squared(self) -> np.ndarray:
        """The rotation that lays both hip centres level, as for a film; the tilt in the scanner stays."""
        left, right = (self.landmarks[f"hip_{side}"]["acetabular_centre"] for side in ("left", "right"))
        across = right - left
        turn = -np.arctan2(across[1], across[0])
        level = np.arctan2(across[2], np.hypot(across[0], across[1]))
        return Rotation.from_euler("zy", [turn, level]).as_matrix()

    def posed(self, rng: np.random.Generator) -> VirtualPatient:
        """The person in a posture near the one in the scanner."""
        tilt, obliquity, turn = (float(rng.normal(0, spread)) for spread in BODY_SPREAD)
        body = Rotation.from_euler("xyz", [tilt, obliquity, turn], degrees=True).as_matrix()
        metadata: dict = {"person": self.name, "body_degrees": [tilt, obliquity, turn]}
        legs = {}
        for side in ("left", "right"):
            legs[side], metadata[f"leg_{side}_degrees"] = self._leg(side, rng)
        return self._placed(body, legs, metadata, rng)

    def posed_apart(self, rng: np.random.Generator) -> VirtualPatient:
        """The person's pelvis and legs near where they lay in the scanner, each turned on its own.

        A leg that comes too near to the hip is drawn again, but for its flexion; where that does not help, the pelvis.
        """
        flexion = {side: float(rng.normal(0, LEG_APART_SPREAD[0])) for side in ("left", "right")}
        for _ in range(TRIES):
            degrees = [float(rng.normal(0, spread)) for spread in PELVIS_SPREAD]
            pelvis = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
            legs = {side: self._leg_apart(side, pelvis, flexion[side], rng) for side in ("left", "right")}
            if None not in legs.values():
                break
        else:
            raise Refusal(f"The legs of {self.name} fit the hips in no posture that was drawn: take another seed.")
        metadata = {"person": self.name, "pelvis_degrees": degrees}
        metadata |= {f"leg_{side}_degrees": turned for side, (_, turned) in legs.items()}
        return self._placed(pelvis, {side: pelvis.T @ leg for side, (leg, _) in legs.items()}, metadata, rng)

    def _placed(
        self, pelvis: np.ndarray, legs: Mapping[str, np.ndarray], metadata: dict, rng: np.random.Generator
    ) -> VirtualPatient:
        """The person, each leg turned about its head, and then all of it with the pelvis about the origin."""
        bones, landmarks = {}, {}
        for bone in ("hip_left", "hip_right", "sacrum"):
            vertices, triangles = self.bones[bone]
            bones[bone] = vertices @ pelvis.T, triangles
        for side, leg in legs.items():
            head = self.landmarks[f"femur_{side}"]["femoral_head_centre"]
            vertices, triangles = self.bones[f"femur_{side}"]
            bones[f"femur_{side}"] = ((vertices - head) @ leg.T + head) @ pelvis.T, triangles
            marks = self.landmarks[f"femur_{side}"].items()
            landmarks[f"femur_{side}"] = {name: ((place - head) @ leg.T + head) @ pelvis.T for name, place in marks}
            marks = self.landmarks[f"hip_{side}"].items()
            landmarks[f"hip_{side}"] = {name: place @ pelvis.T for name, place in marks}
        spine = lumbar_bodies(bones["sacrum"][0], bones["sacrum"][1], 1.0, rng)
        ordered = {bone: bones[bone] for bone in (*BONES, "sacrum")}
        return VirtualPatient(bones={**ordered, **spine}, landmarks=landmarks, metadata=metadata)

    def _leg(self, side: str, rng: np.random.Generator) -> tuple[np.ndarray, list[float]]:
        """A rotation about the head that brings the femur no closer to the hip, and its degrees; none if none does."""
        for _ in range(TRIES):
            degrees = [float(rng.normal(0, spread)) for spread in LEG_SPREAD]
            turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
            if self._has_room(side, turn):
                return turn, degrees
        return np.eye(3), [0.0, 0.0, 0.0]

    def _leg_apart(
        self, side: str, pelvis: np.ndarray, flexion: float, rng: np.random.Generator
    ) -> tuple[np.ndarray, list[float]] | None:
        """A leg's rotation beside a turned pelvis, of a given flexion, and its degrees; None if every try touches."""
        for _ in range(TRIES):
            degrees = [flexion, *(float(rng.normal(0, spread)) for spread in LEG_APART_SPREAD[1:])]
            turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
            if self._has_room(side, pelvis.T @ turn):
                return turn, degrees
        return None

    def _has_room(self, side: str, turn: np.ndarray) -> bool:
        """Whether a femur that is turned about its head, beside the pelvis as it lay, comes no closer to the hip."""
        centre = self.landmarks[f"femur_{side}"]["femoral_head_centre"]
        upper = _upper(self.bones[f"femur_{side}"][0]) - centre
        gap = penetration_mm(upper @ turn.T + centre, self.bones[f"hip_{side}"]).min()
        return bool(gap >= min(self.gap[side], 0) - CLOSER_MM)

    def _stand_in(self, missing: str, other: str) -> None:
        """The other femur's mirror, its head where the missing one's socket is."""
        sides = kind_and_side(missing)[1], kind_and_side(other)[1]
        sockets = [self.landmarks[f"hip_{side}"]["acetabular_centre"] for side in sides]
        vertices, triangles = mirrored(self.bones[other])
        translation = sockets[0] - sockets[1] * MIRROR
        self.bones[missing] = vertices + translation, triangles
        self.landmarks[missing] = {name: place * MIRROR + translation for name, place in self.landmarks[other].items()}


def _landmarks(bone: str, mesh: Mesh, models: Mapping[str, ShapeModel]) -> dict[str, np.ndarray]:
    model = model_of(bone, models)
    fitted = fit_by_lbfgs(model, whole_target(mesh), centred(model, mesh), settled=0.01)
    return model.landmark_points(fitted.vertices(model))


def _upper(femur: np.ndarray) -> np.ndarray:
    """The vertices of a femur that may meet the pelvis."""
    return femur[femur[:, 2] > femur[:, 2].max() - 110]
