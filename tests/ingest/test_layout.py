"""A layout is found out by what lies there; two of them at once are refused with both names."""

import zipfile
from pathlib import Path

import pytest

from hipseg.errors import ConfigError
from hipseg.ingest.layout import detect_layout, list_files
from tests.ingest.builders import volume_hu, write_ct_series, write_nifti
from tests.ingest.layouts import RAS, labels_zyx, write_ctorg, write_decathlon, write_nnunet


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


def test_an_archive_beside_ctorg_is_ambiguous(tmp_path):
    write_ctorg(tmp_path)
    with zipfile.ZipFile(tmp_path / "patient.zip", "w") as archive:
        archive.writestr("a", "a")
    with pytest.raises(ConfigError, match=r"it looks like CT-ORG .* and DICOM tree"):
        detect_layout(tmp_path)


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


@pytest.mark.parametrize("name", [".Trash-1000/files", "$RECYCLE.BIN/S-1-5-21", ".Trashes/501", "#recycle", "@eaDir"])
def test_what_was_deleted_is_left_aside_and_counted(tmp_path, name):
    write_nnunet(tmp_path)
    write_ct_series(tmp_path / name, volume_hu())
    assert detect_layout(tmp_path) == "nnunet"
    listing = list_files(tmp_path)
    assert len(listing.files) == 6
    assert listing.set_aside == {"folder of deleted files or thumbnails, not looked into": 1}


def test_a_folder_of_nearly_the_name_of_a_trash_is_looked_into(tmp_path):
    write_ct_series(tmp_path / ".Trash-can", volume_hu())
    assert len(list_files(tmp_path).files) == 4


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
