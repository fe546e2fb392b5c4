"""A program of ranks: some steps of the slim modified U-Net on made batches; what came of them as an .npz of each rank.

python -m tests.horovod.stepping FOLDER KIND...   with the kinds named in KINDS, one after the other
"""

import functools
import os
import sys
from pathlib import Path
from typing import NamedTuple

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


class Kind(NamedTuple):
    """What is computed, and how many slices each step has."""

    dtype: str
    normalisation: str
    compression: str
    steps: tuple[int, ...]


# Of three slices the first of two ranks takes two, of one the second takes none.
STEPS = (4, 4, 3, 1, 4)
KINDS = {
    "single": Kind("float32", "synchronised", "none", STEPS),
    "double": Kind("float64", "synchronised", "none", STEPS),
    "lossy": Kind("float32", "local", "fp16", (4, 3)),
}


def make_batch(slices, seed, dtype):
    """Bright squares in noise."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((slices, SIDE, SIDE, 1), dtype)
    for one in truth:
        y, x = rng.integers(20, 150, 2)
        one[y : y + 80, x : x + 60] = 1
    return (rng.normal(0.3, 0.1, truth.shape) + 0.4 * truth).astype(dtype), truth


def step_through(folder, ranks, kind):
    """Take the steps and give losses, the first step's gradients and the last weights."""
    keras.backend.set_floatx(kind.dtype)
    keras.config.set_dtype_policy(kind.dtype)
    model = build_network("modified-unet", small_settings(folder).networks, SIDE, seed=ranks.rank)
    optimizer = keras.optimizers.Adam(FIRST_RATE, name="adam")
    optimizer.build(model.trainable_variables)
    ranks.broadcast([*model.variables, *optimizer.variables])
    moments = Moments(ranks, kind.normalisation)
    moments.prepare(model)
    first = [tf.Variable(tf.zeros(one.shape, one.dtype), trainable=False) for one in model.trainable_variables]

    def average(gradients):
        summed = functools.partial(ranks.add, compression=kind.compression)(gradients)
        for place, one in zip(first, summed, strict=True):
            place.assign(one)
        return summed

    step = compile_training(model, optimizer, 0.5, average, moments)
    losses, gradients = [], {}
    for number, slices in enumerate(kind.steps):
        images, truth = make_batch(slices, number, kind.dtype)
        part = deal(np.arange(slices), ranks.rank, ranks.size)
        losses.append(float(step(images[part.indices], truth[part.indices], part.share)[0]))
        gradients = gradients or {f"gradient{n}": one.numpy() for n, one in enumerate(first)}
    ranks.check_equal([*model.variables, *optimizer.variables])
    return {"losses": np.array(losses), **{f"weight{n}": one.value.numpy() for n, one in enumerate(model.variables)}, **gradients}


def main(folder, *names):
    prepare_runtime(TrainSettings(threads=1))
    with join_ranks(find_place(os.environ), folder, 60, os.environ) as ranks:
        for name in names:
            np.savez(folder / f"{name}{ranks.rank}.npz", **step_through(folder, ranks, KINDS[name]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
