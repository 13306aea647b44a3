"""Theorems D0 and D: without bounded gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from theory import adversaries, bounds
from theory.cases import Case
from theory.claims.claim import BoundInK, Claim, Judge, Kind, Outcome
from theory.claims.mean_square import against, mean_square
from theory.delayed import Iteration
from theory.families import FAMILIES
from theory.strategies import below_d0, cases, half_d0


def exact_gradients(case: Case, iteration: Iteration) -> Judge:
    """S_T at n = 1 against Theorem D0."""
    S = mean_square(case, iteration)
    return lambda K: against(S, bounds.theorem_d0(case.A, case.problem.L, K, case.gamma, case.T))


def checker(bound: Callable[..., float]) -> BoundInK:
    """S_T, enumerated, against bound(A, L, nu^2, K, gamma, T)."""

    def measure(case: Case, iteration: Iteration) -> Judge:
        S, problem = mean_square(case, iteration), case.problem
        return lambda K: against(S, bound(case.A, problem.L, problem.variance, K, case.gamma, case.T))

    return BoundInK(measure)


def simple(case: Case, iteration: Iteration) -> Judge:
    """S_T, enumerated, against Theorem D's simple form. K is in its condition alone, gamma L <= 1/(2K-1): for another K
    the step is the same share of what that K allows."""

    def judge(K: int) -> Outcome:
        at = case if K == case.K else replace(case, gamma_L=case.gamma_L * (2 * case.K - 1) / (2 * K - 1))
        allowed = bounds.theorem_d_simple(at.A, at.problem.L, at.problem.variance, K, at.gamma, at.T)
        return against(mean_square(at, iteration), allowed)

    return judge


D0 = Claim(
    id="theorem-d0",
    statement=r"\tfrac1T\sum_{t<T}\|\nabla f(w^t)\|^2 \le \tfrac{A}{\gamma T(1-\gamma L(K-1/2))}",
    hypotheses="n = 1, constant gamma L < 2/(2K-1); no bound on gradients",
    source="ours, PROOFS.md section 5, Theorem D0",
    kind=Kind.UPPER_BOUND,
    strategy=cases(tuple(FAMILIES), gamma_L=below_d0, samples=(1,)),
    check=BoundInK(exact_gradients),
    adversaries=adversaries.DECAY,
)
D = Claim(
    id="theorem-d",
    statement=r"\sqrt{S_T} \le \tfrac{R+\sqrt{R^2+4cP}}{2c}, \; c = 1-\gamma L(K-1/2), \;"
    r" P = \tfrac{A}{\gamma T}+\tfrac{\gamma L\nu^2}{2}, \; R = \gamma L\sqrt{K-1}\,\nu",
    hypotheses="variance at most nu^2, constant gamma L < 2/(2K-1); no bound on gradients",
    source="ours, PROOFS.md section 5, Theorem D",
    kind=Kind.UPPER_BOUND,
    strategy=cases(tuple(FAMILIES), gamma_L=below_d0),
    check=checker(bounds.theorem_d),
    adversaries=adversaries.DECAY,
)
SIMPLE = Claim(
    id="theorem-d-simple",
    statement=r"S_T \le \tfrac{4A}{\gamma T} + 4\gamma L\nu^2",
    hypotheses="variance at most nu^2, constant gamma L <= 1/(2K-1); no bound on gradients",
    source="ours, PROOFS.md section 5, Theorem D",
    kind=Kind.UPPER_BOUND,
    strategy=cases(tuple(FAMILIES), gamma_L=half_d0),
    check=BoundInK(simple),
    adversaries=adversaries.DECAY[:2],
)
