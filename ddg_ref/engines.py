"""The engines: ways of running a pipeline. All give the same weights, bit for bit."""

from collections.abc import Callable
from typing import TypeAlias

from ddg_ref import reference
from ddg_ref.modules import Pipeline
from ddg_ref.task import Task
from ddg_ref.timeline import Span
from ddg_ref.workers import threads

Engine: TypeAlias = Callable[[Pipeline, Task, int, int], list[Span]]
"""(pipeline, task, start, stop) -> who was busy when, after iterations start, ..., stop-1."""


def _reference(pipeline: Pipeline, task: Task, start: int, stop: int) -> list[Span]:
    reference.run(pipeline, task, start, stop)
    return []  # one thread, nobody waits: there is nothing to record


ENGINES: dict[str, Engine] = {"reference": _reference, "threads": threads.run}
