"""K = 1: every statement becomes the textbook one for SGD, and the iteration becomes SGD."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

from theory import bounds
from theory.cases import Case
from theory.claims.claim import Claim, Kind, Outcome, largest
from theory.delayed import Iteration
from theory.families import FAMILIES
from theory.problems import Array
from theory.steps import KINDS, step_sizes
from theory.strategies import cases


@dataclass(frozen=True)
class Constants:
    """A, L, M, gamma L and T of a bound; M also stands for nu^2."""

    A: float
    L: float
    M: float
    gamma_L: float  # noqa: N815
    T: int

    @property
    def gamma(self) -> float:
        """The step size."""
        return self.gamma_L / self.L


PAIRS: dict[str, tuple[Callable[[Constants, int], float], Callable[[Constants], float]]] = {
    "theorem_1": (
        lambda c, K: bounds.theorem_1(c.A, c.L, c.M, K, c.gamma, c.T),
        lambda c: 2 * c.A / (c.gamma * c.T) + 4 * c.gamma * c.L * c.M,
    ),
    "theorem_2": (
        lambda c, K: bounds.theorem_2(c.A, c.L, c.M, K, harmonic(c), c.T),
        lambda c: (2 * c.A + 4 * c.L * c.M * sum(harmonic(c)[: c.T] ** 2)) / sum(harmonic(c)[: c.T]),
    ),
    "theorem_1_lin": (
        lambda c, K: bounds.theorem_1_lin(c.A, c.L, c.M, K, c.gamma, c.T),
        lambda c: sgd(c),
    ),
    "theorem_1_clean": (
        lambda c, K: bounds.theorem_1_clean(c.A, c.L, c.M, K, c.gamma, c.T),
        lambda c: 2 * sgd(c),
    ),
    "theorem_1_sharp": (
        lambda c, K: bounds.theorem_1_sharp(c.A, c.L, c.M, K, c.gamma, c.T),
        lambda c: sgd(c),
    ),
    "theorem_2_shifted": (
        lambda c, K: bounds.theorem_2_shifted(c.A, c.L, c.M, K, harmonic(c), c.T),
        lambda c: c.A + c.L * c.M / 2 * sum(harmonic(c)[: c.T] ** 2),
    ),
    "theorem_2_weighted": (
        lambda c, K: bounds.theorem_2_weighted(c.A, c.L, c.M, K, harmonic(c), c.T),
        lambda c: c.A + c.L * c.M / 2 * sum(harmonic(c)[: c.T] ** 2),
    ),
    "theorem_2_harmonic": (
        lambda c, K: bounds.theorem_2_harmonic(c.A, c.L, c.M, K, harmonic(c), c.T),
        lambda c: 2 * c.A + c.L * c.M / 2 * sum(harmonic(c)[: c.T] ** 2),
    ),
    "lemma_v": (
        lambda c, K: bounds.lemma_v(c.gamma, c.L, c.M, K, 0.0),
        lambda c: c.gamma**2 * c.L * c.M / 2,
    ),
    "lemma_v_half": (
        lambda c, K: bounds.lemma_v_half(c.gamma, c.L, c.M, K, 0.0),
        lambda c: c.gamma**2 * c.L * c.M / 2,
    ),
    "lemma_r_simple": (lambda c, K: bounds.lemma_r_simple(K), lambda c: 0.5),
    "lemma_r_half": (lambda c, K: bounds.lemma_r_half(K, c.gamma_L), lambda c: 0.5),
    "lemma_r_full": (lambda c, K: bounds.lemma_r_full(K), lambda c: 0.5),
    "theorem_d0": (
        lambda c, K: bounds.theorem_d0(c.A, c.L, K, c.gamma, c.T),
        lambda c: c.A / (c.gamma * c.T * (1 - c.gamma_L / 2)),
    ),
    "theorem_d": (
        lambda c, K: bounds.theorem_d(c.A, c.L, c.M, K, c.gamma, c.T),
        lambda c: sgd(c) / (1 - c.gamma_L / 2),
    ),
    "theorem_f": (
        lambda c, K: bounds.theorem_f(c.A, c.L, K, c.gamma, c.T),
        lambda c: c.A / (c.gamma * c.T * (1 - c.gamma_L / 2)),
    ),
    "theorem_f_rate": (
        lambda c, K: bounds.theorem_f_rate(c.A, c.L, K, c.T),
        lambda c: 2 * c.L * c.A / c.T,
    ),
    "theorem_g": (
        lambda c, K: bounds.theorem_g(c.A, c.L, K, c.gamma, c.T),
        lambda c: c.A / (c.gamma * c.T * (1 - c.gamma_L / 2)),
    ),
    "worst_constant": (
        lambda c, K: bounds.worst_constant(K, c.gamma_L),
        lambda c: 1 / (1 - c.gamma_L / 2),
    ),
    "quadratic_threshold": (lambda c, K: 1 / bounds.quadratic_threshold(K), lambda c: 0.5),
}
"""Per bound: the bound as a function of K, and what K = 1 must give, written from textbooks (Ghadimi and Lan,
SIAM J. Optim. 2013; Nesterov 2018 for exact gradients) or, for the paper's two, from its formula with M_K =
2M."""


def sgd(c: Constants) -> float:
    """(f(w^0) - f*)/(gamma T) + gamma L M/2: SGD with a constant step."""
    return c.A / (c.gamma * c.T) + c.gamma * c.L * c.M / 2


def harmonic(c: Constants) -> Array:
    """gamma/(1+t), as many as any K up to 9 needs."""
    return step_sizes("harmonic", c.gamma, c.T + 8)


constants = st.builds(
    Constants,
    A=st.sampled_from((0.01, 1.0, 50.0)),
    L=st.sampled_from((0.1, 1.0, 20.0)),
    M=st.sampled_from((0.3, 1.0, 100.0)),
    gamma_L=st.sampled_from((1e-4, 0.01, 0.05, 0.11)),
    T=st.integers(1, 200),
)


def check_bounds(c: Constants, iteration: Iteration) -> Outcome:
    """The largest relative deviation from the textbook over all bounds at K = 1."""
    deviations = [(bound(c, 1) - textbook(c)) / textbook(c) for bound, textbook in PAIRS.values()]
    return Outcome(largest(*deviations), 1e-12)


def check_monotone(c: Constants, iteration: Iteration) -> Outcome:
    """bound(K-1)/bound(K), the largest over all bounds and K = 2..5, against 1."""
    ratios = [bound(c, K - 1) / bound(c, K) for bound, _ in PAIRS.values() for K in range(2, 6)]
    return Outcome(largest(*ratios), 1.0, slack=1e-12)


def check_order(c: Constants, iteration: Iteration) -> Outcome:
    """sharp/clean, lin/(paper/2) and, where sharp <= M, sharp/lin: the largest for K = 1..8, against 1."""
    ratios = []
    for K in range(1, 9):
        args = (c.A, c.L, c.M, K, c.gamma, c.T)
        sharp, lin = bounds.theorem_1_sharp(*args), bounds.theorem_1_lin(*args)
        ratios += [sharp / bounds.theorem_1_clean(*args), 2 * lin / bounds.theorem_1(*args)]
        if sharp <= c.M:
            ratios.append(sharp / lin)
    return Outcome(largest(*ratios), 1.0, slack=1e-12)


def check_sgd(case: Case, iteration: Iteration) -> Outcome:
    """DDG's iterates at K = 1 against a loop of SGD; bit for bit."""
    run = case.run(iteration)
    w = np.broadcast_to(case.w0, run.w[0].shape)
    deviations = []
    for t in range(case.T):
        w = w - case.gammas[t] * case.problem.gradient(run.samples[:, t], w)
        deviations.append(w - run.w[t + 1])
    return Outcome(largest(*deviations), 0.0)


