"""What a ZIP archive that is not read still tells of its series."""

import zipfile

import numpy as np
import pytest

from hipseg.ingest import remains
from hipseg.ingest.remains import find_series
from tests.ingest.builders import cut, volume_hu, write_ct_series

UIDS = frozenset(("2.25.1", "2.25.2"))
NOISE = np.random.default_rng(1).bytes(5000)


def write_zip(folder, method=zipfile.ZIP_DEFLATED, between=NOISE):
    """Write an archive of two series of two slices each, and of another file."""
    with zipfile.ZipFile(folder / "p.zip", "w", method) as opened:
        for uid in sorted(UIDS):
            for path in write_ct_series(folder / uid, volume_hu(2), series_uid=uid):
                opened.write(path, f"{uid}/{path.name}")
            opened.writestr(f"{uid}/noise", between)
    return folder / "p.zip"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_series_are_found_without_table_of_contents(tmp_path, method):
    path = write_zip(tmp_path, method)
    cut(path, path.read_bytes().index(b"PK\x01\x02"))
    assert find_series(path) == UIDS


def test_what_was_cut_off_is_not_found_and_a_damaged_member_passed_over(tmp_path):
    path = write_zip(tmp_path)
    raw = path.read_bytes()
    second = raw.index(b"2.25.2/") - remains.MEMBER_HEADER.size
    path.write_bytes(raw[:second])
    assert find_series(path) == {"2.25.1"}
    path.write_bytes(raw[:60] + b"\xff" * 200 + raw[260:])
    assert find_series(path) == UIDS


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"PK\x03\x04" * 40, NOISE])
def test_what_is_no_archive_tells_of_no_series(tmp_path, content):
    (tmp_path / "p.zip").write_bytes(content)
    assert find_series(tmp_path / "p.zip") == frozenset()
    assert find_series(tmp_path / "none.zip") == frozenset()


@pytest.mark.parametrize("block_bytes", [1, 2, 3, 997])
def test_members_on_the_border_of_what_is_read_at_once_are_found(tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(remains, "BLOCK_BYTES", block_bytes)
    assert find_series(write_zip(tmp_path, between=b"")) == UIDS


def test_no_more_members_are_looked_at_than_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr(remains, "MAX_MEMBERS", 2)
    assert find_series(write_zip(tmp_path)) == {"2.25.1"}
