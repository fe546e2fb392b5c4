"""How many pictures a page can hold: a noisy CT takes twice the room of a smooth one, so that a number of slices does not say."""

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2.utils import htmlsafe_json_dumps

from hipseg.views import spread_evenly

Case = Mapping[str, Any]
"""What `hipseg.report.outlines.encode_case` gives."""
LIST_COMMA = len(", ")


def fit_cases(cases: Sequence[Case], most_bytes: int) -> tuple[Case, ...]:
    """Leave out slices, and then cases, until what is left fits.

    Args:
        cases: the worst first.
        most_bytes: what they may take on a page.
    Returns:
        The same cases with as many slices of each as fit, evenly spread and with the one that is shown first. Where not even one
        slice of each fits, the cases at the end are left out.
    """
    shells = [_size({**case, "slices": []}) for case in cases]
    slices = [[_size(one) for one in case["slices"]] for case in cases]
    most = max(map(len, slices), default=0)
    for count in range(most, 0, -1):
        places = [spread_evenly(len(case["slices"]), count, (case["start"],)) for case in cases]
        sizes = [shell + sum(of[z] for z in those) for shell, of, those in zip(shells, slices, places, strict=True)]
        if sum(sizes) <= most_bytes:
            return tuple(_keep(case, those) for case, those in zip(cases, places, strict=True))
    room, kept = most_bytes, []
    for case, size in zip(cases, sizes if most else (), strict=True):
        room -= size
        if room < 0:
            break
        kept.append(_keep(case, (case["start"],)))
    return tuple(kept)


def describe_fit(cases: Sequence[Case], kept: Sequence[Case], megabytes: int) -> str:
    """Say what was left out; empty where nothing was.

    Args:
        cases: before.
        kept: after.
        megabytes: that the page may have.
    """
    wanted, shown = (sum(len(case["slices"]) for case in some) for some in (cases, kept))
    if wanted == shown:
        return ""
    most = max((len(case["slices"]) for case in kept), default=0)
    without = f", and {len(cases) - len(kept)} of the best cases have no picture" if len(kept) < len(cases) else ""
    return (
        f"Shown are {shown} of {wanted} slices, at most {most} of a case{without}: more would make the page larger than "
        f"{megabytes} MB; `hipseg report --megabytes` sets how large it may be."
    )


def _keep(case: Case, places: Sequence[int]) -> Case:
    return {**case, "start": places.index(case["start"]), "slices": [case["slices"][place] for place in places]}


def _size(value: object) -> int:
    """Give the bytes that a part of a list takes on the page, whose JSON is all ASCII."""
    return len(htmlsafe_json_dumps(value)) + LIST_COMMA
