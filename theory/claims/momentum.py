"""Theorems M1 and M2: with momentum the effective step is gamma/(1-beta), and the delay D = K-1 + the age of a gradient
in the velocity."""

from __future__ import annotations

from collections.abc import Callable

from theory import recipe_bounds
from theory.claims.claim import BoundInK, Claim, Judge, Kind, Outcome
from theory.claims.mean_square import against
from theory.claims.recipe_cases import first, recipe_cases
from theory.delayed import Iteration
from theory.exact import Estimate
from theory.families import FAMILIES
from theory.problems import Array
from theory.recipes import CoastedRun, RecipeCase, squared
from theory.strategies import below_d0


def held_against(values: Array, allowed: float) -> Outcome:
    """The exact mean of `values` over iterations and histories, and its bound."""
    return against(Estimate(float(values.mean()), 0.0), allowed)


def of_weights(run: CoastedRun) -> Array:
    """||grad f(w^t)||^2."""
    return squared(run.a)


def of_both(run: CoastedRun) -> Array:
    """||grad f(w^t)||^2 + ||grad f(z^t)||^2."""
    return squared(run.a) + squared(run.setting.problem.grad(run.z[:-1]))


def of_directions(run: CoastedRun) -> Array:
    """(1-beta)^2 ||Q^t||^2: the momentum average of the mean gradients."""
    return (1 - run.setting.recipe.beta) ** 2 * squared(run.directions)


def bounded(left: Callable[[CoastedRun], Array], bound: Callable[..., float]) -> BoundInK:
    """The mean of left(run) against bound(A, L, M, K, eta, T, beta, nesterov)."""

    def measure(setting: RecipeCase, iteration: Iteration) -> Judge:
        values, case, M = left(setting.run(iteration)), setting.case, setting.problem.gradient_bound()
        return lambda K: held_against(values, bound(case.A, setting.L, M, K, setting.eta, case.T, *setting.momentum))

    return BoundInK(measure)


def noisy(setting: RecipeCase, iteration: Iteration) -> Judge:
    """The mean square of the directions against Theorem M2 with noise."""
    values, case = of_directions(setting.run(iteration)), setting.case
    return lambda K: held_against(
        values,
        recipe_bounds.momentum_d(
            case.A, setting.L, setting.problem.variance, K, setting.eta, case.T, *setting.momentum
        ),
    )


def exact_directions(setting: RecipeCase, iteration: Iteration) -> Judge:
    """The mean square of the directions at n = 1."""
    values, case = of_directions(setting.run(iteration)), setting.case
    return lambda K: held_against(values, recipe_bounds.momentum_d0(case.A, setting.L, K, setting.eta, case.T))


def exact_weights(setting: RecipeCase, iteration: Iteration) -> Judge:
    """S_T at n = 1, heavy ball."""
    values, case = of_weights(setting.run(iteration)), setting.case
    return lambda K: held_against(
        values, recipe_bounds.heavy_ball_d0(case.A, setting.L, K, setting.eta, case.T, setting.recipe.beta)
    )


def two_modules(setting: RecipeCase, iteration: Iteration) -> Judge:
    """S_T at n = 1, K = 2, heavy ball; without the delay Theorem M2's bound for K = 1."""
    values, case, beta = of_weights(setting.run(iteration)), setting.case, setting.recipe.beta
    gamma = (1 - beta) * setting.eta

    def judge(K: int) -> Outcome:
        if K == 1:
            return held_against(values, recipe_bounds.heavy_ball_d0(case.A, setting.L, 1, setting.eta, case.T, beta))
        return held_against(values, recipe_bounds.two_modules(case.A, setting.L, gamma, case.T, beta))

    return judge


DESCENT = tuple(first("first-huber", K, 900 + K - 1, 0.01, 10.0, 0.0) for K in (2, 3))
"""All the way down |w_1| by small steps, without momentum."""
CIRCLE = tuple(
    first("first-circle", K, 300, 1.1 * recipe_bounds.momentum_threshold(K, beta, False) / (1 - beta), 1.5, beta)
    for K, beta in ((2, 0.0), (3, 0.0), (3, 0.3))
)
"""Round the minimum, where delay and momentum are too much together."""
ROLL = tuple(first("first-huber", 1, 10, 0.2, 1.0, 0.9, nesterov) for nesterov in (False, True))
"""No delay: the velocity carries w_1 through the minimum and up the other side."""
DECAY = tuple(
    first("first-quadratic", K, 20 * (2 * K - 1), 1 / (2 * K - 1), 1.0, beta) for K in (2, 3) for beta in (0.0, 0.3)
)
EDGE = tuple(first("first-quadratic", 2, 400, 0.99, 1.0, beta) for beta in (0.0, 0.5))
"""w_1^2/2 at 0.99 of the limit: it swings, and decays so slowly that only 1/(1-r) covers it."""


