"""A slice on its own matrix <-> the network's square input: padded with air, or first brought to a common spacing."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hipseg.axes import SliceF32, SliceI16, SliceU8
from hipseg.config import FeedSettings
from hipseg.errors import ConfigError
from hipseg.geometry import Grid
from hipseg.labels import AIR_HU, BACKGROUND_LABEL


@dataclass(frozen=True)
class SliceFit:
    """How the slices of one case lie in the network's input.

    Args:
        shape_yx: rows and columns of the case.
        resampled_yx: rows and columns after resampling in the plane; `shape_yx` where there is none.
        side: rows and columns of the network's input.
    """

    shape_yx: tuple[int, int]
    resampled_yx: tuple[int, int]
    side: int

    @property
    def is_resampled(self) -> bool:
        """Say whether the slices change their matrix before they are padded."""
        return self.shape_yx != self.resampled_yx

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the input that the slice fills; centred, an odd pixel of padding comes last."""
        (ny, nx), side = self.resampled_yx, self.side
        top, left = (side - ny) // 2, (side - nx) // 2
        return slice(top, top + ny), slice(left, left + nx)


def plan_fit(case: str, grid: Grid, feed: FeedSettings) -> SliceFit:
    """Lay out how a case's slices go into the network's input.

    Args:
        case: key of the case, for the message.
        grid: of the case.
        feed: input side, and the common spacing if there is one.
    Returns:
        The layout.
    Raises:
        ConfigError: a slice is larger than the input.
    """
    _, ny, nx = grid.shape_zyx
    resampled = (ny, nx)
    if feed.spacing_mm is not None:
        _, dy, dx = grid.spacing_mm_zyx
        resampled = (max(1, round(ny * dy / feed.spacing_mm)), max(1, round(nx * dx / feed.spacing_mm)))
    if max(resampled) > feed.input_side:
        at_spacing = f" at {feed.spacing_mm:g} mm" if feed.spacing_mm is not None else ""
        side = f"{feed.input_side}x{feed.input_side}"
        raise ConfigError(
            f"slices of case {case} are larger than the network's input: {resampled[0]}x{resampled[1]} pixels{at_spacing}, "
            f"the input is {side}; raise feed.input_side, or set feed.fit to resample with a coarser feed.spacing_mm"
        )
    return SliceFit((ny, nx), resampled, feed.input_side)


def fit_stored(image: SliceU8, fit: SliceFit) -> SliceU8:
    """Bring a slice stored over a window, which is not resampled, into the network's input, with the lowest value around it."""
    fitted = np.zeros((fit.side, fit.side), np.uint8)
    fitted[fit.window] = image
    return fitted


def fit_image(image_hu: SliceI16, fit: SliceFit) -> SliceI16:
    """Bring a slice into the network's input, with air around it.

    Args:
        image_hu: int16 (y, x), HU, on the case's matrix.
        fit: the case's layout.
    Returns:
        int16 (side, side), HU; resampling is linear, rounded to whole HU.
    """
    if fit.is_resampled:
        image_hu = np.rint(_resample_linear(image_hu.astype(np.float32), fit.resampled_yx)).astype(np.int16)
    fitted = np.full((fit.side, fit.side), AIR_HU, np.int16)
    fitted[fit.window] = image_hu
    return fitted


def fit_labels(labels: SliceU8, fit: SliceFit) -> SliceU8:
    """Bring a slice of labels into the network's input, with background around it; resampling takes the nearest pixel."""
    if fit.is_resampled:
        rows, columns = (_nearest(n, m) for n, m in zip(fit.shape_yx, fit.resampled_yx, strict=True))
        labels = labels[np.ix_(rows, columns)]
    fitted = np.full((fit.side, fit.side), BACKGROUND_LABEL, np.uint8)
    fitted[fit.window] = labels
    return fitted


def unfit_probabilities(probabilities: SliceF32, fit: SliceFit) -> SliceF32:
    """Bring a network's answer back onto the case's own matrix.

    Args:
        probabilities: float32 (side, side), 0..1.
        fit: the case's layout.
    Returns:
        float32 (y, x); exact where only padding comes off, linear where the slice was resampled.
    """
    inside = probabilities[fit.window]
    return _resample_linear(inside, fit.shape_yx) if fit.is_resampled else inside


def _resample_linear(image: SliceF32, shape_yx: tuple[int, int]) -> SliceF32:
    """Resample so that both images cover the same millimetres; beyond the outermost pixel centres the edge goes on."""
    for axis, size in enumerate(shape_yx):
        position = _centres(image.shape[axis], size)
        low = np.floor(position).astype(np.intp)
        high = np.minimum(low + 1, image.shape[axis] - 1)
        share = (position - low).astype(np.float32)
        share = share[:, None] if axis == 0 else share[None, :]
        image = np.take(image, low, axis) * (1 - share) + np.take(image, high, axis) * share
    return image


def _nearest(old_size: int, new_size: int) -> NDArray[np.intp]:
    return np.minimum(np.floor(_centres(old_size, new_size) + 0.5).astype(np.intp), old_size - 1)


def _centres(old_size: int, new_size: int) -> NDArray[np.float64]:
    """Give where the centres of `new_size` pixels lie among the centres of `old_size` pixels over the same length."""
    centres = (np.arange(new_size) + 0.5) * old_size / new_size - 0.5
    clamped: NDArray[np.float64] = np.clip(centres, 0, old_size - 1)
    return clamped
