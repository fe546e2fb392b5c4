"""Overlay planes of several images -> structures: told apart by their words, else by their groups."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hipseg.errors import MaskError
from hipseg.ingest.carriers import Carrier
from hipseg.ingest.dictionary import OVERLAY_GROUPS
from hipseg.ingest.headers import ImageHeader, OverlayName

Words = tuple[str, str]
"""Label and description."""
NO_WORDS: Words = ("", "")
GROUP_NAMES = frozenset(f"{group:04X}" for group in OVERLAY_GROUPS)


@dataclass(frozen=True, repr=False)
class OverlayStructure:
    """One structure drawn as overlay planes: on each slice at most one plane.

    Args:
        title: the first of label and description that no other structure has, else its group in hexadecimal.
        names: the words that it can be chosen by, beside its group.
        groups: group of its plane by number of the image: the slice, or the image of the carrier; those without are missing.
        is_graphics: whether it is graphics (Overlay Type G) and no region.
        carrier: the other series that holds the planes; None where the slices themselves do.
    """

    title: str
    names: frozenset[str]
    groups: Mapping[int, int]
    is_graphics: bool = False
    carrier: Carrier | None = None


@dataclass(frozen=True)
class _Key:
    """What planes of one structure have in common; the group only where there are no words."""

    words: Words
    group: int | None
    is_graphics: bool


def find_overlays(headers: Sequence[ImageHeader]) -> tuple[OverlayStructure, ...]:
    """Tell the overlay structures of a series apart by label and description, else by group.

    An export may put a structure into another group on each slice, so that the words identify it where there are any. Words
    that two planes of one slice share do not: then the group does. Graphics and regions of the same words are two structures.

    Args:
        headers: the images, numbered from 0.
    Returns:
        The structures, sorted by title.
    """
    planes: dict[_Key, list[tuple[int, int]]] = defaultdict(list)
    for number, header in enumerate(headers):
        for plane in header.overlays:
            planes[_key_of(plane)].append((number, plane.group))
    shared = {key for key, found in planes.items() if len(dict(found)) < len(found)}
    counts = {
        graphics: Counter(name for key in planes if key.is_graphics == graphics for name in _names(key))
        for graphics in (False, True)
    }
    own = [
        OverlayStructure(_title(key, counts[key.is_graphics]), _names(key), dict(found), key.is_graphics)
        for key, found in planes.items()
        if key not in shared
    ]
    by_group: dict[tuple[int, bool], frozenset[str]] = defaultdict(frozenset)
    for key in shared:
        for _, group in planes[key]:
            by_group[group, key.is_graphics] |= _names(key)
    own += [_overlay_of_group(group, headers, names, is_graphics=graphics) for (group, graphics), names in by_group.items()]
    return tuple(sorted(own, key=lambda one: (one.title, one.is_graphics)))


def find_named_overlays(
    name: str, structures: Sequence[OverlayStructure], headers: Sequence[ImageHeader]
) -> list[OverlayStructure]:
    """Give the structures that have a name; a group has all its planes, whatever their words, regions and graphics apart.

    Args:
        name: label, description or group.
        structures: those of the images, as `find_overlays` gives them.
        headers: the images.
    """
    found = [structure for structure in structures if name in structure.names]
    if name.upper() not in GROUP_NAMES:
        return found
    group = int(name, 16)
    for is_graphics in (False, True):
        one = _overlay_of_group(group, headers, frozenset(), is_graphics=is_graphics)
        if one.groups and one.groups not in [structure.groups for structure in found]:
            found.append(one)
    return found


def check_words(structure: OverlayStructure, headers: Sequence[ImageHeader]) -> tuple[str, ...]:
    """Look for planes of a structure that its words do not show: a word that is lost or damaged would leave a slice empty.

    Args:
        structure: one that is chosen.
        headers: the images that its planes lie in.
    Returns:
        Warnings, without any of the words.
    Raises:
        MaskError: in its group, on slices without it, lies a plane without words, or one of its words and of another type.
    """
    groups = set(structure.groups.values())
    with_it = [plane for number in structure.groups for plane in headers[number].overlays]
    own = {_words(plane) for plane in with_it if plane.group in groups and plane.is_graphics == structure.is_graphics}
    others = [
        plane
        for number, header in enumerate(headers)
        if number not in structure.groups
        for plane in header.overlays
        if plane.group in groups
    ]
    where = " and ".join(f"{group:04X}" for group in sorted(groups))
    mixed = sum(plane.is_graphics != structure.is_graphics and _words(plane) in own for plane in others)
    if mixed:
        raise MaskError(
            f"overlay group {where} holds a structure as region (Overlay Type R) and, on {mixed} of {len(headers)} images, under "
            "the same words as graphics (G); give it one Overlay Type (60xx,0040) on all images"
        )
    alike = [_words(plane) for plane in others if plane.is_graphics == structure.is_graphics]
    if NO_WORDS in alike:
        raise MaskError(
            f"overlay group {where} holds a structure by its words and, on {alike.count(NO_WORDS)} of {len(headers)} images, a "
            "plane without label and description; which structure that is cannot be told: choose the plane by its group, as 6000"
        )
    warnings = _warn_of_union(structure, headers, where)
    # Words that stand beside the structure's on some slice are those of another structure, that may take its group elsewhere.
    beside = {_words(plane) for plane in with_it}
    strangers = len([words for words in alike if words not in beside])
    if not strangers:
        return warnings
    return (
        *warnings,
        f"overlay group {where} has other words than a chosen structure's on {strangers} of {len(headers)} images, on which the "
        "structure is taken as empty",
    )


def _warn_of_union(structure: OverlayStructure, headers: Sequence[ImageHeader], where: str) -> tuple[str, ...]:
    """Say what holds planes together that may be of several structures."""
    words = {
        _words(plane)
        for number, group in structure.groups.items()
        for plane in headers[number].overlays
        if plane.group == group and plane.is_graphics == structure.is_graphics
    }
    if len(words) > 1:
        return (f"planes of {len(words)} different labels or descriptions in overlay group {where} are taken as one structure",)
    # An export that leaves out empty planes moves those behind them up, so that no group before a plane is free.
    first = min(structure.groups.values())
    lowest = min(plane.group for header in headers for plane in header.overlays)
    apart = sum(
        group != first and group > lowest + OVERLAY_GROUPS.step * sum(plane.group < group for plane in headers[number].overlays)
        for number, group in structure.groups.items()
    )
    if apart:
        return (
            f"planes of the same label and description in overlay groups {where} are taken as one structure, although a group "
            f"before theirs is free on {apart} of {len(headers)} images",
        )
    return ()


def _words(plane: OverlayName) -> Words:
    return plane.label, plane.description


def _key_of(plane: OverlayName) -> _Key:
    words = _words(plane)
    return _Key(words, plane.group if words == NO_WORDS else None, plane.is_graphics)


def _names(key: _Key) -> frozenset[str]:
    return frozenset(key.words) - {""}


def _title(key: _Key, counts: Mapping[str, int]) -> str:
    if key.group is not None:
        return f"{key.group:04X}"
    return min((word for word in key.words if word), key=lambda word: counts[word])


def _planes_of(group: int, headers: Sequence[ImageHeader], *, is_graphics: bool) -> dict[int, int]:
    def is_meant(plane: OverlayName) -> bool:
        return plane.group == group and plane.is_graphics == is_graphics

    return {number: group for number, header in enumerate(headers) if any(is_meant(plane) for plane in header.overlays)}


def _overlay_of_group(
    group: int, headers: Sequence[ImageHeader], names: frozenset[str], *, is_graphics: bool
) -> OverlayStructure:
    return OverlayStructure(f"{group:04X}", names, _planes_of(group, headers, is_graphics=is_graphics), is_graphics)
