"""The prediction of `theory.speed` against the clock: ddg_ref's threads on this machine.

The times of the modules are measured without any pipeline: `alone`, the modules take turns; `together`, every module has
its own thread and loops over its own work, exchanging nothing. So a prediction knows nothing of channels, queues or
waiting. Backpropagation, where one worker at a time is busy, is predicted from the former; free-running DDG from the
latter, since two busy workers slow each other down (memory, clock rate, the interpreter's lock). These and the runs they
predict take turns, a few iterations each, so that a machine that is sometimes busy is so for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from threading import Barrier, Thread
from time import perf_counter

import numpy as np

from ddg_ref.arrays import Array, Params, one_blas_thread
from ddg_ref.config import Config
from ddg_ref.data import Dataset
from ddg_ref.engines import ENGINES
from ddg_ref.modules import Module
from ddg_ref.timeline import Span
from ddg_ref.training import Training
from theory.checks import integer
from theory.speed import Times, period

PHASES = ("forward", "backward", "update")


@dataclass(frozen=True)
class Plan:
    """An MLP on noise, float32, plain SGD; `turns` times `iterations` iterations of everything.

    Raises ValueError for fewer than 1 turn or 4 iterations, and for what ddg_ref refuses.
    """

    width: int = 512
    depth: int = 8
    batch_size: int = 128
    modules: int = 2
    iterations: int = 20
    turns: int = 9

    def __post_init__(self) -> None:
        integer("turns", self.turns, 1)
        integer("iterations", self.iterations, 4)

    def training(self, method: str) -> Training:
        """A fresh run of `method` on the threads engine."""
        config = Config(
            data="noise",
            model="mlp",
            width=self.width,
            depth=self.depth,
            batch_size=self.batch_size,
            method=method,
            modules=self.modules,
            momentum=0,
            lr=1e-3,
            iterations=10**9,
        )
        rng = np.random.default_rng(0)
        x = rng.normal(size=(4 * max(self.batch_size, self.width), self.width)).astype(np.float32)
        labels = np.arange(len(x)) % self.width
        return Training(config, Dataset("noise", x, labels, x[: self.width], labels[: self.width], self.width))


@dataclass
class Run:
    """One training run that goes on for a few iterations at a time; seconds of each iteration, within the turns."""

    training: Training
    done: int = 0
    seconds: list[float] = field(default_factory=list)

    def go(self, iterations: int) -> None:
        """`iterations` more, of which the last three quarters count: the pipeline is then full and running."""
        stop = self.done + iterations
        progress = ENGINES["threads"](self.training.pipeline, self.training.task, self.done, stop)
        self.training.task.results.clear()
        counted = self.done + iterations // 4
        self.done = stop
        self.seconds += iteration_times([span for span in progress.spans if span.iteration >= counted])


def iteration_times(spans: list[Span]) -> list[float]:
    """From one update of module 1 to the next."""
    return [after.stop - before.stop for before, after in pairwise(s for s in spans if (s.k, s.phase) == (1, "update"))]


@dataclass(frozen=True)
class Work:
    """What one module does in an iteration, on an input and an error gradient that stay the same."""

    module: Module
    x: Array
    dy: Array
    seconds: dict[str, list[float]] = field(default_factory=lambda: {phase: [] for phase in PHASES})

    def once(self) -> None:
        """Forward, backward, update; each timed."""
        at = [perf_counter()]
        self.module.forward(0, self.x)
        at.append(perf_counter())
        grads: Params = self.module.backward(0, self.dy)[1]
        at.append(perf_counter())
        self.module.update(grads, 1e-9)
        at.append(perf_counter())
        for phase, (start, stop) in zip(PHASES, pairwise(at), strict=True):
            self.seconds[phase].append(stop - start)


def works(training: Training) -> list[Work]:
    """The work of each module, with the arrays of batch 0."""
    x, found = training.batches(0)[0], []
    for module in training.pipeline.modules:
        y = module.forward(0, x)
        module.queue.clear()
        found.append(Work(module, x, np.full_like(y, 1e-3)))
        x = y
    return found


def alone(modules: list[Work], iterations: int) -> None:
    """One after the other."""
    for _ in range(iterations):
        for work in modules:
            work.once()


def together(modules: list[Work], iterations: int) -> None:
    """Each in its own thread, all at once."""
    barrier = Barrier(len(modules))

    def loop(work: Work) -> None:
        barrier.wait()
        for _ in range(iterations):
            work.once()

    threads = [Thread(target=loop, args=(work,)) for work in modules]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def times(modules: list[Work]) -> Times:
    """Medians."""
    forward, backward, update = (np.array([median(work.seconds[phase]) for work in modules]) for phase in PHASES)
    return Times(forward, backward, update=update)


@dataclass(frozen=True)
class Comparison:
    """Times of the modules, alone and together; measured seconds per iteration of bp and of ddg."""

    alone: Times
    together: Times
    bp: list[float]
    ddg: list[float]

    def rows(self) -> list[tuple[str, float, float]]:
        """(schedule, predicted, measured) seconds per iteration."""
        return [
            ("bp", period(self.alone, "bp"), median(self.bp)),
            ("free", period(self.together, "free"), median(self.ddg)),
        ]


def compare(plan: Plan, progress: Callable[[str], None] = lambda text: None) -> Comparison:
    """Measure, in turns; the first turn only warms up."""
    runs = {method: Run(plan.training(method)) for method in ("bp", "ddg")}
    apart, busy = works(plan.training("ddg")), works(plan.training("ddg"))
    with one_blas_thread():
        for turn in range(plan.turns + 1):
            progress(f"turn {turn} of {plan.turns}" if turn else "warming up")
            alone(apart, plan.iterations)
            runs["bp"].go(plan.iterations)
            together(busy, plan.iterations)
            runs["ddg"].go(plan.iterations)
            if turn == 0:
                for run in runs.values():
                    run.seconds.clear()
                for work in apart + busy:
                    for phase in PHASES:
                        work.seconds[phase].clear()
    return Comparison(times(apart), times(busy), runs["bp"].seconds, runs["ddg"].seconds)
