"""The ranks that train together: how they meet through Horovod, and what they do in common. Nothing else imports Horovod."""

import contextlib
import socket
import zlib
from collections.abc import Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from hipseg.errors import HipsegError, RankLost, TrainError
from hipseg.learn.rank_env import Place, gloo_variables
from hipseg.learn.rendezvous import find_meeting, interface_of, open_meeting, own_address
from hipseg.learn.watchdog import Watch

MEETING_LIMIT_S = 120.0
"""How long ranks wait for each other at the start: on a busy file system TensorFlow can take minutes to load."""
FAILURE_MARKS = ("Horovod", "Gloo", "gloo", "collective")
"""What stands in an error of TensorFlow's when another rank is gone."""


class Ranks:
    """What a rank knows of the others and does with them; every rank calls each method at the same step.

    Args:
        place: of this process; None for one process alone, which runs without Horovod.
        horovod: the module, initialised.
        watch: over the other ranks.
    """

    def __init__(self, place: Place | None = None, horovod: Any = None, watch: Watch | None = None) -> None:
        self._horovod = horovod
        self.rank = place.rank if place else 0
        self.size = place.size if place else 1
        self._watch = watch

    @property
    def leads(self) -> bool:
        """Say whether this rank writes the files and speaks."""
        return self.rank == 0

    def note(self, where: str) -> None:
        """Say to the other ranks' watch where this one is."""
        if self._watch is not None:
            self._watch.note(where)

    def add(self, tensors: Sequence[tf.Tensor], compression: str = "none") -> list[tf.Tensor]:
        """Add each tensor over the ranks, in one exchange; may be called within a compiled step, but not one of XLA's.

        Args:
            tensors: floating point, of the same shapes on all ranks.
            compression: `fp16` halves what travels.
        """
        if self.size == 1 or not tensors:
            return list(tensors)
        how = {"none": self._horovod.Compression.none, "fp16": self._horovod.Compression.fp16}[compression]
        summed: list[tf.Tensor] = self._horovod.grouped_allreduce(list(tensors), op=self._horovod.Sum, compression=how)
        return summed

    def gather(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the vectors of all ranks, float64 (ranks, n), in their order."""
        if self.size == 1:
            return vector[np.newaxis]
        rows = np.zeros((self.size, len(vector)))
        rows[self.rank] = vector
        gathered: NDArray[np.float64] = self.add([tf.constant(rows)])[0].numpy()
        return gathered

    def highest(self, number: int) -> int:
        """Give the highest whole number that a rank brought."""
        return int(self.gather(np.array([number], np.float64)).max())

    def wait(self) -> None:
        """Return when every rank is here."""
        self.highest(0)

    def broadcast(self, variables: Sequence[keras.Variable]) -> None:
        """Give every rank the values that rank 0 has."""
        if self.size > 1:
            self._horovod.broadcast_variables([variable.value for variable in variables], root_rank=0)

    def check_equal(self, variables: Sequence[keras.Variable]) -> None:
        """Hold the values of all ranks against each other, bit by bit.

        Raises:
            TrainError: a rank has others than rank 0.
        """
        if self.size == 1:
            return
        digest = 0
        for variable in variables:
            digest = zlib.crc32(np.ascontiguousarray(variable.value.numpy()).tobytes(), digest)
        digests = self.gather(np.array([digest], np.float64))[:, 0]
        parted = [str(rank) for rank in range(self.size) if digests[rank] != digests[0]]
        if parted:
            raise TrainError(
                f"weights of rank {', '.join(parted)} differ from those of rank 0, of {self.size} ranks; equal bits are needed; "
                "start anew, and if it happens again report it"
            )


ALONE = Ranks()
"""One process without others, and without Horovod."""


@contextlib.contextmanager
def join_ranks(place: Place | None, folder: Path, stall_limit_s: float, environment: MutableMapping[str, str]) -> Iterator[Ranks]:
    """Meet the other ranks of a run and stay with them while the block runs.

    Args:
        place: from `find_place`; None runs alone, and Horovod is not loaded.
        folder: of the run, which all ranks see; rank 0 leaves a private file there for as long as they meet.
        stall_limit_s: how long a rank may stay where it is while others wait.
        environment: the process's own, which Horovod reads.
    Raises:
        TrainError: Horovod is missing, or the ranks do not find each other.
        RankLost: one of them died, failed or stalled: it is named.
    """
    if place is None:
        yield ALONE
        return
    with contextlib.ExitStack() as stack:
        try:
            meeting = (
                stack.enter_context(open_meeting(folder, place, own_address(place, environment)))
                if place.rank == 0
                else find_meeting(folder, place, MEETING_LIMIT_S)
            )
        except OSError as error:
            raise TrainError(f"rank {place.rank} of {place.size} cannot meet the others: {error}") from error
        # Ahead of Horovod, which would wait two minutes for a rank that dies before it has joined.
        watch = stack.enter_context(Watch(place, meeting, stall_limit_s))
        with _naming_failures(watch):
            horovod = _start_horovod(place, meeting.gloo_address, environment, watch)
            ranks = Ranks(place, horovod, watch)
            ranks.wait()
            meeting.close_doors()
            yield ranks
        watch.leave()
        horovod.shutdown()


def _start_horovod(place: Place, address: tuple[str, int], environment: MutableMapping[str, str], watch: Watch) -> Any:
    try:
        import horovod.tensorflow as horovod  # noqa: PLC0415 - one process alone runs without it
    except ImportError as error:
        raise TrainError(
            f"{place.size} ranks were started by {place.launcher}, and Horovod is not installed here: {error}; "
            "make the environment with `make env`, or start one process"
        ) from error
    if not (place.has_own_rendezvous or (place.has_mpi and horovod.mpi_built())):
        environment.update(gloo_variables(place, address, interface_of(address[0])))
    try:
        horovod.init()
    # Horovod raises whatever its build raises; the class differs between Gloo and MPI.
    except Exception as error:
        unknown = f"rank {place.rank} of {place.size} on {socket.gethostname()} cannot join the others at {address[0]}: {error}"
        raise RankLost(watch.explain(unknown)) from error
    if (horovod.rank(), horovod.size()) != (place.rank, place.size):
        raise TrainError(
            f"Horovod says rank {horovod.rank()} of {horovod.size()}, {place.launcher} said {place.rank} of {place.size}; "
            "start all ranks with one launcher"
        )
    return horovod


@contextlib.contextmanager
def _naming_failures(watch: Watch) -> Iterator[None]:
    """Turn the end of another rank into an error that names it, and tell the others of an end of this one."""
    try:
        yield
    except (tf.errors.OpError, RuntimeError) as error:
        if not any(mark in str(error) for mark in FAILURE_MARKS):
            watch.tell(f"{type(error).__name__}")
            raise
        unknown = f"rank {watch.place.rank} lost the others, and none of {watch.place.size} ranks is known to have died"
        raise RankLost(watch.explain(f"{unknown}; the logs of the other ranks may say more")) from error
    except HipsegError as error:
        watch.tell(str(error))
        raise
    except Exception as error:
        watch.tell(f"unexpected {type(error).__name__}")
        raise
