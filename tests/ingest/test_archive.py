"""ZIP archives: members read like files, one at a time; damage, bombs and ways out of the archive are refused."""

import os
import pickle
import struct
import zipfile

import numpy as np
import pytest

from hipseg.ingest import archive
from hipseg.ingest.archive import ArchiveError, is_archive, list_members, open_descriptor

NOISE = np.random.default_rng(0).bytes(300_000)


def write_zip(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as opened:
        for name, data in members.items():
            opened.writestr(name, data)
    return path


def spoil(path, find, replace, from_end=False):
    raw = bytearray(path.read_bytes())
    at = raw.rfind(find) if from_end else raw.find(find)
    assert at >= 0
    raw[at : at + len(replace)] = replace
    path.write_bytes(raw)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_read_as_zipfile_reads_them(tmp_path, method):
    members = {"a/noise": NOISE, "a/zeros": bytes(5_000_000), "empty": b"", "a/": b""}
    found = list_members(write_zip(tmp_path / "p.zip", members, method))
    assert [str(name) for name, _ in found] == ["a/noise", "a/zeros", "empty"]
    for name, member in found:
        assert member.read_bytes() == members[str(name)]
        assert member.stat().st_size == len(members[str(name)])
        assert member.name == name.name


def test_a_member_has_a_descriptor_and_survives_a_change_of_process(tmp_path):
    ((_, member),) = list_members(write_zip(tmp_path / "p.zip", {"noise": NOISE}))
    descriptor = open_descriptor(pickle.loads(pickle.dumps(member)))
    try:
        assert os.pread(descriptor, 10, 1000) == NOISE[1000:1010]
    finally:
        os.close(descriptor)
    plain = open_descriptor(tmp_path / "p.zip")
    assert os.pread(plain, 2, 0) == b"PK"
    os.close(plain)


def test_a_large_member_is_unpacked_beside_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(os, "memfd_create", None)
    ((_, member),) = list_members(write_zip(tmp_path / "p.zip", {"noise": NOISE}))
    with member.open("rb", buffering=0) as handle:
        assert handle.readall() == NOISE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.zip"]


def test_the_state_of_a_member_is_that_of_its_archive(tmp_path):
    path = write_zip(tmp_path / "p.zip", {"noise": NOISE})
    ((_, member),) = list_members(path)
    for name in ("st_ino", "st_mtime_ns", "st_ctime_ns"):
        assert getattr(member.stat(), name) == getattr(path.stat(), name)


def test_an_archive_that_changed_is_read_anew(tmp_path):
    path = write_zip(tmp_path / "p.zip", {"noise": NOISE})
    ((_, member),) = list_members(path)
    assert member.read_bytes() == NOISE
    spoil(path, path.read_bytes()[200:210], bytes(10))
    os.utime(path, ns=(1, 1))
    with pytest.raises(ArchiveError, match="damaged ZIP archive"):
        member.read_bytes()


def test_members_cannot_be_written(tmp_path):
    ((_, member),) = list_members(write_zip(tmp_path / "p.zip", {"noise": NOISE}))
    with pytest.raises(ArchiveError, match="can only be read"):
        member.open("wb")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_flipped_bit_of_a_member_is_noticed(tmp_path, method):
    path = write_zip(tmp_path / "p.zip", {"noise": NOISE}, method)
    raw = bytearray(path.read_bytes())
    raw[2000] ^= 1
    path.write_bytes(raw)
    ((_, member),) = list_members(path)
    with pytest.raises(ArchiveError, match="damaged ZIP archive: a member"):
        member.open()


@pytest.mark.parametrize("size", [0, 3, 100, -30])
def test_an_archive_that_breaks_off_is_damaged(tmp_path, size):
    path = write_zip(tmp_path / "p.zip", {"noise": NOISE})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ArchiveError, match="damaged ZIP archive: it has no readable table of contents"):
        list_members(path)


@pytest.mark.parametrize("field", [10, 12, 16])
def test_a_record_that_does_not_fit_the_table_of_contents_is_damage(tmp_path, field):
    # zipfile reads such an archive without a word, and possibly a member less.
    path = write_zip(tmp_path / "p.zip", {"one": NOISE, "two": NOISE})
    raw = bytearray(path.read_bytes())
    raw[raw.rfind(b"PK\x05\x06") + field] -= 1
    path.write_bytes(raw)
    with pytest.raises(ArchiveError, match="damaged ZIP archive: "):
        list_members(path)


def test_bytes_lost_before_the_table_of_contents_are_damage(tmp_path):
    path = write_zip(tmp_path / "p.zip", {"one": NOISE, "two": NOISE})
    raw = path.read_bytes()
    path.write_bytes(raw[:5000] + raw[5007:])
    with pytest.raises(ArchiveError, match="its table of contents is not what the record behind it says"):
        list_members(path)


