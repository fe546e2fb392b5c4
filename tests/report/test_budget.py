"""Pictures that fit on a page."""

import pytest
from jinja2.utils import htmlsafe_json_dumps

from hipseg.report.budget import describe_fit, fit_cases


def make_case(name, slices, start, letters=100):
    return {
        "case": name,
        "start": start,
        "slices": [{"z": z, "image": "x" * letters, "answers": {"<arm>": ""}} for z in range(slices)],
    }


CASES = (make_case("worst", 9, 3), make_case("best", 2, 0))


def size(cases):
    return len(htmlsafe_json_dumps(list(cases)))


def shown(cases):
    return {case["case"]: [one["z"] for one in case["slices"]] for case in cases}


def test_what_fits_stays_as_it_is():
    assert fit_cases(CASES, size(CASES) + 10) == CASES
    assert fit_cases((), 0) == ()


def test_slices_of_the_case_with_most_go_first_and_the_one_shown_first_stays():
    kept = fit_cases(CASES, size(CASES) * 6 // 10)
    assert shown(kept) == {"worst": [0, 3, 5, 8], "best": [0, 1]}
    assert kept[0]["slices"][kept[0]["start"]]["z"] == 3


@pytest.mark.parametrize("share", range(5, 100, 5))
def test_nothing_is_ever_larger_than_the_room_and_more_room_shows_no_less(share):
    room, less = size(CASES) * share // 100, size(CASES) * (share - 5) // 100
    kept = fit_cases(CASES, room)
    assert size(kept) <= max(room, len("[]"))
    assert size(kept) >= size(fit_cases(CASES, less))


def test_without_room_for_a_slice_of_each_the_worst_cases_stay():
    kept = fit_cases(CASES, size(CASES) * 15 // 100)
    assert shown(kept) == {"worst": [3]}
    assert describe_fit(CASES, kept, 10).startswith(
        "Shown are 1 of 11 slices, at most 1 of a case, and 1 of the best cases have no picture: more would make the page "
        "larger than 10 MB;"
    )
    assert fit_cases(CASES, 10) == fit_cases(CASES, -10) == ()


def test_what_is_left_out_is_told_and_nothing_else():
    kept = fit_cases(CASES, size(CASES) * 6 // 10)
    assert describe_fit(CASES, kept, 12) == (
        "Shown are 6 of 11 slices, at most 4 of a case: more would make the page larger than 12 MB; "
        "`hipseg report --megabytes` sets how large it may be."
    )
    assert describe_fit(CASES, CASES, 12) == ""
