"""Bone maps -> observed surfaces: what the depth maps saw of every bone, as closed vtkPolyData in RAS mm.

Front and back share one triangulation of the bone's pixels, and walls close the surface between them. Walls were
never seen, so metrics, fitting and measurements leave them out: `observed_triangles` gives what remains.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData

from DualFaceReconLib.bonemaps import BoneMaps, bounding_window
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import unit_normals

FRONT, BACK = 0, 1  # point data `face`
NO_WALL, DISCONTINUITY, SILHOUETTE, PICTURE_EDGE = 0, 1, 2, 3  # cell data `wall`

# A ball of radius r cannot jump by more than sqrt(2 r l) in depth between two rays that are l mm apart, and that only
# at its silhouette. The femoral head is the roundest large part of the hip: what jumps further is another layer.
ROUNDEST_RADIUS_MM = 25.0


def observed_surfaces(maps: BoneMaps, geometry: ProjectionGeometry) -> dict[str, vtkPolyData]:
    """The observed surface of every bone in `maps`, by its name."""
    return {bone: observed_surface(maps, geometry, bone) for bone in maps.bones}


def observed_surface(maps: BoneMaps, geometry: ProjectionGeometry, bone: str) -> vtkPolyData:
    """One bone's observed surface, RAS mm: closed, oriented outwards, or an open front sheet without back depths.

    Point data: `face` (uint8, FRONT or BACK) and `Normals` (float32, unit, out of the bone). Cell data: `wall` (uint8):
    NO_WALL, DISCONTINUITY (a triangle that bridges a jump in depth), SILHOUETTE or PICTURE_EDGE (between the rims of
    front and back, where the bone ends or where the picture cuts it).

    A pixel whose depth is not finite or not positive is no pixel of the bone, nor is one that shares no 2 x 2 block
    with two others. Where back lies before front, both become their mean: the bone is thin there, not inside out.
    """
    if bone not in maps.bones:
        raise ValueError(f"no bone {bone!r} in these maps, only {', '.join(maps.bones)}")
    if maps.mask.shape[1:] != geometry.size_px:
        raise ValueError(f"the maps have {maps.mask.shape[1:]} pixels, the geometry {geometry.size_px}")
    number = maps.bones.index(bone)
    valid, depths, first_px = _crop(maps, number)
    triangles, steep, rim, pixels = _triangulate(valid, depths, np.array(geometry.pixel_size_at(1.0)))
    triangles, rim, origin = _split_pinches(triangles, rim, len(pixels))
    pixels = pixels[origin]

    if not _first_pixels_face_source(geometry):
        triangles, rim = triangles[:, ::-1], rim[:, ::-1]
    points = [geometry.back_project(pixels + first_px, depth[tuple(pixels.T)]) for depth in depths]
    count = len(pixels)
    cells, walls = [triangles], [np.where(steep[:, FRONT], DISCONTINUITY, NO_WALL)]
    normals = [unit_normals(points[0], triangles[~steep[:, FRONT]], geometry.source - points[0])]
    if len(points) == 2:
        reverse = triangles[:, ::-1]
        tail, head = rim.T
        cells += [
            reverse + count,
            np.stack([head, tail, tail + count], 1),
            np.stack([head, tail + count, head + count], 1),
        ]
        rim_wall = np.where(_on_picture_edge(pixels[rim] + first_px, geometry.size_px), PICTURE_EDGE, SILHOUETTE)
        walls += [np.where(steep[:, BACK], DISCONTINUITY, NO_WALL), rim_wall, rim_wall]
        normals += [unit_normals(points[1], reverse[~steep[:, BACK]], points[1] - geometry.source)]
    return _polydata(points, normals, np.concatenate(cells), np.concatenate(walls))


def observed_triangles(surface: vtkPolyData) -> tuple[np.ndarray, np.ndarray]:
    """What was seen of a bone, without walls: vertices (V, 3) float64 RAS mm and triangles (T, 3) int64."""
    vertices = vtk_to_numpy(surface.GetPoints().GetData()).astype(np.float64)
    triangles = vtk_to_numpy(surface.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    wall = vtk_to_numpy(surface.GetCellData().GetArray("wall"))
    return vertices, triangles[wall == NO_WALL].astype(np.int64)


def _crop(maps: BoneMaps, number: int) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Valid pixels and depths (front, back) in the bone's bounding window, and the window's first pixel [row, col]."""
    mask = maps.mask[number]
    window = bounding_window(mask) if mask.any() else (slice(0, 1), slice(0, 1))
    depths = [faces[number][window].astype(np.float64) for faces in (maps.front, maps.back) if faces is not None]
    valid = mask[window].copy()
    for depth in depths:
        valid &= np.isfinite(depth) & (depth > 0)
    depths = [np.where(valid, depth, 0) for depth in depths]
    if len(depths) == 2:
        mean = (depths[0] + depths[1]) / 2
        depths = [np.minimum(depths[0], mean), np.maximum(depths[1], mean)]
    return valid, depths, np.array([part.start for part in window])


