"""The corpus: seeded faults made from good series in code, which `docs/refusals.md` lists."""

from tests.faults import archives, files, masks, planes, segments, slices, values
from tests.faults.good import FAULTS, Fault, Good, write_good

__all__ = ["FAULTS", "Fault", "Good", "write_good"]

KINDS = (slices, values, files, archives, planes, masks, segments)
"""The modules whose faults are in the corpus; importing them has put them there."""
