"""A radiograph to bones beside nnU-Net's own predictor and plain code: python Testing/bench/reconstruct.py

Stages are those of the bundle that ships, on a shipped film at several sizes, each in a process of its own: cold is
the first film with all that is loaded for it, warm the best of three later ones. The networks alone are also timed on
larger squares than the bundle's, where weights do not matter: ours is what the product runs; nnU-Net's predictor runs
the same segmentation network on one tile without mirroring; plain is that network called as it is, gradients and all.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from DualFaceReconLib.bundle.store import SHIPPED
from DualFaceReconLib.film.radiograph import Radiograph, read_radiograph
from DualFaceReconLib.inference import best_device, load_networks

FILM = Path(__file__).parents[2] / "Resources" / "Samples" / "pelvis_1.dcm"
FILM_SIDES_PX = (512, 1024, 2560)
SQUARES_PX = (512, 1024)  # beside the bundle's own
WARM_RUNS = 3


def main() -> None:
    devices = ["cpu"] if best_device() == "cpu" else ["cpu", best_device()]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, devices: {', '.join(devices)}\n")
    for device in devices:
        print(f"Stages on {device}, seconds")
        heads = "".join(f"{name:>{width}}" for name, width in STAGES)
        print(f"{'film':>8}{'':>6}{heads}{'peak, MB':>10}")
        for side in FILM_SIDES_PX:
            measured = json.loads(_python("stages", str(side), device))
            for way in ("cold", "warm"):
                seconds = measured[way]
                stages = "".join(f"{seconds[name]:>{width}.2f}" for name, width in STAGES)
                peak = f"{measured['peak_mb']:>10.0f}" if way == "warm" else ""
                print(f"{side:>8}{way:>6}{stages}{peak}")
        print(f"\nNetworks alone on {device}, seconds a film")
        print(f"{'square':>8}{'ours, both':>12}{'ours, masks':>13}{'nnU-Net':>9}{'plain':>8}{'nnU-Net / ours':>16}")
        networks = load_networks(SHIPPED, device)
        for side in (networks.manifest.input_px[0], *SQUARES_PX):
            _networks_alone(networks, side)
        print()


STAGES = (("networks", 10), ("surfaces", 10), ("completion", 12), ("whole", 8), ("saving", 8))


def stages(side: int, device: str) -> dict:
    """Times of one film, cold and warm, in this process."""
    begun = time.perf_counter()
    from DualFaceReconLib.reconstruction import Reconstructor
    from DualFaceReconLib.results import save

    radiograph = _resized(read_radiograph(FILM), side)
    reconstructor = Reconstructor(device=device)
    loaded = time.perf_counter() - begun
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1 + WARM_RUNS):
            begun = time.perf_counter()
            found = reconstructor.run(radiograph)
            whole = time.perf_counter() - begun
            begun = time.perf_counter()
            save(found, Path(folder) / str(number))
            runs.append({**found.timings_s, "whole": whole, "saving": time.perf_counter() - begun})
    runs[0]["whole"] += loaded
    return {"cold": runs[0], "warm": min(runs[1:], key=lambda run: run["whole"]), "peak_mb": _peak_mb()}


def _networks_alone(networks: SimpleNamespace, side: int) -> None:
    film = torch.randn(1, 1, side, side, device=networks.device)

    def ours(both: bool) -> None:
        with torch.inference_mode():
            networks.segmentation(film)
            if both:
                networks.depth(film)

    peer = _nnunet_predictor(networks, side)
    timed = [
        _best(lambda: ours(True)),
        _best(lambda: ours(False)),
        _best(lambda: peer.predict_sliding_window_return_logits(film[0, :, None])),
        _best(lambda: networks.segmentation(film)),
    ]
    print(f"{side:>8}{timed[0]:>12.3f}{timed[1]:>13.3f}{timed[2]:>9.3f}{timed[3]:>8.3f}{timed[2] / timed[1]:>16.2f}")


def _nnunet_predictor(networks: SimpleNamespace, side: int) -> SimpleNamespace:
    """nnU-Net's predictor around our segmentation network, which is nnU-Net's own."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    device = torch.device(networks.device)
    predictor = nnUNetPredictor(
        use_mirroring=False, device=device, perform_everything_on_device=device.type == "cuda", allow_tqdm=False
    )
    heads = SimpleNamespace(num_segmentation_heads=len(networks.manifest.bones))
    plans = SimpleNamespace(get_label_manager=lambda _: heads)
    configuration = SimpleNamespace(patch_size=(side, side))
    predictor.manual_initialization(networks.segmentation, plans, configuration, None, {}, "", None)
    return predictor


def _best(run: Callable[[], object]) -> float:
    """The quickest of some runs after a first one."""
    run()
    times = []
    for _ in range(WARM_RUNS):
        begun = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    return min(times)


def _resized(radiograph: Radiograph, side: int) -> Radiograph:
    """The same film with another number of pixels along its longer side."""
    from DualFaceReconLib.pictures.drawing import resized_grey

    longer = max(radiograph.geometry.size_px)
    geometry = radiograph.geometry.resized([round(n * side / longer) for n in radiograph.geometry.size_px])
    return Radiograph(resized_grey(radiograph.pixels, geometry.size_px), geometry)


def _python(*arguments: str) -> str:
    """What this program prints, started anew and set up as `dualface` sets itself up."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def _peak_mb() -> float:
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(stages(int(sys.argv[2]), sys.argv[3])))
    else:
        main()
