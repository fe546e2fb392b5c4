"""A case as it is found: brought into memory when it is packed, and never shown when printed."""

from dataclasses import replace

from hipseg.ingest.cases import find_cases
from hipseg.ingest.source import FoundCases, SourceCase, load_case
from hipseg.ingest.spill import Spill, SpillList
from tests.ingest.builders import PATIENT, volume_hu, write_ct_series


def test_headers_on_disk_come_into_memory_and_nothing_else_changes(tmp_path):
    write_ct_series(tmp_path, volume_hu())
    (source,) = find_cases(tmp_path).cases
    spill = Spill()
    on_disk = SpillList(spill)
    on_disk.extend(source.images)
    spill.flush()
    assert on_disk.is_spilled
    loaded = load_case(replace(source, images=on_disk, damaged=2))
    assert loaded == replace(source, images=tuple(source.images), damaged=2)
    assert load_case(loaded) == loaded


def test_neither_a_case_nor_all_of_them_show_a_patient_when_printed(tmp_path):
    write_ct_series(tmp_path, volume_hu())
    found = find_cases(tmp_path)
    assert found.cases[0].patient_id == PATIENT
    for shown in (repr(found), str(found.cases[0]), f"{found.cases}"):
        assert PATIENT not in shown
        assert tmp_path.name not in shown


def test_a_layout_that_nobody_names_is_a_tree_of_dicom_files():
    assert FoundCases((SourceCase("p", "s", "."),), 1, {}).layout == "DICOM tree"


def test_only_a_series_identifier_tells_a_case_from_all_others(tmp_path):
    write_ct_series(tmp_path / "one", volume_hu())
    write_ct_series(tmp_path / "two", volume_hu(), series_uid="", patient_id="Doe", frame_uid="2.25.8")
    found = {case.patient_id: case.has_identifier for case in find_cases(tmp_path).cases}
    assert found == {PATIENT: True, "Doe": False}
    assert not SourceCase("D/c", "D/imagesTr", ".", volume=tmp_path / "c.nii.gz").has_identifier
