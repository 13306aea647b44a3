"""Which weights a batch meets, how old its gradient is, and what is kept in between: read off a schedule."""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from ddg_ref.errors import ScheduleError
from ddg_ref.schedules import Action, Schedule, endless, existing, text


class Applied(NamedTuple):
    """A gradient that a module applies, seen from its weights, whose versions count its updates."""

    number: int
    """Of the micro-batch."""
    forward: int
    """The version that its forward pass used."""
    present: int
    """The version that the update changes."""
    iterations: int
    """How many the module has begun between its forward and its backward pass."""

    @property
    def delay(self) -> int:
        """How many updates old the weights are at which the gradient was taken."""
        return self.present - self.forward


class Flight(NamedTuple):
    """A micro-batch on its way through a module: the version of its forward pass, and the iteration of the last one."""

    version: int
    iteration: int


class Life:
    """What passes through one module: the micro-batches in flight, and the versions of its weights that they met.

    Raises ScheduleError for an action that makes no sense after those before it; with `in_order` also for one that
    runs backward on another micro-batch than the first one in flight, as the engines do. A life that is looked at from
    later on begins with some version, and does not judge what is done with micro-batches before `first`.
    """

    def __init__(self, k: int, M: int, *, version: int = 0, first: int = 0, in_order: bool = True) -> None:
        self.k, self.M, self.version, self.first, self.in_order = k, M, version, first, in_order
        self.in_flight: dict[int, Flight] = {}
        self.half_back: dict[int, Flight] = {}  # whose parameter gradients are still to come
        self.unlearned: dict[int, int] = {}  # iteration of the forward pass
        self.gradients: dict[int, Flight] = {}  # which wait for their update; how many iterations they took

    def perform(self, t: int, action: Action) -> list[Applied]:
        """`action`, in iteration t; the gradients that it applies, if it is an update."""
        kind, number = action
        if kind == "F":
            self._demand(number not in self.in_flight, action, "it is in flight already")
            self.in_flight[number], self.unlearned[number] = Flight(self.version, t), t
        elif kind == "U":
            return self._update(action)
        elif number < self.first:
            self.gradients |= {} if kind == "L" else {number: Flight(self.version, 0)}
        elif kind == "L":
            self._demand(number in self.unlearned, action, "its forward pass does not come before it")
            del self.unlearned[number]
        elif kind == "W":
            half = "the first half of its backward pass does not come before it"
            self._demand(number in self.half_back, action, half)
            version, began = self.half_back.pop(number)
            self.gradients[number] = Flight(version, t - began)
        else:
            self._demand(number in self.in_flight, action, "its forward pass does not come before it")
            oldest = next(iter(self.in_flight))
            in_turn = number == oldest or not self.in_order
            self._demand(in_turn, action, f"micro-batch {oldest} went forward first, so it goes back first")
            version, began = self.in_flight.pop(number)
            if kind == "I":
                self.half_back[number] = Flight(version, began)
            else:
                self.gradients[number] = Flight(version, t - began)
            if kind != "G":
                del self.unlearned[number]
        return []

    def _update(self, action: Action) -> list[Applied]:
        own = [number for number in self.gradients if number // self.M == action.number]
        late = [number for number in self.kept if number // self.M == action.number]
        self._demand(bool(own) or action.number * self.M < self.first, action, "there is no gradient to apply")
        self._demand(not late, action, f"micro-batch {late[0] if late else 0} of its batch has not gone back")
        applied = [(number, self.gradients.pop(number)) for number in own]
        self.version += 1
        return [Applied(number, version, self.version - 1, took) for number, (version, took) in applied]

    @property
    def busy(self) -> str:
        """What is not done yet, in words; empty if nothing is left."""
        if self.in_flight:
            return f"micro-batch {min(self.in_flight)} goes forward and never back"
        if self.half_back:
            return f"the parameter gradients of micro-batch {min(self.half_back)} are never computed"
        if self.unlearned:
            return f"the error gradient of micro-batch {min(self.unlearned)} is never taken"
        return f"the gradient of micro-batch {min(self.gradients)} is never applied" if self.gradients else ""

    @property
    def size(self) -> int:
        """How many micro-batches it has still to do with."""
        return len(self.kept) + len(self.unlearned) + len(self.gradients)

    @property
    def kept(self) -> dict[int, Flight]:
        """What waits for the end of its backward pass."""
        return self.half_back | self.in_flight

    def copy(self) -> "Life":
        """The same, to go on by itself."""
        other = Life(self.k, self.M, version=self.version, first=self.first, in_order=self.in_order)
        other.in_flight, other.half_back = dict(self.in_flight), dict(self.half_back)
        other.unlearned, other.gradients = dict(self.unlearned), dict(self.gradients)
        return other

    def since(self, t: int) -> tuple[object, ...]:
        """What is in it between two iterations, counted from iteration t, before which it has made that many steps."""
        first = t * self.M
        flights = sorted(
            (n - first, self.version - version, t - began, n in self.half_back)
            for n, (version, began) in self.kept.items()
        )
        lessons = sorted((n - first, t - began) for n, began in self.unlearned.items())
        waiting = sorted((n - first, self.version - version) for n, (version, _) in self.gradients.items())
        return (*flights, *lessons, *waiting)

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


def lives(schedule: Schedule, k: int, K: int, M: int, iterations: int) -> Iterator[tuple[Life, list[Applied]]]:
    """The life of module k after each of its actions in so many iterations, and the gradients that this one applied."""
    life = Life(k, M, in_order=False)
    for t in range(iterations):
        for action in existing(schedule(k, K, t, M), M, endless(M)):
            yield life, life.perform(t, action)


def versions(schedule: Schedule, k: int, K: int, M: int = 1, iterations: int | None = None) -> list[Applied]:
    """The gradients that module k applies in the first iterations, from the warm-up on. Raises ScheduleError."""
    count = settled(K) if iterations is None else iterations
    return [each for _, applied in lives(schedule, k, K, M, count) for each in applied]


def held(schedule: Schedule, k: int, K: int, M: int = 1) -> Held:
    """What module k holds at most. Raises ScheduleError."""
    micro_batches, kept = 0, 1
    for life, _ in lives(schedule, k, K, M, settled(K)):
        micro_batches = max(micro_batches, len(life.kept))
        kept = max(kept, len({life.version, *(flight.version for flight in life.kept.values())}))
    return Held(micro_batches, kept)


@cache
def delay(schedule: Schedule, k: int, K: int, M: int = 1) -> int:
    """How many iterations pass in module k between a batch's forward and its backward pass, once that is constant.

    Raises ScheduleError, also if it never goes back.
    """
    applied = versions(schedule, k, K, M)
    if not applied:
        raise ScheduleError(f"module {k}: expected backward passes, got none; give it one for each forward pass")
    return applied[-1].iterations


@cache
def staleness(schedule: Schedule, k: int, K: int, M: int = 1) -> int:
    """How many updates old the weights of a forward pass are, at most, when module k applies its gradient.

    Raises ScheduleError.
    """
    return max((each.delay for each in versions(schedule, k, K, M)), default=0)


@cache
def lag(schedule: Schedule, k: int, K: int, M: int = 1) -> int:
    """How many pass until module k has done all that it does with a batch: the delay, or more if it learns or updates
    later.
    """
    planned = schedule(k, K, 0, M)
    return max((-(a.number if a.kind == "U" else a.number // M) for a in planned), default=0)
