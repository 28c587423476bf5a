"""From lengths in materials to what a detector reads: spectrum, heel, focal spot, scatter, grid, dose, noise.

    exposure = draw_exposure(rng)
    read = expose(projection, exposure, seed, device)  # (rows, cols) tensor, logarithm of attenuation, bone bright

Everything is in PyTorch, so that it runs where the projections lie.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import avg_pool2d, interpolate, pad

from DualFaceReconLib.geometry import ProjectionGeometry
from training.xray.beam import PHOTONS_PER_MM2_UGY, Beam, bins
from training.xray.materials import MATERIALS
from training.xray.projection import Projection
from training.xray.smoothing import blurred

WORLDS = ("seen", "unseen")  # training draws from the first alone; the second shows a world that no network has met

KVP = (65, 70, 75, 80, 85)  # of pelvis films 70 kV is best and 60 too low (Moore et al., Br J Radiol 93:20200565, 2020)
ALUMINIUM_MM = (2.5, 4.0)
COPPER_MM = {0.0: 0.7, 0.1: 0.3}
UNSEEN_BEAM = {"kvp": 100, "aluminium_mm": 3.0, "copper_mm": 0.2, "detector": "selenium", "layer_mm": 1.0}
DOSE_UGY = (0.8, 10.0)  # at the detector: a speed class of 1000 to 100; 400 is 2.5 uGy by its definition
FOCAL_MM = (0.6, 1.3)
READOUT_UGY = 0.05  # the dose whose photons are as noisy as the electronics are
SHARPNESS_MM = (0.08, 0.22)  # standard deviation of what the detector smears
SATURATED_AT = (15.0, 150.0)  # times the signal that the exposure control aims at
UNCORRECTED = 0.3  # share of films whose detector takes no field of its own off: cassettes

# Scatter: Ohnesorge's kernel for CT (Eur Radiol 9:563, 1999): primary * -ln(primary), spread broadly. 0.85 is what
# gives the 4 scattered photons to a primary one behind 22 cm of pelvis; a grid lets 12 to 30 % of them through.
SCATTER = 0.85
GRID_LETS_THROUGH = (0.12, 0.30)
NO_GRID_SHARE = 0.06
NARROW_MM, BROAD_MM = (18.0, 40.0), (70.0, 150.0)
SATURATES_AT = 3.5  # in -ln of the primary
SCATTER_PITCH_MM = 7.0  # scatter is smooth

# The field's strength along the tube's axis, over the central ray's, by the tangent of the angle to it, positive away
# from the anode: air kerma that SpekPy gives at 75 kV, an anode of 12 degrees, behind 3 mm of aluminium, times
# 1 + tangent^2. Beyond the cut-off at 12 degrees there is nothing.
HEEL_TANGENTS = np.linspace(-0.2, 0.24, 12)
HEEL = (
    *(0.28276441996459745, 0.654303376982699, 0.813398014969574, 0.9041560373246386, 0.961778630160223, 1.0),
    *(1.0254504555879176, 1.0417888178187875, 1.0512417466125337, 1.0552754447660335, 1.0549221377413334),
    1.0509514918662877,
)


@dataclass(frozen=True)
class Scatter:
    """How much is scattered, and how broadly: a mixture of Gaussians."""

    law: str  # "ohnesorge": by -ln of the primary; "saturating": ends to grow with thickness, over a constant veil
    amount: float
    spread_mm: tuple[float, ...]
    shares: tuple[float, ...]
    veil: float = 0.0  # of the mean signal, everywhere: glare of optics


@dataclass(frozen=True)
class Exposure:
    """How one film is exposed."""

    beam: Beam
    scatter: Scatter
    dose_ugy: float
    focal_mm: float
    sharpness_mm: float
    saturated_at: float
    anode: str  # the side of the picture that the anode is on: "up", "down", "left" or "right"
    uncorrected: float  # 1: the field's unevenness stays, 0: the detector takes it off


def draw_exposure(rng: np.random.Generator, world: str = "seen") -> Exposure:
    """An exposure of a world."""
    if world not in WORLDS:
        raise ValueError(f"there is no world called {world}: {', '.join(WORLDS)}")
    copper = float(rng.choice(list(COPPER_MM), p=list(COPPER_MM.values())))
    beam = Beam(int(rng.choice(KVP)), float(rng.uniform(*ALUMINIUM_MM)), copper)
    through = 1.0 if rng.random() < NO_GRID_SHARE else float(rng.uniform(*GRID_LETS_THROUGH))
    narrow = float(rng.uniform(0.2, 0.6))
    spread = float(rng.uniform(*NARROW_MM)), float(rng.uniform(*BROAD_MM))
    scatter = Scatter("ohnesorge", SCATTER * through * float(rng.uniform(0.8, 1.2)), spread, (narrow, 1 - narrow))
    if world == "unseen":
        beam = Beam(**UNSEEN_BEAM)
        scatter = Scatter("saturating", 5.0 * through, (10.0, 35.0, 110.0), (0.15, 0.35, 0.5), 0.03)
    return Exposure(
        beam,
        scatter,
        float(np.exp(rng.uniform(*np.log(DOSE_UGY)))),
        float(rng.uniform(*FOCAL_MM)),
        float(rng.uniform(*SHARPNESS_MM)),
        float(np.exp(rng.uniform(*np.log(SATURATED_AT)))),
        str(rng.choice(["up", "down", "left", "right"], p=[0.6, 0.2, 0.1, 0.1])),
        1.0 if rng.random() < UNCORRECTED else float(rng.uniform(0, 0.2)),
    )


def expose(
    projection: Projection,
    exposure: Exposure,
    seed: int,
    device: str = "cpu",
    aperture: torch.Tensor | None = None,
) -> torch.Tensor:
    """(rows, cols) minus the logarithm of what the detector reads; 0 where it reads what the exposure control aims at.

    `aperture` (rows, cols) is the share of the beam that the collimator lets through. `seed` is the noise's.
    """
    geometry = projection.geometry
    pitch = geometry.pixel_pitch_mm[0]
    energy, squared, photons = _primary(projection, exposure.beam, device)
    field = _field(geometry, exposure.anode, device)
    lit = field if aperture is None else field * aperture.to(device)
    distance = geometry.object_distance_mm or 150.0
    unsharp = exposure.focal_mm * distance / (geometry.sdd_mm - distance)
    smear_px = float(np.hypot(unsharp, pitch) / np.sqrt(12) / pitch)  # the focal spot's box and the pixel's own
    energy, squared, photons = (blurred(part * lit, smear_px) for part in (energy, squared, photons))
    scattered = _scattered(energy, lit, exposure.scatter, geometry)
    signal = energy + scattered

    aimed, counted = (_measured(part, projection, aperture) for part in (signal, photons + scattered))
    per_ugy = PHOTONS_PER_MM2_UGY * pitch * geometry.pixel_pitch_mm[1]
    quanta = exposure.dose_ugy * per_ugy / counted  # of an open field
    variance = (squared + scattered * float(squared.double().sum() / energy.double().sum())) / quanta
    variance = variance + aimed**2 * READOUT_UGY / (exposure.dose_ugy**2 * per_ugy)
    generator = torch.Generator(device).manual_seed(seed)
    noise = torch.randn(signal.shape, generator=generator, device=device)
    read = blurred(signal + variance.sqrt() * noise, exposure.sharpness_mm / pitch)
    read = read / (1 + (1 - exposure.uncorrected) * (field - 1))
    read = torch.clamp(read / aimed, 1e-4, exposure.saturated_at)
    return -torch.log(read)


def _primary(projection: Projection, beam: Beam, device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Energy, its second moment and photons (rows, cols) that arrive straight, each over an open field's energy."""
    binned = bins(beam)
    present = [name for name in MATERIALS if name in projection.lengths_mm]
    lengths = torch.stack([projection.lengths_mm[name].to(device) for name in present])
    per_mm = torch.as_tensor(binned.per_mm[[MATERIALS.index(name) for name in present]], device=device).float()
    shape = lengths.shape[1:]
    through = torch.exp(-(per_mm.T @ lengths.reshape(len(present), -1)))
    energies = binned.energies_kev / (binned.photons @ binned.energies_kev)
    weights = torch.as_tensor(
        np.stack([binned.photons * energies, binned.photons * energies**2, binned.photons]), device=device
    ).float()
    energy, squared, photons = (weights @ through).reshape(3, *shape)
    return energy, squared, photons