def _m1(form: str, left: str, right: str, check: BoundInK) -> Claim:
    return Claim(
        id=f"momentum-{form}",
        statement=rf"{left} \le {right}",
        hypotheses="bounded gradients, constant step of any size, heavy ball or Nesterov",
        source=f"ours, PROOFS.md section 9, Theorem M1 ({form})",
        kind=Kind.UPPER_BOUND,
        strategy=recipe_cases(),
        check=check,
        case_type=RecipeCase,
        adversaries=DESCENT + CIRCLE + ROLL,
    )


LIN = _m1("lin", "S_T", r"\tfrac{A}{\eta T} + (D + \tfrac12)\eta LM", bounded(of_weights, recipe_bounds.momentum_lin))
CLEAN = _m1(
    "clean",
    r"S_T + \tfrac1T\sum_{t<T}E\|\nabla f(z^t)\|^2",
    r"\tfrac{2A}{\eta T} + \eta LM(1 + \eta LD^2)",
    bounded(of_both, recipe_bounds.momentum_clean),
)
SHARP = _m1(
    "sharp",
    "S_T",
    r"(\sqrt Q+\sqrt{P+Q})^2, \; P = \tfrac{A}{\eta T}+\tfrac{\eta LM}{2}, \; Q = \tfrac{\eta^2L^2D^2M}{4}",
    bounded(of_weights, recipe_bounds.momentum_sharp),
)
D = Claim(
    id="momentum-d",
    statement=r"(1-\beta)^2\tfrac1T\sum_{t<T}E\|Q^t\|^2 \le \left(\tfrac{R+\sqrt{R^2+4cP}}{2c}\right)^2, \;"
    r" c = 1-\eta L(K-\tfrac12), \; P = \tfrac{A}{\eta T}+\tfrac{\eta L\nu^2}{2}, \; R = \eta L\rho\nu",
    hypotheses="variance at most nu^2, constant eta L < 2/(2K-1), heavy ball or Nesterov; no bound on gradients",
    source="ours, PROOFS.md section 9, Theorem M2",
    kind=Kind.UPPER_BOUND,
    strategy=recipe_cases(tuple(FAMILIES), gamma_L=below_d0),
    check=BoundInK(noisy),
    case_type=RecipeCase,
    adversaries=DECAY,
)
D0 = Claim(
    id="momentum-d0",
    statement=r"(1-\beta)^2\tfrac1T\sum_{t<T}\|Q^t\|^2 \le \tfrac{A}{\eta T(1-\eta L(K-1/2))}",
    hypotheses="n = 1, constant eta L < 2/(2K-1), heavy ball or Nesterov; no bound on gradients",
    source="ours, PROOFS.md section 9, Theorem M2",
    kind=Kind.UPPER_BOUND,
    strategy=recipe_cases(tuple(FAMILIES), gamma_L=below_d0, samples=(1,)),
    check=BoundInK(exact_directions),
    case_type=RecipeCase,
    adversaries=DECAY,
)
HEAVY_BALL_D0 = Claim(
    id="heavy-ball-d0",
    statement=r"S_T \le \tfrac{A}{\eta T}\max\{\tfrac1c, \tfrac{(1+\beta)^2}{(1-\beta)(2\beta+(1-\beta)c)}\}, \;"
    r" c = 1-\eta L(K-\tfrac12)",
    hypotheses="n = 1, constant eta L < 2/(2K-1), heavy ball; no bound on gradients",
    source="ours, PROOFS.md section 9, Theorem M2",
    kind=Kind.UPPER_BOUND,
    strategy=recipe_cases(tuple(FAMILIES), gamma_L=below_d0, samples=(1,), forms=(False,)),
    check=BoundInK(exact_weights),
    case_type=RecipeCase,
    adversaries=DECAY,
)
TWO_MODULES = Claim(
    id="two-modules",
    statement=r"S_T \le \tfrac{6A}{\gamma T(1-r)}, \quad r = \tfrac{\gamma L}{1-\beta} < 1",
    hypotheses="n = 1, K = 2, constant step, heavy ball of any beta; no bound on gradients",
    source="ours, PROOFS.md section 9, Theorem T2",
    kind=Kind.UPPER_BOUND,
    strategy=recipe_cases(
        tuple(FAMILIES), gamma_L=(0.03, 0.3, 0.7, 0.9, 0.99), samples=(1,), forms=(False,), min_K=2, max_K=2
    ),
    check=BoundInK(two_modules),
    case_type=RecipeCase,
    adversaries=EDGE,
)
