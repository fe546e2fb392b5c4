"""A layout is found out by what lies there; two of them at once are refused with both names."""

from pathlib import Path

import pytest

from hipseg.errors import ConfigError
from hipseg.ingest.layout import LINK_OUT, detect_layout, list_files
from tests.ingest.builders import volume_hu, write_ct_series, write_nifti
from tests.ingest.layouts import RAS, labels_zyx, write_ctorg, write_decathlon, write_nnunet
from tests.ingest.media import zip_folder


@pytest.mark.parametrize(
    ("write", "layout"),
    [
        (lambda root: write_ct_series(root / "a", volume_hu()), "dicom"),
        (write_nnunet, "nnunet"),
        (write_decathlon, "nnunet"),
        (write_ctorg, "ctorg"),
        (lambda root: write_ctorg(root / "CT-ORG" / "OrganSegmentations"), "ctorg"),
        (lambda root: write_nifti(root / "ct.nii.gz", labels_zyx(), RAS), "dicom"),
        (lambda root: write_nifti(root / "volume-1.nii.gz", labels_zyx(), RAS), "dicom"),
        (lambda root: root.mkdir(), "dicom"),
    ],
)
def test_each_layout_is_known_by_its_files(tmp_path, write, layout):
    write(tmp_path / "data")
    assert detect_layout(tmp_path / "data") == layout


def test_texts_beside_a_data_set_do_not_make_it_ambiguous(tmp_path):
    write_nnunet(tmp_path)
    (tmp_path / "readme.md").write_text("text")
    (tmp_path / "link").symlink_to("readme.md")
    assert detect_layout(tmp_path) == "nnunet"


def test_dicom_beside_a_data_set_is_ambiguous(tmp_path):
    write_nnunet(tmp_path)
    write_ct_series(tmp_path / "raw", volume_hu())
    words = r"ambiguous: it looks like nnU-Net data set \(--layout nnunet\) and DICOM tree \(--layout dicom\); choose one"
    with pytest.raises(ConfigError, match=words):
        detect_layout(tmp_path)


def test_an_archive_of_dicom_beside_ctorg_is_ambiguous(tmp_path):
    write_ctorg(tmp_path / "data")
    write_ct_series(tmp_path / "p", volume_hu())
    (tmp_path / "p" / "README").write_text("text")
    zip_folder(tmp_path / "p", tmp_path / "data" / "patient.zip")
    with pytest.raises(ConfigError, match=r"it looks like CT-ORG .* and DICOM tree"):
        detect_layout(tmp_path / "data")


def test_the_archives_that_ctorg_came_in_beside_it_are_not(tmp_path):
    write_ctorg(tmp_path / "data")
    (tmp_path / "data" / "README.txt").write_text("text")
    zip_folder(tmp_path / "data", tmp_path / "labels_and_README.zip").rename(tmp_path / "data" / "labels_and_README.zip")
    (tmp_path / "data" / "volumes 0-49.zip").write_bytes(b"PK\x03\x04 and no more, as the download broke off")
    assert detect_layout(tmp_path / "data") == "ctorg"


def test_a_folder_of_data_sets_beside_dicom_is_to_be_packed_apart(tmp_path):
    write_nnunet(tmp_path / "nnUNet_raw" / "Dataset001_Secret")
    write_ct_series(tmp_path / "dicom", volume_hu())
    with pytest.raises(
        ConfigError, match=r"1 of the folders below it are, beside what looks like DICOM tree; pack the folders one"
    ) as no:
        detect_layout(tmp_path)
    assert "--layout" not in str(no.value)


def test_ctorg_inside_a_data_set_is_ambiguous(tmp_path):
    write_ctorg(write_nnunet(tmp_path) / "more")
    with pytest.raises(ConfigError, match=r"nnU-Net data set .* and CT-ORG"):
        detect_layout(tmp_path)


def test_a_folder_of_data_sets_is_refused_with_their_number(tmp_path):
    write_nnunet(tmp_path / "Dataset001_Secret")
    write_decathlon(tmp_path / "Task02_Secret")
    with pytest.raises(ConfigError, match="no nnU-Net data set itself, 2 of the folders below it are") as refusal:
        detect_layout(tmp_path)
    assert "Secret" not in str(refusal.value)


def test_every_entry_is_listed_once_and_links_are_not_followed(tmp_path):
    write_ctorg(tmp_path / "a", (1,))
    (tmp_path / "link").symlink_to("a")
    listing = list_files(tmp_path)
    assert [path.as_posix() for path in listing.files] == ["a/labels-1.nii.gz", "a/volume-1.nii.gz"]
    assert listing.set_aside == {"symbolic link, not followed": 1}
    assert listing.files_seen == 3


TRASH, STORE = "folder of deleted files or thumbnails, not looked into", "folder of other versions of files, not looked into"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *((name, TRASH) for name in (".Trash-1000/files", "$RECYCLE.BIN/S-1-5-21", ".Trashes/501", "#recycle", "@eaDir")),
        *((name, STORE) for name in (".git/annex/objects", ".git/lfs/objects", ".dvc/cache", ".hg", ".stversions/p1", ".zfs")),
        *((name, STORE) for name in (".snapshot/daily.0", ".snapshots", "~snapshot", "#snapshot", "@Recently-Snapshot")),
    ],
)
def test_what_was_deleted_or_is_another_version_is_left_aside_and_counted(tmp_path, name, reason):
    write_nnunet(tmp_path)
    write_ct_series(tmp_path / name, volume_hu())
    assert detect_layout(tmp_path) == "nnunet"
    listing = list_files(tmp_path)
    assert len(listing.files) == 6
    assert listing.set_aside == {reason: 1}


@pytest.mark.parametrize("name", [".Trash-can", "snapshots", ".github"])
def test_a_folder_of_nearly_such_a_name_is_looked_into(tmp_path, name):
    write_ct_series(tmp_path / name, volume_hu())
    assert len(list_files(tmp_path).files) == 4


@pytest.mark.parametrize(
    ("name", "target", "is_lost"),
    [
        *((name, "elsewhere/p1", True) for name in ("p2", "1.2.840.7")),
        *((name, "elsewhere/file", True) for name in ("p2.zip", "mask.nii.gz", "IM0001", "x.dcm")),
        *((name, "elsewhere/file", False) for name in ("notes.txt", "dataset.json", "code.py", ".hidden")),
        *((name, "gone/p1", True) for name in ("p2", "data/gone", "p2.zip")),
        *((name, "data/own", False) for name in ("latest", "p2.zip")),
        ("p2", "data/.git/annex/objects/x", True),
    ],
)
def test_a_link_is_harmless_where_what_it_leads_to_is_found_without_it(tmp_path, name, target, is_lost):
    data = tmp_path / "data"
    for folder in (data / "own", data / "data", data / ".git/annex/objects/x", tmp_path / "elsewhere/p1"):
        folder.mkdir(parents=True)
    (tmp_path / "elsewhere" / "file").touch()
    (data / name).symlink_to(tmp_path / target)
    found = set(list_files(data).set_aside) - {STORE}
    assert found == {LINK_OUT if is_lost else "symbolic link, not followed"}


def test_a_file_that_goes_away_while_a_folder_is_listed_is_counted(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).write_text("text")
    look = Path.lstat

    def lose(path):
        if path.name == "b":
            raise FileNotFoundError
        return look(path)

    monkeypatch.setattr(Path, "lstat", lose)
    listing = list_files(tmp_path)
    assert (list(map(str, listing.files)), listing.set_aside) == (["a"], {"cannot be opened": 1})
