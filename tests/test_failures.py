"""A failure anywhere reaches the caller at once, named and chained, and leaves no thread behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from networks import IN_PROCESS, Problem

from ddg_ref.errors import DivergenceError, WorkerError
from ddg_ref.methods import METHODS
from ddg_ref.runs.engines import ENGINES
from ddg_ref.workers import threads

CUTS = (2, 4, 6)
ITERATIONS = 6
SECONDS = 5


class PlantedError(Exception):
    pass


def calls_of(module, phase, task):
    """The iteration of each call of `phase`."""
    kinds, M = {"forward": "F", "backward": "BG", "update": "U"}[phase], module.method.micro_batches
    return [
        t
        for t in range(ITERATIONS + module.K * 2)
        for action in task.actions(module.method.schedule(module.k, module.K, t, M), M)
        if action.kind in kinds
    ]


def plant(module, phase, iteration, task):
    """Make `module` raise in its first call of `phase` that belongs to `iteration`."""
    original, calls, iterations = getattr(module, phase), [], calls_of(module, phase, task)

    def broken(*args):
        calls.append(None)
        if iterations[len(calls) - 1] == iteration:
            raise PlantedError(f"{phase} {iteration}")
        return original(*args)

    setattr(module, phase, broken)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("phase", ["forward", "backward", "update"])
def test_failure_in_any_module_and_iteration_reaches_the_caller(method, phase):
    before = threading.active_count()
    for k in range(1, len(CUTS) + 2):
        problem = Problem(cuts=CUTS, iterations=ITERATIONS)
        iterations = sorted(set(calls_of(problem.pipeline(method).modules[k - 1], phase, problem.task())))
        assert len(iterations) >= ITERATIONS
        for iteration in iterations:
            pipeline = problem.pipeline(method)
            plant(pipeline.modules[k - 1], phase, iteration, problem.task())
            started = time.monotonic()
            with pytest.raises(WorkerError, match=f"module {k} failed in {phase} of iteration {iteration}: ") as caught:
                threads.run(pipeline, problem.task(), 0, ITERATIONS + pipeline.delay)
            assert time.monotonic() - started < SECONDS
            assert isinstance(caught.value.__cause__, PlantedError)
            assert threading.active_count() == before


@pytest.mark.parametrize("engine", IN_PROCESS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_divergence_names_the_iteration(engine, bad):
    before = threading.active_count()
    problem = Problem(cuts=CUTS, iterations=ITERATIONS)
    pipeline, task = problem.pipeline("ddg"), problem.task()
    loss, calls = task.loss, []

    def diverging(y, labels):
        calls.append(None)
        value, dy = loss(y, labels)
        return (bad if len(calls) == 4 else value), dy

    task.loss = diverging
    with pytest.raises(DivergenceError, match=rf"the loss became {bad} at iteration 3: "):
        ENGINES[engine](pipeline, task, 0, ITERATIONS)
    assert threading.active_count() == before


def test_a_mispaired_gradient_is_an_error():
    problem = Problem(cuts=CUTS, iterations=ITERATIONS)
    for engine, error in (("reference", RuntimeError), ("threads", WorkerError)):
        pipeline = problem.pipeline("ddg")
        ENGINES[engine](pipeline, problem.task(), 0, 4)
        waiting = pipeline.errors[0]
        waiting[0] = (waiting[0][0] + 1, waiting[0][1])
        with pytest.raises(error):
            ENGINES[engine](pipeline, problem.task(), 4, 6)


ENDLESS = """
import sys, threading
from ddg_ref.runs.training import Training
from ddg_ref.runs.config import Config
training = Training(
    Config(model="mlp", modules=int(sys.argv[2]), split="count", engine=sys.argv[1], batch_size=5, epochs=100000)
)
training.task.on_batch = lambda t: t == 20 and print("going", flush=True)
try:
    for _ in training.epochs():
        pass
except KeyboardInterrupt:
    print("threads", threading.active_count(), flush=True)
    raise SystemExit(7)
"""


@pytest.mark.parametrize(("engine", "modules"), [("reference", 3), ("threads", 1), ("threads", 3)])
def test_ctrl_c_stops_every_worker(engine, modules):
    root = Path(__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, engine, str(modules)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    assert process.stdout.readline() == "going\n"
    process.send_signal(signal.SIGINT)
    try:
        out, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert out == "threads 1\n"
    assert process.returncode == 7
