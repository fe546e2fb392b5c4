"""What an earlier submission has prepared for its runs, packed scans and dealt folds: not to be done again beside them."""

from hipseg.config import StudySettings
from hipseg.launch.graph import PACK, SPLIT, Job
from hipseg.launch.ready import has_splits
from hipseg.launch.standing import look_at_study
from hipseg.launch.state import StudyState
from hipseg.runs import DatasetPaths, StudyPaths

ENDED_WELL = ("done", "skipped")


def find_prepared(
    paths: StudyPaths, settings: StudySettings, jobs: tuple[Job, ...], done: frozenset[str], earlier: StudyState
) -> frozenset[str]:
    """Find the jobs of packing and dealing that ended well, and whose work is still there.

    Packing counts where the same command line did it; cases that it refused are packed by `hipseg-pack`, by hand.

    Args:
        paths, settings: the study.
        jobs: the graph, each behind those that it waits for.
        done: names of the jobs whose run is complete.
        earlier: the study as it was submitted before.
    Returns:
        Names of jobs that need not run.
    """
    packs = [job for job in jobs if job.arguments[0] == PACK]
    prepared: set[str] = set()
    if packs:
        standings = look_at_study(paths, earlier, done).standings
        before = {record.job.name: record.job.arguments for record in earlier.records}
        same = [job for job in packs if before.get(job.name) == job.arguments and standings[job.name].stage in ENDED_WELL]
        prepared |= {job.name for job in same if _has_left_its_work(DatasetPaths(settings.shards), job)}
        prepared -= {job.name for job in same if not prepared.issuperset(job.after)}
    for job in jobs:
        if job.name == SPLIT and prepared.issuperset(job.after) and has_splits(settings):
            prepared.add(SPLIT)
    return frozenset(prepared)


def _has_left_its_work(data: DatasetPaths, job: Job) -> bool:
    """Say whether what a job packed is there: a part's journal, until the manifest that joins all takes its place."""
    part = job.arguments[-1].replace("/", "-of-")
    return data.manifest.is_file() or (job.name != PACK and data.journal(part).is_file())
