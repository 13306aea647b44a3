"""What goes wrong in pipelines that people write, each as a change of the reference.

A fault says how a run differs from its method's row; all that it does not say stays as it was. Several in one run are
asked one after the other.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ddg_ref.arrays import Array, Params, added
from ddg_ref.methods import Method
from ddg_ref.optimizers import SGD, Optimizer
from ddg_ref.schedules import Action, Schedule, parts


class Fault:
    """Nothing is wrong. `k` counts modules from 1, `batch` and `t` from 0."""

    text: str

    def row(self, row: Method, k: int, K: int) -> Method:
        """What module k follows."""
        return row

    def optimizer(self, optimizer: Optimizer) -> Optimizer:
        """What all modules update with."""
        return optimizer

    def clock(self, t: int, batch: int) -> int:
        """The iteration whose step size the gradient of `batch` is given, when it is applied in iteration t."""
        return t

    def count(self, t: int, steps: int) -> int:
        """How many steps the optimizer believes to have made before iteration t, where it has made so many."""
        return steps

    def share(self, part: int, sizes: list[int]) -> float:
        """What the gradient of a part of a batch is multiplied by."""
        return 1.0

    def applied(self, k: int, batch: int, grads: Params, memory: dict[str, Any]) -> list[Params]:
        """What is applied when the gradient of `batch` is there, one update each. `memory` is module k's."""
        return [grads]

    def idle(self, t: int, delay: int, end: int, params: Params, first: Callable[[], Params]) -> Params | None:
        """What a module with these `params` applies in an iteration in which it has no gradient.

        `delay` iterations pass before it has one, from `end` on it has none any more. `first()` is that of batch 0 at
        the initial weights.
        """
        return None

    @property
    def drains(self) -> bool:
        """Whether the gradients in flight after the last batch are applied."""
        return True

    def statistics(self, old: Params, new: Params, advance: Callable[[Params], Params]) -> Params:
        """The running statistics after a batch has moved them from `old` to `new`."""
        return new


# Delays and weights


@dataclass(frozen=True)
class Shifted:
    """A schedule with other delays; hashable, so that what follows from it is computed once.

    Module K, to whose right lies the loss, goes back at once and keeps the gradient for so long: with the weights of
    its forward pass that is the same.
    """

    delays: tuple[int, ...]

    def __call__(self, k: int, K: int, t: int, M: int) -> list[Action]:
        batch = t - self.delays[k - 1]
        back = t if k == K else batch
        return [*(Action("F", n) for n in parts(t, M)), *(Action("B", n) for n in parts(back, M)), Action("U", batch)]


@dataclass(frozen=True)
class OtherDelay(Fault):
    """Some modules go back later or earlier than they should."""

    modules: tuple[int, ...]
    by: int
    delays: tuple[int, ...]
    """Of all modules, as they become."""

    def row(self, row: Method, k: int, K: int) -> Method:
        schedule: Schedule = Shifted(self.delays)
        return replace(row, schedule=schedule)

    @property
    def text(self) -> str:  # type: ignore[override]
        late = "longer" if self.by > 0 else "shorter"
        return f"the delay of {_modules(self.modules)} {abs(self.by)} iteration{'s' * (abs(self.by) > 1)} {late}"


@dataclass(frozen=True)
class CurrentWeights(Fault):
    """A module goes back with its weights of the moment."""

    modules: tuple[int, ...]

    def row(self, row: Method, k: int, K: int) -> Method:
        return replace(row, weights="current") if k in self.modules else row

    @property
    def text(self) -> str:  # type: ignore[override]
        return f"the weights of the moment in the backward pass of {_modules(self.modules)}"


# Single gradients


def zeros_like(grads: Params) -> Params:
    return {name: np.zeros_like(g) for name, g in grads.items()}


@dataclass(frozen=True)
class OneGradient(Fault):
    """Something happens to the gradient of one batch, in one module, or in all (None)."""

    module: int | None
    batch: int

    what = ""

    def applied(self, k: int, batch: int, grads: Params, memory: dict[str, Any]) -> list[Params]:
        if self.module not in (None, k):
            return [grads]
        before, memory["before"] = memory.get("before"), grads
        return self.change(batch - self.batch, grads, before)

    def change(self, late: int, grads: Params, before: Params | None) -> list[Params]:
        """What is applied when the gradient of the batch so much later than the one is there; `before` came last."""
        raise NotImplementedError

    @property
    def text(self) -> str:  # type: ignore[override]
        where = _modules(() if self.module is None else (self.module,))
        return f"the gradient of batch {self.batch} {self.what} in {where}"


class Dropped(OneGradient):
    """It is lost, and nothing is updated."""

    what = "dropped"

    def change(self, late: int, grads: Params, before: Params | None) -> list[Params]:
        return [] if late == 0 else [grads]


class Zeroed(OneGradient):
    """It is zero: the optimizer makes its step all the same."""

    what = "zero"

    def change(self, late: int, grads: Params, before: Params | None) -> list[Params]:
        return [zeros_like(grads)] if late == 0 else [grads]


class Doubled(OneGradient):
    """It is added twice, to one update."""

    what = "counted twice"

    def change(self, late: int, grads: Params, before: Params | None) -> list[Params]:
        return [added(grads, grads)] if late == 0 else [grads]


class Twice(OneGradient):
    """It is applied in two updates."""

    what = "applied in two updates"

    def change(self, late: int, grads: Params, before: Params | None) -> list[Params]:
        return [grads, grads] if late == 0 else [grads]


class Swapped(OneGradient):
    """It comes after the next one."""

    what = "applied after that of the next batch"

    def change(self, late: int, grads: Params, before: Params | None) -> list[Params]:
        if late == 0:
            return []
        return [grads, before] if late == 1 and before is not None else [grads]


