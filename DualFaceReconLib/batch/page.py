"""What a batch came to, as one page to look at: counts, verdicts, how measurements are spread, what was refused.

    write_page(Path("results"), Path("results/summary"))

The page needs no network and runs nothing. It says nothing that `summary.csv` does not: names only where the batch kept
them, and of paths the way from its own folder to the results'.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np

from DualFaceReconLib import __version__
from DualFaceReconLib.batch.distribution import FAR_OUT, Spread, axis_of, histogram
from DualFaceReconLib.batch.job import DONE, FAILED, REFUSED
from DualFaceReconLib.batch.record import MEASURED, SUMMARY, Row, read_record
from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.disk.folders import display_name, refuse_unwritable
from DualFaceReconLib.document import RESEARCH_USE
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.pictures.wording import UNITS, bone_words, words
from DualFaceReconLib.verdicts import GRADES

PAGE = "summary.html"
PICTURE = "picture.png"
MOST_LINKS = 30  # of a measurement's films far out, and of the films that were refused for one reason
STATES = ("completed", "seen", "not found")
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #16191d; background: #fff; max-width: 1080px; margin: 24px auto;
  padding: 0 16px }
h1 { font-size: 25px; margin: 0 } h2 { font-size: 19px; margin: 32px 0 8px } h3 { font-size: 15px; margin: 18px 0 4px }
table { border-collapse: collapse } th, td { text-align: left; padding: 4px 14px 4px 0; border-bottom: 1px solid #ddd;
  vertical-align: top } td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
.counts { display: flex; flex-wrap: wrap; gap: 10px; margin: 14px 0; padding: 0; list-style: none }
.counts li { border: 1px solid #ccd; border-radius: 6px; padding: 6px 16px }
.counts b { font-size: 23px; display: block }
.row { display: flex; flex-wrap: wrap; gap: 28px } figure { margin: 0; width: 360px }
figcaption { font-size: 13px; color: #444 } svg { width: 100%; display: block } svg text { font-size: 11px; fill: #555 }
.bar { fill: #5b86b8 } .far { fill: #d98200 } .axis { stroke: #999 } .median { stroke: #16191d; stroke-dasharray: 3 3 }
.good { background: #4d9a67 } .doubtful { background: #d98200 } .unusable { background: #b9383a }
.completed { background: #5b86b8 } .seen { background: #a9c1dc } .missing { background: #e3e3e3 }
.shares { display: flex; width: 320px; height: 14px; border-radius: 3px; overflow: hidden } a { color: #1d5fa8 }
th i { display: inline-block; width: 10px; height: 10px; border-radius: 2px }
.research { font-weight: bold } .links a { margin-right: 12px; white-space: nowrap }
"""
Link = Callable[[int, str], str]  # a film's number and what stands behind its name -> HTML
CLASSES = {"not usable": "unusable", "not found": "missing"}


@dataclass
class _Found:
    """What a batch's lines say together; a pass over them keeps numbers alone."""

    statuses: Counter[str] = field(default_factory=Counter)
    bones: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    verdicts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    values: dict[str, tuple[list[int], list[float]]] = field(default_factory=lambda: defaultdict(lambda: ([], [])))
    reasons: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    seconds: list[float] = field(default_factory=list)
    warned: int = 0

    def take(self, number: int, row: Row) -> None:
        self.statuses[row["status"]] += 1
        if row["status"] != DONE:
            self.reasons[row["status"], alike(row["reason"])].append(number)
            return
        self.warned += row["warnings"] not in ("", "0")
        self.seconds += _numbers(row["seconds"])
        for bone in BONES:
            self.bones[bone][row[bone]] += 1
            if verdict := row[f"{bone}_verdict"]:
                self.verdicts[bone][verdict] += 1
        for _, _, column in MEASURED:
            for value in _numbers(row[column]):
                films, values = self.values[column]
                films.append(number)
                values.append(value)


def write_page(results: Path, folder: Path) -> Path:
    """Writes the page on a batch's output into a folder; Refusal where there is no batch."""
    if not (results / SUMMARY).is_file():
        raise Refusal(f"{display_name(results)} holds no {SUMMARY}: name the output of `dualface batch`.")
    record = read_record(results)
    found = _Found()
    for number in sorted(record.lines):
        found.take(number, record.row(number))
    refuse_unwritable(folder / PAGE)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        way = os.path.relpath(os.path.realpath(results), os.path.realpath(folder))
    except ValueError as error:  # on Windows
        raise Refusal("The page would lie on another drive than the pictures: choose a folder on theirs.") from error
    way = quote(Path(way).as_posix())

    def link(number: int, text: str) -> str:
        name = record.row(number)["folder"]
        if not name:
            return f"{number:04d}"
        return f'<a href="{way}/{quote(name)}/{PICTURE}">{escape(name)}{text}</a>'

    write_text(folder / PAGE, _html(found, link))
    return folder / PAGE


def alike(reason: str) -> str:
    """A reason without its numbers, so that films are counted together that were refused for the same."""
    return re.sub(r"\d+(?:[.,]\d+)*", "…", reason)


