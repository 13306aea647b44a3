"""How long an iteration takes on K devices: closed formulas, and a simulation that follows from their premises alone.

This knows nothing of actions and channels. `ddg_ref.simulation` plays what the workers really do, with any schedule;
where both know one, they agree to rounding.

Module k needs F_k for a forward, B_k for a backward, U_k for its update; a message to a neighbour takes `latency`, and
the error gradient leaves before the update. The schedules, and the rows of `ddg_ref.methods` that follow them:

bp           backpropagation (bp): forward runs up through all modules, backward down again; only updates overlap.
two-phase    DDG as the paper schedules it: the forward in sequence, then all backwards and updates at the same time.
free         DDG free-running (ddg, pipedream): a worker takes the error gradient just before its backward and otherwise
             waits for nobody. With `Times.replaying()` features replay (fr).
decoupled    the same with error gradients that have two iterations to cross a boundary (fdg).
micro-batch  backpropagation in M parts (gpipe): module k+1 works on one while module k works on the next; all forward,
             then all backward, one update. A part takes an M-th of the time.
synthesizer  no module waits for an error gradient to go back (dni). After its update it trains its synthesizer on what
             has come from above for the batch before, which takes S_k; the guess itself is part of B_k.

The times describe a full pipeline, after warm-up. All times in one unit of your choice. Links hold any number of
messages, but for `free` two are enough: before module k gives the activation of iteration t it has gone back in t-1, so
module k+1 has gone back in t-2 and taken the activations up to t-2; before module k+1 gives the error gradient of t,
module k has gone forward in t, back in t-1, and taken the error gradients up to t-2. A capacity of two never makes
anybody wait. For `decoupled` the same holds of three.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ddg_ref.errors import InputError, choose, real, shown, whole

SCHEDULES = ("bp", "two-phase", "free", "decoupled", "micro-batch", "synthesizer")
Array: TypeAlias = npt.NDArray[np.float64]
Task: TypeAlias = tuple[str, int, int]


@dataclass(frozen=True, eq=False)
class Times:
    """Forward, backward and update times per module, (K,) float64 each (no update: 0), and the latency of a link.

    Times are of a whole batch; `parts` is M, the number of micro-batches. `learn` (K,) is what module k needs to train
    its synthesizer, which the last one has not. `error` (K,) is the part of the backward time that the error gradient
    takes, for schedules that split it off (half, if not given). Raises InputError for different lengths, no modules, no
    parts, or a negative time.
    """

    forward: Array
    backward: Array
    latency: float = 0.0
    update: Array = field(default_factory=lambda: np.zeros(0))
    parts: int = 1
    learn: Array = field(default_factory=lambda: np.zeros(0))
    error: Array = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        for name in ("forward", "backward", "update", "learn", "error"):
            given = getattr(self, name)
            if not np.iterable(given):
                raise InputError(f"{name}: expected a vector, got {shown(given)}; give one time for each module")
            object.__setattr__(self, name, np.array([real(name, time, 0) for time in given]))
        whole("K", self.K, 1)
        whole("parts", self.parts, 1)
        for name in ("update", "learn"):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.zeros(self.K))
        for name in ("backward", "update", "learn"):
            count = len(getattr(self, name))
            if count != self.K:
                raise InputError(
                    f"{name}: expected {self.K} times, one per module, got {count}; give one for each module"
                )
        if len(self.error) and (len(self.error) != self.K or (self.error > self.backward).any()):
            raise InputError(
                f"error: expected {self.K} times, none longer than the module's backward time, which it is a part of, "
                f"got {shown(self.error)}; make it shorter"
            )
        real("latency", self.latency, 0)

    @property
    def K(self) -> int:  # noqa: N802
        """Number of modules."""
        return len(self.forward)

    @property
    def on_one_device(self) -> float:
        """What an iteration takes without any pipeline."""
        return float((self.forward + self.backward + self.update).sum())

    def replaying(self) -> Times:
        """The same modules where all but the last go forward once more before they go back: features replay."""
        again = np.append(self.forward[:-1], 0.0)
        return replace(self, backward=self.backward + again)

    def of(self, k: int, kind: str) -> float:
        """What one action of that kind takes in module k, from 1, as `ddg_ref.schedules` names them."""
        k -= 1
        if kind == "U":
            return float(self.update[k])
        error = self.error[k] if len(self.error) else self.backward[k] / 2
        of_the_batch = {"F": self.forward[k], "L": self.learn[k], "I": error, "W": self.backward[k] - error}
        return float(of_the_batch.get(kind, self.backward[k])) / self.parts

    @staticmethod
    def balanced(F: float, B: float, K: int, latency: float = 0.0) -> Times:
        """A network of forward time F and backward time B cut into K equal modules."""
        whole("K", K, 1)
        return Times(np.full(K, real("F", F, 0) / K), np.full(K, real("B", B, 0) / K), latency)


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

    decoupled: as free, but each link gives an error gradient two iterations, so the cycle takes 2(b-a)+1 of them.

    micro-batch: as bp, and M-1 further parts of the slowest forward and of the slowest backward among the modules from
    a on: the longest way through a grid of modules and parts. Balanced: (M+K-1)/M times a module's F + B, and 2(K-1)
    latency + U (Huang et al., 2019, section 2.3).

    synthesizer: the largest of F_k + B_k + U_k + S_k, and of (F_k + F_{k+1} + B_{k+1} + S_k + 2 latency)/2, since what
    module k+1 passes down in one iteration must be there in the next. Only neighbours wait for each other.
    """
    choose("schedule", schedule, SCHEDULES)
    F, B, U, K, latency = times.forward, times.backward, times.update, times.K, times.latency
    if schedule == "bp":
        above = np.arange(K)[::-1]
        return float((np.cumsum((F + B)[::-1])[::-1] + 2 * above * latency + U).max())
    if schedule == "micro-batch":
        above, M = np.arange(K)[::-1], times.parts
        slowest = np.maximum.accumulate(F[::-1])[::-1] + np.maximum.accumulate(B[::-1])[::-1]
        once = np.cumsum((F + B)[::-1])[::-1]
        return float((once / M + (M - 1) / M * slowest + 2 * above * latency + U).max())
    if schedule == "two-phase":
        return float(F.sum() + (K - 1) * latency + (B + U).max())
    if schedule == "synthesizer":
        S = times.learn.copy()
        S[-1] = 0
        alone = (F + B + U + S).max()
        pairs = (F[:-1] + F[1:] + B[1:] + S[:-1] + 2 * latency) / 2
        return float(np.maximum(alone, pairs.max(initial=0.0)))
    if latency == 0:
        return float((F + B + U).max())
    crossing = 2 if schedule == "decoupled" else 1
    prefix = np.concatenate([[0.0], np.cumsum(F + B)])
    lengths = np.arange(1, K + 1)
    busiest = np.array([(prefix[n:] - prefix[: K + 1 - n] + U[: K + 1 - n]).max() for n in lengths])
    return float(((busiest + 2 * (lengths - 1) * latency) / (crossing * (lengths - 1) + 1)).max())


