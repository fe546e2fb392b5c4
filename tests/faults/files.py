"""Faults of files, and good files in awkward forms."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
    XRayRadiationDoseSRStorage,
)

from tests.faults.good import SLICES, Good, Truth, read_right, refused, warned
from tests.ingest.builders import Plane, cut, write_ct_series
from tests.ingest.enhanced_builder import write_enhanced


@refused(r"slice 3 of 6 by position: \d+ bytes of pixels, expected 240")
def pixels_cut(good: Good) -> None:
    cut(good.paths[2], -int(good.rng.integers(20, 200)))


@refused(r"slice 1 of 6 by position: 240 bytes of pixels, expected 120")
def columns_halved(good: Good) -> None:
    good.without_masks()
    good.set(Columns=6)


@refused(r"slice 3 of 6 by position: pixels \(7FE0,0010\) that are written as values of another kind than bytes")
def pixels_written_as_text(good: Good) -> None:
    raw = good.paths[2].read_bytes()
    place = raw.rindex(b"\xe0\x7f\x10\x00OW") + 4
    good.paths[2].write_bytes(raw[:place] + b"UT" + raw[place + 2 :])


@refused(r"damaged file in case")
def header_cut(good: Good) -> None:
    cut(good.paths[2], int(good.rng.integers(200, 400)))


@refused(r"damaged file in case .*1 of 6 files")
def last_slice_not_called_dicom_any_more(good: Good) -> None:
    content = bytearray(good.paths[5].read_bytes())
    content[128:132] = b"DIBM"
    good.paths[5].write_bytes(content)


@refused(r"damaged file in case .*1 of 6 files")
def last_slice_with_a_preamble_too_short(good: Good) -> None:
    good.paths[5].write_bytes(good.paths[5].read_bytes()[3:])


@refused(r"damaged file in case .*1 of 6 files")
def last_slice_without_prefix_and_first_element(good: Good) -> None:
    raw = good.paths[5].read_bytes()
    good.paths[5].write_bytes(raw[:128] + b"\xff" * 16 + raw[144:])


@refused(r"damaged file in case .*1 of 6 files")
def file_empty(good: Good) -> None:
    good.paths[5].write_bytes(b"")


@refused(r"incomplete series: 1 of 6 files beside each other begin with zeros alone, as a copy that broke off leaves them")
def last_slice_all_zeros(good: Good) -> None:
    good.paths[5].write_bytes(bytes(good.paths[5].stat().st_size))


@refused(r"incomplete series: 2 of 6 files beside each other are called like its slices and are no DICOM")
def last_slices_error_pages(good: Good) -> None:
    for path in good.paths[4:]:
        path.write_text("<html>503 Service Unavailable</html>")


@refused(r"incomplete series: 1 of 6 files beside each other are pointers of git-lfs or git-annex in the place of files")
def last_slice_a_pointer(good: Good) -> None:
    good.paths[5].write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d7a' * 16}\nsize 12345\n")


@refused(r"slice 1 of 6 by position: no pixels \(7FE0,0010\): the file breaks off before them, or holds others")
def pixels_missing(good: Good) -> None:
    good.drop("PixelData", slices=(0,))


@refused(r"slice 2 of 6 by position: pixels cannot be decoded \(RLE Lossless\)")
def pixels_of_rle_damaged(good: Good) -> None:
    good.edit(lambda dataset: dataset.compress(RLELossless))
    start = good.paths[1].read_bytes()
    place = start.index(b"\x02\0\0\0\x40\0\0\0")
    good.paths[1].write_bytes(start[:place] + b"\xff" * 16 + start[place + 16 :])


@refused(r"slice 4 of 6 by position: pixels cannot be decoded \(unknown transfer syntax\)")
def transfer_syntax_unknown(good: Good) -> None:
    good.edit(lambda dataset: setattr(dataset.file_meta, "TransferSyntaxUID", "1.2.3.4.5"), 3)


@read_right
def compressed_as_rle(good: Good) -> None:
    good.edit(lambda dataset: dataset.compress(RLELossless))


def _compress_as_jpeg(good: Good, spoil: Callable[[bytes], bytes] = bytes) -> None:
    """Compress all slices as lossless JPEG, and spoil the third one's frame."""
    for z in range(SLICES):
        dataset = dcmread(good.paths[z])
        frame = imagecodecs.jpeg8_encode(
            np.ascontiguousarray(dataset.pixel_array.view(np.uint16)), lossless=True, bitspersample=16
        )
        dataset.PixelData = encapsulate([spoil(frame) if z == 2 else frame])
        dataset["PixelData"].is_undefined_length, dataset["PixelData"].VR = True, "OB"
        dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        dataset.save_as(good.paths[z])


@read_right
def compressed_as_lossless_jpeg(good: Good) -> None:
    _compress_as_jpeg(good)


