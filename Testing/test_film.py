"""The film's physics and makers: tables, beams, scatter, noise, postprocessing, marks; exact cases, distributions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from spekpy import Spek

from DualFaceReconLib.bonemaps import BONES, BoneMaps
from DualFaceReconLib.geometry import ProjectionGeometry
from training.xray.beam import Beam, absorbed, bins
from training.xray.exposure import (
    HEEL,
    HEEL_TANGENTS,
    KVP,
    PHOTONS_PER_MM2_UGY,
    READOUT_UGY,
    UNSEEN_BEAM,
    Exposure,
    Scatter,
    draw_exposure,
    expose,
)
from training.xray.film import filmed
from training.xray.marks import FONT, Aperture, draw_aperture, lead_letters, stamped
from training.xray.materials import MATERIALS, attenuation
from training.xray.postprocessing import SEEN_LUTS, UNSEEN_LUTS, Postprocessing, draw_postprocessing, postprocessed
from training.xray.projection import Projection
from training.xray.smoothing import blurred
from training.xray.spectra import ANODE_DEGREES, TABLE, TABLED_KVP, write_table

GEOMETRY = ProjectionGeometry(1100, (1.5, 1.5), (160, 200), None, "AP", 150.0)
FAR = ProjectionGeometry(1e5, (1.5, 1.5), (160, 200), None, "AP", 150.0)  # where the field is even
STILL = Scatter(law="ohnesorge", amount=0.0, spread_mm=(30.0,), shares=(1.0,))
PLAIN = Exposure(
    beam=Beam(75, 3.0),
    scatter=STILL,
    dose_ugy=2.5,
    focal_mm=0.6,
    sharpness_mm=0.1,
    saturated_at=1e4,
    anode="up",
    uncorrected=0.0,
)


def slab(geometry=GEOMETRY, **lengths) -> Projection:
    """The same lengths on every ray, or arrays."""
    nowhere = np.zeros((4, *geometry.size_px), np.float32)
    given = {"muscle": 0.0, "fat": 0.0, "water": 0.0, "bone": 0.0, **lengths}
    tensors = {name: torch.as_tensor(value).float().expand(geometry.size_px) for name, value in given.items()}
    maps = BoneMaps(bones=BONES, mask=nowhere > 0, front=nowhere, back=nowhere)
    return Projection(geometry=geometry, maps=maps, lengths_mm=tensors)


# Materials and beams


@pytest.mark.parametrize(
    ("material", "kev", "per_mm"),
    [  # NIST XCOM's mass coefficients (cm^2/g) times densities: physics.nist.gov/PhysRefData/XrayMassCoef
        ("water", 60, 0.2059 * 0.1),
        ("bone", 60, 0.3148 * 0.192),
        ("fat", 60, 0.1974 * 0.095),
        ("lead", 60, 5.021 * 1.134),
        ("copper", 50, 2.613 * 0.896),
        ("caesium iodide", 60, 7.921 * 0.451),
    ],
)
def test_attenuation_is_the_published_one(material, kev, per_mm):
    assert attenuation(material, [kev])[0] == pytest.approx(per_mm, rel=0.02)


def test_metals_stand_in_their_order():
    at_60 = [attenuation(name, [60.0])[0] for name in ("fat", "muscle", "bone", "cement", "titanium", "steel", "lead")]
    assert at_60 == sorted(at_60)
    assert attenuation("cobalt_chrome", [60.0])[0] > attenuation("steel", [60.0])[0]


@pytest.mark.parametrize("lengths", [(100, 30, 0, 0), (150, 50, 0, 20), (200, 100, 0, 40)])
def test_bins_lose_nothing_that_matters(lengths):
    beam = Beam(75, 3.0)
    energies, photons = absorbed(beam)
    fine = np.stack([attenuation(name, energies) for name in MATERIALS[:4]])
    weight = photons * energies
    exact = -np.log((weight * np.exp(-np.array(lengths) @ fine)).sum() / weight.sum())
    binned = bins(beam)
    weight = binned.photons * binned.energies_kev
    coarse = -np.log((weight * np.exp(-np.array(lengths) @ binned.per_mm[:4])).sum() / weight.sum())
    assert coarse == pytest.approx(exact, rel=3e-3)


def test_copper_and_voltage_harden_a_beam():
    means = [absorbed(beam) for beam in (Beam(70, 2.5), Beam(70, 2.5, 0.2), Beam(100, 2.5, 0.2))]
    means = [energies @ photons / photons.sum() for energies, photons in means]
    assert means[0] + 2 < means[1] < means[2] - 2
    with pytest.raises(ValueError, match="caesium iodide"):
        absorbed(Beam(70, 2.5, detector="film"))


def test_the_table_of_spectra_is_spekpys(tmp_path):
    write_table(tmp_path / "again.npz")
    with np.load(TABLE) as table, np.load(tmp_path / "again.npz") as again:
        assert table.files == again.files
        for name in ("kvp", "materials"):
            assert table[name].tolist() == again[name].tolist()
        for name in ("energies_kev", "photons", "per_mm"):
            np.testing.assert_allclose(table[name], again[name], rtol=1e-9)
    assert {*KVP, UNSEEN_BEAM["kvp"]} == set(TABLED_KVP)
    with pytest.raises(ValueError, match="no spectrum of 90 kV"):
        bins(Beam(90, 3.0))


def test_the_last_centimetre_takes_less_than_the_first():
    thick = torch.arange(0, 320, 2.0)[:, None].expand(160, 200)
    read = expose(slab(FAR, muscle=thick), replace(PLAIN, dose_ugy=1e6), 0)
    taken = (read[1:] - read[:-1]).mean(dim=1)
    assert taken[:10].mean() > 1.15 * taken[-10:].mean()
    assert 0.018 < taken[-10:].mean() / 2 < 0.023  # per mm of muscle, at 60 keV and above


# Exposure


def test_noise_is_that_of_counted_photons():
    for dose in (0.5, 2.0):
        exposure = replace(PLAIN, dose_ugy=dose, sharpness_mm=0.0)
        read = expose(slab(FAR, muscle=200.0), exposure, 1)
        quanta = dose * PHOTONS_PER_MM2_UGY * 1.5**2
        expected = (1 / quanta + READOUT_UGY / dose / quanta) ** 0.5
        assert float(read.std()) == pytest.approx(expected, rel=0.05)
        assert float(read.std()) >= expected  # photons differ in energy


def test_scatter_grows_with_thickness_and_a_grid_stops_it():
    def hidden(thickness, amount):
        """Share of scatter behind the middle of a body."""
        body = torch.zeros(160, 200)
        body[20:-20, 20:-20] = thickness
        exposure = replace(PLAIN, dose_ugy=1e6)
        still, veiled = (
            expose(slab(FAR, muscle=body), replace(exposure, scatter=replace(STILL, amount=a)), 0) for a in (0, amount)
        )
        # against the open field at the corner, which scatter hardly reaches
        contrast = [float(read[80, 100] - read[0, 0]) for read in (still, veiled)]
        return 1 - np.exp(contrast[1] - contrast[0])

    assert hidden(100, 0.8) < hidden(200, 0.8) - 0.05
    assert 0.65 < hidden(220, 0.85) < 0.9  # 3 to 5 scattered photons to a primary one, without a grid
    assert 0.25 < hidden(220, 0.85 * 0.2) < 0.6
    assert hidden(220, 0.0) == pytest.approx(0, abs=1e-3)


def test_scatter_is_smooth_and_reaches_beyond_the_body():
    body = torch.zeros(160, 200)
    body[:, 100:] = 200.0
    scatter = Scatter(law="ohnesorge", amount=0.8, spread_mm=(20.0,), shares=(1.0,))
    read = expose(slab(FAR, muscle=body), replace(PLAIN, dose_ugy=1e6, scatter=scatter), 0)
    level = torch.exp(-read[80])
    near, far = float(level[95]), float(level[5])
    assert near > far * 1.0005  # beside the body's edge more arrives than far from it


def test_the_heel_is_spekpy_s():
    def kerma(tangent):
        tube = Spek(kvp=75, th=ANODE_DEGREES, dk=1.0, mu_data_source="nist", x=100 * tangent, z=100).filter("Al", 3.0)
        return tube.get_kerma() * (1 + tangent**2)

    heel = [kerma(tangent) / kerma(0.0) for tangent in HEEL_TANGENTS[[0, 3, -1]]]
    assert heel == pytest.approx([HEEL[0], HEEL[3], HEEL[-1]], rel=1e-9)


def test_a_field_is_weak_towards_the_anode_unless_the_detector_takes_it_off():
    wide = ProjectionGeometry(1100, (2.5, 2.5), (172, 172), None, "AP", 150.0)
    bare = replace(PLAIN, dose_ugy=1e6, uncorrected=1.0)
    read = expose(slab(wide, muscle=150.0), bare, 0)
    rows = torch.exp(-read.mean(dim=1))
    assert rows[5] < 0.8 * rows[-5]  # the anode is above
    assert rows[5] < 0.8 * rows[86]
    even = expose(slab(wide, muscle=150.0), replace(bare, uncorrected=0.0), 0)
    assert float(even.std()) < 0.01
    down = expose(slab(wide, muscle=150.0), replace(bare, anode="down"), 0)
    assert torch.exp(-down.mean(dim=1))[5] > 1.2 * torch.exp(-down.mean(dim=1))[-5]


def test_the_collimator_leaves_a_shadow_and_air_saturates():
    share = torch.ones(160, 200)
    share[:30] = 0
    body = torch.full((160, 200), 180.0)
    body[:, :20] = 0
    read = expose(slab(FAR, muscle=body), replace(PLAIN, saturated_at=20.0), 0, aperture=share)
    assert float(read[5].min()) > 3
    assert float(read[100, :15].max()) == pytest.approx(-np.log(20))


def test_smearing_keeps_what_there_is():
    spot = torch.zeros(41, 51)
    spot[20, 25] = 1.0
    smeared = blurred(spot, 2.0, 4.0)
    assert float(smeared.sum()) == pytest.approx(1, abs=1e-5)
    rows, cols = torch.arange(41.0)[:, None] - 20, torch.arange(51.0) - 25
    assert float((smeared * cols**2).sum()) ** 0.5 == pytest.approx(2, rel=0.05)
    assert float((smeared * rows**2).sum()) ** 0.5 == pytest.approx(4, rel=0.05)
    assert blurred(spot, 0.1) is not spot
    assert torch.equal(blurred(spot, 0.1), spot)


# The unseen world


def test_training_never_meets_the_unseen_world():
    rng = np.random.default_rng(0)
    seen = [draw_exposure(rng) for _ in range(500)]
    unseen = [draw_exposure(rng, "unseen") for _ in range(50)]
    assert {e.beam.kvp for e in seen} == set(KVP)
    assert UNSEEN_BEAM["kvp"] not in KVP
    assert {e.beam.detector for e in seen} == {"caesium iodide"}
    assert {e.scatter.law for e in seen} == {"ohnesorge"}
    assert {e.scatter.law for e in unseen} == {"saturating"}
    assert len({e.beam for e in unseen}) == 1
    assert {draw_postprocessing(rng).lut for _ in range(500)} == set(SEEN_LUTS)
    assert {draw_postprocessing(rng, "unseen").lut for _ in range(50)} == set(UNSEEN_LUTS)
    with pytest.raises(ValueError, match="seen, unseen"):
        draw_exposure(rng, "other")


# Postprocessing

PROCESSING = Postprocessing(
    lut="linear",
    steepness=0.5,
    low_percent=1.0,
    high_percent=99.0,
    detail_gain=0.0,
    detail_mm=3.0,
    flattening=0.0,
    flattening_mm=40.0,
    shutter=True,
    bits=12,
)


@pytest.mark.parametrize("lut", [*SEEN_LUTS, *UNSEEN_LUTS])
@pytest.mark.parametrize("steepness", [0.0, 1.0])
def test_every_look_up_table_rises_from_black_to_white(lut, steepness):
    read = torch.linspace(-3, 2, 400).expand(50, 400)
    everywhere = torch.ones(50, 400, dtype=torch.bool)
    displayed = postprocessed(read, replace(PROCESSING, lut=lut, steepness=steepness), 1.0, everywhere, everywhere)[25]
    assert float((displayed[1:] - displayed[:-1]).min()) >= 0
    assert float(displayed.min()) >= 0
    assert float(displayed.max()) <= 1
    assert float(displayed[-1] - displayed[0]) > 0.5


def test_detail_is_made_stronger_and_slow_variation_weaker():
    rows = torch.arange(128.0)
    fine, slow = 0.05 * torch.cos(rows * 2 * np.pi / 6), 1.0 * torch.cos(rows * 2 * np.pi / 256)
    read = (fine + slow)[:, None].expand(128, 128)
    everywhere = torch.ones(128, 128, dtype=torch.bool)
    window = replace(PROCESSING, low_percent=0.0, high_percent=100.0)

    def strengths(processing):
        displayed = postprocessed(read, processing, 1.0, everywhere, everywhere)[:, 64]
        coarse = blurred(displayed[:, None].expand(128, 128), 6.0)[:, 64]
        return float((displayed - coarse)[30:-30].std()), float(coarse.max() - coarse.min())

    plain, sharp = strengths(window), strengths(replace(window, detail_gain=1.0, detail_mm=4.0))
    flat = strengths(replace(window, flattening=0.6, flattening_mm=30.0))
    assert sharp[0] > 1.3 * plain[0]
    assert flat[0] > 1.5 * plain[0]  # beside what is slow


def test_the_shutter_is_black_and_steps_are_whole():
    read = torch.rand(60, 80)
    lit = torch.ones(60, 80, dtype=torch.bool)
    lit[:10] = False
    displayed = postprocessed(read, replace(PROCESSING, bits=10), 1.0, lit, torch.ones_like(lit))
    assert float(displayed[:10].max()) == 0
    assert torch.allclose(displayed * 1023, torch.round(displayed * 1023), atol=1e-3)
    bare = postprocessed(read, replace(PROCESSING, shutter=False), 1.0, lit, torch.ones_like(lit))
    assert float(bare[:10].max()) > 0.5


# Marks


def test_letters_lie_on_the_side_that_they_name():
    rng = np.random.default_rng(0)
    columns = {"R": [], "L": [], "": []}
    for _ in range(300):
        lead, letter = lead_letters(GEOMETRY, rng)
        columns[letter].append(np.argwhere(lead > 0)[:, 1].mean() if letter else lead.max())
    assert 20 < len(columns[""]) < 90
    assert max(columns[""]) == 0
    assert max(columns["R"]) < 100 < min(columns["L"])  # the patient's right is on the left of the picture


def test_a_letter_is_upright_as_tall_as_asked_and_turns():
    picture = np.zeros((100, 100), np.float32)
    stamped(picture, FONT["L"], np.array([50.0, 50.0]), 42.0, 0.0, 1.0)
    rows, cols = np.nonzero(picture)
    assert (np.ptp(rows) + 1, np.ptp(cols) + 1) == (42, 30)
    assert picture[rows.min() : rows.min() + 30, 60:].max() == 0  # the stroke is on the left, the foot below
    assert picture[rows.max() - 2, 55:62].min() == 1
    turned = np.zeros((100, 100), np.float32)
    stamped(turned, FONT["L"], np.array([50.0, 50.0]), 42.0, np.pi / 2, 1.0)
    rows, cols = np.nonzero(turned)
    assert (np.ptp(rows) + 1, np.ptp(cols) + 1) == (30, 42)
    stamped(picture, FONT["L"], np.array([-50.0, 500.0]), 42.0, 0.0, 1.0)  # off the film: nothing


def test_an_aperture_lets_through_what_lies_between_its_edges():
    edges = Aperture(low_px=(20.0, 30.0), high_px=(140.0, 170.0), turn=0.0, penumbra_mm=0.5)
    share = edges.share(GEOMETRY)
    assert share[21:139, 31:169].min() == 1
    assert share[:19].max() == share[:, :29].max() == share[142:].max() == share[:, 172:].max() == 0
    turned = replace(edges, turn=np.radians(2)).share(GEOMETRY)
    assert turned.sum() == pytest.approx(share.sum(), rel=0.01)
    assert (turned > 0.5)[22, 31] != (turned > 0.5)[22, 168]  # one corner comes in, the other goes out
    rng = np.random.default_rng(0)
    lit = [
        np.ones(GEOMETRY.size_px) if (a := draw_aperture(GEOMETRY, rng)) is None else a.share(GEOMETRY)
        for _ in range(200)
    ]
    assert min(share.mean() for share in lit) > 0.6
    assert 0.3 < np.mean([share.min() == 1 for share in lit]) < 0.7


# Films


def test_a_film_comes_again_and_the_worlds_differ():
    body = torch.zeros(160, 200)
    body[:, 30:-30] = 170.0
    bone = torch.zeros(160, 200)
    bone[:, 90:110] = 12.0
    projection = slab(muscle=body, bone=bone)
    first, again, other = (filmed(projection, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first.pixels, again.pixels)
    assert first.metadata == again.metadata
    assert not np.array_equal(first.pixels, other.pixels)
    unseen = filmed(projection, np.random.default_rng(1), "unseen")
    assert unseen.metadata["exposure"]["beam"]["detector"] == "selenium"
    for seed in range(20):
        film = filmed(projection, np.random.default_rng(seed))
        assert film.pixels.dtype == np.float32
        assert 0 <= film.pixels.min() < film.pixels.max() <= 1
        inside = film.pixels[60:100]
        assert np.median(inside[:, 92:108]) > np.median(inside[:, 60:85])  # bone is bright
    assert "lead" not in projection.lengths_mm  # the projection stays as it is


def test_truth_is_of_the_exposed_field():
    full = np.ones((4, *GEOMETRY.size_px), np.float32)
    projection = replace(
        slab(muscle=150.0), maps=BoneMaps(bones=BONES, mask=full > 0, front=900 * full, back=950 * full)
    )
    shares = []
    for seed in range(12):
        film = filmed(projection, np.random.default_rng(seed))
        share = film.maps.mask.mean()
        shares.append(share)
        assert (share == 1) == (film.metadata["aperture"] is None or share > 0.999)
        assert np.array_equal(film.maps.front > 0, film.maps.mask)
        assert filmed(projection, np.random.default_rng(seed), collimated=False).maps.mask.all()
    assert min(shares) < 0.97
