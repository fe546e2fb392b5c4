import os

import pytest

from hipseg.cores import count_cores, read_limit


@pytest.fixture
def eight(monkeypatch):
    """Eight cores that this process may run on."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("200000 100000\n", 2), ("50000 100000\n", 1), ("1600000 100000\n", 8), ("max 100000\n", 8), ("", 8)],
)
def test_a_container_gets_the_cores_that_it_is_given_the_time_of(tmp_path, eight, limit, cores):
    (tmp_path / "cpu.max").write_text(limit)
    assert count_cores(tmp_path) == cores


def test_without_a_container_all_cores_count_that_the_process_may_use(tmp_path, eight):
    assert count_cores(tmp_path / "none") == 8


def test_a_limit_is_read_in_words(tmp_path):
    (tmp_path / "memory.max").write_text("4096\n")
    assert (read_limit(tmp_path / "memory.max"), read_limit(tmp_path / "none")) == (["4096"], [])
