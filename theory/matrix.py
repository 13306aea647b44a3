"""What the claims notice: weaker statements in place of their bounds, wrong iterations in place of DDG.

Everything is measured on fixed cases, so the tables are the same wherever they are made: each claim's adversaries, and
for wrong iterations a few ordinary cases too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from theory import bounds
from theory.cases import Case
from theory.claims import CLAIMS, Claim, Kind, descent, energy, mean_square, momentum, theorem_d, theorem_g
from theory.claims.any_optimizer import OPTIMIZERS, OptimizerCase
from theory.claims.claim import BoundInK
from theory.claims.momentum_threshold import MomentumQuadraticCase
from theory.claims.other_optimizers import AdamCase
from theory.claims.quadratic_threshold import QuadraticCase
from theory.claims.worst_constant import Step
from theory.delayed import Iteration, Objective, ddg
from theory.optimizers import Rule
from theory.problems import Array
from theory.recipes import Recipe, RecipeCase
from theory.system import SystemCase
from theory.tables import markdown
from theory.wrong import MUTANTS, uphill

STATED, LESS, ONE = "as stated", "K-1 for K", "1 for K"


def bounds_in_k() -> dict[str, BoundInK]:
    """The checks of all claims whose bound, or whose condition on the step, depends on K."""
    return {name: claim.check for name, claim in CLAIMS.items() if isinstance(claim.check, BoundInK)}


def _without_r(A: float, L: float, nu2: float, K: int, gamma: float, T: int) -> float:
    return bounds.theorem_d0(A + gamma * gamma * L * nu2 * T / 2, L, K, gamma, T)


def _without_warm_up(A: float, L: float, K: int, gamma: float, T: int) -> float:
    psi = math.asin(gamma * L / 2)
    return A / (gamma * T * (math.cos(2 * (K - 1) * psi) - math.sin(psi)))


def _without_age(bound: Callable[..., float]) -> Callable[..., float]:
    """The bound for SGD with the effective step, as if a velocity did not age."""
    return lambda A, L, M, K, eta, T, beta, nesterov: bound(A, L, M, K, eta, T)


WEAKER: dict[tuple[str, str], BoundInK] = {
    ("theorem-1-sharp", "without Q"): mean_square.check_mean_square(
        lambda A, L, M, K, gamma, T: A / (gamma * T) + gamma * L * M / 2
    ),
    ("lemma-r-simple", "σ = 1"): descent.checker(0.5, lambda case, K, t: bounds.lemma_r_simple(K)),
    ("lemma-r-half", "σ = 1"): descent.checker(0.5, lambda case, K, t: bounds.lemma_r_half(K, case.gamma_L)),
    ("lemma-r-full", "σ = 1"): descent.checker(1.0, lambda case, K, t: bounds.lemma_r_full(K)),
    ("lemma-1-on-average", "σ = 1"): descent.checker(0.5, lambda case, K, t: bounds.paper_m_k(K, 1.0)),
    ("theorem-d", "without R"): theorem_d.checker(_without_r),
    ("energy", "without the modules that wait"): energy.checker(waiting_counts=False),
    ("theorem-g", "numerator 1"): theorem_g.checker(_without_warm_up),
    # what people run
    **{
        (f"momentum-{form}", "age = 0"): momentum.bounded(left, _without_age(bound))
        for form, left, bound in (
            ("lin", momentum.of_weights, bounds.theorem_1_lin),
            ("sharp", momentum.of_weights, bounds.theorem_1_sharp),
        )
    },
}
"""Bounds that lack one term or factor, by claim and what is missing."""

NOT_NOTICED: dict[tuple[str, str], str] = {
    ("theorem-1", LESS): "true for every f: K - 1/2 ≤ 2((K-1) + (K-1)⁴), then Theorem 1* (lin)",
    ("theorem-2", LESS): "true for every f: PROOFS.md section 8",
    ("best-step-clean", LESS): "true for every f: PROOFS.md section 8",
    (
        "theorem-1-clean",
        LESS,
    ): "open; where γL ≥ 2 sin(π/(2(2K-1))) the bound is at least M for every K, so what is measured is below",
    ("theorem-2-harmonic", LESS): "open; no search came above 0.946 (K = 2)",
    ("warm-up", LESS): "true for every f: PROOFS.md section 8",
    ("theorem-d", "without R"): "open; on f = (L/2) w₁², the worst f known, with noise too, it stays below",
    # what people run
    ("shuffled", LESS): "open; the constants of Theorem R2 are loose",
    (
        "shuffled-variance",
        LESS,
    ): "open; with K ≤ n and γL (n+K) ≤ 1/2, steps are far below what K allows",
    ("shuffled-variance", ONE): "the same",
    ("default-training-shuffled", LESS): "open; the constants of Theorem R2 are loose",
    ("decay-lin", LESS): "open; M_λ is 4M or more",
    ("adam-mean-square", LESS): "open; d ≥ K and Λ T make the bound larger than any gradient here",
    ("adam-mean-square", ONE): "the same",
}
"""Weaker statements that no case here refutes, and why."""


def strain(name: str, check: BoundInK, K: Callable[[int], int]) -> float:
    """The largest over the adversaries of a claim, above 1 where the bound fails; K(case.K) is what it believes in."""
    cases = CLAIMS[name].adversaries
    return max(check.measure(case, ddg)(K(case.K)).strain for case in cases if K(case.K) >= 1)


def weaker() -> dict[tuple[str, str], float]:
    """The strain on every bound as stated and on everything weaker, by claim and what was weakened."""
    believed: dict[str, Callable[[int], int]] = {STATED: lambda K: K, LESS: lambda K: K - 1, ONE: lambda K: 1}
    found = {
        (name, column): strain(name, check, K)
        for name, check in bounds_in_k().items()
        for column, K in believed.items()
    }
    return found | {(name, what): strain(name, check, lambda K: K) for (name, what), check in WEAKER.items()}


def weaker_table(found: dict[tuple[str, str], float]) -> str:
    """A claim per line: the bound as stated, with K-1 and with 1 in place of K, without one of its terms."""
    rows = []
    for name in bounds_in_k():
        terms = [f"{what}: {show(value)}" for (n, what), value in found.items() if n == name and (n, what) in WEAKER]
        reasons = [reason for (n, _), reason in NOT_NOTICED.items() if n == name]
        cells = [show(found[name, column]) for column in (STATED, LESS, ONE)]
        rows.append([f"`{name}`", *cells, "; ".join(terms), "; ".join(reasons)])
    return markdown(["claim", STATED, LESS, ONE, "less a term", "not noticed, because"], rows)


def show(value: float) -> str:
    """Three figures."""
    return "∞" if math.isinf(value) else f"{value:.3g}"


# --- wrong iterations --------------------------------------------------------------------------------------

GENERIC = tuple(Case(family, 3, 3, 6, "constant", 0.2, 1.0, seed=1) for family in ("logistic", "sqrt+noise", "huber"))
"""Cases in which blocks, samples and iterations all matter."""

LONG = Case("first-huber", 2, 1, 300, "constant", 0.01, 1.0, seed=0)
"""Down into the minimum: afterwards the gradient is 0, or the iteration does not descend."""

ADAPTED: dict[str, dict[str, Any]] = {
    "one-module": {"K": 1},
    "pipedream": {"family": "network"},
    "lyapunov": {"n": 1},
    "theorem-d0": {"n": 1},
    **{name: {"n": 1} for name in ("warm-up", "energy", "theorem-f", "best-step-f", "theorem-g", "conjecture-w")},
    "theorem-2": {"steps": "harmonic"},
    "theorem-2-harmonic": {"steps": "harmonic"},
    # what people run
    **{name: {"n": 1, "gamma_L": 0.1} for name in ("momentum-d0", "heavy-ball-d0", "decay-d0")},
    "two-modules": {"n": 1, "K": 2},
    "momentum-d": {"gamma_L": 0.1},
    **{name: {"gamma_L": 0.1} for name in ("any-order", "any-order-weights", "default-training")},
    **{name: {"gamma_L": 0.05} for name in ("shuffled", "shuffled-variance", "default-training-shuffled")},
}
"""What the hypotheses of a claim ask for."""
RECIPES: dict[str, Recipe] = {
    **dict.fromkeys(("coasted-identity", "coasting"), Recipe(0.5, True, 0.01, 2, (4,), 0.5)),
    "decay-bounded": Recipe(0.3, False, 0.01),
    "decay-lin": Recipe(0.3, False, 0.01),
    "decay-d0": Recipe(0.0, False, 0.01),
    "shuffled-variance": Recipe(),
    **dict.fromkeys(("steps-blockwise", "steps-weighted", "steps-clean"), Recipe(0.5, True, 0.0, 2, (4,), 0.5)),
    "steps-warm-up": Recipe(0.5, False, 0.0, 2, (4,), 0.5),
    **dict.fromkeys(("default-training", "default-training-shuffled"), Recipe(0.5, False, 0.0, 2, (3,), 0.5)),
}
"""The recipe of a claim's ordinary cases, where heavy ball with 0.5 would not show all of it."""
IN_EPOCHS = (
    *("epoch-distance", "any-order", "any-order-weights", "shuffled", "shuffled-variance"),
    *("default-training", "default-training-shuffled"),
)
"""Claims about sampling without replacement."""

