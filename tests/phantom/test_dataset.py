import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np
import pydicom
import pytest

from hipseg.errors import ConfigError
from hipseg.ingest.cases import find_cases, open_case
from hipseg.labels import ORGAN_LABELS
from hipseg.phantom.anatomy import make_anatomy
from hipseg.phantom.dataset import write_phantom
from hipseg.phantom.options import PhantomOptions
from hipseg.phantom.scanner import scan

TINY = PhantomOptions(patients=2, slices=4, matrix=64, seed=8)


def digest_tree(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        digest.update(str(path.relative_to(root)).encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def truths(written, is_trunk: bool = False) -> dict[str, np.ndarray]:
    """The truth of each patient, by its identifier."""
    return {
        f"PHANTOM-{'TRUNK-' if is_trunk else ''}{patient.number:04d}": np.stack(
            [one.labels for one in scan(patient, make_anatomy(patient, is_trunk))]
        )
        for patient in written.patients
    }


@pytest.mark.parametrize(
    "options",
    [
        TINY,
        dataclasses.replace(TINY, masks="rtstruct"),
        dataclasses.replace(TINY, masks="nifti"),
        dataclasses.replace(TINY, organs=True, metal=True, patients=1),
    ],
    ids=["overlay", "rtstruct", "nifti", "organs and metal"],
)
def test_same_options_give_the_same_bytes(tmp_path, options):
    write_phantom(tmp_path / "one", options)
    write_phantom(tmp_path / "two", options)
    assert digest_tree(tmp_path / "one") == digest_tree(tmp_path / "two")


def test_another_seed_gives_other_patients(tmp_path):
    write_phantom(tmp_path / "one", TINY)
    write_phantom(tmp_path / "two", dataclasses.replace(TINY, seed=9))
    one, two = (sorted((tmp_path / name).rglob("SE0002/*.dcm")) for name in ("one", "two"))
    for path, other in zip(one, two, strict=True):
        a, b = pydicom.dcmread(path), pydicom.dcmread(other)
        assert a.SOPInstanceUID != b.SOPInstanceUID
        assert not np.array_equal(a.pixel_array, b.pixel_array)


@pytest.mark.parametrize("masks", ["overlay", "rtstruct", "nifti"])
@pytest.mark.parametrize("organs", [False, True], ids=["hip", "organs"])
def test_every_form_of_mask_is_packed_as_the_truth(tmp_path, masks, organs):
    options = dataclasses.replace(TINY, masks=masks, organs=organs, slices=6)
    written = write_phantom(tmp_path / "data", options)
    rois = {} if masks == "nifti" or not organs else dict(written.structures)
    found = find_cases(written.root)
    expected = truths(written, organs)
    assert sorted(case.patient_id for case in found.cases) == sorted(expected)
    assert any("localizer" in reason for reason in found.set_aside)
    for case in found.cases:
        opened = open_case(case, "c1", rois)
        labels = np.stack([labels for _, labels in opened.slices])
        assert opened.mask_kind == masks
        assert np.array_equal(labels, expected[case.patient_id])


def test_organs_are_overlay_planes_named_after_them(tmp_path):
    write_phantom(tmp_path / "data", dataclasses.replace(TINY, organs=True, patients=1))
    image = pydicom.dcmread(next((tmp_path / "data").rglob("SE0002/*.dcm")))
    names = {group: image[group << 16 | 0x1500].value for group in range(0x6000, 0x600A, 2)}
    assert list(names.values()) == [name for name in ORGAN_LABELS if name != "brain"]
    assert 0x600A1500 not in image


def test_only_the_overlay_form_adds_planes_to_the_images(tmp_path):
    write_phantom(tmp_path / "data", dataclasses.replace(TINY, masks="rtstruct", patients=1))
    assert 0x60003000 not in pydicom.dcmread(next((tmp_path / "data").rglob("SE0002/*.dcm")))
    structures = pydicom.dcmread(next((tmp_path / "data").rglob("SE0003/*.dcm")))
    assert [roi.ROIName for roi in structures.StructureSetROISequence] == ["hip"]


def test_metal_is_in_the_images_of_every_second_patient(tmp_path):
    write_phantom(tmp_path / "data", dataclasses.replace(TINY, metal=True, slices=12))
    highest = {}
    for path in (tmp_path / "data").rglob("SE0002/*.dcm"):
        image = pydicom.dcmread(path)
        hu = int(image.pixel_array.max()) + int(image.RescaleIntercept)
        highest[image.PatientID] = max(hu, highest.get(image.PatientID, 0))
    assert highest["PHANTOM-0001"] > 2500
    assert highest["PHANTOM-0002"] < 2000


def test_empty_folder_is_filled(tmp_path):
    (tmp_path / "data").mkdir()
    write_phantom(tmp_path / "data", TINY)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["PHANTOM-0001", "PHANTOM-0002"]


def test_folder_with_something_in_it_is_refused_and_left_alone(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.txt").write_text("precious")
    with pytest.raises(ConfigError, match=r"data is there already and not empty; name a new or an empty folder"):
        write_phantom(tmp_path / "data", TINY)
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "mine.txt"]


def test_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "data").write_text("precious")
    with pytest.raises(ConfigError, match="data is there already"):
        write_phantom(tmp_path / "data", TINY)
    assert (tmp_path / "data").read_text() == "precious"


def test_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write .*file/data"):
        write_phantom(tmp_path / "file" / "data", TINY)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ConfigError, match=r"cannot write .*data: Permission denied"):
            write_phantom(tmp_path / "data", TINY)
    finally:
        tmp_path.chmod(0o700)


def test_interrupted_writing_leaves_nothing(tmp_path):
    def stop(_patient):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_phantom(tmp_path / "data", TINY, stop)
    assert list(tmp_path.iterdir()) == []


def test_every_patient_is_reported_in_order(tmp_path):
    numbers = []
    written = write_phantom(tmp_path / "data", TINY, lambda patient: numbers.append(patient.number))
    assert numbers == [1, 2]
    assert [patient.number for patient in written.patients] == numbers
