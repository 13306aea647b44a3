"""Theorems F and G: exact gradients, without bounded gradients, up to the threshold of quadratics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from theory import adversaries, bounds
from theory.cases import Case
from theory.claims.claim import BoundInK, Claim, Judge, Kind
from theory.claims.mean_square import against, mean_square
from theory.delayed import Iteration
from theory.families import FAMILIES
from theory.strategies import below_f, below_threshold, cases


def checker(bound: Callable[[float, float, int, float, int], float]) -> BoundInK:
    """S_T at n = 1 against bound(A, L, K, gamma, T)."""

    def measure(case: Case, iteration: Iteration) -> Judge:
        S = mean_square(case, iteration)
        return lambda K: against(S, bound(case.A, case.problem.L, K, case.gamma, case.T))

    return BoundInK(measure)


F = Claim(
    id="theorem-f",
    statement=r"\tfrac1T\sum_{t<T}\|\nabla f(w^t)\|^2 \le \tfrac{1+\gamma L(K-1)}{1-\gamma L/2-(\gamma L(K-1))^2/2}"
    r"\tfrac{A}{\gamma T}",
    hypotheses="n = 1, constant gamma L for which the denominator is positive; no bound on gradients",
    source="ours, PROOFS.md section 5, Theorem F",
    kind=Kind.UPPER_BOUND,
    strategy=cases(tuple(FAMILIES), gamma_L=below_f, samples=(1,)),
    check=checker(bounds.theorem_f),
    adversaries=adversaries.DECAY,
)
G = Claim(
    id="theorem-g",
    statement=r"\tfrac1T\sum_{t<T}\|\nabla f(w^t)\|^2 \le \tfrac{1+\gamma L d(\cos 2d\psi+d\tan\psi\sin 2d\psi)}"
    r"{\cos 2d\psi-\sin\psi}\tfrac{A}{\gamma T}, \; d = K-1, \; \sin\psi = \tfrac{\gamma L}{2}",
    hypotheses="n = 1, constant gamma L < 2 sin(pi/(2(2K-1))); no bound on gradients",
    source="ours, PROOFS.md section 5, Theorem G",
    kind=Kind.UPPER_BOUND,
    strategy=cases(tuple(FAMILIES), gamma_L=below_threshold, samples=(1,)),
    check=checker(bounds.theorem_g),
    adversaries=adversaries.DECAY + adversaries.NEAR,
)


def at_best_step(case: Case, iteration: Iteration) -> Judge:
    """S_T at gamma = 3/((4K-1) L) against Theorem F's rate."""
    L = case.problem.L
    S = mean_square(replace(case, gamma_L=L * bounds.theorem_f_best_step(L, case.K)), iteration)
    return lambda K: against(S, bounds.theorem_f_rate(case.A, L, K, case.T))


BEST = Claim(
    id="best-step-f",
    statement=r"\tfrac1T\sum_{t<T}\|\nabla f(w^t)\|^2 \le \tfrac{13K-5}{4}\tfrac{LA}{T}",
    hypotheses="n = 1, gamma = 3/((4K-1)L); no bound on gradients",
    source="ours, PROOFS.md section 5, Theorem F at its step",
    kind=Kind.UPPER_BOUND,
    strategy=cases(tuple(FAMILIES), samples=(1,)),
    check=BoundInK(at_best_step),
    adversaries=adversaries.DECAY[:2],
)
