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
LARGEST_TURNED_SHARE = 0.005  # of the triangles, against the template's own
PANEL_PX = (520, 360)
WORST_MM = 2.0  # the error colours' upper end


@dataclass(frozen=True)
class Job:
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
        told = [self.bone.read_bytes(), self.template.read_bytes(), repr((self.seed, ONTO_A_MEAN)).encode()]
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in told)).hexdigest()


@dataclass(frozen=True)
class Row:
    """How one registration went."""

    name: str
    fingerprint: str
    assd_mm: float
    hd95_mm: float
    uncovered_mm: float  # the bone's worst point
    turned_share: float  # triangles that turned over
    seconds: float
    flags: tuple[str, ...]


def register_folder(folder: Path, template: Path, out: Path, jobs: int, seed: int) -> list[Row]:
    """Registers what is not done yet; gives the rows of all bones in the order of their names."""
    bones = sorted(path for path in folder.rglob("*.ply") if not path.name.startswith("."))
    if not bones:
        raise Refusal(f"There are no .ply bones in {folder}: name the folder that holds them.")
    if not template.is_file():
        raise Refusal(f"There is no template {template}: name a closed .ply mesh of the same bone.")
    todo = [Job(b.relative_to(folder).with_suffix("").as_posix(), b, template, out, seed) for b in bones]
    rows = {job.name: row for job in todo if (row := _done(job)) is not None}
    waiting = [job for job in todo if job.name not in rows]
    for row in _with_progress(_in_parallel(waiting, jobs), len(waiting), len(rows)):
        rows[row.name] = row
    ordered = [rows[job.name] for job in todo]
    write_text(out / "table.md", as_markdown(ordered))
    return ordered


def as_markdown(rows: list[Row]) -> str:
    """The distance table."""
    lines = ["| bone | ASSD mm | HD95 mm | worst uncovered mm | turned over % | s | |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        flags = "**" + ", ".join(row.flags) + "**" if row.flags else ""
        lines.append(
            f"| {row.name} | {row.assd_mm:.2f} | {row.hd95_mm:.2f} | {row.uncovered_mm:.1f} | "
            f"{100 * row.turned_share:.2f} | {row.seconds:.1f} | {flags} |"
        )
    return "\n".join(lines) + "\n"


def register_one(job: Job) -> Row:
    """Registers one bone and writes what belongs to it, the JSON last."""
    start = time.perf_counter()
    template, bone = read_ply(job.template), read_ply(job.bone)
    target = sample_surface(*bone, TARGET_POINTS, seed=job.seed)
    placed = register(template[0], target, template[1], ONTO_A_MEAN, seed=job.seed).points
    anchor = anchors(placed, unit_normals(placed, template[1]), bone)
    result = carried(bone[1], anchor, bone[0]), template[1]
    found = compare_surfaces(result, bone, count=20_000, seed=job.seed)
    turned = _turned_share(template, result)
    row = Row(
        name=job.name,
        fingerprint=job.fingerprint(),
        assd_mm=found.assd_mm,
        hd95_mm=found.hd95_mm,
        uncovered_mm=float(found.truth_to_predicted.max()),
        turned_share=turned,
        seconds=time.perf_counter() - start,
        flags=tuple(_flags(found, turned)),
    )
    job.path(".ply").parent.mkdir(parents=True, exist_ok=True)
    _write_ply(result, job.path(".ply"))
    drawing.save_png(_picture(bone, result, row), job.path(".png"))
    write_text(job.path(".json"), json.dumps(asdict(row), indent=2))
    return row


def _done(job: Job) -> Row | None:
    """The row of an earlier run, where it was of the same bone, template and settings."""
    try:
        record = json.loads(job.path(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or set(record) != {field.name for field in fields(Row)}:
        return None
    if record["fingerprint"] != job.fingerprint() or not job.path(".ply").exists():
        return None
    return Row(**{**record, "flags": tuple(record["flags"])})


def _in_parallel(jobs: list[Job], processes: int) -> Iterator[Row]:
    if processes <= 1 or len(jobs) <= 1:
        yield from map(register_one, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(processes, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.imap_unordered(register_one, jobs)


def _with_progress(rows: Iterator[Row], total: int, already: int) -> Iterator[Row]:
    """Tells on stderr how far it is and how long it still takes."""
    if already:
        print(f"{already} bones were done before", file=sys.stderr)
    start = time.monotonic()
    for count, row in enumerate(rows, start=1):
        left = (time.monotonic() - start) / count * (total - count)
        bar = "#" * (30 * count // total)
        print(f"\r[{bar:<30}] {count}/{total} bones, {left:4.0f} s left ", end="", file=sys.stderr, flush=True)
        yield row
    if total:
        print(file=sys.stderr)


def _flags(found: SurfaceDistances, turned: float) -> Iterator[str]:
    if found.hd95_mm > LARGEST_HD95_MM:
        yield "far from the bone"
    if found.truth_to_predicted.max() > LARGEST_UNCOVERED_MM:
        yield "leaves bone uncovered"
    if turned > LARGEST_TURNED_SHARE:
        yield "triangles turned over"


def _turned_share(template: Mesh, result: Mesh) -> float:
    """Share of triangles that look backward against the template turned as the result is."""
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


def _picture(bone: Mesh, result: Mesh, row: Row) -> np.ndarray:
    """Target, result, and the result coloured by its distance to the target, from the front."""
    panels = []
    distance = distances_to_surface(result[0], *bone)
    shown = (("target", bone, np.zeros(len(bone[0]))), ("result", result, 0 * distance), ("distance", result, distance))
    for title, mesh, off in shown:
        points, facing, off = dense_points(mesh, off)
        colours = drawing.blended(np.clip(off / WORST_MM, 0, 1), drawing.ERROR_COLOURS)
        scale = 0.9 * min(n / extent for n, extent in zip(PANEL_PX, np.ptp(points, axis=0)[[2, 0]], strict=True))
        panel = drawing.shaded(points, facing, colours, (-1, 0, 0), (0, 1, 0), PANEL_PX, scale)
        drawing.write(panel, title, (8, 10), 18)
        panels.append(panel)
    verdict = ", ".join(row.flags) or "as it should be"
    caption = f"ASSD {row.assd_mm:.2f} mm, HD95 {row.hd95_mm:.2f} mm; white 0 to red {WORST_MM:g} mm; {verdict}"
    picture = np.hstack(panels)
    drawing.write(picture, caption, (PANEL_PX[0] - 10, 10), 16, drawing.AMBER if row.flags else drawing.WHITE, (1, 0))
    return picture
