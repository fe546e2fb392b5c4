"""What the command line loads: help must not wait for libraries that only the work needs."""

import subprocess
import sys

import pytest

HEAVY = ("tensorflow", "keras", "horovod", "pandas", "scipy", "sklearn", "skimage", "pydicom", "highdicom", "h5py")

PROBE = """
import sys
{first}
from hipseg.cli.main import main
try:
    main({arguments!r})
finally:
    print("loaded:", *sorted({heavy!r} & sys.modules.keys()))
"""


def loaded_by(arguments: list[str], first: str = "") -> tuple[int, str, set[str]]:
    """Run one command line in a fresh interpreter: exit code, output, and which heavy libraries it loaded."""
    code = PROBE.format(first=first, arguments=arguments, heavy=set(HEAVY))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    output, _, loaded = done.stdout.rpartition("loaded:")
    return done.returncode, output, set(loaded.split())


HELP = [["--help"], ["--version"], *([name, "--help"] for name in ("submit", "status", "train", "pretrain", "evaluate"))]
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
