import dataclasses

from hipseg.phantom.identity import Identity
from hipseg.phantom.options import PhantomOptions
from hipseg.phantom.patients import plan_patients

OPTIONS = PhantomOptions(patients=2)
ONE, TWO = (Identity(patient, OPTIONS) for patient in plan_patients(OPTIONS))


def test_patient_id_is_fictitious_and_numbered():
    assert (ONE.patient_id, TWO.patient_id) == ("PHANTOM-0001", "PHANTOM-0002")


def test_trunks_are_of_other_patients_than_hips():
    trunk = Identity(ONE.patient, dataclasses.replace(OPTIONS, organs=True))
    assert trunk.patient_id == "PHANTOM-TRUNK-0001"


def test_uid_is_valid_and_stays_the_same():
    assert ONE.uid("study") == Identity(ONE.patient, OPTIONS).uid("study")
    root, number = ONE.uid("image", 3).rsplit(".", 1)
    assert root == "2.25"
    assert number.isdigit()
    assert not number.startswith("0")
    assert len(ONE.uid("image", 3)) <= 64


def test_uids_differ_by_thing_patient_and_options():
    other = Identity(ONE.patient, dataclasses.replace(OPTIONS, matrix=256))
    uids = {ONE.uid("study"), ONE.uid("frame"), ONE.uid("image", 0), ONE.uid("image", 1), TWO.uid("study"), other.uid("study")}
    assert len(uids) == 6
