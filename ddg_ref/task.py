"""What an engine is given besides the pipeline: the batches, the loss and the step sizes, by iteration."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import isfinite
from time import perf_counter
from typing import Any, NamedTuple

from ddg_ref.arrays import Array, numbers, on_host, placed_like
from ddg_ref.errors import DivergenceError
from ddg_ref.losses import Loss
from ddg_ref.schedules import Action, existing
from ddg_ref.step_sizes import StepSizes
from ddg_ref.timeline import Span


class BatchResult(NamedTuple):
    """What one batch gave in training, at the weights of its own iteration.

    `loss` and `correct` are numbers, or on a GPU scalar arrays until `Task.read_results`.
    """

    iteration: int
    loss: Any
    correct: Any
    size: int
    finished: float
    """perf_counter seconds."""

    def read(self, loss: Any, correct: Any, remedy: Callable[[], str]) -> "BatchResult":
        """With these as numbers. Raises DivergenceError, which names the remedy, when the loss is NaN or infinite."""
        loss = float(loss)
        if not isfinite(loss):
            raise DivergenceError(f"the loss became {loss} at iteration {self.iteration}: {remedy()}")
        return self._replace(loss=loss, correct=int(correct))


class Progress(NamedTuple):
    """How far an engine came: all modules have done the iterations before `iteration`; and who was busy when."""

    iteration: int
    spans: list[Span]


@dataclass
class Task:
    """Train on batches 0, ..., iterations-1.

    `batch(t)` gives (x, labels) and is a pure function of t: every worker may ask, none has to pass labels on.
    `labels_alone(t)`, if there is one, gives the same labels without the work of putting x together.
    `on_batch(t)` is told when batch t enters. Setting `stop_requested` makes every module end before the same
    iteration. `stall_timeout` is for how many seconds all workers may be stuck at one point before that is an error.
    `fault(k, phase, t)` is called as module k begins each phase: tests plant failures and delays there. `remedy()`
    says what helps against a loss that is not finite.
    """

    batch: Callable[[int], tuple[Array, Array]]
    loss: Loss
    gamma: StepSizes
    iterations: int
    labels_alone: Callable[[int], Array] | None = field(default=None, kw_only=True)
    on_batch: Callable[[int], None] = lambda t: None
    stop_requested: bool = False
    stall_timeout: float | None = None
    fault: Callable[[int, str, int], None] | None = None
    remedy: Callable[[], str] = lambda: "lower lr, or train in float64"
    results: list[BatchResult] = field(default_factory=list)

    def enter(self, t: int) -> Array | None:
        """The samples of batch t on their way into module 1, or None if training is to stop before iteration t."""
        if self.stop_requested:
            return None
        self.on_batch(t)
        return self.batch(t)[0]

    def labels(self, t: int) -> Array:
        """The labels of batch t."""
        return self.batch(t)[1] if self.labels_alone is None else self.labels_alone(t)

    def parts(self, t: int, micro_batches: int) -> int:
        """Into how many parts batch t is split: so many, or one per sample; none if there is no such batch."""
        if not 0 <= t < self.iterations:
            return 0
        return min(micro_batches, len(self.labels(t))) if micro_batches > 1 else 1

    def rows(self, number: int, micro_batches: int) -> int:
        """How many samples a micro-batch has."""
        batch, part = divmod(number, micro_batches)
        samples, parts = len(self.labels(batch)), self.parts(batch, micro_batches)
        return samples // parts + (part < samples % parts)

    def actions(self, planned: Sequence[Action], micro_batches: int) -> list[Action]:
        """What there is to do of what a schedule says: the actions whose batch has such a part."""
        return existing(planned, micro_batches, lambda t: self.parts(t, micro_batches))

    def error_gradient(self, t: int, y: Array, first: int = 0) -> Array:
        """The gradient of the loss of batch t with respect to y, the network's output for its samples first, first + 1,
        ...; records loss and accuracy.

        Raises DivergenceError when the loss is NaN or infinite; on a GPU that shows when the results are read.
        """
        everything = self.labels(t)
        labels = placed_like(y, everything[first : first + len(y)])
        loss, dy = self.loss(y, labels)
        right = y.argmax(axis=1) == labels if labels.ndim == 1 else labels[:0]  # real targets name no class
        correct = right.sum()
        if len(y) < len(everything):  # the loss is a mean over the batch
            share = len(y) / len(everything)
            loss, dy = loss * share, dy * share
        if first:
            before = self.results.pop()
            loss, correct = before.loss + loss, before.correct + correct
        result = BatchResult(t, loss, correct, first + len(y), perf_counter())
        self.results.append(result.read(loss, correct, self.remedy) if on_host(y) else result)
        return dy

    def read_results(self) -> None:
        """Make numbers of the results that are not yet. On a GPU this waits for all of them.

        Raises DivergenceError when a loss is NaN or infinite.
        """
        first = len(self.results)
        while first and type(self.results[first - 1].loss) is not float:
            first -= 1
        unread, self.results[first:] = self.results[first:], []
        losses, counts = (numbers([getattr(result, name) for result in unread]) for name in ("loss", "correct"))
        self.results += [
            result.read(loss, correct, self.remedy)
            for result, loss, correct in zip(unread, losses, counts, strict=True)
        ]
