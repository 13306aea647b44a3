"""Step-size sequences gamma_0, gamma_1, .."""

from __future__ import annotations

import numpy as np

from theory.checks import integer, positive
from theory.problems import Array

KINDS = ("constant", "harmonic", "nonincreasing", "arbitrary", "falling")


def step_sizes(kind: str, gamma: float, count: int, seed: int = 0) -> Array:
    """`count` steps of the given kind, the largest being `gamma` at most: float64 (count,).

    constant: gamma. harmonic: gamma/(1+t) (Theorem 2 of the paper). nonincreasing: a random decreasing walk.
    arbitrary: independent between gamma/100 and gamma, on a log scale. falling: gamma in the first half, gamma/1000 in
    the second.
    """
    positive("gamma", gamma)
    integer("count", count, 1)
    rng = np.random.default_rng(seed)
    if kind == "constant":
        return np.full(count, gamma)
    if kind == "harmonic":
        return gamma / (1.0 + np.arange(count))
    if kind == "nonincreasing":
        return gamma * np.cumprod(rng.choice([1.0, 0.9, 0.5], size=count, p=[0.5, 0.3, 0.2]))
    if kind == "falling":
        return gamma * np.where(2 * np.arange(count) < count, 1.0, 0.001)
    if kind == "arbitrary":
        return np.asarray(gamma * 100.0 ** -rng.uniform(size=count))
    raise ValueError(f"steps: expected one of {', '.join(KINDS)}, got {kind!r}; pick one of these")
