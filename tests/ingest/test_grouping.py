"""Which images are one series, and where identifiers contradict each other."""

import pytest

from hipseg.ingest.grouping import find_contradictions, group_images
from hipseg.ingest.scan import scan_tree
from tests.ingest.builders import volume_hu, write_ct_series


def write(folder, change=None, **options):
    """Write a series beside what the folder holds already."""
    for path in write_ct_series(folder / "new", volume_hu(), change=change, **options):
        path.rename(folder / f"{len(list(folder.iterdir()))}")


def setting(where, **values):
    """Change header values of some slices."""

    def change(dataset, z):
        if z in where:
            for keyword, value in values.items():
                setattr(dataset, keyword, value)

    return change


def groups(root):
    series = group_images(scan_tree(root).images)
    found = find_contradictions(series)
    return {key: (len(images), found[key].partition(";")[0] if key in found else "") for key, images in series.items()}


def test_images_that_lost_their_patient_are_of_the_patient_whom_the_others_name(tmp_path):
    write(tmp_path, setting((2, 3), PatientID=""), patient_id="P")
    assert groups(tmp_path) == {("P", "2.25.77002"): (4, "")}


def test_two_patients_under_one_series_are_both_refused(tmp_path):
    write(tmp_path, setting((3,), PatientID="Q"), patient_id="P")
    words = "contradictory identifiers: 2 patients (0010,0020) under one series identifier (0020,000E), 1 is expected"
    assert groups(tmp_path) == {("P", "2.25.77002"): (3, words), ("Q", "2.25.77002"): (1, words)}


def test_images_without_series_beside_others_of_their_geometry_are_refused_with_them(tmp_path):
    write(tmp_path, setting((0, 1), SeriesInstanceUID=""), patient_id="P")
    found = groups(tmp_path)
    assert {key: count for key, (count, _) in found.items()} == {("P", "2.25.77002"): 2, ("P", "."): 2}
    assert all(words.startswith("contradictory identifiers: 2 images without series identifier") for _, words in found.values())


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("other", [{"frame_uid": "2.25.5"}, {"spacing_mm_zyx": (3.0, 0.75, 0.6)}])
def test_images_without_series_beside_others_of_another_geometry_are_a_series(tmp_path, other):
    write(tmp_path, patient_id="P")
    write(tmp_path, patient_id="P", series_uid="", **other)
    assert groups(tmp_path) == {("P", "2.25.77002"): (4, ""), ("P", "."): (4, "")}


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_where_no_image_names_a_series_patients_tell_them_apart(tmp_path):
    write(tmp_path, patient_id="P", series_uid="")
    write(tmp_path, patient_id="Q", series_uid="")
    assert groups(tmp_path) == {("P", "."): (4, ""), ("Q", "."): (4, "")}


@pytest.mark.parametrize("z", [0, 3])
def test_a_single_image_in_line_with_others_is_refused_with_them(tmp_path, z):
    write(tmp_path, setting((z,), SeriesInstanceUID="2.25.9"), patient_id="P")
    found = groups(tmp_path)
    assert {key: count for key, (count, _) in found.items()} == {("P", "2.25.77002"): 3, ("P", "2.25.9"): 1}
    assert all("a single image with others of its own lies in line with 3 beside it" in words for _, words in found.values())


@pytest.mark.parametrize(("keyword", "is_refused"), [("", True), ("StudyInstanceUID", False), ("FrameOfReferenceUID", False)])
def test_a_single_image_in_a_folder_of_its_own_is_compared_within_study_and_frame(tmp_path, keyword, is_refused):
    others = {keyword: "2.25.8"} if keyword else {}
    change = setting((3,), SeriesInstanceUID="2.25.9", **others)
    paths = write_ct_series(tmp_path / "a", volume_hu(), change=change, patient_id="P")
    (tmp_path / "b").mkdir()
    paths[3].rename(tmp_path / "b" / "image")
    said = [words for _, words in groups(tmp_path).values()]
    assert ["in line with 3 beside it" in words for words in said] == [is_refused] * 2


def test_images_without_series_are_not_compared_with_those_of_another_folder(tmp_path):
    write_ct_series(tmp_path / "a", volume_hu(), patient_id="P")
    write_ct_series(tmp_path / "b", volume_hu(seed=1), patient_id="P", change=setting(range(4), SeriesInstanceUID=""))
    assert [words for _, words in groups(tmp_path).values()] == ["", ""]


def test_a_single_image_within_others_or_further_off_is_a_series(tmp_path):
    write(tmp_path, patient_id="P")
    for number, z_mm in enumerate((104.5, 118.0)):
        change = setting((0,), SeriesInstanceUID=f"2.25.{number}", ImagePositionPatient=[-10, -20, z_mm])
        write_ct_series(tmp_path / "lone", volume_hu(1), patient_id="P", change=change)[0].rename(tmp_path / f"lone{number}")
    assert {words for _, words in groups(tmp_path).values()} == {""}
