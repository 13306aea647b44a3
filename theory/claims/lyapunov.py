"""With exact gradients an energy decreases at every iteration, warm-up included."""

from __future__ import annotations

import numpy as np

from theory import adversaries, bounds
from theory.cases import Case
from theory.claims.claim import BoundInK, Claim, Judge, Kind, rounding, worst
from theory.delayed import Iteration
from theory.families import FAMILIES
from theory.strategies import below_d0, cases


def measure(case: Case, iteration: Iteration) -> Judge:
    """The decrease that is promised against V_t - V_{t+1}, at every t."""
    run, problem = case.run(iteration), case.problem
    grad2 = (problem.grad(run.w) ** 2).sum(axis=-1)[:, 0]
    V = problem.f(run.x)[:, 0]
    for t in range(case.T + 1):
        for r in range(1, min(case.K - 1, t) + 1):
            V[t] += case.gamma**2 * problem.L / 2 * (case.K - r) * grad2[t - r]
    slack = rounding(V, np.abs(problem.f_star))
    return lambda K: worst(bounds.lyapunov_decrease(case.gamma, problem.L, K, grad2[:-1]), V[:-1] - V[1:], slack)


CLAIM = Claim(
    id="lyapunov",
    statement=r"V_{t+1} \le V_t - \gamma(1 - \gamma L(K - 1/2))\|\nabla f(w^t)\|^2, \quad "
    r"V_t = f(x^t) + \tfrac{\gamma^2 L}{2}\sum_{r=1}^{K-1}(K-r)\|\nabla f(w^{t-r})\|^2",
    hypotheses="n = 1, constant gamma L < 2/(2K-1); no bound on gradients",
    source="ours, PROOFS.md section 5, Theorem D0",
    kind=Kind.UPPER_BOUND,
    strategy=cases(tuple(FAMILIES), gamma_L=below_d0, samples=(1,)),
    check=BoundInK(measure),
    adversaries=adversaries.BEND,
)
