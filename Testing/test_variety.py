"""The wide variety: usual films stay what they are, what it adds comes at its share, and truth follows what is seen."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.bones import made_population

from DualFaceReconLib.bonemaps import BONES, BoneMaps
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.geometry import ProjectionGeometry
from training.patients.axial import LUMBARISED_SHARE, SACRALISED_SHARE, axial_shadows
from training.patients.bowel import COLON, PENIS_SHARE, soft_shadows
from training.patients.flesh import Skeleton
from training.patients.folds import BELLY_SHARE, HEAVY_SHARE, draw_heaviness, more_folds
from training.patients.matter import matter_of
from training.patients.shadows import Shadow
from training.patients.variety import is_wide
from training.patients.virtual import sample_patient
from training.simulate import Series, one_thread, take
from training.xray.cropping import CROPS, LEAST_MM, LEAST_SEEN, OFF_CENTRE_SHARE, draw_crop, draw_off_centre
from training.xray.film import filmed
from training.xray.handling import CHANGES, QUALITY, SHARES, UNTOUCHED_SHARE, Picture, draw_changes
from training.xray.looks import equalised_locally, rebanded, rewindowed, saved, sharpened
from training.xray.overlays import Ink
from training.xray.projection import Projection
from training.xray.shadowcast import MOST_TAKEN, cast_shadows

GEOMETRY = ProjectionGeometry(1100, (1.5, 1.5), (160, 200), None, "AP", 150.0)
FULL = np.ones((4, *GEOMETRY.size_px), np.float32)
MAPS = BoneMaps(bones=BONES, mask=FULL > 0, front=900 * FULL, back=950 * FULL)


@pytest.fixture(scope="module")
def projection():
    """A slab of muscle with a bar of bone; all of the film belongs to every bone."""
    body, bone = torch.zeros(160, 200), torch.zeros(160, 200)
    body[:, 30:-30], bone[:, 90:110] = 170.0, 12.0
    lengths = {"muscle": body, "fat": torch.zeros(160, 200), "bone": bone}
    return Projection(geometry=GEOMETRY, maps=MAPS, lengths_mm=lengths)


@pytest.fixture(scope="module")
def wide_films(projection):
    """Films of the wide variety."""
    with one_thread():
        return [filmed(projection, np.random.default_rng(seed), variety="wide") for seed in range(16)]


def test_an_unknown_variety_is_refused(projection):
    with pytest.raises(Refusal, match=r"variety 'wid' is unknown: did you mean 'wide'\?"):
        filmed(projection, np.random.default_rng(0), variety="wid")
    assert (is_wide("wide"), is_wide("usual")) == (True, False)


# Means over five columns of the film of seed 1, as they were before there was a variety
USUAL = (0.032882, 0.166067, 0.464393, 0.498263, 0.200572)


def test_usual_films_are_what_they_were(projection):
    film = filmed(projection, np.random.default_rng(1))
    means = film.pixels.reshape(160, 5, 40).mean(axis=(0, 2), dtype=np.float64)
    assert means == pytest.approx(USUAL, abs=1e-4)
    assert "handling" not in film.metadata


def test_a_wide_film_is_the_usual_one_after_other_hands(projection, wide_films):
    untouched = 0
    for seed, wide in enumerate(wide_films):
        if wide.metadata["handling"] and seed > 2:
            continue
        usual = filmed(projection, np.random.default_rng(seed))
        assert wide.metadata == {**usual.metadata, "handling": wide.metadata["handling"]}
        assert (wide.stored, wide.has_table) == (usual.stored, usual.has_table)
        assert np.array_equal(wide.pixels, usual.pixels) == (wide.metadata["handling"] == [])
        untouched += wide.metadata["handling"] == []
    assert untouched > 0
    again = filmed(projection, np.random.default_rng(3), variety="wide")
    assert np.array_equal(again.pixels, wide_films[3].pixels)


def test_every_change_comes_at_its_share():
    rng, count = np.random.default_rng(0), 4000
    drawn = Counter(name for _ in range(count) for name in draw_changes(rng))
    assert CHANGES.keys() == SHARES.keys()
    for name, share in SHARES.items():
        share *= 1 - UNTOUCHED_SHARE
        assert drawn[name] / count == pytest.approx(share, abs=4 * (share * (1 - share) / count) ** 0.5)


def test_truth_is_of_what_is_still_seen(wide_films):
    covered = 0
    for film in wide_films:
        assert film.pixels.dtype == np.float32
        assert 0 <= film.pixels.min() < film.pixels.max() <= 1
        assert all(np.array_equal(face > 0, film.maps.mask) for face in (film.maps.front, film.maps.back))
        usual = 1.0 if film.metadata["aperture"] is None else 0.99
        if any(entry["what"] in ("bars", "shutter") for entry in film.metadata["handling"]):
            assert film.maps.mask.mean() < usual
            covered += 1
    assert covered > 0


@pytest.mark.parametrize("what", ["bars", "shutter", "frame"])
def test_what_covers_a_film_takes_its_truth_and_nothing_else(what):
    pixels = np.full(GEOMETRY.size_px, 0.4, np.float32)
    shares = []
    for seed in range(40):
        picture = Picture(pixels=pixels.copy(), visible=np.ones(GEOMETRY.size_px, bool), pitch_mm=1.5)
        entry = CHANGES[what](picture, np.random.default_rng(seed))
        hidden = ~picture.visible
        shares.append(hidden.mean())
        if what != "frame":
            assert np.unique(picture.pixels[hidden]).tolist() == pytest.approx([entry["value"]])
            assert (picture.pixels[~hidden] == np.float32(0.4)).all()
        else:  # a frame hides only what lies beyond it
            assert (picture.pixels[20:-20, 20:-20] == np.float32(0.4)).all()
            assert not hidden[20:-20, 20:-20].any()
    assert (min(shares) > 0) == (what != "frame")
    assert 0 < max(shares) < 0.4


@pytest.mark.parametrize("what", [name for name in SHARES if name not in ("bars", "shutter", "frame")])
def test_other_changes_leave_the_truth_and_change_the_film(what):
    rows, cols = np.mgrid[:160, :200].astype(np.float32)
    pixels = (0.5 + 0.2 * np.sin(rows / 9) + 0.2 * np.sin(cols / 5)).astype(np.float32)
    for seed in range(6):
        picture = Picture(pixels=pixels.copy(), visible=np.ones(GEOMETRY.size_px, bool), pitch_mm=1.5)
        CHANGES[what](picture, np.random.default_rng(seed))
        assert picture.visible.all()
        assert picture.pixels.shape == pixels.shape
        assert picture.pixels.dtype == np.float32
        assert 0 <= picture.pixels.min() < picture.pixels.max() <= 1
        assert not np.array_equal(picture.pixels, pixels)


def test_marks_are_as_large_on_coarse_films_as_on_fine_ones():
    inked = []
    for pitch, size in ((2.0, (160, 200)), (0.5, (640, 800))):
        pixels = np.zeros(size, np.float32)
        picture = Picture(pixels=pixels, visible=np.ones(size, bool), pitch_mm=pitch)
        CHANGES["ruler"](picture, np.random.default_rng(4))
        inked.append(pixels.mean())
    assert inked[0] == pytest.approx(inked[1], rel=0.35)
    ink = Ink((50, 60))
    ink.line((25, 10), (25, 49), width=3.0)
    share = ink.share()
    assert share.shape == (50, 60)
    assert share[24:27, 12:48].min() > 0.4
    assert share[:22].max() == share[29:].max() == 0


def test_seams_faint_detail_and_clipping():
    edge = np.full((60, 80), 0.3, np.float32)
    edge[:, 40:] = 0.6
    seams = sharpened(edge, np.array([2.0]), np.array([1.0]))[30]
    assert seams[38] < 0.25
    assert seams[41] > 0.65
    assert seams[[5, -5]] == pytest.approx([0.3, 0.6], abs=0.01)
    rows = np.arange(128, dtype=np.float32)[:, None]
    faint = (0.3 + 0.003 * rows + 0.01 * np.sin(rows * 2) + np.zeros((1, 96), np.float32)).astype(np.float32)

    def ripple(pixels):
        lines = pixels[20:-20, 40]
        return np.std(np.diff(lines, n=2)) / np.ptp(lines)

    assert ripple(rebanded(faint, 0.6, 0.5)) > 1.3 * ripple(faint)
    assert ripple(equalised_locally(faint, 10.0, 0.8)) > 1.3 * ripple(faint)
    clipped = rewindowed(faint, 20, 80, 1.0)
    assert (clipped == 0).mean() == pytest.approx(0.2, abs=0.03)
    assert (clipped == 1).mean() == pytest.approx(0.2, abs=0.03)


def test_jpeg_leaves_blocks_and_small_films_lose_detail():
    pixels = np.random.default_rng(0).random((64, 96), dtype=np.float32)
    good, poor = (np.abs(saved(pixels, 1.0, quality, 0) - pixels).mean() for quality in QUALITY[::-1])
    assert good < 0.05 < poor
    assert saved(pixels, 3.0, None, 0).std() < 0.6 * pixels.std()
    assert np.abs(saved(pixels, 1.0, None, 0) - pixels).max() <= 0.5 / 255 + 1e-6


# Crops


@pytest.fixture(scope="module")
def pelvis():
    """Two joints, 180 mm apart, and points of bones around them, 150 mm before the detector."""
    joints = {side: np.array([sign * 90.0, 150.0, -40.0]) for side, sign in (("left", -1), ("right", 1))}
    spread = np.random.default_rng(0).normal(0, (60, 20, 70), (400, 3))
    return joints, np.concatenate([place + spread for place in joints.values()])


def test_crops_come_at_their_share_and_are_parts_of_the_film(pelvis):
    joints, bones = pelvis
    film = ProjectionGeometry(1100, (1.7, 1.7), (206, 253), (100.0, 131.0), "AP", 150.0)
    count, kinds = 2000, Counter()
    rng = np.random.default_rng(0)
    for _ in range(count):
        part, kind = draw_crop(film, joints, bones, rng)
        kinds[kind] += 1
        if kind is None:
            assert part is film
            continue
        assert all(n <= whole for n, whole in zip(part.size_px, film.size_px, strict=True))
        assert min(part.size_px) * 1.7 >= LEAST_MM
        shift = np.array(film.principal_point_px) - part.principal_point_px
        assert np.array_equal(shift, np.rint(shift))
        places, whole = part.project(bones[:3])[0], film.project(bones[:3])[0]
        assert places == pytest.approx(whole - shift)  # what is left of the film shows what it showed
        assert part.sees(bones).any()
    for kind, share in CROPS.items():
        assert share - 0.03 < kinds[kind] / count <= share + 0.025
    size = np.array([200, 250])
    off = np.array([draw_off_centre(size, rng) for _ in range(count)])
    assert (off != 0).any(axis=1).mean() == pytest.approx(OFF_CENTRE_SHARE, abs=0.03)
    assert np.abs(off / size).max() < 0.3


def test_a_crop_that_would_lose_the_bones_is_not_made(pelvis):
    joints, bones = pelvis
    film = ProjectionGeometry(1100, (1.7, 1.7), (206, 253), None, "AP", 150.0)
    corner = bones - bones.mean(axis=0) + (190.0, 150.0, 150.0)
    rng = np.random.default_rng(1)
    for _ in range(100):
        part, kind = draw_crop(film, joints, corner, rng)
        assert kind is None or part.sees(corner).sum() > LEAST_SEEN / 3 * film.sees(corner).sum()


# Shadows, folds and bones


def lengths(muscle=200.0, bone=10.0):
    filled = {"muscle": muscle, "fat": 20.0, "bone": bone}
    return {name: torch.full(GEOMETRY.size_px, value) for name, value in filled.items()}


def test_shadows_lie_where_they_are_said_to_and_matter_is_kept():
    place = (30.0, 150.0, 20.0)
    (row, col), depth = (part[0] for part in GEOMETRY.project(np.array([place])))
    assert (row, col) < (79.5, 99.5)  # R to the left, S upwards
    row, col = round(row), round(col)
    for shape in ("dome", "soft"):
        film = lengths()
        shadow = Shadow(material="bone", centre=place, half=(12.0, 6.0), thickness_mm=5.0, shape=shape)
        cast_shadows([shadow], film, GEOMETRY)
        assert float(film["bone"][row, col]) == pytest.approx(15, abs=0.3)
        rows, cols = np.nonzero((film["bone"] > 10.01).numpy())
        px_per_mm = 1100 / depth / 1.5
        assert np.ptp(cols) + 1 == pytest.approx(24 * px_per_mm, abs=4)
        assert np.ptp(rows) + 1 == pytest.approx(12 * px_per_mm, abs=4)
        assert torch.allclose(sum(film.values()), torch.tensor(230.0))  # bone takes muscle's place
    film = lengths()
    hole = Shadow(material="bone", centre=place, half=(8.0, 8.0), thickness_mm=-50.0)
    cast_shadows([hole], film, GEOMETRY)
    assert float(film["bone"].min()) == pytest.approx(10 * (1 - MOST_TAKEN["bone"]), abs=1e-4)
    assert torch.allclose(sum(film.values()), torch.tensor(230.0))  # marrow takes bone's
    film = lengths()
    cast_shadows([replace(hole, material="gas", thickness_mm=20.0)], film, GEOMETRY)
    assert float(film["muscle"][row, col]) == pytest.approx(180, abs=0.5)
    assert float(film["bone"].min()) == 10
    film = lengths()
    cast_shadows(
        [replace(hole, material="gas", half=(30.0, 30.0), thickness_mm=9.0, shape="lace", seed=3)], film, GEOMETRY
    )
    inside = 200 - film["muscle"][row - 12 : row + 13, col - 12 : col + 13]
    assert 0 == float(inside.min()) < 6 < float(inside.max()) < 15
    film = lengths()
    for shape in ("shell", "arc"):
        cast_shadows([replace(hole, thickness_mm=3.0, shape=shape)], film, GEOMETRY)
    assert float(film["bone"][row, col]) < 10.2 < 12.5 < float(film["bone"].max())
    off = replace(hole, centre=(900.0, 150.0, 20.0))
    film = lengths()
    cast_shadows([off], film, GEOMETRY)
    assert float(film["bone"].min()) == 10


def test_a_shadow_finer_than_a_pixel_is_as_much_matter():
    added = []
    for pitch, size in ((3.0, (80, 100)), (0.5, (480, 600))):
        film = {name: torch.full(size, 10.0) for name in ("muscle", "fat", "bone")}
        fine = ProjectionGeometry(1100, (pitch, pitch), size, None, "AP", 150.0)
        places = np.random.default_rng(0).uniform(-60, 60, (30, 2))
        shadows = [
            Shadow(material="bone", centre=(right, 150.0, up), half=(0.9, 0.9), thickness_mm=2.0)
            for right, up in places.tolist()
        ]
        cast_shadows(shadows, film, fine)
        added.append(float((film["bone"] - 10).sum()) * pitch**2)
    assert added[0] == pytest.approx(added[1], rel=0.2)


@pytest.fixture(scope="module")
def patient():
    """A virtual patient of made-up people."""
    return sample_patient(made_population(), 3)


def test_a_sacrum_has_four_pairs_of_foramina_between_its_sides(patient):
    sacrum = patient.bones["sacrum"][0]
    shadows = axial_shadows(patient.bones, np.random.default_rng(2))
    first = next(number for number, shadow in enumerate(shadows) if shadow.shape != "arc" and shadow.thickness_mm > 0)
    holes = [s for s in shadows[:first] if s.thickness_mm < 0]
    arcs = [s for s in shadows if s.shape == "arc"]
    assert len(holes) == len(arcs) == 8
    middle = sacrum[:, 0].mean()
    sides = [np.sign(hole.centre[0] - middle) for hole in holes]
    assert sides == [-1, 1] * 4
    low, high = sacrum.min(axis=0), sacrum.max(axis=0)
    assert all((low < hole.centre).all() and (hole.centre < high).all() for hole in holes)
    above = [s for s in shadows if s.shape == "shell" and s.centre[2] > high[2]]
    assert len(above) == 9  # two pedicles and a spinous process of three bodies
    assert any(s.centre[2] < low[2] for s in shadows)  # a coccyx
    numbers = [axial_shadows(patient.bones, np.random.default_rng(seed)) for seed in range(200)]
    wings = [[s for s in found if s.half[0] > 15 and s.half[1] > 8] for found in numbers]  # of a sacralised vertebra
    gaps = [[s for s in found if s.half[0] == 24.0] for found in numbers]  # of a lumbarised one
    unusual = np.mean([bool(wing or gap) for wing, gap in zip(wings, gaps, strict=True)])
    assert unusual == pytest.approx(SACRALISED_SHARE + (1 - SACRALISED_SHARE) * LUMBARISED_SHARE, abs=0.07)


def test_stool_folds_and_weight_come_at_their_shares(patient):
    skeleton = Skeleton(patient.bones)
    rng = np.random.default_rng(0)
    drawn = [soft_shadows(skeleton, rng) for _ in range(300)]
    for name, (share, _, _) in COLON.items():
        assert np.mean([name in entry["stool"] for _, entry in drawn]) == pytest.approx(share, abs=0.11)
    assert np.mean([entry["penis"] for _, entry in drawn]) == pytest.approx(PENIS_SHARE, abs=0.11)
    assert all(len(shadows) > 8 for shadows, entry in drawn if entry["stool"])
    caecum = [
        s.centre[0] for shadows, entry in drawn if entry["stool"] == ["caecum"] for s in shadows if s.material == "gas"
    ]
    assert np.mean(caecum) > skeleton.middle + 0.4 * skeleton.crest_half  # on the patient's right
    folds = {weight: [more_folds(skeleton, weight, rng) for _ in range(300)] for weight in (0.5, 2.5)}
    none = {weight: np.mean([len(found) == 0 for found in many]) for weight, many in folds.items()}
    assert none[2.5] < none[0.5] / 2
    assert none[0.5] == pytest.approx(np.prod([1 - s for s in (BELLY_SHARE[0], 0.45, 0.4, 0.2)]), abs=0.09)
    heaviness = [draw_heaviness(rng) for _ in range(1000)]
    assert np.mean(np.array(heaviness) > 1) == pytest.approx(HEAVY_SHARE, abs=0.05)


def test_wide_bones_differ_more_and_usual_ones_are_what_they_were(patient):
    usual = [matter_of(patient, np.random.default_rng(seed)) for seed in range(12)]
    wide = [matter_of(patient, np.random.default_rng(seed), np.random.default_rng([seed, 8])) for seed in range(12)]
    for bone in ("hip_left", "femur_right"):
        spreads = [np.std([np.log(m[bone].cortex_mm.mean()) for m in many]) for many in (usual, wide)]
        assert spreads[1] > 1.3 * spreads[0]
        assert all((m[bone].density <= 0.6).all() and (m[bone].cortex_mm > 0.2).all() for m in wide)


def test_a_wide_series_takes_usual_patients_and_says_what_it_added():
    population = made_population()
    with one_thread():
        usual, wide = (
            take(population, Series(seed=5, size_px=48, variety=variety), 2) for variety in ("usual", "wide")
        )
        film = wide.film(Series(seed=5, size_px=48, variety="wide"))
    assert usual.metadata["patient"] == wide.metadata["patient"]
    assert "crop" not in usual.metadata["rig"]
    assert "stool" not in usual.metadata["flesh"]
    assert {"crop"} <= wide.metadata["rig"].keys()
    assert {"stool", "folds"} <= wide.metadata["flesh"].keys()
    assert "handling" in film.metadata
    json.dumps({**wide.metadata, "film": film.metadata})  # plain values alone, for case.json
