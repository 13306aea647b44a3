"""The prediction of `ddg_ref.periods` against the clock: ddg_ref's threads on this machine.

The times of the modules are measured without any pipeline: every module has its own thread and loops over its own
work, exchanging nothing. `alone`, they take turns; `together`, all are busy. So a prediction knows nothing of channels,
queues or waiting. Backpropagation, where one worker at a time is busy, is predicted from the former; free-running DDG
from the latter, since two busy workers slow each other down (memory, clock rate, the interpreter's lock).

These and the runs they predict take turns of a few iterations each, and a prediction is compared with what was measured
in the same turn. Within a turn times are means, so that what other processes take away counts on both sides; over the
turns, medians.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from statistics import fmean, median
from threading import Semaphore, Thread
from time import perf_counter

import numpy as np

from ddg_ref.arrays import Array, Params
from ddg_ref.computing import computing
from ddg_ref.data import Dataset
from ddg_ref.modules import Module
from ddg_ref.periods import Times, period
from ddg_ref.runs.config import Config
from ddg_ref.runs.engines import ENGINES
from ddg_ref.runs.training import Training
from ddg_ref.task import Task
from ddg_ref.timeline import Span
from theory.checks import integer

PHASES = ("forward", "backward", "update")
BATCHES = 8
"""Different inputs that a module works on in turn: as in training, they do not wait in its core's cache."""


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
    """One training run that goes on for a few iterations at a time."""

    training: Training
    done: int = 0

    def go(self, iterations: int) -> float:
        """`iterations` more; mean seconds of the last three quarters of them, when the pipeline is full and running."""
        stop = self.done + iterations
        progress = ENGINES["threads"](self.training.pipeline, self.training.task, self.done, stop)
        self.training.task.results.clear()
        counted = self.done + iterations // 4
        self.done = stop
        return iteration_time([span for span in progress.spans if span.iteration >= counted])


def iteration_time(spans: list[Span]) -> float:
    """Mean time from one update of module 1 to the next."""
    ends = [span.stop for span in spans if (span.k, span.phase) == (1, "update")]
    return (ends[-1] - ends[0]) / (len(ends) - 1)


@dataclass(frozen=True)
class Work:
    """What one module does in an iteration, with the batches that stand in `inputs` and `errors`, in turn.

    The error gradient of the last module is the loss's, and part of its forward time; fetching the batch is part of the
    first one's.
    """

    module: Module
    inputs: list[Callable[[], Array]]
    errors: list[Callable[[Array], Array]]
    seconds: dict[str, list[float]] = field(default_factory=lambda: {phase: [] for phase in PHASES})

    def once(self, t: int) -> None:
        """Forward, backward, update; each timed."""
        at = [perf_counter()]
        dy = self.errors[t % BATCHES](self.module.forward(t, self.inputs[t % BATCHES]()))
        at.append(perf_counter())
        grads: Params = self.module.backward(t, dy)[1]
        at.append(perf_counter())
        self.module.update(grads, 1e-9)
        at.append(perf_counter())
        for phase, (start, stop) in zip(PHASES, pairwise(at), strict=True):
            self.seconds[phase].append(stop - start)


def works(training: Training) -> list[Work]:
    """The work of each module; what comes from its neighbours was computed beforehand, by a pass up and down."""
    modules, task = training.pipeline.modules, training.task
    found = [Work(module, [], []) for module in modules]
    for t in range(BATCHES):
        x = task.batch(t)[0]
        for work in found:
            work.inputs.append(partial(_same, x) if work is not found[0] else partial(_samples, task, t))
            x = work.module.forward(t, x)
        dy: Array | None = task.error_gradient(t, x)
        for work in reversed(found):
            assert dy is not None  # only module 1 gives none
            work.errors.append(partial(_instead, dy) if work is not found[-1] else partial(task.error_gradient, t))
            dy = work.module.backward(t, dy)[0]
    return found


def _same(x: Array) -> Array:
    return x


