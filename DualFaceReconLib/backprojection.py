"""A film laid back into space: every voxel of a cube has the grey value of the pixel that its ray meets.

    cube = Cube(centre=(0, 0, 0), side=112, voxel_mm=1.0)
    projections = torch.stack([back_projected(pixels, film, cube) for pixels, film in zip(grey, films)])  # (2, n, n, n)

Along true rays, from the source: a film is neither replicated along an axis nor turned, whatever its angle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from DualFaceReconLib.biplanar import PlacedFilm
from DualFaceReconLib.geometry import ProjectionGeometry


@dataclass(frozen=True)
class Cube:
    """Voxels in the patient's frame. A volume is indexed [R, A, S], each growing that way; an integer is a centre."""

    centre: tuple[float, float, float]  # RAS mm
    side: int  # voxels
    voxel_mm: float

    def __post_init__(self) -> None:
        if self.side < 1 or not self.voxel_mm > 0:
            raise ValueError(f"a cube has one voxel or more of a positive size, not {self.side} of {self.voxel_mm} mm")

    def axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The voxels' R, A and S, each (side,) mm."""
        offsets = (np.arange(self.side) - (self.side - 1) / 2) * self.voxel_mm
        right, anterior, superior = (middle + offsets for middle in self.centre)
        return right, anterior, superior

    def points(self) -> np.ndarray:
        """Every voxel's centre, (side, side, side, 3) RAS mm."""
        return np.stack(np.meshgrid(*self.axes(), indexing="ij"), axis=-1)

    def indices(self, points: np.ndarray) -> np.ndarray:
        """RAS mm (..., 3) -> [R, A, S] voxels (..., 3), with parts."""
        return (np.asarray(points, dtype=np.float64) - self.centre) / self.voxel_mm + (self.side - 1) / 2


def back_projected(pixels: np.ndarray, film: PlacedFilm, cube: Cube) -> Tensor:
    """(side, side, side) float32 of a film (rows, cols); 0 where it does not reach.

    Pixels finer than a voxel is at the cube's middle are averaged first; between pixels values go along straight lines.
    """
    picture, geometry = _no_finer_than(pixels, film, cube)
    place = PlacedFilm(geometry, film.rotation, film.translation)
    at, depth = place.project(cube.points())
    lit = depth > 0
    at = np.where(lit[..., None], at, -2.0)  # beyond the film: what is at the source or behind it is not lit
    ends = np.maximum(np.array(geometry.size_px) - 1, 1)
    grid = torch.as_tensor((2 * at / ends - 1)[..., ::-1].astype(np.float32))  # [-1, 1], columns first
    flat = grid.reshape(1, cube.side, cube.side**2, 2)
    sampled = grid_sample(picture, flat, mode="bilinear", padding_mode="zeros", align_corners=True)
    return sampled.reshape(cube.side, cube.side, cube.side)


def _no_finer_than(pixels: np.ndarray, film: PlacedFilm, cube: Cube) -> tuple[Tensor, ProjectionGeometry]:
    """The film (1, 1, rows, cols) with pixels that are no finer than the cube's voxels, and its geometry."""
    geometry = film.geometry
    if pixels.shape != geometry.size_px:
        raise ValueError(f"the film has {pixels.shape} pixels, its geometry {geometry.size_px}")
    picture = torch.as_tensor(np.ascontiguousarray(pixels, dtype=np.float32))[None, None]
    middle_mm = float(film.project(np.array(cube.centre))[1])
    if middle_mm <= 0:
        raise ValueError("the cube lies behind the X-ray source")
    fine_mm = geometry.pixel_size_at(middle_mm)
    size = [max(1, round(n * min(mm / cube.voxel_mm, 1))) for n, mm in zip(geometry.size_px, fine_mm, strict=True)]
    if tuple(size) == geometry.size_px:
        return picture, geometry
    coarser = interpolate(picture, size=size, mode="bilinear", antialias=True, align_corners=False)
    return coarser, geometry.resized(size)
