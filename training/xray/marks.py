"""What a film shows beside the patient: collimation, lead letters, and a station's own labels.

aperture = draw_aperture(geometry, rng).share(geometry)
lead = lead_letters(geometry, rng)
burn_labels(pixels, rng)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from DualFaceReconLib.geometry import ProjectionGeometry

COLLIMATED_SHARE = 0.6  # of films show the collimator's edges
PENUMBRA_MM = (0.4, 1.5)
LEAD_MM = (0.4, 1.5)
LETTER_MM = (9.0, 20.0)  # tall
MARKED_SHARE, LABELLED_SHARE, WRONG_CORNER_SHARE = 0.85, 0.15, 0.1
FONT = {  # 5 x 7 dots
    letter: np.array([[dot == "#" for dot in row] for row in rows.split("/")], dtype=np.float32)
    for letter, rows in {
        "R": "####./#...#/#...#/####./#.#../#..#./#...#",
        "L": "#..../#..../#..../#..../#..../#..../#####",
        "A": ".###./#...#/#...#/#####/#...#/#...#/#...#",
        "P": "####./#...#/#...#/####./#..../#..../#....",
        "S": ".####/#..../#..../.###./....#/....#/####.",
        "U": "#...#/#...#/#...#/#...#/#...#/#...#/.###.",
        "I": ".###./..#../..#../..#../..#../..#../.###.",
        "N": "#...#/##..#/#.#.#/#..##/#...#/#...#/#...#",
        "E": "#####/#..../#..../####./#..../#..../#####",
        "H": "#...#/#...#/#...#/#####/#...#/#...#/#...#",
        "V": "#...#/#...#/#...#/#...#/.#.#./.#.#./..#..",
        "1": "..#../.##../..#../..#../..#../..#../.###.",
    }.items()
}
LABELS = ("AP", "PA", "SUPINE", "HIP", "PELVIS", "R", "L", "R HIP", "L HIP", "SUPINE 1")


@dataclass(frozen=True, kw_only=True)
class Aperture:
    """The collimator's opening on the detector, a little turned."""

    low_px: tuple[float, float]  # row, col of the edges
    high_px: tuple[float, float]
    turn: float  # radians
    penumbra_mm: float

    def share(self, geometry: ProjectionGeometry) -> np.ndarray:
        """(rows, cols) float32 share of the beam that passes."""
        rows, cols = geometry.size_px
        middle = np.array([rows - 1, cols - 1]) / 2
        down, across = np.arange(rows, dtype=np.float32)[:, None] - middle[0], np.arange(cols) - middle[1]
        turned = (
            down * np.cos(self.turn) + across * np.sin(self.turn),
            across * np.cos(self.turn) - down * np.sin(self.turn),
        )
        share = np.ones((rows, cols), dtype=np.float32)
        width = max(self.penumbra_mm / geometry.pixel_pitch_mm[0], 0.5)
        for place, centre, low, high in zip(turned, middle, self.low_px, self.high_px, strict=True):
            inside = np.minimum(place + centre - low, high - place - centre) / width
            share *= np.clip(inside + 0.5, 0, 1).astype(np.float32)
        return share


def draw_aperture(geometry: ProjectionGeometry, rng: np.random.Generator) -> Aperture | None:
    """An opening whose edges lie up to a tenth of the film inside it, or beyond; None where the whole film is lit."""
    if rng.random() > COLLIMATED_SHARE:
        return None
    size = np.array(geometry.size_px, dtype=float)
    margin = rng.uniform(-0.05, 0.1, (2, 2)) * size  # below 0: that edge lies off the film
    margin[:, rng.random(2) < 0.3] *= 0.3
    low, high = margin[0] - 0.5, size - 0.5 - margin[1]
    turn = float(np.radians(np.clip(rng.normal(0, 0.6), -2.5, 2.5)))
    return Aperture(
        low_px=tuple(map(float, low)),
        high_px=tuple(map(float, high)),
        turn=turn,
        penumbra_mm=float(rng.uniform(*PENUMBRA_MM)),
    )


