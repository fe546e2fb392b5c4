"""Who lies in the scanner and how the scanner is set: everything about a patient that the seed decides."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from hipseg.geometry import Grid, make_grid
from hipseg.phantom.options import PhantomOptions

YOUNGEST_YEARS, OLDEST_YEARS = 3.0, 16.0
HIP_CENTRE_MM = 88.0
"""Distance of the hip joint's centre from the middle of the body in a grown person."""
HEAD_RADIUS_MM = 23.0
"""Radius of the femoral head in a grown person."""
NORMAL_MIGRATION, DISLOCATED_MIGRATION = 0.12, 1.05
"""Share of the head's width that lies outside the socket. Source: Reimers, Acta Orthop Scand Suppl 184 (1980): below 0.33
the hip is in place, from 1 on it is dislocated."""
HIP_RANGE_MM, TRUNK_RANGE_MM = (-100.0, 135.0), (-70.0, 385.0)
"""What the scans cover in a grown person, seen from the hip joints."""
MAX_SPACING_MM = 3.5
"""Slices of the hip are never farther apart, however few are asked for: the scan then covers less, about the joints. Those of
the trunk are, since it is the organs that count there; then there are gaps between them."""
MAX_HIP_THICKNESS_MM, MAX_TRUNK_THICKNESS_MM, MIN_SPACING_MM = 2.5, 10.0, 0.5
JOINT_ROOF_MM = 10.0
"""Middle of a scan that cannot cover all: just over the joints' centres, where head and socket are both in view."""


@dataclass(frozen=True)
class Hip:
    """One hip joint.

    Args:
        side: 1 for the left (x rises to the left), -1 for the right.
        migration: share of the femoral head's width outside the socket; 1 and more is a dislocation.
        lateral_mm, up_mm, back_mm: where the head's centre lies, seen from the socket's.
        neck_shaft_deg, anteversion_deg: angles of the femoral neck.
        tilt_mm: how much higher than the middle this side of the pelvis stands.
    """

    side: Literal[1, -1]
    migration: float
    lateral_mm: float
    up_mm: float
    back_mm: float
    neck_shaft_deg: float
    anteversion_deg: float
    tilt_mm: float


@dataclass(frozen=True)
class Patient:
    """One patient: the body, the scan, and the manners of the scanner that exported it.

    Args:
        number: counts from 1.
        age_years: 3 to 16.
        sex: as DICOM writes it.
        scale: length of the bones as a share of a grown person's.
        girth: width of the soft tissue as a share of the usual at this size.
        fat_mm: subcutaneous fat.
        hips: left and right.
        cortical_hu, cancellous_hu: densities of this patient's bone.
        vessel_hu: 45 without contrast, 150 and more with it.
        has_bowel_contrast: some bowel loops are as bright as cancellous bone.
        has_metal: a plate and screws on the femur.
        noise_hu: standard deviation of the noise inside the body.
        blur: weight of a pixel's neighbours in the scanner's point spread, 0 to 0.25.
        thickness_mm: of a slice; more than the distance between slices where they overlap.
        grid: of the scan, z rising; the patient's middle lies at `middle_mm_xyz` on it.
        middle_mm_xyz: the point halfway between the sockets, in the scanner's LPS mm.
        is_signed: stored as signed HU, or else as unsigned 12 bits with intercept -1024.
        is_head_first_order: instances count from the head down.
        has_shuffled_names: file names do not follow the slices.
        has_localizer: a localizer lies beside the series.
        random_key: what every random number of this patient is seeded with.
    """

    number: int
    age_years: float
    sex: Literal["F", "M"]
    scale: float
    girth: float
    fat_mm: float
    hips: tuple[Hip, Hip]
    cortical_hu: float
    cancellous_hu: float
    vessel_hu: float
    has_bowel_contrast: bool
    has_metal: bool
    noise_hu: float
    blur: float
    thickness_mm: float
    grid: Grid
    middle_mm_xyz: tuple[float, float, float]
    is_signed: bool
    is_head_first_order: bool
    has_shuffled_names: bool
    has_localizer: bool
    random_key: tuple[int, ...]

    @property
    def pixel_mm(self) -> float:
        """Width of a pixel, which is square."""
        return self.grid.spacing_mm_zyx[1]

    def generator(self, *key: int) -> np.random.Generator:
        """Give the random numbers for one purpose, the same whatever else was drawn."""
        return np.random.default_rng([*self.random_key, *key])


def plan_patients(options: PhantomOptions) -> tuple[Patient, ...]:
    """Draw the patients of a data set: ages spread over childhood, hips from normal to dislocated in order of number."""
    random = np.random.default_rng([options.seed, 0])
    steps = np.linspace(0, 1, options.patients) if options.patients > 1 else np.array([random.random()])
    ages = YOUNGEST_YEARS + (OLDEST_YEARS - YOUNGEST_YEARS) * random.permutation(steps)
    severity = np.linspace(0, 1, options.patients)
    return tuple(
        _plan_patient(options, number, float(age), float(worse))
        for number, (age, worse) in enumerate(zip(ages, severity, strict=True), start=1)
    )


