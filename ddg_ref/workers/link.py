"""What joins two neighbours in one process: a channel in either direction."""

from collections import deque
from typing import Any

from ddg_ref.arrays import Array
from ddg_ref.device import Message, content
from ddg_ref.modules import Pipeline
from ddg_ref.task import Task
from ddg_ref.workers.channel import Channel, StopSignal
from ddg_ref.workers.neighbours import Data, Left, Objective, Right


class Link(Left, Right):
    """Activations go to the right, error gradients to the left: between modules k and k+1.

    Room for so many of either. The error gradients that wait between two iterations lie there already.
    """

    def __init__(self, pipeline: Pipeline, k: int, room: tuple[float, float], stop: StopSignal) -> None:
        self._activations: Channel[Message | None] = Channel(room[0], stop)
        errors: deque[Any] = pipeline.errors[k - 1]  # arrays, among which come messages
        self._errors: Channel[Message] = Channel(room[1], stop, errors)
        self._left, self._right = (module.device for module in pipeline.modules[k - 1 : k + 1])

    @property
    def activations(self) -> int:
        """How many wait."""
        return len(self._activations)

    @property
    def errors(self) -> int:
        """How many wait."""
        return len(self._errors)

    def give_activation(self, number: int, y: Array | None) -> None:
        self._activations.give(number, None if y is None else self._left.hand_over(y))

    def take_activation(self, number: int) -> Array | None:
        message = self._activations.take(number)
        return None if message is None else self._right.receive(message)

    def give_error(self, number: int, dx: Array | None) -> None:
        assert dx is not None  # only module 1 has none, and to its left lies the data
        self._errors.give(number, self._right.hand_over(dx))

    def take_error(self, number: int) -> Array:
        return self._left.receive(self._errors.take(number))


class Source(Data):
    """The data, for workers that can be called off: a single module has no channel that would tell it."""

    def __init__(self, task: Task, pipeline: Pipeline, stop: StopSignal) -> None:
        super().__init__(task, pipeline.method.micro_batches, pipeline.modules[0].device)
        self._stop = stop

    def take_activation(self, number: int) -> Array | None:
        self._stop.check()
        return super().take_activation(number)


def ends(pipeline: Pipeline, task: Task, links: list[Link], stop: StopSignal) -> list[tuple[Left, Right]]:
    """What every module has to its left and to its right, given the links between them."""
    lefts: list[Left] = [Source(task, pipeline, stop), *links]
    rights: list[Right] = [*links, Objective(task, pipeline.method.micro_batches, pipeline.modules[-1].device)]
    right_of = [pipeline.right(k, right, task.labels) for k, right in enumerate(rights, 1)]
    return list(zip(lefts, right_of, strict=True))


def settle(pipeline: Pipeline) -> None:
    """Nobody works any more: what waits above each module lies where it computes."""
    for module, errors in zip(pipeline.modules, pipeline.errors, strict=True):
        with module.device.opened():
            waiting = [(number, module.device.receive(content(message))) for number, message in errors]
        errors.clear()
        errors.extend(waiting)
