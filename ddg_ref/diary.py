"""What the modules of a pipeline do, written down as they do it: for reading and for tests, at no cost to the bits."""

from typing import Any, NamedTuple

from ddg_ref.arrays import Array, Params
from ddg_ref.modules import Module, Pipeline


class Entry(NamedTuple):
    """Module k did something."""

    k: int
    phase: str
    """forward, backward, or update."""
    number: int
    """Of the micro-batch; of an update the last one that went back."""
    params: Params
    """The weights that it used: those of a backward pass may be old, an update changes them."""
    given: Any
    """x, dy, or the gradient that is applied."""
    result: Any
    """y; (dx, grads), dx being None in module 1; or the new weights."""


class Noting(Module):
    """A module as it is, that writes into a diary."""

    def __init__(self, module: Module, diary: list[Entry]) -> None:
        vars(self).update(vars(module))
        self._diary, self._last = diary, -1

    def forward(self, number: int, x: Array, gamma: float = 0.0) -> Array:
        y = super().forward(number, x, gamma)
        self._diary.append(Entry(self.k, "forward", number, self.queue[-1].params or self.params, x, y))
        return y

    def backward(self, number: int, dy: Array) -> tuple[Array | None, Params]:
        params = self.queue[0].params if self.method.weights == "forward" else self.params
        result = super().backward(number, dy)
        self._diary.append(Entry(self.k, "backward", number, params, dy, result))
        self._last = number
        return result

    def update(self, grads: Params, gamma: float) -> None:
        before = self.params
        super().update(grads, gamma)
        self._diary.append(Entry(self.k, "update", self._last, before, grads, self.params))


def keep_diary(pipeline: Pipeline) -> list[Entry]:
    """The list into which all modules of `pipeline` will write, in the order in which they do things.

    In one thread: elsewhere several write at once.
    """
    diary: list[Entry] = []
    pipeline.modules = [Noting(module, diary) for module in pipeline.modules]
    return diary
