"""Optimizers: (weights, gradients, state, step size) -> new weights, new state. Nothing is written in place.

Because an update makes new arrays, whoever still holds the old ones holds the weights of that time: a batch in flight
keeps the weights its forward pass used just by referring to them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from math import pow, prod, sqrt

import numpy as np

from ddg_ref.arrays import Array, Fused, Params, for_each, xp_of
from ddg_ref.errors import InputError


@dataclass(frozen=True)
class OptimizerState:
    """The optimizer's own count of steps, and its moments: slot -> parameter -> array of the parameter's shape."""

    step: int = 0
    slots: dict[str, Params] = field(default_factory=dict)

    def placed(self, place: Callable[[Array], Array]) -> "OptimizerState":
        """The same, with all its arrays where `place` puts them."""
        slots = {slot: {name: place(array) for name, array in arrays.items()} for slot, arrays in self.slots.items()}
        return OptimizerState(self.step, slots)


class Optimizer(ABC):
    """Works on each number for itself, so cutting a network into modules does not change what it does."""

    slots: tuple[str, ...] = ()
    weight_decay: float

    def init(self, params: Params) -> OptimizerState:
        """Zero moments."""
        zeros = {slot: {name: xp_of(w).zeros_like(w) for name, w in params.items()} for slot in self.slots}
        return OptimizerState(0, zeros)

    @abstractmethod
    def step(self, w: Array, g: Array, moments: list[Array], n: int, gamma: float) -> tuple[Array, ...]:
        """New weights and new moments of an array with gradient `g`, in the optimizer's step n = 1, 2, ..."""

    def update(
        self, params: Params, grads: Params, state: OptimizerState, gamma: float
    ) -> tuple[Params, OptimizerState]:
        """w - gamma * direction for every array; `params`, `grads` and `state` are left as they were."""
        gamma, n = float(gamma), state.step + 1  # a NumPy scalar would widen float32 weights
        new_params, *moments = for_each(
            params,
            lambda w, g, *moments: self.step(w, g, list(moments), n, gamma),
            grads,
            *(state.slots[slot] for slot in self.slots),
            results=1 + len(self.slots),
        )
        return new_params, OptimizerState(n, dict(zip(self.slots, moments, strict=True)))

    def ahead(self, params: Params, state: OptimizerState, d: int, gamma: float) -> Params:
        """The weights after d more updates with step size `gamma`, if the loss gives no gradient any more: the moments
        and weight decay go on. `params` and `state` are left as they were.
        """
        for _ in range(d):
            zeros = {name: xp_of(w).zeros_like(w) for name, w in params.items()}
            params, state = self.update(params, zeros, state, gamma)
        return params


def decayed(w: Array, g: Array, decay: float) -> Array:
    """A gradient with that of weight decay."""
    return g + decay * w if decay else g


def moved_by(w: Array, direction: Array, gamma: float) -> Array:
    """w - gamma direction."""
    step = gamma * direction
    moved: Array = np.subtract(w, step, out=step)
    return moved


@Fused
def plain_step(w: Array, g: Array, gamma: float, decay: float) -> Array:
    """SGD without momentum."""
    return moved_by(w, decayed(w, g, decay), gamma)


@Fused
def momentum_step(
    w: Array, g: Array, velocity: Array, gamma: float, decay: float, momentum: float
) -> tuple[Array, Array]:
    """SGD with momentum: new weights and velocity."""
    velocity = momentum * velocity + decayed(w, g, decay)
    return moved_by(w, velocity, gamma), velocity


@Fused
def nesterov_step(
    w: Array, g: Array, velocity: Array, gamma: float, decay: float, momentum: float
) -> tuple[Array, Array]:
    """SGD with Nesterov's form of momentum: new weights and velocity."""
    g = decayed(w, g, decay)
    velocity = momentum * velocity + g
    return moved_by(w, g + momentum * velocity, gamma), velocity


def moments_of(
    m: Array, v: Array, g: Array, beta1: float, rest1: float, beta2: float, rest2: float
) -> tuple[Array, Array]:
    """The first and second moment with g in them; rest = 1 - beta."""
    return beta1 * m + rest1 * g, beta2 * v + rest2 * (g * g)


@Fused
def adam_step(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    gamma: float,
    decay: float,
    beta1: float,
    rest1: float,
    beta2: float,
    rest2: float,
    correct1: float,
    correct2: float,
    eps: float,
) -> tuple[Array, Array, Array]:
    """Adam: new weights and moments. correct1 makes m_hat of m, correct2 the root of v_hat of v's."""
    m, v = moments_of(m, v, decayed(w, g, decay), beta1, rest1, beta2, rest2)
    return moved_by(w, m * correct1 / (np.sqrt(v) * correct2 + eps), gamma), m, v