def test_an_archive_with_a_comment_and_one_with_the_larger_record_are_whole(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as opened:
        opened.writestr("one", NOISE)
        opened.comment = b"a comment"
    assert len(list_members(tmp_path / "p.zip")) == 1
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    path = write_zip(tmp_path / "q.zip", {"one": NOISE, "two": NOISE})
    assert b"PK\x06\x07" in path.read_bytes()[-60:]
    assert len(list_members(path)) == 2


def test_a_member_that_is_not_where_it_should_be_is_damaged(tmp_path):
    path = write_zip(tmp_path / "p.zip", {"noise": NOISE})
    spoil(path, b"PK\x03\x04", b"XX")
    ((_, member),) = list_members(path)
    with pytest.raises(ArchiveError, match="does not begin where the table of contents says"):
        member.open()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../out", "leads out of the archive"),
        ("a/../../out", "leads out of the archive"),
        ("/etc/out", "leads out of the archive"),
        ("inner.ZIP", "is itself a ZIP archive"),
    ],
)
def test_names_that_lead_out_and_nested_archives_are_refused(tmp_path, name, words):
    path = write_zip(tmp_path / "p.zip", {"fine": b"1", name: b"2"})
    with pytest.raises(ArchiveError, match=f"1 of its 2 members: each {words}"):
        list_members(path)


def test_links_are_refused(tmp_path):
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as opened:
        opened.writestr(info, "/etc/passwd")
    with pytest.raises(ArchiveError, match="1 of its 1 members: each is a link"):
        list_members(tmp_path / "p.zip")


def test_encrypted_members_and_other_methods_are_refused(tmp_path):
    path = write_zip(tmp_path / "p.zip", {"noise": NOISE})
    central = path.read_bytes().rfind(b"PK\x01\x02")
    raw = bytearray(path.read_bytes())
    raw[central + 8] |= 1
    path.write_bytes(raw)
    with pytest.raises(ArchiveError, match="each is encrypted"):
        list_members(path)
    with pytest.raises(ArchiveError, match="each is packed by another method than deflate"):
        list_members(write_zip(tmp_path / "q.zip", {"noise": NOISE}, zipfile.ZIP_LZMA))


def test_an_archive_in_an_archive_is_refused_also_where_it_has_another_name(tmp_path):
    inner = write_zip(tmp_path / "inner.zip", {"noise": NOISE})
    ((_, member),) = list_members(write_zip(tmp_path / "outer.zip", {"inner": inner.read_bytes()}))
    with pytest.raises(ArchiveError, match="inside a ZIP archive is not looked into"):
        list_members(member)


def test_an_archive_that_unpacks_to_a_hundred_times_its_size_is_a_bomb(tmp_path, monkeypatch):
    path = write_zip(tmp_path / "p.zip", {str(number): bytes(1_000_000) for number in range(3)})
    assert len(list_members(path)) == 3
    monkeypatch.setattr(archive, "FREE_BYTES", 1_000_000)
    with pytest.raises(ArchiveError, match=r"announce \d+ packed and 3000000 unpacked bytes in a file of \d+; at most 100 times"):
        list_members(path)


def test_members_that_overlap_are_a_bomb(tmp_path):
    path = write_zip(tmp_path / "p.zip", {"one": NOISE})
    raw = path.read_bytes()
    central, end = raw.rfind(b"PK\x01\x02"), raw.rfind(b"PK\x05\x06")
    entry = raw[central:end]
    # The same bytes are listed twice, which a few bytes more can do any number of times.
    fields = struct.pack("<HHI", 2, 2, 2 * len(entry))
    again = entry.replace(b"one", b"two")
    path.write_bytes(raw[:end] + again + raw[end : end + 8] + fields + raw[end + 16 :])
    with pytest.raises(ArchiveError, match="its members overlap: it is damaged, or a bomb"):
        list_members(path)


def test_members_that_overlap_by_a_few_bytes_are_refused(tmp_path):
    path = write_zip(tmp_path / "p.zip", {"one": NOISE, "two": NOISE})
    raw = bytearray(path.read_bytes())
    # Where the second member begins, in its entry. Source: APPNOTE.TXT 4.3.12.
    at = raw.rfind(b"PK\x01\x02") + 42
    (offset,) = struct.unpack_from("<I", raw, at)
    struct.pack_into("<I", raw, at, offset - 5)
    path.write_bytes(raw)
    with pytest.raises(ArchiveError, match="its members overlap"):
        list_members(path)


