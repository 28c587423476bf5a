"""Registers a folder of bones to a template: in parallel, resumable, with a table, a picture a bone, and flags.

For every `<name>.ply` under the folder the output has `<name>.ply` (the template on that bone), `<name>.png` (target,
result, distance in colour) and, written last, `<name>.json`, which says that the bone is done; `table.md` lists all.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from vtkmodules.vtkIOPLY import vtkPLYWriter

from DualFaceReconLib.disk.files import write_file, write_text
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.meshes import Mesh, polydata, rigid_fit, sample_surface, triangle_normals, unit_normals
from DualFaceReconLib.metrics import SurfaceDistances, compare_surfaces
from DualFaceReconLib.pictures import drawing
from DualFaceReconLib.proximity import distances_to_surface
from training.anatomy.gbcpd import register
from training.anatomy.people import ONTO_A_MEAN, TARGET_POINTS
from training.anatomy.remeshing import anchors, carried, dense_points, read_ply

# A bone is flagged where the template does not follow it
LARGEST_HD95_MM = 3.0
LARGEST_UNCOVERED_MM = 10.0
LARGEST_FLIPPED_SHARE = 0.005  # of the triangles, against the template's own
PANEL_PX = (520, 360)
WORST_MM = 2.0  # the error colours' upper end


@dataclass(frozen=True, kw_only=True)
class RegistrationJob:
    """One bone to register."""

    name: str  # its path in the folder, without the ending
    bone: Path
    template: Path
    out: Path
    seed: int

    def path(self, suffix: str) -> Path:
        return self.out / f"{self.name}{suffix}"

    def fingerprint(self) -> str:
        """Changes with the bone, the template, the seed and the settings: a result of other ones is not reused."""
        parts = [self.bone.read_bytes(), self.template.read_bytes(), repr((self.seed, ONTO_A_MEAN)).encode()]
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


@dataclass(frozen=True, kw_only=True)
class RegisteredBone:
    """How one registration went."""

    name: str
    fingerprint: str
    assd_mm: float
    hd95_mm: float
    uncovered_mm: float  # the bone's worst point
    turned_share: float  # of the triangles, those that are flipped
    seconds: float
    flags: tuple[str, ...]


def register_folder(folder: Path, template: Path, out: Path, jobs: int, seed: int) -> list[RegisteredBone]:
    """Registers what is not done yet; gives the results of all bones in the order of their names."""
    bones = sorted(path for path in folder.rglob("*.ply") if not path.name.startswith("."))
    if not bones:
        raise Refusal(f"There are no .ply bones in {folder}: name the folder that holds them.")
    if not template.is_file():
        raise Refusal(f"There is no template {template}: name a closed .ply mesh of the same bone.")
    names = [bone.relative_to(folder).with_suffix("").as_posix() for bone in bones]
    todo = [
        RegistrationJob(name=name, bone=bone, template=template, out=out, seed=seed)
        for name, bone in zip(names, bones, strict=True)
    ]
    results = {job.name: bone for job in todo if (bone := _earlier(job)) is not None}
    waiting = [job for job in todo if job.name not in results]
    for bone in _with_progress(_in_parallel(waiting, jobs), len(waiting), len(results)):
        results[bone.name] = bone
    ordered = [results[job.name] for job in todo]
    write_text(out / "table.md", as_markdown(ordered))
    return ordered


def as_markdown(bones: list[RegisteredBone]) -> str:
    """The distance table."""
    lines = ["| bone | ASSD mm | HD95 mm | worst uncovered mm | turned over % | s | |", "|---|---|---|---|---|---|---|"]
    for bone in bones:
        flags = "**" + ", ".join(bone.flags) + "**" if bone.flags else ""
        lines.append(
            f"| {bone.name} | {bone.assd_mm:.2f} | {bone.hd95_mm:.2f} | {bone.uncovered_mm:.1f} | "
            f"{100 * bone.turned_share:.2f} | {bone.seconds:.1f} | {flags} |"
        )
    return "\n".join(lines) + "\n"


def register_bone(job: RegistrationJob) -> RegisteredBone:
    """Registers one bone and writes what belongs to it, the JSON last."""
    start = time.perf_counter()
    template, bone = read_ply(job.template), read_ply(job.bone)
    target = sample_surface(*bone, TARGET_POINTS, seed=job.seed)
    placed = register(template[0], target, template[1], ONTO_A_MEAN, seed=job.seed).points
    anchor = anchors(placed, unit_normals(placed, template[1]), bone)
    result = carried(bone[1], anchor, bone[0]), template[1]
    distances = compare_surfaces(result, bone, count=20_000, seed=job.seed)
    flipped = _flipped_share(template, result)
    registered = RegisteredBone(
        name=job.name,
        fingerprint=job.fingerprint(),
        assd_mm=distances.assd_mm,
        hd95_mm=distances.hd95_mm,
        uncovered_mm=float(distances.truth_to_predicted.max()),
        turned_share=flipped,
        seconds=time.perf_counter() - start,
        flags=tuple(_flags(distances, flipped)),
    )
    job.path(".ply").parent.mkdir(parents=True, exist_ok=True)
    _write_ply(result, job.path(".ply"))
    drawing.save_png(_picture(bone, result, registered), job.path(".png"))
    write_text(job.path(".json"), json.dumps(asdict(registered), indent=2))
    return registered


def _earlier(job: RegistrationJob) -> RegisteredBone | None:
    """The result of an earlier run, where it was of the same bone, template and settings."""
    try:
        record = json.loads(job.path(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or set(record) != {field.name for field in fields(RegisteredBone)}:
        return None
    if record["fingerprint"] != job.fingerprint() or not job.path(".ply").exists():
        return None
    return RegisteredBone(**{**record, "flags": tuple(record["flags"])})


def _in_parallel(jobs: list[RegistrationJob], processes: int) -> Iterator[RegisteredBone]:
    if processes <= 1 or len(jobs) <= 1:
        yield from map(register_bone, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(processes, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.imap_unordered(register_bone, jobs)


def _with_progress(bones: Iterator[RegisteredBone], total: int, already: int) -> Iterator[RegisteredBone]:
    """Prints on stderr how far it is and how long it still takes."""
    if already:
        print(f"{already} bones were done before", file=sys.stderr)
    start = time.monotonic()
    for count, bone in enumerate(bones, start=1):
        left = (time.monotonic() - start) / count * (total - count)
        bar = "#" * (30 * count // total)
        print(f"\r[{bar:<30}] {count}/{total} bones, {left:4.0f} s left ", end="", file=sys.stderr, flush=True)
        yield bone
    if total:
        print(file=sys.stderr)


def _flags(distances: SurfaceDistances, flipped: float) -> Iterator[str]:
    if distances.hd95_mm > LARGEST_HD95_MM:
        yield "far from the bone"
    if distances.truth_to_predicted.max() > LARGEST_UNCOVERED_MM:
        yield "leaves bone uncovered"
    if flipped > LARGEST_FLIPPED_SHARE:
        yield "triangles turned over"


def _flipped_share(template: Mesh, result: Mesh) -> float:
    """Share of the result's triangles that face the other way than those of the template, rotated onto it."""
    rotation, _ = rigid_fit(template[0], result[0])
    before = triangle_normals(template[0] @ rotation.T, template[1])
    return float(np.mean((before * triangle_normals(*result)).sum(axis=1) < 0))


