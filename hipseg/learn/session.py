"""How a process takes part in a run: what it is told besides the settings, and the ranks that it trains with."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.console import Console

from hipseg.learn.ranks import ALONE, Ranks
from hipseg.learn.resume import Resume
from hipseg.signals import StopRequests


@dataclass(frozen=True)
class Session:
    """How a process takes part in a run.

    Args:
        console: where progress is shown.
        environment: the process's variables, for the cluster's ids.
        resume: whether to go on from what an unfinished run left.
        overwrite: whether a complete run may be replaced.
        stops: signals that this process hears.
        ranks: that train together.
    """

    console: Console
    environment: Mapping[str, str]
    resume: Resume = "auto"
    overwrite: bool = False
    stops: StopRequests = field(default_factory=StopRequests)
    ranks: Ranks = ALONE
