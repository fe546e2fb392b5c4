"""Pictures and outlines as the page carries them."""

import base64
import io

import numpy as np
from PIL import Image

from hipseg.report.outlines import PICTURE_SIDE, encode_case, encode_picture, trace_outline
from hipseg.views import CaseView, SliceView


def decode(address):
    head, _, text = address.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(text)))


def corners(path):
    assert path.startswith("M")
    assert path.endswith("Z")
    return {tuple(float(number) for number in point.split()) for point in path[1:-1].split("L")}


def test_an_empty_mask_has_no_outline():
    assert trace_outline(np.zeros((4, 4), bool), (1.0, 1.0)) == ""


def test_an_outline_runs_halfway_between_voxels_in_millimetres():
    mask = np.zeros((9, 9), bool)
    mask[2:6, 3:7] = True
    points = corners(trace_outline(mask, (2.0, 0.5)))
    # Rows 2 to 5 of 2 mm fill 4 to 12 mm, columns 3 to 6 of 0.5 mm fill 1.5 to 3.5 mm.
    assert (min(y for _, y in points), max(y for _, y in points)) == (4.0, 12.0)
    assert (min(x for x, _ in points), max(x for x, _ in points)) == (1.5, 3.5)


def test_an_outline_at_the_edge_of_the_picture_is_closed():
    points = corners(trace_outline(np.ones((2, 2), bool), (1.0, 1.0)))
    assert {min(points)[0], max(points)[0]} == {0.0, 2.0}


def test_structures_and_holes_have_an_outline_each():
    mask = np.ones((9, 9), bool)
    mask[4, 4] = False
    assert trace_outline(mask, (1.0, 1.0)).count("M") == 2


def test_a_large_picture_is_averaged_down_and_keeps_its_shape():
    picture = decode(encode_picture(np.full((300, 600), 128, np.uint8)))
    assert picture.size == (PICTURE_SIDE, PICTURE_SIDE // 2)
    assert abs(np.asarray(picture.convert("L")).mean() - 128) < 1


def test_a_case_starts_on_its_largest_slice():
    empty, full = np.zeros((4, 6), bool), np.ones((4, 6), bool)
    slices = tuple(SliceView(z, np.zeros((4, 6), np.uint8), truth, {"unet": full}) for z, truth in ((2, empty), (5, full)))
    value = encode_case(CaseView("c1", 9, (2.0, 0.5), slices))
    assert (value["case"], value["depth"], value["start"]) == ("c1", 9, 1)
    assert (value["width"], value["height"]) == (3.0, 8.0)
    assert value["slices"][0]["truth"] == ""
    assert value["slices"][0]["answers"]["unet"].startswith("M")
