"""Segments of an NRRD header: each has voxels of its own, or the file is refused."""

import nrrd
import numpy as np
import pytest

from hipseg.errors import MaskError
from hipseg.geometry import affine_lps, make_grid
from hipseg.ingest.cases import find_cases, open_case
from hipseg.ingest.nrrdsegments import NrrdSegment, parse_segments
from tests.ingest.builders import volume_hu, write_ct_series

WHAT = "an NRRD mask"


def listed(*segments):
    """Write segments, each (name, value, layer) with None for what is not said, as the fields of a header."""
    fields = {}
    for number, (name, value, layer) in enumerate(segments):
        said = {"Name": name, "LabelValue": value, "Layer": layer}
        fields |= {f"Segment{number}_{key}": str(one) for key, one in said.items() if one is not None}
    return fields


def test_a_layer_a_segment_without_a_word_of_it_is_what_older_files_have():
    segments = parse_segments(listed(("femur", None, None), ("pelvis", None, None)), 2, WHAT)
    assert segments == (NrrdSegment("femur", None, 0), NrrdSegment("pelvis", None, 1))
    assert parse_segments(listed(("femur", 3, None), ("pelvis", 4, None)), 2, WHAT)[1] == NrrdSegment("pelvis", 4, 1)


def test_segments_counted_from_one_are_found():
    fields = {"Segment1_Name": "femur", "Segment1_LabelValue": "1", "Segment2_ID": " pelvis ", "Segment2_LabelValue": "2"}
    assert parse_segments(fields, 1, WHAT) == (NrrdSegment("femur", 1, 0), NrrdSegment("pelvis", 2, 0))
    assert parse_segments({"Segment1_Extent": "0 1 0 1 0 1"}, 1, WHAT) == ()


def test_a_single_segment_without_value_is_all_above_zero():
    assert parse_segments(listed(("femur", None, None)), 1, WHAT) == (NrrdSegment("femur", None, 0),)


@pytest.mark.parametrize(
    ("segments", "layers", "words"),
    [
        ([("a", None, None), ("b", None, None)], 1, "lists 2 segments in one layer and does not say which value segment 0 has"),
        ([("a", 1, 0), ("b", None, 0)], 2, "does not say which value segment 1 has"),
        ([("a", 2, 0), ("b", 2, 0)], 2, "lists 2 segments with value 2 in layer 0, segment 0 is one"),
        ([("a", 1, None), ("b", 2, None)], 3, "has 3 layers, and says of 0 of its 2 segments in which they lie"),
        ([("a", 1, None), ("b", 2, 1)], 2, "has 2 layers, and says of 1 of its 2 segments in which they lie"),
        ([("a", 300, 0)], 1, "segment 0 with value 300 in layer 0; values 1 to 255"),
        ([], 2, "has 2 layers and lists no segments, so that nothing says what they are; save one a file"),
    ],
)
def test_segments_whose_voxels_are_open_are_refused(segments, layers, words):
    with pytest.raises(MaskError, match=words):
        parse_segments(listed(*segments), layers, WHAT)


@pytest.fixture
def layered(tmp_path):
    """Write a series with an NRRD of two layers, 24 voxels of femur and 40 of pelvis, and what its header says."""
    write_ct_series(tmp_path / "ct", volume_hu(6))
    femur, pelvis = np.zeros((2, 6, 10, 12), np.uint8)
    femur[1:3, 2:5, 2:6] = 1
    pelvis[3:5, 5:9, 6:11] = 1
    affine = affine_lps(make_grid((6, 10, 12), (3.0, 0.75, 0.5), (-10.0, -20.0, 100.0), np.eye(3)))

    def write(**more):
        fields = {"space": "left-posterior-superior", "space origin": affine[:3, 3], "kinds": ["list", *["domain"] * 3], **more}
        fields["space directions"] = np.vstack([np.full(3, np.nan), affine[:3, :3].T])
        nrrd.write(str(tmp_path / "ct" / "m.seg.nrrd"), np.stack([femur.T, pelvis.T]), fields)
        (source,) = find_cases(tmp_path).cases
        return source, femur, pelvis

    return write


def test_each_segment_of_an_older_file_gets_its_own_voxels(layered):
    source, femur, pelvis = layered(**listed(("femur", None, None), ("pelvis", None, None)))
    alone = np.stack([labels for _, labels in open_case(source, "c0", {"pelvis": 1}).slices])
    assert np.array_equal(alone, pelvis)
    both = np.stack([labels for _, labels in open_case(source, "c0", {"femur": 1, "pelvis": 2}).slices])
    assert np.array_equal(both, femur + 2 * pelvis)


def test_layers_that_nothing_names_are_refused(layered):
    source, *_ = layered()
    for rois in ({}, {"m": 1}, {"m:1": 1}):
        with pytest.raises(MaskError, match="mask of case c0: an NRRD mask has 2 layers and lists no segments"):
            open_case(source, "c0", rois)


def test_a_label_whose_segment_may_lie_in_a_file_that_cannot_be_read_refuses_the_case(layered):
    source, *_ = layered(**listed(("femur", None, None), ("pelvis", None, None)))
    (source.nrrds[0].path.parent / "n.seg.nrrd").write_bytes(b"NRRD0004\ntype: uchar\n")
    (source,) = find_cases(source.nrrds[0].path.parents[1]).cases
    with pytest.raises(MaskError, match="mask of case c0: an NRRD mask has a damaged header"):
        open_case(source, "c0", {"femur": 1, "muscle": 2})
    assert open_case(source, "c0", {"femur": 1, "pelvis": 2}).warnings == ()
