"""What is wrong with a mesh, and its repair: triangles that are flipped, and triangles that cross."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import numpy as np
from scipy.sparse import coo_array, csc_array, csr_array, diags_array
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from DualFaceReconLib.meshes import triangle_normals

PairsOf = Callable[
    [np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]
]  # numbers (P,) and (P,) of a mesh's triangles

TOUCHING_MM = 1e-9  # triangles in one plane are as far from it as numbers are rounded, on either side
LARGE_SHARE = 0.05  # of a mesh's triangles; they look for others apart, lest all look as far as the largest do


def flipped_triangles(vertices: np.ndarray, triangles: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Numbers of the triangles that look the other way than they do in `reference` (V, 3), in the same frame."""
    normals, expected = triangle_normals(vertices, triangles), triangle_normals(reference, triangles)
    return np.flatnonzero((normals * expected).sum(axis=1) < 0)


def nearby_triangles(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (P,) and (P,) of pairs of triangles whose boxes may meet."""
    corners = vertices[triangles]
    low = np.minimum(np.minimum(corners[:, 0], corners[:, 1]), corners[:, 2])
    high = np.maximum(np.maximum(corners[:, 0], corners[:, 1]), corners[:, 2])
    first, second = _balls_that_may_touch((low + high) / 2, np.linalg.norm(high - low, axis=1) / 2)
    for below, above in zip(np.ascontiguousarray(low.T), np.ascontiguousarray(high.T), strict=True):
        meet = np.flatnonzero((below[first] <= above[second]) & (below[second] <= above[first]))
        first, second = first[meet], second[meet]
    return first, second


def crossing_triangles(vertices: np.ndarray, triangles: np.ndarray, pairs_of: PairsOf = nearby_triangles) -> np.ndarray:
    """Pairs (P, 2) of triangles that pass through each other; those that touch or share a vertex are no pair.

    `pairs_of` gives the pairs that are looked at, all whose boxes meet among them.
    """
    corners = vertices[triangles]
    first, second = pairs_of(vertices, triangles)
    of_first, of_second = (np.ascontiguousarray(triangles.T).take(chosen, axis=1) for chosen in (first, second))
    apart = np.flatnonzero(~np.logical_or.reduce([vertex == other for vertex in of_first for other in of_second]))
    pairs = np.column_stack([first[apart], second[apart]])
    area = triangle_normals(vertices, triangles)
    touching = TOUCHING_MM * np.sqrt(np.einsum("tx,tx->t", area, area))
    for plane, moved in ((0, 1), (1, 0)):  # a triangle on one side of the other's plane crosses nothing
        of, to = pairs[:, plane], pairs[:, moved]
        height = np.einsum("px,pcx->pc", area[of], corners[to] - corners[of, :1])
        pairs = pairs[(height.min(axis=1) < -touching[of]) & (height.max(axis=1) > touching[of])]
    through = _pierced_by_edges(corners[pairs[:, 0]], corners[pairs[:, 1]])
    through |= _pierced_by_edges(corners[pairs[:, 1]], corners[pairs[:, 0]])
    return pairs[through]


def repaired_vertices(
    vertices: np.ndarray,
    triangles: np.ndarray,
    reference: np.ndarray,
    stray: np.ndarray | None = None,
    pairs_of: PairsOf = nearby_triangles,
) -> np.ndarray:
    """Vertices (V, 3) without flipped or crossing triangles, after a faultless `reference` (V, 3) in the same frame.

    Around faults, and around `stray` vertices (S,), the displacement from `reference` is replaced by the harmonic one
    that continues what surrounds it. Such a region grows until no fault is left in it, if need be to all of the mesh.
    Vertices outside of them stay exactly where they are.
    """
    vertices = vertices.copy()
    tries = np.zeros(len(vertices), dtype=np.int64)
    faults = _faulty_vertices(vertices, triangles, reference, pairs_of)
    faulty = np.unique(np.concatenate([faults, *([] if stray is None else [stray])]))
    adjacency = vertex_adjacency(triangles, len(vertices)) if len(faulty) else None
    while len(faulty) > 0:
        tries[faulty] += 1
        region = np.zeros(len(vertices))
        region[faulty] = 1
        for _ in range(round(1.5 ** tries[faulty].max())):
            region = np.minimum(region + adjacency @ region, 1)
        if region.all():
            return np.array(reference, dtype=np.float64)
        vertices = reference + _harmonic_within(region > 0, vertices - reference, adjacency)
        faulty = _faulty_vertices(vertices, triangles, reference, pairs_of)
    return vertices


def _faulty_vertices(
    vertices: np.ndarray, triangles: np.ndarray, reference: np.ndarray, pairs_of: PairsOf
) -> np.ndarray:
    flipped = flipped_triangles(vertices, triangles, reference)
    return np.unique(triangles[np.concatenate([flipped, crossing_triangles(vertices, triangles, pairs_of).ravel()])])


def _harmonic_within(region: np.ndarray, values: np.ndarray, adjacency: csr_array) -> np.ndarray:
    """Values (V, n); in a region (V,) bool each is the mean of its neighbours', elsewhere they are as given."""
    values = values.copy()
    inside = np.flatnonzero(region)
    around = adjacency[inside]
    known = around @ np.where(region[:, None], 0, values)
    laplacian = diags_array(around.sum(axis=1)) - around[:, inside]
    values[inside] = splu(csc_array(laplacian)).solve(known)
    return values


def vertex_adjacency(triangles: np.ndarray, count: int) -> csr_array:
    """(V, V) sparse, 1 where two of `count` vertices share an edge."""
    tail, head = triangles.ravel(), np.roll(triangles, -1, axis=1).ravel()
    ones = np.ones(2 * len(tail))
    links = coo_array((ones, (np.concatenate([tail, head]), np.concatenate([head, tail]))), shape=(count, count))
    adjacency = csr_array(links)
    adjacency.data[:] = 1
    return adjacency


def _balls_that_may_touch(middle: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (P,) and (P,) of pairs of balls: small ones, large ones, and large with small ones."""
    reach = float(np.quantile(radius, 1 - LARGE_SHARE))
    small, large = np.flatnonzero(radius <= reach), np.flatnonzero(radius > reach)
    # balanced and compact trees take longer to build than they save
    trees = [cKDTree(middle[some], balanced_tree=False, compact_nodes=False) for some in (small, large)]
    close = [
        some[np.ascontiguousarray(tree.query_pairs(2 * radius[some].max(initial=0.0), output_type="ndarray").T)]
        for some, tree in zip((small, large), trees, strict=True)
    ]
    around = trees[0].query_ball_point(middle[large], radius[large] + reach, return_sorted=False)
    mixed = np.repeat(large, [len(others) for others in around]), small[np.fromiter(chain(*around), np.int64)]
    first, second = np.concatenate([*close, mixed], axis=1)
    return first, second


def _pierced_by_edges(edged: np.ndarray, pierced: np.ndarray) -> np.ndarray:
    """Whether an edge of each triangle (P, 3, 3) passes through the other (P, 3, 3)."""
    start, end = edged[:, :, None], np.roll(edged, -1, axis=1)[:, :, None]
    corner, following = pierced[:, None], np.roll(pierced, -1, axis=1)[:, None]
    # an edge's line winds the same way round all three sides exactly when it passes between them
    between = np.abs(np.sign(_signed_volumes(start, end, corner, following)).sum(axis=2)) == 3
    side = np.sign(_signed_volumes(pierced[:, :1], pierced[:, 1:2], pierced[:, 2:], edged))
    return (between & (side * np.roll(side, -1, axis=1) < 0)).any(axis=1)


def _signed_volumes(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Signed volumes (...) of tetrahedra with corners (..., 3), six times over."""
    return (np.cross(b - a, c - a) * (d - a)).sum(axis=-1)