def _triangulate(
    valid: np.ndarray, depths: list[np.ndarray], pixel_size: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Triangulate the valid pixels: two triangles in a full 2 x 2 block, one where three pixels are valid.

    `pixel_size` is [row, col] in mm per mm of depth. Gives triangles (T, 3) int32, whether each is too steep on each
    face (T, faces), the directed rim edges (E, 2) that only one triangle has, and the vertices' pixels (V, 2).
    """
    # A block's corners are a b over c d. Every triangle turns the way a -> c -> b does.
    here, after = slice(None, -1), slice(1, None)
    a, b, c, d = (here, here), (here, after), (after, here), (after, after)
    corners = valid[a].astype(np.uint8) + valid[b] + valid[c] + valid[d]
    filled, full = corners >= 3, corners == 4

    used = np.zeros_like(valid)
    for corner in (a, b, c, d):
        used[corner] |= filled & valid[corner]
    vertex = np.full(valid.shape, -1, dtype=np.int32)
    vertex[used] = np.arange(np.count_nonzero(used), dtype=np.int32)

    # A full block is cut along the diagonal that jumps less, so that a discontinuity costs one triangle, not two.
    rising = sum(abs(depth[b] - depth[c]) for depth in depths) <= sum(abs(depth[a] - depth[d]) for depth in depths)
    kinds = [
        ((a, c, b), (full & rising) | (filled & ~valid[d])),
        ((b, c, d), (full & rising) | (filled & ~valid[a])),
        ((a, c, d), (full & ~rising) | (filled & ~valid[b])),
        ((a, d, b), (full & ~rising) | (filled & ~valid[c])),
    ]
    triangles = [np.stack([vertex[corner][where] for corner in kind], axis=1) for kind, where in kinds]

    diagonal = np.hypot(*pixel_size)
    steep = []
    for depth in depths:
        along_rows = _too_steep(depth[:-1], depth[1:], pixel_size[0])
        along_cols = _too_steep(depth[:, :-1], depth[:, 1:], pixel_size[1])
        left, right, top, bottom = along_rows[:, :-1], along_rows[:, 1:], along_cols[:-1], along_cols[1:]
        up, down = _too_steep(depth[b], depth[c], diagonal), _too_steep(depth[a], depth[d], diagonal)
        edges = (left | up | top, up | bottom | right, left | bottom | down, down | right | top)
        steep.append(np.concatenate([edge[where] for edge, (_, where) in zip(edges, kinds, strict=True)]))

    rim = [_rim(vertex, filled, valid), _rim(vertex.T, filled.T, valid.T)[:, ::-1]]
    for tail, head, missing in ((c, b, d), (b, c, a), (d, a, b), (a, d, c)):
        where = filled & ~valid[missing]
        rim.append(np.stack([vertex[tail][where], vertex[head][where]], axis=1))
    return np.concatenate(triangles), np.stack(steep, axis=1), np.concatenate(rim), np.argwhere(used)


def _rim(vertex: np.ndarray, filled: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Directed edges (E, 2) between neighbours in a row of which only one side has a triangle."""
    edge = valid[:, :-1] & valid[:, 1:]
    below, above = np.zeros_like(edge), np.zeros_like(edge)
    below[:-1] = filled & edge[:-1]
    above[1:] = filled & edge[1:]
    first, second = vertex[:, :-1], vertex[:, 1:]
    only_below, only_above = below & ~above, above & ~below
    return np.concatenate(
        [
            np.stack([second[only_below], first[only_below]], axis=1),
            np.stack([first[only_above], second[only_above]], axis=1),
        ]
    )


def _too_steep(first: np.ndarray, second: np.ndarray, step: float) -> np.ndarray:
    """Whether depth jumps further than the roundest ball can, between rays `step` mm apart per mm of depth."""
    return (first - second) ** 2 > 2 * ROUNDEST_RADIUS_MM * step * np.minimum(first, second)


def _split_pinches(triangles: np.ndarray, rim: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where fans of triangles touch only at a corner, give each its own vertex: else their walls would share an edge.

    Gives triangles, rim and, for every vertex, the one of the `count` vertices that it was.
    """
    origin = np.arange(count)
    pinched = np.bincount(rim[:, 0], minlength=count) > 1  # a fan has one rim edge that leaves its vertex
    if not pinched.any():
        return triangles, rim, origin
    corner = np.flatnonzero(pinched[triangles])
    triangle, place = np.divmod(corner, 3)
    here = triangles.ravel()[corner].astype(np.int64)
    following, preceding = triangles[triangle, (place + 1) % 3], triangles[triangle, (place + 2) % 3]
    spokes, spoke = np.unique(np.concatenate([here * count + following, here * count + preceding]), return_inverse=True)
    nodes = len(corner) + len(spokes)
    links = (np.ones(len(spoke), dtype=bool), (np.tile(np.arange(len(corner)), 2), len(corner) + spoke))
    _, fan = connected_components(coo_array(links, shape=(nodes, nodes)), directed=False)

    _, first = np.unique(fan[: len(corner)], return_index=True)  # a corner of every fan; fans are numbered from 0
    centre = here[first]
    _, keeps = np.unique(centre, return_index=True)
    moves = np.setdiff1d(np.arange(len(centre)), keeps)
    vertex = centre.copy()
    vertex[moves] = count + np.arange(len(moves))

    triangles, whole_rim, rim = triangles.copy(), rim.astype(np.int64), rim.copy()
    triangles.ravel()[corner] = vertex[fan[: len(corner)]]
    for end in (0, 1):
        touched = pinched[whole_rim[:, end]]
        spoke = np.searchsorted(spokes, whole_rim[touched, end] * count + whole_rim[touched, 1 - end])
        rim[touched, end] = vertex[fan[len(corner) + spoke]]
    return triangles, rim, np.concatenate([origin, centre[moves]])


def _first_pixels_face_source(geometry: ProjectionGeometry) -> bool:
    """Whether a triangle of pixels that turns a -> c -> b, as `_triangulate` has it, looks at the source."""
    a, c, b = geometry.back_project(np.array([[0, 0], [1, 0], [0, 1]]), geometry.sdd_mm)
    return bool(np.dot(np.cross(c - a, b - a), geometry.source - a) > 0)


def _on_picture_edge(ends: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """Whether both ends (E, 2, 2) [row, col] of an edge lie on the same border of the picture."""
    return ((ends == 0) | (ends == np.array(size_px) - 1)).all(axis=1).any(axis=1)


def _polydata(points: list[np.ndarray], normals: list[np.ndarray], cells: np.ndarray, wall: np.ndarray) -> vtkPolyData:
    surface = vtkPolyData()
    coordinates = vtkPoints()
    coordinates.SetData(_owned(np.concatenate(points).astype(np.float32)))
    surface.SetPoints(coordinates)
    polygons = vtkCellArray()
    offsets = np.arange(0, cells.size + 1, 3, dtype=np.int32)
    polygons.SetData(_owned(offsets), _owned(cells.astype(np.int32).ravel()))
    surface.SetPolys(polygons)
    face = np.repeat(np.arange(len(points), dtype=np.uint8), len(points[0]))
    for data, name, values in (
        (surface.GetPointData(), "face", face),
        (surface.GetPointData(), "Normals", np.concatenate(normals).astype(np.float32)),
        (surface.GetCellData(), "wall", wall.astype(np.uint8)),
    ):
        array = _owned(values)
        array.SetName(name)
        data.AddArray(array)
    surface.GetPointData().SetActiveNormals("Normals")
    return surface


def _owned(values: np.ndarray) -> object:
    """A VTK array with its own memory: a shared one would dangle once the numpy array is gone."""
    return numpy_to_vtk(values, deep=True)
