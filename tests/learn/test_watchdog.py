import dataclasses
import json
from types import SimpleNamespace

import pytest

from hipseg.learn import watchdog
from hipseg.learn.watchdog import ABSENT_AFTER_S, LOST_AFTER_S, Beat, Bench, judge


def beat(rank, step=5, silent_s=0.5, still_s=1.0, failure=None):
    return Beat(rank, f"process {rank} on n", step, f"step {step}", silent_s, still_s, failure)


def test_ranks_that_go_on_are_left_alone():
    assert judge([beat(0), beat(1, step=4, still_s=59)], 60) is None


def test_a_silent_rank_is_named_with_the_place_where_it_was_last_seen():
    assert judge([beat(0, still_s=99), beat(1, silent_s=LOST_AFTER_S + 1, still_s=99)], 60) == (
        1,
        "rank 1 (process 1 on n) is dead or frozen: no sign of life for 31 s, last seen at step 5",
    )


def test_the_rank_that_the_others_wait_for_is_named_and_not_those_that_wait():
    beats = [beat(0, step=6, still_s=61), beat(1, step=5, still_s=62), beat(2, step=6, still_s=61)]
    assert judge(beats, 60) == (1, "rank 1 (process 1 on n) stalls: it has been at step 5 for 62 s while others wait for it")


def test_a_slow_rank_within_the_limit_is_not_blamed_while_others_wait_longer():
    assert judge([beat(0, step=6, still_s=61), beat(1, step=5, still_s=3)], 60) is None


def test_a_standstill_of_all_names_none():
    assert judge([beat(0, still_s=70), beat(1, still_s=65)], 60) == (None, "no rank has moved for 65 s; all are at step 5")


def test_a_failure_comes_before_what_follows_from_it():
    verdict = judge([beat(0, silent_s=99), beat(2, failure="the disk is full")], 60)
    assert verdict == (2, "rank 2 (process 2 on n) failed: the disk is full")


def test_ranks_that_left_are_neither_blamed_nor_waited_for():
    left = dataclasses.replace(beat(1, step=3, silent_s=500, still_s=500), is_done=True)
    assert judge([beat(0, still_s=500), left], 60) is None


def state(rank, **more):
    return json.dumps({"rank": rank, "process": f"process {rank}", "step": 1, "where": "step 1", **more}).encode()


def test_the_first_verdict_stands_and_every_rank_hears_it():
    bench = Bench(2, 60)
    assert json.loads(bench.hear(state(0))) is None
    first = json.loads(bench.hear(state(1, failure="the disk is full")))
    assert first == [1, "rank 1 (process 1) failed: the disk is full"]
    assert json.loads(bench.hear(state(0, failure="another"))) == first


def test_a_rank_that_only_looks_for_the_server_is_not_counted():
    bench = Bench(2, 60)
    assert json.loads(bench.hear(b"")) is None


@pytest.fixture
def clock(monkeypatch):
    """The seconds that a bench reads; `clock.s` sets them."""
    clock = SimpleNamespace(s=1000.0)
    monkeypatch.setattr(watchdog, "time", SimpleNamespace(monotonic=lambda: clock.s))
    return clock


def test_a_rank_that_dies_before_all_have_come_is_named(clock):
    bench = Bench(3, 60)
    bench.hear(state(1))
    clock.s += LOST_AFTER_S + 1
    assert json.loads(bench.hear(state(0))) == [
        1,
        "rank 1 (process 1) is dead or frozen: no sign of life for 31 s, last seen at step 1",
    ]


def test_ranks_that_wait_for_one_that_has_not_come_do_not_stall_and_it_is_named_in_the_end(clock):
    bench = Bench(4, 60)
    for _ in range(int(ABSENT_AFTER_S)):
        for rank in (0, 2):
            assert json.loads(bench.hear(state(rank))) is None
        clock.s += 1
    clock.s += 1
    assert json.loads(bench.hear(state(0))) == [1, "rank 1, 3 of 4 never came in 116 s; its own log may say why"]


def test_stalling_counts_from_when_the_last_rank_has_come(clock):
    bench = Bench(2, 60)
    for _ in range(100):
        bench.hear(state(0))
        clock.s += 1
    assert json.loads(bench.hear(state(1))) is None
    for _ in range(59):
        clock.s += 1
        assert [json.loads(bench.hear(state(rank))) for rank in (0, 1)] == [None, None]
