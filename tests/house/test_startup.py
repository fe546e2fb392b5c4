"""What the command line loads: help must not wait for libraries that only the work needs, nor one kind of work for another's."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless

from tests.ingest.builders import Plane, volume_hu, write_ct_series

HEAVY = ("tensorflow", "keras", "horovod", "pandas", "scipy", "sklearn", "skimage", "pydicom", "highdicom", "h5py")
NEEDLESS = (
    *(*HEAVY[:-1], "nibabel", "nrrd", "pydantic", "yaml", "rich", "PIL", "requests", "zarr", "numcodecs", "hdf5plugin"),
    "multiprocessing",
)
"""What a packing of plainly written files needs nothing of: each takes a tenth of its time to load, or more."""

PROBE = """
import sys
{first}
from hipseg.cli.main import main
try:
    main({arguments!r})
finally:
    print("loaded:", *sorted({watched!r} & sys.modules.keys()))
"""


def loaded_by(arguments: list[str], first: str = "", watched: tuple[str, ...] = HEAVY) -> tuple[int, str, set[str]]:
    """Run one command line in a fresh interpreter: exit code, output, and which of the watched libraries it loaded."""
    code = PROBE.format(first=first, arguments=arguments, watched=set(watched))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    output, _, loaded = done.stdout.rpartition("loaded:")
    return done.returncode, output, set(loaded.split())


HELP = [["--help"], ["--version"], *([name, "--help"] for name in ("submit", "status", "train", "pretrain", "evaluate", "model"))]
MISTAKES = (
    ["train", "--fold", "0"],
    ["train", "--arm", "unet", "--fold", "0", "--set", "train.epoch=5"],
    ["train", "--arm", "resnet", "--fold", "0"],
    ["pretrain", "--resume", "perhaps"],
    ["evaluate", "--arm", "resnet", "--fold", "0"],
)


@pytest.mark.parametrize("arguments", HELP, ids=" ".join)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    exit_code, output, loaded = loaded_by(arguments)
    assert exit_code == 0
    assert "hipseg" in output
    assert loaded == set()


@pytest.mark.parametrize("arguments", MISTAKES, ids=" ".join)
def test_a_mistake_in_the_options_is_told_before_anything_heavy_loads(arguments: list[str]) -> None:
    exit_code, _, loaded = loaded_by(arguments)
    assert exit_code == 2
    assert loaded == set()


def test_the_probe_sees_a_heavy_library() -> None:
    _, _, loaded = loaded_by(["--help"], first="import h5py")
    assert loaded == {"h5py"}


def test_help_of_packing_loads_nothing_that_packing_does_not_need() -> None:
    exit_code, output, loaded = loaded_by(["pack", "--help"], watched=NEEDLESS)
    assert exit_code == 0
    assert "--keep-key-table" in output
    assert loaded == set()


def pack_one_series(folder: Path, first: str = "") -> tuple[int, str, set[str]]:
    """Pack a series with an overlay, written the plain way, in a fresh interpreter."""
    write_ct_series(folder / "data", volume_hu(2), overlays={1: [Plane(np.ones((10, 12), bool))]})
    arguments = ["pack", str(folder / "data"), "-o", str(folder / "shards"), "--salt-file", str(folder / "salt")]
    return loaded_by(arguments, first, NEEDLESS)


def test_packing_plain_files_loads_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    exit_code, output, loaded = pack_one_series(tmp_path)
    assert exit_code == 0
    assert "packed 1 of 1 cases" in output
    assert loaded == set()


SCAN = "import sys; from pathlib import Path; from hipseg.ingest.scan import scan_tree; scan_tree(Path(sys.argv[1]))"


def test_what_decodes_compressed_images_is_loaded_before_packing_forks(tmp_path: Path) -> None:
    for path in write_ct_series(tmp_path, volume_hu(2)):
        dataset = pydicom.dcmread(path)
        dataset.compress(RLELossless, encoding_plugin="pydicom")
        dataset.save_as(path)
    code = f"{SCAN}; print('pydicom.encaps' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_packing_has_openblas_start_no_threads(tmp_path: Path) -> None:
    count = "import atexit, os; atexit.register(lambda: print('threads', len(os.listdir('/proc/self/task'))))"
    done = subprocess.run(
        [sys.executable, "-c", f"{count}; import hipseg.cli.pack"],
        capture_output=True,
        text=True,
        check=True,
        env={name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"},
    )
    assert done.stdout == "threads 1\n"
