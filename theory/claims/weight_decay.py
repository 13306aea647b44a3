"""Theorem W: weight decay, which acts on the drained iterate and is not delayed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from theory import recipe_bounds
from theory.claims.claim import BoundInK, Claim, Judge, Kind, Outcome, rounding, worst
from theory.claims.momentum import held_against
from theory.claims.recipe_cases import first, recipe_cases
from theory.delayed import Iteration
from theory.families import FAMILIES
from theory.recipes import CoastedRun, RecipeCase, squared
from theory.strategies import below_d0


def regularised(setting: RecipeCase) -> float:
    """F(w^0) - f* of F = f + (lambda/2)||w||^2, which is at least F(w^0) - inf F."""
    w0 = setting.case.w0
    return setting.case.A + setting.decay / 2 * float(w0 @ w0)


def admitted(setting: RecipeCase) -> bool:
    """gamma lambda is small enough for the weights to stay bounded."""
    gamma = (1 - setting.recipe.beta) * setting.eta
    return gamma * setting.decay <= recipe_bounds.decay_limit(*setting.momentum)


def whole_gradients(run: CoastedRun) -> np.ndarray:
    """||grad f(w^t) + lambda x^t||^2."""
    return squared(run.a + run.setting.decay * run.x[:-1])


def check_bounded(setting: RecipeCase, iteration: Iteration) -> Outcome:
    """lambda ||x^t||, the largest over all t and histories."""
    run, w0, M = setting.run(iteration), setting.case.w0, setting.problem.gradient_bound()
    length = setting.decay * np.sqrt(squared(run.x).max(axis=1))
    return worst(length, recipe_bounds.decayed_length(M, setting.decay, float(w0 @ w0)), rounding(length))


def measure_lin(setting: RecipeCase, iteration: Iteration) -> Judge:
    """The mean square of what is descended along, against Theorem W."""
    values, w0, M = whole_gradients(setting.run(iteration)), setting.case.w0, setting.problem.gradient_bound()
    A, T = regularised(setting), setting.case.T
    return lambda K: held_against(
        values,
        recipe_bounds.decay_lin(A, setting.L, M, K, setting.eta, T, *setting.momentum, setting.decay, float(w0 @ w0)),
    )


def measure_exact(setting: RecipeCase, iteration: Iteration) -> Judge:
    """The same at n = 1, without momentum and without bounded gradients."""
    values, A, T = whole_gradients(setting.run(iteration)), regularised(setting), setting.case.T
    return lambda K: held_against(values, recipe_bounds.decay_d0(A, setting.L, K, setting.eta, T, setting.decay))


def _decayed(setting: RecipeCase, decay: float) -> RecipeCase:
    return replace(setting, recipe=replace(setting.recipe, decay=decay))


_bounded = recipe_cases(decays=(0.001, 0.01, 0.1, 1.0, 10.0)).filter(admitted)
ROUND = tuple(
    _decayed(first("first-circle", K, 400, 1.1 * recipe_bounds.momentum_threshold(K, 0.0, False), 1.5, 0.0), 1e-4)
    for K in (6, 8)
)
BOUNDED = Claim(
    id="decay-bounded",
    statement=r"\lambda\|x^t\| \le \max\{\lambda\|w^0\|, \sqrt M\}",
    hypotheses="bounded gradients, gamma lambda <= (1-sqrt beta)^2 (Nesterov ((1-beta)/(1+beta))^2); every t, history",
    source="ours, PROOFS.md section 12, Theorem W",
    kind=Kind.UPPER_BOUND,
    strategy=_bounded,
    check=check_bounded,
    case_type=RecipeCase,
)
LIN = Claim(
    id="decay-lin",
    statement=r"\tfrac1T\sum_{t<T}E\|\nabla f(w^t)+\lambda x^t\|^2 \le \tfrac{A_F}{\eta T} + \eta M_\lambda"
    r"\left(L(D+\tfrac12) + \lambda(\tfrac12 + \text{age})\right)",
    hypotheses="bounded gradients, constant step, heavy ball or Nesterov, gamma lambda as for decay-bounded",
    source="ours, PROOFS.md section 12, Theorem W",
    kind=Kind.UPPER_BOUND,
    strategy=_bounded,
    check=BoundInK(measure_lin),
    case_type=RecipeCase,
    adversaries=ROUND,
)
EXACT = Claim(
    id="decay-d0",
    statement=r"\tfrac1T\sum_{t<T}\|\nabla f(w^t)+\lambda x^t\|^2 \le \tfrac{A_F}{\gamma Tc}, \;"
    r" c = 1-\gamma(L(K-\tfrac12)+\tfrac\lambda2) > 0",
    hypotheses="n = 1, constant step, no momentum; no bound on gradients",
    source="ours, PROOFS.md section 12, Theorem W",
    kind=Kind.UPPER_BOUND,
    strategy=recipe_cases(
        tuple(FAMILIES), gamma_L=below_d0, samples=(1,), betas=(0.0,), decays=(0.001, 0.01, 0.1)
    ).filter(lambda setting: setting.eta * (setting.L * (setting.K - 0.5) + setting.decay / 2) < 1),
    check=BoundInK(measure_exact),
    case_type=RecipeCase,
    adversaries=tuple(
        _decayed(first("first-quadratic", K, 20 * (2 * K - 1), share / (2 * K - 1), 1.0, 0.0), 1e-3)
        for K in (2, 3)
        for share in (1.0, 0.1)
    ),
)
