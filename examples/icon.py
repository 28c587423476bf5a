"""Draws the module's icon: a bone-coloured ring seen by a fan of rays. `python examples/icon.py FILE`"""

import sys
from pathlib import Path

import numpy as np

from DualFaceReconLib.pictures import drawing

SIDE_PX, OVERSAMPLED = 128, 8


def main(path: Path) -> None:
    side = SIDE_PX * OVERSAMPLED
    row, col = (np.mgrid[:side, :side] + 0.5) / side
    icon = np.tile(np.array([24.0, 34, 48]), (side, side, 1))
    icon[np.abs(col - 0.5) < 0.42 * row] = (46, 74, 104)  # the beam, from the source at the top
    radius = np.hypot(row - 0.58, col - 0.5)
    ring = np.abs(radius - 0.23) < 0.1
    light = 0.55 + 0.45 * np.cos((np.abs(radius - 0.23) / 0.1) * np.pi / 2)
    icon[ring] = (light[..., None] * np.array([240.0, 230, 205]))[ring]
    icon[np.hypot(row - 0.05, col - 0.5) < 0.04] = (255, 225, 60)
    small = icon.reshape(SIDE_PX, OVERSAMPLED, SIDE_PX, OVERSAMPLED, 3).mean(axis=(1, 3))
    drawing.save_png(small.astype(np.uint8), path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