def _samples(task: Task, t: int) -> Array:
    return task.batch(t)[0]


def _instead(dy: Array, y: Array) -> Array:
    return dy


def in_threads(modules: list[Work], iterations: int, *, taking_turns: bool) -> None:
    """Each module loops in its own thread, all at once or one at a time."""
    batons = [Semaphore(int(not taking_turns or k == 0)) for k in range(len(modules))]

    def loop(k: int) -> None:
        for t in range(iterations):
            batons[k].acquire()
            modules[k].once(t)
            batons[(k + 1) % len(modules) if taking_turns else k].release()

    threads = [Thread(target=loop, args=(k,)) for k in range(len(modules))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def mean_times(modules: list[Work]) -> Times:
    """Means over what was timed since the last call."""
    means = np.array([[fmean(work.seconds[phase]) for work in modules] for phase in PHASES])
    for work in modules:
        for phase in PHASES:
            work.seconds[phase].clear()
    return Times(means[0], means[1], update=means[2])


@dataclass(frozen=True)
class Turn:
    """Times of the modules, alone and together; measured seconds per iteration of bp and of ddg."""

    alone: Times
    together: Times
    bp: float
    ddg: float


def compare(plan: Plan, progress: Callable[[str], None] = lambda text: None) -> list[Turn]:
    """Measure; a turn that warms up is left out."""
    bp, ddg = Run(plan.training("bp")), Run(plan.training("ddg"))
    apart, busy = works(plan.training("ddg")), works(plan.training("ddg"))
    turns = []
    with computing():
        for number in range(plan.turns + 1):
            progress(f"turn {number} of {plan.turns}" if number else "warming up")
            in_threads(apart, plan.iterations, taking_turns=True)
            bp_seconds = bp.go(plan.iterations)
            in_threads(busy, plan.iterations, taking_turns=False)
            turns.append(Turn(mean_times(apart), mean_times(busy), bp_seconds, ddg.go(plan.iterations)))
    return turns[1:]


@dataclass(frozen=True)
class Verdict:
    """Medians over the turns: predicted and measured seconds per iteration, and their ratio turn by turn."""

    schedule: str
    predicted: float
    measured: float
    ratio: float
    lowest: float
    highest: float


def verdicts(turns: list[Turn]) -> list[Verdict]:
    """bp from the modules alone, free-running ddg from the modules together."""
    found = []
    for schedule, pairs in (
        ("bp", [(period(turn.alone, "bp"), turn.bp) for turn in turns]),
        ("free", [(period(turn.together, "free"), turn.ddg) for turn in turns]),
    ):
        ratios = [predicted / measured for predicted, measured in pairs]
        predicted, measured = (median(side) for side in zip(*pairs, strict=True))
        found.append(Verdict(schedule, predicted, measured, median(ratios), min(ratios), max(ratios)))
    return found


def module_rows(turns: list[Turn]) -> list[tuple[str, ...]]:
    """(module, alone or together, forward, backward, update in milliseconds)."""
    rows = []
    for how in ("alone", "together"):
        seen = np.array([[getattr(getattr(turn, how), phase) for phase in PHASES] for turn in turns])  # (turns, 3, K)
        for k, column in enumerate(1e3 * np.median(seen, axis=0).T, start=1):
            rows.append((str(k), how, *(f"{value:.2f}" for value in column)))
    return rows


def period_rows(turns: list[Turn]) -> list[tuple[str, ...]]:
    """(schedule, predicted, measured in milliseconds, ratio, its range); the two-phase schedule is not in ddg_ref."""
    rows = []
    for v in verdicts(turns):
        spread = f"{v.lowest:.2f} to {v.highest:.2f}"
        rows.append((v.schedule, f"{1e3 * v.predicted:.2f}", f"{1e3 * v.measured:.2f}", f"{v.ratio:.2f}", spread))
    two_phase = median(period(turn.together, "two-phase") for turn in turns)
    return [*rows, ("two-phase", f"{1e3 * two_phase:.2f}", "not run", "", "")]
