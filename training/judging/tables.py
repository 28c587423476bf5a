"""An evaluation for people: Markdown by groups of cases, JSON lines, a figure, and the cases to look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
import numpy as np

from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.film.radiograph import read_radiograph
from DualFaceReconLib.metrics import EarthMovers, pearson
from training.cases import read_case
from training.judging.baselines import MEAN_AT_POSE, MEAN_BY_MASK, NO_ALIGNMENT
from training.judging.evaluate import EMD_POINTS, SAMPLES, loaded_networks
from training.judging.poses import BINS_DEG
from training.judging.predictions import BY_BONE, BY_PICTURE, OBSERVED, ROWS, UNALIGNED, predicted_maps
from training.judging.scores import ALL, GROUPS, Evaluation, MapsScored, Scored, as_json, from_json

matplotlib.use("Agg")  # no display

from matplotlib import pyplot as plt

KINDS = ("hip", "femur")
RESAMPLED = 2000
COLOURS = {NO_ALIGNMENT: "0.55", BY_PICTURE: "tab:blue", BY_BONE: "tab:cyan", UNALIGNED: "tab:orange"}
WITHOUT_PIXELS = (MEAN_AT_POSE, MEAN_BY_MASK)
OF_ROWS = (
    "`mean shape placed by the segmentation`: the model's mean, turned, moved and sized to fill the true mask, its "
    "middle at the true mean depth of the picture's maps. It and `mean shape at the true pose` leave out bones that a "
    "CT's end cuts or that are sawn."
)
OF_POSES = (
    "Femora's pose, of whole femora: degrees, predicted minus true, after a rigid fit of what the film shows of the "
    "predicted surface to the true bone. `flexion` is how far the axis from head to knee leans forward, `rotation` is "
    "about that axis, inward positive; `r` is the correlation of predicted with true flexion. The last three columns "
    "are mean true and mean predicted flexion of femora whose true flexion is under 0, 0 to 10 and over 10 degrees: "
    "where predictions retreat to the mean they come out alike."
)
MOSTLY_FLOOR = "†"  # behind such an EMD
OF_EMD = (
    f"EMD is between {EMD_POINTS:,} points a side, its floor that of the truth to a second sample of the truth. "
    f"{MOSTLY_FLOOR} marks an EMD whose floor is not under a third of it: it says more of the points than of the "
    "surface, and must not be set beside a published value."
)
OF_NETWORKS = (
    "`one shift a picture`: the mean of truth minus prediction over pixels valid in both, of all maps, added to the "
    "depth maps before back-projection. `one shift a bone`: the same mean of one bone, which is moved by it after "
    "back-projection. `unaligned`: as the product places the film from its header. `predicted masks, true depths` has "
    "pixels in both masks. A bone is missed where no pixel of it was found, or too little to complete it; missed bones "
    "are in no mean. `mirrored`: how far apart is what the networks see in a film and in its mirror image, but for "
    "one shift of depths a picture, before both are averaged."
)


def write_tables(evaluation: Evaluation, title: str, folders: Sequence[Path], bundle: Path | None, out: Path) -> str:
    """Writes *.jsonl, *.png and, last, table.md into a folder; gives the table. `folders`: of the measured cases."""
    text = as_markdown(evaluation, title)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "rows.jsonl", as_json(evaluation.surfaces))
    figure(evaluation.surfaces, title, out / "assd.png")
    if evaluation.maps:
        write_text(out / "maps.jsonl", as_json(evaluation.maps))
    if bundle is not None:
        captions = cases_to_see(evaluation.surfaces)
        by_name = {folder.name: folder for folder in folders}
        if captions:
            outlines([by_name[name] for name in captions], list(captions.values()), bundle, out / "outlines.png")
    write_text(out / "table.md", text)
    return text


def read_evaluation(folder: Path) -> Evaluation:
    """What `write_tables` wrote into a folder."""
    paths = folder / "rows.jsonl", folder / "maps.jsonl"
    return from_json(*(path.read_text(encoding="utf-8") if path.exists() else "" for path in paths))


def as_markdown(evaluation: Evaluation, title: str) -> str:
    """Tables of all cases and of every group: means, with a bootstrap interval of the ASSD over people."""
    surfaces = evaluation.surfaces
    cases, people = {score.case for score in surfaces}, {score.person for score in surfaces}
    lines = [
        f"# {title}",
        "",
        f"{len(cases)} films of {len(people)} people, made by the simulator; whole bone surfaces inside the viewing "
        f"frustum, {SAMPLES:,} samples a side, point to triangle. In brackets: 95 % of means over resampled people.",
        "",
        OF_ROWS,
    ]
    if any(score.emd_mm is not None for score in surfaces):
        lines += ["", OF_EMD]
    if any(score.flexion_error_deg is not None for score in surfaces):
        lines += ["", OF_POSES]
    if evaluation.maps:
        lines += ["", OF_NETWORKS]
    for group in GROUPS:
        of_group = [score for score in surfaces if group in score.groups]
        if not of_group:
            continue
        films, people = {score.case for score in of_group}, {score.person for score in of_group}
        lines += ["", f"## {group.capitalize()}: {len(films)} films of {len(people)} people", ""]
        lines += _surface_lines(of_group)
        if posed := [score for score in of_group if score.flexion_error_deg is not None]:
            lines += ["", *_pose_lines(posed)]
        if maps := [score for score in evaluation.maps if group in score.groups]:
            lines += ["", *_map_lines(maps)]
    lines += _missed_lines([score for score in surfaces if score.assd_mm is None])
    return "\n".join(lines) + "\n"


def _surface_lines(scored: Sequence[Scored]) -> Iterator[str]:
    figures = "ASSD, mm | HD95, mm | HD95 max, mm | CD l2, mm2 | EMD, mm | EMD floor, mm"
    yield f"| bones | row | aligned by | pixels | n | missed | {figures} |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
    for kind in KINDS:
        for row, alignment in ROWS:
            of_row = [s for s in scored if s.bone.startswith(kind) and (s.row, s.alignment) == (row, alignment)]
            for pixels in sorted({s.pixels for s in of_row}):
                some = [s for s in of_row if s.pixels == pixels]
                known = [s for s in some if s.assd_mm is not None]
                resolution = "any" if row in WITHOUT_PIXELS else pixels
                head = f"| {kind} | {row} | {alignment} | {resolution} | {len(known)} | {len(some) - len(known)} |"
                if not known:
                    yield f"{head} | | | | | |"
                    continue
                low, high = interval([s.assd_mm for s in known], [s.person for s in known])
                means = [_mean(known, name) for name in ("assd_mm", "hd95_mm", "hd95_max_mm", "cd_l2_mm2")]
                rest = " | ".join(f"{mean:.2f}" for mean in means[1:])
                yield f"{head} {means[0]:.2f} [{low:.2f}, {high:.2f}] | {rest} | {_emd_cells(known)} |"


def _pose_lines(scored: Sequence[Scored]) -> Iterator[str]:
    """How far femora are turned from the truth; means over bones, absolute and signed."""
    errors = "flexion, mean abs. | flexion, mean | rotation, mean abs. | rotation, mean"
    yield f"| row | aligned by | pixels | n | {errors} | r | under 0 | 0 to 10 | over 10 |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
    for row, alignment in ROWS:
        of_row = [s for s in scored if (s.row, s.alignment) == (row, alignment)]
        for pixels in sorted({s.pixels for s in of_row}):
            some = [s for s in of_row if s.pixels == pixels]
            true = np.array([s.true_flexion_deg for s in some])
            flexion = np.array([s.flexion_error_deg for s in some])
            rotation = np.array([s.rotation_error_deg for s in some])
            cells = [f"{mean:.1f}" for error in (flexion, rotation) for mean in (np.abs(error).mean(), error.mean())]
            cells.append(f"{pearson(true, true + flexion):.2f}" if len(some) > 2 else "")
            for low, high in BINS_DEG:
                inside = (true >= low) & (true < high)
                means = (f"{angles[inside].mean():.1f}" for angles in (true, true + flexion) if inside.any())
                cells.append(": ".join(means))
            resolution = "any" if row in WITHOUT_PIXELS else pixels
            yield f"| {row} | {alignment} | {resolution} | {len(some)} | {' | '.join(cells)} |"


def _emd_cells(known: Sequence[Scored]) -> str:
    """Mean EMD, marked where it is mostly floor, and mean floor; empty where it was not asked for."""
    known = [score for score in known if score.emd_mm is not None]
    if not known:
        return " | "
    emd = EarthMovers(emd_mm=_mean(known, "emd_mm"), samples=EMD_POINTS, floor_mm=_mean(known, "emd_floor_mm"))
    return f"{emd.emd_mm:.2f}{'' if emd.comparable else ' ' + MOSTLY_FLOOR} | {emd.floor_mm:.2f}"


def _map_lines(scored: Sequence[MapsScored]) -> Iterator[str]:
    """Predicted masks and depths; means over bones."""
    figures = {
        "front MAE, mm": ("front_mae_mm", 2),
        "front RMSE, mm": ("front_rmse_mm", 2),
        "back MAE, mm": ("back_mae_mm", 2),
        "back RMSE, mm": ("back_rmse_mm", 2),
        "mirrored, mm": ("mirror_depth_mm", 2),
        "mirrored, Dice": ("mirror_dice", 3),
    }
    yield f"| bones | pixels | n | found | Dice | {' | '.join(figures)} |"
    yield f"|---|---|---|---|---|{'---|' * len(figures)}"
    for kind in KINDS:
        of_kind = [s for s in scored if s.bone.startswith(kind)]
        for pixels in sorted({s.pixels for s in of_kind}):
            some = [s for s in of_kind if s.pixels == pixels]
            detected = [s for s in some if s.found]
            cells = []
            for name, digits in figures.values():
                known = [s for s in some if getattr(s, name) is not None]
                cells.append(f"{_mean(known, name):.{digits}f}" if known else "")
            yield (
                f"| {kind} | {pixels} | {len(some)} | {len(detected)} | {_mean(some, 'dice'):.3f} | "
                + " | ".join(cells)
                + " |"
            )


def _missed_lines(missed: Sequence[Scored]) -> list[str]:
    """Names of the missed bones, by row."""
    if not missed:
        return []
    lines = ["", "## Missed bones", ""]
    for row, alignment in ROWS:
        of_row = [s for s in missed if (s.row, s.alignment) == (row, alignment)]
        if of_row:
            names = ", ".join(f"{s.case} {s.bone} ({s.pixels})" for s in of_row)
            lines.append(f"- {row}{alignment and f', {alignment}'}: {names}")
    return lines


def _mean(scored: Sequence[Scored] | Sequence[MapsScored], name: str) -> float:
    return float(np.mean([getattr(score, name) for score in scored]))


def interval(values: Sequence[float], people: Sequence[str], seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the mean, whole people drawn with replacement."""
    names = sorted(set(people))
    sums = np.array([sum(v for v, p in zip(values, people, strict=True) if p == name) for name in names])
    counts = np.array([sum(p == name for p in people) for name in names])
    drawn = np.random.default_rng(seed).integers(len(names), size=(RESAMPLED, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return float(np.percentile(means, 2.5)), float(np.percentile(means, 97.5))


# Pictures


def figure(scored: Sequence[Scored], title: str, path: Path) -> None:
    """The ASSD of every bone by row: boxes from quartile to quartile, whiskers from 5 to 95 %, a dot a bone."""
    rng = np.random.default_rng(0)
    known = [s for s in scored if s.assd_mm is not None and ALL in s.groups]
    rows = [row for row in ROWS if any((s.row, s.alignment) == row for s in known)][::-1]
    drawn, axes = plt.subplots(
        1, len(KINDS), figsize=(12, 1.6 + 0.42 * len(rows)), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, kind in zip(axes[0], KINDS, strict=True):
        for place, (row, alignment) in enumerate(rows):
            of_row = [s for s in known if s.bone.startswith(kind) and (s.row, s.alignment) == (row, alignment)]
            finest = max((s.pixels for s in of_row), default=0)
            values = [s.assd_mm for s in of_row if s.pixels == finest]
            if not values:
                continue
            line = {"color": COLOURS[alignment], "linewidth": 1.2}
            axis.boxplot(
                values, positions=[place], orientation="horizontal", widths=0.6, whis=(5, 95), showfliers=False,
                boxprops=line, whiskerprops=line, capprops=line, medianprops={"color": "black", "linewidth": 1.5},
            )  # fmt: skip
            axis.plot(
                values,
                place + rng.uniform(-0.2, 0.2, len(values)),
                ".",
                color=COLOURS[alignment],
                markersize=3,
                alpha=0.6,
            )
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
        axis.set_xticks([0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100])
        values = [s.assd_mm for s in known if s.bone.startswith(kind)] or [1.0]
        axis.set_xlim(0.8 * min(values), 1.25 * max(values))
        axis.grid(axis="x", alpha=0.3)
        axis.set_title(kind, fontsize=10)
        axis.set_xlabel("ASSD, mm", fontsize=9)
    names = [f"{row}, {alignment}" if alignment else row for row, alignment in rows]
    axes[0][0].set_yticks(range(len(rows)), names, fontsize=8)
    axes[0][0].set_ylim(-0.6, len(rows) - 0.4)
    drawn.suptitle(title, fontsize=11)
    drawn.savefig(path, dpi=110)
    plt.close(drawn)


def cases_to_see(scored: Sequence[Scored]) -> dict[str, str]:
    """Names of the median and the worst case of the headline's row, with a caption for each."""
    of_case: dict[str, list[float]] = {}
    for score in scored:
        if (score.row, score.alignment) == (OBSERVED, BY_PICTURE):
            of_case.setdefault(score.case, []).append(np.inf if score.assd_mm is None else score.assd_mm)
    means = {case: float(np.mean(values)) for case, values in of_case.items()}
    order = sorted(means, key=lambda case: (means[case], case))
    if not order:
        return {}
    chosen = {"median": order[(len(order) - 1) // 2], "worst": order[-1]}
    figures = {
        way: "a bone was missed" if means[case] == np.inf else f"ASSD {means[case]:.1f} mm"
        for way, case in chosen.items()
    }
    return {
        case: ", ".join(f"{way}: {figures[way]}" for way in chosen if chosen[way] == case) for case in chosen.values()
    }


def outlines(folders: Sequence[Path], captions: Sequence[str], bundle: Path, path: Path) -> None:
    """Films with the outlines of true and of predicted masks."""
    films = [read_radiograph(folder / "radiograph.dcm") for folder in folders]
    height = 6 * max(film.pixels.shape[0] / film.pixels.shape[1] for film in films) + 0.9
    drawn, axes = plt.subplots(1, len(folders), figsize=(6 * len(folders), height), squeeze=False, layout="constrained")
    for axis, folder, film, caption in zip(axes[0], folders, films, captions, strict=True):
        case = read_case(folder)
        low, high = film.display_window
        axis.imshow(film.pixels, cmap="gray", vmin=low, vmax=high)
        for masks, colour in (
            (case.maps.mask, "lime"),
            (predicted_maps(loaded_networks(bundle), case.radiograph).maps.mask, "red"),
        ):
            for mask in masks:
                if mask.any():
                    axis.contour(mask, [0.5], colors=colour, linewidths=0.8)
        axis.set_title(f"{folder.name}, {caption}\ntrue green, predicted red", fontsize=9)
        axis.axis("off")
    drawn.savefig(path, dpi=110)
    plt.close(drawn)
