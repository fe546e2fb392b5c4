import pytest

from hipseg.launch.endings import Ending, read_endings, write_ending
from hipseg.launch.requeue import decide, main

RUNS = "JobId=12 ArrayTaskId=4 JobState=RUNNING Reason=None"


def rank(number, exit_code=None, error=None, finished_s=None):
    return Ending(0, number, 1.0, finished_s, exit_code, error)


STOPS = (rank(0, 75, "stopped by SIGUSR2", 5.0), rank(1, 75, "stopped by a signal to another rank", 5.0))


def test_ranks_that_saved_and_stopped_go_back_into_the_queue():
    assert decide(STOPS, 75, 0, 10) == Ending(0, None, exit_code=75, error="stopped by SIGUSR2", is_requeued=True)


def test_one_that_was_shot_while_the_others_stopped_changes_nothing():
    assert decide((STOPS[0], rank(1)), 137, 0, 10).is_requeued


def test_ranks_that_say_nothing_were_killed_and_go_back():
    verdict = decide((rank(0), rank(1)), 137, 0, 10)
    assert verdict.is_requeued
    assert verdict.error.startswith("rank 0 and 1 ended without a word (exit code 137): killed")


def test_a_rank_that_lost_the_others_goes_back():
    verdict = decide((rank(0, 76, "rank 1 is dead"), rank(1)), 137, 0, 10)
    assert (verdict.is_requeued, verdict.exit_code, verdict.error) == (True, 76, "rank 1 is dead")


def test_a_rank_that_had_to_end_itself_to_get_away_goes_back_too():
    verdict = decide((rank(0), rank(1)), 76, 0, 10)
    assert (verdict.is_requeued, verdict.error) == (True, "a rank lost the others; its log says whom")


def test_a_mistake_ends_the_job_even_where_the_other_ranks_were_shot_for_it():
    endings = (rank(0), rank(1, 6, "the second", 9.0), rank(2, 2, "the first", 8.0), rank(3, 75, "stopped", 7.0))
    assert decide(endings, 137, 0, 10) == Ending(0, None, exit_code=2, error="the first")


def test_a_job_that_never_began_is_not_tried_again():
    verdict = decide((), 127, 0, 10)
    assert (verdict.is_requeued, verdict.exit_code) == (False, 127)
    assert verdict.error.startswith("could not start (exit code 127)")


def test_a_job_that_was_shot_before_it_began_is():
    assert decide((), 137, 0, 10).is_requeued


@pytest.mark.parametrize(("restart", "is_requeued"), [(9, True), (10, False), (11, False)])
def test_there_is_an_end_to_it(restart, is_requeued):
    verdict = decide(STOPS, 75, restart, 10)
    assert verdict.is_requeued == is_requeued
    assert is_requeued or verdict.error.startswith(f"stopped by SIGUSR2; started {restart + 1} times, --max-requeues is 10")


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
