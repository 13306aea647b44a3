"""Theorems R1 to R4: sampling without replacement. Means are exact, over all (n!)^m orders of m epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from theory import recipe_bounds
from theory.cases import Case
from theory.claims.claim import BoundInK, Claim, Judge, Kind, Outcome, rounding, worst
from theory.claims.momentum import held_against
from theory.claims.recipe_cases import recipe_cases
from theory.delayed import Iteration
from theory.families import FAMILIES
from theory.problems import Array
from theory.recipes import CoastedRun, Recipe, RecipeCase, squared

UP_TO_1 = (0.03, 0.1, 0.3, 0.5, 1.0)
UP_TO_HALF = UP_TO_1[:-1]


def of_epochs(run: CoastedRun) -> Array:
    """||grad f(Z_j)||^2 at Z_j = z^{jn}, j < m: (m, R)."""
    return squared(run.setting.problem.grad(run.z[: -1 : run.setting.case.n]))


def every_order(values: Array, allowed: float) -> Outcome:
    """The mean over iterations or epochs, the largest over all orders, and its bound."""
    return worst(values.mean(axis=0), allowed, 1e-12 * allowed)


def nominal(setting: RecipeCase) -> Array:
    """The effective step of each epoch without warm-up, and the one after all drops: (m+1,)."""
    case, recipe = setting.case, setting.recipe
    last = recipe.factor ** len(recipe.milestones)
    return np.asarray(setting.eta * np.append(recipe.drops(case.T)[:: case.n], last))


def measure_distance(setting: RecipeCase, iteration: Iteration) -> Judge:
    """||w^{jn+i} - Z_j|| for all j, i and orders."""
    run, case, M = setting.run(iteration), setting.case, setting.problem.gradient_bound()
    starts = np.repeat(run.z[: -1 : case.n], case.n, axis=0)
    far = np.sqrt(squared(run.w[:-1] - starts).max(axis=1))
    steps = np.repeat(nominal(setting)[:-1], case.n)
    beta, slack = setting.recipe.beta, rounding(run.longer, run.outstanding)

    def judge(K: int) -> Outcome:
        allowed = [recipe_bounds.epoch_distance(float(step), M, K, beta, t % case.n) for t, step in enumerate(steps)]
        return worst(far, np.array(allowed), slack)

    return judge


def any_order(left: Callable[[CoastedRun], Array], bound: Callable[..., float]) -> BoundInK:
    """The mean of left(run) in every order against bound(A, L, M, K, eta, n, T, beta)."""

    def measure(setting: RecipeCase, iteration: Iteration) -> Judge:
        values, case, M = left(setting.run(iteration)), setting.case, setting.problem.gradient_bound()
        return lambda K: every_order(
            values, bound(case.A, setting.L, M, K, setting.eta, case.n, case.T, setting.recipe.beta)
        )

    return BoundInK(measure)


def shuffled(setting: RecipeCase, iteration: Iteration) -> Judge:
    """The mean over all orders against Theorem R2."""
    values, case, problem = of_epochs(setting.run(iteration)), setting.case, setting.problem
    M, nu2 = problem.gradient_bound(), problem.variance
    return lambda K: held_against(
        values,
        recipe_bounds.shuffled(case.A, setting.L, M, nu2, K, setting.eta, case.n, case.T, setting.recipe.beta),
    )


def variance_alone(setting: RecipeCase, iteration: Iteration) -> Judge:
    """The mean over all orders against Theorem R3. K is in its condition alone: for another K the step is the same
    share of what that K allows."""

    def judge(K: int) -> Outcome:
        case, n = setting.case, setting.case.n
        share = (n + setting.K) / (n + K)
        at = setting if K == setting.K else replace(setting, case=replace(case, gamma_L=case.gamma_L * share))
        allowed = recipe_bounds.shuffled_variance(case.A, at.L, at.problem.variance, K, at.eta, n, case.T)
        return held_against(of_epochs(at.run(iteration)), allowed)

    return judge


def weighted(run: CoastedRun) -> Array:
    """sum_j eta_j n ||grad f(Z_j)||^2 with the nominal steps, per order: (1, R)."""
    setting = run.setting
    return np.asarray(setting.case.n * nominal(setting)[:-1] @ of_epochs(run))[None]


def default_training(setting: RecipeCase, iteration: Iteration) -> Judge:
    """Every order against Theorem R4."""
    values, case, M = weighted(setting.run(iteration)), setting.case, setting.problem.gradient_bound()
    recipe = setting.recipe
    return lambda K: every_order(
        values,
        recipe_bounds.default_training(case.A, setting.L, M, K, nominal(setting), case.n, recipe.beta, recipe.warm_up),
    )


def default_training_shuffled(setting: RecipeCase, iteration: Iteration) -> Judge:
    """The mean over all orders against Theorem R4."""
    values, case, problem = weighted(setting.run(iteration)), setting.case, setting.problem
    M, recipe = problem.gradient_bound(), setting.recipe
    return lambda K: held_against(
        values,
        recipe_bounds.default_training_shuffled(
            case.A, setting.L, M, problem.variance, K, nominal(setting), case.n, recipe.beta, recipe.warm_up
        ),
    )


def _round(K: int, n: int, beta: float, T: int) -> RecipeCase:
    step = 1.1 * recipe_bounds.momentum_threshold(K, beta, False) / (1 - beta)
    return RecipeCase(Case("first-circle", K, n, T, "constant", step, 1.5, 0), Recipe(beta=beta), epochs=True)


ALONE = tuple(_round(K, 1, beta, 200) for K, beta in ((3, 0.0), (4, 0.0), (4, 0.3)))
"""Epochs of one sample, and a delay that goes beyond them: round the minimum."""
PAIRS = tuple(_round(K, 2, 0.0, 2000) for K in (8, 10))
"""The same with epochs of two samples alike, at the smaller steps that Theorem R2 asks for."""
SLOPE = tuple(
    RecipeCase(Case("first-huber", K, 2, K + 3 + (K + 3) % 2, "constant", 0.01, 20.0, 0), Recipe(), epochs=True)
    for K in (3, 4, 6)
)
"""Down |w_1|, so that everything in flight points one way."""


def _claim(
    form: str, statement: str, hypotheses: str, check: BoundInK, near: tuple[RecipeCase, ...], **drawn: object
) -> Claim:
    return Claim(
        id=form,
        statement=statement,
        hypotheses=hypotheses,
        source="ours, PROOFS.md section 10",
        kind=Kind.UPPER_BOUND,
        strategy=recipe_cases(epochs=True, **drawn),  # type: ignore[arg-type]
        check=check,
        case_type=RecipeCase,
        adversaries=near,
    )


DISTANCE = _claim(
    "epoch-distance",
    r"\|w^{jn+i} - Z_j\| \le \eta_j\sqrt M\max(i, D), \quad Z_j = z^{jn}",
    "bounded gradients, any order in every epoch, heavy ball or Nesterov, drops between epochs, warm-up",
    BoundInK(measure_distance),
    SLOPE,
    gamma_L=UP_TO_1,
    samples=(1, 2, 3, 4),
    scheduled=True,
)
ANY_ORDER = _claim(
    "any-order",
    r"\tfrac1m\sum_j\|\nabla f(Z_j)\|^2 \le \tfrac{2A}{\eta T} + \tfrac{\eta^2L^2M}{4}(n+\tfrac{D^2}{n})^2",
    "bounded gradients, every f_i L-smooth, any order in every epoch, eta L n <= 1, heavy ball or Nesterov",
    any_order(of_epochs, recipe_bounds.any_order),
    ALONE,
    gamma_L=UP_TO_1,
    samples=(1, 2, 3, 4),
)
ANY_ORDER_WEIGHTS = _claim(
    "any-order-weights",
    r"\sqrt{S_T} \le \sqrt{\tfrac{2A}{\eta T} + \tfrac{\eta^2L^2M}{4}(n+\tfrac{D^2}{n})^2}"
    r" + \eta L\sqrt M\sqrt{\tfrac1n\sum_{i<n}\max(i,D)^2}",
    "bounded gradients, every f_i L-smooth, any order in every epoch, eta L n <= 1, heavy ball or Nesterov",
    any_order(lambda run: squared(run.a), recipe_bounds.any_order_weights),
    (*ALONE, RecipeCase(Case("first-huber", 2, 1, 2, "constant", 1.0, 1.0, 0), Recipe(), epochs=True)),
    gamma_L=UP_TO_1,
    samples=(1, 2, 3, 4),
)
SHUFFLED = _claim(
    "shuffled",
    r"\tfrac1m\sum_jE\|\nabla f(Z_j)\|^2 \le \tfrac{4A}{\eta T} + \tfrac52\eta^2L^2"
    r"\left(\tfrac{\nu^2n^2}{n-1} + 4M\tfrac{D^2(D+1)^2}{n^2}\right)",
    "bounded gradients, every f_i L-smooth, random orders, n >= 2, eta L n <= 1/2, heavy ball or Nesterov",
    BoundInK(shuffled),
    PAIRS,
    gamma_L=UP_TO_HALF,
    samples=(2, 3, 4),
)
VARIANCE = Claim(
    id="shuffled-variance",
    statement=r"\tfrac1m\sum_jE\|\nabla f(Z_j)\|^2 \le \tfrac{3A}{\gamma T} + 1.3\,\gamma^2L^2\nu^2"
    r"\tfrac{n^2}{n-1}",
    hypotheses="variance at most nu^2, every f_i L-smooth, random orders, 2 <= n, K <= n, gamma L (n+K) <= 1/2, no "
    "momentum; no bound on gradients",
    source="ours, PROOFS.md section 10",
    kind=Kind.UPPER_BOUND,
    strategy=recipe_cases(
        tuple(FAMILIES), epochs=True, samples=(2, 3, 4), max_K=4, betas=(0.0,), gamma_L=(0.03, 0.1, 0.25, 0.3, 0.33)
    ).filter(
        lambda setting: setting.case.n >= setting.K and setting.eta * setting.L * (setting.case.n + setting.K) <= 0.5
    ),
    check=BoundInK(variance_alone),
    case_type=RecipeCase,
    adversaries=(
        RecipeCase(Case("quadratic", 2, 2, 14, "constant", 0.125, 0.3, 3), epochs=True),
        RecipeCase(Case("sqrt+noise", 3, 3, 9, "constant", 1 / 12, 0.0, 3), epochs=True),
    ),
)
DEFAULT = _claim(
    "default-training",
    r"\sum_j\eta_jn\|\nabla f(Z_j)\|^2 \le 2A + \sum_j\eta_jn\tfrac{\eta_j^2L^2M}{4}(n+\tfrac{D^2}{n})^2"
    r" + 2DM(\eta_0-\eta_{\mathrm{end}}) + \eta_0MW",
    "bounded gradients, every f_i L-smooth, any order in every epoch, eta_0 L n <= 1, heavy ball or Nesterov, drops "
    "between epochs, warm-up over W iterations",
    BoundInK(default_training),
    ALONE,
    gamma_L=UP_TO_1,
    samples=(1, 2, 3, 4),
    scheduled=True,
)
DEFAULT_SHUFFLED = _claim(
    "default-training-shuffled",
    r"\sum_j\eta_jnE\|\nabla f(Z_j)\|^2 \le 4A + \sum_j\eta_jn\tfrac52\eta_j^2L^2"
    r"\left(\tfrac{\nu^2n^2}{n-1} + 4M\tfrac{D^2(D+1)^2}{n^2}\right) + 4DM(\eta_0-\eta_{\mathrm{end}}) + 2\eta_0MW",
    "as default-training, but random orders, n >= 2, eta_0 L n <= 1/2",
    BoundInK(default_training_shuffled),
    PAIRS,
    gamma_L=UP_TO_HALF,
    samples=(2, 3, 4),
    scheduled=True,
)
