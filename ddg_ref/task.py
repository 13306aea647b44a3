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


class BatchResult(NamedTuple):
    """What one batch gave in training, at the weights of its own iteration."""

    iteration: int
    loss: float
    correct: int
    size: int
    finished: float
    """perf_counter seconds."""


@dataclass
class Task:
    """Train on batches 0, ..., iterations-1.

    `batch(t)` gives (x, labels) and is a pure function of t: every worker may ask, none has to pass labels on.
    """

    batch: Callable[[int], tuple[Array, Array]]
    loss: Loss
    gamma: Schedule
    iterations: int
    on_batch: Callable[[int], None] = lambda t: None
    results: list[BatchResult] = field(default_factory=list)

    def error_gradient(self, t: int, y: Array) -> Array:
        """The gradient of the loss of batch t with respect to the network's output y; records loss and accuracy.

        Raises DivergenceError when the loss is NaN or infinite.
        """
        labels = self.batch(t)[1]
        value, dy = self.loss(y, labels)
        loss = float(value)
        if not isfinite(loss):
            raise DivergenceError(f"the loss became {loss} at iteration {t}: lower lr, or train in float64")
        correct = int((y.argmax(axis=1) == labels).sum())
        self.results.append(BatchResult(t, loss, correct, len(labels), perf_counter()))
        self.on_batch(t)
        return dy
