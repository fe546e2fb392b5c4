"""Compressed frames: every compression gives back what was put in, and a frame that is not what the header says is refused."""

import struct
import threading
import time

import imagecodecs
import numpy as np
import pytest
from pydicom.uid import UID

from hipseg.errors import SeriesError
from hipseg.ingest.compressed import DECODERS, MAX_FRAME_PIXELS, PixelFormat, decode_frame

PREFIX = "1.2.840.10008.1.2."
JPEG_LOSSLESS, JPEG_LS, JPEG_2000, HTJ2K, RLE = (PREFIX + end for end in ("4.70", "4.80", "4.90", "4.201", "5"))
SHAPE = (20, 24)


def noise(bits=16, is_signed=False, shape=SHAPE):
    low, high = (-(1 << bits - 1), 1 << bits - 1) if is_signed else (0, 1 << bits)
    return np.random.default_rng(3).integers(low, high, shape).astype(np.int16 if is_signed else np.uint16)


def encode_rle(stored):
    """Code each byte plane as literal runs, high bytes first. Source: DICOM PS3.5 G."""
    planes = [(stored.view(np.uint16) >> shift).astype(np.uint8).tobytes() for shift in (8, 0)]
    segments = []
    for plane in planes:
        runs = (plane[at : at + 128] for at in range(0, len(plane), 128))
        segment = b"".join(bytes([len(run) - 1]) + run for run in runs)
        segments.append(segment + b"\0" * (len(segment) % 2))
    return struct.pack("<16L", 2, 64, 64 + len(segments[0]), *[0] * 13) + b"".join(segments)


ENCODERS = {
    JPEG_LOSSLESS: lambda stored: imagecodecs.jpeg8_encode(stored.view(np.uint16), lossless=True, bitspersample=16),
    JPEG_LS: lambda stored: imagecodecs.jpegls_encode(stored.view(np.uint16)),
    JPEG_2000: lambda stored: imagecodecs.jpeg2k_encode(stored, codecformat="j2k", reversible=True, level=0),
    HTJ2K: lambda stored: imagecodecs.htj2k_encode(stored, reversible=True),
    RLE: encode_rle,
}


def layout(bits=16, is_signed=False, shape=SHAPE, allocated=16):
    return PixelFormat(shape, allocated, bits, is_signed)


@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("syntax", ENCODERS)
def test_what_is_coded_without_loss_comes_back(syntax, is_signed):
    stored = noise(is_signed=is_signed)
    found = decode_frame(ENCODERS[syntax](stored), syntax, layout(is_signed=is_signed))
    assert np.array_equal(found, stored)


@pytest.mark.parametrize("syntax", [JPEG_LOSSLESS, JPEG_LS, RLE])
def test_signed_bits_that_are_not_extended_get_their_sign(syntax):
    stored = noise(bits=12, is_signed=True)
    found = decode_frame(ENCODERS[syntax](stored & 0x0FFF), syntax, layout(12, is_signed=True))
    assert np.array_equal(found, stored)


@pytest.mark.parametrize("syntax", ENCODERS)
def test_signed_bits_that_are_extended_to_those_allocated_get_their_sign(syntax):
    stored = noise().astype(np.int16) % 4096 - 2048
    assert stored.min() < 0
    found = decode_frame(ENCODERS[syntax](stored.view(np.uint16)), syntax, layout(12, is_signed=True))
    assert np.array_equal(found, stored)


@pytest.mark.parametrize("syntax", ENCODERS)
@pytest.mark.parametrize("wrong", [-2049, 2048])
def test_extended_values_beyond_the_bits_stored_are_refused(syntax, wrong):
    stored = np.full(SHAPE, -5, np.int16)
    stored[1, 1] = wrong
    with pytest.raises(SeriesError, match=r"which 12 signed bits stored .* do not hold"):
        decode_frame(ENCODERS[syntax](stored.view(np.uint16)), syntax, layout(12, is_signed=True))


def test_jpeg_2000_inside_a_file_of_boxes_is_found():
    stored = noise()
    frame = imagecodecs.jpeg2k_encode(stored, codecformat="jp2", reversible=True, level=0)
    assert frame[4:8] == b"jP  "
    assert np.array_equal(decode_frame(frame, JPEG_2000, layout()), stored)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.full(SHAPE, 0x1000, np.uint16), layout(12)),
        (np.full(SHAPE, -1, np.int16), layout(16)),
        (np.full(SHAPE, -2049, np.int16), layout(12, is_signed=True)),
    ],
)
def test_values_that_the_bits_stored_do_not_hold_are_refused(stored, expected):
    with pytest.raises(SeriesError, match=r"which \d+ (un)?signed bits stored .* do not hold"):
        decode_frame(ENCODERS[JPEG_2000](stored), JPEG_2000, expected)


