"""Recipes of trained things: TOML files in `recipes/`. Every knob is explained here, below its field.

    recipe = read_recipe(Path("training/recipes/small_depth.toml"))
    recipe.task, recipe.films.size_px, recipe.learning.loss

A recipe names every knob of [films], [learning] and, for pretraining, [masking]; [network] may leave to the network's
own defaults what it does not name.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.errors import Refusal, meant
from DualFaceReconLib.networks.depth import DepthSettings
from DualFaceReconLib.networks.ear import EarSettings
from DualFaceReconLib.networks.segmentation import SegmentationSettings
from DualFaceReconLib.networks.settings import settings_from
from training.learning.augment import GREY_CHANGES
from training.learning.losses import DEPTH_LOSSES
from training.learning.rivals import RivalSettings
from training.learning.volume_losses import VOLUME_LOSSES
from training.patients.kept_out import kept_out_people
from training.patients.posture import POSTURES
from training.patients.shape_variety import SHAPES
from training.patients.variety import VARIETIES

# What a recipe of each task may name; `tasks.py` has what it does
SETTINGS = {
    "depth": DepthSettings,
    "segmentation": SegmentationSettings,
    "pretrain": DepthSettings,
    "ear": EarSettings,
    "rival": RivalSettings,
}
OF_VERTEBRAE = ("ear", "rival")
LOSSES = {
    "depth": tuple(DEPTH_LOSSES),
    "segmentation": ("segmentation",),
    "pretrain": ("filled_in",),
    "ear": tuple(VOLUME_LOSSES),
    "rival": tuple(VOLUME_LOSSES),
}
# What stands in a file for a field of a type, and how a refusal calls it
VALUES = {
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "bool": (bool, "true or false"),
    "str": (str, "a text"),
    "str | tuple[str, ...]": ((str, list), "a text or a list of texts"),
}


def knob(*, above: float = -math.inf, least: float = -math.inf, most: float = math.inf) -> Any:
    """A field with the values that it may have."""
    return field(metadata={"above": above, "least": least, "most": most})


@dataclass(frozen=True, kw_only=True)
class TrainingFilms:
    """[films]: the films that a network learns from."""

    size_px: int = knob(least=1)
    """A side of the square that the network sees: a multiple of the network's stride."""

    mm_per_pixel: float = knob(above=0)
    """Of that square, at the nominal bone plane. size_px * mm_per_pixel = 384 mm shows a whole pelvis film."""

    projections: int = knob(least=1)
    """New patients and rigs an epoch. An epoch is projections * reuse films, of one's own films or cases as many. Where
    a network learns by time, nothing happens between epochs."""

    reuse: int = knob(least=1)
    """Films of each projection, a new exposure each."""

    pool: int = knob(least=1)
    """Projections that are shuffled together: whole people, so a multiple of `postures`."""

    postures: int = knob(least=1)
    """Projections of each person, every one in another posture, on another rig and in other flesh. The paper has 4 to 5
    films a person. A posture costs a tenth of what a new person does."""

    posture: str
    """How virtual patients lie: "wide", or "usual", in which no leg is extended, nobody stands, and which the shipped
    networks were trained by. See `training/patients/posture.py`."""

    shapes: str
    """How unlike bones are: "usual", by which the frozen films are made; "one-size", where both femora of a patient
    have one size; "wide", where they are turned and bent as people's are, too. See
    `training/patients/shape_variety.py`."""

    variety: str
    """What films show: "wide", or "usual", without crops, bars, words, JPEG, folds, stool and the like. FILMS.md lists
    them; see `training/patients/variety.py`."""

    without: str | tuple[str, ...]
    """People kept out: a set of `recipes/judging.toml`, as "choosing", or a list of people, as "rhan40/s05"."""

    watched: int = knob(least=1)
    """Films of those people, on which every epoch is measured; of one's own films and cases a fifth at most."""


