"""`python -m training refusals FILMS --out OUT`: what is refused of hips and of other pictures, how surely.

    OUT/rows.jsonl      a row for every picture; a run that was cut goes on with the same command
    OUT/refusals.md     the table
    OUT/misjudged.png   hips that were refused, others that were not, and those nearest to the limit

The limit of the refusal is chosen on every other picture of a kind and stated on the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.pictures import drawing
from DualFaceReconLib.plausibility import MOST_UNSURE, refuse_other_pictures
from DualFaceReconLib.reconstruction import Reconstructor
from training.judging.refusal_subjects import FOLDED, HIPS, OTHERS, PictureToJudge

CELL_PX, CELLS, COLUMNS = 260, 24, 6
METAL, PARTS, SCALE, DOUBTED = "metal-seen", "bone-in-parts", "scale-doubtful", "bone-doubtful"  # codes of warnings
NOTHING = 1.0  # what stands for the unsureness of a picture in which no bone is found


@dataclass(frozen=True, kw_only=True)
class JudgedPicture:
    """What became of one picture."""

    group: str
    kind: str
    name: str
    refused: str  # "", "unread", "nothing found", "unsure" or "no shape"
    unsure: float  # of all bones that were found, as `Prediction.unsure_of` has it
    surest: float  # of the bone of which the networks are surest
    bones: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()  # codes


def judge(
    subjects: Sequence[PictureToJudge], reconstructor: Reconstructor, out: Path, say: Callable[[str], None] = print
) -> tuple[str, list[JudgedPicture]]:
    """The table, and every row; what is in `out` already is not done again."""
    out.mkdir(parents=True, exist_ok=True)
    kept = out / "rows.jsonl"
    rows = {(row.kind, row.name): row for row in _read(kept)}
    for number, subject in enumerate(subjects, 1):
        if (subject.kind, subject.name) in rows:
            continue
        row, _ = judged(subject, reconstructor)
        rows[row.kind, row.name] = row
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")
        say(f"{number} of {len(subjects)}: {row.kind}, {row.name}: {row.refused or 'taken'} ({row.unsure:.2f})")
    wanted = [rows[subject.kind, subject.name] for subject in subjects]
    text = table(wanted)
    write_text(out / "refusals.md", text + "\n")
    by_name = {(subject.kind, subject.name): subject for subject in subjects}
    nearest = sorted(wanted, key=lambda row: (row.unsure - MOST_UNSURE) * (-1 if row.group == HIPS else 1))
    cells = [_cell(by_name[row.kind, row.name].open(), row) for row in nearest[:CELLS] if row.refused != "unread"]
    cells += [np.zeros((CELL_PX, CELL_PX, 3), np.uint8)] * (-len(cells) % COLUMNS)
    if cells:
        sheet = np.vstack([np.hstack(cells[i : i + COLUMNS]) for i in range(0, len(cells), COLUMNS)])
        drawing.save_png(sheet, out / "misjudged.png")
    return text, wanted


def judged(subject: PictureToJudge, reconstructor: Reconstructor) -> tuple[JudgedPicture, Radiograph | None]:
    """What the product makes of a picture."""
    made = {"group": subject.group, "kind": subject.kind, "name": subject.name}
    try:
        radiograph = subject.open()
    except Refusal:
        return JudgedPicture(**made, refused="unread", unsure=NOTHING, surest=NOTHING), None
    prediction = reconstructor.predict(radiograph)
    maps = reconstructor.bone_maps(radiograph, prediction)
    bones = tuple(bone for bone, mask in zip(maps.bones, maps.mask, strict=True) if mask.any())
    if not bones:
        return JudgedPicture(**made, refused="nothing found", unsure=NOTHING, surest=NOTHING), radiograph
    made |= {
        "unsure": round(prediction.unsure_of(bones), 4),
        "surest": round(min(map(prediction.unsure, bones)), 4),
        "bones": bones,
    }
    try:
        refuse_other_pictures(prediction, bones)
    except Refusal:
        return JudgedPicture(**made, refused="unsure"), radiograph
    try:
        reconstruction = reconstructor.run(radiograph, prediction=prediction)
    except Refusal:
        return JudgedPicture(**made, refused="no shape"), radiograph
    return JudgedPicture(
        **made, refused="", warnings=tuple(warning.code for warning in reconstruction.warnings)
    ), radiograph


def table(rows: Sequence[JudgedPicture]) -> str:
    """By kind, and below it the limit by each half of the pictures."""
    columns = "n | unsure of all bones: least | median | most | of the surest: least | most | refused | doubted bones"
    lines = [
        f"| group | kind | {columns} | metal seen | in parts | scale doubted |",
        "|---" * 13 + "|",
    ]
    for group, kind in dict.fromkeys((row.group, row.kind) for row in rows):
        own = [row for row in rows if (row.group, row.kind) == (group, kind)]
        unsure, surest = np.array([row.unsure for row in own]), np.array([row.surest for row in own])
        figures = [unsure.min(), np.median(unsure), unsure.max(), surest.min(), surest.max()]
        counts = [sum(bool(row.refused) for row in own)]
        counts += [sum(code in row.warnings for row in own) for code in (DOUBTED, METAL, PARTS, SCALE)]
        cells = [str(len(own)), *(f"{figure:.2f}" for figure in figures), *map(str, counts)]
        lines.append(f"| {group} | {kind} | {' | '.join(cells)} |")
    lines += [
        "",
        "| half | hips: most unsure | others: least unsure | the middle | misjudged at it in the other half |",
    ]
    lines.append("|---" * 5 + "|")
    limited = [row for row in rows if row.kind != FOLDED]  # which are taken by the hemipelvis that is left of them
    halves = [_half(limited, 0), _half(limited, 1)]
    for name, own, other in (("even", halves[0], halves[1]), ("odd", halves[1], halves[0])):
        most, least = _ends(own)
        limit = float(np.sqrt(most * least))
        wrong = [
            sum((row.unsure > limit) == (group == HIPS) for row in other if row.group == group)
            for group in (HIPS, OTHERS)
        ]
        lines.append(f"| {name} | {most:.2f} | {least:.2f} | {limit:.2f} | {wrong[0]} hips, {wrong[1]} others |")
    return "\n".join(lines)


def _half(rows: Sequence[JudgedPicture], which: int) -> list[JudgedPicture]:
    """Every other picture of each kind."""
    seen: dict[str, int] = {}
    kept = []
    for row in rows:
        seen[row.kind] = seen.get(row.kind, -1) + 1
        if seen[row.kind] % 2 == which:
            kept.append(row)
    return kept


def _ends(rows: Sequence[JudgedPicture]) -> tuple[float, float]:
    """The most unsure hips and the least unsure others."""
    return (
        max((row.unsure for row in rows if row.group == HIPS), default=0.0),
        min((row.unsure for row in rows if row.group == OTHERS), default=NOTHING),
    )


def _read(path: Path) -> list[JudgedPicture]:
    if not path.exists():
        return []
    values = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [
        JudgedPicture(**{**row, "bones": tuple(row["bones"]), "warnings": tuple(row["warnings"])}) for row in values
    ]


def _cell(radiograph: Radiograph, row: JudgedPicture) -> np.ndarray:
    """A picture of the sheet, with what was made of it."""
    pixels = radiograph.pixels
    size = tuple(max(round(n * (CELL_PX - 20) / max(pixels.shape)), 1) for n in pixels.shape)
    cell = np.zeros((CELL_PX, CELL_PX, 3), np.uint8)
    cell[: size[0], : size[1]] = drawing.grey_picture(drawing.resized_grey(pixels, size), radiograph.display_window)
    words = f"{row.kind}: {row.refused or 'taken'}, {row.unsure:.2f}"
    misjudged = (row.refused == "") == (row.group == OTHERS)
    drawing.write(cell, words, (CELL_PX - 18, 4), 12, drawing.AMBER if misjudged else drawing.WHITE)
    return cell
