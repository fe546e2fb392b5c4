"""A tree whose headers lie on disk gives the very cases that it gives with all of them in memory."""

import gc
import shutil
from collections import Counter

import nrrd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from hipseg.errors import SeriesError
from hipseg.geometry import affine_lps, affine_ras, make_grid
from hipseg.ingest import images, spill
from hipseg.ingest.cases import find_cases, list_structures, open_case
from hipseg.ingest.headers import ImageHeader
from hipseg.ingest.source import load_case
from hipseg.ingest.spill import SpillList
from hipseg.pack.plan import PackPlan
from hipseg.pack.seals import seal_source, stamp_source
from tests.ingest.builders import Plane, cut, rectangle_mm, volume_hu, write_ct_series, write_nifti, write_rtstruct
from tests.ingest.enhanced_builder import write_enhanced
from tests.ingest.layouts import write_ctorg, write_nnunet
from tests.ingest.media import write_medium, zip_folder
from tests.ingest.seg_builder import read_sources, write_seg

ROOM = 7
MASK = np.zeros((10, 12), bool)
MASK[2:5, 3:7] = True
CONTOUR = rectangle_mm((-9, -8), (-19, -18), 103.0)
GRID = make_grid((4, 10, 12), (3.0, 0.75, 0.5), (-10, -20, 100), ((1, 0, 0), (0, 1, 0), (0, 0, 1)))
PLAN = PackPlan(rois={}, salt_id="0" * 12, set_aside={}, salt=b"salt")


def setting(**values):
    def change(dataset, z):
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    return change


