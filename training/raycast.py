"""Meshes -> exact depth maps and path lengths, by casting a ray through every pixel's centre; on CPU or CUDA.

projected = cast({"hip_left": (vertices, triangles)}, geometry)
projected.maps.front, projected.path_mm
cast(meshes, geometry, matter={"hip_left": Matter(cortex_mm=..., density=...)}).cortical_mm
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import warp as wp

from DualFaceReconLib.bonemaps import BoneMaps
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import Mesh, joined, unit_normals
from DualFaceReconLib.shape.visibility import rays_to

STEP_MM = 1e-3  # past a surface before the next is sought: at an edge two triangles are hit, but one surface
MOST_SURFACES = 64  # along one ray
LEAST_COSINE = 0.02  # of a ray with the wall that it passes through
FAR_MM = 1e6  # no surface is farther from a point
ROUNDING_MM = 1e-3  # boxes in single precision are larger by so much
PAIRS_A_TRIANGLE = 4  # for which there is room at first

wp.config.log_level = wp.LOG_ERROR  # no greeting, and no warning where there is no CUDA


@dataclass(frozen=True, kw_only=True)
class Matter:
    """What a bone consists of at each of its vertices: a dense cortex, and a share of dense bone within it."""

    cortex_mm: np.ndarray  # (V,) thickness
    density: np.ndarray  # (V,) 0 to 1, of what lies under the cortex


@dataclass(frozen=True, kw_only=True)
class Projected:
    """What rays meet of every mesh."""

    maps: BoneMaps  # first entry and last exit
    path_mm: np.ndarray  # (bones, rows, cols) float32, length inside
    cortical_mm: np.ndarray  # (bones, rows, cols) float32, of it in the cortex; 0 of a mesh without matter
    trabecular_mm: np.ndarray  # (bones, rows, cols) float32, dense bone under the cortex, likewise


def compile_kernels() -> None:
    """Compiles this file's kernels, where no run before left them: once, before many processes need them at once."""
    wp.load_module(sys.modules[__name__], device="cpu")


def cast(
    meshes: Mapping[str, Mesh],
    geometry: ProjectionGeometry,
    device: str | None = None,
    matter: Mapping[str, Matter] | None = None,
    nested: bool = False,
) -> Projected:
    """First entry, last exit and path length of every mesh along every pixel's ray. `device`: "cpu" or "cuda".

    The path through the cortex under each wall is that in a ball, on which a chord of the same length meets the wall at
    the same angle: exact for round bones, also where rays graze them, and for walls that a ray meets at right angles.
    `nested`: a mesh that is entered twice must be left twice, as where solids overlap; else the first exit counts.
    """
    device = device or ("cuda" if wp.is_cuda_available() else "cpu")
    rows, cols = geometry.size_px
    images = np.zeros((5, len(meshes), rows, cols), dtype=np.float32)
    rays = rays_to(geometry.back_project(geometry.pixel_centres(), geometry.sdd_mm).reshape(-1, 3), geometry)
    depth_of_mm = (rays @ (-geometry.source / geometry.sdd_mm)).reshape(rows, cols)  # along a ray
    rays = rays.astype(np.float32).reshape(rows, cols, 3)
    for number, (name, (vertices, triangles)) in enumerate(meshes.items()):
        window = _window(vertices, geometry)
        if window is None:
            continue
        mesh = _searchable(vertices - geometry.source, triangles, device)
        own_matter = (matter or {}).get(name)
        layers = (
            np.zeros((0, 2)) if own_matter is None else np.stack([own_matter.cortex_mm, own_matter.density], axis=1)
        )
        normals = np.zeros((0, 3)) if own_matter is None else unit_normals(vertices, triangles)
        directions = rays[window].reshape(-1, 3)
        out = wp.zeros((len(directions), 5), dtype=wp.float32, device=device)
        wp.launch(
            _cross,
            dim=len(directions),
            inputs=[
                mesh.id,
                _on(device, directions, wp.vec3),
                _nearest_mm(vertices, geometry) - 1.0,
                _on(device, normals, wp.vec3),
                _on(device, layers, wp.vec2),
                MOST_SURFACES if nested else 1,
            ],
            outputs=[out],
            device=device,
        )
        along = out.numpy().T.reshape(5, *depth_of_mm[window].shape)
        images[:2, number][:, *window] = along[:2] * depth_of_mm[window]
        images[2:, number][:, *window] = along[2:]
    front, back, path, cortical, trabecular = images
    maps = BoneMaps(bones=tuple(meshes), mask=front > 0, front=front, back=back)
    return Projected(maps=maps, path_mm=path, cortical_mm=cortical, trabecular_mm=trabecular)


