import numpy as np
import pytest

from hipseg.phantom.bones import Frame, find_head
from hipseg.phantom.options import PhantomOptions
from hipseg.phantom.patients import MAX_SPACING_MM, Hip, plan_patients

PATIENTS = plan_patients(PhantomOptions(patients=12, seed=2))


def worse_hip(patient) -> Hip:
    return max(patient.hips, key=lambda hip: hip.migration)


def head_shift_mm(patient) -> tuple[float, float]:
    """How far the worse head lies outside and above the place of a hip that is in joint, over the patient's size."""
    hip = worse_hip(patient)
    frame = Frame(patient.scale, hip.side, hip.tilt_mm)
    x, _, z = find_head(frame, hip)
    socket_x, _, socket_z = frame.point(88, 0, 0)
    return abs(x - socket_x) / patient.scale, (z - socket_z) / patient.scale


def test_hips_go_from_normal_to_dislocated():
    migrations = [worse_hip(patient).migration for patient in PATIENTS]
    assert migrations == sorted(migrations)
    assert migrations[0] < 0.33
    assert migrations[-1] > 1


def test_head_moves_outwards_and_upwards_over_the_patients():
    lateral, up = np.array([head_shift_mm(patient) for patient in PATIENTS]).T
    assert np.all(np.diff(lateral) >= 0)
    assert np.all(np.diff(up) >= 0)
    assert lateral[0] == pytest.approx(0, abs=1e-6)
    assert up[0] == pytest.approx(0, abs=1e-6)
    # Twice the radius of the head is 46 mm: a dislocated one has lost its socket by more than half of it, and climbed.
    assert lateral[-1] > 23
    assert up[-1] > 23


def test_both_sides_and_both_hips_occur():
    assert {worse_hip(patient).side for patient in PATIENTS} == {1, -1}
    others = [min(hip.migration for hip in patient.hips) for patient in PATIENTS]
    assert min(others) < 0.2
    assert max(others) > 0.33


def test_children_are_3_to_16_years_old_and_grow():
    ages = [patient.age_years for patient in PATIENTS]
    assert min(ages) < 4
    assert max(ages) > 15
    assert all(3 <= age <= 16 for age in ages)
    by_age = sorted(PATIENTS, key=lambda patient: patient.age_years)
    assert by_age[-1].scale > 1.5 * by_age[0].scale


def test_pixel_slice_and_position_differ_between_patients():
    assert len({patient.pixel_mm for patient in PATIENTS}) > 8
    assert len({patient.grid.spacing_mm_zyx[0] for patient in PATIENTS}) > 6
    assert len({patient.grid.origin_mm_xyz for patient in PATIENTS}) == len(PATIENTS)


def test_few_slices_stay_thin_and_cover_the_joints():
    for patient in plan_patients(PhantomOptions(patients=6, slices=8)):
        slices, spacing = patient.grid.shape_zyx[0], patient.grid.spacing_mm_zyx[0]
        lowest = patient.grid.origin_mm_xyz[2] - patient.middle_mm_xyz[2]
        assert spacing <= MAX_SPACING_MM
        assert lowest < 0 < lowest + spacing * (slices - 1)


def test_trunk_is_covered_however_few_the_slices():
    for patient in plan_patients(PhantomOptions(patients=3, slices=6, organs=True)):
        lowest = patient.grid.origin_mm_xyz[2] - patient.middle_mm_xyz[2]
        highest = lowest + 5 * patient.grid.spacing_mm_zyx[0]
        assert lowest < 0
        assert highest > 300 * patient.scale
        assert patient.thickness_mm <= 10


def test_same_seed_gives_the_same_patients_and_another_seed_others():
    options = PhantomOptions(patients=3, seed=4)
    assert plan_patients(options) == plan_patients(options)
    others = plan_patients(PhantomOptions(patients=3, seed=5))
    assert all(one.cortical_hu != two.cortical_hu for one, two in zip(plan_patients(options), others, strict=True))


def test_metal_is_only_there_when_asked_for():
    assert not any(patient.has_metal for patient in PATIENTS)
    assert [p.has_metal for p in plan_patients(PhantomOptions(patients=4, metal=True))] == [True, False, True, False]


def test_single_patient_can_be_planned():
    (patient,) = plan_patients(PhantomOptions(patients=1))
    assert patient.number == 1
