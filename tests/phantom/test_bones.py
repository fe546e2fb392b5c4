import numpy as np
import pytest

from hipseg.phantom.bones import Bone, Frame, Shaft, find_head, make_femur, make_hip_bone, make_sacrum
from hipseg.phantom.patients import Hip
from hipseg.phantom.shapes import Ellipsoid, Plane

GROWN = Frame(1.0)
IN_JOINT = Hip(1, 0.12, 0.0, 0.0, 0.0, 135.0, 20.0, 0.0)
DISLOCATED = Hip(1, 1.0, 28.0, 27.0, 7.0, 147.0, 35.0, 0.0)


def distances(solid, z, x=(20, 170), y=(-80, 110)) -> np.ndarray:
    return solid.distance(Plane(np.arange(*x, dtype=np.float32), np.arange(*y, dtype=np.float32), z))


@pytest.mark.parametrize("hip", [IN_JOINT, DISLOCATED])
def test_femur_and_pelvis_never_share_a_point(hip):
    pelvis, femur = make_hip_bone(GROWN, hip, 8.0), make_femur(GROWN, hip, 8.0)
    for z in range(-90, 120, 3):
        assert not np.any((distances(pelvis, z) < 0) & (distances(femur, z) < 0))


def test_head_in_joint_is_held_by_bone_on_its_inner_side_and_free_outside():
    pelvis = make_hip_bone(GROWN, IN_JOINT, 15.0)
    x, y, z = find_head(GROWN, IN_JOINT)
    line = pelvis.distance(Plane(np.arange(x - 40, x + 60, dtype=np.float32), np.array([y], np.float32), z))[0] < 0
    assert line[:20].any()
    assert not line[40:].any()


def test_dislocated_head_has_left_the_socket():
    pelvis = make_hip_bone(GROWN, DISLOCATED, 8.0)
    x, y, z = find_head(GROWN, DISLOCATED)
    assert (x, z) == (88 + 28, 27)
    assert float(pelvis.distance(Plane(np.array([x], np.float32), np.array([y], np.float32), z))[0, 0]) > 23


def test_child_has_a_growth_plate_between_head_and_neck():
    femur = make_femur(GROWN, IN_JOINT, 6.0)
    head = np.array(find_head(GROWN, IN_JOINT))
    tilt, turn = np.deg2rad(45), np.deg2rad(20)
    along = np.array([np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), -np.cos(tilt)])
    steps = np.arange(0, 40, 0.2)
    inside = [
        float(femur.distance(Plane(np.array([x], np.float32), np.array([y], np.float32), z))[0, 0]) < 0
        for x, y, z in (head + step * along for step in steps)
    ]
    gap = steps[~np.array(inside)]
    assert inside[0]
    assert inside[-1]
    assert 1.4 <= gap.max() - gap.min() <= 3


def test_mirrored_side_is_the_mirror_image():
    left = make_femur(GROWN, IN_JOINT, 9.0)
    right = make_femur(Frame(1.0, -1), Hip(-1, 0.12, 0.0, 0.0, 0.0, 135.0, 20.0, 0.0), 9.0)
    here, there = distances(left, -20.0), distances(right, -20.0, x=(-169, -19))[:, ::-1]
    near = here < 3
    assert near.sum() > 1000
    assert np.allclose(here[near], there[near], atol=1e-3)


def test_sacrum_keeps_a_joint_space_from_the_ilium():
    ilium = Ellipsoid((50.0, 62.0, 70.0), (6.0, 20.0, 40.0))
    sacrum = make_sacrum(1.0, (ilium, Ellipsoid((-50.0, 62.0, 70.0), (6.0, 20.0, 40.0))))
    bone, other = distances(sacrum, 70.0, x=(0, 70)) < 0, distances(ilium, 70.0, x=(0, 70))
    assert bone.sum() > 800
    assert other[bone].min() >= 2.5


def test_density_falls_from_cortex_to_core_and_to_marrow_in_the_shaft():
    bone = Bone(Ellipsoid((0, 0, 0), (9, 9, 9)), 2.0, 1000.0, 250.0, Shaft(0.0, -10.0, 5.0, 60.0))
    depths = np.array([[-0.5, -8.0]], np.float32)
    assert bone.density_hu(depths, 5.0)[0] == pytest.approx([1000, 250])
    assert bone.density_hu(depths, -20.0)[0] == pytest.approx([1000, 60])
    assert bone.density_hu(np.array([[-3.5]], np.float32), -20.0)[0, 0] == pytest.approx(1000)
