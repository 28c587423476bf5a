"""CTs as cases: truth that is exact and never lies on a cut, films of what was scanned, and reasons for what is not."""

import gzip
import json

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation
from support.cts import LPS, SECRET, image_of, like, made_ct, write_series

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.geometry import ProjectionGeometry
from training.__main__ import EXIT_REFUSED, main
from training.actions import EXIT_FLAGGED
from training.cases import read_case
from training.ct import prepare
from training.ct.files import LABELS, read_scan
from training.ct.truth import cut_ends, surface, truth_maps
from training.raycast import cast
from training.xray.analytic import Ellipsoid, render
from training.xray.film import filmed
from training.xray.volume import Volume

KNOTS, TISSUES = prepare.mixtures()
TISSUE_HU = dict(zip(("fat", "muscle", "bone"), KNOTS[1:4], strict=True))


@pytest.fixture(scope="module")
def made():
    return made_ct()


@pytest.fixture(scope="module")
def files(made, tmp_path_factory):
    """The CT and its labels as NIfTI."""
    folder = tmp_path_factory.mktemp("made")
    paths = folder / "ct.nii.gz", folder / "labels.nii.gz"
    for image, path in zip(made[:2], paths, strict=True):
        sitk.WriteImage(image, str(path))
    return paths


@pytest.fixture(scope="module")
def first(files, tmp_path_factory):
    """The cases of the CT with the first seed, and what its film is made from."""
    out, projections = tmp_path_factory.mktemp("first") / "cases", []

    def kept(projection, rng):
        projections.append(projection)
        return filmed(projection, rng)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "filmed", kept)
        assert prepared(*files, out) == 0
    [projection] = projections
    return out, projection


@pytest.fixture
def scan(files):
    return read_scan(*files)


def prepared(ct_path, labels_path, out, *more):
    return main(["prepare-ct", str(ct_path), str(labels_path), "--out", str(out), "--size", "450", *more])


# Truth


