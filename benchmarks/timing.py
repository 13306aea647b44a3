"""Side-by-side timing: contenders take turns, so a machine that speeds up or slows down does so for all of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import TypeAlias

Contender: TypeAlias = Callable[[], None]
"""Does one repetition's worth of work."""


@dataclass(frozen=True)
class Ratio:
    """One contender's time over another's: the median over repetitions, each pair measured within one turn."""

    median: float
    lowest: float
    highest: float


def take_turns(contenders: Mapping[str, Contender], repetitions: int) -> dict[str, list[float]]:
    """Seconds of each repetition of each contender, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for repetition in range(repetitions + 1):
        for name, work in contenders.items():
            started = perf_counter()
            work()
            if repetition:
                seconds[name].append(perf_counter() - started)
    return seconds


def ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """`above` over `below`, repetition by repetition."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return Ratio(median(ratios), min(ratios), max(ratios))
