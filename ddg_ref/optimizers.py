"""Optimizers: (weights, gradients, state, step size) -> new weights, new state. Nothing is written in place.

Because an update makes new arrays, whoever still holds the old ones holds the weights of that time: a batch in flight
keeps the weights its forward pass used just by referring to them.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from math import sqrt

from ddg_ref.arrays import Array, Params, xp_of
from ddg_ref.errors import InputError


@dataclass(frozen=True)
class OptimizerState:
    """The optimizer's own count of steps, and its moments: slot -> parameter -> array of the parameter's shape."""

    step: int = 0
    slots: dict[str, Params] = field(default_factory=dict)


class Optimizer(ABC):
    """Works on each array for itself, so cutting a network into modules does not change what it does."""

    slots: tuple[str, ...] = ()
    weight_decay: float

    def init(self, params: Params) -> OptimizerState:
        """Zero moments."""
        zeros = {slot: {name: xp_of(w).zeros_like(w) for name, w in params.items()} for slot in self.slots}
        return OptimizerState(0, zeros)

    @abstractmethod
    def direction(self, g: Array, moments: list[Array], step: int) -> tuple[Array, list[Array]]:
        """What gamma multiplies, and the new moments, for gradient `g` in the optimizer's `step` = 1, 2, ..."""

    def update(
        self, params: Params, grads: Params, state: OptimizerState, gamma: float
    ) -> tuple[Params, OptimizerState]:
        """w - gamma * direction for every array; `params`, `grads` and `state` are left as they were."""
        gamma = float(gamma)  # a NumPy scalar would widen float32 weights
        new_params: Params = {}
        new_slots: dict[str, Params] = {slot: {} for slot in self.slots}
        for name, w in params.items():
            g = grads[name] + self.weight_decay * w if self.weight_decay else grads[name]
            direction, moments = self.direction(g, [state.slots[slot][name] for slot in self.slots], state.step + 1)
            step = gamma * direction
            new_params[name] = xp_of(w).subtract(w, step, out=step)
            for slot, moment in zip(self.slots, moments, strict=True):
                new_slots[slot][name] = moment
        return new_params, OptimizerState(state.step + 1, new_slots)


class SGD(Optimizer):
    """v <- momentum v + g, w <- w - gamma v; with Nesterov's look-ahead w <- w - gamma (g + momentum v).

    g includes weight_decay * w. The default momentum is that of the paper's experiments; 0 is plain SGD.
    Sutskever, Martens, Dahl, Hinton, ICML 2013, in the form that keeps gamma outside v.
    """

    def __init__(self, *, momentum: float = 0.9, nesterov: bool = False, weight_decay: float = 0.0) -> None:
        if not 0 <= momentum < 1:
            raise InputError(f"momentum: expected a number in [0, 1), got {momentum}; 0.9 is usual")
        if nesterov and not momentum:
            raise InputError("nesterov: expected momentum > 0, got 0; give a momentum, 0.9 is usual")
        self.momentum, self.nesterov, self.weight_decay = float(momentum), nesterov, _decay(weight_decay)
        self.slots = ("velocity",) if momentum else ()

    def direction(self, g: Array, moments: list[Array], step: int) -> tuple[Array, list[Array]]:
        if not moments:
            return g, []
        velocity = self.momentum * moments[0] + g
        return (g + self.momentum * velocity if self.nesterov else velocity), [velocity]


class Adam(Optimizer):
    """m <- b1 m + (1-b1) g, v <- b2 v + (1-b2) g^2, w <- w - gamma m_hat / (sqrt(v_hat) + eps).

    m_hat = m/(1-b1^n), v_hat = v/(1-b2^n) at the module's own step n. Kingma, Ba, ICLR 2015, Algorithm 1.
    """

    slots = ("first_moment", "second_moment")

    def __init__(
        self, *, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8, weight_decay: float = 0.0
    ) -> None:
        for name, beta in (("beta1", beta1), ("beta2", beta2)):
            if not 0 <= beta < 1:
                raise InputError(f"{name}: expected a number in [0, 1), got {beta}; 0.9 and 0.999 are usual")
        if not 0 < eps < float("inf"):
            raise InputError(f"eps: expected a finite number > 0, got {eps}; 1e-8 is usual")
        self.beta1, self.beta2, self.eps = float(beta1), float(beta2), float(eps)
        self.weight_decay = _decay(weight_decay)

    def direction(self, g: Array, moments: list[Array], step: int) -> tuple[Array, list[Array]]:
        m = self.beta1 * moments[0] + (1 - self.beta1) * g
        v = self.beta2 * moments[1] + (1 - self.beta2) * (g * g)
        deviation = xp_of(v).sqrt(v) * (1 / sqrt(1 - self.beta2**step))
        return m * (1 / (1 - self.beta1**step)) / (deviation + self.eps), [m, v]


def _decay(weight_decay: float) -> float:
    if not 0 <= weight_decay < float("inf"):
        raise InputError(f"weight_decay: expected a finite number >= 0, got {weight_decay}; 5e-4 is usual")
    return float(weight_decay)


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam}
