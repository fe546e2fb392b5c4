import dataclasses

import numpy as np
import pytest

from hipseg.labels import HIP_LABEL, ORGAN_LABELS
from hipseg.phantom.anatomy import make_anatomy
from hipseg.phantom.bones import Frame, find_head
from hipseg.phantom.options import PhantomOptions
from hipseg.phantom.patients import Patient, plan_patients
from hipseg.phantom.scanner import HIGHEST_HU, scan
from hipseg.phantom.shapes import Plane

OPTIONS = PhantomOptions(patients=2, slices=12, matrix=128, seed=1)


def quiet(patient: Patient, **changes) -> Patient:
    return dataclasses.replace(patient, noise_hu=0.0, **changes)


def volumes(patient: Patient, is_trunk: bool = False) -> tuple[np.ndarray, np.ndarray]:
    slices = tuple(scan(patient, make_anatomy(patient, is_trunk)))
    return np.stack([one.hu for one in slices]), np.stack([one.labels for one in slices])


def planes(patient: Patient) -> list[Plane]:
    """The pixel centres of every slice, worked out anew from the grid, seen from the patient's middle."""
    (slices, rows, columns), (dz, dy, dx) = patient.grid.shape_zyx, patient.grid.spacing_mm_zyx
    x, y, z = np.subtract(patient.grid.origin_mm_xyz, patient.middle_mm_xyz)
    x_mm, y_mm = (x + dx * np.arange(columns)).astype(np.float32), (y + dy * np.arange(rows)).astype(np.float32)
    return [Plane(x_mm, y_mm, float(z + dz * index)) for index in range(slices)]


@pytest.fixture(scope="module")
def patient() -> Patient:
    # Fat of seven pixels, so that enough of them hold nothing else.
    return quiet(plan_patients(OPTIONS)[0], fat_mm=12.0)


@pytest.fixture(scope="module")
def scanned(patient) -> tuple[np.ndarray, np.ndarray]:
    return volumes(patient)


def test_mask_is_the_pixels_whose_centre_lies_inside_a_bone(patient, scanned):
    anatomy = make_anatomy(patient, is_trunk=False)
    expected = np.stack([np.any([bone.solid.distance(p) < 0 for bone in anatomy.bones], axis=0) for p in planes(patient)])
    assert expected.sum() > 3000
    assert np.array_equal(scanned[1] == HIP_LABEL, expected)
    assert set(np.unique(scanned[1])) == {0, HIP_LABEL}


def test_air_fat_and_muscle_have_their_densities(patient, scanned):
    hu, labels = scanned
    anatomy = make_anatomy(patient, is_trunk=False)
    skin = np.stack([anatomy.softness.outline.distance(p) for p in planes(patient)])
    skin[:, np.arange(128) > 76] = 0  # The back is pressed flat by the table: the outline is not the skin there.
    assert np.median(hu[:, 0]) == pytest.approx(-1000, abs=1)
    fat = (skin < -5) & (skin > 4 - 0.85 * patient.fat_mm)
    assert fat.sum() > 500
    assert np.median(hu[fat]) == pytest.approx(-100, abs=8)
    deep = (skin < -1.5 * patient.fat_mm - 5) & (labels == 0)
    assert 40 <= np.median(hu[deep]) <= 60


def test_head_is_cancellous_and_shaft_is_cortical(patient, scanned):
    hip = patient.hips[0]
    head = np.add(find_head(Frame(patient.scale, hip.side, hip.tilt_mm), hip), patient.middle_mm_xyz)
    spacing = np.array(patient.grid.spacing_mm_zyx[::-1])
    x, y, z = np.rint((head - patient.grid.origin_mm_xyz) / spacing).astype(int)
    core = scanned[0][z, y - 3 : y + 4, x - 3 : x + 4]
    assert 150 <= np.median(core) <= 400
    full = quiet(plan_patients(dataclasses.replace(OPTIONS, slices=50))[0])
    lowest = next(iter(scan(full, make_anatomy(full, is_trunk=False))))
    assert 700 <= lowest.hu.max() <= 1500
    assert np.percentile(lowest.hu[lowest.labels > 0], 5) < 300


def test_bone_edges_are_graded(scanned):
    hu, labels = scanned
    bone = labels > 0
    edge = bone[:, :, 1:] & ~bone[:, :, :-1]
    values = hu[:, :, 1:][edge]
    assert np.mean((values > 80) & (values < 700)) > 0.5
    assert values.max() > 400


def test_brightness_alone_does_not_tell_bone(scanned):
    hu, labels = scanned
    bone = labels > 0
    dice = [2 * np.sum((hu > low) & bone) / (np.sum(hu > low) + bone.sum()) for low in range(50, 500, 25)]
    assert 0.5 < max(dice) < 0.95


def test_noise_has_the_planned_strength(scanned, patient):
    noisy = dataclasses.replace(patient, noise_hu=15.0)
    difference = volumes(noisy)[0].astype(float) - scanned[0]
    centre = difference[:, 54:74, 54:74]
    assert centre.std() == pytest.approx(15, rel=0.1)
    assert difference[:, :4].std() < 0.5 * centre.std()


def test_same_patient_scans_alike(patient):
    noisy = plan_patients(OPTIONS)[0]
    for one, two in zip(volumes(noisy), volumes(noisy), strict=True):
        assert np.array_equal(one, two)


def test_metal_saturates_streaks_and_leaves_the_truth_alone(patient, scanned):
    hu, labels = volumes(dataclasses.replace(patient, has_metal=True))
    metal = hu == HIGHEST_HU
    assert metal.sum() > 5
    assert scanned[0].max() < 2000
    changed = np.abs(hu.astype(int) - scanned[0]) > 20
    assert changed.sum() > 5 * metal.sum()
    assert np.array_equal(labels, scanned[1])


def test_trunk_holds_every_organ_at_its_density():
    options = PhantomOptions(patients=1, slices=24, matrix=96, organs=True, seed=3)
    patient = quiet(plan_patients(options)[0], vessel_hu=45.0)
    hu, labels = volumes(patient, is_trunk=True)
    middle = {name: np.median(hu[labels == label]) for name, label in ORGAN_LABELS.items() if name != "brain"}
    assert set(np.unique(labels)) == {0, 1, 2, 3, 4, 5}
    assert middle["lungs"] == pytest.approx(-820, abs=25)
    assert middle["liver"] == pytest.approx(62, abs=12)
    assert middle["kidneys"] == pytest.approx(36, abs=12)
    assert middle["bladder"] == pytest.approx(8, abs=12)
    assert middle["bone"] > 180


def test_organs_lie_where_they_belong():
    options = PhantomOptions(patients=1, slices=24, matrix=96, organs=True, seed=3)
    _, labels = volumes(quiet(plan_patients(options)[0]), is_trunk=True)
    centre = {name: np.argwhere(labels == label).mean(axis=0) for name, label in ORGAN_LABELS.items() if name != "brain"}
    assert centre["bladder"][0] < centre["kidneys"][0] < centre["liver"][0] < centre["lungs"][0]
    # x rises to the patient's left; the liver lies on the right.
    assert centre["liver"][2] < centre["bladder"][2] - 8
    kidneys = np.argwhere(labels == ORGAN_LABELS["kidneys"])[:, 2]
    assert kidneys.min() < centre["bladder"][2] - 10 < centre["bladder"][2] + 10 < kidneys.max()
