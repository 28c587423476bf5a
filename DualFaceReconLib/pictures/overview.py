"""A reconstruction as a clinician looks at it, in one picture.

Above, the film with every bone's outline, and the bones as the X-rays meet them, on the same film. Below, the bones
from the front and from the side, in millimetres, in their own colours and by how sure they are. Then what was measured
and every warning.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

from DualFaceReconLib.bonemaps import BoneMaps, bounding_window
from DualFaceReconLib.errors import worded
from DualFaceReconLib.film.neighbours import eroded
from DualFaceReconLib.outcome import Bone, Reconstruction
from DualFaceReconLib.pictures import drawing
from DualFaceReconLib.pictures.bones import (
    BONE_COLOURS,
    NOT_COMPLETED,
    UNSURE_MM,
    Surface,
    along_rays,
    certainty_colours,
    from_afar,
    surface_of,
)
from DualFaceReconLib.pictures.drawing import Colour
from DualFaceReconLib.pictures.film import (
    caption,
    film_picture,
    mark_corners,
    mark_scales,
    mark_sides,
    scale_bar,
)
from DualFaceReconLib.pictures.inspection import length_uncertainty
from DualFaceReconLib.pictures.panels import (
    GAP_PX,
    LEGEND_PX,
    WIDTH_PX,
    explained,
    in_a_row,
    over,
    strip,
    titled,
)
from DualFaceReconLib.pictures.shading import striped
from DualFaceReconLib.pictures.wording import PANEL, bone_words, measured, words
from DualFaceReconLib.verdicts import is_doubted

FILM_MOST_PX = (820, 716)  # [rows, cols] of each of the two films
BONES_MOST_PX = 504  # rows that bones cover from the front and the side
HEAD_PX, FOOT_PX, MARGIN_PX = 58, 58, 24  # around them, for letters and scale bars
BACKGROUND: Colour = (24, 24, 24)
OUTLINE_PX = 2
AROUND_PX = 8  # that smoothing and an outline's width reach beyond a bone
DIM = 0.45  # of the film's brightness behind the bones
FRONT, LEFT, _, RIGHT = drawing.AROUND
MEASURED_OF_BONE = ("share_seen", "femoral_head_diameter", "acetabular_diameter", "volume")


def picture(reconstruction: Reconstruction) -> np.ndarray:
    """(rows, 1440, 3) uint8: films, views, certainty, measurements and warnings, as high as all that is."""
    surfaces = [surface_of(name, bone) for name, bone in reconstruction.bones.items()]
    strips = [
        films(reconstruction, surfaces),
        legend_of_bones(reconstruction),
        _views(reconstruction, surfaces),
        _legend_of_certainty(reconstruction),
        text(reconstruction),
    ]
    return np.concatenate(strips)


def films(reconstruction: Reconstruction, surfaces: Sequence[Surface]) -> np.ndarray:
    """(rows, 1440, 3) uint8: the film with every bone's outline, and the bones on it."""
    radiograph = reconstruction.radiograph
    film, drawn = film_picture(radiograph, FILM_MOST_PX)
    view = along_rays(surfaces, drawn)
    on_film = over(film * np.float32(DIM), view.coloured, view.share)
    _outline(film, reconstruction.maps)
    mark_scales(film, drawn)
    for panel in (film, on_film):
        mark_sides(panel, radiograph)
    along = "From the X-ray source" if drawn.view == "AP" else "Along the X-rays, from the front"
    width = (WIDTH_PX - GAP_PX) // 2
    return in_a_row(
        [
            titled(film, "Radiograph with the outlines of the bones", width),
            titled(on_film, f"{along}: the bones on their film", width),
        ]
    )


def _outline(film: np.ndarray, maps: BoneMaps) -> None:
    """The inner border of every bone's mask in the bone's colour."""
    rows, cols = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for new, old in zip(film.shape[:2], maps.mask.shape[1:], strict=True)
    )
    for bone, mask in zip(maps.bones, maps.mask, strict=True):
        drawn = mask.take(rows, axis=0).take(cols, axis=1)
        if drawn.any():
            window = tuple(
                slice(max(part.start - AROUND_PX, 0), part.stop + AROUND_PX) for part in bounding_window(drawn)
            )
            smooth = gaussian_filter(drawn[window].astype(np.float32), 1.0) >= 0.5
            film[window][smooth & ~eroded(smooth, OUTLINE_PX)] = BONE_COLOURS[bone]


