"""Step sizes gamma_t as functions of the iteration t = 0, 1, ... at which the step is taken.

Every module reads the clock of the current iteration, as the algorithm is published: the gradient of batch s, applied
by module k at t = s + d_k, is scaled by gamma_t.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import TypeAlias

from ddg_ref.errors import InputError

StepSizes: TypeAlias = Callable[[int], float]


@dataclass(frozen=True)
class Constant:
    """gamma_t = gamma."""

    gamma: float

    def __call__(self, t: int) -> float:
        return self.gamma


@dataclass(frozen=True)
class MultiStep:
    """gamma_t = gamma * factor^(number of milestones <= t); milestones are iterations."""

    gamma: float
    milestones: tuple[int, ...]
    factor: float = 0.1

    def __post_init__(self) -> None:
        if not self.milestones or list(self.milestones) != sorted(set(self.milestones)) or self.milestones[0] < 1:
            raise InputError(
                f"milestones: expected increasing numbers from 1 on, got {list(self.milestones)}; sort them"
            )

    def __call__(self, t: int) -> float:
        return self.gamma * self.factor ** sum(t >= milestone for milestone in self.milestones)


@dataclass(frozen=True)
class Harmonic:
    """gamma_t = gamma / (1 + t/period); the paper's Theorem 2 has period 1."""

    gamma: float
    period: float = 1

    def __call__(self, t: int) -> float:
        return self.gamma / (1 + t / self.period)


@dataclass(frozen=True)
class InverseSqrt:
    """gamma_t = gamma / sqrt(1 + t/period)."""

    gamma: float
    period: float = 1

    def __call__(self, t: int) -> float:
        return self.gamma / sqrt(1 + t / self.period)


@dataclass(frozen=True)
class WarmUp:
    """`steps`, scaled up linearly from 1/iterations to 1 during the first `iterations` iterations."""

    steps: StepSizes
    iterations: int

    def __call__(self, t: int) -> float:
        return self.steps(t) * min(1.0, (t + 1) / self.iterations)
