"""Who was busy when: spans of every worker."""

from collections import deque
from time import perf_counter
from typing import NamedTuple

SPANS_KEPT = 4096
"""Per module: memory stays bounded however long a run is."""

WAITING = frozenset({"take activation", "give activation", "take error", "give error"})
"""The phases in which a worker may wait for its neighbour."""


class Span(NamedTuple):
    """Module `k` was in `phase` of `iteration`, at work on `batch`; times in seconds of perf_counter."""

    k: int
    phase: str
    iteration: int
    batch: int
    start: float
    stop: float


class Activity:
    """What one worker is doing now and what it did before. A phase lasts until the next one begins.

    `k` is the module that it is at, the first of its modules before it begins.
    """

    def __init__(self, k: int) -> None:
        self.k = k
        self.phase, self.iteration, self.batch = "", -1, -1
        self.since = perf_counter()
        self.spans: deque[Span] = deque(maxlen=SPANS_KEPT)

    def begin(self, phase: str, iteration: int, batch: int, k: int | None = None) -> None:
        """The worker turns to `phase` of `iteration`, for `batch`; to that of module k, if it has several."""
        self.end()
        self.phase, self.iteration, self.batch = phase, iteration, batch
        self.k = self.k if k is None else k

    def end(self) -> None:
        """Close the current phase."""
        now = perf_counter()
        if self.phase:
            self.spans.append(Span(self.k, self.phase, self.iteration, self.batch, self.since, now))
        self.since, self.phase = now, ""

    def describe(self, now: float) -> str:
        """One clause: what the worker has been at, and for how long."""
        verb = "waits to" if self.phase in WAITING else "is busy with"
        return f"module {self.k} {verb} {self.phase} of iteration {self.iteration} since {now - self.since:.1f} s"
