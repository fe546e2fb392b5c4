"""Small phantoms that several tests look at."""

from pathlib import Path

import pytest

from hipseg.phantom.dataset import WrittenPhantom, write_phantom
from hipseg.phantom.options import PhantomOptions

SMALL = PhantomOptions(patients=4, slices=6, matrix=64, seed=5)


@pytest.fixture(scope="session")
def small_phantom(tmp_path_factory) -> WrittenPhantom:
    """Four patients with overlay masks: the first has a scout, the second and fourth are signed, the third is shuffled."""
    return write_phantom(tmp_path_factory.mktemp("phantom") / "data", SMALL)


@pytest.fixture(scope="session")
def small_root(small_phantom) -> Path:
    """Folder of that data set."""
    return small_phantom.root
