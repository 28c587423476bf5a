"""How a measurement is spread over many films, and which films lie far out: numbers, and a histogram as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

FAR_OUT = 3.5  # standard deviations from the median, by the median absolute deviation (Iglewicz and Hoaglin, 1993)
MAD_TO_STD = 1.4826  # of normal values
LEAST_FILMS = 10  # of which anything can be said to lie far out
SHOWN_DEVIATIONS = 6.0  # either side of the median; values beyond stand in the outermost bars
BARS = 36
WIDTH, HEIGHT, FOOT = 360, 92, 18  # of a histogram, px; the last for the numbers below it


@dataclass(frozen=True)
class Spread:
    """Values of a measurement, one a film."""

    films: np.ndarray  # (n,) their numbers
    values: np.ndarray  # (n,)

    @property
    def median(self) -> float:
        return float(np.median(self.values))

    @property
    def quartiles(self) -> tuple[float, float]:
        low, high = np.percentile(self.values, (25, 75))
        return float(low), float(high)

    @property
    def deviation(self) -> float:
        """A standard deviation that the films far out hardly change; 0 where most values are the same."""
        return MAD_TO_STD * float(np.median(np.abs(self.values - self.median)))

    @property
    def limits(self) -> tuple[float, float]:
        """Beyond which a value lies far out; infinite where there are too few films to tell."""
        reach = FAR_OUT * self.deviation if len(self.values) >= LEAST_FILMS and self.deviation > 0 else np.inf
        return self.median - reach, self.median + reach

    def far_out(self) -> list[int]:
        """Places of the values that lie far out, the farthest first."""
        low, high = self.limits
        places = np.flatnonzero((self.values < low) | (self.values > high))
        return places[np.argsort(-np.abs(self.values[places] - self.median), kind="stable")].tolist()


def axis_of(spreads: Sequence[Spread]) -> tuple[float, float]:
    """From where to where histograms that are compared reach."""
    lows, highs = [], []
    for spread in spreads:
        reach = SHOWN_DEVIATIONS * spread.deviation if spread.deviation > 0 else np.inf
        lows.append(max(float(spread.values.min()), spread.median - reach))
        highs.append(min(float(spread.values.max()), spread.median + reach))
    low, high = min(lows), max(highs)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def histogram(spread: Spread, axis: tuple[float, float], name: str) -> str:
    """An SVG of bars; those of values far out are of another colour."""
    low, high = axis
    edges = np.linspace(low, high, BARS + 1)
    counts, _ = np.histogram(np.clip(spread.values, low, high), edges)
    first, last = spread.limits
    tallest, step, base = max(int(counts.max()), 1), WIDTH / BARS, HEIGHT - FOOT
    bars = []
    for number, count in enumerate(counts.tolist()):
        if count:
            middle = (edges[number] + edges[number + 1]) / 2
            kind = "far" if middle < first or middle > last else "bar"
            tall = max(count / tallest * (base - 4), 1.5)
            bars.append(
                f'<rect class="{kind}" x="{number * step:.1f}" y="{base - tall:.1f}" width="{step - 1:.1f}" '
                f'height="{tall:.1f}"><title>{edges[number]:.4g} to {edges[number + 1]:.4g}: {count}</title></rect>'
            )
    place = (spread.median - low) / (high - low) * WIDTH
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}, {len(spread.values)} films, '
        f'median {spread.median:.1f}">'
        f'<line class="axis" x1="0" y1="{base}" x2="{WIDTH}" y2="{base}"/>{"".join(bars)}'
        f'<line class="median" x1="{place:.1f}" y1="0" x2="{place:.1f}" y2="{base}"/>'
        f'<text x="0" y="{HEIGHT - 4}">{low:.4g}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT - 4}" text-anchor="end">{high:.4g}</text></svg>'
    )