def _field(geometry: ProjectionGeometry, anode: str, device: str) -> torch.Tensor:
    """(rows, cols) strength of an open field: heel effect, and the inverse square of the distance to the source."""
    rows, cols = geometry.size_px
    tangents = [
        (np.arange(size) - centre) * pitch / geometry.sdd_mm
        for size, centre, pitch in zip((rows, cols), geometry.principal_point_px, geometry.pixel_pitch_mm, strict=True)
    ]
    axis, sign = {"up": (0, 1), "down": (0, -1), "left": (1, 1), "right": (1, -1)}[anode]  # weak towards it
    heel = np.interp(sign * tangents[axis], HEEL_TANGENTS, HEEL)
    near = 1 / (1 + tangents[0][:, None] ** 2 + tangents[1][None] ** 2)
    field = near * (heel[:, None] if axis == 0 else heel[None])
    return torch.as_tensor(field, device=device).float()


def _scattered(energy: torch.Tensor, lit: torch.Tensor, scatter: Scatter, geometry: ProjectionGeometry) -> torch.Tensor:
    """(rows, cols) energy of what arrives astray."""
    step = max(round(SCATTER_PITCH_MM / geometry.pixel_pitch_mm[0]), 1)
    share = (energy / lit.clamp(min=1e-3)).clamp(1e-6, 1)
    thick = -torch.log(share)
    source = energy * (thick if scatter.law == "ohnesorge" else 1 - torch.exp(-thick / SATURATES_AT))
    rows, cols = energy.shape
    filled = pad(source[None, None], (0, -cols % step, 0, -rows % step))
    coarse = avg_pool2d(filled, step)[0, 0]
    pitch = step * geometry.pixel_pitch_mm[0]
    spread = sum(
        part
        * _kernel(coarse.shape[0], sigma / pitch, energy.device)
        @ coarse
        @ _kernel(coarse.shape[1], sigma / pitch, energy.device)
        for sigma, part in zip(scatter.spread_mm, scatter.shares, strict=True)
    )
    fine = interpolate(spread[None, None], size=filled.shape[2:], mode="bilinear", align_corners=False)
    return scatter.amount * fine[0, 0, :rows, :cols] + scatter.veil * float(energy.double().mean())


def _kernel(size: int, sigma_px: float, device: torch.device) -> torch.Tensor:
    """(size, size) matrix that spreads a line by a Gaussian; what leaves the picture is lost."""
    places = torch.arange(size, device=device, dtype=torch.float32)
    return torch.exp(-0.5 * ((places[:, None] - places) / sigma_px) ** 2) / (sigma_px * np.sqrt(2 * np.pi))


def _measured(part: torch.Tensor, projection: Projection, aperture: torch.Tensor | None) -> float:
    """Mean where the exposure control measures: within the patient, around the middle of the film."""
    rows, cols = part.shape
    middle = (slice(rows // 4, -(rows // 4) or None), slice(cols // 5, -(cols // 5) or None))
    flesh = projection.lengths_mm["muscle"] + projection.lengths_mm["fat"]
    behind = (flesh.to(part.device) > 60)[middle]
    if aperture is not None:
        behind &= aperture.to(part.device)[middle] > 0.5
    chosen = part[middle][behind]
    return float((chosen if chosen.numel() else part).double().mean())
