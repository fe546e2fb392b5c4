"""Who died, failed or stalls: each rank says once a second where it is, and rank 0 judges by its own clock.

Horovod tells the other ranks of a process that died, without its name; of one that lives and does not come to the next exchange
it tells nobody, and all wait for ever. A rank that is named ends itself, upon which Horovod ends the exchange of the others.
"""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from hipseg.errors import LOST_EXIT_CODE
from hipseg.learn.rank_env import Place
from hipseg.learn.rendezvous import NOTHING_WRONG, Meeting

BEAT_S = 1.0
LOST_AFTER_S = 30.0
"""Silence of a process after which it counts as dead or frozen. A node with many times more work than cores delays beats by much
more than their interval; with the grace below the others still end within a minute."""
ABSENT_AFTER_S = 115.0
"""How long a rank may take to come to the start; on a busy file system TensorFlow can take minutes to load. A little shorter than
Gloo waits, which does not say for whom."""
GRACE_S = 15.0
"""After a verdict, how long a rank may take to end by itself, by the error that Horovod raises, before it is ended."""


@dataclass(frozen=True)
class Beat:
    """What rank 0 knows of a rank.

    Args:
        rank: of it.
        process: its number and node, in words.
        step: how often it has said where it is; equal on all ranks that are equally far.
        where: in words.
        silent_s: since its last beat.
        still_s: since it last moved.
        failure: what ended it.
        is_done: it has left, as it should.
    """

    rank: int
    process: str
    step: int
    where: str
    silent_s: float
    still_s: float
    failure: str | None = None
    is_done: bool = False

    def __str__(self) -> str:
        return f"rank {self.rank} ({self.process})"


def judge(beats: Sequence[Beat], stall_limit_s: float) -> tuple[int | None, str] | None:
    """Find the rank that keeps the others from going on.

    Args:
        beats: one of each rank that has been heard of.
        stall_limit_s: how long a rank may stay where it is.
    Returns:
        The rank, None where it is all of them, and what happened in words; None when nothing is wrong.
    """
    ended = _find_ended(beats)
    if ended is not None:
        return ended
    beats = [beat for beat in beats if not beat.is_done]
    stalled = [beat for beat in beats if beat.still_s > stall_limit_s]
    if not stalled or len(beats) < 2:
        return None  # nobody waits for the last one
    last = min(stalled, key=lambda beat: beat.step)
    if last.step < max(beat.step for beat in beats):
        return last.rank, f"{last} stalls: it has been at {last.where} for {last.still_s:.0f} s while others wait for it"
    if len(stalled) == len(beats):
        return None, f"no rank has moved for {min(beat.still_s for beat in beats):.0f} s; all are at {last.where}"
    return None


def _find_ended(beats: Sequence[Beat]) -> tuple[int, str] | None:
    for beat in beats:
        if beat.failure is not None:
            return beat.rank, f"{beat} failed: {beat.failure}"
    for beat in beats:
        if beat.silent_s > LOST_AFTER_S and not beat.is_done:
            return beat.rank, f"{beat} is dead or frozen: no sign of life for {beat.silent_s:.0f} s, last seen at {beat.where}"
    return None


