"""Peak memory of a DDG run against what the algorithm cannot do without."""

import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.contenders import Work, resnet
from benchmarks.timing import Ratio
from ddg_ref.runs.engines import ENGINES
from ddg_ref.runs.training import Training

WARM, ITERATIONS = 6, 6


def buffers(value: Any) -> Iterator[np.ndarray]:
    """The arrays that own the memory of all arrays inside nested dicts and sequences."""
    if isinstance(value, np.ndarray):
        yield value if value.base is None else value.base
    elif isinstance(value, dict):
        for part in value.values():
            yield from buffers(part)
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from buffers(part)


def held(training: Training) -> int:
    """Bytes of weights, stashed weights, optimizer state, running statistics and caches when each is at its largest.

    Module k holds d_k + 1 batches between its forward and its backward pass; between two iterations it holds d_k.
    """
    x, _ = training.batches(0)
    arrays: dict[int, int] = {}
    keep = []  # an id is unique only while its array lives
    for module in training.pipeline.modules:
        x, cache = module.layers.forward(module.params, x)
        in_flight = [(flight.params, flight.x) for flight in module.queue]
        slots = module.optimizer_state.slots
        values = [module.params, module.stats, slots, in_flight, list(module.caches), cache]
        arrays |= {id(array): array.nbytes for array in buffers(values)}
        keep.append(cache)
    return sum(arrays.values())


def peak_memory(work: Work, K: int) -> tuple[int, int]:
    """Bytes: the peak of what NumPy allocates during some iterations of ddg on threads, data excepted; and `held`."""
    tracemalloc.start()
    training = work.training("ddg", K, "threads")
    data = sum(array.nbytes for array in (training.data.x_train, training.data.y_train, training.data.x_test))
    run = ENGINES["threads"]
    run(training.pipeline, training.task, 0, WARM)
    tracemalloc.reset_peak()
    run(training.pipeline, training.task, WARM, WARM + ITERATIONS)
    peak = tracemalloc.get_traced_memory()[1] - data
    tracemalloc.stop()
    return peak, held(training)


def memory_ratio() -> Ratio:
    """The peak over what must be held, for ResNet-20, batch 64, K = 4."""
    peak, needed = peak_memory(resnet(20, 64), K=4)
    return Ratio(peak / needed, peak / needed, peak / needed)
