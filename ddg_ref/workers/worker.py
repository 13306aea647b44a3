"""The loop that every worker runs, whatever the method, and whatever carries its messages."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from ddg_ref.arrays import Array, joined, split, total
from ddg_ref.errors import DivergenceError, StallError, WorkerError
from ddg_ref.modules import Module
from ddg_ref.task import Task
from ddg_ref.timeline import Activity

Begin: TypeAlias = Callable[[str, int, int], None]
"""(phase, iteration, batch): told of each phase as it begins."""


def recorder(activity: Activity, task: Task) -> Begin:
    """Writes each phase down in `activity`, and plants the task's fault in it, if it has one."""
    fault = task.fault
    if fault is None:
        return activity.begin

    def begin(phase: str, iteration: int, batch: int) -> None:
        activity.begin(phase, iteration, batch)
        fault(activity.k, phase, iteration)

    return begin


def report(failure: BaseException, activity: Activity) -> Exception:
    """What the caller of an engine gets for `failure` of a worker: one line that says where, the original chained."""
    if isinstance(failure, DivergenceError | StallError):
        return failure
    where = f"{activity.phase} of iteration {activity.iteration}"
    error = WorkerError(f"module {activity.k} failed in {where}: {failure!r}")
    error.__cause__ = failure
    return error


class Left(Protocol):
    """What lies to the left of a module: the module nearer the input, or the data.

    Messages are numbered in order (`Task.messages`): by batch, where a batch is one message.
    """

    def take_activation(self, number: int) -> Array | None: ...

    def give_error(self, number: int, dx: Array | None) -> None: ...


class Right(Protocol):
    """What lies to the right of a module: the module nearer the output, or the loss."""

    def give_activation(self, number: int, y: Array | None) -> None: ...

    def take_error(self, number: int) -> Array: ...


class Data:
    """Left of module 1: batches come from the task, and nobody wants their error gradient.

    Each part is placed by itself, at the beginning of memory of its own, as a part that comes from another module is:
    libraries choose by where operands lie in which order they add.
    """

    def __init__(self, task: Task, module: Module) -> None:
        self._task, self._micro_batches, self._device = task, module.micro_batches, module.device

    def take_activation(self, number: int) -> Array | None:
        batch, part = divmod(number, self._micro_batches)
        if part == 0:
            x = self._task.enter(batch)
            if x is None:
                return None
            parts = split(x, len(self._task.messages(batch, self._micro_batches)))
            self._parts = [self._device.place(part) for part in parts]
        return self._parts[part]

    def give_error(self, number: int, dx: Array | None) -> None:
        pass


class Objective:
    """Right of module K: what it has given of a batch to the loss comes back as its error gradient."""

    def __init__(self, task: Task, micro_batches: int = 1) -> None:
        self._task, self._micro_batches = task, micro_batches
        self._outputs: list[Array] = []

    def give_activation(self, number: int, y: Array | None) -> None:
        if y is not None:
            self._outputs.append(y)

    def take_error(self, number: int) -> Array:
        batch, part = divmod(number, self._micro_batches)
        if part == 0:
            outputs, self._outputs = self._outputs, []
            self._errors = split(self._task.error_gradient(batch, joined(outputs)), len(outputs))
        return self._errors[part]


def work(module: Module, left: Left, right: Right, task: Task, start: int, stop: int, begin: Begin) -> int:
    """Iterations start, ..., stop-1 of one module; returns the iteration it came to.

    `begin` is called as each phase begins. An activation None says that training stops before
    its iteration; it passes through all modules, so they all stop at the same one, and can go on from there.

    The order within an iteration never varies, and the error gradient is taken just before it is used: so nobody waits
    for a forward pass of the same iteration to come back, and K balanced modules run K times as fast as one
    (period = the slowest module's forward + backward). Taking it at the end of the previous iteration gives the same
    weights, and only 1.5 times the speed with K = 2. A synthesizer, too, learns last: by then what it learns from has
    had an iteration to come.
    """
    synthesizer, micro_batches = module.synthesizer, module.micro_batches
    for t in range(start, stop):
        if t < task.iterations:
            for number in task.messages(t, micro_batches):
                begin("take activation", t, t)
                x = left.take_activation(number)
                if x is None:
                    right.give_activation(number, None)
                    return t
                begin("forward", t, t)
                y = module.forward(t, x)
                begin("give activation", t, t)
                right.give_activation(number, y)
        batch = t - module.delay
        if 0 <= batch < task.iterations:
            grads = []
            for number in task.messages(batch, micro_batches):
                if synthesizer is None:
                    begin("take error", t, batch)
                    dy = right.take_error(number)
                else:
                    begin("synthesize", t, batch)
                    dy = synthesizer.predict(batch, task.labels)
                begin("backward", t, batch)
                dx, part = module.backward(batch, dy)
                grads.append(part)
                begin("give error", t, batch)
                left.give_error(number, dx)
            begin("update", t, batch)
            module.update(total(grads), task.gamma(t))
        batch = t - module.arrival
        if synthesizer is not None and 0 <= batch < task.iterations:
            begin("take error", t, batch)
            dy = right.take_error(batch)
            begin("train synthesizer", t, batch)
            synthesizer.train(batch, dy, task.labels)
    return stop
