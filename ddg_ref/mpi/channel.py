"""Channels between neighbouring ranks: first in, first out, and the tag of a message is its number (`Task.messages`).

Sends do not block: an array on its way is kept until its request completes, and as nothing here is written in place it
stays as it was. Receives are posted one message ahead, so that a message can arrive while its receiver computes.

Waiting polls. An MPI library that waits by itself takes a whole core, and with more ranks than cores it takes it from
the rank it waits for. Here a short wait gives way to other processes between polls, and one that lasts sleeps, each
time for an eighth of what it has waited: at most that much is lost, and a rank that waits for long costs next to
nothing. A sleep takes some 60 microseconds however short, as long as a narrow layer's whole backward pass: that is why
short waits do without.
"""

import os
from collections import deque
from collections.abc import Callable, Sequence
from math import prod
from time import perf_counter, sleep
from typing import TypeAlias

import numpy as np
from mpi4py import MPI

from ddg_ref.arrays import Array, Shape, placed_like, settled, to_host, xp_of
from ddg_ref.errors import StallError
from ddg_ref.mpi.pulse import Pulse
from ddg_ref.workers.channel import StoppedError, paired
from ddg_ref.workers.neighbours import Left, Right

CAPACITY = 2
"""Messages that may be on their way in one direction before their sender waits: as many as any method leaves waiting at
a boundary between two iterations, so that nobody waits for a neighbour who has done his last one."""

AWAKE_SECONDS = 1e-3
LONGEST_SLEEP = 1e-3

give_way: Callable[[], None] = getattr(os, "sched_yield", lambda: None)
"""Let whoever else is ready have this core; not every system can."""


def wait_until(done: Callable[[], bool], watch: Callable[[float], None] = lambda waited: None) -> None:
    """Return when `done()`; between polls, `watch(seconds waited so far)` may raise."""
    started = perf_counter()
    while not done():
        waited = perf_counter() - started
        watch(waited)
        if waited > AWAKE_SECONDS:
            sleep(min(waited / 8, LONGEST_SLEEP))
        else:
            give_way()


Wait: TypeAlias = Callable[[MPI.Request, MPI.Status | None], object]
"""Returns when a request is complete."""


class Wire:
    """What carries one call of the engine: its messages, and a notice to all other ranks from each rank that fails.

    Whoever waits gives up when there is a notice, when a rank has left the program, or when all stand still for longer
    than `pulse` allows. By the end of a call all that was sent has been received: nothing is left for the next
    one to meet.
    """

    def __init__(self, messages: MPI.Intracomm, notices: MPI.Intracomm, pulse: Pulse) -> None:
        self.messages, self._notices, self._pulse = messages, notices, pulse
        self.tags = (messages.Get_attr(MPI.TAG_UB) or 32767) + 1  # the standard grants 32767
        self.takes_device_memory = "cuda" in (MPI.COMM_WORLD.Get_info().get("mpi_memory_alloc_kinds") or "")
        self._told: list[MPI.Request] = []

    def tell_failure(self) -> None:
        """Make all other ranks stop."""
        others = set(range(self._notices.size)) - {self._notices.rank}
        self._told = [self._notices.Isend([b"", MPI.BYTE], other) for other in others]

    def wait(self, request: MPI.Request, status: MPI.Status | None = None) -> None:
        """Return when `request` is complete. Raises StoppedError if another rank has failed before it is."""
        if not request.Test(status):
            since = self._pulse.beats

            def watch(waited: float) -> None:
                if self._notices.Iprobe() or self._pulse.gone:
                    raise StoppedError
                if self._pulse.stuck(since):
                    raise StallError(f"no message for {waited:.1f} s")

            wait_until(lambda: request.Test(status), watch)

    def close(self, failed: list[int], wait: Wait) -> None:
        """All ranks have come out of the loop: receive the notices of those in `failed`."""
        for rank in failed:
            if rank != self._notices.rank:
                wait(self._notices.Irecv([bytearray(), MPI.BYTE], rank), None)
        for request in self._told:
            wait(request, None)


class Outgoing:
    """Messages to the rank `neighbour`."""

    def __init__(self, wire: Wire, neighbour: int, capacity: float) -> None:
        self._wire, self._neighbour, self._capacity = wire, neighbour, capacity
        self._on_their_way: deque[tuple[MPI.Request, Array]] = deque()
        self.count = 0

    def give(self, number: int, message: Array) -> None:
        """Send `message`. Waits while as many messages are on their way as there is room for."""
        sent = self._hand_over(message)
        while self._on_their_way and (len(self._on_their_way) >= self._capacity or self._on_their_way[0][0].Test()):
            self._wire.wait(self._on_their_way[0][0])
            self._on_their_way.popleft()
        request = self._wire.messages.Isend([sent, MPI.BYTE], self._neighbour, number % self._wire.tags)
        self._on_their_way.append((request, sent))
        self.count += 1

    def _hand_over(self, message: Array) -> Array:
        """What MPI reads from: the array itself, or its copy in host memory if MPI cannot read from the device."""
        contiguous: Array = xp_of(message).ascontiguousarray(message)
        return settled(contiguous) if self._wire.takes_device_memory else to_host(contiguous)

    def close(self, wait: Wait) -> None:
        """Wait until all have arrived. The neighbour's `close` receives what it has not taken."""
        while self._on_their_way:
            wait(self._on_their_way.popleft()[0], None)


