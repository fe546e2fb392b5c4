"""One pass over some slices: a step for each batch, shared by all ranks, from any step on."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from hipseg.errors import TrainError
from hipseg.learn.batches import Indices, SliceFeed, deal, share_out
from hipseg.learn.ranks import Ranks
from hipseg.learn.steps import Step
from hipseg.learn.tally import Tally

BeforeStep = Callable[[int], None]
"""Number of the step that is next, from 1."""
AfterStep = Callable[[int, Tally], None]
"""Number of the step that was taken, from 1, and the sums so far."""


@dataclass(frozen=True)
class Way:
    """The batches of a pass.

    Args:
        feed: where the slices come from.
        order: which slices, and in what order.
        batch_size: the most slices in a batch, over all ranks.
        name: of the pass, in words.
    """

    feed: SliceFeed
    order: Indices
    batch_size: int
    name: str


def run_pass(
    step: Step,
    way: Way,
    ranks: Ranks,
    tally: Tally,
    *,
    done: int = 0,
    before_step: BeforeStep = lambda _number: None,
    after_step: AfterStep = lambda _number, _tally: None,
) -> Tally:
    """Take a step for each batch that is left.

    Args:
        step: what to do with a batch.
        way: the batches.
        ranks: that share each of them.
        tally: sums over the batches that were done before.
        done: how many were.
        before_step, after_step: called when a step is about to be taken, and when it was.
    Returns:
        Sums over the whole pass, with the pixels of this rank.
    Raises:
        TrainError: the loss is no longer a number.
        ShardError: a slice is damaged.
    """
    batches = share_out(way.order, way.batch_size)[done:]
    parts = [deal(batch, ranks.rank, ranks.size) for batch in batches]
    loaded = way.feed.load([part.indices for part in parts])
    for number, (batch, part, (images, truth)) in enumerate(zip(batches, parts, loaded, strict=True), start=done + 1):
        ranks.note(f"{way.name}, step {number}")
        before_step(number)
        loss_tensor, pixels = step(images, truth, part.share)
        loss = float(loss_tensor)
        _check_loss(loss, way, number, batch)
        tally = tally.add(loss, len(batch), pixels.numpy().tolist())
        after_step(number, tally)
    return tally


def _check_loss(loss: float, way: Way, number: int, batch: Indices) -> None:
    if not math.isfinite(loss):
        cases = ", ".join(way.feed.cases(batch))
        raise TrainError(
            f"loss is {loss} in {way.name}, step {number}, with slices of {cases}; a lower train.learning_rate may keep it finite"
        )