def ellipsoid_in(shape, spacing, centre, semi_axes, turn_degrees=(0, 0, 0)):
    """A volume of an ellipsoid's voxels; the volume's middle is at `centre` less an odd bit."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", turn_degrees, degrees=True).as_matrix() * np.array(spacing)
    matrix[:3, 3] = np.array(centre) + 0.3 - matrix[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    places = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)[..., ::-1]
    volume = Volume(np.zeros(shape, np.int16), matrix)
    return (((volume.to_ras(places.astype(float)) - centre) / semi_axes) ** 2).sum(axis=-1) < 1, volume


def boxed(mask):
    spans = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    box = tuple(slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    return mask[box], box


@pytest.mark.parametrize("spacing", [(0.8, 0.8, 1.0), (1.5, 1.5, 1.5), (0.8, 0.8, 2.5)])
@pytest.mark.parametrize("turn", [(0, 0, 0), (10, 25, -40)])
def test_a_labelled_ellipsoid_comes_out_unshrunk(spacing, turn):
    centre, semi_axes = np.array([12.0, -30, 200]), np.array([40.0, 22, 30])
    mask, volume = ellipsoid_in(tuple(int(110 / mm) for mm in spacing[::-1]), spacing, centre, semi_axes, turn)
    vertices, triangles = surface(*boxed(mask), volume)
    away = vertices - centre
    level = np.sqrt(((away / semi_axes) ** 2).sum(axis=1))
    error = (level - 1) * level / np.linalg.norm(away / semi_axes**2, axis=1)  # mm, to first order
    voxel = max(spacing)
    assert abs(error.mean()) < 0.03 * voxel
    assert np.sqrt((error**2).mean()) < 0.15 * voxel
    a, b, c = (away[triangles[:, corner]] for corner in range(3))
    inside = np.einsum("tx,tx->", a, np.cross(b, c)) / 6  # positive: outward
    assert inside == pytest.approx(4 / 3 * np.pi * semi_axes.prod(), rel=2e-3)
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()  # closed


@pytest.mark.parametrize("view", ["AP", "PA"])
def test_no_pixel_has_depth_on_a_cut_and_all_others_keep_theirs(view):
    """The CT ends within an ellipsoid, far from the central ray: many rays would meet the flat face."""
    centre, semi_axes = np.array([10.0, 180 if view == "AP" else -180, 130]), np.array([30.0, 25, 45])
    mask, volume = ellipsoid_in((50, 80, 80), (1.0, 1.0, 1.0), centre, semi_axes)
    box = boxed(mask)
    assert cut_ends(*box, mask.shape) == ["inferior", "superior"]
    geometry = ProjectionGeometry(1000, (0.8, 0.8), (300, 160), (290.0, 80.0), view=view)
    truth = truth_maps({"it": surface(*box, volume)}, geometry, volume)
    exact, _ = render({"it": Ellipsoid(tuple(centre), tuple(semi_axes))}, geometry)

    pixels = np.argwhere(exact.mask[0])
    places = [
        volume.to_ijk(geometry.back_project(pixels, face[0][exact.mask[0]].astype(float)))[:, 2]
        for face in (exact.front, exact.back)
    ]
    true = np.zeros(geometry.size_px, dtype=bool)
    true[tuple(pixels.T)] = np.all([(p > -0.5) & (p < 49.5) for p in places], axis=0)
    through_cut = exact.mask[0] & ~true
    assert through_cut.sum() > 2000
    assert true.sum() > 5000
    assert (truth.mask[0] & through_cut).sum() < 0.02 * through_cut.sum()  # its rim, where the surface is a voxel off
    assert (truth.mask[0] ^ true).sum() < 0.02 * true.sum()
    both = truth.mask[0] & true
    for mine, face in ((truth.front[0], exact.front[0]), (truth.back[0], exact.back[0])):
        error = np.abs(mine - face)[both]
        assert error.mean() < 0.25
        assert np.percentile(error, 99) < 1.5  # where a surface is grazed
        points = volume.to_ijk(geometry.back_project(np.argwhere(truth.mask[0]), mine[truth.mask[0]].astype(float)))
        assert points[:, 2].min() >= -0.5
        assert points[:, 2].max() <= 49.5
    assert ((truth.front[0] > 0) == truth.mask[0]).all()


# What films are made from


@pytest.mark.parametrize("tissue", ["fat", "muscle", "bone", "titanium"])
def test_a_tissue_at_its_own_hu_is_its_length(tissue):
    hu = {**TISSUE_HU, "titanium": 8000.0}[tissue]
    matrix = np.diag([2.0, 2.0, 2.0, 1.0])
    matrix[:3, 3] = (-49, 150, -49)
    volume = Volume(
        np.pad(np.full((50, 40, 50), hu, np.float32), ((0, 0), (5, 5), (0, 0)), constant_values=-1000), matrix
    )
    lengths = prepare.lengths_mm(volume, ProjectionGeometry(1000, (1.0, 1.0), (5, 5)))
    assert lengths[tissue][2, 2] == pytest.approx(80, abs=3)
    for absent in set(lengths) - {tissue}:
        assert lengths[absent][2, 2] < 2.5  # the faces, a voxel of 2 mm each, where HU pass through the others'


def test_tissues_attenuate_what_their_hu_say():
    """Between fat and metal a mm is so much of each tissue that attenuation at 70 keV is the CT's own."""
    assert pytest.approx((-79, 43, 1600), abs=30) == KNOTS[1:4]
    hu = np.linspace(KNOTS[1], prepare.METAL_HU[0], 200)
    shares = {tissue: np.interp(hu, KNOTS, heights) for tissue, heights in TISSUES.items()}
    water = sum((1 + TISSUE_HU[tissue] / 1000) * shares[tissue] for tissue in TISSUE_HU)
    assert water == pytest.approx(1 + hu / 1000, abs=1e-6)
    for tissue in TISSUES:
        assert np.interp([-1000, -905], KNOTS, TISSUES[tissue]) == pytest.approx(0)


# From files to a case


