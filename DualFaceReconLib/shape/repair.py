"""Whether a mesh is a sound surface, and its mending: triangles that turned over, and triangles that cross."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array, csc_array, csr_array, diags_array
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from DualFaceReconLib.meshes import triangle_normals

TOUCHING_MM = 1e-9  # triangles in one plane are as far from it as numbers are rounded, on either side


def turned_over(vertices: np.ndarray, triangles: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Numbers of the triangles that look the other way than with the vertices of `reference` (V, 3), same frame."""
    normals, expected = triangle_normals(vertices, triangles), triangle_normals(reference, triangles)
    return np.flatnonzero((normals * expected).sum(axis=1) < 0)


def crossing(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Pairs (P, 2) of triangles that pass through each other; those that touch or share a vertex are no pair."""
    corners = vertices[triangles]
    low = np.minimum(np.minimum(corners[:, 0], corners[:, 1]), corners[:, 2])
    high = np.maximum(np.maximum(corners[:, 0], corners[:, 1]), corners[:, 2])
    first, second = _near((low + high) / 2, np.linalg.norm(high - low, axis=1) / 2)
    for below, above in zip(np.ascontiguousarray(low.T), np.ascontiguousarray(high.T), strict=True):
        meet = (below[first] <= above[second]) & (below[second] <= above[first])
        first, second = first[meet], second[meet]
    ones, others = (np.ascontiguousarray(triangles.T)[:, of] for of in (first, second))
    apart = ~np.logical_or.reduce([one == other for one in ones for other in others])
    pairs = np.column_stack([first[apart], second[apart]])
    area = triangle_normals(vertices, triangles)
    touching = TOUCHING_MM * np.sqrt(np.einsum("tx,tx->t", area, area))
    for plane, moved in ((0, 1), (1, 0)):  # a triangle on one side of the other's plane crosses nothing
        of, to = pairs[:, plane], pairs[:, moved]
        height = np.einsum("px,pcx->pc", area[of], corners[to] - corners[of, :1])
        pairs = pairs[(height.min(axis=1) < -touching[of]) & (height.max(axis=1) > touching[of])]
    through = _edges_pass(corners[pairs[:, 0]], corners[pairs[:, 1]])
    through |= _edges_pass(corners[pairs[:, 1]], corners[pairs[:, 0]])
    return pairs[through]


def mended(
    vertices: np.ndarray, triangles: np.ndarray, reference: np.ndarray, stray: np.ndarray | None = None
) -> np.ndarray:
    """The mesh (V, 3) with its bad spots drawn anew after a sound one, `reference` (V, 3), in the same frame.

    Where triangles cross or turned over, and at `stray` vertices (S,), the way from `reference` is replaced by the
    smoothest one that fits around the spot; the spot grows until it is sound, if need be to all of the mesh. Other
    vertices stay exactly where they are.
    """
    beside = neighbours(triangles, len(vertices))
    vertices = vertices.copy()
    tries = np.zeros(len(vertices), dtype=np.int64)
    bad = np.unique(
        np.concatenate([_bad_vertices(vertices, triangles, reference), *([] if stray is None else [stray])])
    )
    while len(bad) > 0:
        tries[bad] += 1
        region = np.zeros(len(vertices))
        region[bad] = 1
        for _ in range(round(1.5 ** tries[bad].max())):
            region = np.minimum(region + beside @ region, 1)
        if region.all():
            return np.array(reference, dtype=np.float64)
        vertices = reference + filled_in(vertices - reference, region > 0, beside)
        bad = _bad_vertices(vertices, triangles, reference)
    return vertices


def filled_in(values: np.ndarray, region: np.ndarray, beside: csr_array) -> np.ndarray:
    """Values (V, n) with those of a region (V,) replaced by the harmonic ones: each the mean of its neighbours'."""
    values = values.copy()
    inside = np.flatnonzero(region)
    around = beside[inside]
    known = around @ np.where(region[:, None], 0, values)
    laplacian = diags_array(around.sum(axis=1)) - around[:, inside]
    values[inside] = splu(csc_array(laplacian)).solve(known)
    return values


def _bad_vertices(vertices: np.ndarray, triangles: np.ndarray, reference: np.ndarray) -> np.ndarray:
    bad = np.concatenate([turned_over(vertices, triangles, reference), crossing(vertices, triangles).ravel()])
    return np.unique(triangles[bad])


def neighbours(triangles: np.ndarray, count: int) -> csr_array:
    """(V, V) 1 where two vertices share an edge."""
    tail, head = triangles.ravel(), np.roll(triangles, -1, axis=1).ravel()
    ones = np.ones(2 * len(tail))
    beside = coo_array((ones, (np.concatenate([tail, head]), np.concatenate([head, tail]))), shape=(count, count))
    beside = csr_array(beside)
    beside.data[:] = 1
    return beside


def _near(middle: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (P,) and (P,) of balls that may touch; the few very large ones are held against all."""
    large = radius > 4 * np.median(radius)
    small = np.flatnonzero(~large)
    tree = cKDTree(middle[small], balanced_tree=False, compact_nodes=False)  # quicker to build, and asked once
    close = tree.query_pairs(2 * float(radius[small].max()), output_type="ndarray").T
    numbers = np.arange(len(middle))
    with_large = [
        (np.full(len(others), one), others)
        for one in np.flatnonzero(large)
        for others in [numbers[~large | (numbers > one)]]
    ]
    first, second = (np.concatenate([small[close[k]], *(pair[k] for pair in with_large)]) for k in (0, 1))
    return first, second


def _edges_pass(edged: np.ndarray, pierced: np.ndarray) -> np.ndarray:
    """Whether an edge of each triangle (P, 3, 3) passes through the other (P, 3, 3)."""
    passes = np.zeros(len(edged), dtype=bool)
    for k in range(3):
        start, end = edged[:, k], edged[:, (k + 1) % 3]
        # the edge's line winds the same way round all three sides exactly when it passes between them
        volumes = [_volume(start, end, pierced[:, c], pierced[:, (c + 1) % 3]) for c in range(3)]
        between = np.sign(volumes[0]) * np.sign(volumes[1]) > 0
        between &= np.sign(volumes[1]) * np.sign(volumes[2]) > 0
        ends = (
            _volume(pierced[:, 0], pierced[:, 1], pierced[:, 2], start),
            _volume(pierced[:, 0], pierced[:, 1], pierced[:, 2], end),
        )
        passes |= between & (np.sign(ends[0]) * np.sign(ends[1]) < 0)
    return passes


def _volume(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Signed volumes (P,), six times the tetrahedra's."""
    return (np.cross(b - a, c - a) * (d - a)).sum(axis=1)
