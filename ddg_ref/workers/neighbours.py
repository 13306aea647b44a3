"""What lies to the left and to the right of a module: another module, or the data and the loss.

Messages are numbered in order, by micro-batch: part m of batch t, which is split into M, has the number t M + m.
"""

from collections.abc import Callable
from typing import Protocol

from ddg_ref.arrays import Array, joined, split
from ddg_ref.device import Device
from ddg_ref.task import Task


class Left(Protocol):
    """The module nearer the input, or the data."""

    def take_activation(self, number: int) -> Array | None:
        """The activation of a micro-batch; None if training stops before it."""

    def give_error(self, number: int, dx: Array | None) -> None: ...


class Right:
    """The module nearer the output, or the loss."""

    def give_activation(self, number: int, y: Array | None) -> None:
        """The activation of a micro-batch; None if training stops before it."""
        raise NotImplementedError

    def take_error(self, number: int) -> Array:
        """The error gradient of a micro-batch."""
        raise NotImplementedError

    def guess(self, number: int) -> Array:
        """What the error gradient may be, at once."""
        raise NotImplementedError(f"{type(self).__name__} does not guess; a schedule with G needs one that does")

    def learn(self, number: int, dy: Array) -> None:
        """What it is."""
        raise NotImplementedError(f"{type(self).__name__} does not learn; a schedule with L needs one that does")


class Guesser(Protocol):
    """Something that stands between a module and its right neighbour, and guesses what that will answer."""

    def beside(self, right: Right, labels: Callable[[int], Array]) -> Right:
        """A neighbour that guesses, in front of `right`; `labels(t)` are those of batch t."""

    def placed(self, place: Callable[[Array], Array]) -> "Guesser":
        """The same, with all its arrays where `place` puts them."""


class Data(Left):
    """Left of module 1: batches come from the task, and nobody wants their error gradient.

    Each part is placed by itself, at the beginning of memory of its own, as a part that comes from another module is:
    libraries choose by where operands lie in which order they add.
    """

    def __init__(self, task: Task, micro_batches: int, device: Device) -> None:
        self._task, self._micro_batches, self._device = task, micro_batches, device

    def take_activation(self, number: int) -> Array | None:
        batch, part = divmod(number, self._micro_batches)
        if part == 0:
            x = self._task.enter(batch)
            if x is None:
                return None
            self._parts = [self._device.place(part) for part in split(x, self._task.parts(batch, self._micro_batches))]
        return self._parts[part]

    def give_error(self, number: int, dx: Array | None) -> None:
        pass


class Objective(Right):
    """Right of module K: what it has given of a batch to the loss comes back as its error gradient.

    If module K gives all parts before it asks for the first error gradient, the loss is taken of the whole batch, and
    else of what has been given.
    """

    def __init__(self, task: Task, micro_batches: int, device: Device) -> None:
        self._task, self._micro_batches, self._device = task, micro_batches, device
        self._outputs: list[Array] = []
        self._errors: list[Array] = []
        self._rows = 0  # of the batch, that have been given

    def give_activation(self, number: int, y: Array | None) -> None:
        if y is not None:
            self._outputs.append(y)

    def take_error(self, number: int) -> Array:
        batch, part = divmod(number, self._micro_batches)
        self._rows = self._rows if part else 0
        if not self._errors:
            outputs, self._outputs = self._outputs, []
            with self._device.launching():
                y = joined(outputs)
                self._errors = split(self._task.error_gradient(batch, y, self._rows), len(outputs))
            self._rows += len(y)
        return self._errors.pop(0)
