"""S_T = (1/T) sum_{t<T} E||grad f(w^t)||^2 on a case: the left side of the theorems with a constant step."""

from __future__ import annotations

from collections.abc import Callable

from theory.cases import Case
from theory.claims.claim import Outcome
from theory.delayed import Iteration
from theory.exact import Estimate, expectation


def mean_square(case: Case, iteration: Iteration) -> Estimate:
    """S_T, exact or with its Monte Carlo uncertainty (which needs bounded gradients)."""
    run = case.run(iteration)
    per_sequence = (case.problem.grad(run.w[:-1]) ** 2).sum(axis=-1).mean(axis=0)
    ceiling = 0.0 if case.sequences.exhaustive else case.problem.gradient_bound()
    return expectation(per_sequence, case.sequences, ceiling)


def check_mean_square(bound: Callable[..., float]) -> Callable[[Case, Iteration], Outcome]:
    """S_T against bound(A, L, M, K, gamma, T)."""

    def check(case: Case, iteration: Iteration) -> Outcome:
        S, problem = mean_square(case, iteration), case.problem
        allowed = bound(case.A, problem.L, problem.gradient_bound(), case.K, case.gamma, case.T)
        return Outcome(S.mean, allowed, S.uncertainty + 1e-12 * allowed)

    return check