def test_a_patient_s_bones_come_out_where_they_are(made, first):
    out, projection = first
    assert (out / "contact_sheet.png").exists()
    case = read_case(next(out.glob("ct_*")))
    assert case.maps.bones == BONES
    patient = made[2]
    moves = [case.meshes[b][0].mean(axis=0) - patient.bones[b][0].mean(axis=0) for b in ("hip_left", "hip_right")]
    translation = np.mean(moves, axis=0)
    centres = [(v.min(axis=0) + v.max(axis=0)) / 2 for v in (case.meshes["hip_left"][0], patient.bones["hip_left"][0])]
    assert translation == pytest.approx(centres[0] - centres[1], abs=1.5)
    translation = centres[0] - centres[1]
    true = cast(
        {bone: (patient.bones[bone][0] + translation, patient.bones[bone][1]) for bone in BONES}, case.geometry
    ).maps
    whole = projection.maps  # the film shows what its collimator left of it
    assert not (case.maps.mask & ~whole.mask).any()
    for number in range(4):
        both = whole.mask[number] & true.mask[number]
        assert both.sum() > 0.97 * true.mask[number].sum()
        for mine, exact in ((whole.front, true.front), (whole.back, true.back)):
            assert np.abs(mine[number] - exact[number])[both].mean() < 0.75  # mm, of voxels of 2.5
    assert case.metadata["ct"]["cut"] == {"femur_left": ["inferior"], "femur_right": ["inferior"]}
    assert case.metadata["person"].startswith("ct/")
    lengths = projection.lengths_mm
    assert set(lengths) == set(TISSUES)
    assert lengths["titanium"].max() == 0
    on_bone = whole.mask.any(axis=0)
    assert lengths["bone"][on_bone].mean() > 3 * lengths["bone"][~on_bone].mean()


@pytest.mark.parametrize("view", ["AP", "PA"])
@pytest.mark.parametrize("seed", range(4))
def test_every_ray_stays_inside_what_was_scanned(scan, seed, view, monkeypatch):
    """Films of all kinds: rows beyond are left out, and flesh does not reach through the detector."""
    monkeypatch.setattr("training.xray.rig.PA_SHARE", float(view == "PA"))
    subject = prepare.checked(scan)
    rig, translation, left_out = prepare.covered_rig(subject, np.random.default_rng(seed), 512)
    assert rig.geometry.view == view
    volume = subject.volume.translated(translation)
    facing = 1 if rig.geometry.view == "AP" else -1
    skin = (np.array(subject.skin_mm) + translation[1]) * facing
    assert skin.min() == pytest.approx(rig.table_gap_mm, abs=1e-6)
    corners = np.array([[r, c] for r in (0, rig.geometry.size_px[0] - 1) for c in (0, rig.geometry.size_px[1] - 1)])
    for depth in rig.geometry.sdd_mm - skin:
        slices = volume.to_ijk(rig.geometry.back_project(corners, np.full(4, depth)))[:, 2]
        assert slices.min() >= 0
        assert slices.max() <= len(volume.values) - 1
    assert min(left_out) >= 0


def test_a_film_of_too_few_pixels_is_refused_before_anything_is_written(files, tmp_path, capsys):
    assert prepared(*files, tmp_path / "out", "--size", "200") == EXIT_REFUSED
    assert "--size" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_table_is_no_part_of_the_patient(scan):
    subject = prepare.checked(scan)
    places = np.stack(np.meshgrid(*(np.arange(n) for n in subject.volume.values.shape), indexing="ij"), -1)[..., ::-1]
    table = np.abs(scan.volume.values + 150) < 1
    assert table.sum() > 10000
    assert not (np.abs(subject.volume.values + 150) < 1).any()
    flesh = subject.volume.values > -100
    assert flesh.sum() == (scan.volume.values > -100).sum()
    assert subject.skin_mm[0] == pytest.approx(subject.volume.to_ras(places[flesh].astype(float))[:, 1].min(), abs=6)


def test_the_same_seed_gives_the_same_case_and_another_another(files, first, tmp_path):
    for out, seed in (("again", "0"), ("other", "2")):
        assert prepared(*files, tmp_path / out, "--seed", seed) == 0
    case, again, other = (next(out.glob("ct_*")) for out in (first[0], tmp_path / "again", tmp_path / "other"))
    assert case.name == again.name != other.name
    for name in ("radiograph.dcm", "geometry.json", "case.json", "truth/depth_front.nrrd"):
        assert (case / name).read_bytes() == (again / name).read_bytes()
    assert (case / "geometry.json").read_bytes() != (other / "geometry.json").read_bytes()


