import subprocess
import sys

import pytest

from hipseg.errors import ConfigError, LaunchError
from hipseg.launch.endings import Ending, read_endings, write_ending
from hipseg.launch.requeue import admit, decide, main, negotiate

RUNS = "JobId=12 ArrayTaskId=4 JobState=RUNNING Reason=None"


def rank(number, exit_code=None, error=None, finished_s=None):
    return Ending(0, number, 1.0, finished_s, exit_code, error)


STOPS = (rank(0, 75, "stopped by SIGUSR2", 5.0), rank(1, 75, "stopped by a signal to another rank", 5.0))


def test_ranks_that_saved_and_stopped_go_back_into_the_queue():
    assert decide(STOPS, 75, 0) == Ending(0, None, exit_code=75, error="stopped by SIGUSR2", is_requeued=True)


def test_one_that_was_shot_while_the_others_stopped_changes_nothing():
    assert decide((STOPS[0], rank(1)), 137, 0).is_requeued


def test_ranks_that_say_nothing_were_killed_and_go_back():
    verdict = decide((rank(0), rank(1)), 137, 0)
    assert verdict.is_requeued
    assert verdict.error.startswith("rank 0 and 1 ended without a word (exit code 137): killed")


def test_a_rank_that_lost_the_others_goes_back():
    verdict = decide((rank(0, 76, "rank 1 is dead"), rank(1)), 137, 0)
    assert (verdict.is_requeued, verdict.exit_code, verdict.error) == (True, 76, "rank 1 is dead")


def test_a_rank_that_had_to_end_itself_to_get_away_goes_back_too():
    verdict = decide((rank(0), rank(1)), 76, 0)
    assert (verdict.is_requeued, verdict.error) == (True, "a rank lost the others; its log says whom")


def test_a_mistake_ends_the_job_even_where_the_other_ranks_were_shot_for_it():
    endings = (rank(0), rank(1, 6, "the second", 9.0), rank(2, 2, "the first", 8.0), rank(3, 75, "stopped", 7.0))
    assert decide(endings, 137, 0) == Ending(0, None, exit_code=2, error="the first")


def test_a_job_that_never_began_is_not_tried_again():
    verdict = decide((), 127, 0)
    assert (verdict.is_requeued, verdict.exit_code) == (False, 127)
    assert verdict.error.startswith("could not start (exit code 127)")


def test_a_job_that_was_shot_before_it_began_is():
    assert decide((), 137, 0).is_requeued


STOP = Ending(11, None, exit_code=75, error="stopped by SIGUSR2", is_requeued=True)
LOST = (rank(0, 76, "rank 1 is dead"), rank(1))
LOSS = Ending(11, None, exit_code=76, error="rank 1 is dead", is_requeued=True)
PREEMPTED = RUNS + " PreemptEligibleTime=2026-11-22T10:00:00 PreemptTime=2026-11-22T10:05:00 SuspendTime=None"
NOT_PREEMPTED = PREEMPTED.replace("PreemptTime=2026-11-22T10:05:00", "PreemptTime=None")


@pytest.mark.parametrize(("spent", "is_requeued"), [(9, True), (10, False), (11, False)])
@pytest.mark.parametrize(("verdict", "endings"), [(STOP, STOPS), (LOSS, LOST)])
@pytest.mark.parametrize("word", [RUNS, NOT_PREEMPTED])
def test_there_is_an_end_to_it(verdict, endings, word, spent, is_requeued):
    found = negotiate(verdict, endings, word, spent, 10)
    assert (found.is_requeued, found.gave_way) == (is_requeued, False)
    assert is_requeued or found.error.startswith(f"{verdict.error}; started {spent + 1} times, --max-requeues is 10")


def test_who_saved_and_gives_way_to_a_higher_job_goes_back_however_often():
    found = negotiate(STOP, STOPS, PREEMPTED, 11, 10)
    assert (found.is_requeued, found.gave_way, found.error) == (True, True, "stopped by SIGUSR2")


def test_a_rank_that_was_lost_before_its_job_could_save_counts_whatever_else_came():
    found = negotiate(LOSS, LOST, PREEMPTED, 10, 10)
    assert (found.is_requeued, found.gave_way) == (False, False)


@pytest.mark.parametrize(
    ("verdict", "endings", "gave_way"),
    [
        (STOP, STOPS, True),
        (LOSS, LOST, False),
        (STOP, (STOPS[0], rank(1)), False),  # the node of rank 1 was lost, and Slurm stopped rank 0 for that
        (STOP, (), False),
    ],
)
def test_what_somebody_else_put_back_is_left_to_them_and_counts_where_a_rank_could_not_save(verdict, endings, gave_way):
    found = negotiate(verdict, endings, RUNS.replace("RUNNING", "PENDING"), 0, 10)
    assert (found.is_requeued, found.gave_way) == (False, gave_way)


