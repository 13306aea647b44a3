"""The loop that every worker runs, whatever the method, and whatever carries its messages."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from ddg_ref.arrays import Array
from ddg_ref.devices import Device
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
    """What lies to the left of a module: the module nearer the input, or the data."""

    def take_activation(self, batch: int) -> Array | None: ...

    def give_error(self, batch: int, dx: Array | None) -> None: ...


class Right(Protocol):
    """What lies to the right of a module: the module nearer the output, or the loss."""

    def give_activation(self, batch: int, y: Array | None) -> None: ...

    def take_error(self, batch: int) -> Array: ...


class Data:
    """Left of module 1: batches come from the task, and nobody wants their error gradient."""

    def __init__(self, task: Task, device: Device) -> None:
        self._task, self._device = task, device

    def take_activation(self, batch: int) -> Array | None:
        x = self._task.enter(batch)
        return None if x is None else self._device.place(x)

    def give_error(self, batch: int, dx: Array | None) -> None:
        pass


class Objective:
    """Right of module K: an activation given to the loss comes back as its error gradient."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def give_activation(self, batch: int, y: Array | None) -> None:
        self._y = y

    def take_error(self, batch: int) -> Array:
        assert self._y is not None
        return self._task.error_gradient(batch, self._y)


def work(module: Module, left: Left, right: Right, task: Task, start: int, stop: int, begin: Begin) -> int:
    """Iterations start, ..., stop-1 of one module; returns the iteration it came to.

    `begin` is called as each phase begins. An activation None says that training stops before
    its iteration; it passes through all modules, so they all stop at the same one, and can go on from there.

    The order within an iteration never varies, and the error gradient is taken just before it is used: so nobody waits
    for a forward pass of the same iteration to come back, and K balanced modules run K times as fast as one
    (period = the slowest module's forward + backward). Taking it at the end of the previous iteration gives the same
    weights, and only 1.5 times the speed with K = 2.
    """
    for t in range(start, stop):
        if t < task.iterations:
            begin("take activation", t, t)
            x = left.take_activation(t)
            if x is None:
                right.give_activation(t, None)
                return t
            begin("forward", t, t)
            y = module.forward(t, x)
            begin("give activation", t, t)
            right.give_activation(t, y)
        batch = t - module.delay
        if 0 <= batch < task.iterations:
            begin("take error", t, batch)
            dy = right.take_error(batch)
            begin("backward", t, batch)
            dx, grads = module.backward(batch, dy)
            begin("give error", t, batch)
            left.give_error(batch, dx)
            begin("update", t, batch)
            module.update(grads, task.gamma(t))
    return stop
