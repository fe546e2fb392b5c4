import stat

import pytest

from hipseg.errors import LaunchError
from hipseg.launch.endings import Ending, Start, count_spent, find_start, read_endings, verdict_of, write_ending


def test_a_task_of_an_array_is_known_by_the_array_and_its_place_in_it():
    # The last task of array 12 has the array's own number.
    environment = {"SLURM_JOB_ID": "12", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "4", "SLURM_PROCID": "1"}
    assert find_start(environment) == Start("12_4", restart=0, rank=1)


def test_a_job_that_was_started_again_says_so():
    assert find_start({"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "3"}) == Start("7", restart=3, rank=0)


@pytest.mark.parametrize("environment", [{}, {"SLURM_JOB_ID": "x"}])
def test_outside_of_a_job_there_is_no_start(environment):
    with pytest.raises(LaunchError, match=r"inside a job of Slurm only"):
        find_start(environment)


def test_what_is_written_is_read_back_and_nobody_else_can(tmp_path):
    endings = (Ending(0, None, exit_code=75, error="why", is_requeued=True), Ending(0, 0, 1.0, 2.0, 75, "why"), Ending(0, 1, 1.0))
    for ending in endings:
        write_ending(tmp_path, "12_4", ending)
    assert read_endings(tmp_path) == {"12_4": endings}
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_only_the_last_start_of_each_job_counts(tmp_path):
    for restart in (0, 9, 10):
        write_ending(tmp_path, "5", Ending(restart, 0, exit_code=restart))
    write_ending(tmp_path, "6", Ending(2, 0))
    assert {job: [one.restart for one in endings] for job, endings in read_endings(tmp_path).items()} == {"5": [10], "6": [2]}


def test_a_start_of_which_only_a_damaged_file_is_left_is_known_and_says_nothing(tmp_path):
    write_ending(tmp_path, "5", Ending(0, 0, exit_code=0))
    (tmp_path / "5.1.rank0.json").write_text('{"restart": 1')
    (tmp_path / "5.1.rank1.json").write_text('{"other": 1}')
    assert read_endings(tmp_path) == {"5": ()}


def test_other_files_and_a_folder_that_is_not_there_hold_nothing(tmp_path):
    for name in ("5_submitted.pkl", "5_0_log.out", ".5.0.rank0.json.tmp", "x.0.rank0.json"):
        (tmp_path / name).write_text("{}")
    assert read_endings(tmp_path) == {}
    assert read_endings(tmp_path / "nowhere") == {}


def test_starts_that_gave_way_are_not_counted_and_those_that_left_no_verdict_are(tmp_path):
    for restart, gave_way in {0: False, 1: True, 3: True}.items():
        write_ending(tmp_path, "12_4", Ending(restart, None, exit_code=75, gave_way=gave_way))
    write_ending(tmp_path, "12_4", Ending(2, 0, 1.0))
    (tmp_path / "12_4.4.batch.json").write_text("{")
    write_ending(tmp_path, "12_3", Ending(5, None, exit_code=75))
    assert [count_spent(tmp_path, Start("12_4", restart, 0)) for restart in range(6)] == [0, 1, 1, 2, 2, 3]


def test_the_verdict_is_the_batch_scripts():
    verdict = Ending(0, None, exit_code=1)
    assert verdict_of((Ending(0, 0), verdict)) == verdict
    assert verdict_of((Ending(0, 0),)) is None
