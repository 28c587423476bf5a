"""NRRD, MHA, NIfTI, PNG, JPEG and TIFF: what they say, what they cannot, and what must be refused."""

import shutil
import struct
import zlib

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image, ImageDraw, ImageFont
from support.films import COLS, GEOMETRY, ROWS, film, save, save_image, save_tiff
from support.films import dataset as dicom

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film import image_checks
from DualFaceReconLib.film.radiograph import read_radiograph

SIXTEEN = np.uint16(film() * 65535)


def codes(radiograph):
    return {warning.code for warning in radiograph.warnings}


@pytest.mark.parametrize("suffix", [".png", ".tif", ".nrrd", ".mha", ".nii", ".nii.gz"])
@pytest.mark.parametrize("bits", [8, 16])
def test_grey_values_survive(tmp_path, suffix, bits):
    radiograph = read_radiograph(save_image(tmp_path / f"film{suffix}", bits), pixel_pitch_mm=1.2)
    expected = (film() * (2**bits - 1)).astype(np.uint16 if bits == 16 else np.uint8)
    assert np.array_equal(radiograph.pixels, expected)
    assert "polarity-assumed" in codes(radiograph)


def test_jpeg(tmp_path):
    radiograph = read_radiograph(save_image(tmp_path / "film.jpg", 8), pixel_pitch_mm=1.2)
    assert np.abs(radiograph.pixels - film() * 255).mean() < 3


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii"])
def test_a_spacing_in_millimetres_is_the_pitch_with_a_warning(tmp_path, suffix):
    radiograph = read_radiograph(save_image(tmp_path / f"film{suffix}"))
    assert radiograph.geometry.pixel_pitch_mm == pytest.approx((1.2, 1.25))
    assert radiograph.geometry.provenance["pixel_pitch_mm"].kind == "header"
    assert "pixel_pitch_mm-of-image-file" in codes(radiograph)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_dpi_is_never_a_pitch(tmp_path, suffix):
    path = save_image(tmp_path / f"film{suffix}", 8)  # ITK writes the spacing as dpi where the format has it
    with pytest.raises(Refusal, match="pixel_pitch_mm="):
        read_radiograph(path)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii"])
def test_a_missing_spacing_is_no_pitch(tmp_path, suffix):
    with pytest.raises(Refusal, match="pixel_pitch_mm="):
        read_radiograph(save_image(tmp_path / f"film{suffix}", spacing=(1, 1)))


def test_our_own_volume_keeps_its_sides(tmp_path):
    """A film written as a volume in the design's frame comes back as it was; mirrored and lying ones too."""
    lps = np.diag([-1, -1, 1]) @ GEOMETRY.ijk_to_ras()[:3, :3]
    image = sitk.GetImageFromArray(SIXTEEN[None])
    image.SetSpacing((1.25, 1.2, 1))
    image.SetDirection((lps / (1.25, 1.2, 1)).ravel().tolist())
    sitk.WriteImage(image, str(tmp_path / "film.nrrd"))
    radiograph = read_radiograph(tmp_path / "film.nrrd")
    assert np.array_equal(radiograph.pixels, SIXTEEN)
    assert radiograph.orientation.value == "L\\F"
    assert radiograph.orientation.provenance.kind == "header"

    mirrored = sitk.Flip(image, (True, False, False), flipAboutOrigin=False)
    sitk.WriteImage(mirrored, str(tmp_path / "mirrored.nrrd"))
    again = read_radiograph(tmp_path / "mirrored.nrrd")
    assert again.orientation.value == "R\\F"
    assert np.array_equal(again.pixels, SIXTEEN)


def test_an_axial_plane_says_nothing_about_sides(tmp_path):
    image = sitk.GetImageFromArray(SIXTEEN[None])
    image.SetSpacing((1.25, 1.2, 1))
    sitk.WriteImage(image, str(tmp_path / "film.nrrd"))
    assert "orientation-assumed" in codes(read_radiograph(tmp_path / "film.nrrd"))


