"""Linear stability of DDG with exact gradients on f(w) = <w, H w>/2."""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_discrete_lyapunov

from theory import symbols
from theory.checks import positive
from theory.delayed import Iteration
from theory.optimizers import SGD
from theory.problems import Array, Quadratic


def _expect(H: Array, blocks: tuple[slice, ...], gamma: float) -> None:
    symbols.matrix("H", H)
    symbols.blocks("blocks", blocks, len(H))
    positive("gamma", gamma)


def transition(H: Array, blocks: tuple[slice, ...], gamma: float) -> Array:
    """The matrix that maps (w^t, w^{t-1}, .., w^{t-K+1}) to the next such vector: (Kd, Kd) float64."""
    _expect(H, blocks, gamma)
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
    _expect(H, blocks, gamma)
    K, d = len(blocks), len(H)
    problem = Quadratic(H, np.zeros((1, d)), K)
    T = 4 * K
    w = iteration(problem, np.linspace(1.0, 2.0, d), np.zeros((1, T), dtype=int), SGD(np.full(T, gamma)))[:, 0]
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
    _expect(H, blocks, tolerance)
    curvatures = np.linalg.eigvalsh(H)
    if curvatures[0] <= 0:
        raise ValueError(f"H: expected a positive definite matrix, got the eigenvalue {curvatures[0]:g}; raise it")
    limit = 2.0 / float(curvatures[-1])
    low, high = 0.0, 1.01 * limit
    while high - low > tolerance * limit:
        middle = (low + high) / 2
        if spectral_radius(H, blocks, middle) > 1:
            high = middle
        else:
            low = middle
    return (low + high) / 2


def noise_floor(H: Array, blocks: tuple[slice, ...], gamma: float, noise: Array) -> float:
    """lim E||grad f(w^t)||^2 for f_i(w) = <w, H w>/2 + <e_i, w>, noise = (1/n) sum_i e_i e_i^T; exact.

    The drained iterate obeys x^{t+1} = x^t - gamma (H w^t + e_{i(t)}) with w_k^t = x_k^{t-d_k}: a linear
    system in (x^t, .., x^{t-K+1}) whose stationary covariance solves a discrete Lyapunov equation. Requires
    stability.
    """
    growth = spectral_radius(H, blocks, gamma)
    symbols.matrix("noise", noise, size=len(H))
    if growth >= 1:
        raise ValueError(f"gamma: expected a step below the threshold, got growth by {growth:g}; lower it")
    K, d = len(blocks), len(H)
    read = np.zeros((d, K * d))
    for k, block in enumerate(blocks, start=1):
        read[block, (K - k) * d + block.start : (K - k) * d + block.stop] = np.eye(block.stop - block.start)
    matrix = np.eye(K * d, k=-d)
    matrix[:d, :d] = np.eye(d)
    matrix[:d] -= gamma * H @ read
    injected = np.zeros((K * d, K * d))
    injected[:d, :d] = gamma**2 * noise
    covariance = solve_discrete_lyapunov(matrix, injected)
    return float(np.trace(H @ read @ covariance @ read.T @ H))
