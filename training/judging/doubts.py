"""`python -m training verdicts`: whether bones that are wrong are doubted, on films as they are and spoilt on purpose.

    judged = judge(cases_in(folder), Path("Resources/Models"), out)
    text = as_markdown(judged)

Every bone is completed as the product does it, after one shift a picture of its maps to the true depths, and its ASSD
is that of the evaluation: completed against true bone, both inside the film. Limits are chosen by the bones of some
people and stated by those of the others; a bone is mixed of several people's, and counts to the one whose it mostly is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from DualFaceReconLib.bonemaps import BoneMaps, Window
from DualFaceReconLib.bundle.manifest import load_manifest
from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.evidence import evidence_of
from DualFaceReconLib.film.radiograph import Radiograph, read_radiograph
from DualFaceReconLib.geometry import ProjectionGeometry, Provenance
from DualFaceReconLib.meshes import Mesh, area_mm2
from DualFaceReconLib.metrics import compare_surfaces, picture_shift_mm
from DualFaceReconLib.prediction import Prediction, maps_of, seen_on
from DualFaceReconLib.reconstruction import Reconstructor
from DualFaceReconLib.verdicts import LIMITS, NOT_USABLE, is_doubted, verdict_of
from training.cases import Case, read_case
from training.judging.evaluate import LEAST_SEEN_MM2, SAMPLES, on_film
from training.judging.nearness import quick_distances
from training.judging.spoiling import AS_IT_IS, KINDS, OF_FILMS, OF_MASKS, SPOILT, spoilt_film, spoilt_masks
from training.judging.stumps import left_of, stump_of
from training.patients.kept_out import kept_out_people

RIGHT_MM, WRONG_MM = 3.0, 6.0  # ASSD of bones that should be good, and of those that should not
SEED = 18  # of the deal of people into those by whom limits are chosen and those by whom they are stated
SPOILT_A_CASE = 2  # ways in which each film is spoilt
ALARMS_OF_ONE = 0.01  # of right bones: what a single number may doubt
WRONG_BEYOND = 0.9  # of bones beyond a number's limit of what is not usable: that are wrong
FACTORS = (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0)  # of all limits, for the trade-off
TRUE = Provenance("user", "the truth of this case")


@dataclass(frozen=True, kw_only=True)
class JudgedBone:
    """A bone of a film that is as it is, or spoilt."""

    case: str
    kind: str  # of spoiling.KINDS
    bone: str
    person: str  # whose bone it mostly is
    assd_mm: float  # after one shift a picture
    evidence: Mapping[str, float]


# Measuring


def judge(
    folders: Sequence[Path], bundle: Path, out: Path, every: int = 1, say: Callable[[str], None] = print
) -> list[JudgedBone]:
    """All bones of every so many cases; what was measured of a case before, by the same bundle, is read from `out`."""
    seals = {name: seal.sha256 for name, seal in load_manifest(bundle).files.items()}
    reconstructor: Reconstructor | None = None
    judged = []
    for number, folder in list(enumerate(folders))[::every]:
        path = out / "measured" / f"{folder.name}.json"
        kinds = kinds_of(number)
        key: dict[str, Any] = {"case": str(folder.resolve()), "bundle": seals, "kinds": kinds}
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if kept.get("key") != key:
            reconstructor = reconstructor or Reconstructor(bundle)
            bones = [asdict(bone) for bone in _of_case(read_case(folder), kinds, number, reconstructor)]
            kept = {"key": key, "bones": bones}
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(kept))
            say(f"{number + 1} of {len(folders)} cases")
        judged += [JudgedBone(**bone) for bone in kept["bones"]]
    return judged


def kinds_of(number: int) -> list[str]:
    """How the film of a case is taken: as it is, and spoilt in some ways, each as often as the others."""
    apart = len(SPOILT) // SPOILT_A_CASE
    return [AS_IT_IS, *(SPOILT[(number + apart * turn) % len(SPOILT)] for turn in range(SPOILT_A_CASE))]


@dataclass(frozen=True, kw_only=True)
class TakenFilm:
    """A case's film in one of its ways, and what the networks see in it."""

    radiograph: Radiograph
    prediction: Prediction
    masks: np.ndarray | None  # (bones, rows, cols) bool, where somebody painted them
    true: BoneMaps  # of the pixels that are left
    shown: ProjectionGeometry  # the true one of these pixels


def taken(
    case: Case, kind: str, number: int, reconstructor: Reconstructor, seen: Prediction | None = None
) -> TakenFilm:
    """A film in one of KINDS; `seen` is what the networks see in it as it is, if that is known."""
    radiograph, true, masks = read_radiograph(case.radiograph), case.maps, None
    rng = np.random.default_rng([number, KINDS.index(kind)])
    window: Window = tuple(slice(0, n) for n in radiograph.geometry.size_px)
    if kind in OF_FILMS:
        spoilt = spoilt_film(kind, radiograph, true.mask.any(axis=0), rng)
        radiograph, window, seen = spoilt.radiograph, spoilt.window, None
    prediction = seen or reconstructor.predict(radiograph)
    if kind in OF_MASKS:
        masks = spoilt_masks(kind, maps_of(prediction, radiograph), rng)
    return TakenFilm(
        radiograph=radiograph,
        prediction=prediction,
        masks=masks,
        true=_within(true, window),
        shown=case.geometry.cropped([part.start for part in window], [part.stop - part.start for part in window]),
    )


