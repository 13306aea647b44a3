"""Problem families: random members, from (K, n, seed) alone; and functions of module 1, which bounds fear most."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from theory.checks import integer
from theory.network import SquashedNetwork
from theory.problems import RIDGES, Array, Logistic, Problem, Quadratic, Radial, RidgeSum


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


def first_quadratic(K: int, n: int, rng: np.random.Generator) -> Quadratic:
    """f = w_1^2/2, one coordinate per module: the step and its delay, and nothing else."""
    return Quadratic(np.diag(np.eye(1, K)[0]), np.zeros((n, K)), K)


def first_huber(K: int, n: int, rng: np.random.Generator) -> RidgeSum:
    """f = h(w_1), Huber's h, one coordinate per module: w_1^2/2 near 0, and |w_1| as far as w^0 likes."""
    return RidgeSum("huber", np.eye(1, K), np.ones((n, 1)), np.zeros((n, K)), K)


def first_circle(K: int, n: int, rng: np.random.Generator) -> Radial:
    """f = h(||w_1||), w_1 in R^2, but for a little of module K, which takes the path off its line through 0.

    For gamma L above 2 sin(pi/(2(2K-1))) the path settles on a circle, where the gradient is as long as any.
    """
    B = np.zeros((2, 2 * K))
    B[:, :2] = [[0.96, -0.28], [0.28, 0.96]]  # a rotation, so that w^0 along the first axis lies across
    B[1, -1] += 0.1
    return Radial(B, n, K)


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
FIRST_MODULE: dict[str, Builder] = {
    "first-quadratic": first_quadratic,
    "first-huber": first_huber,
    "first-circle": first_circle,
}
"""Functions of the most delayed module, n samples alike, w^0 on its first axis: never drawn, named by `adversaries`."""
BOUNDED_FAMILIES = tuple(name for name in FAMILIES if name != "quadratic")
"""The families whose gradients are bounded (Assumption 2 of the paper)."""


def make_problem(family: str, K: int, n: int, seed: int) -> Problem:
    """The member of `family` with K blocks and n samples that `seed` determines."""
    integer("K", K, 1)
    integer("n", n, 1)
    known = FAMILIES | FIRST_MODULE
    if family not in known:
        raise ValueError(f"family: expected one of {', '.join(known)}, got {family!r}; pick one of these")
    return known[family](K, n, np.random.default_rng(seed))


def direction(family: str, d: int, seed: int) -> Array:
    """Where w^0 lies, seen from 0, (d,): the first axis for a function of module 1, else normal random."""
    if family in FIRST_MODULE:
        return np.asarray(np.eye(1, d)[0])
    return np.random.default_rng([seed, 1]).normal(size=d)