OTHER_CASES: dict[type[Any], tuple[Any, ...]] = {
    OptimizerCase: tuple(OptimizerCase(name, replace(GENERIC[0], gamma_L=0.05)) for name in OPTIMIZERS),
    QuadraticCase: (QuadraticCase(K=3, extra=1, curvature=1.0, seed=0),),
    Step: (Step(K=3, share=0.5),),
    MomentumQuadraticCase: (MomentumQuadraticCase(QuadraticCase(3, 1, 1.0, 0), 0.5, True),),
    AdamCase: (AdamCase(GENERIC[0], 0.0, 0.9, 1e-3),),
    SystemCase: (SystemCase("mlp", "sgd", "constant", "reference", "float64", (2, 4), 6, seed=1),),
}


def ordinary(claim: Claim) -> tuple[Any, ...]:
    """A few cases that the claim's hypotheses admit; none for a claim about formulas alone."""
    if claim.case_type is Case:
        cases = (*GENERIC, LONG) if claim.kind in (Kind.UPPER_BOUND, Kind.CONJECTURE) else GENERIC
        return tuple(replace(case, **ADAPTED.get(claim.id, {})) for case in cases)
    if claim.case_type is RecipeCase:
        recipe, epochs = RECIPES.get(claim.id, Recipe(0.5)), claim.id in IN_EPOCHS
        drawn = tuple(RecipeCase(replace(case, **ADAPTED.get(claim.id, {})), recipe, epochs) for case in GENERIC)
        plain = replace(recipe, warm_up=0, milestones=())
        long = RecipeCase(replace(LONG, n=2, T=1000), epochs=True) if epochs else RecipeCase(LONG, plain)
        return (*drawn, long) if claim.kind is Kind.UPPER_BOUND else drawn
    return OTHER_CASES.get(claim.case_type, ())


