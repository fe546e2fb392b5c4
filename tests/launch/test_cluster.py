import pytest

from hipseg.errors import LaunchError
from hipseg.launch.cluster import QueueEntry, ask, cancel_jobs, has_cluster, look_up, read_accounts, read_queue


def test_a_controller_that_answers_makes_a_cluster(slurm):
    assert has_cluster()


def test_one_of_two_controllers_is_enough(slurm):
    slurm.say("scontrol ping", "Slurmctld(primary) at a is DOWN\nSlurmctld(backup) at b is UP\n")
    assert has_cluster()


def test_programs_without_a_cluster_make_none(no_cluster):
    assert not has_cluster()


def test_no_programs_make_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not has_cluster()


def test_a_cluster_that_does_not_answer_keeps_a_study_off_the_login_node(slurm):
    slurm.say("scontrol ping", "Slurmctld(primary) at head is DOWN\n", code=1)
    with pytest.raises(LaunchError, match=r"does not answer \(Slurmctld\(primary\) at head is DOWN\); .* or add --local"):
        has_cluster()


def test_the_queue_names_each_job_its_state_and_why_it_waits(slurm):
    slurm.say("squeue", "12_1|PENDING|Resources\n12_0|RUNNING|None\n7|CANCELLED|Dependency\n")
    queue = read_queue("fake")
    assert queue == {
        "12_1": QueueEntry("PENDING", "Resources"),
        "12_0": QueueEntry("RUNNING"),
        "7": QueueEntry("CANCELLED", "Dependency"),
    }
    assert [(one.is_live, one.is_waiting) for one in queue.values()] == [(True, True), (True, False), (False, False)]
    assert slurm.calls == ["scontrol show config", "squeue --me --array --noheader --states=all --format=%i|%T|%r|%j"]


def test_jobs_of_other_names_are_nobodys_to_judge(slurm):
    """Numbers are given anew after a while, and a cluster that was set up anew counts from 1."""
    slurm.say("squeue", "12|RUNNING|None|my|hipseg-job\n13|RUNNING|None|hipseg-split|odd\n")
    assert read_queue("fake") == {"13": QueueEntry("RUNNING")}
    slurm.say("sacct", "12|RUNNING|bash\n13|TIMEOUT|hipseg-split\n")
    assert read_accounts(["12", "13"]) == {"13": QueueEntry("TIMEOUT")}


def test_another_clusters_queue_is_not_taken_for_the_studys(slurm):
    slurm.say("squeue", "12|RUNNING|None\n")
    with pytest.raises(LaunchError, match="was submitted to the cluster ours, and this is fake; give the command there"):
        read_queue("ours")
    assert slurm.calls == ["scontrol show config"]


def test_tasks_that_never_started_are_found_under_their_array():
    entries = {"12": QueueEntry("CANCELLED"), "12_0": QueueEntry("COMPLETED")}
    assert look_up(entries, "12_0") == QueueEntry("COMPLETED")
    assert look_up(entries, "12_3") == QueueEntry("CANCELLED")
    assert look_up(entries, "13_3") is None


def test_the_accounts_tell_of_jobs_that_the_queue_forgot(slurm):
    slurm.say("sacct", "12_0|TIMEOUT\n12_[1-3%2]|CANCELLED by 1000\n9|NODE_FAIL\n")
    found = read_accounts(["12_0", "12_1", "9"])
    assert found == {"12_0": QueueEntry("TIMEOUT"), "12": QueueEntry("CANCELLED"), "9": QueueEntry("NODE_FAIL")}
    assert slurm.calls == ["sacct --noheader --parsable2 --allocations --jobs=9,12 --format=JobID,State,JobName"]


def test_a_cluster_without_accounts_tells_nothing(slurm):
    slurm.say("sacct", code=1, error="Slurm accounting storage is disabled\n")
    assert read_accounts(["12_0"]) == {}


def test_many_jobs_are_cancelled_in_few_calls(slurm):
    cancel_jobs(str(number) for number in range(1200))
    assert [len(call.split()) - 2 for call in slurm.calls] == [500, 500, 200]


def test_the_last_line_of_a_failure_is_the_reason(slurm):
    slurm.say("squeue", code=1, error="squeue: a long story\nsqueue: error: Unable to contact slurm controller\n")
    with pytest.raises(LaunchError, match=r"^squeue failed: squeue: error: Unable to contact slurm controller$"):
        read_queue("fake")


def test_a_program_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LaunchError, match=r"no sinfo here"):
        ask("sinfo")