def speedup(times: Times, schedule: str) -> float:
    """Iterations per unit of time, relative to bp on one device: no links, sum F + sum B + sum U.

    Raises InputError if there is nothing that takes time.
    """
    each = period(times, schedule)
    if each == 0:
        raise InputError("times: expected some work, got none; give forward or backward times > 0")
    return times.on_one_device / each


def simulated_period(times: Times, schedule: str, iterations: int = 24) -> float:
    """Time per iteration over the second half of a simulation, of the module that takes longest.

    Others may still be getting ahead of it. It repeats itself every so many iterations as its slowest cycle spans: over
    a multiple of that many this is `period`.
    """
    whole("iterations", iterations, 2)
    finished = simulate(times, schedule, iterations)
    middle, last = iterations // 2, iterations - 1
    longest = np.max([finished["B", k, last] - finished["B", k, middle - 1] for k in range(times.K)])
    return float(longest) / (iterations - middle)


def simulate(times: Times, schedule: str, iterations: int) -> dict[Task, float]:
    """When each task ends: (kind, module from 0, iteration) -> time, by processing events in order of time. Kinds: "F",
    "B", "U", "S" (a synthesizer learns); "F 0", "B 0", "F 1", ... for the parts before the last.

    A task starts when its worker has ended the task before it and all its messages have arrived.
    """
    choose("schedule", schedule, SCHEDULES)
    whole("iterations", iterations, 1)
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
    if schedule == "micro-batch":
        yield from _micro_batch_tasks(times, iterations)
        return
    K, latency = times.K, times.latency
    crossing = {"bp": 0, "decoupled": 2}.get(schedule, 1)  # iterations that an error gradient has to cross a link
    learns = schedule == "synthesizer"
    for t in range(iterations):
        for k in range(K):
            last = "S" if learns and k + 1 < K else "U"
            needs: list[tuple[Task, float]] = [((last, k, t - 1), 0.0)] if t else []
            if k > 0:
                needs.append((("F", k - 1, t), latency))
            elif t and schedule == "two-phase":
                needs.append((("all U", 0, t - 1), 0.0))
            yield ("F", k, t), float(times.forward[k]), needs
        for k in range(K):
            needs = [(("F", k, t), 0.0)]
            above: list[tuple[Task, float]] = (
                [(("B", k + 1, t - crossing), latency)] if k + 1 < K and t >= crossing else []
            )
            if schedule == "two-phase" and k + 1 < K:
                needs.append((("F", K - 1, t), 0.0))
            yield ("B", k, t), float(times.backward[k]), needs if learns else needs + above
            yield ("U", k, t), float(times.update[k]), [(("B", k, t), 0.0)]
            if learns and k + 1 < K:
                yield ("S", k, t), float(times.learn[k]) if above else 0.0, [(("U", k, t), 0.0), *above]
        if schedule == "two-phase":
            yield ("all U", 0, t), 0.0, [(("U", k, t), 0.0) for k in range(K)]


def _micro_batch_tasks(times: Times, iterations: int) -> Iterator[tuple[Task, float, list[tuple[Task, float]]]]:
    K, M = times.K, times.parts

    def name(kind: str, part: int) -> str:
        return kind if part == M - 1 else f"{kind} {part}"

    for t in range(iterations):
        for kind, durations, step in (("F", times.forward, -1), ("B", times.backward, 1)):
            for k in range(K):
                for m in range(M):
                    before = (name(kind, m - 1), k, t) if m else ("F", k, t) if kind == "B" else ("U", k, t - 1)
                    needs: list[tuple[Task, float]] = [(before, 0.0)] if before[2] >= 0 else []
                    if 0 <= k + step < K:
                        needs.append(((name(kind, m), k + step, t), times.latency))
                    yield (name(kind, m), k, t), float(durations[k]) / M, needs
        for k in range(K):
            yield ("U", k, t), float(times.update[k]), [(("B", k, t), 0.0)]