@pytest.mark.parametrize("kept_as", ["LAS", "RPI", "SAR", "PIR"])
def test_however_a_volume_is_stored_it_is_the_same_scan(made, scan, tmp_path, kept_as):
    for image, name in zip(made[:2], ("ct.mha", "labels.nrrd"), strict=True):
        sitk.WriteImage(sitk.DICOMOrient(image, kept_as), str(tmp_path / name))
    turned = read_scan(tmp_path / "ct.mha", tmp_path / "labels.nrrd")
    assert turned.volume.ijk_to_ras == pytest.approx(scan.volume.ijk_to_ras, abs=1e-4)
    assert np.array_equal(turned.volume.values, scan.volume.values)
    assert np.array_equal(turned.labels, scan.labels)


def test_an_oblique_volume_lies_where_its_header_says(made, tmp_path):
    turn = Rotation.from_euler("xyz", (4, -7, 12), degrees=True).as_matrix()
    for image, name in zip(made[:2], ("ct.nrrd", "labels.nrrd"), strict=True):
        turned = like(image, sitk.GetArrayFromImage(image))
        turned.SetDirection(turn.ravel())
        sitk.WriteImage(turned, str(tmp_path / name))
    scan = read_scan(tmp_path / "ct.nrrd", tmp_path / "labels.nrrd")
    voxel = np.array([31, 17, 44])
    place = turned.TransformIndexToPhysicalPoint([int(n) for n in voxel])
    assert scan.volume.to_ras(voxel.astype(float)) == pytest.approx(np.array(place) * LPS, abs=1e-3)
    vertices = prepare.checked(scan).meshes["hip_left"][0]
    straight = (vertices * LPS - made[0].GetOrigin()) @ turn + made[0].GetOrigin()
    true = made[2].bones["hip_left"][0]
    assert (straight * LPS).min(axis=0) == pytest.approx(true.min(axis=0), abs=2.5)
    assert (straight * LPS).max(axis=0) == pytest.approx(true.max(axis=0), abs=2.5)


def test_masks_by_bone_coarser_labels_and_other_numbers(made, files, scan, tmp_path):
    values = sitk.GetArrayFromImage(made[1])
    for bone, number in LABELS.items():
        sitk.WriteImage(like(made[1], (values == number).astype(np.uint8)), str(tmp_path / f"{bone}.nii.gz"))
    assert np.array_equal(read_scan(files[0], tmp_path).labels, scan.labels)

    renumbered = np.select([values == number for number in LABELS.values()], [5, 6, 7, 8], 0).astype(np.uint8)
    sitk.WriteImage(like(made[1], renumbered), str(tmp_path / "other.nrrd"))
    numbers = dict(zip(LABELS, (5, 6, 7, 8), strict=True))
    assert np.array_equal(read_scan(files[0], tmp_path / "other.nrrd", numbers).labels, scan.labels)

    coarse = sitk.Resample(
        made[1],
        [n // 2 for n in made[1].GetSize()],
        sitk.Transform(),
        sitk.sitkNearestNeighbor,
        made[1].TransformContinuousIndexToPhysicalPoint((0.5,) * 3),
        [2 * mm for mm in made[1].GetSpacing()],
        made[1].GetDirection(),
    )
    sitk.WriteImage(coarse, str(tmp_path / "coarse.mha"))
    coarse_labels = read_scan(files[0], tmp_path / "coarse.mha").labels
    agree = [(coarse_labels == n)[scan.labels == n].mean() for n in (1, 2, 3, 4)]
    assert min(agree) > 0.7
    assert coarse_labels.shape == scan.labels.shape


# DICOM


@pytest.fixture(scope="module")
def series(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dicom") / "series"
    write_series(made[0], folder)
    return folder


def test_a_series_is_the_same_hu_and_keeps_the_patient_s_name_to_itself(series, files, scan, tmp_path, capfd):
    assert prepared(series, files[1], tmp_path / "out") == 0
    read = read_scan(series, files[1])
    assert np.array_equal(read.volume.values, scan.volume.values)
    assert read.volume.ijk_to_ras == pytest.approx(scan.volume.ijk_to_ras, abs=1e-3)
    metadata = next((tmp_path / "out").glob("ct_*/case.json")).read_text(encoding="utf-8")
    assert json.loads(metadata)["ct"]["position"] == "HFS"
    printed = "".join(capfd.readouterr())
    for path in (tmp_path / "out").rglob("*"):
        assert SECRET not in path.name
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()
    assert SECRET not in printed


def spoilt_series(series, folder, spoil):
    folder.mkdir()
    paths = sorted(series.iterdir(), key=lambda path: float(pydicom.dcmread(path).ImagePositionPatient[2]))
    for number, path in enumerate(paths):
        ds = pydicom.dcmread(path)
        if spoil(number, ds) is not False:
            ds.save_as(folder / path.name)
    return folder


def tilted(number, ds):
    x, y, z = (float(mm) for mm in ds.ImagePositionPatient)
    ds.ImagePositionPatient = [x, round(y + 0.3 * number, 4), z]


def doubled(number, ds):
    if number == 40:
        ds.ImagePositionPatient = [*ds.ImagePositionPatient[:2], float(ds.ImagePositionPatient[2]) - 2.5]


SPOILT_SERIES = {
    "not a CT": lambda number, ds: setattr(ds, "Modality", "MR"),
    "2 DICOM series": lambda number, ds: setattr(ds, "SeriesInstanceUID", "1.9") if number > 60 else None,
    "unevenly spaced": lambda number, ds: number != 50,
    "come twice": doubled,
    "tilted gantry": tilted,
    "where its slices lie": lambda number, ds: delattr(ds, "ImagePositionPatient") if number == 3 else None,
    "not parallel": lambda number, ds: setattr(ds, "ImageOrientationPatient", [0, 1, 0, 0, 0, -1]) if not number else 1,
    "no rescale intercept": lambda number, ds: setattr(ds, "RescaleIntercept", 0),
}


@pytest.mark.parametrize("reason", SPOILT_SERIES)
def test_a_series_that_is_no_even_ct_is_refused(series, files, tmp_path, capsys, reason):
    folder = spoilt_series(series, tmp_path / "spoilt", SPOILT_SERIES[reason])
    assert prepared(folder, files[1], tmp_path / "out") == EXIT_REFUSED
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# What is refused


def shorter(image, first, count):
    return image[:, :, first : first + count]


def with_values(image, change):
    values = sitk.GetArrayFromImage(image)
    return like(image, change(values.copy()))


def exchanged(values, first, second):
    return np.where(values == first, second, np.where(values == second, first, values)).astype(values.dtype)


def upside(image, axis):
    """The same voxels under a header that turns an axis and another round: a half turn."""
    direction = np.reshape(image.GetDirection(), (3, 3)).copy()
    direction[:, [a for a in range(3) if a != axis]] *= -1
    middle = np.array(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()]))
    turned = like(image, sitk.GetArrayFromImage(image))
    turned.SetDirection(direction.ravel())
    half = (np.array(image.GetSize()) - 1) / 2 * image.GetSpacing()
    turned.SetOrigin(middle - direction @ half)
    return turned


