"""What an engine is given besides the pipeline: the batches, the loss and the step sizes, by iteration."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import isfinite
from time import perf_counter
from typing import NamedTuple

from ddg_ref.arrays import Array
from ddg_ref.errors import DivergenceError
from ddg_ref.losses import Loss
from ddg_ref.schedules import Schedule
from ddg_ref.timeline import Span


class BatchResult(NamedTuple):
    """What one batch gave in training, at the weights of its own iteration."""

    iteration: int
    loss: float
    correct: int
    size: int
    finished: float
    """perf_counter seconds."""


class Progress(NamedTuple):
    """How far an engine came: all modules have done the iterations before `iteration`; and who was busy when."""

    iteration: int
    spans: list[Span]


@dataclass
class Task:
    """Train on batches 0, ..., iterations-1.

    `batch(t)` gives (x, labels) and is a pure function of t: every worker may ask, none has to pass labels on.
    `labels(t)`, if there is one, gives the same labels without the work of putting x together.
    `on_batch(t)` is told when batch t enters. Setting `stop_requested` makes every module end before the same
    iteration. `stall_timeout` is for how many seconds all workers may be stuck at one point before that is an error.
    `fault(k, phase, t)` is called as module k begins each phase: tests plant failures and delays there.
    """

    batch: Callable[[int], tuple[Array, Array]]
    loss: Loss
    gamma: Schedule
    iterations: int
    labels: Callable[[int], Array] | None = field(default=None, kw_only=True)
    on_batch: Callable[[int], None] = lambda t: None
    stop_requested: bool = False
    stall_timeout: float | None = None
    fault: Callable[[int, str, int], None] | None = None
    results: list[BatchResult] = field(default_factory=list)

    def enter(self, t: int) -> Array | None:
        """The samples of batch t on their way into module 1, or None if training is to stop before iteration t."""
        if self.stop_requested:
            return None
        self.on_batch(t)
        return self.batch(t)[0]

    def error_gradient(self, t: int, y: Array) -> Array:
        """The gradient of the loss of batch t with respect to the network's output y; records loss and accuracy.

        Raises DivergenceError when the loss is NaN or infinite.
        """
        labels = self.batch(t)[1] if self.labels is None else self.labels(t)
        value, dy = self.loss(y, labels)
        loss = float(value)
        if not isfinite(loss):
            raise DivergenceError(f"the loss became {loss} at iteration {t}: lower lr, or train in float64")
        correct = int((y.argmax(axis=1) == labels).sum())
        self.results.append(BatchResult(t, loss, correct, len(labels), perf_counter()))
        return dy
