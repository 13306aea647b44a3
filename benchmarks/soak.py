"""`python -m benchmarks.soak`: a long run on worker threads takes no more memory at its end than when it had settled,
and ends with the bits of the reference.

What a run keeps grows by 8 bytes per iteration (its duration) and by one record per epoch, both by design; all else is
bounded. So between the third epoch and the last, Python's own count of allocated bytes (tracemalloc, exact) may grow by
that and PYTHON_SLACK, and the process (resident memory, which moves in pages and in the allocator's arenas) by that and
PROCESS_SLACK. Over 100,000 iterations even one forgotten object of 16 bytes per iteration exceeds the first, and one
forgotten array the second.
"""

import gc
import sys
import tracemalloc
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from resource import getpagesize
from time import perf_counter

import numpy as np

from ddg_ref import Config, Dataset
from ddg_ref.runs.training import Training

SAMPLES, FEATURES, CLASSES, BATCH = 2000, 8, 3, 4
SETTLED = 3
"""Epochs, of 500 iterations, after which every bounded buffer is full."""

PER_ITERATION, PER_EPOCH = 9, 1024
"""Bytes by design: a duration in an array that grows by eighths, and a record of seven numbers."""

PYTHON_SLACK, PROCESS_SLACK = 128 << 10, 4 << 20

CONFIG = Config(
    data="noise",
    model="mlp",
    width=8,
    depth=4,
    method="ddg",
    modules=4,
    split="count",
    batch_size=BATCH,
    lr=1e-3,
)


def noise() -> Dataset:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((SAMPLES, FEATURES)), np.arange(SAMPLES) % CLASSES
    return Dataset("noise", x, y, x[:BATCH], y[:BATCH], CLASSES)


def resident() -> int:
    """Bytes of memory that the process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize()


def soak(iterations: int, engine: str) -> tuple[Training, list[tuple[int, int]]]:
    """Train; allocated and resident bytes at the end of each epoch."""
    training, samples = Training(replace(CONFIG, engine=engine, iterations=iterations, epochs=10**9), noise()), []
    for _ in training.epochs():
        gc.collect()
        samples.append((tracemalloc.get_traced_memory()[0], resident()))
    return training, samples


def main() -> None:
    parser = ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=100_000, help="how many (default 100,000, at least 2,000)")
    iterations = max(2000, parser.parse_args().iterations)

    tracemalloc.start()
    started = perf_counter()
    training, samples = soak(iterations, "threads")
    seconds = perf_counter() - started
    tracemalloc.stop()

    epochs = len(samples) - SETTLED
    by_design = epochs * (PER_ITERATION * training.batches.per_epoch + PER_EPOCH)
    print(f"{iterations} iterations of {training.result().label} on threads, {seconds:.0f} s while memory is counted")
    for name, place, slack in (("allocated by Python", 0, PYTHON_SLACK), ("resident", 1, PROCESS_SLACK)):
        settled, last = samples[SETTLED - 1][place], max(sample[place] for sample in samples[SETTLED:])
        grown = last - settled <= by_design + slack
        print(
            f"{name}: {settled / 1024:.0f} KiB after {SETTLED} epochs, at most {last / 1024:.0f} KiB after that; "
            f"{(last - settled) / 1024:+.0f} KiB, of {(by_design + slack) / 1024:.0f} KiB allowed"
        )
        if not grown:
            sys.exit(f"{name}: memory grows")

    expected, _ = soak(iterations, "reference")
    weights, wanted = training.result().weights, expected.result().weights
    same = all(weights[name].tobytes() == wanted[name].tobytes() for name in wanted)
    same &= [record[:-1] for record in training.history] == [record[:-1] for record in expected.history]
    print("weights and history: " + ("the bits of the reference" if same else "other bits than the reference"))
    if not same:
        sys.exit("the engines disagree")


if __name__ == "__main__":
    main()