class Incoming:
    """Messages from the rank `neighbour`: those with these `numbers`, in order, or fewer if training stops.

    Each is an array (n, *shape[1:]) with n <= shape[0], of the dtype of `model` and placed where that is.
    """

    def __init__(self, wire: Wire, neighbour: int, numbers: Sequence[int], shape: Shape, model: Array) -> None:
        self._wire, self._neighbour, self._numbers = wire, neighbour, numbers
        self._shape, self._model, self._sample_bytes = shape, model, model.itemsize * prod(shape[1:])
        self._xp = xp_of(model) if wire.takes_device_memory else np
        self._count = 0
        self._post()

    def receive(self, number: int) -> Array:
        """The next one, which must be that of this number. Raises RuntimeError if what has come is not that."""
        return self._checked(number, *self._wait(self._wire.wait))

    def rest(self, count: int, wait: Wait) -> list[tuple[int, Array]]:
        """Those of the `count` messages that the neighbour has sent which are not yet received, with their numbers."""
        numbers = self._numbers[self._count : count]
        return [(number, self._checked(number, *self._wait(wait))) for number in numbers]

    def close(self, count: int, wait: Wait) -> None:
        """Receive what is left of the `count` messages that the neighbour has sent, whatever it is; await no more."""
        while self._count < count:
            self._wait(wait)
        if self._request is not None:
            self._request.Cancel()
            self._request.Wait()

    def _post(self) -> None:
        """Make room for the next message, if there will be one."""
        self._request: MPI.Request | None = None
        if self._count < len(self._numbers):
            self._buffer = settled(self._xp.empty(self._shape, self._model.dtype))
            self._request = self._wire.messages.Irecv([self._buffer, MPI.BYTE], self._neighbour)

    def _wait(self, wait: Wait) -> tuple[Array, MPI.Status]:
        """Let `wait` see the next message in: what it was written to, and what came."""
        assert self._request is not None, "the neighbour sends more than it should"
        status = MPI.Status()
        wait(self._request, status)
        buffer = self._buffer
        self._count += 1
        self._post()
        return buffer, status

    def _checked(self, number: int, buffer: Array, status: MPI.Status) -> Array:
        if status.tag != number % self._wire.tags:
            raise RuntimeError(f"expected the message of micro-batch {number}, got that of {status.tag}")
        rows, odd_bytes = divmod(status.Get_count(MPI.BYTE), self._sample_bytes)
        if odd_bytes:
            raise RuntimeError(
                f"micro-batch {number}: expected samples of shape {buffer.shape[1:]}, "
                f"got {odd_bytes} bytes more than {rows}"
            )
        return placed_like(self._model, buffer[:rows])


class LeftRank(Left):
    """The end of a module that faces the input, when the module to the left runs on the rank `neighbour`."""

    def __init__(
        self, wire: Wire, neighbour: int, numbers: Sequence[int], shape: Shape, model: Array, capacity: float
    ) -> None:
        self._incoming = Incoming(wire, neighbour, numbers, shape, model)
        self._outgoing = Outgoing(wire, neighbour, capacity)

    @property
    def given(self) -> int:
        return self._outgoing.count

    def take_activation(self, number: int) -> Array | None:
        x = self._incoming.receive(number)
        return x if len(x) else None

    def give_error(self, number: int, dx: Array | None) -> None:
        assert dx is not None  # only module 1 has none, and to its left lies the data
        self._outgoing.give(number, dx)

    def receive_rest(self, count: int, wait: Wait) -> None:
        """All ranks have come out of the loop, and the neighbour has given `count` activations."""
        self._incoming.close(count, wait)

    def close(self, wait: Wait) -> None:
        """All ranks have received what was left, or do so now."""
        self._outgoing.close(wait)


class RightRank(Right):
    """The end that faces the output. `waiting` holds the error gradients that came in a former call, oldest first."""

    def __init__(
        self,
        wire: Wire,
        neighbour: int,
        numbers: Sequence[int],
        shape: Shape,
        model: Array,
        capacity: float,
        waiting: deque[tuple[int, Array]],
    ) -> None:
        self._incoming = Incoming(wire, neighbour, numbers, shape, model)
        self._outgoing = Outgoing(wire, neighbour, capacity)
        self._waiting, self._end = waiting, model[:0]

    @property
    def given(self) -> int:
        return self._outgoing.count

    def give_activation(self, number: int, y: Array | None) -> None:
        """An activation of no samples says that training stops."""
        self._outgoing.give(number, self._end if y is None else y)

    def take_error(self, number: int) -> Array:
        return paired(number, self._waiting.popleft()) if self._waiting else self._incoming.receive(number)

    def keep(self, count: int, wait: Wait) -> None:
        """All went well: those of the `count` error gradients given that were not taken wait for the next call."""
        self._waiting.extend(self._incoming.rest(count, wait))

    def receive_rest(self, count: int, wait: Wait) -> None:
        """As that of `LeftRank`; what comes now is not kept."""
        self._incoming.close(count, wait)

    def close(self, wait: Wait) -> None:
        """As `LeftRank.close`."""
        self._outgoing.close(wait)
