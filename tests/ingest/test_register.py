import multiprocessing

import pytest

from hipseg.ingest.register import Register

KEYS = [f"c{number * 7919 % 1000:03d}" for number in range(300)]


@pytest.fixture(params=[0, 5, 299, 1_000])
def pair(request):
    """A register and a dictionary of the same items: all on disk, moved there early, moved with the last, all in memory."""
    register, expected = Register(request.param), {}
    for number, key in enumerate(KEYS):
        register[key] = expected[key] = number
    return register, expected


def check(register, expected):
    assert (len(register), list(register)) == (len(expected), list(expected))
    assert list(register.items()) == list(expected.items())
    assert list(register.values()) == list(expected.values())
    assert list(register.by_key()) == [expected[key] for key in sorted(expected)]
    assert [register.get(key) for key in (*KEYS, "none")] == [expected.get(key) for key in (*KEYS, "none")]


def test_it_is_as_a_dictionary(pair):
    check(*pair)


def test_what_is_set_again_keeps_its_place_and_what_comes_back_is_the_last(pair):
    for one in pair:
        for key in KEYS[10:60:3]:
            one[key] = f"new {key}"
        for key in KEYS[5:100:5]:
            del one[key]
        assert one.pop(KEYS[200]) == 200
        for key in (KEYS[10], KEYS[200], "z"):
            one[key] = "back"
    check(*pair)
    assert list(pair[0])[-3:] == [KEYS[10], KEYS[200], "z"]


def test_a_key_that_is_not_there_is_said(pair):
    register, _ = pair
    del register[KEYS[0]]
    for key in (KEYS[0], "none"):
        assert key not in register
        with pytest.raises(KeyError):
            register[key]
        with pytest.raises(KeyError):
            del register[key]


def test_the_values_by_key_are_those_of_the_moment(pair):
    register, expected = pair
    values, before = register.by_key(), [expected[key] for key in sorted(expected)]
    register[KEYS[0]] = "later"
    register["a"] = "more"
    assert list(values) == before


def test_keys_of_one_hash_are_told_apart(monkeypatch):
    monkeypatch.setattr("hipseg.ingest.register.hash", lambda _: 8, raising=False)
    register = Register(0)
    for number in range(20):
        register[str(number)] = number
    del register["3"]
    assert [register.get(str(number)) for number in range(21)] == [0, 1, 2, None, *range(4, 20), None]


def test_a_forked_process_reads_what_was_there(pair):
    register, expected = pair
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    process = context.Process(target=lambda: results.put(dict(register)))
    process.start()
    process.join()
    assert results.get() == expected
