"""Theorem F step by step: an energy on the weights themselves decreases, from the first iteration."""

from __future__ import annotations

import numpy as np

from theory import adversaries, bounds
from theory.cases import Case
from theory.claims.claim import BoundInK, Claim, Judge, Kind, rounding, worst
from theory.delayed import Iteration
from theory.families import FAMILIES
from theory.problems import Array
from theory.strategies import below_f, cases


def energy(f: Array, a: Array, case: Case) -> Array:
    """V_0..V_T from f(w^t) (T+1,) and grad f(w^t) (T+1, d)."""
    gamma, L, K = case.gamma, case.problem.L, case.K
    late = gamma * L * (K - 1)
    V = f.copy()
    jumps = (np.diff(a, axis=0) ** 2).sum(axis=1)
    for t in range(case.T + 1):
        for k, block in enumerate(case.problem.blocks, start=1):
            V[t] -= gamma / 2 * (1 - gamma * L - late**2) * (a[max(0, t - (K - k)) : t, block] ** 2).sum()
        for r in range(1, min(K - 1, t) + 1):
            V[t] += gamma / 2 * (K - 1) * (K - r) * jumps[t - r]
    return V


def checker(waiting_counts: bool) -> BoundInK:
    """The decrease that is promised, less what modules that wait take from it if that counts, against V_t - V_{t+1}."""
    return BoundInK(lambda case, iteration: measure(case, iteration, waiting_counts))


def measure(case: Case, iteration: Iteration, waiting_counts: bool) -> Judge:
    """Both sides at every t."""
    w = case.run(iteration).w[:, 0]
    a, f = case.problem.grad(w), case.problem.f(w)
    V = energy(f, a, case)
    waiting = np.array(
        [
            sum((a[t, block] ** 2).sum() for k, block in enumerate(case.problem.blocks, start=1) if case.K - k > t)
            for t in range(case.T)
        ]
    )
    squares = (a[:-1] ** 2).sum(axis=1)
    slack = rounding(V, f, np.abs(case.problem.f_star))

    def promised(K: int) -> Array:
        decrease = bounds.energy_decrease(case.gamma, case.problem.L, K, squares)
        return decrease - case.gamma / 2 * waiting * waiting_counts

    return lambda K: worst(promised(K), V[:-1] - V[1:], slack)


CLAIM = Claim(
    id="energy",
    statement=r"V_{t+1} \le V_t - \gamma c\|\nabla f(w^t)\|^2 + \tfrac\gamma2\sum_{k: d_k > t}\|\nabla_k f(w^t)\|^2, \;"
    r" V_t = f(w^t) - \tfrac\gamma2(1-\gamma L-\gamma^2L^2d^2)\sum_k\sum_{r=1}^{d_k}\|\nabla_k f(w^{t-r})\|^2"
    r" + \tfrac{\gamma d}2\sum_{r=1}^d (d+1-r)\|\nabla f(w^{t-r+1})-\nabla f(w^{t-r})\|^2",
    hypotheses="n = 1, constant gamma L with c = 1 - gamma L/2 - (gamma L d)^2/2 > 0, d = K-1; no bound on gradients",
    source="ours, PROOFS.md section 5, the energy of Theorem F",
    kind=Kind.UPPER_BOUND,
    strategy=cases(tuple(FAMILIES), gamma_L=below_f, samples=(1,)),
    check=checker(waiting_counts=True),
    adversaries=adversaries.EVEN,
)