@dataclass(frozen=True, kw_only=True)
class VertebraFilms:
    """[films] of "ear" and "rival": pairs of films of virtual vertebrae, and the cubes that they are laid back into."""

    side: int = knob(least=1)
    """Voxels along a cube: a multiple of the network's stride."""

    voxel_mm: float = knob(above=0)
    """Of the cube. side * voxel_mm = 112 mm holds the largest vertebra that was measured, 102 mm, and a wrong click."""

    projections: int = knob(least=1)
    """New vertebrae an epoch. An epoch is projections * reuse cubes."""

    reuse: int = knob(least=1)
    """Times that the cubes of a pair are learnt from in an epoch, augmented anew each time."""

    pool: int = knob(least=1)
    """Pairs that are shuffled together."""

    in_situ: float = knob(least=0, most=1)
    """Share of vertebrae that stand among their neighbours, in flesh; the others alone, as in the paper. See
    VERTEBRAE.md."""

    apart_degrees: float = knob(above=0, most=180)
    """Between the films: 90 is a frontal film and a lateral."""

    oblique: float = knob(least=0, most=1)
    """Share of pairs that are 60, 80, 110, 120 or 140 degrees apart instead."""

    click_mm: float = knob(least=0)
    """Standard deviation of the clicked centres on both films."""

    angle_degrees: float = knob(least=0)
    """Standard deviation of what is believed of the angle between the films."""

    distance_mm: float = knob(least=0)
    """Standard deviation of what is believed of every distance."""

    mean_hu: float = knob()
    """What is 0 in the network's units: the mean of the training volumes, most of which are no bone and 0 HU."""

    deviation_hu: float = knob(above=0)
    """What is 1 in them: the standard deviation of the training volumes."""

    without: str | tuple[str, ...]
    """People kept out, as "totalseg/s0328": every epoch is measured on vertebrae made of them alone."""

    watched: int = knob(least=1)
    """Vertebrae of those people, on which every epoch is measured."""


@dataclass(frozen=True, kw_only=True)
class Learning:
    """[learning]: how a network learns."""

    loss: str
    """Of depths `si_independent`, `si_dependent`, `casi_independent` or `casi_dependent`: Equations 1 to 4 of the
    paper, of which the last but one was its best. Of vertebrae `ear`, Equation 10 of its paper, `ear_absolute` with the
    other reading of its frequency loss, or `reconstruction`, `with_edge` and `with_frequency`: its first term, its
    first two, its first three. Of masks `segmentation`: Dice semimetric and cross-entropy with label
    smoothing, at every resolution. Of pretraining `filled_in`: the mean squared error on hidden patches, by each one's
    own mean and spread."""

    batch: int = knob(least=1)
    """Films of a step, in each process."""

    learning_rate: float = knob(above=0)
    """AdamW's at the top of a cosine. The paper has 2e-4."""

    weight_decay: float = knob(least=0)
    """AdamW's."""

    clip: float = knob(above=0)
    """The gradient's norm at most."""

    average: float = knob(least=0, most=1)
    """Decay a step of the weights' moving average, which is what is measured and kept."""

    strength: float = knob(least=0, most=1)
    """Of augmentation: 0 leaves films as they are, and cubes too."""

    changes: int = knob(least=0, most=len(GREY_CHANGES))
    """Of a film's grey values, in augmentation."""

    bfloat16: bool
    """Half precision: twice as fast on GPUs and on processors with AMX."""


@dataclass(frozen=True, kw_only=True)
class EpochLearning(Learning):
    """[learning] by epochs: the rate goes down in cosines that start anew, each longer than the one before (SGDR)."""

    epochs: int = knob(least=1)
    """To end at the bottom of a cycle: first_cycle, or that * (1 + cycle_factor), * (1 + cycle_factor + its square) ...
    The paper has 630."""

    first_cycle: int = knob(least=1)
    """Epochs of the first cycle of SGDR, the paper's T_0, which is 10."""

    cycle_factor: int = knob(least=1)
    """Each cycle is so many times as long as the one before. The paper has 2."""


