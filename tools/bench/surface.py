"""Surface scores of one case: hipseg's way to the distances against surface-distance's own, which gives the same numbers.

    python tools/bench/surface.py [--rounds 3] [--sides 64 128 192]

A hollow ball, and the same shifted, with wrong voxels in two corners of the image: the box around both is the image. Seconds are
medians of interleaved rounds; bytes are the peak beyond the two masks, by voxel of the image. Time: about two minutes.
"""

import argparse
import statistics
import time
import tracemalloc
import warnings
from collections.abc import Callable

import numpy as np
import surface_distance

from hipseg.axes import VolumeBool
from hipseg.score.surface import measure_surfaces

SPACING_MM = (1.5, 0.7, 0.7)
warnings.filterwarnings("ignore", "Please import", DeprecationWarning)


def main() -> None:
    """Measure both ways and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 128, 192])
    options = parser.parse_args()
    ways = {"hipseg": lambda *masks: measure_surfaces(*masks, SPACING_MM), "surface-distance": measure_their_way}
    print(f"{'voxels':>12}  {'way':16}  {'s':>7}  {'bytes a voxel':>13}")
    for side in options.sides:
        masks = make_masks(side)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, way in ways.items():
                began_s = time.perf_counter()
                way(*masks)
                seconds[name].append(time.perf_counter() - began_s)
        for name, way in ways.items():
            median_s = statistics.median(seconds[name])
            print(f"{side**3:12,}  {name:16}  {median_s:7.2f}  {peak_bytes(way, masks) / side**3:13.1f}")


def make_masks(side: int) -> tuple[VolumeBool, VolumeBool]:
    """Give truth and prediction."""
    z, y, x = (axis - side / 2 for axis in np.ogrid[:side, :side, :side])
    square = z**2 + y**2 + x**2
    truth = (square < (side / 4) ** 2) & (square > (side / 5) ** 2)
    prediction = np.roll(truth, 2, 1)
    prediction[0, 0, 0] = prediction[-1, -1, -1] = True
    return truth, prediction


def measure_their_way(truth: VolumeBool, prediction: VolumeBool) -> None:
    """Take the library's distances and its summaries."""
    surfaces = surface_distance.compute_surface_distances(truth, prediction, SPACING_MM)
    surface_distance.compute_robust_hausdorff(surfaces, 95)
    surface_distance.compute_average_surface_distance(surfaces)
    for tolerance_mm in (1.0, 2.0):
        surface_distance.compute_surface_dice_at_tolerance(surfaces, tolerance_mm)


def peak_bytes(way: Callable[..., object], masks: tuple[VolumeBool, VolumeBool]) -> int:
    """Give the peak of what is allocated while a way is gone."""
    tracemalloc.start()
    way(*masks)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


if __name__ == "__main__":
    main()
