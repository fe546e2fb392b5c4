import os
import pickletools

import cloudpickle
import pytest
from submitit.core.utils import DelayedSubmission

from hipseg.errors import ConfigError, ReportError
from hipseg.launch.private import masking
from hipseg.launch.work import Outcome, RunCommand


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
