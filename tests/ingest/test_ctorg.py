"""CT-ORG: its numbers, its organs and its own split; what is not whole is refused by name."""

import numpy as np
import pytest

from hipseg.errors import MaskError, SeriesError
from hipseg.ingest.cases import find_cases, list_structures, open_case
from hipseg.ingest.ctorg import find_ctorg_cases
from tests.ingest.builders import volume_hu, write_nifti
from tests.ingest.layouts import RAS, labels_zyx, write_ctorg


def by_number(found):
    return {int(case.patient_id.rsplit("-", 1)[1]): case for case in found.cases}


def read(case, rois=None):
    opened = open_case(case, "c0", rois or {})
    slices = list(opened.slices)
    # Written along RAS: rows and columns are counted the other way in the patient's LPS.
    return np.stack([hu for hu, _ in slices])[:, ::-1, ::-1], np.stack([labels for _, labels in slices])[:, ::-1, ::-1]


def test_volumes_and_labels_are_paired_by_number_and_keep_the_published_split(tmp_path):
    found = find_ctorg_cases(write_ctorg(tmp_path))
    assert {number: case.subset for number, case in by_number(found).items()} == {
        0: "test",
        20: "test",
        21: "train",
        139: "train",
    }
    assert found.layout == "CT-ORG, 4 volumes with labels"
    assert (found.files_seen, found.set_aside) == (8, {})
    for number, case in by_number(found).items():
        image, labels = read(case)
        assert np.array_equal(image, volume_hu(seed=number))
        assert np.array_equal(labels, labels_zyx(number))


def test_the_whole_collection_is_split_into_119_and_21(tmp_path):
    for number in range(140):
        for kind in ("volume", "labels"):
            (tmp_path / f"{kind}-{number}.nii.gz").touch()
    subsets = [case.subset for case in find_ctorg_cases(tmp_path).cases]
    assert (subsets.count("train"), subsets.count("test")) == (119, 21)


def test_organs_are_chosen_by_name_and_one_that_is_absent_is_empty(tmp_path):
    (case,) = find_ctorg_cases(write_ctorg(tmp_path, (5,))).cases
    assert [one.name for one in list_structures(case)] == ["bladder", "bone", "brain", "kidneys", "liver", "lungs"]
    _, labels = read(case, {"bladder": 9, "brain": 3})
    assert np.array_equal(labels, np.where(labels_zyx(5) == 2, 9, 0))
    assert not read(case, {"brain": 1})[1].any()
    with pytest.raises(MaskError, match="no structure of a name given with --roi"):
        open_case(case, "c0", {"spleen": 1})


def test_a_number_that_the_collection_does_not_declare_is_refused(tmp_path):
    write_ctorg(tmp_path, (5,))
    write_nifti(tmp_path / "labels-5.nii.gz", np.full((12, 10, 4), 7, np.uint8), RAS)
    (case,) = find_ctorg_cases(tmp_path).cases
    with pytest.raises(MaskError, match="label 7 is not among the 6 that its data set declares"):
        read(case)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda root: (root / "labels-7.nii.gz").unlink(), "1 files named as its volume and 0 as its labels"),
        (lambda root: (root / "volume-7.nii.gz").unlink(), "0 files named as its volume and 1 as its labels"),
        (lambda root: write_ctorg(root / "copy", (7,)), "2 files named as its volume and 2 as its labels"),
    ],
)
def test_a_volume_that_is_not_whole_or_not_alone_is_refused_and_the_others_are_not(tmp_path, change, words):
    write_ctorg(tmp_path, (7, 8))
    change(tmp_path)
    cases = by_number(find_ctorg_cases(tmp_path))
    with pytest.raises(SeriesError, match=f"case c0: {words}"):
        open_case(cases[7], "c0", {})
    assert np.array_equal(read(cases[8])[0], volume_hu(seed=8))


def test_a_number_beyond_the_collection_is_refused(tmp_path):
    (case,) = find_ctorg_cases(write_ctorg(tmp_path, (140,))).cases
    with pytest.raises(SeriesError, match="its number is above 139"):
        open_case(case, "c0", {})


def test_other_files_are_counted_and_none_of_the_collection_is_refused(tmp_path):
    write_ctorg(tmp_path, (1,))
    (tmp_path / "README.txt").write_text("text")
    assert find_ctorg_cases(tmp_path).set_aside == {"no volume-N.nii.gz or labels-N.nii.gz of CT-ORG": 1}
    (tmp_path / "empty").mkdir()
    with pytest.raises(SeriesError, match="none of 0 files is named"):
        find_cases(tmp_path / "empty", "ctorg")


def test_volumes_that_are_links_are_told_to_be_ones(tmp_path):
    write_ctorg(tmp_path / "store", (1,))
    write_ctorg(tmp_path / "data", (2,))
    for name in ("volume-1.nii.gz", "labels-1.nii.gz"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "store" / name)
    (tmp_path / "data" / "volume-2.nii.gz").unlink()
    words = r"0 files named as its volume .*\(2 symbolic links in the data set are not followed; put the files themselves"
    with pytest.raises(SeriesError, match=words):
        open_case(find_ctorg_cases(tmp_path / "data").cases[0], "c0", {})
    (tmp_path / "data" / "labels-2.nii.gz").unlink()
    with pytest.raises(SeriesError, match=r"none of 2 files is named .* \(2 symbolic links in the data set are not followed"):
        find_ctorg_cases(tmp_path / "data")


def test_labels_on_another_grid_are_refused(tmp_path):
    write_ctorg(tmp_path, (1,))
    write_nifti(tmp_path / "labels-1.nii.gz", labels_zyx()[:3].transpose(2, 1, 0), RAS)
    with pytest.raises(MaskError, match=r"mask of case c0: a NIfTI mask does not fit: 3 x 10 x 12 .*has 4 x 10 x 12"):
        open_case(find_ctorg_cases(tmp_path).cases[0], "c0", {})
