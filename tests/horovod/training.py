"""A program of ranks: train the slim network on a packed data set through `train_model`, with a fault where one is asked for.

python -m tests.horovod.training FOLDER FAULT EPOCHS STALL_LIMIT_S    the data set is FOLDER/shards

Faults: none; unreduced: gradients stay on their rank; nan: the learning rate is not a number; stuck: rank 1 never comes to its
second step.
"""

import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from hipseg.config import TrainSettings
from hipseg.errors import HipsegError
from hipseg.learn.batches import SliceFeed, open_feed
from hipseg.learn.beginning import Beginning
from hipseg.learn.networks import build_network
from hipseg.learn.rank_env import find_place
from hipseg.learn.ranks import join_ranks
from hipseg.learn.runtime import prepare_runtime
from hipseg.learn.steps import keep_gradients
from hipseg.learn.training import Feeds, train_model
from hipseg.runs import DatasetPaths, FoldPaths
from hipseg.shards.manifest import read_manifest
from tests.learn.builders import quiet_console, small_settings


class Faulty(SliceFeed):
    """Comes to a halt ahead of its second batch."""

    def load(self, groups):
        for number, batch in enumerate(super().load(groups)):
            if number == 1:
                (Path(sys.argv[1]) / f"halted{os.getpid()}").touch()
                time.sleep(600)
            yield batch


def train(folder, fault, epochs, stall_limit_s):
    rate = float("nan") if fault == "nan" else 1e-3
    options = TrainSettings(epochs=epochs, batch_size=4, seed=3, threads=1, learning_rate=0.001, stall_limit_s=stall_limit_s)
    options = options.model_copy(update={"learning_rate": rate})
    settings, dataset, place = small_settings(folder), DatasetPaths(folder / "shards"), find_place(os.environ)
    prepare_runtime(options)
    records = read_manifest(dataset).cases
    paths = FoldPaths(folder / "run")
    with join_ranks(place, folder, stall_limit_s, os.environ) as ranks, ExitStack() as stack:
        model = build_network("modified-unet", settings.networks, 256, seed=options.seed)
        training, validation = (
            stack.enter_context(open_feed(dataset, some, settings.feed, ((1,),))) for some in (records[:-1], records[-1:])
        )
        if fault == "stuck" and ranks.rank == 1:
            training.__class__ = Faulty
        average = keep_gradients if fault == "unreduced" else None
        feeds, beginning = Feeds(training, validation), Beginning({})
        train_model(
            model, feeds, options, beginning, paths=paths, title="toy", console=quiet_console(), ranks=ranks, average=average
        )


if __name__ == "__main__":
    try:
        train(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    except HipsegError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
