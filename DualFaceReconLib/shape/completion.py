"""Completes what was seen of a bone: fits the bone's shape model, and says for every vertex what it rests on.

    completion = complete(observed, model, geometry)
    completion.vertices, completion.seen, completion.std_mm

`fitting.py` has the objective and its search; here are the first pose, which needs no alignment by hand, and what a fit
tells of the bone. No triangle of a completed bone is flipped, and no two cross.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from threading import Event

import numpy as np
from scipy.sparse import csc_array, diags_array
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from vtkmodules.vtkCommonDataModel import vtkPolyData

from DualFaceReconLib.errors import Cancelled, Refusal
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import add_point_data, double_areas, point_data, polydata, sample_surface, unit_normals
from DualFaceReconLib.shape.fitting import (
    DEFAULT_SETTINGS,
    Fit,
    FitSettings,
    Gone,
    Target,
    data_precision,
    fit,
    pairing_features,
    without_sampling_gap,
)
from DualFaceReconLib.shape.repair import repaired_vertices, vertex_adjacency
from DualFaceReconLib.shape.shapemodel import ShapeModel, model_of
from DualFaceReconLib.shape.visibility import rays_to
from DualFaceReconLib.surfaces import BACK, FRONT, observed_triangles

TARGET_POINTS = 4000
FEWEST_MM2 = 2500.0  # of a face; less, a twentieth of a hip or a femur, does not place a bone

START_POINTS = 700
# Few modes, strongly regularised. Distances count both ways even for one face, or a long bone would slide along a
# target that shows only half of it.
START_SETTINGS = FitSettings(modes=3, steps=2, settled=0.01, vertex_stride=6, regularisation=1.0)
START_STEPS = 10  # of the best of several starts
# Standard deviations: a start whose shape is farther from all people has slid along its target; the mean starts then
START_RANGE = 4.0
# Where a bone that is seen at its joint was not found: such femora have 1 to 31 on AP films, and 140 to 210 on frog-leg
# films where the search went astray.
LOST_MM2 = 60.0
TURNED_DEGREES = (-80.0, -40.0, 0.0, 40.0, 80.0)
JOINT_LANDMARK = {"hip": "acetabular_centre", "femur": "femoral_head_centre"}  # one place of both bones
# From the rays to a socket's centre: a femur with a head is seen 1.3 mm from them at most, one without 34 at least
HEAD_WITHIN_MM = 15.0
# Where a femur without a head is tried, as its shaft holds it but loosely there
ALONG_SHAFT_MM = (0.0, -25.0, 25.0)
EDGE_SHARE = 0.015  # of the picture; a bone this close to its edge is taken to go on beyond it

# How sure a vertex is: chosen on people of llp26 and rhan40 who were not in the model, so that 60 to 76 % of vertices
# lie within one standard deviation and 90 to 98 % within two, seen and unseen apart.
INDEPENDENT_POINTS = 15.0  # that a target's many points are worth, as the errors of neighbours go together
LEAST_ERROR_MM = 0.25
SEEN_SHARES = (0.3, 1.0)  # of the posterior and of the typical distance, where a vertex was seen
UNSEEN_SHARES = (1.0, 1.0)
UNSEEN_ERROR_MM = 0.5  # what the modes cannot explain where nothing was seen

LOOK_S = 0.1  # how often the caller is asked whether it still wants the bones

REFINED_AT_MOST_MM = 3.0
REFINED_OVER_MM = 8.0  # how far a lone displacement reaches along the surface


@dataclass(frozen=True, kw_only=True)
class Completion:
    """A whole bone, and what every vertex of it rests on."""

    bone: str  # of the model: "hip" or "femur"
    side: str
    vertices: np.ndarray  # (V, 3) RAS mm
    triangles: np.ndarray  # (T, 3), outward
    seen: np.ndarray  # (V,) bool; the others are inferred
    distance_mm: np.ndarray  # (V,) to the observed surface
    std_mm: np.ndarray  # (V,) standard deviation of the surface's place, along its normal
    landmarks: Mapping[str, np.ndarray]  # name -> (3,) RAS mm
    radii_mm: Mapping[str, float]  # of the spheres that some landmarks are the centres of
    fit: Fit  # pose and coefficients; repaired and refined vertices differ from it
    observed_mm2: float  # of the surface that it was completed from
    refined_mm: float | None  # the farthest that refinement moved a vertex; None where it was off
    headless: bool = False  # of a femur head and neck are inferred, as nothing was seen at its joint

    def polydata(self) -> vtkPolyData:
        """The mesh with point data `seen` (uint8), `distance_mm` and `std_mm` (float32)."""
        mesh = polydata(self.vertices.astype(np.float32), self.triangles)
        for name, values in (
            ("seen", self.seen.astype(np.uint8)),
            ("distance_mm", self.distance_mm.astype(np.float32)),
            ("std_mm", self.std_mm.astype(np.float32)),
        ):
            add_point_data(mesh, name, values)
        return mesh


def threads() -> int | None:
    """How many bones are completed at a time, as the variable says that all libraries ask for; None: by the cores."""
    number = os.environ.get("OMP_NUM_THREADS", "")
    return int(number) if number.isdigit() and int(number) > 0 else None


def complete_all(
    observed: Mapping[str, vtkPolyData],
    models: Mapping[str, ShapeModel],
    geometry: ProjectionGeometry,
    settings: FitSettings = DEFAULT_SETTINGS,
    *,
    refine: bool = False,
    on_refusal: Callable[[str, Refusal], None] | None = None,
    progress: Callable[[float], None] = lambda share: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> dict[str, Completion]:
    """The completed bones of a picture; `models` are the left "hip" and "femur", bones are called `hip_right` ...

    Both sides at a time, and of each the hip first, as it tells where its femur's head is. `on_refusal` gets the bones
    of which too little was seen; without it their Refusal is raised. Callbacks are called in the caller's own thread.
    """
    completions: dict[str, Completion] = {}
    jobs: dict[Future[Completion], str] = {}
    stop = Event()
    with ThreadPoolExecutor(threads()) as pool:

        def begin(bone: str, joint: np.ndarray | None = None) -> None:
            how = {"joint": joint, "refine": refine, "cancelled": stop.is_set}
            job = pool.submit(complete, observed[bone], model_of(bone, models), geometry, settings, **how)
            jobs[job] = bone

        try:
            for bone in observed:
                hip = bone.replace("femur", "hip")
                if hip == bone or hip not in observed:
                    begin(bone)
            done = 0
            while jobs:
                ready = wait(jobs, timeout=LOOK_S, return_when=FIRST_COMPLETED).done
                if cancelled():
                    raise Cancelled
                for job in ready:
                    bone, joint = jobs.pop(job), None
                    try:
                        completion = completions[bone] = job.result()
                        joint = completion.landmarks.get(JOINT_LANDMARK[completion.bone])
                    except Refusal as refusal:
                        if on_refusal is None:
                            raise
                        on_refusal(bone, refusal)
                    done += 1
                    progress(done / len(observed))
                    femur = bone.replace("hip", "femur")
                    if femur != bone and femur in observed:
                        begin(femur, joint)
        finally:
            stop.set()  # or whoever leaves early would wait for all fits
    return {bone: completions[bone] for bone in observed if bone in completions}


def complete(
    observed: vtkPolyData,
    model: ShapeModel,
    geometry: ProjectionGeometry,
    settings: FitSettings = DEFAULT_SETTINGS,
    *,
    joint: np.ndarray | None = None,
    refine: bool = False,
    cancelled: Callable[[], bool] = lambda: False,
) -> Completion:
    """The whole bone behind an observed surface (`surfaces.observed_surface`), from a model of the same side.

    `geometry` is of the pixels on which bones could be seen. `joint` (3,) RAS mm: where the hip joint is about, if that
    is known. A femur of which nothing is there may have no head, as where metal replaced it: if that fits better, the
    model's head and neck are completed, but were not looked for. `refine` moves what was seen beyond the model's modes,
    smoothly and by 3 mm at most. `cancelled` is asked all the time, in the thread that computes; Cancelled is raised
    where it says so.
    """
    target = observed_target(observed, geometry)
    fitted = fit(model, target, initial_fit(model, target, joint, cancelled), settings, cancelled)
    if joint is not None and model.bone == "femur" and (headless := without_head(target, model, joint)) is not None:
        stump = fit(model, headless, initial_fit(model, headless, joint, cancelled), settings, cancelled)
        if stump.objective < fitted.objective:  # else the joint may be elsewhere
            target, fitted = headless, stump
    return completion_of(fitted, model, target, settings, refine=refine)


def observed_target(
    observed: vtkPolyData,
    geometry: ProjectionGeometry,
    count: int = TARGET_POINTS,
    fewest_mm2: float = FEWEST_MM2,
) -> Target:
    """Points of an observed surface, evenly by area, walls left out; Refusal of fewer mm2 of a face."""
    vertices, triangles = observed_triangles(observed)
    face = point_data(observed, "face")
    areas, at = double_areas(vertices.astype(np.float32), triangles), face[triangles[:, 0]]  # as the surface has them
    area = {side: float(areas[at == side].sum() / 2) for side in (FRONT, BACK)}
    whole = sum(area.values())
    fewest = fewest_mm2 * max(np.count_nonzero(list(area.values())), 1)
    if whole < fewest:
        raise Refusal(
            f"too little of the bone was seen to complete it: {whole / 100:.1f} cm2 of surface where "
            f"{fewest / 100:.0f} are needed; leave the bone out, or check its mask and depths"
        )
    points, outward = [], []
    for side in (FRONT, BACK):
        if area[side] > 0:
            own, number = np.flatnonzero(at == side), max(round(count * area[side] / whole), 1)
            sampled = sample_surface(vertices, triangles[own], number, seed=side, area=areas[own])
            points.append(sampled)
            outward.append(rays_to(sampled, geometry) * (1 if side == BACK else -1))
    dual = area[BACK] > 0
    return Target(
        points=np.concatenate(points),
        outward=np.concatenate(outward),
        geometry=geometry,
        dual=dual,
        both_ways=dual,
        area_mm2=whole,
    )


def seen_beside_mm(target: Target, place: np.ndarray) -> float:
    """How far from the ray to a place (3,) RAS mm the nearest of a bone was seen, at the bone's depth."""
    assert target.geometry is not None
    ray, points = (
        (points - target.geometry.source) / target.geometry.depth(points)[:, None]
        for points in (place[None], target.points)
    )
    return float(np.linalg.norm(points - ray, axis=1).min() * target.geometry.depth(target.points).mean())


