"""Array aliases with their axes. Volumes are (z, y, x); patient points are (x, y, z) in LPS mm."""

import numpy as np
from numpy.typing import NDArray

VolumeI16 = NDArray[np.int16]
"""int16 (z, y, x), Hounsfield units."""
VolumeU8 = NDArray[np.uint8]
"""uint8 (z, y, x), label numbers; 0 is background."""
VolumeBool = NDArray[np.bool_]
"""bool (z, y, x), one structure."""
SliceI16 = NDArray[np.int16]
"""int16 (y, x), Hounsfield units."""
SliceU8 = NDArray[np.uint8]
"""uint8 (y, x), label numbers; 0 is background."""
SliceF32 = NDArray[np.float32]
"""float32 (y, x), no unit."""
StoredI = NDArray[np.integer]
"""Whole numbers (y, x) as a file stores them; no unit."""
SliceBool = NDArray[np.bool_]
"""bool (y, x), one structure on one slice."""
PointsF64 = NDArray[np.float64]
"""float64 (n, 3), patient points (x, y, z) in LPS millimetres."""
MatrixF64 = NDArray[np.float64]
"""float64 (3, 3) or (4, 4), a linear or affine map."""
