"""Modules of ddg_ref with one bug each, for exercise 8. Stop reading here if you are about to solve it.

All are called the same and have the same attributes: what a suspect is must be found out by what it does.
"""

from typing import Any

from ddg_ref.arrays import Array, Params
from ddg_ref.modules import Module


class Healthy(Module):
    """Does what it should."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.previous: Params | None = None

    def update(self, grads: Params, gamma: float) -> None:
        super().update(grads, gamma)
        self.previous = grads


class PresentWeights(Healthy):
    """Goes back through the weights of now, not through those that the batch's forward pass used."""

    def backward(self, batch: int, dy: Array) -> tuple[Array | None, Params]:
        self.queue[0] = self.queue[0]._replace(params=self.params)
        return super().backward(batch, dy)


class OverwrittenStash(Healthy):
    """Updates in place: batches in flight refer to arrays that change under them."""

    def update(self, grads: Params, gamma: float) -> None:
        old = self.params
        super().update(grads, gamma)
        for name, array in self.params.items():
            old[name][...] = array
        self.params = old


class WrongBatch(Healthy):
    """Pairs an error gradient with the newest batch in flight."""

    def backward(self, batch: int, dy: Array) -> tuple[Array | None, Params]:
        self.queue.appendleft(self.queue.pop()._replace(number=batch))
        self.caches.appendleft(self.caches.pop())
        return super().backward(batch, dy)


class OldGradientAgain(Healthy):
    """Every update but the first takes the gradient of the update before it."""

    def update(self, grads: Params, gamma: float) -> None:
        super().update(grads if self.previous is None else self.previous, gamma)
        self.previous = grads


SUSPECTS: dict[str, type[Module]] = {
    "healthy": Healthy,
    "present weights": PresentWeights,
    "overwritten stash": OverwrittenStash,
    "wrong batch": WrongBatch,
    "old gradient again": OldGradientAgain,
}
for suspect in SUSPECTS.values():
    suspect.__name__ = suspect.__qualname__ = Module.__name__
    suspect.__doc__ = Module.__doc__


def disguised(module: Module, name: str) -> Module:
    """A module with the layers and weights of the given one, and the behaviour of the suspect."""
    of = module
    return SUSPECTS[name](of.k, of.K, of.method, of.layers, of.params, of.stats, of.optimizer)