def swapped_sides(values):
    return exchanged(exchanged(values, 77, 78), 75, 76)


def nan_speck(values):
    values = values.astype(np.float32)
    values[60, 50, 50] = np.nan
    return values


def wide(values):
    values[:, 56:58, :] = np.maximum(values[:, 56:58, :], 40)
    values[:, 20:100, :60] = np.maximum(values[:, 20:100, :60], 40)
    return values


def narrow_disc(values):
    """A scanner that reconstructs a disc, into which the thighs do not fit."""
    rows, cols = np.ogrid[-1 : 1 : values.shape[1] * 1j, -1 : 1 : values.shape[2] * 1j]
    values[:, np.hypot(rows, cols) > 1] = -2000
    return values


def keep(image):
    return image


SPOILT = {
    "grey values from 0 to 255": (
        lambda c: with_values(c, lambda v: np.clip(v / 8 + 125, 0, 255).astype(np.uint8)),
        keep,
    ),
    "no air": (lambda c: with_values(c, lambda v: (v + 1024).astype(np.int16)), keep),
    "not numbers": (lambda c: with_values(c, nan_speck), keep),
    "one value everywhere": (lambda c: with_values(c, lambda v: v * 0), keep),
    "not on the CT's grid": (keep, lambda m: image_of(sitk.GetArrayFromImage(m), (0, 0, 0), m.GetSpacing())),
    "No hip and no femur": (keep, lambda m: with_values(m, lambda v: v * 0)),
    "Not labelled: femur_left": (keep, lambda m: with_values(m, lambda v: np.where(v == 75, 0, v).astype(np.uint8))),
    "of hip_right has only": (
        keep,
        lambda m: with_values(m, lambda v: np.where((v == 78) & (np.arange(len(v))[:, None, None] % 40 > 1), 0, v)),
    ),
    "which is no bone": (lambda c: with_values(c, lambda v: np.roll(v, 30, axis=1)), keep),
    "Left and right are swapped": (keep, lambda m: with_values(m, swapped_sides)),
    "Head and feet are swapped": (
        lambda c: upside(c, 1),
        lambda m: with_values(upside(m, 1), swapped_sides),
    ),
    "Front and back are swapped": (
        lambda c: upside(c, 2),
        lambda m: with_values(upside(m, 2), swapped_sides),
    ),
    "mm long": (lambda c: shorter(c, 60, 50), lambda m: shorter(m, 60, 50)),
    "mm apart": (lambda c: c[:, :, ::3], lambda m: m[:, :, ::3]),
    "does not fit into the CT": (lambda c: with_values(c, wide), keep),
    "outline lie on the field's border": (
        lambda c: with_values(c[20:148, :, :], narrow_disc),
        lambda m: m[20:148, :, :],
    ),
    "negative values": (keep, lambda m: with_values(m, lambda v: v.astype(np.int16) - 1)),
    "no whole numbers": (keep, lambda m: with_values(m, lambda v: v.astype(np.float32) * 0.5)),
}