def _of_case(case: Case, kinds: Sequence[str], number: int, reconstructor: Reconstructor) -> list[JudgedBone]:
    """Every way of a case's film; the networks are asked once for those that leave its pixels as they are."""
    seen = reconstructor.predict(read_radiograph(case.radiograph))
    return [
        bone
        for kind in kinds
        for bone in _of_film(case, kind, taken(case, kind, number, reconstructor, seen), reconstructor)
    ]


def _within(true: BoneMaps, window: Window) -> BoneMaps:
    """The truth of a part of the film."""
    return BoneMaps(
        bones=true.bones,
        mask=true.mask[(slice(None), *window)],
        front=true.front[(slice(None), *window)],
        back=true.back[(slice(None), *window)],
    )


def _of_film(case: Case, kind: str, film: TakenFilm, reconstructor: Reconstructor) -> list[JudgedBone]:
    """The bones that are completed, and of which the film shows enough; none where the film has no bone."""
    maps = maps_of(film.prediction, film.radiograph, film.masks)
    radiograph, maps = aligned(film.radiograph, maps, film.true.of(maps.bones))
    try:
        observed = reconstructor.surfaces(radiograph, maps)
        completed = reconstructor.complete(
            radiograph, observed, film.prediction, mask=film.masks, refused=lambda bone, why: None
        )
    except Refusal:
        return []
    searched = seen_on(reconstructor.networks.manifest, radiograph)
    evidence = evidence_of(
        completed, maps, radiograph.geometry, searched, film.prediction, masks_given=film.masks is not None
    )
    judged = []
    for bone, completion in completed.items():
        if bone not in case.meshes or bone in case.metadata.get("unscored", ()):
            continue
        truth = on_film(case.meshes[bone], film.shown)
        whole = on_film((completion.vertices, completion.triangles), film.shown)
        if area_mm2(*truth) < LEAST_SEEN_MM2:
            continue
        judged.append(
            JudgedBone(
                case=case.folder.name,
                kind=kind,
                bone=bone,
                person=person_of(case, bone),
                assd_mm=assd_mm(left_of(whole, stump_of(case, bone, reconstructor.models)), truth),
                evidence=evidence[bone],
            )
        )
    return judged


def aligned(radiograph: Radiograph, maps: BoneMaps, true: BoneMaps) -> tuple[Radiograph, BoneMaps]:
    """Film and maps after the ruler's one shift a picture; as they are where no pixel is bone in both."""
    valid = maps.mask & true.mask & ((maps.depths() > 0) & (true.depths() > 0)).all(axis=0)
    if not valid.any():
        return radiograph, maps
    shift = picture_shift_mm(maps.depths(), true.depths(), valid)
    distance = radiograph.geometry.object_distance_mm
    assert distance is not None  # every Radiograph has one
    nearer = min(max(distance - shift, 0.0), radiograph.geometry.sdd_mm / 2)  # no film is refused for a wild shift
    geometry = radiograph.geometry.at_object_distance(nearer, TRUE)
    return replace(radiograph, geometry=geometry), maps.shifted(shift)


def assd_mm(completed: Mesh, truth: Mesh) -> float:
    """As the evaluation has it; endless where nothing of the completed bone is on the film."""
    if not len(completed[1]):
        return float("inf")
    return compare_surfaces(completed, truth, SAMPLES, distances=quick_distances).assd_mm


def person_of(case: Case, bone: str) -> str:
    """Whose bone it mostly is; of a case that does not tell, the case's own name."""
    patient = case.metadata.get("patient", {})
    shares = patient.get("pelvis" if bone.startswith("hip") else "femora")
    return max(shares, key=shares.get) if shares else str(case.metadata.get("person", case.folder.name))


# Choosing and stating


