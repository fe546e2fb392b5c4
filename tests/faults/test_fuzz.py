"""A few hundred mutated files; `tools/fuzz_ingest.py` runs ten thousand."""

import numpy as np
import pytest

from tools.fuzz_ingest import Tally, fuzz, is_legal, judge, mutate, write_bases


@pytest.mark.slow
def test_mutated_files_neither_crash_nor_hang_nor_give_wrong_values():
    tally = Tally()
    fuzz(400, 7, tally)
    assert tally.failures == []
    assert tally.counts["refused"] > 100
    assert tally.counts["read right"] > 50


def test_a_wrong_value_is_called_wrong(tmp_path):
    base = next(one for one in write_bases(tmp_path) if one.name == "native")
    path = sorted(base.folder.iterdir())[0]
    raw = path.read_bytes()
    assert judge(base, base.folder, anything_is_legal=False) == "read right"
    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    assert judge(base, base.folder, anything_is_legal=False) == "wrong"
    assert judge(base, base.folder, anything_is_legal=True) == "another legal value"
    assert is_legal(base, path.name, len(raw) - 1, len(raw))
    assert not is_legal(base, path.name, 140, 141)


def test_mutations_are_seeded_and_change_something():
    raw = bytes(range(200))
    mutants = [mutate(raw, np.random.default_rng(n)) for n in range(100)]
    assert mutants == [mutate(raw, np.random.default_rng(n)) for n in range(100)]
    assert sum(new != raw for new, _, _ in mutants) > 90
    for new, start, end in mutants:
        assert new[:start] == raw[:start]
        assert len(new) != len(raw) or new[end:] == raw[end:]
