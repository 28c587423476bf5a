"""Whether the bones of a film come out about as large as adults' bones are: if not, its pixel pitch is hardly right.

A pitch is wrong by the same share in every bone, so bones that differ from each other are no matter of the pitch: the
largest of them has to be too small, or the smallest too large.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from DualFaceReconLib.bonemaps import BoneMaps, bounding_window, kind_and_side
from DualFaceReconLib.film.acquisition import RadiographWarning
from DualFaceReconLib.film.radiograph import Radiograph
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.shape.completion import Completion
from DualFaceReconLib.shape.shapemodel import ShapeModel

# Femoral heads on radiographs: 47.2 +- 3.6 mm of 200 adults (Kour et al., NeuroQuantology 21(2), 2023). Completed heads
# lean on the shape model: where the pitch is a quarter too small, they are only a sixth too small.
HEAD_LIMITS_MM, USUAL_HEAD_MM = (36.0, 60.0), 46.0
# A hemipelvis by the model's mean, as root mean square from its middle across and along: 5 % is one standard deviation
# of the people in the model, and 4 % that of the distance on which it depends.
HIP_LIMITS = 0.87, 1.13
# Both hemipelves across on a film that shows them whole: adults' iliac crests are about 280 mm apart, 220 to 340.
PELVIS_LIMITS_MM, USUAL_PELVIS_MM = (185.0, 360.0), 275.0
CUT_SHARE = 0.01  # of the film's width: as near to the exposed field's edge a bone may go on beyond it


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large bones came out, of as many as there are."""

    hips: tuple[float, ...]  # by the shape model's mean
    heads_mm: tuple[float, ...]  # across; those that were seen
    pelvis_mm: float | None  # across both hemipelves, at the bones; None where the film cuts one, or one is missing

    def ratio(self) -> float | None:
        """How large the bones are, by what is usual, where some of them are beyond what adults have; else None."""
        measures: list[tuple[Sequence[float], tuple[float, float], float]] = [
            (self.hips, HIP_LIMITS, 1.0),
            (() if self.pelvis_mm is None else (self.pelvis_mm,), PELVIS_LIMITS_MM, USUAL_PELVIS_MM),
            (self.heads_mm, HEAD_LIMITS_MM, USUAL_HEAD_MM),
        ]
        for values, (low, high), usual in measures:
            if values and (max(values) < low or min(values) > high):
                return float(np.median(values)) / usual
        return None


def sizes_of(
    radiograph: Radiograph, maps: BoneMaps, completed: Mapping[str, Completion], models: Mapping[str, ShapeModel]
) -> Sizes:
    """The sizes of what was found; `models` are the left "hip" and "femur"."""
    of_kind: dict[str, list[Completion]] = {"hip": [], "femur": []}
    for bone, completion in completed.items():
        of_kind[kind_and_side(bone)[0]].append(completion)
    return Sizes(
        hips=tuple(_extent(hip.vertices @ hip.fit.rotation) / _extent(models["hip"].mean) for hip in of_kind["hip"]),
        heads_mm=tuple(
            2 * femur.radii_mm["femoral_head_centre"]
            for femur in of_kind["femur"]
            if "femoral_head_centre" in femur.radii_mm and not femur.headless
        ),
        pelvis_mm=_pelvis_mm(radiograph, maps),
    )


def scale_warnings(radiograph: Radiograph, sizes: Sizes) -> list[RadiographWarning]:
    """A doubt in the pixel pitch, where the bones are larger or smaller than adults' are."""
    ratio = sizes.ratio()
    if ratio is None:
        return []
    geometry = radiograph.geometry
    measured = [f"hips {float(np.median(sizes.hips)):.2f} of the usual size"] if sizes.hips else []
    measured += [f"femoral heads {float(np.median(sizes.heads_mm)):.0f} mm"] if sizes.heads_mm else []
    measured += [] if sizes.pelvis_mm is None else [f"the pelvis {sizes.pelvis_mm:.0f} mm across"]
    size = "small" if ratio < 1 else "large"
    depends = "" if geometry.lengths_are_calibrated else f", with the bones {_distance(geometry)} from the detector"
    return [
        RadiographWarning(
            "scale-doubtful",
            f"Everything is about {100 * abs(1 - ratio):.0f} % too {size} for an adult ({', '.join(measured)}{depends})"
            f": is the pixel pitch right? {1 / ratio:.2f} times as much would make the bones as large as usual; check "
            "{pixel_pitch_mm}.",
            {
                "ratio": round(ratio, 3),
                "hips": [round(hip, 3) for hip in sizes.hips],
                "heads_mm": [round(head, 1) for head in sizes.heads_mm],
                "pelvis_mm": None if sizes.pelvis_mm is None else round(sizes.pelvis_mm, 1),
            },
        )
    ]


def _extent(vertices: np.ndarray) -> float:
    """Root mean square distance of vertices (n, 3), as the model has them, from their middle across and along, mm.

    Not in depth, of which the pitch says nothing.
    """
    return float(np.sqrt(vertices[:, [0, 2]].var(axis=0).sum()))


def _pelvis_mm(radiograph: Radiograph, maps: BoneMaps) -> float | None:
    """Across both hemipelves by their masks, in the plane of the bones' centre."""
    geometry = radiograph.geometry
    hips = [mask for bone, mask in zip(maps.bones, maps.mask, strict=True) if kind_and_side(bone)[0] == "hip"]
    if len(hips) < 2 or not all(mask.any() for mask in hips) or geometry.object_distance_mm is None:
        return None
    cols = [bounding_window(mask)[1] for mask in hips]
    first, last = min(part.start for part in cols), max(part.stop for part in cols) - 1
    low, high = radiograph.exposed_field[1].start, radiograph.exposed_field[1].stop - 1
    margin = CUT_SHARE * geometry.size_px[1]
    if first < low + margin or last > high - margin:
        return None
    return (last - first + 1) * geometry.pixel_size_at(geometry.sdd_mm - geometry.object_distance_mm)[1]


def _distance(geometry: ProjectionGeometry) -> str:
    came_from = geometry.provenance["object_distance_mm"]
    spread = "" if came_from.spread is None else f" ± {came_from.spread:.0f}"
    return f"{geometry.object_distance_mm:.0f}{spread} mm ({came_from.kind})"