def _claim(form: str, statement: str, kind: Kind, check: Callable[[Constants, Iteration], Outcome]) -> Claim:
    return Claim(
        id=form,
        statement=statement,
        hypotheses="every bound of theory.bounds",
        source="ours",
        kind=kind,
        strategy=constants,
        check=check,
        case_type=Constants,
    )


TEXTBOOK = _claim(
    "reduction",
    r"K = 1: \text{ each bound is the textbook bound of SGD or gradient descent}",
    Kind.IDENTITY,
    check_bounds,
)
MONOTONE = _claim(
    "monotone-in-k",
    r"\mathrm{bound}(K-1) \le \mathrm{bound}(K)",
    Kind.UPPER_BOUND,
    check_monotone,
)
ORDER = _claim(
    "order",
    r"\mathrm{sharp} \le \mathrm{clean}, \; \mathrm{lin} \le \tfrac12\mathrm{paper}, \; "
    r"\mathrm{sharp} \le \mathrm{lin} \text{ where } \mathrm{sharp} \le M",
    Kind.UPPER_BOUND,
    check_order,
)
SGD = Claim(
    id="one-module",
    statement=r"K = 1: \; w^{t+1} = w^t - \gamma_t\nabla f_{i(t)}(w^t)",
    hypotheses="any steps; bit for bit",
    source="Huo et al., arXiv 1804.10574, Algorithm 1",
    kind=Kind.IDENTITY,
    strategy=cases(tuple(FAMILIES), steps=KINDS).map(lambda case: replace(case, K=1)),
    check=check_sgd,
)