class Repeated(OneGradient):
    """In its place that of the batch before is applied once more."""

    what = "replaced by that of the batch before"

    def change(self, late: int, grads: Params, before: Params | None) -> list[Params]:
        return [before] if late == 0 and before is not None else [grads]


SINGLE: tuple[type[OneGradient], ...] = (Dropped, Zeroed, Doubled, Twice, Swapped, Repeated)


# Sums and means


@dataclass(frozen=True)
class Scaled(Fault):
    """A sum where there should be a mean, or the other way round."""

    factor: float
    text: str

    def share(self, part: int, sizes: list[int]) -> float:
        return self.factor


@dataclass(frozen=True)
class PartsAlike(Fault):
    """Each part's own mean has the same weight, however many samples it has."""

    text = "every micro-batch counts alike, whatever its number of samples"

    def share(self, part: int, sizes: list[int]) -> float:
        return sum(sizes) / len(sizes) / sizes[part]


# Clocks


@dataclass(frozen=True)
class OwnClock(Fault):
    """The step size is that of the iteration in which the batch went forward."""

    text = "step sizes by the number of updates, not by the iteration"

    def clock(self, t: int, batch: int) -> int:
        return batch


@dataclass(frozen=True)
class ShiftedClock(Fault):
    """The step size of another iteration."""

    by: int

    def clock(self, t: int, batch: int) -> int:
        return max(0, t + self.by)

    @property
    def text(self) -> str:  # type: ignore[override]
        return f"step sizes of the iteration {'after' if self.by > 0 else 'before'}"


@dataclass(frozen=True)
class CountedIterations(Fault):
    """Adam's own count of steps is that of iterations."""

    text = "the optimizer's steps counted by iterations, not by updates"

    def count(self, t: int, steps: int) -> int:
        return t


# Beginning and end


@dataclass(frozen=True)
class NoDrain(Fault):
    """It stops with the last batch."""

    text = "no drain: the gradients in flight after the last batch are never applied"

    @property
    def drains(self) -> bool:
        return False


@dataclass(frozen=True)
class ZeroWarmUp(Fault):
    """Before a module has its first gradient it makes steps with zero."""

    text = "warm-up updates with gradients of zero"

    def idle(self, t: int, delay: int, end: int, params: Params, first: Callable[[], Params]) -> Params | None:
        return zeros_like(params) if t < delay else None


@dataclass(frozen=True)
class ZeroDrain(Fault):
    """While others still drain, a module makes steps with zero."""

    text = "updates with gradients of zero while other modules drain"

    def idle(self, t: int, delay: int, end: int, params: Params, first: Callable[[], Params]) -> Params | None:
        return zeros_like(params) if t >= end else None


@dataclass(frozen=True)
class WrongWarmUp(Fault):
    """Before a module has its first gradient it applies that of batch 0."""

    text = "warm-up updates with the gradient of batch 0"

    def idle(self, t: int, delay: int, end: int, params: Params, first: Callable[[], Params]) -> Params | None:
        return first() if t < delay else None


# Optimizers


class Decoupled(Optimizer):
    """Weight decay beside the gradient, as AdamW has it: w <- w - gamma (direction + decay w)."""

    def __init__(self, inner: Optimizer) -> None:
        self.weight_decay, self._inner, self.slots = inner.weight_decay, without_decay(inner), inner.slots

    def step(self, w: Array, g: Array, moments: list[Array], n: int, gamma: float) -> tuple[Array, ...]:
        moved, *moments = self._inner.step(w, g, moments, n, gamma)
        return (moved - gamma * self.weight_decay * w, *moments)


class StepInside(SGD):
    """The step size inside the velocity: v <- momentum v + gamma g, w <- w - v."""

    def step(self, w: Array, g: Array, moments: list[Array], n: int, gamma: float) -> tuple[Array, ...]:
        velocity = self.momentum * moments[0] + gamma * (g + self.weight_decay * w)
        return w - velocity, velocity


def without_decay(optimizer: Optimizer) -> Optimizer:
    other: Optimizer = object.__new__(type(optimizer))
    vars(other).update(vars(optimizer) | {"weight_decay": 0.0})
    return other


@dataclass(frozen=True)
class OtherOptimizer(Fault):
    """Another update rule."""

    change: Callable[[Optimizer], Optimizer]
    text: str

    def optimizer(self, optimizer: Optimizer) -> Optimizer:
        return self.change(optimizer)


NO_DECAY = OtherOptimizer(without_decay, "weight decay forgotten")
DECOUPLED = OtherOptimizer(Decoupled, "weight decay apart from the gradient, as AdamW has it")
NO_MOMENTUM = OtherOptimizer(lambda old: SGD(momentum=0, weight_decay=old.weight_decay), "momentum forgotten")
INSIDE = OtherOptimizer(
    lambda old: StepInside(momentum=vars(old)["momentum"], weight_decay=old.weight_decay),
    "the step size inside the velocity",
)


# Running statistics


@dataclass(frozen=True)
class StaleStatistics(Fault):
    """The running statistics never move."""

    text = "running statistics that no batch moves"

    def statistics(self, old: Params, new: Params, advance: Callable[[Params], Params]) -> Params:
        return old


@dataclass(frozen=True)
class StatisticsTwice(Fault):
    """A batch that goes forward again, to go back, counts again."""

    text = "every batch counted twice in the running statistics"

    def statistics(self, old: Params, new: Params, advance: Callable[[Params], Params]) -> Params:
        return advance(new)


def _modules(modules: tuple[int, ...]) -> str:
    if not modules:
        return "all modules"
    return f"module{'s' * (len(modules) > 1)} {', '.join(map(str, modules))}"
