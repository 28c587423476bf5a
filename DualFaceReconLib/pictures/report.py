"""A reconstruction as a page to read and to print: warnings, the picture, how the film was taken, what was measured.

The page needs no network and runs nothing; `picture.png` lies beside it. It names no patient.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING

from DualFaceReconLib import __version__
from DualFaceReconLib.errors import worded
from DualFaceReconLib.pictures.inspection import findings
from DualFaceReconLib.pictures.wording import PANEL, bone_words, measured, words

if TYPE_CHECKING:
    from DualFaceReconLib.measurements import Measurement
    from DualFaceReconLib.outcome import Reconstruction

STYLE = """
@page { size: A4; margin: 15mm }
body { font: 10pt/1.4 system-ui, sans-serif; color: #111; background: #fff; max-width: 180mm; margin: 8mm auto }
h1 { font-size: 17pt; margin: 0 } h2 { font-size: 12pt; margin: 6mm 0 2mm; break-after: avoid }
img { width: 100%; max-height: 245mm; object-fit: contain; break-inside: avoid }
table { border-collapse: collapse; width: 100% } tr { break-inside: avoid }
th, td { text-align: left; vertical-align: top; padding: 1mm 2mm; border-bottom: 0.2mm solid #bbb }
td { overflow-wrap: anywhere }
.warnings { border-left: 1.5mm solid #d98200; background: #fff4de; padding: 2mm 4mm; margin: 4mm 0 }
.warnings ul { margin: 0; padding-left: 5mm }
.research { font-weight: bold }
"""


def html(reconstruction: Reconstruction) -> str:
    """The whole page."""
    radiograph, bundle = reconstruction.radiograph, reconstruction.bundle
    taken = [(words(f.name), f.text, str(f.provenance), f.affects) for f in findings(radiograph)]
    made = [
        ("film", f"{radiograph.pixel_hash} ({radiograph.file_format})"),
        ("bones' masks", str(reconstruction.masks)),
        ("bundle", f"{bundle.id} {bundle.version}"),
        ("sha256 of the bundle", bundle.sha256),
        ("DualFaceRecon", __version__),
        ("device", reconstruction.device),
        *((words(stage), f"{seconds:.1f} s") for stage, seconds in reconstruction.timings_s.items()),
    ]
    parts = [
        "<h1>Bones from a hip radiograph</h1>",
        '<p class="research">Research use only. Not for diagnosis or treatment.</p>',
        warning_list([worded(warning.text, PANEL) for warning in reconstruction.warnings]),
        '<img src="picture.png" alt="The radiograph with the bones\' outlines, the bones in 3D, and their certainty">',
        "<h2>Bones</h2>",
        table(("bone", "", "measured"), _bones(reconstruction)),
    ]
    if reconstruction.measurements:
        parts += ["<h2>Between bones</h2>", table(("", "measured"), _measurements(reconstruction.measurements))]
    parts += [
        "<p>± is one standard deviation; of areas and volumes it tells of the bones' distance alone. Certainty is how "
        "far a bone's surface may lie from where it is shown; only certainty with distance has in it that all bones "
        "together may lie nearer or farther.</p>",
        "<h2>How the film was taken</h2>",
        table(("value", "is", "came from", "affects"), taken),
        "<h2>How this was made</h2>",
        table(("", ""), made),
    ]
    return page(f"Bones from film {radiograph.pixel_hash}", parts)


def page(title: str, parts: list[str]) -> str:
    """A whole page of parts in HTML, in the style of all reports."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def warning_list(texts: list[str]) -> str:
    """A box with all of them, or that there are none."""
    if not texts:
        return "<p>No warnings.</p>"
    rows = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<div class="warnings"><h2>Warnings</h2><ul>{rows}</ul></div>'


def _bones(reconstruction: Reconstruction) -> Iterable[tuple[str, str, str]]:
    """A row for every measurement of every bone; the bone's name stands in its first one."""
    for name in reconstruction.maps.bones:
        bone = reconstruction.bones.get(name)
        if bone is None:
            yield bone_words(name), "not found in this picture", ""
            continue
        yield bone_words(name), "completed" if bone.completed is not None else "only what was seen; not completed", ""
        if bone.verdict is not None:
            yield "", "verdict", str(bone.verdict)
        for row in _measurements(bone.measurements):
            yield "", *row


def _measurements(measurements: Mapping[str, Measurement]) -> list[tuple[str, str]]:
    return [(words(name), measured(measurement)) for name, measurement in measurements.items()]


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Rows of text under heads, escaped."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f"<table>\n<tr>{head}</tr>\n{body}</table>"
