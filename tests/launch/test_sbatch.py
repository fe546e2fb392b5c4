"""The sbatch files: shell that parses, `hipseg` command lines that the program knows, and what they do when these end."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from hipseg.cli.main import root
from hipseg.errors import LOST_EXIT_CODE, OUTRANKING, STOPPED_EXIT_CODE, ConfigError

FOLDER = Path(__file__).resolve().parents[2] / "slurm"
FINETUNE = ["train", "--arm", "modified-unet-tl", "--fold", "3"]
RUNS = [
    ("pack", [], [["pack", "data/"]]),
    ("pack", ["scans", "-o", "out"], [["pack", "scans", "-o", "out"]]),
    ("pretrain", [], [["pretrain"]]),
    ("pretrain", ["--config", "my study.yaml"], [["pretrain", "--config", "my study.yaml"]]),
    ("finetune", [], [FINETUNE]),
    ("finetune", ["--arm", "unet"], [[*FINETUNE, "--arm", "unet"]]),
    ("aggregate", [], [["aggregate", "results/"], ["report", "results/"]]),
    ("aggregate", ["--allow-partial"], [["aggregate", "results/", "--allow-partial"], ["report", "results/"]]),
    (
        "aggregate",
        ["my results", "--allow-partial"],
        [["aggregate", "my results", "--allow-partial"], ["report", "my results"]],
    ),
]
"""File, its arguments, and the `hipseg` command lines that it runs."""
NAMES = sorted({name for name, _, _ in RUNS})
REQUEUEING = ["finetune", "pack", "pretrain"]
KILLED = 128 + 9
TERMINATED = 128 + 15
OUT_OF_MEMORY = 253
"""srun's code for a step that the cluster ended for want of memory."""

