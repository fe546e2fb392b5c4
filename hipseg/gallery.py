"""Pictures of scored cases: slices of the packed image with the truth and what each arm predicted."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hipseg.axes import SliceBool, VolumeBool
from hipseg.errors import ReportError
from hipseg.geometry import is_same_grid
from hipseg.ingest.nifti import read_labels
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import CaseRecord
from hipseg.shards.reader import CaseReader, open_reader
from hipseg.views import CaseView, SliceView, spread_evenly, window_grey

MARGIN_MM = 25.0
"""Of anatomy shown around the outlines, so that the bone can be told by its surroundings."""


@dataclass(frozen=True)
class Look:
    """How a case is shown.

    Args:
        window_hu: intensities that become black and white.
        target_labels: labels of the mask that count as the structure.
        slices: at most so many, evenly spread over those where there is truth or an answer, with the one that has most of the
            truth among them.
    """

    window_hu: tuple[float, float]
    target_labels: tuple[int, ...]
    slices: int


@dataclass(frozen=True)
class _Frame:
    """The slices chosen, and the rectangle of each that is shown."""

    slices: tuple[int, ...]
    rows: slice
    columns: slice


def view_case(dataset: DatasetPaths, record: CaseRecord, predictions: Mapping[str, Path], look: Look) -> CaseView:
    """Cut the slices of one case that show how well it went.

    Args:
        dataset: the packed data.
        record: the case, with a mask.
        predictions: arm -> label volume that it predicted.
        look: how to show it.
    Returns:
        At most `look.slices` slices; the middle one where neither the truth nor an answer has a voxel.
    Raises:
        ShardError: the case cannot be read, or has no mask.
        MaskError: a prediction is damaged.
        ReportError: a prediction is missing, or not on the grid of the case.
    """
    with open_reader(dataset, record) as reader:
        truth = _read_truth(reader, look.target_labels)
        answers = {arm: _read_answer(path, record) for arm, path in predictions.items()}
        frame = _choose_frame(truth, answers.values(), record, look.slices)
        slices = []
        for z in frame.slices:
            image = window_grey(reader.read_image(z)[frame.rows, frame.columns], *look.window_hu)
            place = (z, frame.rows, frame.columns)
            # Copies, since a cut would keep the whole volume in memory.
            slices.append(
                SliceView(z, image, truth[place].copy(), {arm: answer[place].copy() for arm, answer in answers.items()})
            )
    return CaseView(record.case, record.grid.shape_zyx[0], record.grid.spacing_mm_zyx[1:], tuple(slices))


def _read_truth(reader: CaseReader, target_labels: tuple[int, ...]) -> VolumeBool:
    wanted = np.zeros(256, np.bool_)
    wanted[list(target_labels)] = True
    return np.stack([wanted[reader.read_labels(z)] for z in range(reader.grid.shape_zyx[0])])


def _read_answer(path: Path, record: CaseRecord) -> VolumeBool:
    if not path.is_file():
        raise ReportError(f"prediction of case {record.case} is missing: no {path}; `hipseg evaluate` writes it")
    labels, grid = read_labels(path)
    if not is_same_grid(grid, record.grid):
        raise ReportError(f"prediction of case {record.case} lies on another grid: {path}; score the fold again")
    return labels > 0


def _choose_frame(truth: VolumeBool, answers: Collection[VolumeBool], record: CaseRecord, most: int) -> _Frame:
    """Choose slices, and a rectangle that holds every voxel of the masks with a margin."""
    anywhere = np.logical_or.reduce((truth, *answers))
    depth, height, width = anywhere.shape
    present = np.flatnonzero(anywhere.any(axis=(1, 2)))
    if not present.size:
        return _Frame((depth // 2,), slice(0, height), slice(0, width))
    sizes = np.sum([mask[present].sum(axis=(1, 2)) for mask in ((truth,) if truth.any() else answers)], axis=0)
    # An even spread may step over the slice with most to see.
    chosen = present[list(spread_evenly(present.size, most, np.flatnonzero(sizes == sizes.max()).tolist()))]
    _, row_mm, column_mm = record.grid.spacing_mm_zyx
    flat: SliceBool = anywhere.any(axis=0)
    return _Frame(
        tuple(int(z) for z in chosen),
        _extent(np.flatnonzero(flat.any(axis=1)), round(MARGIN_MM / row_mm), height),
        _extent(np.flatnonzero(flat.any(axis=0)), round(MARGIN_MM / column_mm), width),
    )


def _extent(places: "np.ndarray[tuple[int], np.dtype[np.intp]]", margin: int, size: int) -> slice:
    return slice(max(0, int(places[0]) - margin), min(size, int(places[-1]) + 1 + margin))
