"""A patient scanned: densities on a slice with partial volume, metal streaks, point spread and noise; and the truth."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hipseg.geometry import affine_lps
from hipseg.labels import AIR_HU
from hipseg.phantom.anatomy import Anatomy
from hipseg.phantom.patients import Patient
from hipseg.phantom.shapes import ArrayF32, Plane, Solid, measure, share_inside

LOWEST_HU, HIGHEST_HU = -1024, 3071
"""What 12 bits hold with an intercept of -1024."""
METAL_HU = 9000.0
NOISE_KEY, STREAK_KEY = 13, 14
SUBSLICES = (-1 / 3, 0.0, 1 / 3)
"""Heights within a slice, in thicknesses, over which bone is averaged; the middle one is the truth."""
STREAK_HU, STREAK_MM, FULL_STREAK_MM2 = 420.0, 14.0, 120.0
"""Height of the streaks at the metal, the distance at which half is left, and the area of metal that makes them so high."""
STREAK_WAVES = (2, 4, 7, 11, 16, 23)
LEAN_GRAIN_HU = np.float32(6)
BONE_GRAIN = 0.14
"""Unevenness of cancellous bone as a share of its density."""


@dataclass(frozen=True)
class Slice:
    """One slice as the scanner gives it, and what is true there.

    Args:
        hu: int16 (y, x).
        labels: uint8 (y, x); a pixel is a structure's when its centre lies inside.
    """

    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]


def scan(patient: Patient, anatomy: Anatomy) -> Iterator[Slice]:
    """Scan a patient slice by slice, by rising z.

    Args:
        patient: body, grid and manners of the scanner.
        anatomy: the patient's solids.
    Yields:
        One slice after the other.
    """
    affine = affine_lps(patient.grid)
    middle = np.array(patient.middle_mm_xyz)
    slices, rows, columns = patient.grid.shape_zyx
    x_mm = (affine[0, 0] * np.arange(columns) + affine[0, 3] - middle[0]).astype(np.float32)
    y_mm = (affine[1, 1] * np.arange(rows) + affine[1, 3] - middle[1]).astype(np.float32)
    for index in range(slices):
        plane = Plane(x_mm, y_mm, float(affine[2, 2] * index + affine[2, 3] - middle[2]))
        yield _scan_slice(patient, anatomy, plane, index)


def _scan_slice(patient: Patient, anatomy: Anatomy, plane: Plane, index: int) -> Slice:
    image, body = anatomy.softness.densities_hu(plane, patient.pixel_mm)
    labels = np.zeros(image.shape, np.uint8)
    _draw_layers(patient, anatomy, plane, image, labels)
    _draw_bones(patient, anatomy, plane, image, labels)
    if anatomy.implant is not None:
        image = _draw_metal(image, body, anatomy.implant, plane, patient.generator(STREAK_KEY, index))
    noise = patient.generator(NOISE_KEY, index).standard_normal(image.shape, dtype=np.float32)
    # Air absorbs nothing, so rays that pass it alone count more and are less noisy.
    image += noise * (np.float32(patient.noise_hu / _noise_left(patient.blur)) * (np.float32(0.35) + np.float32(0.65) * body))
    image = _spread(_spread(image, patient.blur).T, patient.blur).T
    return Slice(np.clip(np.rint(image), LOWEST_HU, HIGHEST_HU).astype(np.int16), labels)


def _draw_layers(patient: Patient, anatomy: Anatomy, plane: Plane, image: ArrayF32, labels: NDArray[np.uint8]) -> None:
    for layer in anatomy.layers:
        measured = measure(layer.solid, plane)
        if measured is None:
            continue
        window, distance = measured
        density: ArrayF32 = np.full(distance.shape, layer.hu, np.float32)
        if layer.is_textured:
            density += LEAN_GRAIN_HU * anatomy.lean.values(plane.part(window))
        image[window] += share_inside(distance, patient.pixel_mm) * (density - image[window])
        labels[window][distance < 0] = layer.label


def _draw_bones(patient: Patient, anatomy: Anatomy, plane: Plane, image: ArrayF32, labels: NDArray[np.uint8]) -> None:
    soft = image.copy()
    for bone in anatomy.bones:
        for step in SUBSLICES:
            level = plane.at(plane.z_mm + step * patient.thickness_mm)
            measured = measure(bone.solid, level)
            if measured is None:
                continue
            window, distance = measured
            density = bone.density_hu(distance, level.z_mm)
            density += np.float32(BONE_GRAIN * bone.cancellous_hu) * anatomy.grain.values(level.part(window))
            share = share_inside(distance, patient.pixel_mm) * np.float32(1 / len(SUBSLICES))
            image[window] += share * (density - soft[window])
            if step == 0:
                labels[window][distance < 0] = anatomy.bone_label


def _draw_metal(image: ArrayF32, body: ArrayF32, implant: Solid, plane: Plane, random: np.random.Generator) -> ArrayF32:
    measured = measure(implant, plane)
    if measured is None:
        return image
    window, distance = measured
    pixel_mm = float(plane.x_mm[1] - plane.x_mm[0])
    share = share_inside(distance, pixel_mm)
    total = float(share.sum())
    if total <= 0:
        return image
    part = plane.part(window)
    centre = (float((share.sum(axis=0) * part.x_mm).sum()) / total, float((share.sum(axis=1) * part.y_mm).sum()) / total)
    x, y, _ = plane.seen_from((*centre, 0.0))
    turn = np.arctan2(y, x)
    pattern = np.zeros(image.shape, np.float32)
    for waves in STREAK_WAVES:
        strength, phase = np.float32(random.normal() / np.sqrt(waves)), np.float32(random.uniform(0, 2 * np.pi))
        pattern += strength * np.cos(np.float32(waves) * turn + phase)
    # Streaks fade with the distance from the metal and grow with how much of it the slice holds.
    peak = STREAK_HU * min(1.0, total * pixel_mm**2 / FULL_STREAK_MM2)
    streaked = image + body * pattern * (np.float32(peak * STREAK_MM) / (np.hypot(x, y) + np.float32(STREAK_MM)))
    streaked[window] += share * (np.float32(METAL_HU) - streaked[window])
    return streaked


def _spread(image: ArrayF32, blur: float) -> ArrayF32:
    # Each row becomes a weighted mean of itself and its neighbours; beyond the first and last lies air.
    weight = np.float32(blur)
    spread = image * (1 - 2 * weight)
    spread[1:] += weight * image[:-1]
    spread[:-1] += weight * image[1:]
    spread[0] += weight * AIR_HU
    spread[-1] += weight * AIR_HU
    return spread


def _noise_left(blur: float) -> float:
    # What the spreading along both axes leaves of white noise's standard deviation.
    return (1 - 2 * blur) ** 2 + 2 * blur**2
