"""Linear stability of DDG with exact gradients on f(w) = <w, H w>/2."""

from __future__ import annotations

import numpy as np

from theory.delayed import Iteration
from theory.optimizers import SGD
from theory.problems import Array, Quadratic


def transition(H: Array, blocks: tuple[slice, ...], gamma: float) -> Array:
    """The matrix that maps (w^t, w^{t-1}, .., w^{t-K+1}) to the next such vector: (Kd, Kd) float64."""
    K, d = len(blocks), len(H)
    matrix = np.eye(K * d, k=-d)
    matrix[:d, :d] = np.eye(d)
    for k, block in enumerate(blocks, start=1):
        late = slice((K - k) * d, (K - k + 1) * d)
        matrix[block, late] -= gamma * H[block]
    return matrix


def deviation(H: Array, blocks: tuple[slice, ...], gamma: float, iteration: Iteration) -> float:
    """How far the powers of `transition` are from the iterates of `iteration` over 3K steps after warm-up,
    relative to their size: rounding, if that iteration is DDG."""
    K, d = len(blocks), len(H)
    problem = Quadratic(H, np.zeros((1, d)), K)
    T = 4 * K
    w = iteration(problem, np.linspace(1.0, 2.0, d), np.zeros((1, T), dtype=int), SGD(np.full(T, gamma)))[
        :, 0
    ]
    matrix = transition(H, blocks, gamma)
    predicted = [matrix @ w[t - K + 1 : t + 1][::-1].ravel() for t in range(K - 1, T)]
    return float(np.abs(np.array(predicted)[:, :d] - w[K:]).max() / np.abs(w).max())


def spectral_radius(H: Array, blocks: tuple[slice, ...], gamma: float) -> float:
    """Growth per iteration of the fastest growing mode."""
    return float(np.abs(np.linalg.eigvals(transition(H, blocks, gamma))).max())


def measured_threshold(H: Array, blocks: tuple[slice, ...], tolerance: float = 1e-9) -> float:
    """The gamma at which the modes of a positive definite H begin to grow, by bisection to `tolerance`
    (relative to 2/L, above which the last module alone would diverge, or another would have diverged
    before)."""
    limit = 2.0 / float(np.linalg.eigvalsh(H)[-1])
    low, high = 0.0, 1.01 * limit
    while high - low > tolerance * limit:
        middle = (low + high) / 2
        if spectral_radius(H, blocks, middle) > 1:
            high = middle
        else:
            low = middle
    return (low + high) / 2
