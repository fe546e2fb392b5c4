"""A whole patient put together: soft tissue, what lies in it, bones, implant."""

from dataclasses import dataclass

from hipseg.labels import HIP_LABEL, ORGAN_LABELS
from hipseg.phantom.bones import (
    Bone,
    Frame,
    Shaft,
    make_femur,
    make_hip_bone,
    make_implant,
    make_sacrum,
    make_shaft,
)
from hipseg.phantom.organs import Layer, make_pelvic_layers, make_trunk_layers
from hipseg.phantom.patients import Patient
from hipseg.phantom.shapes import Solid
from hipseg.phantom.soft import Softness, make_softness
from hipseg.phantom.spine import ALL_LEVELS, make_ribs, make_vertebra
from hipseg.phantom.texture import Texture, make_texture

TEXTURE_KEY = 12
HIP_SCAN_LEVELS = 2
"""The hip scan reaches no higher than the second lumbar vertebra from below."""
CORTEX_MM, MARROW_HU = 1.9, 60.0


@dataclass(frozen=True)
class Anatomy:
    """Everything that is drawn of one patient.

    Args:
        softness: outline, fat and muscle.
        layers: organs and vessels, in drawing order.
        bones: drawn over them; no two overlap by more than a blend.
        bone_label: the bones' number in the mask.
        implant: metal, or None.
        grain: the field that makes cancellous bone uneven.
        lean: the one for muscle and organs.
    """

    softness: Softness
    layers: tuple[Layer, ...]
    bones: tuple[Bone, ...]
    bone_label: int
    implant: Solid | None
    grain: Texture
    lean: Texture


def make_anatomy(patient: Patient, is_trunk: bool) -> Anatomy:
    """Build a patient for the hip scan, or for the trunk scan with its organs.

    Args:
        patient: as planned.
        is_trunk: the trunk from the chest's base to the hips, organs labelled.
    """
    random = patient.generator(TEXTURE_KEY)
    lean, fatty, grain = (make_texture(random, step) for step in (3.5, 6.0, 2.2))
    return Anatomy(
        softness=make_softness(patient, lean, fatty),
        layers=make_trunk_layers(patient) if is_trunk else make_pelvic_layers(patient),
        bones=_make_bones(patient, is_trunk),
        bone_label=ORGAN_LABELS["bone"] if is_trunk else HIP_LABEL,
        implant=_make_implants(patient) if patient.has_metal else None,
        grain=grain,
        lean=lean,
    )


def _make_bones(patient: Patient, is_trunk: bool) -> tuple[Bone, ...]:
    frames = [Frame(patient.scale, hip.side, hip.tilt_mm) for hip in patient.hips]
    halves = [make_hip_bone(frame, hip, patient.age_years) for frame, hip in zip(frames, patient.hips, strict=True)]
    sacrum = make_sacrum(patient.scale, (halves[0], halves[1]))
    bones = [_make_bone(patient, half, 1.0, 0.8) for half in halves]
    bones.append(_make_bone(patient, sacrum, 0.8, 0.62))
    for frame, hip in zip(frames, patient.hips, strict=True):
        shaft = make_shaft(frame, hip, MARROW_HU)
        bones.append(_make_bone(patient, make_femur(frame, hip, patient.age_years), 1.0, 1.0, shaft))
    spine: list[Solid] = [make_vertebra(patient.scale, 0, keep_off=(sacrum, *halves))]
    spine += [make_vertebra(patient.scale, level) for level in range(1, ALL_LEVELS if is_trunk else HIP_SCAN_LEVELS)]
    bones += [_make_bone(patient, vertebra, 0.8, 0.6) for vertebra in spine]
    if is_trunk:
        bones += [_make_bone(patient, rib, 0.7, 0.7) for rib in make_ribs(patient.scale, tuple(spine))]
    return tuple(bones)


def _make_bone(patient: Patient, solid: Solid, shell: float, hardness: float, shaft: Shaft | None = None) -> Bone:
    cortex_mm = CORTEX_MM * max(patient.scale, 0.75) * shell
    return Bone(solid, cortex_mm, hardness * patient.cortical_hu, (0.6 + 0.5 * hardness) * patient.cancellous_hu, shaft)


def _make_implants(patient: Patient) -> Solid:
    worse = max(patient.hips, key=lambda hip: hip.migration)
    return make_implant(Frame(patient.scale, worse.side, worse.tilt_mm), worse)
