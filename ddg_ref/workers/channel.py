"""A bounded first-in first-out channel between two neighbouring workers, whose messages carry their number."""

from collections import deque
from collections.abc import Callable
from threading import Condition, Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class StoppedError(Exception):
    """Another worker failed or the caller asked to stop; whoever waits gives up."""


def paired(number: int, message: tuple[int, T]) -> T:
    """The content of a message, which must be that of this micro-batch. Raises RuntimeError if it is another one's."""
    arrived, content = message
    if arrived != number:
        raise RuntimeError(f"expected the message of micro-batch {number}, got that of {arrived}")
    return content


class StopSignal:
    """One flag for all workers, that wakes everyone who waits when it is set."""

    def __init__(self) -> None:
        self.is_set = False
        self._lock = Lock()
        self._waiters: list[Condition] = []

    def watch(self, condition: Condition) -> None:
        """Wake `condition` when the signal is set."""
        with self._lock:
            self._waiters.append(condition)

    def check(self) -> None:
        """Raise StoppedError if it is set."""
        if self.is_set:
            raise StoppedError

    def set(self) -> None:
        with self._lock:
            self.is_set = True
            waiters = list(self._waiters)
        for condition in waiters:
            with condition:
                condition.notify_all()


class Channel(Generic[T]):
    """At most `capacity` messages. `give` waits while it is full, `take` while it is empty; nothing spins."""

    def __init__(self, capacity: float, stop: StopSignal, messages: deque[tuple[int, T]] | None = None) -> None:
        self._capacity, self._stop = capacity, stop
        self._messages: deque[tuple[int, T]] = deque() if messages is None else messages
        self._changed = Condition()
        stop.watch(self._changed)

    def __len__(self) -> int:
        """How many messages wait."""
        return len(self._messages)

    def give(self, number: int, message: T) -> None:
        """Append a message. Raises StoppedError if the signal is set before there is room."""
        with self._changed:
            self._wait_until(lambda: len(self._messages) < self._capacity)
            self._messages.append((number, message))
            self._changed.notify_all()

    def take(self, number: int) -> T:
        """Remove the oldest message, which must be that of this micro-batch: a mismatch is an error, no wrong pairing.

        Raises StoppedError if the signal is set before one arrives.
        """
        with self._changed:
            self._wait_until(lambda: len(self._messages) > 0)
            message = self._messages.popleft()
            self._changed.notify_all()
        return paired(number, message)

    def _wait_until(self, ready: Callable[[], bool]) -> None:
        self._changed.wait_for(lambda: self._stop.is_set or ready())
        self._stop.check()