def without_head(target: Target, model: ShapeModel, joint: np.ndarray) -> Target | None:
    """What was seen, as of a femur without head and neck; None if it was seen at its joint (3,) RAS mm."""
    head = model.landmarks.get(JOINT_LANDMARK["femur"])
    if head is None or (beside_mm := seen_beside_mm(target, joint)) <= HEAD_WITHIN_MM:
        return None
    lacking = np.linalg.norm(model.mean - head.place(model.mean), axis=1) < beside_mm
    return replace(target, gone=Gone(vertices=lacking, landmark=head, place=joint))


def initial_fit(
    model: ShapeModel,
    target: Target,
    joint: np.ndarray | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    coarse: ShapeModel | None = None,
) -> Fit:
    """A pose and a size near the target: by the joint where it is known, else by the target's middle and ends.

    `coarse`: the model on fewer vertices (`ShapeModel.coarse`), where what follows makes up for that.
    """
    searched = model if coarse is None else coarse
    settings = START_SETTINGS if coarse is None else replace(START_SETTINGS, vertex_stride=1)
    few = replace(target.thinned(START_POINTS), both_ways=True)
    own = None if joint is None else model.landmarks.get(JOINT_LANDMARK[model.bone])
    if joint is not None and own is not None:
        along = ALONG_SHAFT_MM if target.gone is not None else (0.0,)
        translations = [joint + np.array([0.0, 0.0, up]) - own.place(model.mean) for up in along]
    else:
        translations = _translations_by_its_ends(model, target)
    upright = [Fit(rotation=np.eye(3), translation=offset, coefficients=np.zeros(0)) for offset in translations]
    best = upright[0]
    if len(upright) > 1:
        tried = settings if target.gone is None else replace(settings, steps=START_STEPS)
        fits = [fit(searched, few, start, tried, cancelled) for start in upright]
        best = min(fits, key=lambda fitted: fitted.objective)
    near = fit(searched, few, best, replace(settings, steps=START_STEPS), cancelled)
    if np.abs(near.coefficients).max(initial=0.0) > START_RANGE:
        near = fit(searched, few, best, replace(settings, modes=0, steps=START_STEPS), cancelled)
    lost = joint is not None and own is not None and near.objective > LOST_MM2
    if lost and seen_beside_mm(target, joint) <= HEAD_WITHIN_MM:
        turned = _turned_to_its_length(model, own.place(model.mean), target, joint)
        fits = [fit(searched, few, start, replace(settings, steps=START_STEPS), cancelled) for start in turned]
        near = min((near, *fits), key=lambda fitted: fitted.objective)
    return near


