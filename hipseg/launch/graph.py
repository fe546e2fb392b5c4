"""A study as a graph of jobs: what each runs, and after which others."""

import dataclasses
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hipseg.config import StudySettings, repeat_settings
from hipseg.errors import ConfigError

PACK = "pack"
SPLIT = "split"
PRETRAINING = "pretraining"
AGGREGATE = "aggregate"
REPORT = "report"


@dataclass(frozen=True)
class Job:
    """One `hipseg` command line of a study.

    Args:
        name: unique within the study, in words.
        arguments: what follows `hipseg`.
        after: names of the jobs that have to end well first.
        arm, fold: the run that the job does; None for the jobs around the runs.
        ranks: processes that do it together.
        repeat: which of the runs of that arm and fold, each with another seed.
    """

    name: str
    arguments: tuple[str, ...]
    after: tuple[str, ...] = ()
    arm: str | None = None
    fold: int | None = None
    ranks: int = 1
    repeat: int = 0

    @property
    def command(self) -> str:
        """The command line as one would type it."""
        return shlex.join(("hipseg", *self.arguments))


@dataclass(frozen=True)
class Packing:
    """Scans that are packed before anything else: the folder that holds them, and how many jobs share them."""

    data: Path
    parts: int


@dataclass(frozen=True)
class Part:
    """The runs that are wanted: every one of `arms` on every one of `folds`, `repeats` times, each time with another seed."""

    arms: tuple[str, ...]
    folds: tuple[int, ...]
    repeats: int = 1


def choose_part(settings: StudySettings, arms: tuple[str, ...] = (), folds: tuple[int, ...] = (), repeats: int = 1) -> Part:
    """Check the arms and folds asked for.

    Args:
        settings: the study.
        arms: names; empty means all.
        folds: numbers from 0; empty means all.
        repeats: how often each is run.
    Returns:
        The part, each arm and fold once, in the study's order.
    Raises:
        ConfigError: the study has no such arm or fold, or no seeds for so many repeats.
    """
    repeat_settings(settings, repeats - 1)
    for arm in arms:
        settings.arm(arm)
    for fold in folds:
        if not 0 <= fold < settings.folds:
            raise ConfigError(f"no fold {fold} of {settings.folds}; the folds are 0 to {settings.folds - 1}")
    return Part(
        tuple(arm for arm in settings.arms if not arms or arm in arms),
        tuple(fold for fold in range(settings.folds) if not folds or fold in folds),
        repeats,
    )


def needs_pretraining(settings: StudySettings, part: Part) -> bool:
    """Say whether one of the arms starts from the pretraining run."""
    return any(settings.arm(arm).transfer for arm in part.arms)


def plan_study(
    settings: StudySettings, settings_file: Path, part: Part, *, has_splits: bool, packing: Packing | None = None
) -> tuple[Job, ...]:
    """Lay out the jobs of a study.

    Table and page are made at the end only where no fold is left out: without one of its folds an arm has no row.

    Args:
        settings: the study.
        settings_file: where the resolved settings lie; every job reads them there.
        part: the arms and folds wanted.
        has_splits: the folds have been dealt already, so that no job for that is needed.
        packing: scans to pack first; None where they are packed.
    Returns:
        The jobs; each stands behind those that it waits for.
    """
    config = ("--config", str(settings_file))
    jobs = list(_plan_packing(settings, packing)) if packing else []
    ready = tuple(job.name for job in jobs if job.name == PACK)
    if not has_splits:
        dealing = ("--folds", str(settings.folds), "--seed", str(settings.split_seed))
        jobs.append(Job(SPLIT, ("split", str(settings.shards), *dealing), ready))
    if needs_pretraining(settings, part):
        jobs.append(Job(PRETRAINING, ("pretrain", *config)))
    dealt = ready if has_splits else (SPLIT,)
    for arm in part.arms:
        after = (*dealt, PRETRAINING) if settings.arm(arm).transfer else dealt
        jobs += [_plan_run(config, after, arm, fold, repeat) for repeat in range(part.repeats) for fold in part.folds]
    if len(part.folds) == settings.folds:
        runs = tuple(job.name for job in jobs if job.arm is not None)
        jobs.append(Job(AGGREGATE, ("aggregate", str(settings.results)), runs))
        jobs.append(Job(REPORT, ("report", str(settings.results)), (AGGREGATE,)))
    return tuple(jobs)


def in_order(jobs: Iterable[Job]) -> tuple[Job, ...]:
    """Put each job behind those that it waits for; where that leaves a choice the order stays."""
    by_name = {job.name: job for job in jobs}
    placed: dict[str, Job] = {}
    met: set[str] = set()

    def place(job: Job) -> None:
        met.add(job.name)
        for name in job.after:
            if name in by_name and name not in met:
                place(by_name[name])
        placed[job.name] = job

    for job in by_name.values():
        if job.name not in met:
            place(job)
    return tuple(placed.values())


def _plan_run(config: tuple[str, ...], after: tuple[str, ...], arm: str, fold: int, repeat: int) -> Job:
    again = ("--repeat", str(repeat)) if repeat else ()
    name = f"train {arm} fold {fold}" + (f" repeat {repeat}" if repeat else "")
    return Job(name, ("train", *config, "--arm", arm, "--fold", str(fold), *again), after, arm, fold, repeat=repeat)


def _plan_packing(settings: StudySettings, packing: Packing) -> tuple[Job, ...]:
    """Pack the scans in parts, each a job, and join the parts."""
    output = ("-o", str(settings.shards))
    parts = tuple(
        Job(f"{PACK} part {n}", (PACK, str(packing.data), *output, "--part", f"{n}/{packing.parts}"))
        for n in range(1, packing.parts + 1)
    )
    return (*parts, Job(PACK, (PACK, "--merge", *output), tuple(job.name for job in parts)))


def share_threads(jobs: tuple[Job, ...], settings: StudySettings, threads: int) -> tuple[Job, ...]:
    """Give each rank of the runs and the pretraining that many threads, by one more setting on its command line.

    Where the settings say how many, for the runs or for the pretraining, these stay.
    """
    shared = []
    for job in jobs:
        key = None
        if job.arm is not None and settings.train.threads == 0:
            key = "train.threads"
        elif job.name == PRETRAINING and settings.pretrain.train.threads == 0:
            key = "pretrain.train.threads"
        extra = ("--set", f"{key}={threads}") if key else ()
        shared.append(dataclasses.replace(job, arguments=(*job.arguments, *extra)))
    return tuple(shared)


def give_ranks(jobs: tuple[Job, ...], ranks: int) -> tuple[Job, ...]:
    """Let each run and the pretraining be done by that many ranks."""
    trains = [job.arm is not None or job.name == PRETRAINING for job in jobs]
    return tuple(dataclasses.replace(job, ranks=ranks) if is_run else job for job, is_run in zip(jobs, trains, strict=True))
