"""The loop that every worker runs: it performs the actions of a schedule, whatever carries its messages."""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeAlias

from ddg_ref.errors import DivergenceError, StallError, WorkerError
from ddg_ref.modules import Module
from ddg_ref.schedules import Action, Program
from ddg_ref.task import Task
from ddg_ref.timeline import Activity
from ddg_ref.workers.neighbours import Left, Right

Begin: TypeAlias = Callable[[str, int, int], None]
"""(phase, iteration, batch): told of each phase as it begins."""


def recorder(activity: Activity, k: int, task: Task) -> Begin:
    """Writes down each phase of module k in `activity`, and plants the task's fault in it, if it has one."""
    record, fault = partial(activity.begin, k=k), task.fault
    if fault is None:
        return record

    def begin(phase: str, iteration: int, batch: int) -> None:
        record(phase, iteration, batch)
        fault(k, phase, iteration)

    return begin


def report(failure: BaseException, activity: Activity) -> Exception:
    """What the caller of an engine gets for `failure` of a worker: one line that says where, the original chained."""
    if isinstance(failure.__cause__, StopIteration):  # in a generator Python puts a RuntimeError in its place
        failure = failure.__cause__
    if isinstance(failure, DivergenceError | StallError):
        return failure
    where = f"{activity.phase} of iteration {activity.iteration}"
    error = WorkerError(f"module {activity.k} failed in {where}: {failure!r}")
    error.__cause__ = failure
    return error


def work(
    module: Module, left: Left, right: Right, task: Task, start: int, stop: int, begin: Begin
) -> Generator[Action, None, int]:
    """Iterations start, ..., stop-1 of one module; returns the iteration it came to.

    Yields each action before it is performed. `begin` is called as each phase of one begins. An activation None says
    that training stops before its iteration; it passes through all modules, so they all stop at the same one, and can
    go on from there.

    A message is taken just before it is used, and given as soon as it is there: so nobody waits for a forward pass of
    the same iteration to come back, and K balanced modules that follow DDG's schedule run K times as fast as one.
    Taking the error gradient at the end of the iteration before gives the same weights, and only 1.5 times the speed
    with K = 2.
    """
    M = module.method.micro_batches
    for t in range(start, stop):
        gamma = module.step_size(task.gamma, t)
        for action in task.actions(module.method.schedule(module.k, module.K, t, M), M):
            yield action
            kind, number = action
            batch = number // M
            if kind == "F":
                begin("take activation", t, batch)
                x = left.take_activation(number)
                if x is None:
                    right.give_activation(number, None)
                    return t
                begin("forward", t, batch)
                with module.device.launching():
                    y = module.forward(number, x, gamma)
                begin("give activation", t, batch)
                right.give_activation(number, y)
            elif kind == "U":
                begin("update", t, number)
                with module.device.launching():
                    module.update(module.gradients.pop(number), gamma)
                module.device.keep_pace()
            elif kind == "L":
                begin("take error", t, batch)
                dy = right.take_error(number)
                begin("learn", t, batch)
                with module.device.launching():
                    right.learn(number, dy)
            elif kind == "W":
                begin("weight gradients", t, batch)
                with module.device.launching():
                    module.accumulate(batch, module.weight_gradients(number))
            else:
                if kind == "G":
                    begin("guess", t, batch)
                    with module.device.launching():
                        dy = right.guess(number)
                else:
                    begin("take error", t, batch)
                    dy = right.take_error(number)
                if kind == "I":
                    begin("input gradient", t, batch)
                    with module.device.launching():
                        dx = module.input_gradient(number, dy)
                else:
                    begin("backward", t, batch)
                    with module.device.launching():
                        dx, grads = module.backward(number, dy)
                        module.accumulate(batch, grads)
                begin("give error", t, batch)
                left.give_error(number, dx)
    return stop


Steps: TypeAlias = Generator[Action, None, int]
"""What `work` goes through for one module."""


def in_turn(
    modules: Sequence[Module], works: Sequence[Steps], program: Program, start: int, stop: int
) -> Generator[tuple[int, Action], None, int]:
    """What a worker does that has these modules: what `work` does for each of them, in the order of its program.

    Yields each action, with its module, before it is performed; returns the iteration that all came to. What the
    program names and `work` leaves out, of batches that do not exist, is passed over.
    """
    own = {module.k: (module, steps) for module, steps in zip(modules, works, strict=True)}
    following: dict[int, Action | None] = {}
    reached = stop

    def advance(k: int) -> None:
        """Perform the action of module k that follows, if there is one, and see which one is next."""
        nonlocal reached
        module, steps = own[k]
        try:
            with module.device.selected():
                following[k] = next(steps)
        except StopIteration as end:
            following[k], reached = None, end.value

    for k in own:
        advance(k)
    for t in range(start, stop):
        if t > reached:
            break
        for k, action in program(t):
            if following[k] == action:
                yield k, action
                advance(k)
    return reached


def perform(modules: Sequence[Module], works: Sequence[Steps], program: Program, start: int, stop: int) -> int:
    """All that a worker with these modules has to do; returns the iteration that they came to."""
    with ExitStack() as opened:  # once: nothing has to be waited for between two actions
        for module in modules:
            opened.enter_context(module.device.opened())
        return exhaust(works[0] if len(works) == 1 else in_turn(modules, works, program, start, stop))


def exhaust(steps: Generator[Any, None, int]) -> int:
    """Perform all actions, one after the other; returns what `work` returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return int(end.value)
