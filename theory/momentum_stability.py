"""Linear stability of DDG with momentum, exact gradients, on f(w) = <w, H w>/2; without momentum it is `stability`."""

from __future__ import annotations

import numpy as np

from theory import symbols
from theory.checks import positive
from theory.delayed import Iteration
from theory.optimizers import ScheduledMomentum
from theory.problems import Array, Quadratic


def transition(H: Array, blocks: tuple[slice, ...], gamma: float, beta: float, nesterov: bool) -> Array:
    """The matrix that maps (w^t, w^{t-1}, .., w^{t-K}) to the next such vector: ((K+1)d, (K+1)d) float64.

    Without the velocity: w_k^{t+1} = w_k^t + beta (w_k^t - w_k^{t-1}) - gamma (H w^{t-d_k})_k, and with Nesterov's
    look-ahead (1+beta) H w^{t-d_k} - beta H w^{t-d_k-1} in place of H w^{t-d_k}.
    """
    symbols.matrix("H", H)
    symbols.blocks("blocks", blocks, len(H))
    positive("gamma", gamma)
    symbols.momentum("beta", beta)
    K, d = len(blocks), len(H)
    matrix = np.eye((K + 1) * d, k=-d)
    matrix[:d, :d] = (1 + beta) * np.eye(d)
    matrix[:d, d : 2 * d] = -beta * np.eye(d)
    for k, block in enumerate(blocks, start=1):
        for share, late in ((1 + beta, K - k), (-beta, K - k + 1)) if nesterov else ((1.0, K - k),):
            matrix[block, late * d : (late + 1) * d] -= gamma * share * H[block]
    return matrix


def deviation(
    H: Array, blocks: tuple[slice, ...], gamma: float, beta: float, nesterov: bool, iteration: Iteration
) -> float:
    """How far the powers of `transition` are from the iterates of `iteration` over 3K steps after warm-up, relative to
    their size: rounding, if that iteration is DDG."""
    matrix = transition(H, blocks, gamma, beta, nesterov)
    K, d = len(blocks), len(H)
    problem = Quadratic(H, np.zeros((1, d)), K)
    T = 4 * K + 1
    rule = ScheduledMomentum(np.full(T, gamma), beta, nesterov=nesterov)
    w = iteration(problem, np.linspace(1.0, 2.0, d), np.zeros((1, T), dtype=int), rule)[:, 0]
    predicted = [matrix @ w[t - K : t + 1][::-1].ravel() for t in range(K, T)]
    return float(np.abs(np.array(predicted)[:, :d] - w[K + 1 :]).max() / np.abs(w).max())


def spectral_radius(H: Array, blocks: tuple[slice, ...], gamma: float, beta: float, nesterov: bool) -> float:
    """Growth per iteration of the fastest growing mode."""
    return float(np.abs(np.linalg.eigvals(transition(H, blocks, gamma, beta, nesterov))).max())


def measured_threshold(H: Array, blocks: tuple[slice, ...], beta: float, nesterov: bool) -> float:
    """The gamma at which the modes of a positive definite H begin to grow, by bisection to 1e-8, relative to 4/L, which
    no momentum allows."""
    limit = 4 / float(np.linalg.eigvalsh(H)[-1])
    low, high = 0.0, 1.01 * limit
    while high - low > 1e-8 * limit:
        middle = (low + high) / 2
        grows = spectral_radius(H, blocks, middle, beta, nesterov) > 1
        low, high = (low, middle) if grows else (middle, high)
    return (low + high) / 2
