"""Where to cut a network into modules: balanced, or where the caller says."""

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise
from math import inf
from operator import add

from ddg_ref.errors import InputError, shown, whole


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
    if isinstance(cuts, str) or not isinstance(cuts, Iterable):
        raise InputError(f"cuts: expected a list of layer numbers, got {shown(cuts)}; give one")
    cuts = [whole("cuts", cut) for cut in cuts]
    bounds = [0, *cuts, layers]
    if any(start >= stop for start, stop in pairwise(bounds)):
        raise InputError(
            f"cuts: expected increasing layer numbers from 1 to {layers - 1}, got {cuts}; "
            "each says which layer begins a module"
        )
    return cuts
