"""How long an iteration takes on K devices: closed formulas, and a discrete-event simulation of each schedule.

Module k needs F_k for a forward, B_k for a backward, U_k for its update; a message to a neighbour takes `latency`, and
the error gradient leaves before the update. Three schedules:

bp         backpropagation: the forward runs up through all modules, the backward down again; only updates overlap.
two-phase  DDG as the paper schedules it: the forward in sequence, then all backwards and updates at the same time.
free       DDG free-running: a worker takes the error gradient just before its backward and otherwise waits for nobody.

The times describe a full pipeline, after warm-up. All times in one unit of your choice. Links hold any number of
messages, but two are enough: before module k gives the activation of iteration t it has gone back in t-1, so module k+1
has gone back in t-2 and taken the activations up to t-2; before module k+1 gives the error gradient of t, module k has
gone forward in t, back in t-1, and taken the error gradients up to t-2. A capacity of two never makes anybody wait.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from theory.checks import integer, nonnegative
from theory.problems import Array

SCHEDULES = ("bp", "two-phase", "free")
Task: TypeAlias = tuple[str, int, int]


@dataclass(frozen=True, eq=False)
class Times:
    """Forward, backward and update times per module, (K,) float64 each (no update: 0), and the latency of a link.

    Raises ValueError for different lengths, no modules, or a negative time.
    """

    forward: Array
    backward: Array
    latency: float = 0.0
    update: Array = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        integer("K", len(self.forward), 1)
        if not len(self.update):
            object.__setattr__(self, "update", np.zeros(len(self.forward)))
        for name in ("forward", "backward", "update"):
            times = getattr(self, name)
            if len(times) != len(self.forward):
                raise ValueError(
                    f"{name}: expected {len(self.forward)} times, one per module, got {len(times)}; "
                    "give one for each module"
                )
            nonnegative(name, float(np.min(times)))
        nonnegative("latency", self.latency)

    @property
    def K(self) -> int:  # noqa: N802
        """Number of modules."""
        return len(self.forward)

    @staticmethod
    def balanced(F: float, B: float, K: int, latency: float = 0.0) -> Times:
        """A network of forward time F and backward time B cut into K equal modules."""
        integer("K", K, 1)
        return Times(np.full(K, F / K), np.full(K, B / K), latency)


def period(times: Times, schedule: str) -> float:
    """Time per iteration, in closed form.

    bp: the largest, over modules a, of sum_{k >= a} (F_k + B_k) + 2(K-a) latency + U_a; that of a = 1, unless a later
    module takes longer to update than the modules before it to work.

    two-phase: sum F + (K-1) latency + max (B + U).

    free: the largest of (sum_{a..b} (F + B) + U_a + 2(b-a) latency)/(b-a+1) over intervals a..b of modules. For every
    cycle of waiting goes up from a to b by activations, turns, comes down by error gradients, which belong to the
    iteration before at each link, and closes at a one iteration on: b-a+1 iterations in all. The slowest cycle sets the
    pace (a timed event graph; Baccelli, Cohen, Olsder, Quadrat, Synchronization and Linearity, 1992). Without latency:
    the slowest module's F + B + U.
    """
    _check_schedule(schedule)
    F, B, U, K, latency = times.forward, times.backward, times.update, times.K, times.latency
    if schedule == "bp":
        above = np.arange(K)[::-1]
        return float((np.cumsum((F + B)[::-1])[::-1] + 2 * above * latency + U).max())
    if schedule == "two-phase":
        return float(F.sum() + (K - 1) * latency + (B + U).max())
    if latency == 0:
        return float((F + B + U).max())
    prefix = np.concatenate([[0.0], np.cumsum(F + B)])
    lengths = np.arange(1, K + 1)
    busiest = np.array([(prefix[n:] - prefix[: K + 1 - n] + U[: K + 1 - n]).max() for n in lengths])
    return float(((busiest + 2 * (lengths - 1) * latency) / lengths).max())


def speedup(times: Times, schedule: str) -> float:
    """Iterations per unit of time, relative to bp on one device: no links, sum F + sum B + sum U."""
    return float((times.forward + times.backward + times.update).sum() / period(times, schedule))


def simulated_period(times: Times, schedule: str, iterations: int = 24) -> float:
    """Time per iteration of module 1 over the second half of a simulation."""
    integer("iterations", iterations, 2)
    finished = simulate(times, schedule, iterations)
    middle = iterations // 2
    return (finished["B", 0, iterations - 1] - finished["B", 0, middle - 1]) / (iterations - middle)


def simulate(times: Times, schedule: str, iterations: int) -> dict[Task, float]:
    """When each task ends: ("F", "B" or "U", module from 0, iteration) -> time, by processing events in order of
    time.

    A task starts when its worker has ended the task before it and all its messages have arrived.
    """
    _check_schedule(schedule)
    waits: dict[Task, int] = {}
    followers: dict[Task, list[tuple[Task, float]]] = {}
    durations: dict[Task, float] = {}
    for task, duration, needs in _tasks(times, schedule, iterations):
        waits[task], durations[task] = len(needs), duration
        for need, delay in needs:
            followers.setdefault(need, []).append((task, delay))
    start = dict.fromkeys(waits, 0.0)
    events = [(durations[task], task) for task, count in waits.items() if count == 0]
    heapq.heapify(events)
    finished: dict[Task, float] = {}
    while events:
        now, task = heapq.heappop(events)
        finished[task] = now
        for follower, delay in followers.get(task, ()):
            start[follower] = max(start[follower], now + delay)
            waits[follower] -= 1
            if waits[follower] == 0:
                heapq.heappush(events, (start[follower] + durations[follower], follower))
    return finished


def _tasks(times: Times, schedule: str, iterations: int) -> Iterator[tuple[Task, float, list[tuple[Task, float]]]]:
    """(task, duration, [(needed task, delay of its message)])."""
    K, latency = times.K, times.latency
    for t in range(iterations):
        for k in range(K):
            needs: list[tuple[Task, float]] = [(("U", k, t - 1), 0.0)] if t else []
            if k > 0:
                needs.append((("F", k - 1, t), latency))
            elif t and schedule == "two-phase":
                needs.append((("all U", 0, t - 1), 0.0))
            yield ("F", k, t), float(times.forward[k]), needs
        for k in range(K):
            needs = [(("F", k, t), 0.0)]
            if schedule == "bp" and k + 1 < K:
                needs.append((("B", k + 1, t), latency))
            if schedule != "bp" and k + 1 < K and t:
                needs.append((("B", k + 1, t - 1), latency))
            if schedule == "two-phase" and k + 1 < K:
                needs.append((("F", K - 1, t), 0.0))
            yield ("B", k, t), float(times.backward[k]), needs
            yield ("U", k, t), float(times.update[k]), [(("B", k, t), 0.0)]
        if schedule == "two-phase":
            yield ("all U", 0, t), 0.0, [(("U", k, t), 0.0) for k in range(K)]


def _check_schedule(schedule: str) -> None:
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule: expected one of {', '.join(SCHEDULES)}, got {schedule!r}; pick one of these")
