"""Where a module computes: in host memory, or on a device of its own, which `ddg_ref.gpu` has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

from ddg_ref.arrays import Array, Params, to_host


class Handed(ABC):
    """An array on its way from a device on which work is queued, not done, when a call returns."""

    array: Array

    @abstractmethod
    def fetched(self, kept: dict[int, Any]) -> Array:
        """A copy in host memory, once it is done. In `kept` it finds what the last one has left for the next."""


Message: TypeAlias = Array | Handed


def content(message: Message) -> Array:
    """The array of a message, which is done once the worker that sent it has ended."""
    return message.array if isinstance(message, Handed) else message


class Device(ABC):
    """Where a module computes; each module has one of its own, also where several of them mean the same hardware."""

    name: str

    @abstractmethod
    def opened(self) -> AbstractContextManager[None]:
        """For the block, what this thread computes it computes here. At the end all of it is done."""

    @abstractmethod
    def selected(self) -> AbstractContextManager[None]:
        """The same inside `opened`, for a thread that has opened others since; at the end nothing need be done."""

    def launching(self) -> AbstractContextManager[Any]:
        """For the block, this thread asks for work here, and waits for nothing and nobody."""
        return nullcontext()

    def keep_pace(self) -> None:  # noqa: B027 - where work is done at once nothing runs ahead
        """Once an iteration: waits if the work that is asked for here has run too far ahead of what is done."""

    def give_back(self) -> None:  # noqa: B027 - host memory is given back as it becomes free
        """After a run whose work is done: returns memory that nothing refers to any more to whoever else is here."""

    @abstractmethod
    def place(self, x: Array) -> Array:
        """`x` here: itself, or a copy of it, if it is done. Does not wait for a copy to a GPU."""

    def place_all(self, arrays: Params) -> Params:
        """`place` for each of the arrays."""
        return {name: self.place(array) for name, array in arrays.items()}

    @abstractmethod
    def hand_over(self, x: Array) -> Message:
        """`x`, computed here, as another module can receive it."""

    @abstractmethod
    def receive(self, message: Message) -> Array:
        """What another module has handed over, here, in memory of this module's own.

        An array without an event must be done.
        """

    def __repr__(self) -> str:
        return self.name


class Cpu(Device):
    """Host memory. Work is done when a call returns, so nothing has to be waited for but what comes from a GPU."""

    name = "cpu"

    def __init__(self) -> None:
        self._kept: dict[int, Any] = {}

    def opened(self) -> AbstractContextManager[None]:
        return nullcontext()

    def selected(self) -> AbstractContextManager[None]:
        return nullcontext()

    def place(self, x: Array) -> Array:
        return to_host(x)

    def hand_over(self, x: Array) -> Array:
        return x

    def receive(self, message: Message) -> Array:
        return message.fetched(self._kept) if isinstance(message, Handed) else to_host(message)
