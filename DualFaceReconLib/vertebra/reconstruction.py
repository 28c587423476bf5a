"""Two films and a click on each become a vertebra: the pipeline, stage by stage. Research use only.

reconstructor = VertebraReconstructor()     # the bundle that ships, the best device here
films = read_spine_films("ap.dcm", "lateral.dcm")
vertebra = reconstructor.run(films, VertebraTarget(level="L3", centre_ap_px=(512, 300), centre_lateral_px=(498, 410)))
vertebra.surface                            # vtkPolyData, RAS mm
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from DualFaceReconLib.backprojection import Cube
from DualFaceReconLib.bundle.store import vertebra_bundle_folder
from DualFaceReconLib.errors import Cancelled, Refusal, meant
from DualFaceReconLib.film.acquisition import RadiographWarning
from DualFaceReconLib.inference import usable_device
from DualFaceReconLib.levels import group_of
from DualFaceReconLib.measurements import Measurement, relative_spread
from DualFaceReconLib.meshes import Mesh, add_point_data, polydata, volume_mm3
from DualFaceReconLib.outcome import BundleName
from DualFaceReconLib.prediction import Progress
from DualFaceReconLib.vertebra.bone import touches_an_end, whole_bone
from DualFaceReconLib.vertebra.films import FILMS, SpineFilms
from DualFaceReconLib.vertebra.fitting import fitted_to_surface
from DualFaceReconLib.vertebra.measuring import body_sizes
from DualFaceReconLib.vertebra.outcome import NETWORK, SHAPE_MODEL, ReconstructedVertebra
from DualFaceReconLib.vertebra.sizes import published_mm
from DualFaceReconLib.vertebra.surface import spread_mm, vertebra_surface
from DualFaceReconLib.vertebra.targets import VertebraTarget, centres_on, check_target, met
from DualFaceReconLib.vertebra.volume import IN_PLACE, VertebraNetwork, load_vertebra_network, share_of_cube_lit

SHARES = {"films": 0.0, "network": 0.1, "surface": 0.8}  # of the whole, where a stage begins
LEAST_CM3 = 2.0  # the smallest vertebra that was measured has 9
LEAST_LIT = 0.85  # of the cube that each film should show
USUAL_SIZE = (0.7, 1.4)  # beside the published means; the adults of twelve spines are within 0.8 and 1.25
# Of `body_sizes` on the exact surfaces of 50 real vertebrae, turned by up to 20 degrees, beside what is measured by
# parts of their template: root mean squares
METHOD_STD = {
    "body_height_anterior": 0.5,
    "body_height_middle": 0.6,
    "body_height_posterior": 0.4,
    "wedge_angle": 1.2,
    "upper_endplate_width": 3.0,
    "lower_endplate_width": 3.1,
    "upper_endplate_depth": 2.2,
    "lower_endplate_depth": 1.6,
}
DEGREES, PERCENT = "degrees", "% of the posterior height"


class VertebraReconstructor:
    """A bundle's network, loaded once and used for many vertebrae."""

    def __init__(self, bundle: str | Path | None = None, device: str | None = None) -> None:
        """`bundle`: an id, a folder, or None for the one that ships; `device`: "cuda", "mps", "cpu" or the best."""
        self.network: VertebraNetwork = load_vertebra_network(vertebra_bundle_folder(bundle), usable_device(device))

    def __repr__(self) -> str:
        manifest = self.network.manifest
        return f"VertebraReconstructor({manifest.id} {manifest.version} on {self.network.device}: {manifest.content})"

    def check(self, films: SpineFilms, target: VertebraTarget) -> None:
        """Refusal where the network did not learn such a vertebra or such films, or clicks do not fit."""
        manifest = self.network.manifest
        if target.level not in manifest.levels:
            raise Refusal(
                f"Bundle {manifest.id} did not learn {target.level}: {meant(target.level, manifest.levels)}",
                "level-not-learnt",
            )
        low, high = manifest.angle_degrees
        angle = films.angle
        if not low <= angle.value <= high:
            raise Refusal(
                f"The films are {angle.value:.0f} degrees apart ({angle.provenance}), and bundle {manifest.id} learnt "
                f"{low:g} to {high:g}: choose another pair, or give the true angle.",
                "angle-not-learnt",
                limits_degrees=(low, high),
            )
        check_target(target, films)
        met(target, films)

    def run(
        self,
        films: SpineFilms,
        target: VertebraTarget,
        *,
        progress: Progress = lambda stage, share: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> ReconstructedVertebra:
        """All stages; Refusal where no vertebra is found, Cancelled where the caller wants no more."""
        timings: dict[str, float] = {}

        @contextmanager
        def stage(name: str) -> Iterator[None]:
            if cancelled():
                raise Cancelled
            progress(name, SHARES[name])
            begun = time.perf_counter()
            yield
            timings[name] = time.perf_counter() - begun

        manifest = self.network.manifest
        with stage("films"):
            self.check(films, target)
            meeting, warnings = met(target, films)
            cube = self.network.cube(meeting.point)
            warnings += tuple(_at_borders(films, cube))
        with stage("network"):
            passes = self.network.passes(films, meeting.point, centres_on(target, films), cancelled)
        with stage("surface"):
            volume = passes[:IN_PLACE].mean(axis=0)
            found = _Body.of(volume, manifest.threshold_hu, cube)
            if found.mesh is None or volume_mm3(*found.mesh) < LEAST_CM3 * 1000:
                raise Refusal(
                    f"No vertebra was found where {target.level} was clicked: check the clicks, and that bone is "
                    "bright in both films ({invert}).",
                    "no-vertebra",
                )
            if touches_an_end(found.inside):
                warnings += (
                    RadiographWarning(
                        "vertebra-cut", f"{target.level} reaches an end of its cube and is cut off there."
                    ),
                )
            group = group_of(target.level)
            mesh, std_mm = found.mesh, spread_mm(found.mesh[0], volume, passes, manifest.threshold_hu, cube)
            model = self.network.shape_models.get(group)
            if model is not None:
                mesh = fitted_to_surface(model, mesh), model.triangles
                std_mm = _carried_over(std_mm, found.mesh[0], mesh[0], cube.voxel_mm)
            std_mm = np.hypot(std_mm, manifest.surface_error_mm[group])
            surface = polydata(*mesh)
            add_point_data(surface, "std_mm", std_mm.astype(np.float32))
            sizes = _sizes(mesh, found, [_Body.of(one, manifest.threshold_hu, cube) for one in passes])
            measurements = _measured(sizes, mesh, std_mm, films)
            warnings += tuple(_sizes_doubted(target.level, sizes, films))
        if cancelled():
            raise Cancelled
        progress("done", 1.0)
        return ReconstructedVertebra(
            films=films,
            target=target,
            centre=tuple(meeting.point.tolist()),
            gap_mm=meeting.gap_mm,
            volume_hu=volume.astype(np.float32),
            voxel_mm=manifest.voxel_mm,
            surface=surface,
            surface_by=NETWORK if model is None else SHAPE_MODEL,
            measurements=measurements,
            bundle=BundleName(id=manifest.id, version=manifest.version, sha256=manifest.sha256),
            measured=manifest.measured,
            device=self.network.device,
            timings_s=timings,
            warnings=(*films.warnings, *warnings),
        )


def _at_borders(films: SpineFilms, cube: Cube) -> Iterator[RadiographWarning]:
    """Of films that do not show all of a cube."""
    places = films.pair.first, films.pair.second
    for name, film, place in zip(FILMS, films.radiographs, places, strict=True):
        lit = share_of_cube_lit(place, film, cube)
        if lit < LEAST_LIT:
            yield RadiographWarning(
                "vertebra-at-border",
                f"The {name} film shows {100 * lit:.0f} % of the vertebra's surroundings: it lies at the border, where "
                "the network is less sure.",
                {"share": lit},
            )


Sizes = Mapping[str, tuple[float, float]]  # by name a value, and how far passes are from it, root mean square


@dataclass(frozen=True, kw_only=True)
class _Body:
    """Bone in a volume."""

    cube: Cube
    inside: np.ndarray  # (side, side, side) bool
    mesh: Mesh | None

    @classmethod
    def of(cls, hu: np.ndarray, threshold_hu: float, cube: Cube) -> _Body:
        inside = whole_bone(hu, threshold_hu, cube.voxel_mm)
        return cls(cube=cube, inside=inside, mesh=vertebra_surface(hu, threshold_hu, cube, inside))

    def sizes(self, mesh: Mesh | None = None) -> dict[str, float]:
        """What is measured on its mesh, or on another one of it; {} where no body is recognised."""
        mesh = self.mesh if mesh is None else mesh
        try:
            return {} if mesh is None else body_sizes(mesh, self.inside, self.cube)
        except ValueError:
            return {}


def _sizes(mesh: Mesh, found: _Body, passes: Sequence[_Body]) -> Sizes:
    """What is measured on the mesh that is the result, and how far the network's passes are from the network."""
    sizes, own, others = found.sizes(mesh), found.sizes(), [one.sizes() for one in passes]
    known = [other for other in others if other] if own else []
    return {
        name: (value, math.sqrt(np.mean([(other[name] - own[name]) ** 2 for other in known])) if known else math.nan)
        for name, value in sizes.items()
    }


def _carried_over(std_mm: np.ndarray, from_mm: np.ndarray, to_mm: np.ndarray, voxel_mm: float) -> np.ndarray:
    """(W,) of vertices (W, 3) that a model has: what the nearest of the network's (V, 3) has, and how far that is."""
    away, nearest = cKDTree(from_mm).query(to_mm)
    return np.hypot(std_mm[nearest], np.maximum(away - voxel_mm / 2, 0))  # vertices stand a voxel apart


def _measured(sizes: Sizes, mesh: Mesh, std_mm: np.ndarray, films: SpineFilms) -> dict[str, Measurement]:
    """With standard deviations of the passes, of the method, of the surface, and of the bones' distance."""
    first, second = (relative_spread(film.geometry) for film in films.radiographs)
    surface_mm = float(np.sqrt(np.mean(std_mm**2)))
    certainty = {"certainty": Measurement(surface_mm, "mm")} if films.in_millimetres else {}
    high = sizes["body_height_posterior"][0] if sizes else math.nan
    measured = {}
    for name, (value, apart) in sizes.items():
        if name == "wedge_angle":
            depth = (sizes["upper_endplate_depth"][0] + sizes["lower_endplate_depth"][0]) / 2
            own = math.degrees(math.atan2(surface_mm, depth))
            measured[name] = Measurement(value, DEGREES, math.hypot(apart, METHOD_STD[name], own))
            continue
        scale = first if "width" in name else second if "depth" in name else math.hypot(first, second) / 2
        std = math.hypot(apart, METHOD_STD[name], surface_mm)
        if films.in_millimetres:
            measured[name] = Measurement(value, "mm", math.hypot(std, value * scale))
        else:
            measured[name] = Measurement(100 * value / high, PERCENT, 100 * std / high)
    if films.in_millimetres:
        cm3 = volume_mm3(*mesh) / 1000
        scale = 1.5 * math.hypot(first, second)  # each film gives the width or the depth, and half of the height
        measured["volume"] = Measurement(cm3, "cm3", scale * cm3 if scale else None)
    return {**measured, **certainty}


def _sizes_doubted(level: str, sizes: Sizes, films: SpineFilms) -> Iterator[RadiographWarning]:
    """Of a vertebra that cannot be measured, or is not as large as one of its level."""
    if not sizes:
        yield RadiographWarning(
            "vertebra-not-measured", f"No body with two endplates is recognised in {level}: it is not measured."
        )
    elif films.in_millimetres:
        names = ("body_height_posterior", "lower_endplate_width", "lower_endplate_depth")
        ratio = float(np.exp(np.mean([math.log(sizes[name][0] / published_mm(f"{name}_mm", level)) for name in names])))
        if not USUAL_SIZE[0] <= ratio <= USUAL_SIZE[1]:
            yield RadiographWarning(
                "size-doubted",
                f"{level} comes out {ratio:.2f} times as large as those of adults are: check {{pixel_pitch_mm}}, the "
                "films' distances and the level.",
                {"ratio": ratio},
            )
