"""Where to cut a network into modules: balanced by measured cost, by count, or where the caller says.

Cuts decide delays and delays decide the weights that DDG reaches, so cuts must be reproducible although times are not:
the cost of a network's layers is measured once per machine and remembered (see `remembered_costs`).
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import accumulate, pairwise
from json import dumps, loads
from math import inf
from operator import add
from os import environ
from pathlib import Path
from platform import machine, processor
from statistics import median
from tempfile import NamedTemporaryFile
from time import perf_counter

import numpy as np
from platformdirs import user_cache_path

from ddg_ref.arrays import Array, one_blas_thread
from ddg_ref.errors import InputError
from ddg_ref.layers import Sequential

REPETITIONS = 7


def balance(costs: Sequence[float], K: int) -> list[int]:
    """Cuts into K non-empty consecutive parts whose largest total cost is smallest.

    `costs[i]` is the cost of layer i; the result [c_1, ..., c_{K-1}] says that a module begins at each layer c_j. Among
    equally good cuts the one with the smallest sum of squared costs is taken. Dynamic programming, O(K n^2).
    """
    n = len(costs)
    check_module_count(K, n)
    total = [0.0, *accumulate(costs)]
    largest = _best_parts(total, K, lambda part: part, max)[0]
    return _best_parts(total, K, lambda part: part**2 if part <= largest else inf, add)[1]


def _best_parts(
    total: Sequence[float], K: int, price: Callable[[float], float], join: Callable[[float, float], float]
) -> tuple[float, list[int]]:
    """The least price of K parts, prices of parts combined by `join`, and the cuts that have it."""
    n = len(total) - 1
    best = {i: (price(total[i]), [0]) for i in range(1, n + 1)}  # best[i]: layers 0..i-1 in the parts so far
    for parts in range(2, K + 1):
        best = {
            stop: min(
                (join(so_far, price(total[stop] - total[start])), [*cuts, start])
                for start, (so_far, cuts) in best.items()
                if start < stop
            )
            for stop in range(parts, n + 1)
        }
    return best[n][0], best[n][1][1:]


def check_module_count(K: int, layers: int) -> None:
    """Raise InputError unless 1 <= K <= layers."""
    if not 1 <= K <= layers:
        raise InputError(f"modules: expected 1 to {layers}, one layer each at the most, got {K}; choose another number")


def check_cuts(cuts: Sequence[int], layers: int) -> list[int]:
    """The cuts as a list, once it is sure that every module between them has a layer."""
    bounds = [0, *cuts, layers]
    if any(start >= stop for start, stop in pairwise(bounds)):
        raise InputError(
            f"cuts: expected increasing layer numbers from 1 to {layers - 1}, got {list(cuts)}; "
            "each says which layer begins a module"
        )
    return list(cuts)


def measure_costs(network: Sequential, x: Array) -> list[float]:
    """Seconds that each layer takes forward and backward on the batch x, medians, one BLAS thread."""
    params = network.init(np.random.default_rng(0), x.dtype)
    inputs, costs = x, []
    with one_blas_thread():
        for i, layer in enumerate(network.layers):
            prefix = f"{i}."
            own = {name.removeprefix(prefix): array for name, array in params.items() if name.startswith(prefix)}
            seconds = []
            for _ in range(REPETITIONS):
                started = perf_counter()
                y, cache = layer.forward(own, inputs)
                layer.backward(own, cache, y)
                seconds.append(perf_counter() - started)
            costs.append(median(seconds))
            inputs = y
    return costs


def remembered_costs(network: Sequential, x: Array) -> list[float]:
    """`measure_costs`, measured by the first caller on this machine and read back by every later one.

    Kept under the user's cache directory, or under $DDG_REF_CACHE. Whoever writes first wins, so processes that start
    together agree. What cannot be read as this network's costs is measured again and replaced.
    """
    subject = [repr(network.layers), list(x.shape), str(x.dtype), machine(), processor(), np.__version__]
    key = sha256(dumps(subject).encode()).hexdigest()[:32]
    folder = Path(environ.get("DDG_REF_CACHE") or user_cache_path("ddg_ref", appauthor=False))
    path = folder / f"layer-costs-{key}.json"
    known = _read_costs(path, len(network.layers))
    if known is not None:
        return known
    costs = measure_costs(network, x)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", dir=folder, suffix=".tmp") as file:
            file.write(dumps({"layers": [repr(layer) for layer in network.layers], "seconds": costs}))
            file.flush()
            with suppress(FileExistsError):  # another process was first
                path.hardlink_to(file.name)
            if _read_costs(path, len(network.layers)) is None:  # damaged
                path.unlink(missing_ok=True)
                with suppress(FileExistsError):
                    path.hardlink_to(file.name)
        return _read_costs(path, len(network.layers)) or costs
    except OSError as error:
        raise InputError(
            f"cannot remember measured layer costs in {folder} ({error.strerror}): set DDG_REF_CACHE to a folder that "
            "can be written, or choose split 'count' or explicit cuts"
        ) from error


def _read_costs(path: Path, layers: int) -> list[float] | None:
    try:
        seconds = loads(path.read_text())["seconds"]
        costs = [float(cost) for cost in seconds]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return costs if len(costs) == layers and all(0 <= cost < float("inf") for cost in costs) else None
