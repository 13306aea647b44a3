"""What is known of f at the drained iterate carries over to the weights themselves."""

from __future__ import annotations

import numpy as np

from theory import adversaries, bounds
from theory.cases import Case
from theory.claims.claim import BoundInK, Claim, Judge, Kind, rounding, worst
from theory.delayed import Iteration
from theory.strategies import cases


def measure(case: Case, iteration: Iteration) -> Judge:
    """f(w^t) - f(x^t), the largest over all histories, against its bound, for every t."""
    run, problem = case.run(iteration), case.problem
    gap = np.asarray((problem.f(run.w) - problem.f(run.x)).max(axis=1))
    M, slack = problem.gradient_bound(), rounding(problem.f(run.w))
    return lambda K: worst(gap, bounds.back_to_w(case.gamma, problem.L, M, K), slack)


CLAIM = Claim(
    id="back-to-w",
    statement=r"f(w^t) \le f(x^t) + \gamma(K-1)M + \tfrac12 \gamma^2 L M (K-1)^2",
    hypotheses="bounded gradients, constant step of any size, any t and history",
    source="ours, PROOFS.md section 2",
    kind=Kind.UPPER_BOUND,
    strategy=cases(),
    check=BoundInK(measure),
    adversaries=adversaries.SLOPE,
)