def _views(reconstruction: Reconstruction, surfaces: Sequence[Surface]) -> np.ndarray:
    """Front and side, in the bones' colours and by certainty, all in one scale."""
    only_right = all(bone.endswith("right") for bone in reconstruction.bones)
    side, side_words = (RIGHT, "patient's right") if only_right else (LEFT, "patient's left")
    unsure = reconstruction.radiograph.geometry.provenance["view"].kind == "assumed"
    depth_marks = [letter + "?" * unsure for letter in ("AP" if side is LEFT else "PA")]
    points = np.concatenate([surface.vertices for surface in surfaces])
    low, high = points.min(axis=0), points.max(axis=0)
    across_mm, depth_mm, height_mm = high - low

    free = WIDTH_PX - 3 * GAP_PX - 8 * MARGIN_PX
    px_per_mm = min(free / (2 * (across_mm + depth_mm)), BONES_MOST_PX / height_mm)
    rows = round(height_mm * px_per_mm)
    front_width = round(across_mm * px_per_mm + (free / 2 - (across_mm + depth_mm) * px_per_mm) / 2) + 2 * MARGIN_PX
    widths = (front_width, (WIDTH_PX - 3 * GAP_PX) // 2 - front_width)
    views = [
        from_afar(surfaces, eye, (low + high) / 2, px_per_mm, (rows, width))
        for eye, width in zip((FRONT, side), widths, strict=True)
    ]
    panels = []
    for titles, certainty in (
        (("From the front", f"From the {side_words}"), False),
        (("Certainty, front", f"Certainty, {side_words}"), True),
    ):
        for view, title in zip(views, titles, strict=True):
            panel = over(np.array(BACKGROUND), view.by_certainty if certainty else view.coloured, view.share)
            panel = np.pad(panel, ((HEAD_PX, FOOT_PX), (0, 0), (0, 0)), constant_values=BACKGROUND[0])
            if view is views[0]:
                mark_sides(panel, reconstruction.radiograph, 32)
            else:
                mark_corners(panel, *depth_marks, 32, drawing.AMBER if unsure else drawing.WHITE)
            scale_bar(panel, 1 / px_per_mm, "", panel.shape[0] - 16, 15)
            panels.append(titled(panel, title, panel.shape[1]))
    return in_a_row(panels)


# Legends


def legend_of_bones(reconstruction: Reconstruction) -> np.ndarray:
    """(rows, 1440, 3) uint8: every bone's colour, and how far it can be relied on."""
    legend, col = strip(LEGEND_PX), 12
    for bone in reconstruction.maps.bones:
        note, colour = ": not found", drawing.WHITE
        if bone in reconstruction.bones:
            verdict = reconstruction.bones[bone].verdict
            note = "" if verdict is None else f": {verdict.grade}"
            colour = drawing.AMBER if is_doubted(verdict) else drawing.WHITE
        swatch = np.full((16, 16, 3), BONE_COLOURS[bone], np.uint8)
        col = explained(legend, col, swatch, bone_words(bone) + note, colour)
    return legend


def _legend_of_certainty(reconstruction: Reconstruction) -> np.ndarray:
    """Under the views by certainty, which begin in the middle."""
    legend, col = strip(LEGEND_PX), (WIDTH_PX + GAP_PX) // 2 + 12
    scale = np.broadcast_to(certainty_colours(np.linspace(0, UNSURE_MM, 120)), (16, 120, 3))
    col = explained(legend, col, scale, f"std. deviation, 0 to {UNSURE_MM:g} mm")
    inferred = np.full((16, 30, 3), certainty_colours(np.array(UNSURE_MM / 3)), np.uint8)
    striped(inferred)
    col = explained(legend, col, inferred, "inferred, not seen")
    if any(bone.completed is None for bone in reconstruction.bones.values()):
        explained(legend, col, np.full((16, 16, 3), NOT_COMPLETED, np.uint8), "not completed")
    return legend


# Words


def text(reconstruction: Reconstruction) -> np.ndarray:
    """(rows, 1440, 3) uint8: what was measured at the left, all warnings at the right."""
    facts = [(line, drawing.WHITE) for line in _facts(reconstruction)]
    facts[-1:-1] = [_about(name, bone) for name, bone in reconstruction.bones.items()]
    warnings = [(f"Warning: {worded(warning.text, PANEL)}", drawing.AMBER) for warning in reconstruction.warnings]
    width = (WIDTH_PX - GAP_PX) // 2
    columns = [caption(lines, width) for lines in (facts, warnings or [("No warnings.", drawing.WHITE)])]
    height = max(column.shape[0] for column in columns)
    return in_a_row([np.pad(column, ((0, height - column.shape[0]), (0, 0), (0, 0))) for column in columns])


def _facts(reconstruction: Reconstruction) -> list[str]:
    radiograph, bundle = reconstruction.radiograph, reconstruction.bundle
    geometry = radiograph.geometry
    view, sdd, distance = (geometry.provenance[name] for name in ("view", "sdd_mm", "object_distance_mm"))
    bones = "The bones' distance from the detector is unknown"
    if geometry.object_distance_mm is not None:
        spread = "" if distance.spread is None else f" ± {distance.spread:.0f}"
        bones = f"Bones {geometry.object_distance_mm:.0f}{spread} mm from the detector ({distance})"
    return [
        "Research use only.",
        f"{geometry.view} ({view.kind}), source to detector {geometry.sdd_mm:.0f} mm ({sdd.kind})",
        f"{bones}: {length_uncertainty(radiograph)}",
        *(_sentence(f"{words(name)} {measured(value)}") for name, value in reconstruction.measurements.items()),
        f"Film {radiograph.pixel_hash}, made into bones by {bundle.id} {bundle.version} on {reconstruction.device}",
    ]


def _about(name: str, bone: Bone) -> tuple[str, Colour]:
    """What was measured of a bone and how far it can be relied on; in amber where it is not good."""
    known = {kind: measured(bone.measurements[kind]) for kind in MEASURED_OF_BONE if kind in bone.measurements}
    parts = [f"{words(kind)} {value}" for kind, value in known.items()]
    if bone.completed is None:
        parts = ["what was seen of it; not completed"]
    grade = "" if bone.verdict is None else f" ({bone.verdict.grade})"
    colour = drawing.AMBER if is_doubted(bone.verdict) else drawing.WHITE
    return _sentence(f"{bone_words(name)}{grade}: {', '.join(parts)}"), colour


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
