"""Masks joined into labels: union within a label, a rule between labels, and a count over the whole case."""

import numpy as np
import pytest

from hipseg.errors import MaskError
from hipseg.ingest.joining import join_layers

SHAPE = (3, 2, 4)
LEFT = np.array([[1, 1, 0, 0], [1, 1, 0, 0]], bool)
MIDDLE = np.array([[0, 1, 1, 0], [0, 0, 0, 0]], bool)


def layer(label, mask, slices=(0, 2)):
    return label, lambda z: mask if z in slices else None


def test_nothing_to_join_is_background():
    assert not join_layers((), SHAPE, "refuse")(1).any()


def test_masks_of_one_label_are_united():
    assert join_layers([layer(5, LEFT), layer(5, MIDDLE)], SHAPE, "refuse")(0).tolist() == [[5, 5, 5, 0], [5, 5, 0, 0]]


@pytest.mark.parametrize(("order", "expected"), [((0, 1), [1, 1, 2, 0]), ((1, 0), [1, 2, 2, 0])])
def test_the_first_layer_keeps_what_several_claim(order, expected):
    layers = [layer(1, LEFT), layer(2, MIDDLE)]
    assert join_layers([layers[n] for n in order], SHAPE, "first")(2)[0].tolist() == expected


def test_a_third_layer_is_held_against_both_before_it():
    corner = np.array([[1, 0, 1, 1], [0, 0, 0, 1]], bool)
    layers = [layer(1, LEFT), layer(2, MIDDLE), layer(3, corner)]
    assert join_layers(layers, SHAPE, "first")(0).tolist() == [[1, 1, 2, 3], [1, 1, 0, 3]]
    with pytest.raises(MaskError, match=r"6 voxels on 2 of 3 slices"):
        join_layers(layers, SHAPE, "refuse")(0)


def test_masks_are_left_as_they_are_and_labels_lie_in_rows_whatever_order_a_mask_has():
    mask = np.asfortranarray(LEFT)
    labels = join_layers([layer(1, mask), layer(2, ~LEFT)], SHAPE, "refuse")(0)
    assert labels.tolist() == [[1, 1, 2, 2], [1, 1, 2, 2]]
    assert labels.flags.c_contiguous
    assert np.array_equal(mask, LEFT)


def test_a_refusal_counts_every_slice_and_not_the_first_alone():
    read = join_layers([layer(1, LEFT), layer(2, MIDDLE), layer(3, MIDDLE, (2,))], SHAPE, "refuse")
    assert not read(1).any()
    # One pixel on the first slice; on the third, that one and the other of the two masks in the middle.
    with pytest.raises(MaskError, match=r"3 voxels on 2 of 3 slices of the case lie in structures of two labels"):
        read(0)