@dataclass(frozen=True, kw_only=True)
class TimeLearning(Learning):
    """[learning] by time: the rate rises for a moment, then goes down in one cosine to 0 by the end of `--minutes`."""

    schedule: str
    """ "time". A recipe that has epochs does not name it."""

    views: int = knob(least=1)
    """Times that a film is learnt from at most, where the network learns faster than films come; augmented anew each
    time."""


@dataclass(frozen=True, kw_only=True)
class Masking:
    """[masking]: what of a film is hidden from a network that is pretrained."""

    patch_px: int = knob(least=2)
    """A side of a patch: divides size_px. SparK has the stride of the encoder's last stage (Tian et al., ICLR 2023)."""

    share: float = knob()
    """Of the patches that are hidden: some and not all. SparK has 0.6."""


@dataclass(frozen=True)
class Recipe:
    """One trained thing."""

    task: str
    """What the network learns: "depth", "segmentation", "pretrain", "ear", or as another network "rival"."""

    seed: int = knob(least=0)
    """Of the first weights, the films and all that is drawn while the network learns."""

    network: dict[str, Any]
    """Settings of the network, explained in `DualFaceReconLib/networks`: `DepthSettings`, `SegmentationSettings`,
    `EarSettings`; those of "rival" in `training/learning/rivals.py`."""

    films: TrainingFilms | VertebraFilms

    learning: Learning


@dataclass(frozen=True)
class PretrainRecipe(Recipe):
    """One encoder that learns from films without labels."""

    masking: Masking


def read_recipe(path: Path) -> Recipe:
    """The recipe in a file; Refusal where a name is unknown or missing, or a value is none that it may have."""
    try:
        sections = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Refusal(f"{path.name} cannot be read as a recipe ({error}): take one of training/recipes.") from error
    try:
        return recipe_of(sections)
    except Refusal as refusal:
        raise Refusal(f"{path.name}: {refusal}") from refusal


def recipe_of(sections: Mapping[str, Any]) -> Recipe:
    """The recipe that the sections of a file make; Refusal as of `read_recipe`."""
    task = sections.get("task")
    kind = PretrainRecipe if task == "pretrain" else Recipe
    _check_names("The recipe", sections, kind, "section")
    if not isinstance(task, str) or task not in SETTINGS:
        raise Refusal(f"The task {task!r} is unknown: {meant(str(task), SETTINGS)}")
    knobs: dict[str, Any] = {name: _knob(Recipe, name, sections[name]) for name in ("task", "seed")}
    knobs["films"] = section_of("films", VertebraFilms if task in OF_VERTEBRAE else TrainingFilms, sections["films"])
    knobs["learning"] = _learning(sections["learning"])
    knobs["network"] = _network(task, sections["network"])
    if knobs["learning"].loss not in LOSSES[task]:
        loss = knobs["learning"].loss
        raise Refusal(f"[learning] loss = {loss!r} is none for {task}: {meant(loss, LOSSES[task])}")
    if task in OF_VERTEBRAE:  # who there is to be kept out is known where the vertebrae are read
        return Recipe(**knobs)
    if knobs["films"].pool % knobs["films"].postures:
        raise Refusal("[films] pool must be a multiple of postures, so that it holds whole people.")
    for name, known in (("posture", POSTURES), ("shapes", SHAPES), ("variety", VARIETIES)):
        chosen = getattr(knobs["films"], name)
        if chosen not in known:
            raise Refusal(f"[films] {name} = {chosen!r} is unknown: {meant(chosen, known)}")
    try:
        kept_out_people(knobs["films"].without)
    except Refusal as refusal:
        raise Refusal(f"[films] without: {refusal}") from refusal
    if kind is Recipe:
        return Recipe(**knobs)
    knobs["masking"] = section_of("masking", Masking, sections["masking"])
    _check_masks(knobs["films"].size_px, knobs["masking"])
    return PretrainRecipe(**knobs)


