"""What the recorded spans show: the last iterations, who was busy, and a trace that browsers draw."""

from collections.abc import Iterable
from typing import Any

from ddg_ref.timeline import WAITING, Span


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
