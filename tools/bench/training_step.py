"""Seconds and memory of a training step, each network in a process of its own; memory beside what a study reckons with.

`.venv/bin/python tools/bench/training_step.py [SIDE] [BATCH]`, by default 256 and 8: under a minute on 2 cores.
"""

import os
import resource
import subprocess
import sys
import time

import keras
import tensorflow as tf

from hipseg.config import StudySettings
from hipseg.launch.machine import estimate_memory_bytes
from hipseg.learn.networks import build_network
from hipseg.learn.runtime import prepare_runtime
from hipseg.learn.steps import compile_training

MIB = 1024**2
STEPS = 3
CASES = (("modified-unet", 0), ("unet", 4), ("unet", 16))
"""Network, and base filters of the U-Net."""


def measure(name: str, base_filters: int, side: int, batch: int) -> None:
    """Print one line about a network; the first step is left out of the seconds, since it compiles."""
    settings = StudySettings.model_validate(
        {
            "feed": {"input_side": side},
            "train": {"batch_size": batch},
            "pretrain": {"train": {"batch_size": batch}},
            "networks": {"unet": {"base_filters": base_filters or 64}},
        }
    )
    prepare_runtime(settings.train)
    model = build_network(name, settings.networks, side)
    optimizer = keras.optimizers.Adam(settings.train.learning_rate, name="adam")
    optimizer.build(model.trainable_variables)
    step = compile_training(model, optimizer, settings.train.threshold)
    images = tf.zeros((batch, side, side, 1))
    step(images, images)
    started = time.perf_counter()
    for _ in range(STEPS):
        step(images, images)
    seconds = (time.perf_counter() - started) / STEPS
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    reckoned_mib = estimate_memory_bytes(settings, [name]) / MIB
    filters = f" with {base_filters} base filters" if base_filters else ""
    print(
        f"{name}{filters}, {batch} x {side}x{side}: {seconds:.2f} s a step, {peak_mib:.0f} MiB, reckoned {reckoned_mib:.0f} MiB"
    )


if len(sys.argv) == 5:
    measure(sys.argv[1], *map(int, sys.argv[2:]))
else:
    side, batch = (sys.argv[1:] + ["256", "8"][len(sys.argv) - 1 :])[:2]
    for name, base_filters in CASES:
        command = [sys.executable, __file__, name, str(base_filters), side, batch]
        subprocess.run(command, check=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