def union_path_mm(meshes: Mapping[str, Mesh], geometry: ProjectionGeometry, device: str | None = None) -> np.ndarray:
    """(rows, cols) float32 length of the rays in the union of closed meshes, which may overlap."""
    return cast({"union": joined(list(meshes.values()))}, geometry, device, nested=True).path_mm[0]


def penetration_mm(points: np.ndarray, mesh: Mesh, reach_mm: float = FAR_MM, *, built: bool = False) -> np.ndarray:
    """(N,) signed distance of points (N, 3) to a closed mesh: negative inside.

    What is farther than `reach_mm` from the surface, on either side, gets that distance: the nearer, the quicker.
    `built`: by a search tree of this very mesh. By one that is fitted to a bone the sign of a few points comes out
    otherwise, and with it whether an implant finds room.
    """
    vertices, triangles = mesh
    middle = vertices.mean(axis=0)  # single precision likes small numbers
    body = (_built if built else _searchable)(vertices - middle, triangles, "cpu")
    out = wp.zeros(len(points), dtype=wp.float32, device="cpu")
    wp.launch(
        _signed,
        dim=len(points),
        inputs=[body.id, _on("cpu", points - middle, wp.vec3), reach_mm],
        outputs=[out],
        device="cpu",
    )
    return out.numpy().astype(np.float64)


