import socket
import time
from pathlib import Path

import pytest
from submitit.core.utils import DelayedSubmission

from hipseg.launch.endings import Ending, write_ending
from hipseg.launch.graph import Job
from hipseg.launch.standing import Standing, look_at_study
from hipseg.launch.state import Record, StudyState
from hipseg.launch.work import RunRank
from hipseg.runs import StudyPaths

SPLIT = Job("split", ("split",))
FOLDS = tuple(Job(f"train unet fold {k}", ("train",), ("split",), "unet", k) for k in range(2))
TABLE = Job("aggregate", ("aggregate",), tuple(job.name for job in FOLDS))


def submitted(job, number, folder="jobs/a/attempt_1"):
    return Record(job, "queued", submitit_id=number, log=f"{folder}/{number}_0_log.out")


RECORDS = (submitted(SPLIT, "7"), submitted(FOLDS[0], "8_0"), submitted(FOLDS[1], "8_1"), submitted(TABLE, "9"))


@pytest.fixture
def paths(tmp_path):
    return StudyPaths(tmp_path)


@pytest.fixture
def look(paths, slurm):
    """Look at a study whose queue, accounts and files a test chooses; gives the standings in the order of the records."""

    def look(queue="", endings=(), complete=(), records=RECORDS, accounts=None):
        slurm.say("squeue", queue)
        slurm.say("sacct", accounts or "", code=int(accounts is None), error="" if accounts else "disabled\n")
        folder = paths.root / "jobs/a/attempt_1"
        folder.mkdir(parents=True, exist_ok=True)
        for number, ending in endings:
            write_ending(folder, number, ending)
        state = StudyState(tuple(records), socket.gethostname(), 1, time.time(), cluster="fake")
        return list(look_at_study(paths, state, frozenset(complete)).standings.values())

    return look


def test_the_queue_says_what_waits_and_what_runs(look):
    queue = "7|COMPLETED|None\n8_0|RUNNING|None\n8_1|PENDING|JobArrayTaskLimit\n9|PENDING|Dependency\n"
    assert look(queue) == [
        Standing("done", None, 0, 0),
        Standing("running"),
        Standing("queued", "JobArrayTaskLimit"),
        Standing("queued", "Dependency"),
    ]


def test_what_a_job_wrote_counts_before_slurms_word(look):
    endings = [
        ("7", Ending(0, 0, 1.0, 2.0, 0)),
        ("8_0", Ending(0, 0, 1.0, 2.0, 6, "no")),
        ("8_0", Ending(0, None, exit_code=6, error="no")),
    ]
    found = look("7|COMPLETED|None\n8_0|FAILED|NonZeroExitCode\n8_1|RUNNING|None\n9|CANCELLED|Dependency\n", endings)
    assert found[0] == Standing("done", None, 0, 0)
    assert found[1] == Standing("failed", "no", 0, 6)
    assert found[3] == Standing("not run", "waits for train unet fold 0, which failed")


def test_what_was_put_back_is_queued_again_whatever_its_last_start_left(look):
    stop = Ending(2, None, exit_code=75, error="stopped", is_requeued=True)
    endings = [("8_0", Ending(0, 0, exit_code=6, error="old")), ("8_0", Ending(2, 0, 1.0, 2.0, 75, "stopped")), ("8_0", stop)]
    assert look("8_0|PENDING|BeginTime\n", endings)[1] == Standing("queued", "BeginTime", 3)
    assert look("8_0|RUNNING|None\n", [("8_0", Ending(3, 0, 1.0))])[1] == Standing("running", None, 3)


def test_a_complete_run_is_done_even_where_its_last_word_is_missing(look):
    found = look("", [("8_0", Ending(1, 0, 1.0))], complete=(FOLDS[0].name,))
    assert found[1] == Standing("done", None, 1)


def test_a_run_that_ended_well_and_whose_files_are_gone_is_lost(look, paths):
    ended = [("8_0", Ending(0, 0, 1.0, 2.0, 0))]
    assert (
        look("7|COMPLETED|None\n8_1|COMPLETED|None\n", ended)[1:3]
        == [Standing("lost", "it ended well, and its results are gone")] * 2
    )
    # It came to its end after the caller had looked which runs are complete.
    paths.fold("unet", 0).root.mkdir(parents=True)
    paths.fold("unet", 0).summary.write_text("{}")
    assert look("", ended)[1] == Standing("done", None, 0, 0)


def test_a_complete_run_of_before_was_skipped(look):
    records = (submitted(SPLIT, "7"), Record(FOLDS[0], "skipped"))
    assert look("", complete=(FOLDS[0].name,), records=records)[1].stage == "skipped"


def test_a_job_that_stopped_too_often_says_so(look):
    bound = Ending(10, None, exit_code=75, error="stopped; started 11 times, --max-requeues is 10; ...")
    assert look("", [("8_0", bound)])[1] == Standing("stopped", bound.error, 10, 75)


