"""Random members of each problem family, from (K, n, seed) alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from theory.checks import integer
from theory.network import SquashedNetwork
from theory.problems import RIDGES, Array, Logistic, Problem, Quadratic, RidgeSum


def zero_mean(rows: Array) -> Array:
    """Subtract the column means; one row becomes zero."""
    return np.asarray(rows - rows.mean(axis=0))


def ridge_sum(ridge: str, noise: float, K: int, n: int, rng: np.random.Generator) -> RidgeSum:
    """Six ridges over random directions in R^d, d >= 6; coefficients of either sign whose means are
    positive."""
    d = max(K, 6)
    directions = rng.normal(size=(6, d)) / np.sqrt(d)
    coefficients = zero_mean(rng.normal(size=(n, 6))) + rng.uniform(0.1, 1.0, size=6)
    tilt = noise * zero_mean(rng.normal(size=(n, d)))
    return RidgeSum(ridge, directions, coefficients, tilt, K)


def logistic(K: int, n: int, rng: np.random.Generator) -> Logistic:
    """Features in [-1, 1]^d, both labels, a penalty heavy enough to make f nonconvex."""
    return Logistic(rng.uniform(-1, 1, size=(n, max(K, 5))), rho=0.3, K_blocks=K)


def quadratic(K: int, n: int, rng: np.random.Generator) -> Quadratic:
    """A random positive semidefinite H (of full or low rank) that couples every block, and zero-mean linear
    noise."""
    d = max(K, 4)
    root = rng.normal(size=(d, int(rng.integers(1, d + 1))))
    return Quadratic(root @ root.T / d, zero_mean(rng.normal(size=(n, d))), K)


def network(K: int, n: int, rng: np.random.Generator) -> SquashedNetwork:
    """K layers of two tanh units with squashed weights on inputs and targets in [-1, 1]^2."""
    return SquashedNetwork((2,) * (K + 1), rng.uniform(-1, 1, (n, 2)), rng.uniform(-1, 1, (n, 2)))


Builder = Callable[[int, int, np.random.Generator], Problem]


def _ridge_builder(ridge: str, noise: float) -> Builder:
    return lambda K, n, rng: ridge_sum(ridge, noise, K, n, rng)


FAMILIES: dict[str, Builder] = {
    **{ridge: _ridge_builder(ridge, 0.0) for ridge in RIDGES},
    **{f"{ridge}+noise": _ridge_builder(ridge, 0.5) for ridge in RIDGES},
    "logistic": logistic,
    "network": network,
    "quadratic": quadratic,
}
BOUNDED_FAMILIES = tuple(name for name in FAMILIES if name != "quadratic")
"""The families whose gradients are bounded (Assumption 2 of the paper)."""


def make_problem(family: str, K: int, n: int, seed: int) -> Problem:
    """The member of `family` with K blocks and n samples that `seed` determines."""
    integer("K", K, 1)
    integer("n", n, 1)
    if family not in FAMILIES:
        raise ValueError(f"family: expected one of {', '.join(FAMILIES)}, got {family!r}; pick one of these")
    return FAMILIES[family](K, n, np.random.default_rng(seed))
