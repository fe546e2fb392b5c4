"""The sbatch files: shell that parses, and `hipseg` command lines that the program knows."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from hipseg.cli.main import root

FOLDER = Path(__file__).resolve().parents[2] / "slurm"
FINETUNE = ["train", "--arm", "modified-unet-tl", "--fold", "3"]
RUNS = [
    ("pack", [], ["pack", "data/"]),
    ("pack", ["scans", "-o", "out"], ["pack", "scans", "-o", "out"]),
    ("pretrain", [], ["pretrain"]),
    ("pretrain", ["--config", "my study.yaml"], ["pretrain", "--config", "my study.yaml"]),
    ("finetune", [], FINETUNE),
    ("finetune", ["--arm", "unet"], [*FINETUNE, "--arm", "unet"]),
    ("aggregate", [], ["aggregate"]),
    ("aggregate", ["elsewhere", "--allow-partial"], ["aggregate", "elsewhere", "--allow-partial"]),
]
"""File, its arguments, and the `hipseg` command line that it runs."""
NAMES = sorted({name for name, _, _ in RUNS})


def run_script(name, arguments, folder, **variables):
    """Run a script with a `hipseg` of ours on PATH that shows its arguments in place of doing the work."""
    (folder / ".venv/bin").mkdir(parents=True)
    program = folder / ".venv/bin/hipseg"
    program.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "SLURM_SUBMIT_DIR": str(folder), "SLURM_ARRAY_TASK_ID": "3", **variables}
    script = ["bash", str(FOLDER / f"{name}.sbatch"), *arguments]
    return subprocess.run(script, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()


def test_each_task_of_an_array_packs_its_part(tmp_path):
    found = run_script("pack", ["scans", "-o", "out"], tmp_path, SLURM_ARRAY_TASK_COUNT="16")
    assert found == ["pack", "scans", "-o", "out", "--part", "3/16"]


def test_there_is_a_test_for_each_file():
    assert sorted(path.name for path in FOLDER.iterdir()) == [f"{name}.sbatch" for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_each_file_is_shell_that_parses_and_fails_at_the_first_error(name):
    path = FOLDER / f"{name}.sbatch"
    subprocess.run(["bash", "-n", str(path)], check=True)
    text = path.read_text()
    assert text.startswith("#!/bin/bash\n")
    assert "set -euo pipefail" in text
    directives = re.findall(r"^#SBATCH (--[a-z-]+)=\S+$", text, re.MULTILINE)
    assert {"--job-name", "--output", "--cpus-per-task", "--mem", "--time"} <= set(directives)
    assert len(directives) == text.count("\n#SBATCH")


@pytest.mark.parametrize(("name", "arguments", "expected"), RUNS)
def test_each_file_runs_one_command_line_that_the_program_knows(name, arguments, expected, tmp_path):
    assert run_script(name, arguments, tmp_path) == expected
    command = root.get_command(None, expected[0])
    with command.make_context(expected[0], expected[1:]) as context:
        assert context.params


def test_the_last_arm_given_counts():
    with root.get_command(None, "train").make_context("train", [*FINETUNE[1:], "--arm", "unet"]) as context:
        assert (context.params["arm"], context.params["fold"]) == ("unet", 3)