@Fused
def nadam_step(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    gamma: float,
    decay: float,
    beta1: float,
    rest1: float,
    beta2: float,
    rest2: float,
    share_m: float,
    share_g: float,
    correct2: float,
    eps: float,
) -> tuple[Array, Array, Array]:
    """NAdam: as `adam_step`, but m_hat is made of m and of g itself."""
    g = decayed(w, g, decay)
    m, v = moments_of(m, v, g, beta1, rest1, beta2, rest2)
    return moved_by(w, (m * share_m + g * share_g) / (np.sqrt(v) * correct2 + eps), gamma), m, v


@Fused
def combined(w: Array, velocity: Array, of_w: float, of_velocity: float) -> Array:
    """of_w w + of_velocity velocity."""
    return of_w * w + of_velocity * velocity


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

    def step(self, w: Array, g: Array, moments: list[Array], n: int, gamma: float) -> tuple[Array, ...]:
        if not moments:
            return (plain_step(w, g, gamma, self.weight_decay),)
        step = nesterov_step if self.nesterov else momentum_step
        return step(w, g, moments[0], gamma, self.weight_decay, self.momentum)

    def ahead(self, params: Params, state: OptimizerState, d: int, gamma: float) -> Params:
        """w - gamma (m + m^2 + ... + m^d) v, m times that with Nesterov's look-ahead, both less what decays.

        All at once: without a gradient a step is linear in (w, v), so what d of them make of (1, 0) and of (0, 1) tells
        what they make of everything.
        """
        if d == 0 or not (self.slots or self.weight_decay):
            return params
        w, moments = np.array([1.0, 0.0]), [np.array([0.0, 1.0]) for _ in self.slots]
        for n in range(1, d + 1):
            w, *moments = self.step(w, np.zeros(2), moments, n, float(gamma))
        of_w, of_velocity = w.tolist()
        velocity = state.slots.get("velocity", params)  # without one, nothing of it
        return for_each(params, lambda w, v: (combined(w, v, of_w, of_velocity),), velocity)[0]


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
        self._betas = self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2
        self.weight_decay = _decay(weight_decay)

    def step(self, w: Array, g: Array, moments: list[Array], n: int, gamma: float) -> tuple[Array, ...]:
        correct1, correct2 = 1 / (1 - self.beta1**n), 1 / sqrt(1 - self.beta2**n)
        m, v = moments
        return adam_step(w, g, m, v, gamma, self.weight_decay, *self._betas, correct1, correct2, self.eps)


MOMENTUM_DECAY = 0.004
"""How fast NAdam's mu rises, from half of beta1 to beta1, as in PyTorch."""


class NAdam(Adam):
    """Adam with Nesterov's look-ahead: m_hat = mu_{n+1} m / (1 - mu_1...mu_{n+1}) + (1 - mu_n) g / (1 - mu_1...mu_n).

    mu_n = beta1 (1 - 0.96^(0.004 n) / 2) at the module's own step n. Dozat, ICLR workshop 2016, as `torch.optim.NAdam`
    has it; the betas are those of Ajanthan et al., ICML 2025, who train with it and delayed gradients.
    """

    def __init__(
        self, *, beta1: float = 0.99, beta2: float = 0.999, eps: float = 1e-8, weight_decay: float = 0.0
    ) -> None:
        super().__init__(beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay)

    def step(self, w: Array, g: Array, moments: list[Array], n: int, gamma: float) -> tuple[Array, ...]:
        share_m, share_g = self._mu(n + 1) / (1 - self._product(n + 1)), (1 - self._mu(n)) / (1 - self._product(n))
        m, v = moments
        correct2 = 1 / sqrt(1 - self.beta2**n)
        return nadam_step(w, g, m, v, gamma, self.weight_decay, *self._betas, share_m, share_g, correct2, self.eps)

    def _mu(self, n: int) -> float:
        return self.beta1 * (1 - 0.5 * pow(0.96, MOMENTUM_DECAY * n))

    def _product(self, n: int) -> float:
        """mu_1 ... mu_n. Each of the first hundred is at most 0.51: what follows on them no longer shows in 1 - it."""
        return prod(map(self._mu, range(1, min(n, 100) + 1)))


def _decay(weight_decay: float) -> float:
    if not 0 <= weight_decay < float("inf"):
        raise InputError(f"weight_decay: expected a finite number >= 0, got {weight_decay}; 5e-4 is usual")
    return float(weight_decay)


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "nadam": NAdam}