def meeting_triangles(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (P,) and (P,) of pairs of a mesh's triangles whose boxes meet and that share no vertex."""
    mesh = _searchable(vertices - vertices.mean(axis=0), triangles, "cpu")
    room = PAIRS_A_TRIANGLE * len(triangles)
    while True:
        pairs, count = wp.zeros(room, dtype=wp.vec2i, device="cpu"), wp.zeros(1, dtype=wp.int32, device="cpu")
        wp.launch(_meet, dim=len(triangles), inputs=[mesh.id], outputs=[pairs, count], device="cpu")
        met = int(count.numpy()[0])
        if met <= room:
            first, second = pairs.numpy()[:met].astype(np.int64).T
            return first, second
        room = met


def recognise(shape: np.ndarray, triangles: np.ndarray) -> None:
    """Makes casts through bones of these triangles quick: the search tree of a shape (V, 3) serves all others.

    To build a tree takes as long as to cast a bone's rays; to fit one to other vertices takes a thirtieth of that.
    """
    key = _key(triangles)
    if key not in _trees:
        _trees[key] = _built(shape - shape.mean(axis=0), triangles, "cpu")


_trees: dict[bytes, wp.Mesh] = {}


def _searchable(vertices: np.ndarray, triangles: np.ndarray, device: str) -> wp.Mesh:
    """A mesh that rays and distances can be asked of, until the next one of the same triangles is."""
    tree = _trees.get(_key(triangles)) if device == "cpu" and _trees else None
    if tree is None:
        return _built(vertices, triangles, device)
    tree.points.assign(np.ascontiguousarray(vertices, dtype=np.float32))
    tree.refit()
    return tree


def _built(vertices: np.ndarray, triangles: np.ndarray, device: str) -> wp.Mesh:
    return wp.Mesh(points=_on(device, vertices, wp.vec3), indices=_on(device, triangles.ravel(), wp.int32))


def _key(triangles: np.ndarray) -> bytes:
    return triangles.astype(np.int32).tobytes()


def _on(device: str, values: np.ndarray, dtype: type) -> wp.array:
    """Values on a device; converted by NumPy, which is quicker than Warp at it."""
    kind = np.int32 if dtype is wp.int32 else np.float32
    return wp.array(np.ascontiguousarray(values, dtype=kind), dtype=dtype, device=device, copy=False)


def _window(vertices: np.ndarray, geometry: ProjectionGeometry) -> tuple[slice, slice] | None:
    """Rows and columns of the pixels that can see a mesh; None if there are none."""
    pixels, depth = geometry.project(vertices)
    if (depth <= 0).any():
        raise ValueError("a mesh reaches behind the X-ray source")
    first = np.maximum(np.floor(pixels.min(axis=0)), 0).astype(int)
    last = np.minimum(np.ceil(pixels.max(axis=0)), np.array(geometry.size_px) - 1).astype(int)
    if (last < first).any():
        return None
    return slice(first[0], last[0] + 1), slice(first[1], last[1] + 1)


def _nearest_mm(vertices: np.ndarray, geometry: ProjectionGeometry) -> float:
    """From the source to the nearest vertex."""
    to = vertices - geometry.source
    return float(np.sqrt(np.einsum("vx,vx->v", to, to).min()))


@wp.func
def _through_cortex(thickness: float, cosine: float, chord: float) -> float:
    """Length of a chord's first half within a shell of the ball, as thick as the cortex."""
    half, radius = 0.5 * chord, 0.5 * chord / cosine
    core_squared = half * half + thickness * (thickness - 2.0 * radius)
    if thickness >= radius or core_squared <= 0.0:
        return half
    return half - wp.sqrt(core_squared)


@wp.kernel
def _cross(
    mesh: wp.uint64,
    rays: wp.array(dtype=wp.vec3),
    start: float,
    normals: wp.array(dtype=wp.vec3),
    layers: wp.array(dtype=wp.vec2),
    most_within: int,
    out: wp.array2d(dtype=float),
) -> None:
    ray = wp.tid()
    direction = rays[ray]
    at, first, last = wp.float32(start), wp.float32(0.0), wp.float32(0.0)
    inside, entered = wp.float32(0.0), wp.float32(0.0)
    cortical, trabecular = wp.float32(0.0), wp.float32(0.0)
    near_layer, near_cosine = wp.vec2(), wp.float32(1.0)
    surfaces, within = wp.int32(0), wp.int32(0)
    while surfaces < MOST_SURFACES:
        hit = wp.mesh_query_ray(mesh, direction * at, direction, 1.0e6)
        if not hit.result:
            break
        at += hit.t
        entering = wp.dot(hit.normal, direction) < 0.0
        layer, cosine = wp.vec2(), wp.float32(1.0)
        if layers.shape[0] > 0:
            a = wp.mesh_get_index(mesh, 3 * hit.face)
            b = wp.mesh_get_index(mesh, 3 * hit.face + 1)
            c = wp.mesh_get_index(mesh, 3 * hit.face + 2)
            rest = 1.0 - hit.u - hit.v
            layer += layers[a] * hit.u + layers[b] * hit.v + layers[c] * rest
            normal = wp.normalize(normals[a] * hit.u + normals[b] * hit.v + normals[c] * rest)
            cosine += wp.max(wp.abs(wp.dot(normal, direction)), LEAST_COSINE) - cosine
        if surfaces == 0:
            first += at
        last += at - last
        if entering and within == 0:
            entered += at - entered
            near_layer += layer - near_layer
            near_cosine += cosine - near_cosine
            within += 1
        elif entering and within < most_within:
            within += 1
        elif within > 1 and not entering:
            within -= 1
        elif within == 1 and not entering:
            chord = at - entered
            if chord > 0.0:
                walls = _through_cortex(near_layer[0], near_cosine, chord) + _through_cortex(layer[0], cosine, chord)
                cortical += walls
                trabecular += (chord - walls) * 0.5 * (near_layer[1] + layer[1])
            inside += chord
            within -= 1
        surfaces += 1
        at += STEP_MM
    if last - first > 0.0:  # a ray that only touches goes through nothing
        out[ray, 0] = first
        out[ray, 1] = last
        out[ray, 2] = inside
        out[ray, 3] = cortical
        out[ray, 4] = trabecular


@wp.kernel
def _signed(mesh: wp.uint64, points: wp.array(dtype=wp.vec3), reach: float, out: wp.array(dtype=float)) -> None:
    point = wp.tid()
    query = wp.mesh_query_point_sign_normal(mesh, points[point], reach)
    out[point] = reach
    if query.result:
        nearest = wp.mesh_eval_position(mesh, query.face, query.u, query.v)
        out[point] = query.sign * wp.length(points[point] - nearest)


@wp.kernel
def _meet(mesh: wp.uint64, pairs: wp.array(dtype=wp.vec2i), count: wp.array(dtype=wp.int32)) -> None:
    triangle = wp.tid()
    a = wp.mesh_get_index(mesh, 3 * triangle)
    b = wp.mesh_get_index(mesh, 3 * triangle + 1)
    c = wp.mesh_get_index(mesh, 3 * triangle + 2)
    first = wp.mesh_get_point(mesh, 3 * triangle)
    second = wp.mesh_get_point(mesh, 3 * triangle + 1)
    third = wp.mesh_get_point(mesh, 3 * triangle + 2)
    rounding = wp.vec3(ROUNDING_MM, ROUNDING_MM, ROUNDING_MM)
    low = wp.min(wp.min(first, second), third) - rounding
    high = wp.max(wp.max(first, second), third) + rounding
    query = wp.mesh_query_aabb(mesh, low, high)
    other = wp.int32(0)
    while wp.mesh_query_aabb_next(query, other):
        if other > triangle:
            shared = wp.int32(0)
            for corner in range(3):
                vertex = wp.mesh_get_index(mesh, 3 * other + corner)
                if wp.min(wp.min(wp.abs(vertex - a), wp.abs(vertex - b)), wp.abs(vertex - c)) == 0:
                    shared += 1
            if shared == 0:
                place = wp.atomic_add(count, 0, 1)
                if place < pairs.shape[0]:
                    pairs[place] = wp.vec2i(triangle, other)
