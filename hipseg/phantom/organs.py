"""What lies in the cavity and between the muscles: vessels, bowel, bladder, and the organs of the trunk.

Tables are as in `bones`: (lateral, back, up) in mm of a grown person; x rises to the left, so the liver's x is negative.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from hipseg.labels import ORGAN_LABELS
from hipseg.phantom.bones import Frame
from hipseg.phantom.patients import Patient
from hipseg.phantom.shapes import Compound, Grown, Point, Solid, Tube
from hipseg.phantom.spine import make_discs

BOWEL_WALL_HU, WATER_HU, GAS_HU, STOOL_HU, BOWEL_CONTRAST_HU = 42.0, 12.0, -950.0, 20.0, 290.0
LIVER_HU, SPLEEN_HU, KIDNEY_HU, LUNG_HU, BLADDER_HU, MUSCLE_HU = 62.0, 50.0, 36.0, -820.0, 8.0, 58.0
FAT_HU, HILUM_HU, DISC_HU = -98.0, -70.0, 85.0
BOWEL_KEY = 11

ARTERY: tuple[Point, ...] = ((4, 12, 130), (38, 4, 80), (62, -28, 30), (78, -54, -10), (82, -48, -60), (78, -30, -150))
"""From the fork of the aorta through the groin into the thigh."""
VEIN_STEP: Point = (-13, 6, 0)
"""The vein runs beside the artery, towards the middle."""


@dataclass(frozen=True)
class Layer:
    """One thing to draw: the later ones cover the earlier.

    Args:
        solid: where it is.
        hu: its density.
        label: its number in the mask; 0 where it takes a labelled place away from what it covers.
        is_textured: muscle's unevenness is laid over it.
    """

    solid: Solid
    hu: float
    label: int = 0
    is_textured: bool = True


def make_pelvic_layers(patient: Patient) -> tuple[Layer, ...]:
    """Build bowel, bladder, rectum and vessels of the hip scan."""
    frame = Frame(patient.scale)
    layers = _make_back(frame)
    layers += [Layer(frame.ball((side * 27, 52, -42), (17, 24, 24)), FAT_HU) for side in (1, -1)]
    layers += make_bowel(patient, count=22, low=(-46, -58, 34), high=(46, 14, 128))
    layers += make_bladder(patient, label=0)
    layers += [
        Layer(frame.rod((0, 50, -42), (0, 52, 12), 12, 16), BOWEL_WALL_HU),
        Layer(frame.rod((0, 50, -42), (0, 52, 12), 7, 11), STOOL_HU),
        Layer(frame.ball((2, 46, 4), (8, 6, 14)), GAS_HU, is_textured=False),
        Layer(frame.ball((0, 16, -12), (22, 15, 20)), 48.0),
    ]
    return (*layers, *make_vessels(patient))


def make_trunk_layers(patient: Patient) -> tuple[Layer, ...]:
    """Build the organs of the trunk scan, labelled as in `ORGAN_LABELS`."""
    frame = Frame(patient.scale)
    lungs = _make_lungs(frame)
    layers = _make_back(frame)
    layers += make_bowel(patient, count=34, low=(-78, -66, 40), high=(78, 4, 215))
    layers += [Layer(_make_liver(frame), LIVER_HU + (25 if patient.vessel_hu > 100 else 0), ORGAN_LABELS["liver"])]
    layers += [Layer(frame.ball((88, 36, 268), (24, 36, 40)), SPLEEN_HU)]
    layers += [
        Layer(frame.ball((46, -34, 256), (40, 30, 34)), BOWEL_WALL_HU),
        Layer(frame.ball((46, -34, 256), (34, 25, 28)), 270.0 if patient.has_bowel_contrast else WATER_HU),
        Layer(frame.ball((46, -48, 262), (22, 9, 18)), GAS_HU, is_textured=False),
    ]
    for side, up in ((1, 205), (-1, 194)):
        half = Frame(patient.scale, side)
        kidney_hu = KIDNEY_HU + 0.6 * max(0.0, patient.vessel_hu - 45)
        kidney = Compound((half.ball((62, 38, up), (25, 22, 50)),), 0.0, (half.ball((40, 32, up), (17, 11, 19)),))
        layers.append(Layer(kidney, kidney_hu, ORGAN_LABELS["kidneys"]))
        layers.append(Layer(half.ball((42, 33, up), (10, 7, 13)), HILUM_HU))
    layers += make_bladder(patient, ORGAN_LABELS["bladder"])
    layers += [Layer(Grown(lung, 2.5), MUSCLE_HU) for lung in lungs]
    layers += [Layer(lung, LUNG_HU, ORGAN_LABELS["lungs"]) for lung in lungs]
    heart_hu = max(45.0, 0.8 * patient.vessel_hu)
    layers += [
        Layer(frame.ball((16, -30, 392), (54, 44, 50)), MUSCLE_HU),
        Layer(frame.ball((20, -30, 392), (40, 32, 38)), heart_hu),
    ]
    aorta = frame.rod((10, 30, 440), (6, 8, 132), 11, 8.5)
    cava = frame.rod((-20, 10, 360), (-16, 10, 132), 10, 9)
    return (*layers, Layer(aorta, patient.vessel_hu), Layer(cava, 0.8 * patient.vessel_hu + 9), *make_vessels(patient))


def make_vessels(patient: Patient) -> list[Layer]:
    """Build arteries and veins of both legs; with contrast they are as bright as cancellous bone."""
    layers = []
    for side in (1, -1):
        frame = Frame(patient.scale, side)
        courses = ((ARTERY, 4.2, patient.vessel_hu), (_shifted(ARTERY, VEIN_STEP), 5.6, 0.7 * patient.vessel_hu + 13))
        for course, radius, hu in courses:
            rods = tuple(frame.rod(a, b, radius, radius) for a, b in itertools.pairwise(course))
            layers.append(Layer(Compound(rods), hu, is_textured=False))
    return layers


def make_bladder(patient: Patient, label: int) -> list[Layer]:
    """Build a bladder of the patient's own filling: wall and urine, both of them the organ."""
    frame = Frame(patient.scale)
    fill = patient.generator(BOWEL_KEY, 1).uniform(0.75, 1.15)
    wall = frame.ball((0, -22, -6 + 14 * fill), (33 * fill, 24 * fill, 27 * fill))
    return [Layer(wall, BOWEL_WALL_HU, label), Layer(Grown(wall, -3.0 * patient.scale), BLADDER_HU, label, is_textured=False)]


