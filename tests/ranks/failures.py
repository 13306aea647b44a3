"""On every rank of three: failures in each phase of each module, and what else can go wrong in a call."""

import time
import warnings
from dataclasses import replace

import numpy as np
import pytest
from networks import Problem, assert_same_bits, state

from ddg_ref.errors import DivergenceError, InputError, StallError, WorkerError
from ddg_ref.mpi.channel import Outgoing
from ddg_ref.mpi.engine import RANK
from ddg_ref.runs.engines import ENGINES

K = 3
PROBLEM = Problem(cuts=(2, 4), iterations=6)
PHASES = ("take activation", "forward", "give activation", "take error", "backward", "give error", "update")
mpi = ENGINES["mpi"]
seconds = []


class PlantedError(Exception):
    pass


def run(task=None, pipeline=None, start=0):
    pipeline = pipeline or PROBLEM.pipeline("ddg")
    mpi(pipeline, task or PROBLEM.task(), start, PROBLEM.iterations + pipeline.delay)
    return pipeline


def expect(error, message, action):
    started = time.monotonic()
    with pytest.raises(error) as caught:
        action()
    seconds.append(time.monotonic() - started)
    assert str(caught.value) == message, str(caught.value)
    return caught.value


def in_each_phase():
    for method in ("bp", "ddg"):
        for k in range(1, K + 1):
            for phase in PHASES:
                for t in (2, 5):
                    task = PROBLEM.task()

                    def fault(*point, here=(k, phase, t)):
                        if point == here:
                            raise PlantedError("here")

                    task.fault = fault
                    error = expect(
                        WorkerError,
                        f"module {k} failed in {phase} of iteration {t}: PlantedError('here')",
                        lambda task=task, method=method: run(task, PROBLEM.pipeline(method)),
                    )
                    assert isinstance(error.__cause__, PlantedError) == (k - 1 == RANK)


def all_at_once():
    task = PROBLEM.task()

    def fault(k, phase, t):
        if t == 3:
            raise PlantedError(k)

    task.fault = fault
    with pytest.raises(WorkerError, match=r"module 1 failed in take activation of iteration 3: PlantedError\(1\)"):
        run(task)


def interruption():
    """Ctrl-C that reaches one rank alone stops all, in a call and between calls."""
    for who in range(K):
        task = PROBLEM.task()

        def fault(*point, k=who + 1):
            if point == (k, "backward", 3):
                raise KeyboardInterrupt

        task.fault = fault
        expect(KeyboardInterrupt, "", lambda task=task: run(task))

    def interrupted():
        raise KeyboardInterrupt

    expect(KeyboardInterrupt, "", lambda: mpi.once(interrupted))


def divergence():
    task, calls = PROBLEM.task(), []
    loss = task.loss

    def diverging(y, labels):
        calls.append(None)
        value, dy = loss(y, labels)
        return (np.nan if len(calls) == 4 else value), dy

    task.loss = diverging
    message = "the loss became nan at iteration 3: lower lr, or train in float64"
    expect(DivergenceError, message, lambda: run(task))


def overflow():
    """In any module it is divergence, whatever has been asked of NumPy on any rank."""
    for k in range(1, K + 1):
        pipeline = replace(PROBLEM, dtype="float32").pipeline("ddg")
        module = pipeline.modules[k - 1]
        module.params = {name: np.float32(1e38) * array for name, array in module.params.items()}
        with warnings.catch_warnings(), np.errstate(all="raise"):
            warnings.simplefilter("error")
            with pytest.raises(DivergenceError, match=r"the loss became (nan|inf) at iteration \d: "):
                run(replace(PROBLEM, dtype="float32").task(), pipeline)


def wrong_pairs():
    """Whoever sends or keeps the wrong message is found out where it arrives."""
    with pytest.MonkeyPatch.context() as patch:
        if RANK == 0:
            give = Outgoing.give
            patch.setattr(Outgoing, "give", lambda self, batch, x: give(self, batch + (batch == 2), x))
        message = "expected the message of micro-batch 2, got that of 3"
        expect(
            WorkerError,
            f"module 2 failed in take activation of iteration 2: {RuntimeError(message)!r}",
            run,
        )
    with pytest.MonkeyPatch.context() as patch:
        if RANK == 0:
            give = Outgoing.give
            patch.setattr(Outgoing, "give", lambda self, batch, x: give(self, batch, x.astype("f4")[:, :3]))
        with pytest.raises(
            WorkerError, match=r"module 2 failed in take activation of iteration 0: .* samples of shape \(5,\), got"
        ):
            run()
    pipeline, task = PROBLEM.pipeline("ddg"), PROBLEM.task()
    mpi(pipeline, task, 0, 4)
    if RANK == 0:
        pipeline.errors[0][0] = (pipeline.errors[0][0][0] + 1, pipeline.errors[0][0][1])
    message = "expected the message of micro-batch 2, got that of 3"
    expect(
        WorkerError,
        f"module 1 failed in take error of iteration 4: {RuntimeError(message)!r}",
        lambda: run(task, pipeline, 4),
    )


def stalling():
    """A module that moves no more for a while is found out, and who waits for whom is said."""
    task = PROBLEM.task()
    task.stall_timeout = 0.3
    task.fault = lambda k, phase, t: time.sleep(1.5) if (k, phase, t) == (2, "backward", 3) else None
    with pytest.raises(
        StallError, match=r"no message for .* s: module 1 waits to take error of iteration 4 since .*; "
    ):
        run(task)


def between_calls():
    """What rank 0 does alone and fails in, all hear of."""
    assert mpi.once(lambda: RANK) == 0

    def refuse():
        raise InputError("no")

    def break_off():
        raise PlantedError

    expect(InputError, "no", lambda: mpi.once(refuse))
    with pytest.raises(PlantedError if RANK == 0 else WorkerError):
        mpi.once(break_off)


def main():
    for check in (in_each_phase, all_at_once, interruption, divergence, overflow, wrong_pairs, stalling, between_calls):
        check()
    pipeline = run()  # and all goes well again
    if RANK == 0:
        assert_same_bits(state(pipeline), state(PROBLEM.run("reference", "ddg")))
        print(f"{len(seconds)} failures, the longest took {max(seconds):.1f} s")


main()