def test_a_larger_record_that_puts_members_before_the_file_is_damage(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    path = write_zip(tmp_path / "p.zip", {"one": NOISE, "two": NOISE})
    raw = bytearray(path.read_bytes())
    # Where the table of contents begins; what is too much here is taken off every member. Source: APPNOTE.TXT 4.3.14.
    at = raw.rfind(b"PK\x06\x06") + 48
    (offset,) = struct.unpack_from("<Q", raw, at)
    struct.pack_into("<Q", raw, at, offset + 5)
    path.write_bytes(raw)
    with pytest.raises(ArchiveError, match="its table of contents is not what the record behind it says"):
        list_members(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("one", "one"), ("a/one", "a//one")])
def test_two_members_of_one_name_are_refused(tmp_path, names):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as opened:
        for name in names:
            opened.writestr(name, name)
    with pytest.raises(ArchiveError, match="2 of its 2 members: each has the name of another one"):
        list_members(tmp_path / "p.zip")


def test_a_member_without_a_name_is_refused(tmp_path):
    path = write_zip(tmp_path / "p.zip", {"#": b"1"})
    # A name ends where a zero byte stands.
    path.write_bytes(path.read_bytes().replace(b"#", b"\0"))
    with pytest.raises(ArchiveError, match="1 of its 1 members: each has no name"):
        list_members(path)


def test_members_of_one_place_are_equal_only_if_they_are_the_same_bytes(tmp_path):
    path = write_zip(tmp_path / "p.zip", {"one": b"1"})
    ((_, before),) = list_members(path)
    assert before == list_members(path)[0][1]
    write_zip(path, {"one": b"22"})
    ((_, after),) = list_members(path)
    assert (str(after), len({before, after})) == (str(before), 2)
    assert before not in (after, path / "one")


def test_a_member_larger_than_announced_is_cut_off_at_once(tmp_path):
    path = write_zip(tmp_path / "p.zip", {"zeros": bytes(50_000_000)})
    spoil(path, struct.pack("<I", 50_000_000), struct.pack("<I", 1000), from_end=True)
    ((_, member),) = list_members(path)
    assert member.stat().st_size == 1000
    with pytest.raises(ArchiveError, match="a member is not what its checksum says"):
        member.open()


def test_a_member_that_announces_gigabytes_is_refused(tmp_path):
    path = write_zip(tmp_path / "p.zip", {"noise": NOISE})
    spoil(path, struct.pack("<I", len(NOISE)), struct.pack("<I", 0x90000000), from_end=True)
    with pytest.raises(ArchiveError, match="each has more than 2147483648 bytes"):
        list_members(path)


def test_a_table_of_contents_without_end_takes_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_DIRECTORY_BYTES", 2000)
    path = write_zip(tmp_path / "p.zip", {f"member {number:04d}": b"" for number in range(100)})
    with pytest.raises(ArchiveError, match=r"the table of contents of a ZIP archive has \d+ bytes, at most 2000"):
        list_members(path)


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("p.zip", b"PK\x03\x04", True),
        ("P.ZIP", b"", True),
        ("export", b"PK\x03\x04", True),
        ("empty", b"PK\x05\x06", True),
        ("1.3.6.1.4.1.14519.5.2.1.7009", b"PK\x03\x04", True),
        ("letter.docx", b"PK\x03\x04", False),
        ("image.dcm", b"\0\0\0\0", False),
        ("._p.zip", b"\0\5\x16\7", False),
        (".p.zip", b"PK\x03\x04", True),
    ],
)
def test_what_is_looked_into(tmp_path, name, head, expected):
    assert is_archive(tmp_path / name, head) is expected


def test_what_a_system_hides_beside_an_archive_refuses_nothing(tmp_path):
    path = write_zip(tmp_path / "p.zip", {"noise": NOISE, "__MACOSX/._report.zip": b"\0\5\x16\7"})
    assert [name.name for name, _ in list_members(path)] == ["._report.zip", "noise"]
    with pytest.raises(ArchiveError, match="each is itself a ZIP archive"):
        list_members(write_zip(tmp_path / "q.zip", {"noise": NOISE, "report.zip": b"PK"}))


def test_backslashes_part_folders_where_no_slash_does(tmp_path):
    path = write_zip(tmp_path / "p.zip", {"PAT\\": b"", "PAT\\IM\\noise": NOISE})
    assert [name.as_posix() for name, _ in list_members(path)] == ["PAT/IM/noise"]
    path = write_zip(tmp_path / "q.zip", {"PAT/a\\b": NOISE})
    assert [name.as_posix() for name, _ in list_members(path)] == ["PAT/a\\b"]
    with pytest.raises(ArchiveError, match="each leads out of the archive"):
        list_members(write_zip(tmp_path / "r.zip", {"..\\noise": NOISE}))