def test_white_is_zero(tmp_path):
    """The reader gives TIFF's shown brightness, so that both ways of storing look the same."""
    stored = np.rint(film() * 255).astype(np.uint8)
    as_is = read_radiograph(save_tiff(tmp_path / "black.tif", stored, white_is_zero=False), pixel_pitch_mm=1.2)
    white = read_radiograph(save_tiff(tmp_path / "white.tif", 255 - stored, white_is_zero=True), pixel_pitch_mm=1.2)
    assert np.array_equal(as_is.pixels, stored)
    assert np.array_equal(white.pixels, stored)


def test_a_big_endian_tiff_may_be_white_is_zero_too(tmp_path):
    stored = np.rint(film() * 255).astype(np.uint8)
    tags = [(256, COLS), (257, ROWS), (258, 8), (259, 1), (262, 0), (273, 8), (277, 1), (278, ROWS), (279, stored.size)]
    entries = b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in tags)
    header = b"MM\0*" + struct.pack(">I", 8 + stored.size)
    content = header + (255 - stored).tobytes() + struct.pack(">H", len(tags)) + entries + bytes(4)
    (tmp_path / "film.tif").write_bytes(content)
    assert np.array_equal(read_radiograph(tmp_path / "film.tif", pixel_pitch_mm=1.2).pixels, stored)


@pytest.mark.parametrize("orientation", [2, 3, 6])
def test_files_that_ask_to_be_turned_are_refused(tmp_path, orientation):
    stored = np.rint(film() * 255).astype(np.uint8)
    tiff = save_tiff(tmp_path / "film.tif", stored, white_is_zero=False, orientation=orientation)
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0)
    jpeg = save_image(tmp_path / "film.jpg", 8)
    content = jpeg.read_bytes()
    jpeg.write_bytes(content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:])
    for path in (tiff, jpeg):
        with pytest.raises(Refusal, match="turned or mirrored"):
            read_radiograph(path, pixel_pitch_mm=1.2)


def test_a_jpeg_with_something_after_its_end_is_whole(tmp_path):
    path = save_image(tmp_path / "film.jpg", 8)
    path.write_bytes(path.read_bytes() + b"made by a camera" * 50)
    assert read_radiograph(path, pixel_pitch_mm=1.2).pixels.shape == (ROWS, COLS)


def test_grey_with_transparency(tmp_path):
    grey = (film() * 255).astype(np.uint8)
    rows = b"".join(b"\0" + np.stack([line, np.full_like(line, 255)], axis=1).tobytes() for line in grey)

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", COLS, ROWS, 8, 4, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "film.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    assert np.array_equal(read_radiograph(tmp_path / "film.png", pixel_pitch_mm=1.2).pixels, grey)


def test_equal_channels_and_transparency_are_a_radiograph(tmp_path):
    grey = (film() * 255).astype(np.uint8)
    opaque = np.full_like(grey, 255)
    for name, channels in (("rgb", [grey] * 3), ("rgba", [grey] * 3 + [opaque])):
        image = sitk.GetImageFromArray(np.stack(channels, axis=-1), isVector=True)
        sitk.WriteImage(image, str(tmp_path / f"{name}.png"))
        assert np.array_equal(read_radiograph(tmp_path / f"{name}.png", pixel_pitch_mm=1.2).pixels, grey)


def test_the_content_tells_the_kind_not_the_name(tmp_path):
    shutil.copy(save_image(tmp_path / "film.png"), tmp_path / "film.dcm")
    assert read_radiograph(tmp_path / "film.dcm", pixel_pitch_mm=1.2).file_format == "PNG"
    shutil.copy(save(dicom(), tmp_path / "IM0001"), tmp_path / "film.jpg")
    assert read_radiograph(tmp_path / "film.jpg").file_format == "DICOM"


def test_paths_with_spaces_and_unicode(tmp_path):
    folder = tmp_path / "Hüfte links – 股関節"
    folder.mkdir()
    assert read_radiograph(save_image(folder / "film ä.png"), pixel_pitch_mm=1.2).pixels.shape == (ROWS, COLS)
    assert read_radiograph(save(dicom(), folder / "film ä.dcm")).pixels.shape == (ROWS, COLS)


# Refusals


