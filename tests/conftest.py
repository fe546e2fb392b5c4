"""What every test shares: quiet TensorFlow, and where the real CT folders are."""

import os
import signal
from pathlib import Path

import pytest

# submitit sets logging up anew when it is loaded, and closes the handlers that are there: with TensorFlow's, stderr itself.
import submitit  # noqa: F401

# Before any test module can import TensorFlow: it reads this once, while its library loads.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# No test needs a graphics card, and one that is busy or missing must not change a result.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell lets what it starts in the background ignore Ctrl-C; the tests send it to themselves and to what they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real CT data sets: $HIPSEG_TEST_DATA, else shared/data beside the repository."""
    root = Path(os.environ.get("HIPSEG_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    if not root.is_dir():
        pytest.skip(f"no real CT data at {root}; set HIPSEG_TEST_DATA to the folder that holds it")
    return root
