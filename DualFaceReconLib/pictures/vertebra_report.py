"""A vertebra as a page to read and to print: warnings, the picture, what was measured, how the films were taken.

The page needs no network and runs nothing; `picture.png` lies beside it. It names no patient.
"""

from __future__ import annotations

from collections.abc import Iterator

from DualFaceReconLib import __version__
from DualFaceReconLib.errors import worded
from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.pictures.inspection import findings
from DualFaceReconLib.pictures.report import page, table, warning_list
from DualFaceReconLib.pictures.wording import PANEL, measured, words
from DualFaceReconLib.vertebra.films import FACES, FILMS
from DualFaceReconLib.vertebra.outcome import SURFACES, ReconstructedVertebra

OF_FRONTAL_ALONE = ("orientation", "side_letters", "view")


def html(vertebra: ReconstructedVertebra) -> str:
    """The whole page."""
    films, bundle = vertebra.films, vertebra.bundle
    frontal, lateral = films.radiographs
    made = [
        ("films", " and ".join(f"{film.pixel_hash} ({film.file_format})" for film in films.radiographs)),
        ("bundle", f"{bundle.id} {bundle.version}"),
        ("sha256 of the bundle", bundle.sha256),
        ("surface", SURFACES[vertebra.surface_by]),
        ("how good it is known to be", vertebra.measured),
        ("DualFaceRecon", __version__),
        ("device", vertebra.device),
        *((words(stage), f"{seconds:.1f} s") for stage, seconds in vertebra.timings_s.items()),
    ]
    sizes = [(words(name), measured(value)) for name, value in vertebra.measurements.items()]
    heads = ("value", "is", "came from", "affects")
    parts = [
        f"<h1>{vertebra.level} of two films</h1>",
        '<p class="research">Research use only. Not for diagnosis or treatment.</p>',
        warning_list([worded(warning.text, PANEL) for warning in vertebra.warnings]),
        '<img src="picture.png" alt="Both films with the vertebra drawn back on them, the vertebra in 3D, and its '
        'certainty">',
        "<h2>Measured</h2>",
        table(("", "measured"), sizes),
        "<p>± is one standard deviation: what the method gets wrong on exact surfaces, how far the answers of the "
        "network differ where its click is moved and the patient mirrored, what its surfaces lack on people whom it "
        "did not learn from, and the distances of the films. The wedge is more than 0 where the body is lower in "
        "front. Certainty is how far the surface may lie from where it is shown; it is no guarantee for a single "
        "place.</p>",
        "<h2>How the films lie to each other</h2>",
        table(("value", "is", "came from"), _pair(vertebra)),
        f"<h2>How the {FILMS[0]} film was taken</h2>",
        table(heads, _taken(frontal, ())),
        f"<h2>How the {FILMS[1]} film was taken</h2>",
        table(heads, _taken(lateral, OF_FRONTAL_ALONE)),
        "<h2>How this was made</h2>",
        table(("", ""), made),
    ]
    return page(f"{vertebra.level} of films {frontal.pixel_hash} and {lateral.pixel_hash}", parts)


def _pair(vertebra: ReconstructedVertebra) -> Iterator[tuple[str, str, str]]:
    films = vertebra.films
    yield "angle between them", f"{films.angle.value:.1f} degrees", str(films.angle.provenance)
    for name, angle in zip(FILMS, films.source_angles, strict=True):
        side = "towards the patient's left" if angle.value > 0 else "towards the patient's right"
        where = f"{abs(angle.value):.1f} degrees from in front{', ' + side if 0 < abs(angle.value) < 180 else ''}"
        yield f"tube of the {name} film", where, str(angle.provenance)
    orientation = films.lateral.orientation
    faces = "right" if orientation.value == FACES["right"] else "left"
    yield "the patient looks", f"to the {faces} of the lateral film", str(orientation.provenance)
    yield "distance between the clicks' rays", f"{vertebra.gap_mm:.1f} mm", "derived: both films' geometry"


def _taken(film: Radiograph, without: tuple[str, ...]) -> Iterator[tuple[str, str, str, str]]:
    for finding in findings(film):
        if finding.name not in without:
            yield words(finding.name), finding.text, str(finding.provenance), finding.affects
