"""Which weights a batch meets, how old its gradient is, and what is kept in between: read off a schedule."""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from ddg_ref.errors import ScheduleError
from ddg_ref.schedules import Action, Schedule, endless, existing, text


class Backward(NamedTuple):
    """A backward pass of one module, seen from its weights, whose versions count its updates."""

    number: int
    forward: int
    """The version that the forward pass of the micro-batch used."""
    present: int
    """The version at the backward pass, which the update changes."""
    iterations: int
    """How many the module has begun since the forward pass."""

    @property
    def delay(self) -> int:
        """How many updates old the weights are at which the gradient was taken."""
        return self.present - self.forward


class Life:
    """What passes through one module: the micro-batches in flight, and the versions of its weights that they met.

    Raises ScheduleError for an action that makes no sense after those before it; with `in_order` also for one that goes
    back on another micro-batch than the first one in flight, as the engines do.
    """

    def __init__(self, k: int, *, in_order: bool = True) -> None:
        self.k, self.version, self.in_order = k, 0, in_order
        self.in_flight: dict[int, tuple[int, int]] = {}  # version and iteration of the forward pass
        self.half_back: dict[
            int, tuple[int, int]
        ] = {}  # the same, of those whose parameter gradients are still to come
        self.unlearned: dict[int, int] = {}  # iteration of the forward pass
        self.gradients: list[int] = []

    def perform(self, t: int, action: Action) -> Backward | None:
        """`action`, in iteration t; what there is to say of it if it is a backward pass."""
        kind, number = action
        if kind == "F":
            self._demand(number not in self.in_flight, action, "it is in flight already")
            self.in_flight[number], self.unlearned[number] = (self.version, t), t
        elif kind in "BIG":
            self._demand(number in self.in_flight, action, "its forward pass does not come before it")
            oldest = next(iter(self.in_flight))
            in_turn = number == oldest or not self.in_order
            self._demand(in_turn, action, f"micro-batch {oldest} went forward first, so it goes back first")
            version, began = self.in_flight.pop(number)
            if kind != "G":
                del self.unlearned[number]
            if kind != "I":
                self.gradients.append(number)
                return Backward(number, version, self.version, t - began)
            self.half_back[number] = version, began
        elif kind == "W":
            self._demand(
                number in self.half_back, action, "the first half of its backward pass does not come before it"
            )
            version, began = self.half_back.pop(number)
            self.gradients.append(number)
            return Backward(number, version, self.version, t - began)
        elif kind == "L":
            self._demand(number in self.unlearned, action, "its forward pass does not come before it")
            del self.unlearned[number]
        else:
            self._demand(bool(self.gradients), action, "there is no gradient to apply")
            self.version, self.gradients = self.version + 1, []
        return None

    @property
    def busy(self) -> str:
        """What is not done yet, in words; empty if nothing is left."""
        if self.in_flight:
            return f"micro-batch {min(self.in_flight)} goes forward and never back"
        if self.half_back:
            return f"the parameter gradients of micro-batch {min(self.half_back)} are never computed"
        if self.unlearned:
            return f"the error gradient of micro-batch {min(self.unlearned)} is never taken"
        return f"the gradient of micro-batch {self.gradients[0]} is never applied" if self.gradients else ""

    @property
    def size(self) -> int:
        """How many micro-batches it has still to do with."""
        return len(self.kept) + len(self.unlearned) + len(self.gradients)

    @property
    def kept(self) -> dict[int, tuple[int, int]]:
        """What waits for the end of its backward pass: version and iteration of the forward pass."""
        return self.half_back | self.in_flight

    def copy(self) -> "Life":
        """The same, to go on by itself."""
        other = Life(self.k, in_order=self.in_order)
        other.version, other.gradients = self.version, list(self.gradients)
        other.in_flight, other.half_back = dict(self.in_flight), dict(self.half_back)
        other.unlearned = dict(self.unlearned)
        return other

    def since(self, t: int, M: int) -> tuple[object, ...]:
        """What is in it between two iterations, counted from iteration t, before which it has made that many steps."""
        flights = sorted(
            (n - t * M, self.version - version, t - began, n in self.half_back)
            for n, (version, began) in self.kept.items()
        )
        lessons = sorted((n - t * M, t - began) for n, began in self.unlearned.items())
        return (*flights, *lessons, *(n - t * M for n in self.gradients))

    def _demand(self, condition: bool, action: Action, otherwise: str) -> None:
        if not condition:
            raise ScheduleError(f"{text(self.k, action)} (module {self.k}): {otherwise}; correct the schedule")


class Held(NamedTuple):
    """The most that a module holds at once."""

    micro_batches: int
    """Between their forward pass and the end of their backward pass."""
    versions: int
    """Of its weights: the present one, and those that micro-batches in flight have met."""


def settled(K: int) -> int:
    """An iteration by which every schedule that takes up to two iterations per boundary repeats itself."""
    return 4 * K + 4


def lives(schedule: Schedule, k: int, K: int, M: int, iterations: int) -> Iterator[tuple[Life, Backward | None]]:
    """The life of module k after each of its actions in so many iterations, and the backward pass, if that was one."""
    life = Life(k, in_order=False)
    for t in range(iterations):
        for action in existing(schedule(k, K, t, M), M, endless(M)):
            yield life, life.perform(t, action)


def versions(schedule: Schedule, k: int, K: int, M: int = 1, iterations: int | None = None) -> list[Backward]:
    """The backward passes of module k in the first iterations, from the warm-up on. Raises ScheduleError."""
    count = settled(K) if iterations is None else iterations
    return [backward for _, backward in lives(schedule, k, K, M, count) if backward is not None]


def held(schedule: Schedule, k: int, K: int, M: int = 1) -> Held:
    """What module k holds at most. Raises ScheduleError."""
    micro_batches, kept = 0, 1
    for life, _ in lives(schedule, k, K, M, settled(K)):
        micro_batches = max(micro_batches, len(life.kept))
        kept = max(kept, len({life.version, *(version for version, _ in life.kept.values())}))
    return Held(micro_batches, kept)


@cache
def delay(schedule: Schedule, k: int, K: int, M: int = 1) -> int:
    """How many iterations pass in module k between a batch's forward and its backward pass, once that is constant.

    Raises ScheduleError, also if it never goes back.
    """
    backward = versions(schedule, k, K, M)
    if not backward:
        raise ScheduleError(f"module {k}: expected backward passes, got none; give it one for each forward pass")
    return backward[-1].iterations


@cache
def arrival(schedule: Schedule, k: int, K: int, M: int = 1) -> int:
    """How many pass until it has taken the batch's error gradient: the delay, or more if it goes back on a guess."""
    taken = delay(schedule, k, K, M)
    for t in range(settled(K)):
        for action in existing(schedule(k, K, t, M), M, endless(M)):
            if action.kind in "BIL":
                taken = t - action.number // M
    return taken
