"""Whose the overlay planes of another series are: those of the series that they name, or on whose slices they lie."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hipseg.errors import MaskError, SeriesError
from hipseg.geometry import is_same_grid
from hipseg.ingest.carriers import MIN_CAPTURES, WHAT, Carrier, place_of, read_planes, read_series_words
from hipseg.ingest.enhanced import read_image_hu
from hipseg.ingest.headers import ImageHeader, has_regions
from hipseg.ingest.images import SeriesImages, SeriesKey, SeriesMap
from hipseg.ingest.index import SeriesIndex
from hipseg.ingest.planes import Plane, find_slices, is_coarser, number_slices, place_plane, usual_step
from hipseg.ingest.register import Register
from hipseg.ingest.series import OrderedSeries
from hipseg.ingest.spill import Spill
from hipseg.ingest.turning import turn_volume

MAX_WALKED = 4_000
"""Images of one patient whose headers are walked through for an identifier; those of more are looked up among all of the tree."""


@dataclass(frozen=True, repr=False)
class Carried:
    """What second series gave.

    Args:
        by_case: carriers by the series that they belong to.
        copies: series that only repeat another one to carry its planes, and are no cases of their own.
        unpaired: number of captures that belong to no series here.
        strangers: number of them by series, where they lie in the folder of that one alone.
        coarser: by series, the number of slices from one plane to the next of another one, which are not taken for that.
    """

    by_case: Mapping[SeriesKey, tuple[Carrier, ...]]
    copies: Collection[SeriesKey]
    unpaired: int
    strangers: Mapping[SeriesKey, int]
    coarser: Mapping[SeriesKey, int]


@dataclass(repr=False)
class _Finds:
    """What is known, and what is found out series by series.

    Args:
        index: the CT series.
        spill: what bounds the memory of the carriers.
        lacking: series of which files are lost.
        copies: the original of each.
    """

    index: SeriesIndex
    spill: Spill
    lacking: Collection[SeriesKey]
    by_case: Register[SeriesKey, tuple[Carrier, ...]] = field(default_factory=Register)
    copies: Register[SeriesKey, SeriesKey] = field(default_factory=Register)
    unpaired: int = 0
    strangers: Counter[SeriesKey] = field(default_factory=Counter)
    coarser: dict[SeriesKey, int] = field(default_factory=dict)


def pair_carriers(captures: SeriesMap, index: SeriesIndex, spill: Spill, lacking: Collection[SeriesKey]) -> Carried:
    """Find the series that overlay planes of other series belong to, within one patient.

    A second series is a group of captures, or a CT series that has regions drawn on it. It belongs to the series whose images it
    names, whatever its patient is called; where it names none, to those of its patient, of equal frame of reference, on whose
    slices its images lie. Planes of a series with wider gaps would leave the slices between them empty: one on whose slices they
    lie one next to the other goes before it. Captures of several series are parted where each of them says whose it is.

    A CT series takes planes of another CT series only where it has none of its own, they lie on its slices one next to the other,
    and it is the only one; never those of another stack of its own series. One that names the images of another, on the same
    grid and with the same pixels, is its copy and no case of its own; but not if files of it are lost, which is said of it then.

    Args:
        captures: images that are no CT slices and have overlay planes, by patient and series.
        index: the CT series.
        spill: what bounds the memory of the carriers.
        lacking: series, of CT or captures, of which files are known to be damaged or missing.
    Raises:
        NoRoomError: there are too many for the memory, and they cannot be written to disk.
    """
    finds = _Finds(index, spill, lacking)
    for key, images in index.series.items():
        if images.has_regions:
            _pair_series(key, finds)
    # After the copies of CT series are known, whose images captures may name.
    for key, images in captures.items():
        _pair_captures(key, images, finds)
    return Carried(finds.by_case, finds.copies.keys(), finds.unpaired, finds.strangers, finds.coarser)


def _pair_series(key: SeriesKey, finds: _Finds) -> None:
    """Give the planes of a CT series to another one; where whose else they are is not plain, it keeps them alone."""
    index = finds.index
    images = index.series[key]
    bearing = tuple(image for image in images if has_regions(image))
    # A copy may have got another pseudonym than its original; then only what it names counts.
    alike = {*index.find_patient(key[0]), *index.find_alike(images.likeness)}
    candidates = [other for other in sorted(alike) if _may_take(other, key, index)]
    if not candidates:
        return
    planes = read_planes(bearing)
    for found, is_named in _find_claims(key[0], bearing, planes, candidates, index):
        # Those without planes count as well: what is drawn may lie on two slices far from each other.
        steps = {
            other: usual_step([place_of(image) for image in images], series)
            for other in found
            if (series := index.ordered(other)) and _lies_on(planes, series, all)
        }
        finds.coarser |= {other: round(step) for other, step in steps.items() if is_coarser(step)}
        owners = [other for other, step in steps.items() if not is_coarser(step)]
        if len(owners) == 1:
            carrier, is_copy = _make_carrier(bearing, planes, index.ordered(key), index.ordered(owners[0]))
            carrier = _measure(carrier, images, index.ordered(owners[0]), is_damaged=key in finds.lacking)
            _give(replace(carrier, has_other_patient=key[0] != owners[0][0]), owners[0], finds)
            if is_named and is_copy and not carrier.is_lacking:
                finds.copies[key] = owners[0]
        if owners:
            return


def _give(carrier: Carrier, owner: SeriesKey, finds: _Finds) -> None:
    kept = replace(carrier, images=finds.spill.keep(carrier.images), planes=finds.spill.keep(carrier.planes))
    finds.by_case[owner] = (*finds.by_case.get(owner, ()), kept)


def _pair_captures(key: SeriesKey, images: SeriesImages, finds: _Finds) -> None:
    """Give captures to the series that is theirs; to several where that cannot be told, which are refused with them."""
    index = finds.index
    bearing = tuple(images)
    planes = read_planes(bearing)
    named = index.find_imaged(frozenset(uid for plane in planes for uid in plane.source_uids))
    owners = _find_capture_owners(key[0], bearing, planes, sorted({*index.find_patient(key[0]), *named}), index)
    if not owners:
        finds.unpaired += len(images)
        for folder, count in Counter(image.folder for image in images).items():
            beside = index.find_in(folder)
            finds.strangers.update({beside[0]: count} if len(beside) == 1 else {})
        return
    for copy in finds.copies.keys() & set(owners):
        planes = _name_original(planes, index.ordered(copy), index.ordered(finds.copies[copy]))
    owners = sorted({finds.copies.get(owner, owner) for owner in owners})
    parts = _part_captures(planes, owners, index)
    rivals = 0 if parts else len(owners) - 1
    words, is_lacking = read_series_words(bearing[0]), key in finds.lacking
    for owner in parts or owners:
        numbers = parts.get(owner, range(len(bearing)))
        part, places = tuple(bearing[number] for number in numbers), tuple(planes[number] for number in numbers)
        is_other = key[0] != owner[0]
        _give(Carrier(part, places, rivals, words, is_lacking=is_lacking, has_other_patient=is_other), owner, finds)


def _part_captures(planes: Sequence[Plane], owners: Sequence[SeriesKey], index: SeriesIndex) -> dict[SeriesKey, list[int]]:
    """Give the numbers of captures by the series whose image each names, else on whose slice it lies; none if not all are told.

    A workstation may put all captures of a study into one series, whatever CT series they were made of.
    """
    parts: dict[SeriesKey, list[int]] = defaultdict(list)
    uids = {owner: {image.instance_uid for image in index.series[owner]} for owner in owners}
    for number, plane in enumerate(planes):
        claims = [owner for owner in owners if not uids[owner].isdisjoint(plane.source_uids)]
        claims = claims or [owner for owner in owners if _lies_on([plane], index.ordered(owner), all)]
        if len(claims) != 1:
            return {}
        parts[claims[0]].append(number)
    return dict(sorted(parts.items()))


def _find_capture_owners(
    patient_id: str,
    bearing: Sequence[ImageHeader],
    planes: Sequence[Plane],
    candidates: Collection[SeriesKey],
    index: SeriesIndex,
) -> list[SeriesKey]:
    in_part: list[SeriesKey] = []
    for found, is_named in _find_claims(patient_id, bearing, planes, candidates, index, is_capture=True):
        ordered = {other: index.ordered(other) for other in found}
        whole = [other for other, series in ordered.items() if is_named or _lies_on(planes, series, all)]
        dense = [other for other in whole if not _is_sparse(planes, ordered[other])]
        if dense:
            return dense
        in_part = in_part or whole or [other for other, series in ordered.items() if _lies_on(planes, series, any)]
    # Where nothing better is there, they are given to what they fit in part, and that is refused with them.
    return in_part


def _find_claims(
    patient_id: str,
    bearing: Sequence[ImageHeader],
    planes: Sequence[Plane],
    candidates: Collection[SeriesKey],
    index: SeriesIndex,
    *,
    is_capture: bool = False,
) -> Iterator[tuple[list[SeriesKey], bool]]:
    """Give the series whose images are named (True), then those of the patient in which places can be compared (False)."""
    yield _find_named(frozenset(uid for plane in planes for uid in plane.source_uids), candidates, index), True
    frame_uids, study_uid = {image.frame_uid for image in bearing}, bearing[0].study_uid

    def is_comparable(other: SeriesKey) -> bool:
        frame_uid = index.series[other].frame_uid
        if is_capture and not (frame_uid and all(frame_uids)):
            # A secondary capture need not name its frame of reference (DICOM PS3.3 A.8.1.3); within one study its place does.
            return bool(study_uid) and index.series[other][0].study_uid == study_uid
        return frame_uid != "" and frame_uid in frame_uids

    own = [other for other in candidates if other[0] == patient_id]
    yield [other for other in own if len(frame_uids) == 1 and is_comparable(other)], False


def _find_named(uids: frozenset[str], candidates: Collection[SeriesKey], index: SeriesIndex) -> list[SeriesKey]:
    if not uids:
        return []
    if sum(len(index.series[other]) for other in candidates) <= MAX_WALKED:
        return [other for other in candidates if index.has_image(other, uids)]
    named = frozenset(index.find_imaged(uids))
    return [other for other in candidates if other in named]


def _may_take(other: SeriesKey, key: SeriesKey, index: SeriesIndex) -> bool:
    """Say whether a CT series may take planes of another one: it has none, and is no other stack of the same series."""
    images, theirs = index.series[key], index.series[other]
    return not theirs.has_regions and (not images.series_uid or images.series_uid != theirs.series_uid)


def _make_carrier(
    bearing: Sequence[ImageHeader], planes: Sequence[Plane], own: OrderedSeries | None, owner: OrderedSeries | None
) -> tuple[Carrier, bool]:
    """Make the carrier of a CT series, and say whether that has the images of its owner once more."""
    middle = len(bearing) // 2
    is_same = owner is not None and _has_same_pixels(bearing[middle], planes[middle], owner)
    is_copy = is_same and own is not None and owner is not None and is_same_grid(own.grid, owner.grid)
    return Carrier(bearing, planes, 0, read_series_words(bearing[0]), has_other_pixels=not is_same), is_copy


def _measure(carrier: Carrier, images: Iterable[ImageHeader], owner: OrderedSeries | None, *, is_damaged: bool) -> Carrier:
    """Say what a carrier lacks, all of whose images are given: a slice between two others is lost, one at an end may be."""
    covered = find_slices(map(place_of, images), owner) if owner is not None else set()
    between = max(covered) - min(covered) + 1 if covered else 0
    left_out = owner.grid.shape_zyx[0] - between if owner is not None else 0
    return replace(carrier, is_lacking=is_damaged or len(covered) < between, left_out=left_out)


def _has_same_pixels(image: ImageHeader, plane: Plane, owner: OrderedSeries) -> bool:
    """Say whether an image has the pixels of the slice that it lies on; another reconstruction of one scan has others."""
    z, axes = place_plane(plane, owner, {}, WHAT)
    try:
        one, another = read_image_hu(image), read_image_hu(owner.headers[z])
    except SeriesError:
        return False
    return np.array_equal(turn_volume(one[np.newaxis], axes)[0], another)


def _lies_on(planes: Iterable[Plane], series: OrderedSeries | None, quantity: Callable[[Iterable[bool]], bool]) -> bool:
    """Say whether all or any of some planes lie on slices of a series; None is no volume."""

    def is_on(plane: Plane) -> bool:
        if series is None:
            return False
        try:
            place_plane(plane, series, {}, WHAT)
        except MaskError:
            return False
        return True

    return quantity(map(is_on, planes))


def _is_sparse(planes: Sequence[Plane], series: OrderedSeries | None) -> bool:
    return series is not None and len(planes) >= MIN_CAPTURES and is_coarser(usual_step(planes, series))


def _name_original(planes: Sequence[Plane], copy: OrderedSeries | None, original: OrderedSeries | None) -> tuple[Plane, ...]:
    """Let planes that name the images of a copy name those of its original, which has the same grid."""
    if copy is None or original is None:
        return tuple(planes)
    slices = number_slices(copy.headers)

    def rename(uid: str) -> str:
        return original.headers[slices[uid]].instance_uid if uid in slices else uid

    return tuple(replace(plane, source_uids=frozenset(map(rename, plane.source_uids))) for plane in planes)