WRONG: dict[str, Iteration] = {**MUTANTS, "uphill": uphill}


def wrong() -> dict[tuple[str, str], bool]:
    """Whether a claim fails on a wrong iteration, by claim and iteration; claims that run none are left out."""
    found = {}
    for name, claim in CLAIMS.items():
        cases = claim.adversaries + ordinary(claim)
        if claim.kind is not Kind.FALSE_AS_STATED and runs(claim, cases):
            for mistake, iteration in WRONG.items():
                found[name, mistake] = any(claim.check(case, iteration).violates(claim.kind) for case in cases)
    return found


def runs(claim: Claim, cases: tuple[Any, ...]) -> bool:
    """Whether the claim runs the iteration that it is given. All must hold with the right one."""
    calls = 0

    def watched(problem: Objective, w0: Array, samples: Array, rule: Rule) -> Array:
        nonlocal calls
        calls += 1
        return ddg(problem, w0, samples, rule)

    for case in cases:
        if claim.check(case, watched).violates(claim.kind):
            raise AssertionError(f"{claim.id}: fails on {case}")
    return calls > 0


def wrong_table(found: dict[tuple[str, str], bool]) -> str:
    """A claim per line, a wrong iteration per column; x where the claim fails on it."""
    names = dict.fromkeys(name for name, _ in found)
    return markdown(["claim", *WRONG], [[f"`{n}`", *("x" if found[n, m] else "" for m in WRONG)] for n in names])
