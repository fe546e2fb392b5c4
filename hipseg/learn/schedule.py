"""The learning rate of each step: from settings and the number of the step alone, so that a resumed run needs nothing else."""

import math

from hipseg.config import TrainSettings


def full_rate(settings: TrainSettings) -> float:
    """Give the learning rate after the warm-up: scaled from the batch it was chosen for to the batch that is trained with.

    Source: Goyal et al., arXiv 1706.02677, section 2.1 (linear); Krizhevsky, arXiv 1404.5997, section 5 (square root).
    """
    ratio = settings.batch_size / settings.learning_rate_batch
    return settings.learning_rate * {"none": 1.0, "sqrt": math.sqrt(ratio), "linear": ratio}[settings.learning_rate_scaling]


def rate_at(settings: TrainSettings, epoch: int, step: int, steps: int) -> float:
    """Give the learning rate of one step.

    Args:
        settings: rate, scaling, warm-up.
        epoch: from 1.
        step: of the epoch, from 1.
        steps: of each epoch.
    Returns:
        Rises evenly over the epochs of the warm-up, from above 0 to the full rate.
    Source: Goyal et al., section 2.2.
    """
    taken, rising = (epoch - 1) * steps + step, settings.warmup_epochs * steps
    return full_rate(settings) * min(1.0, taken / rising) if rising else full_rate(settings)