PROGRAMS = {
    "hipseg": """
        if [ "$1" = prepare ]; then echo "$RUN"; exit; fi
        env | grep '^SLURM_' > variables; printf '%s\\n' "$@" > ran; printf '%s\\0' "$@" >> all; printf '\\n' >> all
        exit "${ENDS:-0}" """,
    "srun": """
        echo "$*" > step
        while [[ $1 == --* ]]; do shift; done
        "$@"
        echo "$SAID" >&2
        [ "${CODE:-0}" = 0 ] || echo "srun: error: node1: task 0: Exited with exit code ${SAVED:-$CODE}" >&2
        exit "${CODE:-0}" """,
    "scontrol": """
        if [ "$1" = requeue ]; then echo "$*" > requeued; exit; fi
        echo "$*" > asked
        [ -z "$SILENT" ] || exit 1
        task=${SLURM_ARRAY_TASK_ID:+ArrayTaskId=$SLURM_ARRAY_TASK_ID} restarts=Restarts=${SLURM_RESTART_COUNT:-0}
        echo "JobId=17 ${IS:-$task $restarts} JobState=${STATE:-RUNNING} PreemptTime=${PREEMPTED:-None} SuspendTime=None" """,
}
"""The outside programs, in shell: each notes what it was called with. CODE, ENDS, IS, STATE and PREEMPTED are what they answer,
SILENT that nobody does; SAVED is the code of the rank that ends first."""
TASK = {"SLURM_JOB_ID": "17", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_CPUS_PER_TASK": "8"}
ARRAY = {"SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "3"}


def run_script(name, arguments, folder, **variables):
    """Run a script as the only thing in a folder, among programs of ours; gives its exit code and output."""
    programs = folder / ".venv/bin"
    programs.mkdir(parents=True, exist_ok=True)
    for program, text in PROGRAMS.items():
        (programs / program).write_text(f"#!/bin/bash\n{text}\n")
        (programs / program).chmod(0o755)
    run = folder / "my run"
    run.mkdir(exist_ok=True)
    given = {"PATH": os.environ["PATH"], "SLURM_SUBMIT_DIR": str(folder), "RUN": str(run), "SAID": "", **TASK, **variables}
    script = ["bash", str(FOLDER / f"{name}.sbatch"), *arguments]
    done = subprocess.run(script, env=given, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def lines_of(path):
    return path.read_text().splitlines()


def test_there_is_a_test_for_each_file():
    assert sorted(path.name for path in FOLDER.iterdir()) == [f"{name}.sbatch" for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_each_file_is_shell_that_parses_and_fails_at_the_first_error(name):
    path = FOLDER / f"{name}.sbatch"
    subprocess.run(["bash", "-n", str(path)], check=True)
    text = path.read_text()
    assert text.startswith("#!/bin/bash\n")
    assert "set -euo pipefail" in text
    # What a site has to change is given on the command line or in the environment; no file needs an editor.
    assert not re.search(r"^#SBATCH --(partition|account|constraint|qos)", text, re.MULTILINE)
    assert re.search(r"^#SBATCH --job-name=\S+\n#SBATCH --output=\S+%\S+\.log$", text, re.MULTILINE)


def test_what_a_job_does_when_its_step_ends_is_the_same_in_each_file():
    endings = {
        (FOLDER / f"{name}.sbatch").read_text().partition("\n# When one rank ends badly srun ends the others, and")[2]
        for name in REQUEUEING
    }
    assert len(endings) == 1
    assert "scontrol requeue" in endings.pop()


@pytest.mark.parametrize(("name", "arguments", "expected"), RUNS)
def test_each_file_runs_command_lines_that_the_program_knows(name, arguments, expected, tmp_path):
    array = ARRAY if name == "finetune" else {}
    assert run_script(name, arguments, tmp_path, **array)[0] == 0
    assert [line.split("\0")[:-1] for line in lines_of(tmp_path / "all")] == expected
    for words in expected:
        with root.get_command(None, words[0]).make_context(words[0], words[1:]) as context:
            assert context.params


def test_no_page_is_written_of_results_that_were_refused(tmp_path):
    assert run_script("aggregate", [], tmp_path, ENDS="5")[0] == 5
    assert lines_of(tmp_path / "ran") == ["aggregate", "results/"]


def test_each_task_of_an_array_packs_its_part(tmp_path):
    # Slurm counts the tasks of this array, which may be only some of the parts.
    run_script("pack", ["scans", "-o", "out"], tmp_path, **ARRAY, SLURM_ARRAY_TASK_COUNT="1", PARTS="16")
    assert lines_of(tmp_path / "ran") == ["pack", "scans", "-o", "out", "--part", "3/16"]


def test_an_array_that_does_not_say_how_many_parts_there_are_is_refused(tmp_path):
    code, said = run_script("pack", ["scans"], tmp_path, **ARRAY, SLURM_ARRAY_TASK_COUNT="16")
    assert (code, said) == (2, "error: an array packs parts; say of how many, as in PARTS=16 sbatch --array=1-16\n")
    assert not (tmp_path / "ran").exists()


def test_the_last_arm_given_counts():
    with root.get_command(None, "train").make_context("train", [*FINETUNE[1:], "--arm", "unet"]) as context:
        assert (context.params["arm"], context.params["fold"]) == ("unet", 3)


def test_a_later_attempt_goes_on_whatever_the_first_was_told(tmp_path):
    told = ["--resume", "never", "--overwrite"]
    run_script("finetune", told, tmp_path, **ARRAY, SLURM_RESTART_COUNT="1")
    command = root.get_command(None, "train")
    with command.make_context("train", lines_of(tmp_path / "ran")[1:]) as context:
        assert context.params["resume"] == "auto"


def test_the_log_lies_in_the_folder_of_the_run_over_all_attempts(tmp_path):
    for attempt in ("0", "1"):
        run_script("finetune", [], tmp_path, **ARRAY, SLURM_RESTART_COUNT=attempt)
    said = (tmp_path / "my run/job.log").read_text()
    assert re.findall(r"job 17, attempt (\d), on node\[1-2\]", said) == ["1", "2"]


def test_nothing_is_started_where_the_run_is_complete(tmp_path):
    assert run_script("finetune", [], tmp_path, **ARRAY, RUN="")[0] == 0
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", REQUEUEING)
@pytest.mark.parametrize("code", [STOPPED_EXIT_CODE, LOST_EXIT_CODE, KILLED])
def test_a_run_that_saved_or_lost_a_rank_goes_back_into_the_queue(name, code, tmp_path):
    ended, _ = run_script(name, [], tmp_path, CODE=str(code))
    assert ended == 0
    assert lines_of(tmp_path / "requeued") == ["requeue 17"]


def test_a_task_of_an_array_goes_back_alone(tmp_path):
    # Its last task has the number of the whole array, which would put all tasks back.
    run_script("finetune", [], tmp_path, **ARRAY, CODE=str(STOPPED_EXIT_CODE))
    assert lines_of(tmp_path / "asked") == ["show job --oneliner 17_3"]
    assert lines_of(tmp_path / "requeued") == ["requeue 17_3"]


OUTER = {"SLURM_ARRAY_JOB_ID": "9", "SLURM_ARRAY_TASK_ID": "5", "SLURM_RESTART_COUNT": "11"}
"""What sbatch hands on to a job that is submitted from within a task of an array that was started again."""


@pytest.mark.parametrize("name", REQUEUEING)
def test_the_ranks_find_what_the_script_finds_whatever_sbatch_was_told_to_hand_on(name, tmp_path):
    # SBATCH_EXPORT=NONE reaches srun as SLURM_EXPORT_ENV.
    run_script(name, [], tmp_path)
    assert "--export=ALL" in (tmp_path / "step").read_text().split(" hipseg ")[0].split()


@pytest.mark.parametrize("name", REQUEUEING)
def test_a_job_submitted_from_within_another_is_itself(name, tmp_path):
    ended, said = run_script(name, [], tmp_path, **OUTER, IS="Restarts=0", CODE=str(STOPPED_EXIT_CODE))
    assert ended == 0, said
    assert lines_of(tmp_path / "requeued") == ["requeue 17"]
    words = lines_of(tmp_path / "ran")
    assert not {"5", "--part", "auto"} & set(words)
    assert "SLURM_ARRAY_JOB_ID" not in (tmp_path / "variables").read_text()


def test_a_task_of_an_array_knows_itself_where_the_controller_is_silent(tmp_path):
    run_script("finetune", [], tmp_path, **ARRAY, SILENT="1")
    assert lines_of(tmp_path / "ran") == FINETUNE


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (ConfigError.exit_code, ConfigError.exit_code),
        (OUT_OF_MEMORY, OUT_OF_MEMORY),
    ],
)
def test_a_mistake_ends_the_job_with_its_own_code(code, expected, tmp_path):
    ended, _ = run_script("finetune", [], tmp_path, CODE=str(code))
    assert ended == expected
    assert not (tmp_path / "requeued").exists()


@pytest.mark.parametrize("who", ["task 0", "tasks 0-1"])
def test_a_mistake_of_one_rank_counts_whatever_the_others_end_with(who, tmp_path):
    code = OUTRANKING + ConfigError.exit_code
    said = f"srun: error: node1: {who}: Exited with exit code {code}\nsrun: error: node2: task 1: Killed"
    ended, log = run_script("finetune", [], tmp_path, CODE=str(KILLED), SAID=said)
    assert (ended, (tmp_path / "requeued").exists()) == (ConfigError.exit_code, False)
    assert said in log


@pytest.mark.parametrize("state", ["CANCELLED", "COMPLETING", "PENDING", ""])
def test_a_job_that_somebody_else_ended_is_not_put_back(state, tmp_path):
    ended, _ = run_script("pretrain", [], tmp_path, CODE=str(STOPPED_EXIT_CODE), STATE=state or " ")
    assert ended == STOPPED_EXIT_CODE
    assert not (tmp_path / "requeued").exists()


PREEMPTION = "slurmstepd-node1: error: *** STEP 17.0 ON node1 CANCELLED AT 2026-11-22T22:39:09 DUE TO PREEMPTION ***"
NODE_FAILURE = PREEMPTION.replace("PREEMPTION", "NODE FAILURE")


def run_often(folder, count, code, **variables):
    """Run a job that is put back by whoever does it, up to so many times; gives what the last attempt ended with."""
    for attempt in range(count):
        (folder / "requeued").unlink(missing_ok=True)
        ended = run_script("pretrain", [], folder, CODE=str(code), SLURM_RESTART_COUNT=str(attempt), **variables)
    return ended


@pytest.mark.parametrize("how", [{"PREEMPTED": "2026-11-22T10:05:00"}, {"STATE": "COMPLETING", "SAID": PREEMPTION}])
def test_attempts_that_saved_and_gave_way_do_not_count(how, tmp_path):
    # The second of two ranks that save is ended by srun as soon as the first is gone.
    ended, said = run_often(tmp_path, 12, TERMINATED, SAVED=str(STOPPED_EXIT_CODE), **how)
    assert (ended, (tmp_path / "requeued").exists()) == ((0, True) if "PREEMPTED" in how else (TERMINATED, False))
    assert "job 17 gave way" in said


def test_attempts_whose_node_was_lost_count_although_the_ranks_left_were_stopped(tmp_path):
    run_often(tmp_path, 11, STOPPED_EXIT_CODE, STATE="COMPLETING", SAID=NODE_FAILURE)
    ended, said = run_script("pretrain", [], tmp_path, SLURM_RESTART_COUNT="11")
    assert (ended, "job 17 has lost its nodes again and again" in said) == (1, True)


def test_attempts_that_lost_a_rank_count_even_where_others_wanted_the_node(tmp_path):
    ended, said = run_often(tmp_path, 11, LOST_EXIT_CODE, PREEMPTED="2026-11-22T10:05:00")
    assert (ended, (tmp_path / "requeued").exists()) == (LOST_EXIT_CODE, False)
    assert "job 17 has been started 11 times" in said


@pytest.mark.parametrize("name", REQUEUEING)
def test_a_start_that_slurm_itself_made_once_too_often_runs_nothing(name, tmp_path):
    ended, said = run_script(name, [], tmp_path, SLURM_RESTART_COUNT="11")
    assert (ended, (tmp_path / "ran").exists()) == (1, False)
    assert "job 17 has lost its nodes again and again; submit it again" in said


def test_the_number_of_attempts_is_bounded(tmp_path):
    before = {"CODE": str(KILLED), "SLURM_RESTART_COUNT": "10"}
    ended, said = run_script("pretrain", [], tmp_path, **before)
    assert (ended, (tmp_path / "requeued").exists()) == (KILLED, False)
    assert "job 17 has been started 11 times and is not put back again; submit it again" in said