def write_plain(root):
    """Patients with an overlay each, a collection of localizers and single slices, and a folder of nothing."""
    for number in range(4):
        planes = {1: [Plane(MASK, label="hip")], 2: [Plane(MASK, label="hip", group=0x6002)]}
        write_ct_series(
            root / f"p{number}" / "ct", volume_hu(), patient_id=f"p{number}", series_uid=f"2.25.1{number}", overlays=planes
        )
    write_ct_series(
        root / "scout", volume_hu(2), series_uid="2.25.30", change=setting(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    )
    for number in range(3):
        change = setting(ImagePositionPatient=[-10, -20, 500 * number])
        write_ct_series(root / "lone" / str(number), volume_hu(1), series_uid=f"2.25.31{number}", change=change)
    (root / "readme.txt").write_text("text")


def write_awkward(root):
    """Two stacks in one series; empty identifiers; two series mixed in one folder; one with each image in its own."""
    write_ct_series(root / "stacks" / "a", volume_hu(), series_uid="2.25.1", change=setting(AcquisitionNumber=1))
    again = setting(AcquisitionNumber=2)
    write_ct_series(root / "stacks" / "b", volume_hu(seed=1), series_uid="2.25.1", change=again)
    write_ct_series(root / "nobody", volume_hu(), patient_id="", study_uid="2.25.5", series_uid="2.25.2")
    for path in write_ct_series(root / "lost", volume_hu(), patient_id="L", series_uid="2.25.3")[2:]:
        dataset = dcmread(path)
        dataset.PatientID = ""
        dataset.save_as(path)
    for name, uid in (("x", "2.25.6"), ("y", "2.25.7")):
        for path in write_ct_series(root / name, volume_hu(5), patient_id="M", series_uid=uid, frame_uid=f"{uid}.1"):
            path.rename((root / "lost").with_name(f"{path.name}{name}"))
    for number, path in enumerate(write_ct_series(root / "own", volume_hu(12), patient_id="O", series_uid="2.25.8")):
        (root / "own" / str(number)).mkdir()
        path.rename(root / "own" / str(number) / "image")
    write_enhanced(root / "enhanced" / "e", volume_hu(12))


def write_masks(root):
    """Masks by series, by image, by frame of reference and by grid, those of nobody, and those that cannot be read."""
    paths = {}
    for number in range(5):
        frame = {"frame_uid": f"2.25.90{number}", "origin_mm_xyz": (-10, -20, 100 + 100 * (number // 2))}
        uid = f"2.25.4{number}"
        paths[number] = write_ct_series(
            root / f"s{number}" / "ct", volume_hu(), patient_id=f"q{number // 2}", series_uid=uid, **frame
        )
    write_rtstruct(root / "s0" / "rs", {"hip": [CONTOUR]}, series_uid="2.25.40", frame_uid="2.25.900")
    write_rtstruct(root / "by-image", {"hip": [CONTOUR]}, series_uid="2.25.1", frame_uid="", image_uids=["2.25.41.2"])
    write_rtstruct(root / "by-frame", {"hip": [CONTOUR]}, series_uid="2.25.1", frame_uid="2.25.901", image_uids=["2.25.1.1"])
    write_rtstruct(root / "s4" / "ct" / "stranger", {"hip": [CONTOUR]}, series_uid="2.25.1", frame_uid="2.25.2")
    write_rtstruct(root / "s3" / "cut", {"hip": [CONTOUR]}, series_uid="2.25.43")
    cut(root / "s3" / "cut", -40)
    write_seg(root / "seg", read_sources(paths[2]), np.ones((4, 10, 12, 1), np.uint8), ["left"])
    write_nifti(root / "s0" / "m.nii.gz", np.ones((12, 10, 4), np.uint8), affine_ras(GRID))
    write_nifti(root / "all.nii.gz", np.ones((12, 10, 4), np.uint8), affine_ras(GRID))
    affine = affine_lps(GRID)
    fields = {"space": "LPS", "space directions": affine[:3, :3].T, "space origin": affine[:3, 3]}
    nrrd.write(str(root / "s1" / "m.nrrd"), np.ones((12, 10, 4), np.uint8), fields)


def write_carriers(root):
    """Overlay planes in captures, in a second series and in a copy; captures that call themselves CT."""

    def capture(modality):
        def change(dataset, z):
            dataset.SOPClassUID, dataset.Modality = "1.2.840.10008.5.1.4.1.1.7", modality
            del dataset.RescaleSlope, dataset.RescaleIntercept
            item = Dataset()
            item.ReferencedSOPInstanceUID = f"2.25.50.{z + 1}"
            dataset.SourceImageSequence = DicomSequence([item])

        return change

    planes = {0: [Plane(MASK, label="femur")], 2: [Plane(MASK, label="pelvis")]}
    write_ct_series(root / "ct", volume_hu(3), series_uid="2.25.50")
    write_ct_series(root / "captures", volume_hu(3, seed=1), series_uid="2.25.51", overlays=planes, change=capture("CT"))
    write_ct_series(root / "more", volume_hu(3, seed=1), series_uid="2.25.52", overlays=planes, change=capture("OT"))
    write_ct_series(root / "b" / "ct", volume_hu(3), patient_id="b", series_uid="2.25.53", frame_uid="2.25.3")
    write_ct_series(
        root / "b" / "planes", volume_hu(3, seed=2), patient_id="b", series_uid="2.25.54", frame_uid="2.25.3", overlays=planes
    )


def write_faults(root):
    """Damaged files and archives, patients in archives, media copied in part, and contradictory identifiers."""
    cut(write_ct_series(root / "cut", volume_hu(), series_uid="2.25.60")[1], 300)
    (root / "empty.dcm").touch()
    zip_folder(write_ct_series(root / "loose", volume_hu(9), series_uid="2.25.61")[0].parent, root / "good.zip")
    bad = zip_folder(root / "loose", root / "bad.zip")
    cut(bad, bad.stat().st_size // 2)
    shutil.rmtree(root / "loose")
    write_medium(root / "disc")["2.25.771"][3].unlink()
    write_ct_series(root / "two", volume_hu(), patient_id="one", series_uid="2.25.62")
    write_ct_series(root / "two" / "more", volume_hu(), patient_id="two", series_uid="2.25.62")
    head = write_ct_series(root / "head", volume_hu(), series_uid="2.25.63")[0]
    dataset = dcmread(head)
    dataset.SeriesInstanceUID = "2.25.64"
    dataset.save_as(head)
    (root / "link").symlink_to(root / "cut")


def describe(source):
    """Say what comes of a case: its structures, its slices and warnings, or why it is refused."""
    try:
        names = list_structures(source)
        opened = open_case(source, "c0", {one.name: 1 for one in names[:1]})
        slices = [(image.tobytes(), None if labels is None else labels.tobytes()) for image, labels in opened.slices]
    except Exception as error:
        return type(error), str(error)
    return names, opened.grid, opened.mask_kind, slices, opened.warnings, opened.late_warnings()


@pytest.mark.parametrize("write", [write_plain, write_awkward, write_masks, write_carriers, write_faults])
def test_headers_on_disk_change_nothing(tmp_path, monkeypatch, write):
    write(tmp_path)
    expected = find_cases(tmp_path)
    monkeypatch.setattr(spill, "ITEMS_IN_MEMORY", ROOM)
    monkeypatch.setattr(images, "MAX_KEPT", 2)
    found = find_cases(tmp_path)
    assert (found.files_seen, found.set_aside) == (expected.files_seen, expected.set_aside)
    assert [load_case(one) for one in found.cases] == list(expected.cases)
    assert not any(isinstance(one.images, SpillList) for one in expected.cases)
    assert sum(isinstance(one.images, SpillList) for one in found.cases) > len(found.cases) / 2
    assert [seal(one) for one in found.cases] == [seal(one) for one in expected.cases]
    assert [describe(one) for one in found.cases] == [describe(one) for one in expected.cases]
    assert len({repr(describe(one)) for one in found.cases}) > 1


def seal(source):
    return seal_source(stamp_source(source, "c0"), PLAN)


def test_no_more_headers_than_the_bound_are_in_memory_when_a_tree_was_searched(tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "ITEMS_IN_MEMORY", ROOM)
    write_carriers(tmp_path / "carriers")
    for number in range(6):
        write_ct_series(tmp_path / str(number), volume_hu(10), patient_id=str(number), series_uid=f"2.25.{number}")
    gc.collect()
    before = count_headers()
    found = find_cases(tmp_path)
    gc.collect()
    assert sum(len(one.images) for one in found.cases) == 69
    assert count_headers() - before <= ROOM


def count_headers():
    return Counter(type(one) for one in gc.get_objects())[ImageHeader]


@pytest.mark.parametrize(
    ("patients", "studies", "remark"),
    [
        (("", ""), 2, "2 of 2 series name no patient (0010,0020); each study, or folder, counts as a patient of its own"),
        (("P", "", ""), 3, "2 of 3 series name no patient (0010,0020); each study, or folder, counts as a patient of its own"),
        (("P", "P", "P"), 3, "all 3 series, of 3 studies, are of one patient (0010,0020), so that there are no folds to deal"),
        (("P", "P", "P"), 2, ""),
        (("P", "Q", "Q"), 3, ""),
        (("",), 1, ""),
        (("P", ""), 2, "1 of 2 series name no patient (0010,0020); each study, or folder, counts as a patient of its own"),
    ],
)
def test_patients_that_are_a_guess_are_told_once(tmp_path, patients, studies, remark):
    for number, patient in enumerate(patients):
        write_ct_series(
            tmp_path / str(number),
            volume_hu(),
            patient_id=patient,
            study_uid=f"2.25.7{min(number, studies - 1)}",
            series_uid=f"2.25.8{number}",
            frame_uid=f"2.25.9{number}",
        )
    assert [one.partition(", so that folds")[0].partition("; where")[0] for one in find_cases(tmp_path).remarks] == [
        remark
    ] * bool(remark)


@pytest.mark.parametrize(
    ("write", "lost", "words"),
    [
        (write_nnunet, "dataset.json", "imagesTr and imagesTs are there, but no dataset.json beside"),
        (write_ctorg, "labels-*", "4 volume-N.nii.gz and 0 labels-N.nii.gz are there, but none of both of one number"),
    ],
)
def test_a_layout_of_which_something_is_missing_is_told(tmp_path, write, lost, words):
    write(tmp_path)
    for path in tmp_path.glob(lost):
        path.unlink()
    with pytest.raises(SeriesError, match=f"or an nnU-Net data set, or CT-ORG: {words}"):
        find_cases(tmp_path)
