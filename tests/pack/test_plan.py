from pathlib import Path

import pytest

from hipseg.errors import ConfigError
from hipseg.fsio import digest_json
from hipseg.pack.plan import Part, PlanRecord, check_same_plan, digest_keys

HERE = PlanRecord({"femur": 1}, "a" * 12, {}, None)


def test_every_case_is_in_exactly_one_part():
    cases = [f"c{number * 7919:012x}" for number in range(200)]
    parts = [Part(number, 7) for number in range(1, 8)]
    assert [sum(part.has(case) for part in parts) for case in cases] == [1] * 200
    assert all(any(part.has(case) for case in cases) for part in parts)
    assert all(Part(1, 1).has(case) for case in cases)


@pytest.mark.parametrize("part", [(0, 4), (5, 4), (1, 0), (-1, 4)])
def test_a_part_that_is_none_is_refused(part):
    with pytest.raises(ConfigError, match=f"no part {part[0]} of {part[1]}"):
        Part(*part)


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (PlanRecord({"femur": 1}, "b" * 12, {}, None), "keys of another salt"),
        (PlanRecord({"femur": 2}, "a" * 12, {}, None), "packed with --roi femur=2, this call has --roi femur=1"),
        (PlanRecord({"femur": 1}, "a" * 12, {}, (0, 9)), "packed with --store uint8 --window 0 9, this call has --store int16"),
    ],
)
def test_cases_that_mean_different_things_do_not_come_together(there, message):
    with pytest.raises(ConfigError, match=message):
        check_same_plan(there, HERE, Path("shards"), has_cases=True)


def test_without_cases_only_the_salt_counts():
    check_same_plan(PlanRecord({}, "a" * 12, {"localizer": 3}, (0, 9)), HERE, Path("shards"), has_cases=False)
    with pytest.raises(ConfigError, match="another salt"):
        check_same_plan(PlanRecord({}, "b" * 12, {}, None), HERE, Path("shards"), has_cases=False)


@pytest.mark.parametrize("keys", [[], ["c1"], ["c0", "c1", "c2"]])
def test_the_digest_of_keys_is_that_of_their_list(keys):
    assert digest_keys(iter(keys)) == digest_json(keys)