def chosen_by() -> list[str]:
    """The people by whose bones limits are chosen: half of each set of those kept out of training."""
    rng = np.random.default_rng(SEED)
    people = sorted(kept_out_people("choosing"))
    chosen = []
    for name in sorted({person.split("/")[0] for person in people}):
        own = [person for person in people if person.startswith(f"{name}/")]
        chosen += rng.permutation(own)[: len(own) // 2].tolist()
    return sorted(chosen)


def limits_by(judged: Sequence[JudgedBone]) -> dict[str, dict[str, tuple[float, float]]]:
    """By kind of bone and code the numbers that the rule gives.

    Doubtful is what ALARMS_OF_ONE of right bones have at most; not usable, beyond that, where WRONG_BEYOND are wrong.
    """
    limits: dict[str, dict[str, tuple[float, float]]] = {}
    for kind, codes in LIMITS.items():
        limits[kind] = {}
        for code in codes:
            pairs = [
                (bone.evidence[code], bone.assd_mm)
                for bone in judged
                if bone.bone.startswith(kind) and code in bone.evidence
            ]
            right = [value for value, assd in pairs if assd < RIGHT_MM]
            doubtful = float(np.quantile(right, 1 - ALARMS_OF_ONE)) if right else float("inf")
            limits[kind][code] = doubtful, max(_mostly_wrong(pairs), doubtful)
    return limits


def _mostly_wrong(pairs: Sequence[tuple[float, float]]) -> float:
    """The smallest number beyond which most bones are wrong; endless where there is none."""
    least = float("inf")
    count = wrong = 0
    for value, assd in sorted(pairs, reverse=True):
        count, wrong = count + 1, wrong + (assd > WRONG_MM)
        if wrong >= WRONG_BEYOND * count:
            least = value
    return least


def as_markdown(judged: Sequence[JudgedBone]) -> str:
    """The tables: both halves of the people, kinds of films, single reasons, the trade-off, and what the rule gives."""
    people = chosen_by()
    halves = {
        "chosen by": [bone for bone in judged if bone.person in people],
        "stated by": [bone for bone in judged if bone.person not in people],
    }
    stated = halves["stated by"]
    head = (
        f"| | bones over {WRONG_MM:g} mm | doubted, % | not usable, % | {RIGHT_MM:g} to {WRONG_MM:g} mm | doubted, % | "
        f"under {RIGHT_MM:g} mm | doubted, % | not usable, % |"
    )
    parts = [f"Limits are chosen by bones of {', '.join(people)}, and stated by those of the other people kept out."]
    rows = [
        *((f"**{name}**, {kind}", _of(bones, kind)) for name, bones in halves.items() for kind in ("hip", "femur", "")),
        *((f"stated by, {kind}", [bone for bone in stated if bone.kind == kind]) for kind in KINDS),
    ]
    parts.append("\n".join([head, "|---" * 9 + "|", *(_row(name, bones, _grades) for name, bones in rows)]))

    def alone(code: str) -> Callable[[JudgedBone], tuple[bool, bool]]:
        return lambda bone: _grades(bone, only=code)

    lines = [_row(f"`{code}` alone", stated, alone(code)) for code in dict.fromkeys(chain(*LIMITS.values()))]
    parts.append("\n".join([head, "|---" * 9 + "|", *lines]))

    def scaled(factor: float) -> Callable[[JudgedBone], tuple[bool, bool]]:
        return lambda bone: _grades(bone, factor=factor)

    lines = [_row(f"all limits times {factor:g}", stated, scaled(factor)) for factor in FACTORS]
    parts.append("\n".join([head, "|---" * 9 + "|", *lines]))
    lines = [
        "| bone | number | doubtful over | by the rule | not usable over | by the rule |",
        "|---|---|---|---|---|---|",
    ]
    for kind, by_code in limits_by(halves["chosen by"]).items():
        for code, (doubtful, unusable) in by_code.items():
            limit = LIMITS[kind][code]
            lines.append(
                f"| {kind} | `{code}`{f', {limit.unit}' if limit.unit else ''} | {limit.doubtful:g} | {doubtful:.2f} | "
                f"{limit.unusable:g} | {unusable:.2f} |"
            )
    parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _of(bones: Sequence[JudgedBone], kind: str) -> list[JudgedBone]:
    return [bone for bone in bones if bone.bone.startswith(kind)]


def _grades(bone: JudgedBone, only: str | None = None, factor: float = 1.0) -> tuple[bool, bool]:
    """Whether a bone is doubted, and whether it is not usable; by one number alone, or with other limits."""
    evidence = {code: value / factor for code, value in bone.evidence.items() if only in (None, code)}
    verdict = verdict_of(bone.bone, evidence)
    return is_doubted(verdict), verdict.grade == NOT_USABLE


def _row(name: str, bones: Sequence[JudgedBone], grades: Callable[[JudgedBone], tuple[bool, bool]]) -> str:
    def share(some: Sequence[tuple[bool, bool]], which: int) -> str:
        return f"{100 * np.mean([grade[which] for grade in some]):.0f}" if some else ""

    wrong = [grades(bone) for bone in bones if bone.assd_mm > WRONG_MM]
    between = [grades(bone) for bone in bones if RIGHT_MM <= bone.assd_mm <= WRONG_MM]
    right = [grades(bone) for bone in bones if bone.assd_mm < RIGHT_MM]
    cells = [
        *(len(wrong), share(wrong, 0), share(wrong, 1), len(between), share(between, 0)),
        *(len(right), share(right, 0), share(right, 1)),
    ]
    return f"| {name.strip(' ,')} | {' | '.join(map(str, cells))} |"
