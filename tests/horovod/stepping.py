"""A program of ranks: some steps of the slim modified U-Net on made batches; what came of them as an .npz of each rank.

python -m tests.horovod.stepping FOLDER TYPE NORMALISATION COMPRESSION SLICES...   with the number of slices of each step
"""

import functools
import os
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from hipseg.config import TrainSettings
from hipseg.learn.batches import deal
from hipseg.learn.networks import build_network
from hipseg.learn.normalisation import Moments
from hipseg.learn.rank_env import find_place
from hipseg.learn.ranks import join_ranks
from hipseg.learn.runtime import prepare_runtime
from hipseg.learn.steps import compile_training
from tests.learn.builders import small_settings

SIDE = 256
FIRST_RATE = 1e-3


def make_batch(slices, seed, dtype):
    """Bright squares in noise."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((slices, SIDE, SIDE, 1), dtype)
    for one in truth:
        y, x = rng.integers(20, 150, 2)
        one[y : y + 80, x : x + 60] = 1
    return (rng.normal(0.3, 0.1, truth.shape) + 0.4 * truth).astype(dtype), truth


def step_through(folder, dtype, normalisation, compression, sizes):
    """Take the steps and save losses, the first step's gradients and the last weights."""
    keras.backend.set_floatx(dtype)
    prepare_runtime(TrainSettings(threads=1))
    gradients_seen = []
    with join_ranks(find_place(os.environ), folder, 60, os.environ) as ranks:
        model = build_network("modified-unet", small_settings(folder).networks, SIDE, seed=ranks.rank)
        optimizer = keras.optimizers.Adam(FIRST_RATE, name="adam")
        optimizer.build(model.trainable_variables)
        ranks.broadcast([*model.variables, *optimizer.variables])
        moments = Moments(ranks, normalisation)
        moments.prepare(model)
        first = [tf.Variable(tf.zeros(one.shape, one.dtype), trainable=False) for one in model.trainable_variables]

        def average(gradients):
            summed = functools.partial(ranks.add, compression=compression)(gradients)
            for place, one in zip(first, summed, strict=True):
                place.assign(one)
            return summed

        step = compile_training(model, optimizer, 0.5, average, moments)
        losses = []
        for number, slices in enumerate(sizes):
            images, truth = make_batch(slices, number, dtype)
            part = deal(np.arange(slices), ranks.rank, ranks.size)
            losses.append(float(step(images[part.indices], truth[part.indices], part.share)[0]))
            if not gradients_seen:
                gradients_seen = [one.numpy() for one in first]
        ranks.check_equal([*model.variables, *optimizer.variables])
        arrays = {f"weight{n}": one.value.numpy() for n, one in enumerate(model.variables)}
        arrays |= {f"gradient{n}": one for n, one in enumerate(gradients_seen)}
        np.savez(folder / f"rank{ranks.rank}of{ranks.size}.npz", losses=np.array(losses), **arrays)


if __name__ == "__main__":
    step_through(Path(sys.argv[1]), *sys.argv[2:5], [int(size) for size in sys.argv[5:]])
