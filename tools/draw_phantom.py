"""Draw docs/phantom.png: patients of the phantom from normal to dislocated, and one of the organ data set.

    .venv/bin/python tools/draw_phantom.py [docs/phantom.png]

Columns: patients 1, 8, 14 and 21 of the default data set, the last with metal, and one trunk. Rows: an axial slice through the
worse femoral head (trunk: through the liver), the same with the outline of the truth, and the front view through the heads with
the outline. Takes about twenty seconds.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from hipseg.phantom.anatomy import make_anatomy
from hipseg.phantom.bones import Frame, find_head
from hipseg.phantom.options import PhantomOptions
from hipseg.phantom.patients import Patient, plan_patients
from hipseg.phantom.scanner import scan

TILE = 256
GREYS = 40
"""Grey levels kept: enough for the eye, and few enough for a small file."""
AXIAL_ROWS = slice(40, 234)
"""What holds body and table."""
OUTLINE_COLOUR = (255, 70, 50)
HIP_WINDOW_HU, TRUNK_WINDOW_HU = (-250, 850), (-200, 350)


def main() -> None:
    """Draw the picture into the file named on the command line."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/phantom.png")
    hips = plan_patients(PhantomOptions(matrix=TILE))
    metal = plan_patients(PhantomOptions(matrix=TILE, metal=True))
    trunk = plan_patients(PhantomOptions(matrix=TILE, organs=True))[0]
    columns = [draw_hip(hips[0]), draw_hip(hips[7]), draw_hip(hips[13]), draw_hip(metal[20]), draw_trunk(trunk)]
    picture = Image.fromarray(np.concatenate([np.concatenate(column, axis=0) for column in columns], axis=1))
    picture.quantize(colors=GREYS + 8, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def draw_hip(patient: Patient) -> list[np.ndarray]:
    """Draw the three tiles of a hip patient."""
    hip = max(patient.hips, key=lambda one: one.migration)
    _, back, up = find_head(Frame(patient.scale, hip.side, hip.tilt_mm), hip)
    return draw_tiles(patient, False, up, back, HIP_WINDOW_HU)


def draw_trunk(patient: Patient) -> list[np.ndarray]:
    """Draw the three tiles of a trunk patient: through liver and kidney, and through the kidneys from the front."""
    return draw_tiles(patient, True, 228 * patient.scale, 30 * patient.scale, TRUNK_WINDOW_HU)


def draw_tiles(
    patient: Patient, is_trunk: bool, up_mm: float, back_mm: float, window_hu: tuple[float, float]
) -> list[np.ndarray]:
    """Scan a patient and draw an axial slice, the same with outlines, and a front view with outlines."""
    slices = list(scan(patient, make_anatomy(patient, is_trunk)))
    hu, labels = np.stack([one.hu for one in slices]), np.stack([one.labels for one in slices])
    spacing, origin = np.array(patient.grid.spacing_mm_zyx), np.array(patient.grid.origin_mm_xyz[::-1])
    place = np.array([up_mm, back_mm, 0]) + np.array(patient.middle_mm_xyz[::-1]) - origin
    z, y, _ = np.clip(np.rint(place / spacing).astype(int), 0, np.array(hu.shape) - 1)
    axial, front = to_grey(hu[z], window_hu), to_grey(hu[::-1, y], window_hu)
    height = min(TILE, round(len(slices) * spacing[0] / spacing[1]))
    tall = np.asarray(Image.fromarray(front).resize((TILE, height), Image.Resampling.BILINEAR))
    truth = np.asarray(Image.fromarray(labels[::-1, y]).resize((TILE, height), Image.Resampling.NEAREST))
    tile = np.zeros((TILE, TILE, 3), np.uint8)
    tile[(TILE - height) // 2 :][:height] = outline(tall, truth)
    plain = np.repeat(axial[..., None], 3, axis=2)
    return [plain[AXIAL_ROWS], outline(axial, labels[z])[AXIAL_ROWS], tile]


def to_grey(hu: np.ndarray, window_hu: tuple[float, float]) -> np.ndarray:
    """Map a window of densities onto a few grey levels."""
    share = np.clip((hu - window_hu[0]) / (window_hu[1] - window_hu[0]), 0, 1)
    return np.rint(np.rint(share * (GREYS - 1)) * (255 / (GREYS - 1))).astype(np.uint8)


def outline(grey: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Paint the inner edge of every structure onto a picture."""
    edge = np.zeros(labels.shape, bool)
    edge[1:-1, 1:-1] = np.any(
        [np.roll(labels, step, axis)[1:-1, 1:-1] != labels[1:-1, 1:-1] for step in (1, -1) for axis in (0, 1)], 0
    )
    picture = np.repeat(grey[..., None], 3, axis=2)
    picture[edge & (labels > 0)] = OUTLINE_COLOUR
    return picture


if __name__ == "__main__":
    main()
