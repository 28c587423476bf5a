"""`python -m training evaluate`: the ruler on cases. Rows that need no network; networks' rows will stand beside them.

exact maps                      true masks and depths through the product's own surfaces
exact front map only            the same with one face
exact maps, completed           and a shape model fitted to them
mean shape at the true pose     what the shape model says of everybody
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from DualFaceReconLib.completion import complete
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.fitting import Fit, Settings, fit
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.metrics import Mesh, area_mm2, clip_to_planes, compare_surfaces
from DualFaceReconLib.shapemodel import ShapeModel, load
from DualFaceReconLib.surfaces import observed_surface, observed_triangles
from training.anatomy.outsiders import centred, whole_target
from training.cases import Case, read_case
from training.hardware import ARTHROPLASTIES
from training.xray.raycast import cast

SAMPLES = 20_000  # a side; the mean over cases hardly moves with more
RESOLUTIONS = (256, 512, 1024)  # pixels along the film's longer side
ROWS = ("exact maps", "exact front map only", "exact maps, completed", "mean shape at the true pose")
LEAST_SEEN_MM2 = 2000.0  # of a bone's surface on the film; less is not scored
RESAMPLED = 2000
MODELS = Path(__file__).parent.parent / "Resources" / "Models"


@dataclass(frozen=True)
class Scored:
    """One bone of one case by one row."""

    case: str
    person: str  # over whom intervals are taken
    bone: str
    row: str
    pixels: int
    assd_mm: float
    hd95_mm: float
    hd95_max_mm: float
    cd_l2_mm2: float


def evaluate(
    folders: Sequence[Path], resolutions: Sequence[int] = RESOLUTIONS, jobs: int = 1, say: Callable[[str], None] = print
) -> list[Scored]:
    """Every row for every bone of every case at every resolution."""
    scored: list[Scored] = []
    work = [(folder, tuple(resolutions)) for folder in folders]
    if jobs == 1:
        results: Iterable[list[Scored]] = map(_of_case, work)
        scored += _gathered(results, len(work), say)
    else:
        with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
            scored += _gathered(pool.map(_of_case, work), len(work), say)
    return scored


def _gathered(results: Iterable[list[Scored]], count: int, say: Callable[[str], None]) -> list[Scored]:
    scored = []
    for done, rows in enumerate(results, 1):
        scored += rows
        say(f"{done} of {count} cases")
    return scored


def _of_case(work: tuple[Path, tuple[int, ...]]) -> list[Scored]:
    folder, resolutions = work
    case = read_case(folder)
    models = {kind: load(MODELS / f"{kind}.ssm.npz") for kind in ("hip", "femur")}
    rows = []
    for pixels in resolutions:
        longer = max(case.geometry.size_px)
        geometry = case.geometry.resized([max(round(n * pixels / longer), 1) for n in case.geometry.size_px])
        maps = cast(case.meshes, geometry).maps
        single = replace(maps, back=None)
        for bone, mesh in case.meshes.items():
            if bone in case.told.get("unscored", ()):
                continue
            truth = on_film(mesh, case.geometry)
            if area_mm2(*truth) < LEAST_SEEN_MM2:
                continue
            kind, side = bone.split("_")
            model = models[kind] if side == "left" else models[kind].mirrored()
            observed = observed_surface(maps, geometry, bone)
            predicted: dict[str, Mesh | None] = {
                "exact maps": observed_triangles(observed),
                "exact front map only": observed_triangles(observed_surface(single, geometry, bone)),
                "exact maps, completed": _completed(observed, model, geometry),
            }
            if pixels == min(resolutions) and _whole(case, bone):  # it does not depend on pixels
                predicted["mean shape at the true pose"] = _mean_at_true_pose(model, mesh)
            for row, surface in predicted.items():
                if surface is not None:
                    rows.append(_scored(case, bone, row, pixels, on_film(surface, case.geometry), truth))
    return rows


def _whole(case: Case, bone: str) -> bool:
    """Whether a mean shape can be put upon the true bone: it is not cut by a CT's end nor sawn for an implant."""
    operations = case.told.get("patient", {}).get("hardware", ())
    sawn = {f"femur_{one.get('side')}" for one in operations if one["what"] in ARTHROPLASTIES}
    return bone not in case.told.get("ct", {}).get("cut", {}) and bone not in sawn


def on_film(mesh: Mesh, geometry: ProjectionGeometry) -> Mesh:
    """The part of a mesh inside the viewing frustum."""
    return clip_to_planes(*mesh, *geometry.frustum_planes())


def _completed(observed: object, model: ShapeModel, geometry: ProjectionGeometry) -> Mesh | None:
    try:
        found = complete(observed, model, geometry)
    except Refusal:
        return None
    return found.vertices, found.triangles


def _mean_at_true_pose(model: ShapeModel, mesh: Mesh) -> Mesh:
    """The mean shape put where it lies closest to the whole true bone."""
    start: Fit = centred(model, mesh)
    pose = fit(model, whole_target(mesh), start, Settings(modes=0, robust=False, settled=0.001, rounds=20))
    return pose.vertices(model), model.triangles


def _scored(case: Case, bone: str, row: str, pixels: int, predicted: Mesh, truth: Mesh) -> Scored:
    found = compare_surfaces(predicted, truth, SAMPLES)
    person = str(case.told.get("person", case.folder.name))
    numbers = found.assd_mm, found.hd95_mm, found.hd95_max_mm, found.cd_l2_mm2
    return Scored(case.folder.name, person, bone, row, pixels, *numbers)


def as_json(scored: Sequence[Scored]) -> str:
    """One object a line."""
    return "".join(json.dumps(asdict(one)) + "\n" for one in scored)


def as_markdown(scored: Sequence[Scored], title: str) -> str:
    """Means over cases, with a bootstrap interval of the ASSD over people."""
    cases, people = {one.case for one in scored}, {one.person for one in scored}
    lines = [
        f"# {title}",
        "",
        f"{len(cases)} films of {len(people)} people, made by the simulator; whole bone surfaces inside the viewing "
        f"frustum, {SAMPLES:,} samples a side, point to triangle. In brackets: 95 % of means over resampled people.",
        "",
        "| bones | row | pixels | n | ASSD, mm | HD95, mm | HD95 max, mm | CD l2, mm2 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in ("hip", "femur"):
        for row in ROWS:
            for pixels in sorted({one.pixels for one in scored}):
                some = [s for s in scored if s.bone.startswith(kind) and s.row == row and s.pixels == pixels]
                if not some:
                    continue
                low, high = interval([s.assd_mm for s in some], [s.person for s in some])
                means = [np.mean([getattr(s, name) for s in some]) for name in ("hd95_mm", "hd95_max_mm", "cd_l2_mm2")]
                cells = " | ".join(f"{mean:.2f}" for mean in means)
                assd = np.mean([s.assd_mm for s in some])
                said = "any" if row.startswith("mean shape") else pixels
                lines.append(
                    f"| {kind} | {row} | {said} | {len(some)} | {assd:.2f} [{low:.2f}, {high:.2f}] | {cells} |"
                )
    return "\n".join(lines) + "\n"


def interval(values: Sequence[float], people: Sequence[str], seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the mean, whole people drawn with replacement."""
    names = sorted(set(people))
    sums = np.array([sum(v for v, p in zip(values, people, strict=True) if p == name) for name in names])
    counts = np.array([sum(p == name for p in people) for name in names])
    drawn = np.random.default_rng(seed).integers(len(names), size=(RESAMPLED, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return float(np.percentile(means, 2.5)), float(np.percentile(means, 97.5))