def _network(task: str, values: Any) -> dict[str, Any]:
    """Settings of a task's network, as they stand in the file."""
    _check_names("[network]", values, SETTINGS[task], "setting", all_of_them=False)
    try:
        settings = settings_from(SETTINGS[task], values)
    except ValueError as error:
        raise Refusal(f"[network] cannot be built, {error}.") from error
    if task in OF_VERTEBRAE:
        return dict(values)
    if task == "pretrain" and (settings.bones, settings.faces) != (1, 1):
        raise Refusal("[network] needs bones = 1 and faces = 1, as one film is predicted.")
    if task != "pretrain" and settings.bones != len(BONES):
        raise Refusal(f"[network] needs bones = {len(BONES)}, as films have the truth of {', '.join(BONES)}.")
    return dict(values)


def _learning(values: Any) -> Learning:
    """How a network learns: by time where a schedule is named, else by epochs."""
    if not isinstance(values, dict) or "schedule" not in values:
        return section_of("learning", EpochLearning, values)
    learning = section_of("learning", TimeLearning, values)
    if learning.schedule != "time":
        raise Refusal(f"[learning] schedule = {learning.schedule!r} is unknown: {meant(learning.schedule, ['time'])}")
    return learning


def _check_masks(size_px: int, masking: Masking) -> None:
    """Patches fit a film, and some of them stay visible."""
    if size_px % masking.patch_px:
        raise Refusal("[masking] patch_px must divide size_px.")
    patches = (size_px // masking.patch_px) ** 2
    if not 0 < round(masking.share * patches) < patches:
        raise Refusal(f"[masking] share must hide some of the {patches} patches and not all.")


def section_of(name: str, kind: type, values: Any) -> Any:
    """A dataclass of a section's values, each looked at."""
    _check_names(f"[{name}]", values, kind, "knob")
    try:
        return kind(**{key: _knob(kind, key, value) for key, value in values.items()})
    except Refusal as refusal:
        raise Refusal(f"[{name}] {refusal}") from refusal


def _check_names(where: str, values: Any, kind: type, what: str, all_of_them: bool = True) -> None:
    """A section has the names of a dataclass's fields and no others."""
    if not isinstance(values, dict):
        raise Refusal(f"{where} is no section of names and values, but {values!r}.")
    names = [knob.name for knob in fields(kind)]
    missing = [name for name in names if name not in values] if all_of_them else []
    for name in values:
        if name not in names:
            raise Refusal(f"{where} has no {what} {name!r}: {meant(name, missing or names)}")
    if missing:
        raise Refusal(f"{where} lacks {', '.join(missing)}.")


def _knob(kind: type, name: str, value: Any) -> Any:
    """A value of a field: of its type, inside its limits."""
    (described,) = (knob for knob in fields(kind) if knob.name == name)
    types, words = VALUES[described.type]
    fits = isinstance(value, types) and isinstance(value, bool) == (types is bool)
    if not fits or (isinstance(value, list) and not all(isinstance(item, str) for item in value)):
        raise Refusal(f"{name} must be {words}, not {value!r}.")
    limits = described.metadata
    if limits:
        inside = limits["least"] <= value <= limits["most"] and limits["above"] < value < math.inf
        if not inside:
            raise Refusal(f"{name} must be {words}{_in_words(limits)}, not {value!r}.")
    return tuple(value) if isinstance(value, list) else float(value) if described.type == "float" else value


def _in_words(limits: Mapping[str, float]) -> str:
    words = {"above": "more than {:g}", "least": "{:g} or more", "most": "{:g} at most"}
    return "".join(f", {words[name].format(limit)}" for name, limit in limits.items() if math.isfinite(limit))
