"""Theorems D0 and D: without bounded gradients."""

from __future__ import annotations

from collections.abc import Callable

from theory import bounds
from theory.cases import Case
from theory.claims.claim import Claim, Kind, Outcome
from theory.claims.mean_square import mean_square
from theory.delayed import Iteration
from theory.families import FAMILIES
from theory.strategies import below_d0, cases, half_d0


def check_exact_gradients(case: Case, iteration: Iteration) -> Outcome:
    """S_T at n = 1 against Theorem D0."""
    S = mean_square(case, iteration)
    allowed = bounds.theorem_d0(case.A, case.problem.L, case.K, case.gamma, case.T)
    return Outcome(S.mean, allowed, 1e-12 * allowed)


def checker(bound: Callable[..., float]) -> Callable[[Case, Iteration], Outcome]:
    """S_T, enumerated, against bound(A, L, nu^2, K, gamma, T)."""

    def check(case: Case, iteration: Iteration) -> Outcome:
        S, problem = mean_square(case, iteration), case.problem
        allowed = bound(case.A, problem.L, problem.variance, case.K, case.gamma, case.T)
        return Outcome(S.mean, allowed, 1e-12 * allowed)

    return check


D0 = Claim(
    id="theorem-d0",
    statement=r"\tfrac1T\sum_{t<T}\|\nabla f(w^t)\|^2 \le \tfrac{A}{\gamma T(1-\gamma L(K-1/2))}",
    hypotheses="n = 1, constant gamma L < 2/(2K-1); no bound on gradients",
    source="ours, PROOFS.md section 5, Theorem D0",
    kind=Kind.UPPER_BOUND,
    strategy=cases(tuple(FAMILIES), gamma_L=below_d0, samples=(1,)),
    check=check_exact_gradients,
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
)
SIMPLE = Claim(
    id="theorem-d-simple",
    statement=r"S_T \le \tfrac{4A}{\gamma T} + 4\gamma L\nu^2",
    hypotheses="variance at most nu^2, constant gamma L <= 1/(2K-1); no bound on gradients",
    source="ours, PROOFS.md section 5, Theorem D",
    kind=Kind.UPPER_BOUND,
    strategy=cases(tuple(FAMILIES), gamma_L=half_d0),
    check=checker(bounds.theorem_d_simple),
)
