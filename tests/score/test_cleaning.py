import numpy as np
import pytest
from scipy import ndimage
from skimage.segmentation import watershed

from hipseg.config import CleanSettings
from hipseg.score.cleaning import clean_mask, fill_holes, find_cores, remove_pieces, smooth_boundary

MM = (1.0, 1.0, 1.0)
NOTHING = {"smooth_mm": 0, "bridge_mm": 0, "min_piece_ml": 0, "max_hole_ml": 0}


def only(**changes):
    """Settings that do nothing but what is named."""
    return CleanSettings(**{**NOTHING, **changes})


def box(low, high, shape=(24, 24, 24)):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


LARGE, SMALL = box((2, 2, 2), (12, 12, 12)), box((16, 16, 16), (20, 20, 20))
"""Of 1 ml and of 0.064 ml, apart from each other, at 1 mm."""
TOUCHING = box((12, 12, 12), (14, 14, 14))
"""Of 8 voxels, with one corner at a corner of LARGE."""


def test_settings_of_zero_change_nothing():
    noise = np.random.default_rng(0).random((9, 11, 7)) < 0.4
    assert np.array_equal(clean_mask(noise, MM, only()), noise)


def test_a_mask_without_voxels_stays_so():
    assert not clean_mask(np.zeros((4, 5, 6), bool), MM, CleanSettings()).any()


def test_pieces_below_the_volume_are_removed():
    assert np.array_equal(remove_pieces(LARGE | SMALL, MM, only(min_piece_ml=0.1)), LARGE)
    assert np.array_equal(remove_pieces(LARGE | SMALL, MM, only(min_piece_ml=0.064)), LARGE | SMALL)


def test_the_volume_is_reckoned_with_the_spacing():
    # The same voxels are eight times as large at 2 mm: 0.512 ml.
    assert np.array_equal(remove_pieces(LARGE | SMALL, (2.0, 2.0, 2.0), only(min_piece_ml=0.5)), LARGE | SMALL)


def test_the_largest_piece_stays_however_small_it_is():
    assert np.array_equal(remove_pieces(LARGE | SMALL, MM, only(min_piece_ml=50)), LARGE)


@pytest.mark.parametrize(("connectivity", "stays"), [(6, False), (18, False), (26, True)])
def test_a_shared_corner_joins_pieces_where_the_connectivity_says_so(connectivity, stays):
    settings = only(min_piece_ml=0.1, connectivity=connectivity)
    assert np.array_equal(remove_pieces(LARGE | TOUCHING, MM, settings), LARGE | TOUCHING if stays else LARGE)


def test_a_thin_bridge_does_not_save_a_small_piece():
    bridge = box((6, 6, 12), (8, 8, 16))
    speck = box((5, 5, 16), (9, 9, 20))
    whole = LARGE | bridge | speck
    assert np.array_equal(remove_pieces(whole, MM, only(min_piece_ml=0.1)), whole)
    cut = remove_pieces(whole, MM, only(min_piece_ml=0.1, bridge_mm=2))
    assert not (cut & speck).any()
    assert (cut & LARGE).sum() == LARGE.sum()
    assert not (cut & ~whole).any()


def test_a_bridge_thicker_than_the_setting_holds():
    whole = LARGE | box((5, 5, 12), (9, 9, 16)) | box((5, 5, 16), (9, 9, 20))
    assert np.array_equal(remove_pieces(whole, MM, only(min_piece_ml=0.1, bridge_mm=2)), whole)


def test_cutting_alone_removes_nothing_of_what_is_thin():
    fin = box((6, 6, 12), (8, 8, 22))
    alone = box((20, 2, 2), (21, 3, 22))
    whole = LARGE | fin | alone
    assert np.array_equal(remove_pieces(whole, MM, only(bridge_mm=3)), whole)


def test_a_thin_piece_is_sized_by_itself():
    alone = box((20, 2, 2), (21, 3, 22))
    assert np.array_equal(remove_pieces(LARGE | alone, MM, only(bridge_mm=3, min_piece_ml=0.1)), LARGE)


def test_a_mask_that_fills_the_image_has_no_bridge():
    full = np.ones((3, 3, 3), bool)
    assert np.array_equal(remove_pieces(full, MM, only(bridge_mm=2, min_piece_ml=1)), full)


def test_cavities_up_to_the_volume_are_filled():
    hollow = LARGE & ~box((5, 5, 5), (7, 7, 7))
    assert np.array_equal(fill_holes(hollow, 8, 6), LARGE)
    assert np.array_equal(fill_holes(hollow, 7, 6), hollow)


def test_a_cavity_that_opens_to_the_image_s_edge_is_none():
    shape = (6, 6, 6)
    hollow = np.ones(shape, bool) & ~box((0, 2, 2), (2, 4, 4), shape)
    assert np.array_equal(fill_holes(hollow, 100, 6), hollow)