class Watch:
    """A thread that says where this rank is and hears who is in the way; a context manager.

    Args:
        place: of this rank.
        meeting: with rank 0.
        stall_limit_s: how long a rank may stay where it is while others wait.
    """

    def __init__(self, place: Place, meeting: Meeting, stall_limit_s: float) -> None:
        self.place, self._meeting = place, meeting
        self._bench = Bench(place.size, stall_limit_s)
        self._state: dict[str, Any] = {
            "rank": place.rank,
            "process": f"process {os.getpid()} on {socket.gethostname()}",
            "step": 0,
            "where": "the start",
        }
        self._verdict: tuple[int | None, str] | None = None
        self._heard = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Self:
        if self._meeting.server is not None:
            self._meeting.server.answer = self._bench.hear
        # At once: a rank that dies before its first beat would count as one that never came.
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def note(self, where: str) -> None:
        """Say where this rank is; every rank calls this at the same points of its way."""
        self._state = {**self._state, "step": self._state["step"] + 1, "where": where}

    def tell(self, failure: str) -> None:
        """Tell the others what ends this rank."""
        self._state = {**self._state, "failure": failure}
        self._beat()

    def leave(self) -> None:
        """Tell the others that this rank is done; what it does from here on keeps nobody waiting."""
        self._state = {**self._state, "is_done": True}
        self._beat()

    def explain(self, unknown: str) -> str:
        """Wait until it is known which rank ended the exchange, and give that in words; `unknown` where no rank did."""
        if self._heard.wait(LOST_AFTER_S + 2 * BEAT_S) and self._verdict is not None:
            return self._verdict[1]
        return unknown

    def _run(self) -> None:
        answered_s = judged_s = time.monotonic()
        while not self._ended.wait(BEAT_S):
            if self._beat():
                answered_s = time.monotonic()
            elif time.monotonic() - answered_s > LOST_AFTER_S:
                self._set_verdict(
                    (0, f"rank 0 is dead or frozen: no answer from {self._meeting.address} for {LOST_AFTER_S:.0f} s")
                )
            if self._verdict is None:
                judged_s = time.monotonic()
            elif self._verdict[0] in (self.place.rank, None) or time.monotonic() - judged_s > GRACE_S:
                self._end_process(self._verdict[1])

    def _beat(self) -> bool:
        try:
            answer = json.loads(self._meeting.say(json.dumps(self._state).encode()))
        except (OSError, ValueError):
            return False
        if answer is not None:
            self._set_verdict((answer[0], answer[1]))
        return True

    def _set_verdict(self, verdict: tuple[int | None, str]) -> None:
        if self._verdict is None:
            self._verdict = verdict
            self._heard.set()

    def _end_process(self, why: str) -> None:
        """End from this thread: the main one hangs in an exchange or in whatever it stalls at, and no exception reaches it."""
        if self._state.get("failure") is not None or self._ended.is_set():
            return
        if self._meeting.server is not None:
            # The others hear it from this rank's server.
            time.sleep(3 * BEAT_S)
        sys.stderr.write(f"error: {why}\n")
        sys.stderr.flush()
        os._exit(LOST_EXIT_CODE)


class Bench:
    """Rank 0's side: what each rank said last, and the verdict once there is one.

    Args:
        size: how many ranks there are.
        stall_limit_s: how long a rank may stay where it is while others wait.
    """

    def __init__(self, size: int, stall_limit_s: float) -> None:
        self._size, self._stall_limit_s = size, stall_limit_s
        self._last: dict[int, tuple[Mapping[str, Any], float, float]] = {}
        self._opened_s = time.monotonic()
        self._verdict: tuple[int | None, str] | None = None
        self._guard = threading.Lock()

    def hear(self, message: bytes) -> bytes:
        """Take a beat, or an empty message from a rank that looks for this server, and answer with the verdict."""
        if not message:
            return NOTHING_WRONG
        state, now_s = json.loads(message), time.monotonic()
        with self._guard:
            before = self._last.get(state["rank"])
            has_moved = before is None or before[0]["step"] != state["step"]
            self._last[state["rank"]] = (state, now_s, now_s if has_moved or before is None else before[2])
            if self._verdict is None:
                beats = [self._describe(*one, now_s) for one in self._last.values()]
                absent = sorted(set(range(self._size)) - set(self._last))
                self._verdict = self._judge_start(beats, absent, now_s) if absent else judge(beats, self._stall_limit_s)
            return json.dumps(self._verdict).encode()

    def _judge_start(self, beats: Sequence[Beat], absent: Sequence[int], now_s: float) -> tuple[int, str] | None:
        """Judge while some ranks have not come: those that have may well stand still."""
        waited_s, who = now_s - self._opened_s, ", ".join(map(str, absent))
        if waited_s > ABSENT_AFTER_S:
            return absent[0], f"rank {who} of {self._size} never came in {waited_s:.0f} s; its own log may say why"
        return _find_ended(beats)

    @staticmethod
    def _describe(state: Mapping[str, Any], heard_s: float, moved_s: float, now_s: float) -> Beat:
        silent_s, still_s = now_s - heard_s, now_s - moved_s
        return Beat(
            state["rank"],
            state["process"],
            state["step"],
            state["where"],
            silent_s,
            still_s,
            state.get("failure"),
            state.get("is_done", False),
        )
