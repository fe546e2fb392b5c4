import numpy as np

from hipseg.score.space import find_box


def mask_at(*voxels):
    mask = np.zeros((4, 6, 8), bool)
    for voxel in voxels:
        mask[voxel] = True
    return mask


def test_the_box_holds_every_mask_and_no_more():
    assert find_box([mask_at((1, 2, 3)), mask_at((2, 2, 6))]) == (slice(1, 3), slice(2, 3), slice(3, 7))


def test_a_margin_is_cut_off_where_the_image_ends():
    mask = mask_at((1, 2, 6))
    box = find_box([mask], (1, 3, 4))
    assert mask[box].shape == (3, 6, 6)
    assert np.argwhere(mask[box]).tolist() == [[1, 2, 4]]


def test_the_box_of_empty_masks_has_no_extent():
    assert find_box([mask_at(), mask_at()], (2, 2, 2)) == (slice(0, 0),) * 3
