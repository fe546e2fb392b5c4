import os
import pickletools

import cloudpickle
import pytest
from submitit.core.utils import DelayedSubmission

from hipseg.errors import ConfigError, ReportError
from hipseg.launch.endings import Ending, read_endings
from hipseg.launch.private import masking
from hipseg.launch.work import Outcome, RunCommand, RunRank


@pytest.fixture(autouse=True)
def same_cards(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_a_command_that_ends_well_has_no_error():
    assert RunCommand(("--version",))() == Outcome(0)


def test_an_error_of_ours_keeps_its_exit_code_and_its_line(tmp_path, capsys):
    outcome = RunCommand(("aggregate", str(tmp_path / "nowhere")))()
    assert outcome.exit_code == ReportError.exit_code
    assert outcome.error.startswith(f"no results at {tmp_path}/nowhere")
    assert capsys.readouterr().err == f"error: {outcome.error}\n"


def test_a_wrong_command_line_is_the_error_that_click_gives():
    assert RunCommand(("submit", "--folds", "many"))() == Outcome(
        2, "Invalid value for '--folds': 'many' is not a valid integer range."
    )


def test_a_wrong_setting_is_a_config_error(tmp_path):
    outcome = RunCommand(("submit", "--dry-run", "--set", "shardz=x", "--config", str(tmp_path / "none.yaml")))()
    assert outcome == Outcome(ConfigError.exit_code, f"no settings file at {tmp_path}/none.yaml")


def test_a_mistake_of_ours_leaves_its_words_in_the_log_only(capsys):
    outcome = RunCommand((3,))()
    assert outcome.exit_code == 1
    assert outcome.error == "unexpected TypeError; the traceback is in the log"
    assert "Traceback" in capsys.readouterr().err


def test_the_cards_of_the_job_are_those_it_was_given():
    RunCommand(("--version",), gpus="3")()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"


def test_the_permissions_withheld_are_put_back():
    with masking(0o077) as before, masking(before) as inner:
        assert inner == 0o077
    with masking(before) as after:
        assert after == before


def test_the_pickle_of_a_job_holds_its_command_line_and_nothing_else():
    work = RunCommand(("train", "--arm", "unet"), 0o027, "1")
    held = {value for _, value, _ in pickletools.genops(cloudpickle.dumps(DelayedSubmission(work))) if isinstance(value, str)}
    names = {"submitit.core.utils", "DelayedSubmission", "hipseg.launch.work", "RunCommand"}
    fields = {"function", "args", "kwargs", "_result", "_done", "_timeout_min", "_timeout_countdown"}
    assert held == names | fields | {"arguments", "umask", "gpus", "train", "--arm", "unet", "1"}


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Rank 1 of task 4 of array 12, as submitit starts it under Slurm; gives what it left."""
    monkeypatch.setenv("SUBMITIT_FOLDER", str(tmp_path))
    for name in ("RESTART_COUNT", "ARRAY_JOB_ID", "ARRAY_TASK_ID"):
        monkeypatch.delenv(f"SLURM_{name}", raising=False)
    for name, value in {"JOB_ID": "12", "ARRAY_JOB_ID": "12", "ARRAY_TASK_ID": "4", "PROCID": "1"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)

    def run(work):
        with pytest.raises(SystemExit) as end:
            work()
        (left,) = read_endings(tmp_path)["12_4"]
        assert left.finished_s >= left.started_s > 0
        return end.value.code, Ending(left.restart, left.rank, exit_code=left.exit_code, error=left.error)

    return run


def test_a_rank_ends_with_the_commands_code_and_writes_why_beside_its_log(start, tmp_path):
    code, left = start(RunRank(("aggregate", str(tmp_path / "nowhere"))))
    assert (code, left.exit_code, left.rank) == (ReportError.exit_code, ReportError.exit_code, 1)
    assert left.error.startswith(f"no results at {tmp_path}/nowhere")


def test_a_rank_that_did_well_ends_with_0(start):
    assert start(RunRank(("--version",))) == (0, Ending(0, 1, exit_code=0))


def test_a_code_that_is_accepted_lets_what_waits_start_and_stays_known(start):
    code, left = start(RunRank(("aggregate", "nowhere"), accepted=(ReportError.exit_code,)))
    assert (code, left.exit_code) == (0, ReportError.exit_code)


def test_a_job_that_is_started_again_after_its_run_was_complete_does_nothing(start, tmp_path, monkeypatch):
    work = RunRank(("no such command",), summary=str(tmp_path / "summary.json"))
    (tmp_path / "summary.json").write_text("{}")
    # At its first start a complete run is none of this job's: the command itself refuses to train over it.
    assert start(work)[0] == 2
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert start(work) == (0, Ending(1, 1, exit_code=0))


def test_a_disk_without_room_for_the_ending_changes_no_exit_code(start, tmp_path, monkeypatch):
    def refuse(*_):
        raise ConfigError("no space left")

    monkeypatch.setattr("hipseg.launch.work.write_ending", refuse)
    for variable, value in {"SUBMITIT_FOLDER": str(tmp_path), "SLURM_JOB_ID": "12"}.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as end:
        RunRank(("aggregate", str(tmp_path / "nowhere")))()
    assert end.value.code == ReportError.exit_code


def test_a_rank_that_is_killed_leaves_its_start_and_no_end(start, tmp_path, monkeypatch):
    monkeypatch.setattr("hipseg.launch.work.run_command", lambda *_: os._exit(9))
    if (child := os.fork()) == 0:
        RunRank(("--version",))()
    os.waitpid(child, 0)
    (left,) = read_endings(tmp_path)["12_4"]
    assert left.started_s is not None
    assert (left.finished_s, left.exit_code) == (None, None)


def test_the_pickle_of_a_rank_has_the_command_line_and_nothing_else(tmp_path):
    path = tmp_path / "submitted.pkl"
    DelayedSubmission(RunRank(("train",), 0o027, "results/unet/fold_0/summary.json")).dump(path)
    words = {argument for _, argument, _ in pickletools.genops(path.read_bytes()) if isinstance(argument, str)}
    assert words - {"submitit.core.utils", "DelayedSubmission", "hipseg.launch.work", "RunRank"} == {
        "function",
        "arguments",
        "train",
        "umask",
        "summary",
        "results/unet/fold_0/summary.json",
        "accepted",
        "args",
        "kwargs",
        "_result",
        "_done",
        "_timeout_min",
        "_timeout_countdown",
    }