@pytest.fixture
def job(tmp_path, slurm, monkeypatch):
    """Start 1 of task 4 of array 12."""
    variables = {"JOB_ID": "12", "ARRAY_JOB_ID": "12", "ARRAY_TASK_ID": "4", "RESTART_COUNT": "1"}
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    slurm.say("scontrol show job", RUNS)
    write_ending(tmp_path, "12_4", Ending(1, 0, 1.0, 2.0, 75, "stopped by SIGUSR2"))
    return tmp_path


def test_one_task_of_an_array_is_put_back_alone_and_the_verdict_stays(job, slurm, capsys):
    assert main(job, 10, 137) == 75
    assert slurm.calls == ["scontrol show job --oneliner 12_4", "scontrol requeue 12_4"]
    (verdict,) = [one for one in read_endings(job)["12_4"] if one.rank is None]
    assert (verdict.is_requeued, verdict.error) == (True, "stopped by SIGUSR2")
    assert capsys.readouterr().err == "hipseg: stopped by SIGUSR2; back into the queue, start 3\n"


def test_what_an_earlier_start_left_is_not_what_this_one_did(job, monkeypatch):
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    assert main(job, 10, 1) == 1
    (verdict,) = read_endings(job)["12_4"]
    assert verdict.error.startswith("could not start (exit code 1)")


@pytest.mark.parametrize("state", ["CANCELLED", "COMPLETING", "PENDING"])
def test_a_job_that_was_cancelled_or_put_back_by_others_is_left_alone(job, slurm, state):
    slurm.say("scontrol show job", RUNS.replace("RUNNING", state))
    assert main(job, 10, 75) == 75
    assert not [call for call in slurm.calls if "requeue" in call]


def test_a_cluster_that_does_not_put_jobs_back_is_named(job, slurm):
    slurm.say("scontrol requeue 12_4", code=1, error="slurm_requeue error: Requested operation is presently disabled\n")
    assert main(job, 10, 75) == 75
    (verdict,) = [one for one in read_endings(job)["12_4"] if one.rank is None]
    assert not verdict.is_requeued
    assert verdict.error.endswith(
        "not started again: scontrol failed: slurm_requeue error: Requested operation is presently disabled"
    )


def test_where_the_verdict_finds_no_room_the_job_is_not_put_back(job, slurm, monkeypatch, capsys):
    def refuse(*_):
        raise ConfigError("cannot write x: No space left on device")

    monkeypatch.setattr("hipseg.launch.requeue.write_ending", refuse)
    assert main(job, 10, 137) == 75
    assert not [call for call in slurm.calls if "requeue" in call]
    assert capsys.readouterr().err == "hipseg: stopped by SIGUSR2; cannot write x: No space left on device\n"


def leave_starts(folder, *verdicts):
    """Let each earlier start of the job have left a verdict, or none where its node was lost."""
    for restart, verdict in enumerate(verdicts):
        write_ending(folder, "12_4", Ending(restart, 0, 1.0))
        if verdict is not None:
            write_ending(folder, "12_4", Ending(restart, None, exit_code=75, gave_way=verdict == "gave way"))


@pytest.mark.parametrize(
    ("verdicts", "is_admitted"),
    [
        ((None, None), True),
        ((None, None, None), False),
        (("put back", None, "put back"), False),
        (("gave way", None, "gave way", "put back"), True),
    ],
)
def test_slurm_may_start_a_job_again_as_often_as_the_bound_says_and_no_more(job, monkeypatch, capsys, verdicts, is_admitted):
    leave_starts(job, *verdicts)
    monkeypatch.setenv("SLURM_RESTART_COUNT", str(len(verdicts)))
    assert admit(job, 2) == (0 if is_admitted else LaunchError.exit_code)
    said = capsys.readouterr().err
    assert is_admitted or "its nodes were lost; started 3 times, --max-requeues is 2; `hipseg resubmit` goes on" in said
    written = (job / f"12_4.{len(verdicts)}.batch.json").exists()
    assert written != is_admitted


def test_the_batch_script_may_ask_before_and_after(job, monkeypatch):
    """As it calls the module: without an exit code at the start, with srun's at the end."""
    monkeypatch.setenv("SLURM_RESTART_COUNT", "3")
    call = [sys.executable, "-m", "hipseg.launch.requeue", str(job)]
    assert [subprocess.run([*call, *words], check=False).returncode for words in (["3"], ["9", "1"], ["2"])] == [0, 1, 7]