@refused(r"slice 3 of 6 by position: pixels cannot be decoded \(JPEG Lossless")
def lossless_jpeg_cut_and_ended(good: Good) -> None:
    _compress_as_jpeg(good, lambda frame: frame[: -len(frame) // 3] + b"\xff\xd9")


@refused(r"slice 3 of 6 by position: pixels cannot be decoded \(JPEG Lossless")
def lossless_jpeg_without_some_of_its_middle(good: Good) -> None:
    _compress_as_jpeg(good, lambda frame: frame[:-60] + frame[-40:])


def _write_as(good: Good, syntax: str) -> None:
    """Write the series once more, in another transfer syntax."""
    planes = {z: [Plane(good.labels[z] > 0)] for z in range(SLICES) if good.labels[z].any()}
    write_ct_series(good.folder, good.volume, overlays=planes, syntax=syntax)


@read_right
def implicit_vr(good: Good) -> None:
    _write_as(good, ImplicitVRLittleEndian)


@read_right
def big_endian(good: Good) -> None:
    _write_as(good, ExplicitVRBigEndian)

    def swap(dataset: Dataset) -> None:
        # Overlay Data are words of 16 bits, whose high byte comes first here.
        if 0x60003000 in dataset:
            dataset[0x60003000].value = np.frombuffer(dataset[0x60003000].value, "<u2").byteswap().tobytes()

    good.edit(swap)


@read_right
def deflated(good: Good) -> None:
    _write_as(good, DeflatedExplicitVRLittleEndian)


@refused(r"slice 1 of 6 by position: compressed pixels that break off")
def native_pixels_called_compressed(good: Good) -> None:
    def lie(path: Path) -> None:
        old, new = b"1.2.840.10008.1.2.1\0", JPEG2000Lossless.encode()
        raw = path.read_bytes()
        place = raw.index(old)
        head = raw[: place - 2] + struct.pack("<H", len(new) + len(new) % 2) + new + b"\0" * (len(new) % 2)
        group = raw.index(b"\x02\0\0\0UL\x04\0") + 8
        length = struct.unpack("<I", raw[group : group + 4])[0] + len(new) + len(new) % 2 - len(old)
        path.write_bytes(head[:group] + struct.pack("<I", length) + head[group + 4 :] + raw[place + len(old) :])

    for path in good.paths:
        lie(path)


@read_right
def preambles_missing(good: Good) -> None:
    for path in good.paths:
        path.write_bytes(path.read_bytes()[132:])


@read_right
def identifiers_empty(good: Good) -> None:
    good.set(PatientID="", SeriesInstanceUID="", StudyInstanceUID="")


@read_right
def localizer_and_report_beside(good: Good) -> None:
    report = {"Modality": "SR", "SeriesInstanceUID": "2.25.901", "SOPClassUID": XRayRadiationDoseSRStorage}
    for name, values in {"scout": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "dose": report}.items():
        dataset = dcmread(good.paths[0])
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        dataset.save_as(good.folder / name)


@read_right
def files_that_are_no_images_beside(good: Good) -> None:
    (good.folder / "notes.txt").write_text("nothing")
    (good.folder / "Thumbs.db").write_bytes(good.rng.bytes(300))
    (good.folder / "VERSION2").write_text("nothing")
    (good.folder / "image0001.jpg").write_bytes(good.rng.bytes(300))
    (good.folder / "preview.raw").write_bytes(bytes(300))


@read_right
def slices_written_from_head_to_foot(good: Good) -> None:
    for z in range(SLICES):
        good.set(z, InstanceNumber=SLICES - z)


@warned(r"one of 2 stacks of one series, each packed as a case of its own")
def two_passes_interleaved(good: Good) -> Truth:
    for z in range(SLICES):
        good.set(z, AcquisitionNumber=z % 2)
    return good.volume[::2], good.labels[::2]


@refused(r"multi-frame CT in case .*are no enhanced CT")
def several_frames_in_a_single_image(good: Good) -> None:
    good.set(2, NumberOfFrames=2)


def _replace_by_enhanced(good: Good, **options: object) -> Path:
    for path in good.paths:
        path.unlink()
    return write_enhanced(good.folder / "multi", good.volume, **options)


@read_right
def enhanced_in_mixed_order(good: Good) -> Truth:
    _replace_by_enhanced(good, order=(4, 1, 5, 0, 2, 3))
    return good.volume, None


@refused(r"enhanced CT that cannot be read in case .*not described one by one")
def enhanced_without_a_frame(good: Good) -> None:
    _replace_by_enhanced(good, change=lambda dataset: dataset.PerFrameFunctionalGroupsSequence.pop() and None)


@refused(r"slice 6 of 6 by position: frame 6 cannot be decoded")
def enhanced_cut(good: Good) -> None:
    cut(_replace_by_enhanced(good), -30)


@refused(r"slice 1 of 6 by position: 1920 bytes of pixels, expected 1440")
def enhanced_with_pixels_of_two_frames_more(good: Good) -> None:
    _replace_by_enhanced(good, change=lambda dataset: setattr(dataset, "PixelData", dataset.PixelData + bytes(480)))


@refused(r"slice gap in case .*1 slice missing")
def enhanced_with_a_slice_missing(good: Good) -> None:
    _replace_by_enhanced(good, order=(0, 1, 3, 4, 5))


@refused(r"giant images in case .*: 65535 x 65535 pixels, at most 16777216 are read; export them again")
def image_of_giant_size(good: Good) -> None:
    good.without_masks()
    good.set(Rows=65535, Columns=65535)


@refused(r"damaged file in case .*1 of 6 files beside each other are empty, break off inside the header or unpack too far")
def sequences_nested_without_end(good: Good) -> None:
    raw = good.paths[2].read_bytes()
    place = raw.index(b"\x10\x00\x20\x00LO")
    sequence, item = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff", b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    good.paths[2].write_bytes(raw[:place] + (sequence + item) * 20_000 + raw[place:])


@read_right
def another_series_in_the_folder(good: Good) -> None:
    other = write_ct_series(good.folder / "other", good.volume[::-1], series_uid="2.25.99999")
    for number, path in enumerate(other):
        path.rename(good.folder / f"other{number}")


def _write_beside(good: Good) -> list[Path]:
    """Write another series into the folder of the good one."""
    other = write_ct_series(good.folder / "other", good.volume[::-1], series_uid="2.25.99999", frame_uid="2.25.99998")
    return [path.rename(good.folder / f"other{number}") for number, path in enumerate(other)]


@refused(r"damaged file in case .*1 of [67] files")
def header_cut_beside_another_series(good: Good) -> None:
    _write_beside(good)
    cut(good.paths[5], 300)


@refused(r"incomplete series: 1 of 6 files .* are symbolic links, which are not followed")
def last_slice_a_link(good: Good) -> None:
    target = good.paths[5].rename(good.folder.parent / "slice")
    good.paths[5].symlink_to(target)


@refused(r"incomplete series: 1 of 6 files .* call themselves another kind of object")
def last_slice_of_another_modality(good: Good) -> None:
    good.set(5, Modality="MR")


@refused(r"incomplete series: 1 of 6 files .* call themselves another kind of object")
def last_slice_of_a_damaged_modality(good: Good) -> None:
    good.set(5, Modality="CX")


@read_right
def patient_empty_on_the_last_slices(good: Good) -> None:
    good.set(4, 5, PatientID="")


@refused(r"contradictory identifiers: 2 patients \(0010,0020\) under one series identifier")
def patient_of_the_last_slice_damaged(good: Good) -> None:
    good.set(5, PatientID="Secret^Qatient")


@refused(r"contradictory identifiers: 2 images without series identifier .* beside 4 of the same geometry")
def series_empty_on_the_last_slices(good: Good) -> None:
    good.set(4, 5, SeriesInstanceUID="")


@refused(r"contradictory identifiers: a single image .* in line with 5 beside it")
def series_of_the_last_slice_damaged(good: Good) -> None:
    good.set(5, SeriesInstanceUID="2.25.77003")


@warned(r"another series of the same study goes on right (above|below) it, with [24] slices in line with its own")
def series_of_the_last_slices_damaged(good: Good) -> Truth:
    good.set(4, 5, SeriesInstanceUID="2.25.77003")
    return good.volume[:4], good.labels[:4]


@refused(r"contradictory identifiers: its slices and those of another series .* lie in each other's gaps, 6 in one even line")
def series_of_slices_in_the_middle_damaged(good: Good) -> None:
    good.set(1, 4, SeriesInstanceUID="2.25.77003")


@refused(r"contradictory identifiers: 6 images, each alone in its series \(0020,000E\) or without one, lie one even step behind")
def series_of_its_own_for_every_slice(good: Good) -> None:
    for z in range(6):
        good.set(z, SeriesInstanceUID=f"2.25.8{z}", StudyInstanceUID=f"2.25.7{z}", FrameOfReferenceUID=f"2.25.6{z}", PatientID="")


@refused(r"contradictory identifiers: its images have no series identifier \(0020,000E\), and [24] others of another folder")
def identifiers_empty_and_slices_in_two_folders(good: Good) -> None:
    good.set(SeriesInstanceUID="", StudyInstanceUID="", FrameOfReferenceUID="", PatientID="")
    (good.folder / "rest").mkdir()
    for path in good.paths[4:]:
        path.rename(good.folder / "rest" / path.name)


@refused(r"incomplete series: 1 of 6 files beside each other are compressed files called DICOM .*; unpack them in their place")
def last_slice_compressed_by_another_program(good: Good) -> None:
    packed = good.paths[5].with_name("last.dcm.gz")
    packed.write_bytes(gzip.compress(good.paths[5].read_bytes()))
    good.paths[5].unlink()


@read_right
def empty_files_that_are_no_slices(good: Good) -> None:
    for name in ("notes.txt", "desktop.ini", "Icon\r", "_SUCCESS"):
        (good.folder / name).touch()


@read_right
def another_patient_in_the_trash(good: Good) -> None:
    write_ct_series(good.folder / ".Trash-1000" / "files", good.volume, patient_id="withdrawn", series_uid="2.25.5")