@pytest.mark.parametrize(
    ("suffix", "broken"), [(".jpg", "ends_whole"), (".nii", "check_size"), (".tif", "_refuse_turned")]
)
def test_a_bug_of_ours_is_not_taken_for_a_damaged_file(tmp_path, monkeypatch, suffix, broken):
    def bug(*_):
        raise KeyError("a bug")

    monkeypatch.setattr(image_checks, broken, bug)
    with pytest.raises(KeyError, match="a bug"):
        read_radiograph(save_image(tmp_path / f"film{suffix}", 8), pixel_pitch_mm=1.2)


@pytest.mark.parametrize("injury", ["order", "first value", "datatype", "length"])
def test_a_nifti_header_that_contradicts_itself_is_refused(tmp_path, injury):
    path = save_image(tmp_path / "film.nii")
    content = bytearray(path.read_bytes())
    if injury == "order":
        content[0:4] = b"\1\2\3\4"
    elif injury == "first value":
        content[108:112] = struct.pack("<f", np.nan)
    elif injury == "datatype":
        content[70:74] = struct.pack("<2h", 64, 12)  # doubles of 12 bits
    else:
        content = content[:200] + content[344:348].rjust(148, b"\0")
    path.write_bytes(content)
    with pytest.raises(Refusal, match="NIfTI file is damaged"):
        read_radiograph(path, pixel_pitch_mm=1.2)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".nrrd", ".mha", ".nii", ".nii.gz"])
def test_truncated_files_are_refused(tmp_path, suffix):
    path = save_image(tmp_path / f"film{suffix}", 8)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * 0.6)])
    with pytest.raises(Refusal, match="damaged or incomplete"):
        read_radiograph(path, pixel_pitch_mm=1.2)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii"])
def test_nan_is_refused(tmp_path, suffix):
    picture = film()
    picture[5, 5] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(picture), str(tmp_path / f"film{suffix}"))
    with pytest.raises(Refusal, match="NaN"):
        read_radiograph(tmp_path / f"film{suffix}", pixel_pitch_mm=1.2)


def test_a_volume_is_refused(tmp_path):
    sitk.WriteImage(sitk.Image(300, 300, 4, sitk.sitkInt16), str(tmp_path / "ct.nrrd"))
    with pytest.raises(Refusal, match="volume or stack"):
        read_radiograph(tmp_path / "ct.nrrd", pixel_pitch_mm=1)


def test_a_colour_photo_is_refused(tmp_path):
    colour = (film()[..., None] * (255, 150, 90)).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(colour, isVector=True), str(tmp_path / "photo.jpg"))
    with pytest.raises(Refusal, match="colour picture"):
        read_radiograph(tmp_path / "photo.jpg", pixel_pitch_mm=1)


@pytest.mark.parametrize(("suffix", "quality"), [("png", None), ("jpg", 90), ("jpg", 60)])
def test_coloured_marks_are_taken_out_and_warned_of(tmp_path, suffix, quality):
    """A green scale, a red arrow and a yellow word on a grey film."""
    grey = Image.fromarray((film(400, 500) * 255).astype(np.uint8))
    marked = grey.convert("RGB")
    pen = ImageDraw.Draw(marked)
    pen.line((480, 50, 480, 250), (0, 220, 0), 4)
    pen.line((60, 300, 140, 220), (230, 20, 20), 5)
    pen.text((200, 360), "HIP 12", (240, 220, 0), ImageFont.load_default(24))
    path = tmp_path / f"film.{suffix}"
    marked.save(path, **({} if quality is None else {"quality": quality}))
    radiograph = read_radiograph(path, pixel_pitch_mm=0.6)
    (warning,) = [warning for warning in radiograph.warnings if warning.code == "coloured-marks"]
    assert 3 <= warning.values["places"] <= 40  # letters, and what compression scatters
    assert 0.005 < warning.values["share"] < 0.05
    apart = np.abs(radiograph.pixels - np.asarray(grey, np.float32))
    assert np.percentile(apart, 99) < 40  # the film's own noise and compression; marks differ by 100 and more
    assert (apart > 90).mean() < 5e-4