def _plan_patient(options: PhantomOptions, number: int, age_years: float, severity: float) -> Patient:
    key = (options.seed, number)
    random = np.random.default_rng(key)
    age_years = float(np.clip(age_years + random.uniform(-0.4, 0.4), YOUNGEST_YEARS, OLDEST_YEARS))
    scale = (0.55 + 0.42 * (age_years - YOUNGEST_YEARS) / (OLDEST_YEARS - YOUNGEST_YEARS)) * random.uniform(0.96, 1.04)
    girth = random.uniform(0.94, 1.1)
    hips = _draw_hips(random, severity, scale)
    spread_mm = max(hip.lateral_mm for hip in hips)
    middle = (random.uniform(-6, 6), random.uniform(-12, 4), -round(random.uniform(200, 900), 1))
    grid, thickness = _draw_grid(random, options, scale, 2 * (172 * scale * girth + 0.8 * spread_mm), middle)
    return Patient(
        number=number,
        age_years=age_years,
        sex="F" if random.random() < 0.5 else "M",
        scale=scale,
        girth=girth,
        fat_mm=random.uniform(9, 20) * scale,
        hips=hips,
        cortical_hu=random.uniform(930, 1050) + 25 * age_years,
        cancellous_hu=random.uniform(210, 330),
        vessel_hu=random.uniform(150, 280) if number % 3 == 0 else 45.0,
        has_bowel_contrast=number % 3 != 2,
        has_metal=options.metal and number % 2 == 1,
        noise_hu=random.uniform(6, 14),
        blur=random.uniform(0.1, 0.2),
        thickness_mm=thickness,
        grid=grid,
        middle_mm_xyz=middle,
        is_signed=number % 2 == 0,
        is_head_first_order=number % 3 == 2,
        has_shuffled_names=number % 4 == 3,
        has_localizer=number % 5 == 1,
        random_key=key,
    )


def _draw_hips(random: np.random.Generator, severity: float, scale: float) -> tuple[Hip, Hip]:
    worse = NORMAL_MIGRATION + (DISLOCATED_MIGRATION - NORMAL_MIGRATION) * severity
    is_both = random.random() < 0.4
    other = worse * random.uniform(0.7, 1.0) if is_both else random.uniform(0.5, 1.0) * min(worse, 0.2)
    left, right = (worse, other) if random.random() < 0.5 else (other, worse)
    tilt_mm = random.uniform(-6, 6) * scale
    return _draw_hip(random, 1, left, scale, tilt_mm), _draw_hip(random, -1, right, scale, -tilt_mm)


def _draw_hip(random: np.random.Generator, side: Literal[1, -1], migration: float, scale: float, tilt_mm: float) -> Hip:
    radius = HEAD_RADIUS_MM * scale
    # The socket's edge lies 0.7 radii out in a normal hip, 0.2 in a dislocated one, whose roof has grown steep.
    edge = 0.7 - 0.5 * np.clip((migration - 0.15) / 0.85, 0, 1)
    return Hip(
        side=side,
        migration=migration,
        lateral_mm=max(0.0, float(2 * migration - 1 + edge)) * radius,
        up_mm=1.7 * max(0.0, migration - 0.3) * radius,
        back_mm=0.5 * max(0.0, migration - 0.4) * radius,
        neck_shaft_deg=random.uniform(132, 140) + 12 * min(migration, 1.0),
        anteversion_deg=random.uniform(15, 30) + 10 * min(migration, 1.0),
        tilt_mm=tilt_mm,
    )


def _draw_grid(
    random: np.random.Generator, options: PhantomOptions, scale: float, width_mm: float, middle: tuple[float, float, float]
) -> tuple[Grid, float]:
    pixel_mm = round(width_mm * random.uniform(1.05, 1.18)) / options.matrix
    low, high = TRUNK_RANGE_MM if options.organs else HIP_RANGE_MM
    wanted = (high - low) * scale * random.uniform(0.92, 1.0) / options.slices
    spacing_mm = wanted if options.organs else min(wanted, MAX_SPACING_MM)
    spacing_mm = round(max(MIN_SPACING_MM, 0.05 * round(spacing_mm / 0.05)), 2)
    centre = (low + high) / 2 * scale if spacing_mm >= 0.9 * wanted else JOINT_ROOF_MM * scale
    first = centre - spacing_mm * (options.slices - 1) / 2
    half = (options.matrix - 1) / 2 * pixel_mm
    shift = random.uniform(-5, 5), random.uniform(-4, 4)
    origin = np.round([shift[0] - half + middle[0], shift[1] - half + middle[1] + 18 * scale, first + middle[2]], 3)
    shape = (options.slices, options.matrix, options.matrix)
    grid = make_grid(shape, (spacing_mm, pixel_mm, pixel_mm), origin, np.eye(3))
    # Some scanners reconstruct slices that overlap, and thin slices farther apart than they are thick.
    overlapping_mm = spacing_mm * (1.25 if random.random() < 0.3 else 1.0)
    thickness_mm = min(overlapping_mm, MAX_TRUNK_THICKNESS_MM if options.organs else MAX_HIP_THICKNESS_MM)
    return grid, round(thickness_mm, 2)
