"""One thread per worker, neighbours joined by channels: the workers of one machine."""

from collections.abc import Sequence
from contextlib import nullcontext
from math import inf
from queue import SimpleQueue
from threading import Event, Thread
from time import perf_counter
from typing import Self

from ddg_ref.computing import one_blas_thread, quiet_arithmetic
from ddg_ref.deadlock import rooms
from ddg_ref.errors import StallError
from ddg_ref.modules import Module, Pipeline
from ddg_ref.schedules import Program
from ddg_ref.task import Progress, Task
from ddg_ref.timeline import Activity
from ddg_ref.workers.channel import StoppedError, StopSignal
from ddg_ref.workers.link import Link, ends, settle
from ddg_ref.workers.neighbours import Left, Right
from ddg_ref.workers.worker import perform, recorder, report, work

CAPACITY = 2
"""Messages between two workers. One is enough to be correct; two let a worker run ahead of its neighbour's hiccups."""

SECONDS_BETWEEN_LOOKS = 1.0
"""A Ctrl-C that comes just as the caller begins to wait is seen only when that wait ends."""

UNWINDING_SECONDS = 2.0
"""How long a worker may take to notice that all is over before a caller in a hurry stops waiting for it."""


class Worker:
    """Runs one module, or those that its program names; keeps how far it came, what it is doing, and what went wrong.

    `sides` says what each of its modules has to its left and to its right.
    """

    def __init__(
        self,
        modules: Sequence[Module],
        sides: Sequence[tuple[Left, Right]],
        program: Program,
        task: Task,
        start: int,
        stop: int,
        signal: StopSignal,
    ) -> None:
        self._modules, self._sides, self._program = modules, sides, program
        self._task, self._iterations, self._signal = task, (start, stop), signal
        self.first, self.activity = modules[0].k, Activity(modules[0].k)
        self.reached = start
        self.done = Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            works = [
                work(module, *sides, self._task, *self._iterations, recorder(self.activity, module.k, self._task))
                for module, sides in zip(self._modules, self._sides, strict=True)
            ]
            with quiet_arithmetic():
                self.reached = perform(self._modules, works, self._program, *self._iterations)
            self.activity.end()
        except StoppedError:
            pass
        except BaseException as error:  # whatever it is, the caller must see it and nobody may wait for this worker
            self.failure = error
            self._signal.set()
        finally:
            self.done.set()


class Hand(Thread):
    """A thread that runs one worker after another, until it is given None."""

    def __init__(self, k: int) -> None:
        super().__init__(name=f"ddg-module-{k}", daemon=True)
        self.given: SimpleQueue[Worker | None] = SimpleQueue()

    def run(self) -> None:
        while (worker := self.given.get()) is not None:
            worker.run()
            del worker  # and with it what it has done, while this thread waits


class Hands:
    """The threads of one call after another, each with the modules that it had before: a thread makes itself handles of
    a GPU's libraries, which takes long. They end with the block.
    """

    def __init__(self) -> None:
        self._hands: dict[int, Hand] = {}

    def start(self, worker: Worker) -> None:
        """Let the thread of its modules run it, or a new one. Raises RuntimeError if there can be no new one."""
        if worker.first not in self._hands:
            hand = Hand(worker.first)
            hand.start()
            self._hands[worker.first] = hand
        self._hands[worker.first].given.put(worker)

    def forget(self, worker: Worker) -> None:
        """It does not come to its end: nobody waits for its thread any more, which ends when it does."""
        self._hands.pop(worker.first).given.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        for hand in self._hands.values():
            hand.given.put(None)
        for hand in self._hands.values():
            hand.join()


def run(pipeline: Pipeline, task: Task, start: int, stop: int, hands: Hands | None = None) -> Progress:
    """Iterations start, ..., stop-1, all modules at once, by `hands` if there are any. Same result as `one_thread.run`.

    A worker that fails stops the others, and the caller gets a WorkerError that names module, iteration and phase, with
    the original chained; a DivergenceError comes as it is; a StallError says who waits for what. Ctrl-C takes the same
    road. No thread outlives the call, or else `hands`, except one that is stuck in a computation which nothing can
    interrupt.
    """
    signal = StopSignal()
    method = pipeline.method
    boundaries = rooms(method.schedule, len(pipeline.modules), method.micro_batches, CAPACITY, method.programs)
    links = [Link(pipeline, k, room, signal) for k, room in enumerate(boundaries, 1)]
    sides = ends(pipeline, task, links, signal)
    workers = []
    for program in pipeline.programs:
        modules = pipeline.crew(program)
        own = [sides[module.k - 1] for module in modules]
        workers.append(Worker(modules, own, program, task, start, stop, signal))
    patience, begun = inf, list[Worker]()
    with one_blas_thread(), Hands() if hands is None else nullcontext(hands) as crew:
        try:
            for worker in workers:
                crew.start(worker)
                begun.append(worker)
            wait_for(workers, task.stall_timeout)
        except (StallError, KeyboardInterrupt):
            patience = UNWINDING_SECONDS
            raise
        finally:
            signal.set()
            for worker in begun:
                if not ended(worker, patience):
                    crew.forget(worker)
    for worker in workers:
        if worker.failure is not None:
            raise report(worker.failure, worker.activity)
    settle(pipeline)
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
