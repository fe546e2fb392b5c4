"""What the command line loads: help must not wait for libraries that only the work needs."""

import subprocess
import sys

import pytest

HEAVY = ("tensorflow", "keras", "horovod", "pandas", "scipy", "sklearn", "skimage", "pydicom", "highdicom", "h5py")

REPORT_LOADED = """
import sys
from hipseg.cli.main import main
try:
    main({arguments!r})
finally:
    print("loaded:", *sorted({heavy!r} & sys.modules.keys()))
"""


def loaded_by(arguments: list[str]) -> tuple[int, str, set[str]]:
    """Run one command line in a fresh interpreter: exit code, output, and which heavy libraries it loaded."""
    code = REPORT_LOADED.format(arguments=arguments, heavy=set(HEAVY))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    output, _, loaded = done.stdout.rpartition("loaded:")
    return done.returncode, output, set(loaded.split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["submit", "--help"], ["status", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    exit_code, output, loaded = loaded_by(arguments)
    assert exit_code == 0
    assert "hipseg" in output
    assert loaded == set()


def test_a_command_that_needs_a_heavy_library_is_seen_to_load_it() -> None:
    _, _, loaded = loaded_by(["model", "--help"])
    assert "tensorflow" in loaded
