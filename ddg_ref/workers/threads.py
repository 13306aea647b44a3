"""One thread per module, neighbours joined by channels: the workers of one machine."""

from threading import Thread

from ddg_ref.arrays import Array, one_blas_thread, unwatched_overflow
from ddg_ref.errors import DivergenceError, WorkerError
from ddg_ref.modules import Module, Pipeline
from ddg_ref.task import Task
from ddg_ref.timeline import Activity, Span
from ddg_ref.workers.channel import Channel, StoppedError, StopSignal
from ddg_ref.workers.worker import Data, Left, Objective, Right, work

CAPACITY = 2
"""Messages between two workers. One is enough to be correct; two let a worker run ahead of its neighbour's hiccups."""


class Link:
    """Two channels between neighbours: activations to the right, error gradients to the left."""

    def __init__(self, pipeline: Pipeline, k: int, stop: StopSignal) -> None:
        self._activations: Channel[Array] = Channel(CAPACITY, stop)
        self._errors: Channel[Array] = Channel(CAPACITY, stop, pipeline.errors[k - 1])
        self.give_activation, self.take_activation = self._activations.give, self._activations.take
        self.give_error, self.take_error = self._errors.give, self._errors.take


class Worker(Thread):
    """Runs one module and keeps what went wrong."""

    def __init__(
        self, module: Module, left: Left, right: Right, task: Task, start: int, stop: int, signal: StopSignal
    ) -> None:
        super().__init__(name=f"ddg-module-{module.k}", daemon=True)
        self._arguments = (module, left, right, task, start, stop)
        self._signal = signal
        self.module, self.activity = module, Activity(module.k)
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            with unwatched_overflow():
                work(*self._arguments, self.activity.begin)
            self.activity.end()
        except StoppedError:
            pass
        except BaseException as error:  # whatever it is, the caller must see it and nobody may wait for this worker
            self.failure = error
            self._signal.set()


def run(pipeline: Pipeline, task: Task, start: int, stop: int) -> list[Span]:
    """Iterations start, ..., stop-1, all modules at once; returns who was busy when. Same result as `reference.run`.

    A worker that fails stops the others, and the caller gets a WorkerError that names module, iteration and phase, with
    the original chained; a DivergenceError comes as it is. Ctrl-C takes the same road. No thread outlives the call.
    """
    signal = StopSignal()
    links = [Link(pipeline, module.k, signal) for module in pipeline.modules[:-1]]
    lefts: list[Left] = [Data(task), *links]
    rights: list[Right] = [*links, Objective(task)]
    workers = [
        Worker(module, left, right, task, start, stop, signal)
        for module, left, right in zip(pipeline.modules, lefts, rights, strict=True)
    ]
    with one_blas_thread():
        try:
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        finally:
            signal.set()
            for worker in workers:
                if worker.ident is not None:
                    worker.join()
    for worker in workers:
        if worker.failure is not None:
            raise_failure(worker)
    return [span for worker in workers for span in worker.activity.spans]


def raise_failure(worker: Worker) -> None:
    failure, activity = worker.failure, worker.activity
    if isinstance(failure, DivergenceError):
        raise failure
    raise WorkerError(
        f"module {activity.k} failed in {activity.phase} of iteration {activity.iteration}: {failure!r}"
    ) from failure
