"""Coherent point drift beside the author's results: closeness both ways, and plain time beside accelerated time.

    python Testing/bench/gbcpd.py

Closeness is the mean distance to the nearest vertex, as a ratio to the author's plain run on the same points.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))

from support.bones import GOLDEN_CASES, SHARED, load_golden

from training.anatomy.gbcpd import RegistrationSettings, register


def both_ways(points: np.ndarray, target: np.ndarray) -> tuple[float, float, float]:
    there, back = cKDTree(target).query(points)[0], cKDTree(points).query(target)[0]
    return there.mean(), back.mean(), back.max()


def main() -> None:
    if not (SHARED / "golden").exists():
        print("no reference registrations at hand: nothing to compare with")
        return
    columns = f"{'time':>7} {'to target':>10} {'from target':>12} {'uncovered':>10} {'rms to theirs':>14}"
    print(f"{'case':<12} {'mode':<12} {columns}")
    for case in GOLDEN_CASES:
        golden = load_golden(case)
        theirs = both_ways(golden["gbcpd_y"], golden["target"])
        times = {}
        for mode, settings in (
            ("accelerated", RegistrationSettings(accelerated=True)),
            ("plain", RegistrationSettings()),
        ):
            start = time.perf_counter()
            result = register(golden["source"], golden["target"], golden["triangles"], settings)
            times[mode] = time.perf_counter() - start
            ours = both_ways(result.points, golden["target"])
            rms = np.sqrt(((result.points - golden["gbcpd_y"]) ** 2).sum(axis=1).mean())
            print(
                f"{case:<12} {mode:<12} {times[mode]:6.1f}s {ours[0] / theirs[0]:10.3f} {ours[1] / theirs[1]:12.3f} "
                f"{ours[2]:7.1f} mm {rms:11.1f} mm"
            )
        print(f"{'':<12} accelerated is {times['plain'] / times['accelerated']:.1f} times as fast as plain")


if __name__ == "__main__":
    main()
