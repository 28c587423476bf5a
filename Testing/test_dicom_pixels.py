"""Pixels: every transfer syntax, LUTs, polarity, padding, signed values, and what must be refused."""

import struct
import zlib

import numpy as np
import pytest
from pydicom.dataset import Dataset
from support.films import COLS, ROWS, SYNTAXES, dataset, film, save

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film import decoding, dicom_pixels
from DualFaceReconLib.film.codestreams import compressed_size
from DualFaceReconLib.film.native_decoder import decode_dicom_with_itk
from DualFaceReconLib.film.radiograph import read_radiograph

STORED = np.frombuffer(dataset().PixelData, np.uint16).reshape(ROWS, COLS).astype(np.float32)


@pytest.fixture
def read(tmp_path):
    def read(ds, **overrides):
        return read_radiograph(save(ds, tmp_path / "film.dcm"), **overrides)

    return read


def codes(radiograph):
    return {warning.code for warning in radiograph.warnings}


@pytest.mark.parametrize("syntax", [s for s in SYNTAXES if s != "jpeg-baseline"])
def test_lossless_syntaxes_give_the_same_picture(tmp_path, syntax):
    radiograph = read_radiograph(save(dataset(), tmp_path / "film", syntax))
    assert np.array_equal(radiograph.pixels, STORED)
    assert radiograph.pixels.dtype == np.float32


def test_lossy_jpeg_is_close(tmp_path):
    ds = dataset(BitsAllocated=8, BitsStored=8, HighBit=7)
    ds.PixelData = np.rint(film() * 255).astype(np.uint8).tobytes()
    radiograph = read_radiograph(save(ds, tmp_path / "film", "jpeg-baseline"))
    assert np.abs(radiograph.pixels - film() * 255).mean() < 4


@pytest.mark.parametrize("syntax", ["jpeg-lossless", "jpeg-ls", "jpeg-2000"])
def test_itk_stands_in_where_pydicom_has_no_decoder(tmp_path, syntax):
    path = save(dataset(RescaleSlope=2, RescaleIntercept=-100), tmp_path / "film", syntax)
    assert np.array_equal(decode_dicom_with_itk(str(path), 2, -100), STORED)


