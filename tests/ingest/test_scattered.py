"""Lone images that are one volume together, and collections of single slices, which are not."""

import pytest
from pydicom.uid import generate_uid

from hipseg.ingest.grouping import find_contradictions, group_images
from hipseg.ingest.scan import scan_tree
from tests.ingest.builders import volume_hu, write_ct_series

WORDS = "contradictory identifiers: {} images, each alone in its series (0020,000E) or without one, lie one even step behind"


def write(folder, heights_mm, *fresh, change=None, **options):
    """Write an image at each height, with a series identifier of its own, and other identifiers besides."""

    def scatter(dataset, z):
        dataset.ImagePositionPatient = [-10.0, -20.0, heights_mm[z]]
        for keyword in ("SeriesInstanceUID", *fresh):
            setattr(dataset, keyword, generate_uid(entropy_srcs=[keyword, str(z), str(folder)]))
        if change is not None:
            change(dataset, z)

    return write_ct_series(folder, volume_hu(len(heights_mm)), change=scatter, **options)


def found(root):
    """Give what is said of the images, each of which is a case."""
    series = group_images(scan_tree(root).images)
    assert all(len(images) == 1 for images in series.values())
    said = find_contradictions(series)
    return sorted(said[key].partition(" the other")[0] if key in said else "" for key in series)


@pytest.mark.parametrize("fresh", [(), ("StudyInstanceUID",), ("StudyInstanceUID", "FrameOfReferenceUID")])
@pytest.mark.parametrize("patient", ["P", ""])
def test_images_in_even_steps_are_refused_whatever_else_is_fresh(tmp_path, fresh, patient):
    write(tmp_path, [100.0, 103.0, 106.0, 109.0], *fresh, patient_id=patient)
    assert found(tmp_path) == [WORDS.format(4)] * 4


def test_they_are_seen_in_folders_of_their_own_within_one_frame_of_reference(tmp_path):
    for path in write(tmp_path / "all", [100.0, 103.0, 106.0]):
        (tmp_path / path.name).mkdir()
        path.rename(tmp_path / path.name / "image")
    assert found(tmp_path) == [WORDS.format(3)] * 3


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_they_are_seen_in_folders_of_their_own_where_nothing_is_named(tmp_path):
    def empty(dataset, _):
        dataset.SeriesInstanceUID = dataset.FrameOfReferenceUID = dataset.StudyInstanceUID = dataset.PatientID = ""

    for path in write(tmp_path / "all", [100.0, 103.0, 106.0], change=empty):
        (tmp_path / path.name).mkdir()
        path.rename(tmp_path / path.name / "image")
    assert found(tmp_path) == [WORDS.format(3)] * 3


def test_a_missing_slice_or_another_scan_beside_them_hides_nothing(tmp_path):
    write(tmp_path / "all", [100.0, 103.0, 109.0, 112.0, 115.0], "FrameOfReferenceUID")
    # As those of another patient, with its corner elsewhere.
    other = write(tmp_path / "other", [101.0, 103.5, 106.0, 108.5], "FrameOfReferenceUID", change=_beside)
    for path in other:
        path.rename(tmp_path / "all" / f"other{path.name}")
    assert found(tmp_path) == [WORDS.format(4)] * 4 + [WORDS.format(5)] * 5


def _beside(dataset, _):
    dataset.ImagePositionPatient = [-14.5, *dataset.ImagePositionPatient[1:]]


def test_tilted_slices_are_in_line(tmp_path):
    def tilt(dataset, z):
        dataset.ImagePositionPatient = [-10.0, -20.0 + z, 100.0 + 3 * z]

    write(tmp_path, [0, 0, 0, 0], "FrameOfReferenceUID", change=tilt)
    assert found(tmp_path) == [WORDS.format(4)] * 4


@pytest.mark.parametrize(
    "heights_mm",
    [
        [100.0, 103.0],
        [100.0, 100.0, 100.0, 100.0],
        [-512.0, 13.5, 20.0, 240.0, 251.0],
        [10.0, 11.0, 12.0, 15.0, 16.0, 18.0, 19.0, 22.0],
        [100.0, 100.05, 100.2, 100.28, 100.45, 100.8],
    ],
    ids=["two", "one place", "anywhere", "whole millimetres", "too dense to tell"],
)
def test_a_collection_of_single_slices_stays_one(tmp_path, heights_mm):
    write(tmp_path, heights_mm, "StudyInstanceUID", "FrameOfReferenceUID")
    assert set(found(tmp_path)) == {""}


@pytest.mark.parametrize(("last_mm", "words"), [(109.0, WORDS.format(4)), (112.0, "")])
def test_single_slices_of_named_patients_are_theirs_unless_all_are_one_volume(tmp_path, last_mm, words):
    def name(dataset, z):
        dataset.PatientID = f"P{z}"

    write(tmp_path, [100.0, 103.0, 106.0, last_mm], "FrameOfReferenceUID", change=name)
    assert found(tmp_path) == [words] * 4


@pytest.mark.parametrize("fresh", [("FrameOfReferenceUID",), ("FrameOfReferenceUID", "StudyInstanceUID")])
@pytest.mark.parametrize(
    ("steps", "patient", "is_found"),
    [([0, 1, 2, 3, 4], "P", True), ([0, 1, 2, 3, 5], "P", False), ([0, 1, 2, 3], "P", False), ([0, 1, 2, 3, 4], "", False)],
    ids=["a volume", "with a gap", "few", "nobody"],
)
def test_images_in_folders_and_frames_of_their_own_are_refused_if_they_are_a_volume(tmp_path, fresh, steps, patient, is_found):
    heights_mm = [100.0 + 3 * step for step in steps]
    for path in write(tmp_path / "all", heights_mm, *fresh, patient_id=patient):
        (tmp_path / path.name).mkdir()
        path.rename(tmp_path / path.name / "image")
    assert found(tmp_path) == [WORDS.format(5) if is_found else ""] * len(steps)