@pytest.mark.parametrize("reason", SPOILT)
def test_what_cannot_be_a_case_is_refused_with_the_reason(made, tmp_path, capsys, reason):
    for image, spoil, name in zip(made[:2], SPOILT[reason], ("ct.nii", "labels.nii"), strict=True):
        sitk.WriteImage(spoil(image), str(tmp_path / name))
    assert prepared(tmp_path / "ct.nii", tmp_path / "labels.nii", tmp_path / "out") == EXIT_REFUSED
    printed = capsys.readouterr().err
    assert reason in printed
    assert str(tmp_path) not in printed
    assert not (tmp_path / "out").exists()


def test_damaged_files_are_refused(files, tmp_path, capsys):
    content = files[0].read_bytes()
    (tmp_path / "short.nii.gz").write_bytes(content[: len(content) // 2])
    plain = gzip.decompress(content)
    (tmp_path / "short.nii").write_bytes(plain[: len(plain) // 2])
    (tmp_path / "text.nii.gz").write_text("hello", encoding="utf-8")
    (tmp_path / "text.mha").write_text("hello", encoding="utf-8")
    (tmp_path / "nowhere.nii").write_bytes(plain[:252] + bytes(4) + plain[256:])
    (tmp_path / "empty").mkdir()
    reasons = {"nowhere.nii": "where the patient's left is", "absent.nii": "no CT at the place", "empty": "no DICOM"}
    for name in ("short.nii.gz", "short.nii", "text.nii.gz", "text.mha", "nowhere.nii", "absent.nii", "empty"):
        assert prepared(tmp_path / name, files[1], tmp_path / "out") == EXIT_REFUSED
        assert reasons.get(name, "damaged, cut short") in capsys.readouterr().err
    assert prepared(files[0], files[1], tmp_path / "out", "--labels", "knee=3") == EXIT_REFUSED
    assert "--labels takes" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_cts_gives_cases_and_reasons(files, tmp_path, capsys):
    for name, labels in ((SECRET, files[1]), ("b", files[0])):
        (tmp_path / "people" / name).mkdir(parents=True)
        (tmp_path / "people" / name / "ct.nii.gz").symlink_to(files[0])
        (tmp_path / "people" / name / "labels.nii.gz").symlink_to(labels)
    (tmp_path / "people" / "c").mkdir()
    out = tmp_path / "out"
    assert main(["prepare-ct", str(tmp_path / "people"), "--out", str(out), "--size", "450"]) == EXIT_FLAGGED
    printed = capsys.readouterr().out
    assert "1 cases" in printed
    assert SECRET not in printed
    rejected = json.loads((out / "rejected.json").read_text(encoding="utf-8"))
    assert [row["number"] for row in rejected] == [2, 3]
    assert "negative values" in rejected[0]["reason"]
    assert "0 things called ct" in rejected[1]["reason"]
    assert len(list(out.glob("ct_*"))) == 1
    assert main(["prepare-ct", str(tmp_path / "people" / "c"), "--out", str(out)]) == EXIT_REFUSED
    assert "no subfolders" in capsys.readouterr().err
