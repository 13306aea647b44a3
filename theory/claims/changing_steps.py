"""Theorem S: steps that change, by warm-up and drops too; velocities are multiplied by the step of the iteration."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from theory import recipe_bounds
from theory.cases import Case
from theory.claims.claim import BoundInK, Claim, Judge, Kind
from theory.claims.momentum import CIRCLE, held_against
from theory.claims.recipe_cases import recipe_cases
from theory.delayed import Iteration
from theory.problems import Array
from theory.recipes import CoastedRun, Recipe, RecipeCase, squared
from theory.steps import KINDS


def blockwise(run: CoastedRun, gradients: Array) -> Array:
    """sum_t sum_k eta_{t+d_k} ||gradients_k(t)||^2, per history: (T, R, d) -> (R,)."""
    setting = run.setting
    parts = (
        setting.etas[setting.K - k : setting.K - k + run.T] @ squared(gradients[..., block])
        for k, block in enumerate(setting.problem.blocks, start=1)
    )
    return np.asarray(np.sum(list(parts), axis=0))


def of_weights(run: CoastedRun) -> Array:
    """The blockwise sum at w."""
    return blockwise(run, run.a)


def of_both(run: CoastedRun) -> Array:
    """The same at w and at z."""
    return blockwise(run, run.a) + blockwise(run, run.setting.problem.grad(run.z[:-1]))


def weighted(run: CoastedRun) -> Array:
    """sum_t eta_t ||grad f(w^t)||^2."""
    return run.setting.etas[: run.T] @ squared(run.a)


def checker(left: Callable[[CoastedRun], Array], bound: Callable[..., float]) -> BoundInK:
    """E of left(run) against bound(A, L, M, K, etas, sums, T, beta, nesterov)."""

    def measure(setting: RecipeCase, iteration: Iteration) -> Judge:
        values, case, M = left(setting.run(iteration)), setting.case, setting.problem.gradient_bound()
        steps = setting.etas, setting.sums
        return lambda K: held_against(values, bound(case.A, setting.L, M, K, *steps, case.T, *setting.momentum))

    return BoundInK(measure)


def warm_up_first(setting: RecipeCase) -> bool:
    """Steps rise once and then fall."""
    return setting.recipe.warm_up <= min(setting.recipe.milestones, default=setting.recipe.warm_up)


def _warm_up(
    A: float, L: float, M: float, K: int, etas: Array, sums: Array, T: int, beta: float, nesterov: bool
) -> float:
    return recipe_bounds.steps_warm_up(A, L, M, K, etas, T, beta)


LATE = tuple(
    RecipeCase(Case("first-huber", K, 1, K, "constant", 1.0, 1.0, 0), Recipe(warm_up=warm_up))
    for K in (2, 4)
    for warm_up in (0, 10)
)
"""w_1 waits, and the first step that it takes is larger than the one that the run begins with."""


def _claim(form: str, statement: str, hypotheses: str, check: BoundInK, *, warm_up: bool = False) -> Claim:
    strategy = recipe_cases(
        steps=("constant",) if warm_up else KINDS, forms=(False,) if warm_up else (False, True), scheduled=True
    )
    return Claim(
        id=f"steps-{form}",
        statement=statement,
        hypotheses=hypotheses,
        source="ours, PROOFS.md section 11, Theorem S",
        kind=Kind.UPPER_BOUND,
        strategy=strategy.filter(warm_up_first) if warm_up else strategy,
        check=check,
        case_type=RecipeCase,
        adversaries=CIRCLE + LATE,
    )


ANY = "bounded gradients, any steps, heavy ball or Nesterov"
BLOCKWISE = _claim(
    "blockwise",
    r"\sum_t\sum_k\eta_{t+d_k}E\|\nabla_k f(w^t)\|^2 \le A + (D+\tfrac12)LM\sum_t\hat\eta_t^2",
    ANY,
    checker(of_weights, recipe_bounds.steps_blockwise),
)
WEIGHTED = _claim(
    "weighted",
    r"\sum_t\eta_tE\|\nabla f(w^t)\|^2 \le A + (D+\tfrac12)LM\sum_t\hat\eta_t^2 + (K-1)M\sum_j(\eta_j-\eta_{j+1})_+",
    ANY,
    checker(weighted, recipe_bounds.steps_weighted),
)
CLEAN = _claim(
    "clean",
    r"\sum_t\sum_k\eta_{t+d_k}E(\|\nabla_k f(w^t)\|^2+\|\nabla_k f(z^t)\|^2)"
    r" \le 2A + LM\sum_t\hat\eta_t^2 + L^2D^2M\sum_t\hat\eta_t^3",
    ANY,
    checker(of_both, recipe_bounds.steps_clean),
)
WARM_UP = _claim(
    "warm-up",
    r"\sum_t\eta_tE\|\nabla f(w^t)\|^2 \le A + (D+\tfrac12)LM\left(\sum_t\eta_t^2+(K-1)\eta_{\max}^2\right)"
    r" + (K-1)M\eta_{\max}",
    "bounded gradients, heavy ball; warm-up, then drops",
    checker(weighted, _warm_up),
    warm_up=True,
)
