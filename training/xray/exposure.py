"""From lengths in materials to a detector's reading: spectrum, heel effect, focal spot, scatter, grid, dose, noise.

    exposure = draw_exposure(rng)
    reading = expose(projection, exposure, seed, device)  # (rows, cols) tensor, logarithm of attenuation, bone bright

All in PyTorch, on the device where the projections are.
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

WORLDS = ("seen", "unseen")  # training draws from the first only; no network has met the second

KVP = (65, 70, 75, 80, 85)  # of pelvis films 70 kV is best and 60 too low (Moore et al., Br J Radiol 93:20200565, 2020)
ALUMINIUM_MM = (2.5, 4.0)
COPPER_MM = {0.0: 0.7, 0.1: 0.3}
UNSEEN_BEAM = {"kvp": 100, "aluminium_mm": 3.0, "copper_mm": 0.2, "detector": "selenium", "layer_mm": 1.0}
DOSE_UGY = (0.8, 10.0)  # at the detector: speed classes of 1000 to 100; class 400 is defined as 2.5 uGy
FOCAL_MM = (0.6, 1.3)
READOUT_UGY = 0.05  # the dose at which photons and electronics make the same noise
SHARPNESS_MM = (0.08, 0.22)  # standard deviation of the detector's blur
SATURATED_AT = (15.0, 150.0)  # times the signal that the exposure control aims at
UNCORRECTED_SHARE = 0.3  # of films: cassettes, whose uneven field is not corrected

# Scatter by Ohnesorge's kernel for CT (Eur Radiol 9:563, 1999): primary * -ln(primary), spread broadly. With 0.85 there
# are 4 scattered photons for each primary one behind 22 cm of pelvis; a grid lets 12 to 30 % of the scattered through.
SCATTER = 0.85
GRID_LETS_THROUGH = (0.12, 0.30)
NO_GRID_SHARE = 0.06
NARROW_MM, BROAD_MM = (18.0, 40.0), (70.0, 150.0)
SATURATES_AT = 3.5  # in -ln of the primary; of the unseen world's scatter
SCATTER_PITCH_MM = 7.0  # scatter is smooth, so a coarse grid does

# The heel effect: strength of the field along the tube's axis over that at the central ray, by the tangent of the angle
# to the central ray, positive away from the anode. From SpekPy: air kerma at 75 kV, an anode of 12 degrees, behind 3 mm
# of aluminium, times 1 + tangent^2. Beyond the cut-off at 12 degrees there is nothing.
HEEL_TANGENTS = np.linspace(-0.2, 0.24, 12)
HEEL = (
    *(0.28276441996459745, 0.654303376982699, 0.813398014969574, 0.9041560373246386, 0.961778630160223, 1.0),
    *(1.0254504555879176, 1.0417888178187875, 1.0512417466125337, 1.0552754447660335, 1.0549221377413334),
    1.0509514918662877,
)


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """How much is scattered, and how broadly: a mixture of Gaussians."""

    law: str  # "ohnesorge": grows with -ln of the primary; "saturating": levels off with thickness
    amount: float
    spread_mm: tuple[float, ...]  # standard deviations of the Gaussians
    shares: tuple[float, ...]  # of each
    veil: float = 0.0  # share of the mean signal that is added everywhere: glare of optics


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """How one film is exposed."""

    beam: Beam
    scatter: Scatter
    dose_ugy: float
    focal_mm: float
    sharpness_mm: float
    saturated_at: float
    anode: str  # the side of the picture that the anode is on: "up", "down", "left" or "right"
    uncorrected: float  # share of the field's unevenness that the detector leaves, 0 to 1


def draw_exposure(rng: np.random.Generator, world: str = "seen") -> Exposure:
    """An exposure of a world."""
    if world not in WORLDS:
        raise ValueError(f"there is no world called {world}: {', '.join(WORLDS)}")
    copper = float(rng.choice(list(COPPER_MM), p=list(COPPER_MM.values())))
    beam = Beam(int(rng.choice(KVP)), float(rng.uniform(*ALUMINIUM_MM)), copper)
    through = 1.0 if rng.random() < NO_GRID_SHARE else float(rng.uniform(*GRID_LETS_THROUGH))
    narrow = float(rng.uniform(0.2, 0.6))
    spread = float(rng.uniform(*NARROW_MM)), float(rng.uniform(*BROAD_MM))
    amount = SCATTER * through * float(rng.uniform(0.8, 1.2))
    scatter = Scatter(law="ohnesorge", amount=amount, spread_mm=spread, shares=(narrow, 1 - narrow))
    if world == "unseen":
        beam = Beam(**UNSEEN_BEAM)
        scatter = Scatter(
            law="saturating",
            amount=5.0 * through,
            spread_mm=(10.0, 35.0, 110.0),
            shares=(0.15, 0.35, 0.5),
            veil=0.03,
        )
    return Exposure(
        beam=beam,
        scatter=scatter,
        dose_ugy=float(np.exp(rng.uniform(*np.log(DOSE_UGY)))),
        focal_mm=float(rng.uniform(*FOCAL_MM)),
        sharpness_mm=float(rng.uniform(*SHARPNESS_MM)),
        saturated_at=float(np.exp(rng.uniform(*np.log(SATURATED_AT)))),
        anode=str(rng.choice(["up", "down", "left", "right"], p=[0.6, 0.2, 0.1, 0.1])),
        uncorrected=1.0 if rng.random() < UNCORRECTED_SHARE else float(rng.uniform(0, 0.2)),
    )


def expose(
    projection: Projection,
    exposure: Exposure,
    seed: int,
    device: str = "cpu",
    aperture: torch.Tensor | None = None,
) -> torch.Tensor:
    """(rows, cols) minus the logarithm of the detector's signal over the signal that the exposure control aims at.

    `aperture` (rows, cols) is the share of the beam that the collimator lets through. `seed` is the noise's.
    """
    geometry = projection.geometry
    pitch = geometry.pixel_pitch_mm[0]
    primary = _primary(projection, exposure.beam, device)
    field = _field(geometry, exposure.anode, device)
    lit = field if aperture is None else field * aperture.to(device)
    distance = geometry.object_distance_mm or 150.0
    unsharp = exposure.focal_mm * distance / (geometry.sdd_mm - distance)
    smear_px = float(np.hypot(unsharp, pitch) / np.sqrt(12) / pitch)  # boxes of focal spot and pixel
    energy, squared, photons = blurred(primary * lit, smear_px)
    scattered = _scattered(energy, lit, exposure.scatter, geometry)
    signal = energy + scattered

    aim, counted = (_measured(part, projection, aperture) for part in (signal, photons + scattered))
    per_ugy = PHOTONS_PER_MM2_UGY * pitch * geometry.pixel_pitch_mm[1]
    quanta = exposure.dose_ugy * per_ugy / counted  # of an open field
    variance = (squared + scattered * float(squared.double().sum() / energy.double().sum())) / quanta
    variance = variance + aim**2 * READOUT_UGY / (exposure.dose_ugy**2 * per_ugy)
    generator = torch.Generator(device).manual_seed(seed)
    noise = torch.randn(signal.shape, generator=generator, device=device)
    reading = blurred(signal + variance.sqrt() * noise, exposure.sharpness_mm / pitch)
    reading = reading / (1 + (1 - exposure.uncorrected) * (field - 1))
    reading = torch.clamp(reading / aim, 1e-4, exposure.saturated_at)
    return -torch.log(reading)


def _primary(projection: Projection, beam: Beam, device: str) -> torch.Tensor:
    """What arrives unscattered (3, rows, cols): energy, its second moment, and photons.

    In units in which an open field has the energy 1 and 1 photon.
    """
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
    return (weights @ through).reshape(3, *shape)


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
    """(rows, cols) energy of the scattered photons that arrive; `lit` is the energy of the field without a patient."""
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
    """Mean of a picture where the exposure control measures: behind the patient, around the middle of the film."""
    rows, cols = part.shape
    middle = (slice(rows // 4, -(rows // 4) or None), slice(cols // 5, -(cols // 5) or None))
    flesh = projection.lengths_mm["muscle"] + projection.lengths_mm["fat"]
    behind = (flesh.to(part.device) > 60)[middle]
    if aperture is not None:
        behind &= aperture.to(part.device)[middle] > 0.5
    chosen = part[middle][behind]
    return float((chosen if chosen.numel() else part).double().mean())
