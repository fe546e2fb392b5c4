"""DICOMDIR: what it lists, and whether that is there."""

from pathlib import PurePosixPath

import pytest
from pydicom import dcmread

from hipseg.ingest.archive import list_members
from hipseg.ingest.dicomdir import find_absent, read_directory
from hipseg.ingest.dicomfile import UnreadableFileError
from tests.ingest.builders import PATIENT, cut
from tests.ingest.media import write_medium, zip_folder


def test_ct_series_are_listed_with_their_files(tmp_path):
    files = write_medium(tmp_path / "disc")
    found = read_directory(tmp_path / "disc" / "DICOMDIR")
    assert {one.series_uid for one in found} == set(files)
    assert {one.patient_id for one in found} == {PATIENT}
    for one in found:
        assert {tmp_path / "disc" / file for file in one.files} == set(files[one.series_uid])
        assert list(one.image_uids) == [dcmread(tmp_path / "disc" / file).SOPInstanceUID for file in one.files]


def test_series_of_other_modalities_are_left_out(tmp_path):
    write_medium(tmp_path / "disc")
    path = tmp_path / "disc" / "DICOMDIR"
    dataset = dcmread(path)
    for record in dataset.DirectoryRecordSequence:
        if record.get("SeriesInstanceUID") == "2.25.772":
            record.Modality = "MR"
    dataset.save_as(path)
    assert [one.series_uid for one in read_directory(path)] == ["2.25.771"]


def test_records_that_run_in_a_circle_come_to_an_end(tmp_path):
    write_medium(tmp_path / "disc", ("2.25.771",))
    path = tmp_path / "disc" / "DICOMDIR"
    dataset = dcmread(path)
    offsets = [record.seq_item_tell for record in dataset.DirectoryRecordSequence]
    for record in dataset.DirectoryRecordSequence:
        record.OffsetOfTheNextDirectoryRecord = offsets[0]
    dataset.save_as(path)
    assert sum(len(one.files) for one in read_directory(path)) == 1


def test_a_directory_that_breaks_off_is_unreadable(tmp_path):
    write_medium(tmp_path / "disc")
    cut(tmp_path / "disc" / "DICOMDIR", 700)
    with pytest.raises(UnreadableFileError):
        read_directory(tmp_path / "disc" / "DICOMDIR")


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        *(("A/ONE", True), ("A/TWO", True), ("A/THREE", False), ("A", False), ("A/ZEROS", False)),
        *(("../OUTSIDE", False), ("/etc/hostname", False)),
    ],
)
def test_a_listed_file_is_there_also_in_small_letters_and_never_outside(tmp_path, file, expected):
    for name in ("disc/A/ONE", "disc/a/two", "OUTSIDE"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(128) + b"DICM")
    (tmp_path / "disc/A/ZEROS").write_bytes(bytes(1000))
    assert (find_absent(tmp_path / "disc" / "DICOMDIR", {PurePosixPath(file)}) == set()) is expected


@pytest.mark.parametrize("file", ["A/ONE", "../OUTSIDE"])
def test_an_archive_is_listed_once_for_all_files(tmp_path, monkeypatch, file):
    (tmp_path / "disc").mkdir()
    for name in ("a_one", "a_two", "dicomdir"):
        (tmp_path / "disc" / name).write_bytes(b"1")
    zip_folder(tmp_path / "disc", tmp_path / "p.zip")
    members, calls = list_members(tmp_path / "p.zip"), []
    monkeypatch.setattr("hipseg.ingest.dicomdir.list_members", lambda path: calls.append(path) or members)
    wanted = {PurePosixPath(name) for name in ("A_ONE", "A_TWO", "A_THREE", file)}
    assert find_absent(members[2][1], wanted) == {PurePosixPath(name) for name in ("A_THREE", file)}
    assert calls == [tmp_path / "p.zip"]
