"""What is known of f at the drained iterate carries over to the weights themselves."""

from __future__ import annotations

import numpy as np

from theory import bounds
from theory.cases import Case
from theory.claims.claim import Claim, Kind, Outcome, rounding, worst
from theory.delayed import Iteration
from theory.strategies import cases


def check(case: Case, iteration: Iteration) -> Outcome:
    """f(w^t) - f(x^t), the largest over all histories, against its bound, for every t."""
    run, problem = case.run(iteration), case.problem
    gap = problem.f(run.w) - problem.f(run.x)
    bound = bounds.back_to_w(case.gamma, problem.L, problem.gradient_bound(), case.K)
    return worst(np.asarray(gap.max(axis=1)), bound, rounding(problem.f(run.w)))


CLAIM = Claim(
    id="back-to-w",
    statement=r"f(w^t) \le f(x^t) + \gamma(K-1)M + \tfrac12 \gamma^2 L M (K-1)^2",
    hypotheses="bounded gradients, constant step of any size, any t and history",
    source="ours, PROOFS.md section 2",
    kind=Kind.UPPER_BOUND,
    strategy=cases(),
    check=check,
)
