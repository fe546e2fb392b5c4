import pytest

from hipseg.errors import SeriesError
from hipseg.ingest.source import FoundCases, SourceCase
from hipseg.pack.keyed import key_cases
from hipseg.pack.keys import case_key, patient_key
from hipseg.pack.plan import Part

SALT = b"salt"
SOURCES = tuple(SourceCase(f"Doe {number // 2}", f"1.2.{number}", ".") for number in range(40))
KEYS = sorted(case_key(SALT, one.patient_id, one.series_uid) for one in SOURCES)


def find(sources=SOURCES):
    return FoundCases(sources, 0, {})


@pytest.mark.parametrize("sources", [SOURCES, SOURCES[::-1]])
def test_cases_are_keyed_whatever_the_order_they_were_found_in(sources):
    keyed = key_cases(find(sources), SALT)
    assert [one.case for one in keyed] == list(keyed.keys) == KEYS
    for one in (*keyed, keyed[-1], *keyed[3:5]):
        assert one.case == case_key(SALT, one.source.patient_id, one.source.series_uid)
        assert one.patient == patient_key(SALT, one.source.patient_id)
    assert "Doe" not in f"{keyed!r} {keyed[0]!r} {keyed.keys!r}"


def test_two_series_of_one_key_are_refused():
    twice = key_cases(find(SOURCES), SALT)[7]
    with pytest.raises(SeriesError, match=f"two series have the case key {twice.case}; give one of them"):
        key_cases(find((*SOURCES, twice.source)), SALT)


def test_every_case_is_in_one_part():
    keyed = key_cases(find(), SALT)
    parts = [keyed.of_part(Part(number, 3)) for number in (1, 2, 3)]
    assert sorted(one.case for part in parts for one in part) == KEYS
    assert all(Part(number, 3).has(one.case) for number, part in enumerate(parts, 1) for one in part)
    assert all(len(part) == len(part.keys) == len(list(part)) for part in parts)


def test_keys_that_are_there_are_told_from_others():
    keys = key_cases(find(SOURCES[:20]), SALT).keys
    assert [case in keys for case in KEYS] == [case in set(keys) for case in KEYS]
    others = ("c" + "0" * 12, "c" + "f" * 12, "c1", KEYS[0].upper(), f"{KEYS[0]}0", f"d{KEYS[0][1:]}", 3)
    assert not any(case in keys for case in others)


def test_no_cases_have_no_keys():
    keyed = key_cases(find(()), SALT)
    assert (list(keyed), list(keyed.keys), KEYS[0] in keyed.keys) == ([], [], False)