def test_an_unknown_compression_is_refused(tmp_path):
    path = save(dataset(), tmp_path / "film", "jpeg-2000")
    content = path.read_bytes()
    mpeg = content.replace(b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.4.100\0"[:22])
    path.write_bytes(mpeg.replace(b"1.2.840.10008.1.2.4.10", b"1.2.840.10008.1.2.4.92"))
    with pytest.raises(Refusal, match="compression is not supported"):
        read_radiograph(path)


def test_a_file_without_preamble_is_read(tmp_path):
    content = save(dataset(), tmp_path / "old", "implicit").read_bytes()
    meta_end = 132 + 12 + int.from_bytes(content[140:144], "little")
    (tmp_path / "old").write_bytes(content[meta_end:])
    assert np.array_equal(read_radiograph(tmp_path / "old").pixels, STORED)


# Polarity: bone is bright, whatever the file's convention


@pytest.mark.parametrize(
    ("photometric", "shape", "intent", "sign", "inverted", "warned"),
    [
        ("MONOCHROME2", "IDENTITY", "FOR PRESENTATION", -1, False, set()),
        ("MONOCHROME1", "INVERSE", "FOR PRESENTATION", 1, True, set()),
        ("MONOCHROME1", None, "FOR PRESENTATION", None, True, set()),
        ("MONOCHROME2", None, None, None, False, set()),
        ("MONOCHROME2", "INVERSE", "FOR PRESENTATION", None, False, {"polarity-conflict"}),
        ("MONOCHROME1", "IDENTITY", "FOR PRESENTATION", None, True, {"polarity-conflict"}),
        ("MONOCHROME2", None, "FOR PROCESSING", None, False, {"polarity-assumed"}),
        ("MONOCHROME2", "IDENTITY", "FOR PRESENTATION", 1, False, {"polarity-conflict"}),
        ("MONOCHROME1", "INVERSE", "FOR PRESENTATION", -1, True, {"polarity-conflict"}),
        ("MONOCHROME2", None, "FOR PROCESSING", -1, False, set()),
        ("MONOCHROME2", None, "FOR PROCESSING", 1, True, set()),
        ("MONOCHROME1", None, "FOR PROCESSING", -1, False, set()),
        ("MONOCHROME1", None, "FOR PROCESSING", None, True, {"polarity-assumed"}),
    ],
)
def test_polarity(read, photometric, shape, intent, sign, inverted, warned):
    ds = dataset(
        PhotometricInterpretation=photometric,
        PresentationLUTShape=shape,
        PresentationIntentType=intent,
        PixelIntensityRelationshipSign=sign,
    )
    if inverted:
        ds.PixelData = (4095 - STORED).astype(np.uint16).tobytes()
    radiograph = read(ds)
    assert radiograph.polarity.value == ("inverted" if inverted else "as stored")
    assert np.array_equal(radiograph.pixels, STORED)
    assert codes(radiograph) == warned
    assert (radiograph.polarity.provenance.kind == "assumed") == ("polarity-assumed" in warned)


@pytest.mark.parametrize("modality", ["XA", "RF"])
@pytest.mark.parametrize(("relationship", "inverted"), [("LIN", True), ("LOG", True), ("DISP", False), (None, False)])
def test_fluoroscopy_without_a_sign(read, modality, relationship, inverted):
    """LIN and LOG grow with the X-ray intensity, so bone is dark; nothing is known of the others."""
    ds = dataset(
        Modality=modality, PresentationIntentType=None, PixelIntensityRelationshipSign=None, PresentationLUTShape=None
    )
    ds.PixelIntensityRelationship = relationship
    if inverted:
        ds.PixelData = (4095 - STORED).astype(np.uint16).tobytes()
    radiograph = read(ds)
    assert np.corrcoef(radiograph.pixels.ravel(), STORED.ravel())[0, 1] > 0.9
    assert radiograph.polarity.value == ("inverted" if inverted else "as stored")
    assert ("polarity-assumed" in codes(radiograph)) == (not inverted)


def test_a_negative_slope_turns_the_sign(read):
    ds = dataset(PresentationIntentType="FOR PROCESSING", RescaleSlope=-1, RescaleIntercept=4095)
    ds.PixelIntensityRelationshipSign = -1  # stored: high is bone; after the rescale low is bone
    assert np.array_equal(read(ds).pixels, STORED)


def test_raw_linear_values_get_their_logarithm(read):
    attenuation = film() * 3
    ds = dataset(
        PresentationIntentType="FOR PROCESSING", PixelIntensityRelationship="LIN", PixelIntensityRelationshipSign=1
    )
    ds.PixelData = np.rint(4000 * np.exp(-attenuation)).astype(np.uint16).tobytes()
    radiograph = read(ds)
    assert "logarithm" in codes(radiograph)
    offset = (radiograph.pixels - attenuation).mean()
    assert np.abs(radiograph.pixels - attenuation - offset).max() < 0.02


def test_the_user_can_invert(read):
    radiograph = read(dataset(), invert=True)
    assert np.abs(radiograph.pixels - (STORED.max() + STORED.min() - STORED)).max() == 0
    assert read(dataset(WindowCenter=1000, WindowWidth=1000), invert=True).display_window == (4095 - 1500, 4095 - 500)
    assert radiograph.polarity.provenance.kind == "user"


# Grey-value tables


def lut(entries, first, bits, data):
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [entries, first, bits], data
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    return item


def test_rescale(read):
    ds = dataset(RescaleSlope=2, RescaleIntercept=-100)
    assert np.array_equal(read(ds).pixels, STORED * 2 - 100)


def test_modality_lut(read):
    table = np.round(np.linspace(0, 1, 4096) ** 2 * 60000).astype(int)
    ds = dataset(RescaleSlope=None, RescaleIntercept=None, ModalityLUTSequence=[lut(4096, 0, 16, table.tolist())])
    assert np.array_equal(read(ds).pixels, table[STORED.astype(int)])


def test_voi_lut_clamps_at_its_ends_even_with_eight_bit_output(read):
    table = np.round(np.linspace(0, 255, 2000)).astype(int)
    ds = dataset(VOILUTSequence=[lut(2000, 1000, 8, table.tolist())])
    assert np.array_equal(read(ds).pixels, table[np.clip(STORED.astype(int) - 1000, 0, 1999)])


def test_a_voi_lut_is_not_for_raw_values(read):
    ds = dataset(VOILUTSequence=[lut(2000, 1000, 16, list(range(2000)))], PresentationIntentType="FOR PROCESSING")
    assert np.array_equal(read(ds).pixels, STORED)


def test_a_window_is_for_display_and_cuts_no_values(read):
    radiograph = read(dataset(WindowCenter=2000, WindowWidth=1000))
    assert np.array_equal(radiograph.pixels, STORED)
    assert radiograph.display_window == (1500, 2500)
    ds = dataset(WindowCenter=1000, WindowWidth=1000, PhotometricInterpretation="MONOCHROME1")
    assert read(ds).display_window == (4095 - 1500, 4095 - 500)


def test_an_unreadable_table_is_refused(read):
    with pytest.raises(Refusal, match="damaged"):
        read(dataset(RescaleSlope=None, ModalityLUTSequence=[lut(0, 0, 16, [7])]))


# Values


def test_signed_pixels(read):
    ds = dataset(PixelRepresentation=1, BitsStored=16, HighBit=15)
    ds.PixelData = (STORED - 2000).astype(np.int16).tobytes()
    assert np.array_equal(read(ds).pixels, STORED - 2000)


def test_signed_pixels_whose_unused_bits_are_empty(read):
    ds = dataset(PixelRepresentation=1)
    ds.PixelData = ((STORED - 2048).astype(np.int16).view(np.uint16) & 0x0FFF).tobytes()
    assert np.array_equal(read(ds).pixels, STORED - 2048)


def test_bits_beyond_those_stored_are_no_grey(read):
    ds = dataset()
    ds.PixelData = (STORED.astype(np.uint16) | 0x8000).tobytes()  # an old overlay plane
    assert np.array_equal(read(ds).pixels, STORED)


def test_padding_is_dark_and_warned_of(read):
    stored = STORED.astype(np.uint16)
    stored[:, :40] = 4095
    stored[:, 40:60] = 4094
    ds = dataset(PixelPaddingValue=4095, PixelPaddingRangeLimit=4094)
    ds["PixelPaddingValue"].VR = ds["PixelPaddingRangeLimit"].VR = "US"
    ds.PixelData = stored.tobytes()
    radiograph = read(ds)
    exposed = np.array(stored[:, 60:][(stored[:, 60:] < 4094)])
    assert (radiograph.pixels[:, :60] == exposed.min()).all()
    assert "padding" in codes(radiograph)


@pytest.mark.parametrize("written", [-32768, 32768])
def test_signed_padding_may_be_written_unsigned(read, written):
    stored = (STORED - 2000).astype(np.int16)
    stored[:, :40] = -32768
    ds = dataset(PixelRepresentation=1, BitsStored=16, HighBit=15)
    ds.add_new("PixelPaddingValue", "SS" if written < 0 else "US", written)
    ds.PixelData = stored.tobytes()
    radiograph = read(ds)
    assert (radiograph.pixels[:, :40] == stored[:, 40:].min()).all()
    assert "padding" in codes(radiograph)


def test_a_sliver_of_padding_is_not_worth_a_word(read):
    stored = STORED.astype(np.uint16)
    stored[:, :2] = 0
    ds = dataset(PixelData=stored.tobytes())
    ds.add_new("PixelPaddingValue", "US", 0)
    assert "padding" not in codes(read(ds))


def screen_picture(colour):
    ds = dataset(SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0, Modality="OT")
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.PixelData = colour.astype(np.uint8).tobytes()
    return ds


def test_a_screen_picture_of_equal_channels_is_a_radiograph(read):
    grey = np.rint(film() * 255)
    radiograph = read(screen_picture(np.repeat(grey[..., None], 3, axis=2)))
    assert np.array_equal(radiograph.pixels, grey)
    assert {"screen-picture", "polarity-assumed"} <= codes(radiograph)


def test_a_colour_photo_is_refused(read):
    colour = np.repeat(np.rint(film() * 255)[..., None], 3, axis=2) * (1, 0.6, 0.3)
    with pytest.raises(Refusal, match="colour picture"):
        read(screen_picture(colour))


# Refusals


@pytest.mark.parametrize("broken", ["compressed_size", "decode_apart", "grey_channel"])
def test_a_bug_of_ours_is_not_taken_for_a_damaged_file(tmp_path, monkeypatch, broken):
    def bug(*_):
        raise ValueError("a bug")

    monkeypatch.setattr(dicom_pixels, broken, bug)
    grey = np.repeat(np.rint(film() * 255)[..., None], 3, axis=2)
    ds, syntax = (screen_picture(grey), "explicit") if broken == "grey_channel" else (dataset(), "jpeg-2000")
    with pytest.raises(ValueError, match="a bug"):
        read_radiograph(save(ds, tmp_path / "film", syntax))


@pytest.mark.skipif(not decoding.FORKS, reason="here every picture's decoder is a process that is started for it")
def test_a_decoder_that_dies_costs_its_own_picture_alone(tmp_path):
    path = save(dataset(), tmp_path / "film", "jpeg-2000")
    read_radiograph(path)
    kept = decoding._decoder._process
    read_radiograph(path)
    assert decoding._decoder._process is kept
    with pytest.raises(decoding.DecodingFailed):
        decoding.exit_code(["no such kind"])  # which it does not expect, and dies of
    assert kept.poll() is not None
    assert np.array_equal(read_radiograph(path).pixels, STORED)
    decoding._decoder._process.kill()
    decoding._decoder._process.wait()
    assert np.array_equal(read_radiograph(path).pixels, STORED)


@pytest.mark.skipif(not decoding.FORKS, reason="here every picture's decoder is a process that is started for it")
def test_a_decoder_is_begun_beforehand_for_what_is_compressed_alone(tmp_path):
    decoding._decoder.end()
    for path in (save(dataset(), tmp_path / "plain", "explicit"), tmp_path / "nothing", tmp_path):
        decoding.begin_decoder(path)
    assert decoding._decoder._process is None
    path = save(dataset(), tmp_path / "film", "jpeg-2000")
    decoding.begin_decoder(path)
    begun = decoding._decoder._process
    assert np.array_equal(read_radiograph(path).pixels, STORED)
    assert decoding._decoder._process is begun


def test_sequences_nested_without_end_are_refused(tmp_path):
    path = save(dataset(), tmp_path / "film", "implicit")
    item = struct.pack("<HHI", 0x0040, 0x0275, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    path.write_bytes(path.read_bytes() + item * 20_000)
    with pytest.raises(Refusal):
        read_radiograph(path)


@pytest.mark.parametrize("data", [b"", None])
def test_a_table_without_entries_is_refused(read, data):
    item = lut(256, 0, 16, [7])
    item.LUTData = data
    item["LUTData"].VR = "OW"
    with pytest.raises(Refusal, match="damaged"):
        read(dataset(RescaleSlope=None, ModalityLUTSequence=[item]))


def test_truncated_pixels_are_refused_in_every_syntax(tmp_path):
    for syntax in SYNTAXES:
        ds = dataset()
        if syntax == "jpeg-baseline":
            ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
            ds.PixelData = np.rint(film() * 255).astype(np.uint8).tobytes()
        path = save(ds, tmp_path / "film", syntax)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * 0.7)])
        with pytest.raises(Refusal, match=r"damaged|incomplete"):
            read_radiograph(path)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"BitsAllocated": 32}, "no radiograph uses"),
        ({"SamplesPerPixel": 2}, "no radiograph uses"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "no radiograph uses"),
        ({"PixelData": None}, "no pixel data"),
        ({"Rows": None}, "holds no picture"),
        ({"Rows": 200}, "too small"),
        ({"Columns": 12000}, "beyond"),
        ({"Rows": 400}, "cut short"),
        ({"RescaleSlope": 0}, "no picture"),
        ({"RescaleSlope": 1e42}, "no picture"),
        ({"HighBit": 15}, "HighBit"),
    ],
)
def test_impossible_pixels_are_refused(read, tags, reason):
    ds = dataset(**tags)
    with pytest.raises(Refusal, match=reason):
        read(ds)


