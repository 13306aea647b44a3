"""One thread per module, neighbours joined by channels: the workers of one machine."""

from collections import deque
from math import inf
from threading import Event, Thread
from time import perf_counter
from typing import Any

from ddg_ref.arrays import Array, one_blas_thread, quiet_arithmetic
from ddg_ref.devices import Message, content
from ddg_ref.errors import StallError
from ddg_ref.modules import Module, Pipeline
from ddg_ref.task import Progress, Task
from ddg_ref.timeline import Activity
from ddg_ref.workers.channel import Channel, StoppedError, StopSignal
from ddg_ref.workers.worker import Data, Left, Objective, Right, recorder, report, work

CAPACITY = 2
"""Messages between two workers. One is enough to be correct; two let a worker run ahead of its neighbour's hiccups."""

SECONDS_BETWEEN_LOOKS = 1.0
"""A Ctrl-C that comes just as the caller begins to wait is seen only when that wait ends."""

UNWINDING_SECONDS = 2.0
"""How long a worker may take to notice that all is over before a caller in a hurry stops waiting for it."""


class Link:
    """Two channels between neighbours: activations to the right, error gradients to the left.

    There must be room for the error gradients that wait between two iterations, also when nobody takes any more.
    """

    def __init__(self, pipeline: Pipeline, k: int, stop: StopSignal) -> None:
        self._activations: Channel[Message | None] = Channel(CAPACITY, stop)
        errors: deque[Any] = pipeline.errors[k - 1]  # arrays, among which come messages
        room = max(CAPACITY, pipeline.modules[k - 1].arrival - pipeline.modules[k].delay)
        self._errors: Channel[Message] = Channel(room, stop, errors)
        self._left, self._right = (module.device for module in pipeline.modules[k - 1 : k + 1])

    def give_activation(self, number: int, y: Array | None) -> None:
        self._activations.give(number, None if y is None else self._left.hand_over(y))

    def take_activation(self, number: int) -> Array | None:
        message = self._activations.take(number)
        return None if message is None else self._right.receive(message)

    def give_error(self, number: int, dx: Array | None) -> None:
        assert dx is not None  # only module 1 has none, and to its left lies the data
        self._errors.give(number, self._right.hand_over(dx))

    def take_error(self, number: int) -> Array:
        return self._left.receive(self._errors.take(number))


class Source(Data):
    """The data, for workers that can be called off: a single module has no channel that would tell it."""

    def __init__(self, task: Task, module: Module, stop: StopSignal) -> None:
        super().__init__(task, module)
        self._stop = stop

    def take_activation(self, number: int) -> Array | None:
        if self._stop.is_set:
            raise StoppedError
        return super().take_activation(number)


class Worker(Thread):
    """Runs one module; keeps how far it came, what it is doing, and what went wrong."""

    def __init__(
        self, module: Module, left: Left, right: Right, task: Task, start: int, stop: int, signal: StopSignal
    ) -> None:
        super().__init__(name=f"ddg-module-{module.k}", daemon=True)
        self._arguments = (module, left, right, task, start, stop)
        self._signal, self._task, self._device = signal, task, module.device
        self.activity = Activity(module.k)
        self.reached = start
        self.done = Event()  # waited for in place of join, which a Ctrl-C can make believe that the thread has ended
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            with self._device.opened(), quiet_arithmetic():
                self.reached = work(*self._arguments, recorder(self.activity, self._task))
            self.activity.end()
        except StoppedError:
            pass
        except BaseException as error:  # whatever it is, the caller must see it and nobody may wait for this worker
            self.failure = error
            self._signal.set()
        finally:
            self.done.set()


def run(pipeline: Pipeline, task: Task, start: int, stop: int) -> Progress:
    """Iterations start, ..., stop-1, all modules at once. Same result as `reference.run`.

    A worker that fails stops the others, and the caller gets a WorkerError that names module, iteration and phase, with
    the original chained; a DivergenceError comes as it is; a StallError says who waits for what. Ctrl-C takes the same
    road. No thread outlives the call, except one that is stuck in a computation which nothing can interrupt.
    """
    signal = StopSignal()
    links = [Link(pipeline, module.k, signal) for module in pipeline.modules[:-1]]
    lefts: list[Left] = [Source(task, pipeline.modules[0], signal), *links]
    rights: list[Right] = [*links, Objective(task, pipeline.micro_batches)]
    workers = [
        Worker(module, left, right, task, start, stop, signal)
        for module, left, right in zip(pipeline.modules, lefts, rights, strict=True)
    ]
    patience = inf
    with one_blas_thread():
        try:
            for worker in workers:
                worker.start()
            wait_for(workers, task.stall_timeout)
        except (StallError, KeyboardInterrupt):
            patience = UNWINDING_SECONDS
            raise
        finally:
            signal.set()
            for worker in workers:
                if worker.ident is not None and ended(worker, patience):
                    worker.join()
    for worker in workers:
        if worker.failure is not None:
            raise report(worker.failure, worker.activity)
    for module, errors in zip(pipeline.modules, pipeline.errors, strict=True):
        with module.device.opened():
            waiting = [(batch, module.device.receive(content(message))) for batch, message in errors]
        errors.clear()
        errors.extend(waiting)
    return Progress(workers[0].reached, [span for worker in workers for span in worker.activity.spans])


def ended(worker: Worker, patience: float) -> bool:
    """Whether the worker ends within so many seconds."""
    deadline = perf_counter() + patience
    while not worker.done.wait(min(SECONDS_BETWEEN_LOOKS, max(0.0, deadline - perf_counter()))):
        if perf_counter() >= deadline:
            return False
    return True


def wait_for(workers: list[Worker], stall_timeout: float | None) -> None:
    """Return when all workers have ended. Raises StallError if none began anything new for `stall_timeout` seconds."""
    for worker in workers:
        while not worker.done.wait(min(SECONDS_BETWEEN_LOOKS, inf if stall_timeout is None else stall_timeout / 4)):
            alive = [other for other in workers if not other.done.is_set()]
            now = perf_counter()
            if stall_timeout and alive and now - max(other.activity.since for other in alive) > stall_timeout:
                raise StallError("no worker has moved: " + "; ".join(other.activity.describe(now) for other in alive))
