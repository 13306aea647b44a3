"""Theorem 2*: decreasing steps, in three forms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from theory import adversaries, bounds
from theory.cases import Case
from theory.claims.claim import BoundInK, Claim, Judge, Kind
from theory.claims.mean_square import against
from theory.delayed import Iteration, Run
from theory.exact import expectation
from theory.problems import Array
from theory.strategies import cases, monotone


def weighted(case: Case, run: Run) -> Array:
    """sum_t gamma_t ||grad f(w^t)||^2 per sequence."""
    grad2 = (case.problem.grad(run.w[:-1]) ** 2).sum(axis=-1)
    return np.asarray(case.gammas[: case.T] @ grad2)


def shifted(case: Case, run: Run) -> Array:
    """sum_t sum_k gamma_{t+d_k} ||grad_k f(w^t)||^2 per sequence."""
    grad = case.problem.grad(run.w[:-1])
    total = np.zeros(grad.shape[1])
    for k, block in enumerate(case.problem.blocks, start=1):
        late = case.gammas[case.K - k : case.T + case.K - k]
        total += late @ (grad[..., block] ** 2).sum(axis=-1)
    return total


def checker(left: Callable[[Case, Run], Array], bound: Callable[..., float]) -> BoundInK:
    """E of the left side against bound(A, L, M, K, gammas, T)."""

    def measure(case: Case, iteration: Iteration) -> Judge:
        problem, M = case.problem, case.problem.gradient_bound()
        ceiling = M * float(case.gammas[: case.T].sum())
        measured = expectation(left(case, case.run(iteration)), case.sequences, ceiling)
        return lambda K: against(measured, bound(case.A, problem.L, M, K, case.gammas, case.T))

    return BoundInK(measure)


def _claim(form: str, statement: str, steps: tuple[str, ...], check: BoundInK, near: tuple[Case, ...]) -> Claim:
    return Claim(
        id=f"theorem-2-{form}",
        statement=statement,
        hypotheses=f"bounded gradients, {' or '.join(steps)} steps of any size",
        source=f"ours, PROOFS.md section 4, Theorem 2* ({form})",
        kind=Kind.UPPER_BOUND,
        strategy=cases(steps=steps, sampled=True),
        check=check,
        adversaries=near,
    )


SHIFTED = _claim(
    "shifted",
    r"\sum_t\sum_k\gamma_{t+d_k}E\|\nabla_k f(w^t)\|^2 \le A + LM(K-1/2)\sum\gamma_t^2",
    monotone,
    checker(shifted, bounds.theorem_2_shifted),
    adversaries.DESCENT + adversaries.CIRCLE,
)
WEIGHTED = _claim(
    "weighted",
    r"\sum_t\gamma_t E\|\nabla f(w^t)\|^2 \le A + LM(K-1/2)\sum\gamma_t^2 + M\sum(\gamma_t-\gamma_{t+K-1})",
    monotone,
    checker(weighted, bounds.theorem_2_weighted),
    adversaries.DESCENT + adversaries.CIRCLE,
)
HARMONIC = _claim(
    "harmonic",
    r"\sum_t\gamma_t E\|\nabla f(w^t)\|^2 \le 2A + LM(K-1/2+4(K-1)^2)\sum\gamma_t^2",
    ("harmonic",),
    checker(weighted, bounds.theorem_2_harmonic),
    adversaries.WAIT_HARMONIC,
)
