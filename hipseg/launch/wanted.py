"""Which jobs of earlier submissions a study no longer has: of folds and arms that the settings lack, and never begun."""

from collections.abc import Collection, Iterable

from hipseg.config import StudySettings
from hipseg.launch.graph import PRETRAINING, Job
from hipseg.launch.state import Record
from hipseg.runs import StudyPaths

SHOWN_NAMES = 5


def drop_unwanted(
    paths: StudyPaths, settings: StudySettings, records: Iterable[Record], live: Collection[str] = ()
) -> tuple[tuple[Record, ...], tuple[str, ...]]:
    """Drop the jobs that would be missed for ever: no submit runs them any more, and a table would wait for them.

    A run with a folder is never among them, nor is an arm of the settings that was only not asked for this time.

    Args:
        paths, settings: the study as it is now.
        records: the study as it was submitted before.
        live: names of jobs that are queued or run.
    Returns:
        The records that stay, and a sentence where some do not: runs, and the pretraining where no arm starts from one.
    """
    kept: list[Record] = []
    names: list[str] = []
    for record in records:
        is_dropped = record.job.name not in live and _is_unwanted(paths, settings, record.job)
        (names.append(record.job.name) if is_dropped else kept.append(record))
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    shown = f"{', '.join(names[:SHOWN_NAMES])}{more}"
    words = f"no longer of this study, since its settings are without it and it never began: {shown}"
    return tuple(kept), (words,) if names else ()


def _is_unwanted(paths: StudyPaths, settings: StudySettings, job: Job) -> bool:
    if job.name == PRETRAINING:
        has_transfer = any(arm.transfer for arm in settings.arms.values())
        return not has_transfer and not paths.pretraining.root.exists()
    return _is_outside(job, settings) and not _has_begun(paths, job)


def _is_outside(job: Job, settings: StudySettings) -> bool:
    return job.arm is not None and job.fold is not None and (job.arm not in settings.arms or job.fold >= settings.folds)


def _has_begun(paths: StudyPaths, job: Job) -> bool:
    return job.arm is not None and job.fold is not None and paths.fold(job.arm, job.fold, job.repeat).root.exists()