def lead_letters(
    geometry: ProjectionGeometry, rng: np.random.Generator, aperture: Aperture | None = None
) -> tuple[np.ndarray, str]:
    """(rows, cols) float32 mm of lead, and the letter; the patient's right is on the left of the picture.

    A letter lies in the half that it names, mostly beside the patient.
    """
    lead = np.zeros(geometry.size_px, dtype=np.float32)
    if rng.random() > MARKED_SHARE:
        return lead, ""
    letter = str(rng.choice(["R", "L"]))
    rows, cols = geometry.size_px
    tall = rng.uniform(*LETTER_MM) / geometry.pixel_pitch_mm[0]
    lowest, highest = (
        (np.array([0.0, 0.0]), np.array([rows, cols]))
        if aperture is None
        else (
            np.maximum(aperture.low_px, 0),
            np.minimum(aperture.high_px, (rows, cols)),
        )
    )
    down = rng.uniform(0.06, 0.35) if rng.random() < 0.6 else rng.uniform(0.65, 0.94)
    beside = rng.uniform(0.04, 0.1) if rng.random() > WRONG_CORNER_SHARE else rng.uniform(0.1, 0.4)
    across = beside if letter == "R" else 1 - beside
    centre = lowest + (highest - lowest) * (down, across)
    turn = np.radians(np.clip(rng.normal(0, 6), -25, 25))
    stamped(lead, FONT[letter], centre, tall, turn, float(rng.uniform(*LEAD_MM)), framed=bool(rng.random() < 0.3))
    return lead, letter


def burn_labels(pixels: np.ndarray, rng: np.random.Generator) -> list[str]:
    """Writes a station's labels into a displayed film (rows, cols), 0 to 1, and gives them."""
    if rng.random() > LABELLED_SHARE:
        return []
    rows, cols = pixels.shape
    words = [str(word) for word in rng.choice(LABELS, rng.integers(1, 3), replace=False)]
    for word in words:
        tall = rows * rng.uniform(0.018, 0.035)
        place = np.array([rng.choice([0.04, 0.96]), rng.uniform(0.12, 0.88)]) * (rows, cols)
        dots = np.concatenate([np.pad(FONT.get(c, np.zeros((7, 5))), ((0, 0), (0, 1))) for c in word], axis=1)
        if rng.random() < 0.4:  # on a patch
            patch = np.ones((9, dots.shape[1] + 2), dtype=np.float32)
            stamped(pixels, patch, place, tall * 9 / 7, 0.0, 0.0, replaces=True)
        stamped(pixels, dots, place, tall, 0.0, 1.0, replaces=True)
    return words


def stamped(
    picture: np.ndarray,
    dots: np.ndarray,
    centre: np.ndarray,
    tall_px: float,
    turn: float,
    value: float,
    framed: bool = False,
    replaces: bool = False,
) -> None:
    """Writes dots, `tall_px` high in all, around a place: added to a picture, or over it where `replaces`."""
    high, wide = dots.shape
    reach = 0.5 * tall_px / high * np.hypot(high, wide) * 1.5 + 2
    top, left = np.maximum(np.floor(centre - reach), 0).astype(int)
    bottom, right = np.minimum(np.ceil(centre + reach), np.array(picture.shape) - 1).astype(int) + 1
    if bottom <= top or right <= left:
        return
    down = np.arange(top, bottom)[:, None] - centre[0]
    across = np.arange(left, right)[None] - centre[1]
    scale = high / tall_px
    row = (down * np.cos(turn) + across * np.sin(turn)) * scale + high / 2
    col = (across * np.cos(turn) - down * np.sin(turn)) * scale + wide / 2
    inside = (row >= 0) & (row < high) & (col >= 0) & (col < wide)
    on = np.zeros(inside.shape, dtype=np.float32)
    on[inside] = dots[row[inside].astype(int), col[inside].astype(int)]
    if framed:
        away = np.hypot(row - high / 2, col - wide / 2) / (0.72 * high)
        on = np.maximum(on, (np.abs(away - 0.93) < 0.07).astype(np.float32))
    window = picture[top:bottom, left:right]
    window[...] = np.where(on > 0, value, window) if replaces else window + value * on
