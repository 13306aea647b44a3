"""Peak memory of a DDG run against what the algorithm cannot do without."""

import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.contenders import Work, resnet
from benchmarks.timing import Ratio
from ddg_ref.engines import ENGINES
from ddg_ref.modules import Pipeline

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


def held(pipeline: Pipeline) -> int:
    """Bytes of weights, stashed weights, optimizer state, running statistics and caches when each is at its largest.

    Module k holds d_k + 1 batches between its forward and its backward pass; between iterations it holds d_k.
    """
    arrays: dict[int, int] = {}
    largest = 0
    for module in pipeline.modules:
        in_flight = [(flight.params, flight.cache, flight.x) for flight in module.queue]
        values = (module.params, module.stats, module.optimizer_state.slots, in_flight)
        arrays |= {id(array): array.nbytes for array in buffers(list(values))}
        x = np.zeros(module.queue[-1].x.shape, np.float32) if module.queue else None
        if x is not None:
            largest += _cache_bytes(pipeline, module.k, x)
    return sum(arrays.values()) + largest


def _cache_bytes(pipeline: Pipeline, k: int, x: np.ndarray) -> int:
    module = pipeline.modules[k - 1]
    _, cache = module.layers.forward(module.params, x)
    own = {id(array): array.nbytes for array in buffers(cache)}
    return sum(own.values())


def memory_ratio(work: Work | None = None, K: int = 4) -> Ratio:
    """Peak of the memory NumPy allocates in some iterations of ddg on threads, over `held`."""
    work = work or resnet(20, 64)
    tracemalloc.start()
    training = work.training("ddg", K, "threads")
    data = sum(array.nbytes for array in (training.data.x_train, training.data.y_train, training.data.x_test))
    run = ENGINES["threads"]
    run(training.pipeline, training.task, 0, WARM)
    tracemalloc.reset_peak()
    run(training.pipeline, training.task, WARM, WARM + ITERATIONS)
    peak = tracemalloc.get_traced_memory()[1] - data
    tracemalloc.stop()
    needed = held(training.pipeline)
    return Ratio(peak / needed, peak / needed, peak / needed)
