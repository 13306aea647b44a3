"""Who was busy when: spans of every worker, as a figure's data and as a trace."""

from collections import deque
from collections.abc import Iterable
from time import perf_counter
from typing import Any, NamedTuple

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
    """What one worker is doing now and what it did before. A phase lasts until the next one begins."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.phase, self.iteration, self.batch = "", -1, -1
        self.since = perf_counter()
        self.spans: deque[Span] = deque(maxlen=SPANS_KEPT)

    def begin(self, phase: str, iteration: int, batch: int) -> None:
        """The worker turns to `phase` of `iteration`, for `batch`."""
        self.end()
        self.phase, self.iteration, self.batch = phase, iteration, batch

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


def last_iterations(spans: Iterable[Span], count: int) -> list[Span]:
    """The spans of the last `count` iterations in which all modules were at work, in order of time."""
    spans = sorted(spans, key=lambda span: span.start)
    by_module: dict[int, int] = {}
    for span in spans:
        by_module[span.k] = max(span.iteration, by_module.get(span.k, 0))
    last = min(by_module.values(), default=0)
    return [span for span in spans if last - count < span.iteration <= last]


def busy_fraction(spans: Iterable[Span]) -> dict[int, float]:
    """Module -> the part of the time between the first and the last of `spans` in which it computed."""
    spans = list(spans)
    total = max(span.stop for span in spans) - min(span.start for span in spans)
    busy: dict[int, float] = dict.fromkeys(sorted({span.k for span in spans}), 0.0)
    for span in spans:
        if span.phase not in WAITING:
            busy[span.k] += (span.stop - span.start) / total
    return busy


def trace(spans: Iterable[Span]) -> dict[str, Any]:
    """The spans in the Chrome trace format (JSON object with `traceEvents`), for Perfetto and chrome://tracing.

    One row per module, times in microseconds from the first span.
    """
    spans = list(spans)
    origin = min((span.start for span in spans), default=0.0)
    rows = [
        {"name": "thread_name", "ph": "M", "pid": 0, "tid": k, "args": {"name": f"module {k}"}}
        for k in sorted({span.k for span in spans})
    ]
    events = [
        {
            "name": span.phase,
            "cat": "wait" if span.phase in WAITING else "compute",
            "ph": "X",
            "pid": 0,
            "tid": span.k,
            "ts": (span.start - origin) * 1e6,
            "dur": (span.stop - span.start) * 1e6,
            "args": {"iteration": span.iteration, "batch": span.batch},
        }
        for span in spans
    ]
    return {"traceEvents": [*rows, *events], "displayTimeUnit": "ms"}
