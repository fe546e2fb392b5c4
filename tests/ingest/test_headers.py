"""What a header says, and what it leaves open."""

import numpy as np
import pytest
from pydicom.uid import EnhancedCTImageStorage

from hipseg.ingest.dicomfile import read_dataset
from hipseg.ingest.headers import HEADER_TAGS, OverlayName, has_place, is_localizer, parse_header
from hipseg.ingest.scan import scan_tree
from tests.ingest.builders import Plane, volume_hu, write_ct_series


def read(tmp_path, plane=None, **values):
    def change(dataset, _):
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    path = write_ct_series(tmp_path, volume_hu(1), overlays={0: [plane]} if plane else None, change=change)[0]
    return read_dataset(path, HEADER_TAGS, has_pixels=False), path


def parse(tmp_path, plane=None, **values):
    return parse_header(*read(tmp_path, plane, **values), "folder")


def test_values_are_plain(tmp_path):
    header = parse(tmp_path)
    assert (header.rows, header.columns, header.bits_allocated, header.samples) == (10, 12, 16, 1)
    assert header.position_mm == (-10.0, -20.0, 100.0)
    assert header.pixel_spacing_mm == (0.75, 0.5)
    assert (header.slope, header.intercept, header.padding) == (1.0, -1024.0, None)
    assert type(header.series_uid) is str
    assert not header.is_multiframe


def test_what_is_empty_is_none_and_no_guess(tmp_path):
    header = parse(tmp_path, RescaleSlope=None, ImagePositionPatient=None, PixelSpacing=None, SliceThickness=None)
    assert (header.slope, header.position_mm, header.pixel_spacing_mm, header.slice_thickness_mm) == (None,) * 4


@pytest.mark.parametrize("values", [{"NumberOfFrames": 2}, {"SOPClassUID": EnhancedCTImageStorage}])
def test_several_frames_are_seen_by_number_or_class(tmp_path, values):
    assert parse(tmp_path, **values).is_multiframe


@pytest.mark.parametrize(
    ("written", "is_hounsfield"),
    [
        ("HU", True),
        ("US", True),
        ("", True),
        ("hu ", True),
        ("Hounsfield Unit", True),
        ("unspecified", True),
        ("Z_EFF", False),
        ("HU_MOD", False),
    ],
)
def test_rescale_type_says_whether_values_are_hounsfield_units(tmp_path, written, is_hounsfield):
    assert parse(tmp_path, RescaleType=written).is_hounsfield == is_hounsfield


def test_a_padding_range_runs_from_its_lower_end(tmp_path):
    assert parse(tmp_path, PixelPaddingValue=-2000).padding == (-2000, -2000)
    assert parse(tmp_path, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-2048).padding == (-2048, -2000)


def test_overlays_are_named_without_their_bits(tmp_path):
    plane = Plane(np.ones((10, 12), bool), group=0x601E, label="bone", description="by hand")
    dataset, path = read(tmp_path, plane)
    assert parse_header(dataset, path, "").overlays == (OverlayName(0x601E, "bone", "by hand"),)
    assert 0x601E3000 not in dataset


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
@pytest.mark.parametrize("kept", [0x0010, 0x0011, 0x0050, 0x0100, 0x3000])
def test_an_overlay_group_is_one_by_any_of_its_elements(tmp_path, kept, syntax):
    def strip(dataset, _):
        for element in [one for one in dataset if one.tag.group == 0x6002 and one.tag.element != kept]:
            del dataset[element.tag]

    write_ct_series(tmp_path, volume_hu(1), overlays={0: [Plane(np.ones((10, 12), bool), 0x6002)]}, change=strip, syntax=syntax)
    (header,) = scan_tree(tmp_path).images
    assert header.overlays == (OverlayName(0x6002, "", ""),)


@pytest.mark.parametrize(
    ("kind", "expected"), [("AXIAL", False), ("LOCALIZER", True), ("ref_surview", True), ("CT_TOPOGRAM", True)]
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_localizers_are_told_by_image_type(tmp_path, kind, expected):
    assert is_localizer(read(tmp_path, ImageType=["ORIGINAL", "PRIMARY", kind])[0]) == expected


def test_a_place_needs_position_and_orientation(tmp_path):
    assert has_place(read(tmp_path)[0])
    assert not has_place(read(tmp_path, ImagePositionPatient=None)[0])
    assert not has_place(read(tmp_path, ImageOrientationPatient=None)[0])
