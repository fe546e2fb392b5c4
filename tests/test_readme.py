"""The README is true: its commands are run in order, as a reader would, and its links lead somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.launch.conftest import no_cluster, slurm

__all__ = ["no_cluster", "slurm"]

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"^```bash\n(.*?)^```", README, re.M | re.S) for line in block.splitlines()]


@pytest.mark.slow
def test_every_command_of_the_readme_runs_in_order(tmp_path, no_cluster):
    environment = os.environ | {
        "HOME": str(tmp_path / "home"),
        "XDG_CONFIG_HOME": str(tmp_path / "home" / ".config"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    assert len(COMMANDS) >= 10
    for command in COMMANDS:
        ended = subprocess.run(
            command, shell=True, capture_output=True, text=True, cwd=tmp_path / "here", env=environment, check=False
        )
        assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
    assert (tmp_path / "here" / "results" / "comparison.md").is_file()
    assert (tmp_path / "here" / "by-hand" / "modified-unet" / "fold_0" / "summary.json").is_file()


def test_every_command_named_in_the_text_exists():
    named = set(re.findall(r"`hipseg ([a-z-]+)", README))
    listed = set(
        re.findall(r'^    "([a-z-]+)": "', (REPOSITORY / "hipseg" / "cli" / "main.py").read_text(encoding="utf-8"), re.M)
    )
    assert named
    assert named <= listed


def test_every_link_leads_to_a_file():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    for link in links:
        assert (REPOSITORY / link).is_file(), link
