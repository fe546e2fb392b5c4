import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hipseg.config import FeedSettings
from hipseg.errors import ConfigError
from hipseg.fit import SliceFit, fit_image, fit_labels, plan_fit, unfit_probabilities
from hipseg.geometry import make_grid
from hipseg.labels import AIR_HU

PAD = FeedSettings(input_side=256)


def grid_of(ny, nx, dy=1.0, dx=1.0):
    return make_grid((3, ny, nx), (2.5, dy, dx), (0, 0, 0), np.eye(3))


def test_padding_is_air_around_a_centred_slice():
    fit = SliceFit((2, 3), (2, 3), side=6)
    image = np.array([[1, 2, 3], [4, 5, 6]], np.int16)
    fitted = fit_image(image, fit)
    assert fitted.dtype == np.int16
    assert fitted.tolist() == [
        [AIR_HU] * 6,
        [AIR_HU] * 6,
        [AIR_HU, 1, 2, 3, AIR_HU, AIR_HU],
        [AIR_HU, 4, 5, 6, AIR_HU, AIR_HU],
        [AIR_HU] * 6,
        [AIR_HU] * 6,
    ]


def test_labels_are_padded_with_background():
    fitted = fit_labels(np.full((2, 2), 7, np.uint8), SliceFit((2, 2), (2, 2), side=4))
    assert fitted.tolist() == [[0, 0, 0, 0], [0, 7, 7, 0], [0, 7, 7, 0], [0, 0, 0, 0]]


@given(ny=st.integers(1, 16), nx=st.integers(1, 16), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_padding_comes_off_exactly(ny, nx, seed):
    values = np.random.default_rng(seed).random((ny, nx)).astype(np.float32)
    fit = SliceFit((ny, nx), (ny, nx), side=16)
    padded = np.zeros((16, 16), np.float32)
    padded[fit.window] = values
    assert np.array_equal(unfit_probabilities(padded, fit), values)


def test_common_spacing_changes_the_matrix_by_the_ratio_of_the_spacings():
    feed = FeedSettings(input_side=256, fit="resample", spacing_mm=2.0)
    assert plan_fit("c1", grid_of(400, 300, 1.0, 0.5), feed) == SliceFit((400, 300), (200, 75), 256)


def test_same_spacing_leaves_slices_as_they_are():
    feed = FeedSettings(input_side=256, fit="resample", spacing_mm=1.0)
    assert not plan_fit("c1", grid_of(200, 100), feed).is_resampled


def test_halving_a_ramp_averages_neighbours():
    # Pixels 0 and 1, of 10 and 20 HU, cover the same length as one pixel of double spacing: its centre lies between theirs.
    image = np.array([[10, 20, 30, 40], [10, 20, 30, 40]], np.int16)
    fitted = fit_image(image, SliceFit((2, 4), (1, 2), side=2))
    assert fitted.tolist() == [[15, 35], [AIR_HU, AIR_HU]]


def test_doubling_interpolates_between_centres_and_repeats_the_edge():
    # New centres lie at -0.25, 0.25, 0.75 and 1.25 of the old: 0 (edge), 25, 75 and 100 (edge).
    image = np.array([[0, 100]], np.int16)
    fitted = fit_image(image, SliceFit((1, 2), (1, 4), side=4))
    assert fitted[1].tolist() == [0, 25, 75, 100]


def test_resampled_labels_are_labels_that_were_there():
    labels = np.array([[1, 5], [1, 5]], np.uint8)
    fitted = fit_labels(labels, SliceFit((2, 2), (4, 4), side=4))
    assert fitted.tolist() == [[1, 1, 5, 5]] * 4


def test_resampled_disc_comes_back_in_its_place():
    y, x = np.mgrid[:120, :90]
    disc = ((y - 40) ** 2 + (x - 60) ** 2 <= 20**2).astype(np.uint8)
    fit = plan_fit("c1", grid_of(120, 90, 0.8, 0.8), FeedSettings(input_side=256, fit="resample", spacing_mm=0.5))
    assert fit.resampled_yx == (192, 144)
    back = unfit_probabilities(fit_labels(disc, fit).astype(np.float32), fit) >= 0.5
    assert back.shape == disc.shape
    differing = np.count_nonzero(back != disc.astype(bool))
    assert differing <= 0.02 * disc.sum()


def test_slice_larger_than_the_input_is_refused_with_the_case_and_a_cure():
    with pytest.raises(ConfigError, match=r"case c1.*300x200.*256x256.*feed.input_side.*feed.spacing_mm"):
        plan_fit("c1", grid_of(300, 200), PAD)


def test_too_fine_a_common_spacing_is_refused_with_the_spacing():
    with pytest.raises(ConfigError, match=r"case c1.*400x400 pixels at 0.5 mm"):
        plan_fit("c1", grid_of(200, 200), FeedSettings(input_side=256, fit="resample", spacing_mm=0.5))
