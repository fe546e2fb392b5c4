"""A run from its first to its last file, by one process or by one rank of many: what the commands that train and score do.

The command line loads this module when it has checked its options: TensorFlow, which comes along, takes seconds to load.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack

from rich.console import Console

from hipseg.config import StudySettings
from hipseg.evaluate import check_trained, evaluate_fold
from hipseg.learn.course import Course, Trained, run_course
from hipseg.learn.fold import prepare_fold, title
from hipseg.learn.pretraining import prepare_pretraining
from hipseg.learn.progress import say
from hipseg.learn.rank_env import find_place
from hipseg.learn.ranks import join_ranks
from hipseg.learn.resume import Resume
from hipseg.learn.runtime import take_card
from hipseg.learn.session import Session
from hipseg.learn.workspace import hold_run
from hipseg.organs import finish_pretraining
from hipseg.runs import DatasetPaths, StudyPaths
from hipseg.signals import StopRequests

Finish = Callable[[Course, Trained, Console], object]
"""What rank 0 does when the network is trained, while it still holds the folder."""


def conduct_fold(settings: StudySettings, arm: str, fold: int, repeat: int = 0, *, resume: Resume, overwrite: bool) -> None:
    """Train one arm on one fold and score the fold's validation cases; raises what `prepare_fold` and those do that follow."""

    def finish(course: Course, _trained: Trained, console: Console) -> None:
        study = StudyPaths(settings.results)
        evaluate_fold(course.dataset, study, arm, fold, console, scoring=settings.evaluate, repeat=repeat)
        say(console, f"{course.title}: weights, scores and predictions are in {course.paths.root}")

    _conduct(lambda: prepare_fold(settings, arm, fold, repeat), finish, resume=resume, overwrite=overwrite)


def conduct_pretraining(settings: StudySettings, *, resume: Resume, overwrite: bool) -> None:
    """Train the network of the transfer arms on organs; raises what `prepare_pretraining` and those do that follow."""
    _conduct(lambda: prepare_pretraining(settings), finish_pretraining, resume=resume, overwrite=overwrite)


def conduct_evaluation(settings: StudySettings, arm: str, fold: int, repeat: int = 0) -> None:
    """Score a trained fold anew.

    Raises:
        TrainError: the fold is not trained, its files are damaged, or data or splits are not those it was trained on.
        ConfigError: another process is at work there, or there is no such fold.
        ShardError: data or splits are missing or damaged.
    """
    study = StudyPaths(settings.results)
    paths, what = study.fold(arm, fold, repeat), title(arm, fold, repeat)
    check_trained(paths, what)
    with hold_run(paths, what):
        dataset = DatasetPaths(settings.shards)
        evaluate_fold(dataset, study, arm, fold, Console(), scoring=settings.evaluate, repeat=repeat)


def _conduct(prepare: Callable[[], Course], finish: Finish, *, resume: Resume, overwrite: bool) -> None:
    stops, place = StopRequests(), find_place(os.environ)
    console = Console(quiet=place is not None and place.rank > 0)
    with stops.listening(), ExitStack() as stack:
        take_card(place)
        course = prepare()
        with join_ranks(place, course.paths.root, course.training.stall_limit_s, os.environ) as ranks:
            if ranks.leads:
                stack.enter_context(hold_run(course.paths, course.title))
            trained = run_course(course, Session(console, os.environ, resume, overwrite, stops, ranks))
        if ranks.leads:
            finish(course, trained, console)
