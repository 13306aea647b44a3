"""Lemma V, which replaces Lemma 1: the expected decrease of f along the drained iterate, given any
history."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from theory import adversaries, bounds
from theory.cases import Case
from theory.claims.claim import BoundInK, Claim, Judge, Kind, rounding, worst
from theory.delayed import Iteration
from theory.exact import given_history
from theory.strategies import cases


def checker(bound: Callable[..., float], share: float) -> BoundInK:
    """Measure E[f(x^{t+1})|F_t] - f(x^t) + share gamma ||grad f(w^t)||^2 against what remains of `bound`, its
    noise term, for every t and every history."""

    def measure(case: Case, iteration: Iteration) -> Judge:
        run, problem = case.run(iteration), case.problem
        f = problem.f(run.x)
        grad2 = (problem.grad(run.w) ** 2).sum(axis=-1)
        measured = [
            given_history(f[t + 1] - f[t] + share * case.gamma * grad2[t], case.n, t).max() for t in range(case.T)
        ]
        M, slack = problem.gradient_bound(), rounding(f)
        return lambda K: worst(np.array(measured), bound(case.gamma, problem.L, M, K, grad2=0.0), slack)

    return BoundInK(measure)


def _claim(form: str, statement: str, bound: Callable[..., float], share: float, near: tuple[Case, ...]) -> Claim:
    return Claim(
        id=form,
        statement=statement,
        hypotheses="bounded gradients, constant step of any size, any t and history",
        source="ours, PROOFS.md section 2, Lemma V",
        kind=Kind.UPPER_BOUND,
        strategy=cases(),
        check=checker(bound, share),
        adversaries=near,
    )


CLAIM = _claim(
    "lemma-v",
    r"E[f(x^{t+1})|F_t] \le f(x^t) - \gamma\|\nabla f(w^t)\|^2 + \gamma^2 L M (K - 1/2)",
    bounds.lemma_v,
    1.0,
    adversaries.BEND,
)
HALF = _claim(
    "lemma-v-half",
    r"E[f(x^{t+1})|F_t] \le f(x^t) - \tfrac{\gamma}{2}\|\nabla f(w^t)\|^2 "
    r"+ \tfrac{\gamma^2 L M}{2}(1 + \gamma L (K-1)^2)",
    bounds.lemma_v_half,
    0.5,
    adversaries.MINIMUM,
)
