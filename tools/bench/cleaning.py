"""How long cleaning takes and what memory it needs, on two blobs in 300 slices of 512 x 512 with some of the voxels wrong.

    python tools/bench/cleaning.py [--shape 300 512 512] [--wrong 0.02 0.3]

Seconds are of the processor, each case once, in a process of its own; the peak holds Python, the mask and all. Time: three
minutes.
"""

import argparse
import resource
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from hipseg.axes import VolumeBool
from hipseg.config import CleanSettings
from hipseg.score.cleaning import clean_mask

SPACING_MM = (1.0, 0.7, 0.7)
SETTINGS = (
    CleanSettings(),
    CleanSettings(bridge_mm=2.0),
    CleanSettings(bridge_mm=6.0),
    CleanSettings(smooth_mm=0, bridge_mm=2.0),
)


def main() -> None:
    """Print a line for each share of wrong voxels and settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(300, 512, 512))
    parser.add_argument("--wrong", type=float, nargs="+", default=(0.02, 0.3))
    options = parser.parse_args()
    print(f"{'wrong':>6} {'smooth mm':>9} {'bridge mm':>9} {'s':>6} {'peak MB':>8}")
    for wrong in options.wrong:
        for settings in SETTINGS:
            # A new process each time, since a peak does not go down.
            with ProcessPoolExecutor(1) as pool:
                seconds, peak_mb = pool.submit(measure, tuple(options.shape), wrong, settings).result()
            print(f"{wrong:6.2f} {settings.smooth_mm:9.1f} {settings.bridge_mm:9.1f} {seconds:6.1f} {peak_mb:8.0f}", flush=True)


def measure(shape: tuple[int, int, int], wrong: float, settings: CleanSettings) -> tuple[float, float]:
    """Clean once; gives seconds and megabytes."""
    mask = make_mask(shape, wrong)
    began_s = time.process_time()
    clean_mask(mask, SPACING_MM, settings)
    return time.process_time() - began_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def make_mask(shape: tuple[int, int, int], wrong: float) -> VolumeBool:
    """Give two blobs, each voxel turned over with that probability."""
    z, y, x = (axis / size - 0.5 for axis, size in zip(np.ogrid[: shape[0], : shape[1], : shape[2]], shape, strict=True))
    mask = 6 * z**2 + 50 * y**2 + 50 * (np.abs(x) - 0.15) ** 2 < 1
    mask ^= np.random.default_rng(0).random(shape, np.float32) < wrong
    return mask


if __name__ == "__main__":
    main()
