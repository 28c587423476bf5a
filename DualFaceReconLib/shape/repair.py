"""What is wrong with a mesh, and its repair: triangles that are flipped, and triangles that cross."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.sparse import coo_array, csc_array, csr_array, diags_array
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from DualFaceReconLib.meshes import triangle_normals

PairsOf = Callable[
    [np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]
]  # numbers (P,) and (P,) of a mesh's triangles

TOUCHING_MM = 1e-9  # triangles in one plane are as far from it as numbers are rounded, on either side


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
        meet = (below[first] <= above[second]) & (below[second] <= above[first])
        first, second = first[meet], second[meet]
    return first, second


def crossing_triangles(vertices: np.ndarray, triangles: np.ndarray, pairs_of: PairsOf = nearby_triangles) -> np.ndarray:
    """Pairs (P, 2) of triangles that pass through each other; those that touch or share a vertex are no pair.

    `pairs_of` gives the pairs that are looked at, all whose boxes meet among them.
    """
    corners = vertices[triangles]
    first, second = pairs_of(vertices, triangles)
    of_first, of_second = (np.ascontiguousarray(triangles.T)[:, chosen] for chosen in (first, second))
    apart = ~np.logical_or.reduce([vertex == other for vertex in of_first for other in of_second])
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
    """Numbers (P,) and (P,) of pairs of balls; the few very large ones are paired with all others."""
    large = radius > 4 * np.median(radius)
    small = np.flatnonzero(~large)
    tree = cKDTree(middle[small], balanced_tree=False, compact_nodes=False)  # quicker to build, and asked once
    close = tree.query_pairs(2 * float(radius[small].max()), output_type="ndarray").T
    numbers = np.arange(len(middle))
    with_large = [
        (np.full(len(others), ball), others)
        for ball in np.flatnonzero(large)
        for others in [numbers[~large | (numbers > ball)]]
    ]
    first, second = (np.concatenate([small[close[k]], *(pair[k] for pair in with_large)]) for k in (0, 1))
    return first, second


def _pierced_by_edges(edged: np.ndarray, pierced: np.ndarray) -> np.ndarray:
    """Whether an edge of each triangle (P, 3, 3) passes through the other (P, 3, 3)."""
    passes = np.zeros(len(edged), dtype=bool)
    for k in range(3):
        start, end = edged[:, k], edged[:, (k + 1) % 3]
        # the edge's line winds the same way round all three sides exactly when it passes between them
        volumes = [_signed_volumes(start, end, pierced[:, c], pierced[:, (c + 1) % 3]) for c in range(3)]
        between = np.sign(volumes[0]) * np.sign(volumes[1]) > 0
        between &= np.sign(volumes[1]) * np.sign(volumes[2]) > 0
        ends = (
            _signed_volumes(pierced[:, 0], pierced[:, 1], pierced[:, 2], start),
            _signed_volumes(pierced[:, 0], pierced[:, 1], pierced[:, 2], end),
        )
        passes |= between & (np.sign(ends[0]) * np.sign(ends[1]) < 0)
    return passes


def _signed_volumes(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Signed volumes (P,), six times the tetrahedra's."""
    return (np.cross(b - a, c - a) * (d - a)).sum(axis=1)