def test_a_tinted_film_is_still_a_colour_picture(tmp_path):
    grey = (film()[..., None] * 255).repeat(3, axis=2) * (1.0, 0.95, 0.9)
    Image.fromarray(grey.astype(np.uint8)).save(tmp_path / "sepia.png")
    with pytest.raises(Refusal, match="colour picture"):
        read_radiograph(tmp_path / "sepia.png", pixel_pitch_mm=1)


NRRD_HEAD = "NRRD0004\ntype: uint16\ndimension: 2\nsizes: 300 300\nencoding: raw\nendian: little\n"
MHA_HEAD = "ObjectType = Image\nNDims = 2\nDimSize = 300 300\nElementType = MET_USHORT\n"


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.nrrd", NRRD_HEAD + "data file: SECRET\n\n"),
        ("a.nrrd", NRRD_HEAD + "DataFile: SECRET\n\n"),
        ("a.nrrd", NRRD_HEAD + "# long\n" * 20_000 + "data file: SECRET\n\n"),
        ("a.nrrd", NRRD_HEAD + "byte skip: -1\n\n"),
        ("a.mha", MHA_HEAD + "ElementDataFile = SECRET\n"),
        ("a.mha", MHA_HEAD + "Comment = ElementDataFile = LOCAL\nElementDataFile = SECRET\n"),
        ("a.mha", MHA_HEAD + "ElementDataFile = SECRET/LOCAL\n"),
        ("a.mha", MHA_HEAD + "ElementDataFile = LIST\nSECRET\n"),
    ],
)
def test_a_header_cannot_make_us_read_another_file(tmp_path, name, header):
    secret = tmp_path / "LOCAL"
    secret.write_bytes(np.arange(300 * 300, dtype=np.uint16).tobytes())
    (tmp_path / name).write_text(header.replace("SECRET/", f"{tmp_path}/").replace("SECRET", str(secret)))
    with pytest.raises(Refusal, match=r"in another file|damaged"):
        read_radiograph(tmp_path / name, pixel_pitch_mm=1)


def test_a_clean_header_keeps_what_counts(tmp_path):
    """Comments and private fields fall away; pixels, spacing and compression stay."""
    image = sitk.GetImageFromArray(SIXTEEN)
    image.SetSpacing((1.25, 1.2))
    image.SetMetaData("Patient", "Somebody")
    for suffix in (".nrrd", ".mha"):
        sitk.WriteImage(image, str(tmp_path / f"film{suffix}"), useCompression=True)
        radiograph = read_radiograph(tmp_path / f"film{suffix}")
        assert np.array_equal(radiograph.pixels, SIXTEEN)
        assert radiograph.geometry.pixel_pitch_mm == pytest.approx((1.2, 1.25))


@pytest.mark.parametrize("shape", [(255, 400), (400, 100), (10_001, 256)])
def test_sizes_beyond_the_limits_are_refused(tmp_path, shape):
    sitk.WriteImage(sitk.Image(shape[1], shape[0], sitk.sitkUInt8), str(tmp_path / "film.png"))
    with pytest.raises(Refusal, match=r"too small|beyond"):
        read_radiograph(tmp_path / "film.png", pixel_pitch_mm=0.5)


def test_a_header_that_claims_a_huge_picture_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "bomb.nrrd"
    path.write_bytes(b"NRRD0004\ntype: double\ndimension: 2\nsizes: 900000 900000\nencoding: gzip\nendian: little\n\n")
    with pytest.raises(Refusal, match="beyond"):
        read_radiograph(path, pixel_pitch_mm=0.5)


@pytest.mark.parametrize("content", [b"", b"hello", b"%PDF-1.7 " + bytes(600), b"PK\x03\x04" + bytes(600)])
def test_what_is_no_image_is_refused(tmp_path, content):
    (tmp_path / "film.dcm").write_bytes(content)
    with pytest.raises(Refusal, match="not an image"):
        read_radiograph(tmp_path / "film.dcm")


def test_folders_and_missing_files_are_refused(tmp_path):
    with pytest.raises(Refusal, match="folder"):
        read_radiograph(tmp_path)
    with pytest.raises(Refusal, match="no such file"):
        read_radiograph(tmp_path / "nothing.dcm")
