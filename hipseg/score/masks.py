"""Masks -> what is measured on them: voxels from one pass over the slices, surfaces, and the slices' own scores."""

from collections.abc import Iterable, Iterator

from hipseg.axes import VolumeBool
from hipseg.errors import MaskError
from hipseg.score.distances import is_measurable, without_surface
from hipseg.score.overlap import NO_COUNTS, count
from hipseg.score.record import Measured
from hipseg.score.slicewise import sum_slices
from hipseg.score.space import SpacingMm
from hipseg.score.surface import measure_surfaces


def measure_masks(truth: VolumeBool, prediction: VolumeBool, spacing_mm_zyx: SpacingMm) -> Measured:
    """Measure a prediction against the truth.

    Args:
        truth: bool (z, y, x), one structure in a whole case.
        prediction: bool, the same shape.
        spacing_mm_zyx: of the case's grid.
    Returns:
        Counts, surface scores and sums over the slices; undefined scores as `hipseg.score.distances` says.
    Raises:
        MaskError: the shapes differ.
    """
    if truth.shape != prediction.shape:
        raise MaskError(f"prediction has shape {prediction.shape}, the truth {truth.shape}; they must be on one grid")
    by_slice = [count(*pair) for pair in zip(truth, prediction, strict=True)]
    counts = sum(by_slice, NO_COUNTS)
    distances = measure_surfaces(truth, prediction, spacing_mm_zyx) if is_measurable(counts) else without_surface(counts)
    return Measured(counts, distances, sum_slices(by_slice))


def measure_structures(
    names: Iterable[str], truths: Iterable[VolumeBool], predictions: Iterable[VolumeBool], spacing_mm_zyx: SpacingMm
) -> Iterator[tuple[str, Measured]]:
    """Measure several structures one by one; they may overlap.

    Args:
        names: of the structures.
        truths: of each, bool (z, y, x), a whole case.
        predictions: of each, bool, the same shape.
        spacing_mm_zyx: of the case's grid.
    Returns:
        Each structure's name and what was measured on it, in the order given.
    Raises:
        MaskError: the shapes differ.
    """
    for name, truth, prediction in zip(names, truths, predictions, strict=True):
        yield name, measure_masks(truth, prediction, spacing_mm_zyx)
