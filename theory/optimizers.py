"""Update rules that work block by block; each block counts its own steps.

A rule turns (state, t, w_k, g_k) into (new state, new w_k). `t` is the iteration in which the update happens,
which is what a step-size schedule reads in the algorithm as published; momentum, Nesterov and Adam count
their own steps and ignore it. Arrays have the shape of the block, (R, d_k), and are never written into.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from theory.checks import nonnegative, positive
from theory.problems import Array
from theory.symbols import momentum, steps

State: TypeAlias = tuple[Any, ...]


class Rule(Protocol):
    """What DDG asks of an optimizer."""

    def start(self, w: Array) -> State:
        """The state before the first update of this block."""

    def step(self, state: State, t: int, w: Array, g: Array) -> tuple[State, Array]:
        """One update: new state, new weights."""


@dataclass(frozen=True)
class SGD:
    """w - gammas[t] g: the paper's rule, on the clock of the iteration."""

    gammas: Array

    def __post_init__(self) -> None:
        steps("gamma", self.gammas)

    def start(self, w: Array) -> State:
        return ()

    def step(self, state: State, t: int, w: Array, g: Array) -> tuple[State, Array]:
        return (), w - self.gammas[t] * g


@dataclass(frozen=True)
class Momentum:
    """v <- mu v + g + decay w; w - gamma v, or w - gamma (g + decay w + mu v) for Nesterov's look-ahead."""

    gamma: float
    mu: float = 0.9
    decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        positive("gamma", self.gamma)
        nonnegative("mu", self.mu)
        nonnegative("decay", self.decay)

    def start(self, w: Array) -> State:
        return (np.zeros_like(w),)

    def step(self, state: State, t: int, w: Array, g: Array) -> tuple[State, Array]:
        g = g + self.decay * w
        v = self.mu * state[0] + g
        return (v,), w - self.gamma * (g + self.mu * v if self.nesterov else v)


@dataclass(frozen=True)
class ScheduledMomentum:
    """`Momentum` whose velocity is multiplied by gammas[t], on the clock of the iteration, as in ddg_ref."""

    gammas: Array
    mu: float
    decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        steps("gamma", self.gammas)

    def start(self, w: Array) -> State:
        return (np.zeros_like(w),)

    def step(self, state: State, t: int, w: Array, g: Array) -> tuple[State, Array]:
        return Momentum(float(self.gammas[t]), self.mu, self.decay, self.nesterov).step(state, t, w, g)


@dataclass(frozen=True)
class Adam:
    """Kingma and Ba, ICLR 2015, Algorithm 1."""

    gamma: float
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        positive("gamma", self.gamma)
        positive("eps", self.eps)
        for name in ("beta1", "beta2"):
            momentum(name, getattr(self, name))

    def start(self, w: Array) -> State:
        return 0, np.zeros_like(w), np.zeros_like(w)

    def step(self, state: State, t: int, w: Array, g: Array) -> tuple[State, Array]:
        count, mean, square = state
        count += 1
        mean = self.beta1 * mean + (1 - self.beta1) * g
        square = self.beta2 * square + (1 - self.beta2) * g * g
        corrected = np.sqrt(square / (1 - self.beta2**count)) + self.eps
        return (count, mean, square), w - self.gamma * (mean / (1 - self.beta1**count)) / corrected
