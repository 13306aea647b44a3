"""Theorem 1* at the steps it recommends: closed forms in A, L, M, K and T alone, one of them free of K to
first order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from theory import adversaries, bounds
from theory.cases import Case
from theory.claims.claim import BoundInK, Claim, Judge, Kind
from theory.claims.mean_square import against, mean_square
from theory.delayed import Iteration
from theory.strategies import cases


def _lin_rate(A: float, L: float, M: float, K: int, T: int) -> float:
    return bounds.theorem_1_lin(A, L, M, K, bounds.theorem_1_lin_best_step(A, L, M, K, T), T)


def checker(step: Callable[..., float], rate: Callable[..., float]) -> BoundInK:
    """S_T at the step size step(A, L, M, K, T) against rate(A, L, M, K, T)."""

    def measure(case: Case, iteration: Iteration) -> Judge:
        problem, T = case.problem, case.T
        A, L, M = case.A, problem.L, problem.gradient_bound()
        S = mean_square(replace(case, gamma_L=L * step(A, L, M, case.K, T)), iteration)
        return lambda K: against(S, rate(A, L, M, K, T))

    return BoundInK(measure)


def _claim(form: str, right_side: str, step: Callable[..., float], rate: Callable[..., float]) -> Claim:
    return Claim(
        id=f"best-step-{form}",
        statement=rf"\tfrac1T\sum_{{t<T}}E\|\nabla f(w^t)\|^2 \le {right_side}",
        hypotheses="bounded gradients, the recommended constant step, f(w^0) > f^*",
        source=f"ours, PROOFS.md section 3, Theorem 1* ({form}) at its step",
        kind=Kind.UPPER_BOUND,
        strategy=cases(sampled=True).filter(lambda case: case.A > 1e-9),
        check=checker(step, rate),
        adversaries=adversaries.WAIT,
    )


LIN = _claim("lin", r"2\sqrt{ALM(K-1/2)/T}", bounds.theorem_1_lin_best_step, _lin_rate)
CLEAN = _claim(
    "clean",
    r"2\sqrt{2ALM/T} + 3(AL(K-1)\sqrt M/T)^{2/3}",
    bounds.theorem_1_clean_best_step,
    bounds.theorem_1_clean_rate,
)