def _turned_to_its_length(model: ShapeModel, head: np.ndarray, target: Target, joint: np.ndarray) -> list[Fit]:
    """The mean bone with its head (3,) in the joint (3,) and along the target, turned about its length in steps.

    As legs lie on a frog-leg film, bent and turned outwards, which no search finds from a bone that stands upright.
    """
    own, seen = _length_from(model.mean, head), _length_from(target.points, joint)
    onto, _ = Rotation.align_vectors(seen[None], own[None])
    turns = [Rotation.from_rotvec(np.radians(angle) * seen) * onto for angle in TURNED_DEGREES]
    return [
        Fit(rotation=turn.as_matrix(), translation=joint - turn.apply(head), coefficients=np.zeros(0)) for turn in turns
    ]


def _length_from(points: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The unit vector (3,) along which points (N, 3) spread most, away from an end (3,)."""
    middle = points.mean(axis=0)
    along = np.linalg.svd(points - middle, full_matrices=False)[2][0]
    return along if along @ (middle - end) > 0 else -along


def _translations_by_its_ends(model: ShapeModel, target: Target) -> list[np.ndarray]:
    """Translations (3,) that put the model's middle or one of its ends upon the target's."""
    low, high = np.percentile(target.points, (2, 98), axis=0)
    own_low, own_high = model.mean.min(axis=0), model.mean.max(axis=0)
    candidates = [(low + high - own_low - own_high) / 2]
    for axis, cut_low, cut_high in _cut_by_the_picture(target):  # the end that is not cut is the one to go by
        ends = [high - own_high] * cut_low + [low - own_low] * cut_high
        candidates += [np.where(np.arange(3) == axis, end, middle) for middle in candidates for end in ends]
    return candidates


def _cut_by_the_picture(target: Target) -> list[tuple[int, bool, bool]]:
    """Axes (0 is R, 2 is S), and whether the picture may cut the bone at the axis' low end and at its high end."""
    if target.geometry is None:
        return []
    pixels = target.geometry.project(target.points)[0]
    size = np.array(target.geometry.size_px)
    first = pixels.min(axis=0) < EDGE_SHARE * size
    last = pixels.max(axis=0) > (1 - EDGE_SHARE) * size - 1
    if not (first | last).any():
        return []
    # Columns run against R, rows against S. A bone that is cut at its side may go on up or down beyond it, unseen.
    at_side = bool(first[1] | last[1])
    return [(0, bool(last[1]), bool(first[1])), (2, bool(last[0]) or at_side, bool(first[0]) or at_side)]


def completion_of(
    fitted: Fit,
    model: ShapeModel,
    target: Target,
    settings: FitSettings = DEFAULT_SETTINGS,
    *,
    refine: bool = False,
    with_std: bool = True,
) -> Completion:
    """What a fit of a model to a target tells of the bone, vertex by vertex.

    `with_std`: how sure the vertices are is computed; else it is NaN, for somebody who knows more of it.
    """
    faultless = repaired_vertices(
        fitted.vertices(model), model.triangles, model.mean @ fitted.rotation.T + fitted.translation
    )
    vertices = faultless
    if refine:
        vertices = repaired_vertices(_refined(faultless, model, target), model.triangles, faultless)
    normals = unit_normals(vertices, model.triangles)
    seen = target.visible_vertices(vertices, model.triangles, normals)
    distance = _to_target(vertices, normals, target)
    std_mm = np.full(len(vertices), np.nan)
    if with_std:
        std_mm = _standard_deviations(fitted, model, target, settings, seen, (distance * normals).sum(axis=1))
    return Completion(
        bone=model.bone,
        side=model.side,
        vertices=vertices,
        triangles=model.triangles,
        seen=seen,
        distance_mm=np.linalg.norm(distance, axis=1),
        std_mm=std_mm,
        landmarks=model.landmark_points(vertices),
        radii_mm=model.landmark_radii(vertices),
        fit=fitted,
        observed_mm2=target.area_mm2,
        refined_mm=float(np.linalg.norm(vertices - faultless, axis=1).max()) if refine else None,
        headless=target.gone is not None,
    )


def _to_target(vertices: np.ndarray, normals: np.ndarray, target: Target) -> np.ndarray:
    """Vectors (V, 3) to the observed surface, without the gaps between the target's points."""
    tree = cKDTree(pairing_features(target.points, target.outward), balanced_tree=False)
    nearest = tree.query(pairing_features(vertices, target.outward_of(vertices, normals)))[1]
    return without_sampling_gap(target.points[nearest] - vertices, normals, target.reach_mm)


def _standard_deviations(
    fitted: Fit, model: ShapeModel, target: Target, settings: FitSettings, seen: np.ndarray, height: np.ndarray
) -> np.ndarray:
    """(V,) mm along the normals: the model's posterior given the points, and what no shape of the model explains."""
    adjacency = vertex_adjacency(model.triangles, len(height))
    smoothed = (adjacency @ height + height) / (adjacency.sum(axis=1) + 1)  # points' own noise is no error of the bone
    typical = max(1.4826 * float(np.median(np.abs(smoothed[seen]))) if seen.any() else 0, LEAST_ERROR_MM)
    precision, rows = data_precision(fitted, model, target, settings)
    precision *= INDEPENDENT_POINTS / typical**2
    precision[np.diag_indices_from(precision)] += np.r_[np.full(6, 1e-6), np.ones(len(precision) - 6)]
    posterior = np.linalg.norm(rows @ np.linalg.inv(np.linalg.cholesky(precision)).T.astype(np.float32), axis=1)
    parts = [
        np.where(seen, *shares) * size
        for shares, size in zip(zip(SEEN_SHARES, UNSEEN_SHARES, strict=True), (posterior, typical), strict=True)
    ]
    return np.sqrt(parts[0] ** 2 + parts[1] ** 2 + np.where(seen, 0, UNSEEN_ERROR_MM) ** 2)


def _refined(vertices: np.ndarray, model: ShapeModel, target: Target) -> np.ndarray:
    """Seen vertices drawn along their normals towards what was seen; smooth, and bounded."""
    normals = unit_normals(vertices, model.triangles)
    height = (_to_target(vertices, normals, target) * normals).sum(axis=1)
    drawn = target.visible_vertices(vertices, model.triangles) & (np.abs(height) < 2 * REFINED_AT_MOST_MM)
    adjacency = vertex_adjacency(model.triangles, len(vertices))
    edge = np.linalg.norm(np.diff(vertices[model.triangles[:, :2]], axis=1), axis=2).mean()
    laplacian = diags_array(adjacency.sum(axis=1)) - adjacency
    stiff = (REFINED_OVER_MM / edge) ** 4 / 36 * (laplacian @ laplacian)  # an even vertex has six neighbours
    smooth = splu(csc_array(diags_array(drawn.astype(float)) + stiff + 1e-3 * diags_array(np.ones(len(vertices)))))
    moved = np.clip(smooth.solve(np.where(drawn, height, 0.0)), -REFINED_AT_MOST_MM, REFINED_AT_MOST_MM)
    return vertices + moved[:, None] * normals
