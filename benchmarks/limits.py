"""`python -m benchmarks.limits`: what the machine can do, and how near to it an iteration of ResNet-8 comes.

One core: the rate of a large matrix product and of copying, and for each kind of layer the time of its forward and
backward pass beside the time that its products and its reading and writing would take at those rates.

Two cores: how much more work than one they do, on products that fit in their caches, on copies that do not, and on
whole iterations that share nothing, in two processes and in two threads. No way of training on two workers can be
faster than that; what two threads lose against two processes is the interpreter lock.
"""

import multiprocessing
import threading
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.contenders import resnet
from benchmarks.timing import Contender
from ddg_ref.computing import computing, keep_freed_memory
from ddg_ref.layers import Conv2d, Linear
from ddg_ref.runs.training import Training
from ddg_ref.workers import one_thread

PRODUCT, COPIED = 1024, 1 << 23
"""Rows and columns of the product, numbers copied: 32 MiB, more than most caches."""


def product() -> Contender:
    a = np.ones((PRODUCT, PRODUCT), np.float32)
    out = np.empty_like(a)
    return partial(np.matmul, a, a, out=out)


def copying() -> Contender:
    a = np.ones(COPIED, np.float32)
    return partial(np.copyto, np.empty_like(a), a)


def training() -> Contender:
    """An iteration of backpropagation on ResNet-8."""
    run, t = resnet(8, 64).training("bp", 1, "reference"), iter(range(10**9))
    return lambda: one_thread.run(run.pipeline, run.task, (now := next(t)), now + 1) and None


def seconds_of(contender: Contender, duration: float) -> float:
    """Median time of one call, called for `duration` seconds."""
    contender()
    seconds: list[float] = []
    while sum(seconds) < duration:
        started = perf_counter()
        contender()
        seconds.append(perf_counter() - started)
    return median(seconds)


def beside(make: Callable[[], Contender], duration: float, answers: Any, start: Any) -> None:
    """One of those that work side by side: all begin to measure together."""
    with computing():
        keep_freed_memory()
        contender = make()
        start.wait()
        answers.put(seconds_of(contender, duration))


def work_of_two(make: Callable[[], Contender], kind: Any, answers: Any, start: Any, duration: float) -> float:
    """How many times the work of one two do, in two processes or threads."""
    with computing():
        alone = seconds_of(make(), duration)
    workers = [kind(target=beside, args=(make, duration, answers, start)) for _ in range(2)]
    for worker in workers:
        worker.start()
    slower = max(answers.get() for _ in workers)
    for worker in workers:
        worker.join()
    return 2 * alone / slower


def layers_of(run: Training, duration: float) -> dict[str, tuple[float, float, float]]:
    """Kind of layer -> seconds forward and backward, operations in products, bytes read and written at the least.

    At the least: forward reads x and writes y, backward reads dy and what is cached, and writes dx.
    """
    params, x = run.pipeline.params, run.batches(0)[0]
    found: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for prefix, layer in run.network.steps():
        own = {name.removeprefix(prefix): array for name, array in params.items() if name.startswith(prefix)}
        y, cache = layer.forward(own, x)
        sums = found[type(layer).__name__]
        sums[0] += seconds_of(lambda: layer.forward(own, x), duration)  # noqa: B023 - called at once
        sums[0] += seconds_of(lambda: layer.backward(own, cache, y), duration)  # noqa: B023
        if isinstance(layer, Conv2d | Linear):
            sums[1] += 3 * 2 * own["weight"].size * y.size // y.shape[-1]
        sums[2] += 2 * (x.nbytes + y.nbytes) + x.nbytes
        x = y
    return {kind: (seconds, operations, moved) for kind, (seconds, operations, moved) in found.items()}


def main() -> None:
    parser = ArgumentParser(prog="python -m benchmarks.limits", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="how long to measure each thing (default 1)")
    duration = parser.parse_args().seconds
    keep_freed_memory()
    with computing():
        rate = 2 * PRODUCT**3 / seconds_of(product(), duration)
        bandwidth = 2 * 4 * COPIED / seconds_of(copying(), duration)
        kinds = layers_of(resnet(8, 64).training("bp", 1, "reference"), duration / 10)
    print(f"one core: products {rate / 1e9:.0f} GFLOP/s, copying {bandwidth / 1e9:.1f} GB/s read and written")
    print(f"\nResNet-8, batch 64{'ms':>16} {'products at that rate':>24} {'bytes at that rate':>20}")
    for kind, (seconds, operations, moved) in kinds.items():
        print(f"{kind:<18}{1e3 * seconds:16.1f} {1e3 * operations / rate:24.1f} {1e3 * moved / bandwidth:20.1f}")
    print("\ntwo beside each other do how many times the work of one:")
    for name, make in (("product", product), ("copying", copying), ("ResNet-8 iteration", training)):
        context = multiprocessing.get_context("spawn")
        processes = work_of_two(make, context.Process, context.SimpleQueue(), context.Barrier(2), duration)
        threads = work_of_two(make, threading.Thread, SimpleQueue(), threading.Barrier(2), duration)
        print(f"{name:<18}  two processes {processes:.2f}, two threads {threads:.2f}")


if __name__ == "__main__":
    main()