def test_a_cavity_is_closed_by_what_the_mask_s_own_connectivity_closes():
    # An octahedron of six voxels that meet at edges only encloses its centre for 18 neighbours, and lets it out for 6.
    shell = np.zeros((5, 5, 5), bool)
    for axis in range(3):
        for end in (1, 3):
            shell[tuple(end if axis == other else 2 for other in range(3))] = True
    whole = shell.copy()
    whole[2, 2, 2] = True
    assert np.array_equal(clean_mask(shell, MM, only(max_hole_ml=1, connectivity=18)), whole)
    assert np.array_equal(clean_mask(shell, MM, only(max_hole_ml=1, connectivity=6)), shell)


def test_smoothing_takes_a_spike_off_and_leaves_planes_where_they_are():
    spiky = LARGE.copy()
    spiky[7, 7, 12:15] = True
    smooth = smooth_boundary(spiky, MM, 1.0)
    assert not smooth[7, 7, 13:].any()
    assert np.array_equal(smooth[6:8, 6:8, 2:12], LARGE[6:8, 6:8, 2:12])
    assert np.array_equal(smooth[4:10, 4:10, 1:13], LARGE[4:10, 4:10, 1:13])


def test_smoothing_is_in_millimetres():
    # Two voxels along z are 6 mm, along x 1 mm: only there they are thin for a Gaussian of 1 mm.
    sheet_z, sheet_x = box((10, 0, 0), (12, 24, 24)), box((0, 0, 10), (24, 24, 12))
    spacing = (3.0, 1.0, 0.5)
    assert np.array_equal(smooth_boundary(sheet_z, spacing, 1.0), sheet_z)
    assert not smooth_boundary(sheet_x, spacing, 1.0).any()


def test_smoothing_does_not_round_off_where_the_image_ends():
    cut = box((0, 0, 0), (24, 24, 10))
    assert np.array_equal(clean_mask(cut, MM, only(smooth_mm=1.0)), cut)


def test_all_steps_follow_each_other():
    whole = (LARGE & ~box((6, 6, 6), (8, 8, 8))) | SMALL
    assert np.array_equal(clean_mask(whole, MM, CleanSettings(min_piece_ml=0.5)), LARGE)


@pytest.mark.parametrize("bridge_mm", [0.7, 1.4, 2.0, 4.2, 90.0])
def test_cores_are_those_of_the_distance_transform(bridge_mm):
    spacing, random = (1.5, 0.7, 0.7), np.random.default_rng(3)
    for _ in range(5):
        mask = ndimage.gaussian_filter(random.random((9, 21, 19)), 1.2) > 0.5
        depth_mm = ndimage.distance_transform_edt(mask, spacing)
        assert np.array_equal(find_cores(mask, spacing, bridge_mm), 2 * depth_mm > bridge_mm)
        assert mask.any()


@pytest.mark.parametrize("changes", [{}, {"bridge_mm": 2.0}, {"bridge_mm": 1.4, "connectivity": 6, "min_piece_ml": 0.002}])
def test_cleaning_within_a_box_is_cleaning_of_the_whole(changes):
    """What each step says of itself, written down plainly and without a box, on a blob among specks far from the edges."""
    settings, spacing = CleanSettings(**{"min_piece_ml": 0.01, "max_hole_ml": 0.005, **changes}), (1.5, 0.7, 0.7)
    random = np.random.default_rng(5)
    for _ in range(3):
        mask = np.pad(ndimage.gaussian_filter(random.random((8, 20, 22)), 1.0) > 0.52, ((7, 6), (9, 8), (9, 9)))
        cleaned = clean_mask(mask, spacing, settings)
        assert np.array_equal(cleaned, clean_plainly(mask, spacing, settings))
        assert cleaned.any()
        assert not np.array_equal(cleaned, mask)


def clean_plainly(mask, spacing, settings):
    near = {n: ndimage.generate_binary_structure(3, rank) for rank, n in ((1, 6), (2, 18), (3, 26))}
    mine, others = near[settings.connectivity], near[{6: 26, 18: 6, 26: 6}[settings.connectivity]]
    voxel_ml = np.prod(spacing) / 1000
    smooth = ndimage.gaussian_filter(mask.astype(np.float32), [settings.smooth_mm / mm for mm in spacing], mode="nearest") > 0.5
    if settings.bridge_mm:
        cores = ndimage.label(2 * ndimage.distance_transform_edt(smooth, spacing) > settings.bridge_mm, mine)[0]
        pieces = watershed(np.zeros(mask.shape, np.uint8), cores, connectivity=mine, mask=smooth)
        thin = ndimage.label(smooth & (pieces == 0), mine)[0]
        pieces[thin > 0] = thin[thin > 0] + pieces.max()
    else:
        pieces = ndimage.label(smooth, mine)[0]
    sizes = {number: np.sum(pieces == number) for number in range(1, pieces.max() + 1)}
    limit = min(settings.min_piece_ml / voxel_ml, max(sizes.values()))
    kept = np.isin(pieces, [number for number, size in sizes.items() if size >= limit])
    holes, count = ndimage.label(~kept, others)
    outside = holes[0, 0, 0]
    for number in range(1, count + 1):
        if number != outside and np.sum(holes == number) <= settings.max_hole_ml / voxel_ml:
            kept |= holes == number
    return kept


def test_the_mask_given_is_not_changed():
    whole = LARGE | SMALL
    before = whole.copy()
    clean_mask(whole, MM, CleanSettings())
    assert np.array_equal(whole, before)
