"""Bones that were sawn: what is left after a cut, closed where the saw went."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from DualFaceReconLib.meshes import Mesh
from DualFaceReconLib.shape.repair import crossing_triangles
from training.anatomy.remeshing import open_edges
from training.patients.earcutting import triangles_over

# What is left of a triangle by which corners are kept (1, 2 and 4 added up): triangles of its corners, 0 to 2, and of
# cuts, 3 to 5 in the sides 0-1, 1-2 and 2-0. What frozen films show hangs on this order, which is VTK's.
SIDES = np.array([[0, 0], [1, 1], [2, 2], [0, 1], [1, 2], [2, 0]])
LEFT = {
    1: [(3, 5, 0)],
    2: [(4, 3, 1)],
    3: [(4, 5, 0), (4, 0, 1)],
    4: [(5, 4, 2)],
    5: [(3, 4, 2), (2, 0, 3)],
    6: [(3, 1, 5), (5, 1, 2)],
    7: [(0, 1, 2)],
}


def sawn(mesh: Mesh, point: np.ndarray, inwards: np.ndarray, beside: np.ndarray, sideways: np.ndarray) -> Mesh | None:
    """The largest piece of a closed mesh after a cut with a corner; None where the saw leaves no clean surface.

    Kept is what lies on the inner side of one plane (a point, its unit normal `inwards`) or of a second one
    (`beside`, `sideways`): the first cut ends where it meets the second.
    """
    vertices, triangles = mesh
    first, second = (vertices - point) @ inwards, (vertices - beside) @ sideways
    vertices, triangles = _largest_piece(*clipped(mesh, np.maximum(first, second)))
    loops = _open_loops(triangles)
    if loops is None or not loops:
        return None
    edge = np.cross(inwards, sideways)
    edge /= np.linalg.norm(edge)
    across = np.cross(edge, inwards)  # along the first plane, away from the corner
    across = across if across @ sideways < 0 else -across
    rise = np.cross(edge, sideways)  # along the second one
    rise = rise if rise @ inwards < 0 else -rise
    corner = np.linalg.lstsq(np.stack([inwards, sideways, edge]), [point @ inwards, beside @ sideways, 0], rcond=None)[
        0
    ]
    caps = []
    for loop in loops:
        to = vertices[loop] - corner
        on_first = np.abs(to @ inwards) < np.abs(to @ sideways)
        unfolded = np.stack([to @ edge, np.where(on_first, to @ across, -(to @ rise))], axis=1)
        cap = triangles_over(unfolded)
        if cap is None:
            return None
        caps.append(np.asarray(loop)[cap])
    mesh = vertices, np.concatenate([triangles, *caps])
    fresh = np.unique(np.concatenate(caps))
    near = np.isin(mesh[1], fresh).any(axis=1)
    clean = open_edges(mesh[1]) == 0 and len(crossing_triangles(vertices, mesh[1][near])) == 0
    return mesh if clean else None


def clipped(mesh: Mesh, height: np.ndarray) -> Mesh:
    """The part of a mesh where `height` (V,) is above 0, left open where it was cut; vertices in one place are one."""
    vertices, triangles = mesh
    height = height.astype(np.float32).astype(np.float64)  # as VTK has it
    kept = (height > 0)[triangles] @ [1, 2, 4]
    pieces = np.full((8, 2, 3), -1)
    for case, left in LEFT.items():
        pieces[case, : len(left)] = left
    of, piece = np.nonzero(pieces[kept][:, :, 0] >= 0)
    sides = SIDES[pieces[kept[of], piece]]  # (pieces, 3, 2)
    low, high = np.take_along_axis(triangles[of][:, None], sides, axis=2).reshape(-1, 2).T
    swapped = height[high] < height[low]
    low, high = np.where(swapped, high, low), np.where(swapped, low, high)
    rise = height[high] - height[low]
    share = np.divide(-height[low], rise, out=np.zeros_like(rise), where=rise > 0)
    places = vertices[low] + share[:, None] * (vertices[high] - vertices[low])
    _, first, number = np.unique(places, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # vertices stand in the order in which they are met
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return places[first[order]], rank[number.reshape(-1, 3)]


def _largest_piece(vertices: np.ndarray, triangles: np.ndarray) -> Mesh:
    tail, head = triangles.ravel(), np.roll(triangles, -1, axis=1).ravel()
    joined = coo_array((np.ones(len(tail)), (tail, head)), shape=(len(vertices),) * 2)
    _, piece = connected_components(joined, directed=False)
    largest = np.bincount(piece[triangles[:, 0]]).argmax()
    used, triangles = np.unique(triangles[piece[triangles[:, 0]] == largest], return_inverse=True)
    return vertices[used], triangles.reshape(-1, 3)


def _open_loops(triangles: np.ndarray) -> list[list[int]] | None:
    """The rims of a mesh's holes, each against its triangles' sense; None where rims touch."""
    tail, head = triangles.ravel(), np.roll(triangles, -1, axis=1).ravel()
    count = triangles.max() + 1
    alone = ~np.isin(tail * count + head, head * count + tail)
    rims = dict(zip(head[alone].tolist(), tail[alone].tolist(), strict=True))
    if len(rims) != np.count_nonzero(alone):
        return None
    loops = []
    while rims:
        start, following = rims.popitem()
        loop = [start]
        while following != start:
            loop.append(following)
            following = rims.pop(following)
        loops.append(loop)
    return loops
