"""What the workers do when: the actions of a schedule, played with given times.

A worker performs the operations of `ddg_ref.deadlock`, one after the other. It takes a message when it has come, which
is `latency` after it was given; an action lasts as long as `Times` says; a message is given when there is room for it.
As each channel keeps its order, these times do not depend on who is asked first, so the operations may be played in
any order in which they can happen: one pass over them, however many modules there are.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import numpy as np

from ddg_ref.deadlock import Channels, Operation, Room, Steps, between_workers, links, operations, walk
from ddg_ref.errors import InputError, whole
from ddg_ref.periods import Array, Times
from ddg_ref.schedules import Action, Program, endless, existing, in_iteration, owners, source, target

OPERATIONS = 1_000_000
"""So many are played, at most, to see a schedule repeat itself: some seconds."""


class Bar(NamedTuple):
    """Worker `worker`, from 0, performs an action of module k, from 1, in iteration t."""

    worker: int
    k: int
    t: int
    action: Action
    start: float
    stop: float


def boundless(a: int, b: int) -> float:
    """Channels that hold any number of messages."""
    return inf


def simulate(
    programs: Sequence[Program], times: Times, iterations: int, *, room: Room = boundless, full: bool = False
) -> list[list[Bar]]:
    """What each worker does in the first iterations, in its order.

    From the first batch on; with `full` in a pipeline that has been filled already, where messages of earlier batches
    wait as long as from the beginning. Between modules of one worker a message takes no time and no room. Raises
    ScheduleError if the workers come to wait for each other.
    """
    K, M = times.K, times.parts
    whole("iterations", iterations, 1)
    worker_of, steps = owners(programs), in_iteration(programs, 0)
    before = _before(steps, K, M) if full else {link: [] for link in links(K)}
    todo: list[list[Operation]] = []
    for program in programs:
        todo.append([])
        for t in range(iterations):
            planned = [(k, action) for k, action in program(t) if full or existing([action], M, endless(M))]
            todo[-1].extend(operations(K, t, planned))

    channels = Channels(between_workers(steps, room))
    channels.waiting |= {link: deque(numbers) for link, numbers in before.items()}
    arrivals = {link: deque([0.0] * len(numbers)) for link, numbers in before.items()}
    given = {link: len(numbers) for link, numbers in before.items()}
    taken: dict[tuple[int, int], list[float]] = {link: [] for link in before}
    clock = [0.0] * len(programs)
    bars: list[list[Bar]] = [[] for _ in programs]
    durations: dict[tuple[int, str], float] = {}
    for does, (k, t, action), neighbour in walk(todo, channels):
        worker = worker_of[k]
        now = clock[worker]
        if does == "take":
            link = neighbour, k
            now = max(now, arrivals[link].popleft())
            taken[link].append(now)
        elif does == "do":
            if (k, action.kind) not in durations:
                durations[k, action.kind] = times.of(k, action.kind)
            stop = now + durations[k, action.kind]
            bars[worker].append(Bar(worker, k, t, action, now, stop))
            now = stop
        else:
            link = k, neighbour
            if given[link] >= channels.room(*link):
                now = max(now, taken[link][given[link] - int(channels.room(*link))])
            given[link] += 1
            arrivals[link].append(now + (times.latency if worker_of[neighbour] != worker else 0.0))
        clock[worker] = now
    return bars


def _before(steps: Steps, K: int, M: int) -> dict[tuple[int, int], list[int]]:
    """What waits on each link before iteration 0 in a pipeline that has run for ever: its receiver takes it from then
    on, and its sender does not give it from then on.
    """
    first: dict[tuple[int, int], dict[int, int]] = {link: {} for link in links(K)}
    takes: dict[tuple[int, int], list[int]] = {link: [] for link in first}
    for k, action in (step for own in steps for step in own):
        to, other = target(action, k, K), source(action, k, K)
        if to is not None:
            first[k, to][action.number % M] = action.number
        if other is not None:
            takes[other, k].append(action.number)
    return {link: _waiting(first[link], takes[link], M) for link in first}


def _waiting(first: Mapping[int, int], takes: Sequence[int], M: int) -> list[int]:
    """Of one link: what is taken, and given before the `first` of its part in iteration 0."""
    earliest = min((number - first.get(number % M, number) for number in takes), default=0)
    return [
        number
        for t in range(-earliest // M)
        for number in (taken + t * M for taken in takes)
        if number < first.get(number % M, number)
    ]


# What follows from the steady state


@dataclass(frozen=True)
class Pace:
    """How fast a schedule runs once its pipeline is full."""

    period: float
    """Time per iteration."""
    exact: bool
    """It has been seen to repeat itself; else the period is a mean over many iterations."""
    busy: tuple[float, ...]
    """What each worker works per iteration."""
    on_one_device: float
    """What an iteration takes without a pipeline."""

    @property
    def bubble(self) -> list[float]:
        """The part of the time in which each worker is idle."""
        return [max(0.0, 1 - busy / self.period) for busy in self.busy]

    @property
    def speed_up(self) -> float:
        """Iterations per unit of time, relative to one device."""
        return self.on_one_device / self.period


def pace(programs: Sequence[Program], times: Times, *, room: Room = boundless) -> Pace:
    """The steady state: the simulation goes on until it repeats itself, later by the same time for all actions.

    Raises InputError if nothing takes time, and ScheduleError as `simulate`.
    """
    steps = in_iteration(programs, 0)
    busy = tuple(sum(times.of(k, action.kind) for k, action in program) for program in steps)
    if not any(busy):
        raise InputError("times: expected some work, got none; give forward or backward times > 0")
    count = sum(map(len, steps))
    memory = _memory(steps, times.K, times.parts, room)
    iterations = 4 * memory
    while True:
        bars = simulate(programs, times, iterations, room=room, full=True)
        stops = np.hstack([np.reshape([bar.stop for bar in own], (iterations, -1)) for own in bars if own])
        found = _repetition(stops, memory)
        if found is not None or 2 * iterations * count > OPERATIONS / 2:
            break
        iterations *= 2
    if found is None:
        half = iterations // 2
        found = float((stops[-1] - stops[half - 1]).max()) / (iterations - half)
        return Pace(found, False, busy, times.on_one_device)
    return Pace(found, True, busy, times.on_one_device)


def _memory(steps: Steps, K: int, M: int, room: Room) -> int:
    """How many iterations back the times can reach that decide when an action happens: by a message that waits, or by
    the room that one leaves.
    """
    most = [len(waiting) + (room(*link) if room(*link) < inf else 0) for link, waiting in _before(steps, K, M).items()]
    return 2 + int(max(most, default=0) // M)


def _repetition(stops: Array, memory: int) -> float | None:
    """The period, if the last iterations are `cycle` earlier ones once more, all later by one time; stops (n, actions).

    As many of them as `memory` says decide everything that comes after.
    """
    for cycle in range(1, len(stops) - memory + 1):
        later = stops[-memory:] - stops[len(stops) - memory - cycle : len(stops) - cycle]
        if np.ptp(later) <= 1e-9 * later.max():
            return float(later.max()) / cycle
    return None
