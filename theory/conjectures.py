"""What is believed about worst cases and not proved; `python -m theory tight` computes them for given K, T and step.

Nothing here may be used in a proof. PROOFS.md section 5 says what is known.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TypeVar

from theory import bounds
from theory.checks import integer, positive

Number = TypeVar("Number", float, Fraction)
LONGEST = 10**6
"""Iterations of the recursion that anybody waits for."""


def responses(K: int, gamma_L: Number, T: int) -> list[Number]:
    """r_0..r_{T-1}: w_1^t/w_1^0 on f = (L/2) w_1^2, r_0 = 1, r_{t+1} = r_t - gamma L r_{t-K+1} (0 before the start).

    Exact for a Fraction. ValueError for K or T < 1, T > 10^6 or gamma_L <= 0.
    """
    positive("gamma_L", gamma_L)
    if integer("T", T, 1) > LONGEST:
        raise ValueError(f"T: expected at most {LONGEST} iterations, got {T}; ask for C_ex, the limit")
    d = integer("K", K, 1) - 1
    r = [gamma_L / gamma_L]
    for t in range(T - 1):
        r.append(r[-1] - gamma_L * r[t - d] if t >= d else r[-1])
    return r


def worst_sum(K: int, gamma_L: Number, T: int) -> Number:
    """2 sum_{t<T} r_t^2, which sum_{t<T} ||grad f(w^t)||^2/(L A) is on f = (L/2) w_1^2."""
    return 2 * sum((r * r for r in responses(K, gamma_L, T)), start=0 * gamma_L)


def exact_gradients(A: float, L: float, K: int, gamma: float, T: int) -> float:
    """Conjecture W: S_T <= (L A/T) 2 sum_{t<T} r_t^2 for every L-smooth f, exact gradients, gamma L <= g*(K). Reached.

    ValueError for larger steps: there another module may do worse (claim `beyond-the-threshold`).
    """
    threshold = bounds.quadratic_threshold(K)
    if gamma * L > threshold * (1 + 1e-12):
        raise ValueError(f"gamma: expected gamma L <= {threshold:g}, got {gamma * L:g}; lower the step")
    return L * A / T * worst_sum(K, gamma * L, T)


def variance(A: float, L: float, nu2: float, K: int, gamma: float, T: int) -> float:
    """Conjecture V: S_T <= C_ex (A/(gamma T) + gamma L nu^2/2) for variance at most nu^2 and gamma L < g*(K)."""
    return bounds.worst_constant(K, gamma * L) * (A / (gamma * T) + gamma * L * nu2 / 2)
