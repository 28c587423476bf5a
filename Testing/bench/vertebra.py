"""How long EAR takes for a cube, beside a plain U-Net of the same widths on the same core: CPU seconds and their ratio.

python Testing/bench/vertebra.py
"""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

from DualFaceReconLib.networks.ear import EarNetwork, EarSettings
from training.learning.rivals import RIVALS, RivalSettings

SIDE, ROUNDS = 64, 5


def seconds(network: nn.Module, projections: Tensor) -> float:
    """Of processors, for one cube; the least of some rounds."""
    network.eval()
    with torch.inference_mode():
        network(projections)
        taken = []
        for _ in range(ROUNDS):
            begun = time.process_time()
            network(projections)
            taken.append(time.process_time() - begun)
    return min(taken)


def main() -> None:
    torch.manual_seed(0)
    projections = torch.randn(1, 2, SIDE, SIDE, SIDE)
    ear = seconds(EarNetwork(EarSettings()), projections)
    plain = seconds(RIVALS["e2e"](RivalSettings(name="e2e")), projections)
    print(f"{SIDE}^3: EAR {ear:.2f} s, E2E {plain:.2f} s of a processor: {ear / plain:.1f} times as long")


if __name__ == "__main__":
    main()
