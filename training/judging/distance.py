"""`python -m training distance --out OUT`: how well something tells how far the bones were from the detector.

An estimate that was made on films whose distances follow some distribution can always lean on that distribution's
middle. So it is judged on films of kept-out people twice: at usual distances, as training has them, and at unusual
ones, farther and wider, of the same patients. It is of use where it comes closer to the unusual ones than the
population's mean, which is what the product has without it. Two more constants stand beside it: the mean of the usual
distances, and the mean of the very films judged, which nobody could know. An estimate that beats this last one tells
far films from near ones.

    text, useful = judge(estimate, "sizes of bones", kept_out_population, count=200, out=Path("out/distance"))

The command judges what the product takes of a film's header.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.film.radiograph import Radiograph, read_radiograph
from DualFaceReconLib.film.subject import POPULATION_OBJECT_DISTANCE, POPULATION_OBJECT_DISTANCE_MM
from training.judging.tables import interval
from training.patients.population import Population
from training.simulate import Series, one_thread, take
from training.xray.dicom_film import write_dx
from training.xray.rig import UNUSUAL, USUAL

SEED = 313
FILM_PX = 512  # along the longer side
IN_TRAINING, OTHERS = "usual distances", "unusual distances"
DISTANCES = {IN_TRAINING: USUAL, OTHERS: UNUSUAL}
POPULATION_MEAN, USUAL_MEAN, OWN_MEAN = (
    f"population mean, {POPULATION_OBJECT_DISTANCE_MM:g} mm",
    "mean of the usual distances",
    "mean of these very films",
)

# Detector to the bones' centre and one standard deviation, mm
Estimator = Callable[[Radiograph], tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class JudgedDistances:
    """Object distances of some films (films,) mm."""

    true: np.ndarray
    estimated: np.ndarray
    spread: np.ndarray  # one standard deviation, as the estimate says
    people: tuple[str, ...]  # whose pelvis has the largest share in each patient


def from_header(radiograph: Radiograph) -> tuple[float, float]:
    """What the product has without an estimate: the header's distance, or the population's where it says none."""
    geometry = radiograph.geometry
    assert geometry.object_distance_mm is not None  # a reader always gives one
    return geometry.object_distance_mm, geometry.provenance["object_distance_mm"].spread or 0.0


def judge(estimator: Estimator, name: str, population: Population, count: int, out: Path) -> tuple[str, bool]:
    """Films `count` patients of a population at both distances; gives the table, and whether the estimate is of use.

    Writes `distance.md`, `distance.json` and `distance.png` to `out`, where the estimate is called `name`.
    """
    judged = {which: judged_on(estimator, population, which, count) for which in DISTANCES}
    rows = {which: compared(name, films, judged[IN_TRAINING]) for which, films in judged.items()}
    useful = beats_population_mean(judged[OTHERS])
    text = table(name, judged, rows, useful)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "distance.md", text + "\n")
    by_films = {
        which: {
            "rows": rows[which],
            "people": films.people,
            "true_mm": films.true.round(2).tolist(),
            "estimated_mm": films.estimated.round(2).tolist(),
            "spread_mm": films.spread.round(2).tolist(),
        }
        for which, films in judged.items()
    }
    write_text(out / "distance.json", json.dumps({"useful": useful, **by_films}, indent=1))
    picture(judged, out / "distance.png")
    return text, useful


def judged_on(estimator: Estimator, population: Population, which: str, count: int) -> JudgedDistances:
    """The estimate on a film of each of `count` patients, who are the same at both distances."""
    series = Series(seed=SEED, size_px=FILM_PX, distances=DISTANCES[which])
    true, estimates, people = [], [], []
    with one_thread(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "radiograph.dcm"
        for number in range(count):
            taken = take(population, series, number)
            film = taken.film(series)
            if not film.maps.mask.any():
                continue
            write_dx(path, film.pixels, taken.rig.geometry, **film.stored_from(taken.rig))
            estimates.append(estimator(read_radiograph(path)))
            true.append(taken.rig.geometry.sdd_mm - film.maps.mean_depth_mm())
            shares = taken.metadata["patient"]["pelvis"]
            people.append(max(shares, key=shares.get))
    estimated, spread = np.array(estimates).T
    return JudgedDistances(true=np.array(true), estimated=estimated, spread=spread, people=tuple(people))


def compared(
    name: str, films: JudgedDistances, usual: JudgedDistances
) -> dict[str, dict[str, float | tuple[float, float]]]:
    """Of the estimate and every constant the mean absolute error, the bias, and how honest the spread is.

    "interval_mm" is that of the mean absolute error over people. "within" is the share of films whose error is under
    one spread, 0.68 where errors are normal.
    """
    true = films.true
    estimates = {
        POPULATION_MEAN: (np.full_like(true, POPULATION_OBJECT_DISTANCE_MM), POPULATION_OBJECT_DISTANCE.spread),
        USUAL_MEAN: (np.full_like(true, usual.true.mean()), usual.true.std()),
        OWN_MEAN: (np.full_like(true, true.mean()), true.std()),
        name: (films.estimated, films.spread),
    }
    rows = {}
    for row, (distance, spread) in estimates.items():
        error = np.abs(distance - true)
        rows[row] = {
            "mae_mm": float(error.mean()),
            "interval_mm": interval(error, films.people),
            "bias_mm": float((distance - true).mean()),
            "within": float((error <= spread).mean()),
            "spread_mm": float(np.mean(spread)),
        }
    return rows


def beats_population_mean(films: JudgedDistances) -> bool:
    """Whether the estimate comes closer than the population mean, by more than chance among these people would give."""
    return gain(films, POPULATION_OBJECT_DISTANCE_MM)[0] > 0


def gain(films: JudgedDistances, constant_mm: float) -> tuple[float, float]:
    """95 % interval over people of how much closer the estimate comes than a constant, mm."""
    closer = np.abs(constant_mm - films.true) - np.abs(films.estimated - films.true)
    return interval(closer, films.people)


def table(name: str, judged: dict[str, JudgedDistances], rows: dict[str, dict], useful: bool) -> str:
    """Markdown: a table a set, and the verdict."""
    lines = [f"# Object distance: {name}", "", "Errors in mm; intervals of 95 % over people.", ""]
    for which, films in judged.items():
        true, estimated = films.true, films.estimated
        slope = np.polyfit(true, estimated, 1)[0]
        correlation = np.corrcoef(true, estimated)[0, 1] if np.ptp(estimated) > 0 else 0.0  # a constant tells nothing
        lines += [
            f"## {which.capitalize()}",
            "",
            f"{len(true)} films of {len(set(films.people))} people, {true.mean():.0f} ± {true.std():.0f} mm "
            f"({true.min():.0f} to {true.max():.0f}).",
            "",
            "| estimate | mean absolute error | interval | bias | spread | errors within a spread |",
            "|---|---|---|---|---|---|",
        ]
        for row, figures in rows[which].items():
            low, high = figures["interval_mm"]
            lines.append(
                f"| {row} | {figures['mae_mm']:.1f} | {low:.1f} to {high:.1f} | {figures['bias_mm']:+.1f} | "
                f"{figures['spread_mm']:.0f} | {100 * figures['within']:.0f} % |"
            )
        closer = [
            f"than {constant} by {low:.1f} to {high:.1f} mm"
            for constant, constant_mm in (
                ("the population mean", POPULATION_OBJECT_DISTANCE_MM),
                ("the mean of the usual distances", float(judged[IN_TRAINING].true.mean())),
                ("these films' own mean", float(true.mean())),
            )
            for low, high in [gain(films, constant_mm)]
        ]
        lines += [
            "",
            f"The estimate comes closer {', '.join(closer)} (less than 0: farther). Where bones are 10 mm farther from "
            f"the detector, it is {10 * slope:.1f} mm more; correlation {correlation:.2f}.",
            "",
        ]
    verdict = "is of use" if useful else "is of no use"
    beats = "beats" if useful else "does not beat"
    lines.append(f"**The estimate {verdict}**: at unusual distances it {beats} the population mean.")
    return "\n".join(lines)


def picture(judged: dict[str, JudgedDistances], path: Path) -> None:
    """Estimates against the truth, a panel a set."""
    figure, axes = plt.subplots(1, len(judged), figsize=(5.5 * len(judged), 5.5), layout="constrained")
    for axis, (which, films) in zip(axes, judged.items(), strict=True):
        _scatter(axis, films, which)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _scatter(axis: Axes, films: JudgedDistances, title: str) -> None:
    """Estimates against true distances with their spreads; one that knows lies on the line."""
    axis.errorbar(films.true, films.estimated, films.spread, fmt="o", markersize=3, linewidth=0.6, alpha=0.6)
    both = np.concatenate([films.true, films.estimated])
    ends = [float(both.min()) - 10, float(both.max()) + 10]
    axis.plot(ends, ends, color="black", linewidth=0.8)
    axis.axhline(POPULATION_OBJECT_DISTANCE_MM, color="grey", linewidth=0.8, linestyle="--")
    axis.set(xlim=ends, ylim=ends, aspect="equal", xlabel="true, mm", ylabel="estimated, mm")
    axis.set_title(title, fontsize=9)