@pytest.mark.parametrize("syntax", ENCODERS)
@pytest.mark.parametrize("part", [0, 0.01, 0.3, 0.9])
def test_a_frame_that_breaks_off_is_refused(syntax, part):
    frame = ENCODERS[syntax](noise())
    with pytest.raises(SeriesError, match="cannot be decoded"):
        decode_frame(frame[: int(len(frame) * part)], syntax, layout())


def hill(shape=(64, 64)):
    """Give an image that codes to about seven bits a pixel, as a CT does."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    noise_hu = np.random.default_rng(5).normal(0, 12, shape)
    return np.clip(1000 + 300 * np.sin(x / 9) + 200 * np.cos(y / 7) + noise_hu, 0, 4095).astype(np.uint16)


def encode_lossless(stored, predictor=1):
    return imagecodecs.jpeg8_encode(stored, lossless=True, bitspersample=16, predictor=predictor)


EOI = b"\xff\xd9"
DAMAGE = {
    "second half cut off": lambda frame, at: frame[:at] + EOI,
    "one byte lost": lambda frame, at: frame[: at + 1] + frame[at + 2 :],
    "40 bytes lost": lambda frame, at: frame[:at] + frame[at + 40 :],
    "40 bytes twice": lambda frame, at: frame[:at] + frame[at - 40 :],
    "another end in the middle": lambda frame, at: frame[:at] + EOI + frame[at:],
}


@pytest.mark.parametrize("predictor", [1, 4, 7])
@pytest.mark.parametrize("name", DAMAGE)
def test_lossless_jpeg_with_too_few_or_too_many_codes_is_refused(name, predictor):
    frame = encode_lossless(hill(), predictor)
    assert np.array_equal(decode_frame(frame, JPEG_LOSSLESS, layout(12, shape=(64, 64))), hill())
    with pytest.raises(SeriesError, match=r"cannot be decoded \(JPEG Lossless"):
        decode_frame(DAMAGE[name](frame, len(frame) // 2), JPEG_LOSSLESS, layout(12, shape=(64, 64)))


def test_lossy_jpeg_with_too_few_codes_is_refused():
    frame = imagecodecs.jpeg8_encode((hill() >> 4).astype(np.uint8), level=95)
    expected = layout(8, shape=(64, 64), allocated=8)
    assert decode_frame(frame, PREFIX + "4.50", expected).shape == (64, 64)
    with pytest.raises(SeriesError, match=r"cannot be decoded \(JPEG Baseline"):
        decode_frame(frame[: len(frame) // 2] + EOI, PREFIX + "4.50", expected)


@pytest.mark.parametrize(
    "stored",
    [
        np.full((8, 8), 1 << 15, np.uint16),
        np.full((8, 8), 24, np.uint16),
        np.arange(64, dtype=np.uint16).reshape(8, 8) // 63,
        np.random.default_rng(0).integers(0, 4096, (1, 1)).astype(np.uint16),
        np.random.default_rng(1).integers(0, 2, (3, 5)).astype(np.uint16),
    ],
)
@pytest.mark.parametrize("ending", [b"", b"\xff", b"\xff\xff", b"\x00"])
def test_good_lossless_jpeg_is_taken_whatever_its_pixels_and_padding(stored, ending):
    """Fill bytes may stand before a marker, and some encoders fill up to whole words. Source: ISO/IEC 10918-1 B.1.1.2."""
    frame = encode_lossless(stored)
    assert np.array_equal(decode_frame(frame[:-2] + ending + EOI, JPEG_LOSSLESS, layout(shape=stored.shape)), stored)


@pytest.mark.parametrize("seed", range(40))
def test_good_lossless_jpeg_is_taken_whatever_its_last_bits(seed):
    shape = (5 + seed % 7, 6 + seed % 5)
    stored = np.random.default_rng(seed).integers(0, 1 << 1 + seed % 16, shape).astype(np.uint16)
    assert np.array_equal(decode_frame(encode_lossless(stored), JPEG_LOSSLESS, layout(shape=shape)), stored)


@pytest.mark.parametrize("syntax", ENCODERS)
def test_a_frame_of_another_shape_than_announced_is_refused(syntax):
    with pytest.raises(SeriesError, match=r"cannot be decoded|20 x 24, the header says 24 x 20"):
        decode_frame(ENCODERS[syntax](noise()), syntax, layout(shape=(24, 20)) if syntax != RLE else layout(shape=(19, 24)))


@pytest.mark.parametrize("syntax", [JPEG_2000, JPEG_LS, JPEG_LOSSLESS])
def test_a_frame_that_announces_a_giant_image_is_refused_before_it_is_decoded(syntax, monkeypatch):
    frame = bytearray(ENCODERS[syntax](noise(shape=(8, 8))))
    if syntax == JPEG_2000:
        frame[8:16] = struct.pack(">LL", 60000, 60000)
    else:
        start = next(at for at in range(len(frame)) if frame[at] == 0xFF and frame[at + 1] in (0xC3, 0xF7))
        frame[start + 5 : start + 9] = struct.pack(">HH", 60000, 60000)
    for name in ("jpeg2k_decode", "jpegls_decode", "jpeg8_decode"):
        monkeypatch.setattr(imagecodecs, name, lambda *_: pytest.fail("decoded"))
    with pytest.raises(SeriesError, match=f"60000 x 60000, the header says 60000 x 60000; .* at most {MAX_FRAME_PIXELS} pixels"):
        decode_frame(bytes(frame), syntax, layout(shape=(60000, 60000)))


def test_run_lengths_that_unpack_to_more_than_the_image_are_refused():
    bomb = struct.pack("<16L", 2, 64, 64 + 20_000, *[0] * 13) + b"\x81\0" * 20_000
    with pytest.raises(SeriesError, match="cannot be decoded"):
        decode_frame(bomb, RLE, layout())


def test_runs_of_another_number_of_planes_are_refused():
    frame = bytearray(encode_rle(noise()))
    frame[0] = 1
    with pytest.raises(SeriesError, match="cannot be decoded"):
        decode_frame(bytes(frame), RLE, layout())


def test_colours_are_refused():
    frame = imagecodecs.jpeg8_encode(np.zeros((*SHAPE, 3), np.uint8))
    with pytest.raises(SeriesError, match=r"shape \(20, 24, 3\)"):
        decode_frame(frame, PREFIX + "4.50", layout(8, allocated=8))


def test_more_planes_of_runs_than_the_header_has_bytes_are_refused():
    """Two planes of half the pixels unpack to as many bytes as one of all."""
    frame = encode_rle(noise(shape=(10, 24)))
    with pytest.raises(SeriesError, match="cannot be decoded"):
        decode_frame(frame, RLE, layout(8, allocated=8))


@pytest.mark.parametrize("syntax", [JPEG_LOSSLESS, JPEG_LS])
def test_other_bytes_behind_the_end_of_a_jpeg_are_refused(syntax):
    frame = ENCODERS[syntax](noise())
    assert np.array_equal(decode_frame(frame + b"\0", syntax, layout()), noise())
    for rest in (b"\1", b"\0\1", frame[-9:-2]):
        with pytest.raises(SeriesError, match="cannot be decoded"):
            decode_frame(frame + rest, syntax, layout())


def test_a_good_lossless_jpeg_whose_codes_end_near_a_byte_255_is_taken():
    stored = np.random.default_rng(651).integers(0, 4096, (4, 4)).astype(np.uint16)
    frame = encode_lossless(stored)
    assert frame[-5:-3] == b"\xff\0"
    assert np.array_equal(decode_frame(frame, JPEG_LOSSLESS, layout(12, shape=(4, 4))), stored)


def test_boxes_without_an_end_are_refused():
    for box in (b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\0free", b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x08free" * 3):
        with pytest.raises(SeriesError, match="cannot be decoded"):
            decode_frame(box, JPEG_2000, layout())


def test_every_compression_is_named_by_the_standard():
    assert len(DECODERS) == 14
    assert all(UID(syntax).is_compressed and UID(syntax).name != syntax for syntax in DECODERS)


def test_other_threads_run_while_a_frame_is_decoded():
    frame = ENCODERS[JPEG_2000](noise(shape=(1024, 1024)))
    ticks, is_done = [], threading.Event()

    def tick():
        while not is_done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.perf_counter()
    decode_frame(frame, JPEG_2000, layout(shape=(1024, 1024)))
    end = time.perf_counter()
    is_done.set()
    thread.join()
    assert sum(start < one < end for one in ticks) >= 3