def _write_ply(mesh: Mesh, path: Path) -> None:
    def write(beside: Path) -> None:
        writer = vtkPLYWriter()
        writer.SetInputData(polydata(*mesh))
        writer.SetFileName(str(beside))
        if not (writer.Write() and beside.exists()):
            raise OSError(0, "is there room?")

    write_file(path, write)


def _picture(bone: Mesh, result: Mesh, registered: RegisteredBone) -> np.ndarray:
    """Target, result, and the result coloured by its distance to the target, from the front."""
    panels = []
    distance = distances_to_surface(result[0], *bone)
    columns = (
        ("target", bone, np.zeros(len(bone[0]))),
        ("result", result, 0 * distance),
        ("distance", result, distance),
    )
    for title, mesh, off in columns:
        points, facing, off = dense_points(mesh, off)
        colours = drawing.blended(np.clip(off / WORST_MM, 0, 1), drawing.ERROR_COLOURS)
        scale = 0.9 * min(n / extent for n, extent in zip(PANEL_PX, np.ptp(points, axis=0)[[2, 0]], strict=True))
        panel = drawing.shaded(points, facing, colours, (-1, 0, 0), (0, 1, 0), PANEL_PX, scale)
        drawing.write(panel, title, (8, 10), 18)
        panels.append(panel)
    verdict = ", ".join(registered.flags) or "as it should be"
    caption = (
        f"ASSD {registered.assd_mm:.2f} mm, HD95 {registered.hd95_mm:.2f} mm; white 0 to red {WORST_MM:g} mm; {verdict}"
    )
    picture = np.hstack(panels)
    colour = drawing.AMBER if registered.flags else drawing.WHITE
    drawing.write(picture, caption, (PANEL_PX[0] - 10, 10), 16, colour, (1, 0))
    return picture
