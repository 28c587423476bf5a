"""The rows of the EAR paper's tables: what each of them learns, and what the paper has of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from training.learning.recipe import Recipe

OFF = {"frequency": False, "edges": False, "shortcuts": False}
FIGURES = ("mse", "mae", "dice", "psnr_range_db", "ssim", "frequency_in_limits")  # the paper's six, in its order


@dataclass(frozen=True, kw_only=True)
class VolumeArm:
    """A network by one recipe, and all by which it differs from the others."""

    name: str
    task: str = "ear"
    network: dict[str, Any] = field(default_factory=dict)  # beside the base recipe's
    loss: str = "ear"
    apart_degrees: float = 90.0
    published: tuple[float, ...] | None = None  # the paper's six FIGURES, as far as our copy of it has them

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return self.name.lower().replace("+", "").replace(" ", "_")

    def recipe(self, base: Recipe) -> Recipe:
        """What it learns by; the base's network is EAR's."""
        network = {**base.network, **self.network} if self.task == "ear" else self.network
        return replace(
            base,
            task=self.task,
            network=network,
            films=replace(base.films, apart_degrees=self.apart_degrees, oblique=0.0),
            learning=replace(base.learning, loss=self.loss),
        )


def _rival(name: str, network: str) -> VolumeArm:
    return VolumeArm(name=name, task="rival", network={"name": network}, loss="reconstruction")


def _parts(name: str, **parts: bool) -> VolumeArm:
    return VolumeArm(name=name, network={**OFF, **parts})


EAR = VolumeArm(name="EAR", published=(0.2532, 0.1532, 0.8644, 23.7612, 0.8013, 0.3014))
BASELINE = _parts("Baseline")
PSR, SIT, E2E, BX2S = (_rival(name, name.lower()) for name in ("PSR", "SIT", "E2E", "BX2S"))
ABS = _parts("Baseline + ABS", shortcuts=True)
FEM = _parts("Baseline + FEM", frequency=True)
EAM = _parts("Baseline + EAM", edges=True)
ABS_FEM = _parts("Baseline + ABS + FEM", shortcuts=True, frequency=True)
ABS_EAM = _parts("Baseline + ABS + EAM", shortcuts=True, edges=True)
FEM_EAM = _parts("Baseline + FEM + EAM", frequency=True, edges=True)
FIRST_LOSS = VolumeArm(
    name="Reconstruction loss alone",
    loss="reconstruction",
    published=(0.2910, 0.1572, 0.8615, 23.2530, 0.7915, 0.7663),
)
WITH_EDGE = VolumeArm(
    name="With edge loss", loss="with_edge", published=(0.2892, 0.1541, 0.8638, 22.9221, 0.7956, 0.7244)
)
WITH_FREQUENCY = VolumeArm(
    name="With edge and frequency loss",
    loss="with_frequency",
    published=(0.2488, 0.1470, 0.8682, 23.5782, 0.7914, 0.3367),
)
# The paper's Table 3 has other figures of EAR in the fourth digit than its Table 1
ALL_LOSSES = replace(EAR, published=(0.2532, 0.1532, 0.8661, 23.7613, 0.8013, 0.3014))
ANGLES = {
    degrees: VolumeArm(name=f"EAR at {degrees} degrees", apart_degrees=float(degrees))
    for degrees in (60, 80, 110, 120, 140)
}

TABLES = {
    "Table 1: networks": (PSR, SIT, E2E, BX2S, EAR),
    "Table 2: parts of the network": (BASELINE, ABS, FEM, EAM, ABS_FEM, ABS_EAM, FEM_EAM, EAR),
    "Table 3: losses": (FIRST_LOSS, WITH_EDGE, WITH_FREQUENCY, ALL_LOSSES),
    "Angles between the films": (ANGLES[60], ANGLES[80], EAR, ANGLES[110], ANGLES[120], ANGLES[140]),
}
# The most telling ones first
ORDER = (
    *(EAR, BASELINE, BX2S, E2E, SIT, PSR, ABS, ABS_FEM, FIRST_LOSS, WITH_FREQUENCY),
    *(ANGLES[60], ANGLES[140], FEM, EAM, WITH_EDGE, ANGLES[120], ANGLES[80], ANGLES[110], ABS_EAM, FEM_EAM),
)