@pytest.mark.parametrize(
    ("state", "stage", "words"),
    [
        ("TIMEOUT", "failed", "reached its time limit before it could save"),
        ("NODE_FAIL", "failed", "its node was lost"),
        ("OUT_OF_MEMORY", "failed", "ran out of memory"),
        ("CANCELLED", "cancelled", "cancelled at the cluster"),
        ("FAILED", "failed", "could not write how it ended; is there space left"),
        ("STRANGE", "failed", "Slurm says STRANGE"),
    ],
)
@pytest.mark.parametrize("is_in_accounts", [False, True])
def test_of_a_job_that_says_nothing_slurms_word_is_taken(look, state, stage, words, is_in_accounts):
    silent = [("8_0", Ending(0, 0, 1.0))]
    found = look("", silent, accounts=f"8_0|{state}\n") if is_in_accounts else look(f"8_0|{state}|None\n", silent)
    assert found[1].stage == stage
    assert found[1].reason.startswith(words)


def test_a_job_that_failed_before_a_rank_began_may_have_failed_at_anything(look):
    assert look("7|FAILED|NonZeroExitCode\n")[0] == Standing("failed", "Slurm says FAILED")


def test_nothing_that_an_earlier_start_left_is_taken_for_the_present_one(look, paths):
    """Good endings, a verdict and submitit's results of start 0, while start 1 runs, is lost, and fails."""
    folder = paths.root / "jobs/a/attempt_1"
    folder.mkdir(parents=True)
    DelayedSubmission(RunRank(("train",))).dump(folder / "8_0_0_result.pkl")
    before = [
        ("8_0", Ending(0, None, exit_code=75, is_requeued=True)),
        *(("8_0", Ending(0, rank, 1.0, 2.0, 0)) for rank in (0, 1)),
    ]
    now = [("8_0", Ending(1, rank, 3.0)) for rank in (0, 1)]
    assert look("8_0|RUNNING|None\n", before)[1] == Standing("running", None, 1)
    assert look("8_0|NODE_FAIL|None\n", now)[1] == Standing("failed", "its node was lost", 1)
    failure = ("8_0", Ending(1, None, exit_code=6, error="no"))
    assert look("8_0|FAILED|NonZeroExitCode\n", [failure])[1] == Standing("failed", "no", 1, 6)


def test_without_accounts_a_job_that_left_nothing_is_lost(look):
    found = look("")
    assert found[0] == Standing("lost", "it is gone from the queue and nobody recorded how it ended")
    assert found[1] == Standing("not run", "waits for split, which is lost")


def test_the_accounts_are_asked_for_what_nobody_else_knows_only(look, slurm):
    look("8_0|RUNNING|None\n9|PENDING|Dependency\n", [("7", Ending(0, 0, 1.0, 2.0, 0))], complete=(FOLDS[1].name,))
    assert not [call for call in slurm.calls if call.startswith("sacct")]
    look("8_0|RUNNING|None\n", [("7", Ending(0, 0, 1.0, 2.0, 0))])
    assert [call.split()[4] for call in slurm.calls if call.startswith("sacct")] == ["--jobs=8,9"]


def test_what_the_user_cancelled_is_cancelled_whatever_it_wrote_last(look):
    records = (Record(FOLDS[0], "cancelled", submitit_id="8_0", error="by you", log=RECORDS[1].log),)
    assert look("8_0|CANCELLED|None\n", [("8_0", Ending(0, 0, 1.0, 2.0, 75, "stopped"))], records=records) == [
        Standing("cancelled", "by you")
    ]


def test_a_job_that_slurm_never_got_says_how_to_submit_it(look):
    (found,) = look("", records=(Record(SPLIT),))
    assert (found.stage, found.reason) == ("not run", "was not submitted; `hipseg resubmit` submits it")


def test_cases_that_packing_refused_are_told_of(look):
    (found,) = look("", [("7", Ending(0, 0, 1.0, 2.0, 10, "ended with exit code 10"))], records=RECORDS[:1])
    assert found == Standing("done", "ended with exit code 10", 0, 10)


def test_where_slurm_does_not_answer_the_files_speak(paths, slurm):
    slurm.say("squeue", code=1, error="slurm_load_jobs error: Unable to contact slurm controller\n")
    folder = paths.root / "jobs/a/attempt_1"
    folder.mkdir(parents=True)
    write_ending(folder, "7", Ending(0, 0, 1.0, 2.0, 0))
    write_ending(folder, "8_0", Ending(0, 0, 1.0))
    sight = look_at_study(paths, StudyState(RECORDS, "host", 1, time.time(), cluster="fake"), frozenset())
    assert [one.stage for one in sight.standings.values()] == ["done", "running", "queued", "queued"]
    assert "Unable to contact slurm controller" in sight.blind


def test_looking_writes_nothing(look, paths):
    look("", [("7", Ending(0, 0, 1.0, 2.0, 0))])
    before = {path: path.stat().st_mtime_ns for path in Path(paths.root).rglob("*")}
    look("")
    assert {path: path.stat().st_mtime_ns for path in Path(paths.root).rglob("*")} == before
