"""S_T = (1/T) sum_{t<T} E||grad f(w^t)||^2 on a case: the left side of the theorems with a constant step."""

from __future__ import annotations

from collections.abc import Callable

from theory.cases import Case
from theory.claims.claim import BoundInK, Judge, Outcome
from theory.delayed import Iteration
from theory.exact import Estimate, expectation


def mean_square(case: Case, iteration: Iteration) -> Estimate:
    """S_T, exact or with its Monte Carlo uncertainty (which needs bounded gradients)."""
    run = case.run(iteration)
    per_sequence = (case.problem.grad(run.w[:-1]) ** 2).sum(axis=-1).mean(axis=0)
    ceiling = 0.0 if case.sequences.exhaustive else case.problem.gradient_bound()
    return expectation(per_sequence, case.sequences, ceiling)


def against(estimate: Estimate, allowed: float) -> Outcome:
    """An estimated mean, which may be uncertain, and the bound that it must respect up to rounding."""
    return Outcome(estimate.mean, allowed, estimate.uncertainty + 1e-12 * allowed)


def check_mean_square(bound: Callable[..., float]) -> BoundInK:
    """S_T against bound(A, L, M, K, gamma, T)."""

    def measure(case: Case, iteration: Iteration) -> Judge:
        S, problem = mean_square(case, iteration), case.problem
        A, M = case.A, problem.gradient_bound()
        return lambda K: against(S, bound(A, problem.L, M, K, case.gamma, case.T))

    return BoundInK(measure)
