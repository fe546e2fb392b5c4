"""The ranks that train together, as training sees them: four things they do in common. One process alone is the default."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hipseg.learn.steps import AverageGradients, keep_gradients

Vector = NDArray[np.float64]
"""float64 (n,)."""
Table = NDArray[np.float64]
"""float64 (ranks, n): a vector of each rank, in their order."""


@dataclass(frozen=True)
class Crew:
    """What a rank knows of the others and does with them; every rank calls each function at the same step.

    Args:
        rank: of this process, from 0; rank 0 alone writes files and speaks.
        size: number of ranks.
        average: gradients of this rank -> their mean over all ranks; called within the compiled step.
        highest: a whole number -> the highest that a rank brought.
        gather: a vector, equally long on all ranks -> those of all ranks.
    """

    rank: int = 0
    size: int = 1
    average: AverageGradients = keep_gradients
    highest: Callable[[int], int] = lambda number: number
    gather: Callable[[Vector], Table] = lambda vector: vector[np.newaxis]

    @property
    def leads(self) -> bool:
        """Say whether this rank writes the files and speaks."""
        return self.rank == 0


ALONE = Crew()
"""One process without others."""
