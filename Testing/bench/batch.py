"""Many films on the cores of this machine: python Testing/bench/batch.py [FILMS]

The same films, with the bundle that ships, in one process with all threads (as `reconstruct` runs several films), by
`--jobs 1`, and by as many jobs as there are cores; then a cold start of `reconstruct`. Time counts while every process
has a film: from the first one that each has done until one finds no more, so that loading is no part of it, nor how the
last films happen to fall; CPU seconds hold all. Run it while nothing else runs, with many films a core.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from DualFaceReconLib.batch.run import run_batch
from DualFaceReconLib.parallel.processes import InProcesses, usable_cores

SAMPLES = Path(__file__).parents[2] / "Resources" / "Samples"
FILMS = 16
COLD_RUNS = 3


def main() -> None:
    cores = usable_cores()
    count = int(sys.argv[1]) if len(sys.argv) > 1 else FILMS
    with tempfile.TemporaryDirectory() as folder:
        films = Path(folder) / "films"
        films.mkdir()
        originals = sorted(SAMPLES.glob("*.dcm"))
        for number in range(count):
            shutil.copy(originals[number % len(originals)], films / f"{number:03d}.dcm")
        print(f"{count} films of 1024 pixels, {cores} cores; seconds")
        print(f"{'':<34}{'a film':>8}{'CPU a film':>12}{'peak, MB':>10}")
        alone = _batch(films, Path(folder) / "jobs 1", 1)
        _tell("--jobs 1", alone)
        together = _batch(films, Path(folder) / "jobs", cores)
        _tell(f"--jobs {cores}", together)
        whole = json.loads(_python("whole", str(films), folder))
        _tell("one process, all threads", whole)
        print(f"\n--jobs {cores} is {alone['film'] / together['film']:.2f} times as fast as --jobs 1, ", end="")
        print(f"{whole['film'] / together['film']:.2f} times as fast as one process with all threads")
        cold = min(_cold(originals[2], Path(folder) / f"cold {run}") for run in range(COLD_RUNS))
        stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in cold[2].items())
        print(f"cold `dualface reconstruct`: {cold[0]:.2f} s, {cold[1]:.2f} s of CPU (best of {COLD_RUNS})")
        print(
            f"of it {stages} s; what is left are imports, the film, and saving. `networks` waits until they are loaded"
        )


def _tell(name: str, measured: dict) -> None:
    print(f"{name:<34}{measured['film']:>8.2f}{measured['cpu']:>12.2f}{measured['peak_mb']:>10.0f}", flush=True)


def _batch(films: Path, out: Path, jobs: int) -> dict:
    """A batch in processes; peak memory is that of the largest of them."""
    times: list[float] = []
    before = resource.getrusage(resource.RUSAGE_CHILDREN)

    def say(words: str) -> None:
        if "/" in words.split(" ")[0]:
            times.append(time.perf_counter())

    run_batch(films, out, road=InProcesses(jobs), say=say)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = sum(getattr(after, name) - getattr(before, name) for name in ("ru_utime", "ru_stime"))
    film = (times[-jobs] - times[jobs - 1]) / (len(times) - 2 * jobs + 1)
    return {"film": film, "cpu": cpu / len(times), "peak_mb": _megabytes(after.ru_maxrss)}


def whole_process(films: Path, out: Path) -> dict:
    """All films one after the other, with all threads that libraries take."""
    from DualFaceReconLib.film.radiograph import read_radiograph
    from DualFaceReconLib.reconstruction import Reconstructor
    from DualFaceReconLib.results import save

    reconstructor = Reconstructor()
    times = []
    for path in sorted(films.iterdir()):
        save(reconstructor.run(read_radiograph(path)), out / "whole" / path.stem)
        times.append(time.perf_counter())
    used = resource.getrusage(resource.RUSAGE_SELF)
    film = (times[-1] - times[0]) / (len(times) - 1)
    return {
        "film": film,
        "cpu": (used.ru_utime + used.ru_stime) / len(times),
        "peak_mb": _megabytes(used.ru_maxrss),
    }


def _cold(film: Path, out: Path) -> tuple[float, float, dict]:
    """Seconds and CPU seconds of the command, from nothing, and seconds of its stages."""
    begun, before = time.perf_counter(), os.times()
    command = [sys.executable, "-m", "DualFaceReconLib", "reconstruct", str(film), "-o", str(out)]
    subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[2])
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    spent = time.perf_counter() - begun
    return spent, cpu, json.loads((out / "reconstruction.json").read_text(encoding="utf-8"))["timings_s"]


def _python(*arguments: str) -> str:
    """What this program prints, started anew and set up as `dualface` sets itself up."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    environment.pop("OMP_NUM_THREADS", None)
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def _megabytes(rss: int) -> float:
    return rss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


if __name__ == "__main__":
    if sys.argv[1:2] == ["whole"]:
        print(json.dumps(whole_process(Path(sys.argv[2]), Path(sys.argv[3]))))
    else:
        main()