def test_a_constant_picture_is_refused(read):
    ds = dataset()
    ds.PixelData = np.full((ROWS, COLS), 7, np.uint16).tobytes()
    with pytest.raises(Refusal, match="one grey all over"):
        read(ds)


def test_a_compressed_frame_that_claims_another_size_is_refused_before_decoding(tmp_path):
    for syntax in ("jpeg-lossless", "jpeg-ls", "jpeg-2000"):
        path = save(dataset(), tmp_path / "film", syntax)
        content = path.read_bytes()
        frame = content.index(b"\xff\x4f\xff\x51" if syntax == "jpeg-2000" else b"\xff\xd8")
        assert compressed_size(content[frame:]) == (ROWS, COLS)
        width = 4 if syntax == "jpeg-2000" else 2
        was, huge = ROWS.to_bytes(width), (60000).to_bytes(width)
        at = content.index(was, frame)
        path.write_bytes(content[:at] + huge + content[at + len(huge) :])
        with pytest.raises(Refusal):
            read_radiograph(path)


def test_a_deflated_bomb_is_refused_without_unpacking_it(tmp_path):
    path = save(dataset(), tmp_path / "bomb", "deflated")
    content = path.read_bytes()
    meta = 132 + 12 + int.from_bytes(content[140:144], "little")
    squeezer = zlib.compressobj(9, wbits=-15)
    piece = squeezer.compress(bytes(1 << 24)) + squeezer.flush(zlib.Z_FULL_FLUSH)  # after which another may follow
    packed = 80 * piece + squeezer.flush()  # 1.3 GB
    path.write_bytes(content[:meta] + packed)
    with pytest.raises(Refusal, match="over 1 GB"):
        read_radiograph(path)
