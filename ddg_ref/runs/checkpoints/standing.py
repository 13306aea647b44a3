"""Where a module stands between two iterations, read off its schedule."""

from collections.abc import Callable
from typing import NamedTuple

from ddg_ref.schedules import Schedule, existing
from ddg_ref.versions import Life, settled


class Standing(NamedTuple):
    """Where a module stands between two iterations."""

    steps: int
    """Updates it has made: the version of its weights."""
    lessons: int
    """Error gradients that what guesses for it has learned from."""
    in_flight: dict[int, int]
    """Micro-batch: the version that its forward pass used, oldest first."""
    unlearned: list[int]
    """The micro-batches whose error gradients it has not taken, oldest first."""
    unapplied: list[int]
    """Those whose gradients wait for an update."""


def standing(schedule: Schedule, k: int, K: int, M: int, t: int, count: Callable[[int], int], batches: int) -> Standing:
    """Where module k stands before iteration t of a run over so many batches, of which batch b has count(b) parts.

    What a schedule begins it has done with some iterations later (`settled`), so older ones are only counted.
    """
    start, planned = max(0, t - settled(K)), schedule(k, K, 0, M)

    def done(lag: int) -> int:
        """Of one action in each iteration, on the batch of so many iterations before."""
        return max(0, min(start - lag, batches))

    steps = sum(done(-a.number) for a in planned if a.kind == "U")
    life = Life(k, M, version=steps, first=start * M)
    lessons = sum(
        sum(map(count, range(done(-(a.number // M))))) for a in planned if a.kind == "L" and a.number % M == 0
    )
    for s in range(start, t):
        for action in existing(schedule(k, K, s, M), M, count):
            life.perform(s, action)
            lessons += action.kind == "L"
    met = {number: version for number, (version, _) in life.in_flight.items()}
    return Standing(life.version, lessons, met, list(life.unlearned), list(life.gradients))


def messages(schedule: Schedule, k: int, K: int, M: int, t: int, count: Callable[[int], int]) -> list[int]:
    """The micro-batches whose error gradients wait above module k before iteration t, oldest first."""
    if k == K:
        return []
    window = range(max(0, t - settled(K)), t)

    def done(module: int, kinds: str) -> list[int]:
        planned = (existing(schedule(module, K, s, M), M, count) for s in window)
        return [action.number for actions in planned for action in actions if action.kind in kinds]

    taken = set(done(k, "BIL"))
    return [number for number in done(k + 1, "BIG") if number not in taken]
