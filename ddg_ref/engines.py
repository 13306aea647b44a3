"""The engines: ways of running a pipeline. All give the same weights, bit for bit."""

from collections.abc import Callable
from typing import TypeAlias

from ddg_ref import reference
from ddg_ref.modules import Pipeline
from ddg_ref.task import Progress, Task
from ddg_ref.workers import threads

Engine: TypeAlias = Callable[[Pipeline, Task, int, int], Progress]
"""(pipeline, task, start, stop) -> how far it came; runs iterations start, ..., stop-1, fewer if the task says stop."""

ENGINES: dict[str, Engine] = {"reference": reference.run, "threads": threads.run}
