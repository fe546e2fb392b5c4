"""A program of ranks: train the slim network on a packed data set through `train_model`, with a fault where one is asked for.

python -m tests.horovod.training FOLDER STALL_LIMIT_S FAULT...   the data set is FOLDER/shards; its last case is to validate with

Faults that all ranks live through, one training after the other: none; unreduced: gradients stay on their rank; nan: the
learning rate is not a number. Faults of one rank: stuck: rank 1 never comes to its second step; killed0, killed1: that rank is
killed there; stopped: rank 1 alone gets a stop signal there; unborn: rank 1 is killed on its way to the others.
"""

import json
import os
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from hipseg.config import TrainSettings
from hipseg.errors import HipsegError, TrainError
from hipseg.learn.batches import SliceFeed, open_feed, shuffled_order
from hipseg.learn.beginning import Beginning
from hipseg.learn.networks import build_network
from hipseg.learn.passes import Way, run_pass
from hipseg.learn.rank_env import find_place
from hipseg.learn.ranks import join_ranks
from hipseg.learn.runtime import prepare_runtime
from hipseg.learn.steps import compile_validation, keep_gradients
from hipseg.learn.tally import begin_tally, join_tallies
from hipseg.learn.training import Feeds, train_model
from hipseg.runs import DatasetPaths, FoldPaths
from hipseg.shards.manifest import read_manifest
from hipseg.signals import StopRequests
from tests.learn.builders import quiet_session, small_settings

FAULTY_RANK = {"stuck": 1, "killed0": 0, "killed1": 1, "stopped": 1}
BATCH, SIDE = 4, 256


class Feed(SliceFeed):
    """Keeps which slices were asked for, and comes to a halt ahead of its second batch where it is told to."""

    halt = None
    dealt: list[list[int]]

    def load(self, groups):
        self.dealt = [group.tolist() for group in groups]
        for number, batch in enumerate(super().load(groups)):
            if number == 1 and self.halt:
                self.halt()
            yield batch


def halt_by(folder, fault):
    """What becomes of a faulty rank; the file says when."""

    def halt(*_arguments):
        (folder / f"halted{os.getpid()}").touch()
        if fault == "stuck":
            time.sleep(600)
        os.kill(os.getpid(), signal.SIGUSR1 if fault == "stopped" else signal.SIGKILL)

    return halt


def train(folder, fault, ranks, stops):
    """Train one epoch and give the feed of the training slices, and the network."""
    options = TrainSettings(epochs=1, batch_size=BATCH, seed=3, learning_rate=0.001)
    options = options.model_copy(update={"learning_rate": float("nan")} if fault == "nan" else {})
    settings, dataset = small_settings(folder), DatasetPaths(folder / "shards")
    records, paths = read_manifest(dataset).cases, FoldPaths(folder / fault)
    with ExitStack() as stack:
        model = build_network("modified-unet", settings.networks, SIDE, seed=options.seed)
        training, validation = (
            stack.enter_context(open_feed(dataset, some, settings.feed, ((1,),))) for some in (records[:-1], records[-1:])
        )
        training.__class__ = Feed
        if FAULTY_RANK.get(fault) == ranks.rank:
            training.halt = halt_by(folder, fault)
        average = keep_gradients if fault == "unreduced" else None
        feeds, session = Feeds(training, validation), quiet_session(ranks=ranks, stops=stops)
        train_model(model, feeds, options, Beginning({}), paths=paths, title="toy", session=session, average=average)
        dealt = training.dealt
        way = Way(training, shuffled_order(len(training), 0, 1), BATCH, "the books")
        tally = run_pass(compile_validation(model, 0.5, ranks), way, ranks, begin_tally(1))
        counts = join_tallies(tally, ranks).measure().pooled
    books = {"dealt": dealt, "slices": tally.slices, "pixels": counts.total, "foreground": counts.truth}
    (folder / f"books{ranks.rank}.json").write_text(json.dumps(books))


def main(folder, stall_limit_s, *faults):
    place = find_place(os.environ)
    prepare_runtime(TrainSettings(threads=1))
    if faults == ("unborn",) and place.rank == 1:
        import horovod.tensorflow as horovod

        horovod.init = halt_by(folder, "unborn")
    stops = StopRequests()
    with stops.listening(), join_ranks(place, folder, stall_limit_s, os.environ) as ranks:
        for fault in faults:
            try:
                train(folder, fault, ranks, stops)
            except TrainError as error:
                # All ranks find these two at the same step, and can go on together.
                if fault not in ("unreduced", "nan"):
                    raise
                print(error)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), float(sys.argv[2]), *sys.argv[3:])
    except HipsegError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