def _numbers(cell: str) -> list[float]:
    """One number, or none where the cell is empty or somebody wrote something else into it."""
    try:
        value = float(cell)
    except ValueError:
        return []
    return [value] if np.isfinite(value) else []


def _html(found: _Found, link: Link) -> str:
    total = sum(found.statuses.values())
    counts = [(status, found.statuses[status]) for status in (DONE, REFUSED, FAILED)]
    counts += [("done, with warnings", found.warned)]
    parts = [
        "<h1>Bones from many hip radiographs</h1>",
        f'<p class="research">{RESEARCH_USE}</p>',
        f"<p>{total} films{_pace(found.seconds)}. DualFaceRecon {__version__}.</p>",
        '<ul class="counts">' + "".join(f"<li><b>{count}</b>{escape(name)}</li>" for name, count in counts) + "</ul>",
        "<h2>Bones</h2>",
        _shares(found.bones, STATES),
    ]
    if found.verdicts:
        parts += ["<h2>Verdicts</h2>", _shares(found.verdicts, GRADES)]
    parts += ["<h2>Measurements</h2>", *_measurements(found, link)]
    parts += ["<h2>Refused and failed films</h2>", _reasons(found, link)]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Bones of {total} films</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _pace(seconds: Sequence[float]) -> str:
    return f", a median of {np.median(seconds):.1f} s each" if seconds else ""


def _shares(by_bone: dict[str, Counter[str]], names: Sequence[str]) -> str:
    """A table of bones: how many are what, with a bar each."""
    heads = "".join(f'<th class="number"><i class="{CLASSES.get(name, name)}"></i> {name}</th>' for name in names)
    rows = [f"<tr><th>bone</th>{heads}<th></th></tr>"]
    for bone in BONES:
        counts = [by_bone[bone][name] for name in names]
        bar = "".join(
            f'<span class="{CLASSES.get(name, name)}" style="width:{100 * count / max(sum(counts), 1):.2f}%"></span>'
            for name, count in zip(names, counts, strict=True)
        )
        cells = "".join(f'<td class="number">{count}</td>' for count in counts)
        rows.append(f'<tr><td>{bone_words(bone)}</td>{cells}<td><div class="shares">{bar}</div></td></tr>')
    return "<table>\n" + "\n".join(rows) + "\n</table>"


def _measurements(found: _Found, link: Link) -> Iterable[str]:
    """Every measurement with a histogram for each side, on one axis."""
    columns = defaultdict(list)
    for bone, name, column in MEASURED:
        if found.values[column][0]:
            columns[name].append((bone, column))
    if not columns:
        yield "<p>Nothing was measured.</p>"
    for name, sides in columns.items():
        unit = sides[0][1].rpartition("_")[2]
        spreads = [Spread(*map(np.array, found.values[column])) for _, column in sides]
        axis = axis_of(spreads)
        yield f"<h3>{words(name).capitalize()}, {UNITS.get(unit, unit)}</h3>"
        yield '<div class="row">'
        for (bone, _), spread in zip(sides, spreads, strict=True):
            title = bone_words(bone) if bone else "pelvis"
            low, high = spread.quartiles
            caption = f"{title}: {len(spread.values)} films, median {spread.median:.1f}, half of them "
            yield (
                f"<figure>{histogram(spread, axis, f'{words(name)}, {title}')}"
                f"<figcaption>{caption}{low:.1f} to {high:.1f}</figcaption>{_far_out(spread, link)}</figure>"
            )
        yield "</div>"
    yield (
        "<p>The dashed line is the median. Amber bars, and the films named below a histogram, lie more than "
        f"{FAR_OUT} standard deviations from it, as the median absolute deviation has them; the outermost bars hold "
        "what lies beyond.</p>"
    )


def _far_out(spread: Spread, link: Link) -> str:
    places = spread.far_out()
    if not places:
        return ""
    links = [link(int(spread.films[place]), f": {spread.values[place]:.1f}") for place in places[:MOST_LINKS]]
    more = f" and {len(places) - MOST_LINKS} more" if len(places) > MOST_LINKS else ""
    return f'<p class="links">{len(places)} far out: {" ".join(links)}{more}</p>'


def _reasons(found: _Found, link: Link) -> str:
    """Films that came to nothing by reason, the most frequent first."""
    if not found.reasons:
        return "<p>None.</p>"
    rows = ['<tr><th class="number">films</th><th></th><th>reason</th><th>numbers</th></tr>']
    for (status, reason), numbers in sorted(found.reasons.items(), key=lambda item: (-len(item[1]), item[0])):
        few = ", ".join(link(number, "") for number in numbers[:MOST_LINKS]) + (
            " ..." if len(numbers) > MOST_LINKS else ""
        )
        rows.append(
            f'<tr><td class="number">{len(numbers)}</td><td>{status}</td><td>{escape(reason)}</td><td>{few}</td></tr>'
        )
    return "<table>\n" + "\n".join(rows) + "\n</table>"