def make_bowel(patient: Patient, count: int, low: Point, high: Point) -> list[Layer]:
    """Build bowel loops at random places in a tabled box: wall and gas, water, stool or contrast in them."""
    frame, random = Frame(patient.scale), patient.generator(BOWEL_KEY)
    layers = []
    for _ in range(count):
        x, y, z = random.uniform(low, high)
        turn, length = random.uniform(0, np.pi), random.uniform(10, 22)
        across = np.array([np.cos(turn), np.sin(turn) * 0.6, random.uniform(-0.4, 0.4)]) * length
        radius = random.uniform(9, 14.5)
        start, end = ((x - across[0], y - across[1], z - across[2]), (x + across[0], y + across[1], z + across[2]))
        bright = BOWEL_CONTRAST_HU if patient.has_bowel_contrast else WATER_HU
        filling = float(random.choice([GAS_HU, WATER_HU, STOOL_HU, bright], p=[0.2, 0.2, 0.2, 0.4]))
        loop = frame.rod(start, end, radius, radius)
        layers.append(Layer(loop, BOWEL_WALL_HU))
        layers.append(Layer(Grown(loop, -2.6 * patient.scale), filling, is_textured=filling != GAS_HU))
    return layers


def _make_back(frame: Frame) -> list[Layer]:
    psoas = [Layer(_make_psoas(frame, side), MUSCLE_HU) for side in (1, -1)]
    return [*psoas, Layer(make_discs(frame.scale), DISC_HU)]


def _make_psoas(frame: Frame, side: int) -> Tube:
    rows = ((40, 72, -26, 13, 14), (80, 60, -2, 17, 18), (130, 46, 24, 19, 19), (210, 36, 34, 13, 13), (250, 30, 38, 6, 6))
    s = frame.scale
    return Tube(tuple((up * s, side * x * s, y * s, a * s, b * s) for up, x, y, a, b in rows))


def _make_liver(frame: Frame) -> Compound:
    parts = (
        frame.ball((-62, -2, 268), (60, 62, 62)),
        frame.ball((-8, -34, 292), (52, 34, 30)),
        frame.ball((-84, 8, 222), (26, 40, 44)),
    )
    return Compound(parts, 20 * frame.scale, (frame.ball((-30, 62, 250), (44, 36, 90)),))


def _make_lungs(frame: Frame) -> tuple[Solid, Solid]:
    # The diaphragm lifts the lungs' floor: a dome is taken out of each from below, the right one higher over the liver.
    dome = {-1: frame.ball((-66, -4, 268), (74, 84, 72)), 1: frame.ball((62, -4, 254), (72, 84, 70))}
    heart = frame.ball((16, -30, 392), (58, 48, 54))
    sides = []
    for side in (1, -1):
        lung = Frame(frame.scale, side).ball((72, 6, 420), (56, 78, 170))
        sides.append(Compound((lung,), 0.0, (dome[side], heart)))
    return sides[0], sides[1]


def _shifted(path: tuple[Point, ...], step: Point) -> tuple[Point, ...]:
    return tuple((x + step[0], y + step[1], z + step[2]) for x, y, z in path)
